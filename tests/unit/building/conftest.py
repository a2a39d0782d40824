"""What the tests of building share."""

from observers.wheels import index, store, tool

__all__ = ["index", "store", "tool"]
