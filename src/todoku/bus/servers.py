"""The servers of a NATS: as given in TODOKU_NATS_URL, and in which turn they are tried."""

from __future__ import annotations

from typing import Any
from urllib.parse import ParseResult, unquote, urlsplit

from nats.aio.client import Server

RECONNECT_WAIT_SECONDS = 0.2


class ServerList:
    """One URL, or several with commas between them; str() shows them without passwords."""

    def __init__(self, url: str) -> None:
        self.urls = [part.strip() for part in url.split(",") if part.strip()] or [""]
        first = urlsplit(_with_scheme(self.urls[0]))
        # servers that a cluster tells of come without user and password, so those of the first URL are for all
        both = len(self.urls) > 1 and first.username and first.password
        self.user = unquote(first.username or "") if both else None
        self.password = unquote(first.password or "") if both else None
        self._last = ""
        self._tries = 0

    def arrived(self, url: ParseResult | None) -> None:
        """Note where the connection is now; from here the next turn begins."""
        self._tries = 0
        if url is not None:
            self._last = url.netloc

    def choose(self, servers: list[Server], _: dict[str, Any]) -> tuple[Server, float]:
        """Choose the next server in turn, the one just left last; pause only when all were tried."""
        ordered = sorted(servers, key=lambda server: server.uri.netloc)
        names = [server.uri.netloc for server in ordered]
        chosen = ordered[(names.index(self._last) + 1) % len(names) if self._last in names else 0]
        self._last = chosen.uri.netloc
        self._tries += 1
        # the first turn begins at once; a server that was just lost is rarely back within a moment
        wait = RECONNECT_WAIT_SECONDS if self._tries >= len(names) else 0.0
        return chosen, wait

    def __str__(self) -> str:
        return ", ".join(_without_password(url) for url in self.urls)


def _with_scheme(url: str) -> str:
    return url if "://" in url else f"nats://{url}"


def _without_password(url: str) -> str:
    scheme, separator, rest = url.partition("://")
    return scheme + separator + rest.rpartition("@")[2] if separator else url.rpartition("@")[2]
