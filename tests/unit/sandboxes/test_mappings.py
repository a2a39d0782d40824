"""The list of shared mappings: the kernel's own query and the file in /proc say the same."""

from __future__ import annotations

import mmap
import multiprocessing
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from hotcell.sandboxes.local import mappings


@pytest.fixture
def mapped(tmp_path: Path) -> Iterator[str]:
    """Of every kind: without a name, of a file that is written, read, or deleted; private ones; a semaphore."""
    path = tmp_path / ("a name with spaces\nand lines " + "x" * 200)
    path.write_bytes(b"x" * 9000)
    lock = multiprocessing.get_context("fork").Lock()
    with open(path, "r+b") as file, tempfile.TemporaryFile() as deleted:
        deleted.write(b"x" * 5000)
        deleted.flush()
        made = [
            mmap.mmap(-1, 8192),
            mmap.mmap(-1, 4096, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS),
            mmap.mmap(file.fileno(), 9000),
            mmap.mmap(file.fileno(), 4096, prot=mmap.PROT_READ, offset=4096),
            mmap.mmap(file.fileno(), 4096, flags=mmap.MAP_PRIVATE),
            mmap.mmap(deleted.fileno(), 5000),
        ]
        yield str(path)
        for one in made:
            one.close()
    del lock


def listed(monkeypatch: pytest.MonkeyPatch) -> list[mappings.Mapping]:
    """What a kernel without the query leads to."""
    monkeypatch.setattr(mappings, "QUERY", 0xDEAD)
    return mappings.shared()


def test_both_ways_find_the_same(mapped: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = mappings.shared()
    assert [mapping._replace(path="") for mapping in found] == [m._replace(path="") for m in listed(monkeypatch)]
    assert {mapping.permissions for mapping in found} >= {"rw-s", "r--s"}
    assert [(m.permissions, m.offset) for m in found if m.path.startswith(os.path.dirname(mapped))] in (
        [("rw-s", 0), ("r--s", 4096)],
        [("r--s", 4096), ("rw-s", 0)],
    )
    assert not any("p" in mapping.permissions for mapping in found)


def test_a_path_that_is_too_long_for_the_query_is_found(tmp_path: Path) -> None:
    place = tmp_path
    for _ in range(6):
        place /= "d" * 200
    place.mkdir(parents=True)
    path = place / "f"
    path.write_bytes(b"x" * 4096)
    with open(path, "r+b") as file, mmap.mmap(file.fileno(), 4096):
        assert [mapping.path for mapping in mappings.shared() if mapping.path.endswith("/f")] == [str(path)]


def test_nothing_is_left_open() -> None:
    before = len(os.listdir("/proc/self/fd"))
    mappings.shared()
    assert len(os.listdir("/proc/self/fd")) == before
