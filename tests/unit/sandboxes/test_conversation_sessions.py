"""Conversations in a session: a limit interrupts first, a slow reader holds the cell up, the worker lives on."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Mapping
from typing import Any

import pytest
from observers.streams import Cell, Worker, played, request

from hotcell.errors import ConfigurationError
from hotcell.sandboxes import conversation
from hotcell.sandboxes.base import Cancellation, RunRequest
from hotcell.sandboxes.conversation import End, Heard, converse
from hotcell.sandboxes.sending import NotSent
from hotcell.worker import wire


class Reader:
    """An observer who reads when it is told to."""

    def __init__(self) -> None:
        self.got = bytearray()
        self.shown: list[Mapping[str, Any]] = []
        self.ticks = 0
        self.stands_by = False

    def output(self, stream: str, data: bytes) -> None:
        self.got += data

    def display(self, bundle: Mapping[str, Any]) -> None:
        self.shown.append(bundle)

    def tool_called(self, call: Mapping[str, Any]) -> None: ...

    def tool_returned(self, record: Mapping[str, Any]) -> None: ...

    def tick(self) -> None:
        self.ticks += 1

    def is_behind(self) -> bool:
        return self.stands_by


def hold(cell: Cell, asked: RunRequest | None = None) -> Heard:
    return converse(cell, asked or request(), in_session=True)


def until_interrupted(worker: Worker, cell_of: list[Cell]) -> bool:
    return cell_of[0].interrupted.wait(10)


def test_one_that_reports_lives_on_and_takes_the_next_request() -> None:
    def script(worker: Worker) -> None:
        for number in (1, 2):
            asked = worker.hear_request()
            assert (asked["session"], asked["number"]) == (True, number)
            worker.report(outcome="ok", value=number)
        worker.stopped.wait(30)

    with played(script) as cell:
        for number in (1, 2):
            heard = hold(cell, request(number=number))
            assert (heard.end, heard.is_alive, heard.report["value"]) == (End.REPORT, True, number)


def test_outside_of_a_session_nothing_lives_on_and_nothing_is_interrupted() -> None:
    def script(worker: Worker) -> None:
        assert "session" not in worker.hear_request()
        worker.stopped.wait(30)

    with played(script) as cell:
        heard = converse(cell, request(config={"timeout_seconds": 0.2}))
        assert (heard.end, heard.is_alive, cell.interrupted.is_set()) == (End.WALL_CLOCK, False, False)


@pytest.mark.parametrize("limit", ["clock", "cpu", "output", "cancelled"])
def test_a_limit_interrupts_and_what_is_reported_then_is_its_end(limit: str) -> None:
    cells: list[Cell] = []

    def script(worker: Worker) -> None:
        worker.hear_request()
        if limit == "output":
            os.write(worker.stdout, b"x" * 5000)
        assert until_interrupted(worker, cells)
        worker.report(outcome="error")
        worker.stopped.wait(30)

    cancellation = Cancellation()
    config = {"timeout_seconds": 0.2 if limit == "clock" else 20, "output_bytes": 1024}
    with played(script) as cell:
        cells.append(cell)
        cell.cpu = 100.0 if limit == "cpu" else 0.0
        if limit == "cancelled":
            threading.Timer(0.1, cancellation.cancel).start()
        heard = hold(cell, request(config=config, cancellation=cancellation))
    ends = {"clock": End.WALL_CLOCK, "cpu": End.CPU_TIME, "output": End.OUTPUT, "cancelled": End.CANCELLED}
    assert (heard.end, heard.is_alive) == (ends[limit], True)
    assert heard.report == {"outcome": "error"}


def test_one_that_does_not_obey_is_asked_twice_and_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversation, "_GRACE_SECONDS", 0.4)
    asked: list[float] = []

    def script(worker: Worker) -> None:
        worker.hear_request()
        worker.stopped.wait(30)

    with played(script) as cell:
        monkeypatch.setattr(cell, "interrupt", lambda: asked.append(time.monotonic()))
        heard = hold(cell, request(config={"timeout_seconds": 0.1}))
    assert (heard.end, heard.is_alive, len(asked)) == (End.WALL_CLOCK, False, 2)
    assert 0.15 < asked[1] - asked[0] < 0.4


def test_one_that_dies_of_the_interrupt_has_reached_the_limit() -> None:
    cells: list[Cell] = []

    def script(worker: Worker) -> None:
        worker.hear_request()
        assert until_interrupted(worker, cells)
        worker.die()

    with played(script) as cell:
        cells.append(cell)
        heard = hold(cell, request(config={"timeout_seconds": 0.1}))
    assert (heard.end, heard.is_alive) == (End.WALL_CLOCK, False)


def test_memory_and_a_forbidden_call_are_no_matter_for_an_interrupt() -> None:
    def script(worker: Worker) -> None:
        worker.hear_request()
        worker.stopped.wait(30)

    with played(script) as cell:
        cell.held = 1 << 50
        heard = hold(cell)
        assert (heard.end, heard.is_alive, cell.interrupted.is_set()) == (End.MEMORY, False, False)


def test_output_past_its_limit_is_taken_and_dropped_until_it_obeys() -> None:
    """It could not obey while it waits in a write."""
    cells: list[Cell] = []

    def script(worker: Worker) -> None:
        worker.hear_request()
        sent = 0
        while not cells[0].interrupted.is_set() or sent < 1 << 22:
            sent += os.write(worker.stdout, b"x" * 65536)
        worker.report(outcome="error")
        worker.stopped.wait(30)

    with played(script) as cell:
        cells.append(cell)
        heard = hold(cell, request(config={"output_bytes": 2048}))
    assert (heard.end, heard.is_alive) == (End.OUTPUT, True)
    assert heard.output["stdout"] == b"x" * 2048


# A reader who is behind.


def flood(worker: Worker) -> None:
    worker.hear_request()
    for _ in range(100):
        os.write(worker.stdout, b"x" * 65536)
    worker.report(outcome="ok")
    worker.stopped.wait(30)


ROOM = {"output_bytes": 16 << 20, "timeout_seconds": 1.0}


def test_a_reader_who_is_behind_holds_the_cell_up_and_the_clock_too() -> None:
    reader = Reader()
    reader.stands_by = True

    def catch_up() -> None:
        reader.stands_by = False

    with played(flood) as cell:
        threading.Timer(1.5, catch_up).start()
        heard = hold(cell, request(config=ROOM, observer=reader))
    assert heard.end is End.REPORT
    assert bytes(reader.got) == bytes(heard.output["stdout"]) == b"x" * (100 * 65536)
    assert heard.seconds < 1


def test_little_is_read_while_the_reader_is_behind() -> None:
    reader = Reader()
    reader.stands_by = True
    with played(flood) as cell:
        config = {**ROOM, "timeout_seconds": 0.2, "pause_seconds": 0.3}
        heard = converse(cell, request(config=config, observer=reader))
    assert heard.end is End.WALL_CLOCK
    assert 0 < len(reader.got) <= 67 * 65536  # a read or two, and at the end as much as a pipe can hold


def test_the_limits_hold_while_the_reader_is_behind() -> None:
    reader = Reader()
    reader.stands_by = True
    with played(flood) as cell:
        cell.held = 1 << 50
        assert converse(cell, request(config=ROOM, observer=reader)).end is End.MEMORY


@pytest.mark.parametrize("how", ["clock", "cancelled"])
def test_code_that_is_told_to_stop_is_not_held_up_any_more(how: str) -> None:
    """The reader has left for good: the code must be able to write on, or it could not obey."""
    cells: list[Cell] = []
    reader = Reader()
    reader.stands_by = True

    def script(worker: Worker) -> None:
        worker.hear_request()
        for _ in range(50):
            os.write(worker.stdout, b"x" * 65536)
        assert cells[0].interrupted.is_set()
        worker.report(outcome="error")
        worker.stopped.wait(30)

    cancellation = Cancellation()
    if how == "cancelled":
        threading.Timer(0.2, cancellation.cancel).start()
    config = {**ROOM, "timeout_seconds": 0.2 if how == "clock" else 20, "pause_seconds": 0}
    with played(script) as cell:
        cells.append(cell)
        heard = hold(cell, request(config=config, observer=reader, cancellation=cancellation))
    assert (heard.end, heard.is_alive) == (End.WALL_CLOCK if how == "clock" else End.CANCELLED, True)


def test_the_observer_is_told_pieces_and_the_time() -> None:
    reader = Reader()

    def script(worker: Worker) -> None:
        worker.hear_request()
        for piece in (b"a", b"b"):
            os.write(worker.stdout, piece)
            time.sleep(0.1)
        worker.send(wire.encode(wire.DISPLAY, b'{"text/plain": "x"}'))
        worker.report(outcome="ok")
        worker.stopped.wait(30)

    with played(script) as cell:
        heard = hold(cell, request(observer=reader))
    assert reader.got == heard.output["stdout"] == b"ab"
    assert reader.shown == heard.displays == [{"text/plain": "x"}]
    assert reader.ticks >= 5


# Displays.


@pytest.mark.parametrize(
    ("limits", "kept"),
    [({"display_count": 3}, 3), ({"display_count": 0}, 0), ({"display_bytes": 100}, 4), ({"display_bytes": 0}, 0)],
)
def test_displays_beyond_the_caps_are_left_out_with_one_note(limits: dict[str, int], kept: int) -> None:
    bundle = json.dumps({"text/plain": "x"}).encode().ljust(25)

    def script(worker: Worker) -> None:
        worker.hear_request()
        worker.send(*[wire.encode(wire.DISPLAY, bundle)] * 50)
        worker.report(outcome="ok")
        worker.stopped.wait(30)

    with played(script) as cell:
        heard = hold(cell, request(config=limits))
    assert heard.end is End.REPORT
    assert len(heard.displays) == kept
    (note,) = heard.notes
    assert "display_count=" in note and "display_bytes=" in note


# Files.


def test_a_file_that_cannot_be_opened_leaves_the_worker_untouched(tmp_path: Any) -> None:
    heard: list[bytes] = []

    def script(worker: Worker) -> None:
        worker.channel.settimeout(0.3)
        try:
            heard.append(worker.channel.recv(100))
        except TimeoutError:
            heard.append(b"nothing")
        worker.stopped.wait(30)

    with played(script) as cell:
        with pytest.raises(NotSent, match="'a'"):
            hold(cell, request(files={"a": tmp_path / "gone"}))
        time.sleep(0.5)
    assert heard == [b"nothing"]


def test_a_file_that_shrinks_while_it_is_sent_is_another_matter(tmp_path: Any) -> None:
    place = tmp_path / "shrinking"
    place.write_bytes(bytes(8 << 20))

    def script(worker: Worker) -> None:
        worker.hear_request()
        os.truncate(place, 1)
        worker.hear_data(1 << 20)
        worker.stopped.wait(30)

    with played(script) as cell:
        with pytest.raises(ConfigurationError, match="became shorter") as failed:
            hold(cell, request(files={"a": place}))
        assert not isinstance(failed.value, NotSent)
