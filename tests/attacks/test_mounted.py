"""Files of the host that are mounted into a cell: they can be read, and nothing else."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from observers.footprint import descriptors_settle, resting

from hotcell.config import SandboxConfig
from hotcell.errors import ConfigurationError
from hotcell.executor import Executor
from hotcell.policy import Policy
from hotcell.readonly import ReadOnly
from hotcell.results import ExecutionResult, IsolationLevel, Status
from hotcell.sandboxes.local.mounted import LEAST_BYTES
from hotcell.sandboxes.local.sandbox import LocalSandbox

CONTENT = b"begin" + bytes(LEAST_BYTES)


@pytest.fixture
def big(tmp_path: Path) -> Path:
    place = tmp_path / "big.bin"
    place.write_bytes(CONTENT)
    place.chmod(0o644)
    return place


@pytest.fixture
def mounting(sandbox: LocalSandbox) -> None:
    if os.geteuid() != 0 or sandbox.isolation is not IsolationLevel.NAMESPACE:
        pytest.skip("only root at level namespace mounts files; elsewhere they are copied")


@pytest.fixture
def unchanged(big: Path) -> Iterator[None]:
    before = big.stat()
    yield
    after = big.stat()
    assert big.read_bytes() == CONTENT
    assert (before.st_mode, before.st_mtime_ns, before.st_nlink) == (after.st_mode, after.st_mtime_ns, after.st_nlink)


def run(sandbox: LocalSandbox, code: str, big: Path, **limits: int) -> ExecutionResult:
    config = SandboxConfig(**limits)
    executor = Executor(sandbox, config, Policy.permissive())
    return executor.execute(code, files={"in/big.bin": ReadOnly(big)}, artifacts=["*"])


@pytest.mark.usefixtures("unchanged")
def test_a_read_only_file_is_read_and_is_no_artifact(sandbox: LocalSandbox, big: Path) -> None:
    result = run(sandbox, "data = open('in/big.bin', 'rb').read()\nlen(data), data[:5].decode()", big)
    assert result.value == [len(CONTENT), "begin"]
    assert result.artifacts == ()


@pytest.mark.threat("fs.mounted")
@pytest.mark.usefixtures("unchanged", "mounting")
@pytest.mark.parametrize(
    "attack",
    [
        "open('in/big.bin', 'r+b').write(b'X')",
        "open('in/big.bin', 'wb')",
        "os.truncate('in/big.bin', 0)",
        "os.chmod('in/big.bin', 0o777)",
        "os.utime('in/big.bin', (0, 0))",
        "os.link('in/big.bin', 'other')",
        "os.unlink('in/big.bin')",
        "os.rename('in/big.bin', 'gone')",
        "os.rename('in', 'elsewhere') or open('elsewhere/big.bin', 'ab').write(b'X')",
        "h = os.open('in/big.bin', os.O_RDONLY); open(f'/proc/self/fd/{h}', 'r+b').write(b'X')",
        "import mmap; mmap.mmap(os.open('in/big.bin', os.O_RDWR), 10)[0:1] == b'X'",
        "import ctypes; ctypes.CDLL(None).umount2(b'in/big.bin', 2); open('in/big.bin', 'ab').write(b'X')",
    ],
)
def test_a_mounted_file_cannot_be_changed(sandbox: LocalSandbox, big: Path, attack: str) -> None:
    result = run(sandbox, f"import os\n{attack}", big)
    assert result.status is Status.ERROR, result


@pytest.mark.threat("fs.mounted")
@pytest.mark.usefixtures("mounting")
def test_the_folder_beside_a_mounted_file_stays_the_hosts(sandbox: LocalSandbox, big: Path) -> None:
    (big.parent / "secret").write_text("hunter2")
    code = """
import os
found = []
for path in ("in/../secret", "in/big.bin/../secret", "/proc/self/cwd/in/../secret"):
    try:
        found.append(open(path).read())
    except OSError:
        pass
handle = os.open("in/big.bin", os.O_RDONLY)
for path in ("../secret", "secret"):
    try:
        found.append(os.open(path, os.O_RDONLY, dir_fd=handle))
    except OSError:
        pass
found
"""
    assert run(sandbox, code, big).value == []


@pytest.mark.usefixtures("mounting")
def test_a_mounted_file_takes_no_room(sandbox: LocalSandbox, big: Path) -> None:
    with big.open("r+b") as file:
        file.truncate(300 << 20)
    result = run(sandbox, "import os\nos.path.getsize('in/big.bin')", big, file_bytes=1 << 20, disk_bytes=1 << 20)
    assert result.value == 300 << 20


@pytest.mark.usefixtures("mounting")
def test_a_file_that_not_everybody_may_read_is_copied_or_refused(sandbox: LocalSandbox, big: Path) -> None:
    big.chmod(0o600)
    assert run(sandbox, "open('in/big.bin', 'rb').read(5).decode()", big).value == "begin"
    with pytest.raises(ConfigurationError, match="has to be copied"):
        run(sandbox, "1", big, file_bytes=1 << 19)


@pytest.mark.usefixtures("mounting")
def test_nothing_of_a_mount_is_left(sandbox: LocalSandbox, big: Path) -> None:
    before = resting().descriptors
    for _ in range(20):
        run(sandbox, "1", big)
    assert descriptors_settle(before + 8) <= before + 8
    assert str(big) not in Path("/proc/self/mountinfo").read_text()


def test_a_copied_read_only_file_says_so(sandbox: LocalSandbox, tmp_path: Path) -> None:
    small = tmp_path / "small.txt"
    small.write_text("text")
    executor = Executor(sandbox, policy=Policy.permissive())
    result = executor.execute("open('small.txt', 'w')", files={"small.txt": ReadOnly(small)})
    assert result.error is not None
    assert result.error.type == "PermissionError"


def test_a_read_only_file_in_a_session_is_a_copy(sandbox: LocalSandbox, big: Path) -> None:
    with Executor(sandbox, policy=Policy.permissive()).session() as session:
        session.execute("", files={"big.bin": ReadOnly(big)})
        assert session.execute("open('big.bin', 'rb').read(5).decode()").value == "begin"
