"""The history for operators, to be looked at; and the quotas, to be changed."""
# ruff: noqa: ARG002 -- Django decides what its methods are called with

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList
from django.contrib.auth import get_user_model
from django.core.exceptions import PermissionDenied
from django.core.serializers.json import DjangoJSONEncoder
from django.db import transaction
from django.db.models import Q, QuerySet
from django.http import FileResponse, Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from hotcell.django import admin_display as display
from hotcell.django import recording, services
from hotcell.django.admin_dashboard import figures
from hotcell.django.admin_detail import content_security_policy, told
from hotcell.django.admin_list import CappedPaginator, ExecutionList, IsolationFilter, LanguageFilter, SandboxFilter
from hotcell.django.admin_quotas import ExecutionQuotaAdmin
from hotcell.django.models import CodeExecution, ExecutionArtifact
from hotcell.django.states import FINAL, OPEN

__all__ = ["CodeExecutionAdmin", "ExecutionQuotaAdmin"]


@admin.register(CodeExecution)
class CodeExecutionAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Looks at executions, cancels, exports and deletes them. No page changes one."""

    actions = ("cancel", "export")
    date_hierarchy = "created"
    fields = ("status",)  # the template shows the rest
    list_display = ("verdict", "first_line", "user", "where", "duration", "memory", "created")
    list_display_links = ("verdict", "first_line")
    list_filter = ("status", LanguageFilter, SandboxFilter, IsolationFilter, "cached")
    list_per_page = 50
    list_select_related = ("user",)
    paginator = CappedPaginator
    show_full_result_count = False
    search_help_text = _("The beginning of a SHA-256, an id, a request, or a user's name")

    class Media:
        css = {"all": ("hotcell/admin.css",)}  # noqa: RUF012 -- Django's own form

    # Who may do what

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Only services make rows."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: CodeExecution | None = None) -> bool:
        """Only services change rows."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: CodeExecution | None = None) -> bool:
        """An open one has first to be cancelled: something runs, and holds a part of a quota."""
        return super().has_delete_permission(request, obj) and (obj is None or obj.is_final)

    def has_cancel_permission(self, request: HttpRequest) -> bool:
        """For the action."""
        return request.user.has_perm("hotcell.cancel_execution")

    # The list

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        """One that does not load what it does not show."""
        return ExecutionList

    def get_search_fields(self, request: HttpRequest) -> tuple[str, ...]:
        """Lookups that an index or a short table can answer."""
        return ("code_sha256__startswith", "request_id__exact", f"user__{get_user_model().USERNAME_FIELD}__startswith")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[CodeExecution], search_term: str
    ) -> tuple[QuerySet[CodeExecution], bool]:
        """An id is found in whichever way it is written."""
        term = search_term.strip()
        try:
            key = UUID(term)
        except ValueError:
            return super().get_search_results(request, queryset, search_term)
        return queryset.filter(Q(pk=key) | Q(code_sha256__startswith=term) | Q(request_id=term)), False

    @admin.display(description=_("status"), ordering="status")
    def verdict(self, execution: CodeExecution) -> SafeString:
        """Coloured."""
        return display.verdict(execution)

    @admin.display(description=_("code"))
    def first_line(self, execution: CodeExecution) -> str:
        """The rest of the code is not loaded."""
        start = execution.code_start  # type: ignore[attr-defined]
        return display.plain(CodeExecution(code=start).first_line) or "–"

    @admin.display(description=_("sandbox"), ordering="sandbox")
    def where(self, execution: CodeExecution) -> str:
        """And how thick its wall was."""
        return f"{execution.sandbox}, {execution.isolation}" if execution.sandbox else "–"

    @admin.display(description=_("duration"), ordering="wall_seconds")
    def duration(self, execution: CodeExecution) -> SafeString:
        """Against its limit."""
        return display.draw(display.duration(execution))

    @admin.display(description=_("memory"), ordering="peak_memory_bytes")
    def memory(self, execution: CodeExecution) -> SafeString:
        """Against its limit."""
        return display.draw(display.memory(execution))

    @admin.action(description=_("Cancel selected executions"), permissions=["cancel"])
    def cancel(self, request: HttpRequest, queryset: QuerySet[CodeExecution]) -> None:
        """Those that are over already stay as they are."""
        found = list(queryset.filter(status__in=OPEN))
        cancelled = [execution for execution in found if services.cancel(execution)]
        for execution in cancelled:
            self.log_change(request, execution, "Cancelled.")
        number = len(cancelled)
        text = ngettext(
            "%(number)d execution is being cancelled.", "%(number)d executions are being cancelled.", number
        )
        self.message_user(request, text % {"number": number}, messages.SUCCESS if number else messages.WARNING)

    @admin.action(description=_("Export selected executions as JSON lines"), permissions=["view"])
    def export(self, request: HttpRequest, queryset: QuerySet[CodeExecution]) -> StreamingHttpResponse:
        """All columns of the rows, one row a line, as they come from the database."""
        response = StreamingHttpResponse(_json_lines(queryset), content_type="application/x-ndjson")
        response["Content-Disposition"] = 'attachment; filename="executions.jsonl"'
        response["X-Content-Type-Options"] = "nosniff"
        return response

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Under the same Content-Security-Policy as the other pages."""
        response = super().changelist_view(request, extra_context)
        response.setdefault("Content-Security-Policy", content_security_policy())
        return response

    # One of them

    def render_change_form(
        self,
        request: HttpRequest,
        context: dict[str, Any],
        add: bool = False,
        change: bool = False,
        form_url: str = "",
        obj: CodeExecution | None = None,
    ) -> HttpResponse:
        """With all that there is to say about it."""
        assert obj is not None, "there is no page to add one"
        context |= told(obj)
        response = super().render_change_form(request, context, add, change, form_url, obj)
        frames = any(item.kind == "frame" for item in context["displays"])
        response["Content-Security-Policy"] = content_security_policy(with_frames=frames)
        return response

    def delete_model(self, request: HttpRequest, obj: CodeExecution) -> None:
        """With its files."""
        self.delete_queryset(request, CodeExecution.objects.filter(pk=obj.pk))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[CodeExecution]) -> None:
        """With their files, once it is certain that the rows are gone. Open ones stay."""
        over = CodeExecution.objects.filter(pk__in=queryset.order_by().values("pk"), status__in=FINAL)
        with transaction.atomic():
            files = list(ExecutionArtifact.objects.filter(execution__in=over.order_by()))
            over.only("pk").delete()
            transaction.on_commit(lambda: recording.discard(files))

    # Pages of our own

    def get_urls(self) -> list[URLPattern]:
        """Before Django's, which take any word for an id."""
        view, name = self.admin_site.admin_view, "hotcell_codeexecution"
        return [
            path("dashboard/", view(self.dashboard), name=f"{name}_dashboard"),
            path("<uuid:key>/artifacts/<int:number>/", view(self.artifact), name=f"{name}_artifact"),
            *super().get_urls(),
        ]

    def dashboard(self, request: HttpRequest) -> HttpResponse:
        """The last day at a glance."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        context = {
            **self.admin_site.each_context(request),
            "title": _("Executions of the last day"),
            "opts": self.opts,
            "media": self.media,
            **figures(),
        }
        response = TemplateResponse(request, "admin/hotcell/codeexecution/dashboard.html", context)
        response["Content-Security-Policy"] = content_security_policy()
        return response

    def artifact(self, request: HttpRequest, key: UUID, number: int) -> HttpResponseBase:
        """The file, as something to keep: no browser shows or runs it here."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        row = get_object_or_404(ExecutionArtifact, pk=number, execution_id=key)
        try:
            file = row.file.open("rb")
        except FileNotFoundError:
            raise Http404(_("The file is not in the storage any more.")) from None
        name = row.name.rsplit("/", 1)[-1]
        response = FileResponse(file, as_attachment=True, filename=name, content_type="application/octet-stream")
        response["X-Content-Type-Options"] = "nosniff"
        response["Content-Security-Policy"] = "default-src 'none'; sandbox"
        return response


def _json_lines(queryset: QuerySet[CodeExecution]) -> Iterator[str]:
    names = [field.attname for field in CodeExecution._meta.concrete_fields]
    for row in queryset.defer(None).values(*names).iterator(chunk_size=100):
        yield json.dumps(row, cls=DjangoJSONEncoder) + "\n"
