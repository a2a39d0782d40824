"""Renders the threat table of SECURITY.md from the attack tests, so that it says what is tested and nothing else.

A test names the threats it makes real with ``@pytest.mark.threat("fs.passwd")``; the first line of its docstring, or
else its name, says what happens. ``--check`` changes nothing and fails when the table is out of date.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SECURITY = ROOT / "SECURITY.md"
BEGIN = "<!-- threats: rendered by `make docs` from tests/attacks -->"
END = "<!-- end of threats -->"


@dataclass(frozen=True, kw_only=True, order=True)
class Attack:
    """One threat made real by one test."""

    threat: str
    test: str
    path: str
    says: str


def attacks_in(source: str, path: str) -> Iterator[Attack]:
    """Every attack that the tests in this source name, in no particular order."""
    yield from _attacks(ast.parse(source).body, (), path)


def _attacks(body: list[ast.stmt], inherited: tuple[str, ...], path: str) -> Iterator[Attack]:
    inherited += tuple(threat for item in body for threat in _threats_of_assignment(item))
    for item in body:
        if isinstance(item, ast.ClassDef):
            yield from _attacks(item.body, inherited + _threats(item.decorator_list), path)
        elif isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef) and item.name.startswith("test_"):
            says = (ast.get_docstring(item) or "").partition("\n")[0] or _sentence(item.name)
            for threat in dict.fromkeys(inherited + _threats(item.decorator_list)):
                yield Attack(threat=threat, test=item.name, path=path, says=says)


def _threats_of_assignment(item: ast.stmt) -> tuple[str, ...]:
    if isinstance(item, ast.Assign) and any(isinstance(to, ast.Name) and to.id == "pytestmark" for to in item.targets):
        return _threats(item.value.elts if isinstance(item.value, ast.List | ast.Tuple) else [item.value])
    return ()


def _threats(marks: list[ast.expr]) -> tuple[str, ...]:
    return tuple(
        argument.value
        for mark in marks
        if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.threat"
        for argument in mark.args
        if isinstance(argument, ast.Constant) and isinstance(argument.value, str)
    )


def _sentence(name: str) -> str:
    words = name.removeprefix("test_").replace("_", " ")
    return words[:1].upper() + words[1:] + "."


def table(attacks: list[Attack]) -> str:
    """The attacks as a Markdown table, one row per threat and test."""
    if not attacks:
        return "No attack test names a threat yet.\n"
    rows = ["| threat | what the test shows | test |", "|---|---|---|"]
    for attack in sorted(attacks):
        says = attack.says.replace("|", "\\|")
        rows.append(f"| `{attack.threat}` | {says} | [`{attack.test}`]({attack.path}) |")
    return "\n".join(rows) + "\n"


def updated(text: str, rendered: str) -> str:
    """``text`` with what is between the markers replaced. Raises ValueError when a marker is missing."""
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n\n{rendered}\n{END}{after}"


def main(arguments: list[str]) -> int:
    files = sorted((ROOT / "tests").rglob("test_*.py"))
    attacks = [attack for file in files for attack in attacks_in(file.read_text(), file.relative_to(ROOT).as_posix())]
    text = SECURITY.read_text()
    wanted = updated(text, table(attacks))
    if text == wanted:
        return 0
    if "--check" in arguments:
        print("The threat table of SECURITY.md is out of date: run `make docs`.", file=sys.stderr)
        return 1
    SECURITY.write_text(wanted)
    print(f"SECURITY.md: {len(attacks)} rows in the threat table")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
