"""Nobody runs more than they may, however many ask at once; and nobody loses what they did not use."""

from __future__ import annotations

import os
from collections import Counter
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser, Group, User
from django.db import transaction
from django.utils import timezone
from webapp.postgres import at_the_same_time, in_processes, needs_postgres, processes_on

from hotcell import SandboxConfig
from hotcell.django import quotas, services
from hotcell.django.models import CodeExecution, ExecutionQuota, QuotaUse, Window
from hotcell.django.runs import Run
from hotcell.django.states import State
from hotcell.errors import ConfigurationError, QuotaExceeded
from hotcell.results import ExecutionResult, Status

NOON = datetime(2026, 3, 14, 12, 0, 30, tzinfo=UTC)
CONFIG = SandboxConfig(timeout_seconds=4, cpu_seconds=2, output_bytes=1024)
"""What one execution reserves."""
RESERVED = {"executions": 1, "cpu_seconds": 2, "wall_seconds": 4, "output_bytes": 1024}
NOTHING = {"executions": 0, "cpu_seconds": 0, "wall_seconds": 0, "output_bytes": 0}
CALENDAR = [Window.MINUTE, Window.HOUR, Window.DAY, Window.MONTH]


def allow(window: str, user: User | None = None, group: Group | None = None, **limits: float) -> ExecutionQuota:
    return ExecutionQuota.objects.create(window=window, user=user, group=group, **limits)


def limit(user: User, window: str, resource: str) -> float | None:
    return next(
        (item.most for item in quotas.limits_of(user) if (item.window, item.resource) == (window, resource)), None
    )


def reserve(user: User, now: datetime = NOON, config: SandboxConfig = CONFIG) -> dict[str, Any]:
    reserved = quotas.reserve(user, config, now)
    assert reserved is not None
    return reserved


def refusal(user: User, now: datetime = NOON, config: SandboxConfig = CONFIG) -> QuotaExceeded:
    with pytest.raises(QuotaExceeded) as caught:
        quotas.reserve(user, config, now)
    return caught.value


# Whose limit is in force


def test_ones_own_quota_stands_in_for_the_groups_and_that_for_everybodys(user: User) -> None:
    group = Group.objects.create(name="staff")
    allow("day", executions=1)
    assert limit(user, "day", "executions") == 1
    user.groups.add(group)
    allow("day", group=group, executions=5)
    assert limit(user, "day", "executions") == 5
    allow("day", user=user, executions=3)
    assert limit(user, "day", "executions") == 3


def test_a_quota_of_ones_own_for_one_window_leaves_the_others_to_the_group(user: User) -> None:
    allow("hour", executions=7)
    allow("day", user=user, executions=3)
    assert (limit(user, "hour", "executions"), limit(user, "day", "executions")) == (7, 3)


def test_of_several_groups_the_one_that_allows_most_counts_for_each_resource(user: User) -> None:
    for name, executions, seconds in (("a", 10, 5.0), ("b", 2, 50.0), ("c", 3, 6.0)):
        group = Group.objects.create(name=name)
        user.groups.add(group)
        allow("day", group=group, executions=executions, cpu_seconds=seconds)
    assert (limit(user, "day", "executions"), limit(user, "day", "cpu_seconds")) == (10, 50)


def test_one_group_without_a_limit_lifts_that_of_the_others(user: User) -> None:
    for name, executions in (("a", 1), ("b", None)):
        group = Group.objects.create(name=name)
        user.groups.add(group)
        allow("day", group=group, executions=executions, cpu_seconds=9)
    assert limit(user, "day", "executions") is None
    assert limit(user, "day", "cpu_seconds") == 9


def test_the_quota_of_another_user_or_of_a_group_one_is_not_in_does_not_count(user: User) -> None:
    allow("day", user=User.objects.create_user("bob"), executions=1)
    allow("day", group=Group.objects.create(name="others"), executions=1)
    assert quotas.limits_of(user) == []


def test_what_is_empty_is_not_limited(user: User) -> None:
    allow("day", executions=1)
    allow("day", user=user)  # everything empty: stands in for everybody's
    assert quotas.reserve(user, CONFIG, NOON) is None
    assert not QuotaUse.objects.exists()


def test_without_any_quota_nothing_is_counted(user: User) -> None:
    assert quotas.reserve(user, CONFIG) is None
    assert not QuotaUse.objects.exists()


def test_a_user_model_without_groups_has_what_everybody_has(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    allow("day", executions=4)
    monkeypatch.delattr(User, "groups")
    assert limit(user, "day", "executions") == 4


# Each window and each resource refuses at its limit


@pytest.mark.parametrize("window", CALENDAR)
@pytest.mark.parametrize("resource", quotas.RESOURCES)
def test_it_refuses_at_the_limit_and_says_when_there_is_more(user: User, window: Window, resource: str) -> None:
    allow(window, user=user, **{resource: 3 * RESERVED[resource]})
    for _ in range(3):
        reserve(user)
    error = refusal(user)
    end = {
        "minute": datetime(2026, 3, 14, 12, 1, tzinfo=UTC),
        "hour": datetime(2026, 3, 14, 13, tzinfo=UTC),
        "day": datetime(2026, 3, 15, tzinfo=UTC),
        "month": datetime(2026, 4, 1, tzinfo=UTC),
    }[window]
    assert error.retry_after_seconds == (end - NOON).total_seconds()
    assert quotas.use_of(user, NOON)[window] == {name: 3.0 * amount for name, amount in RESERVED.items()}
    refusal(user, end - timedelta(microseconds=1))
    reserve(user, end)  # as it was promised
    assert quotas.use_of(user, end)[window] == {name: float(amount) for name, amount in RESERVED.items()}


def test_room_for_less_than_one_execution_is_no_room(user: User) -> None:
    allow("hour", user=user, cpu_seconds=3.9)
    reserve(user)
    assert "2 of 3.9 CPU seconds per hour are taken, and one execution may use 2 more" in str(refusal(user))


def test_of_several_limits_that_are_reached_it_says_the_longest_wait(user: User) -> None:
    allow("minute", user=user, executions=1)
    allow("day", user=user, executions=1)
    reserve(user)
    assert refusal(user).retry_after_seconds == 11 * 3600 + 59 * 60 + 30


def test_the_sentence_never_promises_too_early(user: User) -> None:
    allow("minute", user=user, executions=1)
    at = NOON.replace(microsecond=600_000)
    reserve(user, at)
    error = refusal(user, at)
    assert error.retry_after_seconds == 29.4
    assert "Try again in 30 s" in str(error)


def test_seconds_that_are_no_binary_fractions_fit_as_often_as_they_should(user: User) -> None:
    tenth = CONFIG.replace(cpu_seconds=0.1)
    allow("hour", user=user, cpu_seconds=0.3)  # 0.3 - 0.1 < 0.1 + 0.1, where numbers are binary
    for _ in range(3):
        reserve(user, config=tenth)
    refusal(user, config=tenth)


def test_coming_and_going_of_seconds_leaves_room_for_the_whole(user: User) -> None:
    allow("hour", user=user, cpu_seconds=0.4)
    held = [reserve(user, config=CONFIG.replace(cpu_seconds=seconds)) for seconds in (0.1, 0.2)]
    for reserved in held:
        quotas.settle(user.pk, reserved, NOTHING)
    assert 0 < row(user).hour_cpu_seconds < 1e-15  # 0.1 + 0.2 - 0.1 - 0.2, where numbers are binary
    reserve(user, config=CONFIG.replace(cpu_seconds=0.4))


@pytest.mark.parametrize("resource", quotas.RESOURCES)
def test_an_execution_larger_than_the_whole_limit_is_told_so_and_not_to_wait(user: User, resource: str) -> None:
    allow("day", user=user, **{resource: RESERVED[resource] - 1})
    error = refusal(user)
    assert error.retry_after_seconds is None
    assert "lower its limits, or raise the quota" in str(error)


def test_nothing_at_once_is_for_ever_and_not_for_a_second(user: User) -> None:
    allow("at_once", user=user, executions=0)
    assert refusal(user).retry_after_seconds is None


def test_many_bytes_are_written_out(user: User) -> None:
    allow("day", user=user, output_bytes=1 << 20)
    assert "may use 2,097,152 bytes, and 1,048,576 per day" in str(
        refusal(user, config=CONFIG.replace(output_bytes=2 << 20))
    )


def test_a_refusal_takes_nothing(user: User) -> None:
    allow("day", user=user, executions=10, cpu_seconds=2)
    reserve(user)
    before = QuotaUse.objects.values().get(user=user)
    refusal(user)
    assert QuotaUse.objects.values().get(user=user) == before


def test_two_users_do_not_share_what_everybody_may(user: User) -> None:
    allow("day", executions=1)
    reserve(user)
    reserve(User.objects.create_user("bob"))
    refusal(user)


# Windows begin by themselves

BORDERS = [
    ("minute", "2026-12-31T23:59:59.999999", "2027-01-01T00:00:00"),
    ("minute", "2026-06-01T10:00:59", "2026-06-01T10:01:00"),
    ("hour", "2026-06-01T10:59:59", "2026-06-01T11:00:00"),
    ("day", "2026-06-30T23:59:59", "2026-07-01T00:00:00"),
    ("day", "2028-02-28T23:59:59", "2028-02-29T00:00:00"),
    ("day", "2027-02-28T23:59:59", "2027-03-01T00:00:00"),
    ("month", "2026-12-31T23:59:59", "2027-01-01T00:00:00"),
    ("month", "2028-02-29T23:59:59", "2028-03-01T00:00:00"),
    ("month", "2027-01-31T00:00:00", "2027-02-01T00:00:00"),
]


@pytest.mark.parametrize(("window", "last", "first"), BORDERS)
def test_a_window_rolls_over_by_itself(user: User, window: str, last: str, first: str) -> None:
    before, after = (datetime.fromisoformat(text).replace(tzinfo=UTC) for text in (last, first))
    allow(window, user=user, executions=1)
    reserve(user, before)
    assert refusal(user, before).retry_after_seconds == max(1.0, (after - before).total_seconds())
    assert quotas.use_of(user, after)[window]["executions"] == 0
    reserve(user, after)
    refusal(user, after)


def test_the_day_is_that_of_utc_whatever_zone_now_is_in(user: User) -> None:
    allow("day", user=user, executions=1)
    auckland = timezone.get_fixed_timezone(13 * 60)
    reserve(user, datetime(2026, 3, 14, 23, 0, tzinfo=UTC))
    refusal(user, datetime(2026, 3, 15, 12, 30, tzinfo=auckland))  # 23:30 of the 14th
    reserve(user, datetime(2026, 3, 15, 13, 30, tzinfo=auckland))


def test_a_long_pause_leaves_nothing_behind(user: User) -> None:
    allow("month", user=user, executions=1)
    reserve(user, NOON)
    reserve(user, NOON.replace(year=2031))


def test_who_asks_with_an_older_clock_does_not_empty_the_window_that_has_begun(user: User) -> None:
    """Two requests at a border of a minute: the one that came first gets the row last."""
    allow("minute", user=user, executions=1)
    older, newer = datetime(2026, 3, 14, 11, 59, 59, 999999, tzinfo=UTC), datetime(2026, 3, 14, 12, 0, tzinfo=UTC)
    reserve(user, newer)
    refusal(user, older)
    refusal(user, newer)
    assert quotas.use_of(user, newer)["minute"]["executions"] == 1


def test_a_clock_that_was_a_year_ahead_locks_nobody_out(user: User) -> None:
    allow("minute", user=user, executions=1)
    reserve(user, NOON.replace(year=2027))
    reserve(user, NOON)


# What was used takes the place of what was reserved


def test_settling_puts_what_was_used_in_place_of_what_was_reserved(user: User) -> None:
    allow("at_once", user=user, executions=9)
    first, second = reserve(user), reserve(user)
    used = {"executions": 1, "cpu_seconds": 0.5, "wall_seconds": 1.25, "output_bytes": 10}
    quotas.settle(user.pk, first, used)
    found = quotas.use_of(user, NOON)
    assert found["at_once"] == {"executions": 1}
    for window in CALENDAR:
        assert found[window] == {"executions": 2, "cpu_seconds": 2.5, "wall_seconds": 5.25, "output_bytes": 1034}
    quotas.settle(user.pk, second, NOTHING)
    assert quotas.use_of(user, NOON)["month"] == used
    assert quotas.use_of(user, NOON)["at_once"] == {"executions": 0}


def test_more_than_was_reserved_is_counted_as_well(user: User) -> None:
    allow("day", user=user, cpu_seconds=10)
    quotas.settle(user.pk, reserve(user), {**NOTHING, "cpu_seconds": 9.5})
    assert quotas.use_of(user, NOON)["day"]["cpu_seconds"] == 9.5
    refusal(user)


def test_settling_leaves_a_window_alone_that_has_passed(user: User) -> None:
    allow("day", user=user, executions=100)
    old = reserve(user, NOON)
    later = NOON + timedelta(minutes=1)
    reserve(user, later)
    quotas.settle(user.pk, old, {**NOTHING, "executions": 1})
    found = quotas.use_of(user, later)
    assert found["minute"] == {name: float(amount) for name, amount in RESERVED.items()}
    assert found["hour"] == {"executions": 2, "cpu_seconds": 2, "wall_seconds": 4, "output_bytes": 1024}


def test_the_last_at_once_frees_its_place(user: User) -> None:
    allow("at_once", user=user, executions=1)
    first = reserve(user)
    error = refusal(user)
    assert error.retry_after_seconds == 1
    quotas.settle(user.pk, first, NOTHING)
    reserve(user)


# The same through services, where code really runs


def row(user: User) -> QuotaUse:
    return QuotaUse.objects.get(user=user)


def test_over_quota_a_row_says_so_and_nothing_runs(user: User) -> None:
    allow("day", user=user, executions=1)
    assert services.execute("print(1)", user=user).status == State.OK
    with pytest.raises(QuotaExceeded) as caught:
        services.execute("print(2)", user=user, request_id="r2")
    refused = CodeExecution.objects.get(status=State.OVER_QUOTA)
    assert (refused.code, refused.request_id, refused.decided_by) == ("print(2)", "r2", "admit")
    assert refused.reason == str(caught.value)
    assert (refused.started, refused.stdout, refused.wall_seconds, refused.reserved) == (None, "", None, None)
    assert refused.finished is not None
    assert CodeExecution.objects.count() == 2
    assert (row(user).day_executions, row(user).at_once) == (1, 0)


def test_after_a_run_the_counters_are_what_its_row_says(user: User) -> None:
    allow("month", user=user, executions=100, cpu_seconds=1000)
    done = services.execute("print('x' * 999)", user=user)
    found = row(user)
    assert (found.at_once, found.month_executions, found.month_output_bytes) == (0, 1, done.output_bytes)
    assert done.output_bytes == 1000
    assert found.month_cpu_seconds == pytest.approx(done.cpu_seconds, abs=1e-9)
    assert found.month_wall_seconds == pytest.approx(done.wall_seconds, abs=1e-9)
    assert CodeExecution.objects.get().reserved is None


@pytest.mark.parametrize("code", ["1/0", "def", "import os; os._exit(3)"])
def test_code_that_ends_badly_gives_back_what_it_did_not_use(user: User, code: str) -> None:
    allow("month", user=user, executions=100)
    services.execute(code, user=user)
    found = row(user)
    assert (found.at_once, found.month_executions) == (0, 1)
    assert found.month_cpu_seconds < 5
    assert found.month_output_bytes < 1 << 20


def test_what_fails_before_it_runs_gives_back_all_but_the_execution(user: User) -> None:
    allow("month", user=user, executions=100)
    with pytest.raises(ConfigurationError):
        services.execute("pass", user=user, language="cobol")
    assert CodeExecution.objects.get().status == State.FAILED
    assert quotas.use_of(user)["month"] == {**NOTHING, "executions": 1}
    assert row(user).at_once == 0


def test_a_cancelled_run_gives_back_what_it_did_not_use(user: User) -> None:
    allow("at_once", user=user, executions=1)
    with services.stream("import time; print('up', flush=True); time.sleep(60)", user=user) as stream:
        next(stream)
        assert row(user).at_once == 1
    execution = CodeExecution.objects.get()
    assert execution.status == State.CANCELLED
    found = row(user)
    assert (found.at_once, found.day_executions) == (0, 1)
    assert found.day_wall_seconds < 5


@pytest.mark.parametrize("nobody", [None, AnonymousUser()])
def test_nobody_has_no_limit(db: None, nobody: AnonymousUser | None) -> None:
    allow("day", executions=0)
    assert services.execute("1 + 1", user=nobody).status == State.OK
    assert not QuotaUse.objects.exists()


def dead(user: User) -> CodeExecution:
    """A row whose process has died."""
    now = timezone.now()
    execution = CodeExecution(user=user, code="x", code_sha256="0" * 64, status=State.RUNNING, started=now, attempt=1)
    execution.expires, execution.reserved = now - timedelta(seconds=1), quotas.reserve(user, CONFIG, now)
    execution.save()
    return execution


def test_reap_marks_as_lost_and_gives_back_once(user: User) -> None:
    allow("at_once", user=user, executions=2)
    execution = dead(user)
    assert row(user).at_once == 1
    assert [services.reap(), services.reap()] == [1, 0]
    execution.refresh_from_db()
    assert (execution.status, execution.reserved, execution.expires) == (State.LOST, None, None)
    assert execution.finished is not None
    assert row(user).at_once == 0
    assert quotas.use_of(user)["month"] == {**NOTHING, "executions": 1}


def test_reap_leaves_alone_what_may_still_run(user: User) -> None:
    allow("at_once", user=user, executions=2)
    execution = dead(user)
    CodeExecution.objects.filter(pk=execution.pk).update(expires=timezone.now() + timedelta(seconds=30))
    assert services.reap() == 0
    assert row(user).at_once == 1


# Many at once

races = pytest.mark.django_db(transaction=True)


def won(user: User) -> dict[str, Any] | None:
    try:
        with transaction.atomic():
            return quotas.reserve(user, CONFIG)
    except QuotaExceeded:
        return None


@needs_postgres
@races
@pytest.mark.parametrize(
    ("window", "limits"),
    [("month", {"executions": 7}), ("month", {"cpu_seconds": 14.0}), ("at_once", {"executions": 7})],
    ids=["executions", "cpu_seconds", "at_once"],
)
def test_forty_threads_race_for_seven_slots_and_seven_get_one(window: str, limits: dict[str, float]) -> None:
    user = User.objects.create_user("ada")
    allow(window, user=user, **limits)
    results = at_the_same_time([partial(won, user)] * 40)  # the first of them also race to make the row
    assert sum(result is not None for result in results) == 7
    assert (row(user).at_once, row(user).month_executions, row(user).month_cpu_seconds) == (7, 7, 14.0)


@needs_postgres
@races
def test_forty_whole_runs_race_for_seven_slots_and_every_row_says_how_it_went() -> None:
    user = User.objects.create_user("ada")
    allow("at_once", user=user, executions=7)

    def begin() -> Run | None:
        try:
            return Run.begin("pass", {"user": user})
        except QuotaExceeded:
            return None

    runs = [run for run in at_the_same_time([begin] * 40) if run is not None]
    taken = row(user).at_once
    states = Counter(CodeExecution.objects.values_list("status", flat=True))
    at_the_same_time([partial(run.fail, RuntimeError("enough")) for run in runs])
    assert (len(runs), taken) == (7, 7)
    assert states == {State.RUNNING: 7, State.OVER_QUOTA: 33}
    assert row(user).at_once == 0
    assert CodeExecution.objects.filter(status=State.FAILED, reserved__isnull=True).count() == 7


@needs_postgres
@races
def test_the_first_of_many_users_at_once_make_their_rows_without_an_error() -> None:
    users = [User.objects.create_user(f"u{number}") for number in range(5)]
    allow("day", executions=100)
    results = at_the_same_time([partial(won, user) for user in users * 8])
    assert None not in results
    assert list(QuotaUse.objects.values_list("day_executions", flat=True)) == [8] * 5


@needs_postgres
@races
def test_reserving_and_settling_at_once_keep_the_sums_exact() -> None:
    user = User.objects.create_user("ada")
    allow("month", user=user, executions=10_000, cpu_seconds=1e6)
    used = {"executions": 1, "cpu_seconds": 0.25, "wall_seconds": 0.5, "output_bytes": 3}

    def come_and_go() -> None:
        for _ in range(10):
            reserved = won(user)
            assert reserved is not None
            quotas.settle(user.pk, reserved, used)

    at_the_same_time([come_and_go] * 20)
    assert row(user).at_once == 0
    assert quotas.use_of(user)["month"] == {
        "executions": 200,
        "cpu_seconds": 50.0,
        "wall_seconds": 100.0,
        "output_bytes": 600,
    }


def result(cpu_seconds: float) -> ExecutionResult:
    done = services.execute("pass").to_result().to_dict()
    done["usage"]["cpu_seconds"] = cpu_seconds
    return ExecutionResult.from_dict(done)


@needs_postgres
@races
def test_of_two_threads_that_conclude_one_run_one_writes_and_settles() -> None:
    user = User.objects.create_user("ada")
    allow("month", user=user, executions=1000, cpu_seconds=1e6)
    first, second = result(1.0), result(2.0)
    total = 0.0
    for _ in range(10):
        run = Run.begin("pass", {"user": user})
        at_the_same_time([partial(run.conclude, first), partial(run.conclude, second)])
        total += CodeExecution.objects.get(pk=run.execution.pk).cpu_seconds or 0
        assert run.execution.status == Status.OK.value
    assert (row(user).at_once, row(user).month_executions) == (0, 10)
    assert row(user).month_cpu_seconds == pytest.approx(total)


@needs_postgres
@races
def test_concluding_against_reaping_has_one_winner() -> None:
    user = User.objects.create_user("ada")
    allow("month", user=user, executions=1000, cpu_seconds=1e6)
    one = result(1.0)
    kept = 0.0
    for _ in range(15):
        run = Run.begin("pass", {"user": user})
        CodeExecution.objects.filter(pk=run.execution.pk).update(expires=timezone.now() - timedelta(seconds=1))
        reaped = at_the_same_time([services.reap, services.reap, lambda run=run: run.conclude(one)])[:2]
        execution = CodeExecution.objects.get(pk=run.execution.pk)
        assert sum(reaped) == (execution.status == State.LOST)
        assert execution.status in (State.LOST, State.OK)
        assert run.execution.status == execution.status  # who lost the race knows it
        kept += execution.cpu_seconds or 0
    assert (row(user).at_once, row(user).month_executions) == (0, 15)
    assert row(user).month_cpu_seconds == pytest.approx(kept)


RACER = """
from django.contrib.auth.models import User
from django.db import connections, transaction
from hotcell import SandboxConfig
from hotcell.django import quotas
from hotcell.errors import QuotaExceeded
from webapp.postgres import at_the_same_time
user = User.objects.get(username="ada")

def attempt():
    won = 0
    config = SandboxConfig(timeout_seconds=4, cpu_seconds=2, output_bytes=1024)
    for _ in range(3):
        limits = quotas.limits_of(user)
        try:
            with transaction.atomic():
                quotas.reserve(user, config, limits=limits)
            won += 1
        except QuotaExceeded:
            pass
    return won

go()
print(sum(at_the_same_time([attempt] * int(argv[0]))))
"""


@needs_postgres
@races
def test_four_processes_race_for_seven_slots_and_seven_get_one() -> None:
    user = User.objects.create_user("ada")
    allow("month", user=user, executions=7)
    won = in_processes(4, RACER, "5")
    assert sum(map(int, won)) == 7
    assert row(user).month_executions == 7


PREPARE = """
from django.core.management import call_command
from django.contrib.auth.models import User
from hotcell.django.models import ExecutionQuota
call_command("migrate", verbosity=0)
user = User.objects.create_user("ada")
ExecutionQuota.objects.create(user=user, window="month", executions=7)
go()
"""


@pytest.mark.skipif("HOTCELL_TEST_POSTGRES" in os.environ, reason="SQLite alone waits for the lock of a whole file")
@pytest.mark.parametrize("mode", ["IMMEDIATE", "DEFERRED"])
def test_three_processes_race_on_a_file_of_sqlite_and_seven_get_one(tmp_path: Path, mode: str) -> None:
    database, options = str(tmp_path / "db.sqlite3"), {"timeout": 60, "transaction_mode": mode}
    processes_on(database, options, 1, PREPARE)
    won = processes_on(database, options, 3, RACER, "4")
    assert sum(map(int, won)) == 7
