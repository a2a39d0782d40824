"""The pipeline: every path ends in a result that says which step decided, and our own failures raise."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import threading
import time
from typing import Any, ClassVar

import pytest

import hotcell
from hotcell.config import SandboxConfig
from hotcell.errors import ConfigurationError, QuotaExceeded, SandboxCrashed, SandboxUnavailable
from hotcell.executor import Executor, check
from hotcell.policy import Policy
from hotcell.results import Artifact, ErrorInfo, ExecutionResult, IsolationLevel, SandboxInfo, Status, Usage
from hotcell.sandboxes.base import Cancellation, RunOutcome, RunRequest, Sandbox
from hotcell.steps import Admission
from hotcell.validators.output import Redactor

KEY = "AKIA" + "Z7Q2M4XKPW5TB3RD"


class Scripted(Sandbox):
    """A sandbox that answers what it was told to."""

    name: ClassVar[str] = "scripted"
    supports_files = True

    def __init__(self, answer: Any = None, isolation: IsolationLevel = IsolationLevel.NAMESPACE) -> None:
        self.answer = answer
        self.requests: list[RunRequest] = []
        self.closed = 0
        self._info = SandboxInfo(name=self.name, isolation=isolation, layers=("one",))

    @property
    def info(self) -> SandboxInfo:
        return self._info

    def run(self, request: RunRequest) -> RunOutcome:
        self.requests.append(request)
        answer = self.answer(request) if callable(self.answer) else self.answer
        if isinstance(answer, Exception):
            raise answer
        return answer or RunOutcome(status=Status.OK, reason="done", decided_by="code", stdout="2\n", run_seconds=0.5)

    def close(self) -> None:
        self.closed += 1


class StrictOnly(Scripted):
    required_policy: ClassVar[str | None] = "strict"


def outcome(**fields: Any) -> RunOutcome:
    return RunOutcome(**{"status": Status.OK, "reason": "done", "decided_by": "code", **fields})


class TestThePath:
    def test_what_the_sandbox_says_becomes_the_result(self):
        result = Executor(Scripted()).execute("print(1 + 1)")
        assert (result.status, result.decided_by, result.stdout) == (Status.OK, "code", "2\n")
        assert result.sandbox == SandboxInfo(name="scripted", isolation=IsolationLevel.NAMESPACE, layers=("one",))
        assert result.code_sha256 == hashlib.sha256(b"print(1 + 1)").hexdigest()
        assert len(result.execution_id) == 32
        assert result.timings.run_seconds == 0.5
        assert result.timings.total_seconds > result.timings.syntax_seconds > 0

    def test_the_sandbox_gets_the_text_that_was_analysed(self):
        sandbox = Scripted()
        Executor(sandbox).execute(b"\xef\xbb\xbfx = 1\n", context={"y": 2}, files={"a": b"b"}, artifacts=["*"])
        request = sandbox.requests[0]
        assert (request.code, request.context, request.files, request.artifacts) == (
            "x = 1\n",
            {"y": 2},
            {"a": b"b"},
            ("*",),
        )
        assert request.namespace == Policy.standard().namespace_rules()

    @pytest.mark.parametrize("code", ["x = (", b"\xff", "x\0", "(" * 10_000, None])
    def test_code_that_does_not_parse_is_rejected_by_syntax(self, code: Any):
        sandbox = Scripted()
        result = Executor(sandbox).execute(code)
        assert (result.status, result.decided_by) == (Status.REJECTED, "syntax")
        assert result.violations
        assert not sandbox.requests

    def test_code_that_the_policy_refuses_is_rejected_by_policy(self):
        sandbox = Scripted()
        result = Executor(sandbox).execute("x = 1\nimport subprocess")
        assert (result.status, result.decided_by) == (Status.REJECTED, "policy")
        assert "line 2" in result.reason
        assert not sandbox.requests

    def test_the_limits_of_one_call_win(self):
        sandbox = Scripted()
        executor = Executor(sandbox, SandboxConfig(timeout_seconds=5))
        executor.execute("1")
        executor.execute("1", config=SandboxConfig(timeout_seconds=7))
        assert [request.config.timeout_seconds for request in sandbox.requests] == [5, 7]

    def test_a_call_cancelled_before_it_starts_does_not_run(self):
        sandbox, cancellation = Scripted(), Cancellation()
        cancellation.cancel()
        result = Executor(sandbox).execute("1", cancellation=cancellation)
        assert (result.status, result.decided_by, sandbox.requests) == (Status.CANCELLED, "caller", [])

    def test_every_execution_has_an_id_of_its_own(self):
        executor = Executor(Scripted())
        assert len({executor.execute("1").execution_id for _ in range(50)}) == 50


class TestRefusals:
    @pytest.mark.parametrize("given", [{"context": {"x": {1}}}, {"files": {"../x": b""}}, {"artifacts": ["/x"]}])
    def test_a_bad_argument_is_refused_before_anything_runs(self, given: dict[str, Any]):
        sandbox = Scripted()
        with pytest.raises(ConfigurationError):
            Executor(sandbox).execute("1", **given)
        assert not sandbox.requests

    @pytest.mark.parametrize(
        "given", [{"policy": "strict"}, {"config": {"timeout_seconds": 1}}, {"sandbox": Scripted}], ids=str
    )
    def test_a_part_of_the_wrong_type_is_refused_by_name(self, given: dict[str, Any]):
        with pytest.raises(ConfigurationError, match=next(iter(given))):
            Executor(**given)

    def test_a_wall_that_is_too_thin_is_refused(self):
        sandbox = Scripted(isolation=IsolationLevel.NONE)
        with pytest.raises(SandboxUnavailable, match=r"min_isolation=IsolationLevel\.NONE"):
            Executor(sandbox).execute("1")
        assert Executor(sandbox, min_isolation=IsolationLevel.NONE).execute("1").success

    def test_a_sandbox_that_needs_another_policy_is_refused(self):
        with pytest.raises(ConfigurationError, match=r"Policy\.strict\(\)"):
            Executor(StrictOnly())
        with pytest.raises(ConfigurationError):
            Executor(StrictOnly(), policy=Policy.strict().allow_import("os"))
        assert Executor(StrictOnly(), policy=Policy.strict()).execute("1").success


class TestHooks:
    def test_admit_is_asked_first(self):
        asked: list[Admission] = []
        result = Executor(Scripted(), admit=asked.append).execute("x = (")
        assert [(item.execution_id, item.code_bytes, item.policy) for item in asked] == [
            (result.execution_id, 5, "standard")
        ]

    def test_a_quota_is_raised_and_recorded(self):
        def refuse(admission: Admission) -> None:
            raise QuotaExceeded("no more today", retry_after_seconds=60)

        kept: list[ExecutionResult] = []
        sandbox = Scripted()
        with pytest.raises(QuotaExceeded):
            Executor(sandbox, admit=refuse, record=kept.append).execute("1")
        assert [(item.status, item.decided_by) for item in kept] == [(Status.FAILED, "admit")]
        assert not sandbox.requests

    def test_every_result_is_recorded(self):
        kept: list[ExecutionResult] = []
        executor = Executor(Scripted(), record=kept.append)
        results = [executor.execute(code) for code in ("1", "x = (", "import subprocess")]
        assert kept == results

    def test_our_own_failure_is_recorded_then_raised(self):
        kept: list[ExecutionResult] = []
        with pytest.raises(SandboxCrashed):
            Executor(Scripted(SandboxCrashed("it died")), record=kept.append).execute("1")
        assert [(item.status, item.decided_by) for item in kept] == [(Status.FAILED, "sandbox")]
        assert "it died" in kept[0].reason

    def test_a_record_hook_that_fails_is_logged_and_loses_nothing(self, caplog):
        def fail(result: ExecutionResult) -> None:
            raise OSError("disk full")

        with caplog.at_level(logging.ERROR, "hotcell"):
            assert Executor(Scripted(), record=fail).execute("1").success
        assert "disk full" in caplog.text


class TestTheOutputCheck:
    FILE = Artifact(name="a.txt", size=len(KEY), sha256="x", content=KEY.encode())
    HOSTILE = outcome(
        stdout=f"key {KEY}\x1b]0;t\x07",
        stderr=KEY,
        value={KEY: [KEY, {"deep": f"\x1b[2J {KEY}"}]},
        value_repr=repr(KEY),
        error=ErrorInfo(type="E\x1b", message=KEY, traceback=f"Traceback {KEY}", line=1, source_line=f"x = '{KEY}'"),
        artifacts=(FILE,),
        notes=(f"not collected: {KEY}\x1b",),
        usage=Usage(output_bytes=7),
    )

    def test_secrets_and_escapes_are_taken_out_everywhere(self):
        result = Executor(Scripted(self.HOSTILE)).execute("1")
        assert KEY not in result.to_json()
        assert "\x1b" not in str(result.to_dict())
        assert KEY.encode() not in result.artifacts[0].content
        assert {item.where for item in result.redactions} == {
            "stdout", "stderr", "value", "error", "artifact:a.txt", "notes",
        }  # fmt: skip

    def test_an_artifact_has_the_type_of_what_is_in_it(self):
        page = Artifact(name="plot.png", size=6, sha256="", content=b"<html>")
        for redactor in (None, Redactor()):
            result = Executor(Scripted(outcome(artifacts=(page,))), redactor=redactor).execute("1")
            assert result.artifacts[0].media_type == "text/html"

    def test_a_redacted_artifact_has_its_new_size_and_hash(self):
        artifact = Executor(Scripted(self.HOSTILE)).execute("1").artifacts[0]
        assert artifact.size == len(artifact.content)
        assert artifact.sha256 == hashlib.sha256(artifact.content).hexdigest()

    def test_without_a_redactor_the_text_is_still_cleaned(self):
        result = Executor(Scripted(self.HOSTILE), redactor=None).execute("1")
        assert KEY in result.stdout
        assert "\x1b" not in str(result.to_dict())
        assert not result.redactions

    def test_ordinary_output_is_left_alone(self):
        value = {"a": [1, 2.5, None, True, "text\n\ttab"], "\u20ac": "\u00e9"}
        result = Executor(Scripted(outcome(stdout="a\tb\r\n", value=value))).execute("1")
        assert (result.stdout, result.value, result.redactions) == ("a\tb\r\n", value, ())


class TestAsync:
    def test_it_is_the_same_as_execute(self):
        async def main() -> ExecutionResult:
            async with Executor(Scripted()) as executor:
                return await executor.aexecute("print(1 + 1)")

        assert asyncio.run(main()).stdout == "2\n"

    def test_many_at_once(self):
        barrier = threading.Barrier(20, timeout=20)

        def together(request: RunRequest) -> None:
            barrier.wait()

        async def main() -> list[ExecutionResult]:
            with Executor(Scripted(together)) as executor:
                return await asyncio.gather(*(executor.aexecute("1") for _ in range(20)))

        assert all(result.success for result in asyncio.run(main()))

    def test_cancelling_the_task_cancels_the_execution_and_waits_for_its_end(self):
        begun, ended = threading.Event(), threading.Event()

        def slow(request: RunRequest) -> RunOutcome:
            stop = threading.Event()
            request.cancellation.on_cancel(stop.set)
            begun.set()
            stop.wait(20)
            time.sleep(0.1)
            ended.set()
            return outcome(status=Status.CANCELLED)

        async def main() -> bool:
            task = asyncio.create_task(executor.aexecute("1"))
            assert await asyncio.to_thread(begun.wait, 20)
            task.cancel()
            await asyncio.sleep(0.02)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            return ended.is_set()

        kept: list[ExecutionResult] = []
        with Executor(Scripted(slow), record=kept.append) as executor:
            assert asyncio.run(main())
        assert [item.status for item in kept] == [Status.CANCELLED]

    def test_cancelling_a_task_that_waits_for_a_thread_does_not_wait(self, monkeypatch):
        monkeypatch.setattr("hotcell.threads._MOST_THREADS", 1)
        go_on = threading.Event()

        async def main() -> None:
            first = asyncio.create_task(executor.aexecute("1"))
            second = asyncio.create_task(executor.aexecute("2"))
            await asyncio.sleep(0.05)
            second.cancel()
            with pytest.raises(asyncio.CancelledError):
                await second
            assert not first.done()
            go_on.set()
            await first

        with Executor(Scripted(lambda request: go_on.wait(20) and None)) as executor:
            asyncio.run(main())
            assert [request.code for request in executor.sandbox.requests] == ["1"]

    def test_our_failures_raise_here_too(self):
        async def main() -> None:
            with Executor(Scripted(SandboxCrashed("x"))) as executor:
                await executor.aexecute("1")

        with pytest.raises(SandboxCrashed):
            asyncio.run(main())

    def test_after_a_fork_the_child_has_threads_of_its_own(self):
        executor = Executor(Scripted())
        assert asyncio.run(executor.aexecute("1")).success
        child = os.fork()
        if child == 0:
            os._exit(0 if asyncio.run(executor.aexecute("1")).success else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        executor.close()


class TestOwnership:
    def test_a_sandbox_of_the_callers_is_not_closed(self):
        sandbox = Scripted()
        with Executor(sandbox):
            pass
        assert sandbox.closed == 0

    def test_a_sandbox_of_its_own_is_closed(self, monkeypatch):
        sandbox = Scripted()
        monkeypatch.setattr("hotcell.executor._local_sandbox", lambda **_: sandbox)
        with Executor() as executor:
            assert executor.execute("1").success
        assert sandbox.closed == 1


class TestTheDefaultExecutor:
    @pytest.fixture(autouse=True)
    def made(self, monkeypatch):
        made: list[Scripted] = []

        def make(**_: Any) -> Scripted:
            time.sleep(0.01)
            made.append(Scripted())
            return made[-1]

        monkeypatch.setattr("hotcell.executor._local_sandbox", make)
        hotcell.executor._default.close()
        yield made
        hotcell.executor._default.close()

    def test_it_is_made_once_whoever_asks(self, made):
        threads = [threading.Thread(target=hotcell.run, args=("1",)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert asyncio.run(hotcell.arun("1")).success
        assert len(made) == 1

    def test_a_forked_child_makes_its_own(self, made):
        hotcell.run("1")
        child = os.fork()
        if child == 0:
            hotcell.run("1")
            os._exit(0 if len(made) == 2 and made[0].closed == 0 else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0

    def test_it_is_closed_at_the_end_and_made_again_when_asked(self, made):
        hotcell.run("1")
        hotcell.executor._default.close()
        assert hotcell.run("1").success
        assert [item.closed for item in made] == [1, 0]


class TestCheck:
    def test_it_says_what_execute_would_refuse(self):
        assert check("print(1)").accepted
        report = Executor(Scripted(), policy=Policy.strict()).check("import os")
        assert (report.accepted, report.policy) == (False, "strict")
        assert report.violations[0].line == 1

    def test_it_takes_any_bytes(self):
        assert not check(b"\xff\xfe\x00").accepted


class TestExecutionId:
    def test_the_callers_own_is_everywhere(self):
        result = Executor(Scripted()).execute("1", execution_id="row-17")
        assert result.execution_id == "row-17"

    @pytest.mark.parametrize("bad", ["line\nbreak", "x" * 201, None, 5])
    def test_one_that_is_no_name_is_refused(self, bad: Any):
        with pytest.raises(ConfigurationError, match="execution_id"):
            Executor(Scripted()).execute("1", execution_id=bad)
