"""A policy is data: it can be changed, compared, stored and read back, and it refuses nonsense at once."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotcell.errors import ConfigurationError
from hotcell.modules import RULE_OF_MODULE
from hotcell.policy import Policy
from hotcell.results import Severity
from hotcell.rules import CATALOGUE, RULES

PRESETS = ("strict", "standard", "permissive")
SWITCHABLE = sorted(rule.id for rule in CATALOGUE if not rule.always_on)


@pytest.mark.parametrize("name", PRESETS)
def test_preset_survives_json(name: str) -> None:
    policy = Policy.named(name)
    assert Policy.from_dict(json.loads(json.dumps(policy.to_dict()))) == policy
    assert hash(policy) == hash(Policy.named(name))


@given(
    st.sampled_from(PRESETS),
    st.sets(st.sampled_from(SWITCHABLE)),
    st.sets(st.sampled_from(SWITCHABLE)),
    st.sets(st.sampled_from(["os", "socket", "a.b"])),
)
def test_any_changed_policy_survives_the_round_trip(
    name: str, off: set[str], warned: set[str], allowed: set[str]
) -> None:
    policy = Policy.named(name).without(*off).warning(*warned).allow_import(*allowed).deny_import("zzz")
    assert Policy.from_dict(policy.to_dict()) == policy
    assert policy.name == f"{name}+"


def test_policy_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Policy.standard().name = "mine"  # type: ignore[misc]  # that is the point


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"nonsense": 1}, "nonsense"),
        ({"max_depth": 0}, "max_depth=0"),
        ({"max_depth": True}, "max_depth=True"),
        ({"max_source_bytes": 1 << 30}, "max_source_bytes"),
        ({"rules": {"no.such": "error"}}, "no.such"),
        ({"rules": {"process.start": "maybe"}}, "maybe"),
        ({"rules": {"syntax.invalid": "warning"}}, "syntax.invalid"),
        ({"rules": ["process.start"]}, "rules="),
        ({"imports_denied": "socket"}, "imports_denied"),
        ({"imports_allowed": [1]}, "imports_allowed"),
        ({"name": ""}, "name="),
    ],
)
def test_bad_data_is_refused_with_its_name(fields: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigurationError, match=named.replace(".", r"\.")):
        Policy.from_dict(fields)


def test_what_is_not_a_dict_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="list"):
        Policy.from_dict([])  # type: ignore[arg-type]  # that is the point


@pytest.mark.parametrize("change", ["without", "warning"])
@pytest.mark.parametrize("rule", ["no.such.rule", "syntax.invalid"])
def test_unknown_and_indispensable_rules_cannot_be_switched(change: str, rule: str) -> None:
    with pytest.raises(ConfigurationError, match=rule.replace(".", r"\.")):
        getattr(Policy.standard(), change)(rule)


def test_unknown_preset_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="strict, standard or permissive"):
        Policy.named("lax")


def test_empty_allow_list_allows_nothing() -> None:
    assert Policy(imports_allowed=frozenset()).imports_allowed == frozenset()
    rules = Policy(imports_allowed=frozenset(), rules={"import.denied": Severity.ERROR}).namespace_rules()
    assert rules["imports_allowed"] == []


def test_namespace_rules_are_json_and_name_what_standard_denies() -> None:
    rules = Policy.standard().namespace_rules()
    assert json.loads(json.dumps(rules)) == rules
    assert rules["policy"] == "standard"
    assert rules["imports_allowed"] is None
    assert {"socket", "subprocess", "ctypes"} <= set(rules["imports_denied"])
    assert {"eval", "exec", "compile"} <= set(rules["builtins_denied"])


def test_the_class_statement_finds_its_built_in_under_strict() -> None:
    """The validator refuses the name; the worker may not, as every class would be refused with it."""
    assert "__build_class__" in Policy.strict().builtins_denied
    assert "__build_class__" not in Policy.strict().namespace_rules()["builtins_denied"]


@pytest.mark.parametrize("change", ["without", "warning"])
def test_worker_does_not_enforce_a_rule_that_no_longer_refuses(change: str) -> None:
    rules = getattr(Policy.standard(), change)("network.access", "code.dynamic").namespace_rules()
    assert "socket" not in rules["imports_denied"]
    assert "eval" not in rules["builtins_denied"]
    assert "subprocess" in rules["imports_denied"]


def test_permissive_denies_the_worker_nothing() -> None:
    rules = Policy.permissive().namespace_rules()
    assert (rules["imports_allowed"], rules["imports_denied"], rules["builtins_denied"]) == (None, [], [])


def test_allowing_a_module_allows_its_submodules() -> None:
    policy = Policy.standard().allow_import("urllib", "http")
    assert not {"urllib.request", "http.client", "http.server"} & policy.imports_denied
    assert "socket" in policy.imports_denied


def test_every_denied_module_falls_under_a_rule_that_exists() -> None:
    assert set(RULE_OF_MODULE.values()) <= set(RULES)


def test_rule_ids_are_unique_and_each_says_what_to_write_instead() -> None:
    assert len(RULES) == len(CATALOGUE)
    assert all(rule.refuses and rule.why.endswith(".") and rule.fix.endswith(".") for rule in CATALOGUE)


def test_presets_are_ordered_from_strict_to_permissive() -> None:
    order = {"off": 0, "warning": 1, "error": 2}
    for rule in CATALOGUE:
        assert order[rule.strict] >= order[rule.standard] >= order[rule.permissive], rule.id


def test_reference_page_lists_every_rule_as_the_catalogue_has_it() -> None:
    page = (Path(__file__).parents[2] / "docs" / "reference" / "policy.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| `") and line.count("|") == 8]
    levels = [f"{rule.strict} | {rule.standard} | {rule.permissive}" for rule in CATALOGUE]
    assert rows == [
        f"| `{rule.id}` | {rule.refuses} | {rule.why} | {rule.fix} | {level} |"
        for rule, level in zip(CATALOGUE, levels, strict=True)
    ]


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(Policy)])
def test_reference_page_names_every_field(field: str) -> None:
    page = (Path(__file__).parents[2] / "docs" / "reference" / "policy.md").read_text(encoding="utf-8")
    assert f"| `{field}` |" in page
