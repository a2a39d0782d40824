"""What may be a tool, under which name, within which limits: said where it is written."""

from __future__ import annotations

import dataclasses
import math
import re
from typing import Any

import pytest

from hotcell.config import MiB
from hotcell.errors import ConfigurationError
from hotcell.tools import Tool, Toolbox, ToolLimits

# The promise of docs/reference: both ends are allowed.
RANGES = {
    "calls": (1, 1_000_000),
    "calls_per_second": (0.01, 1_000_000),
    "call_seconds": (0.01, 86_400),
    "total_seconds": (0.01, 86_400),
    "argument_bytes": (1024, MiB),
    "result_bytes": (1024, MiB),
}


def search(query: str, limit: int = 10) -> list[str]:
    """Find pages.

    Best first.
    """
    return [query] * limit


def test_every_limit_has_its_range():
    assert {field.name for field in dataclasses.fields(ToolLimits)} == RANGES.keys()


@pytest.mark.parametrize(("field", "ends"), RANGES.items())
def test_both_ends_of_a_range_are_allowed_and_nothing_beyond(field: str, ends: tuple[Any, Any]):
    for value in ends:
        assert getattr(ToolLimits(**{field: value}), field) == value
    for value in (ends[0] - 1, ends[1] + 1, True, "5", None, math.nan, -math.inf):
        with pytest.raises(ConfigurationError, match=f"^{field}="):
            ToolLimits(**{field: value})


def test_limits_and_tools_do_not_change():
    with pytest.raises(dataclasses.FrozenInstanceError):
        ToolLimits().calls = 5  # type: ignore[misc]
    with pytest.raises(dataclasses.FrozenInstanceError):
        Tool(search).function = print  # type: ignore[misc]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"function": 5}, "function=5 is not a function"),
        ({"function": dict}, "is not a function"),
        ({"function": search, "description": 5}, "description=5"),
        ({"function": search, "timeout_seconds": 0}, "timeout_seconds=0"),
        ({"function": search, "timeout_seconds": True}, "timeout_seconds=True"),
        ({"function": lambda x=re.compile: x, "timeout_seconds": 1, "description": b""}, "description"),
    ],
)
def test_what_is_no_tool_is_refused(arguments: dict[str, Any], message: str):
    with pytest.raises(ConfigurationError, match=re.escape(message)):
        Tool(**arguments)


@pytest.mark.parametrize(
    "name",
    [
        *("", "a b", "class", "None", "__import__", "__x", "print", "open", "display", "result", "ToolError", "größe"),
        *("ﬁnd", "x" * 65, "a.b", "1st", 5, "search\n"),
    ],
)
def test_a_name_that_code_could_not_use_or_relies_on_is_refused(name: Any):
    with pytest.raises(ConfigurationError, match="tools: "):
        Toolbox({name: search})


@pytest.mark.parametrize("tools", [[("search", search)], "search", None, 5])
def test_tools_are_a_dict(tools: Any):
    with pytest.raises(ConfigurationError, match="must be a dict"):
        Toolbox(tools)


def test_a_bad_tool_is_named():
    def bad(pattern: re.Pattern[str]):
        raise NotImplementedError

    bad.__annotations__["pattern"] = re.Pattern
    with pytest.raises(ConfigurationError, match=r"tools\['bad'\]: its parameter 'pattern'"):
        Toolbox({"search": search, "bad": bad})
    with pytest.raises(ConfigurationError, match="limits must be"):
        Toolbox({}, limits=5)  # type: ignore[arg-type]


def test_a_toolbox_is_a_mapping_that_is_taken_as_it_is():
    toolbox = Toolbox({"search": search, "find": Tool(search, description="Another.")}, limits=ToolLimits(calls=3))
    assert list(toolbox) == ["search", "find"] and len(toolbox) == 2
    assert toolbox["search"].function is search and toolbox["find"].text == "Another."
    assert Toolbox.of(toolbox) is toolbox
    assert Toolbox.of({"search": search}).limits == ToolLimits()


def test_a_name_is_a_variable_or_a_tool_but_not_both():
    with pytest.raises(ConfigurationError, match="'search' is also a name in context"):
        Toolbox.of({"search": search}, taken=["x", "search"])


def test_a_model_gets_a_schema_for_each_tool():
    (schema,) = Toolbox({"search": search}).schemas()
    assert schema == {
        "name": "search",
        "description": "Find pages.\n\nBest first.",
        "parameters": {
            "type": "object",
            "properties": {"query": {"type": "string"}, "limit": {"type": "integer", "default": 10}},
            "required": ["query"],
            "additionalProperties": False,
        },
    }


def test_a_model_that_writes_code_gets_declarations_that_are_python():
    awkward = Tool(search, description='She said """stop""" \\ and left')
    text = Toolbox({"search": search, "again": awkward}).declarations()
    assert "def search(query: str, limit: int = 10) -> list[str]:" in text
    names: dict[str, Any] = {}
    exec(text, names)
    assert names["search"].__doc__.startswith("Find pages.")
    assert names["again"].__doc__ == 'She said """stop""" \\ and left'
