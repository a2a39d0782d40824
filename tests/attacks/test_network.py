"""Talking to anybody: the host, the network, the kernel's own sockets, another cell."""

from __future__ import annotations

import select
import socket
import threading
import time

import pytest
from observers.cells import RAW, ask
from observers.wall import Attack

from hotcell.results import Status
from hotcell.sandboxes.local.sandbox import LocalSandbox


@pytest.mark.threat("net.tcp", "net.udp", "net.metadata", "net.dns")
def test_no_packet_leaves(attack: Attack) -> None:
    """TCP and UDP to the host's loopback and addresses, the metadata service and DNS: the listeners see nothing."""
    with socket.create_server(("", 0)) as tcp, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind(("", 0))
        ports = [tcp.getsockname()[1], udp.getsockname()[1]]
        try:
            own = socket.gethostbyname(socket.gethostname())
        except OSError:
            own = "127.0.0.1"
        outcome = attack(
            """
import socket
for host in ("127.0.0.1", own, "169.254.169.254", "8.8.8.8", "::1"):
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as s:
            s.settimeout(0.3)
            s.connect((host, ports[0]))
            print("connected", host)
    except OSError:
        pass
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as s:
            s.sendto(b"x", (host, ports[1]))
            print("sent", host)
    except OSError:
        pass
try:
    print("resolved", socket.getaddrinfo("example.com", 80))
except OSError:
    pass
""",
            context={"ports": ports, "own": own},
        )
        assert outcome.status is Status.OK
        assert outcome.stdout == ""
        assert select.select([tcp, udp], [], [], 0.1)[0] == []


@pytest.mark.threat("net.abstract")
def test_abstract_sockets_of_the_host_hear_nothing(attack: Attack) -> None:
    """An abstract Unix socket has no file; the cell cannot reach it all the same."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(b"\0hotcell-listener")
        server.listen()
        server.settimeout(0.2)
        attack("import socket; s = socket.socket(socket.AF_UNIX); s.connect(b'\\0hotcell-listener')")
        with pytest.raises(TimeoutError):
            server.accept()


@pytest.mark.threat("net.kernel-sockets")
def test_no_kernel_socket_can_be_made(attack: Attack) -> None:
    """Netlink, AF_ALG, AF_VSOCK, packet, raw, Bluetooth and CAN sockets are refused."""
    outcome = attack(
        """
import socket
kinds = (16, 3), (38, 5), (40, 1), (17, 3), (2, 3), (10, 3), (31, 3), (29, 3), (1, 1), (44, 3), (41, 2), (39, 1)
for family, kind in kinds:
    try:
        socket.socket(family, kind)
        print("made", family, kind)
    except OSError:
        pass
"""
    )
    assert outcome.status is Status.OK
    assert outcome.stdout == ""


@pytest.mark.threat("net.foreign-calls")
@pytest.mark.parametrize("number", [0x40000000 + 41, 0x40000000 + 39], ids=["socket", "getpid"])
def test_x32_calls_are_fatal(attack: Attack, number: int) -> None:
    """A system call in another architecture's numbering kills the cell, and the result names it."""
    outcome = attack(RAW + f"print(raw({number}, 2, 1, 0))")
    assert outcome.status is Status.KILLED
    assert "system call" in outcome.reason
    assert outcome.decided_by == "kernel"


@pytest.mark.threat("net.foreign-calls")
def test_int_0x80_is_fatal(needs_namespaces: None) -> None:
    """Even where machine code could be made, a 32-bit system call from 64-bit code kills the cell."""
    code = """
import ctypes, mmap
page = mmap.mmap(-1, 4096, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, prot=7)
page.write(b"\\xb8\\x14\\0\\0\\0\\xcd\\x80\\xc3")  # mov eax, 20 (getpid); int 0x80; ret
print(ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))())
"""
    with LocalSandbox(pool_size=0, without={"no-executable-memory"}) as sandbox:
        outcome = ask(sandbox, code)
    assert outcome.status is Status.KILLED, outcome
    assert outcome.stdout == ""
    assert "system call" in outcome.reason


@pytest.mark.threat("net.between-cells")
def test_two_cells_cannot_talk(sandbox: LocalSandbox) -> None:
    """Two cells that run at the same time find no socket, segment, queue or file in common."""
    speak = (
        RAW
        + """
import time, socket
made = []
for action in (
    lambda: open("/tmp/meeting", "w").write("hello"),
    lambda: open("/dev/shm/meeting", "w").write("hello"),
    lambda: open("/run/cell/meeting", "w").write("hello"),
    lambda: raw(29, 7777, 4096, 0o1666),
    lambda: raw(68, 7777, 0o1666),
    lambda: raw(240, b"meeting", 0o102, 0o666, None),
    lambda: [made.append(socket.socket(socket.AF_UNIX)), made[-1].bind("\\0meeting"), made[-1].listen()],
    lambda: [made.append(socket.socket()), made[-1].bind(("127.0.0.1", 7777)), made[-1].listen()],
):
    try: action()
    except OSError: pass
time.sleep(0.8)
"""
    )
    listen = (
        RAW
        + """
import socket
for name, action in (
    ("tmp", lambda: open("/tmp/meeting").read()),
    ("shm", lambda: open("/dev/shm/meeting").read()),
    ("run", lambda: open("/run/cell/meeting").read()),
    ("segment", lambda: raw(29, 7777, 4096, 0o666) >= 0 or 1 / 0),
    ("queue", lambda: raw(68, 7777, 0o666) >= 0 or 1 / 0),
    ("posix queue", lambda: raw(240, b"meeting", 2, 0o666, None) >= 0 or 1 / 0),
    ("abstract", lambda: socket.socket(socket.AF_UNIX).connect("\\0meeting")),
    ("loopback", lambda: socket.create_connection(("127.0.0.1", 7777), 0.3)),
):
    try:
        action()
        print("heard", name)
    except (OSError, ZeroDivisionError):
        pass
"""
    )
    speaker = threading.Thread(target=ask, args=(sandbox, speak))
    speaker.start()
    time.sleep(0.3)
    outcome = ask(sandbox, listen)
    speaker.join()
    assert outcome.status is Status.OK
    assert outcome.stdout == ""
