"""The step between the policy and the run: a result that a second run would only repeat is not computed twice.

The key is a hash of all that a result depends on. What is kept is the result after the output check, as JSON text with
a digest; whatever does not read back as exactly that is logged and is a miss. See docs/decisions/0012.
"""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import hotcell
from hotcell.cache import Cache
from hotcell.errors import ConfigurationError
from hotcell.policy import Policy
from hotcell.readonly import ReadOnly
from hotcell.results import ExecutionResult, SandboxInfo, Status
from hotcell.sandboxes.base import RunRequest
from hotcell.validators.output import Redactor
from hotcell.worker import wire

_log = logging.getLogger("hotcell")
_ENTRY = 1
"""The version of what an entry looks like."""
_THIS_PROCESS = os.urandom(32)
"""Hashes of known secrets are made with it, so that no guess can be tried on a key that somebody sees."""
_NOT_IN_KEY = frozenset({"cancellation", "mounted", "observer", "tools"})
"""What of a RunRequest has no part in the result. Any other field is in the key, also one that it gets later.

What may call tools is never stored; what is mounted follows from the files.
"""
_OF_THIS_CALL = ("violations", "timings", "sandbox", "execution_id", "code_sha256", "cached")
_ADDRESS = rb" at 0x[0-9a-fA-F]{6}"


class ResultCache:
    """Finds and keeps results in a ``Cache``, for one policy and one redactor. Stateless, so safe between threads."""

    def __init__(self, cache: Cache, policy: Policy, redactor: Redactor | None) -> None:
        if not isinstance(cache, Cache):
            raise ConfigurationError(
                f"cache={cache!r} has no get(key) and set(key, value): give MemoryCache() or an object of your own."
            )
        self._cache = cache
        self._ours = _hash(
            {
                "hotcell": hotcell.__version__,
                "policy": policy.to_dict(),
                "redactor": redactor and [_name(type(redactor)), redactor.describe(_THIS_PROCESS)],
            }
        )

    def key(self, request: RunRequest, info: SandboxInfo, identity: Mapping[str, Any]) -> str:
        """SHA-256, in hex, of all that the result of this request in this sandbox depends on.

        Raises ConfigurationError for a file that cannot be read.
        """
        parts = {
            "ours": self._ours,
            "request": {
                field.name: getattr(request, field.name)
                for field in fields(request)
                if field.name not in _NOT_IN_KEY and field.name != "files"
            },
            "files": [
                (name, _digest_of(name, content), isinstance(content, ReadOnly))
                for name, content in request.files.items()
            ],
            "sandbox": [info.name, info.isolation.value, info.layers],
            "identity": identity,
        }
        return _hash(parts)

    def find(self, key: str) -> ExecutionResult | None:
        """The result under the key, without what belongs to a single call; None when there is none that is sound."""
        try:
            text = self._cache.get(key)
            return None if text is None else _unseal(key, text)
        except Exception as error:  # noqa: BLE001  # others' code, and others' data: neither may end an execution
            _log.warning("What the cache has under %s is not used: %s", key, _short(error))
            return None

    def has_changed(self, key: str, request: RunRequest, info: SandboxInfo, identity: Mapping[str, Any]) -> bool:
        """True when it is another request by now: a file may have changed after it was hashed, before it was read."""
        all_bytes = all(isinstance(content, bytes) for content in request.files.values())
        return not all_bytes and key != self.key(request, info, identity)

    def keep(self, key: str, result: ExecutionResult) -> None:
        """Store the result if its look allows it: that a second run would repeat it has been found before."""
        text = _seal(key, result)
        if text is None:
            return
        try:
            self._cache.set(key, text)
        except Exception as error:  # noqa: BLE001  # as above
            _log.warning("The cache did not take %s: %s", key, _short(error))


def _hash(parts: Mapping[str, Any]) -> str:
    """SHA-256 of the parts as JSON text, which is unambiguous.

    In their order, not sorted: the code sees the order of its variables and of the files that it lists.
    """
    return hashlib.sha256(json.dumps(parts, default=_plain, allow_nan=False).encode()).hexdigest()


def _name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _short(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:300]


def _plain(item: Any) -> Any:
    return item.to_dict()


def _digest_of(name: str, content: bytes | os.PathLike[str]) -> str:
    if isinstance(content, bytes):
        return hashlib.sha256(content).hexdigest()
    try:
        handle = os.open(content, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(handle, "rb") as file:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise ConfigurationError(f"files[{name!r}]: {os.fspath(content)} is not a regular file.")
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ConfigurationError(f"files[{name!r}]: {error.strerror}: {os.fspath(content)}") from error


def _is_storable(result: ExecutionResult) -> bool:
    return result.status in (Status.OK, Status.ERROR) and result.decided_by == "code" and result.usage.processes <= 1


def _seal(key: str, result: ExecutionResult) -> str | None:
    """The entry; None for a result that is not to be kept."""
    if not _is_storable(result):
        return None
    data = {name: value for name, value in result.to_dict().items() if name not in _OF_THIS_CALL}
    shown = json.dumps(data, ensure_ascii=False, allow_nan=False).encode("utf-8", "surrogatepass")
    # An address in memory is another one in the next fork server.
    if any(re.search(_ADDRESS, part) for part in (shown, *(item.content for item in result.artifacts))):
        return None
    for item, artifact in zip(data["artifacts"], result.artifacts, strict=True):
        item["content"] = base64.b64encode(artifact.content).decode()
    body = json.dumps(data, ensure_ascii=True, allow_nan=False)
    return _head(key, body) + body + "}"


def _head(key: str, body: str) -> str:
    digest = hashlib.sha256(f"{key}\n{body}".encode("utf-8", "surrogatepass")).hexdigest()
    return f'{{"entry": {_ENTRY}, "sha256": "{digest}", "result": '


_HEAD_LENGTH = len(_head("", ""))


def _unseal(key: str, text: str) -> ExecutionResult:
    """The result in an entry. Raises ValueError, TypeError or RecursionError for anything but what ``_seal`` made."""
    if not isinstance(text, str):
        raise TypeError(f"it is a {type(text).__name__}, not text")
    body = text[_HEAD_LENGTH:-1]
    if text[:_HEAD_LENGTH] != _head(key, body) or text[-1:] != "}":
        raise ValueError("its digest is not that of its content")
    result = ExecutionResult.from_dict(wire.decode_json(body.encode()))
    if not _is_storable(result):
        raise ValueError(f"a result of status {result.status.value!r} is never stored")
    for item in result.artifacts:
        if item.size != len(item.content) or item.sha256 != hashlib.sha256(item.content).hexdigest():
            raise ValueError(f"the artifact {item.name!r} is not what its digest says")
    return result
