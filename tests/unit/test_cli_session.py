"""``hotcell session``: cells from files and pipes, commands among them, and what hostile cells cannot make of those."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from observers.command import Command, hotcell

from hotcell.cli import Exit

__all__ = ["hotcell"]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty directory, in which the command stands."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def cells(*parts: str) -> str:
    return "\n# %%\n".join(parts)


def answers(hotcell: Command, text: str, *options: str) -> list[dict]:
    """What each cell and command came to, as JSON."""
    return [json.loads(line) for line in hotcell("session", "--json", *options, stdin=text).out.splitlines()]


def values(hotcell: Command, text: str, *options: str) -> list[object]:
    """The values, of those that have one, or the errors."""
    found = answers(hotcell, text, *options)
    return [item.get("error") or item["value"] for item in found if item.get("value") is not None or item.get("error")]


# --- cells


def test_state_lives_from_cell_to_cell_and_errors_name_the_cell(hotcell: Command, here: Path) -> None:
    (here / "job.py").write_text(cells("def f(x):\n    return 1 / x", "print('go')\nf(1)", "f(0)", "print('never')"))
    answer = hotcell("session", "job.py")
    assert answer.code == Exit.ERROR
    assert answer.err == ""
    lines = answer.out.splitlines()
    assert lines[0].startswith("── Cell 1 ── job.py:1 ─")
    assert lines[1].startswith("── Cell 2 ── job.py:4 ─")
    assert lines[2:5] == ["  │ go", "Out [2]", "  │ 1.0"]
    assert "error in Cell 1, line 2" in lines
    assert lines[-1] == "━━ ERROR Cell 3: The code raised ZeroDivisionError."
    assert "never" not in answer.out
    assert max(map(len, lines)) <= 80


def test_several_files_are_one_session(hotcell: Command, here: Path) -> None:
    (here / "one.py").write_text("x = 41")
    (here / "two.py").write_text("x += 1")
    answer = hotcell("session", "one.py", "two.py", "-", stdin="x")
    assert answer.code == Exit.OK
    assert "── Cell 3 ── <stdin>:1 ─" in answer.out
    assert answer.out.endswith("Out [3]\n  │ 42\n")


def test_it_goes_on_only_when_asked_to_and_still_tells_of_the_first_failure(hotcell: Command) -> None:
    text = cells("1 / 0", "import socket", "print('later')")
    assert [item["status"] for item in answers(hotcell, text)] == ["error"]
    assert [item["status"] for item in answers(hotcell, text, "--keep-going")] == ["error", "rejected", "ok"]
    assert hotcell("session", "--keep-going", stdin=text).code == Exit.ERROR


def test_a_refused_cell_is_shown_as_a_compiler_does_and_has_no_number_of_its_own(hotcell: Command) -> None:
    answer = hotcell("session", "--keep-going", stdin=cells("x = 1", "\nimport socket", "1 / 0"))
    assert "  --> Cell 2:2:1\n" in answer.out
    assert "━━ REJECTED Cell 2: network.access" in answer.out
    assert "━━ ERROR Cell 2: The code raised ZeroDivisionError.\n" in answer.out


def test_what_is_given_is_there_from_the_first_cell_on(hotcell: Command, here: Path) -> None:
    (here / "data.txt").write_text("abc")
    (here / "session_tools.py").write_text("def double(x: int) -> int:\n    return 2 * x\n")
    options = ["--context", '{"n": 20}', "--file", "in.txt=data.txt", "--tool", "double=session_tools:double"]
    text = cells("n += 1", "double(n)", "open('in.txt').read()", "%reset\nn", "double(n), open('in.txt').read()")
    assert values(hotcell, text, *options) == [42, "abc", 20, [40, "abc"]]


def test_limits_hold_for_each_cell_and_the_state_survives_a_timeout(hotcell: Command) -> None:
    text = cells("x = 3", "import time\ntime.sleep(50)", "x")
    found = answers(hotcell, text, "--timeout", "0.5", "--keep-going")
    assert [item["status"] for item in found] == ["ok", "timeout", "ok"]
    assert found[2]["value"] == 3
    assert hotcell("session", "--timeout", "0.5", stdin=text).code == Exit.LIMIT


def test_a_lost_state_is_said_and_a_new_one_can_be_had(hotcell: Command) -> None:
    text = cells("import os\nos.kill(os.getpid(), 9)", "1 + 1", "%reset\n2 + 2")
    killed, lost, _, again = answers(hotcell, text, "--keep-going", "--policy", "permissive")
    assert killed["status"] == "killed"
    assert lost["error"].startswith("The session is gone: its process was killed.")
    assert again["value"] == 4
    assert hotcell("session", "--policy", "permissive", stdin=text).code == Exit.KILLED


def test_output_cannot_forge_a_heading_or_a_value(hotcell: Command) -> None:
    answer = hotcell("session", stdin=r"print('Out [1]\n\x1b[2J── Cell 9 ──\r━━ OK')")
    assert "\x1b" not in answer.out
    assert not [line for line in answer.out.splitlines()[1:] if not line.startswith("  │ ")]


def test_whoever_writes_cells_down_a_pipe_gets_the_answer_to_each(here: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "hotcell", "session", "--json"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        for number in range(3):
            process.stdin.write(f"x = {number} * 2\nx\n# %%\n")
            process.stdin.flush()
            assert json.loads(process.stdout.readline())["value"] == number * 2
        process.stdin.close()
        process.stdin = None
    assert process.returncode == Exit.OK


# --- commands


def test_one_state_is_tried_in_three_ways(hotcell: Command) -> None:
    text = cells("x = 1", "%fork 2\nx += 1", "%use main.1\nx += 10", "%fork\n%use main.1.1\nx * 100", "%use main\nx")
    assert values(hotcell, text) == [1100, 2]
    (fork,) = [item for item in answers(hotcell, text) if item.get("command") == "%fork 2"]
    assert fork == {"command": "%fork 2", "answer": ["main.1", "main.2"]}


def test_a_checkpoint_is_gone_back_to(hotcell: Command, here: Path) -> None:
    (here / "in.txt").write_text("abc")
    text = cells("%checkpoint\nn += 1", "%rollback\nn += 1\nn", "x = 5\n%checkpoint\nx += n\nx", "%rollback\nx")
    assert values(hotcell, text, "--context", '{"n": 1}', "--file", "in.txt=in.txt") == [2, 7, 5]


def test_the_sessions_are_listed_and_closed(hotcell: Command) -> None:
    found = answers(hotcell, "x = 1\n%fork\n%use\n%close main.1\n%use")
    assert [item["answer"] for item in found[1:]] == [
        ["main.1"],
        [{"session": "main", "cells": 1, "in use": "*"}, {"session": "main.1", "cells": 1, "in use": ""}],
        "main.1 is closed",
        [{"session": "main", "cells": 1, "in use": "*"}],
    ]


def test_the_files_are_listed(hotcell: Command) -> None:
    answer = hotcell("session", stdin="open('a.txt', 'w').write('abc')\n%files")
    assert answer.out.endswith("name   size\n─────  ────\na.txt     3\n")


def test_files_go_in_and_out_when_that_is_allowed(hotcell: Command, here: Path) -> None:
    (here / "in.txt").write_text("abc")
    (here / "precious").write_text("kept")
    (here / "link").symlink_to(here / "precious")
    (here / "folder").mkdir()
    text = (
        "%load data.txt in.txt\nopen('out.txt', 'w').write(open('data.txt').read().upper())\n"
        "%save out.txt copy.txt\n%save out.txt folder\n%save out.txt link\n"
    )
    answer = hotcell("session", "--host-files", stdin=text)
    assert (answer.code, answer.err) == (Exit.OK, "")
    assert (here / "copy.txt").read_text() == (here / "folder" / "out.txt").read_text() == "ABC"
    assert ((here / "link").read_text(), (here / "precious").read_text()) == ("ABC", "kept")


@pytest.mark.parametrize("line", ["%load x /etc/hostname", "%save x stolen"])
def test_a_file_of_cells_cannot_reach_ours(line: str, hotcell: Command, here: Path) -> None:
    answer = hotcell("session", stdin=f"open('x', 'w').write('x')\n{line}")
    assert answer.code == Exit.USAGE
    assert "allow it with --host-files" in answer.err
    assert list(here.iterdir()) == []


def test_a_file_of_cells_cannot_have_sessions_without_number(hotcell: Command) -> None:
    answer = hotcell("session", stdin="x = 1\n%fork 40\n%fork 40")
    assert answer.code == Exit.USAGE
    assert "at most 64 sessions live at once" in answer.err


def test_quit_ends_it(hotcell: Command) -> None:
    answer = hotcell("session", "--keep-going", stdin=cells("1 / 0", "%quit\nprint('never')"))
    assert answer.code == Exit.ERROR
    assert "never" not in answer.out


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("%nonsense", "there is no command %nonsense: see %help"),
        ("%use nowhere", "no session is called 'nowhere': there are main"),
        ("%use a b", "%use takes [NAME], not a b"),
        ("%close", "%close takes NAME, not nothing"),
        ("%close main", "main is in use"),
        ("%fork many", "%fork many: give a whole number"),
        ("%fork 0", "give a number from 1"),
        ("%fork ２", "give a whole number"),
        ("%rollback", "There is no checkpoint"),
        ("%save 'x", "no closing quotation"),
        ("%save missing out", "there is no file 'missing'"),
        ("%save ../x out", "../x"),
        ("%load x missing", "missing"),
        ("%load ../x in.txt", "../x"),
        ("%save \x1b[2J out", "\\x1b[2J"),
    ],
)
def test_a_command_that_cannot_be_done_gets_one_clear_line(line: str, says: str, hotcell: Command, here: Path) -> None:
    (here / "in.txt").write_text("abc")
    answer = hotcell("session", "--host-files", "--json", stdin=line)
    assert answer.code == Exit.USAGE
    assert answer.err.startswith("hotcell: ")
    assert says in answer.err
    assert answer.err.count("\n") == 1
    assert "\x1b" not in answer.err
    (told,) = map(json.loads, answer.out.splitlines())
    assert told.keys() == {"command", "error"}


def test_a_session_that_was_not_to_be_copied_says_why_it_is_not(hotcell: Command) -> None:
    answer = hotcell("session", "--no-branchable", stdin="%checkpoint")
    assert answer.code == Exit.USAGE
    assert "this session cannot be copied" in answer.err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["missing.py"], "cannot read 'missing.py'"),
        (["-", "missing.py"], "cannot read 'missing.py'"),
        (["--policy", "lenient"], "no policy is called 'lenient'"),
        (["--memory", "1"], "memory_bytes=1 is not allowed"),
        (["--tool", "x"], "is not NAME=MODULE:FUNCTION"),
        (["--file", "../a=in.txt"], "../a"),
        (["--env", "nowhere"], "nowhere"),
        (["--context", "[]"], "not a JSON object"),
    ],
)
def test_a_bad_command_line_runs_nothing(arguments: list[str], says: str, hotcell: Command, here: Path) -> None:
    (here / "in.txt").write_text("abc")
    answer = hotcell("session", *arguments, stdin="print('ran')")
    assert (answer.code, answer.out) == (Exit.USAGE, "")
    assert says in answer.err
    assert answer.err.count("\n") == 1
