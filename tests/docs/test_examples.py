"""Every example in the README and the documentation is run.

The Python blocks of a page run one after the other, as one program, in an empty directory with the example files;
``expression   # -> value`` is an assertion. Commands in console blocks are run too, and must not fail on their own.
"""

from __future__ import annotations

import ast
import gc
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hotcell.sandboxes.local.sandbox import LocalSandbox

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```(python|console)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# Success, and whatever the code did: all but a wrong command line and our own failure.
THE_CODES_DOING = {0, 1, 3, 4, 5}


NEEDS = re.compile(r"^<!-- needs: (.*) -->$", re.MULTILINE)


def pass_over_without_its_languages(page: Path) -> None:
    """A page may name the languages it uses; where the host lacks one, the examples cannot be run."""
    named = NEEDS.search(page.read_text())
    if named:
        from observers.languages import speaking

        with LocalSandbox(pool_size=0) as sandbox:
            for name in named[1].split():
                speaking(sandbox, name)


def blocks(page: Path) -> list[tuple[str, int, str]]:
    """Language, line in the page, text."""
    text = page.read_text()
    return [(match[1], text.count("\n", 0, match.start()) + 1, match[2]) for match in BLOCK.finditer(text)]


def statements(source: str, first_line: int) -> Iterator[tuple[ast.stmt, str | None, str]]:
    """Each statement, the value that its comment claims, and its text."""
    lines = source.split("\n")
    tree = ast.parse("\n" * first_line + source)
    for statement in tree.body:
        text = "\n".join(lines[statement.lineno - first_line - 1 : (statement.end_lineno or 0) - first_line])
        _, arrow, claim = text.partition("# -> ")
        yield statement, claim if arrow else None, text


def run_python(page: Path, line: int, source: str, namespace: dict[str, object]) -> None:
    for statement, claim, text in statements(source, line):
        if claim is None:
            exec(compile(ast.Module([statement], []), page, "exec"), namespace)
            continue
        assert isinstance(statement, ast.Expr), f"{text!r} claims a value and is no expression"
        value = eval(compile(ast.Expression(statement.value), page, "eval"), namespace)
        assert value == eval(claim, namespace), f"{page.name}:{statement.lineno}: {text}"


def run_console(page: Path, line: int, source: str, path: str) -> None:
    for command in re.findall(r"^\$ (.*)$", source, re.MULTILINE):
        environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT / "src")}
        done = subprocess.run(["sh", "-c", command], env=environment, capture_output=True, text=True)
        told = f"{page.name}:{line}: {command}\n{done.stdout}{done.stderr}"
        assert done.returncode in THE_CODES_DOING, told
        assert not done.stderr, told


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with the example files, in which this process stands, and an empty store of environments."""
    place = tmp_path / "place"
    place.mkdir()
    for file in [*(ROOT / "examples").glob("*.py"), *(ROOT / "examples" / "data").glob("*.csv")]:
        shutil.copy(file, place)
    monkeypatch.chdir(place)
    monkeypatch.setenv("HOTCELL_ENVIRONMENTS", str(tmp_path / "environments"))
    return place


@pytest.fixture
def path_with_hotcell(tmp_path: Path) -> str:
    """A PATH on which ``hotcell`` is this checkout's."""
    command = tmp_path / "bin" / "hotcell"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m hotcell "$@"\n')
    command.chmod(0o755)
    return f"{command.parent}:{os.environ['PATH']}"


@pytest.mark.usefixtures("workplace")
@pytest.mark.parametrize(
    "page", [page for page in PAGES if blocks(page)], ids=lambda page: page.relative_to(ROOT).as_posix()
)
def test_the_examples_of_this_page_do_what_it_says(page: Path, path_with_hotcell: str) -> None:
    pass_over_without_its_languages(page)
    namespace: dict[str, object] = {"__name__": "example"}
    for language, line, source in blocks(page):
        if language == "python":
            run_python(page, line, source, namespace)
        else:
            run_console(page, line, source, path_with_hotcell)
    namespace.clear()
    gc.collect()  # what a page leaves open is warned of here, not in a later test
