"""The command line: what it prints, what its exit codes tell, and that nothing a user or a cell gives breaks it."""

from __future__ import annotations

import ast
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from observers.command import Command, hotcell

from hotcell.cli import Exit
from hotcell.policy import Policy
from hotcell.results import ExecutionResult

__all__ = ["hotcell"]


def as_a_process(*arguments: str, **options: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "hotcell", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


# --- a bad command line: one line, exit code 2


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "required"),
        (["dance"], "invalid choice: 'dance'"),
        (["run"], "required: FILE"),
        (["run", "missing.py"], "cannot read 'missing.py': No such file or directory"),
        (["run", "."], "cannot read '.': Is a directory"),
        (["run", "nul\0.py"], "cannot read"),
        (["check", "missing.py"], "cannot read 'missing.py': No such file or directory"),
        (["run", "-", "--memory", "lots"], "'lots' is not a size"),
        (["run", "-", "--memory", "-1"], "memory"),
        (["run", "-", "--memory", "1"], "memory_bytes=1 is not allowed"),
        (["run", "-", "--memory", "9" * 5000], "is not a size"),
        (["run", "-", "--memory", "१M"], "is not a size"),
        (["run", "-", "--timeout", "soon"], "'soon' is not a number of seconds"),
        (["run", "-", "--timeout", "nan"], "timeout_seconds=nan is not allowed"),
        (["run", "-", "--timeout", "0"], "timeout_seconds=0.0 is not allowed"),
        (["run", "-", "--policy", "lenient"], "no policy is called 'lenient'"),
        (["run", "-", "--policy", "missing.json"], "cannot read 'missing.json'"),
        (["run", "-", "--policy", "broken.json"], "policy 'broken.json' is not JSON"),
        (["run", "-", "--policy", "list.json"], "policy 'list.json' is not a JSON object"),
        (["run", "-", "--policy", "field.json"], "no field 'nonsense'"),
        (["run", "-", "--context", "{"], "the context is not JSON"),
        (["run", "-", "--context", "[1]"], "not a JSON object"),
        (["run", "-", "--context", '{"x": NaN}'], "NaN is no JSON number"),
        (["run", "-", "--context", "[" * 100_000], "the context is not JSON"),
        (["run", "-", "--context", "@missing.json"], "cannot read 'missing.json'"),
        (["run", "-", "--context", "@broken.json"], "'broken.json' is not JSON"),
        (["run", "-", "--file", "data.csv"], "'data.csv' is not NAME=PATH"),
        (["run", "-", "--file", "=x"], "is not NAME=PATH"),
        (["run", "-", "--file", "a=missing"], "cannot read 'missing'"),
        (["run", "-", "--file", "a=."], "cannot read '.': Is a directory"),
        (["run", "-", "--file", "../a=list.json"], "../a"),
        (["run", "-", "--preload", "os;evil"], "'os;evil' is not the name of a module"),
        (["run", "-", "--preload", ""], "is not the name of a module"),
        (["run", "-", "--output-dir", "list.json"], "cannot make the output directory 'list.json'"),
        (["run", "-", "--sandbox", "moon"], "invalid choice: 'moon'"),
        (["run", "-", "--sandbox", "restricted", "--preload", "json"], "--preload and --env need --sandbox local"),
        (["run", "-", "--time", "1"], "unrecognized arguments"),
        (["run", "-", "--language", "cobol"], "language='cobol' is not known"),
        (["check", "-", "--language", "cobol"], "language='cobol' is not known"),
        (["run", "-", "--nonsense\x1b[2J"], "\\x1b[2J"),
        (["doctor", "--level", "gvisor"], "invalid choice: 'gvisor'"),
    ],
)
def test_a_bad_command_line_gets_one_clear_line(
    arguments: list[str], says: str, hotcell: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("broken.json").write_text("{")
    Path("list.json").write_text("[]")
    Path("field.json").write_text('{"nonsense": 1}')
    answer = hotcell(*arguments, stdin="1")
    assert answer.code == Exit.USAGE
    assert says in answer.err
    assert answer.err.startswith("hotcell")
    assert answer.err.count("\n") == 1
    assert "\x1b" not in answer.err
    assert answer.out == ""


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read and write everything")
def test_what_may_not_be_read_or_written_is_said(hotcell: Command, tmp_path: Path) -> None:
    secret = tmp_path / "secret.py"
    secret.touch(mode=0)
    assert "Permission denied" in hotcell("run", secret).err
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    assert "cannot write to the output directory" in hotcell("run", "-", "--output-dir", locked).err


def test_endless_input_is_refused(hotcell: Command) -> None:
    assert "larger than 64 MiB" in hotcell("run", "/dev/zero").err


# --- exit codes


@pytest.mark.parametrize(
    ("source", "options", "code", "status"),
    [
        ("print(1)", [], Exit.OK, "ok"),
        ("raise SystemExit", [], Exit.OK, "ok"),
        ("1 / 0", [], Exit.ERROR, "error"),
        ("raise SystemExit(3)", [], Exit.ERROR, "error"),
        ("import socket", [], Exit.REJECTED, "rejected"),
        ("def", [], Exit.REJECTED, "rejected"),
        ("import time; time.sleep(60)", ["--timeout", "0.3"], Exit.LIMIT, "timeout"),
        ("x = [bytes(1 << 20) for _ in range(1000)]", ["--memory", "64M"], Exit.LIMIT, "memory_limit"),
        ("print('x' * 10_000_000)", [], Exit.LIMIT, "output_limit"),
        ("import os; os.kill(os.getpid(), 9)", ["--policy", "permissive"], Exit.KILLED, "killed"),
    ],
)
def test_the_exit_code_tells_how_it_ended(
    source: str, options: list[str], code: Exit, status: str, hotcell: Command
) -> None:
    answer = hotcell("run", "-", "--json", *options, stdin=source)
    assert (answer.code, json.loads(answer.out)["status"]) == (code, status)
    assert answer.err == ""


def test_too_thin_a_wall_is_our_failure_not_the_codes(hotcell: Command) -> None:
    answer = hotcell("run", "-", "--sandbox", "restricted", "--policy", "strict", stdin="1")
    assert answer.code in (Exit.FAILED, Exit.USAGE)
    assert answer.err.startswith("hotcell: ")
    assert answer.err.count("\n") == 1


def test_a_module_that_cannot_be_preloaded_is_named(hotcell: Command) -> None:
    answer = hotcell("run", "-", "--preload", "no_such_module", stdin="1")
    assert answer.code in (Exit.FAILED, Exit.USAGE)
    assert "no_such_module" in answer.err
    assert answer.err.count("\n") == 1


def descendants(pid: int) -> set[int]:
    found: set[int] = set()
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(entry.read_text().rpartition(")")[2].split()[1])
        except (OSError, IndexError):
            continue  # it ended while we looked
        if parent == pid:
            child = int(entry.parent.name)
            found |= {child} | descendants(child)
    return found


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_ctrl_c_ends_the_cell_and_says_so() -> None:
    process = as_a_process("run", "-", "--timeout", "60")
    assert process.stdin
    process.stdin.write("import time; time.sleep(60)")
    process.stdin.close()
    process.stdin = None
    time.sleep(2)
    cells = descendants(process.pid)
    assert cells
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (Exit.CANCELLED, "", "hotcell: interrupted\n")
    time.sleep(0.2)
    assert not [pid for pid in cells if alive(pid)]


def test_a_reader_that_goes_away_is_no_traceback() -> None:
    with as_a_process("run", "--help") as process:
        process.stdout.close()
        process.stdout = None
        assert "Traceback" not in process.stderr.read()


# --- run


def test_the_page_shows_verdict_output_and_value(hotcell: Command) -> None:
    answer = hotcell("run", "-", stdin="print('hello')\n6 * 7")
    assert answer.out.startswith("━━ OK ")
    assert "  │ hello\n" in answer.out
    assert "  │ 42\n" in answer.out
    assert "\x1b" not in answer.out


def test_json_is_the_whole_result_in_ascii(hotcell: Command) -> None:
    answer = hotcell(
        "run", "-", "--json", stdin="print('\\x1b[2J \\x9b \\u202e é \\ud800'.encode('utf8', 'replace').decode())"
    )
    data = json.loads(answer.out)
    assert answer.out.isascii()
    assert "\x1b" not in answer.out
    assert data.keys() == {"schema", "success", *ExecutionResult.__dataclass_fields__}


def test_code_is_read_from_a_file_as_bytes(hotcell: Command, tmp_path: Path) -> None:
    source = tmp_path / "job.py"
    source.write_bytes(b"x = '\xff'")
    answer = hotcell("run", source)
    assert answer.code == Exit.REJECTED
    assert "error[syntax.encoding]" in answer.out


def test_findings_name_the_file(hotcell: Command, tmp_path: Path) -> None:
    source = tmp_path / "job.py"
    source.write_text("x = 1\nimport socket\n")
    assert f"--> {source}:2:1" in hotcell("run", source).out


@pytest.mark.parametrize("given", ['{"name": "Ada"}', "@context.json"])
def test_context_becomes_variables(
    given: str, hotcell: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("context.json").write_text('{"name": "Ada"}')
    answer = hotcell("run", "-", "--json", "--context", given, stdin="name.upper()")
    assert json.loads(answer.out)["value"] == "ADA"


def test_files_go_in_and_artifacts_come_out(hotcell: Command, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("abc")
    code = "import os\nos.mkdir('sub')\nopen('sub/out.txt', 'w').write(open('data.txt').read().upper())"
    answer = hotcell(
        "run", "-", "--file", f"data.txt={tmp_path / 'in.txt'}", "--output-dir", tmp_path / "out", stdin=code
    )
    assert answer.code == Exit.OK
    assert (tmp_path / "out" / "sub" / "out.txt").read_text() == "ABC"
    assert f"-> {tmp_path / 'out' / 'sub' / 'out.txt'}" in answer.out


def test_only_the_artifacts_that_were_asked_for_come_out(hotcell: Command, tmp_path: Path) -> None:
    code = "open('a.txt', 'w').write('a')\nopen('b.csv', 'w').write('b')"
    hotcell("run", "-", "--output-dir", tmp_path, "--artifact", "*.csv", stdin=code)
    assert [path.name for path in tmp_path.iterdir()] == ["b.csv"]


def test_a_result_whose_files_cannot_be_written_is_still_shown(hotcell: Command, tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    answer = hotcell("run", "-", "--output-dir", tmp_path, stdin="open('taken', 'w').write('x')\nprint('done')")
    assert answer.code == Exit.USAGE
    assert "  │ done" in answer.out
    assert "cannot write to the output directory" in answer.err


def test_a_policy_can_be_read_from_a_file(hotcell: Command, tmp_path: Path) -> None:
    path = tmp_path / "policy.json"
    path.write_text(json.dumps(Policy.standard().deny_import("json").to_dict()))
    assert hotcell("run", "-", "--policy", path, stdin="import json").code == Exit.REJECTED


def test_the_sandbox_without_a_wall_must_be_asked_for_twice(hotcell: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    options = ["--sandbox", "restricted", "--policy", "strict", "--min-isolation", "none", "--json"]
    monkeypatch.delenv("HOTCELL_DEBUG", raising=False)
    assert hotcell("run", "-", *options, stdin="6 * 7").code == Exit.USAGE
    monkeypatch.setenv("HOTCELL_ALLOW_NO_ISOLATION", "1")
    answer = hotcell("run", "-", *options, stdin="6 * 7")
    assert json.loads(answer.out)["value"] == 42
    assert json.loads(answer.out)["sandbox"]["isolation"] == "none"


# --- check and doctor


def test_check_runs_nothing_and_tells_by_exit_code(hotcell: Command, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    accepted = hotcell("check", "-", stdin=f"open({str(trace)!r}, 'w')")
    assert accepted.code == Exit.OK
    assert accepted.out.startswith("accepted by policy standard")
    assert not trace.exists()
    rejected = hotcell("check", "-", stdin="import socket")
    assert rejected.code == Exit.REJECTED
    assert "error[network.access]" in rejected.out


def test_check_prints_json(hotcell: Command) -> None:
    answer = hotcell("check", "-", "--json", "--policy", "strict", stdin="import os")
    data = json.loads(answer.out)
    assert (data["accepted"], data["policy"]) == (False, "strict")
    assert data["violations"][0]["line"] == 1


def test_doctor_says_of_every_layer_what_it_stops(hotcell: Command) -> None:
    answer = hotcell("doctor")
    data = json.loads(hotcell("doctor", "--json").out)
    for layer in data["layers"]:
        assert layer.keys() == {"id", "title", "stops", "on", "detail", "remedy"}
        assert f"({layer['id']})" in answer.out
        assert layer["stops"]
        assert layer["on"] or layer["remedy"]


def test_doctor_runs_a_program_of_every_language_that_it_says_is_there(hotcell: Command) -> None:
    data = json.loads(hotcell("doctor", "--json").out)
    found = {language["name"]: language for language in data["languages"]}
    assert {"python", "bash", "javascript"} <= found.keys()
    for language in found.values():
        assert language.keys() == {"name", "title", "on", "version", "path", "problem", "missing"}
        assert bool(language["version"]) is language["on"]
        assert bool(language["problem"]) is not language["on"]
    assert found["python"]["on"]
    assert found["bash"]["on"] is (data["level"] == "namespace" and shutil.which("bash") is not None)


@pytest.mark.parametrize(("name", "options"), [("cell.sh", []), ("cell", ["--language", "bash"])])
def test_the_language_is_told_by_the_suffix_or_by_name(
    name: str, options: list[str], hotcell: Command, tmp_path: Path
) -> None:
    source = tmp_path / name
    source.write_text("echo $((6 * 7)) # not Python\n")
    checked = hotcell("check", source, *options)
    assert checked.code == Exit.OK
    assert "warning[language.unread]" in checked.out
    ran = hotcell("run", source, "--json", *options)
    if ran.code == Exit.FAILED:
        pytest.skip(ran.err)
    assert json.loads(ran.out)["stdout"] == "42\n"


@pytest.mark.parametrize("level", ["process", "namespace"])
def test_doctor_fails_where_the_machine_cannot_give_the_level(level: str, hotcell: Command) -> None:
    answer = hotcell("doctor", "--json", "--level", level)
    given = json.loads(answer.out)["level"]
    ranks = ["none", "process", "namespace"]
    assert answer.code == (Exit.OK if ranks.index(given) >= ranks.index(level) else Exit.FAILED)


# --- the command itself


def test_help_comes_at_once() -> None:
    spent = []
    for _ in range(10):
        started = time.perf_counter()
        with as_a_process("--help") as process:
            assert "exit codes:" in process.communicate()[0]
        spent.append(time.perf_counter() - started)
    assert min(spent) < 0.1


def test_help_imports_none_of_the_machinery() -> None:
    code = "import sys, hotcell.cli; print(sorted(name for name in sys.modules if name.startswith('hotcell.')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = [name for name in ast.literal_eval(done.stdout) if name.split(".")[1] != "cli"]
    assert loaded == ["hotcell.errors"]


def test_version(hotcell: Command) -> None:
    assert hotcell("--version").out == "hotcell 0.1.0\n"


def test_a_terminal_that_knows_no_box_characters_is_no_crash() -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    with as_a_process("check", "-", env=environment) as process:
        out, err = process.communicate("import socket  # é")
    assert process.returncode == Exit.REJECTED
    assert "\\u2502" in out
    assert err == ""
