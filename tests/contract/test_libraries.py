"""Real libraries work inside the wall, as they do outside."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator

import pytest
from observers.cells import ask

from hotcell.results import Status
from hotcell.sandboxes.local.sandbox import LocalSandbox


@pytest.fixture(scope="module")
def science() -> Iterator[LocalSandbox]:
    present = [name for name in ("numpy", "pandas", "matplotlib") if importlib.util.find_spec(name)]
    with LocalSandbox(preload=present, pool_size=1) as sandbox:
        yield sandbox


PROGRAMS = {
    "numpy": "import numpy as np; print(int(np.arange(10).sum()), np.linalg.inv(np.eye(3)).trace())",
    "pandas": """
import io, pandas as pd
f = pd.read_csv(io.StringIO('a,b\\n1,2\\n3,4'))
f.to_csv('out.csv')
print(pd.read_csv('out.csv').shape, f.describe().loc['mean'].tolist())
""",
    "scipy": """
from scipy import optimize, stats, integrate
print(round(optimize.brentq(lambda x: x * x - 2, 0, 2), 6), round(integrate.quad(lambda x: x, 0, 1)[0], 6))
""",
    "sklearn": """
from sklearn.linear_model import LinearRegression as L
print(round(float(L().fit([[0], [1], [2]], [1, 3, 5]).coef_[0]), 6))
""",
    "sympy": "import sympy as s; x = s.symbols('x'); print(s.integrate(s.cos(x), x), s.solve(x**2 - 4, x))",
    "PIL": """
from PIL import Image
Image.new('RGB', (8, 8), 'red').save('a.png')
print(Image.open('a.png').getpixel((1, 1)))
""",
}
EXPECTED = {
    "numpy": "45 3.0\n",
    "pandas": "(2, 3) [2.0, 3.0]\n",
    "scipy": "1.414214 0.5\n",
    "sklearn": "2.0\n",
    "sympy": "sin(x) [-2, 2]\n",
    "PIL": "(255, 0, 0)\n",
}


@pytest.mark.parametrize("library", PROGRAMS)
def test_a_library_works(science: LocalSandbox, library: str) -> None:
    pytest.importorskip(library)
    outcome = ask(science, PROGRAMS[library], timeout_seconds=20, memory_bytes=1 << 30)
    assert outcome.status is Status.OK, outcome
    assert outcome.stdout == EXPECTED[library]


def test_a_plot_comes_back_as_an_artifact(science: LocalSandbox) -> None:
    pytest.importorskip("matplotlib")
    code = """
import matplotlib.pyplot as plt
plt.plot([1, 4, 9]); plt.title('Ümlaut ∑')
plt.savefig('plot.png'); plt.savefig('plot.svg')
"""
    outcome = ask(science, code, artifacts=("*.png", "*.svg"), timeout_seconds=20)
    assert outcome.status is Status.OK, outcome
    assert [item.name for item in outcome.artifacts] == ["plot.png", "plot.svg"]
    assert outcome.artifacts[0].content.startswith(b"\x89PNG")
    assert b"</svg>" in outcome.artifacts[1].content


STANDARD = {
    "sqlite3": (
        """
import sqlite3
with sqlite3.connect('a.db') as c:
    c.execute('create table t (x)')
    c.executemany('insert into t values (?)', [(n,) for n in range(10)])
print(sqlite3.connect('a.db').execute('select sum(x) from t').fetchone()[0])
""",
        "45",
    ),
    "tempfile": (
        """
import os, shutil, tempfile
with tempfile.TemporaryDirectory() as d:
    p = os.path.join(d, 'a')
    open(p, 'w').write('x')
    shutil.copy2(p, p + '2')
    print(sorted(os.listdir(d)))
with tempfile.NamedTemporaryFile() as f: f.write(b'x')
""",
        "['a', 'a2']",
    ),
    "asyncio": (
        """
import asyncio
async def f(n):
    await asyncio.sleep(0.01)
    return n
async def main(): return await asyncio.gather(*map(f, range(5)), asyncio.to_thread(lambda: 9))
print(asyncio.run(main()))
""",
        "[0, 1, 2, 3, 4, 9]",
    ),
    "threads": (
        """
from concurrent.futures import ThreadPoolExecutor as T
with T(8) as t: print(sum(t.map(lambda x: x * x, range(100))))
""",
        "328350",
    ),
    "decimal": (
        """
from decimal import *
getcontext().prec = 30
print(Decimal(1) / Decimal(7))
""",
        "0.142857142857142857142857142857",
    ),
    "zoneinfo": (
        """
from zoneinfo import ZoneInfo
from datetime import datetime
print(datetime(2024, 7, 1, 12, tzinfo=ZoneInfo('UTC')).astimezone(ZoneInfo('Europe/Berlin')))
""",
        "2024-07-01 14:00:00+02:00",
    ),
    "locale": (
        """
import locale
locale.setlocale(locale.LC_ALL, '')
print(locale.getpreferredencoding(), f'{1234567:n}')
""",
        "UTF-8 1234567",
    ),
    "unicode": (
        """
import unicodedata
name = 'Größe_日本_🎉.txt'
open(name, 'w').write('ñ')
import os
print(os.listdir(), open(name).read(), unicodedata.normalize('NFC', 'e\\u0301'))
""",
        "['Größe_日本_🎉.txt'] ñ é",
    ),
    "hashes and random": (
        """
import hashlib, secrets, ssl, uuid, random
print(hashlib.sha256(b'x').hexdigest()[:8], len(secrets.token_bytes(8)), end=' ')
print(bool(ssl.create_default_context()), uuid.uuid4().version)
""",
        "2d711642 8 True 4",
    ),
    "compression": (
        """
import bz2, gzip, lzma, zipfile, tarfile, io
print(gzip.decompress(gzip.compress(b'x')), bz2.decompress(bz2.compress(b'y')), lzma.decompress(lzma.compress(b'z')))
""",
        "b'x' b'y' b'z'",
    ),
    "dataclass and inspect": (
        """
import dataclasses, inspect, typing
@dataclasses.dataclass
class P:
    x: int = 1
print(P(), inspect.signature(P), typing.get_type_hints(P))
""",
        "P(x=1) (x: int = 1) -> None {'x': <class 'int'>}",
    ),
    "pickle of own class": (
        """
import pickle
class P:
    def __eq__(self, other): return True
print(pickle.loads(pickle.dumps(P())) == P())
""",
        "True",
    ),
    "signals and timers": (
        """
import signal, time
hits = []
signal.signal(signal.SIGALRM, lambda *a: hits.append(1))
signal.setitimer(signal.ITIMER_REAL, 0.01)
time.sleep(0.1)
print(hits)
""",
        "[1]",
    ),
    "mmap": (
        """
import mmap
open('m', 'wb').write(b'x' * 4096)
with open('m', 'r+b') as f, mmap.mmap(f.fileno(), 0) as m: m[0:2] = b'ab'
print(open('m').read(3))
""",
        "abx",
    ),
    "logging and warnings": (
        """
import logging, warnings, sys
logging.basicConfig(stream=sys.stdout, format='%(message)s')
logging.warning('hello')
""",
        "hello",
    ),
    "user and paths": (
        """
import getpass, os, pathlib
pathlib.Path.home().joinpath('x').write_text('y')
print(getpass.getuser() != '', pathlib.Path('~/x').expanduser().read_text())
""",
        "True y",
    ),
}


@pytest.mark.parametrize(("code", "expected"), STANDARD.values(), ids=STANDARD)
def test_the_standard_library_works(sandbox: LocalSandbox, code: str, expected: str) -> None:
    outcome = ask(sandbox, code)
    assert outcome.status is Status.OK, outcome
    assert outcome.stdout == expected + "\n"


PROCESSES = {
    "Pool": (
        """
import multiprocessing as m
def f(x): return x * x
with m.get_context('fork').Pool(3) as p: print(sum(p.map(f, range(10))))
""",
        "285",
    ),
    "Process and Queue": (
        """
import multiprocessing as m
c = m.get_context('fork')
q = c.Queue()
p = c.Process(target=lambda: q.put(7)); p.start(); print(q.get()); p.join()
""",
        "7",
    ),
    "shared memory": (
        """
from multiprocessing import shared_memory as s
a = s.SharedMemory(create=True, size=100)
b = s.SharedMemory(a.name)
a.buf[0] = 5
print(b.buf[0])
b.close(); a.close(); a.unlink()
""",
        "5",
    ),
    "executor": (
        """
import multiprocessing as m
from concurrent.futures import ProcessPoolExecutor as P
def f(x): return x + 1
with P(2, mp_context=m.get_context('fork')) as p: print(list(p.map(f, range(4))))
""",
        "[1, 2, 3, 4]",
    ),
    "subprocess": (
        """
import subprocess, sys
program = [sys.executable, '-c', 'import json; print(json.dumps([1]))']
print(subprocess.run(program, capture_output=True, text=True).stdout, end='')
""",
        "[1]",
    ),
    "asyncio subprocess": (
        """
import asyncio, sys
async def f():
    p = await asyncio.create_subprocess_exec(sys.executable, '-c', 'print(3)', stdout=-1)
    print((await p.communicate())[0])
asyncio.run(f())
""",
        "b'3\\n'",
    ),
    "fork and wait": (
        """
import os
pid = os.fork()
if pid == 0: os._exit(5)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
""",
        "5",
    ),
}


@pytest.mark.parametrize(("code", "expected"), PROCESSES.values(), ids=PROCESSES)
def test_processes_work_within_their_limit(
    sandbox: LocalSandbox, code: str, expected: str, needs_namespaces: None
) -> None:
    outcome = ask(sandbox, code, timeout_seconds=10)
    assert outcome.status is Status.OK, outcome
    assert outcome.stdout == expected + "\n"


def test_without_namespaces_new_processes_are_refused_clearly(sandbox: LocalSandbox, namespaced: bool) -> None:
    """Level process has threads, and answers fork with PermissionError."""
    if namespaced:
        with LocalSandbox(isolation="process", pool_size=0) as thin:
            outcome = ask(thin, "import os; os.fork()")
    else:
        outcome = ask(sandbox, "import os; os.fork()")
    assert outcome.status is Status.ERROR
    assert outcome.error.type == "PermissionError"


def test_files_go_in_and_come_out(sandbox: LocalSandbox, tmp_path) -> None:
    """Content and paths arrive under their names, in directories too; what is changed comes back changed."""
    big = bytes(range(256)) * 20_000
    source = tmp_path / "source"
    source.write_bytes(big)
    outcome = ask(
        sandbox,
        "data = open('in/big.bin', 'rb').read()\nopen('in/out.bin', 'wb').write(data[::-1])\n"
        "open('in/more', 'a').write('!')\nprint(open('a b.txt').read(), len(data), open('empty').read() == '')",
        files={"in/big.bin": source, "in/more": b"more", "a b.txt": b"text", "empty": b""},
        artifacts=("in/*",),
    )
    assert outcome.status is Status.OK, outcome
    assert outcome.stdout == f"text {len(big)} True\n"
    assert {item.name: item.content for item in outcome.artifacts} == {"in/more": b"more!", "in/out.bin": big[::-1]}


def test_the_interpreter_is_the_applications(sandbox: LocalSandbox) -> None:
    """Same version, same packages; and what is not installed is a clear error."""
    outcome = ask(sandbox, "import sys; print(sys.version)\nimport no_such_module")
    assert outcome.stdout == sys.version + "\n"
    assert outcome.error.type == "ModuleNotFoundError"
