"""``await`` outside a function: the code's coroutine runs on an event loop that lives as long as the process."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio

_loops: list[asyncio.AbstractEventLoop] = []


def forget() -> None:
    """In a copy of the process: the loop and its tasks are the original's."""
    _loops.clear()


def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Its value, or whatever it raises. Tasks that it left behind go on with the next ``await``."""
    import asyncio  # takes longer to import than everything else here, and most code does without

    if not _loops or _loops[0].is_closed():
        _loops[:] = [asyncio.new_event_loop()]
    loop = _loops[0]
    asyncio.set_event_loop(loop)
    task = loop.create_task(coroutine)
    try:
        return loop.run_until_complete(task)
    except BaseException as error:
        if task.done():
            raise
        # An interrupt came out of the loop itself. Where the code waited is in the traceback of its cancellation.
        task.cancel()
        try:
            loop.run_until_complete(task)
        except asyncio.CancelledError as cancelled:
            error.with_traceback(cancelled.__traceback__)
        raise error from None
