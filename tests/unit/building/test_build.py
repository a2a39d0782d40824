"""Building: from wheels on disk to an environment with a name, with the real tools and the real wall."""

from __future__ import annotations

import os
import platform
import shutil
import stat
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from observers.cells import ask
from observers.wheels import by_both, make_wheel

from hotcell.building import create
from hotcell.environments import Environment, find
from hotcell.errors import ConfigurationError, EnvironmentFailed
from hotcell.sandboxes.local.sandbox import LocalSandbox


def digests(store: Path) -> list[str]:
    return sorted(path.name for path in store.iterdir() if len(path.name) == 32)


def answer(environment: Environment | str, code: str) -> str:
    with LocalSandbox(environment=environment, pool_size=0) as sandbox:
        outcome = ask(sandbox, code)
    assert outcome.error is None, outcome.error
    return outcome.stdout.strip()


@by_both
def test_what_was_asked_for_and_what_that_needs_is_locked_and_there(index: Path, store: Path, tool: str) -> None:
    make_wheel(index, "lower", "1.0")
    make_wheel(index, "lower", "2.0")
    make_wheel(index, "upper", requires="lower<2", files={"upper/__init__.py": "import lower\n"})
    heard: list[str] = []
    made = create("data", packages=["upper"], say=heard.append)
    assert made == find("data")
    assert made.packages == {"lower": "1.0", "upper": "1.0"}
    assert made.requested == ("upper",)
    assert made.preload == ("upper",)
    assert made.python_version == platform.python_version()
    assert heard[0] == f"Finding versions with {tool}."
    lock = (made.directory / "lock.txt").read_text()
    assert lock.count("--hash=sha256:") == 2
    assert lock.startswith("lower==1.0 ")
    assert answer("data", "import upper, sys; print(upper.lower.version, sys.prefix)") == f"1.0 {made.prefix}"


@by_both
def test_the_same_packages_are_built_once(index: Path, store: Path) -> None:
    make_wheel(index, "lower")
    first = create("one", packages=["lower"])
    made_at = first.directory.stat().st_ctime_ns
    second = create("two", packages=["lower>=1", "lower"])
    assert second.digest == first.digest
    assert second.directory.stat().st_ctime_ns == made_at
    make_wheel(index, "lower", "2.0")
    assert create("two", packages=["lower"]).digest != first.digest
    assert find("one").digest == first.digest


def test_a_lock_builds_the_same_versions_again(index: Path, store: Path, tmp_path: Path) -> None:
    make_wheel(index, "lower", "1.0")
    make_wheel(index, "upper", requires="lower")
    first = create("data", packages=["upper"])
    kept = tmp_path / "lock.txt"
    kept.write_bytes((first.directory / "lock.txt").read_bytes())
    make_wheel(index, "lower", "2.0")
    again = create("again", requirements=kept)
    assert again.packages == first.packages == {"lower": "1.0", "upper": "1.0"}
    assert (again.directory / "lock.txt").read_bytes() == kept.read_bytes()
    assert (first.preload, again.preload) == (("upper",), ("lower", "upper"))
    make_wheel(index, "lower", "1.0", files={"lower.py": "changed = True\n"})
    with pytest.raises(EnvironmentFailed, match=r"(?i)do not match the hashes"):
        create("again", requirements=kept)


def test_a_name_moves_and_what_nothing_is_called_by_goes(index: Path, store: Path) -> None:
    make_wheel(index, "lower", "1.0")
    old = create("data", packages=["lower"])
    with LocalSandbox(environment="data", pool_size=0) as running:
        assert ask(running, "import lower; print(lower.version)").stdout == "1.0\n"
        make_wheel(index, "lower", "2.0")
        new = create("data", packages=["lower"])
        assert digests(store) == sorted([old.digest, new.digest])  # somebody still runs cells in the old one
        assert ask(running, "import lower; print(lower.version)").stdout == "1.0\n"
    assert answer("data", "import lower; print(lower.version)") == "2.0"
    create("data", packages=["lower"])
    assert digests(store) == [new.digest]


def test_a_file_of_requirements_and_packages_add_up(index: Path, store: Path, tmp_path: Path) -> None:
    make_wheel(index, "lower")
    wheel = make_wheel(tmp_path, "beside")
    file = tmp_path / "requirements.txt"
    file.write_text("lower == 1.0  # fixed\n")
    made = create("data", packages=[str(wheel)], requirements=file)
    assert made.packages == {"beside": "1.0", "lower": "1.0"}
    assert made.preload == ("beside", "lower")


def test_nothing_in_it_names_the_place_where_it_was_built(index: Path, store: Path) -> None:
    make_wheel(
        index,
        "tool",
        files={
            "tool.py": "def main(): raise ValueError\n",
            "tool-1.0.dist-info/entry_points.txt": "[console_scripts]\ntool = tool:main\n",
        },
    )
    made = create("data", packages=["tool"])
    for path in made.directory.rglob("*"):
        if path.is_file() and not path.is_symlink() and "python" not in path.name:
            assert b".work-" not in path.read_bytes(), path
    assert sorted(path.name for path in (made.directory / "venv" / "bin").iterdir()) == ["python", "python3"]
    said = answer("data", "import tool, traceback\ntry: tool.main()\nexcept ValueError: print(traceback.format_exc())")
    assert f'File "{made.prefix}' in said


def test_byte_code_is_ready_and_taken_without_a_look_at_the_sources(index: Path, store: Path) -> None:
    make_wheel(index, "lower", files={"lower.py": "value = 1\n", "broken.py": "this is no Python\n"})
    made = create("data", packages=["lower"])
    (compiled,) = Path(made.prefix).rglob("lower.*.pyc")
    assert compiled.read_bytes()[4:8] == b"\x01\0\0\0"  # by hash, unchecked (PEP 552)
    assert made.preload == ("lower",)
    assert "broken" in made.left_out


def test_everybody_may_read_it_and_nobody_else_write(index: Path, store: Path) -> None:
    make_wheel(index, "lower")
    before = os.umask(0o077)
    try:
        made = create("data", packages=["lower"])
    finally:
        os.umask(before)
    for path in (store, store / "names", made.directory, *made.directory.rglob("*")):
        if not path.is_symlink():
            mode = stat.S_IMODE(path.stat().st_mode)
            assert mode in ((0o755,) if path.is_dir() else (0o644, 0o755)), path


# --- what can be imported ahead


def test_modules_that_cannot_be_imported_ahead_are_left_out_with_the_reason(index: Path, store: Path) -> None:
    make_wheel(
        index,
        "mixed",
        files={
            "fine.py": "",
            "needs.py": "import a_module_that_is_not_there\n",
            "threads.py": "import threading, time\nthreading.Thread(target=time.sleep, args=[99]).start()\n",
            "raises.py": "raise RuntimeError('not today')\n",
            "leaves.py": "import os\nos._exit(0)\n",
            "tests/__init__.py": "",
            "_private.py": "",
            "space/without_init.py": "",
        },
    )
    made = create("data", packages=["mixed"])
    assert made.preload == ("fine",)
    assert made.left_out.keys() == {"leaves", "needs", "raises", "threads"}
    assert made.left_out["needs"] == "No module named 'a_module_that_is_not_there'"
    assert "started 1 threads" in made.left_out["threads"]
    assert made.left_out["raises"] == "not today"
    with LocalSandbox(environment="data", pool_size=0) as sandbox:
        code = "import sys; print([name in sys.modules for name in ('fine', 'threads')])"
        assert ask(sandbox, code).stdout == "[True, False]\n"
    with LocalSandbox(environment="data", preload=[], pool_size=0) as sandbox:
        assert ask(sandbox, code).stdout == "[False, False]\n"
        assert ask(sandbox, "import threads; print('started')").stdout == "started\n"


# --- another Python


@pytest.mark.parametrize("minor", [11, 12, 13])
def test_an_environment_has_a_python_of_its_own(index: Path, store: Path, minor: int) -> None:
    python = other_python(minor)
    make_wheel(index, "lower")
    made = create("data", packages=["lower"], python=python)
    assert made.python_version.startswith(f"3.{minor}.")
    said = answer("data", "import lower, sys, subprocess\nprint(*sys.version_info[:2], lower.version)")
    assert said == f"3 {minor} 1.0"


def other_python(minor: int) -> str:
    """One that is installed beside ours, or on PATH."""
    places = Path(sys.base_prefix).parent.glob(f"3.{minor}.*/bin/python3")
    found = next((str(path) for path in sorted(places)), None) or shutil.which(f"python3.{minor}", path=os.defpath)
    if not found:
        pytest.skip(f"no Python 3.{minor} here")
    return found


@pytest.mark.parametrize("python", ["python2.0", "/dev/null", "/bin/true", "/nowhere/python3", ""])
def test_what_is_no_python_is_refused(index: Path, store: Path, python: str) -> None:
    with pytest.raises(ConfigurationError, match=r"name a CPython 3\.11 or later"):
        create("data", packages=["lower"], python=python)
    assert not store.exists()


def test_a_python_that_is_too_old_is_refused_by_its_version(index: Path, store: Path, tmp_path: Path) -> None:
    old = tmp_path / "python3"
    old.write_text('#!/bin/sh\necho \'{"implementation": "cpython", "version": "3.9.2", "release": "3.9"}\'\n')
    old.chmod(0o755)
    with pytest.raises(ConfigurationError, match=r"it is cpython 3\.9\.2: name a CPython 3\.11"):
        create("data", packages=["lower"], python=str(old))


# --- interrupted, and at the same time


def test_a_build_that_is_killed_leaves_nothing_that_looks_finished(index: Path, store: Path) -> None:
    make_wheel(index, "lower")
    for seconds in (0.3, 0.8, 1.3):
        command = [sys.executable, "-m", "hotcell", "env", "create", "data", "--packages", "lower"]
        with subprocess.Popen(command, stderr=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": "src"}) as build:
            time.sleep(seconds)
            build.kill()
        for digest in digests(store) if store.exists() else []:
            assert (store / digest / "environment.json").exists()
    made = create("data", packages=["lower"])
    assert digests(store) == [made.digest]
    assert answer("data", "import lower; print(lower.version)") == "1.0"


def test_two_builds_of_the_same_at_once_make_one(index: Path, store: Path) -> None:
    make_wheel(index, "lower")
    heard: list[str] = []
    with ThreadPoolExecutor(3) as threads:
        made = list(threads.map(lambda name: create(name, packages=["lower"], say=heard.append), "abc"))
    assert {item.digest for item in made} == set(digests(store))
    assert heard.count("Installing and compiling.") == 1
    assert "Waiting for another hotcell that is changing the store." in heard


def test_one_that_is_damaged_is_built_again(index: Path, store: Path) -> None:
    make_wheel(index, "lower")
    made = create("data", packages=["lower"])
    (made.directory / "environment.json").write_text("{}")
    with pytest.raises(EnvironmentFailed, match="damaged"):
        find("data")
    assert create("data", packages=["lower"]).digest == made.digest
    assert answer("data", "import lower; print(lower.version)") == "1.0"
