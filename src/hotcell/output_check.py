"""The step after the run: all that comes out of a cell is made safe to show, and secrets are taken out of it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from hotcell.results import Artifact, Display, ErrorInfo, Redaction, ToolCall
from hotcell.sandboxes.base import RunOutcome
from hotcell.tools.calls import ToolRun
from hotcell.validators.displays import check_bundle
from hotcell.validators.media import media_type
from hotcell.validators.output import Redactor
from hotcell.validators.text import clean_text

_MOST_NOTES = 20


class OutputCheck:
    """Callable and stateless, so safe to share between threads."""

    def __init__(self, redactor: Redactor | None) -> None:
        self.redactor = redactor

    def display(
        self, bundle: Mapping[str, Any], found: dict[tuple[str, str], int] | None = None, notes: list[str] | None = None
    ) -> Display | None:
        """A display made clean, with secrets out of it and what is active marked; None when nothing of it is left."""
        checked = check_bundle(bundle)
        if notes is not None:
            notes += checked.notes
        texts = checked.texts
        if self.redactor is not None and texts:
            texts, redactions = self.redactor.redact_value(dict(texts), "display")
            _count(redactions, {} if found is None else found)
        return checked.display(texts) if texts or checked.images else None

    def tool_call(self, call: Mapping[str, Any]) -> dict[str, Any]:
        """The same without secrets in its arguments and answer."""
        if self.redactor is None:
            return dict(call)
        redacted: dict[str, Any] = self.redactor.redact_value(dict(call), "tool")[0]
        return redacted

    def __call__(self, outcome: RunOutcome, tool_run: ToolRun | None = None) -> dict[str, Any]:
        """The fields of an ExecutionResult that come from inside the cell, and those that say what tools it called.

        Artifacts are redacted but not cleaned: a file is data, and its control characters may be meant.
        """
        found: dict[tuple[str, str], int] = {}
        notes: list[str] = list(tool_run.notes) if tool_run else []
        calls = tool_run.calls if tool_run else ()
        fields = {
            "tool_calls": tuple(self._tool_call(item, found) for item in calls),
            "stdout": self._text(outcome.stdout, "stdout", found),
            "stderr": self._text(outcome.stderr, "stderr", found),
            "value": self._value(outcome.value, found),
            "value_repr": outcome.value_repr and self._text(outcome.value_repr, "value", found),
            "error": outcome.error and self._error(outcome.error, found),
            "displays": tuple(item for bundle in outcome.displays if (item := self.display(bundle, found, notes))),
            "artifacts": tuple(self._artifact(item, found) for item in outcome.artifacts),
            "notes": tuple(self._text(note, "notes", found) for note in (*outcome.notes, *notes[:_MOST_NOTES])),
            "usage": outcome.usage,
        }
        fields["redactions"] = tuple(
            Redaction(kind=kind, where=where, count=count) for (kind, where), count in found.items()
        )
        return fields

    def _tool_call(self, call: ToolCall, found: dict[tuple[str, str], int]) -> ToolCall:
        parts = {"name": call.name, "arguments": dict(call.arguments), "value": call.value, "error": call.error}
        parts = _cleaned(parts)
        if self.redactor is not None:
            parts, redactions = self.redactor.redact_value(parts, "tool")
            _count(redactions, found)
        return replace(call, **parts)

    def _text(self, text: str, where: str, found: dict[tuple[str, str], int]) -> str:
        if not text:
            return text
        text = clean_text(text)
        if self.redactor is None:
            return text
        text, redactions = self.redactor.redact(text, where)
        _count(redactions, found)
        return text

    def _value(self, value: Any, found: dict[tuple[str, str], int]) -> Any:
        if value is None or value is True or value is False:
            return value
        value = _cleaned(value)
        if self.redactor is None:
            return value
        value, redactions = self.redactor.redact_value(value, "value")
        _count(redactions, found)
        return value

    def _error(self, error: ErrorInfo, found: dict[tuple[str, str], int]) -> ErrorInfo:
        return ErrorInfo(
            type=clean_text(error.type),
            message=self._text(error.message, "error", found),
            traceback=self._text(error.traceback, "error", found),
            line=error.line,
            cell=error.cell,
            source_line=self._text(error.source_line, "error", found),
        )

    def _artifact(self, artifact: Artifact, found: dict[tuple[str, str], int]) -> Artifact:
        artifact = self._redacted(artifact, found)
        return replace(artifact, media_type=media_type(artifact.content, artifact.name))

    def _redacted(self, artifact: Artifact, found: dict[tuple[str, str], int]) -> Artifact:
        if self.redactor is None:
            return artifact
        content, redactions = self.redactor.redact_bytes(artifact.content, f"artifact:{artifact.name}")
        if not redactions:
            return artifact
        _count(redactions, found)
        return replace(artifact, content=content, size=len(content), sha256=hashlib.sha256(content).hexdigest())


def _count(redactions: tuple[Redaction, ...], found: dict[tuple[str, str], int]) -> None:
    for item in redactions:
        key = (item.kind, item.where)
        found[key] = found.get(key, 0) + item.count


def _cleaned(value: Any) -> Any:
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, list):
        return [_cleaned(item) for item in value]
    if isinstance(value, dict):
        return {clean_text(key): _cleaned(item) for key, item in value.items()}
    return value
