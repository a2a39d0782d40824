"""One conversation over real pipes and sockets, with workers that do what no honest worker would."""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hotcell.config import SandboxConfig
from hotcell.errors import ConfigurationError, SandboxCrashed, SandboxUnavailable
from hotcell.sandboxes import conversation
from hotcell.sandboxes.base import RunRequest
from hotcell.sandboxes.conversation import End, Heard, NeverBegan, converse, text_of, wait_until_ready
from hotcell.worker import wire

Script = Callable[["Worker"], None]
NARROW = 1 << 16


def descriptors() -> set[str]:
    return {name for name in os.listdir("/proc/self/fd") if os.path.lexists(f"/proc/self/fd/{name}")}


class Worker:
    """The far side of the streams, as a hostile program that owns all of them."""

    def __init__(self, channel: socket.socket, stdout: int, stderr: int, end: int, alarm: int) -> None:
        self.channel = channel
        self.stdout, self.stderr, self.end, self.alarm = stdout, stderr, end, alarm
        self.stopped = threading.Event()
        self.got = bytearray()

    def send(self, *frames: bytes) -> None:
        self.channel.sendall(b"".join(frames))

    def report(self, **fields: Any) -> None:
        self.send(wire.encode(wire.RESULT, json.dumps(fields).encode()))

    def hear_request(self) -> dict[str, Any]:
        """The request; what came after it is in ``got``."""
        while True:
            if len(self.got) >= wire.HEADER.size:
                kind, length = wire.HEADER.unpack_from(self.got)
                if len(self.got) >= wire.HEADER.size + length:
                    assert kind == wire.REQUEST
                    payload = bytes(self.got[wire.HEADER.size : wire.HEADER.size + length])
                    del self.got[: wire.HEADER.size + length]
                    return json.loads(payload)
            self.got += self._more()

    def hear_data(self, size: int) -> bytes:
        decoder = wire.Decoder(wire.FROM_US)
        frames = decoder.feed(bytes(self.got))
        while sum(len(payload) for _, payload in frames) < size:
            frames += decoder.feed(self._more())
        assert {kind for kind, _ in frames} <= {wire.DATA}
        return b"".join(payload for _, payload in frames)

    def _more(self) -> bytes:
        data = self.channel.recv(1 << 16)
        if not data:
            raise BrokenPipeError
        return data

    def close(self, name: str) -> None:
        handle = getattr(self, name)
        if isinstance(handle, socket.socket):
            handle.close()
        elif handle >= 0:
            os.close(handle)
            setattr(self, name, -1)

    def die(self) -> None:
        for name in ("channel", "stdout", "stderr", "end", "alarm"):
            self.close(name)


class Cell:
    """The near side: what a sandbox gives a conversation."""

    def __init__(self, *, sockets: bool = False, alarm: bool = False) -> None:
        self.channel, far = socket.socketpair()
        self._kept: list[socket.socket] = []
        ends = [self._pipe(sockets) for _ in range(2)]
        end = os.pipe()
        bell = os.pipe() if alarm else (-1, -1)
        self.stdout, self.stderr = ends[0][0], ends[1][0]
        for handle in (self.stdout, self.stderr):
            os.set_blocking(handle, False)
        self.end, self.alarm = end[0], bell[0]
        self.worker = Worker(far, ends[0][1], ends[1][1], end[1], bell[1])
        self.held, self.cpu, self.killed, self.name = 0, 0.0, False, ""

    def _pipe(self, sockets: bool) -> tuple[int, int]:
        if not sockets:
            return os.pipe()
        near, far = socket.socketpair()
        return near.detach(), far.detach()

    def read_alarm(self) -> str:
        os.read(self.alarm, 1)
        return self.name

    def start_measuring(self) -> None:
        self.measured = True

    def cpu_seconds(self) -> float:
        return self.cpu

    def holds_more_than(self, memory_bytes: int) -> bool:
        return self.held > memory_bytes

    def kill(self) -> None:
        self.killed = True
        self.worker.stopped.set()
        with contextlib.suppress(OSError):
            self.channel.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self.channel.close()
        for handle in (self.stdout, self.stderr, self.end, self.alarm):
            if handle >= 0:
                os.close(handle)


@contextlib.contextmanager
def played(script: Script, **options: bool) -> Iterator[Cell]:
    """A cell whose worker follows the script in a thread of its own; nothing is left open afterwards."""
    before = descriptors()
    cell = Cell(**options)

    def play() -> None:
        # The near side may hang up at any point.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            script(cell.worker)

    thread = threading.Thread(target=play)
    thread.start()
    try:
        yield cell
    finally:
        cell.kill()
        cell.close()
        thread.join(20)
        cell.worker.die()
        assert not thread.is_alive()
        assert descriptors() == before


def request(**options: Any) -> RunRequest:
    limits = {"timeout_seconds": 5.0, **options.pop("config", {})}
    return RunRequest(code=options.pop("code", "pass"), config=SandboxConfig(**limits), **options)


def talk(script: Script, *, asked: RunRequest | None = None, near: dict[str, bool] | None = None) -> Heard:
    with played(script, **(near or {})) as cell:
        heard = converse(cell, asked or request())
        if heard.directory >= 0:
            os.close(heard.directory)
        return heard


def after_request(action: Script) -> Script:
    def script(worker: Worker) -> None:
        worker.hear_request()
        action(worker)

    return script


def then_waits(action: Script) -> Script:
    def script(worker: Worker) -> None:
        worker.hear_request()
        action(worker)
        worker.stopped.wait(30)

    return script


def test_a_report_and_both_streams_are_heard() -> None:
    def script(worker: Worker) -> None:
        os.write(worker.stdout, b"out")
        os.write(worker.stderr, b"err")
        worker.report(outcome="ok", value=42)

    heard = talk(then_waits(script))
    assert (heard.end, heard.problem, heard.output_bytes) == (End.REPORT, "", 6)
    assert heard.report == {"outcome": "ok", "value": 42}
    assert heard.output == {"stdout": b"out", "stderr": b"err"}
    assert 0 < heard.seconds < 2


def test_the_request_says_what_was_asked_for() -> None:
    said: list[dict[str, Any]] = []

    def script(worker: Worker) -> None:
        said.append(worker.hear_request())
        worker.report(outcome="ok")

    asked = request(code="x = '\ud800é'", context={"a": [1, None, "ü"]}, namespace={"policy": "p"}, filename="<me>")
    assert talk(script, asked=asked).end is End.REPORT
    assert said == [
        {
            "code": "x = '\ud800é'",
            "filename": "<me>",
            "context": {"a": [1, None, "ü"]},
            "namespace": {"policy": "p"},
            "value_bytes": 1 << 20,
            "files": [],
            "artifacts": False,
        }
    ]


# Frames that break the rules.


@pytest.mark.threat(29, 31)
@pytest.mark.parametrize(
    "stream",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        bytes(100),
        b"\xff" * 100,
        wire.encode(wire.REQUEST, b"{}"),
        wire.encode(wire.DATA, b"x"),
        wire.encode(99),
        wire.HEADER.pack(wire.RESULT, 2**32 - 1),
        wire.HEADER.pack(wire.READY, 1),
        wire.HEADER.pack(wire.FAULT, 4097),
        wire.encode(wire.RESULT, b"not json"),
        wire.encode(wire.RESULT, b"[]"),
        wire.encode(wire.RESULT, b""),
        wire.encode(wire.RESULT, b'{"value": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
        wire.encode(wire.READY) * 100 + wire.encode(0xEE),
    ],
    ids=lambda stream: repr(stream[:24]),
)
def test_what_the_protocol_does_not_allow_ends_the_cell_at_once(stream: bytes) -> None:
    began = time.monotonic()
    heard = talk(then_waits(lambda worker: worker.send(stream)))
    assert heard.end is End.PROTOCOL
    assert heard.problem
    assert heard.problem.isprintable()
    assert heard.report == {}
    assert time.monotonic() - began < 2


@pytest.mark.threat(29)
def test_a_result_larger_than_allowed_is_refused_by_its_header() -> None:
    config = {"value_bytes": 1024}
    most = 1024 + conversation._REPORT_BYTES

    def script(worker: Worker) -> None:
        worker.send(wire.HEADER.pack(wire.RESULT, most + 1))

    heard = talk(then_waits(script), asked=request(config=config))
    assert heard.end is End.PROTOCOL
    assert str(most) in heard.problem
    payload = b'{"outcome": "ok", "pad": "' + b"x" * (most - 28) + b'"}'
    assert len(payload) == most
    heard = talk(
        then_waits(lambda worker: worker.send(wire.encode(wire.RESULT, payload))), asked=request(config=config)
    )
    assert heard.end is End.REPORT


@pytest.mark.threat(30)
def test_of_two_reports_the_first_counts() -> None:
    def script(worker: Worker) -> None:
        both = [wire.encode(wire.RESULT, b'{"outcome": "%s"}' % word) for word in (b"ok", b"error")]
        worker.send(*both)

    heard = talk(then_waits(script))
    assert (heard.end, heard.report) == (End.REPORT, {"outcome": "ok"})


@pytest.mark.threat(30)
def test_a_result_cut_in_the_middle_and_silence_is_a_timeout() -> None:
    half = wire.encode(wire.RESULT, b'{"outcome": "ok"}')[:-3]
    heard = talk(then_waits(lambda worker: worker.send(half)), asked=request(config={"timeout_seconds": 0.3}))
    assert (heard.end, heard.report) == (End.WALL_CLOCK, {})
    assert 0.3 <= heard.seconds < 1


@pytest.mark.threat(30)
def test_a_result_cut_in_the_middle_and_death_is_a_death() -> None:
    def script(worker: Worker) -> None:
        worker.send(wire.encode(wire.RESULT, b'{"outcome": "ok"}')[:-3])
        worker.die()

    heard = talk(after_request(script))
    assert (heard.end, heard.report) == (End.DEATH, {})


def test_a_report_that_arrives_together_with_the_end_is_heard() -> None:
    def script(worker: Worker) -> None:
        os.write(worker.stdout, b"last words")
        worker.report(outcome="ok")
        worker.die()

    for _ in range(30):
        heard = talk(after_request(script))
        assert (heard.end, heard.report) == (End.REPORT, {"outcome": "ok"})
        assert heard.output["stdout"] == b"last words"


def test_a_report_that_takes_several_reads_is_heard_although_the_worker_is_dead(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(conversation, "_READ_BYTES", 16)

    def script(worker: Worker) -> None:
        os.write(worker.stdout, b"last words" * 10)
        worker.report(outcome="ok", value="x" * 1000)
        worker.die()

    heard = talk(after_request(script))
    assert (heard.end, heard.report["value"]) == (End.REPORT, "x" * 1000)
    assert heard.output["stdout"] == b"last words" * 10


def test_a_report_sent_byte_by_byte_is_heard() -> None:
    def script(worker: Worker) -> None:
        for byte in wire.encode(wire.RESULT, b'{"outcome": "ok"}'):
            worker.send(bytes([byte]))

    assert talk(then_waits(script)).report == {"outcome": "ok"}


@pytest.mark.threat(29)
@pytest.mark.parametrize(
    "frame", [wire.encode(wire.READY), wire.encode(wire.FAULT, b"x" * 4096)], ids=["READY", "FAULT"]
)
def test_an_endless_stream_of_idle_frames_takes_no_memory_and_ends_in_time(frame: bytes) -> None:
    def script(worker: Worker) -> None:
        flood = frame * (NARROW // len(frame))
        while not worker.stopped.is_set():
            worker.send(flood)

    tracemalloc.start()
    try:
        heard = talk(then_waits(script), asked=request(config={"timeout_seconds": 0.5}))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert heard.end in (End.WALL_CLOCK, End.PROTOCOL)
    assert heard.seconds < 2
    assert peak < 16 << 20


# Output.


@pytest.mark.threat(26)
@pytest.mark.parametrize("streams", [["stdout"], ["stderr"], ["stdout", "stderr"]], ids=["out", "err", "both"])
def test_a_flood_is_cut_at_the_limit_with_flat_memory(streams: list[str]) -> None:
    def script(worker: Worker) -> None:
        def flood(handle: int) -> None:
            with contextlib.suppress(OSError):
                while not worker.stopped.is_set():
                    os.write(handle, bytes(NARROW))

        writers = [threading.Thread(target=flood, args=(getattr(worker, name),)) for name in streams]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join()

    tracemalloc.start()
    try:
        heard = talk(then_waits(script), asked=request(config={"output_bytes": 100_000}))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert heard.end is End.OUTPUT
    assert sum(map(len, heard.output.values())) == 100_000
    assert heard.output_bytes > 100_000
    assert heard.seconds < 2
    assert peak < 8 << 20


@pytest.mark.threat(26)
@pytest.mark.parametrize(("size", "end"), [(5000, End.REPORT), (5001, End.OUTPUT)])
@pytest.mark.parametrize("split", [0, 1, 2500, 5000])
def test_output_at_the_limit_is_whole_and_one_byte_more_is_too_much(size: int, end: End, split: int) -> None:
    def script(worker: Worker) -> None:
        os.write(worker.stdout, b"o" * split)
        os.write(worker.stderr, b"e" * (size - split))
        worker.report(outcome="ok")

    heard = talk(then_waits(script), asked=request(config={"output_bytes": 5000}))
    assert heard.end is end
    assert sum(map(len, heard.output.values())) == 5000
    assert heard.output_bytes == size


@pytest.mark.threat(28)
def test_bytes_that_are_not_utf8_and_characters_cut_in_two_are_kept_as_they_are() -> None:
    pieces = [b"\xf0\x9f", b"\x98\x80", b"\xff\xfe\x00", b"\xe2\x82", b"\xac\n"]

    def script(worker: Worker) -> None:
        for piece in pieces:
            os.write(worker.stdout, piece)
            time.sleep(0.01)
        worker.report(outcome="ok")

    assert talk(then_waits(script)).output["stdout"] == b"".join(pieces)


@given(
    writes=st.lists(st.tuples(st.sampled_from(["stdout", "stderr"]), st.binary(max_size=200)), max_size=15),
    limit=st.integers(1024, 1500),
)
@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])
def test_each_stream_is_a_prefix_of_what_was_written(writes: list[tuple[str, bytes]], limit: int) -> None:
    def script(worker: Worker) -> None:
        for name, data in writes:
            os.write(getattr(worker, name), data)
        worker.report(outcome="ok")

    heard = talk(then_waits(script), asked=request(config={"output_bytes": limit}))
    written = {name: b"".join(data for to, data in writes if to == name) for name in ("stdout", "stderr")}
    total = sum(map(len, written.values()))
    assert heard.end is (End.REPORT if total <= limit else End.OUTPUT)
    for name, data in written.items():
        assert data.startswith(bytes(heard.output[name]))
    assert sum(map(len, heard.output.values())) == min(total, limit)


FRAMES = st.one_of(
    st.sampled_from([wire.encode(wire.READY), wire.encode(wire.DIRECTORY), wire.encode(wire.FAULT, b"x")]),
    st.builds(wire.encode, st.just(wire.RESULT), st.sampled_from([b'{"outcome": "ok"}', b"{}", b"[]", b"\xff"])),
    st.binary(max_size=12),
)
DEEDS = st.lists(
    st.one_of(
        st.tuples(st.just("send"), FRAMES),
        st.tuples(st.sampled_from(["stdout", "stderr"]), st.binary(min_size=1, max_size=600)),
        st.tuples(st.just("close"), st.sampled_from(["channel", "stdout", "stderr"])),
    ),
    max_size=10,
)


@pytest.mark.threat(27, 29, 30, 31)
@given(deeds=DEEDS, dies=st.booleans())
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
def test_whatever_a_worker_does_the_conversation_ends_in_time_and_within_its_limits(
    deeds: list[tuple[str, Any]], dies: bool
) -> None:
    def script(worker: Worker) -> None:
        for deed, what in deeds:
            with contextlib.suppress(OSError):  # it has closed that one itself
                if deed == "send":
                    worker.send(what)
                elif deed == "close":
                    worker.close(what)
                else:
                    os.write(getattr(worker, deed), what)
        if dies:
            worker.die()

    heard = talk(then_waits(script), asked=request(config={"timeout_seconds": 0.05, "output_bytes": 1024}))
    assert heard.end in {End.REPORT, End.DEATH, End.WALL_CLOCK, End.OUTPUT, End.PROTOCOL}
    assert heard.seconds < 2
    assert sum(map(len, heard.output.values())) <= 1024
    assert (heard.end is End.OUTPUT) == (heard.output_bytes > 1024)
    if heard.end is not End.REPORT and heard.end is not End.OUTPUT:
        assert heard.report == {}


# Ends.


@pytest.mark.threat(27)
@pytest.mark.parametrize("closed", [["stdout"], ["stderr"], ["stdout", "stderr"]])
def test_closing_its_streams_changes_nothing(closed: list[str]) -> None:
    def script(worker: Worker) -> None:
        for name in closed:
            worker.close(name)
        time.sleep(0.1)
        worker.report(outcome="ok")

    heard = talk(then_waits(script))
    assert (heard.end, heard.report) == (End.REPORT, {"outcome": "ok"})


@pytest.mark.threat(27, 32)
def test_closing_everything_and_living_on_is_a_timeout_without_a_busy_loop() -> None:
    def script(worker: Worker) -> None:
        for name in ("channel", "stdout", "stderr"):
            worker.close(name)

    before = time.thread_time()
    heard = talk(then_waits(script), asked=request(config={"timeout_seconds": 0.5}))
    assert heard.end is End.WALL_CLOCK
    assert time.thread_time() - before < 0.2


@pytest.mark.threat(32)
def test_death_without_a_word_is_a_death_and_quick() -> None:
    heard = talk(after_request(Worker.die))
    assert heard.end is End.DEATH
    assert heard.seconds < 1


def test_death_before_the_request_is_told_apart_because_trying_again_is_safe() -> None:
    with played(Worker.die) as cell:
        cell.worker.stopped.wait(0.1)
        with pytest.raises(NeverBegan):
            converse(cell, request(files={"a": bytes(1 << 20)}, artifacts=("*",)))


def test_death_while_files_are_sent_is_a_death() -> None:
    def script(worker: Worker) -> None:
        worker.hear_request()
        worker.hear_data(1)
        worker.die()

    heard = talk(script, asked=request(files={"a": bytes(8 << 20)}, artifacts=("*",)))
    assert (heard.end, heard.directory) == (End.DEATH, -1)


@pytest.mark.threat(57)
def test_output_written_just_before_death_is_not_lost() -> None:
    def script(worker: Worker) -> None:
        os.write(worker.stdout, b"o" * 60_000)
        os.write(worker.stderr, b"e" * 60_000)
        worker.die()

    for _ in range(10):
        heard = talk(after_request(script))
        assert heard.end is End.DEATH
        assert {name: len(data) for name, data in heard.output.items()} == {"stdout": 60_000, "stderr": 60_000}


@pytest.mark.threat(25)
@pytest.mark.parametrize(
    ("field", "value", "end"), [("held", 1 << 40, End.MEMORY), ("cpu", 1e9, End.CPU_TIME)], ids=["memory", "cpu"]
)
def test_the_watchdog_ends_what_grows_too_large_or_works_too_long(field: str, value: float, end: End) -> None:
    with played(then_waits(lambda worker: None)) as cell:
        setattr(cell, field, value)
        heard = converse(cell, request())
    assert heard.end is end
    assert heard.seconds < 1


@pytest.mark.threat(46)
def test_a_forbidden_call_is_named() -> None:
    with played(then_waits(lambda worker: os.write(worker.alarm, b"!")), alarm=True) as cell:
        cell.name = "ptrace"
        heard = converse(cell, request())
    assert (heard.end, heard.problem) == (End.FORBIDDEN, "ptrace")


def test_an_alarm_that_nobody_waits_in_any_more_is_no_verdict() -> None:
    def script(worker: Worker) -> None:
        os.write(worker.alarm, b"!")
        time.sleep(0.1)
        worker.report(outcome="ok")

    assert talk(then_waits(script), near={"alarm": True}).end is End.REPORT


@pytest.mark.threat(30, 46)
def test_a_report_does_not_hide_a_wall_clock_that_ran_out() -> None:
    def script(worker: Worker) -> None:
        time.sleep(0.5)
        worker.report(outcome="ok")

    heard = talk(then_waits(script), asked=request(config={"timeout_seconds": 0.2}))
    assert (heard.end, heard.report) == (End.WALL_CLOCK, {})


def test_a_kill_from_another_thread_ends_the_conversation() -> None:
    def script(worker: Worker) -> None:
        worker.hear_request()
        worker.stopped.wait(30)
        worker.die()

    with played(script) as cell:
        killer = threading.Timer(0.1, cell.kill)
        killer.start()
        heard = converse(cell, request(config={"timeout_seconds": 10}))
        killer.join()
    assert heard.end is End.DEATH
    assert heard.seconds < 2


# Descriptors.


def flood_of_descriptors(handle: socket.socket, data: bytes) -> None:
    with open("/dev/null", "rb") as null:
        socket.send_fds(handle, [data], [null.fileno()] * 200)


@pytest.mark.threat(35)
def test_descriptors_sent_along_with_frames_are_not_received() -> None:
    here: list[int] = []

    def script(worker: Worker) -> None:
        here.append(len(descriptors()))
        for _ in range(20):
            flood_of_descriptors(worker.channel, wire.encode(wire.READY))
        worker.report(outcome="ok")

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
    assert (heard.end, heard.directory) == (End.REPORT, -1)


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
        assert sizes == [[name, len(data)] for name, data in contents.items()]
        got.append(worker.hear_data(sum(size for _, size in sizes)))
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
    assert sizes == [["a", 0]]


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


def test_ready_is_heard_and_brings_its_descriptor() -> None:
    with played(lambda worker: give(worker, wire.encode(wire.READY), "/dev/null", count=50)) as cell:
        handle = wait_until_ready(cell)
        assert os.path.samestat(os.fstat(handle), os.stat("/dev/null"))
        assert not os.get_inheritable(handle)
        os.close(handle)


def test_ready_may_come_alone() -> None:
    with played(lambda worker: worker.send(wire.encode(wire.READY))) as cell:
        assert wait_until_ready(cell) == -1


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


# Reports.


@pytest.mark.threat(34, 59)
@pytest.mark.parametrize("value", [None, 1, 1.5, True, [], {}, ["x"], {"x": "y"}])
def test_text_of_gives_nothing_but_text(value: object) -> None:
    assert text_of({"key": value}, "key", 10) is None
    assert text_of({}, "key", 10) is None


def test_text_of_is_cut() -> None:
    assert text_of({"key": "x" * (10 << 20)}, "key", 10) == "x" * 10
    assert text_of({"key": ""}, "key", 10) == ""
