"""Environments from wheels that a test makes itself, and a package index that is a directory of them."""

from __future__ import annotations

import os
import shutil
import sys
import tarfile
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

WHEEL = "Wheel-Version: 1.0\nGenerator: a test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
UV = shutil.which("uv", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")


def make_wheel(
    folder: Path, name: str, version: str = "1.0", *, files: Mapping[str, str] | None = None, requires: str = ""
) -> Path:
    """A wheel of one module of its own name, or of ``files``; ``requires`` is what it depends on."""
    files = {f"{name}.py": f"version = {version!r}\n"} if files is None else files
    info = f"{name}-{version}.dist-info"
    needs = f"Requires-Dist: {requires}\n" if requires else ""
    inside = {
        **files,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}",
        f"{info}/WHEEL": WHEEL,
    }
    inside[f"{info}/RECORD"] = "".join(f"{path},,\n" for path in [*inside, f"{info}/RECORD"])
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for place, text in inside.items():
            wheel.writestr(place, text)
    return path


def use_only(index: Path, store: Path, tool: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on packages come from ``index`` and go to ``store``, by pip or by uv."""
    programs = index.parent / f"{tool}-on-path"
    programs.mkdir()
    if tool == "uv":
        assert UV, "uv is one of the development dependencies"
        (programs / "uv").symlink_to(UV)
    config = index.parent / f"{tool}.toml"
    config.write_text(f"[pip]\nno-index = true\nfind-links = [{str(index)!r}]\n")
    for name, value in {
        "HOTCELL_ENVIRONMENTS": str(store),
        "PATH": str(programs),
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_FIND_LINKS": str(index),
        "PIP_NO_INDEX": "1",
        "UV_CONFIG_FILE": str(config),
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("PIP_CONSTRAINT", raising=False)


def make_source(folder: Path, ran: Path) -> Path:
    """A source distribution, ``loose``, that needs nothing else, and touches ``ran`` when it is built."""
    top = folder / "loose-1.0"
    top.mkdir()
    (top / "pyproject.toml").write_text('[build-system]\nrequires = []\nbuild-backend = "b"\nbackend-path = ["."]\n')
    (top / "PKG-INFO").write_text("Metadata-Version: 2.1\nName: loose\nVersion: 1.0\n")
    wheel = make_wheel(top, "loose")
    (top / "b.py").write_text(
        f"""
import pathlib, shutil
def build_wheel(directory, config_settings=None, metadata_directory=None):
    pathlib.Path({str(ran)!r}).touch()
    return shutil.copy({wheel.name!r}, directory).rpartition("/")[2]
"""
    )
    path = folder / "loose-1.0.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        archive.add(top, "loose-1.0")
    return path


@pytest.fixture
def tool() -> str:
    """What environments are built with; a test that wants both says so by ``@by_both``."""
    return "pip"


by_both = pytest.mark.parametrize(
    "tool", ["pip", pytest.param("uv", marks=pytest.mark.skipif(not UV, reason="uv is not installed"))]
)


@pytest.fixture
def index(tool: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty package index, and an empty store to build into."""
    place = tmp_path / "index"
    place.mkdir()
    use_only(place, tmp_path / "store", tool, monkeypatch)
    return place


@pytest.fixture
def store(index: Path) -> Iterator[Path]:
    """Where environments are built; at the end nothing unfinished is left in it."""
    place = index.parent / "store"
    yield place
    if place.is_dir():
        assert not [path.name for path in place.iterdir() if path.name.startswith(".work")]
