"""The wire: any cut of a stream gives the same frames, and any other bytes a WireError and nothing else."""

from __future__ import annotations

import itertools
import json
import math
import sys
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hotcell.worker import wire

LIMITS = {wire.READY: 0, wire.FAULT: 64, wire.RESULT: 300}
FRAMES = st.lists(
    st.one_of(
        st.just((wire.READY, b"")),
        st.tuples(st.just(wire.FAULT), st.binary(max_size=64)),
        st.tuples(st.just(wire.RESULT), st.binary(max_size=300)),
    ),
    max_size=12,
)


def pieces(stream: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)]
    return [stream[start:end] for start, end in itertools.pairwise(edges)]


@given(frames=FRAMES, cuts=st.lists(st.integers(0, 10_000), max_size=20))
@settings(deadline=None)
def test_frames_survive_any_cut(frames: list[tuple[int, bytes]], cuts: list[int]) -> None:
    stream = b"".join(wire.encode(kind, payload) for kind, payload in frames)
    decoder = wire.Decoder(LIMITS)
    assert [frame for piece in pieces(stream, cuts) for frame in decoder.feed(piece)] == frames


@given(frames=FRAMES)
@settings(deadline=None)
def test_frames_survive_byte_by_byte(frames: list[tuple[int, bytes]]) -> None:
    stream = b"".join(wire.encode(kind, payload) for kind, payload in frames)
    decoder = wire.Decoder(LIMITS)
    assert [frame for byte in stream for frame in decoder.feed(bytes([byte]))] == frames


@given(chunks=st.lists(st.binary(max_size=40), max_size=20))
@settings(deadline=None, max_examples=300)
def test_random_bytes_give_allowed_frames_or_a_wire_error(chunks: list[bytes]) -> None:
    decoder = wire.Decoder(LIMITS)
    for chunk in chunks:
        try:
            frames = decoder.feed(chunk)
        except wire.WireError:
            return
        assert all(kind in LIMITS and len(payload) <= LIMITS[kind] for kind, payload in frames)


@given(kind=st.integers(0, 255), length=st.integers(0, 2**32 - 1))
@settings(deadline=None)
def test_a_header_alone_decides_whether_the_frame_is_allowed(kind: int, length: int) -> None:
    decoder = wire.Decoder(LIMITS)
    header = wire.HEADER.pack(kind, length)
    if kind in LIMITS and length <= LIMITS[kind]:
        assert decoder.feed(header) == ([(kind, b"")] if length == 0 else [])
    else:
        with pytest.raises(wire.WireError):
            decoder.feed(header)


@pytest.mark.threat(29)
@pytest.mark.parametrize("length", [2**31 - 1, 2**31, 2**32 - 1])
def test_a_gigantic_length_is_refused_before_anything_is_kept(length: int) -> None:
    decoder = wire.Decoder(LIMITS)
    with pytest.raises(wire.WireError, match=str(length)):
        decoder.feed(wire.HEADER.pack(wire.RESULT, length))


@pytest.mark.threat(29)
@pytest.mark.parametrize("kind", [0, wire.REQUEST, wire.DATA, wire.TOUCH, wire.RESULT, 127, 255])
def test_an_unknown_kind_is_refused(kind: int) -> None:
    with pytest.raises(wire.WireError, match="unknown kind"):
        wire.Decoder(wire.BEFORE_REQUEST).feed(wire.encode(kind))


def test_a_worker_cannot_send_what_only_we_send_and_the_other_way_round() -> None:
    assert not wire.BEFORE_REQUEST.keys() & wire.FROM_US.keys()


@pytest.mark.threat(29)
def test_two_frames_in_one_chunk_come_out_as_two() -> None:
    stream = wire.encode(wire.RESULT, b"one") + wire.encode(wire.RESULT, b"two")
    assert wire.Decoder(LIMITS).feed(stream) == [(wire.RESULT, b"one"), (wire.RESULT, b"two")]


def test_an_endless_header_is_no_frame_and_no_error() -> None:
    decoder = wire.Decoder(LIMITS)
    for byte in wire.HEADER.pack(wire.RESULT, 300)[:-1]:
        assert decoder.feed(bytes([byte])) == []
    assert decoder.feed(b"") == []


def test_a_frame_at_its_limit_is_taken_and_one_byte_more_is_not() -> None:
    assert wire.Decoder(LIMITS).feed(wire.encode(wire.RESULT, bytes(300))) == [(wire.RESULT, bytes(300))]
    with pytest.raises(wire.WireError):
        wire.Decoder(LIMITS).feed(wire.encode(wire.RESULT, bytes(301)))


@pytest.mark.threat(29)
def test_a_flood_of_frames_takes_no_more_memory_than_the_longest_one() -> None:
    longest = 1 << 16
    decoder = wire.Decoder({wire.READY: 0, wire.RESULT: longest})
    flood = wire.encode(wire.RESULT, bytes(longest)) + wire.encode(wire.READY) * 1000
    tracemalloc.start()
    try:
        for _ in range(20):
            for start in range(0, len(flood), 4096):
                decoder.feed(flood[start : start + 4096])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # The buffer grows by eighths and is copied out once; the rest is one chunk's frames.
    assert peak < 3 * longest + 200_000


# A value that the worker can never have sent: none of the trusted code must have to think of it again.
HOSTILE_JSON = {
    "empty": b"",
    "a list": b"[]",
    "text": b'"x"',
    "null": b"null",
    "a number": b"1",
    "NaN": b'{"value": NaN}',
    "Infinity": b'{"value": [Infinity]}',
    "-Infinity": b'{"value": {"a": -Infinity}}',
    "a number that becomes infinite": b'{"value": 1e400}',
    "minus one that becomes infinite": b'{"value": [-1e999]}',
    "an integer of 5,000 digits": b'{"value": ' + b"9" * 5000 + b"}",
    "invalid UTF-8": b'{"value": "\xff\xfe"}',
    "cut UTF-8": b'{"value": "\xe2\x82"}',
    "half an object": b'{"value": [1, 2',
    "two objects": b"{}{}",
    "control characters": b'{"value": "\x01"}',
    "65 deep": b'{"value": ' + b"[" * 64 + b"]" * 64 + b"}",
    "65 deep in objects": b'{"a":' * 65 + b"1" + b"}" * 65,
    "a million deep": b'{"value": ' + b"[" * 1_000_000 + b"]" * 1_000_000 + b"}",
    "a million objects deep": b'{"a":' * 1_000_000,
    "a million opened": b"[" * 1_000_000,
    "a NUL": b"\x00",
}


@pytest.mark.threat(59)
@pytest.mark.parametrize("payload", HOSTILE_JSON.values(), ids=HOSTILE_JSON.keys())
def test_what_is_not_plain_json_is_a_wire_error(payload: bytes) -> None:
    with pytest.raises(wire.WireError):
        wire.decode_json(payload)


@pytest.mark.parametrize("payload", [b'{"value": "\\ud800"}', b'{"\\udfff": 1}', b'{"value": "\xed\xa0\x80"}'])
@pytest.mark.threat(59)
def test_lone_surrogates_are_refused_or_made_harmless(payload: bytes) -> None:
    try:
        value = wire.decode_json(payload)
    except wire.WireError:
        return
    json.dumps(value, ensure_ascii=False).encode()  # what a database, a file or a terminal does with it


def test_64_deep_is_taken() -> None:
    assert wire.decode_json(b'{"value": ' + b"[" * 63 + b"]" * 63 + b"}")


def test_many_brackets_side_by_side_are_not_deep() -> None:
    wide = json.dumps({"value": [[]] * 10_000}).encode()
    assert len(wire.decode_json(wide)["value"]) == 10_000


def test_brackets_in_text_are_not_depth() -> None:
    assert wire.decode_json(json.dumps({"value": "[{" * 1000}).encode()) == {"value": "[{" * 1000}


@pytest.mark.threat(59)
def test_of_duplicate_keys_one_counts_and_everybody_sees_the_same_one() -> None:
    assert wire.decode_json(b'{"outcome": "error", "outcome": "ok"}') == {"outcome": "ok"}


JSON_DATA = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(data=st.dictionaries(st.text(), JSON_DATA, max_size=5))
@settings(deadline=None)
def test_every_json_object_comes_through_unchanged(data: dict[str, object]) -> None:
    assert wire.decode_json(json.dumps(data, ensure_ascii=False).encode()) == data


@given(
    payload=st.binary(max_size=200) | st.text(alphabet='{}[]":,0123456789eE+-.\\undNIf ', max_size=60).map(str.encode)
)
@settings(deadline=None, max_examples=500)
def test_any_bytes_are_a_plain_object_or_a_wire_error(payload: bytes) -> None:
    try:
        value = wire.decode_json(payload)
    except wire.WireError:
        return
    assert isinstance(value, dict)
    json.dumps(value, allow_nan=False)  # all of it can be written again


@given(number=st.integers(min_value=-400, max_value=400))
def test_numbers_are_finite(number: int) -> None:
    try:
        value = wire.decode_json(b'{"value": 9e%d}' % number)["value"]
    except wire.WireError:
        assert number > 307
    else:
        assert math.isfinite(value)


def test_a_deep_document_does_not_depend_on_how_deep_we_stand_ourselves() -> None:
    def from_below(depth: int) -> object:
        return from_below(depth - 1) if depth else wire.decode_json(b'{"value": ' + b"[" * 60 + b"]" * 60 + b"}")

    room = sys.getrecursionlimit() // 2
    assert from_below(room)
