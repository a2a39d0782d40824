"""``LocalSandbox``: code runs on this kernel, in a fresh jailed process from a warm fork server."""

from __future__ import annotations

import contextlib
import math
import os
import threading
import time
import warnings
import weakref
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, ClassVar

from hotcell import languages
from hotcell.config import SandboxConfig
from hotcell.environments import Environment, find
from hotcell.errors import ConfigurationError, HotcellError, SandboxCrashed, SandboxUnavailable
from hotcell.languages import PYTHON, Language
from hotcell.readonly import ReadOnly
from hotcell.results import Artifact, IsolationLevel, SandboxInfo, Status
from hotcell.sandboxes import artifacts
from hotcell.sandboxes.base import RunOutcome, RunRequest, Sandbox
from hotcell.sandboxes.conversation import End, Heard, NeverBegan, converse
from hotcell.sandboxes.local import landlock, layers, seccomp, toolbox, verdict
from hotcell.sandboxes.local.cell import LocalCell
from hotcell.sandboxes.local.forkserver import ForkServer
from hotcell.sandboxes.local.jail import Limits
from hotcell.sandboxes.local.kernel import has_mdwe
from hotcell.sandboxes.local.libraries import describe
from hotcell.sandboxes.local.mounted import open_mounts, require_room
from hotcell.sandboxes.local.outcome import bury, evidence_of, outcome_of
from hotcell.sandboxes.local.pool import Pool
from hotcell.sandboxes.local.session import LocalSession

_LEVELS = (IsolationLevel.NAMESPACE, IsolationLevel.PROCESS)
_ATTEMPTS = 3
_LEAST_AGE_SECONDS = 10.0
_MOST_PAUSE_SECONDS = 5.0
_SESSION_CPU_SECONDS = 1 << 30
"""The kernel counts by process, and a session's lives through many calls: our clock is alone with that limit."""
_NEEDED_TO_FORK = frozenset({"pid-namespace", "mount-namespace", "user-namespace", "private-files"})
_MOST_PROGRAMS = 2
"""Cells of another language that wait prepared, each with its interpreter running."""
_NEEDS_NAMESPACES = (
    "{title} needs level namespace: at level process a cell may start no other program, and so no interpreter."
)
_alive: weakref.WeakSet[LocalSandbox] = weakref.WeakSet()


class LocalSandbox(Sandbox):
    """This kernel as the wall: namespaces, Landlock, seccomp, limits, around a process that lives for one execution.

    ``environment`` is one that ``hotcell env create`` built, or its name; without it, cells have the application's own
    Python. ``preload`` names modules that the fork server imports, so that cells have them for free; when it is not
    given, they are those that the environment lists. ``pool_size`` cells wait prepared for executions under
    ``config``'s limits; others are made when asked for. ``isolation`` is the level to insist on; without it, the best
    that this host gives. ``hash_seed`` (PYTHONHASHSEED) fixes the order of sets of text, which deterministic mode
    needs; without it, each fork server draws one. ``without`` leaves layers out, by id: for tests and proofs, reported
    in ``info``.

    Starts with the first execution. Thread-safe; a forked copy of the application starts a fork server of its own.
    """

    name: ClassVar[str] = "local"

    def __init__(
        self,
        *,
        environment: Environment | str | None = None,
        preload: Iterable[str] | None = None,
        pool_size: int = 8,
        config: SandboxConfig | None = None,
        isolation: IsolationLevel | str | None = None,
        hash_seed: int | None = None,
        without: Iterable[str] = (),
    ) -> None:
        if isinstance(preload, str):
            raise ConfigurationError(f"preload={preload!r} is text: give a list of module names.")
        if environment is not None and not isinstance(environment, Environment):
            environment = find(environment)
        self._environment = environment
        if preload is None:
            preload = environment.preload if environment else ()
        self._preload = list(preload)
        for module in self._preload:
            if not isinstance(module, str) or not all(part.isidentifier() for part in module.split(".")):
                raise ConfigurationError(f"preload: {module!r} is not the name of a module.")
        if isinstance(pool_size, bool) or not isinstance(pool_size, int) or not 0 <= pool_size <= 1000:
            raise ConfigurationError(f"pool_size={pool_size!r} is not allowed: give a whole number from 0 to 1000.")
        self._pool_size = pool_size
        self._config = config or SandboxConfig()
        self._wanted = _level(isolation)
        if hash_seed is not None and (type(hash_seed) is not int or not 0 <= hash_seed < 1 << 32):
            raise ConfigurationError(
                f"hash_seed={hash_seed!r} is not allowed: give a whole number from 0 to {(1 << 32) - 1}, or nothing."
            )
        self._hash_seed = hash_seed
        self._without = frozenset(without)
        unknown = self._without - layers.IDS
        if unknown:
            raise ConfigurationError(f"without: there is no layer {sorted(unknown)[0]!r}.")
        self._lock = threading.Lock()
        self._pool: Pool | None = None
        self._known: tuple[Pool, SandboxInfo, Mapping[str, Any]] | None = None
        self._language: Language | None = None
        self._of_language: dict[str, LocalSandbox] = {}
        self._closed = self._rotating = False
        self._last_start, self._failures = 0.0, 0
        _alive.add(self)

    def for_language(self, language: str) -> LocalSandbox:
        """The same wall for another language, with a fork server and cells of its own, which only then are started.

        Raises ConfigurationError for a language that is not known.
        """
        if language == (self._language.name if self._language else PYTHON):
            return self
        wanted = languages.get(language)
        with self._lock:
            self._check_open()
            if language not in self._of_language:
                self._of_language[language] = self._sibling(wanted)
            return self._of_language[language]

    def _sibling(self, language: Language) -> LocalSandbox:
        without = self._without | ({"no-executable-memory"} if language.executable_memory else set())
        sibling = LocalSandbox(
            pool_size=min(self._pool_size, _MOST_PROGRAMS), config=self._config, isolation=self._wanted, without=without
        )
        sibling._language = language
        return sibling

    @property
    def info(self) -> SandboxInfo:
        """Level and layers, proven by starting. Raises SandboxUnavailable or ConfigurationError."""
        return self._knowledge()[1]

    @property
    def supports_determinism(self) -> bool:
        """True when it was given a ``hash_seed``."""
        return self._hash_seed is not None

    @property
    def identity(self) -> Mapping[str, Any]:
        """Language, interpreter, libraries, preload and hash seed, as the fork server started. Raises as ``info``."""
        return self._knowledge()[2]

    def _knowledge(self) -> tuple[Pool, SandboxInfo, Mapping[str, Any]]:
        pool = self._started()
        known = self._known
        if known is None or known[0] is not pool:
            language = self._language.name if self._language else PYTHON
            settings = {"language": language, "preload": self._preload, "hash_seed": self._hash_seed}
            identity = {**describe(self._environment), **settings}
            self._known = known = (pool, self._info(pool), identity)
        return known

    @property
    def supports_streaming(self) -> bool:
        return True

    @property
    def supports_files(self) -> bool:
        return True

    @property
    def supports_displays(self) -> bool:
        return self._language is None

    @property
    def supports_tools(self) -> bool:
        return self._language is None

    @property
    def supports_sessions(self) -> bool:
        return self._language is None

    @property
    def supports_fork(self) -> bool:
        """A copy of a session needs namespaces of its own, so at level ``process`` there is none."""
        return self.isolation is IsolationLevel.NAMESPACE and not self._without & _NEEDED_TO_FORK

    def run(self, request: RunRequest) -> RunOutcome:
        """Run the code once, in a cell that has run nothing before. Raises SandboxError for our own failures."""
        asked = time.monotonic()
        if request.cancellation.cancelled:
            return RunOutcome(status=Status.CANCELLED, reason="Cancelled before it started.", decided_by="caller")
        limits = self._limits(request.config)
        if any(isinstance(content, ReadOnly) for content in request.files.values()):
            return self._run_with_mounts(request, limits)
        return self._run(request, lambda: self._take(limits), asked)

    def _run_with_mounts(self, request: RunRequest, limits: Limits) -> RunOutcome:
        """The same in a cell that is made for it, with files of the host in it."""
        asked = time.monotonic()
        mounts = open_mounts(request.files) if self._can_mount else {}
        try:
            copied = {name: content for name, content in request.files.items() if name not in mounts}
            require_room(copied, request.config)
            request = replace(request, files=copied, mounted=frozenset(mounts))
            return self._run(request, lambda: self._take_apart(limits, mounts), asked)
        finally:
            for handle in mounts.values():
                os.close(handle)

    def _take_apart(self, limits: Limits, mounts: Mapping[str, int]) -> tuple[Pool, LocalCell]:
        pool = self._started()
        return pool, pool.make_apart(limits, mounts)

    @property
    def _can_mount(self) -> bool:
        return self._language is None and self.isolation is IsolationLevel.NAMESPACE

    def _run(self, request: RunRequest, take: Callable[[], tuple[Pool, LocalCell]], asked: float) -> RunOutcome:
        for attempt in range(1, _ATTEMPTS + 1):
            pool, cell = take()
            try:
                request.cancellation.on_cancel(cell.kill)
                heard = converse(cell, request)
                with heard:
                    return self._conclude(pool, cell, request, heard, time.monotonic() - asked - heard.seconds)
            except NeverBegan:
                if attempt == _ATTEMPTS:
                    raise
            finally:
                pool.release(cell)
        raise AssertionError("unreachable")

    def open_session(self, first: RunRequest, *, branchable: bool = False) -> LocalSession:
        """A cell for many runs, made now. Raises SandboxError, and ConfigurationError where it cannot be branchable."""
        if branchable and not self.supports_fork:
            raise ConfigurationError(
                f"Sessions cannot fork at isolation level {self.isolation.value!r}: a copy would need a PID and "
                "mount namespace of its own. `hotcell doctor` says how to get level 'namespace'; or leave out "
                "branchable=True."
            )
        limits = self._limits(first.config)._replace(cpu_seconds=_SESSION_CPU_SECONDS, branchable=int(branchable))
        for attempt in range(1, _ATTEMPTS + 1):
            pool = self._started()
            try:
                cell = pool.make_apart(limits)
            except SandboxCrashed:
                pool.broken = not pool.is_retiring
                if attempt == _ATTEMPTS:
                    raise
                continue
            return LocalSession.open(pool, cell, first)
        raise AssertionError("unreachable")

    def wait_until_warm(self, timeout_seconds: float = 30.0) -> bool:
        """Start, and wait until the pool is full: True when it is in time. For benchmarks and at a server's start."""
        return self._started().wait_until_full(timeout_seconds)

    def close(self) -> None:
        """End every process and remove every trace; a closed sandbox cannot be used again."""
        with self._lock:
            self._closed = True
            pool, self._pool = self._pool, None
            siblings = [*self._of_language.values()]
        for sibling in siblings:
            sibling.close()
        if pool:
            pool.close()

    def __del__(self) -> None:
        if getattr(self, "_pool", None) is not None:
            warnings.warn(f"{self!r} was not closed", ResourceWarning, source=self, stacklevel=2)
            with contextlib.suppress(Exception):  # at the interpreter's end its parts may be gone
                self.close()

    def _take(self, limits: Limits) -> tuple[Pool, LocalCell]:
        pool = self._started()
        try:
            return pool, pool.take(limits)
        except SandboxCrashed:
            # Nobody's code was in it yet, so trying again is safe.
            pool.broken = True
        pool = self._started()
        return pool, pool.take(limits)

    def _started(self) -> Pool:
        with self._lock:
            self._check_open()
            pool = self._pool
            if pool is not None and pool.broken:
                pool.close()
                pool = None
                self._pause_before_restart()
            if pool is None:
                pool = self._pool = self._new_pool()
                self._last_start = time.monotonic()
            elif pool.is_stale and not self._rotating and pool.age_seconds > _LEAST_AGE_SECONDS:
                self._rotating = True
                threading.Thread(target=self._rotate, args=(pool,), name="hotcell-rotation", daemon=True).start()
            return pool

    def _check_open(self) -> None:
        if self._closed:
            raise ConfigurationError("This LocalSandbox is closed; make a new one.")

    def _pause_before_restart(self) -> None:
        """A fork server that keeps dying must not make the host start one after the other without end."""
        quickly = time.monotonic() - self._last_start < _LEAST_AGE_SECONDS
        self._failures = self._failures + 1 if quickly else 0
        time.sleep(min(_MOST_PAUSE_SECONDS, 0.05 * 2**self._failures) if self._failures else 0)

    def _rotate(self, old: Pool) -> None:
        """Put a new fork server in the old one's place while the old one serves on."""
        try:
            new = self._new_pool()
            new.wait_until_full(_LEAST_AGE_SECONDS)
        except HotcellError:
            self._rotating = False  # the old one is still there; the next execution tries again
            return
        with self._lock:
            self._rotating = False
            if self._closed or self._pool is not old:
                old = new
            else:
                self._pool = new
        old.retire()

    def _new_pool(self) -> Pool:
        return Pool(self._start_server(), self._limits(self._config), self._pool_size)

    def _limits(self, config: SandboxConfig) -> Limits:
        limits = _limits(config)
        return limits._replace(processes=limits.processes + self._language.own_processes) if self._language else limits

    def _start_server(self) -> ForkServer:
        missing = [
            name for name, there in (("seccomp", seccomp.available()), ("landlock", landlock.version())) if not there
        ]
        if "seccomp" in missing:
            raise SandboxUnavailable("This kernel or machine has no seccomp filter; without one there is no wall.")
        if self._language:
            return self._start_program_server(self._language)
        if self._wanted is not IsolationLevel.PROCESS:
            try:
                return self._fork_server(IsolationLevel.NAMESPACE)
            except SandboxUnavailable:
                if self._wanted is IsolationLevel.NAMESPACE or missing:
                    raise
        if missing:
            raise SandboxUnavailable(
                "Level process needs Landlock, and this kernel has none or it is switched off: add landlock to the "
                "kernel's lsm= parameter, or allow user namespaces."
            )
        return self._fork_server(IsolationLevel.PROCESS)

    def _fork_server(self, level: IsolationLevel) -> ForkServer:
        return ForkServer(self._preload, level, self._without, self._environment, self._hash_seed)

    def _start_program_server(self, language: Language) -> ForkServer:
        if self._wanted is IsolationLevel.PROCESS:
            raise SandboxUnavailable(_NEEDS_NAMESPACES.format(title=language.title))
        tools = toolbox.find(language)
        try:
            return ForkServer([], IsolationLevel.NAMESPACE, self._without, toolbox=tools)
        except SandboxUnavailable as error:
            raise SandboxUnavailable(f"{_NEEDS_NAMESPACES.format(title=language.title)} {error}") from error

    def _info(self, pool: Pool) -> SandboxInfo:
        server = pool.server
        active = layers.active(
            server.level,
            groups=server.groups is not None,
            separate_ids=server.separate_ids,
            has_landlock=bool(landlock.version()),
            has_mdwe=has_mdwe(),
            without=self._without,
        )
        return SandboxInfo(name=self.name, isolation=server.level, layers=active)

    def _conclude(self, pool: Pool, cell: LocalCell, request: RunRequest, heard: Heard, waited: float) -> RunOutcome:
        evidence = evidence_of(cell, heard, request)
        found: tuple[Artifact, ...] = ()
        notes: tuple[str, ...] = ()
        # A cell that has reported and holds one thread is condemned here and dies while we go on. Where anything else
        # lives in it, or its files are wanted, nothing is released before all of it is dead.
        if heard.end is End.REPORT and not request.artifacts and cell.peak_processes == 1 and cell.is_quiet():
            pool.release(cell)
        else:
            evidence = bury(pool, cell, heard, evidence)
            if cell.own_memory_bytes and verdict.gave_up(evidence, request):
                evidence = replace(evidence, out_of_memory=True)
            if heard.directory >= 0:
                found, notes = artifacts.collect(
                    heard.directory, request.artifacts, request.config, heard.given, request.mounted
                )
        status, reason, decided_by = verdict.decide(heard, evidence, request)
        if status is Status.KILLED:
            pool.tainted = True
        outcome = outcome_of(
            (status, reason, decided_by), heard, evidence, artifacts=found, notes=notes, acquire_seconds=waited
        )
        if outcome.reproducible and cell.directory and cell.directory in repr(outcome):
            return replace(outcome, reproducible=False)  # the next cell's directory has another name
        return outcome


def _level(isolation: IsolationLevel | str | None) -> IsolationLevel | None:
    if isolation is None:
        return None
    try:
        level = IsolationLevel(isolation)
    except ValueError:
        level = IsolationLevel.NONE
    if level not in _LEVELS:
        raise ConfigurationError(f"isolation={isolation!r} is not allowed: give 'process' or 'namespace', or nothing.")
    return level


def _limits(config: SandboxConfig) -> Limits:
    return Limits(
        memory_bytes=config.memory_bytes,
        processes=config.processes,
        open_files=config.open_files,
        file_bytes=config.file_bytes,
        disk_bytes=config.disk_bytes,
        disk_files=config.disk_files,
        # Our clock keeps this limit; the kernel's is behind it, and coarse, so that cells fit many timeouts.
        cpu_seconds=2 ** math.ceil(math.log2(config.effective_cpu_seconds + 2)),
        branchable=0,
    )


def _after_fork_in_child() -> None:
    for sandbox in list(_alive):
        pool, sandbox._pool = sandbox._pool, None
        sandbox._lock = threading.Lock()  # another thread of the parent may have held it
        sandbox._rotating = False
        if pool:
            pool.forget_in_fork()


os.register_at_fork(after_in_child=_after_fork_in_child)
