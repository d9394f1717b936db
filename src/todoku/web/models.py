"""The web room's only table: sign-ins that failed lately."""

from __future__ import annotations

from typing import ClassVar

from django.db import models


class FailedSignIn(models.Model):
    """One failed attempt; subject is a keyed hash of the address or the account, so that none is stored."""

    subject = models.CharField(max_length=64)
    failed_at = models.DateTimeField()

    class Meta:
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["subject", "failed_at"], name="failed_sign_in_by_subject")
        ]
