"""Show what a program prints while it runs, and stop it when it has said enough.

Run it with ``python examples/streaming.py``.
"""

import hotcell
from hotcell import events

SEARCH = """
import time
for n in range(2, 10_000):
    if all(n % divisor for divisor in range(2, n)):
        print("prime", n, flush=True)
        time.sleep(0.01)
"""


def main() -> None:
    with hotcell.Executor() as executor:
        found = 0
        with executor.stream(SEARCH) as stream:
            for event in stream:
                match event:
                    case events.Started():
                        print(f"started {event.execution_id}")
                    case events.Stdout():
                        print(event.text, end="")
                        found += event.text.count("\n")
                    case events.Finished():
                        print(event.result.reason)
                if found >= 10:
                    stream.cancel()


if __name__ == "__main__":
    main()
