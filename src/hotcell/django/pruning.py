"""Forgetting old executions, with the files they left.

    for batch in prune(timezone.now() - timedelta(days=90)):
        print(batch.executions)

A batch's rows go first, in a transaction of their own, and its files after that has been committed. A crash in between
leaves files without a row, and never a row that points at a missing file. Batches are found by primary key, which grows
with time, so each begins where the last one ended: no lock is held on more than a batch, and nothing is read twice.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models.fields.files import FieldFile
from django.utils import timezone

from hotcell.django.models import CodeExecution, ExecutionArtifact
from hotcell.django.querysets import CodeExecutionQuerySet
from hotcell.django.states import FINAL
from hotcell.errors import ConfigurationError

_log = logging.getLogger("hotcell.django")
_MOST_DAYS = 36_500.0
_MOST_BATCH = 10_000
"""What one statement may name of keys: SQLite ends at 32,766."""


@dataclass(frozen=True, kw_only=True)
class Pruned:
    """What went, or with nothing deleted what would go."""

    executions: int = 0
    files: int = 0
    undeleted: int = 0
    """Files that their storage would not delete; logged. Their rows are gone."""

    def __add__(self, other: Pruned) -> Pruned:
        return Pruned(
            executions=self.executions + other.executions,
            files=self.files + other.files,
            undeleted=self.undeleted + other.undeleted,
        )


def keep_days() -> float | None:
    """HOTCELL_KEEP_DAYS; None where it is not set. Raises ConfigurationError."""
    given = getattr(settings, "HOTCELL_KEEP_DAYS", None)
    return None if given is None else _checked_days(given, "HOTCELL_KEEP_DAYS")


def days_ago(days: float) -> datetime:
    """Raises ConfigurationError for what is no number of days."""
    return timezone.now() - timedelta(days=_checked_days(days, "days"))


def prunable(before: datetime, statuses: Iterable[str] = FINAL) -> CodeExecutionQuerySet:
    """Those that ended before that, in these states. Raises ConfigurationError for a state that is not final."""
    wanted = {str(status) for status in statuses}
    if wrong := wanted - set(FINAL):
        raise ConfigurationError(f"status={min(wrong)!r} cannot be pruned: choose of {', '.join(FINAL)}.")
    # What was created later has not ended before: the index on that column does the work.
    return CodeExecution.objects.filter(status__in=wanted, created__lt=before, finished__lt=before)


def count(before: datetime, statuses: Iterable[str] = FINAL) -> Pruned:
    """What ``prune`` would delete."""
    old = prunable(before, statuses)
    return Pruned(executions=old.count(), files=ExecutionArtifact.objects.filter(execution__in=old.order_by()).count())


def prune(before: datetime, statuses: Iterable[str] = FINAL, *, batch: int = 1000) -> Iterator[Pruned]:
    """Delete them; each batch as it is done. Raises ConfigurationError, and RuntimeError inside a transaction."""
    if not 1 <= batch <= _MOST_BATCH:
        raise ConfigurationError(f"batch={batch!r} is not allowed: give a whole number from 1 to {_MOST_BATCH:,}.")
    return _batches(prunable(before, statuses).order_by("pk"), batch)


def _batches(old: CodeExecutionQuerySet, size: int) -> Iterator[Pruned]:
    left = old
    while True:
        with transaction.atomic(durable=True):  # durable: what follows the block must not be undone
            keys: list[UUID] = list(left.select_for_update().values_list("pk", flat=True)[:size])
            if not keys:
                return
            files = [item.file for item in ExecutionArtifact.objects.filter(execution__in=keys).only("file")]
            # Without the columns: a thousand rows' output may be a gigabyte.
            gone = CodeExecution.objects.filter(pk__in=keys).only("pk").delete()[1]
        deleted = sum(map(_delete, files))
        executions = gone.get(CodeExecution._meta.label, 0)
        yield Pruned(executions=executions, files=deleted, undeleted=len(files) - deleted)
        left = old.filter(pk__gt=keys[-1])


def _delete(file: FieldFile) -> bool:
    try:
        file.storage.delete(file.name or "")
    except Exception:  # noqa: BLE001 - what a storage raises is its own affair, and the other files shall go
        _log.warning("The file %s could not be deleted, and its row is gone.", file.name, exc_info=True)
        return False
    return True


def _checked_days(days: object, name: str) -> float:
    is_number = isinstance(days, int | float) and not isinstance(days, bool)
    if not is_number or not math.isfinite(days) or not 0 <= days <= _MOST_DAYS:  # type: ignore[arg-type, operator]
        raise ConfigurationError(f"{name}={days!r:.80} is not allowed: give a number from 0 to {_MOST_DAYS:,.0f}.")
    return float(days)  # type: ignore[arg-type]
