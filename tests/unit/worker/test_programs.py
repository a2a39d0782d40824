"""A program of another language as a child of this process: what it is given, and what is made of its end."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hotcell.languages import BASH
from hotcell.sandboxes.local import toolbox
from hotcell.worker.programs import Program, shell_assignments

pytestmark = pytest.mark.skipif(not shutil.which("bash"), reason="this host has no bash")


@pytest.fixture
def program(tmp_path: Path) -> Program:
    return make(tmp_path)


def make(place: Path, **changes: Any) -> Program:
    work = place / "work"
    work.mkdir(exist_ok=True)
    return Program({**toolbox.find(BASH).spec, **changes}, str(work), 64)


def run(program: Program, code: str, value_bytes: int = 1000, **context: Any) -> dict[str, Any]:
    return program.run({"code": code, "filename": "<cell>", "context": context, "value_bytes": value_bytes})


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ('{"a": [1, null]}', {"a": [1, None]}),
        (" 42\n\n", 42),
        ("007", "007"),
        ("two words", "two words"),
        ("[1, NaN]", [1, None]),
        ("1e999", None),
        ('"\\ud800"', "\\ud800"),
        ("9" * 5000, None),
        ("null", None),
        ("", None),
    ],
)
def test_the_value_is_json_or_the_text_that_it_is(program: Program, written: str, value: Any) -> None:
    report = run(program, f"printf %s '{written}' >$HOTCELL_RESULT")
    assert report["outcome"] == "ok"
    assert report["value"] == value
    json.dumps(report, allow_nan=False).encode()


def test_a_value_is_cut_at_its_limit(program: Program) -> None:
    report = run(program, "yes | head -c 1001 >$HOTCELL_RESULT")
    assert report["value"] is None
    assert report["value_repr"].startswith("y\ny")
    assert isinstance(run(program, "yes | head -c 500 >$HOTCELL_RESULT")["value"], str)


def test_what_is_nested_too_deep_to_send_is_told_so(program: Program) -> None:
    report = run(program, f"printf %s '{'[' * 100}{']' * 100}' >$HOTCELL_RESULT")
    assert "<too deep>" in json.dumps(report["value"])


def test_an_exit_has_the_line_of_the_command_that_caused_it(program: Program) -> None:
    report = run(program, "true\nfalse\ntrue\n( exit 4 )")
    assert (report["outcome"], report["exit_code"]) == ("exit", 4)
    assert (report["error"]["line"], report["error"]["source_line"]) == (4, "( exit 4 )")
    assert report["error"]["traceback"] == "<cell>, line 4\n    ( exit 4 )\nExitStatus: exit status 4\n"


def test_an_exit_by_itself_blames_no_line_that_failed_before(program: Program) -> None:
    report = run(program, "false\nexit 5")
    assert (report["exit_code"], report["error"]["line"]) == (5, 0)


def test_the_parser_of_the_language_is_asked_first(program: Program, tmp_path: Path) -> None:
    report = run(program, "touch ran\nfi\n")
    assert (report["error"]["type"], report["error"]["line"]) == ("SyntaxError", 2)
    assert report["error"]["message"] == "syntax error near unexpected token `fi'"
    assert str(tmp_path) not in json.dumps(report)
    assert not Path("ran").exists()


def test_an_end_that_is_missing_is_found_on_the_last_line(program: Program) -> None:
    assert run(program, "if true; then\necho")["error"]["line"] == 2


@pytest.mark.parametrize(
    "told",
    [
        "nonsense",
        "[]",
        "{}",
        '{"type": 7}',
        '{"type": "T", "line": "x", "message": [1], "traceback": {}}',
        '{"type": "T", "line": -1}',
        '{"type": "T", "line": 1e400}',
        '{"type": "' + "T" * 300_000 + '"}',
        '{"line": 1, "status": 3}',
        '{"type": "T", "memory_error": 1}',
    ],
)
def test_an_error_that_is_told_in_any_shape_makes_a_report(program: Program, told: str) -> None:
    Path(program._place).mkdir()
    (Path(program._place) / "told").write_text(told)
    report = run(program, f"cp {program._place}/told $HOTCELL_ERROR; exit 3")
    error = report["error"]
    assert report["outcome"] in ("error", "exit")
    assert type(error["type"]) is str
    assert len(json.dumps(report)) < 1 << 18
    assert 0 <= error["line"] <= 1
    assert report["memory_error"] is False


def test_a_program_that_cannot_be_started_is_the_codes_error(program: Program, tmp_path: Path) -> None:
    (tmp_path / "program").write_text("in the way")
    report = run(program, "echo")
    assert report["outcome"] == "error"
    assert "while the program was started" in report["error"]["message"]


DRIVER = """
import sys
from hotcell.worker.programs import Program
spec = {"command": sys.argv[2:], "check": [], "suffix": "", "prelude": "", "environment": {}, "starts_ahead": False,
        "shell_variables": False}
print(Program(spec, sys.argv[1] + "/work", 64).run({"code": "", "context": {}, "value_bytes": 10}))
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGABRT, signal.SIGSEGV, signal.SIGTERM, signal.SIGPIPE, 40])
def test_the_signal_that_ended_the_child_ends_the_worker(number: int, tmp_path: Path) -> None:
    """So that the kernel tells it, and nobody has to believe a report."""
    killing = [shutil.which("bash") or "", "-c", f"kill -{int(number)} $$"]
    source = Path(__file__).resolve().parents[3] / "src"
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, tmp_path, *killing],
        env={"PYTHONPATH": str(source)},
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (-number, b"")


def test_the_child_ends_by_a_broken_pipe(program: Program) -> None:
    """Python ignores SIGPIPE, and what is ignored is inherited: a pipeline of the shell's would go on for ever."""
    report = run(program, "yes | head -1 >/dev/null; echo ${PIPESTATUS[0]} >$HOTCELL_RESULT")
    assert report["value"] == 128 + signal.SIGPIPE


TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
SCALARS = st.one_of(TEXTS, st.integers(), st.booleans(), st.none())


def told_by_bash(script: str) -> list[str]:
    done = subprocess.run(["bash", "-c", script], capture_output=True, check=True, env={"LANG": "C.UTF-8"}, timeout=60)
    assert done.stderr == b""
    return done.stdout.decode().split("\0")[:-1]


def as_word(value: Any) -> str:
    return value if isinstance(value, str) else "" if value is None else json.dumps(value)


@settings(max_examples=40, deadline=None)
@given(st.lists(SCALARS, max_size=6), SCALARS, st.dictionaries(TEXTS.filter(bool), SCALARS, max_size=4))
def test_bash_reads_the_variables_as_they_are(items: list[Any], scalar: Any, table: dict[str, Any]) -> None:
    """No text breaks out of its quotes: hypothesis tries."""
    assignments = shell_assignments({"items": items, "scalar": scalar, "table": table})
    script = f"""{assignments}
printf '%s\\0' "${{#items[@]}}" "$scalar" "${{#table[@]}}"
for item in "${{items[@]}}"; do printf '%s\\0' "$item"; done
for key in "${{!table[@]}}"; do printf '%s\\0' "$key" "${{table[$key]}}"; done
"""
    count, told, size, *rest = told_by_bash(script)
    assert (int(count), told, int(size)) == (len(items), as_word(scalar), len(table))
    assert rest[: len(items)] == [as_word(item) for item in items]
    pairs = rest[len(items) :]
    assert dict(zip(pairs[::2], pairs[1::2], strict=True)) == {key: as_word(item) for key, item in table.items()}


def test_what_bash_has_no_room_for_is_left_out() -> None:
    assignments = shell_assignments({"größe": 1, "ok": "a\0b", "deep": [[1, {"a": 2}]], "odd": {"": 1, "k": [1]}})
    assert told_by_bash(assignments + 'printf \'%s\\0\' "$ok" "${deep[0]}" "${odd[k]}" "${#odd[@]}"') == [
        "ab",
        '[1, {"a": 2}]',
        "[1]",
        "1",
    ]
