"""The application's handle to one fork server: starting it, asking it for cells, ending it."""

from __future__ import annotations

import errno
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import hotcell
from hotcell.environments import Environment
from hotcell.errors import ConfigurationError, EnvironmentFailed, PoolExhausted, SandboxCrashed, SandboxUnavailable
from hotcell.results import IsolationLevel
from hotcell.sandboxes.handles import receive
from hotcell.sandboxes.local import cgroups, leftovers
from hotcell.sandboxes.local.cell import LocalCell
from hotcell.sandboxes.local.cgroups import Groups
from hotcell.sandboxes.local.family import Family
from hotcell.sandboxes.local.jail import Limits
from hotcell.sandboxes.local.nested import NestedCell
from hotcell.sandboxes.local.shells import SHELL, Shell
from hotcell.sandboxes.local.toolbox import Toolbox
from hotcell.sandboxes.local.witness import Witness
from hotcell.sandboxes.local.zygote import MADE, NUMBER, PREPARE

_START_TIMEOUT_SECONDS = 120.0
_ANSWER_TIMEOUT_SECONDS = 30.0
_MAX_HANDLES = 12
_NOTHING: Mapping[str, int] = MappingProxyType({})
GROUP_SLACK_BYTES = 64 << 20
"""For copies of the preloaded heap's pages, which the kernel charges to the cell and RLIMIT_DATA does not."""

# Built from nothing. What the hardware needs to be told is let through; it is no secret.
_ENVIRONMENT = {
    "PATH": "/usr/bin:/bin",
    "LANG": "C.UTF-8",
    "HOME": "/run/cell",
    "TMPDIR": "/run/cell/tmp",
    "USER": "nobody",
    "LOGNAME": "nobody",
    "TZ": "UTC",
    "MPLBACKEND": "Agg",
    "MPLCONFIGDIR": "/run/cell",
    # A process with threads cannot be forked safely, and cells share two cores as it is.
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "NUMEXPR_NUM_THREADS": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONUTF8": "1",
}
# The application's own copy of the package, whatever else is installed, and nothing that lies beside it.
_START = """
import sys
sys.prefix = sys.exec_prefix = {prefix!r} or sys.prefix
from importlib.util import module_from_spec, spec_from_file_location
spec = spec_from_file_location("hotcell", {file!r})
sys.modules["hotcell"] = package = module_from_spec(spec)
spec.loader.exec_module(package)
from hotcell.sandboxes.local.launcher import main
main({control}, {supervisor})
"""
_PASSED_ON = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")


class ForkServer:
    """One fork server process and its launcher. Thread-safe. Belongs to the process that made it."""

    def __init__(
        self,
        preload: Sequence[str],
        level: IsolationLevel,
        without: frozenset[str],
        environment: Environment | None = None,
        hash_seed: int | None = None,
        toolbox: Toolbox | None = None,
    ) -> None:
        """``toolbox`` is of the language that the cells run, when it is not Python."""
        self.level = level
        self._environment = environment
        self._hash_seed = hash_seed
        self._toolbox = toolbox
        self._lock = threading.Lock()
        self._owner = os.getpid()
        self._asked = 0
        """Numbers the questions, so that each gets its own answer."""
        self.groups: Groups | None = None
        self.directory: str | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._control, theirs = _socket_pair()
        try:
            with theirs:
                self._make_places(without)
                self._process = self._spawn(theirs, without)
            self._shake_hands(preload, without)
        except BaseException as error:
            self.close()
            if isinstance(error, OSError):
                raise PoolExhausted(
                    f"The fork server could not be started: {error}. Free descriptors or memory."
                ) from error
            raise

    def _make_places(self, without: frozenset[str]) -> None:
        leftovers.sweep()
        name = leftovers.new_name()
        self.groups = None if "memory-group" in without else cgroups.open_groups(name)
        if self.level is IsolationLevel.PROCESS:
            self.directory = tempfile.mkdtemp(prefix=f"{name}-")
            os.chmod(self.directory, 0o711)  # noqa: S103  # cells pass through it to their own, and cannot list it

    def _spawn(self, control: socket.socket, without: frozenset[str]) -> subprocess.Popen[bytes]:
        supervisor = os.pidfd_open(os.getpid())
        prefix = self._environment.prefix if self._environment else None
        program = _START.format(file=hotcell.__file__, control=control.fileno(), supervisor=supervisor, prefix=prefix)
        try:
            return subprocess.Popen(
                [*self._python(), "-c", program],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[control.fileno(), supervisor],
                env=_environment(without, self._hash_seed),
                cwd="/",
                start_new_session=True,  # a terminal's Ctrl-C is the application's to handle
            )
        except OSError as error:
            if self._environment and not os.path.exists(self._environment.python):
                raise _start_error(
                    "environment", "its Python is gone", self.level, self._environment, alternative=False
                ) from None
            raise PoolExhausted(f"The fork server could not be started: {error}. Free processes or memory.") from error
        finally:
            os.close(supervisor)

    def _python(self) -> list[str]:
        # -I is -E -P -s, and -E would ignore the seed as well.
        isolated = ["-I"] if self._hash_seed is None else ["-P", "-s"]
        if not self._environment:
            return [sys.executable, *isolated]
        # -S: a package can ask for code to be run whenever Python starts. Here that would be outside the wall, as the
        # application; the fork server lets it run when it is inside.
        return [self._environment.python, *isolated, "-S"]

    def _shake_hands(self, preload: Sequence[str], without: frozenset[str]) -> None:
        config: dict[str, Any] = {
            "preload": list(preload),
            "level": self.level.value,
            "directory": self.directory,
            "cgroups": [str(self.groups.path)] if self.groups else [],
            "without": sorted(without),
            "environment": self._environment.prefix if self._environment else None,
            "program": self._toolbox.spec if self._toolbox else None,
            "programs": self._toolbox.programs if self._toolbox else {},
            "paths": self._toolbox.paths if self._toolbox else (),
        }
        self._control.settimeout(_START_TIMEOUT_SECONDS)
        try:
            self._control.send(json.dumps(config).encode())
            answer = json.loads(self._control.recv(1 << 16) or b'{"error": "it ended without a word", "kind": "start"}')
        except TimeoutError:
            raise SandboxUnavailable(
                f"The fork server did not come up in {_START_TIMEOUT_SECONDS:g} s. Preload fewer modules."
            ) from None
        except OSError as error:
            raise SandboxUnavailable(f"The fork server ended while it started: {error}.") from error
        if "error" in answer:
            raise _start_error(
                answer["kind"], answer["error"], self.level, self._environment, alternative=self._toolbox is None
            )
        self.separate_ids: bool = answer["separate_ids"]
        """True when each cell has a user id that nothing else has."""
        self._control.settimeout(_ANSWER_TIMEOUT_SECONDS)

    def make(self, limits: Limits, mounted: Mapping[str, int] = _NOTHING) -> LocalCell:
        """A new cell, whose jail is being put on while this returns. Raises PoolExhausted or SandboxCrashed.

        ``mounted`` are files that it has in its work directory: names, and descriptors of mounts, which stay ours.
        """
        if os.getpid() != self._owner:
            raise SandboxCrashed("This fork server belongs to the parent process.")
        try:
            tail = json.dumps([*mounted]).encode() if mounted else b""
            answer, handles = self._ask(PREPARE.pack, *limits, tail=tail, handles=[*mounted.values()])
            if answer[:1] != MADE:
                raise _refusal(answer)
            # From here on the descriptors are the cell's own.
            if limits.branchable:
                cell: LocalCell = _nested(handles, limits)
            else:
                cell = LocalCell(handles, answer[1:].decode() or None, limits)
            if self._toolbox:
                cell.expect_program(self._toolbox.own_memory_bytes)
            self.admit(cell)
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                raise PoolExhausted(
                    "The application has no descriptors left for a cell (it needs about eight): raise its "
                    "RLIMIT_NOFILE (ulimit -n), or run fewer executions at once."
                ) from error
            raise SandboxCrashed(f"The fork server is gone ({error}); the next call starts a new one.") from error
        return cell

    def make_shell(self, namespaces: list[int], limits: Limits) -> Shell:
        """A place for a copy of a session, whose user and PID namespaces are given; its descriptors are the caller's.

        Raises PoolExhausted or SandboxCrashed.
        """
        ours, theirs = _socket_pair()
        with ours:
            try:
                with theirs, self._lock:
                    question = SHELL.pack(limits.disk_bytes, limits.disk_files)
                    socket.send_fds(self._control, [question], [*namespaces, theirs.fileno()])
                ours.settimeout(_ANSWER_TIMEOUT_SECONDS)
                answer, handles = receive(ours, 1024, _MAX_HANDLES)
            except OSError as error:
                raise PoolExhausted(f"No place for a copy could be made: {error}.") from error
        if answer[:1] != MADE:
            raise _refusal(answer)
        return Shell._make(handles)

    def admit(self, cell: LocalCell) -> None:
        """Put a cell into a memory group of its own, where there are groups. Raises OSError."""
        if self.groups:
            group = self.groups.take()
            try:
                group.admit(cell.pid, cell.limits.memory_bytes + GROUP_SLACK_BYTES + cell.own_memory_bytes)
            finally:
                cell.group = group

    def _ask(
        self, pack: Callable[..., bytes], *numbers: int, tail: bytes = b"", handles: Sequence[int] = ()
    ) -> tuple[bytes, list[int]]:
        with self._lock:
            self._asked += 1
            socket.send_fds(self._control, [pack(self._asked, *numbers) + tail], handles)
            while True:
                answer, received = receive(self._control, 1024, _MAX_HANDLES)
                if not answer or NUMBER.unpack_from(answer)[0] == self._asked:
                    return answer[NUMBER.size :], received
                # An exception once came between a question and its answer; that cell ends when nobody holds it.
                for handle in received:
                    os.close(handle)

    def recycle(self, cell: LocalCell) -> None:
        """After a cell's end was read: forget its traces."""
        if cell.group and self.groups:
            # What a session and its copies share stays charged to whoever had it first, so nobody else gets that group.
            self.groups.give_back(cell.group, is_clean=not cell.limits.branchable)
        if cell.directory:
            remove_tree(cell.directory)

    def close(self) -> None:
        """End the fork server and with it every cell; waits until they are gone."""
        self._control.close()
        process = self._process
        if process is not None:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if self.groups:
            self.groups.close()
        if self.directory:
            remove_tree(self.directory)

    def forget_in_fork(self) -> None:
        """In a forked copy of the application: let go of the channel, which is the parent's."""
        self._control.close()
        if self.groups:
            self.groups.forget_in_fork()
        if self._process is not None:
            self._process.returncode = 0  # not ours to wait for, nor to warn about


def _nested(handles: list[int], limits: Limits) -> NestedCell:
    wire, stdout, stderr, report, process, witness = handles[:6]
    family = Family(Witness(report, witness))
    return NestedCell((wire, stdout, stderr), process, Shell._make(handles[6:]), limits, family)


def _socket_pair() -> tuple[socket.socket, socket.socket]:
    try:
        return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    except OSError as error:
        raise PoolExhausted(f"The fork server could not be started: {error}. Free descriptors.") from error


def _environment(without: frozenset[str], hash_seed: int | None) -> dict[str, str]:
    passed_on = os.environ if "environment" in without else {name: os.environ.get(name) for name in _PASSED_ON}
    given = {name: value for name, value in passed_on.items() if value is not None} | _ENVIRONMENT
    if hash_seed is None:
        return given
    # Without -E Python heeds its variables: only those that are ours.
    known = {name: value for name, value in given.items() if name in _ENVIRONMENT or not name.startswith("PYTHON")}
    return {**known, "PYTHONHASHSEED": str(hash_seed)}


def remove_tree(path: str) -> None:
    """Remove what a cell left, however deep or odd. Nothing of it runs any more."""
    try:
        shutil.rmtree(path)
    except FileNotFoundError:
        return
    except (OSError, RecursionError):
        # Four thousand directories inside one another, or modes taken away: rm copes.
        subprocess.run(["rm", "-rf", "--", path], check=False)


def _refusal(answer: bytes) -> Exception:
    if not answer:
        return SandboxCrashed("The fork server ended; the next call starts a new one.")
    return PoolExhausted(
        f"No cell could be made: {answer[1:].decode(errors='replace')}. The host is short of processes, memory or "
        "descriptors: run fewer executions at once, or raise its limits."
    )


def _start_error(
    kind: str, message: str, level: IsolationLevel, environment: Environment | None, *, alternative: bool
) -> Exception:
    if kind == "environment" and environment:
        return EnvironmentFailed(
            f"Environment {environment.name!r} cannot be used any more: {message}. Create it again, then make a new "
            "sandbox."
        )
    if kind == "preload":
        remedy = f"Add it to the environment {environment.name!r}" if environment else f"Install it in {sys.prefix}"
        return ConfigurationError(f"preload: {message}. {remedy}, or leave it out.")
    if kind == "namespace":
        return SandboxUnavailable(
            f"This host refuses what level {level} needs ({message}). Allow user namespaces (`hotcell doctor` says "
            f"how){', or accept level process' if alternative else ''}."
        )
    return SandboxUnavailable(f"The fork server could not start: {message}")
