"""The decision table: what was heard and what the kernel says come to one status; a report can forge none of it."""

from __future__ import annotations

import signal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hotcell.config import SandboxConfig
from hotcell.results import ErrorInfo, Status, Usage
from hotcell.sandboxes.base import RunRequest
from hotcell.sandboxes.conversation import End, Heard
from hotcell.sandboxes.local.cell import Ending
from hotcell.sandboxes.local.verdict import Evidence, decide, error_of, gave_up

EXITED = Ending(exit_code=3, signal=None, cpu_seconds=0.1)
OK = {"outcome": "ok"}
RAISED = {"outcome": "error", "error": {"type": "ValueError", "message": "no"}}


def killed_by(number: int) -> Ending:
    return Ending(exit_code=None, signal=number, cpu_seconds=0.1)


def judge(
    end: End,
    *,
    report: dict[str, Any] | None = None,
    ending: Ending | None = EXITED,
    out_of_memory: bool = False,
    cpu_seconds: float = 0.1,
    cancelled: bool = False,
    problem: str = "",
) -> tuple[Status, str, str]:
    request = RunRequest(code="", config=SandboxConfig(timeout_seconds=2, cpu_seconds=1))
    if cancelled:
        request.cancellation.cancel()
    evidence = Evidence(ending=ending, out_of_memory=out_of_memory, cpu_seconds=cpu_seconds)
    return decide(Heard(end=end, report=report or {}, problem=problem), evidence, request)


@pytest.mark.parametrize(
    ("end", "facts", "status", "decided_by"),
    [
        (End.REPORT, {"report": OK}, Status.OK, "code"),
        (End.REPORT, {"report": OK, "ending": None}, Status.OK, "code"),
        (End.REPORT, {"report": OK, "ending": killed_by(9)}, Status.OK, "code"),
        (End.REPORT, {"report": RAISED}, Status.ERROR, "code"),
        (End.REPORT, {"report": {"outcome": "exit", "exit_code": 3}}, Status.ERROR, "code"),
        (End.REPORT, {"report": {**RAISED, "memory_error": True}}, Status.MEMORY_LIMIT, "limits"),
        (End.REPORT, {"report": OK, "out_of_memory": True}, Status.MEMORY_LIMIT, "limits"),
        (End.REPORT, {}, Status.ERROR, "code"),
        (End.DEATH, {"ending": EXITED}, Status.ERROR, "code"),
        (End.DEATH, {"ending": None}, Status.ERROR, "code"),
        (End.DEATH, {"ending": killed_by(signal.SIGSEGV)}, Status.KILLED, "kernel"),
        (End.DEATH, {"ending": killed_by(signal.SIGKILL)}, Status.KILLED, "kernel"),
        (End.DEATH, {"ending": killed_by(signal.SIGSYS)}, Status.KILLED, "kernel"),
        (End.DEATH, {"ending": killed_by(signal.SIGXCPU), "cpu_seconds": 1.1}, Status.TIMEOUT, "limits"),
        (End.DEATH, {"ending": killed_by(signal.SIGKILL), "cpu_seconds": 1.1}, Status.TIMEOUT, "limits"),
        (End.DEATH, {"ending": killed_by(signal.SIGKILL), "out_of_memory": True}, Status.MEMORY_LIMIT, "limits"),
        (End.WALL_CLOCK, {}, Status.TIMEOUT, "limits"),
        (End.CPU_TIME, {}, Status.TIMEOUT, "limits"),
        (End.MEMORY, {}, Status.MEMORY_LIMIT, "limits"),
        (End.OUTPUT, {}, Status.OUTPUT_LIMIT, "limits"),
        (End.FORBIDDEN, {"problem": "ptrace"}, Status.KILLED, "kernel"),
        (End.PROTOCOL, {"problem": "a frame of unknown kind 9"}, Status.KILLED, "sandbox"),
    ],
)
def test_the_table(end: End, facts: dict[str, Any], status: Status, decided_by: str) -> None:
    found, reason, by = judge(end, **facts)
    assert (found, by) == (status, decided_by)
    assert reason.endswith(".") and reason[0].isupper() and reason.isprintable()


@pytest.mark.parametrize(
    ("end", "facts", "words"),
    [
        (End.WALL_CLOCK, {}, ["timeout_seconds=2"]),
        (End.CPU_TIME, {}, ["cpu_seconds=1"]),
        (End.MEMORY, {}, ["memory_bytes=536870912"]),
        (End.OUTPUT, {}, ["output_bytes=1048576"]),
        (End.FORBIDDEN, {"problem": "ptrace"}, ["ptrace"]),
        (End.PROTOCOL, {"problem": "a frame of unknown kind 9"}, ["unknown kind 9"]),
        (End.DEATH, {"ending": killed_by(signal.SIGSEGV)}, ["SIGSEGV"]),
        (End.DEATH, {"ending": killed_by(40)}, ["signal 40"]),
        (End.DEATH, {"ending": EXITED}, ["exit code 3"]),
        (End.REPORT, {"report": {"outcome": "exit", "exit_code": 7}}, ["code 7"]),
        (End.REPORT, {"report": RAISED}, ["ValueError"]),
    ],
)
def test_the_sentence_names_the_limit_the_call_or_the_signal(end: End, facts: dict[str, Any], words: list[str]) -> None:
    reason = judge(end, **facts)[1]
    assert all(word in reason for word in words)


@pytest.mark.parametrize("end", End)
def test_a_cancelled_execution_is_cancelled_whatever_else_happened(end: End) -> None:
    assert judge(end, report=OK, out_of_memory=True, cancelled=True)[::2] == (Status.CANCELLED, "caller")


@pytest.mark.threat(30)
@pytest.mark.parametrize("end", [end for end in End if end is not End.REPORT])
def test_a_report_counts_only_when_it_ended_the_conversation(end: End) -> None:
    for report in (OK, RAISED, {"outcome": "exit", "exit_code": 0}):
        assert judge(end, report=report)[0] == judge(end)[0]
        assert judge(end, report=report)[0] is not Status.OK


@pytest.mark.threat(32)
@pytest.mark.parametrize("code", [0, 1, 124, 137, 139, 159, 255])
def test_an_exit_code_imitates_no_signal_and_no_success(code: int) -> None:
    ended = Ending(exit_code=code, signal=None, cpu_seconds=0.0)
    assert judge(End.DEATH, ending=ended)[::2] == (Status.ERROR, "code")


@pytest.mark.threat(23)
def test_a_signal_sent_to_itself_is_no_limit() -> None:
    for number in (signal.SIGXCPU, signal.SIGKILL, signal.SIGTERM, signal.SIGXFSZ):
        assert judge(End.DEATH, ending=killed_by(number))[0] is Status.KILLED


@pytest.mark.threat(30, 34)
@pytest.mark.parametrize(
    "outcome", [None, True, 1, "OK", " ok", "ok\0", ["ok"], {"ok": 1}, "killed", "timeout", "rejected", 1e308]
)
def test_any_other_word_than_ok_is_an_error(outcome: object) -> None:
    status, reason, by = judge(End.REPORT, report={"outcome": outcome})
    assert (status, reason, by) == (Status.ERROR, "The code raised an exception.", "code")


@pytest.mark.threat(34)
@pytest.mark.parametrize("memory_error", [1, "true", [True], {"a": 1}, None, False])
def test_only_true_is_a_memory_error(memory_error: object) -> None:
    assert judge(End.REPORT, report={**RAISED, "memory_error": memory_error})[0] is Status.ERROR


@pytest.mark.threat(28, 34)
@pytest.mark.parametrize("code", [True, None, "0", [], 1.5, 10**4000, -1, "\x1b[2J", {"a": 1}])
def test_an_exit_code_of_the_wrong_kind_does_not_reach_the_sentence(code: object) -> None:
    assert judge(End.REPORT, report={"outcome": "exit", "exit_code": code})[1] == "The code exited with code 1."


@pytest.mark.threat(28, 44)
@pytest.mark.parametrize(
    "name",
    [
        "\x1b]52;c;aGk=\x07",
        "a\nERROR root: forged",
        "x" * 200,
        "\u202etxt.exe",
        "Value Error",
        "AKIAIOSFODNN7EXAMPLE is the key",
        "Ошибка",
        "a..b",
        "",
        5,
        ["x"],
        None,
    ],
)
def test_an_odd_exception_name_does_not_reach_the_sentence(name: object) -> None:
    report = {"outcome": "error", "error": {"type": name}}
    assert judge(End.REPORT, report=report)[1] == "The code raised an exception."


def test_a_dotted_exception_name_does() -> None:
    report = {"outcome": "error", "error": {"type": "pandas.errors.ParserError"}}
    assert judge(End.REPORT, report=report)[1] == "The code raised pandas.errors.ParserError."


@pytest.mark.threat(59)
@pytest.mark.parametrize("error", [None, 1, "ValueError", ["type"], True, {}, {"type": 1, "message": [], "line": "2"}])
def test_an_error_of_the_wrong_kind_becomes_an_empty_one(error: object) -> None:
    assert error_of({"error": error}) == ErrorInfo(type="an exception", message="")
    assert error_of({}) == ErrorInfo(type="an exception", message="")


@pytest.mark.threat(59)
@pytest.mark.parametrize("line", [True, -1, 1 << 31, 10**100, 1.5, "3", None, [3]])
def test_a_line_that_is_no_line_number_is_unknown(line: object) -> None:
    assert error_of({"error": {"line": line}}).line == 0


@pytest.mark.parametrize("line", [0, 1, (1 << 31) - 1])
def test_a_line_number_is_kept(line: int) -> None:
    assert error_of({"error": {"line": line}}).line == line


@pytest.mark.threat(59)
def test_ten_megabytes_of_message_are_cut() -> None:
    huge = "x" * (10 << 20)
    error = error_of({"error": dict.fromkeys(("type", "message", "traceback", "source_line"), huge)})
    assert len(error.type) <= 200
    assert len(error.message) == len(error.traceback) == 1 << 16
    assert len(error.source_line) <= 1000


HOSTILE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
REPORTS = st.fixed_dictionaries(
    {},
    optional={
        "outcome": st.sampled_from(["ok", "error", "exit"]) | HOSTILE,
        "exit_code": HOSTILE,
        "memory_error": HOSTILE,
        "error": HOSTILE
        | st.fixed_dictionaries(
            {}, optional=dict.fromkeys(("type", "message", "traceback", "line", "source_line"), HOSTILE)
        ),
    },
)


@given(
    end=st.sampled_from(End),
    report=REPORTS,
    number=st.none() | st.integers(1, 64),
    out_of_memory=st.booleans(),
    cpu_seconds=st.floats(0, 10),
)
@settings(deadline=None, max_examples=300)
def test_every_combination_comes_to_a_verdict(
    end: End, report: dict[str, Any], number: int | None, out_of_memory: bool, cpu_seconds: float
) -> None:
    ending = EXITED if number is None else killed_by(number)
    status, reason, by = judge(
        end, report=report, ending=ending, out_of_memory=out_of_memory, cpu_seconds=cpu_seconds, problem="p"
    )
    assert by in {"code", "limits", "kernel", "sandbox", "caller"}
    assert (by == "caller") is (status is Status.CANCELLED) is (end is End.CANCELLED)
    assert reason.isprintable() and reason.isascii() and len(reason) < 300
    assert status not in {Status.REJECTED, Status.FAILED}
    if status is Status.OK:
        assert end is End.REPORT and report["outcome"] == "ok" and not out_of_memory


@pytest.mark.parametrize(
    ("ending", "peak", "short_of_memory"),
    [
        (killed_by(signal.SIGABRT), 100 << 20, True),
        (killed_by(signal.SIGTRAP), 64 << 20, True),
        (killed_by(signal.SIGABRT), (64 << 20) - 1, False),
        (killed_by(signal.SIGKILL), 100 << 20, False),
        (killed_by(signal.SIGSEGV), 100 << 20, False),
        (EXITED, 100 << 20, False),
        (None, 100 << 20, False),
    ],
)
def test_an_interpreter_that_gives_up_over_its_limit_was_short_of_memory(
    ending: Ending | None, peak: int, short_of_memory: bool
) -> None:
    """Both facts are the kernel's: the signal that ended it, and what it held by then."""
    request = RunRequest(code="", config=SandboxConfig(memory_bytes=64 << 20))
    evidence = Evidence(ending=ending, out_of_memory=False, cpu_seconds=0, usage=Usage(peak_memory_bytes=peak))
    assert gave_up(evidence, request) is short_of_memory
