"""What an environment is built with: an interpreter, and uv or pip, which find versions and then install exactly those.

Wheels only, unless asked otherwise: to unpack a wheel runs nothing of it, to build a source distribution runs whatever
its author wrote, as the user who builds. The index and everything else is as uv or pip are configured.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hotcell.errors import ConfigurationError, EnvironmentFailed

_OLDEST = (3, 11)
_PROBE = """
import json, os, platform, sys, sysconfig
print(json.dumps({
    "implementation": sys.implementation.name,
    "version": platform.python_version(),
    "release": "%d.%d" % sys.version_info[:2],
    "abi": str(sysconfig.get_config_var("SOABI")),
    "platform": sysconfig.get_platform(),
    "binary": os.path.realpath(getattr(sys, "_base_executable", sys.executable)),
}))
"""
# Which pip to use is known by the path of the file with which a pip runs itself for another interpreter.
_FIND_PIP = "import os, pip; print(os.path.join(os.path.dirname(pip.__file__), '__pip-runner__.py'))"
_RUN_PIP = """
import runpy, sys
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
# "Wheels only" binds pip for what it finds in an index, not for what a wheel depends on by an address. Whatever pip
# builds, it builds by starting Python.
_NO_BUILDING = """
import os, sys
def refuse(event, arguments):
    if event == "subprocess.Popen" and os.path.basename(os.fspath(arguments[0])).startswith("python"):
        raise PermissionError("a package has no wheel, and building it would run its author's code")
sys.addaudithook(refuse)
"""
# They would put the packages somewhere else, or add others.
_MISLEADING = {
    *("PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_USER", "PIP_PYTHON", "PIP_REQUIREMENT", "PIP_EDITABLE"),
    *("PIP_NO_BINARY", "UV_NO_BINARY", "UV_NO_BINARY_PACKAGE", "UV_TARGET", "UV_PYTHON", "UV_SYSTEM_PYTHON"),
    *("VIRTUAL_ENV", "PYTHONHOME", "PYTHONPATH"),
}
_UNREACHABLE = re.compile(r"Retrying \(|NewConnectionError|error sending request|dns error|Could not connect", re.I)
_NOISE = re.compile(
    r"\s*(?:WARNING: |\[notice\]|Looking in |Downloading |Using cached |Installing build |Getting requirements |"
    r"Preparing |To fix this |\d\. (?:loosen|remove) |$)"
)
_MOST_LINES, _MOST_CHARACTERS = 8, 2000


@dataclass(frozen=True, kw_only=True)
class Interpreter:
    """A Python that environments can be built on."""

    binary: str
    """Its real path, past links and virtual environments."""

    version: str
    abi: str
    platform: str

    def identity(self) -> str:
        """What a digest must cover beside the lock. The path too: a virtual environment is tied to it."""
        return json.dumps([self.binary, self.version, self.abi, self.platform])


def examine(python: str) -> Interpreter:
    """Ask an interpreter what it is. Raises ConfigurationError when it is none, or too old."""
    command = shutil.which(python)
    problem = "" if command else "there is no such command"
    found: dict[str, str] = {}
    try:
        if command:
            done = subprocess.run([command, "-I", "-c", _PROBE], capture_output=True, check=False, timeout=60)
            found = json.loads(done.stdout)
            if found["implementation"] != "cpython" or tuple(map(int, found["release"].split("."))) < _OLDEST:
                problem = f"it is {found['implementation']} {found['version']}"
    except (OSError, subprocess.TimeoutExpired, ValueError):
        problem = "it does not answer as a Python 3 does"
    if problem:
        raise ConfigurationError(f"python={python!r} cannot be used, {problem}: name a CPython 3.11 or later.")
    return Interpreter(binary=found["binary"], version=found["version"], abi=found["abi"], platform=found["platform"])


class Tool(ABC):
    """Finds versions, and installs what it found. ``lock`` is a descriptor that its programs keep open."""

    name: str

    def __init__(self, python: str, *, allow_source: bool, lock: int) -> None:
        self.python = python
        self.allow_source = allow_source
        self._lock = lock

    @abstractmethod
    def resolve(self, requirements: Path, work: Path) -> str:
        """Exact versions with hashes, as the text of a requirements file. Raises EnvironmentFailed."""

    @abstractmethod
    def install(self, lock: Path) -> None:
        """Install what the lock says and nothing else. Raises EnvironmentFailed."""

    def _wheels_only(self) -> list[str]:
        return [] if self.allow_source else ["--only-binary", ":all:"]

    def _run(self, doing: str, command: Iterable[str]) -> None:
        done = subprocess.run(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={name: value for name, value in os.environ.items() if name not in _MISLEADING},
            umask=0o022,
            # Should we be killed, the store stays locked until this program has ended too.
            pass_fds=[self._lock],
            check=False,
        )
        if done.returncode:
            raise EnvironmentFailed(_failure(self.name, doing, done.stdout.decode("utf-8", "replace")))


class Uv(Tool):
    """uv, where it is installed: the same in a tenth of the time."""

    name = "uv"

    def __init__(self, command: str, python: str, *, allow_source: bool, lock: int) -> None:
        super().__init__(python, allow_source=allow_source, lock=lock)
        self._uv = [command, "--no-progress", "--color", "never", "pip"]

    def resolve(self, requirements: Path, work: Path) -> str:
        lock = work / "uv.lock.txt"
        options = ["--python", self.python, "--generate-hashes", "--no-header", "--no-annotate", *self._wheels_only()]
        self._run("find", [*self._uv, "compile", *options, "--output-file", str(lock), str(requirements)])
        return lock.read_text("utf-8")

    def install(self, lock: Path) -> None:
        # Copies: hard links into uv's cache could be changed there.
        options = ["--python", self.python, "--require-hashes", "--no-deps", "--link-mode", "copy"]
        self._run("install", [*self._uv, "install", *options, *self._wheels_only(), "-r", str(lock)])


class Pip(Tool):
    """The interpreter's own pip, from outside: it is not in the environment afterwards."""

    name = "pip"
    _QUIET = ("--no-input", "--progress-bar", "off", "--disable-pip-version-check", "--no-color")

    def __init__(self, runner: str, python: str, *, allow_source: bool, lock: int) -> None:
        super().__init__(python, allow_source=allow_source, lock=lock)
        program = _RUN_PIP if allow_source else _NO_BUILDING + _RUN_PIP
        self._install = [python, "-I", "-c", program, runner, "install", *self._QUIET]

    def resolve(self, requirements: Path, work: Path) -> str:
        report = work / "report.json"
        options = ["--dry-run", "--ignore-installed", "--report", str(report), *self._wheels_only()]
        self._run("find", [*self._install, *options, "-r", str(requirements)])
        items = json.loads(report.read_bytes())["install"]
        return "".join(sorted(self._locked(item) for item in items))

    def install(self, lock: Path) -> None:
        options = ["--require-hashes", "--no-deps", "--no-compile", *self._wheels_only()]
        self._run("install", [*self._install, *options, "-r", str(lock)])

    def _locked(self, item: dict[str, Any]) -> str:
        name, version = item["metadata"]["name"], item["metadata"]["version"]
        url = item["download_info"]["url"]
        hashes = item["download_info"].get("archive_info", {}).get("hashes", {})
        if "sha256" not in hashes or not (self.allow_source or url.partition("#")[0].endswith(".whl")):
            raise EnvironmentFailed(f"pip took {name} {version} from {url}, which is no wheel with a SHA-256.")
        exact = f"{name} @ {url}" if item.get("is_direct") else f"{name}=={version}"
        return f"{exact} --hash=sha256:{hashes['sha256']}\n"


def choose(interpreter: Interpreter, python: str, work: Path, *, allow_source: bool, lock: int) -> Tool:
    """uv if it is on PATH, else the interpreter's pip, else the one that Python brings along.

    ``python`` is the environment's. Raises EnvironmentFailed where there is none of them.
    """
    if uv := shutil.which("uv"):
        return Uv(uv, python, allow_source=allow_source, lock=lock)
    runner = _runner(interpreter.binary)
    if not os.path.isfile(runner):
        make_venv(interpreter, work / "pip", with_pip=True)
        runner = _runner(f"{work}/pip/bin/python")
    return Pip(runner, python, allow_source=allow_source, lock=lock)


def _runner(python: str) -> str:
    return subprocess.run([python, "-I", "-c", _FIND_PIP], capture_output=True, text=True, check=False).stdout.strip()


def make_venv(interpreter: Interpreter, place: Path, *, with_pip: bool = False) -> None:
    """An empty virtual environment. Raises EnvironmentFailed."""
    options = [] if with_pip else ["--without-pip"]
    done = subprocess.run(
        [interpreter.binary, "-I", "-m", "venv", *options, str(place)], capture_output=True, umask=0o022, check=False
    )
    if done.returncode:
        said = _last_lines((done.stdout + done.stderr).decode("utf-8", "replace"))
        raise EnvironmentFailed(
            f"{interpreter.binary} cannot make a virtual environment: {said}. Install its venv and ensurepip modules "
            "(Debian: python3-venv), or uv."
        )


def _failure(tool: str, doing: str, output: str) -> str:
    said = _last_lines(output)
    if "No space left on device" in output:
        return f"The disk is full: {said}. Free some space, or name another place in HOTCELL_ENVIRONMENTS."
    if _UNREACHABLE.search(output):
        return f"{tool} could not reach the package index: {said}. Check the network and {tool}'s configuration."
    return f"{tool} could not {doing} the packages: {said}. Correct the names and versions asked for."


def _last_lines(output: str) -> str:
    lines = output.splitlines()
    telling = [line.strip() for line in lines if not _NOISE.match(line)] or lines
    if any(line.startswith("Traceback ") for line in telling):
        telling = telling[-1:]
    return " | ".join(telling[-_MOST_LINES:])[-_MOST_CHARACTERS:].rstrip(". ")
