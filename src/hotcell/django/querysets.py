"""The questions that are asked of the history, as verbs."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.db import models
from django.db.models import Avg, Count, Max, Q, Sum
from django.utils import timezone

from hotcell.django.states import FAILURES, OPEN, State

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractBaseUser, AnonymousUser

    from hotcell.django.models import CodeExecution


class CodeExecutionQuerySet(models.QuerySet["CodeExecution"]):
    """``CodeExecution.objects.for_user(user).recent(hours=1).failed()``"""

    def for_user(self, user: AbstractBaseUser | AnonymousUser | None) -> CodeExecutionQuerySet:
        """Theirs alone; nobody's for who is not logged in."""
        if user is None or user.pk is None:
            return self.none()
        return self.filter(user_id=user.pk)

    def recent(self, **since: float) -> CodeExecutionQuerySet:
        """Of the last day, or of the time given as for ``timedelta``: ``recent(hours=1)``. The newest first."""
        return self.filter(created__gte=timezone.now() - timedelta(**since or {"days": 1})).order_by("-created")

    def open(self) -> CodeExecutionQuerySet:
        """Queued or running."""
        return self.filter(status__in=OPEN)

    def failed(self) -> CodeExecutionQuerySet:
        """Finished in any other way than well."""
        return self.filter(status__in=FAILURES)

    def slow(self, seconds: float = 1.0) -> CodeExecutionQuerySet:
        """Took at least so long; the slowest first."""
        return self.filter(wall_seconds__gte=seconds).order_by("-wall_seconds")

    def with_violations(self, rule: str = "") -> CodeExecutionQuerySet:
        """A validator found something; with ``rule``, that."""
        found = self.filter(violation_count__gt=0)
        return found.filter(rules__contains=f" {rule} ") if rule else found

    def duplicates_of(self, code: str | bytes | CodeExecution) -> CodeExecutionQuerySet:
        """The same code, byte by byte; without the execution itself, when one is given."""
        from hotcell.django.models import CodeExecution, sha256_of

        if isinstance(code, CodeExecution):
            return self.filter(code_sha256=code.code_sha256).exclude(pk=code.pk)
        return self.filter(code_sha256=sha256_of(code))

    def overdue(self, now: datetime | None = None) -> CodeExecutionQuerySet:
        """Running for longer than its limits allow: whoever ran it is dead."""
        return self.filter(status=State.RUNNING, expires__lt=now or timezone.now())

    def stats(self) -> dict[str, Any]:
        """Counts by status, and what was used in all: seconds, bytes."""
        by_status = dict(self.order_by().values_list("status").annotate(number=Count("pk")))
        totals = self.aggregate(
            executions=Count("pk"),
            rejected=Count("pk", filter=Q(status=State.REJECTED)),
            total_wall_seconds=Sum("wall_seconds"),
            total_cpu_seconds=Sum("cpu_seconds"),
            mean_wall_seconds=Avg("wall_seconds"),
            most_wall_seconds=Max("wall_seconds"),
            most_memory_bytes=Max("peak_memory_bytes"),
            total_output_bytes=Sum("output_bytes"),
        )
        return {"by_status": by_status, **{name: value or 0 for name, value in totals.items()}}
