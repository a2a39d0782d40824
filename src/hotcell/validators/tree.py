"""One pass over the syntax tree: what the program would reach for, judged by the policy before it runs.

The tree is walked once, level by level and without recursion, into lists by kind of node; each check then looks at its
own kinds alone. A check only says what it found; the policy says whether that matters.
"""

from __future__ import annotations

import ast
from typing import Any

from hotcell.policy import Policy
from hotcell.results import Severity, Violation
from hotcell.rules import RULES
from hotcell.validators.names import check_names
from hotcell.validators.program import Program, collect
from hotcell.validators.resources import check_resources
from hotcell.validators.surroundings import check_surroundings
from hotcell.validators.syntax import lines_of, shortened


def inspect(tree: ast.Module, text: str, policy: Policy) -> tuple[Violation, ...]:
    """What ``policy`` has to say of a program, errors first, then by position. Never raises."""
    nodes, count, depth, deepest = collect(tree)
    too_big = _too_big(count, depth, deepest, policy)
    if too_big:
        return (_violation("syntax.too-complex", *too_big, policy, lines_of(text)),)
    program = Program(nodes, policy)
    check_names(program, text)
    check_surroundings(program)
    check_resources(program)
    if not program.findings:
        return ()
    lines = lines_of(text)
    found = [
        _violation(rule, line, column, message, policy, lines)
        for (rule, line, column), message in program.findings.items()
    ]
    found.sort(key=lambda item: (item.severity is not Severity.ERROR, item.line, item.column, item.rule))
    return tuple(found[: policy.max_violations])


def _too_big(count: int, depth: int, deepest: Any, policy: Policy) -> tuple[int, int, str] | None:
    if depth > policy.max_depth:
        message = f"The program is nested {depth} levels deep; {policy.max_depth} are allowed."
        return getattr(deepest, "lineno", 0), getattr(deepest, "col_offset", -1), message
    if count > policy.max_nodes:
        return 0, -1, f"The program has {count:,} parts; {policy.max_nodes:,} are allowed."
    return None


def _violation(rule: str, line: int, column: int, message: str, policy: Policy, lines: list[str]) -> Violation:
    source = lines[line - 1] if 0 < line <= len(lines) else ""
    if column > 0 and not source.isascii():
        column = len(source.encode()[:column].decode(errors="replace"))  # the tree counts bytes of UTF-8
    return Violation(
        rule=rule,
        severity=policy.rules.get(rule, Severity.ERROR),
        line=line,
        column=column + 1,
        message=message,
        fix=RULES[rule].fix,
        source_line=shortened(source),
    )
