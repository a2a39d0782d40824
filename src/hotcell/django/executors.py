"""One executor, with one warm pool, for each alias and process, whatever the server model.

Django's own handlers (``caches``, ``connections``) keep one instance per thread; a pool of prepared processes must be
shared by all threads, so this is a handler of its own. A process that forks (gunicorn with preload, Celery) is safe: a
``LocalSandbox`` sees that it has a parent's pool and starts its own.
"""

from __future__ import annotations

import atexit
import threading
from typing import Any

from django.core.signals import setting_changed

from hotcell.django import conf
from hotcell.executor import Executor
from hotcell.validators.output import Redactor


class Executors:
    """``executors["default"]``; made at first use. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._made: dict[str, Executor] = {}

    def __getitem__(self, alias: str) -> Executor:
        """Raises ConfigurationError, and SandboxUnavailable where this host cannot give what is asked for."""
        found = self._made.get(alias)  # without the lock: the usual case, and dicts are safe to read
        if found is not None:
            return found
        with self._lock:
            if alias not in self._made:
                self._made[alias] = _make(conf.sandbox_settings(alias))
            return self._made[alias]

    def running(self) -> dict[str, Executor]:
        """Those that this process has made."""
        with self._lock:
            return dict(self._made)

    def close(self) -> None:
        """End every pool; the next use makes new ones."""
        with self._lock:
            made, self._made = self._made, {}
        for executor in made.values():
            executor.sandbox.close()


executors = Executors()


def connect() -> None:
    """Close the pools when the process ends, and when a test overrides a setting that they were made from."""
    atexit.register(executors.close)
    setting_changed.connect(_forget, dispatch_uid="hotcell.executors")


def _forget(*, setting: str, **_: Any) -> None:
    if setting in ("HOTCELL_SANDBOXES", "HOTCELL_KNOWN_SECRETS", "SECRET_KEY", "DATABASES"):
        executors.close()


def _make(settings: conf.SandboxSettings) -> Executor:
    return Executor(
        settings.sandbox_class(**settings.options),
        settings.config,
        settings.policy,
        min_isolation=settings.min_isolation,
        redactor=Redactor(known_secrets=conf.known_secrets()),
    )
