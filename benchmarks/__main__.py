"""``python -m benchmarks``: print the table of every measurement, and write it as JSON."""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks import branches, checks, latency, memory, native, peers, streaming, table, throughput
from benchmarks.measure import Row

GROUPS: dict[str, tuple[str, Callable[[bool], Iterator[Row]]]] = {
    "latency": ("Request to result, pool warm", lambda quick: latency.measure(10 if quick else 100)),
    "sustained": ("Pool dry", lambda quick: throughput.sustained(*((1, 0.3) if quick else (4, 1.5)))),
    "burst": ("All at once", lambda quick: throughput.burst(1 if quick else 5)),
    "memory": ("A cell that waits", lambda _: memory.measure()),
    "streaming": ("While it runs", lambda quick: streaming.measure(10 if quick else 100)),
    "branches": ("Copies of a session", lambda quick: branches.measure(4 if quick else 40)),
    "native": ("Code inside and outside", lambda quick: native.measure(2 if quick else 12)),
    "checks": ("Around the run", lambda quick: checks.measure(10 if quick else 100)),
    "start": ("The command line", lambda quick: checks.start(5 if quick else 20)),
    "peers": ("Peers, print(1+1)", lambda quick: peers.measure(5 if quick else 30)),
}


def main(arguments: list[str]) -> int:
    """Non-zero only when a measurement failed; a target that is not met is in the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", action="append", choices=GROUPS, metavar="NAME", help=f"one of: {', '.join(GROUPS)}")
    parser.add_argument("--quick", action="store_true", help="few rounds: to see that it works")
    parser.add_argument("--no-peers", action="store_true", help="install nothing, and leave the peers out")
    parser.add_argument("--json", type=Path, default=Path("out/bench.json"), metavar="FILE")
    options = parser.parse_args(arguments)
    names = [name for name in GROUPS if not options.only or name in options.only]
    if options.no_peers:
        names = [name for name in names if name != "peers"]
    elif {"latency", "peers"} & set(names):
        peers.prepare()
    about, started = table.machine(), time.monotonic()
    rows: dict[str, list[Row]] = {}
    failed: list[str] = []
    print(", ".join(f"{key} {value}" for key, value in about.items()), end="\n\n")
    print(table.header())
    for name in names:
        title, measure = GROUPS[name]
        print(f"\n{title} [{name}]")
        rows[name] = []
        try:
            for row in measure(options.quick):
                rows[name].append(row)
                print(table.text_of(row), flush=True)
        except Exception as error:  # noqa: BLE001  # the other groups are worth having, and the exit code tells
            traceback.print_exception(error)
            failed.append(name)
    promised = [row.met for found in rows.values() for row in found if row.met is not None]
    print(f"\n{sum(promised)} of {len(promised)} targets met; {time.monotonic() - started:.0f} s; see {options.json}")
    table.write_json(options.json, rows, about)
    if failed:
        print(f"Failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
