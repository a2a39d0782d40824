"""What is known of a local cell at the end of a conversation, put together as the sandbox's answer."""

from __future__ import annotations

from dataclasses import replace

from hotcell.errors import SandboxCrashed
from hotcell.results import Artifact, Status, Usage
from hotcell.sandboxes.base import RunOutcome, RunRequest
from hotcell.sandboxes.conversation import End, Heard, text_of
from hotcell.sandboxes.local import verdict
from hotcell.sandboxes.local.cell import LocalCell
from hotcell.sandboxes.local.pool import Pool
from hotcell.sandboxes.local.verdict import Evidence


def evidence_of(cell: LocalCell, heard: Heard, request: RunRequest) -> Evidence:
    """What our side knows while the cell may still live."""
    peak = cell.measure_peak()
    # The kernel kills only at the limit, so below it there is nothing to read.
    at_limit = peak + (1 << 20) >= request.config.memory_bytes
    return Evidence(
        ending=None,
        out_of_memory=at_limit and cell.group is not None and cell.group.was_out_of_memory(),
        cpu_seconds=cell.cpu_seconds() if heard.is_alive else cell.own_cpu_seconds(),
        usage=Usage(
            wall_seconds=heard.seconds,
            peak_memory_bytes=max(0, peak),
            processes=cell.peak_processes,
            output_bytes=heard.output_bytes,
        ),
    )


def bury(pool: Pool, cell: LocalCell, heard: Heard, evidence: Evidence) -> Evidence:
    """Kill the cell, wait until all of it is dead, and add how it ended. Raises SandboxCrashed."""
    if heard.end is End.REPORT and (forbidden := cell.pending_alarm()):
        heard.end, heard.problem = End.FORBIDDEN, forbidden
    ending = pool.end(cell)
    if ending is None:
        raise SandboxCrashed(
            "The fork server died while the code ran; the execution has no result. The next call starts a new one. If "
            "this repeats, the host is out of memory, or somebody kills its processes."
        )
    return replace(evidence, ending=ending, cpu_seconds=max(evidence.cpu_seconds, ending.cpu_seconds))


def outcome_of(
    decision: tuple[Status, str, str],
    heard: Heard,
    evidence: Evidence,
    *,
    artifacts: tuple[Artifact, ...],
    notes: tuple[str, ...],
    acquire_seconds: float,
) -> RunOutcome:
    """Everything that was heard and measured."""
    status, reason, decided_by = decision
    report = heard.report
    return RunOutcome(
        status=status,
        reason=reason,
        decided_by=decided_by,
        stdout=heard.output["stdout"].decode("utf-8", "replace"),
        stderr=heard.output["stderr"].decode("utf-8", "replace"),
        value=report.get("value") if status is Status.OK else None,
        value_repr=text_of(report, "value_repr", 1 << 16) if status is Status.OK else None,
        error=verdict.error_of(report) if report.get("outcome") in ("error", "exit") else None,
        displays=tuple(heard.displays),
        artifacts=artifacts,
        notes=(*heard.notes, *notes),
        reproducible=heard.end is End.REPORT and report.get("reproducible") is True,
        usage=replace(evidence.usage, cpu_seconds=evidence.cpu_seconds),
        acquire_seconds=acquire_seconds,
        run_seconds=heard.seconds,
    )
