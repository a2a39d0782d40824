"""Where host tools run: in a thread that may be left behind, or on an event loop."""

from __future__ import annotations

import inspect
import queue
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from contextvars import Context
from typing import TYPE_CHECKING, Any

from hotcell.worker.tools import ToolError

if TYPE_CHECKING:
    import asyncio


class Job:
    """One call of a function. ``finished`` is set when it came back or was given up."""

    def __init__(
        self,
        function: Callable[[], Any],
        conclude: Callable[[Any], Any],
        context: Context,
        loop: Callable[[], asyncio.AbstractEventLoop],
    ) -> None:
        """What the function returns is awaited on the loop, if it can be, and then concluded; all in the context."""
        self._function = function
        self._conclude = conclude
        self._context = context
        self._loop = loop
        self._lock = threading.Lock()
        self._is_given_up = False
        self._cancel: Callable[[], Any] = lambda: None
        self.finished = threading.Event()
        self.value: Any = None
        """What ``conclude`` made of it."""
        self.error: BaseException | None = None

    def work(self) -> None:
        """Raises nothing, not even what would end a thread or a program."""
        try:
            value = self._context.run(self._function)
            if inspect.isawaitable(value):
                value = self._await(value)
            self.value = self._context.run(self._conclude, value)
        except BaseException as error:  # noqa: BLE001  # whatever the tool raises is data
            self.error = error
        self.finished.set()

    def give_up(self) -> None:
        """Stop waiting for it. What is awaited is cancelled; what runs in a thread cannot be stopped."""
        with self._lock:
            self._is_given_up = True
        self._cancel()
        self.finished.set()

    def _await(self, awaitable: Awaitable[Any]) -> Any:
        import asyncio

        coroutine = _shielding(awaitable)
        try:
            # By way of the context, which the task on the loop then copies.
            future = self._context.run(asyncio.run_coroutine_threadsafe, coroutine, self._loop())
        except RuntimeError:
            coroutine.close()
            if inspect.iscoroutine(awaitable):
                awaitable.close()
            raise ToolError("The event loop that it needs is closed.") from None
        with self._lock:
            self._cancel = future.cancel
            given_up = self._is_given_up
        if given_up:
            future.cancel()
        value, error = future.result()
        if error is not None:
            raise error
        return value


async def _shielding(awaitable: Awaitable[Any]) -> tuple[Any, BaseException | None]:
    """A task that ends with KeyboardInterrupt or SystemExit would end the whole loop, so it never does."""
    import asyncio

    try:
        return await awaitable, None
    except (asyncio.CancelledError, GeneratorExit):
        raise
    except BaseException as error:  # noqa: BLE001  # raised where it is data
        return None, error


class Worker:
    """A thread that works on one job after the other. It never keeps the interpreter from ending."""

    def __init__(self) -> None:
        """Raises RuntimeError when the host has no thread left."""
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        threading.Thread(target=self._work, name="hotcell-tool", daemon=True).start()

    def give(self, job: Job) -> None:
        self._jobs.put(job)

    def dismiss(self) -> None:
        """It ends when it is done with what it is at."""
        self._jobs.put(None)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job.work()
            del job  # what the tool returned is not kept until the next one comes


class PrivateLoop:
    """An event loop in a thread of its own, for async tools of an execution that nobody awaits."""

    def __init__(self) -> None:
        """Raises RuntimeError when the host has no thread left."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_ready = threading.Event()
        threading.Thread(target=self._work, name="hotcell-tool-loop", daemon=True).start()

    def get(self) -> asyncio.AbstractEventLoop:
        self._is_ready.wait()
        assert self._loop
        return self._loop

    def close(self) -> None:
        """Cancel what runs on it. It does not wait: a tool may block it."""
        with suppress(RuntimeError):  # closed already
            loop = self.get()
            loop.call_soon_threadsafe(loop.stop)

    def _work(self) -> None:
        import asyncio

        with asyncio.Runner() as runner:
            self._loop = runner.get_loop()
            self._is_ready.set()
            self._loop.run_forever()
