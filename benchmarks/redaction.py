"""How long the output check takes per megabyte: typical text, and the worst text we can think of for every rule.

    python benchmarks/redaction.py [--megabytes 10] [--json FILE]

Each text is measured at a quarter and at the whole of its size; growth is the ratio of the two per megabyte, and stays
near 1 where the time is linear. The time is CPU time, so that a busy machine disturbs it less.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import random
import sys
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from hotcell.validators.output import Redactor, clean_text
from hotcell.validators.secrets import KINDS

MB = 1_000_000
RNG = random.Random(1)
WORDS = "the price of a room in Berlin rose by nearly twelve percent over last year; however, with monthly data".split()

Text = Callable[[int], str]
"""Makes a text of a size in characters."""


def rows(make: Callable[[int], str]) -> Text:
    """Lines: a few thousand different ones, repeated up to the size."""
    return lambda size: repeated("".join(make(number) + "\n" for number in range(4000)), size)


def repeated(piece: str, size: int) -> str:
    """One piece again and again, cut at the size."""
    return (piece * (size // len(piece) + 1))[:size]


def log_line(n: int) -> str:
    """As a web application writes them."""
    return f"2024-01-15 12:{n % 60:02}:01,123 INFO app.module: request id={n} path=/api/items/{n} took {n % 90} ms"


def customer(n: int) -> str:
    """A row with personal data."""
    return f"{n},Name {n},customer{n}@example.org,2024-01-{n % 28 + 1:02},{n * 17 % 1000}.50"


TYPICAL: dict[str, Text] = {
    "prose": rows(lambda _: " ".join(RNG.choices(WORDS, k=12))),
    "CSV of floats": rows(lambda _: ",".join(repr(RNG.random() * 100) for _ in range(6))),
    "CSV of whole numbers": rows(lambda _: ",".join(str(RNG.randrange(10**6)) for _ in range(8))),
    "CSV of customers with e-mail": rows(customer),
    "data frame": rows(lambda n: f"{n:<6}" + "".join(f"{RNG.gauss(0, 1):>12.6f}" for _ in range(6))),
    "numpy array of years": rows(lambda _: "[" + " ".join(str(RNG.randrange(1900, 2100)) for _ in range(12)) + "]"),
    "JSON": rows(lambda n: json.dumps({"id": n, "user_name": f"n{n}", "score": RNG.random(), "tags": ["a"]})),
    "log": rows(log_line),
    "UUIDs": rows(lambda _: str(uuid.UUID(int=RNG.getrandbits(128), version=4))),
    "SHA-256 digests": rows(lambda n: hashlib.sha256(b"%d" % n).hexdigest()),
    "base64 in lines": rows(lambda _: base64.b64encode(RNG.randbytes(57)).decode()),
    "base64 in one line": lambda size: base64.b64encode(RNG.randbytes(size * 3 // 4)).decode(),
    "not ASCII": rows(lambda n: f"Größe {n} und Preis für Zürich: “teuer” – 漢字 и кириллица"),
}

_BEGIN = "-----BEGIN PRI" + "VATE KEY-----"
_PUTTY = "PuTTY-User" + "-Key-File-2:"
NEAR_MISSES = (
    *("a", "1", "4", "A0", "_", "-", ".", ":", "=", "@", "+", " ", "\n", "\\n", "é", "0123456789abcdef"),
    *("sk-", "sk-a1B", "ghp_", "ghp_" + "a" * 35 + " ", "xoxb-1", "hf_", "SG.", "hvs.", "AKIA", "AIza"),
    *("dapi", "SK", "AC"),
    *("key", "key=", "key=a1", "key:", "token=", "pass", "password=", "secret='", 'secret="a', "secret=a1B2c3D4e5 "),
    *("a@", "a@a", "a@a.", "a@a.aa ", "://", "a://b:c@", ":@", "eyJ", ".eyJ", "eyJaaaaaaa.", "eyJaaaaaaa.eyJaaaaaaa "),
    *("-----", "-----BEGIN ", _BEGIN, _BEGIN + "\n" + "A" * 64 + "\n", _PUTTY),
    *(_PUTTY + "\n", _PUTTY + "\n" + "A" * 40 + "\n", _PUTTY + "\n" + "A" * 40),
    *("AIza" + "a1B" * 11 + "a-", "sk-" * 60 + "1", "\0a", "\x1b[Ka", "sk-a1B2c3D4e5-hf_-xoxb-1-"),
    *("12345678901234567890", "4111111111111112 ", "4111 ", "4111-", "4111 1111 1111 1112 ", "000-00-0000 ", "123-45-"),
    *("555-155-5555 ", "+1", "+1 2", "+123456789a ", "DE89 ", "DE89", "DE89370400440532013001 "),
    *("DE89 3704 0044 0532 01 ",),
    *("a.", ".aaaaaa.", ".aaaaaa." + "a" * 27, "bearer ", "bearer a", "authorization:", "authorization: basic a "),
    *("?sig=", "sig=aaaaaaaaaaaaaaaaaaa ", "123456789:AA", "hooks.slack.com/services/", "discord.com/api/webhooks/"),
    *("[redacted:", "\x1b", "\x1b[", "\x1b[31m", "\u202e", "\ud800", "\0"),
)  # fmt: skip


def worst() -> Iterator[tuple[str, Text]]:
    """Near misses without end, and every true secret without end."""
    for piece in NEAR_MISSES:
        yield repr(piece)[:42], partial(repeated, piece)
    for kind in KINDS.values():
        secret = "".join(kind.example)
        yield f"{kind.id}, repeated", partial(repeated, secret + " ")
        yield f"{kind.id}, glued", partial(repeated, secret)


def milliseconds_per_mb(text: str, rounds: int) -> float:
    """The best of some rounds of the whole output check."""
    redactor = Redactor()
    best = float("inf")
    for _ in range(rounds):
        start = time.process_time()
        redactor.redact(clean_text(text), "stdout")
        best = min(best, time.process_time() - start)
    return best * 1000 / (len(text) / MB)


def table(group: str, texts: Iterable[tuple[str, Text]], size: int, rounds: int) -> list[dict[str, Any]]:
    """Measure, print the slowest first, and return the rows."""
    found: list[dict[str, Any]] = []
    for name, make in texts:
        part, whole = (milliseconds_per_mb(make(length), rounds) for length in (size // 4, size))
        found.append({"group": group, "text": name, "ms_per_mb": round(whole, 2), "growth": round(whole / part, 2)})
    found.sort(key=lambda row: -row["ms_per_mb"])
    print(f"{group + f', {size / MB:g} MB':<46}{'ms/MB':>9}{'growth':>9}")
    for row in found:
        print(f"{row['text']:<46}{row['ms_per_mb']:>9.1f}{row['growth']:>9.2f}")
    print()
    return found


def main() -> int:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=float, default=10, help="size of the worst texts")
    parser.add_argument("--json", metavar="FILE", type=Path, help="also write the numbers here")
    options = parser.parse_args()
    found = table("typical", TYPICAL.items(), MB, 5) + table("worst", worst(), int(options.megabytes * MB), 1)
    if options.json:
        options.json.write_text(json.dumps(found, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
