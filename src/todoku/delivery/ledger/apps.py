"""Django's name for the ledger."""

from __future__ import annotations

from django.apps import AppConfig


class LedgerConfig(AppConfig):
    """The ledger's tables are made by SQL migrations; there are no models, because every access is in bulk."""

    name = "todoku.delivery.ledger"
    label = "ledger"
