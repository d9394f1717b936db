"""Tables of the guests room; imported by no other room.

The database does not check the project of guests, identities and visits, of which each mail brings some.
"""

from __future__ import annotations

from typing import ClassVar

from django.db import models


class Guest(models.Model):
    """One person. merged_into: who this row turned out to be; such rows stay, so that old links and ledgers lead on.

    name, kana: the newest that a visit gave, else what an import gave. time_zone: as an import gave it.
    """

    id = models.UUIDField(primary_key=True)
    project = models.ForeignKey(
        "projects.Project", on_delete=models.CASCADE, related_name="+", db_index=False, db_constraint=False
    )
    name = models.TextField(blank=True)
    kana = models.TextField(blank=True)
    imported_name = models.TextField(blank=True)
    imported_kana = models.TextField(blank=True)
    time_zone = models.CharField(max_length=64, blank=True)
    merged_into = models.UUIDField(null=True)

    class Meta:
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["project", "id"], condition=models.Q(merged_into__isnull=True), name="guest_list"),
            models.Index(
                fields=["project", "merged_into"], condition=models.Q(merged_into__isnull=False), name="guest_merged"
            ),
        ]


class GuestIdentity(models.Model):
    """A phone (E.164) or mail address (comparable form) that proves who somebody is; written: as it was given."""

    project = models.ForeignKey(
        "projects.Project", on_delete=models.CASCADE, related_name="+", db_index=False, db_constraint=False
    )
    guest = models.ForeignKey(Guest, on_delete=models.CASCADE, related_name="identities")
    kind = models.CharField(max_length=8)
    value = models.CharField(max_length=320)  # case folding can make 254 characters longer
    written = models.CharField(max_length=254)

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["project", "kind", "value"], name="guest_identity_once"),
        ]


class Visit(models.Model):
    """What one reservation says about its guest."""

    reservation_id = models.UUIDField(primary_key=True)
    project = models.ForeignKey(
        "projects.Project", on_delete=models.CASCADE, related_name="+", db_index=False, db_constraint=False
    )
    guest = models.ForeignKey(Guest, on_delete=models.CASCADE, related_name="visits", db_index=False)
    site = models.CharField(max_length=40)
    reference = models.CharField(max_length=200)
    shop_code = models.CharField(max_length=40, null=True)
    start = models.DateTimeField(null=True)
    party_size = models.IntegerField(null=True)
    counts_as_visit = models.BooleanField()
    name = models.TextField(null=True)
    kana = models.TextField(null=True)
    phone = models.TextField(null=True)
    email = models.TextField(null=True)

    class Meta:
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["guest", "start"], name="visit_of_guest"),
            models.Index(fields=["project", "guest"], name="visit_of_project"),
        ]


class Consent(models.Model):
    """Proof that the owner of an address agreed to mails; rows are never deleted, a withdrawal is noted on them."""

    project = models.ForeignKey("projects.Project", on_delete=models.CASCADE, related_name="+", db_index=False)
    comparable = models.CharField(max_length=320)
    address = models.CharField(max_length=254)
    given_at = models.DateTimeField()
    source = models.TextField()
    wording = models.TextField()
    withdrawn_at = models.DateTimeField(null=True)

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(
                fields=["project", "comparable"], condition=models.Q(withdrawn_at__isnull=True), name="consent_in_force"
            ),
        ]
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["project", "comparable"], name="consent_of_address"),
        ]


class Suppression(models.Model):
    """An address that must not be mailed, and why; lifted rows stay as history."""

    project = models.ForeignKey("projects.Project", on_delete=models.CASCADE, related_name="+", db_index=False)
    comparable = models.CharField(max_length=320)
    address = models.CharField(max_length=254)
    reason = models.CharField(max_length=16)
    evidence = models.TextField(blank=True)
    since = models.DateTimeField()
    lifted_at = models.DateTimeField(null=True)
    lifted_by = models.CharField(max_length=254, blank=True)

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(
                fields=["project", "comparable"],
                condition=models.Q(lifted_at__isnull=True),
                name="suppression_in_force",
            ),
        ]
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["project", "since"], name="suppression_by_time"),
        ]
