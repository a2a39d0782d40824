"""Which modules of a new environment can be imported ahead: tried behind the wall, as sandboxes will do it.

A fork server cannot be forked from once a module has started a thread, say, and importing is the only way to know.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence

from hotcell.environments import Environment
from hotcell.errors import EnvironmentFailed, HotcellError
from hotcell.sandboxes.local.sandbox import LocalSandbox

_NOT_TRIED = "not tried: no cell could be closed where this was built"


def with_preload(environment: Environment, modules: Sequence[str]) -> Environment:
    """The environment with its preload list. Raises EnvironmentFailed when no cell starts in it at all."""
    if not _problem(environment, modules):
        return dataclasses.replace(environment, preload=tuple(modules))
    if problem := _problem(environment, []):
        if not _problem(None, []):
            raise EnvironmentFailed(f"The environment was built, and no cell starts in it: {problem}")
        return dataclasses.replace(environment, left_out=dict.fromkeys(modules, _NOT_TRIED))
    left_out = {module: problem for module in modules if (problem := _problem(environment, [module]))}
    preload = [module for module in modules if module not in left_out]
    if problem := _problem(environment, preload):  # each alone, but not together
        left_out |= dict.fromkeys(preload, problem)
        preload = []
    return dataclasses.replace(environment, preload=tuple(preload), left_out=left_out)


def _problem(environment: Environment | None, preload: Sequence[str]) -> str:
    """Why no fork server starts with these; empty when one does."""
    try:
        with LocalSandbox(environment=environment, preload=preload, pool_size=0) as sandbox:
            _ = sandbox.info
    except HotcellError as error:
        # A module's own exception comes with its traceback; what to do about it is said by the caller.
        return re.sub(r"^(preload|RuntimeError): ", "", str(error).strip().splitlines()[-1]).partition(". ")[0]
    return ""
