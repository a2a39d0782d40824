"""The host's files: read, changed, filled up, or smuggled out as artifacts."""

from __future__ import annotations

import os
import site
import socket
import sys
import time
from pathlib import Path

import pytest
from observers.cells import RAW, ask
from observers.wall import Attack

from hotcell.results import Status
from hotcell.sandboxes.local.sandbox import LocalSandbox

READ_ALL = """
import os
for path in paths:
    try:
        with open(path, "rb", buffering=0) as file:
            print("READ", path, file.read(200))
    except OSError:
        pass
    try:
        print("LIST", path, os.listdir(path))
    except OSError:
        pass
"""


@pytest.mark.threat("fs.passwd")
def test_the_password_file_is_a_stub(attack: Attack) -> None:
    """The cell finds no account of the host in /etc/passwd, and no /etc/shadow at all."""
    outcome = attack(READ_ALL, context={"paths": ["/etc/passwd", "/etc/shadow", "/etc/group"]})
    hosts = Path("/etc/passwd").read_text().splitlines()
    assert outcome.status is Status.OK
    assert not [line for line in hosts if line in outcome.stdout]
    assert "shadow" not in outcome.stdout


@pytest.mark.threat("fs.home", "fs.source")
def test_home_and_project_are_not_there(attack: Attack) -> None:
    """The application's home, its working directory and its source are not in reach."""
    paths = [str(Path.home()), os.getcwd(), *map(str, Path(__file__).parents[:3]), __file__, "/home", "/root", "/srv"]
    here = {str(Path(path)) for path in sys.path if path} | {sys.prefix, sys.base_prefix}
    outcome = attack(READ_ALL, context={"paths": paths})
    assert outcome.status is Status.OK
    assert "READ" not in outcome.stdout
    for line in outcome.stdout.splitlines():
        # A directory on the way to the interpreter exists, and holds nothing but the way.
        _, path, listing = line.split(" ", 2)
        assert any(place.startswith(path) for place in here), line
        assert len(listing.split(", ")) <= 2, line


@pytest.mark.threat("fs.temporary")
def test_the_hosts_temporary_files_are_not_there(attack: Attack, tmp_path: Path) -> None:
    """A world-readable file in the host's /tmp cannot be read, listed or replaced."""
    tmp_path.chmod(0o755)
    victim = tmp_path / "victim"
    victim.write_text("of the host")
    victim.chmod(0o666)
    outcome = attack(
        READ_ALL + "\nfor path in paths:\n    try: open(path, 'w').write('changed')\n    except OSError: pass",
        context={"paths": [str(victim), str(tmp_path)]},
    )
    assert outcome.status is Status.OK
    assert outcome.stdout == ""
    assert victim.read_text() == "of the host"


@pytest.mark.threat("fs.interpreter")
def test_python_and_its_libraries_cannot_be_changed(attack: Attack) -> None:
    """Writing into the interpreter, its site-packages or its caches changes nothing on the host."""
    package = site.getsitepackages()[0]
    targets = [
        os.__file__,
        f"{package}/planted.pth",
        f"{package}/planted.py",
        os.path.dirname(os.__file__) + "/planted.py",
    ]
    before = Path(os.__file__).stat(), Path(package).stat()
    outcome = attack(
        """
import os
for path in targets:
    for action in (
        lambda: open(path, "a").write("import os"),
        lambda: os.unlink(path),
        lambda: os.rename(path, path + "x"),
        lambda: os.chmod(path, 0o777),
        lambda: os.utime(path, (0, 0)),
        lambda: os.symlink("/tmp", path),
        lambda: os.truncate(path, 0),
    ):
        try:
            action()
        except OSError:
            pass
""",
        context={"targets": targets},
    )
    after = Path(os.__file__).stat(), Path(package).stat()
    assert outcome.status is Status.OK
    for old, new in zip(before, after, strict=True):
        assert (old.st_ino, old.st_mtime_ns, old.st_size, old.st_mode) == (
            new.st_ino,
            new.st_mtime_ns,
            new.st_size,
            new.st_mode,
        )
    assert not [path for path in targets[1:] if os.path.lexists(path)]


@pytest.mark.threat("fs.links")
def test_links_left_as_artifacts_bring_nothing_home(sandbox: LocalSandbox, tmp_path: Path) -> None:
    """Symbolic and hard links, FIFOs and sockets left as artifacts are passed over with a note, without waiting."""
    secret = tmp_path / "secret"
    secret.write_text("of the host")
    started = time.monotonic()
    outcome = ask(
        sandbox,
        """
import os, socket
os.symlink(secret, "link.txt")
os.symlink("/etc/passwd", "passwd.txt")
os.symlink("/proc/self/environ", "environ.txt")
os.symlink(".", "loop.txt")
os.mkdir("real")
open("real/inner.txt", "w").write("fine")
os.symlink("real", "directory.txt")
open("twice.txt", "w").write("x")
for action in (lambda: os.link("twice.txt", "again.txt"), lambda: os.mkfifo("fifo.txt")):
    try: action()
    except OSError: pass
open("good.txt", "w").write("good")
""",
        context={"secret": str(secret)},
        artifacts=("*.txt",),
    )
    assert time.monotonic() - started < 4
    assert outcome.status is Status.OK
    found = {item.name: item.content for item in outcome.artifacts}
    assert found.pop("good.txt") == b"good"
    assert found.pop("real/inner.txt") == b"fine"
    assert set(found) <= {"twice.txt"}  # alone, where links are refused
    assert len(outcome.notes) >= 4


@pytest.mark.threat("fs.odd-names")
def test_odd_names_are_refused_or_harmless(sandbox: LocalSandbox) -> None:
    """Names in broken UTF-8, with newlines or that look like options are not collected; deep trees are cleaned up."""
    outcome = ask(
        sandbox,
        """
import os
for name in (b"\\xff\\xfe", b"a\\nb", b"-rf", b"back\\\\slash", b"esc\\x1b[2J", "bidi\\u202e.txt".encode()):
    open(name, "w").write("x")
for _ in range(1000):
    os.mkdir("d")
    os.chdir("d")
print("deep")
""",
        artifacts=("*",),
    )
    assert outcome.status is Status.OK
    assert outcome.stdout == "deep\n"
    assert {item.name for item in outcome.artifacts} <= {"-rf"}
    assert all(note.isprintable() for note in outcome.notes)


@pytest.mark.threat("fs.escape")
def test_the_old_root_is_never_seen(attack: Attack) -> None:
    """chroot, pivot_root, chains of .., magic links and handles by number lead nowhere."""
    marker = Path(__file__).read_bytes()[:60].decode()
    outcome = attack(
        RAW
        + """
import os
raw(161, b"/tmp"), raw(155, b".", b".")
places = ["../" * 60 + path for path in paths]
places += [f"/proc/{who}/root/{path}" for who in ("self", "1", "thread-self", "2") for path in paths]
places += [f"/proc/{who}/cwd/../../../..{path}" for who in ("self", "1") for path in paths]
places += [f"/proc/self/fd/{number}/{'../' * 30}{path}" for number in range(64) for path in paths]
for place in places:
    try:
        print("READ", place, open(place).read(200))
    except OSError:
        pass
""",
        context={"paths": [__file__, "/etc/hostname", "/etc/machine-id", "/root/.bashrc", "/proc/1/environ"]},
    )
    assert outcome.status is Status.OK, outcome
    assert marker not in outcome.stdout
    assert "READ" not in outcome.stdout


@pytest.mark.threat("disk.sparse", "disk.full")
def test_files_stop_at_their_limit(attack: Attack, namespaced: bool) -> None:
    """A sparse file of 10 GB, fallocate, and a file that grows for ever end at file_bytes and disk_bytes."""
    outcome = attack(
        """
import os, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
def attempt(name, action):
    try:
        action()
        print("made", name)
    except OSError as error:
        print("refused", name)
def sparse():
    with open("sparse", "wb") as file:
        file.truncate(10 << 30)
def allocate():
    with open("allocated", "wb") as file:
        os.posix_fallocate(file.fileno(), 0, 1 << 30)
def grow():
    with open("grown", "wb") as file:
        while True:
            file.write(bytes(1 << 20))
for action in (sparse, allocate, grow):
    attempt(action.__name__, action)
print(max(os.stat(name).st_size for name in os.listdir()) <= 8 << 20)
""",
        file_bytes=8 << 20,
        disk_bytes=16 << 20,
    )
    assert outcome.status is Status.OK, outcome
    assert outcome.stdout == "refused sparse\nrefused allocate\nrefused grow\nTrue\n"


@pytest.mark.threat("disk.full")
def test_many_files_stop_at_the_quota(attack: Attack, needs_namespaces: None) -> None:
    """A million small files end at disk_files, and twenty files together at disk_bytes."""
    outcome = attack(
        """
made = 0
try:
    for made in range(1_000_000):
        open(f"/tmp/{made}", "w").close()
except OSError as error:
    print(error.strerror, made)
""",
        disk_files=500,
    )
    assert outcome.status is Status.OK
    assert "No space left" in outcome.stdout
    assert int(outcome.stdout.split()[-1]) <= 500
    outcome = attack(
        """
written = 0
try:
    for number in range(20):
        with open(f"/dev/shm/{number}" if number % 2 else f"{number}", "wb", buffering=0) as file:
            written += file.write(bytes(4 << 20))
except OSError as error:
    print(error.strerror, written >> 20)
""",
        disk_bytes=16 << 20,
    )
    assert "No space left" in outcome.stdout
    assert int(outcome.stdout.split()[-1]) <= 16


@pytest.mark.threat("fs.device")
def test_no_device_can_be_made_or_opened(attack: Attack) -> None:
    """The cell can neither make a device file nor find the host's disks, memory or terminals."""
    outcome = attack(
        """
import os, stat
for name, kind, major, minor in ("disk", stat.S_IFBLK, 8, 0), ("mem", stat.S_IFCHR, 1, 1), ("tty", stat.S_IFCHR, 5, 0):
    try:
        os.mknod(name, kind | 0o666, os.makedev(major, minor))
        open(name, "rb").read(1)
        print("opened", name)
    except OSError:
        pass
for name in ("sda", "vda", "mem", "kmsg", "tty", "ptmx", "fuse", "net/tun", "kvm", "console"):
    try:
        open(f"/dev/{name}", "rb").close()
        print("opened", name)
    except OSError:
        pass
"""
    )
    assert outcome.status is Status.OK
    assert outcome.stdout == ""


@pytest.mark.threat("fs.sockets")
def test_a_socket_file_of_the_host_cannot_be_reached(attack: Attack, tmp_path: Path) -> None:
    """A Unix socket of the host, such as a database's or Docker's, hears nothing."""
    path = tmp_path / "s"
    for place in (path, *path.parents):
        if place.exists() and place.stat().st_uid == os.geteuid() and place.is_relative_to(tmp_path.parent):
            place.chmod(0o755)  # other tests have their places there, too
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        path.chmod(0o777)
        server.listen()
        server.settimeout(0.2)
        attack("import socket; socket.socket(socket.AF_UNIX).connect(path)", context={"path": str(path)})
        with pytest.raises(TimeoutError):
            server.accept()
