"""Tables of the campaigns room; imported by no other room."""

from __future__ import annotations

from typing import ClassVar

from django.db import models

from todoku.campaigns.types import CampaignState, LateChoice, RunKind, RunState
from todoku.projects.signatures import LONGEST


class Campaign(models.Model):
    """What to say, to whom, when. version goes up with every change, so that nobody overwrites unseen.

    edited_by: who wrote the words last, who may not approve them. approval_*: empty where none is asked for.
    occurrences: how many runs were numbered so far. scheduled_through: every occurrence up to there has its run;
    None: this campaign plans no further ones.
    """

    id = models.UUIDField(primary_key=True)
    project = models.ForeignKey("projects.Project", on_delete=models.CASCADE, related_name="+")
    name = models.CharField(max_length=200)
    state = models.CharField(max_length=16, choices=[(state.value, state.value) for state in CampaignState])
    subject = models.TextField()
    html = models.TextField()
    text = models.TextField()
    audience = models.JSONField()
    due_at = models.DateTimeField(null=True)
    plan = models.JSONField(default=dict)
    version = models.PositiveIntegerField(default=1)
    occurrences = models.PositiveIntegerField(default=0)
    scheduled_through = models.DateTimeField(null=True)
    approval_asked_by = models.CharField(max_length=LONGEST, blank=True)
    approval_asked_at = models.DateTimeField(null=True)
    approval_given_by = models.CharField(max_length=LONGEST, blank=True)
    approval_given_at = models.DateTimeField(null=True)
    created_by = models.CharField(max_length=LONGEST)
    edited_by = models.CharField(max_length=LONGEST, blank=True)
    created_at = models.DateTimeField()

    class Meta:
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["project", "-created_at"], name="campaign_newest_first"),
            models.Index(
                fields=["scheduled_through"],
                name="campaign_repeating",
                condition=models.Q(scheduled_through__isnull=False),
            ),
        ]


class Run(models.Model):
    """One execution. version goes up with every change that senders must hear of; order_version: what they heard.

    occurrence: from 1 within the campaign, 0 for resend and test. seal: the seal that counts; attempt: how many seal
    numbers were given out; sealer, lease_until: which planner seals it, until when it must have said it lives.
    pre_sealed_at: an audience frozen the day before is in place; refresh_at: when to replace it by a fresh one.
    order: the sealed order's fixed part, enough to write KV `runs` again. resume_to: where a pause or hold leads back.
    told_journal: the journal has those who were left out. tallies: the closed balance. closed_at: the bus has been
    cleared of it. expected_planned: size of the audience when it was scheduled. cause: why it was late.
    content: own words (resend, test) in place of the campaign's. source_run, source_states: whom a resend goes to.
    test_addresses, test_guest: to whom a test goes, and whose values it shows. undelivered_kept: the names that a
    stop left pending are in the table Undelivered. acknowledged_*: somebody has seen that it was late or missed.
    """

    id = models.UUIDField(primary_key=True)
    project = models.ForeignKey("projects.Project", on_delete=models.CASCADE, related_name="+")
    campaign = models.ForeignKey(Campaign, on_delete=models.CASCADE, related_name="runs")
    kind = models.CharField(
        max_length=16, choices=[(kind.value, kind.value) for kind in RunKind], default=RunKind.CAMPAIGN.value
    )
    occurrence = models.PositiveIntegerField(default=0)
    state = models.CharField(max_length=16, choices=[(state.value, state.value) for state in RunState])
    reason = models.TextField(blank=True)
    reason_ja = models.TextField(blank=True)
    resume_to = models.CharField(max_length=16, blank=True)
    version = models.PositiveIntegerField(default=1)
    order_version = models.PositiveIntegerField(default=0)
    seal = models.PositiveIntegerField(default=0)
    attempt = models.PositiveIntegerField(default=0)
    sealer = models.CharField(max_length=64, blank=True)
    lease_until = models.DateTimeField(null=True)
    due_at = models.DateTimeField()
    latest_start_at = models.DateTimeField()
    latest_finish_at = models.DateTimeField()
    late_then = models.CharField(
        max_length=8, choices=[(choice.value, choice.value) for choice in LateChoice], default=LateChoice.ASK.value
    )
    awaits_approval = models.BooleanField(default=False)
    created_at = models.DateTimeField()
    changed_at = models.DateTimeField()
    refresh_at = models.DateTimeField(null=True)
    pre_sealed_at = models.DateTimeField(null=True)
    sealed_at = models.DateTimeField(null=True)
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    closed_at = models.DateTimeField(null=True)
    told_journal = models.BooleanField(default=False)
    planned = models.PositiveIntegerField(default=0)
    order = models.JSONField(null=True)
    tallies = models.JSONField(null=True)
    expected_planned = models.PositiveIntegerField(null=True)
    cause = models.TextField(blank=True)
    cause_ja = models.TextField(blank=True)
    content = models.JSONField(null=True)
    source_run = models.UUIDField(null=True)
    source_states = models.JSONField(default=list)
    test_addresses = models.JSONField(default=list)
    test_guest = models.JSONField(null=True)
    undelivered_kept = models.BooleanField(default=False)
    acknowledged_by = models.CharField(max_length=LONGEST, blank=True)
    acknowledged_at = models.DateTimeField(null=True)

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(
                fields=["campaign", "occurrence"],
                condition=models.Q(kind=RunKind.CAMPAIGN.value),
                name="run_once_per_occurrence",
            ),
        ]
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["campaign", "-created_at"], name="run_newest_first"),
            models.Index(fields=["due_at"], name="run_open_by_due", condition=models.Q(closed_at__isnull=True)),
            models.Index(fields=["project", "due_at"], name="run_of_project_by_due"),
        ]


class Undelivered(models.Model):
    """One person whom a stopped run left pending; written once, when the bus is cleared of the run."""

    project = models.ForeignKey("projects.Project", on_delete=models.CASCADE, related_name="+", db_index=False)
    run_id = models.UUIDField()
    guest_id = models.UUIDField()
    address = models.CharField(max_length=254)

    class Meta:
        indexes: ClassVar[list[models.Index]] = [models.Index(fields=["run_id", "id"], name="undelivered_of_run")]


class PlannerBeat(models.Model):
    """When a planner last looked; one row per planner that lives or lived lately.

    away_*: the last span before it in which no planner looked at all.
    """

    planner = models.CharField(primary_key=True, max_length=64)
    at = models.DateTimeField()
    away_from = models.DateTimeField(null=True)
    away_until = models.DateTimeField(null=True)


class Audit(models.Model):
    """One line of the audit log; never changed."""

    project = models.ForeignKey("projects.Project", on_delete=models.CASCADE, related_name="+")
    campaign_id = models.UUIDField()
    run_id = models.UUIDField(null=True)
    at = models.DateTimeField()
    by = models.CharField(max_length=LONGEST)
    action = models.CharField(max_length=64)
    detail = models.TextField(blank=True)

    class Meta:
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["project", "campaign_id"], name="audit_of_campaign"),
            models.Index(fields=["run_id"], name="audit_of_run", condition=models.Q(run_id__isnull=False)),
        ]
