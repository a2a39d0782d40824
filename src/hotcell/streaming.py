"""An execution as a stream of events, for a thread that iterates or a loop that awaits.

The execution runs in a thread of its own. It never waits for its reader: while the reader is behind, the cell is not
read from, so the cell waits, and memory stays flat.
"""

from __future__ import annotations

import collections
import threading
import weakref
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from hotcell.events import Display, Event, Finished, Started, ToolCall, ToolReturn
from hotcell.live import LiveOutput
from hotcell.output_check import OutputCheck
from hotcell.pipeline import Call
from hotcell.results import ExecutionResult
from hotcell.sandboxes.base import Cancellation

if TYPE_CHECKING:
    import asyncio

_MOST_UNREAD_BYTES = 256 << 10
_EVENT_BYTES = 200
"""About what an event costs besides its text."""


class Feed:
    """What a running execution has to say, until somebody takes it. The listener of a pipeline's call. Thread-safe."""

    def __init__(self, check: OutputCheck) -> None:
        self._check = check
        self._live = LiveOutput(check.redactor)
        self._lock = threading.Condition()
        self._events: collections.deque[tuple[Event, int]] = collections.deque()
        self._unread = 0
        self._error: BaseException | None = None
        self._ended = False
        self.on_news: Callable[[], None] = lambda: None
        """Called, by any thread, when there is something to take."""

    def started(self, execution_id: str, code_sha256: str) -> None:
        self._put(Started(execution_id=execution_id, code_sha256=code_sha256))

    def output(self, stream: str, data: bytes) -> None:
        self._put(*self._live.output(stream, data))

    def display(self, bundle: Mapping[str, Any]) -> None:
        shown = self._check.display(bundle)
        if shown is not None:
            self._put(*self._live.tick(), Display(data=shown.data, active=shown.active))

    def tool_called(self, call: Mapping[str, Any]) -> None:
        checked = self._check.tool_call(call)
        self._put(*self._live.tick(), ToolCall(**checked))

    def tool_returned(self, record: Mapping[str, Any]) -> None:
        checked = self._check.tool_call(record)
        self._put(*self._live.tick(), ToolReturn(**checked))

    def tick(self) -> None:
        self._put(*self._live.tick())

    def is_behind(self) -> bool:
        return self._unread > _MOST_UNREAD_BYTES

    def finish(self, result: ExecutionResult) -> None:
        """The execution has come to its result."""
        self._put(*self._live.finish(), Finished(result=result))
        self._end()

    def fail(self, error: BaseException) -> None:
        """It failed on our side; whoever reads comes to the exception after everything else."""
        self._error = error
        self._end()

    def _end(self) -> None:
        with self._lock:
            self._ended = True
            self._lock.notify_all()
        self.on_news()

    def _put(self, *events: Event) -> None:
        if not events:
            return
        with self._lock:
            for event in events:
                size = len(getattr(event, "text", "")) + _EVENT_BYTES
                self._events.append((event, size))
                self._unread += size
            self._lock.notify_all()
        self.on_news()

    def take(self) -> Event | None:
        """The next event; None when none has come yet. Raises StopIteration at the end, or our failure."""
        with self._lock:
            if self._events:
                event, size = self._events.popleft()
                self._unread -= size
                return event
            if not self._ended:
                return None
        if self._error is not None:
            error, self._error = self._error, None
            raise error
        raise StopIteration

    def wait(self) -> None:
        """Until there is something to take."""
        with self._lock:
            while not self._events and not self._ended:
                self._lock.wait()


class _Job:
    """The execution, as its thread sees it. It holds no reference to the stream, so that letting go of that shows."""

    def __init__(self, feed: Feed, run: Callable[[], ExecutionResult]) -> None:
        self._feed = feed
        self._run = run
        self.result: ExecutionResult | None = None

    def work(self) -> None:
        try:
            self.result = self._run()
        except BaseException as error:  # noqa: BLE001  # it is raised where the stream is read
            self._feed.fail(error)
        else:
            self._feed.finish(self.result)


class _Running:
    """What both kinds of stream have: the thread with the execution, and the means to give it up."""

    def __init__(self, feed: Feed, run: Callable[[], ExecutionResult], cancellation: Cancellation) -> None:
        self._feed = feed
        self._cancellation = cancellation
        self._job = _Job(feed, run)
        self._thread = threading.Thread(target=self._job.work, name="hotcell-stream", daemon=True)

    @property
    def result(self) -> ExecutionResult | None:
        """The whole result once there is one; None while the code runs, and when it failed on our side."""
        return self._job.result

    def cancel(self) -> None:
        """End the execution as soon as possible, from any thread; the stream then ends with a CANCELLED result."""
        self._cancellation.cancel()

    def __del__(self) -> None:
        # Whoever lets go of a stream in the middle wants no more of it.
        if self._thread.is_alive():
            self._cancellation.cancel()


class Stream(_Running):
    """Events of one execution as they happen; the last is ``Finished``. An iterator, and a context manager.

    Closing it, or letting go of it, ends the execution. An exception of ours is raised by ``next``.
    """

    def __init__(self, feed: Feed, run: Callable[[], ExecutionResult], cancellation: Cancellation) -> None:
        super().__init__(feed, run, cancellation)
        self._thread.start()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Event:
        while (event := self._feed.take()) is None:
            self._feed.wait()
        return event

    def close(self) -> None:
        """Give it up if it still runs, and wait until the cell is gone. May be called twice."""
        if self._thread.is_alive():
            self.cancel()
            self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class AsyncStream(_Running):
    """The async twin: an async iterator and context manager, for the loop that it is first awaited on."""

    def __init__(self, feed: Feed, run: Callable[[], ExecutionResult], cancellation: Cancellation) -> None:
        super().__init__(feed, run, cancellation)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._news: asyncio.Event | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        import asyncio

        if self._news is None:
            self._news, self._loop = asyncio.Event(), asyncio.get_running_loop()
            self._feed.on_news = _waker(weakref.ref(self), self._loop, self._news)
            self._thread.start()
        while True:
            self._news.clear()
            try:
                event = self._feed.take()
            except StopIteration:
                raise StopAsyncIteration from None
            if event is not None:
                return event
            try:
                await self._news.wait()
            except asyncio.CancelledError:
                await self.aclose()
                raise

    async def aclose(self) -> None:
        """Give it up if it still runs, and wait until the cell is gone. May be called twice."""
        import asyncio

        if self._thread.ident is None:
            self.cancel()  # it has not begun, and whoever iterates later gets to hear so
        if self._thread.is_alive():
            self.cancel()
            await asyncio.shield(asyncio.to_thread(self._thread.join))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


def _waker(
    stream: weakref.ref[AsyncStream], loop: asyncio.AbstractEventLoop, news: asyncio.Event
) -> Callable[[], None]:
    def wake() -> None:
        try:
            loop.call_soon_threadsafe(news.set)
        except RuntimeError:  # the loop is closed: nobody will read any more
            if (left := stream()) is not None:
                left.cancel()

    return wake


_S = TypeVar("_S", bound=_Running)


def open_stream(
    kind: Callable[[Feed, Callable[[], ExecutionResult], Cancellation], _S],
    check: OutputCheck,
    call: Call,
    run: Callable[[Call], ExecutionResult],
) -> _S:
    """A stream of the kind, over what ``run`` does with the call."""
    feed = Feed(check)
    listened = replace(call, listener=feed)
    return kind(feed, lambda: run(listened), call.cancellation)
