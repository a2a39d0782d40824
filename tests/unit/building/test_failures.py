"""Builds that come to nothing: each says why, in the tool's own words where there are any, and leaves nothing."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from observers.wheels import by_both, make_source, make_wheel

from hotcell.building import create
from hotcell.errors import ConfigurationError, EnvironmentFailed


@by_both
@pytest.mark.parametrize(
    ("packages", "says"),
    [
        (["missing"], "could not find the packages: .*missing.* Correct the names"),
        (["lower>5"], "could not find the packages: .*lower>5"),
        (["lower", "lower<1"], "could not find the packages: .*lower<1"),
        (["upper", "lower==1.0"], "could not find the packages: .*conflict|could not find the packages: .*unsatisf"),
    ],
)
def test_what_cannot_be_found_is_said_in_the_tools_own_words(
    index: Path, store: Path, packages: list[str], says: str
) -> None:
    make_wheel(index, "lower")
    make_wheel(index, "lower", "2.0")
    make_wheel(index, "upper", requires="lower>=2")
    with pytest.raises(EnvironmentFailed, match=says) as failed:
        create("data", packages=packages)
    assert "\n" not in str(failed.value)
    assert [path.name for path in store.iterdir() if path.name != ".lock"] == ["names"]


@by_both
def test_an_index_that_cannot_be_reached_is_called_that(
    index: Path, store: Path, monkeypatch: pytest.MonkeyPatch, tool: str
) -> None:
    for name in ("PIP_NO_INDEX", "UV_CONFIG_FILE"):
        monkeypatch.delenv(name)
    for name, value in {
        "PIP_INDEX_URL": "http://127.0.0.1:9/simple",
        "PIP_RETRIES": "1",
        "UV_DEFAULT_INDEX": "http://127.0.0.1:9/simple",
        "UV_HTTP_RETRIES": "0",
    }.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(EnvironmentFailed, match=f"{tool} could not reach the package index: .*Check the network"):
        create("data", packages=["lower"])


def test_a_full_disk_is_told(index: Path, store: Path) -> None:
    make_wheel(index, "large", files={"large.py": "", "large.bin": "x" * (1 << 20)})

    def limit_files() -> None:
        import resource

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 19, 1 << 19))

    command = [sys.executable, "-m", "hotcell", "env", "create", "data", "--packages", "large"]
    done = subprocess.run(
        command, capture_output=True, text=True, preexec_fn=limit_files, env={**os.environ, "PYTHONPATH": "src"}
    )
    assert done.returncode == 70
    assert os.strerror(errno.EFBIG) in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert [path.name for path in store.iterdir() if path.name != ".lock"] == ["names"]


@by_both
def test_no_source_is_built_unless_asked_for(
    index: Path, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = tmp_path / "ran"
    source = make_source(tmp_path, ran)
    shutil.copy(source, index)
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    for package in ("loose", "hanging"):
        make_wheel(index, "hanging", requires=f"loose @ {source.as_uri()}")
        with pytest.raises(EnvironmentFailed, match="loose"):
            create("data", packages=[package])
        assert not ran.exists()
    made = create("data", packages=["loose"], allow_source=True)
    assert ran.exists()
    assert made.packages == {"loose": "1.0"}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"packages": []}, "name at least one package"),
        ({"packages": "numpy"}, "is text: give a list"),
        ({"packages": ["-r", "x"]}, "is an option"),
        ({"packages": ["x"], "requirements": "/nowhere"}, "requirements: cannot read '/nowhere'"),
        ({"packages": ["x"], "name": "../x"}, "is not allowed as a name"),
    ],
)
def test_what_cannot_be_asked_for_is_refused_before_anything_is_made(
    index: Path, store: Path, arguments: dict[str, object], says: str
) -> None:
    with pytest.raises(ConfigurationError, match=says):
        create(**{"name": "data", **arguments})
    assert not store.exists()
