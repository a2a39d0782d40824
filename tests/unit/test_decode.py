"""Reading results back: only what was written, from whoever's hands, and never anything but the types that we know."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hotcell.decode import decode
from hotcell.results import (
    Artifact,
    Display,
    ErrorInfo,
    ExecutionResult,
    IsolationLevel,
    SandboxInfo,
    Severity,
    Status,
    Usage,
    Violation,
)

RESULT = ExecutionResult(
    status=Status.ERROR,
    reason="The code raised ValueError.",
    decided_by="code",
    stdout="a\nb",
    value={"a": [1, 2.5, None, True]},
    displays=(Display(data={"text/plain": "x"}, active=("text/html",)),),
    error=ErrorInfo(type="ValueError", message="no", line=3),
    violations=(Violation(rule="r", severity=Severity.WARNING, line=1, column=2, message="m"),),
    artifacts=(Artifact(name="a.txt", size=1, sha256="00"),),
    notes=("one",),
    usage=Usage(wall_seconds=0.25, processes=1),
    sandbox=SandboxInfo(name="local", isolation=IsolationLevel.NAMESPACE, layers=("seccomp",)),
    execution_id="e",
)
DATA = RESULT.to_dict()


def changed(path: str, value: Any) -> dict[str, Any]:
    data: Any = copy.deepcopy(DATA)
    *parents, last = path.split(".")
    place = data
    for part in parents:
        place = place[int(part) if part.isdigit() else part]
    place[int(last) if last.isdigit() else last] = value
    return data


def test_a_result_comes_back() -> None:
    assert ExecutionResult.from_dict(DATA) == RESULT


def test_data_of_an_older_version_gets_defaults_and_of_a_newer_one_loses_what_we_do_not_know() -> None:
    older = {key: DATA[key] for key in ("schema", "status", "reason", "decided_by")}
    assert ExecutionResult.from_dict(older) == ExecutionResult(
        status=Status.ERROR, reason=RESULT.reason, decided_by="code"
    )
    assert ExecutionResult.from_dict({**changed("usage.energy_joules", 3), "mood": "fine"}) == RESULT


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("status", "fine"),
        ("status", 1),
        ("status", None),
        ("reason", None),
        ("stdout", b"a"),
        ("stdout", ["a"]),
        ("value_repr", 3),
        ("cached", 1),
        ("cached", "true"),
        ("displays", {}),
        ("displays", "abc"),
        ("displays", [1]),
        ("displays.0.data", "x"),
        ("displays.0.active", {}),
        ("error", []),
        ("error", {"type": "T"}),
        ("error.line", True),
        ("error.line", 1.0),
        ("error.line", "1"),
        ("violations.0.severity", "deadly"),
        ("violations.0", None),
        ("artifacts.0.size", "1"),
        ("artifacts.0.content", "not Base64!"),
        ("artifacts.0.content", "ü"),
        ("artifacts.0.content", 7),
        ("notes", "one"),
        ("notes.0", 1),
        ("usage", None),
        ("usage.wall_seconds", float("nan")),
        ("usage.wall_seconds", float("inf")),
        ("usage.wall_seconds", True),
        ("usage.wall_seconds", "0"),
        ("usage.processes", 1.5),
        ("sandbox.isolation", "moon"),
        ("sandbox.layers", {"seccomp": 1}),
        ("schema", 2),
        ("schema", None),
    ],
)
def test_what_does_not_fit_its_field_is_refused_with_a_word_on_where(path: str, value: Any) -> None:
    with pytest.raises(ValueError, match="(?s)" + ".*".join(part for part in path.split(".") if not part.isdigit())):
        ExecutionResult.from_dict(changed(path, value))


@pytest.mark.parametrize("data", [None, [], "ok", 1, {}, {"schema": 1}])
def test_what_is_no_result_at_all_is_refused(data: Any) -> None:
    with pytest.raises(ValueError, match=r"schema|has no"):
        ExecutionResult.from_dict(data)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(name=st.sampled_from(sorted(DATA)), value=JSON)
@settings(deadline=None)
def test_any_json_in_any_field_is_read_or_refused(name: str, value: Any) -> None:
    try:
        read = ExecutionResult.from_dict({**DATA, name: value})
    except ValueError:
        return
    if name != "value":  # JSON data that the caller takes as it is
        assert json.loads(read.to_json())[name] is not None or value is None or name == "error"


def test_bytes_are_read_from_base64() -> None:
    assert decode(Artifact, {"name": "a", "size": 2, "sha256": "", "content": "AAE="}).content == b"\0\1"
