"""Memory groups on the kernel itself: what goes in is counted, limited, killed and forgotten. Skipped where refused."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator

import pytest

from hotcell.sandboxes.local import cgroups
from hotcell.sandboxes.local.cgroups import Group, Groups

MiB = 1 << 20
_HOLD = """
import sys
sys.stdin.readline()
held = bytearray({size})
held[::4096] = b"x" * len(held[::4096])
print(1, flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def groups() -> Iterator[Groups]:
    made = cgroups.open_groups(f"hotcell-test-{os.getpid()}-{uuid.uuid4().hex[:8]}")
    if made is None:
        pytest.skip("this host lets us make no memory group (neither version 1 as root nor a delegated version 2)")
    yield made
    for path in made.path.glob("cell*"):  # of a test that failed half-way
        with contextlib.suppress(OSError):
            path.rmdir()
    made.close()
    assert not made.path.exists()


@pytest.fixture
def holder() -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Starts a process that waits for a line, then holds ``size`` bytes until another."""
    started: list[subprocess.Popen[bytes]] = []

    def start(size: int) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-I", "-S", "-c", _HOLD.format(size=size)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def fill(process: subprocess.Popen[bytes]) -> bool:
    """Let it take its memory; False when it died of that."""
    assert process.stdin and process.stdout
    process.stdin.write(b"\n")
    process.stdin.flush()
    return process.stdout.readline() == b"1\n"


def emptied(group: Group) -> None:
    deadline = time.monotonic() + 5
    while group.tasks() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert group.tasks() == 0


def test_a_process_is_admitted_and_its_peak_is_measured(
    groups: Groups, holder: Callable[..., subprocess.Popen[bytes]]
) -> None:
    group = groups.take()
    process = holder(30 * MiB)
    group.admit(process.pid, 200 * MiB)
    assert group.tasks() == 1
    assert fill(process)
    assert 30 * MiB <= group.peak_bytes() < 60 * MiB
    assert not group.was_out_of_memory()
    process.kill()
    process.wait()
    emptied(group)
    groups.give_back(group, is_clean=True)


@pytest.mark.threat(17)
def test_a_process_that_takes_too_much_is_killed_and_the_group_says_so(
    groups: Groups, holder: Callable[..., subprocess.Popen[bytes]]
) -> None:
    group = groups.take()
    process = holder(80 * MiB)
    group.admit(process.pid, 20 * MiB)
    assert not fill(process)
    assert process.wait(10) == -9
    assert group.was_out_of_memory()
    assert group.peak_bytes() <= 21 * MiB
    emptied(group)
    groups.give_back(group, is_clean=True)


@pytest.mark.threat(36)
def test_a_group_that_is_used_again_has_forgotten_the_cell_before(
    groups: Groups, holder: Callable[..., subprocess.Popen[bytes]]
) -> None:
    group = groups.take()
    first = holder(80 * MiB)
    group.admit(first.pid, 20 * MiB)
    fill(first)
    first.wait(10)
    emptied(group)
    groups.give_back(group, is_clean=True)
    again = groups.take()
    if groups.version == 1:
        assert again is group
    second = holder(MiB)
    again.admit(second.pid, 100 * MiB)
    assert fill(second)
    assert not again.was_out_of_memory()
    assert again.peak_bytes() < 15 * MiB
    second.kill()
    second.wait()
    emptied(again)
    groups.give_back(again, is_clean=True)


@pytest.mark.threat(20)
def test_children_are_counted_with_their_parent(groups: Groups) -> None:
    group = groups.take()
    code = "import os, sys, time; sys.stdin.readline(); [os.fork() or time.sleep(60) for _ in range(5)]; time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-I", "-S", "-c", code], stdin=subprocess.PIPE, start_new_session=True)
    try:
        group.admit(process.pid, 100 * MiB)
        assert process.stdin
        process.stdin.write(b"\n")
        process.stdin.flush()
        deadline = time.monotonic() + 5
        while group.tasks() < 6 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert group.tasks() == 6
    finally:
        os.killpg(process.pid, 9)
        process.communicate()
    emptied(group)
    groups.give_back(group, is_clean=True)


def test_groups_are_taken_once_each_and_used_again(groups: Groups) -> None:
    taken = [groups.take() for _ in range(5)]
    assert len({group.path for group in taken}) == 5
    for group in taken:
        groups.give_back(group, is_clean=True)
    if groups.version == 1:
        assert {groups.take().path for _ in range(5)} == {group.path for group in taken}
        for group in taken:
            groups.give_back(group, is_clean=True)


def test_no_descriptor_stays_open(groups: Groups) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        group = groups.take()
        group.peak_bytes()
        group.was_out_of_memory()
        group.tasks()
        group.remove()
    assert len(os.listdir("/proc/self/fd")) == before


def test_removing_twice_is_harmless(groups: Groups) -> None:
    group = groups.take()
    group.remove()
    group.remove()
    assert not group.path.exists()


def test_admitting_a_process_that_is_gone_is_an_os_error(groups: Groups) -> None:
    group = groups.take()
    process = subprocess.Popen(["/bin/true"])
    process.wait()
    with pytest.raises(OSError, match="No such process"):
        group.admit(process.pid, 100 * MiB)
    groups.give_back(group, is_clean=True)


def test_closing_leaves_nothing_behind() -> None:
    name = f"hotcell-test-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    made = cgroups.open_groups(name)
    if made is None:
        pytest.skip("this host lets us make no memory group")
    with contextlib.closing(made):
        for group in [made.take() for _ in range(3)]:
            made.give_back(group, is_clean=True)
        assert made.path.exists()
    assert not made.path.exists()


def test_a_name_that_is_taken_already_is_not_shared(groups: Groups) -> None:
    assert cgroups.open_groups(groups.path.name) is None
