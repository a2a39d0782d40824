"""One peer, run by the interpreter of the peers' own environment: ``guest.py NAME``.

Says ``ready``, then reads a program as a Python literal from each line, runs it once, insists on its output where it is
``print(1 + 1)``, and answers with the seconds it took. Starting and importing are not counted; whatever the peer makes
anew for each execution is.
"""

from __future__ import annotations

import ast
import contextlib
import logging
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

PRINT = "print(1 + 1)"
Run = Callable[[str], str]
"""Takes a program, returns what it printed."""


@contextlib.contextmanager
def jupyter() -> Iterator[Run]:
    """A warm kernel with the modules imported; the same process for every program."""
    from jupyter_client.manager import start_new_kernel

    manager, client = start_new_kernel(kernel_name="python3")
    printed: list[str] = []

    def hear(message: dict[str, Any]) -> None:
        printed.append(message["content"].get("text", ""))

    def run(code: str) -> str:
        printed.clear()
        reply = client.execute_interactive(code, output_hook=hear)
        if reply["content"]["status"] != "ok":
            raise RuntimeError(reply["content"]["evalue"])
        return "".join(printed)

    run("import numpy, pandas, matplotlib")
    try:
        yield run
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


@contextlib.contextmanager
def restricted_python() -> Iterator[Run]:
    """Compiled and run in this process."""
    from RestrictedPython import PrintCollector, compile_restricted, safe_builtins

    def run(code: str) -> str:
        names = {"__builtins__": safe_builtins, "_print_": PrintCollector, "_getattr_": getattr}
        exec(compile_restricted(code + "\nresult = printed", "<code>", "exec"), names)
        return str(names["result"])

    yield run


@contextlib.contextmanager
def smolagents() -> Iterator[Run]:
    """The interpreter of syntax trees, made anew for each program."""
    from smolagents.local_python_executor import LocalPythonExecutor

    def run(code: str) -> str:
        executor = LocalPythonExecutor([])
        executor.send_tools({})
        return str(executor(code).logs)

    yield run


@contextlib.contextmanager
def monty() -> Iterator[Run]:
    """A fresh session from its pool of workers."""
    import pydantic_monty

    with pydantic_monty.Monty() as pool:

        def run(code: str) -> str:
            with pool.checkout() as session:
                printed = pydantic_monty.CollectString()
                session.feed_run(code, print_callback=printed)
                return str(printed.output)

        yield run


@contextlib.contextmanager
def sandlock() -> Iterator[Run]:
    """A bare interpreter started under Landlock and seccomp."""
    import sandlock

    python = getattr(sys, "_base_executable", sys.executable)

    def run(code: str) -> str:
        done = sandlock.Sandbox(fs_readable=["/"]).run([python, "-I", "-S", "-c", code])
        return done.stdout.decode() if isinstance(done.stdout, bytes) else done.stdout

    yield run


@contextlib.contextmanager
def llm_sandbox() -> Iterator[Run]:
    """One session, opened beforehand; it starts bubblewrap for each program."""
    from llm_sandbox import SandboxBackend, SandboxSession

    with SandboxSession(backend=SandboxBackend.BUBBLEWRAP, lang="python") as session:
        yield lambda code: session.run(code).stdout


PEERS = {
    "jupyter": jupyter,
    "RestrictedPython": restricted_python,
    "smolagents": smolagents,
    "pydantic-monty": monty,
    "sandlock": sandlock,
    "llm-sandbox": llm_sandbox,
}


def main() -> None:
    logging.disable()
    answers, sys.stdout = sys.stdout, sys.stderr  # a peer that logs must not talk into our answers
    with contextlib.ExitStack() as stack:
        try:
            run = stack.enter_context(PEERS[sys.argv[1]]())
            if run(PRINT) != "2\n":
                raise RuntimeError("it does not print 2")
            print("ready", file=answers, flush=True)
            for line in sys.stdin:
                code = ast.literal_eval(line)
                start = time.perf_counter()
                printed = run(code)
                seconds = time.perf_counter() - start
                if code == PRINT and printed != "2\n":
                    raise RuntimeError(f"it printed {printed!r}")
                print(seconds, file=answers, flush=True)
        except ModuleNotFoundError:
            print("not installed", file=answers, flush=True)
        except Exception as error:  # noqa: BLE001  # whatever a peer raises is the reason why its row is empty
            print(f"error: {type(error).__name__}: {error}".replace("\n", " ")[:120], file=answers, flush=True)


if __name__ == "__main__":
    main()
