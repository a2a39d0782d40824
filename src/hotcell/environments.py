"""Environments: libraries for cells, locked and built ahead of time, that no cell can change. Here they are found.

The store is a directory. ``<digest>/`` is one environment: ``venv/``, ``lock.txt`` with exact versions and hashes, and
``environment.json``. ``names/NAME`` is a link to one of them. ``hotcell.building`` makes and removes them.
"""

from __future__ import annotations

import dataclasses
import grp
import json
import os
import pwd
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hotcell.errors import ConfigurationError, EnvironmentFailed

MANIFEST, LOCK, VENV, NAMES = "environment.json", "lock.txt", "venv", "names"
DIGEST = re.compile(r"[0-9a-f]{32}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, kw_only=True)
class Environment:
    """One built environment. What it holds never changes: other packages are another environment."""

    name: str
    """What it was asked for by."""

    digest: str
    """Stands for the interpreter, for what was installed and what was asked for: equal digests, equal environments."""

    directory: Path
    """Where it lies in the store."""

    python_version: str
    """Of its interpreter, as ``3.13.0``."""

    interpreter: str
    """The Python it was built on; cells need it too."""

    requested: tuple[str, ...]
    """What was asked for, as it was written."""

    packages: dict[str, str]
    """Everything in it: the package's name and its version."""

    preload: tuple[str, ...]
    """The modules a sandbox imports ahead unless told otherwise: those of the packages asked for."""

    left_out: dict[str, str]
    """Modules that cannot be imported ahead, and why; code in a cell may still import them."""

    created: str
    """When it was built, in UTC, as ISO 8601."""

    size_bytes: int
    """All its files together, in bytes."""

    @property
    def prefix(self) -> str:
        """The virtual environment: all that a cell is shown of it."""
        return str(self.directory / VENV)

    @property
    def python(self) -> str:
        """The command that starts its interpreter."""
        return f"{self.prefix}/bin/python"

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data."""
        return {"name": self.name, "directory": str(self.directory), **self.manifest()}

    def manifest(self) -> dict[str, Any]:
        """What is kept beside it, whatever its name and place."""
        data = dataclasses.asdict(self)
        return {field: data[field] for field in data if field not in ("name", "directory")}


def find(name: str) -> Environment:
    """The environment of this name.

    Raises ConfigurationError for a name that is unknown or no name at all, and where somebody else could have changed
    what is in the store; EnvironmentFailed for an environment that is damaged.
    """
    place = store()
    if (digest := digest_of(place, name)) is None:
        known = ", ".join(names(place)) or "none yet"
        raise ConfigurationError(
            f"environment={name!r} is not known (there are: {known}): make it with "
            f"`hotcell env create {name} --packages ...`. The store is {place}."
        )
    return load(place / digest, name)


def every() -> Iterator[Environment | EnvironmentFailed]:
    """All that have a name, by name; in the place of a damaged one, what is wrong with it."""
    place = store()
    for name in names(place):
        try:
            yield load(place / (digest_of(place, name) or "gone"), name)
        except EnvironmentFailed as error:
            yield error


def load(directory: Path, name: str) -> Environment:
    """Read an environment's manifest.

    Raises EnvironmentFailed when a part of it or its interpreter is missing, ConfigurationError as ``find`` does.
    """
    parts = (directory, directory / VENV, directory / MANIFEST)
    try:
        found = [(path, path.stat()) for path in parts]
        kept = json.loads(parts[-1].read_bytes())
        lists = {field: tuple(kept[field]) for field in ("requested", "preload")}
        environment = Environment(**{**kept, **lists}, name=name, directory=directory)
        os.stat(environment.python)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise EnvironmentFailed(
            f"Environment {name!r} is damaged, or its Python is gone ({error}): `hotcell env remove {name}`, then "
            "create it again."
        ) from error
    for path, status in found:
        _check_one(path, status)
    return environment


def store() -> Path:
    """Where environments are kept. Raises ConfigurationError when others could plant code there; need not exist."""
    given = os.environ.get("HOTCELL_ENVIRONMENTS")
    if given and not os.path.isabs(given):
        raise ConfigurationError(f"HOTCELL_ENVIRONMENTS={given!r} is not allowed: give an absolute path.")
    if given:
        place = Path(given)
    elif os.geteuid() == 0:
        # Root's home is closed to the ids that cells have.
        place = Path("/var/lib/hotcell/environments")
    else:
        data = os.environ.get("XDG_DATA_HOME", "")
        place = (Path(data) if os.path.isabs(data) else Path.home() / ".local" / "share") / "hotcell" / "environments"
    place = place.resolve()
    check_trusted(place)
    return place


def check_name(name: object) -> None:
    """Raises ConfigurationError unless ``name`` is a plain word."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ConfigurationError(
            f"environment={str(name)[:100]!r} is not allowed as a name: give up to 64 letters, digits, '.', '_' and "
            "'-', the first of them a letter or digit."
        )


def names(place: Path) -> list[str]:
    """All names in the store."""
    try:
        return sorted(entry.name for entry in os.scandir(place / NAMES) if _NAME.fullmatch(entry.name))
    except FileNotFoundError:
        return []


def digest_of(place: Path, name: str) -> str | None:
    """What this name stands for; None when there is no such name."""
    check_name(name)
    try:
        target = os.readlink(place / NAMES / name)
    except OSError:
        return None
    digest = os.path.basename(target)
    return digest if DIGEST.fullmatch(digest) else None


def check_trusted(place: Path) -> None:
    """Raises ConfigurationError where a user other than root and this one could change what lies below ``place``."""
    for path in (place, *place.parents):
        try:
            _check_one(path, path.stat(), sticky=path != place)
        except FileNotFoundError:
            continue  # it will be ours
        except OSError as error:
            raise ConfigurationError(f"The store of environments {place} cannot be reached: {error}.") from None


def _check_one(path: Path, status: os.stat_result, *, sticky: bool = False) -> None:
    # Whoever owns / is root, also where a user namespace shows root as somebody else.
    if status.st_uid not in (0, os.geteuid(), os.stat("/").st_uid):
        problem = f"belongs to user {status.st_uid}"
    elif sticky and status.st_mode & stat.S_ISVTX:
        return  # /tmp: what is in it can be replaced by its owner alone
    elif status.st_mode & stat.S_IWOTH or (status.st_mode & stat.S_IWGRP and not _has_one_member(status.st_gid)):
        problem = f"can be written to by others (mode {stat.S_IMODE(status.st_mode):o})"
    else:
        return
    raise ConfigurationError(
        f"The store of environments cannot be trusted: {path} {problem}, who could put code into it that is run for "
        f"you. Take that right away (`chmod go-w {path}`), or name another place in HOTCELL_ENVIRONMENTS."
    )


def _has_one_member(group: int) -> bool:
    """True for root's group, and for one that a distribution made for this user alone."""
    if group == 0:
        return True
    try:
        user, members = pwd.getpwuid(os.geteuid()), grp.getgrgid(group)
        return (user.pw_gid, user.pw_name) == (group, members.gr_name) and set(members.gr_mem) <= {user.pw_name}
    except KeyError:
        return False
