"""The floor under every fresh process: ``fork``, ``exit`` and ``wait`` in a process with the same modules imported.

Run by its path, ``bare.py MODULE...``. Reads ``count N`` or ``seconds S`` from stdin, line by line, and answers each
with the number of forks and the seconds they took.
"""

from __future__ import annotations

import gc
import importlib
import os
import sys
import time


def fork_once() -> None:
    """One child that does nothing."""
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitpid(child, 0)


def main() -> None:
    for name in sys.argv[1:]:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()
    print("ready", flush=True)
    for line in sys.stdin:
        kind, amount = line.split()
        count, start = 0, time.perf_counter()
        while count < int(amount) if kind == "count" else time.perf_counter() - start < float(amount):
            fork_once()
            count += 1
        print(count, time.perf_counter() - start, flush=True)


if __name__ == "__main__":
    main()
