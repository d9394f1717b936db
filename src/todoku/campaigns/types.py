"""Campaigns and their runs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from todoku.delivery.types import RunBalance
from todoku.guests.types import Audience


class CampaignState(StrEnum):
    """draft -> scheduled -> active -> finished, with paused and stopped."""

    DRAFT = "draft"
    SCHEDULED = "scheduled"
    ACTIVE = "active"
    PAUSED = "paused"
    STOPPED = "stopped"
    FINISHED = "finished"


class RunState(StrEnum):
    """planned -> sealing -> sealed -> sending -> finished; held waits for a person, stopped was a person."""

    PLANNED = "planned"
    SEALING = "sealing"
    SEALED = "sealed"
    SENDING = "sending"
    FINISHED = "finished"
    PAUSED = "paused"
    HELD = "held"
    STOPPED = "stopped"
    MISSED = "missed"


@dataclass(frozen=True, slots=True)
class CampaignContent:
    """The words of a campaign: minijinja templates."""

    subject: str
    html: str
    text: str


@dataclass(frozen=True, slots=True)
class Obstacle:
    """One thing that speaks against scheduling. code: stable; part, line: where in the templates, else "" and 0."""

    code: str
    message: str
    message_ja: str
    part: str = ""
    line: int = 0


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a run waits for a person, in both languages."""

    en: str
    ja: str


@dataclass(frozen=True, slots=True)
class AuditLine:
    """Who did what to a campaign, when. by: a person, or "planner". action: stable, e.g. "campaign.paused"."""

    at_utc: datetime
    by: str
    action: str
    detail: str


@dataclass(frozen=True, slots=True)
class RunRow:
    """One execution of a campaign, with its balance and its lateness.

    seconds_late: start minus due, 0.0 when on time, None before the start. order_confirmed: the senders have the
    newest wish (pause, stop, ...) in hand; False for the moments until the planner has passed it on. reason_ja: the
    reason in Japanese when the planner gave it; "" when it is a person's own words.
    """

    id: UUID
    campaign_id: UUID
    state: RunState
    reason: str
    due_at_utc: datetime
    sealed_at_utc: datetime | None
    started_at_utc: datetime | None
    finished_at_utc: datetime | None
    seconds_late: float | None
    balance: RunBalance
    order_confirmed: bool = True
    reason_ja: str = ""


@dataclass(frozen=True, slots=True)
class CampaignRow:
    """One campaign as a list shows it, with its newest run."""

    id: UUID
    project_id: str
    name: str
    state: CampaignState
    content: CampaignContent
    audience: Audience
    due_at_utc: datetime | None
    run: RunRow | None
    created_by: str
    version: int


@dataclass(frozen=True, slots=True)
class RecipientRow:
    """One name behind a number of the balance."""

    guest_id: UUID
    address: str
    state: str
    answer: str
    at_utc: datetime
    message_id: str
