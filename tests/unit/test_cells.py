"""A file as cells and commands: where one ends, what is a command, and what is none."""

from __future__ import annotations

import pytest

from hotcell.cli import files
from hotcell.cli.cells import COMMANDS, Cell, Command, split
from hotcell.cli.commands import LineCommands
from hotcell.cli.exits import UsageError


def parts(text: str) -> list[tuple[int, str]]:
    """Line and text of each; a command's begins with ``%``."""
    return [
        (part.line, part.text if isinstance(part, Command) else part.code.decode())
        for part in split(text.encode().splitlines(keepends=True), "job.py")
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("\n# only a comment\n", []),
        ("x = 1", [(1, "x = 1")]),
        ("x = 1\n# %%\ny = 2\n", [(1, "x = 1\n"), (3, "y = 2\n")]),
        ("#%% a title\nx\n#\t%%\ny", [(2, "x\n"), (4, "y")]),
        ("# %%\n# %%\n\n# %%\nx", [(5, "x")]),
        ("# %% [markdown]\n'''\n%reset\n'''\n# %%\nx", [(6, "x")]),
        ("x\r\n# %%\r\ny\r\n", [(1, "x\r\n"), (3, "y\r\n")]),
        ("x\n    # %% is no cell here\ny", [(1, "x\n    # %% is no cell here\ny")]),
        ("x\n%fork 2\ny", [(1, "x\n"), (2, "%fork 2"), (3, "y")]),
        ("%checkpoint\n%rollback", [(1, "%checkpoint"), (2, "%rollback")]),
        ("# a comment\n%matplotlib inline\nx", [(2, "%matplotlib inline"), (3, "x")]),
        ("total = (17\n%five)\nx", [(1, "total = (17\n%five)\nx")]),
        ("x = (1\n% 2)", [(1, "x = (1\n% 2)")]),
        ("x = '''\n%forks\n'''", [(1, "x = '''\n%forks\n'''")]),
    ],
)
def test_a_file_is_split_as_editors_do(text: str, expected: list[tuple[int, str]]) -> None:
    assert parts(text) == expected


def test_a_cell_comes_as_soon_as_the_next_begins() -> None:
    """Whoever writes cells down a pipe may wait for the answer to each."""

    def lines():
        yield b"x = 1\n"
        yield b"# %%\n"
        raise AssertionError("it read on")

    assert next(split(lines(), "-")) == Cell(code=b"x = 1\n", line=1)


def test_bytes_that_are_no_text_stay_as_they_are() -> None:
    assert [part.code for part in split([b"x = '\xff'\n"], "-")] == [b"x = '\xff'\n"]


def test_a_cell_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hotcell.cli.cells.MOST_SOURCE_BYTES", 1000)
    with pytest.raises(UsageError, match="'endless' has a cell larger than"):
        list(split(iter(lambda: b"x = 1\n", b""), "endless"))
    assert files.MOST_SOURCE_BYTES > 1000


def test_quotes_hold_a_name_with_spaces_together() -> None:
    assert Command(text="%save 'my file' out").words == ["save", "my file", "out"]
    with pytest.raises(UsageError, match="no closing quotation"):
        _ = Command(text="%save 'my").words


def test_every_command_is_there() -> None:
    assert {f"_{name}" for name in COMMANDS} <= set(dir(LineCommands))
