"""Checks that only the `strict` policy makes: it is the one guard of code without a wall around its process."""

from __future__ import annotations

import ast
import sys
from typing import Any

from hotcell.modules import STRICT_HIDDEN
from hotcell.validators.foreign import check_foreign
from hotcell.validators.program import Program
from hotcell.validators.tables import GADGETS, SAFE_DUNDER_NAMES, SAFE_METHOD_NAMES, STRICT_ATTRIBUTES

_PLAIN_CLASSES = frozenset({"int", "str", "float", "bool", "bytes", "list", "tuple", "dict", "set"})
_SAME_NAME = frozenset({"datetime.time", "datetime.datetime", "time.time", "random.random", "copy.copy"})


def check_strict(program: Program) -> None:
    """The checks that need no other: what is defined and what is written in texts."""
    _strict_definitions(program)
    _strict_strings(program)
    check_foreign(program)


def strict_name(program: Program, node: ast.Name, called: bool) -> None:
    name = node.id
    if (name.startswith("__") and name not in SAFE_DUNDER_NAMES) or name in GADGETS:
        program.report("name.underscore", node, f"The name {name} is not allowed.")
    elif name in ("getattr", "hasattr", "type") and not called:
        program.report("escape.dynamic-attribute", node, f"{name} may only be called, with a name that is written out.")


def strict_attribute(program: Program, node: ast.Attribute) -> None:
    attr = node.attr
    if attr.startswith("_"):
        if not (attr == "__init__" and _is_super(node.value)) and attr != "__name__":
            program.report("name.underscore", node, f"The attribute {attr} is not allowed.")
    else:
        dotted = program.resolve(node)
        if dotted:
            strict_member(program, dotted, node)
            if dotted in _SAME_NAME:
                return
        if attr in STRICT_ATTRIBUTES:
            program.report("escape.gadget", node, f"The attribute {attr} may lead out of the program.")


def _is_super(node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "super" and not node.args


def strict_member(program: Program, dotted: str, node: Any) -> None:
    head, _, member = dotted.rpartition(".")
    if dotted == "functools.wraps" and not program.is_unary_call(node):
        # Its other arguments name attributes to be copied.
        program.report("escape.dynamic-attribute", node, "functools.wraps takes the wrapped function alone.")
    elif dotted in STRICT_HIDDEN:
        program.report("escape.dynamic-attribute", node, f"{dotted} reaches further than the policy allows.")
    elif member.startswith("_"):
        program.report("name.underscore", node, f"{dotted} is not a public name.")
    elif (
        member in sys.stdlib_module_names
        and head.partition(".")[0] in program.aliases.values()
        and dotted not in _SAME_NAME
        and member != head
        and not listed(dotted, frozenset({"collections.abc"}))
    ):
        program.report("import.denied", node, f"{dotted} is a module that the policy does not list.")


def _strict_definitions(program: Program) -> None:
    for node in program.all(ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef):
        if node.name not in SAFE_METHOD_NAMES:
            _strict_binding(program, node.name, node)
    for node in program.all(ast.ClassDef):
        if node.keywords:
            program.report("escape.gadget", node, "A class with a metaclass or keywords is not allowed.")
    _strict_bindings(program)


def _strict_bindings(program: Program) -> None:
    """Every other way to give a name to something."""
    for node in program.all(ast.Global, ast.Nonlocal):
        for name in node.names:
            _strict_binding(program, name, node)
    for node in program.all(ast.arg):
        _strict_binding(program, node.arg, node)
    for node in program.all(ast.keyword):
        if node.arg:
            _strict_binding(program, node.arg, node)
    for node in program.all(ast.Import, ast.ImportFrom):
        for item in node.names:
            _strict_binding(program, item.asname or "", node)
    for node in program.all(ast.ExceptHandler, ast.MatchAs, ast.MatchStar):
        _strict_binding(program, node.name or "", node)
    for node in program.all(ast.MatchMapping):
        _strict_binding(program, node.rest or "", node)


def _strict_binding(program: Program, name: str, node: Any) -> None:
    if name.startswith("__") or name in GADGETS:
        program.report("name.underscore", node, f"The name {name} is not allowed.")


def _strict_strings(program: Program) -> None:
    for node in program.all(ast.Constant):
        if isinstance(node.value, str) and node.value in GADGETS:
            program.report("escape.gadget", node, f"The text {node.value!r} names an internal.")


def plain_class(program: Program, node: ast.expr) -> bool:
    if not isinstance(node, ast.Name):
        return False
    return node.id in _PLAIN_CLASSES or program.only_a_class(node.id)


def listed(module: str, names: frozenset[str]) -> bool:
    while module:
        if module in names:
            return True
        module = module.rpartition(".")[0]
    return False
