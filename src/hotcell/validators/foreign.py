"""Whether the program changes what it imported. Asked by the `strict` policy alone.

Without a wall around the process, ``json.dumps = spy`` changes the application's own module, and stays. Most programs
call what they import and read its members; for those it is enough to look at what is assigned to. A program that hands
a module or an imported class about (as an argument, an item, a result) may then have it under any name: such a program
may assign to attributes of its own objects alone, where it shows that they are its own.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Any

from hotcell.validators.program import Program

_RULE = "import.changed"
_CHANGERS = frozenset(
    """register append extend insert clear update pop popitem setdefault remove discard add sort reverse
    clear_flags clear_traps""".split()
)
"""Methods that change the object they are called on, when that is a module's own."""
_CHANGES_ARGUMENT = frozenset(
    """dataclasses.dataclass functools.total_ordering functools.update_wrapper abc.update_abstractmethods typing.final
    typing.no_type_check operator.setitem operator.delitem operator.iadd operator.ior operator.imul
    operator.iconcat""".split()
)
_ASKS_FOR_CLASS = frozenset({"isinstance", "issubclass", "map", "print", "str", "repr"})
"""Built-in functions that test by a class, call it or show it, and do not hand it on."""
_GIVES_CLASSES = frozenset({"fields", "get_args", "get_origin", "default_factory", "registry"})
"""Names by which classes come back that were only mentioned in an annotation, or as what makes the missing items."""
_PLAIN_TYPES = frozenset("Any Callable Dict FrozenSet Generic List Literal Optional Set Tuple Union".split())
_CLASSES_IN_CAPITALS = frozenset({"ABC", "UUID"})
_COMPARISONS = frozenset({"__eq__", "__ne__", "__lt__", "__le__", "__gt__", "__ge__", "__contains__"})


def check_foreign(program: Program) -> None:
    """Refuse every assignment to, and deletion of, an attribute or item of something imported."""
    if not program.aliases:
        return
    search = _Search(program)
    parts = program.all(ast.Attribute, ast.Subscript)
    changed = [node for node in parts if node.ctx.__class__ is not ast.Load]
    for node in changed:
        if search.changes(node):
            program.report(_RULE, node, "This belongs to something imported.")
    for node in program.all(ast.Call):
        if search.changed_by(node):
            program.report(_RULE, node, "This call changes something imported.")
    unsure = [node for node in changed if node.__class__ is ast.Attribute and not search.is_own(node.value)]
    if unsure and search.handed_about():
        for node in unsure:
            message = "The program hands a module or an imported class about, and this may be it."
            program.report(_RULE, node, message)


class _Search:
    def __init__(self, program: Program) -> None:
        self._program = program
        self._own_names: dict[str, bool] = {}
        self._defined = program.defined
        self._rebound = program.aliases.keys() | program.values.keys()
        for node in program.all(ast.MatchAs, ast.MatchStar, ast.ExceptHandler):
            self._rebound |= {node.name}
        self._functions = self._plain_names(ast.FunctionDef, ast.AsyncFunctionDef)
        self._classes = self._plain_names(ast.ClassDef) if "__new__" not in self._functions else set()
        self._self_is_own = self._only_methods_have_self()

    def _plain_names(self, *kinds: type) -> set[str]:
        """Names that stand for one definition and nothing else, not even for what a decorator made of it."""
        found: dict[str, bool] = {}
        for node in self._program.all(*kinds):
            decorators = [item.func if isinstance(item, ast.Call) else item for item in node.decorator_list]
            plain = all((self._dotted(item) or "").startswith(("functools.", "dataclasses.")) for item in decorators)
            found[node.name] = plain and found.get(node.name, True)
        return {name for name, plain in found.items() if plain} - self._rebound

    def _only_methods_have_self(self) -> bool:
        """Whether ``self`` is an object of the program's own class wherever it is the first parameter of a method."""
        program = self._program
        bodies = [node for owner in program.all(ast.ClassDef) for node in owner.body]
        methods = [node for node in bodies if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]
        named = [node for node in methods if [item.arg for item in node.args.args[:1]] == ["self"]]
        decorators = {getattr(item, "id", "") for node in named for item in node.decorator_list}
        names = {node.name for node in named}
        # As in ``C.method(other)``, where anything can be the self.
        unbound = any(node.attr in names and self._is_class(node.value) for node in program.all(ast.Attribute))
        parameters = sum(item.arg == "self" for item in program.all(ast.arg))
        only = parameters == len(named) and not any(program.values.get("self", ()))
        return only and not unbound and decorators.isdisjoint({"staticmethod", "classmethod"})

    def _is_class(self, node: ast.expr) -> bool:
        return getattr(node, "id", "") in self._program.classes or self._is_type(getattr(node, "func", None))

    def changes(self, node: ast.Attribute | ast.Subscript) -> bool:
        """Whether what is assigned to is plainly a part of something imported."""
        base = node.value
        if isinstance(node, ast.Subscript) and isinstance(base, ast.Name) and base.id in self._program.aliases:
            # A module has no items, so such a name stands for something else by now: ``def f(array): array[0] = 1``.
            return "." in self._program.aliases[base.id] and base.id not in self._program.values
        if isinstance(base, ast.Call) and self._is_type(base.func):
            return not self.is_own(base)
        return self._is_foreign(base) or self._is_member(base)

    def changed_by(self, node: ast.Call) -> bool:
        """``calendar.mdays.append(1)``, ``numbers.Number.register(str)``, ``dataclass(json.JSONEncoder)``."""
        func = node.func
        if isinstance(func, ast.Attribute) and func.attr in _CHANGERS:
            dotted = self._dotted(func.value)
            return bool(dotted and "." in dotted)
        if isinstance(func, ast.Call):
            func = func.func
        return self._dotted(func) in _CHANGES_ARGUMENT and any(map(self._dotted, node.args))

    def is_own(self, node: ast.expr) -> bool:
        """Whether it is plainly an object, class or function of the program."""
        if isinstance(node, ast.Call):
            name = node.func.id if isinstance(node.func, ast.Name) else ""
            of_own = name == "type" and len(node.args) == 1 and self.is_own(node.args[0])
            return of_own or name in self._classes
        if not isinstance(node, ast.Name):
            return False
        if node.id not in self._own_names:
            self._own_names[node.id] = False  # what is made of itself is not known
            self._own_names[node.id] = self._is_own_name(node.id)
        return self._own_names[node.id]

    def _is_own_name(self, name: str) -> bool:
        if name == "self":
            return self._self_is_own
        values = self._program.values.get(name)
        if not values:
            return name in self._functions or name in self._classes
        return all(isinstance(value, ast.Call) and self.is_own(value) for value in values)

    def handed_about(self) -> bool:
        """Whether a module or class is more than called, read from, derived from, tested by or annotated."""
        program = self._program
        plain = set(map(id, self._plain_uses()))
        for node in program.all(ast.Name, ast.Attribute):
            if id(node) not in plain and (self._is_foreign(node) or self._is_type(node)):
                return True
        if not _GIVES_CLASSES.isdisjoint(self._read_names()):
            return True
        types = [node for node in program.all(ast.Call) if self._is_type(node.func)]
        return any(id(node) not in plain and not self.is_own(node) for node in types)

    def _read_names(self) -> Iterator[str | None]:
        program = self._program
        yield from (node.attr for node in program.all(ast.Attribute))
        yield from (dotted.rpartition(".")[2] for dotted in program.aliases.values())
        yield from (name for node in program.all(ast.MatchClass) for name in node.kwd_attrs)
        yield from (program.folder.text(call.args[1]) for _, call in program.calls if len(call.args) > 1)

    def _plain_uses(self) -> Iterator[Any]:
        program = self._program
        for call in program.all(ast.Call):
            yield call.func
            if self._only_asks(call.func):
                for argument in call.args:
                    yield from argument.elts if isinstance(argument, ast.Tuple) else [argument]
            elif self._dotted(call.func) == "dataclasses.field":
                yield from (item.value for item in call.keywords)
        yield from (node.value for node in program.all(ast.Attribute, ast.FormattedValue))
        if _COMPARISONS.isdisjoint(self._defined):
            yield from (part for node in program.all(ast.Compare) for part in (node.left, *node.comparators))
        yield from (node.cls for node in program.all(ast.MatchClass))
        mentions = [node.annotation for node in program.all(ast.arg, ast.AnnAssign)]
        mentions += [node.returns for node in program.all(ast.FunctionDef, ast.AsyncFunctionDef)]
        mentions += [node.type for node in program.all(ast.ExceptHandler)]
        mentions += [base for node in program.all(ast.ClassDef) for base in node.bases]
        for mention in mentions:
            parts = list(ast.walk(mention)) if mention is not None else []
            if not any(isinstance(part, (ast.Call, ast.NamedExpr)) for part in parts):
                yield from parts

    def _only_asks(self, func: ast.expr) -> bool:
        """Whether it is a function that tests by classes, or calls them, and is what its name says."""
        if isinstance(func, ast.Name) and func.id not in self._rebound:
            return func.id in _ASKS_FOR_CLASS and func.id not in self._defined
        return self._dotted(func) == "collections.defaultdict" and getattr(func, "id", "") not in self._program.values

    def _dotted(self, node: Any) -> str | None:
        """The member of an imported module that the expression plainly is."""
        dotted = self._program.resolve(node)
        return None if dotted and dotted.partition(".")[0] == "builtins" else dotted

    def _is_type(self, node: Any) -> bool:
        return isinstance(node, ast.Name) and node.id == "type"

    def _is_foreign(self, node: Any) -> bool:
        """Whether an expression plainly is a module, or a class of one."""
        if node.__class__ is ast.Name and node.id not in self._program.aliases and node.id not in self._program.values:
            return False
        dotted = self._dotted(node)
        if not dotted or "." not in dotted:
            return bool(dotted)
        member = dotted.rpartition(".")[2]
        constant = member.isupper() and member not in _CLASSES_IN_CAPITALS
        return member[0].isupper() and not constant and not (dotted.startswith("typing.") and member in _PLAIN_TYPES)

    def _is_member(self, node: ast.expr) -> bool:
        """Any member at all, where nothing else can stand there: ``x = calendar.mdays; x[0] = 1``."""
        while isinstance(node, (ast.Attribute, ast.Subscript)):
            node = node.value
        if not isinstance(node, ast.Name):
            return bool(self._dotted(node))
        if node.id in self._program.aliases:
            return True
        values = self._program.values.get(node.id, [])
        return bool(values) and all(
            isinstance(value, (ast.Name, ast.Attribute)) and self._dotted(value) for value in values[:50]
        )
