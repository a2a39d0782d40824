"""Finding environments: by name, whole, and only where nobody else could have put them."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import pytest

from hotcell.environments import Environment, every, find, store
from hotcell.errors import ConfigurationError, EnvironmentFailed
from hotcell.sandboxes.local.sandbox import LocalSandbox

DIGEST = "0123456789abcdef" * 2
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to somebody else")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store with one environment, called ``data``; its interpreter is ours."""
    place = tmp_path / "above" / "store"
    monkeypatch.setenv("HOTCELL_ENVIRONMENTS", str(place))
    made = place / DIGEST
    (made / "venv" / "bin").mkdir(parents=True)
    (made / "venv" / "bin" / "python").symlink_to(sys.executable)
    (place / "names").mkdir()
    (place / "names" / "data").symlink_to(f"../{DIGEST}")
    (made / "environment.json").write_text(json.dumps(described(made).manifest()))
    for path in (place.parent, place, *place.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755)
    return place


def described(directory: Path) -> Environment:
    return Environment(
        name="data",
        digest=DIGEST,
        directory=directory,
        python_version="3.11.2",
        interpreter=sys.executable,
        requested=("numpy>=2",),
        packages={"numpy": "2.1.0"},
        preload=("numpy",),
        left_out={"other": "why not"},
        created="2026-01-02T03:04:05+00:00",
        size_bytes=7,
    )


def test_what_was_described_is_found(place: Path) -> None:
    found = find("data")
    assert found == described(place / DIGEST)
    assert list(every()) == [found]
    assert found.python == f"{place}/{DIGEST}/venv/bin/python"


def test_as_data_it_is_json_and_complete(place: Path) -> None:
    data = json.loads(json.dumps(find("data").to_dict()))
    assert data["packages"] == {"numpy": "2.1.0"}
    assert data["requested"] == ["numpy>=2"]
    assert data["directory"] == f"{place}/{DIGEST}"


def test_a_store_that_is_not_there_is_empty(place: Path) -> None:
    shutil.rmtree(place)
    assert list(every()) == []
    with pytest.raises(ConfigurationError, match=r"there are: none yet.*hotcell env create data"):
        find("data")


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../data", "names/data", "/etc/passwd", "data\0", "data\n", "-rf", ".new", "x" * 65, "dàta"]
)
def test_what_is_no_name_leads_nowhere(place: Path, name: str) -> None:
    with pytest.raises(ConfigurationError, match="is not allowed as a name"):
        find(name)


@pytest.mark.parametrize("name", [None, 7, b"data", Path("data")])
def test_a_sandbox_takes_a_name_or_an_environment(place: Path, name: object) -> None:
    with pytest.raises(ConfigurationError, match="environment="):
        find(name)
    if name is not None:
        with pytest.raises(ConfigurationError, match="environment="):
            LocalSandbox(environment=name)


@pytest.mark.parametrize("target", ["../../elsewhere", "/etc", "..", f"{DIGEST[:-1]}x", "../" + "f" * 32])
def test_a_name_stands_for_nothing_outside_the_store(place: Path, target: str) -> None:
    (place / "names" / "odd").symlink_to(target)
    with pytest.raises((ConfigurationError, EnvironmentFailed)):
        find("odd")
    assert [str(item) for item in every() if isinstance(item, EnvironmentFailed)]
    assert find("data")


@pytest.mark.parametrize(
    "damage",
    [
        lambda made: (made / "environment.json").unlink(),
        lambda made: (made / "environment.json").write_text("{"),
        lambda made: (made / "environment.json").write_text("[]"),
        lambda made: (made / "environment.json").write_text('{"digest": 1}'),
        lambda made: (made / "environment.json").write_bytes(b"\xff"),
        lambda made: (made / "venv" / "bin" / "python").unlink(),
        lambda made: shutil.rmtree(made / "venv"),
        lambda made: shutil.rmtree(made),
    ],
)
def test_a_damaged_one_is_called_damaged(place: Path, damage) -> None:
    damage(place / DIGEST)
    with pytest.raises(EnvironmentFailed, match=r"'data' is damaged.*hotcell env remove data"):
        find("data")
    assert [type(item) for item in every()] == [EnvironmentFailed]


@pytest.mark.parametrize("part", ["..", ".", DIGEST, f"{DIGEST}/venv", f"{DIGEST}/environment.json"])
@pytest.mark.parametrize("mode", [0o757, 0o775])
def test_what_others_can_write_to_is_not_trusted(place: Path, part: str, mode: int) -> None:
    path = (place / part).resolve()
    path.chmod(mode)
    if mode == 0o775:
        give_to_a_group_with_others(path)
    with pytest.raises(ConfigurationError, match=rf"{path} can be written to by others \(mode {mode:o}\)"):
        find("data")


def give_to_a_group_with_others(path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("an ordinary user may have no such group")
    os.chown(path, -1, 12345)


@root_only
@pytest.mark.parametrize("part", ["..", ".", DIGEST, f"{DIGEST}/venv", f"{DIGEST}/environment.json"])
def test_what_belongs_to_somebody_else_is_not_trusted(place: Path, part: str) -> None:
    path = (place / part).resolve()
    os.chown(path, 12345, 0)
    with pytest.raises(ConfigurationError, match=f"{path} belongs to user 12345"):
        find("data")


def test_a_directory_where_everybody_keeps_his_own_may_hold_a_store_and_not_be_one(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.parent.chmod(0o1777)
    assert find("data")
    monkeypatch.setenv("HOTCELL_ENVIRONMENTS", str(place.parent))
    with pytest.raises(ConfigurationError, match="can be written to by others"):
        store()


def test_where_it_is_follows_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOTCELL_ENVIRONMENTS", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    own = Path("/var/lib/hotcell") if os.geteuid() == 0 else tmp_path / ".local" / "share" / "hotcell"
    assert store() == (own / "environments").resolve()
    if os.geteuid() != 0:
        monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
        assert store() == tmp_path / "data" / "hotcell" / "environments"
    monkeypatch.setenv("HOTCELL_ENVIRONMENTS", str(tmp_path / "mine"))
    assert store() == tmp_path / "mine"


def test_a_relative_place_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOTCELL_ENVIRONMENTS", "store")
    with pytest.raises(ConfigurationError, match="give an absolute path"):
        store()
