"""Quotas for operators: what may be used, and beside a user's own what is used of it now."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import NON_FIELD_ERRORS, ValidationError
from django.utils.translation import gettext_lazy as _

from hotcell.django import quotas
from hotcell.django.models import ExecutionQuota

_MESSAGES = {
    "hotcell_quota_of_one_subject": _("Choose a user or a group, not both; neither is a quota for everybody."),
    "hotcell_quota_at_once_counts": _("Of what runs at once only executions can be limited: leave the others empty."),
    "hotcell_quota_is_positive": _("A limit cannot be less than zero; leave it empty for no limit."),
    "hotcell_quota_of_user": _("This user has a quota for this window already: change that one."),
    "hotcell_quota_of_group": _("This group has a quota for this window already: change that one."),
    "hotcell_quota_of_everybody": _("There is a quota for everybody for this window already: change that one."),
}
"""By constraint, as Django says no more than its name."""


class ExecutionQuotaForm(forms.ModelForm):  # type: ignore[type-arg]
    """Says in words what the constraints of the table say."""

    def _update_errors(self, errors: ValidationError) -> None:
        for error in getattr(errors, "error_dict", {}).get(NON_FIELD_ERRORS, ()):
            error.message = next((words for name, words in _MESSAGES.items() if name in error.message), error.message)
        super()._update_errors(errors)  # type: ignore[misc]


@admin.register(ExecutionQuota)
class ExecutionQuotaAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """What is empty is not limited."""

    form = ExecutionQuotaForm
    fields = (("user", "group"), "window", *quotas.RESOURCES)
    list_display = ("whom", "window", "of_executions", "of_cpu_seconds", "of_wall_seconds", "of_output_bytes")
    list_filter = ("window",)
    list_per_page = 50
    list_select_related = ("user", "group")
    raw_id_fields = ("user", "group")

    @admin.display(description=_("for"), ordering="user")
    def whom(self, quota: ExecutionQuota) -> str:
        """A user, a group or everybody."""
        return quota.subject

    @admin.display(description=_("executions"), ordering="executions", empty_value="–")
    def of_executions(self, quota: ExecutionQuota) -> str | None:
        """Used and allowed."""
        return _used(quota, "executions")

    @admin.display(description=_("CPU seconds"), ordering="cpu_seconds", empty_value="–")
    def of_cpu_seconds(self, quota: ExecutionQuota) -> str | None:
        """Used and allowed."""
        return _used(quota, "cpu_seconds")

    @admin.display(description=_("wall seconds"), ordering="wall_seconds", empty_value="–")
    def of_wall_seconds(self, quota: ExecutionQuota) -> str | None:
        """Used and allowed."""
        return _used(quota, "wall_seconds")

    @admin.display(description=_("bytes of output"), ordering="output_bytes", empty_value="–")
    def of_output_bytes(self, quota: ExecutionQuota) -> str | None:
        """Used and allowed."""
        return _used(quota, "output_bytes")


def _used(quota: ExecutionQuota, resource: str) -> str | None:
    most = getattr(quota, resource)
    if most is None:
        return None
    return f"{_use(quota)[resource]:.10g} / {most:.10g}" if quota.user else f"{most:.10g}"


def _use(quota: ExecutionQuota) -> dict[str, Any]:
    """Asked for once for each row."""
    found: dict[str, Any] | None = quota.__dict__.get("_use_now")
    if found is None:
        found = quota.__dict__["_use_now"] = quotas.use_of(quota.user)[quota.window]  # type: ignore[arg-type]
    return found
