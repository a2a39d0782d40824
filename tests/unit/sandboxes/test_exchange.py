"""Calls of host tools in the middle of a conversation: worked on elsewhere, answered in any order, never waited for."""

from __future__ import annotations

import contextlib
import json
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from observers.streams import Worker, after_request, descriptors, request, talk, then_waits

from hotcell.sandboxes.conversation import End, Heard
from hotcell.sandboxes.exchange import Exchange
from hotcell.worker import wire

Done = Callable[[Mapping[str, Any], bytes], None]


class Tools:
    """A host of tools that answers when it is told to; by default at once, from another thread."""

    def __init__(self, delay: float = 0.0, answer: bytes = b'{"value": 1}') -> None:
        self.delay, self.answer = delay, answer
        self.calls: list[Mapping[str, Any]] = []
        self.under_way = 0
        self._lock = threading.Lock()

    def announce(self) -> list[dict[str, Any]]:
        return [{"name": "f"}]

    @property
    def is_working(self) -> bool:
        return self.under_way > 0

    def start(self, call: Mapping[str, Any], done: Done) -> Mapping[str, Any]:
        with self._lock:
            self.calls.append(call)
            self.under_way += 1
        number = len(self.calls)

        def work() -> None:
            time.sleep(self.delay)
            with self._lock:
                self.under_way -= 1
            done({"number": number, "outcome": "ok"}, self.answer)

        threading.Thread(target=work, daemon=True).start()
        return {"number": number, "name": "f", "arguments": {}}


class Ear:
    """An observer that remembers."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, Any]] = []

    def output(self, stream: str, data: bytes) -> None:
        self.heard.append((stream, data))

    def display(self, bundle: Mapping[str, Any]) -> None:
        self.heard.append(("display", bundle))

    def tool_called(self, call: Mapping[str, Any]) -> None:
        self.heard.append(("called", call["number"]))

    def tool_returned(self, record: Mapping[str, Any]) -> None:
        self.heard.append(("returned", record["number"]))

    def tick(self) -> None:
        pass

    def is_behind(self) -> bool:
        return False


@contextlib.contextmanager
def exchanging(tools: Tools, ear: Ear | None = None) -> Iterator[tuple[Exchange, socket.socket]]:
    before = descriptors()
    near, far = socket.socketpair()
    near.setblocking(False)
    far.settimeout(10)
    made = Exchange(near, tools, ear)
    try:
        yield made, far
    finally:
        made.close()
        near.close()
        far.close()
        assert descriptors() == before


def wait_for_answer(made: Exchange) -> None:
    poller = select.poll()
    poller.register(made.wake, select.POLLIN)
    assert poller.poll(10_000)


def frames(far: socket.socket, count: int) -> list[tuple[int, bytes]]:
    decoder, found = wire.Decoder(wire.FROM_US), []
    while len(found) < count:
        found += decoder.feed(far.recv(1 << 16))
    return found


def test_an_answer_wakes_and_is_sent() -> None:
    ear = Ear()
    with exchanging(Tools(), ear) as (made, far):
        made.begin({"name": "f"})
        wait_for_answer(made)
        made.send_answers()
        assert frames(far, 1) == [(wire.RETURN, b'{"value": 1}')]
        assert not made.has_more_to_send
        assert ear.heard == [("called", 1), ("returned", 1)]


def test_while_the_host_works_it_says_so() -> None:
    with exchanging(Tools(delay=0.1)) as (made, _):
        assert not made.is_working
        made.begin({})
        assert made.is_working
        wait_for_answer(made)
        assert not made.is_working


def test_sending_when_there_is_nothing_does_nothing() -> None:
    with exchanging(Tools()) as (made, far):
        made.send_answers()
        far.setblocking(False)
        with pytest.raises(BlockingIOError):
            far.recv(1)


def test_a_worker_that_takes_no_answers_holds_nobody_up() -> None:
    """No call begins before the answer to the last one is taken, and while one waits it must not ask for more."""
    answer = b'"' + b"x" * (1 << 20) + b'"'
    tools = Tools(answer=answer)
    with exchanging(tools) as (made, far):
        made.begin({})
        wait_for_answer(made)
        made.send_answers()
        for _ in range(5):
            made.begin({})
        assert made.has_more_to_send and made.is_full
        assert len(tools.calls) == 1
        taker = threading.Thread(target=lambda: frames(far, 6))
        taker.start()
        while taker.is_alive():
            made.send_answers()
            time.sleep(0.001)
        assert len(tools.calls) == 6
        assert not taker.is_alive() and not made.is_full


def test_a_worker_that_died_is_no_failure_of_ours() -> None:
    with exchanging(Tools()) as (made, far):
        far.close()
        for _ in range(2):
            made.begin({})
            wait_for_answer(made)
            made.send_answers()
        assert not made.has_more_to_send


def test_an_answer_that_comes_after_the_end_is_dropped() -> None:
    tools = Tools(delay=0.1)
    with exchanging(tools) as (made, _):
        made.begin({})
    while tools.under_way:
        time.sleep(0.01)
    time.sleep(0.05)


def test_answers_from_many_threads_each_arrive_once() -> None:
    with exchanging(Tools(delay=0.01)) as (made, far):
        for _ in range(100):
            made.begin({})
        got: list[tuple[int, bytes]] = []
        taker = threading.Thread(target=lambda: got.extend(frames(far, 100)))
        taker.start()
        while taker.is_alive():
            made.send_answers()
            time.sleep(0.001)
        assert got == [(wire.RETURN, b'{"value": 1}')] * 100


# In a conversation.


def hear_return(worker: Worker) -> bytes:
    decoder = wire.Decoder(wire.FROM_US)
    found = decoder.feed(bytes(worker.got))
    worker.got.clear()
    while not found:
        found = decoder.feed(worker._more())
    assert found[0][0] == wire.RETURN
    return found[0][1]


def call(worker: Worker, **data: Any) -> None:
    worker.send(wire.encode(wire.CALL, json.dumps(data).encode()))


def test_calls_are_answered_and_the_report_comes_after() -> None:
    tools, got = Tools(), []

    def script(worker: Worker) -> None:
        for number in range(5):
            call(worker, name="f", number=number)
            got.append(hear_return(worker))
        worker.report(outcome="ok")

    heard = talk(then_waits(script), asked=request(tools=tools))
    assert heard.end is End.REPORT
    assert got == [b'{"value": 1}'] * 5
    assert [item["number"] for item in tools.calls] == [0, 1, 2, 3, 4]


def test_the_clock_stands_still_while_a_tool_works() -> None:
    def script(worker: Worker) -> None:
        call(worker, name="f")
        hear_return(worker)
        worker.report(outcome="ok")

    asked = request(tools=Tools(delay=0.8), config={"timeout_seconds": 0.4})
    heard = talk(then_waits(script), asked=asked)
    assert heard.end is End.REPORT
    assert heard.seconds < 0.4


def test_a_tool_that_hangs_holds_the_clock_for_pause_seconds_only() -> None:
    asked = request(tools=Tools(delay=20), config={"timeout_seconds": 0.2, "pause_seconds": 0.3})
    began = time.monotonic()
    heard = talk(then_waits(lambda worker: call(worker, name="f")), asked=asked)
    assert heard.end is End.WALL_CLOCK
    assert time.monotonic() - began < 10


def test_a_call_without_tools_breaks_the_protocol() -> None:
    heard = talk(then_waits(lambda worker: call(worker, name="f")))
    assert heard.end is End.PROTOCOL


@pytest.mark.parametrize("payload", [b"", b"5", b"[]", b"\xff", b"{" * 100])
def test_a_call_that_is_no_object_breaks_the_protocol(payload: bytes) -> None:
    tools = Tools()
    heard = talk(then_waits(lambda worker: worker.send(wire.encode(wire.CALL, payload))), asked=request(tools=tools))
    assert heard.end is End.PROTOCOL
    assert tools.calls == []


def test_a_worker_that_only_asks_is_not_read_from_once_it_is_full() -> None:
    """It asks without end and takes no answer: what we keep for it is bounded."""
    tools = Tools(answer=b'"' + b"x" * 100_000 + b'"')

    def script(worker: Worker) -> None:
        while not worker.stopped.is_set():
            call(worker, name="f")

    heard: Heard = talk(
        after_request(script), asked=request(tools=tools, config={"timeout_seconds": 0.5, "pause_seconds": 0})
    )
    assert heard.end is End.WALL_CLOCK
    # What the socket holds of 100,000 bytes each; the next call begins when an answer is taken.
    assert len(tools.calls) < 100
