"""The command ``hotcell``: run code in a cell, check it without running it, examine this machine.

Nothing heavy is imported before it is known to be needed, so that ``hotcell --help`` answers at once.
"""

from __future__ import annotations

import argparse
import enum
import json
import os
import re
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import hotcell
from hotcell import cli_env
from hotcell.errors import ConfigurationError, HotcellError

if TYPE_CHECKING:
    from pathlib import Path

    from hotcell.config import SandboxConfig
    from hotcell.policy import Policy
    from hotcell.results import Artifact, ExecutionResult, Status
    from hotcell.sandboxes.base import Sandbox

_PRESETS = ("strict", "standard", "permissive")
_MOST_SOURCE_BYTES = 64 << 20


class Exit(enum.IntEnum):
    """What the exit code tells. Documented in docs/reference/cli.md."""

    OK = 0
    """run: the code ran to its end; check: accepted; doctor: the machine gives the level."""
    ERROR = 1
    """The code raised an exception, or exited with a code other than zero."""
    USAGE = 2
    """The command line, or a file it names, cannot be used."""
    REJECTED = 3
    """A validator refused the code; nothing ran."""
    LIMIT = 4
    """A limit ended it: time, memory or output."""
    KILLED = 5
    """A signal ended it: a crash, its own doing, or a forbidden system call."""
    FAILED = 70
    """Not the code's doing: the sandbox failed, or this machine cannot give the promised level."""
    CANCELLED = 130
    """Interrupted with Ctrl-C; the cell is gone."""
    NO_READER = 141
    """Whoever read our output went away."""


class UsageError(Exception):
    """Something the user gave cannot be used; the message is one line."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code; a bad command line exits by SystemExit(2), as argparse does."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a C locale has no "│"
    arguments = _parser().parse_args(argv)
    try:
        code: int = arguments.command(arguments)
        sys.stdout.flush()
    except (UsageError, ConfigurationError) as error:
        return _complain(error, Exit.USAGE)
    except HotcellError as error:
        return _complain(error, Exit.FAILED)
    except KeyboardInterrupt:
        return _complain("interrupted", Exit.CANCELLED)
    except BrokenPipeError:
        # The interpreter would fail once more when it flushes at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.NO_READER
    return code


def _complain(error: object, code: Exit) -> int:
    from hotcell.terminal import clean_line

    print(f"hotcell: {clean_line(str(error))}", file=sys.stderr)
    return code


# --- commands


def _run(arguments: argparse.Namespace) -> int:
    code = _read_source(arguments.source)
    config = _config(arguments)
    policy = _policy(arguments.policy)
    files = dict(arguments.file)
    if arguments.output_dir:
        _need_writable_directory(arguments.output_dir)
    from hotcell.executor import Executor
    from hotcell.results import IsolationLevel

    least = IsolationLevel(arguments.min_isolation)
    with _sandbox(arguments, config) as sandbox:
        executor = Executor(sandbox=sandbox, config=config, policy=policy, min_isolation=least)
        globs = tuple(arguments.artifact) or ("*",) if arguments.output_dir else ()
        result = executor.execute(
            code, context=arguments.context, files=files, artifacts=globs, language=_language(arguments)
        )
    failure = None
    saved: list[Path] = []
    try:
        saved = _save(result.artifacts, arguments.output_dir) if arguments.output_dir else []
    except UsageError as error:
        failure = error  # told after the result, which has been paid for
    if arguments.json:
        _print_json(result.to_dict())
    else:
        from hotcell.report import page
        from hotcell.terminal import Style

        print(page(result, filename=_shown_name(arguments.source), saved=saved, style=Style.of(sys.stdout)))
    if failure:
        raise failure
    return _exit_code(result)


def _check(arguments: argparse.Namespace) -> int:
    code, policy = _read_source(arguments.source), _policy(arguments.policy)
    from hotcell.executor import check

    report = check(code, policy=policy, language=_language(arguments))
    if arguments.json:
        _print_json(report.to_dict())
    else:
        from hotcell.report import check_page
        from hotcell.terminal import Style

        print(check_page(report, filename=_shown_name(arguments.source), style=Style.of(sys.stdout)))
    return Exit.OK if report.accepted else Exit.REJECTED


def _doctor(arguments: argparse.Namespace) -> int:
    from hotcell.results import IsolationLevel
    from hotcell.sandboxes.local.doctor import examine

    report = examine()
    if arguments.json:
        _print_json(report.to_dict())
    else:
        from hotcell.report import doctor_page
        from hotcell.terminal import Style

        print(doctor_page(report, style=Style.of(sys.stdout)))
    if report.level >= IsolationLevel(arguments.level):
        return Exit.OK
    return _complain(f"this machine gives level {report.level}, not {arguments.level}", Exit.FAILED)


def _exit_code(result: ExecutionResult) -> Exit:
    from hotcell.results import Status

    of_status: dict[Status, Exit] = {
        Status.OK: Exit.OK,
        Status.ERROR: Exit.ERROR,
        Status.REJECTED: Exit.REJECTED,
        Status.TIMEOUT: Exit.LIMIT,
        Status.MEMORY_LIMIT: Exit.LIMIT,
        Status.OUTPUT_LIMIT: Exit.LIMIT,
        Status.KILLED: Exit.KILLED,
        Status.CANCELLED: Exit.CANCELLED,
        Status.FAILED: Exit.FAILED,
    }
    return of_status[result.status]


def _print_json(data: dict[str, Any]) -> None:
    # ASCII alone: whatever the code printed, JSON on a terminal stays JSON.
    print(json.dumps(data, indent=2, allow_nan=False))


# --- what the options mean


def _config(arguments: argparse.Namespace) -> SandboxConfig:
    from hotcell.config import SandboxConfig

    changes = {"timeout_seconds": arguments.timeout, "memory_bytes": arguments.memory}
    return SandboxConfig(**{name: value for name, value in changes.items() if value is not None})


def _policy(name: str) -> Policy:
    from hotcell.policy import Policy

    if name in _PRESETS:
        return Policy.named(name)
    if not name.endswith(".json"):
        raise UsageError(f"no policy is called {name!r}: give {', '.join(_PRESETS)} or the path of a .json file")
    data = _json_object(_read(name), f"policy {name!r}")
    return Policy.from_dict(data)


def _language(arguments: argparse.Namespace) -> str:
    """What is asked for, or else what the file's name tells."""
    from hotcell import languages

    return arguments.language or languages.of_file(arguments.source)


def _sandbox(arguments: argparse.Namespace, config: SandboxConfig) -> Sandbox:
    if arguments.sandbox == "local":
        from hotcell.sandboxes.local.sandbox import LocalSandbox

        # One cell is all that a single run needs.
        return LocalSandbox(environment=arguments.env, preload=arguments.preload or None, config=config, pool_size=1)
    if arguments.preload or arguments.env:
        raise UsageError("--preload and --env need --sandbox local: there is no fork server to load anything into")
    from hotcell.sandboxes.restricted import RestrictedPythonSandbox

    return RestrictedPythonSandbox(allow_no_isolation=arguments.min_isolation == "none")


def _read_source(name: str) -> bytes:
    if name == "-":
        source = sys.stdin.buffer.read(_MOST_SOURCE_BYTES + 1)
    else:
        source = _read(name)
    if len(source) > _MOST_SOURCE_BYTES:
        raise UsageError(f"{name!r} is larger than 64 MiB: that is data rather than code, give it with --file")
    return source


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as stream:
            return stream.read(_MOST_SOURCE_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        raise UsageError(f"cannot read {path!r}: {_reason(error)}") from None


def _shown_name(source: str) -> str:
    return "<stdin>" if source == "-" else source


def _reason(error: Exception) -> str:
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)


def _need_writable_directory(directory: str) -> None:
    """Find out before the code runs, not after."""
    try:
        os.makedirs(directory, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot make the output directory {directory!r}: {_reason(error)}") from None
    if not os.access(directory, os.W_OK | os.X_OK):
        raise UsageError(f"cannot write to the output directory {directory!r}")


def _save(artifacts: Sequence[Artifact], directory: str) -> list[Path]:
    try:
        return [artifact.save(directory) for artifact in artifacts]
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot write to the output directory {directory!r}: {_reason(error)}") from None


def _json_object(text: str | bytes, what: str) -> dict[str, Any]:
    try:
        data = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:  # RecursionError: nested too deeply
        raise UsageError(f"{what} is not JSON: {error}") from None
    if not isinstance(data, dict):
        raise UsageError(f"{what} is not a JSON object: give something like " + '{"name": 1}')
    return data


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


# --- the values of options: argparse turns an ArgumentTypeError into a usage error


def _type(convert: Callable[[str], Any]) -> Callable[[str], Any]:
    def converted(text: str) -> Any:
        try:
            return convert(text)
        except UsageError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return converted


@_type
def _seconds(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise UsageError(f"{text!r} is not a number of seconds") from None


@_type
def _size(text: str) -> int:
    match = re.fullmatch(r"(\d{1,15}(?:\.\d{1,9})?)([KMGT]?)(?:i?B)?", text.strip(), re.ASCII | re.IGNORECASE)
    if not match:
        raise UsageError(f"{text!r} is not a size: give bytes, or a number with K, M or G, such as 256M")
    return int(float(match[1]) * 1024 ** " KMGT".index(match[2].upper() or " "))


@_type
def _context(text: str) -> dict[str, Any]:
    if text.startswith("@"):
        return _json_object(_read(text[1:]), repr(text[1:]))
    return _json_object(text, "the context")


@_type
def _file(text: str) -> tuple[str, Path]:
    from pathlib import Path

    name, equals, path = text.partition("=")
    if not (name and equals and path):
        raise UsageError(f"{text!r} is not NAME=PATH, such as data.csv=/tmp/sales.csv")
    try:
        with open(path, "rb") as stream:
            stream.read(0)
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read {path!r}: {_reason(error)}") from None
    return name, Path(path)


@_type
def _modules(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if not all(part.isidentifier() for part in name.split(".")):
            raise UsageError(f"{name!r} is not the name of a module: give something like numpy,pandas")
    return names


# --- the command line


class _Parser(argparse.ArgumentParser):
    """Answers a bad command line with one line, in which nothing the user typed controls the terminal."""

    def error(self, message: str) -> NoReturn:
        from hotcell.terminal import clean_line

        print(f"{self.prog}: {clean_line(message)} (see {self.prog} --help)", file=sys.stderr)
        sys.exit(Exit.USAGE)


_EPILOG = """exit codes:
  0    run: the code ran to its end; check: accepted; doctor: the level is given
  1    the code raised an exception, or exited with a code other than zero
  2    the command line, or a file it names, cannot be used
  3    a validator refused the code; nothing ran
  4    a limit ended it: time, memory or output
  5    a signal ended it: a crash, its own doing, or a forbidden system call
  70   not the code's doing: the sandbox failed, or cannot be had on this machine
  130  interrupted with Ctrl-C; the cell is gone
  141  whoever read the output went away
"""


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="hotcell",
        description="Run Python that an LLM wrote, in a fresh, OS-isolated process.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"hotcell {hotcell.__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=_Parser)
    _add_run(commands)
    _add_check(commands)
    _add_doctor(commands)
    cli_env.add_parser(commands)
    return parser


def _command(
    commands: argparse._SubParsersAction[_Parser],
    name: str,
    command: Callable[[argparse.Namespace], int],
    summary: str,
) -> _Parser:
    parser = commands.add_parser(
        name,
        help=summary,
        description=summary[0].upper() + summary[1:] + ".",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(command=command)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a page")
    return parser


def _add_source(parser: _Parser) -> None:
    parser.add_argument("source", metavar="FILE", help="the code; - reads standard input")
    parser.add_argument(
        "--language",
        metavar="NAME",
        help="python, javascript or bash (default: by the file's suffix .py, .js, .mjs or .sh, else python)",
    )
    parser.add_argument(
        "--policy",
        default="standard",
        metavar="POLICY",
        help="strict, standard (the default), permissive, or the path of a .json file",
    )


def _add_run(commands: argparse._SubParsersAction[_Parser]) -> None:
    parser = _command(commands, "run", _run, "run code in a fresh cell and show what came of it")
    _add_source(parser)
    parser.add_argument("--timeout", type=_seconds, metavar="SECONDS", help="wall-clock limit (default 10)")
    parser.add_argument("--memory", type=_size, metavar="SIZE", help="memory limit, such as 256M (default 512M)")
    parser.add_argument("--context", type=_context, default={}, metavar="JSON", help="variables: an object, or @FILE")
    parser.add_argument(
        "--file",
        type=_file,
        action="append",
        default=[],
        metavar="NAME=PATH",
        help="put a copy of PATH into the work directory as NAME; may be repeated",
    )
    parser.add_argument("--output-dir", metavar="DIR", help="write the files that the code made into DIR")
    parser.add_argument(
        "--artifact",
        action="append",
        default=[],
        metavar="GLOB",
        help="with --output-dir: only the files that match; may be repeated",
    )
    parser.add_argument(
        "--preload", type=_modules, default=[], metavar="A,B", help="modules imported before the code arrives"
    )
    parser.add_argument("--env", metavar="NAME", help="run in an environment that `hotcell env create` built")
    parser.add_argument("--sandbox", choices=("local", "restricted"), default="local", help="where (default local)")
    parser.add_argument(
        "--min-isolation",
        choices=("none", "process", "namespace"),
        default="process",
        help="refuse to run behind less than this (default process)",
    )


def _add_check(commands: argparse._SubParsersAction[_Parser]) -> None:
    _add_source(_command(commands, "check", _check, "say what the validators think of code, without running it"))


def _add_doctor(commands: argparse._SubParsersAction[_Parser]) -> None:
    parser = _command(commands, "doctor", _doctor, "show every layer of the wall: what it stops, whether it is on here")
    parser.add_argument(
        "--level",
        choices=("process", "namespace"),
        default="process",
        help="exit with 70 unless this machine gives at least this (default process)",
    )
