"""Every question that is asked of the history finds its rows through an index, among two hundred thousand."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.db.models import QuerySet
from django.utils import timezone
from webapp.postgres import needs_postgres, plan_of

from hotcell.django.models import CodeExecution, sha256_of

pytestmark = [needs_postgres, pytest.mark.django_db]

ROWS = 200_000
"""One every 13 seconds: a month of them."""
INDEXED = {"Index Scan", "Index Only Scan", "Bitmap Index Scan"}

FILL = f"""
INSERT INTO hotcell_codeexecution (
    id, user_id, status, reason, decided_by, code, code_sha256, language, context, policy, config, alias, sandbox,
    isolation, layers, stdout, stderr, displays, violations, violation_count, rules, redactions, tool_calls, notes,
    cached, wall_seconds, timings, created, started, finished, expires, attempt, cancel_requested, request_id, metadata
)
SELECT
    -- a UUID of version 7: the milliseconds, then what must be, then the number
    (lpad(to_hex((extract(epoch FROM made) * 1000)::bigint), 12, '0') || '7000800000' || lpad(to_hex(n), 10, '0'))
        ::uuid,
    (SELECT min(id) FROM auth_user) + n % 100,
    CASE WHEN n % 20000 = 0 THEN 'running' WHEN n % 10 = 0 THEN 'error' ELSE 'ok' END,
    '', '', 'print(' || n || ')', encode(sha256((n / 2)::text::bytea), 'hex'), 'python', '{{}}', '{{}}', '{{}}',
    'default', 'local', 'namespace', '[]', repeat('x', 100), '', '[]', '[]', CASE WHEN n % 1000 = 1 THEN 1 ELSE 0 END,
    CASE WHEN n % 1000 = 1 THEN ' import.process ' ELSE '' END, '[]', '[]', '[]', false,
    CASE WHEN n % 20000 = 0 THEN NULL ELSE 0.001 * (n % 1009) END, '{{}}',
    made, made, CASE WHEN n % 20000 = 0 THEN NULL ELSE made END, CASE WHEN n % 20000 = 0 THEN made END,
    1, false, '', '{{}}'
FROM (SELECT n, now() - n * interval '13 seconds' AS made FROM generate_series(1, {ROWS}) AS n) AS numbered
"""


@pytest.fixture(scope="module")
def history(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    with django_db_blocker.unblock():
        User.objects.bulk_create([User(username=f"u{number}") for number in range(100)])
        with connection.cursor() as cursor:
            cursor.execute(FILL)
            cursor.execute("VACUUM ANALYZE hotcell_codeexecution")
        try:
            yield
        finally:
            with connection.cursor() as cursor:
                cursor.execute("TRUNCATE hotcell_codeexecution CASCADE")
            User.objects.all().delete()


@pytest.fixture
def someone(history: None, db: None) -> User:
    return User.objects.get(username="u7")


def indexes_of(queryset: QuerySet[Any]) -> set[str]:
    """The indexes that it goes through. Fails for a plan that reads the whole table."""
    nodes = plan_of(queryset)
    kinds = [node["Node Type"] for node in nodes]
    assert "Seq Scan" not in kinds, kinds
    found = {node["Index Name"] for node in nodes if node["Node Type"] in INDEXED}
    assert found, kinds
    return found


def sorts(queryset: QuerySet[Any]) -> bool:
    return any("Sort" in node["Node Type"] for node in plan_of(queryset))


def middle() -> UUID:
    return CodeExecution.objects.values_list("pk", flat=True)[ROWS // 2]


def test_the_rows_are_there_and_their_ids_are_in_order(someone: User) -> None:
    assert CodeExecution.objects.count() == ROWS
    pages = CodeExecution.objects.all()[:100]
    assert list(pages) == sorted(pages, key=lambda row: row.created, reverse=True)


def test_a_users_last_day(someone: User) -> None:
    question = CodeExecution.objects.for_user(someone).recent()
    assert indexes_of(question) == {"hotcell_by_user"}
    assert not sorts(question[:50])
    assert question.exists()


def test_a_page_of_a_users_history_from_where_the_last_one_ended(someone: User) -> None:
    question = CodeExecution.objects.for_user(someone).filter(pk__lt=middle())[:50]
    assert indexes_of(question) == {"hotcell_pages_of_user"}
    assert not sorts(question)
    assert len(question) == 50


def test_failures_of_the_last_hours(someone: User) -> None:
    assert indexes_of(CodeExecution.objects.recent(hours=2).failed()) <= {"hotcell_by_age", "hotcell_by_status"}
    assert indexes_of(CodeExecution.objects.recent().failed()[:50]) <= {"hotcell_by_age", "hotcell_by_status"}


def test_a_users_failures(someone: User) -> None:
    assert indexes_of(CodeExecution.objects.for_user(someone).recent(days=20).failed())
    assert indexes_of(CodeExecution.objects.for_user(someone).recent(days=20).failed()[:50])


def test_the_slowest(someone: User) -> None:
    question = CodeExecution.objects.slow(1.005)
    assert indexes_of(question) == {"hotcell_by_duration"}
    assert not sorts(CodeExecution.objects.slow(0.5)[:50])


def test_those_with_violations(someone: User) -> None:
    assert indexes_of(CodeExecution.objects.with_violations()) == {"hotcell_with_violations"}
    assert indexes_of(CodeExecution.objects.with_violations("import.process")) == {"hotcell_with_violations"}
    assert indexes_of(CodeExecution.objects.with_violations().recent(days=2)) <= {
        "hotcell_with_violations",
        "hotcell_by_age",
    }


def test_a_page_of_those_with_violations(someone: User) -> None:
    assert indexes_of(CodeExecution.objects.with_violations()[:50]) == {"hotcell_with_violations"}


def test_the_same_code_again(someone: User) -> None:
    execution = CodeExecution.objects.order_by("-created")[1000]
    question = CodeExecution.objects.duplicates_of(execution)
    assert indexes_of(question) == {"hotcell_by_code"}
    assert len(question) == 1
    assert indexes_of(CodeExecution.objects.duplicates_of("never run")) == {"hotcell_by_code"}
    assert sha256_of("never run") not in set(question.values_list("code_sha256", flat=True))


def test_what_a_dead_process_left(someone: User) -> None:
    question = CodeExecution.objects.overdue()
    assert indexes_of(question) <= {"hotcell_running", "hotcell_by_status"}  # ten rows, by the one as by the other
    assert len(question) == ROWS // 20_000


def test_what_is_open(someone: User) -> None:
    assert indexes_of(CodeExecution.objects.open()) <= {"hotcell_by_status", "hotcell_running", "hotcell_queued"}


@pytest.mark.parametrize("size", [50])
def test_a_page_from_where_the_last_one_ended(someone: User, size: int) -> None:
    question = CodeExecution.objects.filter(pk__lt=middle()).order_by("-id")[:size]
    assert indexes_of(question) == {"hotcell_codeexecution_pkey"}
    assert not sorts(question)
    assert max(row.pk for row in question) < middle()


def test_the_newest_by_default(someone: User) -> None:
    question = CodeExecution.objects.filter(created__gte=timezone.now() - timedelta(days=365))[:50]
    assert indexes_of(question) == {"hotcell_codeexecution_pkey"}
    assert not sorts(question)
