"""The files of a session, as its owner sees them."""

from __future__ import annotations

from os import PathLike
from typing import TYPE_CHECKING

from hotcell import inputs
from hotcell.errors import SessionLost
from hotcell.pipeline import Call
from hotcell.results import Status
from hotcell.sandboxes.files import FileEntry

if TYPE_CHECKING:
    from hotcell.sessions import Session


class SessionFiles:
    """``session.files``. Nothing outside the work directory can be reached; links are not followed."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def list(self) -> tuple[FileEntry, ...]:
        """The regular files by name, in all folders. Raises SessionLost."""
        with self._session.turn() as cell:
            return cell.files.list()

    def read(self, name: str) -> bytes:
        """A file's content. Raises FileNotFoundError, SessionLost, and ConfigurationError above ``artifact_bytes``."""
        inputs.check_name(name)
        with self._session.turn() as cell:
            return cell.files.read(name, self._session.config.artifact_bytes)

    def write(self, name: str, content: bytes | PathLike[str]) -> None:
        """Put a file there, in the place of one that has the name; folders are made.

        Raises ConfigurationError for a bad name or a size above the limits, OSError when it does not fit, SessionLost.
        """
        call = Call.checked(self._session.config, files={name: content})
        with self._session.turn() as cell:
            outcome = cell.run(self._session.bare_request(call))
        if outcome.status is not Status.OK:
            message = outcome.error.message if outcome.error else outcome.reason
            if cell.lost:
                raise SessionLost(cell.lost, reason="killed")
            raise OSError(f"files: {name!r} could not be written: {message}")

    def delete(self, name: str) -> None:
        """Remove a file or a link. Raises FileNotFoundError, SessionLost, and ConfigurationError for a folder."""
        inputs.check_name(name)
        with self._session.turn() as cell:
            cell.files.delete(name)
