"""Tables of the reservations room; imported by no other room.

`Reservation` is the fold of its `ReservationFact` rows and can be made from them again at any time. The database does
not check that the project of a row exists: intake has, and doing so for each row cost a twentieth of a mail's time.
"""

from __future__ import annotations

from typing import ClassVar

from django.db import models

from todoku.reservations.types import ReservationState

HELD = "held"  # a key of which only changes or cancels are known: counted, never shown
EMPTY = "empty"  # a key of which nothing is said any more: its mails say something else since they were read again


class Reservation(models.Model):
    """One booking as it stands. version: 0 while held, then 1 more with each change that a reader could see."""

    id = models.UUIDField(primary_key=True)
    project = models.ForeignKey(
        "projects.Project", on_delete=models.CASCADE, related_name="+", db_index=False, db_constraint=False
    )
    site = models.CharField(max_length=40)
    reference = models.CharField(max_length=200)
    state = models.CharField(max_length=16)
    last_event = models.CharField(max_length=16, blank=True)
    shop_code = models.CharField(max_length=40, null=True)
    shop_text = models.TextField(null=True)  # as the site wrote it
    start = models.DateTimeField(null=True)
    end = models.DateTimeField(null=True)
    party_size = models.IntegerField(null=True)
    guest_name = models.TextField(null=True)
    guest_kana = models.TextField(null=True)
    guest_phone = models.TextField(null=True)
    guest_email = models.TextField(null=True)
    course = models.TextField(null=True)
    seat = models.TextField(null=True)
    requests = models.TextField(null=True)
    amount_minor = models.BigIntegerField(null=True)
    currency = models.CharField(max_length=3, null=True)
    cancel_reason = models.TextField(null=True)
    link = models.TextField(null=True)
    changed = models.JSONField(default=list)
    previous_start = models.DateTimeField(null=True)
    previous_party_size = models.IntegerField(null=True)
    last_arrival_id = models.UUIDField(null=True)
    last_arrived_at = models.DateTimeField(null=True)
    handled = models.BooleanField(default=False)
    handled_at = models.DateTimeField(null=True)
    handled_by = models.CharField(max_length=254, blank=True)
    version = models.IntegerField(default=0)

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["project", "site", "reference"], name="reservation_key"),
        ]
        indexes: ClassVar[list[models.Index]] = [
            # Online: unhandled first, newest first; a backward scan would not serve the mixed directions
            models.Index("project", "handled", models.F("last_arrived_at").desc(), name="reservation_online"),
            models.Index(fields=["project", "start"], name="reservation_day"),
            models.Index(fields=["project", "state"], name="reservation_state"),
        ]


class ReservationFact(models.Model):
    """What one mail stated about one reservation. effect: what it did when it came (types.Effect)."""

    arrival_id = models.UUIDField(primary_key=True)
    project = models.ForeignKey(
        "projects.Project", on_delete=models.CASCADE, related_name="+", db_index=False, db_constraint=False
    )
    reservation = models.ForeignKey(Reservation, on_delete=models.CASCADE, related_name="facts")
    site = models.CharField(max_length=40)
    reference = models.CharField(max_length=200)
    event = models.CharField(max_length=16)
    effect = models.CharField(max_length=16)
    shop_code = models.CharField(max_length=40, null=True)  # as the intake address said, before any resolution
    content_sha256 = models.CharField(max_length=64)
    issued_at = models.DateTimeField()
    received_at = models.DateTimeField()
    facts = models.JSONField()

    class Meta:
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["project", "issued_at"], name="reservation_fact_issued"),
        ]


SHOWN = models.Q(state__in=[state.value for state in ReservationState])
