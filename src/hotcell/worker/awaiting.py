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
    except BaseException:
        if not task.done():  # an interrupt came out of the loop itself
            task.cancel()
            loop.run_until_complete(asyncio.gather(task, return_exceptions=True))
        raise
