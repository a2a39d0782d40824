"""Checks of texts: format strings that read attributes, code and pickles in literals, names made from pieces."""

from __future__ import annotations

import ast
import re
import unicodedata
from typing import Any

from hotcell.validators.program import Program
from hotcell.validators.tables import HIDDEN_WORDS

_FORMAT_FIELD = re.compile(r"\{[^{}]*[.\[][^{}]*\}")
_FORMAT_GADGET = re.compile(r"\{[^{}]*__\w+[^{}]*\}|\{[^{}]*\.(?:gi|cr|ag|tb|f|co)_\w+[^{}]*\}")
_CODE_IN_TEXT = re.compile(
    r"__(?:import|subclasses|globals|builtins|class|bases|mro|code)__|\b(?:os\.(?:system|popen|exec|spawn|fork)|subprocess\b"
    r"|import\s+(?:os|subprocess|socket|ctypes|pty)\b|eval\s*\(|exec\s*\()"
)
_PICKLE_GADGET = re.compile(
    rb"[ci](?:posix|nt|os|subprocess|builtins|__builtin__|sys|shutil|socket)\n|\x8c[\x00-\xff](?:posix|builtins|os|subprocess)\x94"
)
_PICKLERS = frozenset("pickle _pickle cPickle dill cloudpickle shelve joblib pandas numpy".split())
_BUILDERS = frozenset(
    """join decode replace b64decode urlsafe_b64decode b32decode b16decode b85decode a85decode unhexlify fromhex chr
    lower upper swapcase format strip""".split()
)


def check_texts(program: Program, text: str) -> None:
    """The checks that look at texts wherever they stand."""
    _pickles(program)
    _built_strings(program)
    if not text.isascii():
        _look_alikes(program, text)


def check_format(program: Program, node: ast.Attribute) -> None:
    template = program.folder.text(node.value)
    if template is None:
        if program.strict and not _folds_to_other(program, node.value):
            program.report("escape.format", node, "A format string that is not a literal could read any attribute.")
    elif _FORMAT_GADGET.search(template) or (program.strict and _FORMAT_FIELD.search(template)):
        program.report("escape.format", node, "The format string reads attributes of its arguments.")


def _folds_to_other(program: Program, node: ast.expr) -> bool:
    return isinstance(node, (ast.Constant, ast.JoinedStr)) and program.folder.text(node) is not None


def runs_text(program: Program, node: ast.Call) -> None:
    """Library functions that run or unpickle a text: look into it when it is known."""
    for argument in node.args[:2]:
        value = program.folder.fold(argument)
        if isinstance(value, str) and _CODE_IN_TEXT.search(value):
            program.report("code.dynamic", node, "The text holds code that is not allowed.")
        elif isinstance(value, bytes) and _PICKLE_GADGET.search(value):
            program.report("code.dynamic", node, "The pickle would run code while it is loaded.")


def _pickles(program: Program) -> None:
    """A pickle written out as bytes that imports a dangerous module while it is loaded."""
    if any(dotted.partition(".")[0] in _PICKLERS for dotted in program.aliases.values()):
        for node in program.all(ast.Constant):
            if node.value.__class__ is bytes and _PICKLE_GADGET.search(node.value):
                program.report("code.dynamic", node, "The pickle would run code while it is loaded.")


def _built_strings(program: Program) -> None:
    """Texts put together from pieces that come to the name of something internal, or to code."""
    candidates = [
        node
        for node in program.all(ast.BinOp)
        if node.op.__class__ in (ast.Add, ast.Mod) and (_is_piece(node.right) or _is_piece(node.left))
    ]
    candidates += [node for node in program.all(ast.Subscript) if node.slice.__class__ is ast.Slice and node.slice.step]
    candidates += [node for name, node in program.calls if name in _BUILDERS]
    candidates += [node for node in program.all(ast.JoinedStr) if any(_is_literal_field(item) for item in node.values)]
    for node in candidates:
        text = program.folder.fold(node)
        if isinstance(text, bytes):
            text = text.decode("latin-1")
        if isinstance(text, str) and (text in HIDDEN_WORDS or _CODE_IN_TEXT.search(text)):
            program.report("escape.obfuscated", node, f"The pieces come to {text[:60]!r}.")


def _is_piece(node: Any) -> bool:
    return node.__class__ is ast.Call or (node.__class__ is ast.Constant and node.value.__class__ in (str, bytes))


def _is_literal_field(node: ast.expr) -> bool:
    return node.__class__ is ast.FormattedValue and node.value.__class__ in (ast.Constant, ast.Call)


def _look_alikes(program: Program, text: str) -> None:
    """Letters such as a mathematical italic o, which Python reads as a plain o in a name."""
    used = {node.id for node in program.all(ast.Name)} | {node.attr for node in program.all(ast.Attribute)}
    for found in re.finditer(r"\w*[^\W\x00-\x7f]\w*", text):
        plain = unicodedata.normalize("NFKC", found[0])
        if plain != found[0] and plain.isascii() and plain in used:
            line = text.count("\n", 0, found.start()) + 1
            column = len(text[text.rfind("\n", 0, found.start()) + 1 : found.start()].encode())
            place = ast.Pass(lineno=line, col_offset=column)
            program.report("escape.obfuscated", place, f"The name {plain} is written in look-alike letters.")
            return
