"""The host tools of one execution at work: calls are counted, paced, timed, made elsewhere, and answered once each.

One call runs at a time, as the functions in the cell wait for each other. Whoever sends more without waiting is not
listened to meanwhile; see ``sandboxes/exchange.py``.
"""

from __future__ import annotations

import contextvars
import logging
import queue
import threading
import time
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from hotcell.results import ToolCall
from hotcell.tools import Toolbox, answers
from hotcell.tools import asked as asking
from hotcell.tools.answers import Answer, refused
from hotcell.tools.asked import Asked, Done
from hotcell.tools.shapes import Mismatch
from hotcell.tools.threads import Job, PrivateLoop, Worker

if TYPE_CHECKING:
    import asyncio

_log = logging.getLogger("hotcell")
_REFUSALS_KEPT = 10
_LEAST_SECONDS = 0.001


class ToolRun:
    """``start`` and ``close`` never wait for a tool. Close it, or a thread stays."""

    def __init__(
        self,
        toolbox: Toolbox,
        *,
        loop: asyncio.AbstractEventLoop | None = None,
        context: contextvars.Context | None = None,
    ) -> None:
        """Each call sees a copy of ``context``, by default of this thread's. Async tools run on ``loop``, else on a
        loop of the run's own.
        """
        self._toolbox = toolbox
        self._limits = toolbox.limits
        self._pace = _Pace(self._limits.calls_per_second)
        self._context = contextvars.copy_context() if context is None else context
        self._loop = loop
        self._private_loop: PrivateLoop | None = None
        self._queue: queue.SimpleQueue[tuple[Asked, Answer | None] | None] = queue.SimpleQueue()
        self._clerk: threading.Thread | None = None
        self._worker: Worker | None = None
        self._job: Job | None = None
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._count = 0
        self._kept: list[Asked] = []
        self._unanswered = 0
        self._is_pacing = False
        self._seconds = 0.0

    def announce(self) -> list[dict[str, Any]]:
        """What the worker makes functions of: JSON data."""
        most = self._limits.argument_bytes
        return [
            {**tool.signature.announce(), "name": name, "doc": tool.text, "argument_bytes": most}
            for name, tool in self._toolbox.items()
        ]

    def start(self, call: Mapping[str, Any], done: Done) -> Mapping[str, Any] | None:
        """Begin what a worker asks for: ``{"id", "name", "args", "kwargs"}``, or anything else that JSON can say.

        Returns what is known of the call: ``number``, ``name``, ``arguments``. ``done`` gets what came of it
        (``number``, ``name``, ``outcome``, ``error``, ``seconds``) and the payload of the answer, from any thread,
        once; never after ``close``. Both are None for one too many to be told of. Raises nothing.
        """
        with self._lock:
            self._count += 1
            self._unanswered += 1
            number = self._count
        asked, answer = asking.read(call, number, done, self._toolbox)
        asked.is_kept = asked.number <= self._limits.calls + _REFUSALS_KEPT
        if asked.is_kept:
            self._kept.append(asked)
        if asked.number > self._limits.calls:
            answer = refused("RuntimeError", f"No more tool calls: calls={self._limits.calls} are used up.")
        self._hand_over(asked, answer)
        return asked.told() if asked.is_kept else None

    @property
    def is_working(self) -> bool:
        """True while at least one call is under way, and not only held back for coming too soon."""
        return self._unanswered > 0 and not self._is_pacing

    @property
    def host_seconds(self) -> float:
        """How long tools have run, in seconds; the one under way is not counted yet."""
        return self._seconds

    @property
    def calls(self) -> tuple[ToolCall, ...]:
        """What was called and what came of it, in order. Final after ``close``."""
        return tuple(asked.record() for asked in self._kept)

    @property
    def notes(self) -> tuple[str, ...]:
        """What ``calls`` leaves out."""
        left_out = self._count - len(self._kept)
        if not left_out:
            return ()
        return (f"{left_out} more tool calls were refused: more than calls={self._limits.calls}.",)

    def close(self) -> None:
        """Answers that come from now on are dropped. What is awaited is cancelled; what cannot be is left behind."""
        with self._lock:
            self._closed.set()
            job, worker, loop = self._job, self._worker, self._private_loop
        self._queue.put(None)
        if job:
            job.give_up()
        if worker:
            worker.dismiss()
        if loop:
            loop.close()
        for asked in self._kept:
            asked.forget()

    def _hand_over(self, asked: Asked, answer: Answer | None) -> None:
        try:
            with self._lock:
                if self._clerk is None:
                    clerk = threading.Thread(target=self._attend, name="hotcell-tools", daemon=True)
                    clerk.start()
                    self._clerk = clerk
        except RuntimeError as error:
            _log.error("No thread for host tools: %s", error)
            self._settle(asked, refused("RuntimeError", "The host has no thread left for it."))
        else:
            self._queue.put((asked, answer))

    # --- on the clerk's thread

    def _attend(self) -> None:
        while (item := self._queue.get()) and not self._closed.is_set():
            asked, answer = item
            self._keep_pace()  # also with refusals, or a cell could keep the host busy with them
            try:
                answer = answer or self._perform(asked)
            except Exception:  # noqa: BLE001  # a failure of ours or the host's; the cell waits for an answer all the same
                _log.exception("The host failed to call tool %s", asked.name)
                answer = refused("RuntimeError", "The host failed to call it.")
            self._settle(asked, answer)

    def _perform(self, asked: Asked) -> Answer:
        """Make the call within all limits. Raises RuntimeError when the host has no thread for it."""
        assert asked.tool
        limits, left = self._limits, self._limits.total_seconds - self._seconds
        if left < _LEAST_SECONDS:
            return refused(
                "TimeoutError", f"No more time for tools: total_seconds={limits.total_seconds:g} are used up."
            )
        seconds = min(left, asked.tool.timeout_seconds or limits.call_seconds)
        begin = partial(asked.begin, limits.argument_bytes)
        conclude = partial(answers.returned, asked.name, most_bytes=limits.result_bytes)
        job = Job(begin, conclude, self._context.copy(), self._event_loop)
        began = time.monotonic()
        self._engage(job)
        in_time = job.finished.wait(seconds)
        asked.seconds = time.monotonic() - began
        self._seconds += asked.seconds
        self._disengage(job, in_time=in_time)
        if not in_time:
            _log.warning("Tool %s took longer than %g s", asked.name, seconds)
            return answers.timed_out(asked.name, seconds)
        return _answer(asked.name, job)

    def _keep_pace(self) -> None:
        wait = self._pace.take(time.monotonic())
        if wait > 0:
            self._is_pacing = True
            self._closed.wait(wait)
            self._is_pacing = False

    def _engage(self, job: Job) -> None:
        with self._lock:
            if self._closed.is_set():
                job.give_up()
                return
            self._worker = self._worker or Worker()
            self._job = job
            self._worker.give(job)

    def _disengage(self, job: Job, *, in_time: bool) -> None:
        """A worker that did not come back in time is left behind; it ends when the tool does."""
        with self._lock:
            self._job = None
            late, self._worker = (None, self._worker) if in_time else (self._worker, None)
        if late:
            job.give_up()
            late.dismiss()

    # --- on any thread

    def _event_loop(self) -> asyncio.AbstractEventLoop:
        if self._loop is not None:
            return self._loop
        with self._lock:
            if self._closed.is_set():
                raise RuntimeError("closed")
            self._private_loop = self._private_loop or PrivateLoop()
        return self._private_loop.get()

    def _settle(self, asked: Asked, answer: Answer) -> None:
        with self._lock:
            if self._closed.is_set():
                return
            self._unanswered -= 1
        try:
            asked.finish(answer)
        except Exception:  # noqa: BLE001  # the clerk must live to answer the next one
            _log.exception("The answer of tool %s could not be given", asked.name)


def _answer(name: str, job: Job) -> Answer:
    if isinstance(job.error, Mismatch):
        return refused(job.error.kind, f"{name}(): {job.error}.")
    if job.error is not None:
        return answers.raised(name, job.error)
    answer: Answer = job.value
    return answer


class _Pace:
    """Lets so many a second through, after as many at once."""

    def __init__(self, per_second: float) -> None:
        self._per_second = per_second
        self._most = max(1.0, per_second)
        self._left = self._most
        self._seen = time.monotonic()

    def take(self, now: float) -> float:
        """How many seconds this one has to wait."""
        self._left = min(self._most, self._left + (now - self._seen) * self._per_second) - 1
        self._seen = now
        return max(0.0, -self._left / self._per_second)
