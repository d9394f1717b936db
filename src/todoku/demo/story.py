"""Tell the story of the sample group into the database: shops, addresses, staff, members, a campaign ready to go.

Telling it twice changes nothing.
"""

from __future__ import annotations

from uuid import UUID

from todoku.campaigns import queries as campaign_queries
from todoku.campaigns import services as campaign_services
from todoku.campaigns.types import CampaignContent
from todoku.content.starters import load_starter
from todoku.demo.group import CAMPAIGN_NAME, PROJECT, PROJECT_ID, SHOPS, STAFF, local_parts, members
from todoku.guests import services as guest_services
from todoku.guests.types import Audience, SuppressionReason
from todoku.kernel.clock import Clock
from todoku.projects import services as project_services
from todoku.projects.signatures import sign


def tell(*, password: str | None, clock: Clock) -> UUID:
    """Make the sample group, or find it as it was told before; returns the campaign that waits.

    password: of all its staff; None leaves the ones that are there.
    """
    project_services.save_project(PROJECT, clock=clock)
    project_services.save_shops(PROJECT_ID, SHOPS)
    for email, name, role in STAFF:
        project_services.save_member(PROJECT_ID, email=email, display_name=name, role=role, password=password)
    for (shop_code, site), local_part in local_parts().items():
        project_services.create_intake_address(
            PROJECT_ID, shop_code=shop_code, site=site, clock=clock, local_part=local_part
        )
    _import_members(clock)
    return _campaign(clock)


def _import_members(clock: Clock) -> None:
    people = members(clock)
    guest_services.import_people(PROJECT_ID, people)
    for number in (31, 118, 190):
        address = people[number].email
        assert address is not None
        guest_services.suppress(
            PROJECT_ID, address, SuppressionReason.UNSUBSCRIBED, evidence="配信停止フォーム", clock=clock
        )


def _campaign(clock: Clock) -> UUID:
    for row in campaign_queries.list_campaigns(PROJECT_ID):
        if row.name == CAMPAIGN_NAME:
            return row.id
    words = load_starter("ja")
    return campaign_services.create(
        PROJECT_ID,
        name=CAMPAIGN_NAME,
        content=CampaignContent(subject=words.subject, html=words.html, text=words.text),
        audience=Audience(),
        by=sign(STAFF[2][1], STAFF[2][0]),
        clock=clock,
    )
