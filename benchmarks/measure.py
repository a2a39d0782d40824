"""The arithmetic of every measurement: interleaved rounds, quantiles, and rows that are compared with a target."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

WARM_UP_ROUNDS = 3
PAUSE_SECONDS = 0.005


@dataclass(frozen=True, kw_only=True)
class Contender:
    """Something that is measured: ``once`` returns the seconds it took."""

    name: str
    once: Callable[[], float]
    every: int = 1
    """It takes part in each ``every``-th round: what takes long needs fewer rounds."""


def pause() -> None:
    """A moment for the machine to clear up."""
    time.sleep(PAUSE_SECONDS)


def timed(work: Callable[[], object]) -> Callable[[], float]:
    """``work`` as a function that returns the seconds it took."""

    def once() -> float:
        start = time.perf_counter()
        work()
        return time.perf_counter() - start

    return once


def interleave(
    contenders: Sequence[Contender], rounds: int, before: Callable[[], object] = pause
) -> dict[str, list[float]]:
    """Seconds by contender. A disturbance of the machine hits all of them, as each takes its turn in every round.

    ``before`` precedes each turn, untimed: what the last contender left to do must not slow the next.
    """
    found: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    for number in range(-WARM_UP_ROUNDS, rounds):
        start = number % len(contenders)  # nobody always comes after the same neighbour's mess
        for contender in (*contenders[start:], *contenders[:start]):
            if number > 0 and number % contender.every:
                continue
            before()
            seconds = contender.once()
            if number >= 0:
                found[contender.name].append(seconds)
    return found


def quantile(values: Iterable[float], share: float) -> float:
    """The value below which ``share`` of them lie, by the nearest rank."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table. ``value`` is a median unless ``what`` says otherwise; None when it was not measured."""

    what: str
    value: float | None
    unit: str = "ms"
    p95: float | None = None
    least: float | None = None
    of_python: float | None = None
    """Its median in terms of the median of ``python3 -I -S`` of the same rounds."""
    most: float | None = None
    """The target, where it is an upper bound."""
    floor: float | None = None
    """The target, where it is a lower bound."""
    note: str = ""

    @property
    def target(self) -> str:
        """As text; empty when there is none."""
        if self.most is not None:
            return f"<= {self.most:g}"
        return f">= {self.floor:g}" if self.floor is not None else ""

    @property
    def met(self) -> bool | None:
        """None where nothing is promised or nothing was measured."""
        if self.value is None:
            return None
        if self.most is not None:
            return self.value <= self.most
        return self.value >= self.floor if self.floor is not None else None

    @property
    def share_of_target(self) -> float | None:
        """The value divided by the target; below 1 is within an upper bound."""
        bound = self.most if self.most is not None else self.floor
        return self.value / bound if bound and self.value is not None else None

    def to_dict(self) -> dict[str, Any]:
        """Plain data for the JSON file."""
        return {**asdict(self), "target": self.target, "met": self.met, "share_of_target": self.share_of_target}


def milliseconds(what: str, seconds: Sequence[float], **more: Any) -> Row:
    """A row of times."""
    return Row(
        what=what,
        value=statistics.median(seconds) * 1000,
        p95=quantile(seconds, 0.95) * 1000,
        least=min(seconds) * 1000,
        **more,
    )


def ratio(what: str, ours: Sequence[float], theirs: Sequence[float], **more: Any) -> Row:
    """A row that divides two medians of the same rounds."""
    value = statistics.median(ours) / statistics.median(theirs)
    return Row(what=what, value=value, unit="x", least=min(ours) / min(theirs), **more)


def absent(what: str, why: str, **more: Any) -> Row:
    """A row for what could not be measured."""
    return Row(what=what, value=None, note=why, **more)
