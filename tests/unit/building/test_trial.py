"""What the wall says of a new environment before it gets its name."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import pytest

from hotcell.building.trial import with_preload
from hotcell.environments import Environment
from hotcell.errors import EnvironmentFailed


@pytest.fixture
def bare(tmp_path: Path) -> Environment:
    """A virtual environment of our own Python with nothing in it."""
    venv = tmp_path / "venv"
    (venv / "bin").mkdir(parents=True)
    (venv / "bin" / "python").symlink_to(Path(sys.executable).resolve())
    (venv / "pyvenv.cfg").write_text(f"home = {Path(sys.executable).resolve().parent}\n")
    return Environment(
        name="bare",
        digest="0" * 32,
        directory=tmp_path,
        python_version="3",
        interpreter=sys.executable,
        requested=(),
        packages={},
        preload=(),
        left_out={},
        created="",
        size_bytes=0,
    )


def test_modules_are_tried_one_by_one_when_they_do_not_go_together(bare: Environment) -> None:
    found = with_preload(bare, ["json", "no_such_module", "wave"])
    assert found == dataclasses.replace(
        bare, preload=("json", "wave"), left_out={"no_such_module": "No module named 'no_such_module'"}
    )


def test_an_interpreter_with_which_no_cell_starts_is_no_environment(bare: Environment) -> None:
    python = Path(bare.python)
    python.unlink()
    python.symlink_to("/bin/false")
    with pytest.raises(EnvironmentFailed, match="was built, and no cell starts in it"):
        with_preload(bare, ["json"])
