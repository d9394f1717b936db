"""Which shop a notification means. Pure."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

from todoku.projects.types import ShopInfo
from todoku.reservations.types import Notification


class ShopBook:
    """The project's shops, found by code or by a name that a booking site uses.

    The intake address goes before the mail: a person chose it for one shop. Names are equal after NFKC and case
    folding, nothing less: two shops of one group often differ by one word.
    """

    def __init__(self, shops: Iterable[ShopInfo]) -> None:
        self._names: dict[str, str] = {}
        self._codes: set[str] = set()
        self._by_name: dict[str, str | None] = {}
        for shop in shops:
            self._codes.add(shop.code)
            self._names[shop.code] = shop.name
            for name in {_comparable(name) for name in (shop.name, *shop.site_names)} - {""}:
                # None: two shops claim the name, so it proves neither
                self._by_name[name] = shop.code if name not in self._by_name else None

    def code_of(self, notification: Notification) -> str | None:
        """Return the code of the shop, or None when neither the address nor the mail names one that is known."""
        if notification.shop_code in self._codes:
            return notification.shop_code
        for text in (notification.facts.shop_code, notification.facts.shop):
            if text:
                code = self._by_name.get(_comparable(text))
                if code is not None:
                    return code
        return None

    def name_of(self, code: str | None) -> str | None:
        """Return the shop's own name, or None when there is no such code."""
        return self._names.get(code) if code is not None else None


def _comparable(name: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", name).casefold().split())
