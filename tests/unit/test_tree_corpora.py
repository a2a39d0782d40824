"""Every labelled snippet is judged as its label says, under each preset."""

import sys
from pathlib import Path

import pytest

from hotcell.policy import Policy
from hotcell.results import Severity, Violation
from hotcell.validators.syntax import parse
from hotcell.validators.tree import inspect

sys.path.insert(0, str(Path(__file__).parents[1] / "corpora"))
from snippets import load

STANDARD, STRICT, PERMISSIVE = Policy.standard(), Policy.strict(), Policy.permissive()


def findings(code: str, policy: Policy) -> tuple[Violation, ...]:
    parsed = parse(code, policy)
    return parsed.violations + (inspect(parsed.tree, parsed.text, policy) if parsed.tree else ())


def refusals(code: str, policy: Policy) -> set[str]:
    return {item.rule for item in findings(code, policy) if item.severity is Severity.ERROR}


@pytest.mark.parametrize(("rule", "code"), load("hostile"))
def test_hostile_snippet_is_refused_under_standard_by_its_rule(rule: str, code: str) -> None:
    assert rule in refusals(code, STANDARD)


@pytest.mark.parametrize(("rule", "code"), load("hostile"))
def test_hostile_snippet_is_refused_under_strict(rule: str, code: str) -> None:
    assert refusals(code, STRICT)


@pytest.mark.parametrize(("_", "code"), load("legitimate"))
def test_legitimate_snippet_passes_standard(_: str, code: str) -> None:
    assert refusals(code, STANDARD) == set()


@pytest.mark.parametrize(("rule", "code"), load("escapes"))
def test_known_escape_is_refused_under_strict(rule: str, code: str) -> None:
    refused = refusals(code, STRICT) - {"syntax.invalid"}
    assert refused
    assert rule in ("refused", *refused)


@pytest.mark.parametrize(("rule", "code"), load("hostile") + load("legitimate"))
def test_permissive_refuses_only_what_cannot_be_analysed(rule: str, code: str) -> None:
    assert all(refused.startswith("syntax.") for refused in refusals(code, PERMISSIVE))


@pytest.mark.parametrize("rule", sorted({rule for rule, _ in load("hostile")} - {"syntax.invalid", "syntax.encoding"}))
def test_switching_a_rule_off_silences_it(rule: str) -> None:
    codes = [code for label, code in load("hostile") if label == rule]
    policy = STANDARD.without(rule)
    assert codes
    assert all(rule not in {item.rule for item in findings(code, policy)} for code in codes)


@pytest.mark.parametrize("rule", sorted({rule for rule, _ in load("hostile")} - {"syntax.invalid", "syntax.encoding"}))
def test_a_rule_that_only_warns_lets_its_snippets_run(rule: str) -> None:
    for code in [code for label, code in load("hostile") if label == rule]:
        assert rule not in refusals(code, STANDARD.warning(rule))
