"""What ``manage.py hotcell_…`` promises: what it prints, what it leaves in the database, how it exits."""

from __future__ import annotations

import io
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.db.models.signals import pre_delete
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from webapp.postgres import at_the_same_time, needs_postgres

from hotcell.cli.exits import Exit
from hotcell.django import pruning, services
from hotcell.django.models import CodeExecution, ExecutionArtifact, ExecutionQuota, QuotaUse, sha256_of
from hotcell.django.signals import execution_started
from hotcell.django.states import FINAL, OPEN
from hotcell.errors import ConfigurationError

pytestmark = pytest.mark.django_db

ROOT = Path(__file__).parents[2]
SECRET_KEY = "a key that no output may show 7f3a9c"
COMMANDS = ("hotcell_doctor", "hotcell_prune", "hotcell_reap", "hotcell_run", "hotcell_stats")


def run(command: str, *arguments: str) -> str:
    out = io.StringIO()
    call_command(command, *arguments, stdout=out)
    return out.getvalue()


def exit_of(command: str, *arguments: str) -> tuple[int, str]:
    """The exit code that the shell would see, and what was printed."""
    out = io.StringIO()
    try:
        call_command(command, *arguments, stdout=out)
    except CommandError as error:
        return error.returncode, f"{out.getvalue()}{error}"
    except SystemExit as ended:
        return int(ended.code or 0), out.getvalue()
    return 0, out.getvalue()


def old_row(status: str = "ok", *, days: float = 100, **fields) -> CodeExecution:
    then = timezone.now() - timedelta(days=days)
    if status not in OPEN:
        fields.setdefault("finished", then)
    if status == "running":
        fields = {"started": then, "expires": timezone.now() + timedelta(days=1), **fields}
    return CodeExecution.objects.create(code="1", code_sha256=sha256_of("1"), status=status, created=then, **fields)


def old_row_with_file(name: str = "a.txt") -> ExecutionArtifact:
    execution = services.execute(f"open({name!r}, 'w').write('hello')", artifacts=["*"])
    then = timezone.now() - timedelta(days=100)
    CodeExecution.objects.filter(pk=execution.pk).update(created=then, finished=then)
    return execution.artifacts.get()


@pytest.fixture
def program(tmp_path):
    def write(code: str, name: str = "program.py") -> str:
        path = tmp_path / name
        path.write_text(code)
        return str(path)

    return write


# hotcell_run


def test_run_shows_the_page_and_leaves_a_row(program, user):
    code, shown = exit_of("hotcell_run", program("print(6 * 7)\n'the value'"), "--user", "ada")
    row = CodeExecution.objects.get()
    assert code == 0
    assert "OK" in shown and "42" in shown and "'the value'" in shown and row.pk.hex in shown
    assert (row.status, row.stdout, row.user) == ("ok", "42\n", user)


@pytest.mark.parametrize(
    ("code", "status", "expected"),
    [
        ("1 / 0", "error", Exit.ERROR),
        ("import subprocess", "rejected", Exit.REJECTED),
        ("n = 0\nwhile n < 1:\n    n *= 2", "timeout", Exit.LIMIT),
        ("print('x' * 3_000_000)", "output_limit", Exit.LIMIT),
    ],
)
def test_run_exits_as_the_plain_command_line_does(program, code, status, expected):
    found, _ = exit_of("hotcell_run", program(code), "--timeout", "1")
    assert found == expected
    assert CodeExecution.objects.get().status == status


def test_run_takes_code_from_standard_input(monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"print('from a pipe')")))
    assert "from a pipe" in run("hotcell_run", "-")


def test_run_gives_the_context_as_variables_and_keeps_it(program):
    shown = run("hotcell_run", program("print(sum(prices))"), "--context", '{"prices": [3, 4], "api_key": "hunter2"}')
    assert "7" in shown
    assert CodeExecution.objects.get().context == {"prices": [3, 4], "api_key": "[redacted:named]"}


def test_the_timeout_stands_in_for_the_aliass_and_the_other_limits_stay(program, settings):
    settings.HOTCELL_SANDBOXES = {"default": {"CONFIG": {"timeout_seconds": 60, "open_files": 77}}}
    run("hotcell_run", program("1"), "--timeout", "3.5")
    config = CodeExecution.objects.get().config
    assert (config["timeout_seconds"], config["open_files"]) == (3.5, 77)


def test_run_as_json_is_the_result_and_nothing_else(program):
    result = json.loads(run("hotcell_run", program("print('ü\\x1b[2J')\n[1, 2]"), "--json"))
    assert result["status"] == "ok" and result["value"] == [1, 2] and result["stdout"] == "ü\\x1b[2J\n"
    assert result["execution_id"] == CodeExecution.objects.get().pk.hex


def test_what_the_code_prints_cannot_take_over_the_terminal(program):
    code = "print('\\x1b]0;t\\x07')\nraise ValueError('\\x1b[31m')"
    _, shown = exit_of("hotcell_run", program(code))
    assert "\x1b" not in shown and "\x07" not in shown and "\\x1b]0;t" in shown


def test_the_secret_key_is_in_nothing_that_run_prints(program):
    context = json.dumps({"given": SECRET_KEY})
    for more in ((), ("--json",)):
        shown = run("hotcell_run", program("print(given)\ngiven"), "--context", context, *more)
        assert SECRET_KEY not in shown and "redacted" in shown


def test_run_as_a_user_whose_quota_is_used_up_runs_nothing_and_says_when_to_come_back(program, user):
    ExecutionQuota.objects.create(user=user, window="day", executions=0)
    code, said = exit_of("hotcell_run", program("print(1)"), "--user", "ada")
    assert code == Exit.FAILED and "quota" in said.lower()
    assert CodeExecution.objects.get().status == "over_quota"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("/nowhere/x.py",), "/nowhere/x.py"),
        (("--using", "nope"), "HOTCELL_SANDBOXES has no 'nope'"),
        (("--user", "nobody"), "'nobody'"),
        (("--timeout", "0"), "timeout_seconds"),
        (("--language", "cobol"), "cobol"),
    ],
)
def test_what_cannot_be_used_is_named_and_exits_with_2(program, arguments, told):
    source = () if arguments[0].startswith("/") else (program("1"),)
    code, said = exit_of("hotcell_run", *source, *arguments)
    assert code == Exit.USAGE and told in said and "\n" not in said.strip()
    assert not CodeExecution.objects.filter(status="ok").exists()


@pytest.mark.parametrize("context", ["[1]", "{", "NaN", "@/nowhere"])
def test_a_context_that_is_no_object_is_refused_before_anything_runs(program, context):
    with pytest.raises(CommandError):
        run("hotcell_run", program("1"), "--context", context)
    assert not CodeExecution.objects.exists()


def test_a_shell_script_runs_as_one(program):
    run("hotcell_run", program("echo $((6 * 7))", "program.sh"))
    row = CodeExecution.objects.get()
    assert (row.language, row.stdout) == ("bash", "42\n")


def test_what_was_taken_for_dead_while_it_ran_is_told_as_our_failure(program):
    def reap(execution, **_):
        CodeExecution.objects.filter(pk=execution.pk).update(expires=timezone.now() - timedelta(hours=1))
        assert services.reap() == 1

    execution_started.connect(reap)
    try:
        code, said = exit_of("hotcell_run", program("1"))
    finally:
        execution_started.disconnect(reap)
    assert code == Exit.FAILED and CodeExecution.objects.get().pk.hex in said and "died" in said


def test_colours_are_as_django_is_told(program):
    assert "\x1b[" in run("hotcell_run", program("1"), "--force-color")
    assert "\x1b[" not in run("hotcell_run", program("1"), "--no-color")


# hotcell_doctor


def test_doctor_says_the_level_of_each_alias_and_how_to_get_what_is_missing(settings):
    settings.HOTCELL_SANDBOXES = {"default": {}, "thin": {"OPTIONS": {"isolation": "process"}}}
    shown = run("hotcell_doctor")
    assert "default" in shown and "thin" in shown and "isolation  process" in shown
    assert "met" in shown and "isolation level here" in shown and "Landlock" in shown


def test_doctor_exits_with_1_for_a_level_that_is_not_given(settings):
    settings.HOTCELL_SANDBOXES = {
        "default": {},
        "thin": {"OPTIONS": {"isolation": "process"}, "MIN_ISOLATION": "namespace"},
    }
    code, said = exit_of("hotcell_doctor")
    assert code == 1 and "not met" in said and "'thin'" in said.splitlines()[-1]
    assert exit_of("hotcell_doctor", "--using", "default")[0] == 0


@pytest.mark.parametrize(
    "entry",
    [
        {"BACKEND": "nowhere.Sandbox"},
        {"BACKEND": "hotcell.errors.HotcellError"},
        {"BACKEND": 5},
        {"OPTIONS": {"no_such_option": 1}},
        {"OPTIONS": "text"},
        {"CONFIG": {"timeout_seconds": -1}},
        {"BACKEND": "hotcell.RestrictedPythonSandbox", "POLICY": "strict"},
    ],
)
def test_doctor_survives_settings_that_are_wrong_and_says_what_is(settings, entry):
    settings.HOTCELL_SANDBOXES = {"odd": entry}
    code, said = exit_of("hotcell_doctor", "--json")
    report, _ = json.JSONDecoder().raw_decode(said)
    (alias,) = report["aliases"]
    assert code == 1 and alias["alias"] == "odd" and alias["problem"] and not alias["is_given"]


def test_doctor_as_json_has_every_alias_and_the_host():
    report = json.loads(run("hotcell_doctor", "--json"))
    (alias,) = report["aliases"]
    assert alias["backend"] == "hotcell.LocalSandbox" and alias["is_given"] and alias["layers"]
    assert {layer["id"] for layer in report["host"]["layers"]} >= set(alias["layers"])


def test_doctor_refuses_an_alias_that_is_not_there():
    code, said = exit_of("hotcell_doctor", "--using", "nope")
    assert code == Exit.USAGE and "'nope'" in said and "'default'" in said


# hotcell_prune


def test_what_ended_long_ago_goes_and_the_rest_stays():
    old, young = old_row(days=31), old_row(days=29)
    assert "executions: 1, files: 0" in run("hotcell_prune", "--older-than", "30")
    assert set(CodeExecution.objects.all()) == {young} and old not in CodeExecution.objects.all()


def test_what_is_open_is_never_pruned_however_old():
    kept = {old_row("queued"), old_row("running")}
    run("hotcell_prune", "--older-than", "0")
    assert set(CodeExecution.objects.all()) == kept
    for state in OPEN:
        with pytest.raises(CommandError):
            run("hotcell_prune", "--older-than", "0", "--status", state)
        with pytest.raises(ConfigurationError, match=state):
            pruning.prune(timezone.now(), [state])
    assert set(CodeExecution.objects.all()) == kept


def test_what_waited_for_long_and_ended_just_now_stays():
    row = old_row(finished=timezone.now())
    run("hotcell_prune", "--older-than", "30")
    assert CodeExecution.objects.get() == row


def test_statuses_may_be_chosen():
    kept = {old_row(status) for status in FINAL if status not in ("ok", "lost")}
    old_row("ok")
    old_row("lost")
    run("hotcell_prune", "--older-than", "1", "--status", "ok", "--status", "lost")
    assert set(CodeExecution.objects.all()) == kept


def test_a_dry_run_counts_and_deletes_nothing():
    artifact = old_row_with_file()
    old_row()
    assert "executions: 2, files: 1" in run("hotcell_prune", "--older-than", "1", "--dry-run")
    assert CodeExecution.objects.count() == 2 and artifact.file.storage.exists(artifact.file.name)


def test_files_go_with_their_rows_and_others_files_stay():
    old = old_row_with_file()
    young = services.execute("open('b.txt', 'w').write('b')", artifacts=["*"]).artifacts.get()
    assert "executions: 1, files: 1" in run("hotcell_prune", "--older-than", "30")
    assert not old.file.storage.exists(old.file.name)
    assert young.file.storage.exists(young.file.name)
    assert set(ExecutionArtifact.objects.all()) == {young}


def test_a_file_that_cannot_be_deleted_is_counted_and_logged_and_stops_nothing(caplog):
    stuck, other = old_row_with_file(), old_row_with_file("b.txt")
    path = Path(stuck.file.path)
    path.unlink()
    (path / "something").mkdir(parents=True)  # a directory with something in it cannot be deleted, by root either
    code, said = exit_of("hotcell_prune", "--older-than", "30")
    assert code == 1 and "executions: 2, files: 1" in said and "1 files could not be deleted" in said
    assert stuck.file.name in caplog.text
    assert not CodeExecution.objects.exists() and not other.file.storage.exists(other.file.name)


def test_a_file_that_is_gone_already_is_no_failure():
    artifact = old_row_with_file()
    Path(artifact.file.path).unlink()
    assert exit_of("hotcell_prune", "--older-than", "30")[0] == 0
    assert not ExecutionArtifact.objects.exists()


def test_a_crash_while_rows_are_deleted_loses_no_file():
    artifact = old_row_with_file()

    def crash(**_):
        raise RuntimeError("the power went")

    pre_delete.connect(crash, sender=CodeExecution)
    try:
        with pytest.raises(RuntimeError, match="power"):
            run("hotcell_prune", "--older-than", "30")
    finally:
        pre_delete.disconnect(crash, sender=CodeExecution)
    assert CodeExecution.objects.count() == ExecutionArtifact.objects.count() == 1
    assert artifact.file.storage.exists(artifact.file.name)


@pytest.mark.django_db(transaction=True)
def test_inside_a_transaction_that_may_be_undone_nothing_is_pruned():
    artifact = old_row_with_file()
    with transaction.atomic(), pytest.raises(RuntimeError):
        list(pruning.prune(timezone.now()))
    assert ExecutionArtifact.objects.exists() and artifact.file.storage.exists(artifact.file.name)


def test_it_goes_in_batches_and_what_stays_in_between_is_not_in_the_way():
    for number in range(25):
        old_row()
        if number % 2:
            old_row("running")
    with CaptureQueriesContext(connection) as queries:
        done = list(pruning.prune(timezone.now() - timedelta(days=1), batch=10))
    assert [batch.executions for batch in done] == [10, 10, 5]
    assert CodeExecution.objects.count() == 12
    assert not any("stdout" in query["sql"] for query in queries)  # a thousand outputs may be a gigabyte


def test_a_caller_that_stops_after_a_batch_has_that_batch_and_no_more():
    for _ in range(5):
        old_row()
    assert next(pruning.prune(timezone.now(), batch=2)).executions == 2
    assert CodeExecution.objects.count() == 3


@needs_postgres
@pytest.mark.django_db(transaction=True)
def test_two_at_once_delete_each_row_once_and_neither_fails():
    for _ in range(40):
        old_row()
    now = timezone.now()
    done = at_the_same_time([lambda: [batch.executions for batch in pruning.prune(now, batch=5)]] * 3)
    assert sum(map(sum, done)) == 40
    assert not CodeExecution.objects.exists()


@pytest.mark.parametrize("batch", ["0", "-1", "10001"])
def test_a_batch_of_no_sense_is_refused(batch):
    old_row()
    assert exit_of("hotcell_prune", "--older-than", "1", "--batch", batch)[0] == Exit.USAGE
    assert CodeExecution.objects.exists()


@pytest.mark.parametrize("days", ["-1", "nan", "inf", "1e300"])
def test_an_age_of_no_sense_is_refused_and_deletes_nothing(days):
    old_row()
    code, said = exit_of("hotcell_prune", f"--older-than={days}")
    assert code == Exit.USAGE and "days" in said
    assert CodeExecution.objects.exists()


def test_without_an_age_nothing_is_deleted():
    old_row()
    code, said = exit_of("hotcell_prune")
    assert code == Exit.USAGE and "--older-than" in said and "HOTCELL_KEEP_DAYS" in said
    assert CodeExecution.objects.exists()


def test_the_setting_says_the_age_and_the_option_overrides_it(settings):
    settings.HOTCELL_KEEP_DAYS = 50
    old_row(days=40)
    run("hotcell_prune")
    assert CodeExecution.objects.exists()
    run("hotcell_prune", "--older-than", "30")
    assert not CodeExecution.objects.exists()


@pytest.mark.parametrize("days", ["30", True, -1, [], float("nan")])
def test_a_setting_that_is_no_age_is_named_and_deletes_nothing(settings, days):
    settings.HOTCELL_KEEP_DAYS = days
    old_row()
    code, said = exit_of("hotcell_prune")
    assert code == Exit.USAGE and "HOTCELL_KEEP_DAYS" in said
    assert CodeExecution.objects.exists()


# hotcell_reap


def test_reap_marks_what_a_dead_process_left_and_gives_its_quota_back(user):
    past = timezone.now() - timedelta(minutes=5)
    at = timezone.now().isoformat()
    reserved = {"at": at, "executions": 1, "cpu_seconds": 5, "wall_seconds": 5, "output_bytes": 100}
    QuotaUse.objects.create(user=user, at_once=1)
    dead = old_row("running", expires=past, attempt=1, user=user, reserved=reserved)
    alive = old_row("running")
    assert "Marked as lost: 1." in run("hotcell_reap")
    dead.refresh_from_db()
    alive.refresh_from_db()
    assert (dead.status, alive.status) == ("lost", "running")
    assert QuotaUse.objects.get().at_once == 0
    assert "Marked as lost: 0." in run("hotcell_reap")


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "inf", "soon"])
def test_a_period_of_no_sense_is_refused(seconds):
    with pytest.raises(CommandError):
        run("hotcell_reap", f"--every={seconds}")


# hotcell_stats


def test_stats_count_what_was_of_late(user):
    old_row(days=0.1, wall_seconds=2.0, cpu_seconds=1.0, output_bytes=10, peak_memory_bytes=1 << 20, user=user)
    old_row("error", days=0.1, wall_seconds=4.0, output_bytes=5)
    old_row(days=3, wall_seconds=100.0)
    stats = json.loads(run("hotcell_stats", "--json"))
    assert stats["by_status"] == {"ok": 1, "error": 1}
    assert (stats["executions"], stats["total_wall_seconds"], stats["mean_wall_seconds"]) == (2, 6.0, 3.0)
    assert json.loads(run("hotcell_stats", "--json", "--hours", "100"))["executions"] == 3
    assert json.loads(run("hotcell_stats", "--json", "--user", "ada"))["by_status"] == {"ok": 1}


def test_stats_are_a_table_for_people_also_of_nothing():
    assert "executions" in run("hotcell_stats")
    old_row("memory_limit", days=0, wall_seconds=2.0)
    shown = run("hotcell_stats")
    assert "memory_limit" in shown and "2.00 s" in shown


@pytest.mark.parametrize("hours", ["0", "-1", "nan", "inf", "1e300", "x"])
def test_hours_of_no_sense_are_refused(hours):
    with pytest.raises(CommandError):
        run("hotcell_stats", f"--hours={hours}")


# as a process


@pytest.fixture(scope="module")
def manage(tmp_path_factory):
    """``manage.py`` of a project whose database is a file; every warning is an error."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "filed.py").write_text(
        "from webapp.settings import *\n"
        f"DATABASES = {{'default': {{'ENGINE': 'django.db.backends.sqlite3', 'NAME': {str(folder / 'db')!r}}}}}\n"
    )
    path = os.pathsep.join(map(str, (ROOT / "src", ROOT / "tests", folder)))
    environment = {**os.environ, "PYTHONPATH": path, "DJANGO_SETTINGS_MODULE": "filed"}

    def start(*arguments: str, **more) -> subprocess.Popen[str]:
        command = (sys.executable, "-P", "-W", "error", "-m", "django", *arguments)
        pipe = subprocess.PIPE
        return subprocess.Popen(
            command, cwd=folder, env=environment, stdin=pipe, stdout=pipe, stderr=pipe, text=True, **more
        )

    start.database = str(folder / "db")
    with start("migrate", "--verbosity", "0") as process:
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
    return start


@pytest.mark.parametrize(
    ("code", "expected"), [("print('out')", 0), ("1 / 0", 1), ("import subprocess", 3)], ids=("ok", "error", "rejected")
)
def test_the_process_exits_as_promised_and_ends_cleanly(manage, code, expected):
    with manage("hotcell_run", "-") as process:
        out, errors = process.communicate(code, timeout=60)
    assert (process.returncode, errors) == (expected, "")
    assert "execution  " in out


def test_a_failure_is_one_line_on_standard_error(manage):
    with manage("hotcell_run", "-", "--using", "nope") as process:
        out, errors = process.communicate("1", timeout=60)
    assert (process.returncode, out) == (2, "")
    assert errors.count("\n") == 1 and "Traceback" not in errors and "'nope'" in errors


@pytest.mark.parametrize("command", ["hotcell_stats", "hotcell_reap", "hotcell_prune --older-than 1"])
def test_a_database_without_tables_is_one_line_that_says_what_to_do(manage, tmp_path, command):
    (tmp_path / "empty.py").write_text(
        "from webapp.settings import *\n"
        f"DATABASES = {{'default': {{'ENGINE': 'django.db.backends.sqlite3', 'NAME': {str(tmp_path / 'db')!r}}}}}\n"
    )
    with manage(*command.split(), "--pythonpath", str(tmp_path), "--settings", "empty") as process:
        _, errors = process.communicate(timeout=60)
    assert process.returncode == Exit.FAILED and errors.count("\n") == 1 and "manage.py migrate" in errors


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_reaper_goes_on_until_a_signal_and_then_ends_well(manage, number):
    with manage("hotcell_reap", "--every", "0.2") as process:
        assert "every 0.2 s" in process.stdout.readline()
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.7)
        process.send_signal(number)
        out, errors = process.communicate(timeout=20)
    assert (process.returncode, out, errors) == (0, "", "")


def asked(manage, question: str) -> list[tuple]:
    with closing(sqlite3.connect(manage.database, timeout=20)) as database, database:
        return database.execute(question).fetchall()


def wait_for(manage, question: str, seconds: float = 20) -> None:
    """Until the answer is not empty."""
    end = time.monotonic() + seconds
    while not asked(manage, question):
        assert time.monotonic() < end, f"for {seconds} s nothing answered {question!r}"
        time.sleep(0.05)


def test_ctrl_c_ends_the_code_and_the_row_says_cancelled(manage, program):
    with manage("hotcell_run", program("n = 0\nwhile n < 1:\n    n *= 2"), "--timeout", "60") as process:
        wait_for(manage, "SELECT 1 FROM hotcell_codeexecution WHERE status = 'running'")
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=20)
    assert process.returncode == Exit.CANCELLED and errors.count("\n") == 1
    assert asked(manage, "SELECT status FROM hotcell_codeexecution ORDER BY id DESC LIMIT 1") == [("cancelled",)]


def test_the_reaper_finds_what_dies_while_it_goes_on(manage):
    with manage("hotcell_run", "-") as process:
        process.communicate("1", timeout=60)
    with manage("hotcell_reap", "--every", "0.1") as process:
        process.stdout.readline()
        asked(
            manage,
            "UPDATE hotcell_codeexecution SET status = 'running', finished = NULL, expires = '2020-01-01 00:00:00' "
            "WHERE id = (SELECT max(id) FROM hotcell_codeexecution)",
        )
        wait_for(manage, "SELECT 1 FROM hotcell_codeexecution WHERE status = 'lost'")
        process.send_signal(signal.SIGTERM)
        out, errors = process.communicate(timeout=20)
    assert (process.returncode, out, errors) == (0, "Marked as lost: 1.\n", "")


def test_the_reaper_outlives_a_database_that_is_away(manage):
    away = manage.database + ".away"
    with manage("hotcell_reap", "--every", "0.1") as process:
        process.stdout.readline()
        os.rename(manage.database, away)
        try:
            os.mkdir(manage.database)  # which no database can be opened in
            told = process.stderr.readline()
        finally:
            os.rmdir(manage.database)
            os.rename(away, manage.database)
        time.sleep(0.5)
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)
    assert "could not be asked" in told and process.returncode == 0


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_says_what_it_is_for_and_explains_each_option(command, capsys):
    from hotcell.django.management import commands

    assert f"{command}.py" in os.listdir(commands.__path__[0])
    from django.core.management import load_command_class

    parser = load_command_class("hotcell.django", command).create_parser("manage.py", command)
    assert parser.description
    assert all(action.help for action in parser._actions)


def test_every_command_is_tested_here():
    from hotcell.django.management import commands

    assert {Path(name).stem for name in os.listdir(commands.__path__[0]) if name.startswith("hotcell_")} == set(
        COMMANDS
    )
