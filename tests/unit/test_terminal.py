"""Foreign text on a terminal: shown, never obeyed."""

from __future__ import annotations

import io
import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotcell.terminal import Style, clean, clean_line, duration, gutter, is_table, size, table, width


@pytest.mark.parametrize(
    ("hostile", "shown"),
    [
        ("\x1b[2J\x1b[1;1Hall is well", "\\x1b[2J\\x1b[1;1Hall is well"),
        ("\x1b]52;c;cm0gLXJmIH4=\x07", "\\x1b]52;c;cm0gLXJmIH4=\\x07"),
        ("\x9b31m", "\\x9b31m"),
        ("50 %\r100 %", "50 %\\r100 %"),
        ("\x08\x7f\x00", "\\x08\\x7f\\x00"),
        ("access\u202elevel", "access\\u202elevel"),
        ("\u2066\u2069\u200f\u061c", "\\u2066\\u2069\\u200f\\u061c"),
        ("a\u2028b\u2029c\x85d", "a\\u2028b\\u2029c\\x85d"),
        ("\ud800", "\\ud800"),
        ("\ufeffhidden\u200b\u2060", "\\ufeffhidden\\u200b\\u2060"),
        ("tag\U000e0041", "tag\\U000e0041"),
    ],
    ids=["escape", "osc52", "c1", "return", "c0", "bidi", "isolates", "lines", "surrogate", "invisible", "tags"],
)
def test_what_a_terminal_obeys_is_spelled_out(hostile: str, shown: str) -> None:
    assert clean(hostile) == shown


@pytest.mark.parametrize("text", ["a\tb\nc", "naïve 日本語 🎉", "می‌خواهم", "é", "👩‍👧", "π ≈ 3.14159"])
def test_honest_text_is_left_alone(text: str) -> None:
    assert clean(text) == text


def test_windows_line_ends_become_plain_ones() -> None:
    assert clean("a\r\nb\r\n") == "a\nb\n"


def test_a_tower_of_combining_marks_is_cut_to_four() -> None:
    assert clean("a" + "\u0301" * 100_000 + "b") == "a" + "\u0301" * 4 + "b"


@given(st.text())
def test_no_control_character_survives(text: str) -> None:
    shown = clean(text)
    assert not [char for char in shown if unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp") and char not in "\n\t"]
    shown.encode("utf-8")
    assert "\n" not in clean_line(text)


@given(st.text())
def test_cleaning_twice_changes_nothing_more(text: str) -> None:
    assert clean(clean(text)) == clean(text)


def test_cleaning_is_linear_on_hostile_text() -> None:
    started = time.perf_counter()
    clean("\u0301" * 500_000 + "\x1b" * 500_000 + "\r" * 500_000)
    assert time.perf_counter() - started < 5


def test_foreign_text_cannot_pass_for_ours() -> None:
    forged = "━━ OK ━━━\n   The code ran to its end."
    assert all(line.startswith("  │ ") for line in gutter(forged, Style()).split("\n"))


def test_an_empty_last_line_is_not_shown() -> None:
    assert gutter("a\n", Style()) == "  │ a"


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_colours_appear_on_a_terminal_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert Style.of(_Terminal()).good("ok") == "\x1b[1;32mok\x1b[0m"
    assert Style.of(io.StringIO()).good("ok") == "ok"


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_the_environment_can_forbid_colours(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv(name, value)
    assert Style.of(_Terminal()).bad("no") == "no"


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (5 << 20, "5.0 MiB"), (3 << 30, "3.0 GiB"), (2 << 40, "2.0 TiB")],
)
def test_sizes_are_readable(count: int, text: str) -> None:
    assert size(count) == text


@pytest.mark.parametrize(("seconds", "text"), [(0.00042, "0.4 ms"), (0.25, "250.0 ms"), (12.3456, "12.35 s")])
def test_durations_are_readable(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_wide_characters_take_two_columns() -> None:
    assert width("日本a") == 5


@pytest.mark.parametrize("value", [None, [], [{}], [1], [{"a": 1}, {"b": 1}], [{"a": [1]}], {"a": 1}, "text"])
def test_what_is_no_list_of_flat_records_is_no_table(value: object) -> None:
    assert not is_table(value)


def test_records_become_aligned_columns() -> None:
    rows = [{"city": "Oslo", "ppm": 315.5, "n": 1}, {"city": "東京", "ppm": 16.25, "n": None}]
    assert is_table(rows)
    assert table(rows) == "\n".join(
        [
            "city     ppm  n",
            "────  ──────  ─",
            "Oslo  315.50  1",
            "東京   16.25",
        ]
    )


def test_a_cell_cannot_break_the_table() -> None:
    shown = table([{"a\x1b[m": "x\ny\r" + "z" * 100}])
    assert len(shown.split("\n")) == 3
    assert "\x1b" not in shown
    assert shown.endswith("…")


def test_rows_beyond_the_most_are_counted() -> None:
    assert table([{"n": index} for index in range(25)]).endswith("(5 more rows)")


def test_very_large_and_small_numbers_keep_their_exponent() -> None:
    assert "1e+300" in table([{"x": 1e300}, {"x": 0.5}])
