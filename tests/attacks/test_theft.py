"""Theft: what the application, the fork server or an earlier execution knew."""

from __future__ import annotations

import os
import time

import pytest
from observers.cells import ask
from observers.wall import Attack

from hotcell.results import Status
from hotcell.sandboxes.local.sandbox import LocalSandbox

RAW_SCAN = """
import ctypes
def scan_raw(needles):
    found = dict.fromkeys(needles, 0)
    for line in open("/proc/self/maps").read().splitlines():
        low, high = (int(part, 16) for part in line.split()[0].split("-"))
        if "rw" not in line.split()[1] or "[v" in line or high - low > 1 << 26:
            continue
        data = ctypes.string_at(low, high - low)
        for needle in needles:
            # Put together only while counting, so that the needle itself is not what is found.
            found[needle] += data.count(bytes(byte ^ 0x55 for byte in bytes.fromhex(needle)))
    return found
"""


def hidden(secret: str) -> str:
    """The needle in a form that does not contain it."""
    return bytes(byte ^ 0x55 for byte in secret.encode()).hex()


@pytest.mark.threat("theft.memory")
def test_no_secret_of_the_application_is_in_memory(monkeypatch: pytest.MonkeyPatch, needs_namespaces: None) -> None:
    """The cell's whole memory is scanned: neither a variable of the application's environment nor an object of it."""
    secret = "swordfish-" + os.urandom(8).hex()
    monkeypatch.setenv("DATABASE_PASSWORD", secret)
    with LocalSandbox(pool_size=0) as sandbox:
        outcome = ask(sandbox, RAW_SCAN + "\nprint(scan_raw([needle]))", context={"needle": hidden(secret)})
        assert outcome.status is Status.OK, outcome
        assert outcome.stdout == f"{{'{hidden(secret)}': 0}}\n"


@pytest.mark.threat("theft.previous-run")
def test_nothing_of_the_previous_execution_is_in_memory(attack: Attack, needs_namespaces: None) -> None:
    """Code, context and output of one execution are not in the memory of the next ones."""
    secret = "swordfish-" + os.urandom(8).hex()
    attack(f"x = '{secret}'\nprint(x)", context={"y": secret})
    seen = []
    for _ in range(4):
        outcome = attack(RAW_SCAN + "\nprint(scan_raw([needle]))", context={"needle": hidden(secret)})
        seen.append(outcome.stdout)
    assert seen == [f"{{'{hidden(secret)}': 0}}\n"] * 4


@pytest.mark.threat("theft.memory")
def test_the_memory_scan_finds_what_is_there(attack: Attack, needs_namespaces: None) -> None:
    """The scan that finds nothing of others does find a secret that the cell was given."""
    secret = "swordfish-" + os.urandom(8).hex()
    outcome = attack(RAW_SCAN + "\nprint(scan_raw([needle]))", context={"needle": hidden(secret), "given": secret})
    assert int(outcome.stdout.split()[-1].strip("}")) >= 1


@pytest.mark.threat("theft.environment")
def test_the_environment_is_built_from_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable of the application is in os.environ, and none in what the kernel keeps of it."""
    monkeypatch.setenv("PLANTED", "1")
    with LocalSandbox(pool_size=0) as sandbox:
        outcome = ask(
            sandbox,
            """
import os
import time
print(sorted(os.environ))
for name in ("environ", "cmdline", "auxv"):
    for pid in ("self", "1", os.getppid()):
        try: print(name, open(f"/proc/{pid}/{name}", "rb").read())
        except OSError: pass
""",
        )
    assert outcome.status is Status.OK
    for name in ("PLANTED", "SSH", "PYTEST", "VIRTUAL_ENV", "OLDPWD"):
        assert name not in outcome.stdout
    assert "hotcell-" not in outcome.stdout


@pytest.mark.threat("theft.identity")
def test_the_host_cannot_be_recognised(attack: Attack, needs_namespaces: None) -> None:
    """Host name, user name, groups, machine id, network interfaces and mounts of the host are not to be had."""
    outcome = attack("""
import os, socket, uuid
print(os.uname().nodename, os.getgroups(), os.environ.get("HOME"))
for path in ("/etc/machine-id", "/etc/hostname", "/etc/resolv.conf", "/proc/net/tcp", "/proc/cpuinfo",
             "/proc/version", "/proc/cmdline", "/proc/kmsg", "/proc/kallsyms", "/proc/sys/kernel/hostname",
             "/sys/class/net", "/var/log", "/proc/meminfo", "/proc/mounts"):
    try: print("READ", path, (os.listdir(path) if os.path.isdir(path) else open(path).read())[:100])
    except OSError: pass
try: print(os.getlogin())
except OSError: pass
""")
    assert outcome.status is Status.OK
    name = os.uname().nodename
    assert name not in outcome.stdout
    read = {line.split()[1] for line in outcome.stdout.splitlines() if line.startswith("READ")}
    assert read <= {"/proc/mounts"}


@pytest.mark.threat("theft.modules")
def test_the_applications_modules_are_not_loaded(attack: Attack) -> None:
    """Nothing of the application, of pytest or of Hotcell's trusted side can be found through sys.modules or gc."""
    outcome = attack("""
import gc, sys
ours = ("pytest", "_pytest", "django", "observers", "hotcell.executor", "hotcell.policy")
print([name for name in sys.modules if name.startswith(ours)])
print([m.__name__ for m in gc.get_objects() if type(m) is type(sys) and m.__name__.startswith(("pytest", "django"))])
print([p for p in sys.path if "hotcell" in p or "work" in p])
""")
    assert outcome.stdout.splitlines()[:2] == ["[]", "[]"]


@pytest.mark.threat("theft.descriptors")
def test_no_descriptor_is_inherited(attack: Attack) -> None:
    """Descriptors 4 to 1023 are closed; 0 is empty, 1 to 3 are the cell's own streams."""
    outcome = attack("""
import os, stat
for number in range(1024):
    try: mode = os.fstat(number).st_mode
    except OSError: continue
    kinds = {stat.S_IFIFO: "pipe", stat.S_IFSOCK: "socket", stat.S_IFCHR: "device"}
    print(number, kinds.get(stat.S_IFMT(mode), "other"))
""")
    assert outcome.stdout.splitlines() == ["0 device", "1 pipe", "2 pipe", "3 socket"]


@pytest.mark.threat("theft.wire")
def test_the_wire_gives_nothing_away(attack: Attack) -> None:
    """Reading the wire, or asking it for descriptors and credentials, brings nothing."""
    outcome = attack("""
import os, socket
os.set_blocking(3, False)
wire = socket.socket(fileno=os.dup(3))
for action in (lambda: os.read(3, 100), lambda: socket.recv_fds(wire, 100, 10), lambda: wire.recvmsg(100, 1000)):
    try: print(action())
    except BlockingIOError: pass
""")
    assert outcome.status is Status.OK
    assert outcome.stdout == ""


@pytest.mark.threat("forge.descriptors", "supervisor.descriptors")
def test_descriptors_sent_over_the_wire_are_not_kept() -> None:
    """A cell that sends hundreds of descriptors with its frames leaves none of them open on our side."""
    code = """
import os, socket
wire = socket.socket(fileno=os.dup(3))
handles = [os.open("/dev/null", os.O_RDONLY) for _ in range(100)]
for _ in range(20):
    try: socket.send_fds(wire, [b""], handles)
    except OSError: break
    try: socket.send_fds(wire, [b"\\x05\\0\\0\\0\\0"], handles)
    except OSError: break
"""
    with LocalSandbox(pool_size=0) as ours:
        ask(ours, code, open_files=256)
        time.sleep(0.2)  # the last cell's own descriptors go a moment after its result
        before = len(os.listdir("/proc/self/fd"))
        for artifacts in ((), ("*",)):
            ask(ours, code, artifacts=artifacts, open_files=256)
        time.sleep(0.2)
        assert len(os.listdir("/proc/self/fd")) <= before + 3
