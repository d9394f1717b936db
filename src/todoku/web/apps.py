"""The web app as Django sees it."""

from __future__ import annotations

from django.apps import AppConfig


class WebConfig(AppConfig):
    """Pages, their templates, translations and static files."""

    name = "todoku.web"
    label = "web"
    default_auto_field = "django.db.models.BigAutoField"
