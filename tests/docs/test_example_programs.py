"""Every program in examples/ runs to its end and says something."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# The first two are what the main job runs, behind the wall; ``make run`` has a test of its own.
APART = {"analysis.py", "hostile.py", "main_job.py"}
PROGRAMS = [path for path in sorted((ROOT / "examples").glob("*.py")) if path.name not in APART]


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: path.name)
def test_the_program_runs_to_its_end(program: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "PYTHONWARNINGS": "error"}
    done = subprocess.run([sys.executable, program], env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout
    assert not done.stderr
