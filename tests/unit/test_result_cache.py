"""The cache step: a key for each different request, and never a result that the code itself would not have given."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hotcell.cache import MemoryCache
from hotcell.config import SandboxConfig
from hotcell.determinism import Deterministic
from hotcell.errors import ConfigurationError
from hotcell.executor import Executor
from hotcell.policy import Policy
from hotcell.readonly import ReadOnly
from hotcell.result_cache import _NOT_IN_KEY, ResultCache
from hotcell.results import Artifact, ErrorInfo, ExecutionResult, IsolationLevel, SandboxInfo, Status, Usage
from hotcell.sandboxes.base import Cancellation, RunOutcome, RunRequest, Sandbox
from hotcell.validators.output import Redactor

INFO = SandboxInfo(name="local", isolation=IsolationLevel.NAMESPACE, layers=("seccomp",))
IDENTITY = {"python": "3.11", "hash_seed": 0}
REQUEST = RunRequest(code="1", config=SandboxConfig(), deterministic=Deterministic())


def key(
    *,
    policy: Policy | None = None,
    redactor: Redactor | None = None,
    info: SandboxInfo = INFO,
    identity: dict[str, Any] | None = None,
    **request: Any,
) -> str:
    step = ResultCache(MemoryCache(), policy or Policy.standard(), redactor)
    return step.key(dataclasses.replace(REQUEST, **request), info, IDENTITY if identity is None else identity)


class TestTheKey:
    DIFFERENT: ClassVar[dict[str, dict[str, Any]]] = {
        "nothing": {},
        "code": {"code": "2"},
        "space": {"code": "1 "},
        "config": {"config": SandboxConfig(timeout_seconds=9)},
        "namespace": {"namespace": {"builtins_denied": ["eval"]}},
        "variable": {"context": {"x": 1}},
        "variable's name": {"context": {"y": 1}},
        "kind of number": {"context": {"x": 1.0}},
        "truth": {"context": {"x": True}},
        "text of a number": {"context": {"x": "1"}},
        "no variable": {"context": {"x": None}},
        "order of variables": {"context": {"a": 1, "b": 2}},
        "other order of variables": {"context": {"b": 2, "a": 1}},
        "nested order": {"context": {"x": {"a": 1, "b": 2}}},
        "other nested order": {"context": {"x": {"b": 2, "a": 1}}},
        "file": {"files": {"a": b"1"}},
        "file's name": {"files": {"b": b"1"}},
        "file's content": {"files": {"a": b"2"}},
        "empty file": {"files": {"a": b""}},
        "two files": {"files": {"a": b"1", "b": b""}},
        "artifacts": {"artifacts": ("*.png",)},
        "two globs": {"artifacts": ("*.png", "*")},
        "one glob of both": {"artifacts": ("*.png,*",)},
        "filename": {"filename": "<other>"},
        "number": {"number": 1},
        "seed": {"deterministic": Deterministic(seed=1)},
        "clock": {"deterministic": Deterministic(clock=0)},
        "policy": {"policy": Policy.permissive()},
        "policy's name": {"policy": dataclasses.replace(Policy.standard(), name="mine")},
        "rule": {"policy": Policy.standard().without("resource.regex")},
        "redactor": {"redactor": Redactor()},
        "kinds": {"redactor": Redactor(kinds=frozenset({"jwt"}))},
        "known secret": {"redactor": Redactor(known_secrets=["hunter2hunter2"])},
        "other known secret": {"redactor": Redactor(known_secrets=["hunter3hunter3"])},
        "name of a known secret": {"redactor": Redactor(known_secrets={"A": "hunter2hunter2"})},
        "sandbox": {"info": dataclasses.replace(INFO, name="other")},
        "isolation": {"info": dataclasses.replace(INFO, isolation=IsolationLevel.PROCESS)},
        "layers": {"info": dataclasses.replace(INFO, layers=())},
        "python": {"identity": {**IDENTITY, "python": "3.12"}},
        "hash seed": {"identity": {**IDENTITY, "hash_seed": 1}},
    }

    def test_whatever_differs_makes_a_different_key(self):
        keys = {what: key(**changes) for what, changes in self.DIFFERENT.items()}
        assert len(set(keys.values())) == len(keys)
        assert all(len(text) == 64 and set(text) <= set("0123456789abcdef") for text in keys.values())
        assert {what: key(**changes) for what, changes in self.DIFFERENT.items()} == keys

    def test_another_class_of_redactor_is_another_redactor(self):
        class Mine(Redactor):
            pass

        assert key(redactor=Mine()) != key(redactor=Redactor())

    def test_every_field_of_a_request_is_in_the_key_or_named_as_none_of_its_business(self):
        """A field that a later version adds must not be forgotten: this test then asks what it is."""
        tried = set().union(*self.DIFFERENT.values())
        assert {field.name for field in dataclasses.fields(RunRequest)} - tried == _NOT_IN_KEY
        ours = {"cancellation": Cancellation(), "observer": object(), "mounted": frozenset({"a"})}
        assert key(**ours) == key()

    def test_a_file_is_known_by_what_is_in_it_wherever_it_comes_from(self, tmp_path: Path):
        path = tmp_path / "x"
        path.write_bytes(b"1")
        assert key(files={"a": path}) == key(files={"a": b"1"})
        path.write_bytes(b"2")
        assert key(files={"a": path}) == key(files={"a": b"2"})

    def test_a_file_that_cannot_be_written_to_is_another_file(self, tmp_path: Path):
        path = tmp_path / "x"
        path.write_bytes(b"1")
        assert key(files={"a": ReadOnly(path)}) != key(files={"a": path})

    @pytest.mark.parametrize("what", ["missing", "folder"])
    def test_a_file_that_cannot_be_read_is_an_error_that_names_it(self, tmp_path: Path, what: str):
        (tmp_path / "folder").mkdir()
        with pytest.raises(ConfigurationError, match="files\\['a'\\]"):
            key(files={"a": tmp_path / what})

    def test_known_secrets_cannot_be_guessed_from_a_key_that_was_seen(self):
        """The hash is keyed with random bytes of this process: a list of guesses is of no use to who sees a key."""
        told = Redactor(known_secrets=["hunter2hunter2"]).describe(b"one")
        assert "hunter2" not in str(told)
        assert told != Redactor(known_secrets=["hunter2hunter2"]).describe(b"another")
        assert Redactor().describe(b"one") == Redactor().describe(b"another")  # nothing to hide, and shared by all

    def test_another_process_makes_the_same_key_unless_secrets_are_known(self):
        program = f"""
import sys; sys.path[:0] = {sys.path!r}
from hotcell.cache import MemoryCache
from hotcell.config import SandboxConfig
from hotcell.determinism import Deterministic
from hotcell.policy import Policy
from hotcell.result_cache import ResultCache
from hotcell.results import IsolationLevel, SandboxInfo
from hotcell.sandboxes.base import RunRequest
from hotcell.validators.output import Redactor
request = RunRequest(code="1", config=SandboxConfig(), deterministic=Deterministic())
info = SandboxInfo(name="local", isolation=IsolationLevel.NAMESPACE, layers=("seccomp",))
for redactor in (Redactor(), Redactor(known_secrets=["hunter2hunter2"])):
    print(ResultCache(MemoryCache(), Policy.standard(), redactor).key(request, info, {IDENTITY!r}))
"""
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        plain, with_secrets = done.stdout.split()
        assert plain == key(redactor=Redactor())
        assert with_secrets != key(redactor=Redactor(known_secrets=["hunter2hunter2"]))


TEXT = st.text(max_size=4) | st.text(alphabet='"\\,:{}[]a\0\n', max_size=4)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT
DATA = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3))
PARTS = st.fixed_dictionaries(
    {
        "code": TEXT,
        "context": st.dictionaries(st.from_regex(r"[a-c]{1,2}", fullmatch=True), DATA, max_size=3),
        "files": st.dictionaries(TEXT, st.binary(max_size=4), max_size=3),
        "artifacts": st.lists(TEXT, max_size=3).map(tuple),
        "filename": TEXT,
    }
)


def seen_by_the_code(parts: dict[str, Any]) -> str:
    """Equal for two requests between which no code can tell: by the order and the types of things too."""
    return repr(sorted(parts.items()))


@given(one=PARTS, other=PARTS, moved=st.integers(0, 4))
@settings(deadline=None)
def test_different_requests_have_different_keys(one: dict[str, Any], other: dict[str, Any], moved: int) -> None:
    assert (key(**one) == key(**other)) == (seen_by_the_code(one) == seen_by_the_code(other))
    # A byte that moves from the end of one part to the beginning of the next.
    text = one["code"] + one["filename"]
    shifted = {**one, "code": text[:moved], "filename": text[moved:]}
    assert (key(**one) == key(**shifted)) == (one["code"] == text[:moved])


@given(name=TEXT, content=st.binary(max_size=6), cut=st.integers(0, 6))
@settings(deadline=None)
def test_bytes_cannot_move_between_two_files_or_a_file_and_its_name(name: str, content: bytes, cut: int) -> None:
    whole = key(files={"a": content, "b": b""})
    assert (whole == key(files={"a": content[:cut], "b": content[cut:]})) == (cut >= len(content))
    assert key(files={name + "x": content}) != key(files={name: b"x" + content})


# What is kept, and what is read back.

RESULT = ExecutionResult(
    status=Status.OK,
    reason="The code ran to its end.",
    decided_by="code",
    stdout="Grüße 🙂\n",
    value={"b": [1, 2.5, None], "a": "\x00"},
    value_repr="...",
    artifacts=(
        Artifact(name="a.bin", size=3, sha256=hashlib.sha256(b"\0\xff\n").hexdigest(), content=b"\0\xff\n"),
        Artifact(name="empty", size=0, sha256=hashlib.sha256(b"").hexdigest(), media_type="text/plain"),
    ),
    notes=("note",),
    usage=Usage(wall_seconds=0.5, processes=1),
    execution_id="1",
    code_sha256="2",
)


def entry_of(result: ExecutionResult, name: str = "k") -> str | None:
    cache = MemoryCache()
    ResultCache(cache, Policy.standard(), None).keep(name, result)
    return cache.get(name)


def found(entry: Any, name: str = "k") -> ExecutionResult | None:
    class Given:
        def get(self, key: str) -> Any:
            return entry

        def set(self, key: str, value: str) -> None: ...

    return ResultCache(Given(), Policy.standard(), None).find(name)


def test_a_result_comes_back_with_all_that_is_not_of_a_single_call() -> None:
    assert found(entry_of(RESULT)) == dataclasses.replace(RESULT, execution_id="", code_sha256="")


def test_an_entry_is_json_in_plain_characters() -> None:
    entry = entry_of(RESULT)
    assert entry is not None
    assert entry.isascii()
    assert base64.b64decode(json.loads(entry)["result"]["artifacts"][0]["content"]) == b"\0\xff\n"


def test_an_error_is_as_good_as_a_success() -> None:
    error = ErrorInfo(type="ValueError", message="no", traceback="...", line=2)
    result = dataclasses.replace(RESULT, status=Status.ERROR, value=None, error=error)
    read = found(entry_of(result))
    assert read is not None
    assert read.error == error


@pytest.mark.parametrize("status", [status for status in Status if status not in (Status.OK, Status.ERROR)])
def test_an_end_that_a_second_run_may_not_come_to_is_not_kept(status: Status) -> None:
    assert entry_of(dataclasses.replace(RESULT, status=status)) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"decided_by": "limits"},
        {"usage": Usage(processes=2)},
        {"stdout": "<object at 0x7f0d84e500b0>"},
        {"value_repr": "[<Line2D object at 0x7f0d84e500b0>]"},
        {"value": {"a": ["<f at 0x7F0D84E500B0>"]}},
        {"error": ErrorInfo(type="E", message="<x at 0x7f0d84e500b0>")},
        {"artifacts": (Artifact(name="a", size=1, sha256="", content=b"<x at 0x7f0d84e500b0>"),)},
    ],
)
def test_what_another_process_would_not_say_is_not_kept(changes: dict[str, Any]) -> None:
    assert entry_of(dataclasses.replace(RESULT, **changes)) is None


class TestABadEntry:
    """A corrupted, foreign or hostile entry is a miss that is logged: no exception, no wrong result."""

    @pytest.fixture(autouse=True)
    def told(self, caplog: pytest.LogCaptureFixture):
        caplog.set_level(logging.WARNING, "hotcell")
        yield
        (record,) = caplog.get_records("call")
        assert record.levelname == "WARNING"
        assert len(record.getMessage()) < 500

    @pytest.mark.parametrize(
        "entry",
        [
            *("", "{}", "null", "[]", "x" * 200, "{" * 5000, '{"entry": 1}', "9" * 5000, "\ud800" * 200),
            *(b"{}", 7, {"entry": 1}, ["a"], object()),
        ],
        ids=lambda entry: repr(entry)[:20],
    )
    def test_of_another_making(self, entry: Any):
        assert found(entry) is None

    def test_moved_to_another_key(self):
        assert found(entry_of(RESULT, "one"), "other") is None

    @pytest.mark.parametrize("place", [0, 10, 20, 90, 110, 200, -2, -1])
    def test_with_one_character_changed(self, place: int):
        entry = entry_of(RESULT)
        assert entry is not None
        position = place % len(entry)
        other = "0" if entry[position] != "0" else "1"
        assert found(entry[:position] + other + entry[position + 1 :]) is None

    @pytest.mark.parametrize("length", [0, 1, 80, 110, 300, -1])
    def test_cut_short(self, length: int):
        entry = entry_of(RESULT)
        assert entry is not None
        assert found(entry[:length]) is None

    def test_made_longer(self):
        entry = entry_of(RESULT)
        assert entry is not None
        assert found(entry + "}") is None

    def test_written_anew_with_other_spaces(self):
        assert found(json.dumps(json.loads(entry_of(RESULT) or ""), indent=1)) is None


FORGED = {
    "a status that is never kept": {"status": "failed"},
    "a status that does not exist": {"status": "splendid"},
    "nothing": None,
    "another schema": {"schema": 2},
    "endless nesting": {"value": "[" * 10_000},
    "an artifact with other bytes": {"artifacts": [{"name": "a", "size": 1, "sha256": "0" * 64, "content": "AA=="}]},
    "an artifact without bytes": {"artifacts": [{"name": "a", "size": 1, "sha256": "0" * 64}]},
    "a number that JSON does not have": {"usage": {"wall_seconds": float("inf")}},
    "text where a list belongs": {"notes": "abc"},
}


@pytest.mark.parametrize("forgery", FORGED.values(), ids=FORGED)
def test_an_entry_whose_digest_is_right_is_believed_no_more_than_its_shape(forgery: Any) -> None:
    data = json.loads(entry_of(RESULT) or "")["result"]
    body = json.dumps(None if forgery is None else {**data, **forgery})
    if forgery == FORGED["endless nesting"]:
        body = body.replace('"' + "[" * 10_000 + '"', "[" * 10_000 + "]" * 10_000)
    digest = hashlib.sha256(f"k\n{body}".encode()).hexdigest()
    assert found(f'{{"entry": 1, "sha256": "{digest}", "result": {body}}}') is None


# In the executor.


class Scripted(Sandbox):
    """Answers what it is told to, and says that it can be deterministic."""

    name: ClassVar[str] = "scripted"
    supports_determinism = supports_tools = supports_files = True
    info = INFO
    identity = IDENTITY

    def __init__(self, **outcome: Any) -> None:
        self.outcome = outcome
        self.requests: list[RunRequest] = []

    def run(self, request: RunRequest) -> RunOutcome:
        self.requests.append(request)
        plain = {"status": Status.OK, "reason": "done", "decided_by": "code", "reproducible": True}
        return RunOutcome(**{**plain, "stdout": f"{len(self.requests)}\n", **self.outcome})

    def close(self) -> None: ...


class Plain(Scripted):
    name: ClassVar[str] = "plain"
    supports_determinism = False


def ask(question: str) -> str:
    return question


class TestTheStep:
    def test_the_second_time_nothing_runs_and_the_result_says_so(self):
        sandbox = Scripted()
        recorded: list[ExecutionResult] = []
        executor = Executor(sandbox, cache=MemoryCache(), record=recorded.append)
        first, second = executor.execute("1"), executor.execute("1")
        assert (len(sandbox.requests), first.cached, second.cached) == (1, False, True)
        of_the_call = {"cached": True, "execution_id": second.execution_id, "timings": second.timings}
        assert second == dataclasses.replace(first, **of_the_call)
        assert second.execution_id != first.execution_id
        assert second.timings.run_seconds == 0 < second.timings.cache_seconds
        assert recorded == [first, second]

    def test_findings_are_those_of_this_call(self):
        executor = Executor(
            Scripted(), policy=Policy.standard().deny_import("math").warning("import.denied"), cache=MemoryCache()
        )
        results = [executor.execute("import math\n1") for _ in range(2)]
        assert results[1].cached
        assert [item.rule for item in results[1].violations] == ["import.denied"]

    def test_the_hook_that_admits_is_asked_for_a_hit_too(self):
        asked: list[Any] = []
        executor = Executor(Scripted(), cache=MemoryCache(), admit=asked.append)
        executor.execute("1")
        executor.execute("1")
        assert len(asked) == 2

    def test_secrets_are_out_before_anything_is_kept(self):
        cache, secret = MemoryCache(), "correct horse battery staple"
        executor = Executor(Scripted(stdout=secret), cache=cache, redactor=Redactor(known_secrets=[secret]))
        executor.execute("1")
        assert executor.execute("1").cached
        assert all(secret not in text for text in cache._entries.values())

    @pytest.mark.parametrize("outcome", [{"reproducible": False}, {"status": Status.TIMEOUT, "decided_by": "limits"}])
    def test_what_a_second_run_may_not_repeat_runs_again(self, outcome: dict[str, Any]):
        sandbox = Scripted(**outcome)
        executor = Executor(sandbox, cache=MemoryCache())
        assert [executor.execute("1").cached for _ in range(2)] == [False, False]

    def test_refused_code_is_not_kept(self):
        cache = MemoryCache()
        executor = Executor(Scripted(), cache=cache)
        assert executor.execute("import ctypes").status is Status.REJECTED
        assert len(cache) == 0

    def test_a_file_that_changed_before_it_was_read_spoils_no_entry(self, tmp_path: Path):
        path = tmp_path / "a"
        path.write_bytes(b"1")

        class Slow(Scripted):
            def run(self, request: RunRequest) -> RunOutcome:
                path.write_bytes(b"2")
                return super().run(request)

        cache = MemoryCache()
        Executor(Slow(), cache=cache).execute("1", files={"a": path})
        assert len(cache) == 0

    def test_what_may_call_the_host_is_never_kept(self):
        """A tool may answer otherwise the next time; the request that has one does not even look."""
        sandbox = Scripted()
        executor = Executor(sandbox, cache=MemoryCache())
        assert [executor.execute("1", tools={"ask": ask}).cached for _ in range(2)] == [False, False]

    def test_a_store_that_fails_costs_speed_and_nothing_else(self, caplog: pytest.LogCaptureFixture):
        class Broken:
            def get(self, key: str) -> str | None:
                raise ConnectionError("no route")

            def set(self, key: str, value: str) -> None:
                raise ConnectionError("no route")

        assert Executor(Scripted(), cache=Broken()).execute("1").stdout == "1\n"
        assert len(caplog.records) == 2

    def test_a_cache_makes_code_deterministic_and_without_one_it_is_left_alone(self):
        for options, expected in (
            ({}, None),
            ({"cache": MemoryCache()}, Deterministic()),
            ({"cache": MemoryCache(), "deterministic": Deterministic(seed=5)}, Deterministic(seed=5)),
            ({"deterministic": Deterministic(seed=5)}, Deterministic(seed=5)),
        ):
            sandbox = Scripted()
            Executor(sandbox, **options).execute("1")
            assert sandbox.requests[0].deterministic == expected

    def test_a_call_may_say_otherwise(self):
        sandbox = Scripted()
        executor = Executor(sandbox, cache=MemoryCache())
        executor.execute("1")
        assert not executor.execute("1", deterministic=Deterministic(seed=9)).cached
        assert sandbox.requests[1].deterministic == Deterministic(seed=9)

    def test_a_sandbox_that_cannot_is_told_before_anything_runs(self):
        for options in ({"cache": MemoryCache()}, {"deterministic": Deterministic()}):
            with pytest.raises(ConfigurationError, match="hash_seed=0"):
                Executor(Plain(), **options)
        with pytest.raises(ConfigurationError, match="hash_seed=0"):
            Executor(Plain()).execute("1", deterministic=Deterministic())

    def test_what_is_no_cache_is_refused(self):
        with pytest.raises(ConfigurationError, match="get\\(key\\)"):
            Executor(Scripted(), cache={})
