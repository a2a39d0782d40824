"""Changing the store of environments: one writer at a time, and nothing half made ever has a name.

Whoever changes something holds the store's lock, so whatever unfinished work a new holder finds is of a process that
was killed. Whoever runs cells in an environment holds a shared lock on its directory (``sandboxes/local/launcher.py``),
which lies outside of what cells are shown; what somebody holds is not removed.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from hotcell.environments import DIGEST, NAMES, check_trusted, digest_of, names, store
from hotcell.errors import ConfigurationError, EnvironmentFailed

_WORK = ".work-"
_NEW_NAME = ".new"


@contextlib.contextmanager
def opened(say: Callable[[str], None] = lambda _: None) -> Iterator[tuple[Path, int]]:
    """Make the store if need be, lock and tidy it; gives its path and the lock, which programs we start inherit.

    Raises ConfigurationError where it cannot be written to.
    """
    place = store()
    try:
        _make(place)
        lock = os.open(place / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigurationError(
            f"The store of environments {place} cannot be written to: {error.strerror}. Run this as its owner, or name "
            "another place in HOTCELL_ENVIRONMENTS."
        ) from error
    try:
        if not _lock(lock, fcntl.LOCK_EX):
            say("Waiting for another hotcell that is changing the store.")
            fcntl.flock(lock, fcntl.LOCK_EX)
        sweep(place)
        yield place, lock
    finally:
        os.close(lock)


def new_work(place: Path) -> Path:
    """An empty directory in the store for something unfinished. The next to open the store removes it."""
    return Path(tempfile.mkdtemp(prefix=_WORK, dir=place))


def sweep(place: Path) -> None:
    """Remove unfinished work, and environments that have no name any more and are not in use."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(place / NAMES / _NEW_NAME)
    named = {digest_of(place, name) for name in names(place)}
    for path in list(place.iterdir()):
        if path.name.startswith(_WORK):
            _delete(path)
        elif DIGEST.fullmatch(path.name) and path.name not in named:
            discard(path)


def give_name(place: Path, name: str, digest: str) -> None:
    """Let ``name`` stand for ``digest``, in one step, whatever it stood for."""
    new = place / NAMES / _NEW_NAME
    os.symlink(f"../{digest}", new)
    os.replace(new, place / NAMES / name)


def remove(name: str) -> None:
    """Remove a name, and the environment when nothing else is called by it.

    Raises ConfigurationError for an unknown name; EnvironmentFailed while a sandbox uses the environment.
    """
    with opened() as (place, _):
        if name not in names(place):
            digest_of(place, name)  # says so when it is no name at all
            raise ConfigurationError(f"environment={name!r} is not known: `hotcell env list` shows those there are.")
        digest = digest_of(place, name)
        shared = any(digest_of(place, other) == digest for other in names(place) if other != name)
        if digest and not shared and not discard(place / digest):
            raise EnvironmentFailed(
                f"Environment {name!r} is in use: close the sandboxes that run cells in it, then remove it."
            )
        os.unlink(place / NAMES / name)


def _make(place: Path) -> None:
    for path in (*reversed(place.parents), place, place / NAMES):
        with contextlib.suppress(FileExistsError):
            os.mkdir(path, 0o755)
            path.chmod(0o755)  # whatever the umask says: cells have ids of their own
    check_trusted(place)


def discard(path: Path) -> bool:
    """Remove an environment, if nobody uses it. It loses its place at once, so that half of it is never found."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    try:
        if not _lock(handle, fcntl.LOCK_EX):
            return False
        work = new_work(path.parent)
        os.rename(path, work / path.name)
        _delete(work)
        return True
    finally:
        os.close(handle)


def _lock(handle: int, kind: int) -> bool:
    """Take a lock if it can be had at once."""
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _delete(path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True)
