"""Building an environment: find versions, lock them, install exactly those, try them, give the result a name."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path

from hotcell.building import finish, store, tools, trial
from hotcell.building.requirements import check_requirement, name_of, read_requirements
from hotcell.environments import LOCK, VENV, Environment, check_name, load
from hotcell.errors import ConfigurationError, EnvironmentFailed


def create(
    name: str,
    *,
    packages: Iterable[str] = (),
    requirements: str | os.PathLike[str] | None = None,
    python: str = sys.executable,
    allow_source: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> Environment:
    """Build an environment of ``packages`` and of what the file ``requirements`` lists, and call it ``name``.

    The same packages on the same interpreter are the same environment, built once. A name that is taken is given to the
    new one; sandboxes that run keep the old. ``allow_source`` also takes packages that come without a wheel, whose
    authors' code then runs here, with your rights. ``say`` hears what is being done.

    Raises ConfigurationError for what cannot be asked for, and EnvironmentFailed with the tool's own last lines.
    """
    check_name(name)
    asked = _asked(packages, requirements, allow_source=allow_source)
    interpreter = tools.examine(python)
    with store.opened(say) as (place, lock):
        try:
            return _build(name, asked, interpreter, place, lock, allow_source=allow_source, say=say)
        except OSError as error:
            raise EnvironmentFailed(
                f"The environment could not be built: {error}. Free some space, or name another place in "
                "HOTCELL_ENVIRONMENTS."
            ) from error
        finally:
            store.sweep(place)


def _asked(
    packages: Iterable[str], requirements: str | os.PathLike[str] | None, *, allow_source: bool
) -> tuple[str, ...]:
    if isinstance(packages, str):
        raise ConfigurationError(f"packages={packages!r} is text: give a list of requirements.")
    listed = read_requirements(requirements) if requirements is not None else []
    asked = tuple(check_requirement(text, allow_source=allow_source) for text in (*packages, *listed))
    if not asked:
        raise ConfigurationError("packages: name at least one package.")
    return asked


def _build(
    name: str,
    asked: tuple[str, ...],
    interpreter: tools.Interpreter,
    place: Path,
    lock: int,
    *,
    allow_source: bool,
    say: Callable[[str], None],
) -> Environment:
    work = store.new_work(place)
    new = work / "new"
    tools.make_venv(interpreter, new / VENV)
    tool = tools.choose(interpreter, f"{new / VENV}/bin/python", work, allow_source=allow_source, lock=lock)
    wanted = work / "requirements.txt"
    wanted.write_text("".join(f"{text}\n" for text in asked), "utf-8")
    say(f"Finding versions with {tool.name}.")
    locked = tool.resolve(wanted, work)
    digest = _digest(interpreter, asked, locked)
    if not _is_whole(place / digest):
        (new / LOCK).write_text(locked, "utf-8")
        say("Installing and compiling.")
        tool.install(new / LOCK)
        _finish(new, place / digest, asked, interpreter, say)
        os.rename(new, place / digest)
    store.give_name(place, name, digest)
    return load(place / digest, name)


def _digest(interpreter: tools.Interpreter, asked: tuple[str, ...], locked: str) -> str:
    """Covers what is installed and on what; and which of it was asked for, since that is what is imported ahead."""
    wanted = " ".join(sorted({name_of(text) for text in asked}))
    return hashlib.sha256(f"{interpreter.identity()}\n{wanted}\n{locked}".encode()).hexdigest()[:32]


def _is_whole(directory: Path) -> bool:
    """Whether it is built already. What is damaged is cleared away."""
    try:
        load(directory, directory.name)
    except EnvironmentFailed:
        if not store.discard(directory):
            raise
        return False
    return True


def _finish(
    new: Path, final: Path, asked: tuple[str, ...], interpreter: tools.Interpreter, say: Callable[[str], None]
) -> None:
    """From what the tool left to what cells are shown and sandboxes read."""
    finish.tidy(new / VENV, interpreter.binary)
    finish.compile_all(new / VENV, final / VENV, interpreter.binary)
    installed = finish.distributions(new / VENV)
    size = finish.open_to_all(new)
    wanted = {name_of(text) for text in asked}
    environment = Environment(
        name=final.name,
        digest=final.name,
        directory=new,
        python_version=interpreter.version,
        interpreter=interpreter.binary,
        requested=asked,
        packages={item.name: item.version for item in installed},
        preload=(),
        left_out={},
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        size_bytes=size,
    )
    say("Trying what can be imported ahead, behind the wall.")
    modules = [module for item in installed if item.name in wanted for module in item.modules]
    finish.describe(trial.with_preload(environment, sorted(set(modules))))
