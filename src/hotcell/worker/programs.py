"""Runs a program of another language as a child of this process, and says what became of it, as JSON data.

The child has the streams, the work directory and the limits of the cell. Beside the work directory it finds its code,
the variables as JSON (``$HOTCELL_CONTEXT``), and the places of two files it may write: its value (``$HOTCELL_RESULT``)
and what went wrong (``$HOTCELL_ERROR``). A child that a signal ended takes this process along by the same signal: how
it ended is then the kernel's word, and nobody has to believe ours.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
from collections.abc import Iterable, Mapping
from typing import Any, NoReturn

from hotcell.worker import values
from hotcell.worker.tracebacks import Source

GATE = 3
"""What a child that is started ahead of its code reads to its end before it looks for it."""

_DIRECTORY = "program"
_PASSED_ON = ("PATH", "LANG", "HOME", "TMPDIR", "USER", "LOGNAME", "TZ")
_ERROR_BYTES = 1 << 18
_MESSAGE_CHARS, _TRACEBACK_CHARS = 4_000, 20_000
_LINE = re.compile(r"\bline (\d{1,9})\b")


class Program:
    """One program. ``spec`` is the launcher's ``program``: what ``toolbox.spec`` on our side has made of a language.

    ``work`` is the work directory; ``memory_mib`` is what the command may be told of the memory limit.
    """

    def __init__(self, spec: Mapping[str, Any], work: str, memory_mib: int) -> None:
        place = os.path.join(os.path.dirname(work), _DIRECTORY)
        self._spec = spec
        self._place = place
        self._code = f"{place}/cell{spec['suffix']}"
        self._parts = {
            "{code}": self._code,
            "{prelude}": f"{place}/prelude{spec['suffix']}",
            "{memory_mib}": str(memory_mib),
        }
        self._child = 0
        self._gate = -1

    def start_ahead(self) -> None:
        """Start the child before there is code, if it can wait for that. Trouble is for ``run`` to tell."""
        if self._spec["starts_ahead"] and not self._child:
            with contextlib.suppress(OSError):
                self._prepare()
                self._child = self._start(self._spec["command"], self._environment(), gate=True)

    def run(self, request: Mapping[str, Any], _outlet: object = None) -> dict[str, Any]:
        """Run ``request["code"]``, which shows nothing and calls no host tools; returns the report of a run.

        Does not return when a signal ended the child.
        """
        source = Source(request["code"], request.get("filename", "<cell>"))
        try:
            self._write(request)
            if refused := self._check(source):
                return refused
            child = self._child or self._start(self._spec["command"], self._environment(), gate=True)
        except OSError as error:  # no room for the code on its disk, or no process left for it
            told = {"type": type(error).__name__, "message": f"while the program was started: {error}"}
            return _report("error", 1, error=told)
        if self._gate >= 0:
            os.close(self._gate)
        _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status):
            die_by(os.WTERMSIG(status))
        code = os.WEXITSTATUS(status)
        return self._failure(code, source) if code else self._success(request["value_bytes"])

    def _prepare(self) -> None:
        os.makedirs(self._place, 0o700, exist_ok=True)
        if self._spec["prelude"] and not self._spec["shell_variables"]:
            _put(self._parts["{prelude}"], self._spec["prelude"])

    def _write(self, request: Mapping[str, Any]) -> None:
        self._prepare()
        context = request["context"]
        if self._spec["shell_variables"]:
            _put(self._parts["{prelude}"], shell_assignments(context) + self._spec["prelude"])
        _put(f"{self._place}/context.json", json.dumps(context, ensure_ascii=False))
        _put(self._code, request["code"])

    def _check(self, source: Source) -> dict[str, Any] | None:
        """What the language's own parser has against the code, before any of it runs."""
        if not self._spec["check"]:
            return None
        said = f"{self._place}/check.txt"
        child = self._start(self._spec["check"], _plain_environment(), output=said)
        _, status = os.waitpid(child, 0)
        if status == 0:
            return None
        text = _read(said, _ERROR_BYTES).replace(self._code, source.filename).strip()
        found = _LINE.search(text)
        message = (text[found.end() :] if found else text).partition("\n")[0].lstrip(": ")
        line = int(found[1]) if found else 0
        error = {"type": "SyntaxError", "message": message, "traceback": f"{text}\n", "line": line}
        return _report("error", 1, error=_completed(error, source))

    def _start(
        self, command: Iterable[str], environment: dict[str, str], *, gate: bool = False, output: str = ""
    ) -> int:
        argv = [self._filled(word) for word in command]
        actions: list[Any] = []
        reading = -1
        if gate and self._spec["starts_ahead"]:
            reading, self._gate = os.pipe()
            actions.append((os.POSIX_SPAWN_DUP2, reading, GATE))
        if output:
            actions.append((os.POSIX_SPAWN_OPEN, 2, output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600))
        try:
            # SIGPIPE ends a writer in a shell's pipeline; what Python ignores, it would ignore too.
            return os.posix_spawn(argv[0], argv, environment, file_actions=actions, setsigdef=[signal.SIGPIPE])
        finally:
            if reading >= 0:
                os.close(reading)

    def _filled(self, word: str) -> str:
        for name, value in self._parts.items():
            word = word.replace(name, value)
        return word

    def _environment(self) -> dict[str, str]:
        own = {name: self._filled(value) for name, value in self._spec["environment"].items()}
        files = {f"HOTCELL_{name.upper()}": f"{self._place}/{name}.json" for name in ("context", "result", "error")}
        return _plain_environment() | files | own

    def _success(self, value_bytes: int) -> dict[str, Any]:
        written = _read(f"{self._place}/result.json", value_bytes + 1)
        text = written.strip()
        if not text:
            return _report("ok", 0)
        shown = values.short_repr(text, str)
        if len(written.encode()) > value_bytes:
            return _report("ok", 0, value_repr=shown)
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            value = text  # what is no JSON is text
        return _report("ok", 0, value=values.convert(value, value_bytes)[0], value_repr=shown)

    def _failure(self, code: int, source: Source) -> dict[str, Any]:
        told: Any = None
        with contextlib.suppress(ValueError, RecursionError):
            told = json.loads(_read(f"{self._place}/error.json", _ERROR_BYTES))
        error = told if isinstance(told, dict) else {}
        if isinstance(error.get("type"), str):
            memory = error.pop("memory_error", False) is True
            return _report("error", code, error=_completed(error, source), memory_error=memory)
        line = error.get("line") if error.get("status") == code else 0
        error = {"type": "ExitStatus", "message": f"exit status {code}", "line": line}
        return _report("exit", code, error=_completed(error, source))


def die_by(number: int) -> NoReturn:
    """End this process by the signal that ended its child."""
    with contextlib.suppress(OSError, ValueError):  # SIGKILL has no handler to set
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
    os.kill(os.getpid(), number)
    os._exit(128 + number)


def shell_assignments(context: Mapping[str, Any]) -> str:
    """The variables in the language of bash: scalars, flat lists as arrays, dicts as associative arrays.

    A name that bash has no room for is left out; null is the empty text, what is nested deeper is JSON text.
    """
    lines = []
    for name, value in context.items():
        if not name.isascii():
            continue
        if isinstance(value, list):
            lines.append(f"{name}=({' '.join(_quoted(item) for item in value)})")
        elif isinstance(value, dict):
            pairs = (f"[{_quoted(key)}]={_quoted(item)}" for key, item in value.items() if key)
            lines.append(f"declare -A {name}=({' '.join(pairs)})")
        else:
            lines.append(f"{name}={_quoted(value)}")
    return "\n".join([*lines, ""])


def _quoted(value: Any) -> str:
    text = value if isinstance(value, str) else "" if value is None else json.dumps(value, ensure_ascii=False)
    return "'" + text.replace("\0", "").replace("'", "'\\''") + "'"


def _completed(error: Mapping[str, Any], source: Source) -> dict[str, Any]:
    """The ``error`` of a report from what is known; see ``tracebacks.describe``."""
    line = error.get("line")
    # What lacks an end is found to lack it one line after the last.
    line = min(line, len(source.lines)) if type(line) is int and line > 0 else 0
    shown = source.line(line)
    message = str(error.get("message", ""))[:_MESSAGE_CHARS]
    place = f"{source.shown}, line {line}\n    {shown}\n" if line else ""
    traceback = str(error.get("traceback") or f"{place}{error['type']}: {message}\n")[:_TRACEBACK_CHARS]
    return {"type": error["type"][:200], "message": message, "traceback": traceback, "line": line, "source_line": shown}


def _plain_environment() -> dict[str, str]:
    return {name: os.environ[name] for name in _PASSED_ON if name in os.environ}


def _put(path: str, text: str) -> None:
    with open(path, "w", encoding="utf-8", errors="surrogatepass", newline="") as file:
        file.write(text)


def _read(path: str, most: int) -> str:
    """The file's beginning; nothing where the program made something else of it."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(handle, "rb") as file:
            return (file.read(most) or b"").decode("utf-8", "replace")
    except OSError:
        return ""


def _report(outcome: str, exit_code: int, **parts: Any) -> dict[str, Any]:
    blank = {"value": None, "value_repr": None, "error": None, "memory_error": False}
    return {"outcome": outcome, "exit_code": exit_code, **blank, **parts}
