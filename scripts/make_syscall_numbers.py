"""Write src/hotcell/sandboxes/local/numbers.py from the kernel headers of this machine (linux-libc-dev).

x86-64 has a table of its own; aarch64 uses the generic one. Only the names the filter speaks of matter, but the whole
tables are kept so that an unknown number can be named in a report.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

HEADERS = {
    "x86_64": ["/usr/include/x86_64-linux-gnu/asm/unistd_64.h"],
    "aarch64": ["/usr/include/asm-generic/unistd.h"],
}
# The generic header names some calls after their 32-bit variants; on a 64-bit machine these are the plain ones.
GENERIC = [
    "-D__BITS_PER_LONG=64",
    "-D__ARCH_WANT_NEW_STAT",
    "-D__ARCH_WANT_RENAMEAT",
    "-D__ARCH_WANT_SET_GET_RLIMIT",
    "-D__ARCH_WANT_TIME32_SYSCALLS",
    "-D__ARCH_WANT_SYS_CLONE3",
    "-D__ARCH_WANT_MEMFD_SECRET",
]


def numbers(header: str, flags: list[str]) -> dict[str, int]:
    macros = subprocess.run(["cc", "-E", "-dM", *flags, header], check=True, capture_output=True, text=True).stdout
    raw = dict(re.findall(r"#define (__NR\w*) (\S+)", macros))

    def value(text: str) -> int | None:
        while text in raw:
            text = raw[text]
        return int(text) if text.isdigit() else None

    found = {name.removeprefix("__NR_"): value(text) for name, text in raw.items() if name.startswith("__NR_")}
    no_calls = {"syscalls", "arch_specific_syscall"}
    return {name: nr for name, nr in found.items() if nr is not None and name not in no_calls}


def main() -> None:
    target = Path(__file__).parent.parent / "src/hotcell/sandboxes/local/numbers.py"
    lines = [
        '"""System call numbers by machine, from the kernel\'s headers. Made by scripts/make_syscall_numbers.py."""',
        "",
        "NUMBERS: dict[str, dict[str, int]] = {",
    ]
    for machine, headers in HEADERS.items():
        flags = GENERIC if machine == "aarch64" else []
        table: dict[str, int] = {}
        for header in headers:
            table |= numbers(header, flags)
        lines.append(f'    "{machine}": {{')
        lines += [f'        "{name}": {nr},' for name, nr in sorted(table.items(), key=lambda item: item[1])]
        lines.append("    },")
    lines.append("}")
    target.write_text("\n".join(lines) + "\n")
    sys.stdout.write(f"wrote {target.name}\n")


main()
