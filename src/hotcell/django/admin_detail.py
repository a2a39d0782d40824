"""The page of one execution: what its template writes down, and the policy that browsers are given with it."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from django.contrib.admin.utils import label_for_field
from django.templatetags.static import static

from hotcell.django import admin_display as display
from hotcell.django.models import CodeExecution


def told(execution: CodeExecution) -> dict[str, Any]:
    """All that there is to say about it, for the template."""
    found = display.findings(execution)
    about = ("config", "context", "policy", "layers", "tool_calls", "metadata")
    return {
        "execution": execution,
        "verdict": display.verdict(execution),
        "reason": display.plain(execution.reason),
        "code_lines": display.lines(execution),
        "findings_elsewhere": [item for item in found if not item["line"]],
        "traceback": display.plain((execution.error or {}).get("traceback")),
        "stdout": display.plain(execution.stdout),
        "stderr": display.plain(execution.stderr),
        "value": display.pretty(execution.value) if execution.value is not None else "",
        "value_repr": display.plain(execution.value_repr),
        "displays": display.displays(execution),
        "artifacts": [
            {"pk": item.pk, "name": display.plain(item.name), "size": item.size, "media_type": item.media_type}
            for item in execution.artifacts.order_by("name")
        ],
        "usage": display.usage(execution),
        "stages": display.timeline(execution.timings),
        "notes": [display.plain(note) for note in execution.notes],
        "redactions": display.plain(execution.redaction_summary()),
        "about": [
            (label_for_field(name, CodeExecution), display.pretty(getattr(execution, name)))
            for name in about
            if getattr(execution, name)
        ],
    }


def content_security_policy(*, with_frames: bool = False) -> str:
    """Nothing but files of this site, or of the host that its static files come from.

    A frame obeys the page's policy on top of its own, so the inline styles in it must be allowed here as well.
    """
    address = urlsplit(static("hotcell/admin.css"))
    own = f"'self' {address.scheme or 'https'}://{address.netloc}" if address.netloc else "'self'"
    styles = f"{own} 'unsafe-inline'" if with_frames else own
    return (
        f"default-src 'self'; script-src {own}; style-src {styles}; img-src {own} data:; font-src {own}; "
        "frame-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    )
