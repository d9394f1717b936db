"""The api app as Django sees it."""

from __future__ import annotations

from django.apps import AppConfig


class ApiConfig(AppConfig):
    """Keys and answered calls."""

    name = "todoku.api"
    label = "api"
    default_auto_field = "django.db.models.BigAutoField"
