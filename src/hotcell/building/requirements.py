"""What somebody asks an environment to hold: checked, so that neither uv nor pip is told more than that.

Both take options and addresses in the same place as names, and some of them run a stranger's code.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from hotcell.errors import ConfigurationError

_NAMED = re.compile(
    r"(?P<name>[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?) ?"
    r"(?:\[[\w ,.-]*\] ?)?"  # extras
    r"(?:\(?[<>=!~][\w .,*+!<>=~-]*\)? ?)?"  # versions
    r"(?:; ?[\w .'\"<>=!~()-]+)?"  # a marker
    r"(?: --hash=\w+:[0-9a-f]+)*"
)
"""What both can only take from an index."""
_ADDRESSED = re.compile(r"(?:(?P<name>[A-Za-z0-9._-]+) ?(?:\[[\w ,.-]*\] ?)?@ ?)?(?P<place>[^@;]\S*)")
_ARCHIVE = re.compile(r"\.(?:whl|zip|tgz|tbz|txz|tlz|tar|tar\.\w+)$", re.IGNORECASE)


def read_requirements(path: str | os.PathLike[str]) -> list[str]:
    """The requirements in a file, one a line. Raises ConfigurationError when it cannot be read."""
    try:
        text = Path(path).read_text("utf-8")
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"requirements: cannot read {os.fspath(path)!r}: {error}.") from None
    lines = re.sub(r"\\\r?\n", " ", text).splitlines()
    return [line for line in (re.sub(r"(^|\s)#.*", "", line).strip() for line in lines) if line]


def check_requirement(text: object, *, allow_source: bool) -> str:
    """The requirement as a tool may be given it. Raises ConfigurationError for options and for what has no hash."""
    if not isinstance(text, str) or not text.strip() or not text.replace("\t", " ").isprintable():
        raise ConfigurationError(f"packages: {text!r} is not a requirement: give something like 'numpy>=2'.")
    text = re.sub(r"\s+", " ", text.strip())
    if text.startswith("-"):
        raise ConfigurationError(
            f"packages: {text!r} is an option, and only requirements are taken. Configure the index where pip or uv "
            "look for it (PIP_INDEX_URL, pip.conf, UV_INDEX, uv.toml), and list what other files list."
        )
    named = _NAMED.fullmatch(text)
    if named and not _ARCHIVE.search(named["name"]):
        return text
    return _check_archive(text, allow_source=allow_source)


def _check_archive(text: str, *, allow_source: bool) -> str:
    """A wheel by its address or path. Whatever else has an address is built first, or has no hash to lock it by."""
    found = _ADDRESSED.fullmatch(text)
    place = found["place"] if found else ""
    file = re.split(r"[#?]", place)[0]
    is_archive = _ARCHIVE.search(file) and (allow_source or file.endswith(".whl"))
    if not found or not is_archive or re.match(r"\w+\+", place):  # git+https://
        raise ConfigurationError(
            f"packages: {text!r} is not allowed: give names with versions, such as 'numpy>=2', or wheels. A directory "
            "or repository has no hash to lock it by: build a wheel of it first."
        )
    if "://" in place:
        return text
    if not os.path.isfile(place):
        raise ConfigurationError(f"packages: there is no file {place!r}.")
    path = Path(place).resolve()
    return f"{found['name']} @ {path.as_uri()}" if found["name"] else str(path)


def name_of(requirement: str) -> str:
    """The name of the package that is asked for, in its normal form."""
    named = _NAMED.fullmatch(requirement) or _ADDRESSED.fullmatch(requirement)
    name = named["name"] if named else None
    # The name of a wheel's file starts with the package's.
    return normal(name or os.path.basename(requirement).partition("-")[0])


def normal(name: str) -> str:
    """One spelling for names that mean the same package."""
    return re.sub(r"[-_.]+", "-", name).lower()
