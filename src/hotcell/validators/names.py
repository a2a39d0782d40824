"""Checks of what the program names: modules, built-ins, attributes, and ways to reach them under another name."""

from __future__ import annotations

import ast
from functools import lru_cache
from typing import Any

from hotcell.modules import RULE_OF_MODULE
from hotcell.policy import Policy, rule_of_builtin
from hotcell.validators.program import Program
from hotcell.validators.strict import check_strict, listed, plain_class, strict_attribute, strict_member, strict_name
from hotcell.validators.tables import (
    CLASS_WALKS,
    DISTINCT_METHODS,
    GADGETS,
    HONEST_GADGETS,
    REACHING_MODULES,
    RULE_OF_MEMBER,
    STRICT_ATTRIBUTES,
)
from hotcell.validators.texts import check_format, check_texts, runs_text

_HOT_ATTRIBUTES = GADGETS | frozenset(name.rpartition(".")[2] for name in RULE_OF_MEMBER) | frozenset(DISTINCT_METHODS)
_READABLE_CODE = frozenset(
    "co_argcount co_varnames co_name co_kwonlyargcount co_posonlyargcount co_flags co_filename co_firstlineno".split()
)
_IMPORT_CALLS = frozenset({"__import__", "import_module"})
_RUNS_TEXT = frozenset(
    """timeit repeat Timer run runctx eval query sympify parse_expr evaluate Template from_string lambdify
    compile_command runsource runcode loads""".split()
)


@lru_cache(maxsize=32)
def _hot_names(policy: Policy) -> frozenset[str]:
    return policy.builtins_denied | {"__builtins__", "__import__", "__loader__", "__spec__", "input", "breakpoint"}


def check_names(program: Program, text: str) -> None:
    """Every check of this module; imports first, since the others need to know what they brought in."""
    _imports(program)
    _plain_names(program)
    _attributes(program)
    _items(program)
    _calls(program)
    check_texts(program, text)
    _patterns(program)
    if program.strict:
        check_strict(program)


def check_module(program: Program, module: str, node: Any) -> None:
    """Judge one import by the policy's lists."""
    policy = program.policy
    name = module
    while name:
        if name in policy.imports_denied:
            rule = RULE_OF_MODULE.get(name, "import.denied")
            program.report(rule, node, f"Importing {module} is not allowed.")
            return
        name = name.rpartition(".")[0]
    if policy.imports_allowed is not None and not listed(module, policy.imports_allowed):
        program.report("import.denied", node, f"Importing {module} is not allowed; it is not on the list of modules.")


def _imports(program: Program) -> None:
    aliases = program.aliases
    for node in program.all(ast.Import):
        for item in node.names:
            check_module(program, item.name, node)
            aliases[item.asname or item.name.partition(".")[0]] = (
                item.name if item.asname else item.name.partition(".")[0]
            )
    for node in program.all(ast.ImportFrom):
        module = node.module or ""
        if node.level:
            program.report("import.relative", node, "A relative import has no package to start from.")
            continue
        for item in node.names:
            _import_from(program, module, item, node)


def _import_from(program: Program, module: str, item: ast.alias, node: ast.ImportFrom) -> None:
    if item.name == "*":
        check_module(program, module, node)
        if program.strict:
            program.report("import.denied", node, "A star import does not say which names it brings.")
        for member in RULE_OF_MEMBER:
            if member.startswith(module + "."):
                program.aliases.setdefault(member.rpartition(".")[2], member)
        return
    full = f"{module}.{item.name}"
    program.aliases[item.asname or item.name] = full
    # ``from os import path``: the member may be a module of its own that is denied.
    check_module(program, full if full in program.policy.imports_denied else module, node)
    _member_use(program, full, node)
    if item.name in REACHING_MODULES and module.partition(".")[0] != item.name:
        check_module(program, item.name, node)
        program.aliases[item.asname or item.name] = item.name
    if program.strict and full != "functools.wraps":
        strict_member(program, full, node)


def _member_use(program: Program, dotted: str | None, node: Any) -> bool:
    """Report the use of a module's member, or of a denied module reached without an import."""
    if not dotted:
        return False
    rule = RULE_OF_MEMBER.get(dotted)
    if rule is None and "." in dotted:
        head, _, member = dotted.rpartition(".")
        rule = RULE_OF_MEMBER.get(head)
        if rule is None and head.partition(".")[0] in ("builtins",) and member in program.policy.builtins_denied:
            rule = rule_of_builtin(member)
    if rule and not (dotted == "os.kill" and _of_itself(program, node)):
        program.report(rule, node, f"{dotted.removeprefix('builtins.')} is not allowed.")
    return bool(rule)


def _of_itself(program: Program, func: Any) -> bool:
    """``os.kill(os.getpid(), ...)``: a program may end itself."""
    for call in program.all(ast.Call):
        if call.func is func and call.args and isinstance(call.args[0], ast.Call):
            return program.resolve(call.args[0].func) == "os.getpid"
    return False


def _plain_names(program: Program) -> None:
    hot = _hot_names(program.policy) | program.aliases.keys() if program.aliases else _hot_names(program.policy)
    names = program.all(ast.Name)
    found = [node for node in names if node.id in hot]
    if not found and not program.strict:
        return
    called = {id(call.func) for call in program.all(ast.Call) if call.args or call.keywords}
    for node in found:
        _hot_name(program, node, id(node) in called)
    for node in names if program.strict else ():
        strict_name(program, node, id(node) in called)


def _hot_name(program: Program, node: ast.Name, called: bool) -> None:
    name = node.id
    if name in program.aliases:
        if isinstance(node.ctx, ast.Load):
            _member_use(program, program.aliases[name], node)
            if program.strict and program.aliases[name] == "functools.wraps":
                strict_member(program, "functools.wraps", node)
        return
    if not program.strict and (name in program.defined or not isinstance(node.ctx, ast.Load)):
        return
    if name in program.policy.builtins_denied:
        program.report(rule_of_builtin(name), node, f"{name} is not allowed.")
    elif name in ("__builtins__", "__loader__", "__spec__"):
        program.report("escape.gadget", node, f"{name} leads to the interpreter's internals.")
    elif name == "__import__" and not called:
        program.report("code.dynamic-import", node, "__import__ is not allowed except with the name of a module.")
    elif name in ("input", "breakpoint"):
        program.report("interaction.input", node, f"{name} waits for a person.")


def _attributes(program: Program) -> None:
    attributes = program.all(ast.Attribute)
    if program.strict:
        for node in attributes:
            strict_attribute(program, node)
    for node in [node for node in attributes if node.attr in _HOT_ATTRIBUTES]:
        dotted = program.resolve(node)
        if node.attr in GADGETS and not _honest(program, node):
            rule = "escape.class-walk" if node.attr in CLASS_WALKS else "escape.gadget"
            program.report(rule, node, f"The attribute {node.attr} leads to the interpreter's internals.")
        elif not _member_use(program, dotted, node) and dotted is None and node.attr in DISTINCT_METHODS:
            program.report(DISTINCT_METHODS[node.attr], node, f"{node.attr} is not allowed.")
    for node in [node for node in attributes if node.attr in ("format", "format_map")]:
        check_format(program, node)
    for node in [node for node in attributes if node.attr in program.policy.builtins_denied]:
        _member_use(program, program.resolve(node), node)


def _honest(program: Program, node: ast.Attribute) -> bool:
    """Whether ordinary code uses this gadget in this way. Never so under `strict`."""
    attr, value = node.attr, node.value
    if program.strict:
        return False
    if attr == "__subclasses__":
        return isinstance(value, ast.Name) and program.only_a_class(value.id)
    if attr == "__code__" or attr == "f_code":
        return getattr(program.outer(node), "attr", None) in _READABLE_CODE
    if attr in _READABLE_CODE or attr == "__closure__":
        return True
    if attr not in HONEST_GADGETS:
        return False
    if attr in CLASS_WALKS:
        return not _walked(program, node)
    if attr in ("__getattribute__", "__reduce_ex__"):
        owner = value.func if isinstance(value, ast.Call) else value
        return isinstance(owner, ast.Name) and owner.id in ("super", "object")
    if attr in ("__self__", "__func__"):
        return not isinstance(value, ast.Name) or value.id in program.defined
    return True


def _walked(program: Program, node: ast.Attribute) -> bool:
    """``x.__class__.__base__``, ``x.__mro__[1]``, ``x.__base__.y``: steps, where a class's bases are only printed."""
    value = node.value
    if isinstance(value, (ast.Constant, ast.Tuple, ast.List, ast.Dict, ast.Set, ast.JoinedStr)):
        return True
    if isinstance(value, ast.Attribute) and (value.attr in CLASS_WALKS or _is_literal_class(value)):
        return True
    outer = program.outer(node)
    return outer is not None and getattr(outer, "attr", None) != "__name__"


def _is_literal_class(node: ast.Attribute) -> bool:
    return node.attr == "__class__" and not isinstance(node.value, (ast.Name, ast.Attribute))


def _items(program: Program) -> None:
    """``sys.modules['os']``, ``globals()['__builtins__']``, ``os.__dict__['system']``, ``__builtins__['eval']``."""
    for node in program.all(ast.Subscript):
        value = node.value
        if value.__class__ is ast.Call or (
            value.__class__ is ast.Attribute and value.attr in ("modules", "__dict__", "__builtins__")
        ):
            _item(program, node)
        elif value.__class__ is ast.Name and (value.id == "__builtins__" or value.id in program.aliases):
            _item(program, node)


def _item(program: Program, node: ast.Subscript) -> None:
    dotted = program.resolve(node)
    if dotted:
        if not _member_use(program, dotted, node) and dotted in program.policy.imports_denied:
            check_module(program, dotted, node)
        return
    key = program.folder.text(node.slice)
    if key in GADGETS and not (key in HONEST_GADGETS and not program.strict):
        program.report("escape.gadget", node, f"The key {key} leads to the interpreter's internals.")
    elif key is None and program.resolve(node.value) in _CATALOGUES:
        program.report("escape.dynamic-attribute", node, "A member of a module is read by a computed name.")


_CATALOGUES = frozenset({"builtins", "builtins.__dict__", "os.__dict__", "sys.__dict__", "subprocess.__dict__"})


def _calls(program: Program) -> None:
    renamed = _renamed(program)
    for name, node in program.calls:
        handler = _CALLS.get(renamed.get(name, name)) if name else None
        if handler:
            handler(program, node)
        elif not name and node.func.__class__ in (ast.Call, ast.Subscript):
            _member_use(program, program.resolve(node.func), node)


def _renamed(program: Program) -> dict[str, str]:
    """The program's own names for getattr and the like: ``g = getattr``."""
    if not any(node.id in _RENAMABLE and node.ctx.__class__ is ast.Load for node in program.all(ast.Name)):
        return {name: dotted.rpartition(".")[2] for name, dotted in program.aliases.items() if "." in dotted}
    renamed = {name: program.resolve(ast.Name(id=name)) or "" for name in program.values}
    renamed.update(program.aliases)
    return {name: dotted.rpartition(".")[2] for name, dotted in renamed.items() if "." in dotted}


_RENAMABLE = frozenset({"getattr", "setattr", "__import__"})


def _get_attribute(program: Program, node: ast.Call) -> None:
    if len(node.args) < 2:
        if program.strict:
            program.report("escape.dynamic-attribute", node, "The attribute's name is not written out.")
        return
    owner, name_node = (node.args[0], node.args[1]) if len(node.args) > 1 else (None, node.args[0])
    names = program.folder.choices(name_node)
    if names is None:
        reach = program.resolve(owner)
        if program.strict or (reach and reach.partition(".")[0] in REACHING_MODULES):
            message = "An attribute is read by a name that is not known beforehand."
            program.report("escape.dynamic-attribute", node, message)
        return
    for name in names:
        if isinstance(name, str):
            _attribute_by_name(program, node, owner, name, plain=isinstance(name_node, ast.Constant))


def _attribute_by_name(program: Program, node: ast.Call, owner: Any, name: str, *, plain: bool) -> None:
    if program.strict and (name.startswith("_") or name in STRICT_ATTRIBUTES or name in ("format", "format_map")):
        program.report("escape.dynamic-attribute", node, f"Reading the attribute {name} by its name is not allowed.")
    elif name in GADGETS and (name not in HONEST_GADGETS or not plain):
        program.report("escape.gadget", node, f"The attribute {name} leads to the interpreter's internals.")
    base = program.resolve(owner)
    if base:
        _member_use(program, f"{base}.{name}", node)
    elif name in DISTINCT_METHODS:
        program.report(DISTINCT_METHODS[name], node, f"{name} is not allowed.")


def _own_attribute(program: Program, node: ast.Call) -> None:
    """``x.__getattribute__(name)``; the method itself is judged with the attributes."""
    name = program.folder.text(node.args[-1]) if node.args else None
    if name:
        owner = node.func.value if isinstance(node.func, ast.Attribute) else None
        _attribute_by_name(program, node, owner, name, plain=False)


def _import_call(program: Program, node: ast.Call) -> None:
    func = node.func
    if isinstance(func, ast.Name) and func.id in program.defined and not program.strict:
        return
    argument = node.args[0] if node.args else next((item.value for item in node.keywords if item.arg == "name"), None)
    names = program.folder.choices(argument)
    if not names or not all(isinstance(name, str) for name in names):
        program.report("code.dynamic-import", node, "The name of the imported module is not known beforehand.")
        return
    for name in names:
        check_module(program, str(name), node)


def _attribute_getter(program: Program, node: ast.Call) -> None:
    for argument in node.args:
        path = program.folder.text(argument)
        if path is None or any(part in GADGETS or part == "__class__" for part in path.split(".")):
            if path or program.strict:
                message = "The attribute's name reaches the interpreter's internals, or is not known."
                program.report("escape.dynamic-attribute", node, message)


def _type_call(program: Program, node: ast.Call) -> None:
    if program.strict and len(node.args) + len(node.keywords) != 1:
        program.report("builtin.denied", node, "type() with more than one argument makes a class out of data.")


def _function_type(program: Program, node: ast.Call) -> None:
    """isinstance(f, types.FunctionType) is honest; making a function out of a code object is not."""
    if (program.resolve(node.func) or "").startswith("types."):
        program.report("code.dynamic", node, "A function is made out of a code object.")


_CALLS = {
    "getattr": _get_attribute,
    "setattr": _get_attribute,
    "delattr": _get_attribute,
    "hasattr": _get_attribute,
    "__getattribute__": _own_attribute,
    "__getattr__": _own_attribute,
    "attrgetter": _attribute_getter,
    "methodcaller": _attribute_getter,
    "type": _type_call,
    "FunctionType": _function_type,
    "LambdaType": _function_type,
    **dict.fromkeys(_IMPORT_CALLS, _import_call),
    **dict.fromkeys(_RUNS_TEXT, runs_text),
}


def _patterns(program: Program) -> None:
    """``case object(__class__=c)`` reads an attribute as ``x.__class__`` does."""
    for node in program.all(ast.MatchClass):
        for name in node.kwd_attrs:
            if name in GADGETS or (program.strict and (name.startswith("_") or name in STRICT_ATTRIBUTES)):
                program.report("escape.gadget", node, f"The pattern reads the attribute {name}.")
        if program.strict and node.patterns and not plain_class(program, node.cls):
            # The class's __match_args__ decides which attributes are read.
            program.report("escape.gadget", node, "A positional pattern reads attributes that are not written out.")
