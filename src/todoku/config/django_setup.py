"""Wake Django up, once, with the settings of this process."""

from __future__ import annotations

import os


def set_up_django() -> None:
    """Load Django's settings and models; calling it again changes nothing."""
    import django  # here, because most commands and the hot paths never need it (0.4 s)
    from django.apps import apps

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "todoku.config.django_settings")
    if not apps.ready:
        django.setup()


def migrate() -> None:
    """Bring the database's tables to this version; harmless when they are there already."""
    from django.core.management import call_command

    set_up_django()
    call_command("migrate", verbosity=0, interactive=False)
