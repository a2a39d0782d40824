"""The list of executions at any size: what it loads, how far it counts, what it can be narrowed by."""
# ruff: noqa: ARG002 -- Django decides what its methods are called with

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.db.models.functions import Substr
from django.http import HttpRequest
from django.utils.functional import cached_property
from django.utils.translation import gettext_lazy as _

from hotcell.django.models import CodeExecution
from hotcell.results import IsolationLevel

_LARGE = (
    *("code", "context", "policy", "stdout", "stderr", "value", "value_repr", "displays", "error", "violations"),
    *("tool_calls", "layers", "redactions", "notes", "timings", "metadata"),
)
"""What a list does not need: a page of a hundred rows must not load a gigabyte of plots."""
_MOST_COUNTED = 100_000
_NEWEST = 1000
"""The rows whose values a filter offers."""


class ExecutionList(ChangeList):
    """Rows without their large columns."""

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet[Any]:
        """With the beginning of the code in its place."""
        found = super().get_queryset(request, exclude_parameters)
        lean: QuerySet[Any] = found.defer(*_LARGE).annotate(code_start=Substr("code", 1, 2000))
        return lean


class CappedPaginator(Paginator):  # type: ignore[type-arg]
    """Counts so far and no further, as a database takes minutes to count many millions; the filters reach the rest."""

    @cached_property
    def count(self) -> int:
        """At most a hundred thousand."""
        rows: Any = self.object_list
        return int(rows.order_by()[:_MOST_COUNTED].count())


class _ColumnFilter(admin.SimpleListFilter):
    """By one column's exact value. Does not read the whole table to know what there is to choose from."""

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """The rows with the value chosen."""
        return queryset.filter(**{str(self.parameter_name): self.value()}) if self.value() else queryset

    def lookups(self, request: HttpRequest, model_admin: admin.ModelAdmin[Any]) -> list[tuple[str, str]]:
        """The values that the newest rows have, and the one chosen."""
        newest = CodeExecution.objects.order_by("-id").values_list(str(self.parameter_name), flat=True)[:_NEWEST]
        chosen = request.GET.get(str(self.parameter_name), "")
        return [(value, value) for value in sorted({*newest, chosen}) if value]

    def has_output(self) -> bool:
        """Where there is a choice, or one was made."""
        return len(self.lookup_choices) > 1 or bool(self.value())


class LanguageFilter(_ColumnFilter):
    """Such as ``python``."""

    title = _("language")
    parameter_name = "language"


class SandboxFilter(_ColumnFilter):
    """Such as ``local``."""

    title = _("sandbox")
    parameter_name = "sandbox"


class IsolationFilter(_ColumnFilter):
    """Every level there is."""

    title = _("isolation level")
    parameter_name = "isolation"

    def lookups(self, request: HttpRequest, model_admin: admin.ModelAdmin[Any]) -> list[tuple[str, str]]:
        """From none upwards."""
        return [(level.value, level.value) for level in IsolationLevel]
