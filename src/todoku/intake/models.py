"""The tables of the intake room; imported by no other room."""

from __future__ import annotations

from typing import ClassVar

from django.db import models


class IncomingMail(models.Model):
    """One arrival on the bus with the state in which it ended.

    project_id is no foreign key: mail for nobody, or for a project that is not there, has its row too.
    stream_sequence: which message on MAIL; the same arrival under another sequence was published twice. cursor,
    at_source: the source's own name for the mail, and when it got it; "" and None where it comes by itself. rules: the
    version of the rules that read it, "" when nobody could read it or it was read before versions were kept.
    """

    arrival_id = models.UUIDField(primary_key=True)
    project_id = models.CharField(max_length=64)
    source = models.CharField(max_length=64)
    stream_sequence = models.BigIntegerField()
    state = models.CharField(max_length=20)
    reason = models.CharField(max_length=200, blank=True)
    site = models.CharField(max_length=40, null=True)
    shop_code = models.CharField(max_length=40, null=True)
    shop_text = models.TextField(null=True)
    subject = models.TextField(blank=True)
    sender = models.TextField(blank=True)
    rcpt_to = models.TextField(blank=True)
    vault_key = models.CharField(max_length=200, blank=True)
    sha256 = models.CharField(max_length=64, blank=True)
    size_bytes = models.BigIntegerField(default=0)
    arrived_at = models.DateTimeField()
    issued_at = models.DateTimeField(null=True)
    lossy_characters = models.IntegerField(default=0)
    reservation_id = models.UUIDField(null=True)
    cursor = models.TextField(blank=True, db_default="")
    at_source = models.DateTimeField(null=True)
    rules = models.CharField(max_length=24, blank=True, db_default="")

    class Meta:
        indexes: ClassVar[list[models.Index]] = [
            models.Index("project_id", models.F("arrived_at").desc(), name="mail_newest"),
            models.Index("project_id", "state", models.F("arrived_at").desc(), name="mail_by_state"),
            models.Index("project_id", "site", models.F("arrived_at").desc(), name="mail_by_site"),
            models.Index(fields=["project_id", "sha256"], name="mail_by_content"),
            models.Index(fields=["project_id", "stream_sequence"], name="mail_by_sequence"),
            models.Index(
                fields=["project_id", "source", "cursor"], condition=~models.Q(cursor=""), name="mail_by_cursor"
            ),
            models.Index(
                fields=["reservation_id"], condition=models.Q(reservation_id__isnull=False), name="mail_of_reservation"
            ),
        ]


class SourceDay(models.Model):
    """One day of one source as its last reconciliation found it: both sides, and the names that differ.

    day: of the source's own clock in the project's time zone, None for mails of which the source does not say. seen: by
    the source's own listing. arrived: of those, how many are in the books. pending: on the bus and not read yet.
    missing: seen, and neither in the books nor on the bus. surplus: in the books, and not at the source any more.
    names: of the missing, the first thousand.
    """

    project_id = models.CharField(max_length=64)
    source = models.CharField(max_length=64)
    day = models.DateField(null=True)
    seen = models.BigIntegerField()
    arrived = models.BigIntegerField()
    pending = models.BigIntegerField()
    missing = models.BigIntegerField()
    surplus = models.BigIntegerField()
    names = models.JSONField(default=list)
    reconciled_at = models.DateTimeField()

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(
                fields=["project_id", "source", "day"], nulls_distinct=False, name="one_row_of_a_sources_day"
            )
        ]


class SourceCheck(models.Model):
    """The last try to reconcile one source. why: "" when it succeeded."""

    project_id = models.CharField(max_length=64)
    source = models.CharField(max_length=64)
    tried_at = models.DateTimeField()
    succeeded_at = models.DateTimeField(null=True)
    why = models.TextField(blank=True)

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["project_id", "source"], name="one_check_of_a_source")
        ]


class ReplayOrder(models.Model):
    """One replay that somebody asked for on the page, how far it is, and what it came to.

    chosen: replaying.Chosen as JSON. apply: False for a dry run. state: a ReplayState. mails: how many were chosen when
    it was asked for. kinds: [before, after, count]. different: the first differences one by one, as JSON of
    differences.Difference. place_*: the last mail that was read, where the next batch goes on. owner: the worker that
    has it, "" when nobody; touched_at: when that one last said that it lives. why: what it failed of, "" else.
    """

    replay_id = models.UUIDField(primary_key=True)
    project_id = models.CharField(max_length=64)
    chosen = models.JSONField()
    apply = models.BooleanField()
    state = models.CharField(max_length=10)
    mails = models.BigIntegerField()
    read = models.BigIntegerField(default=0)
    same = models.BigIntegerField(default=0)
    unread = models.BigIntegerField(default=0)
    differing = models.BigIntegerField(default=0)
    amended = models.BigIntegerField(default=0)
    kinds = models.JSONField(default=list)
    different = models.JSONField(default=list)
    place_arrived_at = models.DateTimeField(null=True)
    place_arrival_id = models.UUIDField(null=True)
    owner = models.CharField(max_length=64, blank=True)
    asked_by = models.CharField(max_length=254)
    asked_at = models.DateTimeField()
    touched_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True)
    why = models.TextField(blank=True)

    class Meta:
        indexes: ClassVar[list[models.Index]] = [
            models.Index("project_id", models.F("asked_at").desc(), name="replay_newest"),
        ]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(
                fields=["project_id"], condition=models.Q(ended_at=None), name="one_open_replay_of_a_project"
            )
        ]
