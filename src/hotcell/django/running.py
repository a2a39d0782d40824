"""What this process runs now, and hearing of those that another process wants cancelled."""

from __future__ import annotations

import logging
import os
import threading
from uuid import UUID

from django.db import connection

from hotcell.django.models import CodeExecution
from hotcell.sandboxes.base import Cancellation

_log = logging.getLogger("hotcell.django")
_LOOK_SECONDS = 1.0


class Running:
    """Thread-safe. A thread of its own looks into the database while anything runs for longer than a second."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._entries: dict[UUID, Cancellation] = {}
        self._watches = False

    def add(self, execution: CodeExecution, cancellation: Cancellation) -> None:
        """It begins."""
        with self._changed:
            self._entries[execution.pk] = cancellation
            if not self._watches:
                self._watches = True
                threading.Thread(target=self._watch, name="hotcell-cancel", daemon=True).start()

    def discard(self, execution: CodeExecution) -> None:
        """It has ended."""
        with self._changed:
            self._entries.pop(execution.pk, None)
            self._changed.notify_all()

    def cancel(self, key: UUID) -> bool:
        """True when it runs here."""
        with self._changed:
            cancellation = self._entries.get(key)
        if cancellation is not None:
            cancellation.cancel()
        return cancellation is not None

    def forget(self) -> None:
        """In a forked child: the parent's executions are not the child's, and its lock may be held."""
        self.__init__()  # type: ignore[misc]

    def _watch(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: not self._entries, _LOOK_SECONDS)
                if not self._entries:
                    self._watches = False
                    return
                keys = list(self._entries)
            try:
                wanted = CodeExecution.objects.filter(pk__in=keys, cancel_requested=True)
                for key in wanted.values_list("pk", flat=True):
                    self.cancel(key)
            except Exception:  # noqa: BLE001  # without this thread, nobody could cancel anything from elsewhere
                _log.warning("Nobody could ask the database which executions are to be cancelled.", exc_info=True)
            finally:
                connection.close()


running = Running()
os.register_at_fork(after_in_child=running.forget)
