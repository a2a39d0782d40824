"""A session's files from outside: whatever its code has put there, nothing beyond the work directory is reached."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from observers.streams import descriptors

from hotcell.errors import ConfigurationError
from hotcell.sandboxes.files import FileEntry, WorkFiles


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """The work directory, with something precious beside it."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_text("precious")
    place = tmp_path / "work"
    place.mkdir()
    return place


@pytest.fixture
def files(work: Path) -> Iterator[WorkFiles]:
    before = descriptors()
    handle = os.open(work, os.O_RDONLY | os.O_DIRECTORY)
    yield WorkFiles(handle)
    os.close(handle)
    assert descriptors() == before
    assert (work.parent / "outside" / "secret").read_text() == "precious"


def test_files_are_listed_by_name_with_their_size(files: WorkFiles, work: Path) -> None:
    (work / "b" / "c").mkdir(parents=True)
    for name, size in (("z", 0), ("b/c/d", 5), ("a", 3)):
        (work / name).write_bytes(bytes(size))
    assert files.list() == (
        FileEntry(name="a", size=3),
        FileEntry(name="b/c/d", size=5),
        FileEntry(name="z", size=0),
    )


@given(contents=st.dictionaries(st.text("abé漢 .-", min_size=1, max_size=8), st.binary(max_size=50), max_size=6))
@settings(deadline=None)
def test_what_is_there_is_listed_read_and_deleted(
    tmp_path_factory: pytest.TempPathFactory, contents: dict[str, bytes]
) -> None:
    place = tmp_path_factory.mktemp("work")
    contents = {name: data for name, data in contents.items() if name.strip(".")}
    for name, data in contents.items():
        (place / name).write_bytes(data)
    handle = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
    try:
        files = WorkFiles(handle)
        assert {entry.name: entry.size for entry in files.list()} == {
            name: len(data) for name, data in contents.items()
        }
        for name, data in contents.items():
            assert files.read(name, 50) == data
            files.delete(name)
        assert files.list() == ()
    finally:
        os.close(handle)


def make_socket(place: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(place))


ODD: dict[str, Callable[[Path], object]] = {
    "link to a file": lambda place: place.symlink_to("../outside/secret"),
    "link to a folder": lambda place: place.symlink_to("../outside"),
    "link to itself": lambda place: place.symlink_to(place.name),
    "dangling link": lambda place: place.symlink_to("gone"),
    "pipe": os.mkfifo,
    "socket": make_socket,
    "folder": Path.mkdir,
}


@pytest.mark.parametrize("make", ODD.values(), ids=ODD)
def test_what_is_no_plain_file_is_neither_listed_nor_read(
    files: WorkFiles, work: Path, make: Callable[[Path], object]
) -> None:
    make(work / "odd")
    assert files.list() == ()
    with pytest.raises((ConfigurationError, FileNotFoundError)):
        files.read("odd", 1000)
    for inner in ("odd/secret", "odd/x/y"):
        with pytest.raises(FileNotFoundError):
            files.read(inner, 1000)
        with pytest.raises(FileNotFoundError):
            files.delete(inner)


def test_a_pipe_that_somebody_writes_to_is_not_read(files: WorkFiles, work: Path) -> None:
    os.mkfifo(work / "pipe")
    handle = os.open(work / "pipe", os.O_RDWR)
    try:
        os.write(handle, b"x")
        with pytest.raises(ConfigurationError, match="regular"):
            files.read("pipe", 1000)
    finally:
        os.close(handle)


def test_a_second_name_is_not_read(files: WorkFiles, work: Path) -> None:
    """What else it is called, and where, is not to be seen from here."""
    os.link(work.parent / "outside" / "secret", work / "mine")
    with pytest.raises(ConfigurationError, match="hard link"):
        files.read("mine", 1000)
    files.delete("mine")
    assert files.list() == ()


@pytest.mark.parametrize(
    ("size", "most", "fits"), [(0, 0, True), (5, 5, True), (6, 5, False), (1 << 40, 1 << 20, False)]
)
def test_the_size_is_known_before_a_byte_is_read(
    files: WorkFiles, work: Path, size: int, most: int, fits: bool
) -> None:
    with (work / "sparse").open("wb") as file:
        file.truncate(size)
    if fits:
        assert files.read("sparse", most) == bytes(size)
    else:
        with pytest.raises(ConfigurationError, match=f"holds {size} bytes; {most} may"):
            files.read("sparse", most)


def test_a_file_that_grows_is_cut_at_its_size_when_it_was_opened(files: WorkFiles, work: Path) -> None:
    done = threading.Event()
    (work / "log").write_bytes(b"x")

    def grow() -> None:
        with (work / "log").open("ab", buffering=0) as file:
            while not done.is_set() and file.tell() < 32 << 20:
                file.write(bytes(65536))

    writer = threading.Thread(target=grow)
    writer.start()
    try:
        for _ in range(50):
            try:
                assert len(files.read("log", 1 << 20)) <= 1 << 20
            except ConfigurationError:
                break
    finally:
        done.set()
        writer.join()


@pytest.mark.parametrize("name", [b"bad\xff", b"new\nline", b"\x1b[31m", "\u202efdp".encode(), b"back\\slash"])
def test_names_that_are_not_plain_text_are_left_out(files: WorkFiles, work: Path, name: bytes) -> None:
    (work / os.fsdecode(name)).touch()
    (work / "fine").touch()
    assert [entry.name for entry in files.list()] == ["fine"]


def test_what_is_too_deep_is_left_out(files: WorkFiles, work: Path) -> None:
    place = work
    for depth in range(30):
        (place / f"f{depth}").touch()
        place /= "d"
        place.mkdir()
    assert len(files.list()) == 17


def test_only_so_many_entries_are_looked_at(files: WorkFiles, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hotcell.sandboxes.files._MOST_ENTRIES", 100)
    for number in range(150):
        (work / f"f{number}").touch()
    assert len(files.list()) == 100


def test_folders_are_not_deleted(files: WorkFiles, work: Path) -> None:
    (work / "d").mkdir()
    with pytest.raises(ConfigurationError, match="folder"):
        files.delete("d")


@pytest.mark.parametrize("name", ["gone", "gone/too", "file/inner"])
def test_what_is_not_there_is_said_by_name(files: WorkFiles, work: Path, name: str) -> None:
    (work / "file").touch()
    for use in (lambda: files.read(name, 10), lambda: files.delete(name)):
        with pytest.raises(FileNotFoundError, match=name):
            use()


@pytest.mark.threat("session.files")
def test_a_folder_that_turns_into_a_link_while_we_look_leads_nowhere(files: WorkFiles, work: Path) -> None:
    """The session's processes stand still while this goes on; it holds without that as well."""
    (work / "real").mkdir()
    (work / "real" / "secret").write_text("decoy")
    (work / "bait").symlink_to("../outside")
    done = threading.Event()

    def swap() -> None:
        here = os.open(work, os.O_RDONLY)
        while not done.is_set():
            for old, new in (("real", "spare"), ("bait", "real"), ("real", "bait"), ("spare", "real")):
                os.rename(old, new, src_dir_fd=here, dst_dir_fd=here)
        os.close(here)

    swapper = threading.Thread(target=swap)
    swapper.start()
    seen = set()
    try:
        for _ in range(2000):
            try:
                seen.add(files.read("real/secret", 100))
            except FileNotFoundError:
                seen.add(b"gone")
            assert {entry.name for entry in files.list()} <= {"real/secret", "spare/secret"}
            try:
                files.delete("real/nothing")
            except FileNotFoundError:
                pass
    finally:
        done.set()
        swapper.join()
    assert b"decoy" in seen
    assert seen <= {b"decoy", b"gone"}
