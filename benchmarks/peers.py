"""Others that run Python somewhere safer than here, each where it is installed: ``print(1+1)``, in turn with ours."""

from __future__ import annotations

import contextlib
import shutil
import statistics
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from benchmarks.companion import Companion, CompanionError
from benchmarks.measure import Contender, Row, absent, interleave, milliseconds, ratio, timed
from benchmarks.subjects import PRINT, PYTHON, bare_python, command, execute, executor, rested

HERE = Path(__file__).parent
PLACE = Path(sys.prefix) / "peers"
"""Their own virtual environment: none of what they bring along gets near ours."""
IMAGE = "python:3-slim"

RUN = ["python3", "-I", "-S", "-c", PRINT]
BARE = [PYTHON, *RUN[1:]]
BWRAP = "bwrap --unshare-all --die-with-parent --ro-bind / / --proc /proc --dev /dev".split()
NSJAIL = "nsjail -Mo --really_quiet --chroot / --".split()
RUNSC = "runsc --network=none --platform=systrap do".split()
DOCKER = f"docker run --rm --network=none {IMAGE}".split()
COMMANDS: dict[str, tuple[str, int, list[str]]] = {
    "bwrap": ("namespaces", 1, [*BWRAP, *BARE]),
    "nsjail": ("namespaces", 1, [*NSJAIL, *BARE]),
    "runsc do": ("gvisor", 3, [*RUNSC, *BARE]),
    "docker run": ("container", 3, [*DOCKER, *RUN]),
}
"""Isolation in a word, in which rounds it takes part, and the command."""
GUESTS = {
    "RestrictedPython": ("none", 1),
    "smolagents": ("none", 1),
    "pydantic-monty": ("interpreter", 1),
    "sandlock": ("process", 1),
    "llm-sandbox": ("namespaces", 3),
}


def prepare() -> None:
    """Make the peers' environment, unless it is there. Without a network their rows stay empty."""
    done = PLACE / ".installed"
    wanted = (HERE / "requirements.txt").read_text()
    if done.exists() and done.read_text() == wanted:
        return
    print(f"Installing the peers into {PLACE}: half a gigabyte. --no-peers leaves them out.", file=sys.stderr)
    if not _succeeds([PYTHON, "-m", "venv", str(PLACE)]):
        return
    if _succeeds([str(PLACE / "bin" / "python"), "-m", "pip", "install", "-q", "-r", str(HERE / "requirements.txt")]):
        done.write_text(wanted)


def _succeeds(arguments: list[str]) -> bool:
    return subprocess.run(arguments, check=False).returncode == 0


def companion(name: str) -> Companion:
    """A peer that is a Python library, in its own process. Raises CompanionError where it is not installed."""
    python = PLACE / "bin" / "python"
    if not python.exists():
        raise CompanionError("not installed")
    return Companion([str(python), "-W", "ignore", str(HERE / "guest.py"), name])


def measure(rounds: int) -> Iterator[Row]:
    """All of them, ours and the bare interpreter, in turn."""
    with contextlib.ExitStack() as stack:
        runner, sandbox = stack.enter_context(executor())
        ours = Contender(name="ours", once=timed(lambda: execute(runner, PRINT)))
        contenders, missing = [bare_python(), ours], {}
        for name, peer in (*_commands(), *_guests(stack)):
            if isinstance(peer, str):
                missing[name] = peer
            else:
                contenders.append(peer)
        found = interleave(contenders, rounds, rested(sandbox))
    middle = statistics.median(found["python3 -I -S"])
    yield milliseconds("hotcell (namespaces)", found["ours"], of_python=statistics.median(found["ours"]) / middle)
    for name, (isolation, *_) in (COMMANDS | GUESTS).items():
        what = f"{name} ({isolation})"
        if name in missing:
            yield absent(what, missing[name])
        else:
            yield milliseconds(what, found[name], of_python=statistics.median(found[name]) / middle)
    if "runsc do" in missing:
        yield absent("hotcell / runsc do", missing["runsc do"], unit="x", most=0.005)
    else:
        yield ratio("hotcell / runsc do", found["ours"], found["runsc do"], most=0.005)


def _commands() -> Iterator[tuple[str, Contender | str]]:
    for name, (_, every, arguments) in COMMANDS.items():
        contender = command(name, arguments, every=every)
        why = _why_not(contender, arguments)
        yield name, why or contender


def _why_not(contender: Contender, arguments: list[str]) -> str:
    if not shutil.which(arguments[0]):
        return "not installed"
    if arguments[0] == "docker" and not _has_image():
        return f"no engine runs, or it has no image {IMAGE}"
    try:
        contender.once()
    except RuntimeError as error:
        return str(error).splitlines()[-1][:100]
    return ""


def _has_image() -> bool:
    return subprocess.run(["docker", "image", "inspect", IMAGE], capture_output=True, check=False).returncode == 0


def _guests(stack: contextlib.ExitStack) -> Iterator[tuple[str, Contender | str]]:
    for name, (_, every) in GUESTS.items():
        try:
            peer = stack.enter_context(companion(name))
        except CompanionError as error:
            yield name, str(error)
        else:
            yield name, Contender(name=name, once=partial(peer.time, PRINT), every=every)
