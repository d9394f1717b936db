"""The sample restaurant group: three shops, the people who work there, their members, a campaign ready to go.

Everybody and everything here is invented. Telling the story twice changes nothing.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from todoku.campaigns import queries as campaign_queries
from todoku.campaigns import services as campaign_services
from todoku.campaigns.types import CampaignContent
from todoku.content.starters import load_starter
from todoku.guests import services as guest_services
from todoku.guests.types import Audience, PersonImport, SuppressionReason
from todoku.kernel.clock import Clock
from todoku.projects import services as project_services
from todoku.projects.types import ProjectInfo, Role, ShopInfo

PROJECT_ID = "todoku-demo"
SITES = ("tabelog", "hotpepper", "gnavi", "schema-org")
CAMPAIGN_NAME = "冬の鍋はじめました"

PROJECT = ProjectInfo(
    id=PROJECT_ID,
    name="とどけレストラングループ",
    time_zone="Asia/Tokyo",
    sender_name="とどけレストラングループ",
    sender_address="news@todoke-restaurants.example",
    postal_address="〒100-0000 東京都千代田区届町1-2-3",
    contact="03-0000-1200",
)
SHOPS = [
    ShopInfo("ginza", "届屋 銀座本店", ("届屋 銀座本店", "届屋銀座本店", "abcd001", "Todokuya Ginza")),
    ShopInfo(
        "shinjuku",
        "炉ばた とどけ 新宿店",
        ("炉ばた とどけ 新宿店", "炉ばたとどけ新宿店", "abcd002", "Robata Todoke Shinjuku"),
    ),
    ShopInfo(
        "yokohama",
        "Bistro Ato 横浜",
        ("Bistro Ato 横浜", "ビストロ アト 横浜", "abcd003", "Bistro Ato Yokohama", "Bistro Ato"),
    ),
]
STAFF = [
    ("owner@todoke-restaurants.example", "和泉 さくら", Role.OWNER),
    ("manager@todoke-restaurants.example", "柏木 隼人", Role.MANAGER),
    ("marketer@todoke-restaurants.example", "真壁 由衣", Role.MARKETER),
    ("operator@todoke-restaurants.example", "榎本 蓮", Role.OPERATOR),
    ("viewer@todoke-restaurants.example", "月岡 葵", Role.VIEWER),
]
_SURNAMES = [
    ("髙橋", "タカハシ"),
    ("佐々木", "ササキ"),
    ("山﨑", "ヤマザキ"),
    ("小鳥遊", "タカナシ"),
    ("五十嵐", "イガラシ"),
    ("四月一日", "ワタヌキ"),
    ("東雲", "シノノメ"),
    ("神楽坂", "カグラザカ"),
    ("八重樫", "ヤエガシ"),
    ("月島", "ツキシマ"),
    ("朝比奈", "アサヒナ"),
    ("綾瀬", "アヤセ"),
    ("桐生", "キリュウ"),
    ("水無瀬", "ミナセ"),
    ("早乙女", "サオトメ"),
]
_GIVEN = [
    ("陽菜", "ヒナ"),
    ("蓮", "レン"),
    ("結衣", "ユイ"),
    ("湊", "ミナト"),
    ("凛", "リン"),
    ("樹", "イツキ"),
    ("葵", "アオイ"),
    ("悠真", "ユウマ"),
    ("紬", "ツムギ"),
    ("朔", "サク"),
    ("芽衣", "メイ"),
    ("颯", "ハヤテ"),
    ("澪", "ミオ"),
    ("律", "リツ"),
    ("詩", "ウタ"),
    ("暁", "アカツキ"),
]
MEMBERS_COUNT = 240


@dataclass(frozen=True, slots=True)
class Told:
    """What the story left behind. addresses: (shop, site) -> local part; campaign_id: the one that waits."""

    addresses: dict[tuple[str, str], str]
    campaign_id: UUID


def tell(*, password: str | None, clock: Clock) -> Told:
    """Make the sample group, or find it as it was told before; returns its intake addresses and its campaign."""
    project_services.save_project(PROJECT, clock=clock)
    project_services.save_shops(PROJECT_ID, SHOPS)
    for email, name, role in STAFF:
        project_services.save_member(PROJECT_ID, email=email, display_name=name, role=role, password=password)
    addresses: dict[tuple[str, str], str] = {}
    for shop in SHOPS:
        for site in SITES:
            local_part = f"demo-{shop.code}-{site}"
            project_services.create_intake_address(
                PROJECT_ID, shop_code=shop.code, site=site, clock=clock, local_part=local_part
            )
            addresses[shop.code, site] = local_part
    _import_members(clock)
    return Told(addresses=addresses, campaign_id=_campaign(clock))


def members(clock: Clock) -> list[PersonImport]:
    """Return the invented member list; the same at every call but for the day on which they agreed to mails."""
    chance = random.Random(20201105)  # noqa: S311 - invented people, not secrets
    agreed_at = clock.now_utc() - timedelta(days=200)
    people: list[PersonImport] = []
    for number in range(MEMBERS_COUNT):
        surname, surname_kana = chance.choice(_SURNAMES)
        given, given_kana = chance.choice(_GIVEN)
        agreed = number % 24 != 7
        people.append(
            PersonImport(
                name=f"{surname} {given}",
                kana=f"{surname_kana} {given_kana}",
                phone=f"+81900000{number:04d}",
                email=f"member{number:03d}@guests.example",
                consent_source="会員カード申込書" if agreed else "",
                consent_wording="お店からのお知らせメールを受け取ります" if agreed else "",
                consent_given_at_utc=agreed_at if agreed else None,
            )
        )
    return people


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
        by=STAFF[2][0],
        clock=clock,
    )
