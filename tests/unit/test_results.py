"""The shape of a result is a promise: the same keys, plain JSON, whatever the code said."""

from __future__ import annotations

import dataclasses
import json
import operator
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hotcell.results import (
    SCHEMA_VERSION,
    Artifact,
    CheckReport,
    Display,
    ErrorInfo,
    ExecutionResult,
    IsolationLevel,
    Redaction,
    SandboxInfo,
    Severity,
    Status,
    Timings,
    ToolCall,
    Usage,
    Violation,
)

# Stored in databases and read by other programs: a change here needs a new SCHEMA_VERSION.
KEYS = {
    "": "schema success status reason decided_by stdout stderr value value_repr displays error violations redactions "
    "tool_calls artifacts notes usage timings sandbox language execution_id code_sha256 cached",
    "displays": "data active",
    "tool_calls": "number name arguments outcome value error seconds",
    "error": "type message traceback line cell source_line",
    "violations": "rule severity line column message fix source_line",
    "redactions": "kind where count",
    "artifacts": "name size sha256 media_type",
    "usage": "wall_seconds cpu_seconds peak_memory_bytes processes output_bytes",
    "timings": "admit_seconds syntax_seconds policy_seconds cache_seconds acquire_seconds run_seconds output_seconds "
    "total_seconds",
    "sandbox": "name isolation layers",
}

TEXT = st.text(max_size=20)
JSON_DATA = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
NUMBERS = st.integers(0, 1 << 40)
SECONDS = st.floats(0, 1e6)
VIOLATIONS = st.builds(
    Violation,
    rule=TEXT,
    severity=st.sampled_from(Severity),
    line=NUMBERS,
    column=NUMBERS,
    message=TEXT,
    fix=TEXT,
    source_line=TEXT,
)


def several(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(strategy, max_size=3).map(tuple)


RESULTS = st.builds(
    ExecutionResult,
    status=st.sampled_from(Status),
    reason=TEXT,
    decided_by=TEXT,
    stdout=TEXT,
    stderr=TEXT,
    value=JSON_DATA,
    value_repr=st.none() | TEXT,
    displays=several(st.builds(Display, data=st.dictionaries(TEXT, JSON_DATA, max_size=2), active=several(TEXT))),
    error=st.none()
    | st.builds(ErrorInfo, type=TEXT, message=TEXT, traceback=TEXT, line=NUMBERS, cell=NUMBERS, source_line=TEXT),
    violations=several(VIOLATIONS),
    redactions=several(st.builds(Redaction, kind=TEXT, where=TEXT, count=NUMBERS)),
    tool_calls=several(
        st.builds(
            ToolCall,
            number=NUMBERS,
            name=TEXT,
            arguments=st.dictionaries(TEXT, JSON_DATA, max_size=2),
            outcome=TEXT,
            value=JSON_DATA,
            error=TEXT,
            seconds=SECONDS,
        )
    ),
    artifacts=several(
        st.builds(Artifact, name=TEXT, size=NUMBERS, sha256=TEXT, media_type=TEXT, content=st.binary(max_size=9))
    ),
    notes=several(TEXT),
    usage=st.builds(Usage, wall_seconds=SECONDS, cpu_seconds=SECONDS, processes=NUMBERS, output_bytes=NUMBERS),
    timings=st.builds(Timings, run_seconds=SECONDS, total_seconds=SECONDS),
    sandbox=st.none()
    | st.builds(SandboxInfo, name=TEXT, isolation=st.sampled_from(IsolationLevel), layers=several(TEXT)),
    execution_id=TEXT,
    code_sha256=TEXT,
    cached=st.booleans(),
)


def is_plain(data: object) -> bool:
    if type(data) is dict:
        return all(type(key) is str and is_plain(item) for key, item in data.items())
    if type(data) is list:
        return all(map(is_plain, data))
    return data is None or type(data) in (bool, int, float, str)


@given(result=RESULTS)
@settings(deadline=None)
def test_every_result_is_plain_json_and_comes_back_as_it_was(result: ExecutionResult) -> None:
    data = result.to_dict()
    assert is_plain(data)
    assert json.loads(result.to_json()) == data
    assert json.loads(result.to_json(indent=2)) == data


@given(result=RESULTS)
@settings(deadline=None)
def test_every_result_is_read_back_from_its_json_but_for_the_bytes_of_its_artifacts(result: ExecutionResult) -> None:
    without_bytes = tuple(dataclasses.replace(item, content=b"") for item in result.artifacts)
    read = ExecutionResult.from_dict(json.loads(result.to_json()))
    assert read == dataclasses.replace(result, artifacts=without_bytes)
    assert type(read.status) is Status
    assert read.to_json() == result.to_json()


@given(result=RESULTS)
@settings(deadline=None)
def test_the_keys_are_always_the_same_ones_in_the_same_order(result: ExecutionResult) -> None:
    data = result.to_dict()
    assert " ".join(data) == KEYS[""]
    for name, keys in KEYS.items():
        items = data[name] if name and data[name] is not None else []
        for item in items if isinstance(items, list) else [items]:
            assert " ".join(item) == keys


def test_the_schema_has_a_number() -> None:
    assert ExecutionResult(status=Status.OK, reason="", decided_by="").to_dict()["schema"] == SCHEMA_VERSION == 1


@given(result=RESULTS)
@settings(deadline=None)
def test_only_ok_is_a_success(result: ExecutionResult) -> None:
    assert result.success is (result.status is Status.OK) is result.to_dict()["success"]


@given(result=RESULTS)
@settings(deadline=None)
def test_a_result_can_be_sent_through_a_queue(result: ExecutionResult) -> None:
    assert pickle.loads(pickle.dumps(result)) == result


def test_an_artifacts_bytes_are_in_neither_the_json_nor_the_repr() -> None:
    item = Artifact(name="a", size=6, sha256="d", content=b"BYTES!")
    result = ExecutionResult(status=Status.OK, reason="", decided_by="code", artifacts=(item,))
    assert "BYTES!" not in result.to_json()
    assert "BYTES!" not in repr(result)


def test_a_result_is_frozen() -> None:
    result = ExecutionResult(status=Status.ERROR, reason="", decided_by="code")
    with pytest.raises(dataclasses.FrozenInstanceError):
        result.status = Status.OK


def test_changing_the_dict_does_not_change_the_result() -> None:
    shown = Display(data={"text/plain": "x"})
    result = ExecutionResult(status=Status.OK, reason="", decided_by="code", notes=("a",), displays=(shown,))
    data = result.to_dict()
    data["notes"].append("b")
    data["usage"]["wall_seconds"] = 99
    data["displays"][0]["data"]["text/plain"] = "y"
    assert shown.data == {"text/plain": "x"}
    assert result.to_dict()["notes"] == ["a"]
    assert result.usage.wall_seconds == 0
    assert result.displays[0].data["text/plain"] == "x"


def test_statuses_are_closed() -> None:
    assert {status.value for status in Status} == {
        "ok",
        "error",
        "rejected",
        "timeout",
        "memory_limit",
        "output_limit",
        "killed",
        "cancelled",
        "failed",
    }


# Levels.

LEVELS = ["none", "process", "namespace", "container", "gvisor", "microvm", "remote"]


def test_levels_are_ordered_by_thickness_and_not_by_the_alphabet() -> None:
    assert sorted(IsolationLevel, reverse=True) == [IsolationLevel(name) for name in reversed(LEVELS)]
    for place, name in enumerate(LEVELS):
        for other_place, other in enumerate(LEVELS):
            first, second = IsolationLevel(name), IsolationLevel(other)
            assert (first < second, first <= second) == (place < other_place, place <= other_place)
            assert (first > second, first >= second) == (place > other_place, place >= other_place)
            assert (first == second) == (place == other_place)


@pytest.mark.parametrize("word", [*LEVELS, "", "zzz"])
@pytest.mark.parametrize("compare", [operator.lt, operator.le, operator.gt, operator.ge])
def test_a_level_is_never_compared_with_a_word_by_the_alphabet(compare: Callable[..., bool], word: str) -> None:
    """'container' comes before 'none' in the alphabet: such an answer would let a thin wall pass for a thick one."""
    for level in IsolationLevel:
        for first, second in ((level, word), (word, level)):
            try:
                answer = compare(first, second)
            except (TypeError, ValueError):
                continue
            assert answer == compare(IsolationLevel(first), IsolationLevel(second)), (first, second)


def test_a_level_is_the_word_that_the_command_line_uses() -> None:
    assert IsolationLevel.NAMESPACE == "namespace"
    assert f"{IsolationLevel.GVISOR}" == "gvisor"
    assert len({*IsolationLevel, *LEVELS}) == len(LEVELS)


# Checks.


@given(violations=several(VIOLATIONS))
@settings(deadline=None)
def test_code_is_accepted_unless_a_finding_is_an_error(violations: tuple[Violation, ...]) -> None:
    report = CheckReport(violations=violations, code_sha256="x", policy="standard")
    assert report.accepted == all(item.severity is Severity.WARNING for item in violations)
    data = report.to_dict()
    assert is_plain(data)
    assert " ".join(data) == "schema accepted policy code_sha256 violations timings"
    assert data["accepted"] is report.accepted


@pytest.mark.parametrize("name", ["a\0b", "x" * 300])
def test_an_artifact_whose_name_no_file_can_have_is_an_error_and_leaves_nothing(name: str, tmp_path: Any) -> None:
    with pytest.raises((ValueError, OSError)):
        Artifact(name=name, size=1, sha256="", content=b"x").save(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_saving_over_a_directory_is_an_error_and_keeps_it(tmp_path: Any) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b").touch()
    with pytest.raises(OSError, match="a"):
        Artifact(name="a", size=1, sha256="", content=b"x").save(tmp_path)
    assert (tmp_path / "a" / "b").exists()
