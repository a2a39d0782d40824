"""What a killed application leaves is removed at the next start; what a living one has stays."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from hotcell.sandboxes.local import leftovers


@pytest.fixture(autouse=True)
def own_temporary_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def name_of_the_dead() -> str:
    """A name as it was given by a process that has ended."""
    program = "from hotcell.sandboxes.local import leftovers; print(leftovers.new_name())"
    source = str(Path(leftovers.__file__).parents[3])
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env={"PYTHONPATH": source})
    return done.stdout.strip()


@pytest.mark.threat("supervisor.leftovers")
def test_what_the_dead_left_is_swept(tmp_path: Path) -> None:
    """Directories of an application that was killed with its launcher are removed when the next one starts."""
    left = tmp_path / f"{name_of_the_dead()}-abc"
    (left / "3" / "work").mkdir(parents=True)
    (left / "3" / "work" / "secret").write_text("x")
    leftovers.sweep()
    assert not left.exists()


def test_what_the_living_have_stays(tmp_path: Path) -> None:
    mine = tmp_path / leftovers.new_name()
    mine.mkdir()
    leftovers.sweep()
    assert mine.is_dir()


def test_names_of_others_links_and_other_namespaces_stay(tmp_path: Path) -> None:
    dead = name_of_the_dead()
    target = tmp_path / "target"
    target.mkdir()
    (target / "precious").write_text("x")
    (tmp_path / dead).symlink_to(target)
    prefix, pid, rest = dead.split("-")
    elsewhere = tmp_path / f"{prefix}-{pid}-{'0' * 8}{rest[8:]}"
    elsewhere.mkdir()
    for name in ("hotcell", "hotcell-1", "hotcell-x-0123456789abcdef", "hotcell-99999999999999999999-" + rest):
        (tmp_path / name).mkdir()
    before = sorted(os.listdir(tmp_path))
    leftovers.sweep()
    assert sorted(os.listdir(tmp_path)) == before
    assert (target / "precious").exists()
