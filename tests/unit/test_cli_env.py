"""``hotcell env``: what it prints, what its exit codes tell."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from observers.wheels import index, make_wheel, store, tool

from hotcell.cli import Exit, main

__all__ = ["index", "store", "tool"]

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def env(index: Path, store: Path, capsys: pytest.CaptureFixture[str]) -> Command:
    """``hotcell env`` in this process: its exit code and what it wrote."""
    make_wheel(index, "lower")

    def run(*arguments: str) -> tuple[int, str, str]:
        try:
            code = main(["env", *arguments])
        except SystemExit as leave:
            code = leave.code
        return code, *capsys.readouterr()

    return run


def test_one_is_created_listed_shown_and_removed(env: Command) -> None:
    code, out, err = env("create", "data", "--packages", "lower>=1", "lower<2")
    assert code == Exit.OK
    assert "imported ahead  lower\n" in out
    assert err == ""  # nobody watches
    code, out, _ = env("list")
    assert code == Exit.OK
    assert "lower>=1 lower<2" in out
    assert env("show", "data")[1].splitlines()[0].split() == ["name", "data"]
    assert env("remove", "data") == (Exit.OK, "", "")
    assert env("list") == (Exit.OK, "", "")


def test_as_json_each_is_one_object(env: Command) -> None:
    code, out, _ = env("create", "data", "--packages", "lower", "--json")
    made = json.loads(out)
    assert (code, made["name"], made["packages"]) == (Exit.OK, "data", {"lower": "1.0"})
    assert json.loads(env("show", "data", "--json")[1]) == made
    assert json.loads(env("list", "--json")[1]) == {"environments": [made]}
    assert json.loads(env("remove", "data", "--json")[1]) == {"removed": "data"}
    assert json.loads(env("list", "--json")[1]) == {"environments": []}


def test_code_runs_in_it(env: Command, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert env("create", "data", "--packages", "lower")[0] == Exit.OK
    program = tmp_path / "program.py"
    program.write_text("import lower, sys\nprint('lower' in sys.modules, lower.version)\n")
    assert main(["run", str(program), "--env", "data", "--json"]) == Exit.OK
    assert json.loads(capsys.readouterr().out)["stdout"] == "True 1.0\n"
    assert main(["run", str(program), "--env", "data", "--preload", "json", "--json"]) == Exit.OK
    assert main(["run", str(program), "--json"]) == Exit.ERROR


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        ([], Exit.USAGE, "required: COMMAND"),
        (["dance"], Exit.USAGE, "invalid choice"),
        (["create"], Exit.USAGE, "required: NAME"),
        (["create", "data"], Exit.USAGE, "name at least one package"),
        (["create", "data", "--packages"], Exit.USAGE, "expected at least one argument"),
        (["create", "../data", "--packages", "lower"], Exit.USAGE, "is not allowed as a name"),
        (["create", "data", "--packages", "lower", "--python", "/bin/true"], Exit.USAGE, "CPython 3.11 or later"),
        (["create", "data", "--packages", "nowhere"], Exit.FAILED, "pip could not find the packages"),
        (["show", "data"], Exit.USAGE, "there are: none yet"),
        (["remove", "data"], Exit.USAGE, "is not known"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(env: Command, arguments: list[str], code: int, says: str) -> None:
    found, out, err = env(*arguments)
    assert found == code
    assert says in err.splitlines()[-1]
    assert out == ""


def test_a_damaged_one_does_not_hide_the_others(env: Command, store: Path) -> None:
    env("create", "data", "--packages", "lower")
    (store / "names" / "broken").symlink_to("../" + "f" * 32)
    code, out, err = env("list")
    assert code == Exit.OK
    assert "data" in out
    assert "'broken' is damaged" in err


def test_an_environment_needs_the_sandbox_that_has_them(env: Command, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["run", "/dev/null", "--env", "data", "--sandbox", "restricted"])
    assert code == Exit.USAGE
    assert "--env need --sandbox local" in capsys.readouterr().err
