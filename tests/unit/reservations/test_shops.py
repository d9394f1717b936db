"""A notification belongs to the shop of its address, else to the one that the site's own words name."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime

import pytest

from todoku.extraction.types import Event, Facts
from todoku.projects.types import ShopInfo
from todoku.reservations.shops import ShopBook
from todoku.reservations.types import Notification

BOOK = ShopBook(
    [
        ShopInfo("ginza", "届屋 銀座本店", ("届屋銀座本店", "ABCD001", "Todokuya Ginza", "ビル2階の店")),
        ShopInfo("shinjuku", "炉ばた とどけ", ("abcd002", "ビル2階の店")),
    ]
)


def mail(shop: str | None, shop_code: str | None = None, address: str | None = None) -> Notification:
    now = datetime(2026, 11, 21, tzinfo=UTC)
    facts = Facts(event=Event.BOOKED, reference="1", shop=shop, shop_code=shop_code)
    return Notification(uuid.UUID(int=1), "gnavi", facts, now, now, "a" * 64, address)


@pytest.mark.parametrize(
    ("notification", "code"),
    [
        (mail("届屋　銀座本店"), "ginza"),  # U+3000
        (mail("Ｔｏｄｏｋｕｙａ  Ｇｉｎｚａ"), "ginza"),  # full width
        (mail("まったく別の店", "abcd001"), "ginza"),
        (mail("届屋 銀座本店", address="shinjuku"), "shinjuku"),  # a person chose the address
        (mail("届屋 銀座本店", address="closed-shop"), "ginza"),
        (mail("届屋 銀座"), None),  # nearly is not equal
        (mail("ビル2階の店"), None),  # two shops claim it
        (mail(None), None),
    ],
)
def test_which_shop(notification: Notification, code: str | None) -> None:
    assert BOOK.code_of(notification) == code


def test_names_are_the_tenants_own() -> None:
    assert (BOOK.name_of("ginza"), BOOK.name_of("closed"), BOOK.name_of(None)) == ("届屋 銀座本店", None, None)
