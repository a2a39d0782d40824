"""Making and removing environments: outside any request, by whoever runs the machine, never by a cell."""

from hotcell.building.build import create
from hotcell.building.store import remove

__all__ = ["create", "remove"]
