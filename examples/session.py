"""A data-analysis chat in small: each message is a cell, and what one has made the next one finds.

Run it with ``python examples/session.py``.
"""

import hotcell

CSV = b"city,amount\nOslo,3\nRome,4\nOslo,5\n"
MESSAGES = [
    "import csv\nrows = list(csv.DictReader(open('sales.csv')))\nlen(rows)",
    "totals = {}\nfor row in rows:\n    totals[row['city']] = totals.get(row['city'], 0) + int(row['amount'])\ntotals",
    "max(totals, key=totals.got)",  # a slip of the pen
    "max(totals, key=totals.get)",
    "n = 0\nwhile n >= 0: n += 1",  # for ever: it is interrupted, and the state stays
    "sorted(totals)",
]


def main() -> None:
    config = hotcell.SandboxConfig(timeout_seconds=1)
    with hotcell.Executor(config=config) as executor, executor.session() as session:
        session.files.write("sales.csv", CSV)
        for number, code in enumerate(MESSAGES, 1):
            result = session.execute(code)
            if result.success:
                print(f"[{number}] {result.value}")
            else:
                where = f"Cell {result.error.cell}, line {result.error.line}" if result.error else "?"
                print(f"[{number}] {result.status}: {result.reason} ({where})")


if __name__ == "__main__":
    main()
