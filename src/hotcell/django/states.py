"""What a row of the history can be in: the end states of an execution, and what comes before or in place of them."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from hotcell.results import Status


class State(models.TextChoices):
    """QUEUED and RUNNING are open; a row leaves them once, and for ever."""

    QUEUED = "queued", _("queued")
    RUNNING = "running", _("running")
    OK = Status.OK.value, _("ok")
    ERROR = Status.ERROR.value, _("error")
    REJECTED = Status.REJECTED.value, _("rejected")
    TIMEOUT = Status.TIMEOUT.value, _("timeout")
    MEMORY_LIMIT = Status.MEMORY_LIMIT.value, _("memory limit")
    OUTPUT_LIMIT = Status.OUTPUT_LIMIT.value, _("output limit")
    KILLED = Status.KILLED.value, _("killed")
    CANCELLED = Status.CANCELLED.value, _("cancelled")
    FAILED = Status.FAILED.value, _("failed")
    OVER_QUOTA = "over_quota", _("over quota")
    """Nothing ran: the user had used up what they may use."""
    LOST = "lost", _("lost")
    """The process that ran it died; what became of the code is not known."""


OPEN = (State.QUEUED, State.RUNNING)
FINAL = tuple(state for state in State if state not in OPEN)
FAILURES = tuple(state for state in FINAL if state is not State.OK)
