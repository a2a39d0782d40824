"""A hostile session: its code has taken the wire over, and does with each order what a test wants."""

from __future__ import annotations

HIJACK = """
import array, json, os, signal, socket, struct, sys, time
import ctypes
from hotcell.sandboxes.local import branch, jail, kernel

wire = socket.socket(fileno=os.dup(3))
READY, HERE = struct.pack("<BI", 1, 0), struct.pack("<BI", 12, 0)

def answer(value=None):
    report = {"outcome": "ok", "exit_code": 0, "value": value, "value_repr": None, "error": None, "memory_error": False}
    payload = json.dumps(report, default=str).encode()
    os.write(3, struct.pack("<BI", 6, len(payload)) + payload)

def frames():
    buffer, kept = b"", []
    while True:
        data, handles, _, _ = socket.recv_fds(wire, 1 << 16, 16)
        if not data:
            os._exit(0)
        buffer += data
        kept += handles
        while len(buffer) >= 5:
            kind, length = struct.unpack_from("<BI", buffer)
            if len(buffer) < 5 + length:
                break
            payload, buffer = buffer[5:5 + length], buffer[5 + length:]
            given, kept = kept, []
            yield kind, payload, given

def become_copy(handles, READY=READY):
    "What an honest session does; True in the copy."
    global wire
    if branch.split({"keep_random": False}, [os.dup(handle) for handle in handles]):
        wire = socket.socket(fileno=os.dup(3))
        os.write(3, READY)
        return True
    return False

def go_on():
    for kind, payload, handles in frames():
        if kind == 11:
            if on_fork(handles):
                return go_on()
        elif kind == 3:
            try:
                answer(eval(json.loads(payload)["code"], globals()))
            except Exception as error:
                answer(repr(error))

def power(mask=jail.TO_BRANCH):
    jail.use_capabilities(mask)

def attempt(function, *arguments):
    try:
        return function(*arguments)
    except Exception as error:
        return repr(error)

kept = []
on_fork = become_copy
answer()
"""
"""After it ``on_fork`` may be set, then ``go_on()`` serves: calls are expressions. ``kept`` is for descriptors."""


def hijacked(on_fork: str = "") -> str:
    """Code that takes a session over; ``on_fork`` is the body of a function of ``handles``."""
    body = "".join(f"    {line}\n" for line in on_fork.splitlines())
    return HIJACK + (f"def on_fork(handles):\n    global wire\n{body}" if on_fork else "") + "go_on()\n"
