"""``manage.py check``: what of the settings or of this host would fail, or protect less than it seems to.

A number means one thing for ever. Those of the host start each sandbox, so they run with ``manage.py check --deploy``
only.

===============  ==========  =========================================================================================
id               looked for  means
===============  ==========  =========================================================================================
hotcell.E001     always      HOTCELL_SANDBOXES is no dict of dicts
hotcell.E002     always      an alias cannot be read, or its sandbox cannot be made of it (the latter with ``--deploy``)
hotcell.E003     always      the restricted sandbox, which is no wall, with DEBUG off
hotcell.E004     --deploy    this host does not give what the settings ask for
hotcell.E005     always      a policy that the alias's sandbox does not accept
hotcell.W001     always      MIN_ISOLATION is ``none``
hotcell.W002     --deploy    this host gives level process only
hotcell.W003     always      ATOMIC_REQUESTS, which undoes the history with the request
hotcell.W004     --deploy    no control group counts memory
===============  ==========  =========================================================================================
"""

# ruff: noqa: ARG001 - Django calls checks with app_configs, by name

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error, register
from django.core.checks import Warning as CheckWarning

from hotcell.django import conf
from hotcell.django.executors import executors
from hotcell.errors import ConfigurationError, HotcellError, SandboxError
from hotcell.results import IsolationLevel
from hotcell.sandboxes.base import Sandbox

_UNREADABLE = (HotcellError, TypeError, ValueError, AttributeError)
"""What settings of a wrong type raise on their way into a sandbox."""


def connect() -> None:
    """Have Django run them."""
    register(check_settings, "hotcell")
    register(check_database, "hotcell")  # of settings alone: no database is asked
    register(check_host, "hotcell", deploy=True)


def check_settings(app_configs: Sequence[AppConfig] | None, **_: Any) -> list[CheckMessage]:
    """Whether HOTCELL_SANDBOXES can be read, and whether there is a wall at all."""
    try:
        names = conf.aliases()
    except ConfigurationError as error:
        return [Error(str(error), hint="See hotcell.django.conf for an example.", id="hotcell.E001")]
    return [message for name in names for message in _check_alias(name)]


def check_database(app_configs: Sequence[AppConfig] | None, **_: Any) -> list[CheckMessage]:
    """Whether the history survives what the request around it does."""
    return [
        CheckWarning(
            f"DATABASES[{alias!r}] has ATOMIC_REQUESTS: a request that fails takes the rows of what it ran with it, "
            "and holds the user's quota locked until it ends.",
            hint="Put @transaction.non_atomic_requests on the views that run code.",
            id="hotcell.W003",
        )
        for alias, entry in settings.DATABASES.items()
        if entry.get("ATOMIC_REQUESTS")
    ]


def check_host(app_configs: Sequence[AppConfig] | None, **_: Any) -> list[CheckMessage]:
    """Whether this host gives what the settings ask for: by starting each sandbox. Slow, so for ``--deploy``."""
    found: list[CheckMessage] = []
    try:
        names = conf.aliases()
    except ConfigurationError:
        return found  # check_settings says so
    for alias in names:
        try:
            executor = executors[alias]
            info = executor.sandbox.info
        except SandboxError as error:
            found.append(_about(Error, alias, str(error), "`hotcell doctor` says how to get each layer.", "E004"))
        except _UNREADABLE as error:
            if not any(isinstance(message, Error) for message in _check_alias(alias)):  # else check_settings says so
                found.append(_about(Error, alias, _words(error), "See its OPTIONS.", "E002"))
        else:
            found += _check_wall(alias, info.isolation, executor.min_isolation, info.layers)
    return found


def _check_alias(alias: str) -> Iterable[CheckMessage]:
    try:
        entry = conf.sandbox_settings(alias)
        kind: object = entry.sandbox_class
    except _UNREADABLE as error:
        yield _about(Error, alias, _words(error), "", "E002")
        return
    if not (isinstance(kind, type) and issubclass(kind, Sandbox)):
        yield _about(Error, alias, f"BACKEND {entry.backend!r} is no Sandbox.", "Name a subclass of it.", "E002")
        return
    required = kind.required_policy
    if kind.name == "restricted" and not settings.DEBUG:
        problem = "it runs code in the server's own process, without any isolation, and DEBUG is off."
        yield _about(Error, alias, problem, "Use hotcell.LocalSandbox.", "E003")
    elif required is not None and entry.policy.name != required:
        problem = f"its sandbox runs code under the {required} policy only, and POLICY is {entry.policy.name}."
        yield _about(Error, alias, problem, f"Set POLICY to {required!r}.", "E005")
    if entry.min_isolation is IsolationLevel.NONE:
        problem = "MIN_ISOLATION is 'none': code may run without a wall around it."
        yield _about(CheckWarning, alias, problem, "Leave it out, or ask for 'namespace'.", "W001")


def _check_wall(
    alias: str, isolation: IsolationLevel, least: IsolationLevel, layers: tuple[str, ...]
) -> Iterable[CheckMessage]:
    if isolation < least:
        problem = f"its level here is {isolation.value!r}, and MIN_ISOLATION asks for {least.value!r}."
        yield _about(Error, alias, problem, "`hotcell doctor` says how to get it.", "E004")
    elif isolation is IsolationLevel.PROCESS:
        problem = "this host refuses namespaces, so its level is 'process': nothing but Landlock keeps files apart."
        yield _about(CheckWarning, alias, problem, "`hotcell doctor` says how to allow them.", "W002")
    if isolation in (IsolationLevel.PROCESS, IsolationLevel.NAMESPACE) and "memory-group" not in layers:
        problem = "no memory group counts what code holds: it is looked at 50 times a second instead."
        yield _about(CheckWarning, alias, problem, "Delegate a cgroup to the server, or run it as root.", "W004")


def _about(kind: type[Error | CheckWarning], alias: str, problem: str, hint: str, number: str) -> CheckMessage:
    return kind(f"HOTCELL_SANDBOXES[{alias!r}]: {problem}", hint=hint or None, id=f"hotcell.{number}")


def _words(error: Exception) -> str:
    return str(error) if isinstance(error, HotcellError) else f"{type(error).__name__}: {error}"
