"""``hotcell session``: cells of one session, from files, from a pipe, or typed at a prompt."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from hotcell.cli import options
from hotcell.cli.exits import UsageError
from hotcell.cli.files import read_source, reason, shown_name
from hotcell.cli.parser import add_command

if TYPE_CHECKING:
    from hotcell.cli.cells import Cell, Command
    from hotcell.cli.parser import Commands, Parser
    from hotcell.executor import Executor
    from hotcell.sessions import Session

_A_DAY = 86_400.0
_NO_COPIES = (
    "this session cannot be copied: that needs level namespace, which `hotcell doctor` tells of, and --branchable"
)


def add_parser(commands: Commands[Parser]) -> None:
    """Add ``session``."""
    parser = add_command(commands, "session", _session, "run cells one after the other in one state that lives on")
    parser.add_argument(
        "sources", nargs="*", metavar="FILE", help="code with cells begun by # %%%%; - or nothing reads standard input"
    )
    options.add_policy(parser)
    options.add_cell(parser)
    parser.add_argument("--keep-going", action="store_true", help="go on after a cell that failed")
    parser.add_argument(
        "--branchable",
        action=argparse.BooleanOptionalAction,
        help="let it be copied, with %%checkpoint and %%fork (default where this machine can)",
    )
    parser.add_argument(
        "--host-files",
        action="store_true",
        help="let %%save and %%load in FILE reach your files, as they may at a prompt",
    )


def _session(arguments: argparse.Namespace) -> int:
    sources = [(name, b"" if name == "-" else read_source(name)) for name in arguments.sources or ["-"]]
    config, policy = options.config(arguments), options.policy(arguments.policy)
    from hotcell.cli import host_tools
    from hotcell.cli.branches import Branches
    from hotcell.cli.commands import LineCommands
    from hotcell.cli.player import Player
    from hotcell.executor import Executor
    from hotcell.sandboxes.local.sandbox import LocalSandbox

    tools = host_tools.load(arguments.tool)
    # No cell waits prepared: the one that is needed is made when the session is opened.
    with (
        LocalSandbox(
            environment=arguments.env, preload=arguments.preload or None, config=config, pool_size=0
        ) as sandbox,
        Executor(sandbox=sandbox, config=config, policy=policy) as executor,
    ):
        branchable = sandbox.supports_fork if arguments.branchable is None else arguments.branchable
        with Branches(lambda: _open(executor, arguments, branchable)) as branches:
            player = Player(
                branches,
                context=arguments.context,
                tools=tools,
                keep_going=arguments.keep_going,
                as_json=arguments.json,
            )
            for name, source in sources:
                is_typed = name == "-" and sys.stdin.isatty() and not arguments.json
                commands = LineCommands(
                    branches,
                    no_copies="" if branchable else _NO_COPIES,
                    host_files=is_typed or arguments.host_files,
                )
                if is_typed:
                    from hotcell.cli.prompt import typed

                    player.play(typed(branches), commands)
                elif not player.play(_parts(name, source), commands, name=shown_name(name)):
                    break
    return player.code


def _open(executor: Executor, arguments: argparse.Namespace, branchable: bool) -> Session:
    from hotcell.lifetimes import Lifetime

    # It ends with this command, so what a person at a prompt may take is time.
    lifetime = Lifetime(idle_seconds=_A_DAY, age_seconds=_A_DAY, calls=1_000_000)
    session = executor.session(lifetime=lifetime, branchable=branchable)
    try:
        for name, path in options.files(arguments).items():
            session.files.write(name, path)
    except OSError as error:
        session.close()
        raise UsageError(reason(error)) from None
    except BaseException:
        session.close()
        raise
    return session


def _parts(name: str, source: bytes) -> Iterator[Cell | Command]:
    from hotcell.cli.cells import split

    lines = sys.stdin.buffer if name == "-" else source.splitlines(keepends=True)
    return split(lines, shown_name(name))
