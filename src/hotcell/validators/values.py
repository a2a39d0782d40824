"""The strings of a JSON value laid end to end as one text, and put back after some of it was replaced.

One text, as a thousand small searches cost far more than one large one; and a name then stands beside its value, so
that ``{"password": "hunter2"}`` reads ``password=hunter2``, with control characters around the value that no text has
after ``clean_text``. Without recursion: depth is the sender's choice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

_SHORTEST_NUMBER = 10**8
"""Whole numbers from here on may be a card number or a known secret."""
_LONGEST_NUMBER_BITS = 4096  # Python refuses to print numbers of many thousand digits, and none is a secret.


@dataclass
class _Leaf:
    start: int
    end: int
    container: Any
    """The copy that holds it: a list, or a dict by its (old) key."""
    key: Any
    is_key: bool


class Leaves:
    """A copy of a JSON value (``root``), and its strings as one ``text``."""

    def __init__(self, value: Any) -> None:
        self._leaves: list[_Leaf] = []
        self._pieces: list[str] = []
        self._length = 0
        holder: list[Any] = [value]
        self._holder = holder
        waiting: list[tuple[Any, Any, Any]] = [(holder, 0, value)]
        while waiting:
            container, key, item = waiting.pop()
            if isinstance(item, dict):
                copy: Any = dict(item)
                container[key] = copy
                self._add_dict(copy, waiting)
            elif isinstance(item, list | tuple):
                copy = list(item)
                container[key] = copy
                waiting += [(copy, index, copy[index]) for index in range(len(copy) - 1, -1, -1)]
            else:
                self._add(item, container, key)
                self._separate("\n")
        self.text = "".join(self._pieces)

    @property
    def root(self) -> Any:
        """The copy of the whole value."""
        return self._holder[0]

    def replace(self, replacements: list[tuple[int, int, str]]) -> None:
        """Put markers where the text had secrets; ``replacements`` are in order and do not overlap."""
        edits: dict[int, list[tuple[int, int, str]]] = {}
        index = 0
        for start, end, marker in replacements:
            while index < len(self._leaves) and self._leaves[index].end <= start:
                index += 1
            reach = index
            while reach < len(self._leaves) and self._leaves[reach].start < end:
                edits.setdefault(reach, []).append((start, end, marker))
                reach += 1
        renames: list[tuple[_Leaf, str]] = []
        for number, changes in edits.items():
            leaf = self._leaves[number]
            text = self._edited(leaf, changes)
            if leaf.is_key:
                renames.append((leaf, text))
            else:
                leaf.container[leaf.key] = text
        _rename(renames)

    def _edited(self, leaf: _Leaf, changes: list[tuple[int, int, str]]) -> str:
        pieces = []
        position = leaf.start
        for start, end, marker in changes:
            pieces += [self.text[position : max(position, start)], marker]
            position = min(end, leaf.end)
        return "".join(pieces) + self.text[position : leaf.end]

    def _add_dict(self, copy: dict[Any, Any], waiting: list[tuple[Any, Any, Any]]) -> None:
        nested = []
        for key, item in copy.items():
            if isinstance(item, dict | list | tuple):
                self._add(key, copy, key, is_key=True)
                self._separate("\n")
                nested.append((copy, key, item))
                continue
            self._add(key, copy, key, is_key=True)
            self._separate("=\x1f")
            self._add(item, copy, key)
            self._separate("\x1f\n")
        waiting += reversed(nested)

    def _add(self, item: Any, container: Any, key: Any, *, is_key: bool = False) -> None:
        if isinstance(item, int) and not isinstance(item, bool) and abs(item) >= _SHORTEST_NUMBER:
            item = str(item) if item.bit_length() < _LONGEST_NUMBER_BITS else ""
        if not isinstance(item, str):
            return
        self._leaves.append(_Leaf(self._length, self._length + len(item), container, key, is_key))
        self._separate(item)

    def _separate(self, text: str) -> None:
        self._pieces.append(text)
        self._length += len(text)


def _rename(renames: list[tuple[_Leaf, str]]) -> None:
    """Give keys their new names, in their old places; a second key of the same name gets a number."""
    by_container: dict[int, tuple[dict[Any, Any], dict[Any, str]]] = {}
    for leaf, text in renames:
        by_container.setdefault(id(leaf.container), (leaf.container, {}))[1][leaf.key] = text
    for container, names in by_container.values():
        items = list(container.items())
        container.clear()
        for key, item in items:
            name = names.get(key, key)
            count = 2
            unique = name
            while unique in container:
                unique = f"{name} ({count})"
                count += 1
            container[unique] = item
