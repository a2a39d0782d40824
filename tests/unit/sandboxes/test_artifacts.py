"""Collecting what a hostile program left in a real directory: no link followed, no hang, no more than asked for."""

from __future__ import annotations

import hashlib
import os
import socket
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hotcell.config import SandboxConfig
from hotcell.results import Artifact
from hotcell.sandboxes import artifacts

Found = tuple[dict[str, Artifact], tuple[str, ...]]
ALL = ("*",)


def descriptors() -> set[str]:
    return {name for name in os.listdir("/proc/self/fd") if os.path.lexists(f"/proc/self/fd/{name}")}


@pytest.fixture
def work(tmp_path: Path) -> Iterator[Path]:
    """The work directory; afterwards the victim beside it is as it was."""
    (tmp_path / "victim").write_text("the host's secret")
    directory = tmp_path / "work"
    directory.mkdir()
    before = descriptors()
    yield directory
    assert descriptors() == before
    assert (tmp_path / "victim").read_text() == "the host's secret"


def collect(work: Path, globs: tuple[str, ...] = ALL, **limits: int) -> Found:
    handle = os.open(work, os.O_RDONLY | os.O_DIRECTORY)
    try:
        found, notes = artifacts.collect(handle, globs, SandboxConfig(**limits), {})
        os.fstat(handle)  # still ours to close
    finally:
        os.close(handle)
    assert [item.name for item in found] == sorted(item.name for item in found)
    return {item.name: item for item in found}, notes


def test_files_come_with_their_size_and_digest(work: Path) -> None:
    (work / "a.csv").write_bytes(b"1,2\n")
    (work / "folder" / "deeper").mkdir(parents=True)
    (work / "folder" / "deeper" / "b.png").write_bytes(b"\x89PNG" * 300_000)
    (work / "empty").touch()
    found, notes = collect(work)
    assert notes == ()
    assert sorted(found) == ["a.csv", "empty", "folder/deeper/b.png"]
    for name, item in found.items():
        data = (work / name).read_bytes()
        assert (item.size, item.sha256, item.content) == (len(data), hashlib.sha256(data).hexdigest(), data)


@pytest.mark.parametrize(
    ("globs", "expected"),
    [
        (("*.csv",), {"a.csv", "sub/b.csv"}),
        (("sub/*",), {"sub/b.csv", "sub/c.txt"}),
        (("a.csv",), {"a.csv"}),
        (("?.txt", "a*"), {"sub/c.txt", "a.csv"}),
        (("[!a]*.csv",), {"sub/b.csv"}),
        (("A.CSV",), set()),
        (("nothing",), set()),
        ((), set()),
        (("*" * 40 + "z",), set()),
    ],
)
def test_globs_match_the_name_or_its_last_part(work: Path, globs: tuple[str, ...], expected: set[str]) -> None:
    (work / "sub").mkdir()
    for name in ("a.csv", "sub/b.csv", "sub/c.txt"):
        (work / name).write_text(name)
    found, notes = collect(work, globs)
    assert (set(found), notes) == (expected, ())


@pytest.mark.threat(3)
@pytest.mark.parametrize("target", ["/etc/passwd", "../victim", "real.txt", "nowhere", "itself", "/proc/self/environ"])
def test_a_symbolic_link_is_never_followed(work: Path, target: str) -> None:
    (work / "real.txt").write_text("mine")
    (work / "itself").symlink_to(target)
    found, notes = collect(work)
    assert set(found) == {"real.txt"}
    assert len(notes) == 1
    assert "itself" in notes[0]
    assert "link" in notes[0]


@pytest.mark.threat(3)
@pytest.mark.parametrize("target", ["/etc", "..", ".", "/proc/self/root", "real"])
def test_a_link_to_a_directory_is_never_entered(work: Path, target: str) -> None:
    (work / "real").mkdir()
    (work / "real" / "x").write_text("mine")
    (work / "link").symlink_to(target)
    found, _ = collect(work)
    assert set(found) == {"real/x"}


@pytest.mark.threat(3)
def test_a_hard_link_is_not_collected_under_either_name(work: Path) -> None:
    os.link(work.parent / "victim", work / "stolen")
    (work / "one").write_text("1")
    os.link(work / "one", work / "two")
    found, notes = collect(work)
    assert found == {}
    assert len(notes) == 3
    assert all("hard link" in note for note in notes)


@pytest.mark.threat(3)
@pytest.mark.timeout(20)
def test_fifos_and_sockets_are_passed_over_without_waiting(work: Path) -> None:
    os.mkfifo(work / "fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(work / "socket"))
        (work / "plain").write_text("x")
        began = time.monotonic()
        found, notes = collect(work)
    assert time.monotonic() - began < 2
    assert set(found) == {"plain"}
    assert {note.split()[0] for note in notes} == {"fifo", "socket"}


@pytest.mark.threat(3)
@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes device files")
def test_a_device_is_not_read(work: Path) -> None:
    try:
        os.mknod(work / "zero", stat.S_IFCHR | 0o666, os.makedev(1, 5))
        os.mknod(work / "disk", stat.S_IFBLK | 0o666, os.makedev(7, 0))
    except PermissionError:
        pytest.skip("this host lets not even root make device files")
    found, notes = collect(work)
    assert found == {}
    assert len(notes) == 2


@pytest.mark.threat(5)
def test_a_sparse_file_of_ten_gigabytes_is_not_read(work: Path) -> None:
    with (work / "huge").open("wb") as file:
        file.truncate(10 << 30)
    (work / "small").write_text("x")
    began = time.monotonic()
    found, notes = collect(work, artifact_bytes=1 << 20)
    assert time.monotonic() - began < 2
    assert set(found) == {"small"}
    assert notes == ("huge was not collected: it does not fit artifact_bytes=1048576.",)


def test_the_limit_of_bytes_is_exact_and_counts_all_files_together(work: Path) -> None:
    (work / "a").write_bytes(bytes(600))
    (work / "b").write_bytes(bytes(400))
    assert set(collect(work, artifact_bytes=1000)[0]) == {"a", "b"}
    found, notes = collect(work, artifact_bytes=999)
    assert len(found) == 1
    assert len(notes) == 1
    assert collect(work, artifact_bytes=0)[0] == {}


def test_the_limit_of_files_is_exact(work: Path) -> None:
    for number in range(5):
        (work / str(number)).touch()
    assert len(collect(work, artifact_count=5)[0]) == 5
    found, notes = collect(work, artifact_count=3)
    assert len(found) == 3
    assert len(notes) == 2
    assert collect(work, artifact_count=0)[0] == {}


@pytest.mark.threat(5)
@pytest.mark.timeout(60)
def test_twenty_five_thousand_files_end_soon_and_say_so(work: Path) -> None:
    for number in range(25_000):
        os.close(os.open(work / f"f{number}", os.O_CREAT | os.O_WRONLY))
    began = time.monotonic()
    found, notes = collect(work, artifact_count=10)
    assert time.monotonic() - began < 10
    assert len(found) == 10
    assert len(notes) <= 22
    assert sum(map(len, notes)) < 10_000
    # What matches no glob needs no note, but that the rest was not looked at must be said.
    _, notes = collect(work, ("nothing",))
    assert any("20000" in note for note in notes)


@pytest.mark.threat(5)
def test_thousands_of_directories_do_not_take_the_applications_descriptors(work: Path) -> None:
    for number in range(3000):
        (work / f"d{number}").mkdir()
    most = 0
    done = threading.Event()

    def watch() -> None:
        nonlocal most
        while not done.is_set():
            most = max(most, len(os.listdir("/proc/self/fd")))

    before = len(os.listdir("/proc/self/fd"))
    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        for _ in range(5):
            collect(work)
    finally:
        done.set()
        watcher.join()
    assert most - before < 64


@pytest.mark.threat(6)
def test_two_hundred_directories_deep_ends(work: Path) -> None:
    here = os.open(work, os.O_RDONLY)
    for depth in range(200):
        os.mkdir("d" * 200, dir_fd=here)
        below = os.open("d" * 200, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
        if depth in (3, 150):
            os.close(os.open("x", os.O_CREAT | os.O_WRONLY, dir_fd=here))
    os.close(here)
    found, _ = collect(work)
    assert {name.count("/") for name in found} == {4}
    os.system(f"rm -rf '{work}'")  # longer than a path may be, which pytest's own clean-up cannot remove
    work.mkdir()


@pytest.mark.threat(5)
def test_files_deeper_than_we_look_are_mentioned(work: Path) -> None:
    deep = work.joinpath(*["d"] * 40)
    deep.mkdir(parents=True)
    (deep / "result.csv").write_text("wanted")
    found, notes = collect(work)
    assert found == {}
    assert notes


@pytest.mark.threat(6)
@pytest.mark.parametrize(
    "name",
    [
        b"new\nline",
        b"\xff\xfe",
        b"tab\t",
        b"\x1b[2J",
        b"back\\slash",
        b"cr\r",
        "bidi\u202etxt".encode(),
        b"\xed\xa0\x80",
    ],
)
def test_a_name_that_is_not_plain_text_is_not_collected_and_shown_escaped(work: Path, name: bytes) -> None:
    with open(os.path.join(os.fsencode(work), name), "wb") as file:
        file.write(b"x")
    found, notes = collect(work)
    assert found == {}
    assert len(notes) == 1
    assert notes[0].isprintable()
    assert notes[0].isascii()


@pytest.mark.threat(6)
@pytest.mark.parametrize(
    "name", ["-rf", " ", "a b", "ünïcödé.txt", "数据.csv", "...", "~", "$HOME", "*", "[a]", "a" * 255, "'"]
)
def test_an_odd_but_plain_name_is_collected_and_can_be_saved(work: Path, tmp_path: Path, name: str) -> None:
    (work / name).write_text("x")
    found, notes = collect(work)
    assert (set(found), notes) == ({name}, ())
    assert found[name].save(tmp_path / "out").read_text() == "x"


@pytest.mark.threat(6)
def test_a_directory_with_an_odd_name_is_not_entered(work: Path) -> None:
    (work / "evil\n").mkdir()
    (work / "evil\n" / "x").write_text("x")
    found, notes = collect(work)
    assert found == {}
    assert len(notes) == 1


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_what_cannot_be_read_is_noted(work: Path) -> None:
    (work / "locked").touch(mode=0)
    (work / "closed").mkdir(mode=0)
    found, notes = collect(work)
    (work / "closed").chmod(0o700)
    assert found == {}
    assert len(notes) == 2


@pytest.mark.threat(3)
@pytest.mark.timeout(60)
def test_a_file_that_turns_into_a_link_meanwhile_is_never_read_through(work: Path) -> None:
    """Every cell is dead when collecting starts; even if one were not, this race could not be won."""
    done = threading.Event()

    def swap(name: str, decoy: str) -> None:
        turn = 0
        while not done.is_set():
            turn += 1
            other = work / f".{name}"
            if turn % 3 == 0:
                other.symlink_to("../victim")
            elif turn % 3 == 1:
                other.write_text(decoy)
            else:
                os.mkfifo(other)
            other.replace(work / name)

    swappers = [threading.Thread(target=swap, args=(f"f{number}", "decoy")) for number in range(3)]
    for thread in swappers:
        thread.start()
    contents = set()
    try:
        deadline = time.monotonic() + 30
        rounds = 0
        while rounds < 300 or (b"decoy" not in contents and time.monotonic() < deadline):
            rounds += 1
            found, _ = collect(work, ("f?",))
            contents |= {item.content for item in found.values()}
    finally:
        done.set()
        for thread in swappers:
            thread.join()
    assert contents <= {b"decoy", b""}  # empty: caught while it was written
    assert b"decoy" in contents


@pytest.mark.threat(3)
@pytest.mark.timeout(60)
def test_a_directory_that_turns_into_a_link_meanwhile_is_never_entered(work: Path) -> None:
    outside = work.parent / "outside"
    outside.mkdir()
    (outside / "x").write_text("the host's")
    done = threading.Event()

    def swap() -> None:
        turn = 0
        while not done.is_set():
            turn += 1
            (work / "inner").mkdir()
            (work / "inner" / "x").write_text("decoy")
            (work / "inner").rename(work.parent / f"away{turn}")
            (work / "inner").symlink_to("../outside")
            (work / "inner").unlink()

    swapper = threading.Thread(target=swap)
    swapper.start()
    contents = set()
    try:
        for _ in range(500):
            found, _ = collect(work)
            contents |= {item.content for item in found.values()}
    finally:
        done.set()
        swapper.join()
    assert contents <= {b"decoy", b""}


@pytest.mark.threat(3)
@pytest.mark.parametrize("place", ["link", "inner/link", "link/inner"])
def test_a_link_that_took_a_directorys_place_after_it_was_listed_is_not_opened(work: Path, place: str) -> None:
    outside = work.parent / "outside"
    (outside / "inner").mkdir(parents=True)
    (work / "inner").mkdir()
    (work / place.partition("link")[0] / "link").symlink_to(outside)
    handle = os.open(work, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with pytest.raises(NotADirectoryError):
            artifacts.open_directory(handle, tuple(place.split("/")))
    finally:
        os.close(handle)


@pytest.mark.threat(5)
def test_a_growing_file_is_cut_off_near_its_size_when_it_was_opened(work: Path) -> None:
    done = threading.Event()

    def grow() -> None:
        with (work / "log").open("ab", buffering=0) as file:
            while not done.is_set() and file.tell() < 64 << 20:
                file.write(bytes(65536))

    (work / "log").touch()
    writer = threading.Thread(target=grow)
    writer.start()
    try:
        for _ in range(20):
            found, _ = collect(work, artifact_bytes=1_000_000)
            assert all(item.size <= 1_000_000 and item.size == len(item.content) for item in found.values())
    finally:
        done.set()
        writer.join()


def test_collecting_twice_gives_the_same(work: Path) -> None:
    for number in range(20):
        (work / f"{number}").write_text(str(number))
    handle = os.open(work, os.O_RDONLY | os.O_DIRECTORY)
    try:
        first = artifacts.collect(handle, ALL, SandboxConfig(), {})
        assert artifacts.collect(handle, ALL, SandboxConfig(), {}) == first
        assert len(first[0]) == 20
    finally:
        os.close(handle)


def given(content: bytes) -> artifacts.Given:
    return artifacts.Given(size=len(content), sha256=hashlib.sha256(content).hexdigest())


def collect_beside(work: Path, files: dict[str, artifacts.Given], **limits: int) -> tuple[list[str], tuple[str, ...]]:
    handle = os.open(work, os.O_RDONLY)
    try:
        found, notes = artifacts.collect(handle, ALL, SandboxConfig(**limits), files)
    finally:
        os.close(handle)
    return [item.name for item in found], notes


def test_a_given_file_comes_back_only_when_it_was_changed(work: Path) -> None:
    for name in ("same", "changed", "same size", "own"):
        (work / name).write_bytes(b"as it is")
    files = {"same": given(b"as it is"), "changed": given(b"as it was"), "same size": given(b"as it IS")}
    assert collect_beside(work, files) == (["changed", "own", "same size"], ())


def test_a_given_file_counts_against_no_limit_of_artifacts(work: Path) -> None:
    for number in range(5):
        (work / f"in{number}").write_bytes(bytes(5000))
    (work / "z_made_here").write_bytes(bytes(1000))
    files = {f"in{number}": given(bytes(5000)) for number in range(5)}
    assert collect_beside(work, files, artifact_bytes=1000, artifact_count=1) == (["z_made_here"], ())
