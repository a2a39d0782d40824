"""The filter, run by an interpreter of classic BPF: every system call number does what the table says."""

from __future__ import annotations

import errno
import struct
from collections import Counter

import pytest

from hotcell.sandboxes.local import seccomp
from hotcell.sandboxes.local.numbers import NUMBERS
from hotcell.sandboxes.local.seccomp import ALLOW, AUDIT_ARCH, KILL, REPORT

MACHINES = sorted(AUDIT_ARCH)
EPERM, ENOSYS, ENOTSUP, ENOTTY = (
    0x50000 | number for number in (errno.EPERM, errno.ENOSYS, errno.ENOTSUP, errno.ENOTTY)
)
HIGH = 1 << 32
OWN_PID = 4321
MODES = {
    "usual": {"processes": True, "own_pid": None, "counted": True},
    "no processes": {"processes": False, "own_pid": None, "counted": True},
    "no PID namespace": {"processes": True, "own_pid": OWN_PID, "counted": True},
    "no memory group": {"processes": True, "own_pid": None, "counted": False},
    "neither": {"processes": False, "own_pid": OWN_PID, "counted": True},
}
LISTS = {
    name: value.split()
    for name, value in vars(seccomp).items()
    if name.startswith("_") and name.isupper() and isinstance(value, str) and name != "_ABOUT_ANYBODY"
}

# struct sock_filter, and the opcodes of <linux/bpf_common.h> that the filter uses.
INSTRUCTION = struct.Struct("<HBBI")
LOAD, RETURN, AND, JEQ, JGE, JSET, JA = 0x20, 0x06, 0x54, 0x15, 0x35, 0x45, 0x05
TESTS = {JEQ: lambda a, k: a == k, JGE: lambda a, k: a >= k, JSET: lambda a, k: bool(a & k)}


def interpret(program: bytes, arch: int, number: int, *arguments: int) -> int:
    """What the kernel does with this call: the program's return value. Raises for a program the kernel refuses."""
    wide = [*arguments, *[0] * (6 - len(arguments))]
    data = struct.pack("<IIQ6Q", number & 0xFFFFFFFF, arch, 0, *(item & (1 << 64) - 1 for item in wide))
    code = list(INSTRUCTION.iter_unpack(program))
    place = accumulator = 0
    while True:
        opcode, when_true, when_false, constant = code[place]
        place += 1
        if opcode == LOAD:
            (accumulator,) = struct.unpack_from("<I", data, constant)
        elif opcode == RETURN:
            return constant
        elif opcode == AND:
            accumulator &= constant
        elif opcode == JA:
            place += constant
        else:
            place += when_true if TESTS[opcode](accumulator, constant) else when_false


class Filter:
    """One machine's filter, asked by name."""

    def __init__(self, machine: str, **mode: object) -> None:
        self.machine = machine
        self.table = seccomp.rules(**mode)
        self.program = seccomp.assemble(self.table, machine)
        self.arch = AUDIT_ARCH[machine]

    def number(self, number: int, *arguments: int) -> int:
        return interpret(self.program, self.arch, number, *arguments)

    def __call__(self, name: str, *arguments: int) -> int:
        return self.number(NUMBERS[self.machine][name], *arguments)


@pytest.fixture(params=MACHINES)
def usual(request: pytest.FixtureRequest) -> Filter:
    return Filter(request.param, **MODES["usual"])


@pytest.mark.parametrize("mode", MODES.values(), ids=MODES.keys())
@pytest.mark.parametrize("machine", MACHINES)
def test_every_number_does_what_the_table_says(machine: str, mode: dict[str, object]) -> None:
    filter_ = Filter(machine, **mode)
    expected = {number: filter_.table[name] for name, number in NUMBERS[machine].items() if name in filter_.table}
    wrong = {}
    for number in (*range(1200), 0x3FFFFFFF):
        action = expected.get(number, ENOSYS)
        if isinstance(action, int) and filter_.number(number) != action:
            wrong[number] = hex(filter_.number(number))
    assert not wrong


def test_the_lists_of_names_have_the_actions_they_are_named_for(usual: Filter) -> None:
    looked_at = {"clone", "ioctl", "socketpair", "prctl"}
    action_of = {"_REFUSED": EPERM, "_UNSUPPORTED": ENOTSUP, "_LETHAL": REPORT}
    for title, names in LISTS.items():
        for name in set(names) & NUMBERS[usual.machine].keys() - looked_at:
            assert usual(name) == action_of.get(title, ALLOW), name


def test_what_the_kernel_knows_and_the_table_does_not_is_enosys(usual: Filter) -> None:
    unnamed = NUMBERS[usual.machine].keys() - usual.table.keys()
    assert {"clone3", "mount_setattr", "fsopen", "move_mount", "open_tree"} <= unnamed
    assert {name for name in unnamed if usual(name) != ENOSYS} == set()


def test_no_name_is_in_two_lists() -> None:
    assert len(LISTS) >= 10
    counted = Counter(name for names in LISTS.values() for name in names)
    assert [name for name, count in counted.items() if count > 1] == []


def test_every_name_is_a_system_call_of_some_machine() -> None:
    known = set().union(*NUMBERS.values())
    table = seccomp.rules(**MODES["usual"])
    assert sorted(table.keys() - known) == []


@pytest.mark.threat(46)
@pytest.mark.parametrize(
    "name",
    "ptrace process_vm_readv process_vm_writev bpf userfaultfd io_uring_setup perf_event_open keyctl add_key "
    "request_key kexec_load init_module finit_module open_by_handle_at reboot seccomp".split(),
)
def test_what_only_an_exploit_asks_for_is_reported(usual: Filter, name: str) -> None:
    assert usual(name) == REPORT


@pytest.mark.threat(7, 8, 9, 18, 47, 49)
@pytest.mark.parametrize(
    "name",
    "socket connect bind listen accept4 memfd_create unshare setns mount umount2 pivot_root chroot setuid setresuid "
    "setgroups capset personality shmget semget msgget mq_open mknodat pidfd_getfd pidfd_send_signal".split(),
)
def test_what_libraries_probe_is_refused_without_an_end(usual: Filter, name: str) -> None:
    assert usual(name) == EPERM


@pytest.mark.threat(10)
@pytest.mark.parametrize("machine", MACHINES)
def test_a_foreign_architecture_is_killed_whatever_it_asks_for(machine: str) -> None:
    program = seccomp.assemble(seccomp.rules(**MODES["usual"]), machine)
    # i386 (also int 0x80 from 64-bit code), 32-bit ARM, big-endian aarch64, the other machine, nothing.
    foreign = {0x40000003, 0x40000028, 0x800000B7, 0, 0xFFFFFFFF, *AUDIT_ARCH.values()} - {AUDIT_ARCH[machine]}
    for arch in foreign:
        assert {interpret(program, arch, number) for number in range(500)} == {KILL}


@pytest.mark.threat(10)
def test_x32_and_negative_numbers_are_killed(usual: Filter) -> None:
    for number in range(600):
        assert usual.number(0x40000000 | number) == KILL
    for number in (-1, -2, 0x40000000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF):
        assert usual.number(number) == KILL


NAMESPACE_BITS = {
    "CLONE_NEWNS": 0x20000,
    "CLONE_NEWCGROUP": 0x2000000,
    "CLONE_NEWUTS": 0x4000000,
    "CLONE_NEWIPC": 0x8000000,
    "CLONE_NEWUSER": 0x10000000,
    "CLONE_NEWPID": 0x20000000,
    "CLONE_NEWNET": 0x40000000,
}
THREAD_FLAGS = 0x3D0F00
"""What pthread_create asks for."""


@pytest.mark.threat(47, 58)
@pytest.mark.parametrize("mode", MODES.values(), ids=MODES.keys())
@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("bit", [*NAMESPACE_BITS.values(), 0x8000], ids=[*NAMESPACE_BITS, "CLONE_PARENT"])
def test_no_clone_makes_a_namespace_or_a_sibling(machine: str, mode: dict[str, object], bit: int) -> None:
    clone = Filter(machine, **mode)
    for others in (0, 17, THREAD_FLAGS, 0x10000, HIGH, 0x11 | HIGH):
        assert clone("clone", bit | others) == EPERM, hex(others)


@pytest.mark.parametrize("machine", MACHINES)
def test_threads_are_allowed_in_every_mode_and_processes_where_they_may_be(machine: str) -> None:
    for mode in MODES.values():
        filter_ = Filter(machine, **mode)
        assert filter_("clone", THREAD_FLAGS) == ALLOW
        process = ALLOW if mode["processes"] else EPERM
        assert filter_("clone", 17) == process
        assert filter_("clone", 0x1200011) == process
        assert filter_("clone", 0x4111) == process  # vfork as posix_spawn makes it
        for name in {"fork", "vfork", "execve", "execveat"} & NUMBERS[machine].keys():
            assert filter_(name) == process


@pytest.mark.threat(11)
@pytest.mark.parametrize("family", range(46))
def test_a_socket_pair_is_of_the_unix_family_or_refused(usual: Filter, family: int) -> None:
    assert usual("socketpair", family) == (ALLOW if family == 1 else EPERM)
    assert usual("socketpair", family | HIGH) == (ALLOW if family == 1 else EPERM)


@pytest.mark.threat(48)
@pytest.mark.parametrize("command", [0x5412, 0x541C], ids=["TIOCSTI", "TIOCLINUX"])
@pytest.mark.parametrize("high", [0, HIGH, 7 * HIGH, (1 << 64) - HIGH, 1 << 63])
def test_terminal_injection_is_refused_with_any_high_bits(usual: Filter, command: int, high: int) -> None:
    for handle in (0, 1, 2, 99):
        assert usual("ioctl", handle, command | high) == ENOTTY


@pytest.mark.threat("kernel.ioctl")
def test_ioctls_are_those_that_python_asks_of_descriptors(usual: Filter) -> None:
    """File system identities, block maps, namespace numbers and notification queues are not to be asked for."""
    for command in (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451):
        assert usual("ioctl", 1, command) == ALLOW
    for command in (0x8008662C, 0xC020660B, 0x80046601, 0xB701, 0x5760, 0x8901, 0x40049409):
        assert usual("ioctl", 1, command) == ENOTTY
    assert usual("ioctl", 0x5412, 0x5401) == ALLOW  # the number of a descriptor is not a command


@pytest.mark.threat(49)
@pytest.mark.parametrize(
    "option",
    {
        "PR_SET_PDEATHSIG": 1,
        "PR_SET_DUMPABLE": 4,
        "PR_SET_KEEPCAPS": 8,
        "PR_SET_SECCOMP": 22,
        "PR_CAPBSET_DROP": 24,
        "PR_SET_TSC": 26,
        "PR_SET_SECUREBITS": 28,
        "PR_MCE_KILL": 33,
        "PR_SET_MM": 35,
        "PR_SET_CHILD_SUBREAPER": 36,
        "PR_CAP_AMBIENT": 47,
        "PR_SET_SPECULATION_CTRL": 53,
        "PR_SET_IO_FLUSHER": 57,
        "PR_SCHED_CORE": 62,
        "PR_SET_MDWE": 65,
        "PR_SET_PTRACER": 0x59616D61,
    }.items(),
    ids=lambda item: item[0],
)
def test_prctl_that_loosens_or_hides_a_process_is_refused(usual: Filter, option: tuple[str, int]) -> None:
    assert usual("prctl", option[1]) == EPERM
    assert usual("prctl", option[1] | HIGH) == EPERM


def test_prctl_that_names_threads_and_memory_is_allowed(usual: Filter) -> None:
    for option in (15, 16, 0x53564D41, 39):
        assert usual("prctl", option) == ALLOW


@pytest.mark.threat(15)
@pytest.mark.parametrize("machine", MACHINES)
def test_without_a_pid_namespace_signals_reach_only_oneself(machine: str) -> None:
    filter_ = Filter(machine, **MODES["no PID namespace"])
    for name in ("kill", "tgkill"):
        assert filter_(name, OWN_PID) == ALLOW
        assert filter_(name, OWN_PID | HIGH) == ALLOW  # pid_t has 32 bits
        for other in (0, 1, -1, -OWN_PID, OWN_PID + 1, 2**31, HIGH):
            assert filter_(name, other) == EPERM, other
    assert filter_("tkill", OWN_PID) == EPERM
    assert filter_("prlimit64", 0) == filter_("prlimit64", OWN_PID) == ALLOW
    for other in (1, -1, OWN_PID + 1):
        assert filter_("prlimit64", other) == EPERM
    for name in ("sched_setaffinity", "setpgid", "setpriority", "sched_getaffinity", "pidfd_open", "getsid"):
        assert filter_(name, OWN_PID + 1) == EPERM


@pytest.mark.threat(15)
@pytest.mark.parametrize("machine", MACHINES)
def test_without_a_pid_namespace_no_descriptor_sends_signals_for_us(machine: str) -> None:
    """F_SETOWN with F_SETSIG makes the kernel send any signal, SIGKILL too, to any process of the same user."""
    filter_ = Filter(machine, **MODES["no PID namespace"])
    for command in (8, 10, 15):  # F_SETOWN, F_SETSIG, F_SETOWN_EX
        for high in (0, HIGH):
            assert filter_("fcntl", 0, command | high, 1) == EPERM
    for command in (0x8901, 0x8902):  # FIOSETOWN, SIOCSPGRP
        assert filter_("ioctl", 0, command) == ENOTTY


@pytest.mark.threat("kernel.fcntl")
def test_descriptors_tell_nothing_of_what_others_do(usual: Filter) -> None:
    """F_NOTIFY reports the host's reads of a shared directory, F_SETLEASE holds up its writers: both are refused."""
    for command in (1024, 1026, 1033):
        assert usual("fcntl", 0, command) == EPERM
    for command in (0, 1, 2, 3, 4, 5, 6, 7, 36, 37, 38, 1030, 1031, 1032):
        assert usual("fcntl", 0, command) == ALLOW


@pytest.mark.threat("kernel.out-of-band")
def test_socket_pairs_have_no_out_of_band_data_and_no_options(usual: Filter) -> None:
    """MSG_OOB on a pair of Unix sockets has let programs out of other sandboxes; options attach filters and buffers."""
    assert usual("sendto", 3, 0, 1, 1) == usual("recvfrom", 3, 0, 1, 1) == EPERM
    assert usual("sendmsg", 3, 0, 1) == usual("recvmsg", 3, 0, 1) == EPERM
    assert usual("sendto", 3, 0, 1, 0x4000) == usual("recvmsg", 3, 0, 0x40000000) == ALLOW
    assert usual("setsockopt") == usual("sendmmsg") == usual("recvmmsg") == EPERM


@pytest.mark.threat(2)
@pytest.mark.parametrize("machine", MACHINES)
def test_without_mounts_modes_and_owners_of_files_cannot_change(machine: str) -> None:
    filter_ = Filter(machine, **MODES["no PID namespace"])
    names = {*LISTS["_OWNERSHIP"], *LISTS["_STAMPS"]} & NUMBERS[machine].keys()
    assert {"fchmod", "fchmodat", "fchownat", "utimensat"} <= names
    # Success that did nothing: errno 0.
    assert {filter_(name) for name in names} == {0x50000}


@pytest.mark.threat(2)
@pytest.mark.parametrize("mode", MODES.values(), ids=MODES.keys())
@pytest.mark.parametrize("machine", MACHINES)
def test_newer_forms_of_a_call_are_not_freer_than_the_old(machine: str, mode: dict[str, object]) -> None:
    filter_ = Filter(machine, **mode)
    for name in ("fchmodat2", "setxattrat", "removexattrat", "clone3", "open_tree", "fsmount", "pidfd_getfd"):
        if name in NUMBERS[machine]:
            assert filter_(name) not in (ALLOW, 0x50000), name


@pytest.mark.parametrize("mode", MODES.values(), ids=MODES.keys())
@pytest.mark.parametrize("machine", MACHINES)
def test_the_kernel_takes_the_program(machine: str, mode: dict[str, object]) -> None:
    program = Filter(machine, **mode).program
    assert len(program) % INSTRUCTION.size == 0
    code = list(INSTRUCTION.iter_unpack(program))
    assert 0 < len(code) <= 4096
    for place, (opcode, when_true, when_false, constant) in enumerate(code):
        assert opcode in {LOAD, RETURN, AND, JA, *TESTS}
        if opcode == LOAD:
            assert constant % 4 == 0 and constant <= 60  # aligned, inside struct seccomp_data
        if opcode == JA:
            assert place + 1 + constant < len(code)
        if opcode in TESTS:
            assert place + 1 + max(when_true, when_false) < len(code)
    assert code[-1][0] == RETURN


def test_a_call_costs_few_instructions(usual: Filter) -> None:
    code = list(INSTRUCTION.iter_unpack(usual.program))
    # A path through the tree, counted by the longest chain of tests from any place to a return.
    longest = [0] * (len(code) + 1)
    for place in reversed(range(len(code))):
        opcode, when_true, when_false, constant = code[place]
        if opcode == RETURN:
            longest[place] = 1
        elif opcode in TESTS:
            longest[place] = 1 + max(longest[place + 1 + when_true], longest[place + 1 + when_false])
        else:
            longest[place] = 1 + longest[place + 1 + (constant if opcode == JA else 0)]
    assert longest[0] <= 40


def test_reading_a_report_of_a_cell_that_is_gone_is_empty() -> None:
    with open("/dev/null", "rb") as null:
        assert seccomp.read_report(null.fileno()) == ""


def test_the_host_can_filter() -> None:
    assert seccomp.available()


@pytest.mark.threat(18, 20)
@pytest.mark.parametrize("machine", MACHINES)
def test_without_a_memory_group_no_memory_is_shared_that_no_file_holds(machine: str) -> None:
    shared, private, anonymous, validate = 1, 2, 0x20, 3
    counted, uncounted = Filter(machine, **MODES["usual"]), Filter(machine, **MODES["no memory group"])
    for flags in (shared | anonymous, validate | anonymous, shared | anonymous | 0x8000, shared | anonymous | HIGH):
        assert counted("mmap", 0, 4096, 3, flags) == ALLOW
        assert uncounted("mmap", 0, 4096, 3, flags) == EPERM
    for flags in (private | anonymous, shared, private, private | anonymous | 0x20000):
        assert uncounted("mmap", 0, 4096, 3, flags) == ALLOW


@pytest.mark.threat(2)
@pytest.mark.parametrize("machine", MACHINES)
def test_without_mounts_no_file_is_emptied_by_opening_it_to_read(machine: str) -> None:
    filter_ = Filter(machine, **MODES["no PID namespace"])
    empty = 0o1000
    assert filter_("openat", 0, 0, empty) == filter_("openat", 0, 0, empty | 0o2000000 | HIGH) == EPERM
    assert filter_("truncate") == EPERM
    assert filter_("openat2") == ENOSYS
    for flags in (0, 1 | empty, 2 | empty, 0o101 | empty, 0o2000000):
        assert filter_("openat", 0, 0, flags) == ALLOW
