"""What code may do, as data: which rules are on, which modules and built-ins it may use, how big it may be.

A policy is advice with teeth, not the wall: it refuses cheaply, early and with an explanation, and the sandbox contains
what it misses. `docs/reference/policy.md` lists every rule.

    policy = Policy.standard().without("resource.regex").deny_import("threading")
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from hotcell.errors import ConfigurationError
from hotcell.modules import RULE_OF_MODULE, STANDARD_BUILTINS_DENIED, STRICT_BUILTINS_DENIED, STRICT_IMPORTS
from hotcell.results import Severity
from hotcell.rules import CATALOGUE, RULES

# limit -> (least, most). The most is what was measured to parse in half a second and 100 MB.
_RANGES = {
    "max_source_bytes": (1, 1 << 20),
    "max_tokens": (1, 200_000),
    "max_nodes": (1, 200_000),
    "max_depth": (10, 400),
    "max_violations": (1, 1000),
}
_SETS = ("imports_denied", "builtins_denied")


@dataclass(frozen=True, kw_only=True)
class Policy:
    """What a program may do. Frozen data: print it, diff it, store it beside the result."""

    name: str = "custom"
    """Shown in reports; a preset's name, followed by ``+`` once it was changed."""

    rules: Mapping[str, Severity] = field(default_factory=dict)
    """Rule id to severity; a rule that is absent is off."""

    imports_allowed: frozenset[str] | None = None
    """The only modules that may be imported; None allows all but the denied. A name allows its submodules too."""

    imports_denied: frozenset[str] = frozenset()
    """Modules that may not be imported, their submodules included. Wins over ``imports_allowed``."""

    builtins_denied: frozenset[str] = frozenset()
    """Built-in functions that may not be used."""

    max_source_bytes: int = 512 * 1024
    """Size of the source as UTF-8, in bytes."""

    max_tokens: int = 100_000
    """Words, numbers and operators in the source."""

    max_nodes: int = 100_000
    """Nodes of the syntax tree."""

    max_depth: int = 200
    """Levels of the syntax tree: how deep expressions and blocks are nested."""

    max_violations: int = 50
    """Findings reported at most; the worst first."""

    def __post_init__(self) -> None:
        for name, (least, most) in _RANGES.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
                raise ConfigurationError(
                    f"{name}={value!r} is not allowed: give a whole number from {least} to {most}."
                )
        if not isinstance(self.name, str) or not self.name:
            raise ConfigurationError(f"name={self.name!r} is not allowed: give a word.")
        _set(self, "rules", _severities(self.rules))
        for names in _SETS:
            _set(self, names, _names(names, getattr(self, names)))
        if self.imports_allowed is not None:
            _set(self, "imports_allowed", _names("imports_allowed", self.imports_allowed))

    def __hash__(self) -> int:
        return hash((self.name, tuple(self.rules.items()), self.imports_allowed, self.imports_denied))

    @classmethod
    def strict(cls) -> Self:
        """Imports by allow-list, no files, no underscores: for code without a wall around its process."""
        return cls(
            name="strict",
            rules=_preset("strict"),
            imports_allowed=STRICT_IMPORTS,
            imports_denied=frozenset(RULE_OF_MODULE),
            builtins_denied=STRICT_BUILTINS_DENIED,
            max_source_bytes=64 * 1024,
            max_tokens=20_000,
            max_nodes=20_000,
        )

    @classmethod
    def standard(cls) -> Self:
        """For code behind a wall: ordinary programs pass; processes, network, native code and gadgets do not."""
        return cls(
            name="standard",
            rules=_preset("standard"),
            imports_denied=frozenset(RULE_OF_MODULE),
            builtins_denied=STANDARD_BUILTINS_DENIED,
        )

    @classmethod
    def permissive(cls) -> Self:
        """Only what could not run anyway is refused; a few likely mistakes are warned of."""
        return cls(name="permissive", rules=_preset("permissive"))

    @classmethod
    def named(cls, name: str) -> Self:
        """The preset of that name. Raises ConfigurationError for an unknown one."""
        presets = {"strict": cls.strict, "standard": cls.standard, "permissive": cls.permissive}
        if name not in presets:
            raise ConfigurationError(f"policy={name!r} is not known: choose strict, standard or permissive.")
        return presets[name]()

    def without(self, *rule_ids: str) -> Self:
        """A copy in which these rules are off. Raises ConfigurationError for an unknown or indispensable rule."""
        _check_switchable(rule_ids)
        return self._changed(rules={rule: level for rule, level in self.rules.items() if rule not in rule_ids})

    def warning(self, *rule_ids: str) -> Self:
        """A copy in which these rules only warn. Raises ConfigurationError as `without` does."""
        _check_switchable(rule_ids)
        return self._changed(rules={**self.rules, **dict.fromkeys(rule_ids, Severity.WARNING)})

    def allow_import(self, *names: str) -> Self:
        """A copy in which these modules, with their submodules, may be imported."""
        denied = frozenset(item for item in self.imports_denied if not _covered(item, names))
        allowed = None if self.imports_allowed is None else self.imports_allowed | frozenset(names)
        return self._changed(imports_denied=denied, imports_allowed=allowed)

    def deny_import(self, *names: str) -> Self:
        """A copy in which these modules, with their submodules, may not be imported."""
        return self._changed(imports_denied=self.imports_denied | frozenset(names))

    def namespace_rules(self) -> dict[str, Any]:
        """What the worker's import hook and restricted built-ins enforce, as JSON data.

        A module or built-in whose rule is off or only warns is left out, so that the two sides never disagree.
        """
        refuses = {rule for rule, severity in self.rules.items() if severity is Severity.ERROR}
        denied = [item for item in self.imports_denied if RULE_OF_MODULE.get(item, "import.denied") in refuses]
        allowed = self.imports_allowed if "import.denied" in refuses else None
        # The class statement looks __build_class__ up in the built-ins, so it is refused by its name alone.
        called = self.builtins_denied - {"__build_class__"}
        builtins = [item for item in called if rule_of_builtin(item) in refuses]
        return {
            "policy": self.name,
            "imports_allowed": None if allowed is None else sorted(allowed),
            "imports_denied": sorted(denied),
            "builtins_denied": sorted(builtins),
        }

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data with sorted lists, made for storing and diffing."""
        data = {item.name: getattr(self, item.name) for item in dataclasses.fields(self)}
        data["rules"] = {rule: severity.value for rule, severity in sorted(self.rules.items())}
        for name in _SETS:
            data[name] = sorted(data[name])
        data["imports_allowed"] = None if self.imports_allowed is None else sorted(self.imports_allowed)
        return data

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The policy that `to_dict` described. Raises ConfigurationError for anything else."""
        if not isinstance(data, Mapping):
            raise ConfigurationError(f"A policy is a dict, not {type(data).__name__}.")
        unknown = sorted(str(key) for key in data if key not in cls.__dataclass_fields__)
        if unknown:
            raise ConfigurationError(f"A policy has no field {unknown[0]!r}.")
        return cls(**data)

    def _changed(self, **changes: Any) -> Self:
        name = self.name if self.name.endswith("+") else f"{self.name}+"
        return dataclasses.replace(self, name=name, **changes)


def rule_of_builtin(name: str) -> str:
    """The id of the rule under which a denied built-in function is refused."""
    return _RULE_OF_BUILTIN.get(name, "builtin.denied")


_RULE_OF_BUILTIN = {
    "eval": "code.dynamic",
    "exec": "code.dynamic",
    "compile": "code.dynamic",
    "__import__": "code.dynamic-import",
    "breakpoint": "interaction.input",
    "input": "interaction.input",
}


def _preset(preset: str) -> dict[str, Severity]:
    levels = {rule.id: getattr(rule, preset) for rule in CATALOGUE}
    return {rule: Severity(level) for rule, level in levels.items() if level != "off"}


def _set(policy: Policy, name: str, value: object) -> None:
    object.__setattr__(policy, name, value)  # the way a frozen dataclass normalises its own fields


def _severities(rules: object) -> dict[str, Severity]:
    if not isinstance(rules, Mapping):
        raise ConfigurationError(f"rules={rules!r} is not allowed: give a dict from rule id to 'error' or 'warning'.")
    checked = {rule.id: Severity.ERROR for rule in CATALOGUE if rule.always_on}
    for rule, severity in rules.items():
        if rule not in RULES:
            raise ConfigurationError(f"rules names {rule!r}, which is not a rule; see docs/reference/policy.md.")
        if severity not in tuple(Severity) or (RULES[rule].always_on and severity != Severity.ERROR):
            raise ConfigurationError(f"rules[{rule!r}]={severity!r} is not allowed: give 'error' or 'warning'.")
        checked[rule] = Severity(severity)
    return checked


def _names(field_name: str, names: object) -> frozenset[str]:
    if isinstance(names, (str, bytes)) or not isinstance(names, Iterable):
        raise ConfigurationError(f"{field_name}={names!r} is not allowed: give a list of names.")
    listed = list(names)
    wrong = [name for name in listed if not isinstance(name, str) or not name]
    if wrong:
        raise ConfigurationError(f"{field_name} holds {wrong[0]!r}: give names only.")
    return frozenset(listed)


def _check_switchable(rule_ids: Iterable[str]) -> None:
    for rule in rule_ids:
        if rule not in RULES:
            raise ConfigurationError(f"{rule!r} is not a rule; see docs/reference/policy.md.")
        if RULES[rule].always_on:
            raise ConfigurationError(f"{rule!r} cannot be switched: without it the code cannot be analysed.")


def _covered(module: str, names: Iterable[str]) -> bool:
    return any(module == name or module.startswith(name + ".") for name in names)
