"""Every way to run code leaves its row, and the row says what became of it."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import threading
import time
from collections.abc import Coroutine, Iterator
from typing import Any, TypeVar

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import AnonymousUser, User
from django.db import connections
from django.test import override_settings
from django.utils import timezone

from hotcell import ConfigurationError, SandboxConfig, SandboxError
from hotcell.django import executors, services, signals
from hotcell.django.models import CodeExecution, ExecutionArtifact
from hotcell.django.runs import Run
from hotcell.django.states import State
from hotcell.events import Finished, Stdout
from hotcell.results import Status

pytestmark = pytest.mark.django_db
T = TypeVar("T")


@pytest.fixture
def user() -> User:
    return User.objects.create_user("ada")


@pytest.fixture
def heard() -> Iterator[list[tuple[str, Any]]]:
    """The names of the signals that were sent, with what came with them."""
    found: list[tuple[str, Any]] = []
    receivers = {}
    for name in ("execution_started", "execution_finished", "execution_rejected", "quota_exceeded"):
        receivers[name] = lambda name=name, **given: found.append((name, given["execution"]))
        getattr(signals, name).connect(receivers[name])
    yield found
    for name, receiver in receivers.items():
        getattr(signals, name).disconnect(receiver)


def stored(execution: CodeExecution) -> CodeExecution:
    return CodeExecution.objects.get(pk=execution.pk)


class TestExecute:
    def test_the_row_says_everything(self, user: User) -> None:
        execution = services.execute(
            "import statistics\nprint(statistics.mean(prices))\nlen(prices)",
            user=user,
            context={"prices": [3, 4, 5]},
            request_id="request-1",
            metadata={"model": "m"},
        )
        row = stored(execution)
        assert (row.status, row.stdout, row.value, row.value_repr) == (State.OK, "4\n", 3, "3")
        assert (row.user, row.request_id, row.metadata) == (user, "request-1", {"model": "m"})
        assert row.context == {"prices": [3, 4, 5]}
        assert row.policy["name"] == "standard"
        assert row.config["timeout_seconds"] == 5
        assert row.sandbox == "local" and row.isolation in ("namespace", "process") and row.layers
        assert row.created <= row.started <= row.finished
        assert row.expires is None and row.wall_seconds > 0 and row.timings["total_seconds"] > 0
        assert row.to_result() == execution.to_result()
        assert row.to_result().execution_id == row.pk.hex
        assert row.success and row.is_final and row.first_line == "import statistics"

    def test_what_went_wrong_is_summed_up(self, user: User) -> None:
        row = stored(services.execute("print(1)\nraise ValueError('no such column')", user=user))
        assert row.status == State.ERROR
        assert row.error_summary() == "ValueError: no such column (line 2)"
        assert row.usage_summary().endswith(" MiB")

    def test_refused_code_is_kept_with_its_rules(self, heard: list[tuple[str, Any]]) -> None:
        row = stored(services.execute("import subprocess\nimport os; os.system('x')"))
        assert row.status == State.REJECTED and row.decided_by == "policy"
        assert row.wall_seconds is None and row.sandbox == ""
        assert row.violation_summary() == "process.start (2)"
        assert CodeExecution.objects.with_violations(row.violations[0]["rule"]).get() == row
        assert not CodeExecution.objects.with_violations("no.such.rule")
        assert [name for name, _ in heard] == ["execution_started", "execution_rejected", "execution_finished"]

    @pytest.mark.parametrize("nobody", [None, AnonymousUser()], ids=["None", "anonymous"])
    def test_nobody_may_run_code_and_sees_nothing(self, nobody: AnonymousUser | None) -> None:
        row = stored(services.execute("1", user=nobody))
        assert row.user is None
        assert not CodeExecution.objects.for_user(nobody)

    @pytest.mark.parametrize(
        "code", ["print('a\\0b')", "\0", "print('\\ud800')", b"\xff\xfe", "", "'\U0001f600' * 3", "x = (" * 200]
    )
    def test_any_code_at_all_leaves_a_row(self, code: str | bytes) -> None:
        row = stored(services.execute(code))
        assert row.is_final
        assert "\0" not in row.code + row.stdout + json.dumps(row.value)
        assert row.to_result().code_sha256 == row.code_sha256

    def test_a_bad_argument_is_an_error_and_the_row_says_so(self) -> None:
        with pytest.raises(ConfigurationError, match="not a variable name"):
            services.execute("1", context={"not a name": 1})
        row = CodeExecution.objects.get()
        assert row.status == State.FAILED and "not a variable name" in row.reason

    def test_an_alias_that_is_not_there_is_an_error_before_anything_is_written(self) -> None:
        with pytest.raises(ConfigurationError, match="'nowhere'"):
            services.execute("1", using="nowhere")
        assert not CodeExecution.objects.exists()

    def test_our_own_failure_is_raised_and_recorded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(*_: object, **__: object) -> None:
            raise SandboxError("the engine is gone")

        monkeypatch.setattr(executors.executors["default"], "execute", fail)
        with pytest.raises(SandboxError):
            services.execute("1")
        row = CodeExecution.objects.get()
        assert (row.status, row.reason) == (State.FAILED, "SandboxError: the engine is gone")


class TestSecrets:
    def test_no_secret_of_the_context_is_written(self) -> None:
        key = "AKIA" + "Z7Q2M4XKPW5TB3RD"
        context = {"api_key": "plain words", "nested": [{"Password": 5}], "text": f"the key is {key}", "kept": 1}
        row = stored(services.execute("print(api_key, text)", context=context))
        assert row.context["api_key"] == "[redacted:named]"
        assert row.context["nested"] == [{"Password": "[redacted:named]"}]
        assert key not in json.dumps(row.context) and row.context["kept"] == 1
        assert key not in row.stdout
        assert "plain words" in row.stdout  # the code had it all the same

    def test_no_setting_of_djangos_is_shown(self, settings: Any) -> None:
        row = stored(services.execute("print(text)", context={"text": f"<{settings.SECRET_KEY}>"}))
        assert settings.SECRET_KEY not in row.stdout + json.dumps(row.context)

    def test_the_log_tells_nothing_of_the_code(self, caplog: pytest.LogCaptureFixture) -> None:
        with caplog.at_level(logging.INFO, "hotcell.django"):
            row = services.execute("print('a word')", context={"given": "another word"}, request_id="r-1")
        (record,) = caplog.records
        assert record.execution_id == row.pk.hex and record.status == "ok" and record.request_id == "r-1"
        assert "word" not in json.dumps(vars(record), default=str)


class TestArtifacts:
    def test_files_are_kept_in_the_storage_under_names_of_ours(self) -> None:
        code = "import os\nos.mkdir('out')\nopen('out/über.csv', 'w').write('1,2')\nopen('a b.exe', 'w').write('x')"
        execution = services.execute(code, artifacts=["**"])
        rows = {row.name: row for row in execution.artifacts.all()}
        assert set(rows) == {"out/über.csv", "a b.exe"}
        one = rows["out/über.csv"]
        with one.file.open() as file:
            assert one.size == 3 and file.read() == b"1,2"
        assert os.path.basename(one.file.name).startswith(execution.pk.hex)
        assert "über" not in one.file.name
        assert {item.name for item in stored(execution).to_result().artifacts} == set(rows)

    def test_a_failure_half_way_leaves_no_file(self, monkeypatch: pytest.MonkeyPatch) -> None:
        saved: list[str] = []
        storage = ExecutionArtifact._meta.get_field("file").storage
        original = storage.save

        def save(name: str, *given: object, **options: object) -> str:
            if saved:
                raise OSError("the disk is full")
            saved.append(original(name, *given, **options))
            return saved[-1]

        monkeypatch.setattr(storage, "save", save)
        with pytest.raises(OSError, match="full"):
            services.execute("open('a', 'w').write('1')\nopen('b', 'w').write('2')", artifacts=["*"])
        assert len(saved) == 1 and not storage.exists(saved[0])
        assert not ExecutionArtifact.objects.exists()
        assert CodeExecution.objects.get().status == State.FAILED


class TestStream:
    def test_events_come_as_they_happen_and_the_row_is_final_before_the_last(self, user: User) -> None:
        with services.stream("print('so')", user=user) as stream:
            assert stored(stream.execution).status == State.RUNNING
            events = list(stream)
        assert [event.text for event in events if isinstance(event, Stdout)] == ["so\n"]
        assert isinstance(events[-1], Finished)
        assert stored(stream.execution).stdout == "so\n"
        assert stored(stream.execution).user == user

    def test_closing_it_ends_the_execution(self) -> None:
        with services.stream("print('first', flush=True)\nimport time; time.sleep(60)") as stream:
            while not isinstance(next(stream), Stdout):
                pass
        row = stored(stream.execution)
        assert row.status == State.CANCELLED and row.stdout == "first\n"

    def test_a_bad_argument_leaves_a_row_as_well(self) -> None:
        with pytest.raises(ConfigurationError):
            services.stream("1", files={"../up": b""})
        assert CodeExecution.objects.get().status == State.FAILED


class TestCancel:
    def test_a_running_execution_is_ended_by_its_row(self) -> None:
        stream = services.stream("print('first', flush=True)\nimport time; time.sleep(60)")
        while not isinstance(next(stream), Stdout):
            pass
        began = time.monotonic()
        assert services.cancel(stored(stream.execution))
        *_, last = stream
        assert isinstance(last, Finished) and last.result.status is Status.CANCELLED
        assert time.monotonic() - began < 2
        assert stored(stream.execution).status == State.CANCELLED
        assert not services.cancel(stored(stream.execution))

    def test_a_queued_one_never_runs(self) -> None:
        row = CodeExecution(code="1", code_sha256="0" * 64)
        row.save()
        assert services.cancel(row)
        assert (stored(row).status, stored(row).decided_by) == (State.CANCELLED, "caller")


class TestGuards:
    def test_save_never_overwrites(self) -> None:
        execution = services.execute("1")
        execution.stdout = "something else"
        with pytest.raises(TypeError, match="services alone"):
            execution.save()
        assert stored(execution).stdout == ""

    def test_a_result_that_comes_after_the_end_is_dropped(self, caplog: pytest.LogCaptureFixture) -> None:
        run = Run.begin("print(1)", {})
        result = run.executor.execute("print(1)", **run.arguments)
        CodeExecution.objects.filter(pk=run.execution.pk).update(expires=timezone.now() - timezone.timedelta(seconds=1))
        assert services.reap() == 1
        assert services.reap() == 0
        assert run.conclude(result).status == State.LOST
        row = stored(run.execution)
        assert (row.status, row.stdout) == (State.LOST, "")
        assert "dropped" in caplog.text

    def test_a_running_row_in_time_is_left_alone(self) -> None:
        run = Run.begin("1", {})
        assert services.reap() == 0
        run.fail(RuntimeError("enough"))
        assert stored(run.execution).status == State.FAILED


def run(main: Coroutine[Any, Any, T]) -> T:
    """``asyncio.run``; the thread in which Django does its work for a loop leaves no connection open."""

    async def go() -> T:
        try:
            return await main
        finally:
            await sync_to_async(connections.close_all)()

    return asyncio.run(go())


class TestAsync:
    @pytest.mark.django_db(transaction=True)
    def test_the_async_twins_leave_the_same_rows(self, user: User) -> None:
        async def go() -> tuple[CodeExecution, list[object], CodeExecution]:
            execution = await services.aexecute("print(6 * 7)", user=user)
            async with await services.astream("print('so')", user=user) as stream:
                events = [event async for event in stream]
            return execution, events, stream.execution

        execution, events, streamed = run(go())
        assert (stored(execution).stdout, stored(streamed).stdout) == ("42\n", "so\n")
        assert isinstance(events[-1], Finished)

    @pytest.mark.django_db(transaction=True)
    def test_cancelling_the_task_cancels_the_execution(self) -> None:
        async def go() -> None:
            task = asyncio.create_task(services.aexecute("import time; time.sleep(60)"))
            await asyncio.sleep(0.3)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        began = time.monotonic()
        run(go())
        assert time.monotonic() - began < 5
        assert CodeExecution.objects.get().status == State.CANCELLED


class TestExecutors:
    def test_all_threads_share_one_pool(self) -> None:
        found = set()
        threads = [threading.Thread(target=lambda: found.add(executors.executors["default"])) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(found) == 1

    def test_settings_that_change_make_new_ones(self) -> None:
        before = executors.executors["default"]
        with override_settings(HOTCELL_SANDBOXES={"default": {"CONFIG": {"timeout_seconds": 1}}}):
            assert executors.executors["default"].config == SandboxConfig(timeout_seconds=1)
            assert services.execute("import time; time.sleep(9)").status == State.TIMEOUT
        assert executors.executors["default"] is not before
