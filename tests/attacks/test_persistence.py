"""Persistence: what one execution changes, the next one must not see."""

from __future__ import annotations

import threading
import time

import pytest
from observers.cells import ask

from hotcell.results import Status
from hotcell.sandboxes.local.sandbox import LocalSandbox

LOOK = """
import builtins, locale, os, random, resource, signal, sys, threading, warnings
def listing(path):
    try: return sorted(os.listdir(path))
    except OSError: return None
seen = {
    "files": [listing(place) for place in (os.environ["HOME"], os.environ["TMPDIR"], ".", "/dev/shm", "/tmp")],
    "environment": sorted(os.environ),
    "builtins": sorted(vars(builtins)),
    "planted": "planted" in sys.modules,
    "path": [p for p in sys.path if "planted" in p],
    "recursion": sys.getrecursionlimit(),
    "locale": locale.setlocale(locale.LC_ALL),
    "signals": [str(signal.getsignal(n)) for n in (2, 10, 14, 15)],
    "mask": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])),
    "umask": os.umask(0o22),
    "priority": os.getpriority(os.PRIO_PROCESS, 0),
    "affinity": sorted(os.sched_getaffinity(0)),
    "limits": resource.getrlimit(resource.RLIMIT_NOFILE),
    "threads": threading.active_count(),
    "digits": sys.get_int_max_str_digits(),
    "filters": len(warnings.filters),
    "len": len([1, 2]),
}
print(seen)
"""

CHANGE = """
import builtins, locale, os, random, resource, signal, sys, threading, time, types, warnings
for place in (".", "/tmp", "/dev/shm", "/var/tmp", os.environ["HOME"], os.environ["TMPDIR"], "/run/cell"):
    try:
        open(f"{place}/planted", "w").write("x")
        os.makedirs(f"{place}/.config/matplotlib")
        open(f"{place}/sitecustomize.py", "w").write("print('planted')")
    except OSError: pass
os.environ["PLANTED"] = "1"
os.putenv("PLANTED", "1")
sys.modules["planted"] = types.ModuleType("planted")
sys.path.insert(0, "/tmp/planted")
builtins.len = lambda x: 42
builtins.planted = 1
sys.setrecursionlimit(5000)
sys.set_int_max_str_digits(0)
for n in (2, 10, 14, 15): signal.signal(n, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, [2, 15])
os.umask(0)
for action in (lambda: os.nice(5), lambda: os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})):
    try: action()
    except OSError: pass
resource.setrlimit(resource.RLIMIT_NOFILE, (20, 20))
warnings.simplefilter("error")
random.seed(1)
print("changed")
"""


@pytest.mark.threat("persist.state", "persist.files")
def test_the_next_execution_is_pristine(sandbox: LocalSandbox) -> None:
    """Files, modules, builtins, environment, locale, signals, limits and priority are as before for the next ones."""
    before = ask(sandbox, LOOK)
    assert before.status is Status.OK, before
    for _ in range(3):
        assert ask(sandbox, CHANGE).stdout == "changed\n"
    for _ in range(4):
        assert ask(sandbox, LOOK).stdout == before.stdout


@pytest.mark.threat("persist.libraries")
def test_patched_libraries_are_patched_for_one_execution(data_sandbox: LocalSandbox) -> None:
    """numpy's and pandas' globals, options and error settings are changed for the one who changed them."""
    look = """
import numpy, pandas
print(numpy.sum([1, 2]), numpy.geterr(), pandas.get_option('display.max_rows'), numpy.pi)
"""
    before = ask(data_sandbox, look)
    assert before.status is Status.OK, before
    ask(
        data_sandbox,
        """
import numpy, pandas
numpy.sum = None
numpy.pi = 3
numpy.seterr(all='raise')
pandas.set_option('display.max_rows', 1)
""",
    )
    assert ask(data_sandbox, look).stdout == before.stdout


@pytest.mark.threat("persist.random")
def test_siblings_draw_different_numbers(data_sandbox: LocalSandbox) -> None:
    """random, numpy, uuid, secrets and temporary names differ between executions of one fork server."""
    code = """
import random, uuid, secrets, tempfile, numpy
print(random.random()); print(numpy.random.rand()); print(numpy.random.default_rng().random())
print(uuid.uuid4()); print(secrets.token_hex()); print(tempfile.mktemp()); print(uuid.uuid1().node)
"""
    lines = [ask(data_sandbox, code).stdout.splitlines() for _ in range(4)]
    for column in list(zip(*lines, strict=True))[:6]:
        assert len(set(column)) == 4, column


@pytest.mark.threat("persist.daemon")
def test_a_daemon_does_not_wait_for_the_next(sandbox: LocalSandbox, needs_namespaces: None) -> None:
    """A double-forked process in a session of its own is dead before the result is there."""
    daemon = """
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        for n in range(3): os.close(n)
        while True:
            for place in ("/tmp", "/dev/shm", "/run/cell/work", "."):
                try: open(place + "/daemon", "w").write("here")
                except OSError: pass
            time.sleep(0.01)
    os._exit(0)
os.wait()
time.sleep(0.1)
print("left")
"""
    outcome = ask(sandbox, daemon)
    assert outcome.stdout == "left\n"
    look = """
import os, time
time.sleep(0.1)
print([p for p in os.listdir('/proc') if p.isdigit() and int(p) != os.getpid()], os.path.exists('/tmp/daemon'))
"""
    for _ in range(3):
        assert ask(sandbox, look).stdout == "[] False\n"


@pytest.mark.threat("persist.locks")
def test_locks_on_shared_files_tell_nothing(sandbox: LocalSandbox) -> None:
    """A lock on a file that all cells can read is not a way to talk."""
    hold = """
import fcntl, os, time
try: fcntl.flock(os.open(os.__file__, os.O_RDONLY), fcntl.LOCK_EX)
except OSError: pass
time.sleep(0.6)
"""
    look = """
import fcntl, os
try: print(fcntl.flock(os.open(os.__file__, os.O_RDONLY), fcntl.LOCK_EX | fcntl.LOCK_NB))
except OSError as error: print(error)
"""
    while_free = ask(sandbox, look).stdout
    holder = threading.Thread(target=ask, args=(sandbox, hold))
    holder.start()
    time.sleep(0.2)
    while_held = ask(sandbox, look).stdout
    holder.join()
    assert while_held == while_free != ""
