"""Text on a terminal that the text cannot take over."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TextIO
from unicodedata import east_asian_width

# What a terminal obeys rather than shows: controls but newline and tab, invisible and direction-changing characters,
# other line ends, tags, and surrogates, which have no UTF-8. The two zero-width joiners stay: scripts need them.
_OBEYED = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)
_MARKS = "\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f"
_STACKED_MARKS = re.compile(f"([{_MARKS}]{{4}})[{_MARKS}]+")


def clean(text: str) -> str:
    """The same text with everything a terminal would obey spelled out, as ``\\x1b``; newlines and tabs stay."""
    text = _STACKED_MARKS.sub(r"\1", text.replace("\r\n", "\n"))
    return _OBEYED.sub(lambda match: repr(match[0])[1:-1], text)


def clean_line(text: str) -> str:
    """``clean`` for what must stay on one line."""
    return clean(text).replace("\n", "\\n").replace("\t", " ")


@dataclass(frozen=True)
class Style:
    """Colours, or none of them."""

    coloured: bool = False

    @classmethod
    def of(cls, stream: TextIO) -> Style:
        """Colours only for a terminal that has them, and only where NO_COLOR does not forbid it."""
        return cls(stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb")

    def _paint(self, code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self.coloured and text else text

    def good(self, text: str) -> str:
        return self._paint("1;32", text)

    def bad(self, text: str) -> str:
        return self._paint("1;31", text)

    def warn(self, text: str) -> str:
        return self._paint("1;33", text)

    def strong(self, text: str) -> str:
        return self._paint("1", text)

    def faint(self, text: str) -> str:
        return self._paint("2", text)


def duration(seconds: float) -> str:
    """``0.0042`` as ``4.2 ms``."""
    if seconds >= 1:
        return f"{seconds:.2f} s"
    return f"{seconds * 1000:.1f} ms"


def size(count: int) -> str:
    """``1536`` as ``1.5 KiB``."""
    if count < 1024:
        return f"{count} B"
    amount = float(count)
    for unit in ("KiB", "MiB", "GiB"):
        amount /= 1024
        if amount < 1024:
            return f"{amount:.1f} {unit}"
    return f"{amount / 1024:.1f} TiB"


def width(text: str) -> int:
    """How many columns a terminal gives to cleaned text."""
    return sum(2 if east_asian_width(char) in "WF" else 1 for char in text)


def gutter(text: str, style: Style) -> str:
    """Foreign text, cleaned, with a bar in front of each line: it cannot pass for ours."""
    bar = style.faint("  │ ")
    return "\n".join(bar + line for line in clean(text).expandtabs().removesuffix("\n").split("\n"))


def is_table(value: Any) -> bool:
    """Whether this is a list of records with the same flat columns."""
    if not isinstance(value, list) or not value or not isinstance(value[0], dict) or not value[0]:
        return False
    columns = value[0].keys()
    return all(
        isinstance(row, dict)
        and row.keys() == columns
        and not any(isinstance(cell, list | dict) for cell in row.values())
        for row in value
    )


def table(rows: Sequence[Mapping[str, Any]], *, most_rows: int = 20, most_width: int = 30) -> str:
    """Records as aligned columns, cleaned; the rows beyond ``most_rows`` are counted, long cells are cut."""
    columns = [_column(name, [row[name] for row in rows[:most_rows]], most_width) for name in rows[0]]
    text = "\n".join("  ".join(cells).rstrip() for cells in zip(*columns, strict=True))
    hidden = len(rows) - most_rows
    return f"{text}\n({hidden} more rows)" if hidden > 0 else text


def _column(name: str, values: Sequence[Any], most_width: int) -> list[str]:
    """The heading, a line and the cells, all of one width; numbers to the right."""
    numeric = all(isinstance(value, int | float | None) for value in values)
    texts = [_cut(clean_line(name), most_width)]
    texts += [_cut(text, most_width) for text in (_numbers(values) if numeric else map(_text, values))]
    wide = max(map(width, texts))
    cells = [" " * (wide - width(text)) + text if numeric else text + " " * (wide - width(text)) for text in texts]
    return [cells[0], "─" * wide, *cells[1:]]


def _text(value: Any) -> str:
    return "" if value is None else clean_line(str(value))


def _numbers(values: Sequence[Any]) -> list[str]:
    """Six significant digits, and as many decimals in each cell as the longest has."""
    texts = [f"{value:.6g}" if isinstance(value, float) else _text(value) for value in values]
    decimals = max((len(text.partition(".")[2]) for text in texts), default=0)
    if any("e" in text for text in texts):
        return texts
    return [
        f"{value:.{decimals}f}" if isinstance(value, float) else text for value, text in zip(values, texts, strict=True)
    ]


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
