"""How quick the two validators before the run are, and how well they tell hostile programs from honest ones.

    python benchmarks/validators.py                          # speed, and the corpora of tests/corpora
    python benchmarks/validators.py HumanEval.jsonl.gz ...   # and files of honest programs, JSON lines or Python

Of each JSON line the fields ``prompt`` and ``canonical_solution``, or ``code``, are taken together as one program.
"""

from __future__ import annotations

import ast
import gzip
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests" / "corpora")]

from snippets import load  # noqa: E402  # found by the line above

from hotcell.policy import Policy  # noqa: E402
from hotcell.results import Severity  # noqa: E402
from hotcell.validators.syntax import parse  # noqa: E402
from hotcell.validators.tree import inspect  # noqa: E402

TYPICAL = """\
import pandas as pd
import numpy as np

def load(path: str) -> pd.DataFrame:
    frame = pd.read_csv(path)
    frame["total"] = frame["price"] * frame["count"]
    return frame[frame["total"] > 0]

class Report:
    def __init__(self, frame):
        self.frame = frame
        self.rows = [row for row in frame.itertuples() if row.total > 10]

    def summary(self, top=3):
        grouped = self.frame.groupby("region").agg({"total": "sum"})
        for name, value in grouped.sort_values("total").head(top).iterrows():
            print(f"{name:>10}: {value['total']:.2f}")
        return {"mean": np.mean(self.frame.total), "rows": len(self.rows)}

if __name__ == "__main__":
    print(Report(load("sales.csv")).summary())

"""
HUNDRED_LINES = "\n".join((TYPICAL * 5).split("\n")[:100])


def refuses(code: str, policy: Policy) -> bool:
    """Whether the validators refuse it."""
    parsed = parse(code, policy)
    findings = parsed.violations or (inspect(parsed.tree, parsed.text, policy) if parsed.tree else ())
    return any(item.severity is Severity.ERROR for item in findings)


def median_microseconds(work: Callable[[], object]) -> float:
    """The median time of one call, in microseconds."""
    samples = []
    for _ in range(300):
        started = time.perf_counter()
        work()
        samples.append(time.perf_counter() - started)
    return statistics.median(samples) * 1e6


def programs(path: Path) -> Iterable[str]:
    """The programs in one file."""
    if path.suffix == ".py":
        yield path.read_text(encoding="utf-8")
        return
    text = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    for line in text.decode("utf-8").splitlines():
        item = json.loads(line)
        yield item["code"] if "code" in item else item["prompt"] + item["canonical_solution"]


def speed() -> None:
    """Print what each step costs."""
    print("| program | policy | ast.parse alone, µs | syntax, µs | policy, µs | together, µs |")
    print("|---|---|---|---|---|---|")
    for name, code in (("print(1+1)", "print(1+1)"), ("100 lines", HUNDRED_LINES)):
        for policy in (Policy.standard(), Policy.strict()):
            tree = ast.parse(code)
            bare = median_microseconds(lambda code=code: ast.parse(code))  # type: ignore[misc]  # a bound default
            syntax = median_microseconds(lambda code=code, policy=policy: parse(code, policy))  # type: ignore[misc]
            judged = median_microseconds(
                lambda tree=tree, code=code, policy=policy: inspect(tree, code, policy)  # type: ignore[misc]
            )
            print(f"| {name} | {policy.name} | {bare:.0f} | {syntax:.0f} | {judged:.0f} | {syntax + judged:.0f} |")


def rates(corpora: dict[str, list[str]]) -> None:
    """Print how many programs of each corpus every preset refuses."""
    print("| corpus | programs | strict | standard | permissive |")
    print("|---|---|---|---|---|")
    for name, codes in corpora.items():
        counts = [
            sum(refuses(code, Policy.named(preset)) for code in codes)
            for preset in ("strict", "standard", "permissive")
        ]
        print(f"| {name} | {len(codes)} | " + " | ".join(str(count) for count in counts) + " |")


def main() -> None:
    speed()
    print()
    corpora = {
        f"tests/corpora, {name}": [code for _, code in load(name)] for name in ("hostile", "escapes", "legitimate")
    }
    for argument in sys.argv[1:]:
        corpora[Path(argument).name] = list(programs(Path(argument)))
    rates(corpora)


if __name__ == "__main__":
    main()
