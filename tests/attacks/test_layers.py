"""Every layer of the wall is there for a reason: with it an attack fails, and without it the attack succeeds.

Where several layers stand against the same attack, the others (``overlap``) are taken away first: the layer then holds
alone.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from observers.cells import NAMED, RAW, ask
from observers.processes import descendants, named

from hotcell.errors import SandboxCrashed
from hotcell.results import IsolationLevel, Status
from hotcell.sandboxes.base import Cancellation
from hotcell.sandboxes.local.layers import LAYERS
from hotcell.sandboxes.local.sandbox import LocalSandbox

Attack = Callable[[LocalSandbox], bool]
"""Returns True when it succeeded."""


class Proof(NamedTuple):
    """One layer, what else stands in the attack's way, and the attack."""

    layer: str
    attack: Attack
    overlap: frozenset[str] = frozenset()
    isolation: IsolationLevel = IsolationLevel.NAMESPACE
    """The level at which it is shown."""
    root_only: bool = False
    """An ordinary user has no such layer to offer."""


PROOFS: list[Proof] = []


def against(
    layer: str, *overlap: str, isolation: tuple[str, ...] = ("namespace",), root_only: bool = False
) -> Callable[[Attack], Attack]:
    """The decorated function is the attack that ``layer`` answers."""

    def add(attack: Attack) -> Attack:
        levels = map(IsolationLevel, isolation)
        PROOFS.extend(Proof(layer, attack, frozenset(overlap), level, root_only) for level in levels)
        return attack

    return add


def says_yes(sandbox: LocalSandbox, code: str, **limits: object) -> bool:
    """True when the code got as far as printing yes as its last line."""
    return ask(sandbox, code, **limits).stdout.endswith("yes\n")


def kills_a_neighbour(sandbox: LocalSandbox, code: str) -> bool:
    """True when a cell that runs beside the code dies of it."""
    deaths = []
    cancellation = Cancellation()

    def live() -> None:
        try:
            outcome = ask(
                sandbox, NAMED.format(name="neighbour") + "import time; time.sleep(4)", cancellation=cancellation
            )
            deaths.append(outcome.status is Status.KILLED)
        except SandboxCrashed:  # the fork server's launcher was hit too
            deaths.append(True)

    neighbour = threading.Thread(target=live)
    neighbour.start()
    while not named("neighbour", os.getpid()):
        time.sleep(0.01)
    with contextlib.suppress(SandboxCrashed):
        ask(sandbox, code)
    neighbour.join(0.3)
    cancellation.cancel()
    neighbour.join()
    return deaths[0]


@against("user-namespace", "capabilities", "seccomp", "landlock", "mount-namespace")
def mounts_over_its_own_tree(sandbox: LocalSandbox) -> bool:
    """A file system of the cell's own making over what it may not write to."""
    code = RAW + "print('yes' if raw(165, b'tmpfs', b'/etc', b'tmpfs', 0, None) == 0 else 'no')"
    return says_yes(sandbox, code)


@against("separate-uid", "pid-namespace", "landlock", "private-proc", root_only=True)
@against("pid-namespace", "separate-uid", "landlock", "private-proc")
def signals_everything(sandbox: LocalSandbox) -> bool:
    """kill(-1): every process that the sender may signal."""
    return kills_a_neighbour(sandbox, "import os; os.kill(-1, 9)")


@against("process-group", "separate-uid", "landlock")
def signals_its_process_group(sandbox: LocalSandbox) -> bool:
    """kill(0): everything that shares the group."""
    return kills_a_neighbour(sandbox, "import os; os.kill(0, 9)")


@against("mount-namespace", "separate-uid", "private-proc")
def finds_the_mounts_of_another(sandbox: LocalSandbox) -> bool:
    """A file that another cell put into the directory that is mounted for it."""
    watching = """
import os, time
for _ in range(100):
    if os.path.exists("/run/cell/work/neighbour"):
        print("yes")
        break
    time.sleep(0.01)
"""
    seen = []
    watcher = threading.Thread(target=lambda: seen.append(says_yes(sandbox, watching)))
    watcher.start()
    time.sleep(0.3)
    ask(sandbox, "import time; time.sleep(0.3)", files={"neighbour": b"private"})
    watcher.join()
    return seen[0]


@against("landlock", isolation=("process",))
@against("root-filesystem")
def reads_a_file_of_the_host(sandbox: LocalSandbox) -> bool:
    """A file that everybody on the host may read."""
    content = Path("/etc/passwd").read_text()
    return ask(sandbox, "print(open('/etc/passwd').read(), end='')").stdout == content


@against("private-files", "separate-uid", "private-proc")
def leaves_a_file_for_the_next(sandbox: LocalSandbox) -> bool:
    """What one cell writes to its temporary directory, the next one reads."""
    ask(sandbox, "open('/tmp/message', 'w').write('hello')")
    return says_yes(sandbox, "import os; print('yes' if os.path.exists('/tmp/message') else 'no')")


@against("private-proc")
def lists_the_processes_of_others(sandbox: LocalSandbox) -> bool:
    """Numbers in /proc that are not the cell's own."""
    code = "import os; print('yes' if {n for n in os.listdir('/proc') if n.isdigit()} - {str(os.getpid())} else 'no')"
    return says_yes(sandbox, code)


def connects_to_loopback(sandbox: LocalSandbox) -> bool:
    """A TCP connection to a server on this host: the server sees who came."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        port = server.getsockname()[1]
        ask(sandbox, f"import socket; socket.create_connection(('127.0.0.1', {port}), 1).sendall(b'secret')")
        try:
            connection, _ = server.accept()
        except TimeoutError:
            return False
        connection.close()
        return True


against("network-namespace", "seccomp", "landlock")(connects_to_loopback)
against("landlock", "seccomp", "network-namespace")(connects_to_loopback)


@against("ipc-namespace", "seccomp")
def leaves_shared_memory(sandbox: LocalSandbox) -> bool:
    """A System V segment that one cell makes and the next one finds: the kind that outlives its maker."""
    key = os.getpid() | 1 << 24
    try:
        ask(sandbox, RAW + f"assert raw(29, {key}, 4096, 0o1666) >= 0")
        return says_yes(sandbox, RAW + f"print('yes' if raw(29, {key}, 4096, 0o666) >= 0 else 'no')")
    finally:
        libc = ctypes.CDLL(None)
        identifier = libc.shmget(key, 0, 0)
        if identifier >= 0:
            libc.shmctl(identifier, 0, None)  # IPC_RMID


@against("uts-namespace")
def reads_the_host_name(sandbox: LocalSandbox) -> bool:
    """The name that the host's administrator gave it."""
    return ask(sandbox, "import os; print(os.uname().nodename)").stdout == os.uname().nodename + "\n"


@against("cgroup-namespace")
def is_in_the_hosts_view_of_groups(sandbox: LocalSandbox) -> bool:
    """The namespace in which the cell sees cgroup paths is the host's."""
    seen = ask(sandbox, "import os; print(os.readlink('/proc/self/ns/cgroup'))").stdout
    assert seen.startswith("cgroup:[")
    return seen == os.readlink("/proc/self/ns/cgroup") + "\n"


@against("parent-death-signal", isolation=("process",))
def outlives_the_fork_server(sandbox: LocalSandbox) -> bool:
    """The fork server dies while the application cannot react: does the cell go on?"""
    script = f"""
import sys, threading, time
sys.path.insert(0, {str(Path(__file__).parents[1])!r})
from observers.cells import ask
from hotcell.sandboxes.local.sandbox import LocalSandbox
sandbox = LocalSandbox(isolation="process", pool_size=0, without={sorted(sandbox._without)!r})
sandbox.info
threading.Thread(target=lambda: ask(sandbox, "import time; time.sleep(60)", timeout_seconds=60), daemon=True).start()
print("running", flush=True)
time.sleep(60)
"""
    application = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, env=_with_path())
    family: list[int] = []
    try:
        assert application.stdout
        assert application.stdout.readline() == b"running\n"
        while len(family := descendants(application.pid)) < 3:
            time.sleep(0.02)
        _, server, cell = family
        time.sleep(0.2)  # now its jail is closed too
        os.kill(application.pid, signal.SIGSTOP)
        os.kill(server, signal.SIGKILL)
        time.sleep(0.3)
        return Path(f"/proc/{cell}/cmdline").exists() and Path(f"/proc/{cell}/cmdline").read_bytes() != b""
    finally:
        application.kill()
        application.communicate()
        for pid in family[1:]:  # the launcher stays, to remove what is left
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _with_path() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(Path(__file__).parents[2] / "src")}


@against("environment", isolation=("namespace", "process"))
def reads_the_applications_environment(sandbox: LocalSandbox) -> bool:
    """A variable of the application, through Python and as the kernel keeps it."""
    code = "import os; print('yes' if 'HOTCELL_TEST_SECRET' in os.environ else 'no')"
    return says_yes(sandbox, code)


@against("descriptors", isolation=("namespace", "process"))
def finds_open_descriptors(sandbox: LocalSandbox) -> bool:
    """Something open beyond the streams and the wire."""
    code = """
import os
found = 0
for number in range(4, 256):
    try:
        os.fstat(number)
        found += 1
    except OSError:
        pass
print("yes" if found else "no")
"""
    return says_yes(sandbox, code)


@against("resource-limits", isolation=("namespace", "process"))
def opens_more_files_than_it_may(sandbox: LocalSandbox) -> bool:
    """A hundred descriptors where 32 are allowed."""
    return says_yes(sandbox, "held = [open('/dev/null') for _ in range(100)]; print('yes')", open_files=32)


@against("memory-group", root_only=True)
def hides_memory_in_files(sandbox: LocalSandbox) -> bool:
    """Files in memory belong to no process, so only a group counts them."""
    code = "with open('/tmp/big', 'wb') as file:\n    for _ in range(150): file.write(bytes(1 << 20))\nprint('yes')"
    return says_yes(sandbox, code, memory_bytes=64 << 20, disk_bytes=256 << 20, file_bytes=256 << 20)


@against("capabilities", "seccomp")
def makes_a_mount_namespace(sandbox: LocalSandbox) -> bool:
    """A privileged system call."""
    return says_yes(sandbox, RAW + "print('yes' if raw(272, 0x20000) == 0 else 'no')")


@against("no-new-privileges", "seccomp", "landlock", isolation=("process",))
def gains_power_through_a_set_uid_program(sandbox: LocalSandbox) -> bool:
    """A program that the system's owner trusts with his id, started by the cell."""
    code = """
import os, subprocess, time
def power(pid):
    lines = open(f"/proc/{pid}/status").read().splitlines()
    return [line for line in lines if line.startswith(("Uid:", "CapEff:"))]
program = subprocess.Popen(["/usr/bin/su"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
time.sleep(0.3)
print("yes" if power(program.pid) != power(os.getpid()) else "no")
program.kill()
"""
    return says_yes(sandbox, code)


@against("not-dumpable", "separate-uid")
def reads_memory_from_beside(sandbox: LocalSandbox) -> bool:
    """A second process of the cell, with the same id, reads the first one's memory."""
    code = """
import ctypes, os
secret = ctypes.create_string_buffer(b"a secret")
where = ctypes.addressof(secret)
child = os.fork()
if child == 0:
    try:
        with open(f"/proc/{os.getppid()}/mem", "rb", buffering=0) as memory:
            memory.seek(where)
            os._exit(0 if memory.read(8) == b"a secret" else 1)
    except OSError:
        os._exit(2)
_, status = os.waitpid(child, 0)
print("yes" if status == 0 else "no")
"""
    return says_yes(sandbox, code)


@against("no-executable-memory", isolation=("namespace", "process"))
def runs_machine_code(sandbox: LocalSandbox) -> bool:
    """mov eax, 42; ret: made up by the cell."""
    code = """
import ctypes, mmap
page = mmap.mmap(-1, 4096, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, prot=7)
page.write(b"\\xb8\\x2a\\0\\0\\0\\xc3")
call = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))
print("yes" if call() == 42 else "no")
"""
    return says_yes(sandbox, code)


@against("seccomp", isolation=("namespace", "process"))
def asks_to_be_traced(sandbox: LocalSandbox) -> bool:
    """ptrace(PTRACE_TRACEME): a call that no honest program in a cell needs."""
    return says_yes(sandbox, RAW + "print('yes' if raw(101, 0, 0, 0, 0) == 0 else 'no')")


@against("reseed", isolation=("namespace", "process"))
def predicts_the_numbers_of_another(sandbox: LocalSandbox) -> bool:
    """Two cells draw from the generator that the fork server had."""
    first, second = (ask(sandbox, "import random; print(random.random())").stdout for _ in range(2))
    assert first
    return first == second


def test_every_layer_is_proven() -> None:
    assert {proof.layer for proof in PROOFS} == {layer.id for layer in LAYERS}


@pytest.mark.parametrize("proof", PROOFS, ids=lambda proof: f"{proof.layer}-{proof.isolation}")
def test_only_this_layer_stops_the_attack(proof: Proof, namespaced: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if proof.isolation is IsolationLevel.NAMESPACE and not namespaced:
        pytest.skip("level process: this host refuses namespaces")
    if proof.root_only and os.geteuid() != 0:
        pytest.skip("an ordinary user cannot have this layer here")
    if proof.layer == "no-new-privileges" and "NoNewPrivs:\t1" in Path("/proc/self/status").read_text():
        pytest.skip("this process has no new privileges to begin with, and cells inherit that")
    monkeypatch.setenv("HOTCELL_TEST_SECRET", "hunter2")
    for missing, succeeds in (
        (frozenset[str](), False),
        (proof.overlap, False),
        (proof.overlap | {proof.layer}, True),
    ):
        with LocalSandbox(preload=["random"], isolation=proof.isolation, pool_size=0, without=missing) as sandbox:
            assert not set(sandbox.info.layers) & missing
            assert (proof.layer in sandbox.info.layers) is not succeeds
            # One success proves that the layer was what stopped it; being stopped must hold each time.
            seen = [proof.attack(sandbox)]
            while succeeds and not seen[-1] and len(seen) < 4:
                seen.append(proof.attack(sandbox))
            assert seen[-1] is succeeds, f"without {sorted(missing) or 'nothing'}"
