"""A session's code against the session: it lies on the wire, will not stand still, and lays traps among its files."""

from __future__ import annotations

import contextlib
import json
import os
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from observers.cells import NAMED
from observers.footprint import descriptors_settle, resting
from observers.opened import Opener, value
from observers.processes import named

from hotcell.config import SandboxConfig
from hotcell.errors import ConfigurationError, SessionLost
from hotcell.events import Display, Finished
from hotcell.executor import Executor
from hotcell.results import Status
from hotcell.sessions import Session

READY, DATA, DIRECTORY, RESULT, DISPLAY, CALL, RETURN, FORK = 1, 4, 5, 6, 8, 9, 10, 11


def frame(kind: int, data: object) -> bytes:
    payload = data if isinstance(data, bytes) else json.dumps(data).encode()
    return struct.pack("<BI", kind, len(payload)) + payload


def report(value: object = "forged", **more: object) -> bytes:
    blank = {"outcome": "ok", "exit_code": 0, "value": value, "value_repr": repr(value), "error": None}
    return frame(RESULT, {**blank, "memory_error": False, **more})


def is_well(session: Session) -> bool:
    """Whatever it did, a call still comes to a result of ours, or to SessionLost, and soon."""
    began = time.monotonic()
    try:
        session.execute("1", config=session.config.replace(timeout_seconds=1))
    except SessionLost:
        pass
    return time.monotonic() - began < 5


# Lies on the wire.

FORGERIES = {
    "two results at once": f"import os\nos.write(3, {report() * 2!r})",
    "a result and half of one": f"import os\nos.write(3, {report() + report()[:20]!r})",
    "a result before its time": f"import os, time\nos.write(3, {report()!r})\ntime.sleep(0.3)",
    "a result by a thread while the code goes on": f"""
import os, threading, time
threading.Thread(target=lambda: os.write(3, {report()!r})).start()
for n in range(100): time.sleep(0.01)
""",
    "a result after the result": f"""
import os, threading, time
def late():
    time.sleep(0.05)
    while True: os.write(3, {report()!r}); time.sleep(0.01)
threading.Thread(target=late, daemon=True).start()
""",
    "a child that answers": f"import os, time\nif os.fork() == 0:\n    while True: os.write(3, {report()!r})",
    "a child that takes the requests": "import os\nif os.fork() == 0:\n    while True: os.read(3, 1 << 16)",
    "no word any more": "import os\nos.close(3)",
    "the wire as stdout": "import os\nos.dup2(1, 3)",
}


@pytest.mark.threat("session.forged-result")
@pytest.mark.parametrize("code", FORGERIES.values(), ids=FORGERIES)
def test_forged_results_concern_the_forgers_session_alone(opened: Opener, code: str) -> None:
    """Results twice, early, between the calls or by a child: each call ends in time, and others hear nothing."""
    forger, neighbour = opened(timeout_seconds=1), opened()
    neighbour.execute("x = 41")
    began = time.monotonic()
    for _ in range(4):
        try:
            forger.execute(code)
        except SessionLost:
            break
    assert time.monotonic() - began < 15
    assert is_well(forger)
    assert value(neighbour.execute("x + 1")) == 42
    forger.close()


@pytest.mark.threat("session.forged-result")
def test_a_forged_result_does_not_turn_a_limit_into_a_success(opened: Opener) -> None:
    """What our clocks saw stands: the answer that comes after the time limit is a TIMEOUT's."""
    session = opened(timeout_seconds=0.3)
    code = f"import os, time\ntry: time.sleep(9)\nexcept KeyboardInterrupt: os.write(3, {report()!r})"
    result = session.execute(code)
    assert (result.status, result.value) == (Status.TIMEOUT, None)


@pytest.mark.threat("session.frames")
@pytest.mark.parametrize("kind", [0, 2, 3, READY, DATA, DIRECTORY, CALL, RETURN, FORK, 12, 255])
def test_a_frame_that_is_not_a_workers_to_send_ends_the_session(session: Session, kind: int) -> None:
    """Also a call of a host tool where there are none."""
    result = session.execute(f"import os, time\nos.write(3, {frame(kind, {'name': 'x'})!r})\ntime.sleep(5)")
    assert result.status is Status.KILLED
    assert "protocol" in result.reason
    with pytest.raises(SessionLost) as lost:
        session.execute("1")
    assert lost.value.reason == "killed"


@pytest.mark.threat("session.frames")
@pytest.mark.parametrize("payload", [b"", b"[]", b"{", b"\xff", b'{"a":' * 100 + b"1" + b"}" * 100, b'{"a": NaN}'])
def test_a_display_that_is_no_json_ends_the_session(session: Session, payload: bytes) -> None:
    """A bundle is one JSON object of bounded depth, or the protocol is broken."""
    result = session.execute(f"import os, time\nos.write(3, {frame(DISPLAY, payload)!r})\ntime.sleep(5)")
    assert result.status is Status.KILLED


@pytest.mark.threat("session.displays")
def test_a_flood_of_displays_ends_at_the_caps(opened: Opener) -> None:
    """Ten thousand displays, or forty of a megabyte: what is kept is within count and bytes, and a note says so."""
    session = opened(display_count=10, display_bytes=4 << 20)
    code = """
import json, os, struct
def show(size, times):
    payload = json.dumps({"text/plain": "x" * size}).encode()
    for _ in range(times):
        view = memoryview(struct.pack("<BI", 8, len(payload)) + payload)
        while view: view = view[os.write(3, view):]
"""
    session.execute(code)
    for size, times, most in ((1, 10_000, 10), (1 << 20, 40, 3)):
        stream = list(session.stream(f"show({size}, {times})"))
        assert isinstance(stream[-1], Finished)
        result = stream[-1].result
        assert result.success
        assert len(result.displays) == sum(isinstance(event, Display) for event in stream) == most
        assert any("display_count=10" in note for note in result.notes)
    assert session.execute("1").displays == ()


@pytest.mark.threat("session.descriptors")
def test_descriptors_sent_along_are_not_taken(session: Session) -> None:
    """A hundred descriptors with every answer leave none of them open on our side."""
    code = """
import socket, os
wire = socket.socket(fileno=os.dup(3))
for _ in range(100): socket.send_fds(wire, [FRAME], [0] * 100)
"""
    before = resting().descriptors
    for _ in range(5):
        session.execute(code.replace("FRAME", repr(frame(DISPLAY, {"text/plain": "x"}))))
    assert descriptors_settle(before + 8) <= before + 8  # what other cells wait with


# Not standing still.

WAKERS = {
    "processes that wake one another": """
import os, signal
pids = []
for n in range(4):
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        others = [int(item) for item in os.read(read, 100).split()]
        while True:
            for other in others:
                try: os.kill(other, signal.SIGCONT)
                except OSError: pass
    pids.append((pid, write))
everybody = [os.getpid(), *[pid for pid, _ in pids]]
for pid, write in pids: os.write(write, " ".join(map(str, everybody)).encode())
""",
    "threads that wake their process": """
import os, signal, threading
def wake():
    while True: os.kill(os.getpid(), signal.SIGCONT)
for _ in range(4): threading.Thread(target=wake, daemon=True).start()
""",
    "one that answers and wakes itself": f"""
import os, signal
me = os.getpid()
os.write(3, {report()!r})
while True: os.kill(me, signal.SIGCONT)
""",
    "a chain of forks": """
import os
if os.fork() == 0:
    os.setsid()
    while True:
        if os.fork(): os._exit(0)
""",
    "a daemon": "import os\nif os.fork() == 0:\n    if os.fork(): os._exit(0)\n    os.setsid()\n    while True: pass",
    "timers": """
import signal
signal.signal(signal.SIGALRM, lambda *a: None)
signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
import threading
def spin():
    while True: pass
threading.Thread(target=spin, daemon=True).start()
""",
    "a timer that wakes it": f"""
import ctypes, os, signal, struct
libc, timer = ctypes.CDLL(None), ctypes.c_void_p()
libc.timer_create(1, struct.pack("<Qii48x", 0, signal.SIGCONT, 0), ctypes.byref(timer))
libc.timer_settime(timer, 0, struct.pack("<4Q", 0, 10_000_000, 0, 10_000_000), None)
os.write(3, {report()!r})
while True: pass
""",
}


def ticks(name: str) -> int:
    """CPU time of all processes of that name, living, in clock ticks."""
    total = 0
    for pid in named(name, os.getpid()):
        try:
            fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        except OSError:
            continue
        total += int(fields[11]) + int(fields[12])
    return total


@pytest.mark.threat("session.between-calls")
@pytest.mark.parametrize("code", WAKERS.values(), ids=WAKERS)
def test_nothing_runs_between_two_calls(opened: Opener, code: str) -> None:
    """Processes that wake one another, threads, daemons, timers: they use no processor meanwhile, or are dead."""
    session = opened(timeout_seconds=3)
    name = f"waker{len(code)}"
    for _ in range(3):
        try:
            session.execute(NAMED.format(name=name) + code)
        except SessionLost:
            break
        before = ticks(name)
        time.sleep(0.4)
        assert ticks(name) - before <= 2, "it ran on"
    session.close()
    deadline = time.monotonic() + 5
    while named(name, os.getpid()) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert named(name, os.getpid()) == []


@pytest.mark.threat("session.between-calls")
def test_stopping_itself_is_no_way_to_stay(session: Session) -> None:
    """A process that stopped itself hears no interrupt; it is killed when its time is over."""
    result = session.execute(
        "import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)", config=session.config.replace(timeout_seconds=0.3)
    )
    assert result.status is Status.TIMEOUT
    assert session.lost


# Taking a little more with each call.


@pytest.mark.threat("session.creep")
def test_memory_taken_call_by_call_ends_at_the_limit(opened: Opener) -> None:
    """Thirty megabytes with each call: the limit is the session's, not the call's."""
    session = opened(memory_bytes=128 << 20)
    session.execute("kept = []")
    statuses = []
    while len(statuses) < 10 and not session.lost:
        statuses.append(session.execute("kept.append(b'x' * (30 << 20))").status)
    assert statuses[0] is Status.OK
    assert Status.MEMORY_LIMIT in statuses


@pytest.mark.usefixtures("needs_namespaces")  # at level process quotas are by file
@pytest.mark.threat("session.creep")
def test_disk_taken_call_by_call_ends_at_the_limit(opened: Opener) -> None:
    """Also what is written through files.write: the quota is the session's."""
    session = opened(disk_bytes=4 << 20, file_bytes=4 << 20)
    session.files.write("a", bytes(3 << 20))
    for _ in range(300):  # a descriptor for each would be too many
        with pytest.raises(OSError, match="could not be written"):
            session.files.write("b", bytes(2 << 20))
    assert [entry.name for entry in session.files.list()] == ["a"]
    assert session.execute("open('c', 'wb').write(bytes(2 << 20))").status is Status.ERROR
    session.files.delete("a")
    session.files.write("b", bytes(2 << 20))


@pytest.mark.usefixtures("needs_namespaces")
@pytest.mark.threat("session.creep")
def test_processes_left_call_by_call_end_at_the_limit_and_with_the_session(opened: Opener) -> None:
    """Children that are left are counted until the session ends, and then they are dead."""
    session = opened(processes=8)
    code = NAMED.format(name="leftover") + "import os\nif os.fork() == 0:\n    import time; time.sleep(600)"
    statuses = [session.execute(code).status for _ in range(12)]
    assert statuses[0] is Status.OK and statuses[-1] is Status.ERROR
    assert 1 < len(named("leftover", os.getpid())) <= 8
    session.close()
    deadline = time.monotonic() + 5
    while named("leftover", os.getpid()) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert named("leftover", os.getpid()) == []


# One session and another.


@pytest.mark.threat("session.neighbours")
def test_one_session_finds_nothing_of_another(opened: Opener) -> None:
    """No file, process, environment variable or module; signals to every number do not arrive."""
    one, other = opened(), opened()
    one.execute("import os, sys\nsecret = 'sesame-' + 'open'\nos.environ['S'] = secret\nsys.planted = secret")
    one.execute("for place in ('.', '/tmp', '/dev/shm'): open(f'{place}/left.txt', 'w').write(secret)")
    code = """
import os, sys, pathlib
found = [str(path) for place in ('.', '/tmp', '/dev/shm') for path in pathlib.Path(place).rglob('left*')]
found += [name for name in (os.environ.get('S'), getattr(sys, 'planted', None), globals().get('secret')) if name]
for pid in range(1, 3000):
    if pid != os.getpid():
        try: os.kill(pid, 9)
        except OSError: pass
found
"""
    assert value(other.execute(code)) == []
    assert value(one.execute("secret")) == "sesame-open"
    assert other.files.list() == ()


# Traps among the files.


@pytest.fixture
def victim(tmp_path: Path) -> Iterator[Path]:
    """A file of the application's, which stays as it is."""
    place = tmp_path / "victim"
    place.write_text("precious")
    place.chmod(0o666)
    tmp_path.chmod(0o777)
    yield place
    assert place.read_text() == "precious"


TRAPS = """
import os
os.symlink(victim, 'link')
os.symlink(os.path.dirname(victim), 'folder')
os.symlink('/etc', 'etc'); os.symlink('/', 'root'); os.symlink('.', 'self'); os.symlink('..', 'up')
os.symlink('/proc/self/fd', 'fd'); os.symlink('gone', 'dangling')
try: os.mkfifo('fifo')
except OSError: pass
open('plain', 'w').write('x'); os.link('plain', 'second')
open('sparse', 'wb').truncate(size)
os.makedirs('deep/' * 30)
open('deep/' * 30 + 'bottom', 'w').close()
for name in (b'bad\\xff', b'new\\nline', b'\\x1b[31m', 'rtl\\u202e'.encode(), b'back\\\\slash'):
    try: open(name, 'w').close()
    except OSError: pass
import socket
try: socket.socket(socket.AF_UNIX).bind('sock')
except OSError: pass
"""
INSIDE = {"plain", "second", "sparse"}


@pytest.fixture
def trapped(opened: Opener, victim: Path) -> Session:
    session = opened(artifact_bytes=1 << 20, file_bytes=1 << 30)
    result = session.execute(TRAPS, context={"victim": str(victim), "size": 1 << 29})
    assert result.success, result.error
    return session


@pytest.mark.threat("session.files")
def test_listing_shows_regular_files_with_plain_names_only(trapped: Session) -> None:
    """Links are not followed, pipes not waited for, odd names and what is too deep left out."""
    assert {entry.name for entry in trapped.files.list()} == INSIDE


@pytest.mark.threat("session.files")
@pytest.mark.parametrize(
    "name",
    [
        "link",
        "folder/victim",
        "etc/passwd",
        "root/etc/passwd",
        "self/plain",
        "up/work/plain",
        "fd/3",
        "dangling",
        "gone",
    ],
)
def test_no_link_is_followed(trapped: Session, name: str) -> None:
    """Neither as the last part of a name nor on the way."""
    with pytest.raises(FileNotFoundError, match=name):
        trapped.files.read(name)
    if "/" in name:
        with pytest.raises(FileNotFoundError):
            trapped.files.delete(name)


@pytest.mark.threat("session.files")
@pytest.mark.parametrize(
    ("name", "why"), [("deep", "not a regular"), ("second", "hard link"), ("sparse", "may be read")]
)
def test_what_is_not_one_plain_file_within_the_limits_is_not_read(trapped: Session, name: str, why: str) -> None:
    """A sparse file of half a gigabyte does not fill our memory."""
    with pytest.raises(ConfigurationError, match=why):
        trapped.files.read(name)


@pytest.mark.threat("session.files")
@pytest.mark.parametrize(
    "name", ["../x", "/etc/passwd", "a/../../x", "", ".", "..", "a//b", "a\0b", "a\nb", "\ud800", "x" * 300]
)
def test_names_that_lead_out_are_refused(session: Session, name: str) -> None:
    """Before anything is asked of the session."""
    for use in (session.files.read, session.files.delete, lambda name: session.files.write(name, b"")):
        with pytest.raises(ConfigurationError):
            use(name)


@pytest.mark.threat("session.files")
def test_deleting_takes_the_link_and_not_what_it_leads_to(trapped: Session) -> None:
    """A folder is refused, also an empty one."""
    for name in ("link", "folder", "dangling", "second"):
        trapped.files.delete(name)
    with pytest.raises(ConfigurationError, match="folder"):
        trapped.files.delete("deep")
    assert trapped.files.read("plain") == b"x"
    left = set(value(trapped.execute("[name for name in os.listdir() if name.isalpha()]")))
    assert left - {"sock", "fifo"} == {"deep", "etc", "fd", "plain", "root", "self", "sparse", "up"}


@pytest.mark.threat("session.files")
def test_writing_replaces_the_link_and_stays_inside(trapped: Session, victim: Path) -> None:
    """A link in the file's place is replaced; a folder that is a link leads to what the cell itself may write to."""
    for name in ("link", "dangling", "second"):
        trapped.files.write(name, b"mine")
        assert trapped.files.read(name) == b"mine"
    assert trapped.files.read("plain") == b"x"
    for name in ("folder/victim", "etc/passwd", "root/tmp-of-the-host", "deep"):
        with pytest.raises(OSError, match="could not be written"):
            trapped.files.write(name, b"mine")
    assert not Path("/tmp-of-the-host").exists()
    assert b"mine" not in Path("/etc/passwd").read_bytes()


@pytest.mark.threat("session.files")
def test_ten_thousand_files_are_listed_and_more_are_not_looked_at(opened: Opener) -> None:
    """Listing is bounded, whatever there is."""
    session = opened(disk_files=100_000, timeout_seconds=60)
    session.execute(
        "import os\nfor d in range(30):\n    os.mkdir(str(d))\n    for n in range(1000): open(f'{d}/{n}', 'w').close()"
    )
    assert 15_000 < len(session.files.list()) <= 20_000


@pytest.mark.threat("session.files")
def test_files_are_not_swapped_while_they_are_looked_at(opened: Opener, victim: Path) -> None:
    """Between calls nothing runs, so what swaps links and files does not swap them under our hands."""
    session = opened()
    code = """
import os, threading
os.mkdir('real'); open('real/victim', 'w').write('decoy'); os.symlink(os.path.dirname(victim), 'bait')
def swap():
    while True:
        os.rename('real', 'spare'); os.rename('bait', 'real'); os.rename('real', 'bait'); os.rename('spare', 'real')
threading.Thread(target=swap, daemon=True).start()
"""
    assert session.execute(code, context={"victim": str(victim)}).success
    for _ in range(100):
        try:
            assert session.files.read("real/victim") == b"decoy"
        except FileNotFoundError:
            pass
        names = {entry.name for entry in session.files.list()}
        assert names <= {"real/victim", "spare/victim"}
        session.execute("1")


# Our side.


@pytest.mark.threat("session.forged-result")
def test_whatever_a_session_says_our_side_raises_nothing_but_its_own(opened: Opener) -> None:
    """Reports with fields of every wrong type: a result, or SessionLost, never another exception."""
    wrong: list[object] = [None, 5, -1, "x", [], {}, [[]], True, 1e300, "\ud800"]
    for field in ("outcome", "exit_code", "value", "value_repr", "error", "memory_error"):
        session = opened(timeout_seconds=1)
        for item in wrong:
            forged = report(**{field: item})
            with contextlib.suppress(SessionLost):
                session.execute(f"import os, time\nos.write(3, {forged!r})").to_json()
        session.close()


@pytest.mark.threat("stream.flood")
def test_a_stream_that_floods_every_way_out_holds_our_memory(executor: Executor) -> None:
    """stdout, stderr and displays at once, and nobody reads: what waits is bounded, and closing ends it."""
    shown = frame(DISPLAY, {"text/plain": "x" * 1000})
    code = f"""
import os, threading
def flood(number, data):
    while True: os.write(number, data)
for pair in ((1, b'o' * 65536), (2, b'e' * 65536)): threading.Thread(target=flood, args=pair, daemon=True).start()
flood(3, {shown!r})
"""
    config = SandboxConfig(timeout_seconds=20, output_bytes=1 << 28, display_count=100)
    with executor.stream(code, config=config) as stream:
        next(stream)
        time.sleep(0.7)
        assert stream._feed._unread < 2 << 20
    assert stream.result
    assert stream.result.status is Status.CANCELLED
    assert sum(isinstance(event, Display) for event in stream) <= 100
    assert threading.active_count() < 200
