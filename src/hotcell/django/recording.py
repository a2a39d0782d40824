"""Between a result and its row: every field one way and the other."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from django.core.files.base import ContentFile

from hotcell.django import storable
from hotcell.django.models import CodeExecution, ExecutionArtifact
from hotcell.results import SCHEMA_VERSION, Artifact, ExecutionResult

_TEXTS = ("reason", "decided_by", "stdout", "stderr")
_DATA = ("value", "displays", "error", "violations", "redactions", "tool_calls", "notes", "timings")
_USAGE = ("wall_seconds", "cpu_seconds", "peak_memory_bytes", "processes", "output_bytes")


def fields_of(result: ExecutionResult) -> dict[str, Any]:
    """The columns that say what became of it; its files are rows of their own."""
    data = result.to_dict()
    fields: dict[str, Any] = {"status": result.status.value, "cached": result.cached}
    fields |= {name: storable.text(data[name]) for name in _TEXTS}
    fields |= {name: storable.data(data[name]) for name in _DATA}
    fields["value_repr"] = None if result.value_repr is None else storable.text(result.value_repr)
    fields["violation_count"] = len(result.violations)
    fields["rules"] = "".join(f" {rule} " for rule in sorted({item.rule for item in result.violations}))
    if result.sandbox:
        fields |= {"sandbox": result.sandbox.name, "isolation": result.sandbox.isolation.value}
        fields["layers"] = list(result.sandbox.layers)
        fields |= {name: data["usage"][name] for name in _USAGE}
    return fields


def result_of(execution: CodeExecution) -> ExecutionResult:
    """The result that the row was made of. Raises ValueError for one that is open, or has no result."""
    usage = {name: getattr(execution, name) or 0 for name in _USAGE}
    data: dict[str, Any] = {
        "schema": SCHEMA_VERSION,
        "usage": usage,
        "sandbox": None,
        "artifacts": [
            {"name": item.name, "size": item.size, "sha256": item.sha256, "media_type": item.media_type}
            for item in execution.artifacts.all()
        ],
        "execution_id": execution.pk.hex,
    }
    data |= {name: getattr(execution, name) for name in (*_TEXTS, *_DATA)}
    data |= {name: getattr(execution, name) for name in ("status", "value_repr", "language", "code_sha256", "cached")}
    if execution.sandbox:
        layers = execution.layers
        data["sandbox"] = {"name": execution.sandbox, "isolation": execution.isolation, "layers": layers}
    return ExecutionResult.from_dict(data)


def keep_artifacts(execution: CodeExecution, artifacts: tuple[Artifact, ...]) -> list[ExecutionArtifact]:
    """Store the files, under names of our own, and make their rows. What was stored is deleted when that fails."""
    made: list[ExecutionArtifact] = []
    try:
        for item in artifacts:
            row = ExecutionArtifact(execution=execution, name=storable.text(item.name)[-500:], size=item.size)
            row.sha256, row.media_type = item.sha256, item.media_type
            row.file.save(f"{execution.pk.hex}-{len(made)}{_ending(item.name)}", ContentFile(item.content), save=False)
            made.append(row)
        return ExecutionArtifact.objects.bulk_create(made)
    except BaseException:
        discard(made)
        raise


def discard(artifacts: list[ExecutionArtifact]) -> None:
    """Delete files whose rows are not there."""
    for row in artifacts:
        row.file.delete(save=False)


def used_by(fields: Mapping[str, Any]) -> dict[str, float]:
    """What counts against a quota, of the columns that ``fields_of`` gave."""
    used = {name: fields.get(name) or 0 for name in ("cpu_seconds", "wall_seconds", "output_bytes")}
    return {"executions": 1, **used}


def _ending(name: str) -> str:
    ending = os.path.splitext(name)[1].lower()
    return ending if ending[1:].isalnum() and ending.isascii() and len(ending) <= 10 else ""
