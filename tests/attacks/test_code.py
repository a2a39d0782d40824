"""The code itself: obfuscated, malformed, or made to crash whoever reads it. The effect is contained."""

from __future__ import annotations

import time

import pytest
from observers.wall import Attack

from hotcell.results import Status

ESCAPES = {
    "subclasses": """
import os
found = [c for c in ().__class__.__base__.__subclasses__() if c.__name__ == '_wrap_close'][0]
found.__init__.__globals__['system']('touch /tmp/x; echo ESCAPED')
""",
    "frames": """
import sys
def g(): yield sys._getframe()
f = next(g())
while f:
    f.f_globals.clear() if f.f_back is None else None
    f = f.f_back
""",
    "gc": """
import gc
for o in gc.get_objects():
    if type(o).__name__ in ('socket', 'Zygote', 'ForkServer', 'Pool'): print('ESCAPED', o)
""",
    "marshal": """
import marshal, types
exec(types.FunctionType(marshal.loads(marshal.dumps(compile('1', 'x', 'eval'))), {}).__code__)
""",
    "audit": "import sys, ctypes\nsys.addaudithook(lambda *a: None)\n__import__('os').system('echo ESCAPED')",
    "nfkc": "__import__('\\U0001D52C\\U0001D530'.encode('ascii', 'ignore').decode() or 'os').system('echo ESCAPED')",
    "help": "help.__class__.__init__.__globals__['sys'].modules['os'].system('echo ESCAPED')",
    "ctypes": "import ctypes; ctypes.CDLL(None).system(b'echo ESCAPED')",
    "posix": "import _posixsubprocess, os; os.execv('/bin/sh', ['sh', '-c', 'echo ESCAPED'])",
    "pty": "import pty; pty.spawn(['/bin/sh', '-c', 'echo ESCAPED'])",
    "import of a file": """
import importlib.util as u
open('/tmp/e.so', 'wb').write(b'\\x7fELF' * 100)
s = u.spec_from_file_location('e', '/tmp/e.so'); u.module_from_spec(s)
""",
}


@pytest.mark.threat("code.escapes")
@pytest.mark.parametrize("code", ESCAPES.values(), ids=ESCAPES)
def test_a_known_escape_has_no_effect(attack: Attack, code: str) -> None:
    """The tricks that broke other sandboxes reach the wall, and there is nothing behind them."""
    outcome = attack(code, timeout_seconds=3)
    assert "ESCAPED" not in outcome.stdout + outcome.stderr
    assert outcome.status in (Status.OK, Status.ERROR, Status.KILLED)
    assert attack("print('next')").stdout == "next\n"


@pytest.mark.threat("code.bytecode")
def test_bytecode_out_of_range_crashes_only_itself(attack: Attack) -> None:
    """A code object that reads past its constants is a crash of the cell, and the next one is well."""
    outcome = attack(
        """
def f(): return 1
exec(f.__code__.replace(co_code=b'\\x64\\xff' * 50, co_consts=()))
f.__code__ = f.__code__.replace(co_code=b'\\x64\\xff\\x53\\0')
f()
"""
    )
    assert outcome.status in (Status.KILLED, Status.ERROR, Status.OK)
    assert attack("print('next')").stdout == "next\n"


BAD = {
    "empty": "",
    "blank": " \n\t\n",
    "comment": "# nothing",
    "NUL": "print(1)\0print(2)",
    "surrogate": "x = '\ud800'",
    "BOM": "\ufeffprint('fine')",
    "carriage returns": "x = 1\rprint(x)\r\nprint(x)",
    "form feed": "\f\fprint(1)",
    "cookie": "# -*- coding: utf-7 -*-\nprint('+AGE-')",
    "unknown cookie": "# coding: rot13\ncevag(1)",
    "parentheses": "(" * 100_000 + ")" * 100_000,
    "long line": "x = " + "1 + " * 300_000 + "1",
    "long integer": "x = " + "9" * 5_000,
    "deep indentation": "\n".join(" " * n + "if 1:" for n in range(200)),
    "ten megabytes": "x = 1\n" * 1_700_000,
    "deep unary": "-" * 200_000 + "1",
    "deep attribute": "x" + ".x" * 200_000,
    "deep lambda": "lambda: " * 50_000 + "1",
}


@pytest.mark.threat("code.bad-input")
@pytest.mark.parametrize("code", BAD.values(), ids=BAD)
def test_bad_input_gives_an_answer(attack: Attack, code: str) -> None:
    """Whatever text comes as code, there is a result within the limits, and the next execution works."""
    started = time.monotonic()
    outcome = attack(code, timeout_seconds=8)
    assert time.monotonic() - started < 12
    assert outcome.status in (Status.OK, Status.ERROR, Status.MEMORY_LIMIT, Status.KILLED), outcome.reason
    if outcome.status is Status.ERROR:
        assert outcome.error.type
    assert attack("print('next')").stdout == "next\n"


@pytest.mark.threat("code.cookie")
def test_a_coding_cookie_changes_nothing(attack: Attack) -> None:
    """What was analysed as text is what runs: a cookie does not turn a comment into code."""
    outcome = attack("# coding: unicode_escape\n#\\u000aprint('hidden')\nprint('seen')")
    assert outcome.stdout == "seen\n"
