"""The command on a real terminal: output while it is written, a prompt, Ctrl-C and Ctrl-D."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from observers.terminal import Terminal, on_terminal

from hotcell.cli import Exit

_BETWEEN_KEYS_SECONDS = 0.3
"""As a person types: Python's readline looks for a signal before it waits for a key, and one that comes between the two
is heard with the next key."""

# --- run


def test_on_a_terminal_output_is_seen_before_the_code_ends(tmp_path: Path) -> None:
    (tmp_path / "job.py").write_text("import time\nprint('half', end='', flush=True)\ntime.sleep(60)\n")
    with on_terminal("run", "job.py", "--timeout", "60", cwd=tmp_path) as terminal:
        assert terminal.wait_for("  │ half") == ""
        terminal.type("\x03")
        assert terminal.wait() == Exit.CANCELLED
    assert terminal.seen.endswith("hotcell: interrupted\n")
    assert "━━" not in terminal.seen


def test_on_a_terminal_the_streams_share_the_screen_line_by_line(tmp_path: Path) -> None:
    code = "import sys\nprint('out', end='', flush=True)\nsys.stderr.write('err')\nsys.stderr.flush()\n"
    (tmp_path / "job.py").write_text(code + "import time\ntime.sleep(0.2)\nprint('more')\n6 * 7")
    with on_terminal("run", "job.py", cwd=tmp_path) as terminal:
        assert terminal.wait() == Exit.OK
    assert terminal.seen.startswith("  │ out\n  ║ err\n  │ more\n━━ OK ")
    assert terminal.seen.endswith("value\n  │ 42\n")


def test_a_progress_bar_stays_behind_its_bar(tmp_path: Path) -> None:
    code = "for n in range(3):\n    print(f'\\r{n} of 3', end='', flush=True)\nprint('\\r\\x1b[2K━━ OK')"
    (tmp_path / "job.py").write_text(code)
    with on_terminal("run", "job.py", cwd=tmp_path) as terminal:
        assert terminal.wait() == Exit.OK
    shown = terminal.seen[: terminal.seen.index("\n━━ OK")]
    assert "\x1b" not in shown
    assert {part[:4] for part in shown.split("\r") if part} == {"  │ "}


def test_no_stream_shows_the_whole_page_at_the_end(tmp_path: Path) -> None:
    (tmp_path / "job.py").write_text("print('hello')")
    with on_terminal("run", "job.py", "--no-stream", cwd=tmp_path) as terminal:
        assert terminal.wait() == Exit.OK
    assert terminal.seen.startswith("━━ OK ")
    assert "stdout\n  │ hello\n" in terminal.seen


# --- session


@pytest.fixture
def prompt(tmp_path: Path) -> Iterator[Terminal]:
    with on_terminal("session", cwd=tmp_path) as terminal:
        terminal.wait_for("In [1]: ")
        yield terminal


def test_what_is_typed_is_run_and_its_value_shown(prompt: Terminal) -> None:
    prompt.type("x = 20\n")
    prompt.wait_for("In [2]: ")
    prompt.type("print('so'); x + 1\n")
    assert prompt.wait_for("In [3]: ").endswith("\n  │ so\nOut [2]\n  │ 21\n")
    prompt.type("\x04")
    assert prompt.wait() == Exit.OK


def test_code_over_several_lines_is_run_when_it_is_whole(prompt: Terminal) -> None:
    prompt.type("def f(x):\n")
    prompt.wait_for("   ...: ")
    prompt.type("    return 1 / x\n")
    prompt.wait_for("   ...: ")
    prompt.type("\n")
    prompt.wait_for("In [2]: ")
    prompt.type("f(0)\n")
    shown = prompt.wait_for("In [3]: ")
    assert "error in Cell 1, line 2" in shown
    assert "━━ ERROR Cell 2: " in shown
    prompt.type("import asyncio; await asyncio.sleep(0, 'awaited')\n")
    assert "'awaited'" in prompt.wait_for("In [4]: ")
    prompt.type("%quit\n")
    assert prompt.wait() == Exit.OK  # what went wrong on the way was seen


def test_what_is_no_python_is_said_and_costs_nothing(prompt: Terminal) -> None:
    prompt.type("1 +* 2\n")
    assert "error[syntax.invalid]" in prompt.wait_for("In [1]: ")
    prompt.type("\n")
    prompt.wait_for("In [1]: ")
    prompt.type("# nothing\n")
    prompt.wait_for("In [1]: ")


def test_ctrl_c_interrupts_the_cell_and_the_session_lives_on(prompt: Terminal) -> None:
    prompt.type("x = 3; import time; print('asleep', flush=True); time.sleep(60)\n")
    prompt.wait_for("  │ asleep")
    prompt.type("\x03")
    assert "━━ CANCELLED Cell 1: " in prompt.wait_for("In [2]: ")
    prompt.type("x\n")
    assert "Out [2]\n  │ 3\n" in prompt.wait_for("In [3]: ")


def test_ctrl_c_at_the_prompt_forgets_what_was_typed(prompt: Terminal) -> None:
    prompt.type("def half(")
    prompt.wait_for("def half(")
    time.sleep(_BETWEEN_KEYS_SECONDS)
    prompt.type("\x03")
    prompt.wait_for("In [1]: ")
    prompt.type("if True:\n")
    prompt.wait_for("   ...: ")
    time.sleep(_BETWEEN_KEYS_SECONDS)
    prompt.type("\x03")
    prompt.wait_for("In [1]: ")
    prompt.type("6 * 7\n")
    assert "  │ 42\n" in prompt.wait_for("In [2]: ")


def test_the_prompt_says_in_which_copy_it_is(prompt: Terminal) -> None:
    prompt.type("x = 1\n")
    prompt.wait_for("In [2]: ")
    prompt.type("%fork\n")
    assert "main.1\n" in prompt.wait_for("In [2]: ")
    prompt.type("%use main.1\n")
    prompt.wait_for("main.1 In [2]: ")
    prompt.type("%nonsense\n")
    assert "hotcell: there is no command %nonsense" in prompt.wait_for("main.1 In [2]: ")


def test_a_person_at_the_prompt_may_save_and_load(prompt: Terminal, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("abc")
    prompt.type("%load data.txt in.txt\n")
    assert "in.txt -> data.txt" in prompt.wait_for("In [1]: ")
    prompt.type("%save data.txt out.txt\n")
    assert "data.txt -> out.txt" in prompt.wait_for("In [1]: ")
    assert (tmp_path / "out.txt").read_text() == "abc"


def test_a_cell_cannot_type_a_prompt(prompt: Terminal) -> None:
    prompt.type("print('\\nIn [7]: %save', end='')\n")
    assert prompt.wait_for("In [2]: ").endswith("  │ \n  │ In [7]: %save\n")


def test_bytes_that_are_no_text_are_said_to_be_none(prompt: Terminal) -> None:
    prompt.type("'\udcff'\n")
    assert "error[syntax.encoding]" in prompt.wait_for("In [1]: ")


def test_ctrl_c_ends_a_file_of_cells(tmp_path: Path) -> None:
    (tmp_path / "job.py").write_text("import time\nprint('asleep', flush=True)\ntime.sleep(60)\n# %%\nprint('never')\n")
    with on_terminal("session", "--keep-going", "--timeout", "60", "job.py", cwd=tmp_path) as terminal:
        terminal.wait_for("  │ asleep")
        terminal.type("\x03")
        assert terminal.wait() == Exit.CANCELLED
    assert "━━ CANCELLED Cell 1: " in terminal.seen
    assert "never" not in terminal.seen


def test_a_prompt_goes_on_where_a_file_ended(tmp_path: Path) -> None:
    (tmp_path / "job.py").write_text("x = 41")
    with on_terminal("session", "job.py", "-", cwd=tmp_path) as terminal:
        terminal.wait_for("In [2]: ")
        terminal.type("x + 1\n")
        assert "Out [2]\n  │ 42\n" in terminal.wait_for("In [3]: ")
        terminal.type("\x04")
        assert terminal.wait() == Exit.OK
