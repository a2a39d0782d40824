"""Checks of what the program would use up: loops without end, values no memory holds, exploding patterns."""

from __future__ import annotations

import ast
from typing import Any

from hotcell.validators.program import Program
from hotcell.validators.regex import explodes

_MAX_RESULT_BITS = 40_000_000  # twelve million decimal digits
_MAX_TEXT = 500_000_000
_MAX_ITEMS = 150_000_000
_MAX_ROUNDS = 10**11
_MAX_ARRAY = 10**9
_MAX_SLEEP_SECONDS = 600

_MATERIALISERS = frozenset("list tuple set sorted frozenset dict array deque bytearray bytes".split())
_CONSUMERS = _MATERIALISERS | frozenset("sum max min len all any Counter join".split())
_ARRAY_MAKERS = frozenset(
    "zeros ones empty full arange linspace rand randn random eye identity randint normal uniform".split()
)
_PADDERS = frozenset({"ljust", "rjust", "center", "zfill", "expandtabs"})
_BLOCKS_OR_ENDS = frozenset(
    """exit quit _exit abort next input get recv recvfrom accept throw wait send readline read get_nowait popleft pop
    run_forever fail skipTest raise_for_status check_call poll select""".split()
)
_NESTED_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
_LOOPS = (ast.While, ast.For, ast.AsyncFor)
_PATTERN_CALLS = frozenset(
    "compile match search fullmatch findall finditer sub subn split contains extract replace".split()
)


def check_resources(program: Program) -> None:
    """Every check of this module."""
    for node in program.all(ast.While):
        if _always_true(node.test) and not _can_end(program, node):
            program.report("resource.endless-loop", node, "This loop never ends.")
    for node in program.all(ast.For):
        _for_loop(program, node)
    for node in program.all(ast.BinOp):
        _operation(program, node)
    for name, node in program.calls:
        if name in _INTERESTING and node.args:
            _sized_call(program, node, name)
            if name in _PATTERN_CALLS:
                _pattern(program, node)
    for node in program.all(ast.ListComp, ast.SetComp, ast.DictComp):
        _comprehension(program, node)


def _always_true(test: ast.expr) -> bool:
    if isinstance(test, ast.Constant):
        return bool(test.value)
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        return isinstance(test.operand, ast.Constant) and not test.operand.value
    if isinstance(test, (ast.List, ast.Tuple, ast.Set)):
        return bool(test.elts)
    if (
        isinstance(test, ast.Compare)
        and len(test.ops) == 1
        and isinstance(test.ops[0], (ast.Eq, ast.Is, ast.GtE, ast.LtE))
    ):
        left, right = test.left, test.comparators[0]
        return isinstance(left, ast.Constant) and isinstance(right, ast.Constant) and left.value == right.value
    return False


def _can_end(program: Program, loop: Any) -> bool:
    """Whether anything in the loop may leave it. A call of a function that raises counts; so does waiting for data."""
    stack: list[tuple[Any, bool]] = [(child, True) for child in loop.body]
    while stack:
        node, ours = stack.pop()
        program.work -= 1
        if program.work < 0 or isinstance(
            node, (ast.Return, ast.Raise, ast.Yield, ast.YieldFrom, ast.Await, ast.Assert)
        ):
            return True
        if isinstance(node, ast.Break) and ours:
            return True
        if isinstance(node, ast.Call) and _call_may_end(program, node):
            return True
        if isinstance(node, _NESTED_SCOPES):
            continue
        inner = ours and not isinstance(node, _LOOPS)
        # The else of an inner loop belongs to the outer one; it is rare enough to follow the loop's own rule.
        stack.extend((child, inner) for child in ast.iter_child_nodes(node))
    return False


def _call_may_end(program: Program, node: ast.Call) -> bool:
    func = node.func
    name = func.id if isinstance(func, ast.Name) else func.attr if isinstance(func, ast.Attribute) else ""
    if name in _BLOCKS_OR_ENDS:
        return True
    return name in program.defined and program.may_raise


def _for_loop(program: Program, node: ast.For) -> None:
    if not isinstance(node.iter, ast.Call):
        return
    if _endless_iterator(program, node.iter):
        if not _can_end(program, node):
            program.report("resource.endless-loop", node, "This loop never ends: its iterator has no last item.")
        return
    rounds = _range_length(program, node.iter)
    if rounds is None:
        return
    if rounds >= _MAX_ROUNDS and not _can_end(program, node):
        program.report("resource.endless-loop", node, f"This loop runs {_count(rounds)} times.")
    elif rounds >= 30:
        _doubling(program, node)


def _doubling(program: Program, loop: ast.For) -> None:
    """``text += text``, thirty times or more, of something that was a text or a list."""
    for node in loop.body:
        target: ast.expr | None = None
        value: ast.expr | None = None
        if isinstance(node, ast.AugAssign) and isinstance(node.op, ast.Add):
            target, value = node.target, node.value
        elif isinstance(node, ast.Assign) and isinstance(node.value, ast.BinOp):
            target, value = node.targets[0], node.value.left
            doubled = isinstance(node.value.op, ast.Add) and isinstance(node.value.right, ast.Name)
            doubled = doubled and node.value.right.id == getattr(target, "id", None)  # type: ignore[attr-defined]
            if not (doubled or isinstance(node.value.op, ast.Mult)):
                continue
        if isinstance(target, ast.Name) and isinstance(value, ast.Name) and target.id == value.id:
            starts = program.values.get(target.id, ())
            if any(_is_collection(start) for start in starts):
                program.report("resource.giant", node, f"{target.id} doubles with each round of the loop.")


def _is_collection(node: Any) -> bool:
    if isinstance(node, ast.BinOp):
        return _is_collection(node.left)
    return isinstance(node, (ast.List, ast.JoinedStr)) or (
        isinstance(node, ast.Constant) and isinstance(node.value, (str, bytes))
    )


def _endless_iterator(program: Program, node: Any) -> bool:
    if not isinstance(node, ast.Call):
        return False
    func = node.func
    name = func.id if isinstance(func, ast.Name) else func.attr if isinstance(func, ast.Attribute) else ""
    if program.aliases.get(name, name).rpartition(".")[2] not in ("count", "cycle", "repeat", "iter"):
        return False
    dotted = program.resolve(func)
    if dotted in ("itertools.count", "itertools.cycle"):
        return True
    if dotted == "itertools.repeat":
        return len(node.args) == 1 and not node.keywords
    if dotted == "builtins.iter" and len(node.args) == 2:
        made, until = node.args
        return isinstance(made, ast.Name) and made.id in ("int", "str", "list", "dict") and not _is_falsy(until)
    return False


def _is_falsy(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and not node.value


def _range_length(program: Program, node: Any) -> int | None:
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name) or node.func.id != "range":
        return None
    numbers = [program.folder.number(argument) for argument in node.args]
    if None in numbers or not 1 <= len(numbers) <= 3:
        return None
    known = [number for number in numbers if number is not None]
    if len(known) == 1:
        return max(known[0], 0)
    step = known[2] if len(known) == 3 else 1
    return max((known[1] - known[0]) // step, 0) if step else None


def _operation(program: Program, node: ast.BinOp) -> None:
    operator = node.op.__class__
    if operator is ast.Pow:
        if node.right.__class__ is ast.Constant and node.right.value.__class__ is int and node.right.value < 10_000:
            return
        _power(program, node, node.left, node.right)
    elif operator is ast.Mult and (_may_repeat(node.left) or _may_repeat(node.right)):
        size = _repeated(program, node)
        if size:
            program.report("resource.giant", node, f"The repetition has {_count(size)} items.")
    elif operator is ast.LShift:
        shift = program.folder.number(node.right)
        if shift is not None and shift > _MAX_RESULT_BITS:
            program.report("resource.giant", node, f"The number has {_count(shift)} bits.")


def _may_repeat(node: ast.expr) -> bool:
    """Whether this side of a product looks like a text or list, or like a number large enough to matter."""
    kind = node.__class__
    if kind is ast.Constant:
        value = node.value  # type: ignore[attr-defined]  # the class was compared, for speed
        return value.__class__ in (str, bytes) or (value.__class__ is int and value > 1_000_000)
    return kind in (ast.List, ast.Tuple, ast.JoinedStr, ast.BinOp)


def _power(program: Program, node: Any, base_node: ast.expr, exponent_node: ast.expr) -> None:
    if isinstance(base_node, ast.Constant) and isinstance(base_node.value, float):
        return  # a float overflows at once
    base = program.folder.number(base_node)
    exponent = _big_number(program, exponent_node)
    if (
        base is not None
        and exponent is not None
        and abs(base) > 1
        and exponent * (abs(base).bit_length() - 1) > _MAX_RESULT_BITS
    ):
        program.report("resource.giant", node, "The power has more than twelve million digits.")


def _big_number(program: Program, node: ast.expr) -> int | None:
    """As the folder's number, and the least that a tower of powers above its limit can come to."""
    value = program.folder.number(node)
    if value is None and isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow):
        base, exponent = program.folder.number(node.left), _big_number(program, node.right)
        if base is not None and exponent is not None and base > 1 and exponent > 100:
            return 1 << 100
    return value


def _repeated(program: Program, node: ast.BinOp) -> int | None:
    """How many items ``'a' * n`` or ``[0] * n * m`` makes, when that is too many."""
    times = 1
    unit: Any = node
    while isinstance(unit, ast.BinOp) and isinstance(unit.op, ast.Mult):
        left, right = program.folder.number(unit.left), program.folder.number(unit.right)
        if right is not None:
            times, unit = times * max(right, 0), unit.left
        elif left is not None:
            times, unit = times * max(left, 0), unit.right
        else:
            return None
    if isinstance(unit, ast.Name):
        values = program.values.get(unit.id, ())
        unit = values[0] if len(values) == 1 else None
    if isinstance(unit, (ast.List, ast.Tuple)):
        return times * len(unit.elts) if times * len(unit.elts) > _MAX_ITEMS else None
    text = (
        program.folder.fold(unit)
        if not isinstance(unit, ast.Constant) or isinstance(unit.value, (str, bytes))
        else None
    )
    if isinstance(text, (str, bytes)):
        return times * len(text) if times * len(text) > _MAX_TEXT else None
    return None


def _sized_call(program: Program, node: ast.Call, name: str) -> None:
    first = node.args[0]
    number = program.folder.number(first)
    method = isinstance(node.func, ast.Attribute)
    too_many = None
    if (
        name in ("bytearray", "bytes", "urandom", "token_bytes", "randbytes", "truncate")
        and number
        and number > _MAX_TEXT
    ):
        too_many = number
    elif name in _PADDERS and method and number and number > _MAX_TEXT:
        too_many = number
    elif name == "factorial" and number and number > 5_000_000:
        too_many = number
    elif name in _ARRAY_MAKERS and method:
        too_many = _array_size(program, node)
    elif name == "sleep" and number and number > _MAX_SLEEP_SECONDS:
        program.report("resource.endless-loop", node, f"The program would sleep for {number} seconds.")
    elif name == "pow" and len(node.args) == 2 and not method:
        _power(program, node, node.args[0], node.args[1])
    elif name in _CONSUMERS:
        _consumed(program, node, first, name)
    if too_many:
        program.report("resource.giant", node, f"{name} is asked for {_count(too_many)} items.")


def _consumed(program: Program, node: ast.Call, first: ast.expr, name: str) -> None:
    if isinstance(first, ast.GeneratorExp):
        first = first.generators[0].iter
    if _endless_iterator(program, first):
        program.report("resource.endless-loop", node, f"{name} never ends: the iterator has no last item.")
        return
    length = _range_length(program, first)
    limit = _MAX_ITEMS if name in _MATERIALISERS else _MAX_ROUNDS
    if length and length > limit and name != "len":
        program.report("resource.giant", node, f"{name} is given {_count(length)} items.")


def _array_size(program: Program, node: ast.Call) -> int | None:
    if program.resolve(node.func) in ("random.randint", "random.uniform", "random.random"):
        return None
    shape = next((item.value for item in node.keywords if item.arg in ("size", "shape")), node.args[0])
    name = node.func.attr if isinstance(node.func, ast.Attribute) else ""
    if name in ("randint", "normal", "uniform", "linspace") and shape is node.args[0]:
        return None
    numbers = list(shape.elts) if isinstance(shape, (ast.Tuple, ast.List)) else [shape]
    if name in ("rand", "randn"):
        numbers = list(node.args)
    if name == "arange" and len(node.args) > 1:
        return None
    size = 1
    for item in numbers:
        size *= program.folder.number(item) or 1
    if name in ("eye", "identity"):
        size *= size
    return size if size >= _MAX_ARRAY else None


def _comprehension(program: Program, node: Any) -> None:
    loop = node.generators[0]
    if _endless_iterator(program, loop.iter):
        program.report("resource.endless-loop", node, "The comprehension never ends: the iterator has no last item.")
        return
    length = _range_length(program, loop.iter)
    if length and length > _MAX_ITEMS and not (loop.ifs and length < _MAX_ROUNDS):
        program.report("resource.giant", node, f"The comprehension makes {_count(length)} items.")


def _pattern(program: Program, node: ast.Call) -> None:
    text = program.folder.text(node.args[0])
    if text and explodes(text):
        program.report("resource.regex", node, f"The pattern {text[:60]!r} can take exponential time.")


def _count(number: int) -> str:
    return f"{number:,}" if number < 10**15 else "more than 10**15"


_INTERESTING = (
    _CONSUMERS
    | _ARRAY_MAKERS
    | _PADDERS
    | _PATTERN_CALLS
    | frozenset("bytearray bytes urandom token_bytes randbytes truncate factorial sleep pow".split())
)
