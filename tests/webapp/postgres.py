"""Many connections at once: threads with one each, and processes of their own; and the plans of PostgreSQL."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import pytest
from django.db import connection, connections
from django.db.models import QuerySet

T = TypeVar("T")
TESTS = Path(__file__).resolve().parents[1]

needs_postgres = pytest.mark.skipif(
    not os.environ.get("HOTCELL_TEST_POSTGRES"),
    reason="HOTCELL_TEST_POSTGRES is not set: run it through scripts/with_postgres",
)


def at_the_same_time(jobs: Sequence[Callable[[], T]]) -> list[T]:
    """What each gave, in order; every one in a thread with an open connection of its own, all let go at one moment."""
    barrier = threading.Barrier(len(jobs), timeout=60)

    def run(job: Callable[[], T]) -> T:
        try:
            connection.ensure_connection()
            barrier.wait()
            return job()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(len(jobs)) as threads:
        return list(threads.map(run, jobs))


def in_processes(number: int, program: str, *arguments: str) -> list[str]:
    """What each printed; they set Django up first, and then go at one moment. The database is the tests' own.

    ``program`` begins after ``django.setup()``; its arguments are in ``argv``, and ``go()`` waits for all.
    """
    return processes_on(str(connection.settings_dict["NAME"]), {}, number, program, *arguments)


def processes_on(database: str, options: dict[str, Any], number: int, program: str, *arguments: str) -> list[str]:
    """The same, on the database of that name."""
    paths = [str(TESTS.parent / "src"), str(TESTS)]
    environment = os.environ | {"DJANGO_SETTINGS_MODULE": "webapp.settings", "PYTHONPATH": os.pathsep.join(paths)}
    command = [sys.executable, "-P", "-c", _PREAMBLE + program, database, json.dumps(options), *arguments]
    running = [
        subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(number)
    ]
    try:
        for process in running:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in running:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        printed = [process.communicate(timeout=90)[0] for process in running]
        assert [process.returncode for process in running] == [0] * number
    finally:
        for process in running:
            process.kill()
            process.communicate()
    return [text.strip() for text in printed]


_PREAMBLE = """
import json, sys
import django
from django.conf import settings
database, options, *argv = sys.argv[1:]
settings.DATABASES["default"]["NAME"] = database
settings.DATABASES["default"]["OPTIONS"] = json.loads(options)
django.setup()

def go():
    print("ready", flush=True)
    sys.stdin.readline()

"""


def plan_of(queryset: QuerySet[Any]) -> list[dict[str, Any]]:
    """Every node of the plan that PostgreSQL would follow."""
    plan = json.loads(queryset.explain(format="json"))[0]["Plan"]
    found, todo = [], [plan]
    while todo:
        node = todo.pop()
        found.append(node)
        todo += node.get("Plans", [])
    return found
