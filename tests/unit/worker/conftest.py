"""A real process for one cell, driven as a sandbox would drive it but without a wall around it."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

_SOURCE = Path(__file__).resolve().parents[3] / "src"
_DRIVER = """
import json, os, sys
where = sys.argv[1]
from hotcell.worker import runner
with open(where, encoding="utf-8") as file:
    request = json.load(file)
runner.prepare()
report = runner.run(request)
with open(where, "w", encoding="utf-8") as file:
    json.dump(report, file, allow_nan=False, ensure_ascii=False)
os._exit(0)
"""

_SHOWING = """
import ast, json, sys, traceback
from hotcell.worker import adaptations, displays
where, request = sys.argv[1], json.load(open(sys.argv[1], encoding="utf-8"))
adaptations.install()
names = {"__name__": "__main__", "display": displays.display}
shown = []
for code in request["cells"]:
    bundles, value, error = [], None, None
    displays.start(lambda bundle: bundles.append(json.loads(json.dumps(bundle, allow_nan=False))), *request["screen"])
    tree = ast.parse(code)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    try:
        exec(compile(tree, "<cell>", "exec"), names)
        value = last and eval(compile(ast.Expression(last.value), "<cell>", "eval"), names)
    except BaseException as raised:
        error = raised
        traceback.print_exception(error)
    displays.finish(value, error)
    shown.append(bundles)
with open(where, "w", encoding="utf-8") as file:
    json.dump(shown, file)
"""


@dataclass
class Ran:
    stdout: str
    stderr: str
    report: dict[str, Any]

    @property
    def error(self) -> dict[str, Any]:
        assert self.report["error"] is not None, self.report
        return self.report["error"]


def _run(
    code: str,
    *,
    stdin: str = "",
    value_bytes: int = 1 << 20,
    setup: str = "",
    deterministic: dict[str, Any] | None = None,
    **rules: Any,
) -> Ran:
    """Run it in a fresh process. ``context`` and the namespace rules are keywords; ``setup`` runs before ours."""
    request = {
        "code": code,
        "filename": "<cell>",
        "context": rules.pop("context", {}),
        "namespace": {"policy": "test", "imports_allowed": None, "imports_denied": [], "builtins_denied": [], **rules},
        "value_bytes": value_bytes,
        "deterministic": deterministic,
    }
    with tempfile.NamedTemporaryFile(suffix=".json") as exchange, tempfile.TemporaryDirectory() as work:
        Path(exchange.name).write_text(json.dumps(request), encoding="utf-8")
        done = subprocess.run(
            [sys.executable, "-c", setup + _DRIVER, exchange.name],
            input=stdin.encode(),
            capture_output=True,
            cwd=work,
            env={"PYTHONPATH": str(_SOURCE), "PATH": "/usr/bin:/bin"},
            timeout=60,
            check=False,
        )
        text = Path(exchange.name).read_text(encoding="utf-8")
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    return Ran(done.stdout.decode(), done.stderr.decode(), json.loads(text))


@dataclass
class Shown:
    stdout: str
    stderr: str
    cells: list[list[dict[str, Any]]]
    """What each piece of code has shown."""


def _show(*cells: str, fonts: str, formats: tuple[str, ...] = ("png",), room: int = 1 << 24) -> Shown:
    """Run pieces of code one after the other, as in a session, each with a screen of its own."""
    with tempfile.NamedTemporaryFile(suffix=".json") as exchange, tempfile.TemporaryDirectory() as work:
        Path(exchange.name).write_text(json.dumps({"cells": cells, "screen": [formats, room]}), encoding="utf-8")
        done = subprocess.run(
            [sys.executable, "-c", _SHOWING, exchange.name],
            capture_output=True,
            cwd=work,
            env={"PYTHONPATH": str(_SOURCE), "PATH": "/usr/bin:/bin", "MPLBACKEND": "Agg", "MPLCONFIGDIR": fonts},
            timeout=60,
            check=False,
        )
        text = Path(exchange.name).read_text(encoding="utf-8")
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    return Shown(done.stdout.decode(), done.stderr.decode(), json.loads(text))


@pytest.fixture
def show(tmp_path_factory: pytest.TempPathFactory):
    """Runs pieces of code in a fresh process and returns what each has shown."""
    # Where matplotlib keeps its list of fonts, which takes seconds to make.
    return functools.partial(_show, fonts=str(tmp_path_factory.getbasetemp()))


@pytest.fixture
def cell():
    """Runs code in a fresh process and returns what came of it."""
    return _run
