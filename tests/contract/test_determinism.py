"""The result cache behind the real wall: what is promised to be the same is the same in another sandbox too."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from hotcell.cache import MemoryCache
from hotcell.config import SandboxConfig
from hotcell.determinism import Deterministic
from hotcell.errors import ConfigurationError
from hotcell.executor import Executor
from hotcell.policy import Policy
from hotcell.results import IsolationLevel, Status
from hotcell.sandboxes.local.sandbox import LocalSandbox
from hotcell.sandboxes.restricted import RestrictedPythonSandbox

PRELOAD = [name for name in ("numpy", "pandas") if importlib.util.find_spec(name)]
MOMENT = Deterministic(clock=datetime(2024, 1, 1, tzinfo=UTC))

RANDOM = """
import os, random, secrets, tempfile, uuid
words = {"a", "b", "c", "d", "e", "f", "g", "h"}
print(list(words), hash("x"), list({*"frozen" "words"}), hash(("a", b"c")))
print(random.random(), random.sample(range(100), 5), random.Random().random(), random.SystemRandom().random())
print(uuid.uuid4(), secrets.token_hex(8), os.urandom(4), os.path.basename(tempfile.mktemp()))
"""
NUMPY = """
import numpy as np, pandas as pd
print(np.random.rand(3), np.random.default_rng().random(3), np.random.RandomState().rand(), np.random.permutation(9))
print(pd.DataFrame({"a": range(9)}).sample(3).a.tolist())
"""


@pytest.fixture(scope="module")
def two() -> Iterator[list[LocalSandbox]]:
    """Two fork servers, so that nothing is the same by being one."""
    with (
        LocalSandbox(preload=PRELOAD, pool_size=1, hash_seed=0) as one,
        LocalSandbox(preload=PRELOAD, pool_size=1, hash_seed=0) as other,
    ):
        yield [one, other]


def executor(sandbox: LocalSandbox, **options: Any) -> Executor:
    return Executor(sandbox, policy=Policy.permissive(), **options)


@pytest.mark.parametrize("code", [RANDOM, *([NUMPY] if len(PRELOAD) == 2 else [])], ids=["python", "numpy"])
def test_two_sandboxes_come_to_the_same_and_another_seed_to_something_else(two: list[LocalSandbox], code: str) -> None:
    outputs = [executor(sandbox, deterministic=Deterministic()).execute(code).stdout for sandbox in (*two, *two)]
    assert outputs[0]
    assert len(set(outputs)) == 1
    assert executor(two[0], deterministic=Deterministic(seed=1)).execute(code).stdout != outputs[0]


def test_the_order_of_a_set_follows_from_the_hash_seed(two: list[LocalSandbox]) -> None:
    code = "[list({*map(str, range(50))}), hash('x')]"
    same = [executor(sandbox).execute(code).value for sandbox in two]
    with LocalSandbox(pool_size=0, hash_seed=12345) as third:
        other = executor(third).execute(code).value
    assert same[0] == same[1] != other


@pytest.mark.parametrize("level", [IsolationLevel.NAMESPACE, IsolationLevel.PROCESS])
def test_a_fixed_hash_seed_opens_the_fork_server_to_nothing_else(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any, level: IsolationLevel
) -> None:
    """Python then heeds its environment: only what we put there is in it, and no folder of the application's."""
    (tmp_path / "sitecustomize.py").write_text("raise SystemExit('taken over')")
    (tmp_path / "colorsys.py").write_text("raise SystemExit('taken over')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("PYTHONSTARTUP", str(tmp_path / "sitecustomize.py"))
    monkeypatch.setenv("PYTHONHASHSEED", "77")
    monkeypatch.chdir(tmp_path)
    code = "import os, sys\nfrom colorsys import rgb_to_hsv\n"
    code += "[sys.flags.safe_path, sys.flags.no_user_site, sys.path, dict(os.environ), hash('x')]"
    try:
        with LocalSandbox(pool_size=0, hash_seed=0, isolation=level) as sandbox:
            result = executor(sandbox).execute(code)
    except Exception as error:  # noqa: BLE001  # a host that lacks the level
        pytest.skip(str(error))
    assert result.status is Status.OK, result
    safe_path, no_user_site, path, environment, seeded = result.value
    assert (safe_path, no_user_site) == (True, 1)
    assert str(tmp_path) not in path
    assert not {name for name in environment if name.startswith("PYTHON")} - {
        *("PYTHONDONTWRITEBYTECODE", "PYTHONUTF8", "PYTHONHASHSEED")
    }
    with LocalSandbox(pool_size=0, hash_seed=0) as again:
        assert executor(again).execute("hash('x')").value == seeded


def test_without_deterministic_mode_a_fixed_hash_seed_leaves_randomness_random(two: list[LocalSandbox]) -> None:
    code = "import os, random, uuid; [os.urandom(8), random.random(), str(uuid.uuid4())]"
    values = [executor(sandbox).execute(code).value for sandbox in (*two, *two)]
    for one in zip(*values, strict=True):
        assert len(set(one)) == len(values)


@pytest.mark.parametrize("seed", [-1, 1 << 32, True, 1.0, "0"])
def test_a_hash_seed_that_python_does_not_know_is_refused(seed: Any) -> None:
    with pytest.raises(ConfigurationError, match="hash_seed="):
        LocalSandbox(hash_seed=seed)


KEPT = {
    "a value": "sum(range(10))",
    "output": "print('x'); import sys; print('y', file=sys.stderr)",
    "an error": "1 / 0",
    "an exit": "raise SystemExit(3)",
    "randomness": RANDOM,
    "a coroutine": "import asyncio\nasync def f(): await asyncio.sleep(0.001); return 1\nasyncio.run(f())",
}
NOT_KEPT = {
    "the time": "import time; int(time.time()) > 0",
    "a date": "import datetime; datetime.date.today().year > 0",
    "a duration": "import time; time.perf_counter() > 0",
    "an address": "print(object())",
    "a value with an address": "object()",
    "a thread": "import threading; t = threading.Thread(target=print); t.start(); t.join()",
    "a process": "import os\nif os.fork() == 0: os._exit(0)\nos.wait()[1]",
    "the kernel's randomness": "len(open('/dev/urandom', 'rb').read(4))",
    "a timeout": "while True: pass",
    "too much memory": "[bytes(1 << 20) for _ in range(1000)]",
    "too much output": "print('x' * 10_000_000)",
    "a crash": "import os; os.kill(os.getpid(), 11)",
    "a process that leaves": "import os; os._exit(0)",
    "text that is no program": "1 +",
}
LIMITS = SandboxConfig(timeout_seconds=0.5, memory_bytes=64 << 20, output_bytes=1 << 16)


@pytest.mark.parametrize("code", KEPT.values(), ids=KEPT)
def test_what_a_second_run_would_repeat_is_kept(two: list[LocalSandbox], code: str) -> None:
    cached = executor(two[0], cache=MemoryCache())
    first, second = cached.execute(code), cached.execute(code)
    assert (first.cached, second.cached) == (False, True)
    for name in ("status", "reason", "stdout", "stderr", "value", "value_repr", "error", "usage", "sandbox"):
        assert getattr(first, name) == getattr(second, name)


@pytest.mark.parametrize("code", NOT_KEPT.values(), ids=NOT_KEPT)
def test_what_a_second_run_may_not_repeat_is_not_kept(two: list[LocalSandbox], code: str) -> None:
    cache = MemoryCache()
    executor(two[0], cache=cache, config=LIMITS).execute(code)
    assert len(cache) == 0


def test_with_a_fixed_clock_the_time_is_no_obstacle(two: list[LocalSandbox]) -> None:
    code = "import datetime, time; [str(datetime.datetime.now()), time.time(), time.perf_counter() < 1]"
    caches = [MemoryCache(), MemoryCache()]
    for sandbox, cache in zip(two, caches, strict=True):
        cached = executor(sandbox, cache=cache, deterministic=MOMENT)
        assert cached.execute(code).value == ["2024-01-01 00:00:00", 1704067200.0, True]
        assert cached.execute(code).cached
    assert caches[0]._entries.keys() == caches[1]._entries.keys()


def test_two_sandboxes_that_are_alike_can_share_a_cache_and_others_cannot(two: list[LocalSandbox]) -> None:
    cache = MemoryCache()
    assert not executor(two[0], cache=cache).execute("6 * 7").cached
    assert executor(two[1], cache=cache).execute("6 * 7").cached
    with LocalSandbox(pool_size=0, hash_seed=0, preload=["json"]) as other:
        assert not executor(other, cache=cache).execute("6 * 7").cached
    with LocalSandbox(pool_size=0, hash_seed=1, preload=PRELOAD) as other:
        assert not executor(other, cache=cache).execute("6 * 7").cached


def test_files_and_artifacts_come_from_the_cache_whole(two: list[LocalSandbox], tmp_path: Any) -> None:
    data = tmp_path / "data"
    data.write_bytes(bytes(range(256)))
    code = "open('out.bin', 'wb').write(open('in.bin', 'rb').read()[::-1])"
    cached = executor(two[0], cache=MemoryCache())
    first, second = (cached.execute(code, files={"in.bin": data}, artifacts=["*.bin"]) for _ in range(2))
    assert second.cached
    assert second.artifacts == first.artifacts
    assert second.artifacts[0].content == bytes(range(256))[::-1]
    data.write_bytes(b"other")
    third = cached.execute(code, files={"in.bin": data}, artifacts=["*.bin"])
    assert (third.cached, third.artifacts[0].content) == (False, b"rehto")


def test_displays_come_from_the_cache_and_a_stream_tells_all_of_it_again(two: list[LocalSandbox]) -> None:
    cached = executor(two[0], cache=MemoryCache())
    code = """
import sys
print('out'); print('err', file=sys.stderr)
class A:
    def _repr_html_(self): return '<b>x</b>'
    def __repr__(self): return 'A'
display(A())
"""
    live, again = [list(cached.stream(code)) for _ in range(2)]
    first, second = live[-1].result, again[-1].result
    assert (first.cached, second.cached) == (False, True)
    assert second.displays == first.displays != ()

    def told(events: list[Any]) -> list[str]:
        return sorted(repr(event) for event in events[1:-1])

    assert told(again) == told(live)


def test_other_languages_run_beside_a_cache_and_are_never_kept(two: list[LocalSandbox]) -> None:
    cache = MemoryCache()
    cached = executor(two[0], cache=cache)
    if two[0].isolation is not IsolationLevel.NAMESPACE or not shutil.which("bash"):
        pytest.skip("other languages need namespaces, and their programs")
    for _ in range(2):
        result = cached.execute("echo hello", language="bash")
        assert (result.stdout, result.cached) == ("hello\n", False)
    assert len(cache) == 0
    with pytest.raises(ConfigurationError, match="deterministic= is for Python"):
        cached.execute("echo hello", language="bash", deterministic=Deterministic())


def test_a_session_is_neither_cached_nor_deterministic(two: list[LocalSandbox]) -> None:
    cache = MemoryCache()
    cached = executor(two[0], cache=cache)
    draws = []
    for _ in range(2):
        with cached.session() as session:
            draws.append(session.execute("import os; os.urandom(8)").value)
            session.execute("x = 1")
            assert session.execute("x").value == 1
    assert (len(cache), draws[0] != draws[1]) == (0, True)


def test_a_cell_cannot_talk_another_request_into_its_result(two: list[LocalSandbox]) -> None:
    """A forged report says it is reproducible: it is kept for whoever sends that very code, and for nobody else."""
    cache = MemoryCache()
    forging = """
import json, os, struct
told = {"outcome": "ok", "exit_code": 0, "value": "forged", "value_repr": "", "error": None, "memory_error": False}
payload = json.dumps({**told, "reproducible": True, "key": "x", "cached": True}).encode()
os.write(3, struct.pack("<BI", 6, len(payload)) + payload)
"""
    cached = executor(two[0], cache=cache)
    assert cached.execute(forging).value == "forged"
    assert not cached.execute("6 * 7").cached
    assert cached.execute("6 * 7").value == 42


def test_the_default_sandbox_of_an_executor_with_a_cache_can_do_it() -> None:
    with Executor(cache=MemoryCache()) as cached:
        assert [cached.execute("len({'a'})").cached for _ in range(2)] == [False, True]


def test_a_sandbox_without_a_hash_seed_or_without_a_process_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOTCELL_DEBUG", "1")
    with LocalSandbox() as plain, pytest.raises(ConfigurationError, match="hash_seed"):
        Executor(plain, cache=MemoryCache())
    with pytest.raises(ConfigurationError, match="hash_seed"):
        Executor(
            RestrictedPythonSandbox(),
            policy=Policy.strict(),
            min_isolation=IsolationLevel.NONE,
            cache=MemoryCache(),
        )
