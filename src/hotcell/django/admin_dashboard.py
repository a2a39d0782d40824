"""What the operators' page says: a fixed number of questions to the database, and this process's own pools."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from django.contrib.auth import get_user_model
from django.db.models import Count, Max, Min, Sum
from django.db.models.functions import Substr, TruncHour
from django.utils import timezone

from hotcell.django.admin_display import STAGES, number, plain, seconds
from hotcell.django.executors import executors
from hotcell.django.models import CodeExecution
from hotcell.django.states import FINAL, State
from hotcell.errors import HotcellError
from hotcell.sandboxes.local.sandbox import LocalSandbox

_HOURS = 24
_LOOKED_AT = 1000
"""The newest finished executions that the stages are measured over."""
_ROWS = 10
_HEIGHT = 100.0


def figures(now: datetime | None = None) -> dict[str, Any]:
    """All of it, for the template."""
    since = (now or timezone.now()) - timedelta(days=1)
    return {
        **by_hour(since),
        "stages": stages(),
        "rules": rejecting_rules(since),
        "slowest": slowest_code(since),
        "users": heaviest_users(since),
        "pools": pools(),
    }


def by_hour(since: datetime) -> dict[str, Any]:
    """The last day's executions: a bar for each hour, a piece of it for each status."""
    recent = CodeExecution.objects.filter(created__gte=since).order_by()
    counted = recent.annotate(hour=TruncHour("created", tzinfo=UTC)).values_list("hour", "status").annotate(Count("pk"))
    counts: dict[tuple[datetime, str], int] = {(hour, status): count for hour, status, count in counted}
    first = since.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    hours = [first + timedelta(hours=place) for place in range(_HOURS + 1)]
    totals = [sum(counts.get((hour, state), 0) for state in State) for hour in hours]
    most = max(totals)
    columns = []
    for place, (hour, total) in enumerate(zip(hours, totals, strict=True)):
        of_hour = [(state, count) for state in State if (count := counts.get((hour, state), 0))]
        pieces, top = [], _HEIGHT
        for state, count in of_hour:
            height = count / most * _HEIGHT
            top -= height
            where = {"x": str(place * 10 + 1), "y": f"{top:.2f}", "height": f"{height:.2f}"}
            pieces.append({"state": state, "count": count, **where})
        columns.append({"hour": hour, "total": total, "counts": of_hour, "pieces": pieces})
    seen = {status for _hour, status in counts}
    return {"hours": columns, "most": most, "legend": [state for state in State if state in seen]}


def stages() -> list[dict[str, Any]]:
    """Half, and nineteen of twenty, of the newest finished executions took no longer than this in a stage."""
    newest = CodeExecution.objects.filter(status__in=FINAL).order_by("-created").values_list("timings", flat=True)
    found = [item for item in newest[:_LOOKED_AT] if isinstance(item, dict) and item]
    rows = []
    for name in (*STAGES, "total"):
        took = sorted(number(item.get(f"{name}_seconds")) for item in found)
        if took:
            p50, p95 = percentile(took, 0.5), percentile(took, 0.95)
            rows.append({"name": name, "p50": seconds(p50), "p95": seconds(p95)})
    return rows


def percentile(ordered: Sequence[float], share: float) -> float:
    """The smallest of them that this share of them does not exceed."""
    return ordered[max(math.ceil(len(ordered) * share) - 1, 0)]


def rejecting_rules(since: datetime) -> list[tuple[str, int]]:
    """The rules that refused the most code."""
    rejected = CodeExecution.objects.filter(created__gte=since, status=State.REJECTED).order_by()
    together = rejected.values_list("rules").annotate(number=Count("pk")).order_by("-number")
    counts: Counter[str] = Counter()
    for rules, count in together[:_LOOKED_AT]:
        counts.update(dict.fromkeys(rules.split(), count))
    return [(plain(rule), count) for rule, count in counts.most_common(_ROWS)]


def slowest_code(since: datetime) -> list[dict[str, Any]]:
    """The code that took longest, each once."""
    recent = CodeExecution.objects.filter(created__gte=since).order_by()
    by_code = recent.filter(wall_seconds__isnull=False).values("code_sha256")
    found = list(by_code.annotate(longest=Max("wall_seconds"), number=Count("pk")).order_by("-longest")[:_ROWS])
    same = recent.filter(code_sha256__in=[item["code_sha256"] for item in found])
    starts = dict(same.values_list("code_sha256").annotate(start=Min(Substr("code", 1, 500))))
    return [
        {
            "code_sha256": item["code_sha256"],
            "first_line": plain(CodeExecution(code=starts.get(item["code_sha256"], "")).first_line),
            "longest": seconds(item["longest"]),
            "number": item["number"],
        }
        for item in found
    ]


def heaviest_users(since: datetime) -> list[dict[str, Any]]:
    """Who used the most CPU time."""
    name = f"user__{get_user_model().USERNAME_FIELD}"
    recent = CodeExecution.objects.filter(created__gte=since, user__isnull=False).order_by()
    used = recent.values("user_id", name).annotate(cpu=Sum("cpu_seconds"), number=Count("pk"))
    found = used.filter(cpu__gt=0).order_by("-cpu")[:_ROWS]
    return [{"name": plain(item[name]), "cpu": seconds(item["cpu"]), "number": item["number"]} for item in found]


def pools() -> list[dict[str, Any]]:
    """The sandboxes that this process has made."""
    found = []
    for alias, executor in executors.running().items():
        row: dict[str, Any] = {"alias": alias, "sandbox": executor.sandbox.name, "policy": executor.policy.name}
        try:
            info = executor.sandbox.info
        except HotcellError as error:
            row["problem"] = plain(error)
        else:
            row |= {"isolation": info.isolation.value, "layers": len(info.layers)}
            if isinstance(executor.sandbox, LocalSandbox):
                row["is_warm"] = executor.sandbox.wait_until_warm(0)
        found.append(row)
    return found
