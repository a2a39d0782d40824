"""Output: floods, junk, and frames that try to confuse whoever reads the wire."""

from __future__ import annotations

import resource
import struct
import time

import pytest
from observers.wall import Attack

from hotcell.results import Status

FLOODS = {
    "stdout": "while True: print('x' * 100_000, end='')",
    "stderr": "import sys\nwhile True: sys.stderr.write('x' * 100_000)",
    "both": "import os\nwhile True:\n    os.write(1, b'x' * 65536)\n    os.write(2, b'y' * 65536)",
    "threads": """
import os, threading
def f(n):
    while True: os.write(n, b'x' * 4096)
for n in (1, 2, 1, 2): threading.Thread(target=f, args=(n,)).start()
""",
    "single-bytes": "import os\nwhile True: os.write(1, b'x')",
    "one-string": "print('x' * (200 << 20))",
}


@pytest.mark.threat("out.flood")
@pytest.mark.parametrize("code", FLOODS.values(), ids=FLOODS)
def test_a_flood_ends_at_the_limit(attack: Attack, code: str) -> None:
    """Endless output on either stream, or both at once, ends at output_bytes; our memory stays flat."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.monotonic()
    outcome = attack(code, output_bytes=100_000)
    assert time.monotonic() - started < 5
    assert outcome.status is Status.OUTPUT_LIMIT, outcome
    assert outcome.decided_by == "limits"
    assert len(outcome.stdout) + len(outcome.stderr) <= 100_000
    assert outcome.usage.output_bytes > 100_000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10  # KiB


@pytest.mark.threat("out.flood")
def test_output_up_to_the_limit_arrives_whole(attack: Attack) -> None:
    """What stays within the limit is neither cut nor reordered."""
    outcome = attack("for n in range(10_000): print(n)", output_bytes=100_000)
    assert outcome.status is Status.OK
    assert outcome.stdout == "".join(f"{n}\n" for n in range(10_000))


@pytest.mark.threat("out.junk")
def test_junk_is_text_when_it_arrives(attack: Attack) -> None:
    """Invalid UTF-8, NUL, escapes, lone surrogates and a million combining marks come back as harmless text."""
    outcome = attack(
        """
import os
os.write(1, bytes(range(256)) * 4 + b"\\x1b]52;c;aGk=\\x07" + b"\\xed\\xa0\\x80")
print("\\ud800 \\u202e <script>alert(1)</script>", "e" + "\\u0301" * 100_000)
raise ValueError("\\ud800\\x00\\x1b[31m")
"""
    )
    assert outcome.status is Status.ERROR
    for text in (outcome.stdout, outcome.stderr, outcome.error.message, outcome.error.traceback):
        assert isinstance(text, str)
    assert outcome.stdout.encode()  # no lone surrogate is left in it


FRAMES = {
    "longest length": struct.pack("<BI", 6, 0xFFFFFFFF),
    "unknown kind": struct.pack("<BI", 250, 0),
    "not JSON": struct.pack("<BI", 6, 3) + b"{{{",
    "an array": struct.pack("<BI", 6, 2) + b"[]",
    "NaN": struct.pack("<BI", 6, 9) + b'{"a":NaN}',
    "deep": struct.pack("<BI", 6, 200_000) + b"[" * 100_000 + b"]" * 100_000,
    "a second hello": struct.pack("<BI", 1, 5) + b"hello",
    "a request": struct.pack("<BI", 3, 2) + b"{}",
    "noise": bytes(range(255, 0, -1)) * 100,
}


@pytest.mark.threat("out.frames")
@pytest.mark.parametrize("frame", FRAMES.values(), ids=FRAMES)
def test_a_broken_frame_ends_the_cell_and_nothing_else(attack: Attack, frame: bytes) -> None:
    """Bytes on the wire that the protocol does not allow end the cell as KILLED; the next one works."""
    outcome = attack(f"import os, time\nos.write(3, {frame!r})\ntime.sleep(3)", timeout_seconds=4)
    assert outcome.status is Status.KILLED, outcome
    assert outcome.decided_by == "sandbox"
    assert "wire" in outcome.reason
    assert attack("print('next')").stdout == "next\n"


@pytest.mark.threat("out.frames")
def test_an_unfinished_frame_waits_no_longer_than_the_clock(attack: Attack) -> None:
    """A frame without an end is not waited for beyond the time limit."""
    outcome = attack("import os, time\nos.write(3, b'\\x06\\x10\\0\\0\\0{')\ntime.sleep(60)", timeout_seconds=0.5)
    assert outcome.status is Status.TIMEOUT
