"""A result as a page of plain text: the verdict first, then what the code said, then what we have to say about it."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hotcell.languages import PYTHON
from hotcell.results import Artifact, CheckReport, Display, ExecutionResult, Severity, Status, Violation
from hotcell.terminal import Style, clean_line, duration, gutter, is_table, size, table, width

if TYPE_CHECKING:
    from hotcell.events import Display as DisplayEvent
    from hotcell.sandboxes.local.doctor import Report

_PLAIN = Style()
_WIDTH = 78


def page(
    result: ExecutionResult,
    *,
    filename: str = "<cell>",
    language: str = PYTHON,
    saved: Sequence[Path] = (),
    drawn: Sequence[Sequence[Path]] = (),
    told: bool = False,
    style: Style = _PLAIN,
) -> str:
    """The whole result, or what is left of it to say when it was ``told`` while it happened.

    ``saved`` says where each artifact was written, in the order of ``result.artifacts``; ``drawn`` the same of each of
    ``result.displays``, which may have been written in several forms.
    """
    parts = [
        verdict(result, language=language, style=style),
        violations(result.violations, filename=filename, style=style),
        "" if told else _output(result, style),
        error(result, style=style),
        value(result, style=style),
        "" if told else tool_calls(result, style=style),
        "\n".join(
            (
                *_displays(result, drawn, told, style),
                *remarks(result, style=style),
                *_artifacts(result, saved, style),
            )
        ),
    ]
    return "\n\n".join(part for part in parts if part)


def answer(result: ExecutionResult, *, number: int, style: Style = _PLAIN) -> str:
    """What a session has to say after a cell's output: findings, error, value, remarks; a status only if it is bad."""
    word, cell = result.status.value.upper().replace("_", " "), f"Cell {number}"
    parts = [
        violations(result.violations, filename=cell, style=style),
        error(result, style=style),
        value(result, title=f"Out [{number}]", style=style),
        "\n".join(remarks(result, style=style)),
        "" if result.success else f"{_paint(result, style)(f'━━ {word}')} {cell}: {clean_line(result.reason)}",
    ]
    return "\n".join(part for part in parts if part)


def _paint(result: ExecutionResult, style: Style) -> Callable[[str], str]:
    return style.good if result.success else style.warn if result.status is Status.CANCELLED else style.bad


def verdict(result: ExecutionResult, *, language: str = PYTHON, style: Style = _PLAIN) -> str:
    """The bar on top: status, reason, what it used, and what stood around it."""
    word = result.status.value.upper().replace("_", " ")
    usage = result.usage
    lines = [
        f"{_paint(result, style)(f'━━ {word} ')}{style.faint('━' * (_WIDTH - len(word) - 4))}",
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
    if language != PYTHON:
        lines.append(_facts(language=clean_line(language)))
    return "\n".join([*lines, style.faint("━" * _WIDTH)])


def _facts(**facts: str) -> str:
    return "   " + "   ".join(f"{name.replace('_', ' '):<11}  {value:<10}" for name, value in facts.items()).rstrip()


def _wrapped(label: str, text: str, margin: str = "   ") -> list[str]:
    hang = margin + " " * len(label)
    return textwrap.wrap(
        clean_line(text), _WIDTH, initial_indent=margin + label, subsequent_indent=hang, break_on_hyphens=False
    )


def _section(title: str, text: str, style: Style) -> str:
    return f"{style.strong(title)}\n{gutter(text, style)}"


def _output(result: ExecutionResult, style: Style) -> str:
    streams = {"stdout": result.stdout, "stderr": result.stderr}
    return "\n\n".join(_section(name, text, style) for name, text in streams.items() if text)


def error(result: ExecutionResult, *, style: Style = _PLAIN) -> str:
    """The exception that it ended with, and where in a session that was."""
    info = result.error
    if not info:
        return ""
    where = f" in Cell {info.cell}, line {info.line}" if info.cell else ""
    return _section(f"error{where}", info.traceback or f"{info.type}: {info.message}", style)


def value(result: ExecutionResult, *, title: str = "value", style: Style = _PLAIN) -> str:
    """What its last expression came to: records as a table, else its repr."""
    if is_table(result.value):
        return _section(title, table(result.value), style)
    return "" if result.value_repr is None else _section(title, result.value_repr, style)


def tool_calls(result: ExecutionResult, *, style: Style = _PLAIN) -> str:
    """The host tools that it called, as a table."""
    if not result.tool_calls:
        return ""
    rows: list[dict[str, Any]] = [
        {"number": call.number, "name": call.name, "outcome": call.outcome, "seconds": round(call.seconds, 4)}
        for call in result.tool_calls
    ]
    if any(call.error for call in result.tool_calls):
        rows = [{**row, "error": call.error} for row, call in zip(rows, result.tool_calls, strict=True)]
    return _section("tool calls", table(rows), style)


def _displays(result: ExecutionResult, drawn: Sequence[Sequence[Path]], told: bool, style: Style) -> Iterator[str]:
    for index, shown in enumerate(result.displays):
        paths = drawn[index] if index < len(drawn) else ()
        if paths or not told:
            yield display(shown, paths=paths, style=style)


def display(shown: Display | DisplayEvent, *, paths: Sequence[Path] = (), style: Style = _PLAIN) -> str:
    """One thing that it showed: each form's MIME type and size, whether it is active, and where it was written."""
    forms = [
        f"{mime} {size(_form_size(mime, form))}{' (active)' if mime in shown.active else ''}"
        for mime, form in shown.data.items()
    ]
    first, *more = _wrapped("display   ", ", ".join(map(clean_line, forms)), margin="")
    lines = [style.strong("display") + first.removeprefix("display"), *more]
    return "\n".join((*lines, *(f"          -> {clean_line(str(path))}" for path in paths)))


def _form_size(mime: str, form: Any) -> int:
    """In bytes: of the image rather than its Base64 text, of data as JSON."""
    if not isinstance(form, str):
        return len(json.dumps(form))
    if mime.startswith("image/") and mime != "image/svg+xml":
        return len(form) * 3 // 4 - form[-2:].count("=")
    return len(form.encode(errors="replace"))


def remarks(result: ExecutionResult, *, style: Style = _PLAIN) -> Iterator[str]:
    """What our side has to say: notes, and what was taken out."""
    for note in result.notes:
        yield f"{style.strong('note')}      {clean_line(note)}"
    for item in result.redactions:
        yield f"{style.warn('redacted')}  {item.count} × {clean_line(item.kind)} in {clean_line(item.where)}"


def _artifacts(result: ExecutionResult, saved: Sequence[Path], style: Style) -> Iterator[str]:
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
