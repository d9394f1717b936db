"""Tables of the campaigns room; imported by no other room."""

from __future__ import annotations

from typing import ClassVar

from django.db import models

from todoku.campaigns.types import CampaignState, RunState


class Campaign(models.Model):
    """What to say, to whom, when. version goes up with every change, so that nobody overwrites unseen."""

    id = models.UUIDField(primary_key=True)
    project = models.ForeignKey("projects.Project", on_delete=models.CASCADE, related_name="+")
    name = models.CharField(max_length=200)
    state = models.CharField(max_length=16, choices=[(state.value, state.value) for state in CampaignState])
    subject = models.TextField()
    html = models.TextField()
    text = models.TextField()
    audience = models.JSONField()
    due_at = models.DateTimeField(null=True)
    version = models.PositiveIntegerField(default=1)
    created_by = models.CharField(max_length=254)
    created_at = models.DateTimeField()

    class Meta:
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["project", "-created_at"], name="campaign_newest_first")
        ]


class Run(models.Model):
    """One execution. version goes up with every change that senders must hear of; order_version: what they heard.

    seal, sealer, lease_until: which planner seals it, under which number, until when it must have said it lives.
    order: the sealed order's fixed part, enough to write KV `runs` again. resume_to: where a pause or hold leads back.
    told_journal: the journal has those who were left out. tallies: the closed balance. closed_at: the bus has been
    cleared of it.
    """

    id = models.UUIDField(primary_key=True)
    project = models.ForeignKey("projects.Project", on_delete=models.CASCADE, related_name="+")
    campaign = models.ForeignKey(Campaign, on_delete=models.CASCADE, related_name="runs")
    state = models.CharField(max_length=16, choices=[(state.value, state.value) for state in RunState])
    reason = models.TextField(blank=True)
    reason_ja = models.TextField(blank=True)
    resume_to = models.CharField(max_length=16, blank=True)
    version = models.PositiveIntegerField(default=1)
    order_version = models.PositiveIntegerField(default=0)
    seal = models.PositiveIntegerField(default=0)
    sealer = models.CharField(max_length=64, blank=True)
    lease_until = models.DateTimeField(null=True)
    due_at = models.DateTimeField()
    latest_start_at = models.DateTimeField()
    latest_finish_at = models.DateTimeField()
    created_at = models.DateTimeField()
    changed_at = models.DateTimeField()
    sealed_at = models.DateTimeField(null=True)
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    closed_at = models.DateTimeField(null=True)
    told_journal = models.BooleanField(default=False)
    planned = models.PositiveIntegerField(default=0)
    order = models.JSONField(null=True)
    tallies = models.JSONField(null=True)

    class Meta:
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["campaign", "-created_at"], name="run_newest_first"),
            models.Index(fields=["due_at"], name="run_open_by_due", condition=models.Q(closed_at__isnull=True)),
        ]


class Audit(models.Model):
    """One line of the audit log; never changed."""

    project = models.ForeignKey("projects.Project", on_delete=models.CASCADE, related_name="+")
    campaign_id = models.UUIDField()
    run_id = models.UUIDField(null=True)
    at = models.DateTimeField()
    by = models.CharField(max_length=254)
    action = models.CharField(max_length=64)
    detail = models.TextField(blank=True)

    class Meta:
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["project", "campaign_id"], name="audit_of_campaign")
        ]
