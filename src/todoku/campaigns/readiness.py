"""What speaks against sending a campaign: everything at once, in both languages, before anybody is mailed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from todoku.campaigns import plan_check
from todoku.campaigns.types import CampaignContent, Notice, Obstacle, Plan
from todoku.content.rendering import SAMPLE_VALUES, check
from todoku.guests import queries as guest_queries
from todoku.guests.types import Audience, AudienceCount
from todoku.kernel.addresses import UnsafeHeaderError, is_addr_spec, require_header_safe
from todoku.projects import queries as project_queries
from todoku.projects.types import ProjectInfo

PAST_GRACE = timedelta(minutes=1)  # the time it takes a person to press the button
MAX_MESSAGE_BYTES = 10_000_000  # the size that common relays still take is 10 MB and more


@dataclass(frozen=True, slots=True)
class Readiness:
    """What scheduling would mean: obstacles, things to know, how many are planned, when the (first) start is.

    due_at_utc is meaningless while there are obstacles.
    """

    obstacles: tuple[Obstacle, ...]
    notices: tuple[Notice, ...]
    planned: int
    plan: Plan
    due_at_utc: datetime


def look(
    project_id: str,
    content: CampaignContent,
    audience: Audience,
    *,
    plan: Plan,
    due_at_utc: datetime | None,
    now_utc: datetime,
) -> Readiness:
    """Return everything that speaks against sending and what to know; counts the audience in the database.

    due_at_utc None: for a repeating plan as from its own beginning; for a single start it is an obstacle.
    """
    project = project_queries.get_project(project_id)
    count = guest_queries.count_audience(project_id, audience)
    found = _template_obstacles(project, content) + _sender_obstacles(project) + _audience_obstacles(count)
    found += plan_check.plan_problems(plan)
    begins_utc = plan.repeat.starts_at_utc or now_utc if plan.repeat is not None else due_at_utc
    if begins_utc is None:
        found.append(Obstacle("due_missing", "the time to send at is missing", "配信日時を指定してください"))
    if due_at_utc is not None and due_at_utc < now_utc - PAST_GRACE:
        found.append(
            Obstacle("due_in_past", f"the time {due_at_utc:%Y-%m-%d %H:%M} UTC is over", "配信日時が過ぎています")
        )
    first_due = begins_utc or now_utc
    if plan.repeat is not None:
        wrong = plan_check.repeat_problems(plan.repeat, first_due)
        found += wrong
        first_due = first_due if wrong else plan_check.first_due(plan.repeat, first_due)
    notices = () if found else tuple(plan_check.notices(plan, first_due, project.time_zone))
    return Readiness(tuple(found), notices, count.planned, plan, first_due)


def obstacles(
    project_id: str,
    content: CampaignContent,
    audience: Audience,
    *,
    due_at_utc: datetime,
    now_utc: datetime,
) -> list[Obstacle]:
    """Return everything that speaks against sending this once; [] when nothing does."""
    found = look(project_id, content, audience, plan=Plan(), due_at_utc=due_at_utc, now_utc=now_utc)
    return list(found.obstacles)


def content_obstacles(project: ProjectInfo, content: CampaignContent) -> list[Obstacle]:
    """Return what speaks against these words from this sender, whoever gets them."""
    return _template_obstacles(project, content) + _sender_obstacles(project)


def _template_obstacles(project: ProjectInfo, content: CampaignContent) -> list[Obstacle]:
    size = sum(len(part.encode("utf-8", "surrogatepass")) for part in (content.subject, content.html, content.text))
    if size > MAX_MESSAGE_BYTES:
        figures = f"{size / 1e6:.1f} MB", f"{MAX_MESSAGE_BYTES / 1e6:.0f} MB"
        return [
            Obstacle(
                "too_large",
                f"the message has {figures[0]}, {figures[1]} is the most: link to pictures and files instead",
                f"メッセージが{figures[0]}あります（上限{figures[1]}）。画像やファイルはリンクにしてください",
            )
        ]
    values = {**SAMPLE_VALUES, **project_values(project)}
    return [
        Obstacle("template", f"{problem.part}: {problem.message}", problem.message_ja, problem.part, problem.line)
        for problem in check(content, values)
    ]


def project_values(project: ProjectInfo) -> dict[str, str]:
    """Return the merge values that are the same for every recipient of the project."""
    return {
        "project_name": project.name,
        "sender_name": project.sender_name,
        "postal_address": project.postal_address,
        "contact": project.contact,
    }


def _sender_obstacles(project: ProjectInfo) -> list[Obstacle]:
    found: list[Obstacle] = []
    if not is_addr_spec(project.sender_address):
        found.append(
            Obstacle(
                "sender_address",
                f"the project's sender address {project.sender_address!r} is no mail address",
                "差出人のメールアドレスが正しく設定されていません",
            )
        )
    for code, value, ja in (
        ("sender_name", project.sender_name, "差出人の名称"),
        ("postal_address", project.postal_address, "住所"),
        ("contact", project.contact, "問い合わせ先"),
    ):
        if not value.strip():
            found.append(
                Obstacle(
                    code,
                    f"the project has no {code.replace('_', ' ')}, which the law asks for in every mail",
                    f"{ja}が設定されていません（特定電子メール法の表示義務）",
                )
            )
    try:
        require_header_safe(project.sender_name)
    except UnsafeHeaderError:
        found.append(
            Obstacle("sender_name", "the project's sender name has a line break", "差出人の名称に改行があります")
        )
    return found


def _audience_obstacles(count: AudienceCount) -> list[Obstacle]:
    if count.planned == 0:
        return [Obstacle("audience_empty", "nobody is in the audience", "条件に合うお客様が0人です")]
    if count.sendable == 0:
        return [
            Obstacle(
                "nobody_may_be_mailed",
                f"none of the {count.planned} people in the audience may be mailed",
                f"条件に合う{count.planned}人のうち、配信に同意している方がいません",
            )
        ]
    return []
