"""What a cell writes becomes events: whole characters, in order, safe to show, as soon as the writing pauses."""

from __future__ import annotations

import pytest

from hotcell.events import Stderr, Stdout
from hotcell.live import LiveOutput
from hotcell.validators.output import Redactor
from hotcell.validators.secrets import KINDS
from hotcell.validators.stream import SILENCES

TOKEN = "".join(KINDS["github-token"].example)


@pytest.fixture(params=[Redactor(), None], ids=["redacted", "as it is"])
def live(request: pytest.FixtureRequest) -> LiveOutput:
    return LiveOutput(request.param)


def test_a_line_and_a_beginning_of_one_are_told_at_once(live: LiveOutput) -> None:
    assert live.output("stdout", b"one\ntwo... ") == [Stdout(text="one\ntwo... ")]
    assert live.output("stderr", b"oh: ") == [Stderr(text="oh: ")]
    assert live.tick() == [] and live.finish() == []


@pytest.mark.parametrize("text", ["é漢😀", "a漢b\n", "ø" * 100 + "\n"])
def test_a_character_cut_in_two_is_kept_together(live: LiveOutput, text: str) -> None:
    told = [event for byte in text.encode() for event in [*live.output("stdout", bytes([byte])), *live.tick()]]
    assert "".join(event.text for event in told + live.finish()) == text
    assert "\ufffd" not in str(told)


def test_bytes_that_are_no_text_are_marked_and_half_a_character_at_the_end_is_not_lost(live: LiveOutput) -> None:
    told = live.output("stdout", b"a\xff b \xf0\x9f") + live.finish()
    assert "".join(event.text for event in told) == "a\ufffd b \ufffd"


def test_the_streams_do_not_mix_their_halves(live: LiveOutput) -> None:
    first, second = "é".encode()
    told = live.output("stdout", bytes([first])) + live.output("stderr", bytes([first]))
    told += live.output("stdout", bytes([second])) + live.output("stderr", bytes([second])) + live.finish()
    assert told == [Stdout(text="é"), Stderr(text="é")]


def test_what_steers_a_terminal_is_shown_with_and_without_a_redactor(live: LiveOutput) -> None:
    told = live.output("stdout", b"\x1b[3") + live.output("stdout", b"1mred\x1b[2J\n\x1b") + live.finish()
    assert "".join(event.text for event in told) == "red\\x1b[2J\n\\x1b"


def test_in_a_flood_the_unfinished_line_waits_for_the_tick() -> None:
    live = LiveOutput(Redactor())
    assert live.output("stdout", b"a... ") == [Stdout(text="a... ")]
    assert live.output("stdout", b"b... ") == []
    assert live.output("stdout", b"c... ") == []
    assert live.tick() == [Stdout(text="b... c... ")]
    assert live.output("stdout", b"d... ") == [Stdout(text="d... ")]


def test_what_one_stream_holds_goes_before_what_the_other_writes() -> None:
    live = LiveOutput(Redactor())
    live.output("stdout", b"a... ")
    live.output("stdout", b"b... ")
    assert live.output("stderr", b"oh\n") == [Stdout(text="b... "), Stderr(text="oh\n")]


def test_a_secret_is_told_by_its_marker_however_it_comes() -> None:
    live = LiveOutput(Redactor())
    told = []
    for byte in f"it is {TOKEN}!\n".encode():
        told += live.output("stdout", bytes([byte])) + live.tick() + live.output("stderr", b".")
    told += live.finish()
    out = "".join(event.text for event in told if isinstance(event, Stdout))
    assert out == "it is g[redacted:github-token]!\n"  # a letter that stands alone tells nothing
    assert "".join(event.text for event in told if isinstance(event, Stderr)) == "." * len(f"it is {TOKEN}!\n")


def test_without_a_redactor_secrets_stay() -> None:
    live = LiveOutput(None)
    assert live.output("stdout", TOKEN.encode()) == [Stdout(text=TOKEN)]


def test_a_plain_word_is_told_after_some_ticks() -> None:
    live = LiveOutput(Redactor())
    assert live.output("stdout", b"Downloading") == []
    assert [event for _ in range(SILENCES) for event in live.tick()] == [Stdout(text="Downloading")]
    assert live.output("stdout", b" done") == [Stdout(text=" done")]


def test_what_is_held_comes_at_the_end() -> None:
    live = LiveOutput(Redactor())
    assert live.output("stdout", b"see data_2024.csv") == [Stdout(text="see ")]
    assert live.finish() == [Stdout(text="data_2024.csv")]
