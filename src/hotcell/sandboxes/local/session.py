"""A session in a local cell: one process that lives through many calls, and is stopped while nobody calls."""

from __future__ import annotations

import os
import threading
import time

from hotcell.errors import ConfigurationError, SandboxCrashed, SessionLost
from hotcell.results import Artifact, Status
from hotcell.sandboxes import artifacts
from hotcell.sandboxes.base import RunOutcome, RunRequest, SandboxSession
from hotcell.sandboxes.conversation import End, Heard, NeverBegan, converse
from hotcell.sandboxes.files import WorkFiles
from hotcell.sandboxes.local import copying, verdict
from hotcell.sandboxes.local.cell import LocalCell
from hotcell.sandboxes.local.mounted import require_room
from hotcell.sandboxes.local.nested import NestedCell
from hotcell.sandboxes.local.outcome import bury, evidence_of, outcome_of
from hotcell.sandboxes.local.pool import Pool
from hotcell.sandboxes.sending import NotSent

# The reason of SessionLost, and what it means, by the status of the call that the state was lost in.
_LOST_IN = {
    Status.TIMEOUT: ("timeout", "a call went past its time limit and did not obey the interrupt"),
    Status.MEMORY_LIMIT: ("memory", "it was ended for its memory limit"),
    Status.OUTPUT_LIMIT: ("killed", "a call went past its output limit and did not obey the interrupt"),
    Status.CANCELLED: ("killed", "a call was cancelled and did not obey the interrupt"),
    Status.KILLED: ("killed", "its process was killed"),
    Status.ERROR: ("exit", "the code ended its own process"),
}
_NOT_WHERE_IT_FORKS = frozenset({"capabilities", "parent-death-signal"})
"""It keeps two capabilities, and ends with the init of its namespace instead of with its parent."""
_NOTE = "The session's state is lost: {}."


class LocalSession(SandboxSession):
    """Belongs to the process that opened it. ``first`` has no code: it makes the namespace, before any code is seen."""

    def __init__(self, pool: Pool, cell: LocalCell, directory: int) -> None:
        """Take over a cell that is frozen, and the descriptor of its work directory."""
        self._pool = pool
        self._cell = cell
        self._directory = directory
        self._owner = os.getpid()
        self._lock = threading.Lock()
        self._lost: tuple[str, str] | None = None
        if isinstance(cell, NestedCell):
            self.lacks = _NOT_WHERE_IT_FORKS

    @classmethod
    def open(cls, pool: Pool, cell: LocalCell, first: RunRequest) -> LocalSession:
        """Make a session of a fresh cell. ``first`` has no code: the work directory is known before any is seen.

        Raises SandboxCrashed; the cell is released then.
        """
        is_nested = isinstance(cell, NestedCell)
        try:
            with converse(cell, first, in_session=True, wants_directory=not is_nested) as heard:
                directory, heard.directory = cell.work if isinstance(cell, NestedCell) else heard.directory, -1
            if heard.end is not End.REPORT or directory < 0:
                raise SandboxCrashed(f"A session could not be opened: {heard.problem or 'its cell died'}.")
            cell.freeze()
            if isinstance(cell, NestedCell):
                pool.prepare_shell(cell)
            return cls(pool, cell, directory)
        except BaseException as error:
            if isinstance(cell, NestedCell):
                os.close(cell.work)
            pool.release(cell)
            if isinstance(error, NeverBegan):
                raise SandboxCrashed("A session could not be opened: its cell died.") from error
            raise

    @property
    def lost(self) -> str:
        """Why its state is gone, in one sentence; empty while it is there."""
        self._see_owner()
        if self._lost is None and not self._lock.locked() and self._cell.is_dead():
            self._lose_between_calls()
        return f"The session is gone: {self._lost[1]}. Open a new one." if self._lost else ""

    @property
    def files(self) -> WorkFiles:
        """Its work directory; what is done there is done while the session's processes stand still."""
        self.require()
        return WorkFiles(self._directory)

    def run(self, request: RunRequest) -> RunOutcome:
        """Run the code where the last call left off. Raises SessionLost."""
        asked = time.monotonic()
        self._see_owner()
        if self._lost:  # before the lock: in a forked copy of the application it may be held for ever
            self.require()
        require_room(request.files, request.config)
        with self._lock:
            self.require()
            cell = self._cell
            if isinstance(cell, NestedCell):
                self._pool.admit(cell)  # what it starts would stay in its original's group
            cell.thaw()
            try:
                heard = converse(cell, request, in_session=True)
            except NeverBegan:
                self._lose_between_calls()
                self.require()
            except NotSent:
                cell.freeze()
                raise
            except BaseException:  # what it says to this call would be taken for the answer to the next
                self._lose("killed", "a call was broken off half-way")
                raise
            return self._conclude(request, heard, time.monotonic() - asked - heard.seconds)

    def fork(self, *, keep_random: bool = False) -> LocalSession:
        """A copy of it in a place of its own, with all that it has in memory and in its work directory."""
        with self._lock:
            self.require()
            if not isinstance(self._cell, NestedCell):
                raise ConfigurationError("This session cannot fork: open it with executor.session(branchable=True).")
            self._pool.admit(self._cell)
            self._cell.thaw()
            try:
                cell = copying.bear(self._pool.server, self._cell, keep_random=keep_random)
            finally:
                self._cell.freeze()  # meanwhile the copy gets ready
            try:
                copying.wait_until_ready(cell)
            except BaseException:
                os.close(cell.work)
                self._pool.release(cell)
                raise
            cell.freeze()
            self._pool.keep_copy(cell)
            self._pool.prepare_shell(self._cell)
            return LocalSession(self._pool, cell, cell.work)

    def close(self) -> None:
        """End its process, and everything in it."""
        self._lost = self._lost or ("closed", "it was closed")
        directory, self._directory = self._directory, -1
        if directory >= 0:
            os.close(directory)
        if os.getpid() == self._owner:
            self._pool.release(self._cell)

    def _see_owner(self) -> None:
        if self._lost is None and os.getpid() != self._owner:
            self._lost = ("host", "it belongs to the parent process")

    def require(self) -> None:
        """Raises SessionLost, with the reason, when its state is gone."""
        self._see_owner()
        if self._lost is None and self._cell.is_dead():
            self._lose_between_calls()
        if self._lost:
            reason, sentence = self._lost
            raise SessionLost(f"The session is gone: {sentence}. Open a new one.", reason=reason)

    def _lose_between_calls(self) -> None:
        ending = self._cell.read_ending()
        if self._lost:
            return
        if ending is None:
            self._lose("host", "the fork server behind it has ended")
        else:
            self._lose("killed", "its process was ended between two calls")

    def _lose(self, reason: str, sentence: str) -> None:
        self._lost = (reason, sentence)
        self._pool.release(self._cell)

    def _conclude(self, request: RunRequest, heard: Heard, waited: float) -> RunOutcome:
        cell = self._cell
        if heard.is_alive:
            cell.stop()  # it takes a moment, in which there is something else to do
        evidence = evidence_of(cell, heard, request)
        found: tuple[Artifact, ...] = ()
        notes: tuple[str, ...] = ()
        if heard.is_alive:
            cell.freeze()
        else:
            try:
                evidence = bury(self._pool, cell, heard, evidence)
            except SandboxCrashed as error:
                self._lose("host", "the fork server behind it has ended")
                raise SessionLost(str(error), reason="host") from error
        if request.artifacts:
            found, notes = artifacts.collect(self._directory, request.artifacts, request.config, heard.given)
        decision = verdict.decide(heard, evidence, request)
        if not heard.is_alive:
            self._pool.tainted |= decision[0] is Status.KILLED
            reason, sentence = _LOST_IN.get(decision[0], ("killed", "its process has ended"))
            self._lose(reason, sentence)
            notes = (*notes, _NOTE.format(sentence))
        return outcome_of(decision, heard, evidence, artifacts=found, notes=notes, acquire_seconds=max(0.0, waited))
