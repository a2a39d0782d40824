"""Rows as a plain-text table, and as a file of JSON with what the machine was."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.measure import Row

COLUMNS = (("what", 57), ("p50", 12), ("p95", 9), ("least", 9), ("of python3", 11), ("target", 10), ("met", 8))


def header() -> str:
    """The columns' names, underlined."""
    names = line([name for name, _ in COLUMNS])
    return f"{names}\n{'-' * len(names)}"


def text_of(row: Row) -> str:
    """One row as a line."""
    value = "-" if row.value is None else f"{number(row.value)} {row.unit}"
    met = {None: "", True: "met", False: "NOT MET"}[row.met]
    cells = [row.what, value, number(row.p95), number(row.least), number(row.of_python), row.target, met]
    return line(cells) + (f"  {row.note}" if row.note else "")


def line(cells: Sequence[str]) -> str:
    """The first column to the left, the others to the right."""
    widths = [width for _, width in COLUMNS]
    return cells[0].ljust(widths[0]) + "".join(map(str.rjust, cells[1:], widths[1:]))


def number(value: float | None) -> str:
    """Three digits that mean something."""
    if value is None:
        return ""
    if value >= 100:
        return f"{value:.0f}"
    return f"{value:.3g}" if value >= 0.01 else f"{value:.2g}"


def machine() -> dict[str, Any]:
    """What was measured on."""
    return {
        "cores": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "architecture": platform.machine(),
        "user": "root" if os.geteuid() == 0 else "ordinary",
        "load_average": os.getloadavg()[0],
    }


def write_json(path: Path, groups: Mapping[str, Sequence[Row]], about: Mapping[str, Any]) -> None:
    """All rows by group, and the machine."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"machine": about, "groups": {name: [row.to_dict() for row in rows] for name, rows in groups.items()}}
    path.write_text(json.dumps(content, indent=2) + "\n")
