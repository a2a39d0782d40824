"""What one execution may use: frozen data, checked when it is made."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Self

from hotcell.errors import ConfigurationError

MiB = 1 << 20

# field -> (least, most); both ends are allowed.
_RANGES: dict[str, tuple[float, float]] = {
    "timeout_seconds": (0.01, 86_400),
    "cpu_seconds": (0.01, 86_400),
    "memory_bytes": (16 * MiB, 1 << 44),
    "processes": (1, 4096),
    "open_files": (16, 65_536),
    "file_bytes": (0, 1 << 44),
    "disk_bytes": (1 * MiB, 1 << 44),
    "disk_files": (16, 10_000_000),
    "output_bytes": (1024, 1 << 30),
    "value_bytes": (1024, 1 << 28),
    "artifact_bytes": (0, 1 << 40),
    "artifact_count": (0, 100_000),
    "display_bytes": (0, 1 << 28),
    "display_count": (0, 10_000),
    "pause_seconds": (0, 86_400),
}
_FIGURE_FORMATS = ("png", "svg")


def _shown(value: object) -> str:
    if isinstance(value, int) and value.bit_length() > 128:
        return f"<an integer of {value.bit_length()} bits>"
    return repr(value)[:80]


def check_range(field: str, value: object, least: float, most: float) -> None:
    """Raises ConfigurationError unless the value is a number in the range; a whole one, but for seconds and rates."""
    whole = not field.endswith(("_seconds", "_per_second"))
    kinds = (int,) if whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds) or not least <= value <= most:
        span = f"a whole number from {least:,} to {most:,}" if whole else f"a number from {least:g} to {most:g}"
        raise ConfigurationError(f"{field}={_shown(value)} is not allowed: give {span}.")


@dataclass(frozen=True, kw_only=True)
class SandboxConfig:
    """The limits of one execution. Every limit ends in a status of its own, never in silence."""

    timeout_seconds: float = 10.0
    """Wall-clock time from the start of the code, in seconds; past it the status is TIMEOUT."""

    cpu_seconds: float | None = None
    """CPU time of all processes together, in seconds; None means the same as the wall clock."""

    memory_bytes: int = 512 * MiB
    """Memory the execution may hold at once on top of the preloaded heap, all its processes together."""

    processes: int = 32
    """Processes and threads alive at once."""

    open_files: int = 256
    """Open descriptors per process."""

    file_bytes: int = 64 * MiB
    """Size of any one file it writes, in bytes."""

    disk_bytes: int = 128 * MiB
    """All it may have written in its work directory, /tmp and /dev/shm together, in bytes."""

    disk_files: int = 10_000
    """Files and directories it may create."""

    output_bytes: int = 1 * MiB
    """stdout and stderr together, in bytes; past it the code is stopped with OUTPUT_LIMIT."""

    value_bytes: int = 1 * MiB
    """The value as JSON text, in bytes; a larger one comes back as its shortened repr alone."""

    artifact_bytes: int = 64 * MiB
    """All artifacts of one execution together, in bytes."""

    artifact_count: int = 100
    """How many files are collected as artifacts."""

    display_bytes: int = 16 * MiB
    """All displays of one execution together, as JSON, in bytes."""

    display_count: int = 100
    """How many plots, tables and other displays are kept."""

    figure_formats: tuple[str, ...] = ("png",)
    """How figures are drawn: ``png``, ``svg`` or both; empty draws none."""

    pause_seconds: float = 60.0
    """How long its clock may stand still while the host works: a host tool, or a reader of the stream that is slow."""

    def __post_init__(self) -> None:
        for field, (least, most) in _RANGES.items():
            value = getattr(self, field)
            if value is None and field == "cpu_seconds":
                continue
            check_range(field, value, least, most)

        formats: object = self.figure_formats
        if not isinstance(formats, tuple | list) or not all(item in _FIGURE_FORMATS for item in formats):
            raise ConfigurationError(
                f"figure_formats={_shown(formats)} is not allowed: give a tuple of 'png' and 'svg'."
            )
        object.__setattr__(self, "figure_formats", tuple(formats))  # it is a list where it comes from JSON

    @property
    def effective_cpu_seconds(self) -> float:
        """The CPU limit in force, in seconds."""
        return self.timeout_seconds if self.cpu_seconds is None else self.cpu_seconds

    def replace(self, **changes: Any) -> Self:
        """A copy with some fields changed. Raises ConfigurationError for a bad or unknown field."""
        unknown = changes.keys() - {field.name for field in dataclasses.fields(self)}
        if unknown:
            raise ConfigurationError(f"SandboxConfig has no field {sorted(unknown)[0]!r}.")
        return dataclasses.replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data, for a log line or a database row."""
        return {**dataclasses.asdict(self), "figure_formats": list(self.figure_formats)}
