"""What the attack tests share."""

from observers.languages import spoken
from observers.opened import branchable, executor, forked, opened, session
from observers.wall import attack, data_sandbox, namespaced, needs_namespaces, one_bomb_at_a_time, sandbox

__all__ = [
    "attack",
    "branchable",
    "data_sandbox",
    "executor",
    "forked",
    "namespaced",
    "needs_namespaces",
    "one_bomb_at_a_time",
    "opened",
    "sandbox",
    "session",
    "spoken",
]
