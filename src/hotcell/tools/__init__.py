"""Functions of the host that code in a cell may call: what they are, what they take, and how much of them.

    executor.execute(code, tools={"search": search})
    executor.execute(code, tools=Toolbox({"search": Tool(search, timeout_seconds=5)}, limits=ToolLimits(calls=10)))

The code finds ``search`` defined, an ordinary function. A call crosses the wire as JSON, is checked against the
signature here, and runs here, in a thread of its own.
"""

from __future__ import annotations

import builtins
import keyword
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, TypeAlias

from hotcell.config import MiB, check_range
from hotcell.errors import ConfigurationError
from hotcell.tools.signature import ToolSignature
from hotcell.worker.tools import ToolError

__all__ = ["Tool", "ToolError", "ToolLimits", "Toolbox", "Tools"]

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_TAKEN = {"ToolError", "display", "result"}
_SECONDS = (0.01, 86_400)
_RANGES: dict[str, tuple[float, float]] = {
    "calls": (1, 1_000_000),
    "calls_per_second": (0.01, 1_000_000),
    "call_seconds": _SECONDS,
    "total_seconds": _SECONDS,
    "argument_bytes": (1024, MiB),
    "result_bytes": (1024, MiB),
}


@dataclass(frozen=True, kw_only=True)
class ToolLimits:
    """What the tools of one execution may be used for, all of them together."""

    calls: int = 100
    """How many calls; every further one is refused."""

    calls_per_second: float = 50.0
    """How fast, after as many at once; a call that comes too soon waits, on the cell's own time."""

    call_seconds: float = 30.0
    """How long one call may take, in seconds; past it the code sees a TimeoutError."""

    total_seconds: float = 60.0
    """How long all calls together may take, in seconds; every further one is refused."""

    argument_bytes: int = MiB
    """The arguments of one call as JSON, in bytes."""

    result_bytes: int = MiB
    """What one call returns as JSON, in bytes."""

    def __post_init__(self) -> None:
        for name, (least, most) in _RANGES.items():
            check_range(name, getattr(self, name), least, most)


@dataclass(frozen=True)
class Tool:
    """A function with more to say than its signature does."""

    function: Callable[..., Any]
    """What is called; its type hints say what the code may pass. It may be async."""

    _: KW_ONLY

    description: str | None = None
    """What it is for; None means its docstring."""

    timeout_seconds: float | None = None
    """How long one call may take, in seconds; None means ``ToolLimits.call_seconds``."""

    signature: ToolSignature = field(init=False, repr=False, compare=False)
    """What it takes; read once, here."""

    def __post_init__(self) -> None:
        """Raises ConfigurationError for what is no function, or has a parameter that JSON data cannot fill."""
        if not callable(self.function) or isinstance(self.function, type):
            raise ConfigurationError(f"function={self.function!r:.80} is not a function: pass a def, or a lambda.")
        if not isinstance(self.description, str | None):
            raise ConfigurationError(f"description={self.description!r:.80} is not allowed: give text or None.")
        if self.timeout_seconds is not None:
            check_range("timeout_seconds", self.timeout_seconds, *_SECONDS)
        object.__setattr__(self, "signature", ToolSignature(self.function))

    @property
    def text(self) -> str:
        """What it is for, as the code and a model get to read it."""
        return self.signature.description if self.description is None else self.description


Tools: TypeAlias = "Mapping[str, Callable[..., Any] | Tool]"
"""What ``tools=`` takes: functions by the name that the code calls them by."""


class Toolbox(Mapping[str, Tool]):
    """Tools by the name that the code calls them by. Checked once; good for any number of executions and threads."""

    def __init__(self, tools: Mapping[str, Callable[..., Any] | Tool], *, limits: ToolLimits | None = None) -> None:
        """Raises ConfigurationError, which names the tool."""
        if not isinstance(tools, Mapping):
            raise ConfigurationError(f"tools must be a dict of names to functions, not {type(tools).__name__}.")
        if not isinstance(limits, ToolLimits | None):
            raise ConfigurationError(f"limits must be a ToolLimits, not {type(limits).__name__}.")
        self.limits = limits or ToolLimits()
        self._tools = {_checked_name(name): _tool(name, tool) for name, tool in tools.items()}

    @classmethod
    def of(cls, tools: Mapping[str, Callable[..., Any] | Tool], *, taken: Iterable[str] = ()) -> Toolbox:
        """``tools`` itself when it is one. Raises ConfigurationError, also for a name that is taken by a variable."""
        toolbox = tools if isinstance(tools, Toolbox) else cls(tools)
        for name in taken:
            if name in toolbox:
                raise ConfigurationError(f"tools: {name!r} is also a name in context; choose another for one of them.")
        return toolbox

    def schemas(self) -> list[dict[str, Any]]:
        """Each tool as a model's API takes it: ``name``, ``description`` and ``parameters``, a JSON schema."""
        return [
            {"name": name, "description": tool.text, "parameters": tool.signature.schema()}
            for name, tool in self._tools.items()
        ]

    def declarations(self) -> str:
        """All tools as Python declarations, for the prompt of a model that is to write code with them."""
        return "\n\n".join(_declaration(name, tool) for name, tool in self._tools.items())

    def __getitem__(self, name: str) -> Tool:
        return self._tools[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tools)

    def __len__(self) -> int:
        return len(self._tools)


def _checked_name(name: object) -> str:
    if not isinstance(name, str) or not _NAME.fullmatch(name) or keyword.iskeyword(name):
        raise ConfigurationError(f"tools: {name!r:.80} is not a name of up to 64 ASCII letters, digits and _.")
    if name.startswith("__") or name in _TAKEN:
        raise ConfigurationError(f"tools: {name!r} is a name that code finds defined already; choose another.")
    if hasattr(builtins, name):
        raise ConfigurationError(
            f"tools: {name!r} is a builtin of Python's, which code relies on; choose another name."
        )
    return name


def _tool(name: str, tool: Callable[..., Any] | Tool) -> Tool:
    try:
        return tool if isinstance(tool, Tool) else Tool(tool)
    except ConfigurationError as error:
        raise ConfigurationError(f"tools[{name!r}]: {error}") from error


def _declaration(name: str, tool: Tool) -> str:
    lines = [f"def {name}{tool.signature.text()}:"]
    if tool.text:
        escaped = tool.text.replace("\\", "\\\\").replace('"""', '\\"\\"\\"')
        lines += [f'"""{escaped}"""']
    return "\n    ".join([*"\n".join(lines).splitlines(), "..."])
