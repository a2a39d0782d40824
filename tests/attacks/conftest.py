"""What the attack tests share."""

from observers.languages import spoken
from observers.wall import attack, data_sandbox, namespaced, needs_namespaces, sandbox

__all__ = ["attack", "data_sandbox", "namespaced", "needs_namespaces", "sandbox", "spoken"]
