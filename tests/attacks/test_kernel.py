"""The kernel: calls that no honest program makes, namespaces, terminals, and files that steer it."""

from __future__ import annotations

import pytest
from observers.cells import RAW
from observers.wall import Attack

from hotcell.results import Status

# x86-64 numbers; the filter's table for aarch64 is the same by name.
FATAL = {
    "io_uring_setup": "425, 8, ctypes.create_string_buffer(256)",
    "bpf": "321, 0, ctypes.create_string_buffer(128), 128",
    "userfaultfd": "323, 1",
    "perf_event_open": "298, ctypes.create_string_buffer(128), 0, -1, -1, 0",
    "keyctl": "250, 0, -2, 0, 0, 0",
    "add_key": "248, b'user', b'name', b'payload', 7, -2",
    "request_key": "249, b'user', b'name', 0, -2",
    "open_by_handle_at": "304, -100, ctypes.create_string_buffer(128), 0",
    "kexec_load": "246, 0, 0, 0, 0",
    "init_module": "175, b'', 0, b''",
    "finit_module": "313, 0, b'', 0",
    "delete_module": "176, b'x', 0",
    "ptrace": "101, 0, 0, 0, 0",
    "reboot": "169, 0xfee1dead, 672274793, 0, 0",
    "modify_ldt": "154, 0, 0, 0",
    "seccomp": "317, 0, 0, 0",
}


@pytest.mark.threat("kernel.fatal-calls")
@pytest.mark.parametrize("name", FATAL)
def test_calls_for_exploits_are_fatal_and_named(attack: Attack, name: str) -> None:
    """A call that only an exploit makes ends the cell, and the result says which call it was."""
    outcome = attack(RAW + f"print(raw({FATAL[name]}))")
    assert outcome.status is Status.KILLED, outcome
    assert outcome.decided_by == "kernel"
    assert name in outcome.reason
    assert outcome.stdout == ""


REFUSED = {
    "unshare user": "272, 0x10000000",
    "unshare all": "272, 0x7E020000",
    "setns": "308, 0, 0",
    "mount": "165, b'tmpfs', b'/tmp', b'tmpfs', 0, 0",
    "umount": "166, b'/proc', 2",
    "pivot_root": "155, b'.', b'.'",
    "chroot": "161, b'/tmp'",
    "fsopen": "430, b'tmpfs', 0",
    "open_tree": "428, -100, b'/', 1",
    "move_mount": "429, -100, b'/', -100, b'/tmp', 0",
    "mount_setattr": "442, -100, b'/', 0, 0, 0",
    "clone3": "435, ctypes.create_string_buffer(128), 88",
    "clone new user": "56, 0x10000011, 0, 0, 0, 0",
    "clone new pid and more": "56, 0x6C020011, 0, 0, 0, 0",
    "clone parent": "56, 0x8011, 0, 0, 0, 0",
    "tiocsti": "16, 0, 0x5412, b'x'",
    "tiocsti with high bits": "16, 0, 0x100005412, b'x'",
    "tioclinux": "16, 0, 0xFFFFFFFF0000541C, b'x'",
    "setuid": "105, 0",
    "setresuid": "117, 0, 0, 0",
    "setgroups": "116, 0, 0",
    "capset": "126, b'\\x22\\x05\\x08\\x20' + bytes(4), b'\\xff' * 24",
    "personality": "135, 0x0040000",
    "dumpable": "157, 4, 1, 0, 0, 0",
    "keepcaps": "157, 8, 1, 0, 0, 0",
    "no parent death signal": "157, 1, 0, 0, 0, 0",
    "subreaper": "157, 36, 1, 0, 0, 0",
    "second filter by prctl": "157, 22, 2, 0, 0, 0",
    "securebits": "157, 28, 0, 0, 0, 0",
    "bounding set": "157, 24, 21, 0, 0, 0",
    "set ptracer": "157, 0x59616d61, -1, 0, 0, 0",
    "memfd": "319, b'x', 0",
    "memfd secret": "447, 0",
    "shm": "29, 0, 4096, 0o600",
    "message queue": "68, 0, 0o600",
    "semaphore": "64, 0, 1, 0o600",
    "socket": "41, 2, 1, 0",
    "netlink": "41, 16, 3, 0",
    "packet": "41, 17, 3, 0",
    "fanotify": "300, 0, 0",
    "name_to_handle_at": "303, -100, b'/', ctypes.create_string_buffer(128), ctypes.create_string_buffer(8), 0",
    "syslog": "103, 3, ctypes.create_string_buffer(100), 100",
    "settimeofday": "164, ctypes.create_string_buffer(16), 0",
    "sethostname": "170, b'x', 1",
    "swapon": "167, b'x', 0",
    "acct": "163, 0",
    "iopl": "172, 3",
    "ioperm": "173, 0, 1, 1",
    "mknod": "133, b'x', 0o60666, 0x800",
    "pidfd_getfd": "438, 3, 0, 0",
    "process_madvise": "440, 0, 0, 0, 0, 0",
    "real-time priority": "144, 0, 1, ctypes.create_string_buffer(b'\\x63\\0\\0\\0')",
    "an unknown call": "999, 0, 0, 0",
    "a huge number": "0x3FFFFFFF, 0",
}


@pytest.mark.threat("kernel.namespaces", "kernel.terminal", "kernel.identity", "kernel.refused-calls")
def test_calls_that_change_the_cells_standing_are_refused(attack: Attack) -> None:
    """Namespaces, mounts, identities, terminals, hidden memory and priorities: each call fails and the cell goes on."""
    calls = "\n".join(f"print({name!r}, raw({arguments}), flush=True)" for name, arguments in REFUSED.items())
    outcome = attack(RAW + calls + "\nprint('end')")
    assert outcome.status is Status.OK, outcome
    *answers, end = outcome.stdout.splitlines()
    assert end == "end"
    assert len(answers) == len(REFUSED)
    assert [line for line in answers if int(line.split()[-1]) >= 0] == []


@pytest.mark.threat("kernel.capabilities")
def test_no_capability_is_left(attack: Attack) -> None:
    """Every capability set is empty, and no new privileges can come."""
    outcome = attack(
        RAW
        + """
data = ctypes.create_string_buffer(24)
print(raw(125, b"\\x22\\x05\\x08\\x20" + bytes(4), data), data.raw == bytes(24))
print([raw(157, 23, n, 0, 0, 0) for n in range(41)].count(1), raw(157, 39, 0, 0, 0, 0), raw(157, 3, 0, 0, 0, 0))
"""
    )
    first, second = outcome.stdout.splitlines()
    assert first == "0 True"
    assert second.split()[1:] == ["1", "0"]


@pytest.mark.threat("kernel.files")
def test_files_that_steer_the_kernel_are_closed(attack: Attack) -> None:
    """/proc/sys, /sys, sysrq, core_pattern, cgroups and oom_score cannot be written, the telling ones not read."""
    outcome = attack("""
import os
for path in ("/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger", "/proc/sys/kernel/modprobe",
             "/sys/kernel/uevent_helper", "/proc/sys/vm/drop_caches", "/sys/fs/cgroup/cgroup.procs",
             "/sys/fs/cgroup/memory/memory.limit_in_bytes", "/proc/self/oom_score_adj",
             "/proc/self/uid_map", "/proc/self/gid_map", "/proc/self/setgroups",
             "/proc/self/coredump_filter", "/proc/self/timerslack_ns", "/proc/self/loginuid",
             "/proc/self/attr/current"):
    try:
        with open(path, "r+b", buffering=0) as file:
            file.write(b"0")
        print("wrote", path)
    except OSError:
        pass
for path in ("/proc/kallsyms", "/proc/kcore", "/proc/kmsg", "/proc/keys", "/proc/config.gz", "/sys/kernel", "/proc/sys",
             "/proc/interrupts", "/proc/timer_list", "/proc/sched_debug", "/proc/acpi", "/proc/scsi"):
    try:
        os.listdir(path) if os.path.isdir(path) else open(path, "rb").read(10)
        print("read", path)
    except OSError:
        pass
""")
    assert outcome.status is Status.OK
    assert outcome.stdout == ""


@pytest.mark.threat("kernel.machine-code", "net.foreign-calls")
def test_machine_code_cannot_be_made(attack: Attack, namespaced: bool) -> None:
    """No page becomes executable that was writable, neither by mmap, mprotect nor a file of the cell's own."""
    outcome = attack(
        RAW
        + """
import mmap
def attempt(name, action):
    try:
        if action() >= 0: print("got", name)
    except (OSError, ValueError): pass
attempt("write and execute", lambda: mmap.mmap(-1, 4096, prot=7).size())
page = raw(9, 0, 4096, 3, 0x22, -1, 0)
attempt("mprotect", lambda: raw(10, page, 4096, 5))
attempt("pkey_mprotect", lambda: raw(329, page, 4096, 5, -1))
open("code", "wb").write(b"\\xc3" * 4096)
attempt("file", lambda: raw(9, 0, 4096, 5, 2, os.open("code", os.O_RDONLY), 0))
attempt("read implies execute", lambda: raw(135, 0x0400000))
attempt("shared then remapped", lambda: mmap.mmap(-1, 4096, flags=mmap.MAP_SHARED | mmap.MAP_ANONYMOUS, prot=7).size())
attempt("own memory file", lambda: open("/proc/self/mem", "r+b", buffering=0).fileno())
"""
    )
    assert outcome.status is Status.OK, outcome
    got = outcome.stdout.splitlines()
    # Without mounts of its own the cell's directory is on the host's file system, which may allow execution.
    assert got in ([], [] if namespaced else ["got file"])
