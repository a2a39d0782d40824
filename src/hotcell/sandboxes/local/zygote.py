"""The fork server: imports what cells will need, then forks one jailed process for each cell that is asked for.

Started clean by ``launcher`` (never forked from the application) and inside the namespaces already. It sees limits and
nothing else: code, data and results go straight between the application and the cell. Everything it tells about a
cell's end comes from wait4, so it is the trusted witness.

Control protocol, one SOCK_SEQPACKET message each: a ``PREPARE`` struct asks for a cell; the answer repeats its number,
then ``MADE`` with five or six descriptors, or ``REFUSED`` and a sentence. A cell's end is one ``END`` struct in its own
pipe.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import select
import signal
import site
import socket
import struct
import sys
from typing import Any, NoReturn

from hotcell.sandboxes.local import branch, jail, kernel, mounted, mounts, pages, seccomp, shells
from hotcell.sandboxes.local.library_files import LibraryFiles
from hotcell.sandboxes.local.pause import PauseInits
from hotcell.worker import adaptations, programs, runner, serve

PREPARE = struct.Struct("<9Q")
"""A number that the answer repeats, then ``jail.Limits``. Behind it, and with descriptors, the names of files that are
mounted in the work directory, a JSON list."""
NUMBER = struct.Struct("<Q")
MADE, REFUSED = b"M", b"R"
END = struct.Struct("<iQQ")
"""Wait status, user and system CPU time in microseconds, of the cell's process and the children it waited for."""

_MOST_BYTES = PREPARE.size + 16_384
_FIRST_SLOT_ID, _SLOT_COUNT = 1000, 60_000


class _Cell:
    """A cell that is alive, as the fork server sees it."""

    def __init__(self, pid: int, init: int, end: int, directory: str | None) -> None:
        self.pid = pid
        self.init = init
        """PID 1 of its namespace; 0 without one."""
        self.end = end
        self.directory = directory
        self.handles: list[int] = []
        self.verdict = b""


class Zygote:
    """The event loop and the forks. ``config`` is the launcher's; see ``launcher.main``."""

    def __init__(self, control: socket.socket, supervisor: int, config: dict[str, Any]) -> None:
        self._control = control
        self._supervisor = supervisor
        self._without = frozenset(config["without"])
        self._namespaced = config["level"] == "namespace"
        self._links = [(link, target) for link, target in config["links"]]
        self._separate_ids = config["separate_ids"] and "separate-uid" not in self._without
        self._base = config["directory"]
        self._environment: str | None = config["environment"]
        self._counted = bool(config["cgroups"])
        self._program: dict[str, Any] | None = config["program"]
        self._slot = 0
        self._given: tuple[list[str], list[int]] = ([], [])
        """Names of the files that the next cell gets mounted, and descriptors of the mounts."""
        self._cells: dict[int, tuple[_Cell, int]] = {}
        self._helpers: dict[int, int] = {}
        """Pidfds and PIDs of children that nobody is told about: inits of sessions, makers of shells."""
        self._plans: dict[jail.Limits, list[jail.Step]] = {}
        self._epoll = select.epoll()
        self._ruleset: int | None = None
        self._pages = pages.NOTHING
        self._shared: list[tuple[int, int]] = []
        self._own_pids = -1
        self._library_files: LibraryFiles
        self._inits: PauseInits | None = None

    def prepare(self, preload: list[str]) -> None:
        """Import, warm up and freeze the heap. Raises whatever an import raises."""
        # The change of ids took it away, and joining our own inits' namespaces is refused without it. It opens nothing
        # to a cell: the inits hold powers in a user namespace above the cell's, so the kernel denies it their /proc
        # files and ptrace (cap_ptrace_access_check), as Landlock and the uid do again.
        kernel.call("prctl", kernel.PR_SET_DUMPABLE, 1, 0, 0, 0)
        if self._namespaced:
            mounts.make_own_place(self._links)
        sys.dont_write_bytecode = True  # there is no place for it
        if self._environment:
            site.main()  # we were started without it, outside the wall
        # What is not here any more (the application's own places) would only be looked into in vain.
        sys.path[:] = [path for path in sys.path if os.path.isdir(path)]
        self._library_files = LibraryFiles()
        adaptations.install()
        pages.warm_up(preload)
        runner.prepare()
        _check_alone()
        self._library_files.learn()
        self._shared = pages.shared_areas()
        if self._namespaced:
            self._ruleset = jail.landlock_ruleset(namespaced=True, own_directories=[])
            kernel.call("prctl", kernel.PR_SET_SECUREBITS, kernel.SECBIT_NO_SETUID_FIXUP, 0, 0, 0)
            self._own_pids = os.pidfd_open(os.getpid())
            self._inits = None if "pid-namespace" in self._without else PauseInits()
        self._filter = seccomp.Filter(
            seccomp.assemble(seccomp.rules(processes=self._namespaced, own_pid=None, counted=self._counted))
        )
        self._branchable_filter = seccomp.Filter(
            seccomp.assemble(seccomp.rules(processes=True, own_pid=None, counted=self._counted, branchable=True))
        )
        gc.collect()
        kernel.libc.malloc_trim(0)
        gc.freeze()
        self._pages = pages.learn(preload)
        self._baseline = pages.address_space()

    def serve(self) -> NoReturn:
        """Answer until the application goes away; then end, and with us everything in our PID namespace."""
        control = self._control.fileno()
        self._epoll.register(control, select.EPOLLIN)
        self._epoll.register(self._supervisor, select.EPOLLIN)
        while True:
            for handle, _ in self._epoll.poll():
                if handle == self._supervisor:
                    self._end()
                elif handle == control:
                    request, handles, _, _ = socket.recv_fds(self._control, _MOST_BYTES, mounted.MOST_FILES)
                    if not request:
                        self._end()
                    if len(request) == shells.SHELL.size:
                        self._make_shell(request, handles)
                    else:
                        self._make(request, handles)
                elif handle in self._helpers:
                    self._epoll.unregister(handle)
                    os.close(handle)
                    os.waitpid(self._helpers.pop(handle), 0)
                else:
                    self._reap(handle)

    def _end(self) -> NoReturn:
        for cell, its_init in self._cells.values():
            if not its_init:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(cell.pid, signal.SIGKILL)
                os.waitpid(cell.pid, 0)
        os._exit(0)

    def _make(self, request: bytes, mounts_given: list[int]) -> None:
        number, *values = PREPARE.unpack_from(request)
        self._given = (json.loads(request[PREPARE.size :] or b"[]"), mounts_given)
        limits = jail.Limits(*values)
        opened: list[int] = []
        try:
            handles = self._open(opened)
            if limits.branchable:
                self._open_session(NUMBER.pack(number), limits, handles)
            else:
                cell = self._fork(limits, handles)
                message = NUMBER.pack(number) + MADE + (cell.directory or "").encode()
                socket.send_fds(self._control, [message], [*handles[:4], *cell.handles])
                opened.remove(cell.end)
        except OSError as error:
            self._control.send(NUMBER.pack(number) + REFUSED + str(error).encode()[:500])
        finally:
            for handle in (*opened, *mounts_given):
                os.close(handle)

    def _open(self, opened: list[int]) -> list[int]:
        """Our side's ends first (wire, stdout, stderr, end), then the cell's (wire, stdout, stderr), then its end."""
        ours, theirs = socket.socketpair()
        opened += [ours.detach(), theirs.detach()]
        for _ in range(3):
            opened += os.pipe()
        wire, their_wire, out, their_out, err, their_err, end, our_end = opened
        return [wire, out, err, end, their_wire, their_out, their_err, our_end]

    def _fork(self, limits: jail.Limits, handles: list[int]) -> _Cell:
        *_, their_wire, their_out, their_err, our_end = handles
        steps = self._steps(limits)
        self._slot = (self._slot + 1) % _SLOT_COUNT
        directory = self._make_directory()
        if "reseed" not in self._without:
            pages.reseed_libraries()
        init, init_handle = self._inits.start() if self._inits else (0, -1)
        pid = kernel.fork()
        if pid == 0:
            self._become_cell(
                steps, (their_wire, their_out, their_err), directory, memory_mib=limits.memory_bytes >> 20
            )
        if init:
            kernel.call("setns", self._own_pids, kernel.CLONE_NEWPID)
        if pid < 0:
            if init:
                os.kill(init, signal.SIGKILL)
                os.waitpid(init, 0)
                os.close(init_handle)
            raise kernel.failure("fork")
        cell = _Cell(pid, init, our_end, directory)
        handle = os.pidfd_open(pid)
        cell.handles = [handle, init_handle] if init else [handle]
        self._cells[handle] = (cell, 0)
        self._epoll.register(handle, select.EPOLLIN)
        return cell

    def _steps(self, limits: jail.Limits) -> list[jail.Step]:
        if limits not in self._plans:
            if len(self._plans) > 64:
                self._plans.clear()
            self._plans[limits] = jail.plan(
                limits,
                namespaced=self._namespaced,
                links=self._links,
                ruleset=self._ruleset,
                baseline=self._baseline,
                without=self._without,
                in_shell=bool(limits.branchable),
                program=self._program is not None,
                counted=self._counted,
            )
        return self._plans[limits]

    def _make_directory(self) -> str | None:
        if self._namespaced:
            return None
        path = f"{self._base}/{self._slot}"
        for name in ("", *(f"/{part}" for part in mounts.DIRECTORIES)):
            os.mkdir(path + name, 0o700)
            if self._separate_ids:
                os.chown(path + name, self._slot_id, self._slot_id)
        return path

    @property
    def _slot_id(self) -> int:
        return (0 if self._namespaced else 1 << 30) + _FIRST_SLOT_ID + self._slot

    def _open_session(self, head: bytes, limits: jail.Limits, handles: list[int]) -> None:
        """A cell that may be copied: a witness, and in its PID namespace a shell with the session's first process."""
        self._slot = (self._slot + 1) % _SLOT_COUNT
        if "reseed" not in self._without:
            pages.reseed_libraries()
        steps = self._steps(limits)
        kernel.call("unshare", kernel.CLONE_NEWPID)
        try:
            witness = kernel.fork()
            if witness == 0:
                shells.become_witness(handles[-1])
            if witness < 0:
                raise kernel.failure("fork")
            witness_handle = self._remember(witness)
            maker = kernel.fork()
            if maker == 0:
                self._open_first_shell(head, limits, steps, handles, witness_handle)
        finally:
            kernel.call("setns", self._own_pids, kernel.CLONE_NEWPID)
        if maker < 0:
            os.kill(witness, signal.SIGKILL)
            raise kernel.failure("fork")
        self._remember(maker)

    def _open_first_shell(
        self, head: bytes, limits: jail.Limits, steps: list[jail.Step], handles: list[int], witness: int
    ) -> NoReturn:
        """In a child that ends: the session's first process is left to the witness."""
        try:
            *ours, their_wire, their_out, their_err, _ = handles
            self._take_ids()
            shell = shells.make_first(limits, self._links)
            pid = kernel.fork()
            if pid == 0:
                self._become_cell(steps, (their_wire, their_out, their_err), None, is_branchable=True)
            if pid < 0:
                raise kernel.failure("fork")
            message = head + MADE
            socket.send_fds(self._control, [message], [*ours, os.pidfd_open(pid), witness, *shell])
        except OSError as error:
            self._control.send(head + REFUSED + str(error).encode()[:500])
        finally:
            os._exit(0)

    def _remember(self, pid: int) -> int:
        """A child that nobody is told about: it is waited for when it ends. Returns a pidfd."""
        handle = os.pidfd_open(pid)
        self._helpers[handle] = pid
        self._epoll.register(handle, select.EPOLLIN)
        return handle

    def _make_shell(self, request: bytes, handles: list[int]) -> None:
        """A place for a copy of a session; the answer comes from the child that makes it."""
        disk_bytes, disk_files = shells.SHELL.unpack(request)
        user_namespace, pid_namespace, answer = handles
        try:
            kernel.call("setns", pid_namespace, kernel.CLONE_NEWPID)
            try:
                maker = kernel.fork()
                if maker == 0:
                    limits = jail.Limits(0, 0, 0, 0, disk_bytes, disk_files, 0, 1)
                    shells.answer_with_another(socket.socket(fileno=answer), limits, self._links, user_namespace)
            finally:
                kernel.call("setns", self._own_pids, kernel.CLONE_NEWPID)
            if maker < 0:
                raise kernel.failure("fork")
            self._remember(maker)
        except OSError as error:
            with contextlib.suppress(OSError):  # whoever asked has gone away
                os.write(answer, REFUSED + str(error).encode()[:500])
        finally:
            for handle in handles:
                os.close(handle)

    def _become_cell(
        self,
        steps: list[jail.Step],
        handles: tuple[int, int, int],
        directory: str | None,
        *,
        memory_mib: int = 0,
        is_branchable: bool = False,
    ) -> NoReturn:
        """In the child: streams, identity, jail, filter; then serve the one request. Whatever happens, it ends here."""
        try:
            work = self._close(steps, handles, directory, is_branchable=is_branchable)
            told: list[int] = []
            if is_branchable:
                seccomp.install(self._branchable_filter)
            elif "seccomp" not in self._without:
                told = [seccomp.install(self._own_filter(), with_listener=True)]
            if self._program:
                self._serve_program(programs.Program(self._program, work, memory_mib), work, told)
            split = branch.split if is_branchable else None
            serve.serve(work, told, lambda: pages.touch(self._pages), split=split)
        except BaseException as error:  # noqa: BLE001  # nothing may go on in the fork server's own loop
            serve.fault(str(error))
        finally:
            os._exit(1)

    def _serve_program(self, program: programs.Program, work: str, handles: list[int]) -> NoReturn:
        """The same for a cell whose code is of another language."""

        def touch() -> None:
            program.start_ahead()
            pages.touch(self._pages)

        os.set_inheritable(serve.CHANNEL, False)
        serve.serve(work, handles, touch, run=program.run)

    def _take_ids(self) -> None:
        if self._separate_ids:
            if os.getgroups():
                os.setgroups([])
            os.setresgid(self._slot_id, self._slot_id, self._slot_id)
            os.setresuid(self._slot_id, self._slot_id, self._slot_id)

    def _close(
        self, steps: list[jail.Step], handles: tuple[int, int, int], directory: str | None, *, is_branchable: bool
    ) -> str:
        """Put every layer on but the filter; returns the work directory. Raises OSError."""
        their_wire, their_out, their_err = handles
        os.dup2(their_out, 1)
        os.dup2(their_err, 2)
        os.dup2(their_wire, serve.CHANNEL)
        self._library_files.reopen()
        if not is_branchable:
            self._take_ids()
        pages.make_private(self._shared)
        work = self._own_place(directory)
        at = next((place for place, step in enumerate(steps) if step.layer == "private-proc"), 0)
        jail.walk(steps[:at])
        mounted.attach(*self._given)
        jail.walk(steps[at:])
        if not self._namespaced and "landlock" not in self._without:
            self._restrict_to(directory)
        if "descriptors" not in self._without:
            self._library_files.close_others(serve.CHANNEL + 1)
        if "reseed" not in self._without:
            pages.reseed()
        return work

    def _own_place(self, directory: str | None) -> str:
        if directory is None:
            return mounts.WORK
        os.chdir(f"{directory}/work")
        os.environ.update(HOME=directory, TMPDIR=f"{directory}/{mounts.DIRECTORIES[1]}", MPLCONFIGDIR=directory)
        return f"{directory}/work"

    def _restrict_to(self, directory: str | None) -> None:
        ruleset = jail.landlock_ruleset(
            namespaced=False,
            own_directories=[directory] if directory else [],
            environment=self._environment,
        )
        if ruleset is None:
            raise OSError("layer landlock: this kernel has none")
        kernel.call("landlock_restrict_self", ruleset, 0)

    def _own_filter(self) -> seccomp.Filter:
        if self._namespaced:
            return self._filter
        return seccomp.Filter(
            seccomp.assemble(seccomp.rules(processes=False, own_pid=os.getpid(), counted=self._counted))
        )

    def _reap(self, handle: int) -> None:
        """First the cell's process, then its namespace; only then the application hears of the end."""
        cell, waiting_for_init = self._cells.pop(handle)
        self._epoll.unregister(handle)
        os.close(handle)
        if waiting_for_init:
            os.waitpid(cell.init, 0)
        else:
            _, status, used = os.wait4(cell.pid, 0)
            cell.verdict = END.pack(status, int(used.ru_utime * 1e6), int(used.ru_stime * 1e6))
            if cell.init:
                init_handle = cell.handles[1]
                self._cells[init_handle] = (cell, 1)
                self._epoll.register(init_handle, select.EPOLLIN)
                os.kill(cell.init, signal.SIGKILL)
                return
        try:
            os.write(cell.end, cell.verdict)
        except BrokenPipeError:
            pass  # the application has stopped caring
        os.close(cell.end)


def _check_alone() -> None:
    threads = os.listdir("/proc/self/task")
    if len(threads) != 1:
        raise RuntimeError(
            f"the preloaded modules started {len(threads) - 1} threads; a process with threads cannot be forked "
            "safely. Preload fewer modules."
        )
