"""The languages a cell can run, as data. Python is one of them and needs nothing said here; the others are programs of
the host that run inside the same wall.

    perl = Language(name="perl", title="Perl", command=("perl", "{code}"), suffixes=(".pl",), version_code="print $^V")
    register(perl)

``docs/how-to/languages.md`` adds one step by step.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from hotcell.errors import ConfigurationError

PYTHON = "python"
_PRELUDES = Path(__file__).with_name("preludes")


@dataclass(frozen=True, kw_only=True)
class Language:
    """How programs of one language are started, and what they need of the host. Frozen data.

    In ``command``, ``check`` and the values of ``environment``, ``{code}`` stands for the file with the code,
    ``{prelude}`` for the file with the prelude and ``{memory_mib}`` for ``memory_bytes`` in MiB.
    """

    name: str
    """The word that ``language=`` and ``--language`` take."""

    title: str
    """What people call it."""

    command: tuple[str, ...]
    """A program that the host has on its PATH, by name, and its arguments."""

    suffixes: tuple[str, ...]
    """How names of its files end; the first one is given to the code's own file."""

    version_code: str
    """A program that prints the language's version: ``hotcell doctor`` runs it to see whether the language works."""

    check: tuple[str, ...] = ()
    """A command that only parses the code, run before it inside the wall. Empty where ``command`` parses all of the
    code before it runs any."""

    tools: tuple[str, ...] = ()
    """Other programs that its code may start, by name. The host's are shown to its cells; what the host lacks is left
    out."""

    paths: tuple[str, ...] = ()
    """Files and directories of the host that its cells see read-only, beyond those of the C library. What the host
    lacks is left out."""

    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables of its environment, beyond those that every cell has."""

    prelude: str = ""
    """Code of ours that is read before the user's; the command says how."""

    starts_ahead: bool = False
    """The prelude reads descriptor 3 to its end before it looks for the code, so it can be started before there is
    any."""

    shell_variables: bool = False
    """The prelude is in the language of bash, and the context's variables are written before it as assignments."""

    executable_memory: bool = False
    """It makes machine code while it runs. The layer ``no-executable-memory`` is then off, and results say so."""

    own_memory_bytes: int = 32 << 20
    """What it holds before it has run anything; allowed on top of ``memory_bytes``."""

    own_processes: int = 2
    """Processes and threads that it starts by itself, and one of ours that waits for it; allowed on top of
    ``processes``."""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9+#-]{0,31}", self.name) or self.name == PYTHON:
            raise ConfigurationError(f"name={self.name!r} is not allowed: give a word in small letters, not python.")
        for name in ("command", "suffixes", "check", "tools", "paths"):
            value = getattr(self, name)
            if not isinstance(value, tuple) or not all(isinstance(item, str) and item for item in value):
                raise ConfigurationError(f"{name}={value!r} is not allowed: give a tuple of texts.")
        if not self.command or not self.suffixes:
            raise ConfigurationError("command and suffixes must not be empty: nothing could be started.")


_TOOLS = """
    awk b2sum base32 base64 basename bc bzip2 cat chmod cksum cmp column comm cp csplit cut date dd df diff dirname du
    echo egrep env expand expr factor false fgrep file find fmt fold getopt grep gunzip gzip head hexdump id join jq
    link ln ls md5sum mkdir mktemp mv nl nproc numfmt od paste patch pr printenv printf pwd readlink realpath rev
    rm rmdir sed seq sh sha1sum sha256sum sha512sum shuf sleep sort split stat sum tac tail tar tee test timeout touch
    tr true truncate tsort uname unexpand uniq unlink unxz unzip wc which xargs xxd xz yes zcat zip
"""

JAVASCRIPT = Language(
    name="javascript",
    title="JavaScript",
    # Without a compiler of machine code: --jitless; and one heap limit that ends in a word rather than in a kill.
    command=(
        "node",
        "--jitless",
        "--no-expose-wasm",
        "--v8-pool-size=0",
        "--max-old-space-size={memory_mib}",
        "{prelude}",
        "{code}",
    ),
    suffixes=(".js", ".mjs", ".cjs"),
    version_code="console.log(process.version)",
    paths=("/usr/share/nodejs",),  # where Debian keeps modules of Node's own
    environment={"UV_USE_IO_URING": "0"},
    prelude=(_PRELUDES / "javascript.js").read_text(encoding="utf-8"),
    starts_ahead=True,
    own_memory_bytes=64 << 20,
    own_processes=12,
)
BASH = Language(
    name="bash",
    title="Bash",
    command=("bash", "{code}"),
    check=("bash", "-n", "{code}"),
    suffixes=(".sh", ".bash"),
    version_code='echo "$BASH_VERSION"',
    tools=tuple(_TOOLS.split()),
    environment={"BASH_ENV": "{prelude}"},
    prelude=(_PRELUDES / "bash.sh").read_text(encoding="utf-8"),
    shell_variables=True,
)

_lock = threading.Lock()
_known: dict[str, Language] = {language.name: language for language in (BASH, JAVASCRIPT)}


def register(language: Language) -> Language:
    """Make a language known to this process, under its name. Raises ConfigurationError when another one has it."""
    with _lock:
        if _known.setdefault(language.name, language) != language:
            raise ConfigurationError(f"language={language.name!r} is taken: give the new one another name.")
    return language


def get(name: str) -> Language:
    """The language of that name; Python is not among them. Raises ConfigurationError for an unknown one."""
    try:
        return _known[name]
    except (KeyError, TypeError):
        raise ConfigurationError(
            f"language={name!r} is not known: choose {', '.join([PYTHON, *sorted(_known)])}, or register it "
            "(docs/how-to/languages.md)."
        ) from None


def other(name: str) -> Language | None:
    """The same, and None for Python."""
    return None if name == PYTHON else get(name)


def known() -> tuple[Language, ...]:
    """All but Python, by name."""
    return tuple(_known[name] for name in sorted(_known))


def of_file(filename: str) -> str:
    """The name of the language that a file's suffix tells; Python where it tells none."""
    suffix = Path(filename).suffix
    return next((language.name for language in known() if suffix in language.suffixes), PYTHON)
