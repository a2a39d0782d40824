"""One conversation over real pipes and sockets, with workers that do what no honest worker would."""

from __future__ import annotations

import contextlib
import os
import threading
import time
import tracemalloc
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from observers.streams import Worker, after_request, played, request, talk, then_waits

from hotcell.sandboxes import conversation
from hotcell.sandboxes.conversation import End, NeverBegan, converse, text_of
from hotcell.worker import wire

NARROW = 1 << 16


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
            "display_bytes": 16 << 20,
            "figure_formats": ["png"],
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


# Reports.


@pytest.mark.threat(34, 59)
@pytest.mark.parametrize("value", [None, 1, 1.5, True, [], {}, ["x"], {"x": "y"}])
def test_text_of_gives_nothing_but_text(value: object) -> None:
    assert text_of({"key": value}, "key", 10) is None
    assert text_of({}, "key", 10) is None


def test_text_of_is_cut() -> None:
    assert text_of({"key": "x" * (10 << 20)}, "key", 10) == "x" * 10
    assert text_of({"key": ""}, "key", 10) == ""
