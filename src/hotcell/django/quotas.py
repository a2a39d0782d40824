"""Who may run how much: reserved before the run by one statement, settled after it with what was truly used.

Before the run nobody knows what it will use, so all that its limits allow is reserved. The statement that reserves also
checks, on the one row that holds all of a user's counters: of two requests for the last slot the database lets one wait
for the other's row lock, and looks again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.db.models import BigIntegerField, Case, F, Field, FloatField, Q, When
from django.db.models.expressions import Combinable
from django.utils import timezone

from hotcell.config import SandboxConfig
from hotcell.django.models import ExecutionQuota, QuotaUse, Window
from hotcell.errors import QuotaExceeded

if TYPE_CHECKING:
    from django.contrib.auth.models import User

WINDOWS = (Window.MINUTE, Window.HOUR, Window.DAY, Window.MONTH)
RESOURCES = ("executions", "cpu_seconds", "wall_seconds", "output_bytes")
_UNITS = {"executions": "executions", "cpu_seconds": "CPU seconds", "wall_seconds": "seconds", "output_bytes": "bytes"}
_RETRY_AT_ONCE_SECONDS = 1.0
_SLACK = 1e-6
"""Sums of seconds are not exact: 0.1 fits three times into 0.3, whatever is left over after some coming and going."""

Amounts = Mapping[str, float]
"""By resource."""


@dataclass(frozen=True, kw_only=True)
class Limit:
    """One number that may not be passed."""

    window: Window
    resource: str
    most: float


def limits_of(user: User) -> list[Limit]:
    """What is in force for them: of each window their own, else their groups' most generous, else everybody's."""
    mine = Q(user=user) | Q(user__isnull=True, group__isnull=True)
    if hasattr(user, "groups"):  # a project's own user model may be without
        mine |= Q(group__in=user.groups.all())
    found = list(ExecutionQuota.objects.filter(mine))
    limits: list[Limit] = []
    for window in Window:
        of_window = [quota for quota in found if quota.window == window]
        own = [quota for quota in of_window if quota.user_id is not None]
        groups = [quota for quota in of_window if quota.group_id is not None]
        for resource in RESOURCES:
            values = [getattr(quota, resource) for quota in own or groups or of_window]
            if values and None not in values:
                limits.append(Limit(window=window, resource=resource, most=max(values)))
    return limits


def reserve(
    user: User, config: SandboxConfig, now: datetime | None = None, limits: list[Limit] | None = None
) -> dict[str, Any] | None:
    """Take all that the execution may use; what ``settle`` needs to know, or None where nothing is limited.

    Raises QuotaExceeded, which says what is used up and when there will be more. ``limits`` are theirs, where they were
    asked for before: with them a transaction begins by writing, and SQLite in its default mode lets many wait in turn.
    """
    limits = limits_of(user) if limits is None else limits
    if not limits:
        return None
    now = now or timezone.now()
    amounts = {
        "executions": 1,
        "cpu_seconds": config.effective_cpu_seconds,
        "wall_seconds": config.timeout_seconds,
        "output_bytes": config.output_bytes,
    }
    has_room = Q()
    for limit in limits:
        has_room &= _has_room(limit, amounts, now)
    changes: dict[str, Any] = {"at_once": F("at_once") + 1}
    for window in WINDOWS:
        changes[f"{window}_start"] = Case(
            When(_is_current(window, now), then=F(f"{window}_start")), default=start_of(window, now)
        )
        changes |= {f"{window}_{name}": _used(window, name, now) + amounts[name] for name in RESOURCES}
    mine = QuotaUse.objects.filter(has_room, user=user)
    if not mine.update(**changes):
        QuotaUse.objects.get_or_create(user=user)  # it may be their first
        if not mine.update(**changes):
            raise _refusal(user, limits, amounts, now)
    return {"at": now.isoformat(), **{name: amounts[name] for name in RESOURCES}}


def settle(user_id: int, reserved: Mapping[str, Any], used: Amounts) -> None:
    """Put what was used in the place of what was reserved. To be called once, with the row's last change.

    A window that has passed meanwhile is left as it is: what was reserved in it is gone with it.
    """
    at = datetime.fromisoformat(reserved["at"])
    changes: dict[str, Any] = {"at_once": F("at_once") - 1}
    for window in WINDOWS:
        for name in RESOURCES:
            field = f"{window}_{name}"
            unused = reserved[name] - used[name]
            still_that = When(**{f"{window}_start": start_of(window, at)}, then=F(field) - unused)
            changes[field] = Case(still_that, default=F(field), output_field=_column(name))
    QuotaUse.objects.filter(user_id=user_id).update(**changes)


def use_of(user: User, now: datetime | None = None) -> dict[str, dict[str, float]]:
    """What they have used, by window and resource; of executions also those ``at_once``."""
    now = now or timezone.now()
    use = QuotaUse.objects.filter(user=user).first() or QuotaUse(user=user)
    found = {Window.AT_ONCE.value: {"executions": float(use.at_once)}}
    for window in WINDOWS:
        is_current = getattr(use, f"{window}_start") in (start_of(window, now), end_of(window, now))
        found[window.value] = {
            name: float(getattr(use, f"{window}_{name}")) if is_current else 0.0 for name in RESOURCES
        }
    return found


def start_of(window: Window, at: datetime) -> datetime:
    """When the window that this moment is in began, in UTC."""
    start = at.astimezone(UTC).replace(second=0, microsecond=0)
    if window is not Window.MINUTE:
        start = start.replace(minute=0)
    if window in (Window.DAY, Window.MONTH):
        start = start.replace(hour=0)
    return start.replace(day=1) if window is Window.MONTH else start


def end_of(window: Window, at: datetime) -> datetime:
    """When the next one begins."""
    start = start_of(window, at)
    if window is Window.MONTH:
        return (start + timedelta(days=32)).replace(day=1)
    return start + {Window.MINUTE: timedelta(minutes=1), Window.HOUR: timedelta(hours=1)}.get(window, timedelta(days=1))


def _used(window: Window, resource: str, now: datetime) -> Combinable:
    field = f"{window}_{resource}"
    zero = 0 if resource in ("executions", "output_bytes") else 0.0
    return Case(When(_is_current(window, now), then=F(field)), default=zero)


def _column(resource: str) -> Field[Any, Any]:
    return FloatField() if resource.endswith("_seconds") else BigIntegerField()


def _is_current(window: Window, now: datetime) -> Q:
    """The row's window has not passed. It may be the next one already: somebody with a later ``now`` was faster."""
    return Q(**{f"{window}_start__in": (start_of(window, now), end_of(window, now))})


def _has_room(limit: Limit, amounts: Amounts, now: datetime) -> Q:
    if _never_fits(limit, amounts):
        return Q(pk__isnull=True)
    if limit.window is Window.AT_ONCE:
        return Q(at_once__lt=limit.most)
    most = limit.most - amounts[limit.resource] + _slack(limit.resource)
    return ~_is_current(limit.window, now) | Q(**{f"{limit.window}_{limit.resource}__lte": most})


def _never_fits(limit: Limit, amounts: Amounts) -> bool:
    return amounts[limit.resource] > limit.most + _slack(limit.resource)


def _slack(resource: str) -> float:
    return _SLACK if resource.endswith("_seconds") else 0


def _refusal(user: User, limits: list[Limit], amounts: Amounts, now: datetime) -> QuotaExceeded:
    """Which limit it was may have changed since; then none is named."""
    used = use_of(user, now)
    wait, words = _RETRY_AT_ONCE_SECONDS, ""
    for limit in limits:
        amount, unit, label = amounts[limit.resource], _UNITS[limit.resource], limit.window.label
        if _never_fits(limit, amounts):
            return QuotaExceeded(
                f"One execution may use {_number(amount)} {unit}, and {_number(limit.most)} {label} are allowed: "
                "lower its limits, or raise the quota."
            )
        taken = used[limit.window][limit.resource]
        if taken + amount <= limit.most + _slack(limit.resource):
            continue
        if limit.window is not Window.AT_ONCE:
            wait = max(wait, (end_of(limit.window, now) - now).total_seconds())
        words = words or (
            f"{_number(taken)} of {_number(limit.most)} {unit} {label} are taken, and one execution may use "
            f"{_number(amount)} more"
        )
    words = words or "it was at the moment of asking"
    return QuotaExceeded(
        f"The quota is used up: {words}. Try again in {math.ceil(wait)} s, or have the quota raised.",
        retry_after_seconds=wait,
    )


def _number(value: float) -> str:
    return f"{value:,.10g}"
