"""Which interpreter a fork server runs, and which libraries it can import: what a cached result depends on."""

from __future__ import annotations

import hashlib
import os
import site
import sys
from typing import Any

from hotcell.environments import Environment

_RECORDS = (".dist-info", ".egg-info")
"""What an installed distribution leaves beside its packages: a directory called after its name and version."""


def describe(environment: Environment | None) -> dict[str, Any]:
    """The machine, the interpreter's version and place, and a hash of all installed distributions' versions; or the
    digest of an environment, which stands for all of these but the machine."""
    if environment is not None:
        return {"machine": os.uname().machine, "environment": environment.digest}
    found: set[str] = set()
    for place in site.getsitepackages():
        try:
            found.update(name for name in os.listdir(place) if name.endswith(_RECORDS))
        except OSError:
            continue  # a place that is only planned
    return {
        "python": sys.version,
        "machine": os.uname().machine,
        "prefix": sys.prefix,
        "libraries": hashlib.sha256("\n".join(sorted(found)).encode("utf-8", "surrogateescape")).hexdigest(),
    }
