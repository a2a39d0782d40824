"""The store: removing, sweeping, and who has to wait for whom. Environments here are empty directories."""

from __future__ import annotations

import fcntl
import os
import threading
from pathlib import Path

import pytest

from hotcell.building import store as building
from hotcell.building.store import give_name, new_work, opened, remove
from hotcell.environments import digest_of, names
from hotcell.errors import ConfigurationError, EnvironmentFailed

ONE, TWO = "1" * 32, "2" * 32


@pytest.fixture
def place(store: Path) -> Path:
    """A store in which ``a`` and ``b`` are one environment and ``c`` is another."""
    with opened() as (place, _):
        for digest in (ONE, TWO):
            (place / digest / "venv").mkdir(parents=True)
        for name, digest in {"a": ONE, "b": ONE, "c": TWO}.items():
            give_name(place, name, digest)
    return place


def test_an_environment_goes_with_its_last_name(place: Path) -> None:
    remove("a")
    assert names(place) == ["b", "c"]
    assert (place / ONE).is_dir()
    remove("b")
    assert not (place / ONE).exists()
    assert (place / TWO).is_dir()


@pytest.mark.parametrize(("name", "says"), [("d", "is not known"), ("../c", "is not allowed as a name")])
def test_what_is_not_there_cannot_be_removed(place: Path, name: str, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        remove(name)
    assert names(place) == ["a", "b", "c"]


def test_a_name_without_its_environment_can_be_removed(place: Path) -> None:
    (place / TWO / "venv").rmdir()
    (place / TWO).rmdir()
    remove("c")
    assert names(place) == ["a", "b"]


def test_what_is_in_use_is_not_removed(place: Path) -> None:
    handle = os.open(place / TWO, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_SH)
        with pytest.raises(EnvironmentFailed, match="'c' is in use"):
            remove("c")
        assert digest_of(place, "c") == TWO
        assert (place / TWO / "venv").is_dir()
    finally:
        os.close(handle)
    remove("c")
    assert not (place / TWO).exists()


def test_unfinished_work_is_gone_for_the_next_one(place: Path) -> None:
    (new_work(place) / "deep" / "er").mkdir(parents=True)
    (place / "names" / ".new").symlink_to("../nowhere")
    os.unlink(place / "names" / "c")
    (place / "notes.txt").write_text("somebody's own")
    with opened():
        assert {path.name for path in place.iterdir()} == {".lock", "names", ONE, "notes.txt"}
        assert names(place) == ["a", "b"]


def test_a_second_writer_waits_for_the_first(place: Path) -> None:
    said, order = threading.Event(), []

    def second() -> None:
        with opened(lambda _: said.set()):
            order.append("second")

    with opened():
        thread = threading.Thread(target=second)
        thread.start()
        assert said.wait(30)
        order.append("first")
    thread.join(30)
    assert order == ["first", "second"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root can write everywhere")
def test_a_store_that_cannot_be_written_to_says_so(place: Path) -> None:
    (place / ".lock").unlink()
    place.chmod(0o555)
    try:
        with pytest.raises(ConfigurationError, match="cannot be written to: Permission denied"):
            remove("a")
    finally:
        place.chmod(0o755)


def test_a_store_below_a_file_says_so(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOTCELL_ENVIRONMENTS", f"{place}/.lock/store")
    with pytest.raises(ConfigurationError, match="Not a directory"), building.opened():
        pass
