"""What the contract tests share."""

from observers.wall import attack, data_sandbox, namespaced, needs_namespaces, sandbox

__all__ = ["attack", "data_sandbox", "namespaced", "needs_namespaces", "sandbox"]
