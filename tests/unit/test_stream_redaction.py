"""A line that has not ended goes out all the same, and no secret with it, wherever it is cut and falls silent."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Iterator
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hotcell.validators.known import KnownSecrets
from hotcell.validators.output import ALL_KINDS, SECRETS, Redactor, clean_text
from hotcell.validators.secrets import KINDS
from hotcell.validators.shadow import Span
from hotcell.validators.stream import HELD_BACK, SILENCES, StreamRedactor
from hotcell.validators.unfinished import FEW, LONGEST, Unfinished

KNOWN = 'S3cret!pass/wörd"x'
PHRASE = "correct horse battery"
LINES = "line one of it\nline two of it\r\nline three"
REDACTOR = Redactor(known_secrets=[KNOWN, PHRASE, LINES])
EXAMPLES = {kind.id: "".join(kind.example) for kind in KINDS.values() if kind.by != "known"}
# Other forms of the same kinds, in pieces so that no scanner takes them for real.
FORMS = {
    "quoted password": "pass" + 'word = "it is so secret, 99 times"',
    "password in JSON": '{"pass' + 'word": "it\'s so \\"secret\\", 99 times"}',
    "password in YAML": "pass" + "word: hunter2!xyz",
    "key in JSON": '{"api' + '_key": "a1B2c3D4e5F6g7H8"}',
    "basic authorization": "Authorization: " + "Basic YWRtaW46cGFzc3dvcmQ=",
    "bearer alone": "bearer " + "abcdefgh12345678ijklmnop",
    "plain card": "401288" + "8888881881",
    "American card": "3782 822463" + " 10005",
    "card with hyphens": "5500-0000-" + "0000-0004",
    "telephone in brackets": "(555) " + "123-4567",
    "telephone with hyphens": "415-555" + "-2671",
    "telephone with all": "+1 (415) " + "555-2671",
    "British account": "GB82 WEST 1234 " + "5698 7654 32",
    "French account": "FR14200410100505" + "00013M02606",
    "long address": "christopher" + "@example.org",
    "address with a tag": "first.last+tag" + "@mail.example.co.uk",
    "URL with signs": "redis://:" + "p4ss:w@rd@localhost:6379/0",
    "URL with a number": "https://user:" + "12345@host/",
    "glued tokens": "".join(EXAMPLES[kind] for kind in ("pulumi-token", "google-api-key", "supabase-token")),
    "known": KNOWN,
    "known, with blanks": PHRASE,
    "known, over lines": LINES,
    "known, reversed": KNOWN[::-1],
    "known, in JSON": json.dumps(KNOWN)[1:-1],
    "known, in HEX": KNOWN.encode().hex().upper(),
    **{
        f"known, in base64 at {shift}": base64.b64encode(b"\xff" * shift + KNOWN.encode() + b"\xff\xff").decode()
        for shift in range(3)
    },
}
SECRET_TEXTS = EXAMPLES | FORMS
FRAMES = ["before {} after\nnext", "('{}',)", "{}", "x={}, y", "é → {}: z", "1 2 {} 3"]
LONG = SILENCES + 1


def stream_of(
    text: str, places: Iterable[int], silences: int, stream: StreamRedactor | None = None
) -> Iterator[tuple[str, str]]:
    """What goes in and what comes out, piece by piece."""
    stream = stream or REDACTOR.stream("stdout")
    for start, end in pairwise([0, *places, len(text)]):
        yield text[start:end], stream.feed(text[start:end]) + "".join(stream.settle() for _ in range(silences))
    yield "", stream.flush()


def streamed(text: str, places: Iterable[int], silences: int, stream: StreamRedactor | None = None) -> str:
    return "".join(out for _, out in stream_of(text, places, silences, stream))


def is_safe(out: str, text: str, few: int = FEW) -> bool:
    """True when it is the text with a marker in every find's place, and before it at most ``few`` of its characters."""
    pattern, position = "", 0
    for start, end, _ in REDACTOR.spans(text):
        beginnings = (text[start : start + length] for length in range(min(few, end - start - 1), -1, -1))
        pattern += (
            re.escape(text[position:start]) + f"(?:{'|'.join(map(re.escape, beginnings))})" + r"\[redacted:[^]]*\]"
        )
        position = end
    return re.fullmatch(pattern + re.escape(text[position:]), out, re.DOTALL) is not None


@pytest.mark.parametrize("silences", [1, LONG])
@pytest.mark.parametrize("name", sorted(SECRET_TEXTS))
def test_a_secret_cut_anywhere_stays_hidden_when_a_silence_follows_each_piece(name: str, silences: int) -> None:
    few = len("christopher") if (name, silences) == ("long address", LONG) else FEW  # a plain word, for all it can tell
    for frame in FRAMES:
        text = frame.replace("{}", SECRET_TEXTS[name])
        for cut in range(len(text)) if frame in FRAMES[:2] else ():
            assert is_safe(streamed(text, [cut], silences), text, few), (text, cut)
        assert is_safe(streamed(text, range(1, len(text)), silences), text, few), text


@pytest.mark.parametrize("name", sorted(name for name in FORMS if name.startswith("known")))
def test_of_a_known_secret_never_more_than_three_characters_go_out(name: str) -> None:
    text = f"before {SECRET_TEXTS[name]} after\nnext"
    few = 4 if "base64" in name else 3  # the first holds no more than two bits of it
    for silences in (1, LONG):
        assert is_safe(streamed(text, range(1, len(text)), silences), text, few)


def test_of_a_short_known_secret_not_half_goes_out() -> None:
    redactor = Redactor(known_secrets=["Zq7!", "Yp8!xy"])
    for secret, few in (("Zq7!", 1), ("Yp8!xy", 2)):
        text = f"it is {secret}."
        assert streamed(text, range(1, len(text)), LONG, redactor.stream("x")) == (
            f"it is {secret[:few]}[redacted:known-secret]."
        )


def test_lines_wait_for_a_known_secret_of_many_lines_only_where_it_may_have_begun() -> None:
    stream = REDACTOR.stream("stdout")
    assert stream.feed("a line\nanother\n") == "a line\nanother\n"
    assert stream.feed("line one of it\n") + stream.settle() == ""
    assert stream.feed("line two, of another\n") == "line one of it\nline two, of another\n"
    assert stream.feed(LINES[:16]) + stream.settle() == ""
    assert stream.feed(LINES[16:] + "\n") == "[redacted:known-secret]\n"


# --- what goes out, and when ---------------------------------------------------------------------------------------

AT_ONCE = [
    *(".", "...", "Loading...", "Initializing....", "Name: ", "Continue? [y/N] ", ">>> ", "Please wait", "done."),
    *("10%", "45.2%", "3/10", "step 7 of 20", "loss=0.123456789", "Epoch 3/10: 100%", "1, 2, 3, ", "in 1998", "-42"),
    *(
        "[####    ]",
        "|███▌   |",
        "==========",
        "----------",
        "__________",
        "/usr/lib/",
        "漢字",
        "Größe",
        "x = ",
        "f(x)",
    ),
    *(" 45%|████▌     | 45/100 [00:01<00:01, 43.21it/s]", "12:30:45", "https://example.org/", "Password: ", "token="),
]
AFTER_A_WHILE = ["Initializing", "Read-only", "finished.", "github", "secret", "step_3", "v1.2", "4000", "Normalizing"]
HELD = {
    "AKIAQ1": "AKIAQ1",
    "see ghp_": "ghp_",
    "pass" + "word = hunt": "hunt",
    "pass" + 'word = "two wor': '"two wor',
    "Authorization: Bearer a": "a",
    "call +44 20": "+44 20",
    "card 4111 1111": "4111 1111",
    "to ada.lovelace": "ada.lovelace",
    "to ada@": "ada@",
    "postgres://app:s3": "s3",
    "eyJhbGci": "eyJhbGci",
    "is correct ho": "correct ho",
    "-----BEGIN RSA": "-----BEGIN RSA",
    "at https://hooks": "https://hooks",
    "data_2024.csv": "data_2024.csv",
}


@pytest.mark.parametrize("text", AT_ONCE)
def test_progress_and_prompts_are_shown_at_the_first_pause(text: str) -> None:
    for before in ("", "\r", "some words and "):
        stream = REDACTOR.stream("stdout")
        assert stream.feed(before + text) + stream.settle() == before + text


@pytest.mark.parametrize("text", AFTER_A_WHILE)
def test_a_plain_word_is_shown_after_some_pauses(text: str) -> None:
    stream = REDACTOR.stream("stdout")
    assert stream.feed(text) == ""
    assert [stream.settle() for _ in range(SILENCES)] == [""] * (SILENCES - 1) + [text]


@pytest.mark.parametrize("text", HELD)
def test_what_may_become_a_secret_waits_however_long_it_takes(text: str) -> None:
    stream = REDACTOR.stream("stdout")
    out = stream.feed(text) + "".join(stream.settle() for _ in range(1000))
    assert out == text.removesuffix(HELD[text])
    assert out + stream.flush() == REDACTOR.redact(text, "stdout")[0]


def test_what_is_not_looked_for_holds_nothing_back() -> None:
    for text in ("data_2024.csv", "ada@example.or", "4111 1111 111"):
        stream = Redactor(kinds=SECRETS).stream("stdout")
        assert stream.feed(text) + stream.settle() == text
    stream = Redactor(kinds=frozenset()).stream("stdout")
    assert stream.feed("ghp_a1B2") + stream.settle() == "ghp_a1B2"


def test_a_key_block_waits_for_its_end_whatever_pauses() -> None:
    block = EXAMPLES["private-key"]
    stream = REDACTOR.stream("stdout")
    assert stream.feed("a\n" + block[:60]) + stream.settle() == "a\n"
    assert stream.feed(block[60:-4]) + "".join(stream.settle() for _ in range(50)) == ""
    assert stream.feed(block[-4:] + ", b") + stream.settle() == "[redacted:private-key], b"


def test_what_was_taken_out_is_counted_once() -> None:
    stream = REDACTOR.stream("stdout")
    text = f"{EXAMPLES['github-token']} and ada@example.org, "
    assert "ghp" not in streamed(text, range(2, len(text)), 3, stream)
    assert [(item.kind, item.count) for item in stream.redactions] == [("email", 1), ("github-token", 1)]


# --- anything at all -----------------------------------------------------------------------------------------------

WORDS = st.sampled_from(
    ["word", "Größe", "x=1,", "10%", "...", "a.b", "(", "print('a')", "\x1b[31mred\x1b[0m", "4111", "+1"]
)
TEXTS = st.lists(
    st.tuples(
        WORDS | st.sampled_from(sorted(SECRET_TEXTS.values())), st.sampled_from([" ", "\n", ", ", "; ", "\t", "\r"])
    ),
    max_size=8,
).map(lambda parts: "".join(part + separator for part, separator in parts))


@given(TEXTS, st.lists(st.integers(0, 5000), max_size=8), st.integers(1, SILENCES - 1))
@settings(max_examples=300, deadline=None)
def test_any_text_in_any_pieces_goes_out_as_the_whole_but_for_a_few_leading_characters(
    text: str, cuts: list[int], silences: int
) -> None:
    places = sorted({cut % (len(text) + 1) for cut in cuts})
    assert is_safe(streamed(text, places, silences), clean_text(text))


@given(st.text(), st.lists(st.integers(0, 500), max_size=8))
@settings(max_examples=200, deadline=None)
def test_nothing_is_lost_or_doubled(text: str, cuts: list[int]) -> None:
    places = sorted({cut % (len(text) + 1) for cut in cuts})
    assert streamed(text, places, 20, Redactor(kinds=ALL_KINDS).stream("x")) == clean_text(text)


# --- bounds --------------------------------------------------------------------------------------------------------

ENDLESS = {
    "dots": ".",
    "prose": "the quick brown fox ",
    "a word": "a",
    "hex": "0123456789abcdef",
    "base64": base64.b64encode(bytes(range(256)) * 9).decode(),
    "near tokens": "sk-a1B2",
    "near JWT": "eyJ" + "a1b2c3d4" * 3000,
    "quoted value": "pass" + 'word="' + "a b c d " * 3000,
    "bare value": "pass" + "word=" + "x" * 40_000,
    "addresses": "ada@example.org, ",
    "local part": "ada.lovelace.",
    "digits": "4111 ",
    "tokens": EXAMPLES["github-token"] + " ",
    "key block": "-----BEGIN PRI" + "VATE KEY-----\n" + ("A" * 64 + "\n") * 600,
    "quotes": 'key="',
    "beginnings of a known one": PHRASE[:-1],
}


class Counting:
    """A redactor's parts, with the characters that they are given to look at."""

    def __init__(self) -> None:
        self.looked_at = 0
        self._known = KnownSecrets([KNOWN, PHRASE])
        self._unfinished = Unfinished(ALL_KINDS, self._known)
        self._find = Redactor(known_secrets=[KNOWN, PHRASE]).spans
        self.stream = StreamRedactor(self.find, "stdout", self._known, self)  # type: ignore[arg-type]

    def find(self, text: str) -> list[Span]:
        self.looked_at += len(text)
        return self._find(text)

    def start(self, text: str, *, silent: bool) -> int:
        self.looked_at += len(text)
        return self._unfinished.start(text, silent=silent)


@pytest.mark.parametrize("name", ENDLESS)
def test_a_line_that_grows_by_a_character_at_a_time_is_looked_at_in_linear_time_and_held_in_bounds(name: str) -> None:
    text = ENDLESS[name]
    counting = Counting()
    for index in range(10_000):
        counting.stream.feed(text[index % len(text)])
        counting.stream.settle()
        assert counting.stream._size <= LONGEST + LONGEST // 8 < HELD_BACK
    assert counting.looked_at < 4_000 * 10_000


def test_pauses_without_text_look_at_nothing() -> None:
    counting = Counting()
    counting.stream.feed("to ada.lovelace")
    for _ in range(SILENCES):
        counting.stream.settle()
    before = counting.looked_at
    for _ in range(1000):
        counting.stream.settle()
    assert counting.looked_at == before
