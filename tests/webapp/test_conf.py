"""Settings: what is wrong is named, and what is secret stays so."""

from __future__ import annotations

import json

import pytest

from hotcell.config import SandboxConfig
from hotcell.django import conf, services
from hotcell.django.executors import executors
from hotcell.django.models import CodeExecution
from hotcell.errors import ConfigurationError
from hotcell.policy import Policy
from hotcell.results import IsolationLevel

PASSWORD = "correct horse battery staple 9"


def read(settings, **entry) -> conf.SandboxSettings:
    settings.HOTCELL_SANDBOXES = {"mine": entry}
    return conf.sandbox_settings("mine")


# what may be given


def test_without_any_setting_there_is_a_local_sandbox_behind_the_standard_policy(settings):
    del settings.HOTCELL_SANDBOXES
    assert conf.aliases() == ("default",)
    found = conf.sandbox_settings("default")
    assert found.sandbox_class.__name__ == "LocalSandbox"
    assert (found.config, found.policy, found.min_isolation) == (
        SandboxConfig(),
        Policy.standard(),
        IsolationLevel.PROCESS,
    )


def test_every_key_is_obeyed(settings):
    found = read(
        settings,
        BACKEND="hotcell.RestrictedPythonSandbox",
        OPTIONS={"allow_no_isolation": True},
        CONFIG={"timeout_seconds": 3, "memory_bytes": 64 << 20},
        POLICY={"PRESET": "standard", "ALLOW_IMPORTS": ["sqlite3"], "DENY_IMPORTS": ["json"]},
        MIN_ISOLATION="namespace",
    )
    assert found.sandbox_class.__name__ == "RestrictedPythonSandbox"
    assert found.options == {"allow_no_isolation": True}
    assert (found.config.timeout_seconds, found.config.memory_bytes) == (3, 64 << 20)
    assert found.policy == Policy.standard().allow_import("sqlite3").deny_import("json")
    assert found.min_isolation is IsolationLevel.NAMESPACE


def test_a_policy_may_be_an_object(settings):
    assert read(settings, POLICY=Policy.strict()).policy == Policy.strict()


def test_what_the_project_gave_is_not_changed_by_reading_it(settings):
    entry = {"POLICY": {"PRESET": "standard", "ALLOW_IMPORTS": ["sqlite3"]}, "OPTIONS": {"preload": ["json"]}}
    before = json.dumps(entry)
    read(settings, **entry).options["more"] = 1
    assert json.dumps(entry) == before


# what may not

NAMED = [
    ("BACKEND", "nowhere.Sandbox"),
    ("BACKEND", "hotcell.NoSuchSandbox"),
    ("BACKEND", "hotcell"),
    ("POLICY", 5),
    ("POLICY", ["standard"]),
    ("POLICY", {"ALLOW": ["os"]}),
    ("MIN_ISOLATION", "vm"),
    ("MIN_ISOLATION", None),
    ("MIN_ISOLATION", []),
    ("BACKEDN", "hotcell.LocalSandbox"),
    ("BACKEND", None),
    ("BACKEND", 5),
    ("OPTIONS", "preload"),
    ("OPTIONS", 5),
    ("CONFIG", 5),
    ("CONFIG", {"timeout_seconds": -1}),
    ("CONFIG", {"timeout_seconds": "5"}),
    ("CONFIG", {"timeout": 5}),
    ("POLICY", "lax"),
    ("POLICY", {"PRESET": "lax"}),
    ("POLICY", {"PRESET": ["strict"]}),
    ("POLICY", {"ALLOW_IMPORTS": "sqlite3"}),
    ("POLICY", {"ALLOW_IMPORTS": 5}),
    ("POLICY", {"OFF": ["no.such.rule"]}),
    ("POLICY", {"OFF": ["syntax.error"]}),
]


@pytest.mark.parametrize(("key", "value"), NAMED, ids=str)
def test_a_bad_setting_is_a_configuration_error_that_names_alias_and_key(settings, key, value):
    with pytest.raises(ConfigurationError) as raised:
        _ = read(settings, **{key: value}).sandbox_class
    assert "HOTCELL_SANDBOXES['mine']" in str(raised.value) and repr(key) in str(raised.value)


@pytest.mark.parametrize("given", [None, {}, [], "default", {"default": None}, {"default": "hotcell.LocalSandbox"}])
def test_what_is_no_dict_of_dicts_is_refused_with_an_example(settings, given):
    settings.HOTCELL_SANDBOXES = given
    with pytest.raises(ConfigurationError, match="HOTCELL_SANDBOXES must be a dict of dicts"):
        conf.aliases()


def test_an_alias_that_is_not_there_is_told_with_those_that_are(settings):
    settings.HOTCELL_SANDBOXES = {"quick": {}, "thorough": {}}
    with pytest.raises(ConfigurationError, match="no 'default': it has 'quick', 'thorough'"):
        conf.sandbox_settings("default")


@pytest.mark.django_db
def test_an_alias_that_is_not_there_runs_nothing_and_leaves_no_row():
    with pytest.raises(ConfigurationError):
        services.execute("1", using="nope")
    assert not CodeExecution.objects.exists()


# secrets


@pytest.fixture
def secretive(settings, monkeypatch):
    """A project with a secret of every kind."""
    settings.SECRET_KEY_FALLBACKS = ["an older key that is still in use 55"]
    monkeypatch.setitem(settings.DATABASES["default"], "PASSWORD", PASSWORD)
    settings.EMAIL_HOST_PASSWORD = "the password of the mail server 4"
    settings.HOTCELL_KNOWN_SECRETS = {"PAYMENTS": "sk-of-our-own-payments-77"}
    executors.close()
    return {
        "SECRET_KEY": settings.SECRET_KEY,
        "SECRET_KEY_FALLBACKS_0": "an older key that is still in use 55",
        "DATABASES_default": PASSWORD,
        "EMAIL_HOST_PASSWORD": "the password of the mail server 4",
        "PAYMENTS": "sk-of-our-own-payments-77",
    }


def everything_in(row: CodeExecution) -> str:
    return json.dumps([str(getattr(row, field.attname)) for field in row._meta.concrete_fields if field.name != "code"])


@pytest.mark.django_db
@pytest.mark.parametrize(
    "code",
    [
        "print(given)",
        "import sys\nprint(given, file=sys.stderr)",
        "given",
        "{'at': [given]}",
        "raise ValueError(given)",
        "class Odd:\n    def __repr__(self):\n        return given\nOdd()",
        "for part in given.split(): print(part, end=' ')",
    ],
)
def test_no_secret_of_the_projects_comes_out_by_any_way_into_the_row(secretive, code):
    for name, secret in secretive.items():
        row = services.execute(code, context={"given": secret})
        row.refresh_from_db()
        assert row.status in ("ok", "error"), row.reason
        assert secret not in everything_in(row), f"{name} in {row.pk}"
        assert row.redactions


@pytest.mark.django_db
def test_the_context_in_the_row_has_no_secret_by_value_name_or_pattern(settings):
    row = services.execute(
        "print(len(secret), len(note), password)",
        context={
            "secret": settings.SECRET_KEY,
            "note": f"the key is {settings.SECRET_KEY}, take care",
            "deep": [{"note": settings.SECRET_KEY, "api_key": "plain"}],
            "password": 1234,
            "cloud": "AKIAIOSFODNN7EXAMPLE",
            "keyed": {settings.SECRET_KEY: 1},
            "prices": [3, 4],
        },
    )
    row.refresh_from_db()
    kept = json.dumps(row.context)
    assert settings.SECRET_KEY not in kept and "plain" not in kept and "1234" not in kept and "AKIA" not in kept
    assert row.context["prices"] == [3, 4]
    assert row.stdout.split()[0] == str(len(settings.SECRET_KEY))  # the code itself got what it was given


@pytest.mark.parametrize("password", ["", None])
def test_empty_secrets_are_none(settings, monkeypatch, password):
    settings.EMAIL_HOST_PASSWORD = ""
    monkeypatch.setitem(settings.DATABASES["default"], "PASSWORD", password)
    assert set(conf.known_secrets()) == {"SECRET_KEY"}


@pytest.mark.django_db
def test_a_password_that_is_a_number_is_taken_out_as_well(settings, monkeypatch):
    monkeypatch.setitem(settings.DATABASES["default"], "PASSWORD", 1234567890123)
    executors.close()
    assert "1234567890123" not in services.execute("print(1234567890122 + 1)").stdout


@pytest.mark.django_db
def test_a_secret_key_of_bytes_is_taken_out_as_well(settings):
    settings.SECRET_KEY = b"a key of bytes that is long enough"
    row = services.execute("print(given)", context={"given": "a key of bytes that is long enough"})
    assert "a key of bytes" not in row.stdout


def test_a_changed_setting_is_obeyed_by_the_next_execution(settings):
    first = executors["default"]
    settings.HOTCELL_SANDBOXES = {"default": {"CONFIG": {"timeout_seconds": 7}}}
    assert executors["default"] is not first and executors["default"].config.timeout_seconds == 7
    assert executors["default"] is executors["default"]
