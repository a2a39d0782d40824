"""The settings, read and checked in one place.

    HOTCELL_SANDBOXES = {
        "default": {
            "BACKEND": "hotcell.LocalSandbox",
            "OPTIONS": {"preload": ["numpy", "pandas"]},
            "CONFIG": {"timeout_seconds": 5, "memory_bytes": 256 << 20},
            "POLICY": {"PRESET": "standard", "ALLOW_IMPORTS": ["sqlite3"]},
            "MIN_ISOLATION": "namespace",
        },
    }

Every key but BACKEND may be left out, and so may the whole setting. Others: ``HOTCELL_STORAGE``, the alias in STORAGES
for artifacts; ``HOTCELL_KNOWN_SECRETS``, names and values to take out of all output on top of Django's own.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from django.conf import settings
from django.core.files.storage import Storage, storages
from django.utils.module_loading import import_string

from hotcell.config import SandboxConfig
from hotcell.errors import ConfigurationError
from hotcell.policy import Policy
from hotcell.results import IsolationLevel
from hotcell.sandboxes.base import Sandbox

DEFAULT_ALIAS = "default"
_DEFAULT = {DEFAULT_ALIAS: {"BACKEND": "hotcell.LocalSandbox"}}
_CHANGES = {"ALLOW_IMPORTS": "allow_import", "DENY_IMPORTS": "deny_import", "OFF": "without", "WARN": "warning"}


@dataclass(frozen=True, kw_only=True)
class SandboxSettings:
    """One alias of HOTCELL_SANDBOXES."""

    alias: str
    backend: str
    """Dotted path of the sandbox's class."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """What the class is called with."""
    config: SandboxConfig = field(default_factory=SandboxConfig)
    policy: Policy = field(default_factory=Policy.standard)
    min_isolation: IsolationLevel = IsolationLevel.PROCESS

    @property
    def sandbox_class(self) -> type[Sandbox]:
        """Raises ConfigurationError when there is none of that name."""
        try:
            found: type[Sandbox] = import_string(self.backend)
        except ImportError as error:
            raise _bad(self.alias, "BACKEND", self.backend, f"it cannot be imported ({error})") from error
        return found


def aliases() -> tuple[str, ...]:
    """The names in HOTCELL_SANDBOXES."""
    return tuple(_sandboxes())


def sandbox_settings(alias: str) -> SandboxSettings:
    """Raises ConfigurationError for an alias that is not there, and for settings that are not valid."""
    given = _sandboxes()
    if alias not in given:
        raise ConfigurationError(f"HOTCELL_SANDBOXES has no {alias!r}: it has {', '.join(map(repr, given))}.")
    entry = given[alias]
    known = {"BACKEND", "OPTIONS", "CONFIG", "POLICY", "MIN_ISOLATION"}
    if unknown := sorted(map(str, entry.keys() - known)):
        raise _bad(alias, unknown[0], entry.get(unknown[0]), f"the keys are {', '.join(sorted(known))}")
    backend = entry.get("BACKEND", _DEFAULT[DEFAULT_ALIAS]["BACKEND"])
    if not isinstance(backend, str):
        raise _bad(alias, "BACKEND", backend, "give the dotted path of a sandbox's class")
    options, limits = entry.get("OPTIONS", {}), entry.get("CONFIG", {})
    for key, value in (("OPTIONS", options), ("CONFIG", limits)):
        if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
            raise _bad(alias, key, value, "give a dict")
    with _about(alias, "CONFIG", limits):
        config = SandboxConfig().replace(**limits)
    with _about(alias, "POLICY", entry.get("POLICY")):
        policy = _policy(alias, entry.get("POLICY", "standard"))
    return SandboxSettings(
        alias=alias,
        backend=backend,
        options=dict(options),
        config=config,
        policy=policy,
        min_isolation=_level(alias, entry.get("MIN_ISOLATION", IsolationLevel.PROCESS)),
    )


@contextlib.contextmanager
def _about(alias: str, key: str, value: object) -> Iterator[None]:
    """Whatever is wrong in there is said with where it is."""
    try:
        yield
    except (ConfigurationError, TypeError) as error:
        if str(error).startswith("HOTCELL_SANDBOXES"):
            raise
        raise _bad(alias, key, value, str(error).rstrip(".")) from error


def known_secrets() -> dict[str, str]:
    """What must never be seen in any output, by name: Django's own secrets, and HOTCELL_KNOWN_SECRETS."""
    found = {"SECRET_KEY": _word(settings.SECRET_KEY)}
    found |= {f"SECRET_KEY_FALLBACKS_{place}": _word(key) for place, key in enumerate(settings.SECRET_KEY_FALLBACKS)}
    found |= {f"DATABASES_{alias}": _word(entry.get("PASSWORD")) for alias, entry in settings.DATABASES.items()}
    found |= {"EMAIL_HOST_PASSWORD": _word(settings.EMAIL_HOST_PASSWORD)}
    more = getattr(settings, "HOTCELL_KNOWN_SECRETS", {})
    if not isinstance(more, Mapping):
        raise ConfigurationError(f"HOTCELL_KNOWN_SECRETS is a {type(more).__name__}: give a dict of names and values.")
    return {name: value for name, value in (found | {str(name): _word(more[name]) for name in more}).items() if value}


def _word(secret: object) -> str:
    return secret.decode("utf-8", "backslashreplace") if isinstance(secret, bytes) else str(secret or "")


def artifact_storage() -> Storage:
    """Where artifacts go; a function, so that no migration names a project's storage."""
    return storages[getattr(settings, "HOTCELL_STORAGE", "default")]


def _sandboxes() -> Mapping[str, Any]:
    given = getattr(settings, "HOTCELL_SANDBOXES", _DEFAULT)
    if not isinstance(given, Mapping) or not given or not all(isinstance(entry, Mapping) for entry in given.values()):
        raise ConfigurationError("HOTCELL_SANDBOXES must be a dict of dicts, such as {'default': {...}}.")
    return given


def _policy(alias: str, given: object) -> Policy:
    if isinstance(given, Policy):
        return given
    if isinstance(given, str):
        return Policy.named(given)
    if not isinstance(given, Mapping) or (unknown := sorted(given.keys() - {"PRESET", *_CHANGES})):
        keys = ", ".join(("PRESET", *_CHANGES))
        raise _bad(alias, "POLICY", given if not isinstance(given, Mapping) else unknown[0], f"the keys are {keys}")
    policy = Policy.named(given.get("PRESET", "standard"))
    for key, method in _CHANGES.items():
        names = given.get(key, ())
        # The letters of a word would each be taken for a name.
        if not isinstance(names, list | tuple | set | frozenset) or not all(isinstance(name, str) for name in names):
            raise _bad(alias, "POLICY", given, f"{key} must be a list of names")
        policy = getattr(policy, method)(*names) if names else policy
    return policy


def _level(alias: str, given: str) -> IsolationLevel:
    try:
        return IsolationLevel(given)
    except ValueError:
        raise _bad(alias, "MIN_ISOLATION", given, f"choose one of {', '.join(IsolationLevel)}") from None


def _bad(alias: str, key: str, value: object, remedy: str) -> ConfigurationError:
    return ConfigurationError(f"HOTCELL_SANDBOXES[{alias!r}][{key!r}] is {value!r:.80}: {remedy}.")
