"""Reads markup that is written so plainly that every browser and parser reads it alike; refuses all other.

Plain are start tags with quoted attributes, end tags that close what is open, comments without ``--`` and text. This is
what a hidden script cannot be made of: it hides in what two parsers take for different things. Linear in the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

MOST_TAGS = 20_000
"""Beyond it markup is refused; about a tenth of a second."""
_MOST_ATTRIBUTES = 32

# Quantifiers are possessive, so that nothing is tried twice.
_SPACE = r"[ \t\r\n]"
_ATTRIBUTE = rf"""{_SPACE}++([a-zA-Z][a-zA-Z0-9:-]*+)=(?:"([^"<>]*+)"|'([^'<>]*+)')"""
_COMMENT = re.compile(r"<!-- (?:[^<>-]|-(?!-))*+-->")
_TAG = re.compile(rf"<(/?)([a-zA-Z][a-zA-Z0-9]*+)((?:{_ATTRIBUTE}){{0,{_MOST_ATTRIBUTES}}}+){_SPACE}*+(/?)>")
_EACH_ATTRIBUTE = re.compile(_ATTRIBUTE)


class NotPlain(ValueError):
    """The markup has something that not every parser reads alike."""


@dataclass(frozen=True, slots=True)
class Tag:
    """A start tag, an end tag, or both in one."""

    name: str
    attributes: tuple[tuple[str, str], ...]
    starts: bool
    ends: bool
    before: str
    """All since the tag before it: text, and comments if there are any."""


def tags(text: str) -> Iterator[Tag]:
    """The tags in their order, comments left out. Raises NotPlain."""
    position = behind = count = 0
    while (start := text.find("<", position)) >= 0:
        count += 1
        if count > MOST_TAGS:
            raise NotPlain("too many tags")
        comment = _COMMENT.match(text, start)
        if comment:
            position = comment.end()
            continue
        match = _TAG.match(text, start)
        if not match or (match[1] and (match[3] or match[7])):
            raise NotPlain("no plain tag")
        before, behind = text[behind:start], match.end()
        attributes = tuple((name, one or other) for name, one, other in _EACH_ATTRIBUTE.findall(match[3]))
        ends = bool(match[1] or match[7])
        yield Tag(match[2], attributes, not match[1], ends, before)
        position = behind
