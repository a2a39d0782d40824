"""The threads behind the async twins: one implementation, called from a thread, awaited from a loop."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import asyncio
    from concurrent.futures import ThreadPoolExecutor

    from hotcell.sandboxes.base import Cancellation

_T = TypeVar("_T")
_MOST_THREADS = 64


def running_loop() -> asyncio.AbstractEventLoop | None:
    """The event loop that this is called on; None on none."""
    import asyncio

    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


class Threads:
    """Made when first needed, and anew in a forked child."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None
        self._owner = 0

    async def run(
        self,
        function: Callable[..., _T],
        *args: Any,
        cancellation: Cancellation | None = None,
        undo: Callable[[_T], object] | None = None,
        **kwargs: Any,
    ) -> _T:
        """Await ``function(...)``. Cancelling the task cancels ``cancellation`` and waits for the function.

        What that then returns, and nobody is there to take, ``undo`` is called with.
        """
        import asyncio  # here, as it takes longer to import than all the rest, and the command line does without

        job = self.submit(function, *args, **kwargs)
        future = asyncio.wrap_future(job)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            if cancellation is not None:
                cancellation.cancel()
            job.cancel()  # it may still be waiting for a thread
            while not future.done():
                with contextlib.suppress(asyncio.CancelledError):  # a second cancellation does not end the first sooner
                    await asyncio.wait([future])
            # An exception has been recorded; asking for it tells asyncio that it was seen.
            if not future.cancelled() and future.exception() is None and undo:
                undo(future.result())
            raise

    def submit(self, function: Callable[..., _T], *args: Any, **kwargs: Any) -> Future[_T]:
        """Call the function in one of the threads."""
        if self._owner != os.getpid():  # a fork may have copied the lock while it was held
            self._lock, self._pool, self._owner = threading.Lock(), None, os.getpid()
        with self._lock:
            if self._pool is None:
                from concurrent.futures import ThreadPoolExecutor

                self._pool = ThreadPoolExecutor(_MOST_THREADS, thread_name_prefix="hotcell")
            return self._pool.submit(function, *args, **kwargs)

    def close(self) -> None:
        """Wait for what is running. May be called twice; the threads come back when they are needed."""
        if self._pool is not None and self._owner == os.getpid():
            self._pool.shutdown()
        self._pool = None
