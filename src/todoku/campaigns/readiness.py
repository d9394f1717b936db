"""What speaks against sending a campaign: everything at once, in both languages, before anybody is mailed."""

from __future__ import annotations

from datetime import datetime, timedelta

from todoku.campaigns.types import CampaignContent, Obstacle
from todoku.content.rendering import SAMPLE_VALUES, check
from todoku.guests import queries as guest_queries
from todoku.guests.types import Audience
from todoku.kernel.addresses import UnsafeHeaderError, is_addr_spec, require_header_safe
from todoku.projects import queries as project_queries
from todoku.projects.types import ProjectInfo

PAST_GRACE = timedelta(minutes=1)  # the time it takes a person to press the button


def obstacles(
    project_id: str,
    content: CampaignContent,
    audience: Audience,
    *,
    due_at_utc: datetime,
    now_utc: datetime,
) -> list[Obstacle]:
    """Return everything that speaks against sending; [] when nothing does. Counts the audience in the database."""
    project = project_queries.get_project(project_id)
    found = (
        _template_obstacles(project, content) + _sender_obstacles(project) + _audience_obstacles(project_id, audience)
    )
    if due_at_utc < now_utc - PAST_GRACE:
        found.append(
            Obstacle("due_in_past", f"the time {due_at_utc:%Y-%m-%d %H:%M} UTC is over", "配信日時が過ぎています")
        )
    return found


def content_obstacles(project: ProjectInfo, content: CampaignContent) -> list[Obstacle]:
    """Return what speaks against these words from this sender, whoever gets them."""
    return _template_obstacles(project, content) + _sender_obstacles(project)


def _template_obstacles(project: ProjectInfo, content: CampaignContent) -> list[Obstacle]:
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


def _audience_obstacles(project_id: str, audience: Audience) -> list[Obstacle]:
    count = guest_queries.count_audience(project_id, audience)
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
