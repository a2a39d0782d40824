"""What the contract tests share."""

from observers.languages import spoken
from observers.opened import branchable, executor, forked, opened, session
from observers.wall import attack, data_sandbox, namespaced, needs_namespaces, sandbox

__all__ = [
    "attack",
    "branchable",
    "data_sandbox",
    "executor",
    "forked",
    "namespaced",
    "needs_namespaces",
    "opened",
    "sandbox",
    "session",
    "spoken",
]
