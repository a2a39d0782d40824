"""Exceptions are told as Python tells them: the cell's own lines, none of ours, whatever the exception is up to."""

from __future__ import annotations

import pytest


@pytest.fixture
def fail(cell):
    """Runs code that ends in an error."""

    def run(text: str, **keywords: object):
        ran = cell(text, **keywords)
        assert ran.report["outcome"] == "error", ran.report
        assert "hotcell" not in ran.error["traceback"]
        assert len(ran.error["traceback"]) < 21_000
        return ran

    return run


def test_type_message_line_and_source_line(fail):
    error = fail("def f(x):\n    return 1 / x\n\nf(0)\n").error
    assert {**error, "traceback": ""} == {
        "type": "ZeroDivisionError",
        "message": "division by zero",
        "traceback": "",
        "line": 2,
        "cell": 0,
        "source_line": "return 1 / x",
    }
    assert error["traceback"].startswith(
        'Traceback (most recent call last):\n  File "<cell>", line 4, in <module>\n    f(0)\n'
    )
    assert error["traceback"].endswith("ZeroDivisionError: division by zero\n")


def test_an_error_in_a_library_is_put_at_the_cells_line(fail):
    error = fail("import json\n\njson.loads('{')").error
    assert (error["line"], error["source_line"]) == (3, "json.loads('{')")
    assert 'File "json/decoder.py"' in error["traceback"]
    assert 'File "/' not in error["traceback"]


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_line_numbers_hold_for_every_line_ending(fail, ending: str):
    error = fail(ending.join(["x = 1", "y = '\x0c\x1c\u2028'", "1 / 0"])).error
    assert (error["line"], error["source_line"]) == (3, "1 / 0")


def test_a_cause_and_a_context_are_shown(fail):
    inner = "try:\n        1 / 0\n    except Exception as e:\n        raise KeyError('k') from e"
    text = f"try:\n    {inner}\nexcept Exception:\n    raise ValueError('v')"
    trace = fail(text).error["traceback"]
    assert "direct cause of the following exception" in trace
    assert "During handling of the above exception" in trace


def test_an_exception_group_is_shown_as_a_tree(fail):
    error = fail("raise ExceptionGroup('both', [ValueError('a'), KeyError('b')])").error
    assert error["type"] == "ExceptionGroup"
    assert "ValueError: a" in error["traceback"]


def test_notes_are_shown(fail):
    assert "a hint" in fail("e = ValueError('x')\ne.add_note('a hint')\nraise e").error["traceback"]


def test_endless_recursion_is_shortened(fail):
    error = fail("def f(n):\n    return f(n + 1)\nf(0)").error
    assert (error["type"], error["line"]) == ("RecursionError", 2)
    assert "more times" in error["traceback"]


def test_deep_mutual_recursion_is_cut(fail):
    error = fail("import sys\nsys.setrecursionlimit(9000)\ndef f():\n    g()\ndef g():\n    f()\nf()").error
    assert error["type"] == "RecursionError"
    assert "left out" in error["traceback"]


def test_a_chain_of_ten_thousand_causes_is_cut(fail):
    error = fail(
        "e = None\nfor i in range(10_000):\n    n = ValueError(i)\n    n.__cause__ = e\n    e = n\nraise e"
    ).error
    assert error["message"] == "9999"


def test_a_cyclic_chain_ends(fail):
    assert (
        fail("a, b = ValueError('a'), ValueError('b')\na.__cause__ = b\nb.__cause__ = a\nraise a").error["message"]
        == "a"
    )


def test_a_message_of_ten_megabytes_is_cut(fail):
    assert len(fail("raise ValueError('x' * 10_000_000)").error["message"]) < 4200


def test_lone_surrogates_are_escaped(fail):
    assert fail(r"raise ValueError('\udc80')").error["message"] == r"\udc80"


@pytest.mark.parametrize(
    "body",
    [
        "def __str__(self): raise ZeroDivisionError",
        "def __str__(self): return 3",
        "def __repr__(self): raise SystemExit",
        "__class__ = property(lambda self: 1 / 0)",
        "__cause__ = property(lambda self: 1 / 0)",
        "__context__ = property(lambda self: self)",
        "__traceback__ = property(lambda self: 1 / 0)",
        "__traceback__ = 3",
        "__notes__ = property(lambda self: 1 / 0)",
        "__suppress_context__ = property(lambda self: exit())",
        "def __getattribute__(self, name): raise KeyboardInterrupt",
        "def __del__(self): raise ValueError",
        "__eq__ = __hash__ = None",
    ],
)
@pytest.mark.parametrize("base", ["Exception", "SyntaxError", "BaseException", "NameError", "MemoryError"])
def test_an_exception_that_misbehaves_is_still_reported(fail, body: str, base: str):
    error = fail(f"class Liar({base}):\n    {body}\n\nraise Liar('x')").error
    assert (error["type"], error["line"]) == ("Liar", 4)


def test_a_type_whose_metaclass_lies_is_named_truly(fail):
    text = (
        "class M(type):\n    __name__ = property(lambda c: 1 / 0)\nclass Mine(Exception, metaclass=M): ...\nraise Mine"
    )
    assert fail(text).error["type"] == "Mine"


def test_a_syntax_error_has_line_text_and_no_frames(fail):
    error = fail("x = 1\ny = (2\n").error
    assert (error["type"], error["message"]) == ("SyntaxError", "'(' was never closed")
    assert (error["line"], error["source_line"]) == (2, "y = (2")
    assert error["traceback"].startswith('  File "<cell>", line 2')


@pytest.mark.parametrize("field", ["msg", "lineno", "filename", "text", "offset"])
def test_a_syntax_error_whose_fields_were_replaced_is_still_reported(fail, field: str):
    liar = "class Liar:\n    __eq__ = __str__ = __int__ = __index__ = lambda *_: 1 / 0\n"
    text = f"{liar}e = SyntaxError('m', ('<cell>', 1, 1, 'x'))\ne.{field} = Liar()\nraise e"
    assert (fail(text).error["type"], fail(text).error["line"]) == ("SyntaxError", 5)


def test_an_error_of_the_compiler_has_its_line(fail):
    error = fail("x = 1\nreturn x").error
    assert (error["type"], error["line"], error["source_line"]) == ("SyntaxError", 2, "return x")
    assert "return x" in error["traceback"]


@pytest.mark.parametrize("text", ["x = 1\0", "(" * 5000 + ")" * 5000, "-" * 200_000 + "1"])
def test_text_that_cannot_be_parsed_is_an_error_not_a_crash(fail, text: str):
    fail(text)


@pytest.mark.parametrize(
    "text",
    [
        "x = bytearray(10 ** 15)",
        "def f():\n    return [0] * 10 ** 15\nf()",
        "try:\n    bytearray(10 ** 15)\nexcept MemoryError:\n    raise",
        "try:\n    bytearray(10 ** 15)\nexcept MemoryError as e:\n    raise e",
        "import array\narray.array('d', [0]) * 10 ** 15",
    ],
)
def test_a_failed_allocation_is_a_memory_error(fail, text: str):
    assert fail(text).report["memory_error"] is True


@pytest.mark.parametrize(
    "text",
    [
        "raise MemoryError",
        "def f():\n    raise MemoryError('mine')\nf()",
        "class Mine(MemoryError):\n    pass\nraise Mine",
        "raise ValueError('no memory') from MemoryError()",
    ],
)
def test_a_memory_error_raised_by_hand_is_not(fail, text: str):
    assert fail(text).report["memory_error"] is False


def test_running_out_of_memory_is_reported_from_within_the_limit(fail):
    setup = "import resource; resource.setrlimit(resource.RLIMIT_AS, (300 << 20,) * 2)\n"
    grow = "def f():\n    kept = []\n    while True:\n        kept.append(bytearray(100_000))\nf()"
    small = "def f():\n    kept = []\n    while True:\n        kept.append(object())\nf()"
    for text in (grow, small):
        report = fail(text, setup=setup).report
        assert (report["memory_error"], report["error"]["type"]) == (True, "MemoryError")
