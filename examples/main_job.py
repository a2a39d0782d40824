"""The main job: run an LLM's analysis of a real data file behind the wall, then see what becomes of an attack.

Run it with ``make run``.
"""

import sys
import textwrap
from pathlib import Path

import hotcell
from hotcell.report import page

# What hostile.py tries, and which layers are there to answer it.
ANSWERED_BY = {
    "passwords and keys": ("root-filesystem", "landlock", "separate-uid"),
    "other processes": ("pid-namespace", "private-proc", "landlock"),
    "a file left behind": ("root-filesystem", "landlock"),
    "a shell": ("root-filesystem", "landlock", "seccomp"),
    "sending it away": ("seccomp", "network-namespace", "landlock"),
}

HERE = Path(__file__).parent
OUT = Path("out")


def title(text: str) -> None:
    print(f"\n\n{text}\n{'=' * len(text)}")


def explain(text: str) -> None:
    print(textwrap.fill(" ".join(text.split()), 78), end="\n\n")


def analyse(sandbox: hotcell.Sandbox) -> hotcell.ExecutionResult:
    executor = hotcell.Executor(sandbox=sandbox)
    return executor.execute(
        (HERE / "analysis.py").read_bytes(),
        files={"data.csv": HERE / "data" / "co2.csv"},
        artifacts=("*.png",),
    )


def attack(sandbox: hotcell.Sandbox, policy: hotcell.Policy) -> hotcell.ExecutionResult:
    executor = hotcell.Executor(sandbox=sandbox, policy=policy)
    return executor.execute((HERE / "hostile.py").read_bytes())


def answers(result: hotcell.ExecutionResult) -> str:
    """The layers that were on, for each thing the attack tried."""
    on = result.sandbox.layers if result.sandbox else ()
    lines = [
        f"  {tried:<20} {', '.join(layer for layer in layers if layer in on)}" for tried, layers in ANSWERED_BY.items()
    ]
    return "\n".join(["held by", *lines])


def main() -> int:
    with hotcell.LocalSandbox(preload=["numpy", "pandas", "matplotlib"]) as sandbox:
        title("1. An analysis, as an LLM wrote it")
        explain("""examples/analysis.py reads 44 years of weekly carbon dioxide measurements with pandas,
                fits a curve, draws a plot and leaves a table. It runs in a process of its own that was
                forked, jailed and warm before the code arrived.""")
        result = analyse(sandbox)
        saved = [artifact.save(OUT) for artifact in result.artifacts]
        print(page(result, filename="analysis.py", saved=saved))

        title("2. An attack, refused before it runs")
        explain("""examples/hostile.py wants the machine's secrets and a way to send them out. The policy
                reads it, says which rules it breaks, and nothing runs.""")
        print(page(attack(sandbox, hotcell.Policy.standard()), filename="hostile.py"))

        title("3. The same attack, let in")
        explain("""A policy can be fooled, so it is not the wall. With Policy.permissive() the attack runs.
                This is what it finds: none of the host's secrets, no way to send anything, and nothing
                it can leave behind. The wall does not end the code, it gives it nothing.""")
        contained = attack(sandbox, hotcell.Policy.permissive())
        print(page(contained, filename="hostile.py"), answers(contained), sep="\n\n")
    if not (result.success and saved):
        print("\nThe analysis failed: see part 1.", file=sys.stderr)
        return 1
    print(f"\nThe plot is in {saved[0]}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
