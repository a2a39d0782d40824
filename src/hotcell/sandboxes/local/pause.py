"""PID namespaces whose init is the C library's ``pause``; see docs/decisions/0005-an-init-that-only-waits.md."""

from __future__ import annotations

import ctypes
import mmap
import os
import signal

from hotcell.sandboxes.local import kernel

_STACK_BYTES = 1 << 16


class PauseInits:
    """Makes them. For the fork server, which has one thread."""

    def __init__(self) -> None:
        # Private, and not even copied to cells: whoever can write to an init's stack decides what it does.
        self._stack = mmap.mmap(-1, _STACK_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self._stack.madvise(mmap.MADV_DONTFORK)
        self._stack_top = ctypes.addressof(ctypes.c_char.from_buffer(self._stack)) + _STACK_BYTES - 64
        self._clone = kernel.libc.clone
        self._clone.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p]
        self._pause = ctypes.cast(kernel.libc.pause, ctypes.c_void_p)

    def start(self) -> tuple[int, int]:
        """A new PID namespace with an init that does nothing at all, and our next child's place in it: PID and pidfd.

        The init has a stack of its own and shares our memory: it costs no page tables (0.05 ms against 1-3 ms for a
        fork), has no code of the cell in it, and ignores every signal from inside. All of them can share one stack:
        each only ever holds the same two words. It is killed when the cell's process ends, and the kernel takes the
        rest of the namespace with it. Raises OSError.
        """
        # It inherits this mask for good: with a handler left by some library, a signal from inside would run it, in our
        # memory.
        kernel.block_signals()
        # With our table of descriptors, not a copy of it: a copy would hold every wire open for as long as it lives.
        flags = kernel.CLONE_VM | kernel.CLONE_FILES | kernel.CLONE_NEWPID | signal.SIGCHLD
        init = self._clone(self._pause, self._stack_top, flags, None)
        kernel.unblock_signals()
        if init < 0:
            raise kernel.failure("clone")
        handle = os.pidfd_open(init)
        kernel.call("setns", handle, kernel.CLONE_NEWPID)
        return init, handle
