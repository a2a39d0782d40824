"""What the exit codes tell, and the one line that goes before those that are not the code's doing."""

from __future__ import annotations

import enum
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hotcell.results import ExecutionResult


class Exit(enum.IntEnum):
    """What the exit code tells. Documented in docs/reference/cli.md."""

    OK = 0
    """run, session: the code ran to its end; check: accepted; doctor: the machine gives the level."""
    ERROR = 1
    """The code raised an exception, or exited with a code other than zero."""
    USAGE = 2
    """The command line, a file it names, or a command in a session cannot be used."""
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


EPILOG = """exit codes:
  0    run, session: the code ran to its end; check: accepted; doctor: the level is given
  1    the code raised an exception, or exited with a code other than zero
  2    the command line, a file it names, or a command in a session cannot be used
  3    a validator refused the code; nothing ran
  4    a limit ended it: time, memory or output
  5    a signal ended it: a crash, its own doing, or a forbidden system call
  70   not the code's doing: the sandbox failed, or cannot be had on this machine
  130  interrupted with Ctrl-C; the cell is gone
  141  whoever read the output went away
"""


class UsageError(Exception):
    """Something the user gave cannot be used; the message is one line."""


def complain(error: object, code: Exit) -> Exit:
    """Say it in one line to standard error, and return ``code``."""
    from hotcell.terminal import clean_line

    print(f"hotcell: {clean_line(str(error))}", file=sys.stderr)
    return code


def exit_code(result: ExecutionResult) -> Exit:
    """What its status is on the command line."""
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
