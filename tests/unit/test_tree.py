"""The tree validator: what it says, and that it stays quick and whole on any tree."""

import ast
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hotcell.policy import Policy
from hotcell.results import Severity, Violation
from hotcell.rules import RULES
from hotcell.validators.regex import explodes
from hotcell.validators.syntax import parse
from hotcell.validators.tree import inspect

STANDARD = Policy.standard()


def findings(code: str, policy: Policy = STANDARD) -> tuple[Violation, ...]:
    parsed = parse(code, policy)
    assert parsed.tree is not None, parsed.violations
    return inspect(parsed.tree, parsed.text, policy)


def test_a_finding_reads_like_a_compiler_error() -> None:
    (found,) = findings("import os\n\nx = 1; os.system('ls')  # list\n")
    assert (found.rule, found.severity, found.line, found.column) == ("process.start", Severity.ERROR, 3, 8)
    assert found.message == "os.system is not allowed."
    assert found.fix == RULES["process.start"].fix
    assert found.source_line == "x = 1; os.system('ls')  # list"


def test_column_counts_characters_where_the_tree_counts_bytes() -> None:
    (found,) = findings("é = 'ü'; eval(x)")
    assert found.column == 10


def test_lines_are_counted_as_python_counts_them() -> None:
    (found,) = findings("a = 1\r\nb = '\u2028 \x0c'\reval(x)")
    assert (found.line, found.source_line) == (3, "eval(x)")


def test_errors_come_before_warnings_and_then_by_line() -> None:
    found = findings("x = input()\neval(x)\nimport socket")
    assert [item.rule for item in found] == ["code.dynamic", "network.access", "interaction.input"]


def test_findings_are_capped() -> None:
    assert len(findings("eval(x)\n" * 500)) == STANDARD.max_violations


def test_too_deep_a_tree_is_refused_with_its_place() -> None:
    (found,) = findings("x = 1\ny = " + "-" * 250 + "1")
    assert (found.rule, found.line) == ("syntax.too-complex", 2)


def test_too_many_nodes_are_refused() -> None:
    policy = Policy(name="small", max_nodes=50)
    (found,) = findings("a = 1\n" * 30, policy)
    assert found.rule == "syntax.too-complex"


def test_what_passes_also_compiles() -> None:
    """The depth limit lies well below what overflows the compiler."""
    for piece in ("-{}", "not {}", "({}).a", "({})()", "[{}]", "a if b else {}", "lambda: {}"):
        code = "x"
        while not any(item.severity is Severity.ERROR for item in findings(piece.format(code))) and len(code) < 900:
            code = piece.format(code)
        compile(code, "x", "exec")


def test_allowed_import_is_allowed_and_its_neighbours_are_not() -> None:
    policy = STANDARD.allow_import("socket")
    assert findings("import socket", policy) == ()
    assert findings("import ssl", policy)[0].rule == "network.access"


def test_own_denied_import_covers_submodules() -> None:
    policy = STANDARD.deny_import("xml")
    assert findings("from xml.etree import ElementTree", policy)[0].rule == "import.denied"
    assert findings("import xmltodict", policy) == ()


def test_allow_list_covers_submodules_only_below_its_names() -> None:
    policy = Policy.strict()
    assert findings("import collections.abc", policy) == ()
    assert findings("import os.path", policy)[0].rule == "import.denied"


@pytest.mark.parametrize(
    "code",
    [
        "import math\nprint(math.sqrt(2))",
        "from collections import Counter\nprint(Counter('abc').most_common(1))",
        "class P:\n    def __init__(self, x):\n        super().__init__()\n        self.x = x",
        "class P:\n    def __repr__(self): return f'{self.x}'\n    def __eq__(self, other): return self.x == other.x",
        "import datetime\nprint(datetime.datetime(2020, 1, 1).isoformat(), datetime.time(1))",
        "from functools import wraps, lru_cache\ndef d(f):\n    @wraps(f)\n    def g(*a): return f(*a)\n    return g",
        "print('{:>5} {}'.format(1, 2), f'{3:.2f}', getattr(3, 'real'))",
        "import re, json, random, itertools\nprint(re.findall('a', 'b'), json.dumps([1]), random.random())",
        "match [1, 2]:\n    case [int(x), *rest]: print(x)\n    case {'a': 1, **more}: pass",
        "try:\n    1 / 0\nexcept ZeroDivisionError as e:\n    print(e.args)\nif __name__ == '__main__': print(type(1))",
        "for _ in range(3): print(sorted([3, 1], key=lambda v: -v))",
        "import math\nbest = math.inf\ndef f():\n    best = {}\n    best['a'] = 1",
        "import array\ndef swap(array, i): array[i], array[0] = array[0], array[i]",
        "import operator\nops = {'+': operator.add}\nops['-'] = operator.sub\ndel ops['+']",
        "from collections import Counter, defaultdict\nc = defaultdict(Counter)\nc['a']['b'] += 1",
        "import math\nclass Node: pass\ndef link(a, b): a.next = b\nlink(Node(), Node())\nprint(math.pi)",
        "import decimal\ndecimal.getcontext().prec = 50",
        "from decimal import Decimal\nclass A:\n    def f(self, kind): self.x = kind(1)\nA().f(Decimal)",
        "from dataclasses import dataclass\n@dataclass\nclass P:\n    x: int = 0\np = P()\np.x = 1\ndel p.x",
        "import functools\ndef f(g):\n    @functools.wraps(g)\n    def h(): h.n += 1\n    h.n = 0\n    return h",
        "import copy, json\na = copy.deepcopy(json.loads('{}'))\na['x'] = 1\na['y'].append(2)",
    ],
)
def test_strict_lets_ordinary_computation_pass(code: str) -> None:
    assert findings(code, Policy.strict()) == ()


def test_a_change_of_something_imported_is_told_with_what_to_do_instead() -> None:
    (found,) = findings("import json\njson.dumps = print", Policy.strict())
    assert (found.rule, found.line, found.message) == ("import.changed", 2, "This belongs to something imported.")
    assert "variable of the program" in found.fix
    assert findings("import json\njson.dumps = print") == ()


@pytest.mark.parametrize(
    "code",
    [
        "import json\nclass A:\n" + "".join(f" def f{i}(self): self.x=1\n" for i in range(1500)),
        "import json\nclass A: pass\n" + "x=A()\n" * 1500 + "x=type(x)\n" * 700 + "x.y=1\n" * 500,
        "import json\n" + "a=type(b)\nb=type(a)\n" * 500 + "a.x=1\n" * 1000,
    ],
)
def test_looking_for_changes_of_imports_takes_linear_time(code: str) -> None:
    started = time.process_time()
    findings(code, Policy.strict())
    assert time.process_time() - started < 1  # 0.05 s where it was measured


@pytest.mark.parametrize(
    ("pattern", "slow"),
    [
        (r"(a+)+$", True),
        (r"(a*)*b", True),
        (r"(x+x+)+y", True),
        (r"^(\w+\s?)*$", True),
        (r"(.*)*x", True),
        (r"(a|aa)+$", False),
        (r"(\w+)@", False),
        (r"^([a-z]+,)*[a-z]+$", False),
        (r"(a+)+", False),
        (r"[[a]+(b+)+c", False),
        (r"(", False),
    ],
)
def test_patterns_that_explode_are_told_from_those_that_do_not(pattern: str, slow: bool) -> None:
    assert explodes(pattern) is slow


@pytest.mark.parametrize(
    "code",
    [
        "f.__code__.co_name\n" * 11_000,
        "import os\n" + "a=b\nb=a\n" * 5_000 + "a.system\n" * 2_000,
        "".join(f"a{i}=a{i - 1}+a{i - 1}\n" for i in range(1, 8_000)) + "getattr(x, a7999)",
        ("".join(" " * i + "while 1:\n" for i in range(90)) + " " * 91 + "x()\n") * 60,
        ("x='a'" + "+'a'" * 150 + "\n") * 150,
        ("''.join(chr(x) for x in [" + "65," * 199 + "])\n") * 100,
        "open('/etc/'+a)\n" * 8_000,
    ],
)
def test_no_check_takes_more_than_linear_time(code: str) -> None:
    parsed = parse(code, STANDARD)
    assert parsed.tree is not None
    started = time.process_time()
    inspect(parsed.tree, parsed.text, STANDARD)
    assert time.process_time() - started < 3  # 0.5 s where it was measured; quadratic checks took minutes


def _expressions() -> st.SearchStrategy[str]:
    leaves = st.sampled_from(["x", "os", "eval", "'a'", "1", "10**9", "getattr", "__import__", "'__globals__'", "b'x'"])
    return st.recursive(
        leaves,
        lambda inner: st.one_of(
            st.tuples(inner, inner).map(lambda pair: f"({pair[0]})({pair[1]})"),
            st.tuples(inner, inner).map(lambda pair: f"({pair[0]})[{pair[1]}]"),
            st.tuples(inner, inner, st.sampled_from("+*%/")).map(lambda three: f"({three[0]}){three[2]}({three[1]})"),
            st.tuples(inner, st.sampled_from(["join", "format", "decode", "system", "__class__", "split"])).map(
                lambda pair: f"({pair[0]}).{pair[1]}"
            ),
            inner.map(lambda item: f"[{item} for x in {item}]"),
            inner.map(lambda item: f"f'{{{item}}}'".replace("''", "'") if "'" not in item else f"({item})[::-1]"),
        ),
        max_leaves=12,
    )


@settings(max_examples=200, deadline=None)
@given(_expressions(), st.sampled_from(["strict", "standard", "permissive"]))
def test_inspect_never_raises(expression: str, preset: str) -> None:
    code = f"import os\nx = {expression}\nos.system(x)\nopen(x)\nwhile True: {expression}\n"
    try:
        tree = ast.parse(code)
    except SyntaxError:
        return
    for item in inspect(tree, code, Policy.named(preset)):
        assert item.message and item.fix and item.line <= 5
