"""What the names of a program are bound to, as far as that can be read off it."""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import Any

Bindings = dict[str, list[ast.expr | None]]
"""Name -> the expressions it is bound to; None stands for one that is not known."""


def bindings(nodes: Callable[..., list[Any]]) -> Bindings:
    """What every name of a program is bound to, in no particular scope. ``nodes`` gives the nodes of some classes."""
    values: Bindings = {}

    def bind(target: Any, value: ast.expr | None) -> None:
        if isinstance(target, ast.Name):
            values.setdefault(target.id, []).append(value)
        elif isinstance(target, (ast.Tuple, ast.List)):
            parts = value.elts if isinstance(value, (ast.Tuple, ast.List)) else []
            for index, item in enumerate(target.elts):
                bind(item, parts[index] if len(parts) == len(target.elts) else None)

    for node in nodes(ast.Assign):
        for target in node.targets:
            bind(target, node.value)
    for node in nodes(ast.AnnAssign, ast.NamedExpr):
        bind(node.target, node.value)
    for node in nodes(ast.AugAssign):
        known = values.get(node.target.id) if isinstance(node.target, ast.Name) else None
        if known and len(known) == 1 and known[0] is not None and isinstance(node.op, ast.Add):
            known[0] = ast.BinOp(left=known[0], op=node.op, right=node.value)
        else:
            bind(node.target, None)
    _bind_blocks(nodes, values, bind)
    return values


def _bind_blocks(nodes: Callable[..., list[Any]], values: Bindings, bind: Any) -> None:
    for node in nodes(ast.For, ast.AsyncFor, ast.comprehension):
        _bind_loop(node, values, bind)
    for node in nodes(ast.arguments):
        _bind_parameters(node, values)
    for node in nodes(ast.withitem):
        bind(node.optional_vars, None)
    for node in nodes(ast.Match):
        for case in node.cases:
            if isinstance(case.pattern, ast.MatchAs) and case.pattern.name:
                values.setdefault(case.pattern.name, []).append(node.subject)


def _bind_loop(node: Any, values: Bindings, bind: Any) -> None:
    source = node.iter
    if isinstance(source, ast.Name) and len(values.get(source.id, ())) == 1:
        source = values[source.id][0]
    if isinstance(source, (ast.List, ast.Tuple, ast.Set)) and 0 < len(source.elts) <= 100:
        for item in source.elts:
            bind(node.target, item)
    else:
        bind(node.target, None)


def _bind_parameters(node: ast.arguments, values: Bindings) -> None:
    positional = [*node.posonlyargs, *node.args]
    for parameter in (*positional, *node.kwonlyargs):
        values.setdefault(parameter.arg, []).append(None)
    defaults = zip(reversed(positional), reversed(node.defaults), strict=False)
    for parameter, default in (*defaults, *zip(node.kwonlyargs, node.kw_defaults, strict=True)):
        values[parameter.arg].append(default)
