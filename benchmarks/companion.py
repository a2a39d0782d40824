"""Another process that is measured beside ours: it gets a line, does its work, and answers with a line."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from typing import Self


class CompanionError(Exception):
    """It did not start, or ended; the message is what it said last."""


class Companion:
    """Starts ``command`` and waits for its line ``ready``. Raises CompanionError."""

    def __init__(self, command: Sequence[str]) -> None:
        # As for the fork server: one thread, so that forking measures the memory and nothing else.
        environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg"}
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            bufsize=1,
            env=environment,
        )
        answer = self._read()
        if answer != "ready":
            self.close()
            raise CompanionError(answer or "it did not start")

    def ask(self, line: str) -> str:
        """Its answer to one line. Raises CompanionError when it ended."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line + "\n")
        except BrokenPipeError:
            raise CompanionError("it ended") from None
        answer = self._read()
        if not answer or answer.startswith("error"):
            raise CompanionError(answer or "it ended")
        return answer

    def time(self, code: str) -> float:
        """Seconds that a guest took for a program. Raises CompanionError when it failed."""
        return float(self.ask(repr(code)))

    def _read(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.communicate()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
