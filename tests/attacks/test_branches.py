"""A session that may be forked, and its copies, against one another, against others, and against us."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator

import pytest
from observers.cells import NAMED, RAW
from observers.footprint import resting, settles
from observers.hijacked import hijacked
from observers.opened import Forker, Opener, value
from observers.processes import named

from hotcell.config import SandboxConfig
from hotcell.errors import SandboxError, SessionLost
from hotcell.executor import Executor
from hotcell.policy import Policy
from hotcell.results import Status
from hotcell.sandboxes.local import copying
from hotcell.sandboxes.local.sandbox import LocalSandbox
from hotcell.sessions import Session

pytestmark = pytest.mark.usefixtures("needs_namespaces")


def alive(name: str) -> list[int]:
    return named(name, os.getpid())


def is_gone(name: str) -> bool:
    """Within five seconds no process of that name is left."""
    deadline = time.monotonic() + 5
    while alive(name) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not alive(name)


def use_of_processor(name: str, seconds: float = 0.4) -> int:
    """Clock ticks that the processes of that name use in this time."""

    def ticks() -> int:
        total = 0
        for pid in alive(name):
            with contextlib.suppress(OSError), open(f"/proc/{pid}/stat", errors="replace") as file:
                fields = file.read().rpartition(")")[2].split()
                total += int(fields[11]) + int(fields[12])
        return total

    before = ticks()
    time.sleep(seconds)
    return max(0, ticks() - before)


@pytest.fixture
def neighbour(opened: Opener) -> Iterator[Session]:
    """Another tenant's session on the same fork server; whatever happens, it goes on."""
    session = opened()
    session.execute("x = 41")
    yield session
    assert value(session.execute("x + 1")) == 42


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copying, "_READY_SECONDS", 1.0)
    monkeypatch.setattr(copying, "_PARTING_SECONDS", 1.0)


def hijack(session: Session, on_fork: str = "") -> None:
    result = session.execute(hijacked(on_fork))
    assert result.success, (result.reason, result.error)


# Out of the place.

POWERFUL = (
    RAW
    + """
import glob, struct
NEW = {"user": 0x10000000, "mnt": 0x20000, "pid": 0x20000000, "net": 0x40000000, "uts": 0x4000000, "ipc": 0x8000000,
       "cgroup": 0x2000000, "time": 0x80}
def capset(mask):
    return raw(NR["capset"], struct.pack("<Ii", 0x20080522, 0), struct.pack("<6I", mask, kept, 0, 0, 0, 0))
from hotcell.sandboxes.local.kernel import NR
kept = 1 << 21 | 1 << 18
done = {"more": capset(0xffffffff), "raised": capset(kept)}
done |= {f"unshare {name}": raw(NR["unshare"], flag) for name, flag in NEW.items()}
def cloned(flag):
    pid = raw(NR["clone"], flag | 17, 0, 0, 0, 0)
    if pid == 0: os._exit(0)
    return pid
done |= {f"clone {name}": cloned(flag) for name, flag in NEW.items() if flag > 0xff}
done["mount tmpfs"] = raw(NR["mount"], b"none", b"/run/cell/work", b"tmpfs", 0, None)
done["mount proc"] = raw(NR["mount"], b"proc", b"/run/cell/work", b"proc", 0, None)
done["bind"] = raw(NR["mount"], b"/", b"/run/cell/work", None, 4096, None)
done["remount"] = raw(NR["mount"], None, b"/", None, 32, None)
done["umount"] = raw(NR["umount2"], b"/run/cell", 2)
done["pivot_root"] = raw(NR["pivot_root"], b".", b".")
done["chroot"] = raw(NR["chroot"], b".")
done["sethostname"] = raw(NR["sethostname"], b"owned", 5)
done["open_tree"] = raw(NR["open_tree"], -100, b"/", 1)
done["fsopen"] = raw(NR["fsopen"], b"tmpfs", 0)
def opened(path, flags):
    try: os.close(os.open(path, flags))
    except OSError as error: return -error.errno
    return 0
for path in ("uid_map", "gid_map", "setgroups", "oom_score_adj"):
    done[f"write {path}"] = opened(f"/proc/self/{path}", os.O_WRONLY)
for path in ("root", "cwd", "mem", "environ", "ns/mnt", "ns/pid"):
    done[f"init's {path}"] = opened(f"/proc/1/{path}", os.O_RDONLY)
for path in glob.glob("/proc/*/ns/*"):
    name = path.rpartition("/")[2].removesuffix("_for_children")
    try: handle = os.open(path, os.O_RDONLY)
    except OSError: continue
    done[f"setns {path}"] = raw(NR["setns"], handle, NEW[name])
    os.close(handle)
{name: result for name, result in done.items() if result >= 0}
"""
)


@pytest.mark.threat("branch.escape")
def test_the_power_to_enter_shells_opens_nothing_else(branchable: Opener, forked: Forker, neighbour: Session) -> None:
    """With what it kept in effect: no mount, root, namespace, id map or host name; it can only enter its own again."""
    session = branchable()
    done = value(session.execute(POWERFUL))
    assert done.pop("raised") == 0
    for name in list(done):
        place = name.rpartition("/")[2]
        if place in ("mnt", "pid", "pid_for_children") and name.startswith("setns /proc/"):
            del done[name]  # its own, where it is already
    assert done == {}
    assert value(session.execute("open('/etc/passwd').read().count('\\n')")) == 2
    assert value(forked(session)[0].execute("1 + 1")) == 2


@pytest.mark.threat("branch.escape")
def test_calls_for_exploits_end_a_session_that_forks_too(
    branchable: Opener, forked: Forker, neighbour: Session
) -> None:
    """ptrace, bpf, keyrings, io_uring: the process is killed, though the call is not named."""
    for name in ("ptrace", "bpf", "keyctl", "io_uring_setup", "userfaultfd", "process_vm_readv", "perf_event_open"):
        session = branchable()
        copy = forked(session)[0]
        result = copy.execute(RAW + f"from hotcell.sandboxes.local.kernel import NR\nraw(NR[{name!r}], 0, 0, 0, 0, 0)")
        assert result.status is Status.KILLED
        assert value(session.execute("1")) == 1
        copy.close()


@pytest.mark.threat("branch.neighbours")
def test_another_tenant_is_in_nobodys_reach(branchable: Opener, forked: Forker, neighbour: Session) -> None:
    """Signals to every number, raised capabilities, files: nothing of another session is found, nor of the host."""
    neighbour.execute("import os\nfor place in ('.', '/tmp', '/dev/shm'): open(f'{place}/theirs', 'w').write('x')")
    session = branchable()
    hijack(session, "kept.extend(handles)\nreturn become_copy(handles)")
    copies = forked(session, 2)
    code = """(power(), [attempt(os.kill, pid, 9) for pid in range(1, 2000) if pid != os.getpid()],
        [path for place in ('.', '/tmp', '/dev/shm', '/proc/1/root/tmp') for path in attempt(os.listdir, place)
         if path == 'theirs'])[-1]"""
    for one in (copies[0], session):
        assert value(one.execute(code)) == []


# Lies about who the copy is.

LIES = {
    "no answer": "pass",
    "the parent says it": "os.write(handles[2], HERE)",
    "a child elsewhere says it": """
if os.fork() == 0:
    os.write(handles[2], HERE)
    time.sleep(60)
""",
    "the second in the place says it": """
power()
kernel.call("setns", handles[1], kernel.CLONE_NEWPID)
if os.fork() == 0: os._exit(0)
if os.fork() == 0:
    os.write(handles[2], HERE)
    time.sleep(60)
""",
    "the number of an earlier copy": """
if not kept:
    kept.append(1)
    return become_copy(handles)
power()
theirs = socket.socket(fileno=os.dup(handles[2]))
for pid in range(3, 100):
    if pid == os.getpid(): continue
    try:
        theirs.sendmsg([HERE], [(socket.SOL_SOCKET, 2, struct.pack("3i", pid, os.getuid(), os.getgid()))])
        break
    except OSError: pass
""",
    "the number of the init": """
power()
theirs = socket.socket(fileno=os.dup(handles[2]))
attempt(theirs.sendmsg, [HERE], [(socket.SOL_SOCKET, 2, struct.pack("3i", 1, os.getuid(), os.getgid()))])
""",
    "half of it": "os.write(handles[2], HERE[:3])",
    "something else": "os.write(handles[2], b'x' * 1000)",
    "a fault": "os.write(handles[2], struct.pack('<BI', 2, 3) + b'abc')",
    "descriptors with it": "socket.send_fds(socket.socket(fileno=os.dup(handles[2])), [HERE], [0] * 200)",
    "there and never ready": "if not become_copy(handles, READY=b''): return False\ntime.sleep(60)",
    "there and gone": "if not become_copy(handles, READY=b''): return False\nos._exit(0)",
    "there and something else": "return become_copy(handles, READY=b'x' * 5)",
    "the end of it": "for handle in handles: os.close(handle)",
}


@pytest.mark.threat("branch.forged-ready")
@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
def test_what_is_not_the_copy_is_not_taken_for_it(
    branchable: Opener, forked: Forker, neighbour: Session, lie: str
) -> None:
    """The wrong process, place or number, half an answer or none: an error, soon, and the real copies go on."""
    session = branchable()
    hijack(session, lie)
    earlier = None
    if "kept" in lie:
        (earlier,) = forked(session)
    before = resting().descriptors
    for _ in range(2):
        began = time.monotonic()
        with pytest.raises((SandboxError, SessionLost)):
            forked(session)
        assert time.monotonic() - began < 10
    # A place for the next copy, and cells that its neighbours prepare.
    assert settles(lambda seen: seen.descriptors <= before + 12).descriptors <= before + 12
    if earlier:
        assert value(earlier.execute("6 * 7")) == 42
        earlier.close()
    session.close()


@pytest.mark.threat("branch.forged-ready")
def test_ready_said_twice_is_the_copys_own_end(branchable: Opener, forked: Forker, neighbour: Session) -> None:
    """A copy that says READY twice is ended at its first call: the second is no answer."""
    session = branchable()
    hijack(session, "if not become_copy(handles): return False\nos.write(3, READY)\nreturn True")
    (copy,) = forked(session)
    assert copy.execute("1").status is Status.KILLED
    assert value(session.execute("2")) == 2


@pytest.mark.threat("branch.forged-ready")
@pytest.mark.usefixtures("impatient")
def test_a_child_of_the_session_is_not_taken_for_its_copy(
    branchable: Opener, forked: Forker, neighbour: Session
) -> None:
    """A child that moves in by itself would have siblings in a session that rests, where nobody looks for them."""
    session = branchable(processes=4)
    hijack(
        session,
        NAMED.format(name="moved-in")
        + """
power()
kernel.call("setns", handles[1], kernel.CLONE_NEWPID)
if os.fork() == 0:
    os.dup2(handles[2], 3)
    wire = socket.socket(fileno=os.dup(3))
    os.write(3, HERE)
    return True
""",
    )
    with pytest.raises(SandboxError):
        forked(session)
    session.close()
    assert is_gone("moved-in")


# Out of the accounts.

HIDDEN = (
    RAW
    + """
from hotcell.sandboxes.local.kernel import NR
def hide(work):
    "A process that is not our child but our parent's."
    pid = raw(NR["clone"], 0x8000 | 17, 0, 0, 0, 0)
    if pid == 0:
        try: work()
        finally: os._exit(0)
    return pid
def spin():
    while True: pass
"""
)


@pytest.mark.threat("branch.hidden")
@pytest.mark.parametrize("has_threads", [False, True])
def test_siblings_that_nobody_made_are_gone_with_the_call(
    branchable: Opener, forked: Forker, neighbour: Session, has_threads: bool
) -> None:
    """CLONE_PARENT leads out of the tree that is counted: such processes are killed, at the latest with the call."""
    session = branchable()
    if has_threads:  # its copies are the children of another init
        session.execute("import threading, time\nthreading.Thread(target=time.sleep, args=(99,), daemon=True).start()")
    (copy,) = forked(session)
    for name, one in (("hidden-c", copy), ("hidden-o", session)):
        one.execute(NAMED.format(name=name) + HIDDEN + "[hide(spin) for _ in range(20)]")
        assert alive(name) == [one._cell._cell.pid]
    assert value(session.execute("1")) == 1
    assert value(copy.execute("2")) == 2


@pytest.mark.threat("branch.hidden")
def test_hidden_siblings_are_killed_during_the_call(branchable: Opener) -> None:
    """Processes that made themselves our siblings do not outlive the next look, and the call goes on."""
    session = branchable(timeout_seconds=3)
    code = NAMED.format(name="hidden2") + HIDDEN + "import time\nfor _ in range(5): hide(spin)\ntime.sleep(1)"
    began = time.process_time()
    session.execute(code)
    assert time.process_time() - began < 1
    assert len(alive("hidden2")) == 1


@pytest.mark.threat("branch.hidden")
@pytest.mark.parametrize("threads", [0, 1])
def test_a_hidden_sibling_cannot_wake_a_session_that_rests(branchable: Opener, threads: int) -> None:
    """One that goes on sending SIGCONT and then ends by itself leaves the session stopped, or dead."""
    session = branchable()
    code = f"""
import os, signal, threading, time
own = os.getpid()
def wake():
    end = time.monotonic() + 0.02
    while time.monotonic() < end: os.kill(own, signal.SIGCONT)
def spin():
    while True: pass
for _ in range({threads}): threading.Thread(target=spin, daemon=True).start()
for _ in range(3): hide(wake)
"""
    for _ in range(5):
        try:
            session.execute(NAMED.format(name="woken") + HIDDEN + code)
        except SessionLost:
            break
        assert use_of_processor("woken", 0.2) <= 1
    session.close()
    assert is_gone("woken")


@pytest.mark.threat("branch.hidden")
@pytest.mark.usefixtures("one_bomb_at_a_time")
def test_a_bomb_of_hidden_siblings_ends_with_its_call(branchable: Opener, forked: Forker, neighbour: Session) -> None:
    """Hidden siblings that make the next and end: the bomb is over with the call, or the session is."""
    session = branchable(timeout_seconds=1, processes=16)
    (copy,) = forked(session)
    code = NAMED.format(name="hiddenbomb") + HIDDEN + "def bomb():\n    while True: hide(bomb)\nbomb()"
    with contextlib.suppress(SessionLost):
        copy.execute(code)
    assert use_of_processor("hiddenbomb") <= 2
    assert value(session.execute("1")) == 1
    copy.close()
    assert is_gone("hiddenbomb")


@pytest.mark.threat("branch.hidden")
def test_the_cpu_time_of_hidden_siblings_counts(branchable: Opener) -> None:
    """Hidden siblings are killed on sight, and the CPU time they used until then is in the account."""
    session = branchable()
    code = (
        HIDDEN
        + """
import time
def briefly():
    end = time.monotonic() + 0.01
    while time.monotonic() < end: pass
for _ in range(60):
    hide(briefly); time.sleep(0.012)
time.sleep(0.1)
"""
    )
    result = session.execute(code)
    assert result.success
    assert result.usage.cpu_seconds > 0.2


@pytest.mark.threat("branch.hidden")
def test_what_is_planted_where_a_copy_rests_does_not_run(
    branchable: Opener, forked: Forker, neighbour: Session
) -> None:
    """A session keeps the way into its copy's place, and leaves an orphan there: it is dead when the call is over."""
    session = branchable()
    hijack(session, "kept.extend(map(os.dup, handles))\nreturn become_copy(handles)")
    (copy,) = forked(session)
    plant = """(power(), kernel.call('setns', kept[1], kernel.CLONE_NEWPID),
        os.fork() or ctypes.CDLL(None).prctl(15, b'planted', 0, 0, 0) or (os.fork() or [0 for _ in iter(int, 1)]) and
        os._exit(0))[-1]"""
    session.execute(plant)
    assert use_of_processor("planted") <= 1
    assert value(copy.execute("7")) == 7
    copy.close()
    session.close()
    assert is_gone("planted")


@pytest.mark.threat("branch.witness")
@pytest.mark.usefixtures("one_bomb_at_a_time")
def test_a_full_pipe_of_endings_is_nobody_elses_end(branchable: Opener, forked: Forker, neighbour: Session) -> None:
    """Thousands of ends that nobody asked for hide the forger's own, and are not taken for the fork server's death."""
    session = branchable()
    (copy,) = forked(session)
    flood = HIDDEN + "for _ in range(3000): hide(lambda: None)\n"
    flood += "for _ in range(3000):\n    if os.fork() == 0:\n        os.fork(); os._exit(0)\n    os.wait()\n"
    result = copy.execute(flood + "os._exit(3)", config=copy.config.replace(timeout_seconds=60))
    assert result.status in (Status.ERROR, Status.KILLED)
    assert value(session.execute("1")) == 1
    assert not session._pipeline.sandbox._pool.broken


@pytest.mark.threat("branch.bomb")
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.usefixtures("one_bomb_at_a_time")
def test_a_fork_bomb_in_a_branch_stays_in_it(branchable: Opener, forked: Forker, neighbour: Session, when: str) -> None:
    """It ends at its process limit; the original, its other copies and other tenants go on."""
    session = branchable(timeout_seconds=2, processes=16)
    bomb = (
        NAMED.format(name="branchbomb")
        + "import os\nwhile True:\n    try: os.fork(); os.setsid()\n    except OSError: pass"
    )
    if when == "before":
        with contextlib.suppress(SessionLost, SandboxError):
            session.execute(bomb)
            forked(session)
    else:
        one, other = forked(session, 2)
        with contextlib.suppress(SessionLost):
            assert one.execute(bomb).status is not Status.OK
        assert value(other.execute("1")) == 1
        assert value(session.execute("2")) == 2
        assert use_of_processor("branchbomb") <= 2
        other.close()
        one.close()
    session.close()
    assert is_gone("branchbomb")


@pytest.mark.threat("branch.sibling")
def test_a_copy_cannot_signal_its_original_nor_a_sibling(
    branchable: Opener, forked: Forker, neighbour: Session
) -> None:
    """Every signal to every number, with all it kept: only what is below it hears anything."""
    session = branchable()
    hijack(session, "kept.extend(map(os.dup, handles))\nreturn become_copy(handles)")
    one, other = forked(session, 2)
    code = """(power(), [attempt(os.kill, pid, number) for pid in range(-300, 3000) for number in (19, 9)
        if pid not in (0, -1, os.getpid(), -os.getpgid(0))])[0]"""
    with contextlib.suppress(SessionLost):
        one.execute(code)
    assert value(other.execute("1")) == 1
    assert value(session.execute("2")) == 2


@pytest.mark.threat("branch.sibling")
def test_no_copy_can_enter_the_place_of_another(branchable: Opener, forked: Forker) -> None:
    """It has the descriptors of its sibling's and its original's places, kept on purpose: the kernel refuses."""
    session = branchable()
    hijack(session, "kept.extend(map(os.dup, handles[:2]))\nreturn become_copy(handles)")
    _, other = forked(session, 2)
    session.execute("kept.insert(0, os.open('/proc/self/ns/pid', os.O_RDONLY))")
    (late,) = forked(session)
    code = "(power(), [attempt(kernel.call, 'setns', handle, kernel.CLONE_NEWPID) for handle in kept])[-1]"
    told = value(late.execute(code))
    assert len(told) >= 5
    assert all("EINVAL" in str(item) or "EBADF" in str(item) for item in told[:-1])  # the last is its own
    other.close()


# Work directories and processes that are hard to copy.

ODD_FILES = {
    "a FIFO and a socket": """
import socket
for make in (lambda: os.mkfifo('fifo'), lambda: socket.socket(socket.AF_UNIX).bind('sock')):
    try: make()
    except OSError: pass
pair = socket.socketpair()
""",
    "hard links": "open('a', 'w').write('x'); [os.link('a', f'b{n}') for n in range(50)]",
    "a sparse file": "open('sparse', 'wb').truncate(1 << 29)",
    "a sparse file with an end": "f = open('sparse', 'wb'); f.seek((1 << 29) - 1); f.write(b'x'); f.close()",
    "a deep tree": """
for _ in range(400): os.mkdir('d'); os.chdir('d')
open('bottom', 'w').write('x'); os.chdir('/run/cell/work')
""",
    "thousands of files": "for n in range(3000): open(f'f{n}', 'w').close()",
    "modes taken away": """
open('secret', 'w').write('x'); os.chmod('secret', 0)
os.mkdir('closed'); open('closed/f', 'w').write('x'); os.chmod('closed', 0)
""",
    "links that lead out": """
for n, target in enumerate(('/etc/passwd', '/', '..', '/proc/self/fd/3', '/proc/1/root', 'gone', '/run/cell/work')):
    os.symlink(target, f'link{n}')
""",
    "odd names": r"""
for name in (b'bad\xff', b'new\nline', b'\x1b[31m', b'-rf', b'back\\slash', b' '): open(name, 'w').close()
""",
    "a directory that is gone": "os.mkdir('d'); os.chdir('d'); os.rmdir('../d')",
    "the place of a folder taken": "import shutil; shutil.rmtree('/run/cell/tmp'); open('/run/cell/tmp', 'w').close()",
    "no work directory": "os.chdir('/'); import shutil; shutil.rmtree('/run/cell/work', ignore_errors=True)",
    "a full disk": """
try:
    with open('full', 'wb') as f:
        while True: f.write(bytes(1 << 16))
except OSError: pass
""",
}


LISTING = """
repr(sorted(os.path.join(top, name) for top, _, names in os.walk(b'/run/cell') for name in names
     if name not in (b'fifo', b'sock')))
"""


@pytest.mark.threat("branch.files")
@pytest.mark.parametrize("code", ODD_FILES.values(), ids=ODD_FILES)
def test_odd_work_directories_are_copied_or_refused(
    branchable: Opener, forked: Forker, neighbour: Session, code: str
) -> None:
    """The copy has it all or there is an error with its reason, in time; the original keeps its state."""
    session = branchable(disk_bytes=8 << 20, file_bytes=1 << 30, disk_files=10_000)
    assert session.execute("import os\nx = 5\n" + code).success
    began = time.monotonic()
    copy = None
    with contextlib.suppress(SandboxError):
        (copy,) = forked(session)
    if copy:
        assert value(copy.execute("x")) == 5
        listing = LISTING
        assert value(copy.execute(listing)) == value(session.execute(listing))
    assert time.monotonic() - began < 10
    assert value(session.execute("x")) == 5


ODD_PROCESSES = {
    "two hundred descriptors": "held = [os.open('/dev/null', 0) for _ in range(200)]",
    "no descriptor free": """
held = []
try:
    while True: held.append(os.open('/dev/null', 0))
except OSError: pass
""",
    "all signals blocked": "import signal; signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))",
    "all signals ignored": """
import signal
for n in range(1, 65):
    try: signal.signal(n, signal.SIG_IGN)
    except (OSError, ValueError): pass
""",
    "children that are not waited for": "import signal; signal.signal(signal.SIGCHLD, signal.SIG_IGN)",
    "a timer": "import signal; signal.signal(14, lambda *a: None); signal.setitimer(0, 0.0005, 0.0005)",
    "threads": """
import threading, time
for _ in range(8): threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
""",
    "threads that allocate": """
import threading
def work():
    while True: bytes(100_000)
for _ in range(4): threading.Thread(target=work, daemon=True).start()
""",
    "a thread that forks": """
import threading
def work():
    while True:
        if os.fork() == 0: os._exit(0)
        os.wait()
threading.Thread(target=work, daemon=True).start()
""",
    "traps in Python": """
import gc, random, fcntl
gc.freeze = random.seed = fcntl.fcntl = os.listdir = os.fstat = None
""",
    "the end at the fork": "import gc; gc.freeze = lambda: os._exit(7)",
    "the copy's end at the fork": "import random; random.seed = lambda *a: os._exit(7)",
    "the copy stops itself": "import random, signal; random.seed = lambda *a: os.kill(os.getpid(), signal.SIGSTOP)",
    "the original stops itself": "import gc, signal; gc.freeze = lambda: os.kill(os.getpid(), signal.SIGSTOP)",
    "an endless loop at the fork": "import gc\ndef forever():\n    while True: pass\ngc.freeze = forever",
    "more output than a pipe holds": "import random; random.seed = lambda *a: os.write(2, b'x' * (1 << 20))",
    "limits lowered": "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (8, 8))",
}


@pytest.mark.threat("branch.hang")
@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("code", ODD_PROCESSES.values(), ids=ODD_PROCESSES)
def test_odd_processes_are_copied_or_refused(branchable: Opener, forked: Forker, neighbour: Session, code: str) -> None:
    """Descriptors, signals, threads, traps on the way: there is a copy that works, or an error of ours, in time."""
    session = branchable(timeout_seconds=2, processes=32)
    session.execute("import os\nx = 5\n" + code)
    began = time.monotonic()
    for _ in range(2):
        try:
            with session.fork(2) as copies:
                for copy in copies:
                    with contextlib.suppress(SessionLost):
                        copy.execute("x")
        except (SandboxError, SessionLost):
            pass
    with contextlib.suppress(SessionLost):
        session.execute("x")
    session.close()
    assert time.monotonic() - began < 20


@pytest.mark.threat("branch.hang")
def test_the_fork_server_dies_while_a_session_is_copied() -> None:
    """Every fork ends with a copy, SessionLost or an error of ours; then a new server takes over."""
    with LocalSandbox(pool_size=1) as sandbox:
        executor = Executor(sandbox, SandboxConfig(timeout_seconds=5), Policy.permissive())
        for pause in (0.0, 0.002, 0.01, 0.03):
            session = executor.session(branchable=True)
            launcher = sandbox._pool.server._process
            pid = os.fork()
            if pid == 0:
                time.sleep(pause)
                os.kill(launcher.pid, 9)
                os._exit(0)
            began = time.monotonic()
            with contextlib.suppress(SandboxError, SessionLost):
                for _ in range(20):
                    session.fork(2).close()
            os.waitpid(pid, 0)
            assert time.monotonic() - began < 15
            session.close()
            with contextlib.suppress(SandboxError):  # its cell may still be dying with the server
                executor.execute("1")
            assert executor.execute("1").value == 1


@pytest.mark.threat("branch.leftovers")
@pytest.mark.usefixtures("one_bomb_at_a_time")
def test_nothing_survives_hostile_families() -> None:
    """Families with bombs, evaders and the dead among them: closed, they leave no process, group or descriptor."""
    before = resting()
    with LocalSandbox(pool_size=1) as sandbox:
        executor = Executor(sandbox, SandboxConfig(timeout_seconds=1, processes=16), Policy.permissive())
        hostile = [
            "import os\nwhile os.fork() == 0: pass",
            HIDDEN + "for _ in range(50): hide(spin)",
            "import os; os._exit(1)",
            "import os; os.kill(os.getpid(), 9)",
            "import os\nif os.fork() == 0:\n    os.setsid()\n    while True: pass",
            "x = bytearray(50 << 30)",
            "import os; os.closerange(0, 99)",
        ]
        for code in hostile:
            with executor.session(branchable=True) as session:
                children = session.fork(2)
                grandchildren = children[0].fork(2)
                for one in (children[0], session, grandchildren[1]):
                    with contextlib.suppress(SessionLost):
                        one.execute(code)
                for one in (grandchildren[0], children[1]):
                    assert value(one.execute("1")) == 1, code
                grandchildren.close()
                children.close()
    seen = settles(before.covers)
    assert before.covers(seen), (seen, before)
