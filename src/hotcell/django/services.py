"""The one place that runs things for a Django project; whatever happens, a row says so.

    execution = services.execute(code, user=request.user, context={"prices": [3, 4]})
    with services.stream(code, user=request.user) as stream:
        for event in stream: ...
    services.cancel(execution)

Each has an async twin. What the code does is in the row that comes back. Raised are QuotaExceeded, ConfigurationError
for a bad argument, and our own failures (SandboxError and its kin); but for an alias that is not there, or that this
host cannot give, they have left a row as well.
"""

from __future__ import annotations

from typing import Self, Unpack

from asgiref.sync import sync_to_async
from django.db import transaction
from django.utils import timezone

from hotcell.django.models import CodeExecution
from hotcell.django.running import running
from hotcell.django.runs import Options, Run, end_as_lost
from hotcell.django.states import State
from hotcell.events import Event, Finished
from hotcell.streaming import AsyncStream, Stream


def execute(code: str | bytes, **options: Unpack[Options]) -> CodeExecution:
    """Run the code now; its row, finished."""
    with Run.begin(code, options) as run:
        return run.conclude(run.executor.execute(code, **run.arguments))


async def aexecute(code: str | bytes, **options: Unpack[Options]) -> CodeExecution:
    """The same. Cancelling the task cancels the execution."""
    run = await sync_to_async(Run.begin)(code, options)
    try:
        result = await run.executor.aexecute(code, **run.arguments)
        return await sync_to_async(run.conclude)(result)
    except BaseException as error:
        await sync_to_async(run.fail)(error)
        raise


def stream(code: str | bytes, **options: Unpack[Options]) -> ExecutionStream:
    """Run the code now; its events as they happen, the last of them ``Finished``. The row is final before that one."""
    return ExecutionStream(Run.begin(code, options), code)


async def astream(code: str | bytes, **options: Unpack[Options]) -> AsyncExecutionStream:
    """The same, for ``async for event in await services.astream(code)``."""
    return AsyncExecutionStream(await sync_to_async(Run.begin)(code, options), code)


def cancel(execution: CodeExecution) -> bool:
    """End it as soon as possible, in whatever process it runs: within about a second. False when it was over."""
    queued = CodeExecution.objects.filter(pk=execution.pk, status=State.QUEUED)
    with transaction.atomic():
        if queued.update(
            status=State.CANCELLED, finished=timezone.now(), reason="Cancelled before it started.", decided_by="caller"
        ):
            return True
        if not CodeExecution.objects.filter(pk=execution.pk, status=State.RUNNING).update(cancel_requested=True):
            return False
    running.cancel(execution.pk)
    return True


async def acancel(execution: CodeExecution) -> bool:
    """The async twin of ``cancel``."""
    return await sync_to_async(cancel)(execution)


def reap() -> int:
    """Mark what a dead process left as lost, and give back what it had reserved; how many there were."""
    overdue = CodeExecution.objects.overdue().only("pk", "attempt", "reserved", "user_id")
    return sum(map(end_as_lost, overdue.iterator()))


class ExecutionStream:
    """Events of one execution, and its row. An iterator and a context manager; closing it ends the execution."""

    def __init__(self, run: Run, code: str | bytes) -> None:
        self.execution = run.execution
        self._run = run
        try:
            self._stream: Stream = run.executor.stream(code, **run.arguments)
        except BaseException as error:
            run.fail(error)
            raise

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Event:
        try:
            event = next(self._stream)
            if isinstance(event, Finished):
                self._run.conclude(event.result)
        except StopIteration:
            raise
        except BaseException as error:
            self._stream.close()
            self._run.fail(error)
            raise
        return event

    def close(self) -> None:
        """Give it up if it still runs; the row is final then. May be called twice."""
        self._stream.close()
        if self._stream.result is not None:
            self._run.conclude(self._stream.result)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class AsyncExecutionStream:
    """The async twin: ``async with await services.astream(code) as stream: async for event in stream: ...``"""

    def __init__(self, run: Run, code: str | bytes) -> None:
        self.execution = run.execution
        self._run = run
        self._stream: AsyncStream = run.executor.astream(code, **run.arguments)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        try:
            event = await anext(self._stream)
            if isinstance(event, Finished):
                await sync_to_async(self._run.conclude)(event.result)
        except StopAsyncIteration:
            raise
        except BaseException as error:
            await self._stream.aclose()
            await sync_to_async(self._run.fail)(error)
            raise
        return event

    async def aclose(self) -> None:
        """Give it up if it still runs; the row is final then. May be called twice."""
        await self._stream.aclose()
        if self._stream.result is not None:
            await sync_to_async(self._run.conclude)(self._stream.result)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()
