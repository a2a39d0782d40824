"""A syntax tree sorted by kind of node, and what its names stand for: what the checks work on."""

from __future__ import annotations

import ast
from collections.abc import Callable
from functools import cached_property
from operator import attrgetter
from typing import Any

from hotcell.policy import Policy
from hotcell.results import Severity
from hotcell.validators.bindings import Bindings, bindings
from hotcell.validators.folding import Folder
from hotcell.validators.tables import REACHING_MODULES, RULE_OF_MEMBER

_LEAVES = (ast.expr_context, ast.boolop, ast.operator, ast.unaryop, ast.cmpop, ast.Constant, ast.Name, ast.Pass)
_NOT_NODES = frozenset(
    """ctx op ops id attr arg name n s kind type_comment level module asname simple conversion is_async rest kwd_attrs
    type_ignores tag lineno""".split()
)


def _children_getters() -> dict[type, Callable[[Any], tuple[Any, ...]]]:
    """Node class -> a function that gives the fields which may hold nodes, always as a tuple."""
    getters: dict[type, Callable[[Any], tuple[Any, ...]]] = {}
    for node_class in vars(ast).values():
        if not isinstance(node_class, type) or not issubclass(node_class, ast.AST) or issubclass(node_class, _LEAVES):
            continue
        skipped = _NOT_NODES - {"name"} if node_class.__name__ == "TypeAlias" else _NOT_NODES
        fields = [field for field in node_class._fields if field not in skipped]
        if len(fields) > 1:
            getters[node_class] = attrgetter(*fields)
        elif fields:
            getters[node_class] = _one_field(fields[0])
    return getters


def _one_field(field: str) -> Callable[[Any], tuple[Any, ...]]:
    get = attrgetter(field)
    return lambda node: (get(node),)


_CHILDREN = _children_getters()
Nodes = dict[type, list[Any]]


def collect(tree: ast.Module) -> tuple[Nodes, int, int, ast.AST]:
    """All nodes by class, how many there are, how deep they go, and one of the deepest. No recursion."""
    nodes: Nodes = {}
    children, listed = _CHILDREN, list
    level: list[Any] = list(tree.body)
    count = depth = 0
    deepest: ast.AST = tree
    while level:
        depth += 1
        count += len(level)
        deepest = level[0] or deepest
        below: list[Any] = []
        append, extend = below.append, below.extend
        for node in level:
            node_class = node.__class__
            if node_class in nodes:
                nodes[node_class].append(node)
            else:
                nodes[node_class] = [node]
            if node_class in children:
                for field in children[node_class](node):
                    if field.__class__ is listed:
                        extend(field)
                    elif field is not None:
                        append(field)
        level = below
    nodes.pop(type(None), None)
    return nodes, count, depth, deepest


class Program:
    """One program under one policy: its nodes, its names and the findings so far."""

    def __init__(self, nodes: Nodes, policy: Policy) -> None:
        self.nodes = nodes
        self.policy = policy
        self.strict = policy.rules.get("name.underscore") is Severity.ERROR
        self.findings: dict[tuple[str, int, int], str] = {}
        self.aliases: dict[str, str] = {}
        """Name -> the dotted name it was imported as."""
        self.defined: set[str] = set()
        """Names of functions, classes and parameters of the program."""
        self.classes = {node.name for node in self.all(ast.ClassDef)}
        self.work = 100_000
        """Steps left for checks that look at a part of the tree again."""
        self._values: Bindings | None = None
        self._folder: Folder | None = None
        self._resolving = 0
        self._unary: set[int] | None = None
        self._names: dict[str, str | None] = {}
        self._outer: dict[int, ast.Attribute | ast.Subscript] | None = None
        for kind in (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef):
            self.defined.update(node.name for node in self.all(kind))
        self.defined.update(node.arg for node in self.all(ast.arg))

    def all(self, *kinds: type) -> list[Any]:
        """The nodes of these classes, outer ones first."""
        if len(kinds) == 1:
            return self.nodes.get(kinds[0], [])
        return [node for kind in kinds for node in self.nodes.get(kind, ())]

    def report(self, rule: str, node: Any, message: str) -> None:
        """Note a finding, unless the rule is off or has already matched at that place."""
        if rule in self.policy.rules:
            self.findings.setdefault((rule, node.lineno, node.col_offset), message)

    @property
    def values(self) -> Bindings:
        """Name -> the expressions it is bound to; None stands for one that is not known."""
        if self._values is None:
            self._values = bindings(self.all)
        return self._values

    @property
    def folder(self) -> Folder:
        """Works out constant expressions over the program's names."""
        if self._folder is None:
            self._folder = Folder(lambda: self.values)
        return self._folder

    @cached_property
    def calls(self) -> list[tuple[str, ast.Call]]:
        """Every call with the last part of the called name; empty where something without a name is called."""
        named = []
        for node in self.all(ast.Call):
            func = node.func
            kind = func.__class__
            named.append((func.id if kind is ast.Name else func.attr if kind is ast.Attribute else "", node))
        return named

    @cached_property
    def may_raise(self) -> bool:
        """Whether the program raises or exits anywhere."""
        if self.all(ast.Raise, ast.Assert) or any(node.attr == "exit" for node in self.all(ast.Attribute)):
            return True
        return any(node.id in ("exit", "quit") for node in self.all(ast.Name))

    def outer(self, node: ast.expr) -> ast.Attribute | ast.Subscript | None:
        """The attribute or subscript that is taken of ``node`` right there."""
        if self._outer is None:
            self._outer = {id(item.value): item for item in self.all(ast.Attribute, ast.Subscript)}
        return self._outer.get(id(node))

    def only_a_class(self, name: str) -> bool:
        """Whether a name stands for a class of the program and nothing else."""
        return name in self.classes and name not in self.values

    def is_unary_call(self, node: Any) -> bool:
        """Whether ``node`` is called right there, with one plain argument."""
        if self._unary is None:
            calls = [call for call in self.all(ast.Call) if len(call.args) == 1 and not call.keywords]
            self._unary = {id(call.func) for call in calls if not isinstance(call.args[0], ast.Starred)}
        return id(node) in self._unary

    def resolve(self, node: Any) -> str | None:
        """The dotted name of the module member that an expression stands for: ``os.system``, ``builtins.eval``."""
        if self._resolving > 20:
            return None
        self._resolving += 1
        try:
            return self._resolve(node)
        finally:
            self._resolving -= 1

    def _resolve(self, node: Any) -> str | None:
        attributes: list[str] = []
        while isinstance(node, ast.Attribute):
            attributes.append(node.attr)
            node = node.value
        base = self._root(node)
        for attribute in reversed(attributes):
            base = _member(base, attribute)
        return base

    def _root(self, node: Any) -> str | None:
        if isinstance(node, ast.Name):
            return self._named(node.id)
        if isinstance(node, ast.Call):
            return self._called(node)
        if isinstance(node, ast.Subscript):
            return self._subscripted(node)
        if isinstance(node, ast.NamedExpr):
            return self.resolve(node.value)
        if isinstance(node, ast.IfExp):
            return self.resolve(node.body) or self.resolve(node.orelse)
        return None

    def _named(self, name: str) -> str | None:
        if name in self.aliases:
            return self.aliases[name]
        if name not in self._names:
            self._names[name] = None  # a name that stands for itself stands for nothing
            self._names[name] = self._bound(name)
        return self._names[name]

    def _bound(self, name: str) -> str | None:
        for value in self.values.get(name, ())[:20]:
            found = self.resolve(value) if value.__class__ in _RESOLVABLE else None
            if found:
                return found
        if name == "__builtins__":
            return "builtins"
        return f"builtins.{name}" if name in _BUILTINS and (self.strict or name not in self.defined) else None

    def _called(self, node: ast.Call) -> str | None:
        callee = self.resolve(node.func)
        if not callee or not node.args:
            return callee if callee in ("builtins.globals", "builtins.locals", "builtins.vars") else None
        if callee in _IMPORTERS:
            name = self.folder.text(node.args[0])
            return name.partition(".")[0] if name and callee.endswith("__import__") else name
        if callee == "builtins.getattr" and len(node.args) > 1:
            name = self.folder.text(node.args[1])
            return _member(self.resolve(node.args[0]), name) if name else None
        if callee == "builtins.vars":
            base = self.resolve(node.args[0])
            return f"{base}.__dict__" if base else None
        if callee.endswith((".__dict__.get", ".__dict__.pop", ".__dict__.__getitem__", "sys.modules.get")):
            return self._item(callee.rpartition(".")[0], node.args[0])
        if callee.endswith(".__getattribute__"):
            name = self.folder.text(node.args[-1])
            return _member(callee.removesuffix(".__getattribute__"), name) if name else None
        return None

    def _subscripted(self, node: ast.Subscript) -> str | None:
        base = self.resolve(node.value)
        return self._item(base, node.slice) if base else None

    def _item(self, base: str, key_node: ast.expr) -> str | None:
        key = self.folder.text(key_node)
        if not key:
            return None
        if base == "sys.modules":
            return key
        if base in ("builtins.globals", "builtins.locals", "builtins.vars"):
            return self._named(key)
        if base == "builtins":
            return _member(base, key)
        return _member(base.removesuffix(".__dict__"), key) if base.endswith(".__dict__") else None


_RESOLVABLE = (ast.Name, ast.Attribute, ast.Call, ast.Subscript, ast.NamedExpr, ast.IfExp)
_BUILTINS = frozenset(name.partition(".")[2] for name in RULE_OF_MEMBER if name.startswith("builtins.")) | frozenset(
    "getattr setattr delattr hasattr vars globals locals open __import__ type object super dir iter range".split()
)
_IMPORTERS = frozenset({"builtins.__import__", "importlib.import_module", "importlib.__import__"})


def _member(base: str | None, name: str) -> str | None:
    """``base.name``; a module that hides behind another object's attribute is recognised by its name."""
    bare = name.strip("_") if name.startswith("_") and not name.endswith("__") else name
    if bare in REACHING_MODULES and (base != bare):
        return bare if base or bare in ("os", "subprocess", "builtins", "posix") else None
    return f"{base}.{name}" if base else None
