"""Everything about the fork server's heap: warming it up, and touching a fresh cell's pages before they are needed.

After a fork the first write to each page is a fault and a copy; for pandas code that is most of the time. The pages a
typical program writes are found once, by running one in a throw-away child and asking the kernel which pages became its
own; a new cell then asks for just those with MADV_POPULATE_WRITE (Linux 5.14), in a few calls instead of a thousand
faults.
"""

from __future__ import annotations

import array
import ctypes
import importlib
import mmap
import os
import random
import struct
import sys
from typing import Any, NoReturn, TypeAlias

from hotcell.sandboxes.local import kernel, mappings
from hotcell.worker import serve

Ranges: TypeAlias = "array.array[int]"
"""Address and length in bytes, by turns. One flat array: walking objects would dirty the pages they lie on."""

PAGE = mmap.PAGESIZE
NOTHING: Ranges = array.array("Q")
_MADV_POPULATE_WRITE = 23
_MOST_PAGES = 1750
"""With what it has written anyway, a waiting cell then holds less than 8 MiB of its own."""
_MAP_FIXED = 0x10
_MT19937_WORDS = 624
_MOST_SHARED_BYTES = 1 << 20
_EXCLUSIVE = 1 << 56
"""Of /proc/PID/pagemap: the page is mapped by this process alone (Documentation/admin-guide/mm/pagemap.rst)."""

# What typical code does with a library. All of it runs in the fork server, so that lazy imports and caches exist before
# the fork; the first part alone says which pages are touched ahead, since those cost memory in every waiting cell.
_TYPICAL = {
    "numpy": (
        "import numpy as np\nprint(np.arange(1000).sum())\n",
        """
a = np.arange(1000.0)
print(a.mean(), a.std(), np.dot(a, a))
np.linalg.inv(np.eye(3)) @ np.ones((3, 3))
np.random.rand(3)
a[:9]
""",
    ),
    "pandas": (
        """
import pandas as pd
print(pd.DataFrame({"a": range(50), "b": [n * 0.5 for n in range(50)]}).describe().to_csv())
""",
        """
import io
df = pd.DataFrame({"a": range(100), "b": [n * 0.5 for n in range(100)], "c": list("abcd") * 25})
print(df.groupby("c").agg({"a": "sum", "b": "mean"}))
pd.read_csv(io.StringIO(df.to_csv(index=False)))
df.sort_values("b").head()
pd.to_datetime(["2024-01-01", "2024-02-01"])
df
""",
    ),
    "matplotlib": (
        "",
        """
import io
import matplotlib.pyplot as plt
fig, ax = plt.subplots()
ax.plot([1, 2, 3])
ax.set_title("t")
fig.savefig(io.BytesIO())
plt.close(fig)
""",
    ),
}
_PLAIN = "print(1 + 1)"
_COMMON = "import math, json, re, datetime, collections\nprint([n for n in range(9)])\n1 + 1"

kernel.libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]


def warm_up(preload: list[str]) -> None:
    """Import the modules, then run typical code of each twice. Raises ImportError for a module that is not there."""
    for name in preload:
        importlib.import_module(name)
    for _ in range(2):
        for snippet in (_COMMON, *(common + rare for common, rare in _of(preload))):
            serve.rehearse(snippet)


def _of(preload: list[str]) -> list[tuple[str, str]]:
    names = {name.partition(".")[0] for name in preload}
    return [snippets for name, snippets in _TYPICAL.items() if name in names]


def reseed_libraries() -> None:
    """Before each fork, new random state for libraries whose seeding would dirty many pages of the fresh cell."""
    numpy_random: Any = sys.modules.get("numpy.random")
    if numpy_random is None:
        return
    try:
        # What numpy.random.seed() does as well, in half the time.
        key = array.array("I", os.urandom(4 * _MT19937_WORDS))
        numpy_random.set_state(("MT19937", key, _MT19937_WORDS, 0, 0.0))
    except ValueError:  # numpy.random.set_bit_generator() was called
        generator = numpy_random.get_bit_generator()
        generator.state = type(generator)().state


def reseed() -> None:
    """Give this process random state of its own: forks share what was seeded before."""
    random.seed()
    process: Any = sys.modules.get("multiprocessing.process")
    if process is not None:
        process.current_process().authkey = os.urandom(32)


def address_space() -> tuple[int, int]:
    """What this process takes already, in bytes: address space, and the part that RLIMIT_DATA counts."""
    with open("/proc/self/status", encoding="ascii") as file:
        fields = dict(line.split(":", 1) for line in file)
    return int(fields["VmSize"].split()[0]) << 10, int(fields["VmData"].split()[0]) << 10


def learn(preload: list[str]) -> Ranges:
    """The pages that typical code of the preloaded libraries writes, and any code at all."""
    return _ranges(_written_by([_PLAIN, *(common for common, _ in _of(preload))], _private_data()))


def touch(ranges: Ranges) -> None:
    """Make the pages this process's own, and walk the way of a request once. Failure costs speed and nothing else."""
    madvise = kernel.libc.madvise
    for index in range(0, len(ranges), 2):
        madvise(ranges[index], ranges[index + 1], _MADV_POPULATE_WRITE)
    # What page tables do not bring along over a fork, such as the library's own code, is mapped by using it.
    serve.rehearse("1 + 1")


def _written_by(snippets: list[str], areas: list[tuple[int, int]]) -> set[int]:
    """The page numbers that running the snippets in a child makes its own."""
    reading, writing = os.pipe()
    child = kernel.fork()
    if not child:
        _report_pages(snippets, areas, writing)
    os.close(writing)
    found = set()
    with open(reading, "rb") as pipe:
        for start, end in areas:
            entries = pipe.read((end - start) // PAGE * 8)
            for index, (word,) in enumerate(struct.iter_unpack("<Q", entries)):
                if word & _EXCLUSIVE:
                    found.add(start // PAGE + index)
    os.waitpid(child, 0)
    return found


def _report_pages(snippets: list[str], areas: list[tuple[int, int]], writing: int) -> NoReturn:
    # The fewer objects this makes, the fewer pages it dirties that the snippets did not.
    try:
        pagemap = os.open("/proc/self/pagemap", os.O_RDONLY)
        for snippet in snippets:
            serve.rehearse(snippet)
        for start, end in areas:
            for place in range(start, end, PAGE * 512):
                os.write(writing, os.pread(pagemap, min(4096, (end - place) // PAGE * 8), place // PAGE * 8))
    finally:
        os._exit(0)


def shared_areas() -> list[tuple[int, int]]:
    """Writable memory that a fork would share, such as a semaphore that a library made when it was imported.

    Raises RuntimeError where it is too much to be copied for every cell.
    """
    areas = [(one.start, one.end) for one in mappings.shared() if is_shared_memory(one)]
    size = sum(end - start for start, end in areas)
    if size > _MOST_SHARED_BYTES:
        raise RuntimeError(
            f"the preloaded modules hold {size} bytes of writable shared memory, which cells must not share. Preload "
            "fewer modules."
        )
    return areas


def make_private(areas: list[tuple[int, int]]) -> None:
    """In a fresh cell: put a copy of its own in the place of each area. Raises OSError."""
    fixed = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_FIXED
    for start, end in areas:
        kernel.call("mprotect", start, end - start, mmap.PROT_READ)
        content = ctypes.string_at(start, end - start)
        kernel.call("mmap", start, end - start, mmap.PROT_READ | mmap.PROT_WRITE, fixed, -1, 0)
        ctypes.memmove(start, content, end - start)


def is_shared_memory(mapping: mappings.Mapping) -> bool:
    """True for what a cell could write to, now or after mprotect; not for files that are read."""
    nameless = mapping.path.startswith(("/dev/zero", "/memfd:", "/dev/shm/", "/SYSV", "[anon_shmem"))  # noqa: S108
    return nameless or "w" in mapping.permissions


def _private_data() -> list[tuple[int, int]]:
    with open("/proc/self/maps", encoding="utf-8", errors="replace") as file:
        spans = [line.partition(" ")[0].split("-") for line in file if line.partition(" ")[2].startswith("rw-p")]
    return [(int(start, 16), int(end, 16)) for start, end in spans]


def _ranges(page_numbers: set[int]) -> Ranges:
    """The pages as ranges: long ones first, as one call each is what they cost, and no more than a cell may hold."""
    spans: list[tuple[int, int]] = []
    for page in sorted(page_numbers):
        if spans and page == sum(spans[-1]):
            spans[-1] = (spans[-1][0], spans[-1][1] + 1)
        else:
            spans.append((page, 1))
    spans.sort(key=lambda span: -span[1])
    ranges = array.array("Q")
    room = _MOST_PAGES
    for first, count in spans:
        room -= count
        if room >= 0:
            ranges.extend((first * PAGE, count * PAGE))
    return ranges
