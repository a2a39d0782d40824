"""Deterministic mode: a cell in which the same code comes to the same result, and that knows when it may not.

Every source of randomness that Python has is fed from one seed, so code that uses them is reproduced. What cannot be
fed from a seed is watched: the true time, threads, other processes, the kernel's own random device. All this runs in
the code's own process and is for honest code; what it reports decides only whether the code's own result is kept.
"""

from __future__ import annotations

import _thread
import functools
import os
import random
import sys
import threading
from collections.abc import Callable, Mapping
from typing import Any

from hotcell.worker.clock import Clock

# Audit events (PEP 578) of what goes on beside the code, in an order that nobody knows.
_BESIDE = frozenset("os.exec os.fork os.forkpty os.posix_spawn os.spawn os.system pty.spawn subprocess.Popen".split())
# Python 3.11 has no event for a thread.
_THREAD_STARTERS = (
    "start_new",
    "start_new_thread",
    "_start_new_thread",
    "start_joinable_thread",
    "_start_joinable_thread",
)
_TELLTALE = ("/dev/random", "/dev/urandom", "/dev/hwrng", "/proc/")
_seed_from = random.Random.seed
"""The real one: the code's ``random.Random()`` gets ours."""
_current: list[Watch] = []


class Watch:
    """What a cell did that a second run may do otherwise."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.beside = False
        """True once there was a thread, a process, or a look at what differs from run to run."""

    @property
    def reproducible(self) -> bool:
        """False when a second run may come to another result."""
        return not self.beside and not self._clock.was_read


def apply(settings: Mapping[str, Any]) -> Watch:
    """Make this process deterministic from here on: ``seed``, and ``clock_ns`` or None; see ``Deterministic``.

    May be called again, for the next cell of the same process; everything then begins anew.
    """
    clock = Clock(settings["clock_ns"])
    if not _current:
        _watch_threads()
        sys.addaudithook(_see)  # it can never be taken away again
    _current[:] = [watch := Watch(clock)]
    _feed(settings["seed"])
    clock.install()
    return watch


def _see(event: str, args: tuple[Any, ...]) -> None:
    if event in _BESIDE:
        _current[0].beside = True
    elif event == "open" and type(args[0]) is str and args[0].startswith(_TELLTALE):
        _current[0].beside = True


def _watch_threads() -> None:
    for module in (_thread, threading):
        for name in _THREAD_STARTERS:
            if hasattr(module, name):
                setattr(module, name, functools.partial(_start, getattr(module, name)))


def _start(real: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    _current[0].beside = True
    return real(*args, **kwargs)


def _feed(seed: int) -> None:
    """One stream instead of the operating system's randomness, and the libraries' generators as if seeded by hand."""
    stream = random.Random()  # noqa: S311  # that it can be foretold is what it is for
    _seed_from(stream, f"hotcell {seed}")

    def urandom(size: int, /) -> bytes:
        if size < 0:
            raise ValueError("negative argument not allowed")
        return stream.randbytes(size)

    def getrandom(size: int, flags: int = 0) -> bytes:  # noqa: ARG001  # the signature of the real one
        return urandom(size)

    def seed_generator(self: random.Random, a: Any = None, version: int = 2) -> None:
        """``random.Random.seed``; without a seed the C code would ask the kernel itself."""
        _seed_from(self, stream.getrandbits(256) if a is None else a, version)

    names: Any = vars(random)
    os.urandom, os.getrandom = urandom, getrandom
    names["_urandom"] = urandom  # of SystemRandom, and so of secrets and of numpy's generators
    setattr(random.Random, "seed", seed_generator)  # noqa: B010  # a type checker minds a method that is assigned to
    names["seed"] = names["_inst"].seed
    random.seed(seed)
    _feed_libraries(seed)


def _feed_libraries(seed: int) -> None:
    """What others keep of a randomness from before."""
    loaded: Any = sys.modules
    if "numpy.random" in loaded:
        loaded["numpy.random"].seed(seed)
    if "tempfile" in loaded:
        loaded["tempfile"]._name_sequence = None
    # The C library's uuid_generate_time asks the kernel for everything; Python's own way is fed and watched.
    if "uuid" in loaded:
        loaded["uuid"]._generate_time_safe = loaded["uuid"]._last_timestamp = loaded["uuid"]._node = None
    else:
        loaded["_uuid"] = None
