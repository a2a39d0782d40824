"""A command on a terminal of its own: what a person would type, and what they would see."""

from __future__ import annotations

import contextlib
import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

# Whoever starts a process for a terminal makes it the controlling one, so that Ctrl-C is a signal.
_TAKE = "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
_PATIENCE_SECONDS = 60


class Terminal:
    """Both ends: the keyboard and the screen."""

    def __init__(self, process: subprocess.Popen[bytes], screen: int) -> None:
        self.process = process
        self._screen = screen
        self.seen = ""
        """All that was shown, with ``\\n`` at the ends of lines."""
        self._looked = 0

    def type(self, keys: str) -> None:
        os.write(self._screen, keys.encode(errors="surrogateescape"))

    def wait_for(self, text: str) -> str:
        """Until the text stands behind what was waited for last; all that was shown up to it."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while (found := self.seen.find(text, self._looked)) < 0:
            assert time.monotonic() < deadline, f"{text!r} did not come:\n{self.seen}"
            assert self._read(), f"it ended without {text!r}:\n{self.seen}"
        before, self._looked = self.seen[self._looked : found], found + len(text)
        return before

    def wait(self) -> int:
        """Until it has ended; its exit code."""
        while self._read():
            pass
        return self.process.wait(timeout=_PATIENCE_SECONDS)

    def _read(self) -> bool:
        if select.select([self._screen], [], [], 1)[0]:
            try:
                data = os.read(self._screen, 65536)
            except OSError:  # its last user is gone
                return False
            self.seen += data.decode(errors="replace").replace("\r\n", "\n")
            return bool(data)
        return True


@contextlib.contextmanager
def on_terminal(*arguments: str, cwd: Path | None = None) -> Iterator[Terminal]:
    """``hotcell`` with these arguments, on a terminal without colours."""
    screen, line = pty.openpty()
    environment = {**os.environ, "NO_COLOR": "1", "TERM": "dumb"}
    try:
        process = subprocess.Popen(
            [sys.executable, "-c", _TAKE, sys.executable, "-m", "hotcell", *arguments],
            stdin=line,
            stdout=line,
            stderr=line,
            start_new_session=True,
            env=environment,
            cwd=cwd,
        )
        os.close(line)
        with process:
            try:
                yield Terminal(process, screen)
            finally:
                process.kill()
    finally:
        os.close(screen)
