"""A result as a page of plain text: the verdict first, then what the code said, then what we have to say about it."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hotcell.results import Artifact, CheckReport, ErrorInfo, ExecutionResult, Severity, Status, Violation
from hotcell.terminal import Style, clean_line, duration, gutter, is_table, size, table, width

if TYPE_CHECKING:
    from hotcell.sandboxes.local.doctor import Report

_PLAIN = Style()
_WIDTH = 78


def page(
    result: ExecutionResult, *, filename: str = "<cell>", saved: Sequence[Path] = (), style: Style = _PLAIN
) -> str:
    """The whole result. ``saved`` says where each artifact was written, in the order of ``result.artifacts``."""
    parts = [verdict(result, style=style), violations(result.violations, filename=filename, style=style)]
    if result.stdout:
        parts.append(_section("stdout", result.stdout, style))
    if result.stderr:
        parts.append(_section("stderr", result.stderr, style))
    if result.error:
        parts.append(_section("error", _error_text(result.error), style))
    if is_table(result.value):
        parts.append(_section("value", table(result.value), style))
    elif result.value_repr is not None:
        parts.append(_section("value", result.value_repr, style))
    parts.append("\n".join(_remarks(result, saved, style)))
    return "\n\n".join(part for part in parts if part)


def verdict(result: ExecutionResult, *, style: Style = _PLAIN) -> str:
    """The bar on top: status, reason, what it used, and what stood around it."""
    word = result.status.value.upper().replace("_", " ")
    paint = style.good if result.success else style.warn if result.status is Status.CANCELLED else style.bad
    usage = result.usage
    lines = [
        f"{paint(f'━━ {word} ')}{style.faint('━' * (_WIDTH - len(word) - 4))}",
        f"   {clean_line(result.reason)}",
        _facts(
            wall=duration(usage.wall_seconds),
            cpu=duration(usage.cpu_seconds),
            peak_memory=size(usage.peak_memory_bytes),
        ),
    ]
    if result.status is Status.REJECTED or not result.sandbox:
        lines[-1] = _facts(decided_by=result.decided_by, sandbox="not used: nothing ran")
    else:
        lines.append(
            _facts(isolation=result.sandbox.isolation, sandbox=result.sandbox.name, decided_by=result.decided_by)
        )
        lines += _wrapped("layers       ", ", ".join(result.sandbox.layers) or "none")
    return "\n".join([*lines, style.faint("━" * _WIDTH)])


def _facts(**facts: str) -> str:
    return "   " + "   ".join(f"{name.replace('_', ' '):<11}  {value:<10}" for name, value in facts.items()).rstrip()


def _wrapped(label: str, text: str) -> list[str]:
    hang = "   " + " " * len(label)
    return textwrap.wrap(
        clean_line(text), _WIDTH, initial_indent="   " + label, subsequent_indent=hang, break_on_hyphens=False
    )


def _section(title: str, text: str, style: Style) -> str:
    return f"{style.strong(title)}\n{gutter(text, style)}"


def _error_text(error: ErrorInfo) -> str:
    return error.traceback or f"{error.type}: {error.message}"


def _remarks(result: ExecutionResult, saved: Sequence[Path], style: Style) -> Iterator[str]:
    for note in result.notes:
        yield f"{style.strong('note')}      {clean_line(note)}"
    for item in result.redactions:
        yield f"{style.warn('redacted')}  {item.count} × {clean_line(item.kind)} in {clean_line(item.where)}"
    for index, artifact in enumerate(result.artifacts):
        yield f"{style.strong('artifact')}  {_artifact(artifact)}" + (
            f" -> {clean_line(str(saved[index]))}" if index < len(saved) else ""
        )


def _artifact(artifact: Artifact) -> str:
    return f"{clean_line(artifact.name)}  {size(artifact.size)}  sha256 {artifact.sha256[:12]}…"


def violations(items: Iterable[Violation], *, filename: str = "<cell>", style: Style = _PLAIN) -> str:
    """The findings as a good compiler prints them: rule, place, the line with a caret, what to write instead."""
    return "\n\n".join("\n".join(_violation(item, filename, style)) for item in items)


def _violation(item: Violation, filename: str, style: Style) -> Iterator[str]:
    paint = style.bad if item.severity is Severity.ERROR else style.warn
    yield f"{paint(f'{item.severity.value}[{clean_line(item.rule)}]')}: {clean_line(item.message)}"
    number = str(item.line) if item.line else ""
    margin = " " * len(number)
    if item.line:
        yield f"{margin} {style.faint('-->')} {clean_line(filename)}:{item.line}" + (
            f":{item.column}" if item.column else ""
        )
    if item.line and item.source_line:
        yield f" {number} {style.faint('│')} {clean_line(item.source_line)}"
        if 0 < item.column <= len(item.source_line) + 1:
            before = clean_line(item.source_line[: item.column - 1])
            yield f" {margin} {style.faint('│')} {' ' * width(before)}{paint('^')}"
    if item.fix:
        yield f" {margin} {style.strong('fix:')} {clean_line(item.fix)}"


def check_page(report: CheckReport, *, filename: str = "<cell>", style: Style = _PLAIN) -> str:
    """What the validators say, the findings first and the answer last."""
    errors = sum(item.severity is Severity.ERROR for item in report.violations)
    warnings = len(report.violations) - errors
    word = style.good("accepted") if report.accepted else style.bad("rejected")
    spent = duration(report.syntax_seconds + report.policy_seconds)
    counts = f"{errors} {_plural('error', errors)}, {warnings} {_plural('warning', warnings)}"
    answer = f"{word} by policy {clean_line(report.policy)}: {counts} ({spent})"
    found = violations(report.violations, filename=filename, style=style)
    return f"{found}\n\n{answer}" if found else answer


def _plural(noun: str, count: int) -> str:
    return noun if count == 1 else noun + "s"


def doctor_page(report: Report, *, style: Style = _PLAIN) -> str:
    """Every layer: on or off here, what it stops, and how to get it."""
    on = sum(layer.on for layer in report.layers)
    kernel, python = clean_line(report.kernel), clean_line(report.python)
    lines = [
        f"isolation level here: {style.strong(report.level.value)}",
        f"{on} of {len(report.layers)} layers on   kernel {kernel}   Python {python}",
        "",
    ]
    if report.problem:
        lines[1:1] = _wrapped("", report.problem)
    for layer in report.layers:
        lines.append(
            f"{style.good(' on') if layer.on else style.bad('off')}  {style.strong(layer.title)}  ({layer.id})"
        )
        lines += _wrapped("  stops   ", layer.stops)
        if layer.detail:
            lines += _wrapped("  here    ", layer.detail)
        if layer.remedy:
            lines += _wrapped("  get it  ", layer.remedy)
    return "\n".join([*lines, "", style.strong("languages"), *_languages(report, style)])


def _languages(report: Report, style: Style) -> Iterator[str]:
    for language in report.languages:
        version = f" {clean_line(language.version)}" if language.version else ""
        path = f"  ({clean_line(language.path)})" if language.path else ""
        yield f"{style.good(' on') if language.on else style.bad('off')}  {style.strong(language.title)}{version}{path}"
        if language.missing:
            yield from _wrapped("  without ", ", ".join(language.missing))
        if language.problem:
            yield from _wrapped("  why     ", language.problem)
