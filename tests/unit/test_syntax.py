"""Whatever is given as code, `parse` gives an answer: no exception, no crash, no long wait, no warning."""

import subprocess
import sys
import threading
import time
import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotcell.policy import Policy
from hotcell.results import Severity
from hotcell.validators.syntax import Parsed, parse

STANDARD = Policy.standard()


def refused(code: object) -> tuple[str, int, int]:
    parsed = parse(code, STANDARD)  # type: ignore[arg-type]  # other types are part of the promise
    assert parsed.tree is None
    (found,) = parsed.violations
    assert found.severity is Severity.ERROR
    assert found.message and found.fix
    return found.rule, found.line, found.column


@pytest.mark.parametrize("code", [None, 5, 1.5, [], object(), memoryview(b"x"), {"code": "x"}])
def test_what_is_not_text_is_refused(code: object) -> None:
    assert refused(code)[0] == "syntax.type"


@pytest.mark.parametrize("code", ["", "\n", "# nothing", b"", "\ufeff", "   \n\t\n"])
def test_nothing_is_a_program(code: str | bytes) -> None:
    parsed = parse(code, STANDARD)
    assert parsed.tree is not None and parsed.tree.body == []


@pytest.mark.parametrize(
    ("code", "rule", "line", "column"),
    [
        ("x = 1\ny = '\0'", "syntax.encoding", 2, 6),
        ("x = '\ud800'", "syntax.encoding", 0, 0),
        (b"x = 1\ny = '\xff'", "syntax.encoding", 0, 0),
        ("x = 1".encode("utf-16"), "syntax.encoding", 0, 0),
        ("x = 1".encode("utf-32"), "syntax.encoding", 0, 0),
        (b"# coding: latin-1\nx = 1", "syntax.encoding", 0, 0),
        ("# -*- coding: utf-7 -*-\nx = 1", "syntax.encoding", 0, 0),
        ("#!/usr/bin/python\n# vim: set fileencoding=unicode_escape :\nx = 1", "syntax.encoding", 0, 0),
        ("x = (1,\n", "syntax.invalid", 1, 5),
        ("x = 1\n  y = 2", "syntax.invalid", 2, 1),
        ("print 1", "syntax.invalid", 1, 1),
        ("x = " + "9" * 5_000, "syntax.too-complex", 1, 5),
        ("x = 1\ny = " + "9" * 1_000_0, "syntax.too-complex", 2, 5),
    ],
)
def test_bad_source_is_refused_at_its_place(code: str | bytes, rule: str, line: int, column: int) -> None:
    found_rule, found_line, found_column = refused(code)
    assert (found_rule, found_line) == (rule, line)
    assert found_column == column or rule == "syntax.invalid"


def test_byte_order_mark_is_dropped_from_the_text_that_runs() -> None:
    assert parse("\ufeffx = 1", STANDARD).text == "x = 1"
    assert parse(b"\xef\xbb\xbfx = 1", STANDARD).text == "x = 1"


@pytest.mark.parametrize("cookie", ["utf-8", "UTF8", "ascii", "utf_8"])
def test_honest_coding_line_is_accepted(cookie: str) -> None:
    assert parse(f"# -*- coding: {cookie} -*-\nx = 1".encode(), STANDARD).tree is not None


def test_coding_line_hides_nothing_from_the_analysis() -> None:
    """In a str a coding line means nothing: the tree is that of the text as it stands."""
    parsed = parse("# coding: latin-1\nx = 'é'\n", STANDARD)
    assert parsed.tree is not None and len(parsed.tree.body) == 1


def test_a_lying_subclass_of_str_is_read_as_what_it_holds() -> None:
    class Liar(str):
        __slots__ = ()

        def find(self, *_: object) -> int:
            return -1

        def isascii(self) -> bool:
            return True

        def __str__(self) -> str:
            return "pass"

    assert refused(Liar("a\0b"))[0] == "syntax.encoding"
    assert type(parse(Liar("x = 1"), STANDARD).text) is str


def test_markdown_fences_are_explained() -> None:
    (found,) = parse("```python\nprint(1)\n```", STANDARD).violations
    assert "Markdown" in found.fix


def test_long_digits_in_text_are_not_a_number() -> None:
    assert parse(f"x = '{'7' * 10_000}'", STANDARD).tree is not None


def test_compiler_warnings_neither_leak_nor_raise() -> None:
    code = r"x = '\d' if 1 is 1 else 0x1for x in y" + "\nassert (1, 'x')"
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("error")
        parsed = parse(code.replace("0x1for x in y", "1or 2"), STANDARD)
    assert parsed.tree is not None and not caught


def test_other_warnings_of_the_application_are_left_alone() -> None:
    parse("x = '\\d'", STANDARD)
    with pytest.warns(SyntaxWarning if sys.version_info >= (3, 12) else DeprecationWarning):
        compile("x = '\\d'", "elsewhere.py", "exec")


_BOMBS = {
    "parentheses": "(" * 100_000 + ")" * 100_000,
    "brackets in lines": "[\n" * 100_000,
    "unary": "-" * 100_000 + "1",
    "not": "not " * 100_000 + "1",
    "attributes": "a" + ".b" * 100_000,
    "calls": "a" + "()" * 100_000,
    "subscripts": "a" + "[0]" * 100_000,
    "sum": "a+" * 100_000 + "a",
    "power": "a**" * 100_000 + "a",
    "lambdas": "lambda:" * 60_000 + "1",
    "conditionals": "a if b else " * 40_000 + "c",
    "elif": "if a:pass\n" + "elif a:\n pass\n" * 30_000,
    "comprehension": "[a " + "for a in a " * 40_000 + "]",
    "dotted import": "import a" + ".a" * 100_000,
    "nested f-strings": "f'{" * 20_000 + "1" + "}'" * 20_000,
    "f-strings in a row": "f'{a}' " * 70_000,
    "indentation": "".join(" " * depth + "if 1:\n" for depth in range(900)),
    "decimal digits": "9" * 500_000,
    "hexadecimal digits": "0x" + "f" * 500_000,
    "many numbers": "x=[" + "1," * 250_000 + "]",
    "comments in brackets": "(" + "-#\n" * 150_000 + "1)",
    "continued lines": "-\\\n" * 150_000 + "1",
    "quotes": "'" * 500_000,
    "null characters": "\0" * 500_000,
    "ten megabytes": "x = 1\n" * 1_700_000,
}


@pytest.mark.parametrize("name", sorted(_BOMBS))
def test_bomb_is_answered_quickly(name: str) -> None:
    started = time.process_time()
    parsed = parse(_BOMBS[name], STANDARD)
    assert time.process_time() - started < 3  # half a second where it was measured
    assert isinstance(parsed, Parsed)
    assert parsed.tree is not None or parsed.violations[0].rule.startswith("syntax.")


_DRIVER = """
import sys, threading
sys.path[:0] = {path!r}
from hotcell.policy import Policy
from hotcell.validators.syntax import parse
from hotcell.validators.tree import inspect
pieces = ["-", "not ", "lambda:", "a**", "a+", "a if b else ", "~", "await ", "[", "(", "{{", "a.", "a<", "f'{{",
    "x:=", "*", "a[", "-\\\\\\n"]
policy = Policy.standard()
def work():
    for piece in pieces:
        for times in (90, 180, 900, 1_500, 2_900, 5_900, 30_000):
            for code in (piece * times + "1", "a" + ".b" * times, "if a:pass\\n" + "elif a:pass\\n" * times):
                parsed = parse(code, policy)
                if parsed.tree:
                    inspect(parsed.tree, parsed.text, policy)
threading.stack_size(1 << 20)
thread = threading.Thread(target=work)
thread.start()
thread.join()
# Not ru_maxrss: that of the process this was forked from counts in it.
peak = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))
print("survived", int(peak) // 1024)
"""


def test_deep_code_crashes_no_thread_with_a_small_stack() -> None:
    """In a process of its own, where a crash would be seen."""
    driver = _DRIVER.format(path=sys.path)
    done = subprocess.run([sys.executable, "-c", driver], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-500:]
    word, megabytes = done.stdout.split()
    assert word == "survived" and int(megabytes) < 150


def test_parse_is_safe_in_many_threads_at_once() -> None:
    results: list[Parsed] = []
    threads = [
        threading.Thread(target=lambda: results.extend(parse("x = '\\d'", STANDARD) for _ in range(50)))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 400 and all(item.tree for item in results)


@given(st.one_of(st.text(), st.binary()))
def test_any_text_and_any_bytes_give_an_answer(code: str | bytes) -> None:
    parsed = parse(code, STANDARD)
    assert (parsed.tree is None) == bool(parsed.violations)


@given(st.text(alphabet="()[]{}'\"\\\n\r #:=+-*.,ab1lf\0\u2028\ufeffé", max_size=80))
def test_any_arrangement_of_signs_gives_an_answer_with_a_true_place(code: str) -> None:
    for found in parse(code, STANDARD).violations:
        assert 0 <= found.line <= code.count("\n") + code.count("\r") + 2
