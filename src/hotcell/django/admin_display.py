"""What the admin shows of an execution, prepared so that a template only has to write it down.

All of it is data that a stranger's code may have chosen. Nothing here is marked safe but what ``format_html`` escaped.
Widths are attributes of SVG and no inline styles, which the pages' Content-Security-Policy forbids.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from django.template.defaultfilters import filesizeformat
from django.utils.functional import Promise
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from hotcell.django.models import CodeExecution
from hotcell.terminal import clean

STAGES = ("admit", "syntax", "policy", "cache", "acquire", "run", "output")
MOST_CHARACTERS = 500_000
"""Of any one text on a page; a browser has to hold it."""
_MOST_DISPLAY_CHARACTERS = 4_000_000
_HIGH_SHARE = 0.9
_LINE_END = re.compile("\r\n|\r|\n")  # as Python counts lines; str.splitlines knows more ends than that
_RASTER = ("image/png", "image/jpeg", "image/gif")
_SVG = "image/svg+xml"
_SHOWN = (*_RASTER, _SVG, "text/html", "application/json", "text/plain")
"""Of the forms that one display has, the first of these is shown."""
_FRAME = (
    '<!doctype html><meta charset="utf-8"><meta http-equiv="Content-Security-Policy" '
    "content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">"
)


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of the code, and what was found in it."""

    number: int
    text: str
    findings: list[Mapping[str, Any]]

    @property
    def is_marked(self) -> bool:
        """True when there is something to say about it."""
        return bool(self.findings)


@dataclass(frozen=True, kw_only=True)
class Shown:
    """One display in the form chosen for it."""

    kind: str
    """``image``, ``frame``, ``text``, or ``name`` for what is only named."""
    media_type: str
    content: str = ""
    others: tuple[str, ...] = ()
    """The types of the forms that are not shown."""


@dataclass(frozen=True, kw_only=True)
class Bar:
    """A piece of a line of a hundred, as text for an SVG attribute: no locale may turn its point into a comma."""

    label: str | Promise
    text: str
    start: str = "0"
    width: str = "0"
    is_high: bool = False


def plain(value: object) -> str:
    """Text whose control and direction-changing characters are spelled out, cut where a page cannot hold it."""
    text = value if isinstance(value, str) else "" if value is None else str(value)
    return clean(text[:MOST_CHARACTERS]) + ("\n…" if len(text) > MOST_CHARACTERS else "")


def pretty(value: Any) -> str:
    """JSON data, to be read."""
    return plain(json.dumps(value, indent=2, ensure_ascii=False, default=repr))


def verdict(execution: CodeExecution) -> SafeString:
    """The status with a dot of its colour; the word says it to those who see no colours."""
    return format_html(
        '<span class="hotcell-verdict"><svg viewBox="0 0 10 10" aria-hidden="true">'
        '<circle class="hotcell-{}" cx="5" cy="5" r="5"/></svg>{}</span>',
        execution.status,
        execution.get_status_display(),
    )


def bar(label: str | Promise, value: float | None, most: object, text: str) -> Bar:
    """How much of what it may use it used; without a width when one of the two is not known."""
    limit = number(most)
    share = min((value or 0) / limit, 1.0) if limit > 0 else 0.0
    return Bar(label=label, text=text, width=f"{share * 100:.1f}", is_high=share >= _HIGH_SHARE)


def draw(item: Bar) -> SafeString:
    """A bar for a cell of a list."""
    return format_html(
        '<span class="hotcell-bar{}"><svg viewBox="0 0 100 6" preserveAspectRatio="none" aria-hidden="true">'
        '<rect class="track" width="100" height="6"/><rect class="fill" width="{}" height="6"/></svg>'
        "<span>{}</span></span>",
        " is-high" if item.is_high else "",
        item.width,
        item.text,
    )


def duration(execution: CodeExecution) -> Bar:
    """Its wall time beside what it may take."""
    most = limit_of(execution, "timeout_seconds")
    used = execution.wall_seconds
    return bar(_("Wall time"), used, most, "–" if used is None else f"{seconds(used)} / {number(most):g} s")


def memory(execution: CodeExecution) -> Bar:
    """Its peak beside what it may hold."""
    most = limit_of(execution, "memory_bytes")
    used = execution.peak_memory_bytes
    text = "–" if used is None else f"{filesizeformat(used)} / {filesizeformat(number(most))}"
    return bar(_("Memory"), used, most, text)


def usage(execution: CodeExecution) -> list[Bar]:
    """Every amount that has a limit."""
    if execution.wall_seconds is None:
        return []
    cpu = limit_of(execution, "cpu_seconds") or limit_of(execution, "timeout_seconds")
    processes, output = limit_of(execution, "processes"), limit_of(execution, "output_bytes")
    used_cpu, used_output = execution.cpu_seconds or 0.0, execution.output_bytes or 0
    size = f"{filesizeformat(used_output)} / {filesizeformat(number(output))}"
    return [
        duration(execution),
        bar(_("CPU time"), used_cpu, cpu, f"{seconds(used_cpu)} / {number(cpu):g} s"),
        memory(execution),
        bar(_("Output"), used_output, output, size),
        bar(_("Processes"), execution.processes, processes, f"{execution.processes or 0} / {number(processes):g}"),
    ]


def timeline(timings: object) -> list[Bar]:
    """The stages that were gone through, one after the other, each where it began."""
    found = timings if isinstance(timings, Mapping) else {}
    spent = {name: took for name in STAGES if (took := number(found.get(f"{name}_seconds"))) > 0}
    total = sum(spent.values())
    bars, start = [], 0.0
    for name, took in spent.items():
        width = max(took / total * 100, 0.4)  # a stage that took no time to speak of is seen nevertheless
        at = min(start / total * 100, 100 - width)
        bars.append(Bar(label=name, text=seconds(took), start=f"{at:.2f}", width=f"{width:.2f}"))
        start += took
    return bars


def lines(execution: CodeExecution) -> list[Line]:
    """The code by line, with its violations and the line that raised beside it."""
    found: defaultdict[int, list[Mapping[str, Any]]] = defaultdict(list)
    for item in findings(execution):
        found[item["line"]].append(item)
    return [
        Line(number=place, text=clean(text), findings=found.get(place, []))
        for place, text in enumerate(_split(execution.code), start=1)
    ]


def findings(execution: CodeExecution) -> list[dict[str, Any]]:
    """Violations and the exception in one shape; their ``line`` is 0 when it is about the whole code."""
    found: list[dict[str, Any]] = [
        {
            "name": plain(item.get("rule")),
            "is_error": item.get("severity") != "warning",
            "line": int(number(item.get("line"))),
            "message": plain(item.get("message")),
            "fix": plain(item.get("fix")),
        }
        for item in _mappings(execution.violations)
    ]
    for error in _mappings([execution.error]):
        line, message = int(number(error.get("line"))), plain(error.get("message"))
        found.append({"name": plain(error.get("type")), "is_error": True, "line": line, "message": message, "fix": ""})
    last = len(_split(execution.code))
    return [item if item["line"] <= last else {**item, "line": 0} for item in found]


def displays(execution: CodeExecution) -> list[Shown]:
    """Each display in a form that cannot act on the page; what has none is named."""
    return [
        _shown({str(kind): value for kind, value in item["data"].items()})
        for item in _mappings(execution.displays)
        if isinstance(item.get("data"), Mapping)
    ]


def limit_of(execution: CodeExecution, name: str) -> Any:
    """One of the limits that it ran with, or None."""
    return execution.config.get(name) if isinstance(execution.config, Mapping) else None


def number(value: object) -> float:
    """Zero for what is no number."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else 0.0


def seconds(value: float) -> str:
    """Such as ``1.24 s``, ``16 ms`` or ``0.03 ms``."""
    if value >= 1:
        return f"{value:.2f} s"
    thousandths = value * 1000
    return f"{thousandths:.0f} ms" if thousandths >= 10 else f"{thousandths:.2f} ms"


def _split(code: str) -> list[str]:
    """Its lines; the end of the last one begins no other."""
    found = _LINE_END.split(code[:MOST_CHARACTERS])
    return found[:-1] if len(found) > 1 and not found[-1] else found


def _shown(data: Mapping[str, Any]) -> Shown:
    names = tuple(plain(kind)[:100] for kind in data)
    for kind in _SHOWN:
        if kind not in data:
            continue
        how, content = _form(kind, data[kind])
        if how:
            others = tuple(name for name in names if name != kind)
            return Shown(kind=how, media_type=kind, content=content, others=others)
    return Shown(kind="name", media_type=", ".join(names))


def _form(kind: str, value: Any) -> tuple[str, str]:
    """How it is shown, and what is written there; nothing when it is not what its type says, or too large."""
    if kind == "application/json":
        return "text", pretty(value)
    if not isinstance(value, str) or len(value) > _MOST_DISPLAY_CHARACTERS:
        return "", ""
    if kind in _RASTER:
        try:
            base64.b64decode("".join(value.split()), validate=True)
        except (binascii.Error, ValueError):
            return "", ""
        return "image", f"data:{kind};base64,{''.join(value.split())}"
    if kind == _SVG:  # in an <img> it can neither run scripts nor load anything
        return "image", f"data:{kind};base64,{base64.b64encode(value.encode()).decode()}"
    if kind == "text/html":
        return "frame", _FRAME + value
    return "text", plain(value)


def _mappings(items: object) -> Iterable[Mapping[str, Any]]:
    return [item for item in items if isinstance(item, Mapping)] if isinstance(items, list) else []
