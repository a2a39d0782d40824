"""From what was heard and what the kernel says to a status: the only place where a local cell's is decided."""

from __future__ import annotations

import signal
from dataclasses import dataclass, field
from typing import Any

from hotcell.results import ErrorInfo, Status, Usage
from hotcell.sandboxes.base import RunRequest
from hotcell.sandboxes.conversation import End, Heard, text_of
from hotcell.sandboxes.local.cell import Ending

_TEXT = 1 << 16
_Decision = tuple[Status, str, str]


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What our own side knows."""

    ending: Ending | None
    """How the process died; None while it is only known to have been killed by us after its report."""
    out_of_memory: bool
    """The kernel killed something in the cell's memory group."""
    cpu_seconds: float
    usage: Usage = field(default_factory=Usage)
    """The rest of what was measured."""


def decide(heard: Heard, evidence: Evidence, request: RunRequest) -> _Decision:
    """Status, one sentence, and the step that decided."""
    config = request.config
    if request.cancellation.cancelled or heard.end is End.CANCELLED:
        return Status.CANCELLED, "The caller cancelled the execution.", "caller"
    if heard.end is End.WALL_CLOCK:
        return Status.TIMEOUT, f"It ran longer than timeout_seconds={config.timeout_seconds:g}.", "limits"
    if heard.end is End.OUTPUT:
        return Status.OUTPUT_LIMIT, f"It wrote more than output_bytes={config.output_bytes}.", "limits"
    if heard.end is End.CPU_TIME:
        return _cpu(request)
    if heard.end is End.MEMORY or evidence.out_of_memory:
        return Status.MEMORY_LIMIT, f"It held more than memory_bytes={config.memory_bytes}.", "limits"
    if heard.end is End.FORBIDDEN:
        reason = (
            f"It made the system call {heard.problem}, which ends a cell: no honest program in one has a use for it."
        )
        return Status.KILLED, reason, "kernel"
    if heard.end is End.PROTOCOL:
        reason = f"It wrote to the wire what the protocol does not allow ({heard.problem}) and was ended."
        return Status.KILLED, reason, "sandbox"
    if heard.end is End.REPORT:
        return _reported(heard.report, request)
    return _died(evidence, request)


def gave_up(evidence: Evidence, request: RunRequest) -> bool:
    """True when an interpreter ended itself, as they do when memory is short, after it held more than it may.

    The kernel leaves it some room above ``memory_bytes``, so that it can notice by itself and say so.
    """
    ending = evidence.ending
    abrupt = ending is not None and ending.signal in (signal.SIGABRT, signal.SIGTRAP, signal.SIGILL)
    return abrupt and evidence.usage.peak_memory_bytes >= request.config.memory_bytes


def _cpu(request: RunRequest) -> _Decision:
    seconds = request.config.effective_cpu_seconds
    return Status.TIMEOUT, f"It used more CPU time than cpu_seconds={seconds:g}.", "limits"


def _reported(report: dict[str, Any], request: RunRequest) -> _Decision:
    outcome = report.get("outcome")
    if outcome == "ok":
        return Status.OK, "The code ran to its end.", "code"
    if report.get("memory_error") is True:
        reason = f"An allocation was refused: memory_bytes={request.config.memory_bytes}."
        return Status.MEMORY_LIMIT, reason, "limits"
    if outcome == "exit":
        code = report.get("exit_code")
        known = isinstance(code, int) and not isinstance(code, bool) and 0 <= code <= 255
        return Status.ERROR, f"The code exited with code {code if known else 1}.", "code"
    # The sentence is ours and is not cleaned or redacted, so nothing but a plain name may get into it.
    name = error_of(report).type
    plain = len(name) <= 100 and name.isascii() and all(part.isidentifier() for part in name.split("."))
    return Status.ERROR, f"The code raised {name if plain else 'an exception'}.", "code"


def _died(evidence: Evidence, request: RunRequest) -> _Decision:
    ending = evidence.ending
    if ending is None or ending.signal is None:
        code = ending.exit_code if ending else None
        return Status.ERROR, f"The process ended itself with exit code {code} before the code had finished.", "code"
    if evidence.cpu_seconds > request.config.effective_cpu_seconds:
        return _cpu(request)
    if ending.signal == signal.SIGSYS:
        reason = "A signal ended it: SIGSYS, which the filter sends for a system call of a foreign architecture."
        return Status.KILLED, reason, "kernel"
    return Status.KILLED, f"A signal ended it: {_name(ending.signal)}.", "kernel"


def _name(number: int) -> str:
    try:
        known = signal.Signals(number)
    except ValueError:
        return f"signal {number}"
    return f"{known.name} ({signal.strsignal(number)})"


def error_of(report: dict[str, Any]) -> ErrorInfo:
    """The exception as the report tells it, cut to size; whatever is not text is left out."""
    told = report.get("error")
    error: dict[str, Any] = told if isinstance(told, dict) else {}
    return ErrorInfo(
        type=text_of(error, "type", 200) or "an exception",
        message=text_of(error, "message", _TEXT) or "",
        traceback=text_of(error, "traceback", _TEXT) or "",
        line=_number(error.get("line")),
        cell=_number(error.get("cell")),
        source_line=text_of(error, "source_line", 1000) or "",
    )


def _number(told: Any) -> int:
    return told if isinstance(told, int) and not isinstance(told, bool) and 0 <= told < 1 << 31 else 0
