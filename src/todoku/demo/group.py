"""The sample restaurant group as data: three shops, the people who work there, and their members.

Everybody and everything here is invented.
"""

from __future__ import annotations

import random
from datetime import timedelta

from todoku.guests.types import PersonImport
from todoku.kernel.clock import Clock
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


def local_parts() -> dict[tuple[str, str], str]:
    """Return the local part of each intake address, by shop code and site."""
    return {(shop.code, site): f"demo-{shop.code}-{site}" for shop in SHOPS for site in SITES}
