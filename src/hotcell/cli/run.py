"""``hotcell run``: one program in a fresh cell, shown while it runs or when it is done."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from hotcell.cli import options, values
from hotcell.cli.exits import UsageError, exit_code
from hotcell.cli.files import need_writable_directory, print_json, read_source, shown_name
from hotcell.cli.parser import add_command

if TYPE_CHECKING:
    from hotcell.cache import Cache
    from hotcell.cli.parser import Commands, Parser
    from hotcell.config import SandboxConfig
    from hotcell.determinism import Deterministic
    from hotcell.results import ExecutionResult
    from hotcell.sandboxes.base import Sandbox
    from hotcell.streaming import Stream


def add_parser(commands: Commands[Parser]) -> None:
    """Add ``run``."""
    parser = add_command(commands, "run", _run, "run code in a fresh cell and show what came of it")
    options.add_source(parser)
    options.add_cell(parser)
    parser.add_argument(
        "--stream",
        action=argparse.BooleanOptionalAction,
        help="show output while it is written (default on a terminal); with --json, one event a line",
    )
    parser.add_argument(
        "--figure-formats",
        type=values.formats,
        metavar="A,B",
        help="how figures are drawn: png (the default), svg, or both",
    )
    parser.add_argument(
        "--output-dir", metavar="DIR", help="write the files that the code made, and its plots, into DIR"
    )
    parser.add_argument(
        "--artifact",
        action="append",
        default=[],
        metavar="GLOB",
        help="with --output-dir: of the files, only those that match; may be repeated",
    )
    parser.add_argument(
        "--deterministic",
        action="store_true",
        help="run Python so that running it again gives the same: nothing random in there is secret",
    )
    parser.add_argument("--seed", type=int, metavar="N", help="the same, with randomness of its own for each N")
    parser.add_argument(
        "--cache", metavar="DIR", help="the same, and keep the result in DIR: the next time nothing need be run"
    )
    parser.add_argument("--sandbox", choices=("local", "restricted"), default="local", help="where (default local)")
    parser.add_argument(
        "--min-isolation",
        choices=("none", "process", "namespace"),
        default="process",
        help="refuse to run behind less than this (default process)",
    )


def _run(arguments: argparse.Namespace) -> int:
    code = read_source(arguments.source)
    config = options.config(arguments)
    policy = options.policy(arguments.policy)
    if arguments.output_dir:
        need_writable_directory(arguments.output_dir)
    from hotcell.cli import host_tools
    from hotcell.executor import Executor
    from hotcell.results import IsolationLevel

    given = {
        "context": arguments.context,
        "files": options.files(arguments),
        "artifacts": tuple(arguments.artifact) or ("*",) if arguments.output_dir else (),
        "tools": host_tools.load(arguments.tool),
        "language": options.language(arguments),
        "deterministic": _deterministic(arguments),
    }
    least = IsolationLevel(arguments.min_isolation)
    with _sandbox(arguments, config) as sandbox:
        cache = _cache(arguments)
        executor = Executor(sandbox=sandbox, config=config, policy=policy, min_isolation=least, cache=cache)
        live = _is_live(arguments, sandbox)
        result = _follow(executor.stream(code, **given), arguments) if live else executor.execute(code, **given)
    _show(result, arguments, told=live)
    return exit_code(result)


def _sandbox(arguments: argparse.Namespace, config: SandboxConfig) -> Sandbox:
    if arguments.sandbox == "local":
        from hotcell.sandboxes.local.sandbox import LocalSandbox

        # One cell is all that a single run needs.
        return LocalSandbox(
            environment=arguments.env,
            preload=arguments.preload or None,
            config=config,
            pool_size=1,
            hash_seed=None if _deterministic(arguments) is None else 0,
        )
    if arguments.preload or arguments.env:
        raise UsageError("--preload and --env need --sandbox local: there is no fork server to load anything into")
    from hotcell.sandboxes.restricted import RestrictedPythonSandbox

    return RestrictedPythonSandbox(allow_no_isolation=arguments.min_isolation == "none")


def _cache(arguments: argparse.Namespace) -> Cache | None:
    """Raises ConfigurationError for a directory that cannot be trusted."""
    if not arguments.cache:
        return None
    from hotcell.directory_cache import DirectoryCache

    return DirectoryCache(arguments.cache)


def _deterministic(arguments: argparse.Namespace) -> Deterministic | None:
    """Raises ConfigurationError for a seed that is none."""
    from hotcell.determinism import Deterministic

    if arguments.seed is not None:
        return Deterministic(seed=arguments.seed)
    return Deterministic() if arguments.deterministic or arguments.cache else None


def _is_live(arguments: argparse.Namespace, sandbox: Sandbox) -> bool:
    """As asked for; unasked, where somebody watches and the sandbox can."""
    if arguments.stream is not None:
        return bool(arguments.stream)
    return not arguments.json and sys.stdout.isatty() and sandbox.supports_streaming


def _follow(stream: Stream, arguments: argparse.Namespace) -> ExecutionResult:
    """Show it until it is over."""
    with stream:
        if arguments.json:
            for event in stream:
                print_json(event.to_dict(), indent=None)
        else:
            from hotcell.cli.live import Live

            live = Live()
            try:
                for event in stream:
                    live.show(event)
            finally:
                live.end()
    assert stream.result is not None  # or else it has raised
    return stream.result


def _show(result: ExecutionResult, arguments: argparse.Namespace, *, told: bool) -> None:
    from hotcell.cli.saving import Saved, save

    saved, failure = Saved(), None
    if arguments.output_dir:
        try:
            saved = save(result, arguments.output_dir)
        except UsageError as error:
            failure = error  # told after the result, which has been paid for
    if not arguments.json:
        _print_page(result, arguments, told=told, saved=saved.artifacts, drawn=saved.displays)
    elif not told:
        print_json(result.to_dict())
    if failure:
        raise failure


def _print_page(result: ExecutionResult, arguments: argparse.Namespace, **how: Any) -> None:
    from hotcell.report import page
    from hotcell.terminal import Style

    filename, language = shown_name(arguments.source), options.language(arguments)
    print(page(result, filename=filename, language=language, style=Style.of(sys.stdout), **how))
