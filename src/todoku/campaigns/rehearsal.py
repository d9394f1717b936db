"""Send a campaign to a few typed addresses to see how it arrives. Use through `campaigns.services`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from todoku.campaigns.errors import NotSchedulable
from todoku.campaigns.readiness import content_obstacles
from todoku.campaigns.run_making import new_run
from todoku.campaigns.transitions import Act, decide, find_campaign, record
from todoku.campaigns.types import CampaignContent, Obstacle, RunKind
from todoku.content.rendering import SAMPLE_VALUES
from todoku.guests import queries as guest_queries
from todoku.kernel.addresses import is_addr_spec
from todoku.kernel.clock import Clock
from todoku.projects import queries as project_queries

MOST_ADDRESSES = 20
MARKS = {"ja": "[テスト] ", "en": "[Test] "}


def send_test(
    project_id: str,
    campaign_id: UUID,
    addresses: Sequence[str],
    guest_id: UUID | None = None,
    *,
    by: str,
    clock: Clock,
    language: str = "ja",
) -> UUID:
    """Send the words as they are now to at most 20 addresses, with a guest's values or sample ones; the run's id.

    In any state of the campaign, which it does not change; the run is in no history and no balance of the campaign.
    The subject is marked [テスト] or [Test]. Consent is not asked for: colleagues typed their own addresses; one that
    bounced or complained is left out all the same. Raises NotSchedulable with every obstacle, GuestMissing.
    """
    now_utc = clock.now_utc()
    campaign = find_campaign(project_id, campaign_id)
    project = project_queries.get_project(project_id)
    content = CampaignContent(campaign.subject, campaign.html, campaign.text)
    typed = list(dict.fromkeys(address.strip() for address in addresses if address.strip()))
    found = _address_obstacles(typed) + content_obstacles(project, content)
    if found:
        raise NotSchedulable(found)
    run = new_run(
        campaign,
        now_utc,
        now_utc,
        kind=RunKind.TEST,
        content={
            "subject": MARKS["ja" if language.startswith("ja") else "en"] + content.subject.strip(),
            "html": content.html,
            "text": content.text,
        },
        test_addresses=typed,
        test_guest=_values(project_id, guest_id, ZoneInfo(project.time_zone), clock),
        expected_planned=len(typed),
        awaits_approval=False,
    )

    def work() -> UUID:
        run.save(force_insert=True)
        act = Act("campaign.test_sent", by, now_utc, f"to {', '.join(typed)}")
        record(act, project_id, campaign_id, run.id)
        return run.id

    return decide(work)


def _address_obstacles(typed: Sequence[str]) -> list[Obstacle]:
    found: list[Obstacle] = []
    if not 1 <= len(typed) <= MOST_ADDRESSES:
        found.append(
            Obstacle(
                "test_addresses",
                f"a test goes to 1 to {MOST_ADDRESSES} addresses, not {len(typed)}",
                f"テスト送信の宛先は1件から{MOST_ADDRESSES}件までです（{len(typed)}件）",
            )
        )
    found += [
        Obstacle("test_address", f"{address!r} is no mail address", f"「{address}」はメールアドレスではありません")
        for address in typed
        if not is_addr_spec(address)
    ]
    return found


def _values(project_id: str, guest_id: UUID | None, zone: ZoneInfo, clock: Clock) -> dict[str, Any]:
    """Return the values that the test shows, as `types.SampleGuest` names them, days as ISO 8601."""
    if guest_id is None:
        return {
            "name": SAMPLE_VALUES["guest_name"],
            "visits": SAMPLE_VALUES["visits"],
            "last_visit_on": SAMPLE_VALUES["last_visit_on"],
            "last_shop_name": SAMPLE_VALUES["shop_name"],
        }
    detail = guest_queries.get(project_id, guest_id, clock=clock)
    row = detail.row
    last = next((v for v in detail.visits if v.counts_as_visit and v.start and v.start == row.last_visit_at), None)
    names = {shop.code: shop.name for shop in project_queries.list_shops(project_id)}
    shop = (last.shop_code if last is not None else None) or ""
    day = row.last_visit_at.astimezone(zone).date().isoformat() if row.last_visit_at is not None else None
    return {"name": row.name, "visits": row.visits, "last_visit_on": day, "last_shop_name": names.get(shop, shop)}
