"""An agent in small tries three ideas from one state, keeps the best, and goes back when one went wrong.

Run it with ``python examples/branches.py``.
"""

import hotcell

SETUP = """
words = "the cell the wall the wire and the cell".split()
counts = {}
"""
IDEAS = {
    "a loop": "for word in words:\n    counts[word] = counts.get(word, 0) + 1",
    "a slip of the pen": "for word in words:\n    counts[word] += 1",
    "a comprehension": "counts = {word: words.count(word) for word in words}",
}


def main() -> None:
    with hotcell.Executor() as executor:
        if not executor.sandbox.supports_fork:
            print("This machine has no namespaces to copy a session into: see `hotcell doctor`.")
            return
        with executor.session(branchable=True) as session:
            session.execute(SETUP)
            with session.fork(len(IDEAS)) as branches:
                for branch, (name, code) in zip(branches, IDEAS.items(), strict=True):
                    result = branch.execute(f"{code}\nmax(counts, key=counts.get), counts")
                    print(f"{name}: {result.value if result.success else result.reason}")
            print("the original:", session.execute("counts").value)

            session.checkpoint()
            session.execute("words.clear()")
            print("cleared:", session.execute("len(words)").value)
            session.rollback()
            print("and back:", session.execute("len(words)").value)


if __name__ == "__main__":
    main()
