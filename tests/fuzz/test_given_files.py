"""Files on their way into a cell: however their bytes are cut into frames, each arrives whole under its name."""

from __future__ import annotations

import itertools
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hotcell.worker.inbox import _Files

CONTENTS = st.lists(st.binary(max_size=50), max_size=8)
FOLDERS = ("", "a/", "a/b/", "c d/", "ü/")


@given(contents=CONTENTS, cuts=st.lists(st.integers(0, 400), max_size=10))
@settings(deadline=None)
def test_any_cut_writes_the_same_files(contents: list[bytes], cuts: list[int]) -> None:
    named = {f"{FOLDERS[number % len(FOLDERS)]}f{number}": data for number, data in enumerate(contents)}
    stream = b"".join(named.values())
    edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    with tempfile.TemporaryDirectory() as directory:
        before = os.listdir("/proc/self/fd")
        files = _Files(directory, [[name, len(data), 0o600] for name, data in named.items()])
        for start, end in itertools.pairwise(edges):
            assert files.complete == (start == len(stream))
            files.write(stream[start:end])
        assert files.complete
        assert len(os.listdir("/proc/self/fd")) == len(before)
        found = {str(path.relative_to(directory)): path for path in Path(directory).rglob("*") if path.is_file()}
        assert {name: path.read_bytes() for name, path in found.items()} == named
        assert {path.stat().st_mode & 0o777 for path in found.values()} <= {0o600}


def test_bytes_beyond_the_last_file_go_nowhere(tmp_path: Path) -> None:
    files = _Files(str(tmp_path), [["a", 3, 0o600]])
    files.write(b"abcdef")
    files.write(b"more")
    assert files.complete
    assert (tmp_path / "a").read_bytes() == b"abc"


def test_a_link_that_is_there_already_is_replaced_and_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("precious")
    (tmp_path / "a").symlink_to("victim")
    files = _Files(str(tmp_path), [["a", 3, 0o600]])
    files.write(b"new")
    assert files.complete
    assert not (tmp_path / "a").is_symlink()
    assert (tmp_path / "a").read_bytes() == b"new"
    assert (tmp_path / "victim").read_text() == "precious"


def test_a_file_with_two_names_is_replaced_under_one(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("precious")
    (tmp_path / "a").hardlink_to(tmp_path / "victim")
    _Files(str(tmp_path), [["a", 3, 0o600]]).write(b"new")
    assert ((tmp_path / "a").read_bytes(), (tmp_path / "victim").read_text()) == (b"new", "precious")


def test_a_folder_that_is_there_already_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(IsADirectoryError):
        _Files(str(tmp_path), [["a", 3, 0o600]])
