"""What travels beside the words of a conversation: descriptors and files, and the word that a cell is ready."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from observers.streams import Worker, descriptors, played, request, talk, then_waits

from hotcell.errors import ConfigurationError, SandboxCrashed, SandboxUnavailable
from hotcell.sandboxes import conversation
from hotcell.sandboxes.conversation import End, converse, wait_until_ready
from hotcell.worker import wire

# Descriptors.


def flood_of_descriptors(handle: socket.socket, data: bytes) -> None:
    with open("/dev/null", "rb") as null:
        socket.send_fds(handle, [data], [null.fileno()] * 200)


@pytest.mark.threat(35)
def test_descriptors_sent_along_with_frames_are_not_received() -> None:
    here: list[int] = []

    def script(worker: Worker) -> None:
        here.append(len(descriptors()))
        for byte in wire.encode(wire.RESULT, b'{"outcome": "ok"}')[:-1]:
            flood_of_descriptors(worker.channel, bytes([byte]))
        worker.send(b"}")

    with played(then_waits(script)) as cell:
        heard = converse(cell, request())
        assert heard.end is End.REPORT
        assert len(descriptors()) == here[0]


@pytest.mark.threat(35)
def test_descriptors_sent_along_with_output_are_not_received() -> None:
    here: list[int] = []

    def script(worker: Worker) -> None:
        here.append(len(descriptors()))
        for name in ("stdout", "stderr"):
            with socket.socket(fileno=os.dup(getattr(worker, name))) as stream:
                flood_of_descriptors(stream, b"x")
        worker.report(outcome="ok")

    with played(then_waits(script), sockets=True) as cell:
        heard = converse(cell, request())
        assert heard.output == {"stdout": b"x", "stderr": b"x"}
        assert len(descriptors()) == here[0]


def give(worker: Worker, frame: bytes, path: str | Path, count: int = 1) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        socket.send_fds(worker.channel, [frame], [handle] * count)
    finally:
        os.close(handle)


def test_the_directory_comes_as_a_descriptor_that_children_do_not_inherit(tmp_path: Path) -> None:
    (tmp_path / "x").touch()

    def script(worker: Worker) -> None:
        give(worker, wire.encode(wire.DIRECTORY), tmp_path)
        worker.report(outcome="ok")

    with played(then_waits(script)) as cell:
        heard = converse(cell, request(artifacts=("*",)))
        assert os.listdir(heard.directory) == ["x"]
        assert not os.get_inheritable(heard.directory)
        os.close(heard.directory)
    assert heard.end is End.REPORT


@pytest.mark.threat(35)
def test_only_the_one_directory_is_taken_of_many_descriptors(tmp_path: Path) -> None:
    def script(worker: Worker) -> None:
        give(worker, wire.encode(wire.DIRECTORY), tmp_path, count=100)
        worker.report(outcome="ok")

    assert talk(then_waits(script), asked=request(artifacts=("*",))).end is End.REPORT  # ``talk`` counts what is left


@pytest.mark.threat(35)
def test_a_directory_that_nobody_asked_for_is_not_received(tmp_path: Path) -> None:
    def script(worker: Worker) -> None:
        give(worker, wire.encode(wire.DIRECTORY), tmp_path)
        worker.report(outcome="ok")

    heard = talk(then_waits(script))
    assert (heard.end, heard.directory) == (End.PROTOCOL, -1)


def test_a_directory_frame_without_a_directory_brings_none() -> None:
    def script(worker: Worker) -> None:
        worker.send(wire.encode(wire.DIRECTORY))
        worker.report(outcome="ok")

    heard = talk(then_waits(script), asked=request(artifacts=("*",)))
    assert (heard.end, heard.directory) == (End.REPORT, -1)


# Files.


@pytest.mark.parametrize("as_path", [False, True], ids=["bytes", "path"])
def test_files_arrive_whole_and_in_order(tmp_path: Path, as_path: bool) -> None:
    contents = {"a": b"first", "empty": b"", "big": os.urandom(3 * wire.CHUNK + 17), "z": b"last"}
    files: dict[str, bytes | os.PathLike[str]] = dict(contents)
    if as_path:
        for name, data in contents.items():
            (tmp_path / name).write_bytes(data)
            files[name] = tmp_path / name
    got: list[bytes] = []

    def script(worker: Worker) -> None:
        sizes = worker.hear_request()["files"]
        assert sizes == [[name, len(data), 0o600] for name, data in contents.items()]
        got.append(worker.hear_data(sum(size for _, size, _ in sizes)))
        worker.report(outcome="ok")

    assert talk(script, asked=request(files=files)).end is End.REPORT
    assert got == [b"".join(contents.values())]


def test_a_file_that_became_shorter_is_an_error_that_names_it() -> None:
    # What /proc says of its own size is more than what it holds: it shrinks without a race.
    shrinking = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    if not shrinking.exists() or shrinking.stat().st_size <= len(shrinking.read_bytes()):
        pytest.skip("this host has no file that is shorter than it says")
    with (
        played(then_waits(lambda worker: None)) as cell,
        pytest.raises(ConfigurationError, match=r"data\.txt.*shorter"),
    ):
        converse(cell, request(files={"data.txt": shrinking}))


def test_a_file_that_grew_is_sent_at_its_first_size() -> None:
    growing = Path("/proc/self/maps")  # says 0 and holds more
    sizes: list[Any] = []

    def script(worker: Worker) -> None:
        sizes.extend(worker.hear_request()["files"])
        worker.report(outcome="ok")

    assert talk(script, asked=request(files={"a": growing})).end is End.REPORT
    assert sizes == [["a", 0, 0o600]]


def test_a_file_that_is_gone_is_an_error_before_anything_is_sent(tmp_path: Path) -> None:
    with played(lambda worker: None) as cell:
        asked = request(files={"a": tmp_path / "gone"})
        with pytest.raises(ConfigurationError, match=r"files\['a'\]"):
            converse(cell, asked)
        assert not select.select([cell.worker.channel], [], [], 0)[0]


def test_a_file_that_became_a_folder_is_our_error_and_names_it(tmp_path: Path) -> None:
    with played(then_waits(lambda worker: None)) as cell, pytest.raises(ConfigurationError, match=r"files\['a'\]"):
        converse(cell, request(files={"a": tmp_path}))


@pytest.mark.timeout(20)
def test_a_file_that_became_a_fifo_does_not_make_us_wait(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    done = threading.Event()

    def ask() -> None:
        with (
            played(then_waits(lambda worker: worker.report(outcome="ok"))) as cell,
            contextlib.suppress(ConfigurationError),
        ):
            converse(cell, request(files={"a": tmp_path / "fifo"}))
        done.set()

    asking = threading.Thread(target=ask)
    asking.start()
    in_time = done.wait(3)
    if not in_time:  # let it go, so that the failure is this line and not a hang
        os.close(os.open(tmp_path / "fifo", os.O_WRONLY | os.O_NONBLOCK))
    asking.join()
    assert in_time


def test_a_worker_that_takes_no_files_and_dies_is_a_death() -> None:
    def script(worker: Worker) -> None:
        worker.hear_request()
        time.sleep(0.05)
        worker.die()

    assert talk(script, asked=request(files={"a": bytes(8 << 20)})).end is End.DEATH


# Getting ready.


@pytest.mark.parametrize(("given", "taken"), [(1, 1), (2, 2), (50, 2)])
def test_ready_is_heard_and_brings_its_descriptors(given: int, taken: int) -> None:
    with played(lambda worker: give(worker, wire.encode(wire.READY), "/dev/null", count=given)) as cell:
        handles = wait_until_ready(cell)
        assert len(handles) == taken
        for handle in handles:
            assert os.path.samestat(os.fstat(handle), os.stat("/dev/null"))
            assert not os.get_inheritable(handle)
            os.close(handle)


def test_descriptors_that_came_before_a_fault_are_closed() -> None:
    """``played`` counts the descriptors."""
    frame = wire.encode(wire.FAULT, b"layer seccomp")
    with played(lambda worker: give(worker, frame, "/dev/null", count=2)) as cell, pytest.raises(SandboxUnavailable):
        wait_until_ready(cell)


def test_ready_may_come_alone() -> None:
    with played(lambda worker: worker.send(wire.encode(wire.READY))) as cell:
        assert wait_until_ready(cell) == []


def test_a_fault_is_unavailable_and_carries_its_text() -> None:
    with (
        played(lambda worker: worker.send(wire.encode(wire.FAULT, "layer landlock: é".encode()))) as cell,
        pytest.raises(SandboxUnavailable, match="layer landlock: é"),
    ):
        wait_until_ready(cell)


def test_an_end_before_ready_is_a_crash() -> None:
    with played(Worker.die) as cell, pytest.raises(SandboxCrashed, match="ended"):
        wait_until_ready(cell)


def test_silence_before_ready_is_a_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversation, "_READY_SECONDS", 0.1)
    with played(lambda worker: worker.stopped.wait(30)) as cell, pytest.raises(SandboxCrashed, match="not ready"):
        wait_until_ready(cell)


@pytest.mark.parametrize("stream", [b"garbage", wire.encode(wire.RESULT, b"{}"), wire.HEADER.pack(wire.FAULT, 1 << 30)])
def test_garbage_before_ready_is_a_crash(stream: bytes) -> None:
    with played(lambda worker: worker.send(stream)) as cell, pytest.raises((SandboxCrashed, SandboxUnavailable)):
        wait_until_ready(cell)
