"""Whether a regular expression can take exponential time: a repetition of something that is itself repeatable."""

from __future__ import annotations

import re
from functools import lru_cache
from re import _constants as codes  # type: ignore[attr-defined]  # there is no public parser of patterns
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

_REPEATS = (codes.MAX_REPEAT, codes.MIN_REPEAT)
_MANY = 20
_ALPHABET = [chr(number) for number in range(128)] + ["\u00e9"]


_WARNED_OF = re.compile(r"\[[^\]]*(?:\[|--|&&|~~|\|\|)")
"""Sets that the parser warns of; its warning would reach the application."""


@lru_cache(maxsize=256)
def explodes(pattern: str) -> bool:
    """True when a text exists on which ``pattern`` backtracks exponentially; False when in doubt."""
    if len(pattern) > 1_000 or not re.search(r"[*+}][^|]*\)|\|", pattern) or _WARNED_OF.search(pattern):
        return False
    try:
        parsed = parser.parse(pattern)
    except (re.error, RecursionError, OverflowError, Warning):
        return False
    return _sequence_explodes(list(parsed), can_fail=False)


def _sequence_explodes(items: list[Any], can_fail: bool) -> bool:
    for index, item in enumerate(items):
        follows = can_fail or any(_must_match(later) for later in items[index + 1 :])
        if _item_explodes(item, follows):
            return True
    return False


def _item_explodes(item: Any, can_fail: bool) -> bool:
    code, argument = item
    if code in _REPEATS:
        most, body = argument[1], list(argument[2])
        if most >= _MANY and can_fail and _ambiguous(_flat(body)):
            return True
        return _sequence_explodes(body, can_fail or most > 1)
    return any(_sequence_explodes(list(part), can_fail) for part in _parts(item))


def _parts(item: Any) -> list[Any]:
    code, argument = item
    if code is codes.SUBPATTERN:
        return [argument[3]]
    if code is codes.BRANCH:
        return list(argument[1])
    if code in (codes.ASSERT, codes.ASSERT_NOT):
        return [argument[1]]
    return []


def _flat(items: list[Any]) -> list[Any]:
    """A group that stands alone is as good as its content."""
    while len(items) == 1 and items[0][0] is codes.SUBPATTERN:
        items = list(items[0][1][3])
    return items


def _ambiguous(body: list[Any]) -> bool:
    """Whether two rounds of the body can match what one round matches."""
    for index, item in enumerate(body):
        others = body[:index] + body[index + 1 :]
        if item[0] in _REPEATS and item[1][1] >= _MANY and all(_same_again(item, other) for other in others):
            return True
        if item[0] is codes.SUBPATTERN and not others and _ambiguous(list(item[1][3])):
            return True
    if len(body) == 1 and body[0][0] is codes.BRANCH:
        return _branches_overlap([list(branch) for branch in body[0][1][1]])
    return False


def _same_again(item: Any, other: Any) -> bool:
    """Whether ``other`` leaves it open where the repetition ``item`` ends: it may be empty, or repeat the same."""
    return _nullable(other) or (other[0] in _REPEATS and bool(_characters(item) & _characters(other)))


def _branches_overlap(branches: list[list[Any]]) -> bool:
    seen: set[str] = set()
    for branch in branches:
        if len(branch) == 1 and branch[0][0] in (*_REPEATS, codes.LITERAL, codes.IN, codes.ANY, codes.NOT_LITERAL):
            first = _characters(branch[0])
            if seen & first:
                return True
            seen |= first
    return any(_ambiguous(branch) for branch in branches if len(branch) == 1)


def _characters(item: Any) -> set[str]:
    """The characters of a small alphabet that a one-character item, or a repetition of one, begins with."""
    code, argument = item
    if code in _REPEATS:
        return _characters(argument[2][0]) if len(argument[2]) else set()
    if code is codes.LITERAL:
        return {chr(argument)}
    if code is codes.NOT_LITERAL:
        return set(_ALPHABET) - {chr(argument)}
    if code is codes.ANY:
        return set(_ALPHABET)
    if code is codes.SUBPATTERN and len(argument[3]):
        return _characters(argument[3][0])
    return {character for character in _ALPHABET if _in_class(argument, character)} if code is codes.IN else set()


def _in_class(members: Any, character: str) -> bool:
    inside, negated = False, False
    for code, argument in members:
        if code is codes.NEGATE:
            negated = True
        elif code is codes.LITERAL:
            inside |= ord(character) == argument
        elif code is codes.RANGE:
            inside |= argument[0] <= ord(character) <= argument[1]
        elif code is codes.CATEGORY:
            inside |= _in_category(argument, character)
    return inside != negated


def _in_category(category: Any, character: str) -> bool:
    name = str(category)
    word = character.isalnum() or character == "_"
    belongs = character.isdigit() if "DIGIT" in name else character.isspace() if "SPACE" in name else word
    return belongs != ("NOT" in name)


def _nullable(item: Any) -> bool:
    code, argument = item
    if code in _REPEATS:
        return argument[0] == 0 or all(_nullable(inner) for inner in argument[2])
    if code is codes.SUBPATTERN:
        return all(_nullable(inner) for inner in argument[3])
    if code is codes.BRANCH:
        return any(all(_nullable(inner) for inner in branch) for branch in argument[1])
    return code in (codes.AT, codes.ASSERT, codes.ASSERT_NOT)


def _must_match(item: Any) -> bool:
    """Whether what follows can fail, so that the engine goes back and tries again."""
    return item[0] is codes.AT or not _nullable(item)
