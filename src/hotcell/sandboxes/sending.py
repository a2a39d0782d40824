"""Sending a request with its files to a worker that is ready for it."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import socket
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from hotcell.errors import ConfigurationError
from hotcell.readonly import ReadOnly
from hotcell.sandboxes.artifacts import Given
from hotcell.sandboxes.base import RunRequest
from hotcell.sandboxes.handles import receive
from hotcell.worker import wire

_READY_SECONDS = 30.0
_Readable = io.BytesIO | io.FileIO


class NotSent(ConfigurationError):
    """A file cannot be opened, so nothing was sent."""


class _Digest(Protocol):
    def update(self, data: bytes, /) -> None: ...


@dataclass(kw_only=True)
class Sent:
    """What is known after a request was sent."""

    arrived: bool = True
    """False when the worker was dead before it; it has seen nothing of it."""
    given: dict[str, Given] = field(default_factory=dict)
    """The files that were put in, when artifacts were asked for."""
    directory: int = -1
    """A descriptor of the work directory, when artifacts were asked for and it is not known yet."""


def send(channel: socket.socket, request: RunRequest, *, in_session: bool, wants_directory: bool) -> Sent:
    """Send it, and take the work directory's descriptor if it is wanted.

    Raises ConfigurationError for a file that cannot be read; NotSent, which is one, when that shows at once. A worker
    that dies in between is found out by listening.
    """
    sent = Sent()
    with contextlib.ExitStack() as stack:
        files = [_open_file(stack, name, content) for name, content in request.files.items()]
        sizes = [(name, size, 0o400 if isinstance(request.files[name], ReadOnly) else 0o600) for name, size, _ in files]
        body = _body(request, in_session, wants_directory, sizes)
        payload = json.dumps(body, ensure_ascii=False).encode("utf-8", "surrogatepass")
        channel.settimeout(_READY_SECONDS)
        try:
            channel.sendall(wire.encode(wire.REQUEST, payload))
        except (BrokenPipeError, ConnectionResetError):
            sent.arrived = False
        try:
            for name, size, file in files:
                digest = hashlib.sha256() if request.artifacts else None
                _send_file(channel, name, size, file, digest)
                if digest:
                    sent.given[name] = Given(size=size, sha256=digest.hexdigest())
            if wants_directory:
                sent.directory = _receive_directory(channel)
        except (BrokenPipeError, ConnectionResetError):
            pass  # it died already; listening tells how
    channel.setblocking(False)
    return sent


def _body(
    request: RunRequest, in_session: bool, wants_directory: bool, files: list[tuple[str, int, int]]
) -> dict[str, Any]:
    config = request.config
    body: dict[str, Any] = {
        "code": request.code,
        "filename": request.filename,
        "context": request.context,
        "namespace": _compact(request.namespace),
        "value_bytes": config.value_bytes,
        "display_bytes": config.display_bytes if config.display_count else 0,
        "figure_formats": config.figure_formats,
        "files": files,
        "artifacts": wants_directory,
    }
    # What most requests do not have is left out: each item costs a fresh fork some page faults.
    if request.tools:
        body["tools"] = request.tools.announce()
    if request.deterministic is not None:
        body["deterministic"] = request.deterministic.to_dict()
    if in_session:
        body |= {"session": True, "number": request.number}
    return body


def _compact(rules: Mapping[str, Any]) -> dict[str, Any]:
    """The rules with the names of modules as one text each, which both sides handle quicker than a hundred."""
    imports = {name: rules.get(name) for name in ("imports_allowed", "imports_denied")}
    return {**rules, **{name: " ".join(names) for name, names in imports.items() if names is not None}}


def _open_file(stack: contextlib.ExitStack, name: str, content: bytes | os.PathLike[str]) -> tuple[str, int, _Readable]:
    """Name, size in bytes and the open file. Raises NotSent for what is not a readable regular file."""
    if isinstance(content, bytes):
        return name, len(content), io.BytesIO(content)
    try:
        # O_NONBLOCK: opening a FIFO must not wait for somebody to write to it.
        handle = os.open(content, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise NotSent(f"files[{name!r}]: {error.strerror}: {os.fspath(content)}") from error
    stack.callback(os.close, handle)
    status = os.fstat(handle)
    if not stat.S_ISREG(status.st_mode):
        raise NotSent(f"files[{name!r}]: {os.fspath(content)} is not a regular file.")
    return name, status.st_size, io.FileIO(handle, closefd=False)


def _send_file(channel: socket.socket, name: str, size: int, file: _Readable, digest: _Digest | None) -> None:
    sent = 0
    while sent < size:
        try:
            data = file.read(min(wire.CHUNK, size - sent))
        except OSError as error:
            raise ConfigurationError(f"files[{name!r}]: {error.strerror}.") from error
        if not data:
            raise ConfigurationError(f"files[{name!r}]: it became shorter while it was read.")
        if digest:
            digest.update(data)
        channel.sendall(wire.encode(wire.DATA, data))
        sent += len(data)


def _receive_directory(channel: socket.socket) -> int:
    """The descriptor that comes before the code runs; -1 when it does not come."""
    try:
        _, handles = receive(channel, wire.HEADER.size, 1)
    except (TimeoutError, OSError):
        return -1
    return handles[0] if handles else -1
