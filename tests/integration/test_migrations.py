"""The tables are those of the models: nobody forgot a migration."""

from __future__ import annotations

from io import StringIO

from django.core.management import call_command


def test_no_migration_is_missing(migrated_database: None) -> None:
    said = StringIO()
    call_command("makemigrations", check_changes=True, dry_run=True, stdout=said)
    assert "No changes detected" in said.getvalue()
