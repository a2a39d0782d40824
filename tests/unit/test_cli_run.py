"""``hotcell run``: as events, with tools and plots, and what it leaves in the output directory."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from observers.command import Command, hotcell

from hotcell.cli import Exit
from hotcell.results import Display, ExecutionResult, Status

__all__ = ["hotcell"]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty directory, in which the command stands."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


# --- streaming


def test_as_a_stream_the_output_comes_first_and_once(hotcell: Command) -> None:
    code = "import sys\nprint('to stdout')\nprint('to stderr', file=sys.stderr)\n6 * 7"
    answer = hotcell("run", "-", "--stream", stdin=code)
    assert answer.code == Exit.OK
    assert answer.out.startswith("  │ to stdout\n━━ OK ")
    assert answer.out.count("to stdout") == 1
    assert answer.err == "  ║ to stderr\n"
    assert answer.out.endswith("value\n  │ 42\n")


def test_output_that_ends_in_the_middle_of_a_line_does_not_touch_the_verdict(hotcell: Command) -> None:
    assert hotcell("run", "-", "--stream", stdin="print('half', end='')").out.startswith("  │ half\n━━ OK ")


def test_a_stream_cannot_forge_a_verdict_or_steer_a_terminal(hotcell: Command) -> None:
    code = r"print('\x1b[2J\r━━ OK', end='\n━━ OK\r\n', flush=True); print('\r', end='', flush=True); print('━━ OK')"
    answer = hotcell("run", "-", "--stream", stdin=code)
    assert "\x1b" not in answer.out
    assert "\r" not in answer.out
    assert sum(line.startswith("━━ OK") for line in answer.out.splitlines()) == 1


def test_as_json_each_event_is_a_line_and_the_last_has_the_result(hotcell: Command) -> None:
    answer = hotcell("run", "-", "--stream", "--json", stdin="print('é')\n6 * 7")
    assert answer.out.isascii()
    events = [json.loads(line) for line in answer.out.splitlines()]
    assert [event["type"] for event in events] == ["started", "stdout", "finished"]
    assert events[1] == {"type": "stdout", "text": "é\n"}
    assert events[-1]["result"].keys() == {"schema", "success", *ExecutionResult.__dataclass_fields__}
    assert (events[-1]["result"]["value"], answer.err) == (42, "")


def test_as_a_stream_the_exit_code_tells_the_same(hotcell: Command) -> None:
    assert hotcell("run", "-", "--stream", stdin="1 / 0").code == Exit.ERROR
    assert hotcell("run", "-", "--stream", "--json", stdin="import socket").code == Exit.REJECTED


def test_a_sandbox_that_cannot_stream_says_so(hotcell: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOTCELL_ALLOW_NO_ISOLATION", "1")
    options = ["--sandbox", "restricted", "--policy", "strict", "--min-isolation", "none"]
    answer = hotcell("run", "-", "--stream", *options, stdin="1")
    assert answer.code == Exit.USAGE
    assert "no stream of events" in answer.err


# --- tools


@pytest.fixture
def tools(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module of the caller's, which is forgotten afterwards."""
    (here / "our_tools.py").write_text(
        "import os\n"
        "def where(name: str) -> str:\n    return f'{name} in {os.getcwd()}'\n"
        "def fail() -> None:\n    raise ValueError('no \\x1b[2J luck')\n"
        "nothing = 3\n"
    )
    (here / "broken_tools.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(str(here))


@pytest.mark.usefixtures("tools")
def test_code_calls_a_function_of_ours_and_the_page_says_so(hotcell: Command, here: Path) -> None:
    answer = hotcell("run", "-", "--tool", "where=our_tools:where", stdin="print(where('I am'))")
    assert f"  │ I am in {here}\n" in answer.out
    assert "tool calls\n  │ number  name   outcome  seconds\n" in answer.out
    assert "  │      1  where  ok " in answer.out


@pytest.mark.usefixtures("tools")
def test_as_a_stream_a_call_is_a_line_and_its_answer_another(hotcell: Command) -> None:
    code = "where('I am')\ntry:\n    fail()\nexcept ValueError:\n    pass"
    answer = hotcell(
        "run", "-", "--stream", "--tool", "where=our_tools:where", "--tool", "fail=our_tools:fail", stdin=code
    )
    lines = answer.out.splitlines()
    assert lines[0] == 'call 1    where(name="I am")'
    assert lines[1].startswith("call 1    -> ok (")
    assert lines[3].startswith("call 2    -> error (")
    assert lines[3].endswith("ValueError: no \\x1b[2J luck")
    assert "tool calls" not in answer.out
    assert "\x1b" not in answer.out + answer.err


@pytest.mark.usefixtures("tools")
@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("where", "is not NAME=MODULE:FUNCTION"),
        ("where=our_tools", "is not NAME=MODULE:FUNCTION"),
        ("where=our_tools:", "is not NAME=MODULE:FUNCTION"),
        ("where=../our:where", "is not NAME=MODULE:FUNCTION"),
        ("where=no_such_tools:where", "cannot import 'no_such_tools': ModuleNotFoundError"),
        ("where=broken_tools:where", "cannot import 'broken_tools': ZeroDivisionError"),
        ("where=our_tools:there", "has no 'there'"),
        ("where=our_tools:nothing", "is not a function"),
        ("print=our_tools:where", "'print' is a builtin"),
    ],
)
def test_a_tool_that_cannot_be_had_gets_one_clear_line(given: str, says: str, hotcell: Command) -> None:
    answer = hotcell("run", "-", "--tool", given, stdin="1")
    assert (answer.code, answer.out) == (Exit.USAGE, "")
    assert says in answer.err
    assert answer.err.count("\n") == 1


@pytest.mark.usefixtures("tools")
def test_a_tool_has_one_meaning(hotcell: Command) -> None:
    answer = hotcell("run", "-", *["--tool", "where=our_tools:where"] * 2, stdin="1")
    assert "there are two of that name" in answer.err


# --- displays

SHOW = """
class Both:
    def _repr_mimebundle_(self, **_):
        return {"text/plain": "both", "text/html": "<b>é</b>", "image/svg+xml": "<svg/>"}
display(Both())
"""


def test_what_was_shown_is_written_beside_the_files(hotcell: Command, here: Path) -> None:
    code = "import matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.show()\n" + SHOW
    answer = hotcell(
        "run", "-", "--preload", "matplotlib", "--figure-formats", "png,svg", "--output-dir", "out", stdin=code
    )
    assert answer.code == Exit.OK
    written = {path.name for path in (here / "out").iterdir()}
    assert written == {"display-1.png", "display-1.svg", "display-2.svg", "display-2.html"}
    assert (here / "out" / "display-1.png").read_bytes().startswith(b"\x89PNG")
    assert (here / "out" / "display-2.html").read_text() == '<!doctype html>\n<meta charset="utf-8">\n<b>é</b>'
    for name in written:
        assert f"          -> out/{name}\n" in answer.out


def test_a_display_takes_no_name_that_the_code_took(hotcell: Command, here: Path) -> None:
    code = SHOW + "open('display-1.svg', 'w').write('mine')\nimport os\nos.mkdir('display-1.html')\n"
    hotcell("run", "-", "--output-dir", "out", stdin=code + "open('display-1.html/x', 'w').write('mine')")
    assert (here / "out" / "display-1.svg").read_text() == "mine"
    assert (here / "out" / "display-1.html" / "x").read_text() == "mine"
    assert (here / "out" / "display-1-2.svg").read_text() == "<svg/>"
    assert (here / "out" / "display-1-2.html").exists()


def test_a_display_is_not_written_through_a_link(hotcell: Command, here: Path) -> None:
    (here / "precious").write_text("kept")
    (here / "out").mkdir()
    (here / "out" / "display-1.svg").symlink_to(here / "precious")
    hotcell("run", "-", "--output-dir", "out", stdin=SHOW)
    assert (here / "precious").read_text() == "kept"
    assert (here / "out" / "display-1.svg").read_text() == "<svg/>"


def test_images_of_every_kind_get_their_ending(here: Path) -> None:
    from hotcell.cli.saving import save

    images = {f"image/{kind}": "QUJD" for kind in ("png", "jpeg", "gif", "webp")}
    shown = Display(data={**images, "application/json": {"a": 1}, "text/plain": "x", "text/html": {"no": "text"}})
    saved = save(ExecutionResult(status=Status.OK, reason="", decided_by="code", displays=(shown,)), "out")
    assert [path.name for path in saved.displays[0]] == [f"display-1.{end}" for end in ("png", "jpg", "gif", "webp")]
    assert {path.read_bytes() for path in (here / "out").iterdir()} == {b"ABC"}


def test_a_bad_figure_format_is_named(hotcell: Command) -> None:
    answer = hotcell("run", "-", "--figure-formats", "pdf", stdin="1")
    assert (answer.code, answer.out) == (Exit.USAGE, "")
    assert "figure_formats=('pdf',) is not allowed" in answer.err


# --- the same again

DRAW = "import random, uuid\nprint(random.random(), uuid.uuid4(), list({'a', 'b', 'c', 'd', 'e'}))"


def test_a_result_that_was_kept_needs_no_second_run(hotcell: Command) -> None:
    def run(code: str) -> dict[str, object]:
        return json.loads(hotcell("run", "-", "--json", "--cache", "kept", stdin=code).out)

    first, second, other = run("print(6 * 7)"), run("print(6 * 7)"), run("print(6 * 8)")
    assert (first["cached"], second["cached"], other["cached"]) == (False, True, False)
    assert first["stdout"] == second["stdout"] == "42\n"


def test_a_read_only_file_is_there_and_a_name_is_given_once(hotcell: Command, here: Path) -> None:
    (here / "data.txt").write_text("text")
    done = hotcell("run", "-", "--json", "--read-only", "in.txt=data.txt", stdin="open('in.txt').read()")
    assert json.loads(done.out)["value"] == "text"
    twice = ("--read-only", "a=data.txt", "--file", "a=data.txt")
    assert hotcell("run", "-", *twice, stdin="1").code == Exit.USAGE


def test_a_deterministic_run_can_be_repeated(hotcell: Command) -> None:
    def printed(*options: str) -> str:
        return json.loads(hotcell("run", "-", "--json", *options, stdin=DRAW).out)["stdout"]

    assert printed("--deterministic") == printed("--deterministic") == printed("--seed", "0")
    assert printed("--seed", "7") == printed("--seed", "7") != printed("--seed", "8")
    assert printed() != printed()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--seed", "-1"], "seed=-1 is not allowed"),
        (["--seed", "lucky"], "invalid int value: 'lucky'"),
        (["--deterministic", "--language", "bash"], "deterministic= is for Python"),
    ],
)
def test_what_cannot_be_repeated_is_said(options: list[str], says: str, hotcell: Command) -> None:
    answer = hotcell("run", "-", *options, stdin="1")
    assert (answer.code, answer.out) == (Exit.USAGE, "")
    assert says in answer.err
