"""The Django application."""

from __future__ import annotations

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class HotcellConfig(AppConfig):
    name = "hotcell.django"
    label = "hotcell"
    verbose_name = _("Code execution")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from hotcell.django import checks, executors

        checks.connect()
        executors.connect()
