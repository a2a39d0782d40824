"""What the contract tests share."""

from observers.languages import spoken
from observers.opened import executor, opened, session
from observers.wall import attack, data_sandbox, namespaced, needs_namespaces, sandbox

__all__ = [
    "attack",
    "data_sandbox",
    "executor",
    "namespaced",
    "needs_namespaces",
    "opened",
    "sandbox",
    "session",
    "spoken",
]
