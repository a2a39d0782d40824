"""``manage.py check``: each message appears when, and only when, what it warns of is so."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import ClassVar

import pytest
from django.core.checks import registry, run_checks
from django.core.management import call_command

from hotcell.django import checks
from hotcell.django.executors import executors
from hotcell.errors import PoolExhausted, SandboxUnavailable
from hotcell.results import IsolationLevel, SandboxInfo
from hotcell.sandboxes.base import RunOutcome, RunRequest, Sandbox

ROOT = Path(__file__).parents[2]
HERE = "webapp.test_checks"
STRICT_RESTRICTED = {"BACKEND": "hotcell.RestrictedPythonSandbox", "POLICY": "strict"}


class Host(Sandbox):
    """A sandbox that says of the host what it is told to; nothing can be run in it."""

    name: ClassVar[str] = "host"

    def __init__(
        self, isolation: str = "namespace", layers: tuple[str, ...] = ("memory-group",), fails: str = ""
    ) -> None:
        self._info = SandboxInfo(name=self.name, isolation=IsolationLevel(isolation), layers=tuple(layers))
        self._fails = fails

    @property
    def info(self) -> SandboxInfo:
        if self._fails == "unavailable":
            raise SandboxUnavailable("This host has no namespaces.")
        if self._fails == "exhausted":
            raise PoolExhausted("This host has no processes left.")
        return self._info

    def run(self, request: RunRequest) -> RunOutcome:
        raise NotImplementedError

    def close(self) -> None:
        pass


def host(*, least: str = "process", **options) -> dict[str, object]:
    return {"BACKEND": f"{HERE}.Host", "OPTIONS": options, "MIN_ISOLATION": least}


def ids(*, deploy: bool = False) -> list[str]:
    return sorted(message.id for message in run_checks(tags=["hotcell"], include_deployment_checks=deploy))


def children() -> set[str]:
    return {pid for task in Path("/proc/self/task").iterdir() for pid in (task / "children").read_text().split()}


# settings


def test_a_good_project_has_none_not_even_on_this_host():
    assert ids() == []
    assert set(ids(deploy=True)) <= {"hotcell.W002", "hotcell.W004"}  # what the host that tests run on may lack


def test_a_project_that_sets_nothing_has_none(settings):
    del settings.HOTCELL_SANDBOXES
    assert ids() == []


@pytest.mark.parametrize("given", [None, {}, [], "default", 5, {"default": "hotcell.LocalSandbox"}, {"default": None}])
def test_settings_that_are_no_dict_of_dicts_are_E001_alone(settings, given):
    settings.HOTCELL_SANDBOXES = given
    assert ids(deploy=True) == ["hotcell.E001"]


@pytest.mark.parametrize(
    "entry",
    [
        {"BACKEND": "nowhere.Sandbox"},
        {"BACKEND": "hotcell.NoSuchSandbox"},
        {"BACKEND": "hotcell"},
        {"BACKEND": ""},
        {"BACKEND": None},
        {"BACKEND": 5},
        {"BACKEND": "hotcell.Policy"},
        {"BACKEND": "hotcell.__version__"},
        {"BACKEDN": "hotcell.LocalSandbox"},
        {"OPTIONS": "preload"},
        {"OPTIONS": 5},
        {"CONFIG": {"timeout_seconds": -1}},
        {"CONFIG": {"timeout": 1}},
        {"CONFIG": 5},
        {"POLICY": "lax"},
        {"POLICY": 5},
        {"POLICY": {"PRESET": "lax"}},
        {"POLICY": {"ALLOW": ["os"]}},
        {"POLICY": {"OFF": ["no.such.rule"]}},
        {"MIN_ISOLATION": "vm"},
        {"MIN_ISOLATION": None},
    ],
    ids=str,
)
def test_an_alias_that_cannot_be_read_is_E002_once_and_the_others_are_looked_at(settings, entry):
    settings.HOTCELL_SANDBOXES = {"good": {}, "bad": entry}
    (message,) = run_checks(tags=["hotcell"])
    assert message.id == "hotcell.E002" and "['bad']" in message.msg
    assert ids(deploy=True).count("hotcell.E002") == 1


@pytest.mark.parametrize(
    "options", [{"no_such": 1}, {"pool_size": -1}, {"isolation": "vm"}, {"preload": ["no_such_module_here"]}], ids=str
)
def test_options_that_no_sandbox_can_be_made_of_are_an_error_with_deploy(settings, options):
    settings.HOTCELL_SANDBOXES = {"default": {"OPTIONS": options}}
    assert [found for found in ids(deploy=True) if found in ("hotcell.E002", "hotcell.E004")]


def test_the_restricted_sandbox_is_E003_outside_of_debugging_alone(settings):
    settings.HOTCELL_SANDBOXES = {"default": STRICT_RESTRICTED}
    assert ids() == ids(deploy=True) == ["hotcell.E003"]
    settings.DEBUG = True
    assert ids() == []


def test_a_policy_that_the_sandbox_does_not_accept_is_E005(settings):
    settings.DEBUG = True
    settings.HOTCELL_SANDBOXES = {"default": {**STRICT_RESTRICTED, "POLICY": "standard"}}
    assert ids() == ["hotcell.E005"]
    settings.HOTCELL_SANDBOXES = {"default": {"POLICY": "permissive"}}
    assert ids() == []


def test_no_wall_asked_for_is_W001(settings):
    settings.HOTCELL_SANDBOXES = {"default": {"MIN_ISOLATION": "none"}, "other": {"MIN_ISOLATION": "process"}}
    assert ids() == ["hotcell.W001"]


def test_requests_in_transactions_are_W003_in_the_plain_check(settings, monkeypatch):
    monkeypatch.setitem(settings.DATABASES["default"], "ATOMIC_REQUESTS", True)
    (message,) = run_checks(tags=["hotcell"])
    assert message.id == "hotcell.W003" and "'default'" in message.msg


# this host


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        (host(), []),
        (host(least="namespace"), []),
        (host(isolation="process"), ["W002"]),
        (host(isolation="process", least="namespace"), ["E004"]),
        (host(isolation="none"), ["E004"]),
        (host(layers=()), ["W004"]),
        (host(isolation="process", layers=()), ["W002", "W004"]),
        (host(fails="unavailable"), ["E004"]),
        (host(fails="exhausted"), ["E004"]),
    ],
    ids=str,
)
def test_what_the_host_lacks_is_told_with_deploy_alone(settings, entry, expected):
    settings.HOTCELL_SANDBOXES = {"default": entry}
    assert ids() == []
    assert ids(deploy=True) == [f"hotcell.{number}" for number in expected]


def test_a_real_wall_of_level_process_is_W002_and_less_than_was_asked_for_is_E004(settings):
    settings.HOTCELL_SANDBOXES = {"default": {"OPTIONS": {"isolation": "process"}}}
    assert "hotcell.W002" in ids(deploy=True) and "hotcell.E004" not in ids(deploy=True)
    settings.HOTCELL_SANDBOXES = {"default": {"OPTIONS": {"isolation": "process"}, "MIN_ISOLATION": "namespace"}}
    assert "hotcell.E004" in ids(deploy=True) and "hotcell.W002" not in ids(deploy=True)


# the checks themselves


def test_the_plain_check_starts_no_sandbox():
    executors.close()
    before = children()
    call_command("check")
    assert executors.running() == {} and children() <= before


def test_no_check_asks_the_database():
    assert run_checks(tags=["hotcell"], include_deployment_checks=False) == []  # without the mark, a query would raise


def test_every_id_is_in_the_table_once_and_every_one_in_the_table_is_used():
    listed = re.findall(r"^hotcell\.([EW]\d{3})", checks.__doc__ or "", re.MULTILINE)
    source = Path(checks.__file__).read_text().replace(checks.__doc__ or "", "")
    used = set(re.findall(r'"(?:hotcell\.)?([EW]\d{3})"', source))
    assert len(listed) == len(set(listed))
    assert set(listed) == used == {"E001", "E002", "E003", "E004", "E005", "W001", "W002", "W003", "W004"}


def test_every_id_is_asked_for_by_a_test_here():
    text = Path(__file__).read_text()
    assert all(number in text for number in ("E001", "E002", "E003", "E004", "E005", "W001", "W002", "W003", "W004"))


def test_connecting_twice_checks_once(settings):
    checks.connect()
    settings.HOTCELL_SANDBOXES = None
    assert ids() == ["hotcell.E001"]
    assert checks.check_settings in registry.registry.get_checks()
    assert checks.check_host not in registry.registry.get_checks()


# the project


def django(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join(map(str, (ROOT / "src", ROOT / "tests")))
    environment = {**os.environ, "PYTHONPATH": path, "DJANGO_SETTINGS_MODULE": "webapp.settings"}
    command = (sys.executable, "-P", "-W", "error", "-m", "django", *arguments)
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_the_projects_check_is_clean_with_every_warning_an_error(tmp_path):
    done = django("check", "--fail-level", "WARNING", folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "no issues" in done.stdout


@pytest.mark.django_db
def test_no_migration_is_missing():
    call_command("makemigrations", "hotcell", "--check", "--dry-run", verbosity=0)


def test_no_migration_is_missing_in_a_process_of_its_own(tmp_path):
    done = django("makemigrations", "hotcell", "--check", "--dry-run", folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
