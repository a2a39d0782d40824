"""The history of executions, their files, and who may run how much."""

from __future__ import annotations

import hashlib
from collections import Counter
from datetime import UTC, datetime
from typing import Any

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from hotcell.django.conf import artifact_storage
from hotcell.django.ids import uuid7
from hotcell.django.querysets import CodeExecutionQuerySet
from hotcell.django.states import FINAL, OPEN, State
from hotcell.results import ExecutionResult
from hotcell.steps import as_bytes

_NAME_LENGTH = 64


def sha256_of(code: str | bytes) -> str:
    """As in ``ExecutionResult.code_sha256``."""
    return hashlib.sha256(as_bytes(code)).hexdigest()


class CodeExecution(models.Model):
    """One execution and all there is to say about it, written by ``services`` alone.

    ``save`` only makes new rows. A row changes by a guarded update: from open to final, once.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    """Also the ``execution_id`` of the result, in hex."""
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="+", verbose_name=_("user")
    )
    status = models.CharField(_("status"), max_length=16, choices=State, default=State.QUEUED)
    reason = models.TextField(_("reason"), blank=True)
    decided_by = models.CharField(_("decided by"), max_length=16, blank=True)

    code = models.TextField(_("code"))
    code_sha256 = models.CharField(_("SHA-256 of the code"), max_length=64)
    language = models.CharField(_("language"), max_length=_NAME_LENGTH, default="python")
    context = models.JSONField(_("context"), default=dict, blank=True)
    """The variables given to the code, without what looks like a secret."""
    policy = models.JSONField(_("policy"), default=dict, blank=True)
    """As data, so that an old row explains itself."""
    config = models.JSONField(_("limits"), default=dict, blank=True)

    alias = models.CharField(_("alias"), max_length=_NAME_LENGTH, default="default")
    """Which of HOTCELL_SANDBOXES was asked for."""
    sandbox = models.CharField(_("sandbox"), max_length=_NAME_LENGTH, blank=True)
    isolation = models.CharField(_("isolation level"), max_length=16, blank=True)
    layers = models.JSONField(_("layers"), default=list, blank=True)

    stdout = models.TextField(_("output"), blank=True)
    stderr = models.TextField(_("error output"), blank=True)
    value = models.JSONField(_("value"), null=True, blank=True)
    value_repr = models.TextField(_("value as Python shows it"), null=True, blank=True)  # None is none
    displays = models.JSONField(_("displays"), default=list, blank=True)
    error = models.JSONField(_("error"), null=True, blank=True)
    violations = models.JSONField(_("violations"), default=list, blank=True)
    violation_count = models.PositiveIntegerField(_("number of violations"), default=0)
    rules = models.TextField(_("rules that matched"), blank=True)
    """Their ids with a space around each, to be searched in any database."""
    redactions = models.JSONField(_("redactions"), default=list, blank=True)
    tool_calls = models.JSONField(_("tool calls"), default=list, blank=True)
    notes = models.JSONField(_("notes"), default=list, blank=True)
    cached = models.BooleanField(_("from the cache"), default=False)

    wall_seconds = models.FloatField(_("wall time"), null=True, blank=True)
    cpu_seconds = models.FloatField(_("CPU time"), null=True, blank=True)
    peak_memory_bytes = models.PositiveBigIntegerField(_("peak memory"), null=True, blank=True)
    processes = models.PositiveIntegerField(_("processes"), null=True, blank=True)
    output_bytes = models.PositiveBigIntegerField(_("size of the output"), null=True, blank=True)
    timings = models.JSONField(_("timings"), default=dict, blank=True)
    """Every stage's, in seconds."""

    created = models.DateTimeField(_("created"), default=timezone.now, editable=False)
    started = models.DateTimeField(_("started"), null=True, blank=True, editable=False)
    finished = models.DateTimeField(_("finished"), null=True, blank=True, editable=False)
    expires = models.DateTimeField(_("expires"), null=True, blank=True, editable=False)
    """While it runs: past this it cannot be running any more, and whoever ran it is dead."""
    attempt = models.PositiveSmallIntegerField(_("attempt"), default=0, editable=False)
    """Counts who took it up. Only the last one's result is written."""
    cancel_requested = models.BooleanField(_("to be cancelled"), default=False, editable=False)
    reserved = models.JSONField(_("reserved"), null=True, blank=True, editable=False)
    """What was taken from the user's quota until it is known what was used; None without a quota."""

    request_id = models.CharField(_("request"), max_length=200, blank=True)
    metadata = models.JSONField(_("metadata"), default=dict, blank=True)

    objects = CodeExecutionQuerySet.as_manager()

    class Meta:
        verbose_name = _("execution")
        verbose_name_plural = _("executions")
        default_permissions = ("view", "delete")
        permissions = (("run_code", _("Can run code")), ("cancel_execution", _("Can cancel others' executions")))
        ordering = ("-id",)
        indexes = (
            models.Index(fields=("user", "-created"), name="hotcell_by_user"),
            models.Index(fields=("user", "-id"), name="hotcell_pages_of_user"),
            models.Index(fields=("status", "-created"), name="hotcell_by_status"),
            models.Index(fields=("-created",), name="hotcell_by_age"),
            models.Index(fields=("code_sha256", "-created"), name="hotcell_by_code"),
            models.Index(fields=("-wall_seconds",), name="hotcell_by_duration"),
            # Few rows at any time, among many millions.
            models.Index(fields=("expires",), condition=Q(status="running"), name="hotcell_running"),
            models.Index(fields=("created",), condition=Q(status="queued"), name="hotcell_queued"),
            models.Index(fields=("-id",), condition=Q(violation_count__gt=0), name="hotcell_with_violations"),
        )
        constraints = (
            models.CheckConstraint(condition=Q(status__in=State.values), name="hotcell_status_is_known"),
            models.CheckConstraint(
                condition=Q(status__in=OPEN, finished__isnull=True) | Q(status__in=FINAL, finished__isnull=False),
                name="hotcell_final_is_finished",
            ),
            models.CheckConstraint(
                condition=~Q(status="running") | Q(started__isnull=False, expires__isnull=False),
                name="hotcell_running_expires",
            ),
        )

    def __str__(self) -> str:
        return f"{self.pk.hex[:12]} {self.get_status_display()}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Make the row. Raises TypeError for one that is there: two writers would overwrite one another."""
        if not self._state.adding:
            raise TypeError("An execution is changed by hotcell.django.services alone, never by save().")
        super().save(*args, **kwargs)

    @property
    def is_final(self) -> bool:
        """True once it will not change any more."""
        return self.status not in OPEN

    @property
    def success(self) -> bool:
        """True only for OK."""
        return self.status == State.OK

    @property
    def first_line(self) -> str:
        """The first line of the code that says something, shortened; for lists."""
        lines = (line.strip() for line in self.code[:2000].splitlines())
        return next((line for line in lines if line and not line.startswith("#")), "")[:100]

    def violation_summary(self) -> str:
        """Such as ``import.process (2), call.dynamic``."""
        counts = Counter(item["rule"] for item in self.violations)
        return ", ".join(f"{rule} ({number})" if number > 1 else rule for rule, number in counts.most_common())

    def redaction_summary(self) -> str:
        """Such as ``aws-access-key in stdout (3)``."""
        return ", ".join(
            f"{item['kind']} in {item['where']}" + (f" ({item['count']})" if item["count"] > 1 else "")
            for item in self.redactions
        )

    def error_summary(self) -> str:
        """Such as ``ValueError: no such column (line 3)``; empty where the code raised nothing."""
        if not self.error:
            return ""
        where = f" (line {self.error['line']})" if self.error.get("line") else ""
        return f"{self.error['type']}: {self.error['message']}{where}"

    def usage_summary(self) -> str:
        """Such as ``0.31 s wall, 0.30 s CPU, 12.4 MiB``; empty where nothing ran."""
        if self.wall_seconds is None:
            return ""
        memory = (self.peak_memory_bytes or 0) / (1 << 20)
        return f"{self.wall_seconds:.2f} s wall, {self.cpu_seconds or 0:.2f} s CPU, {memory:.1f} MiB"

    def to_result(self) -> ExecutionResult:
        """The result as Python knows it, its artifacts without their bytes. Raises ValueError for an open row."""
        from hotcell.django.recording import result_of

        return result_of(self)


class ExecutionArtifact(models.Model):
    """A file that the code left."""

    execution = models.ForeignKey(CodeExecution, models.CASCADE, related_name="artifacts", verbose_name=_("execution"))
    name = models.CharField(_("name"), max_length=500)
    """Relative, with ``/`` between parts, as the code named it."""
    size = models.PositiveBigIntegerField(_("size"))
    sha256 = models.CharField(_("SHA-256"), max_length=64)
    media_type = models.CharField(_("type"), max_length=200)
    """By what is in it, not by its name."""
    file = models.FileField(_("file"), storage=artifact_storage, upload_to="hotcell/%Y/%m/%d", max_length=500)

    class Meta:
        verbose_name = _("artifact")
        verbose_name_plural = _("artifacts")
        default_permissions = ("view",)
        constraints = (models.UniqueConstraint(fields=("execution", "name"), name="hotcell_artifact_has_one_name"),)

    def __str__(self) -> str:
        return self.name


class Window(models.TextChoices):
    """What a quota is counted over; calendar windows of UTC, which begin by themselves."""

    MINUTE = "minute", _("per minute")
    HOUR = "hour", _("per hour")
    DAY = "day", _("per day")
    MONTH = "month", _("per month")
    AT_ONCE = "at_once", _("at once")
    """Only executions can be limited so."""


class ExecutionQuota(models.Model):
    """How much may be run. What is set for a user stands in for their groups', and that for everybody's.

    Of several groups the one that allows most counts. What is empty is not limited.
    """

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.CASCADE, null=True, blank=True, related_name="+", verbose_name=_("user")
    )
    group = models.ForeignKey(
        "auth.Group", models.CASCADE, null=True, blank=True, related_name="+", verbose_name=_("group")
    )
    window = models.CharField(_("window"), max_length=8, choices=Window)
    executions = models.PositiveBigIntegerField(_("executions"), null=True, blank=True)
    cpu_seconds = models.FloatField(_("CPU seconds"), null=True, blank=True)
    wall_seconds = models.FloatField(_("wall seconds"), null=True, blank=True)
    output_bytes = models.PositiveBigIntegerField(_("bytes of output"), null=True, blank=True)

    class Meta:
        verbose_name = _("quota")
        verbose_name_plural = _("quotas")
        constraints = (
            models.CheckConstraint(
                condition=Q(user__isnull=True) | Q(group__isnull=True), name="hotcell_quota_of_one_subject"
            ),
            models.CheckConstraint(
                condition=~Q(window="at_once")
                | Q(cpu_seconds__isnull=True, wall_seconds__isnull=True, output_bytes__isnull=True),
                name="hotcell_quota_at_once_counts",
            ),
            models.CheckConstraint(
                condition=(Q(cpu_seconds__isnull=True) | Q(cpu_seconds__gte=0))
                & (Q(wall_seconds__isnull=True) | Q(wall_seconds__gte=0)),
                name="hotcell_quota_is_positive",
            ),
            models.UniqueConstraint(
                fields=("user", "window"), condition=Q(user__isnull=False), name="hotcell_quota_of_user"
            ),
            models.UniqueConstraint(
                fields=("group", "window"), condition=Q(group__isnull=False), name="hotcell_quota_of_group"
            ),
            models.UniqueConstraint(
                fields=("window",),
                condition=Q(user__isnull=True, group__isnull=True),
                name="hotcell_quota_of_everybody",
            ),
        )

    def __str__(self) -> str:
        return f"{self.subject}, {self.get_window_display()}"

    @property
    def subject(self) -> str:
        """Whom it is for."""
        return str(self.user or self.group or _("everybody"))


_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


def _start() -> models.DateTimeField[datetime, datetime]:
    return models.DateTimeField(default=_LONG_AGO, editable=False)


def _count() -> models.BigIntegerField[int, int]:
    return models.BigIntegerField(default=0, editable=False)


def _seconds() -> models.FloatField[float, float]:
    return models.FloatField(default=0.0, editable=False)


class QuotaUse(models.Model):
    """What a user has used, in one row, so that all of it is checked and reserved by one statement.

    For each window: when it began, and what was used since. A window that has passed is read as empty.
    """

    user = models.OneToOneField(settings.AUTH_USER_MODEL, models.CASCADE, related_name="+", primary_key=True)
    at_once = _count()

    minute_start = _start()
    minute_executions = _count()
    minute_cpu_seconds = _seconds()
    minute_wall_seconds = _seconds()
    minute_output_bytes = _count()

    hour_start = _start()
    hour_executions = _count()
    hour_cpu_seconds = _seconds()
    hour_wall_seconds = _seconds()
    hour_output_bytes = _count()

    day_start = _start()
    day_executions = _count()
    day_cpu_seconds = _seconds()
    day_wall_seconds = _seconds()
    day_output_bytes = _count()

    month_start = _start()
    month_executions = _count()
    month_cpu_seconds = _seconds()
    month_wall_seconds = _seconds()
    month_output_bytes = _count()

    class Meta:
        verbose_name = _("use")
        verbose_name_plural = _("use")
        default_permissions = ()

    def __str__(self) -> str:
        return str(self.user)
