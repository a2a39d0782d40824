"""The wire between the trusted side and a worker: length-prefixed frames, as a state machine without I/O.

A frame is one byte of kind, four bytes of length (little-endian) and that many bytes. Control frames hold JSON text.
Both sides use this module, each with its own table of the kinds it accepts and how long they may be; whatever breaks
the table is an error on the receiving side and nothing else.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from typing import Any

HEADER = struct.Struct("<BI")

READY = 1
"""worker -> us: every layer is on."""
FAULT = 2
"""worker -> us, instead of READY: text that says which layer could not be put on."""
REQUEST = 3
"""us -> worker: JSON; see ``runner.run``, plus ``files``: a list of [name, size]."""
DATA = 4
"""us -> worker: the bytes of those files, one after the other, cut anywhere."""
DIRECTORY = 5
"""worker -> us: the work directory's descriptor comes with this frame; sent before the code runs."""
RESULT = 6
"""worker -> us: JSON, what ``runner`` says became of it. The last frame, but in a session, where requests go on."""
TOUCH = 7
"""us -> worker, while nobody waits: spend a moment on making the first request quicker, and say READY again."""
DISPLAY = 8
"""worker -> us: JSON, a MIME bundle that the code shows."""
CALL = 9
"""worker -> us: JSON, a call of a host tool; see ``tools``."""
RETURN = 10
"""us -> worker: JSON, the answer to it."""
FORK = 11
"""us -> worker, between requests, with descriptors: split in two; the copy says HERE and READY on a wire of its own."""
HERE = 12
"""copy -> us: it is born, in the place that was made for it; READY follows when it has files and memory of its own."""

CHUNK = 1 << 20
CALL_BYTES = 1 << 21
"""The most that one call of a tool, or its answer, may take."""
DISPLAY_BYTES = 1 << 25
"""The most that one display may take; what all of them may is a limit of the execution."""
MAX_DEPTH = 64

FROM_US = {REQUEST: 1 << 28, DATA: CHUNK, TOUCH: 0, RETURN: CALL_BYTES, FORK: 4096}


BEFORE_REQUEST = {READY: 0, FAULT: 4096}
"""What a worker may send while it is prepared."""


class WireError(ValueError):
    """The bytes are not what the protocol allows."""


_len = len  # the code of a cell may replace the builtin


def encode(kind: int, payload: bytes = b"") -> bytes:
    """One frame."""
    return HEADER.pack(kind, _len(payload)) + payload


class Decoder:
    """Cuts a stream of bytes into frames. Memory is bounded by the longest frame that ``limits`` allows."""

    def __init__(self, limits: Mapping[int, int]) -> None:
        self._limits = limits
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """The frames that are complete now. Raises WireError for a kind or a length that is not allowed.

        What came whole before the error is given first, however the stream was cut; the next call then raises.
        """
        buffer = self._buffer
        buffer += data
        frames: list[tuple[int, bytes]] = []
        start = 0
        while len(buffer) - start >= HEADER.size:
            kind, length = HEADER.unpack_from(buffer, start)
            limit = self._limits.get(kind)
            if frames and (limit is None or length > limit):
                break
            if limit is None:
                raise WireError(f"a frame of unknown kind {kind}")
            if length > limit:
                raise WireError(f"a frame of kind {kind} with {length} bytes; {limit} are allowed")
            end = start + HEADER.size + length
            if len(buffer) < end:
                break
            frames.append((kind, bytes(buffer[start + HEADER.size : end])))
            start = end
        del buffer[:start]
        return frames


def decode_json(payload: bytes) -> dict[str, Any]:
    """The object in a control frame. Raises WireError for anything but one JSON object of bounded depth."""
    try:
        value = json.loads(payload.decode(), parse_constant=_refuse_constant, parse_float=_finite)
        if b"\\ud" in payload.lower():
            # Half a surrogate pair is text that nothing can write down; "?" stands for it.
            value = json.loads(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"))
    except (ValueError, RecursionError) as error:
        raise WireError(f"not JSON: {error}") from None
    if not isinstance(value, dict):
        raise WireError("not a JSON object")
    # It cannot be deeper than it has brackets, so the walk is only for what is suspicious.
    if payload.count(b"[") + payload.count(b"{") > MAX_DEPTH and _is_deeper_than(value, MAX_DEPTH):
        raise WireError(f"JSON nested more than {MAX_DEPTH} deep")
    return value


def _is_deeper_than(value: Any, limit: int) -> bool:
    level = [value]
    for _ in range(limit):
        level = [
            item
            for container in level
            for item in (container.values() if isinstance(container, dict) else container)
            if isinstance(item, (dict, list))
        ]
        if not level:
            return False
    return True


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("a number too large")
    return number


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")
