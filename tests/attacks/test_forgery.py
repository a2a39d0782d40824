"""Forgery: the code says of itself what is not true. What we measure from outside stands."""

from __future__ import annotations

import json
import struct
import threading
import time

import pytest
from observers.cells import ask
from observers.wall import Attack

from hotcell.results import Status
from hotcell.sandboxes.local.sandbox import LocalSandbox


def result_frame(**report: object) -> bytes:
    """A frame such as the worker sends at the end."""
    blank = {
        "outcome": "ok",
        "exit_code": 0,
        "value": "forged",
        "value_repr": "'forged'",
        "error": None,
        "memory_error": False,
    }
    payload = json.dumps(blank | report).encode()
    return struct.pack("<BI", 6, len(payload)) + payload


@pytest.mark.threat("forge.status")
@pytest.mark.parametrize(
    ("code", "status", "decided_by"),
    [
        ("import os; os._exit(0)", Status.ERROR, "code"),
        ("import os; os._exit(137)", Status.ERROR, "code"),
        ("import os; os._exit(159)", Status.ERROR, "code"),
        ("raise SystemExit('ok')", Status.ERROR, "code"),
        ("raise SystemExit(0)", Status.OK, "code"),
        ("raise SystemExit(256 + 137)", Status.ERROR, "code"),
        ("raise KeyboardInterrupt", Status.ERROR, "code"),
        ("class MemoryError(Exception): pass\nraise MemoryError", Status.ERROR, "code"),
        ("raise TimeoutError('timeout')", Status.ERROR, "code"),
        ("import os; os.kill(os.getpid(), 9)", Status.KILLED, "kernel"),
        ("import os; os.kill(os.getpid(), 24)", Status.KILLED, "kernel"),
        ("import os; os.kill(os.getpid(), 31)", Status.KILLED, "kernel"),
        ("import os; os.abort()", Status.KILLED, "kernel"),
        ("import ctypes; ctypes.string_at(0)", Status.KILLED, "kernel"),
        ("import faulthandler; faulthandler._sigsegv()", Status.KILLED, "kernel"),
        ("import os; [os.close(n) for n in (0, 1, 2)]", Status.OK, "code"),
        ("import os; os.closerange(0, 4)", Status.ERROR, "code"),
        ("import os, time; os.closerange(0, 64); time.sleep(60)", Status.TIMEOUT, "limits"),
    ],
)
def test_the_kind_of_end_is_told_apart(attack: Attack, code: str, status: Status, decided_by: str) -> None:
    """Exit codes, signals and exceptions that imitate another end are called what they are."""
    outcome = attack(code, timeout_seconds=1)
    assert (outcome.status, outcome.decided_by) == (status, decided_by), outcome


@pytest.mark.threat("forge.signal")
def test_a_signal_to_itself_is_no_limit(attack: Attack) -> None:
    """SIGXCPU and SIGSYS that the code sends to itself do not pass for a limit or a filter's verdict."""
    assert "cpu_seconds" not in attack("import os; os.kill(os.getpid(), 24)").reason
    assert "SIGSYS" in attack("import os; os.kill(os.getpid(), 31)").reason


@pytest.mark.threat("forge.early-result")
@pytest.mark.parametrize(
    ("code", "statuses"),
    [
        ("import time; time.sleep(60)", {Status.OK}),
        ("import os; os.kill(os.getpid(), 9)", {Status.OK}),
        ("while True: os.write(1, b'x' * 65536)", {Status.OK, Status.OUTPUT_LIMIT}),
    ],
)
def test_a_result_of_the_codes_own_ends_it(attack: Attack, code: str, statuses: set[Status]) -> None:
    """Who writes a result to the wire has ended: nothing of it runs on, and only its own result is concerned."""
    started = time.monotonic()
    outcome = attack(f"import os\nos.write(3, {result_frame()!r})\n{code}", timeout_seconds=3)
    assert time.monotonic() - started < 2
    assert outcome.status in statuses
    assert outcome.usage.wall_seconds < 2


@pytest.mark.threat("forge.descriptors")
def test_frames_to_every_descriptor_concern_nobody_else(sandbox: LocalSandbox) -> None:
    """A forged result, written to every number and every magic link, is at most the forger's own."""
    outcomes = []
    neighbour = threading.Thread(
        target=lambda: outcomes.append(ask(sandbox, "import time; time.sleep(0.5); print('mine'); 7"))
    )
    neighbour.start()
    time.sleep(0.1)
    frame = result_frame(value="stolen")
    ask(
        sandbox,
        f"""
import os
for number in [n for n in range(256) if n != 3] + [3]:
    for action in (
        lambda: os.write(number, {frame!r}),
        lambda: open(f"/proc/self/fd/{{number}}", "wb").write({frame!r}),
    ):
        try: action()
        except OSError: pass
""",
    )
    neighbour.join()
    assert outcomes[0].status is Status.OK
    assert (outcomes[0].stdout, outcomes[0].value) == ("mine\n", 7)


@pytest.mark.threat("forge.usage")
def test_usage_is_ours(attack: Attack) -> None:
    """Whatever a forged report says of time and memory, usage holds what we measured."""
    frame = result_frame(
        usage={"cpu_seconds": 0, "wall_seconds": 1e9}, status="rejected", decided_by="caller", usage_wall=5
    )
    outcome = attack(
        f"""
import os, resource, time
time.time = time.monotonic = time.perf_counter = lambda: 0
until = time.process_time() + 0.2
while time.process_time() < until: pass
held = bytearray(os.urandom(20 << 20))
os.write(3, {frame!r})
"""
    )
    assert outcome.status is Status.OK
    assert 0.15 < outcome.usage.cpu_seconds < 3
    assert 0.15 < outcome.usage.wall_seconds < 3
    assert outcome.usage.peak_memory_bytes > 15 << 20
    assert outcome.usage.output_bytes == 0


@pytest.mark.threat("forge.hostile-report")
@pytest.mark.parametrize(
    "report",
    [
        {"outcome": ["ok"]},
        {"outcome": {"a": 1}, "exit_code": "x"},
        {"outcome": "error", "error": "text"},
        {"outcome": "error", "error": {"type": 1, "message": [], "traceback": {}, "line": -1, "source_line": None}},
        {"outcome": "error", "error": {"line": 1 << 80, "type": "x" * 100_000}},
        {"outcome": "error", "error": {"line": True, "message": "\ud800"}},
        {"outcome": "exit", "exit_code": "137"},
        {"outcome": "exit", "exit_code": 10**400},
        {"outcome": None},
        {"outcome": "ok", "value_repr": 5, "value": {"a": [1, None]}},
        {"outcome": "ok", "value": "\ud800", "value_repr": "\ud800"},
        {"outcome": "error", "memory_error": "yes"},
    ],
)
def test_a_report_of_the_wrong_shape_is_survived(attack: Attack, report: dict[str, object]) -> None:
    """Reports with fields of other types, sizes or ranges give a result, never an exception of ours."""
    outcome = attack(f"import os, time\nos.write(3, {result_frame(**report)!r})\ntime.sleep(9)", timeout_seconds=2)
    assert outcome.status in (Status.OK, Status.ERROR, Status.KILLED), outcome
    assert outcome.value_repr is None or isinstance(outcome.value_repr, str)
    if outcome.error:
        assert isinstance(outcome.error.line, int)
        assert all(
            isinstance(text, str) for text in (outcome.error.type, outcome.error.message, outcome.error.traceback)
        )
        assert len(outcome.error.type) < 1000
    for text in (outcome.reason, outcome.value_repr or "", outcome.error.message if outcome.error else ""):
        text.encode()  # could be stored


PATCHES = {
    "json": 'import json\njson.dumps = json.loads = lambda *a, **k: \'{"outcome": "ok"}\'\n1 / 0',
    "write": "import os\nos.write = lambda fd, data: len(data)\n1 / 0",
    "builtins": """
import builtins
for n in ('print', 'repr', 'isinstance', 'type', 'len', 'str', 'dict', 'issubclass'): setattr(builtins, n, None)
1 / 0
""",
    "main": "import sys\nsys.modules['__main__'] = None\nsys.modules.clear()\n1 / 0",
    "exit": """
import os, sys, atexit
os._exit = sys.exit = lambda *a: None
atexit._clear = atexit._run_exitfuncs = None
1 / 0
""",
    "streams": """
import sys
class W:
    def __getattr__(self, n): raise SystemExit(0)
sys.stdout = sys.stderr = W()
1 / 0
""",
    "excepthook": "import sys\nsys.excepthook = sys.unraisablehook = lambda *a: None\n1 / 0",
    "traceback": "import traceback, linecache\ntraceback.TracebackException = linecache.getline = None\n1 / 0",
    "trace": """
import sys
sys.settrace(lambda *a: (_ for _ in ()).throw(SystemExit(0)))
def f(): pass
try: f()
except BaseException: pass
sys.settrace(None)
1 / 0
""",
    "worker": """
import sys
for n, m in list(sys.modules.items()):
    if n.startswith('hotcell'):
        for k in list(vars(m)):
            if callable(vars(m)[k]): setattr(m, k, None)
1 / 0
""",
}


@pytest.mark.threat("forge.patches")
@pytest.mark.parametrize("code", PATCHES.values(), ids=PATCHES)
def test_patching_python_makes_no_success(attack: Attack, code: str) -> None:
    """Replaced builtins, modules, streams and hooks do not turn a failure into a success, nor crash us."""
    outcome = attack(code)
    assert outcome.status in (Status.ERROR, Status.KILLED), outcome
    assert attack("print(1 + 1)").stdout == "2\n"


VALUES = {
    "recursive list": "x = []; x.append(x); x",
    "recursive dict": "x = {}; x['x'] = x; x",
    "deep": "x = []\nfor _ in range(100_000): x = [x]\nx",
    "huge integer": "10 ** 5000",
    "NaN": "float('nan')",
    "keys": "{1: 'a', '1': 'b', None: 'c', (1, 2): 'd'}",
    "endless iterator": "class A:\n    def __iter__(self): return self\n    def __next__(self): return 1\nA()",
    "lying repr": "class A:\n    def __repr__(self): return 5\nA()",
    "raising repr": "class A:\n    def __repr__(self): raise SystemExit(0)\nA()",
    "lying len": """
class A(list):
    def __len__(self): return -1
    def __iter__(self): raise KeyboardInterrupt
A([1])
""",
    "lying class": "class A:\n    __class__ = property(lambda self: dict)\n    def items(self): return 5\nA()",
    "lying str": "class A(str):\n    def __str__(self): return 5\n    def encode(self, *a): return 7\nA('x')",
    "lying int": "class A(int):\n    def __repr__(self): return '{\"x\": 1}'\n    __str__ = __repr__\nA(3)",
    "lying dict": """
class A(dict):
    def items(self): return [(self, self)]
    def __iter__(self): return iter([self])
A(a=1)
""",
    "hostile reduce": "class A:\n    def __reduce__(self): import os; return os._exit, (0,)\nA()",
    "surrogates": "'\\ud800'",
    "set": "{1, 2}",
    "two megabytes": "'x' * (2 << 20)",
    "metaclass": """
class M(type):
    def __repr__(c): raise ValueError
    def __getattribute__(c, n): raise ValueError(n)
class A(metaclass=M): pass
A()
""",
}


@pytest.mark.threat("forge.values")
@pytest.mark.parametrize("code", VALUES.values(), ids=VALUES)
def test_a_lying_value_is_data_or_nothing(attack: Attack, code: str) -> None:
    """Values that are cyclic, endless, too big or lie about themselves come back as bounded JSON data or not at all."""
    started = time.monotonic()
    outcome = attack(code, timeout_seconds=3)
    assert time.monotonic() - started < 3
    assert outcome.status is Status.OK, outcome
    assert len(json.dumps(outcome.value, allow_nan=False)) < 2 << 20
    assert outcome.value_repr is None or len(outcome.value_repr) <= 1 << 16


@pytest.mark.threat("forge.values")
def test_a_repr_that_hangs_runs_into_the_clock(attack: Attack) -> None:
    """A value whose repr never returns ends as TIMEOUT."""
    outcome = attack("class A:\n    def __repr__(self):\n        while True: pass\nA()", timeout_seconds=0.5)
    assert outcome.status is Status.TIMEOUT
