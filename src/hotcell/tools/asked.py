"""One call that a cell asks for: hostile data made sense of, and what became of it."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from hotcell.results import ToolCall
from hotcell.tools import Tool, Toolbox, answers
from hotcell.tools.answers import Answer, refused
from hotcell.tools.shapes import Mismatch
from hotcell.worker.tracebacks import encodable

_NAME_CHARS = 64
Done = Callable[[Mapping[str, Any] | None, bytes], None]
"""Gets what came of a call, for people (None when nobody is to be told), and the payload of its answer."""


def _nobody(_told: Mapping[str, Any] | None, _payload: bytes) -> None:
    """Takes an answer that nobody waits for."""


@dataclass(kw_only=True)
class Asked:
    """A call from when it is asked for. Without ``bound`` it cannot be made."""

    number: int
    identity: int | None
    name: str
    done: Done
    arguments: Mapping[str, Any]
    """For the record."""
    tool: Tool | None = None
    bound: inspect.BoundArguments | None = None
    is_kept: bool = True
    """False for one too many to be told of."""
    answer: Answer | None = None
    seconds: float = 0.0

    def begin(self, argument_bytes: int) -> Any:
        """Check the arguments and call the function. Raises Mismatch, and whatever the author's code raises."""
        tool, bound = self.tool, self.bound
        assert tool and bound
        size = len(json.dumps([bound.args, bound.kwargs], ensure_ascii=False).encode("utf-8", "replace"))
        if size > argument_bytes:
            raise Mismatch(f"the arguments are more than {argument_bytes:,} bytes as JSON", "ValueError")
        tool.signature.convert(bound)
        return tool.function(*bound.args, **bound.kwargs)

    def told(self) -> dict[str, Any]:
        """That it is being made, for people."""
        return {"number": self.number, "name": self.name, "arguments": self.arguments}

    def finish(self, answer: Answer) -> None:
        """Give the answer to whoever waits for it, and keep what a record needs."""
        payload = answer.encode(self.identity)
        told = {"number": self.number, "name": self.name, "outcome": answer.outcome, "error": answer.error}
        self.answer = replace(answer, value=answers.shortened(answer.value))
        done = self.done
        self.forget()
        done({**told, "seconds": self.seconds} if self.is_kept else None, payload)

    def forget(self) -> None:
        """Let go of the conversation and of the arguments, which a thread that hangs would keep alive."""
        self.done, self.bound = _nobody, None

    def record(self) -> ToolCall:
        """What the result keeps of it."""
        answer = self.answer or Answer(outcome="abandoned")
        return ToolCall(
            number=self.number,
            name=self.name,
            arguments=self.arguments,
            outcome=answer.outcome,
            value=answer.value,
            error=answer.error,
            seconds=self.seconds,
        )


def read(call: Mapping[str, Any], number: int, done: Done, toolbox: Toolbox) -> tuple[Asked, Answer | None]:
    """Make sense of what a worker sent; the answer is there at once when there is no sense in it. Raises nothing."""
    identity, name = call.get("id"), call.get("name")
    args, kwargs = call.get("args"), call.get("kwargs")
    name = name if isinstance(name, str) else ""
    asked = Asked(
        number=number,
        identity=identity if type(identity) is int and abs(identity) < 1 << 63 else None,
        name=encodable(name[:_NAME_CHARS]),
        done=done,
        arguments={},
    )
    if not isinstance(args, list) or not isinstance(kwargs, dict):
        return asked, refused("TypeError", "args must be a list and kwargs an object.")
    asked.arguments = answers.shortened_items({"args": args, **kwargs} if args else kwargs)
    if name not in toolbox:
        return asked, refused("RuntimeError", f"There is no host tool {asked.name!r}.")
    asked.tool = toolbox[name]
    try:
        asked.bound = asked.tool.signature.bind(args, kwargs)
    except TypeError as error:
        return asked, refused("TypeError", f"{name}() {error}")
    asked.arguments = answers.shortened_items(asked.bound.arguments)
    return asked, None
