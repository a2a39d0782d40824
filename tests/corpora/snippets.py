"""Small labelled programs: each begins with a line ``### rule`` that names the rule it must meet,
``refused`` for any, or ``ok``."""

from __future__ import annotations

from pathlib import Path

_HERE = Path(__file__).parent


def load(name: str) -> list[tuple[str, str]]:
    """(expected rule, program) for every snippet of ``hostile``, ``legitimate`` or ``escapes``."""
    blocks = (_HERE / f"{name}.txt").read_text(encoding="utf-8").split("### ")[1:]
    return [(rule, code) for rule, _, code in (block.partition("\n") for block in blocks)]
