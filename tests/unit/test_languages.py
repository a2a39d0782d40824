"""Languages as data: the registry, what a suffix tells, and what a mistake in one is told."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from hotcell import languages
from hotcell.errors import ConfigurationError
from hotcell.languages import BASH, JAVASCRIPT, Language
from hotcell.policy import Policy
from hotcell.results import Severity
from hotcell.validators import syntax, unread

FIELDS: dict[str, Any] = {
    "name": "made-up",
    "title": "Made Up",
    "command": ("made-up", "{code}"),
    "suffixes": (".mu",),
    "version_code": "",
}


@pytest.mark.parametrize(
    ("filename", "language"),
    [
        ("a.js", "javascript"),
        ("dir.sh/b.mjs", "javascript"),
        ("c.cjs", "javascript"),
        ("d.sh", "bash"),
        ("e.bash", "bash"),
        ("f.py", "python"),
        ("g", "python"),
        ("-", "python"),
        (".js", "python"),
        ("h.js.txt", "python"),
    ],
)
def test_a_files_suffix_tells_its_language(filename: str, language: str) -> None:
    assert languages.of_file(filename) == language


def test_python_is_the_one_that_needs_no_program() -> None:
    assert languages.other("python") is None
    assert languages.other("bash") is BASH
    assert JAVASCRIPT in languages.known()
    assert "python" not in {language.name for language in languages.known()}


@pytest.mark.parametrize("name", ["", "Bash", "js", "python ", "../bash", None, 7, [], {}])
def test_an_unknown_name_is_refused_with_those_that_are_known(name: object) -> None:
    with pytest.raises(ConfigurationError, match=r"is not known: choose python, .*bash, .*javascript"):
        languages.other(name)


def test_a_language_is_registered_once_under_its_name() -> None:
    made = languages.register(Language(**FIELDS))
    assert languages.get("made-up") is made
    languages.register(Language(**FIELDS))  # a module may be imported twice
    with pytest.raises(ConfigurationError, match="'made-up' is taken"):
        languages.register(Language(**{**FIELDS, "title": "Another"}))
    with pytest.raises(ConfigurationError, match="'bash' is taken"):
        languages.register(dataclasses.replace(BASH, prelude=""))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "python"),
        ("name", "Two Words"),
        ("name", ""),
        ("name", "../up"),
        ("command", ()),
        ("command", "perl {code}"),
        ("command", ("perl", 7)),
        ("suffixes", ()),
        ("suffixes", ".pl"),
        ("check", "bash -n"),
        ("tools", ["sed"]),
        ("paths", ("",)),
    ],
)
def test_a_mistake_is_refused_where_it_is_made(field: str, value: object) -> None:
    with pytest.raises(ConfigurationError):
        Language(**{**FIELDS, field: value})


def test_the_compiler_of_javascript_is_off_unless_the_layer_is() -> None:
    """V8 without --jitless cannot start where the layer is on, and must not be started where it is on in name only."""
    assert "--jitless" in JAVASCRIPT.command
    assert not JAVASCRIPT.executable_memory


def test_every_language_keeps_io_uring_away() -> None:
    assert JAVASCRIPT.environment["UV_USE_IO_URING"] == "0"


@pytest.mark.parametrize(
    ("policy", "severity"),
    [
        (Policy.strict(), Severity.ERROR),
        (Policy.standard(), Severity.WARNING),
        (Policy.permissive(), Severity.WARNING),
        (Policy.standard().without("language.unread"), None),
    ],
)
def test_each_policy_says_what_it_thinks_of_what_it_cannot_read(policy: Policy, severity: Severity | None) -> None:
    found = unread.inspect(JAVASCRIPT, policy)
    assert [item.severity for item in found] == ([severity] if severity else [])
    for item in found:
        assert item.message == "The policy reads Python only; for JavaScript the wall is all there is."
        assert item.fix


@pytest.mark.parametrize(
    "code", ["echo ü", b"echo \xc3\xbc", "\ufeffecho ü", "# -*- coding: latin-1 -*-\necho ü", "(" * 9999]
)
def test_text_of_any_language_passes_whatever_python_would_say(code: str | bytes) -> None:
    parsed = syntax.read(code, Policy.standard())
    assert parsed.violations == ()
    assert parsed.tree is None
    assert not parsed.text.startswith("\ufeff")


@pytest.mark.parametrize(
    ("code", "rule"),
    [
        (7, "syntax.type"),
        (b"\xff\xfee\0", "syntax.encoding"),
        ("a\0b", "syntax.encoding"),
        ("\ud800", "syntax.encoding"),
        (b"x" * (1 << 20), "syntax.too-large"),
    ],
)
def test_what_is_no_text_is_refused_in_any_language(code: Any, rule: str) -> None:
    (finding,) = syntax.read(code, Policy.standard()).violations
    assert (finding.rule, finding.severity) == (rule, Severity.ERROR)
