"""The last steps of a build: no scripts, byte code ready, readable by every cell, writable by none."""

from __future__ import annotations

import json
import os
import stat
import subprocess
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from hotcell.building.requirements import normal
from hotcell.environments import MANIFEST, Environment

_NOT_FOR_PRELOAD = {"test", "tests", "testing", "docs", "examples", "benchmarks"}


class Distribution(NamedTuple):
    """One installed package."""

    name: str
    """In its normal form."""
    version: str
    modules: tuple[str, ...]
    """What it lets one import, without what is private or only for its own tests."""


def tidy(venv: Path, binary: str) -> None:
    """Leave of ``bin`` the interpreter alone: scripts and activation name the place where all this was built."""
    for path in (venv / "bin").iterdir():
        path.unlink()
    # Straight to the real one: cells see that, and no links on the way to it.
    (venv / "bin" / "python").symlink_to(binary)
    (venv / "bin" / "python3").symlink_to("python")
    config = venv / "pyvenv.cfg"
    lines = config.read_text("utf-8").splitlines(keepends=True)
    config.write_text("".join(line for line in lines if not line.startswith("command")), "utf-8")


def compile_all(venv: Path, final: Path, binary: str) -> None:
    """Byte code for all of it, which Python takes without looking at the sources: nothing here ever changes.

    Files that are no Python of this version are passed over. ``-S`` keeps what was installed from running.
    """
    subprocess.run(
        [
            *(binary, "-I", "-S", "-m", "compileall", "-q", "-f", "-j", "0"),
            *("--invalidation-mode", "unchecked-hash", "-s", str(venv), "-p", str(final), str(venv / "lib")),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        umask=0o022,
        check=False,
    )


def distributions(venv: Path) -> list[Distribution]:
    """What is installed, by name, read from what was unpacked; nothing of it runs."""
    places = sorted({str(path) for path in venv.glob("lib*/python*/site-packages")})
    found = {}
    for item in metadata.distributions(path=places):
        name = normal(item.metadata["Name"])
        found[name] = Distribution(name, item.version, _modules(item))
    return [found[name] for name in sorted(found)]


def _modules(item: metadata.Distribution) -> tuple[str, ...]:
    names = set()
    for file in item.files or ():
        if file.suffix not in (".py", ".so") or len(file.parts) > 2:
            continue
        name = file.parts[0].partition(".")[0]
        if len(file.parts) == 1 or file.parts[1] == "__init__.py":
            names.add(name)
    return tuple(
        sorted(name for name in names if name.isidentifier() and name[0] != "_" and name not in _NOT_FOR_PRELOAD)
    )


def open_to_all(new: Path) -> int:
    """Let everybody read and nobody but the owner write; returns the size of all files, in bytes."""
    size = 0
    for folder, _, files in os.walk(new):
        os.chmod(folder, 0o755)  # noqa: S103  # cells have ids of their own
        for file in files:
            path = os.path.join(folder, file)
            status = os.lstat(path)
            if stat.S_ISREG(status.st_mode):
                os.chmod(path, 0o755 if status.st_mode & stat.S_IXUSR else 0o644)
                size += status.st_size
    return size


def describe(environment: Environment) -> None:
    """Write the manifest: the last thing before the environment gets its place."""
    path = environment.directory / MANIFEST
    path.write_text(json.dumps(environment.manifest(), indent=1), "utf-8")
    path.chmod(0o644)
