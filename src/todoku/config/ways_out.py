"""The ways out of an installation: its transports by name, and who signs."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass

import structlog

from todoku.config.settings import Settings
from todoku.delivery.signing import KeyFolder, SigningDesk
from todoku.delivery.transports.opening import OpenOptions, open_transport, read_named_urls
from todoku.delivery.transports.trial import try_transport
from todoku.delivery.types import Transport
from todoku.kernel.clock import Clock
from todoku.kernel.errors import ConfigurationError
from todoku.kernel.health import Health, HealthState

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class WaysOut:
    """Transports by the names that campaigns choose, "" = the default, and the desk that signs for all of them."""

    transports: dict[str, Transport]
    desk: SigningDesk

    async def close(self) -> None:
        """Close every connection politely, and the signing processes."""
        await asyncio.gather(*(transport.close() for transport in self.transports.values()))
        await self.desk.close()


def urls_by_name(settings: Settings) -> dict[str, str]:
    """Return the URL, or URLs, of each transport; raises ConfigurationError."""
    urls = read_named_urls(settings.transports)
    if settings.relay_url:
        urls[""] = settings.relay_url
    return urls


def open_ways_out(settings: Settings, clock: Clock) -> WaysOut:
    """Open all transports and read all DKIM keys; raises ConfigurationError that names the setting, never a secret."""
    options = OpenOptions(most_octets=settings.message_max_octets, also={"anymail+": _open_provider})
    transports = {}
    for name, urls in urls_by_name(settings).items():
        try:
            transports[name] = open_transport(urls, clock, options)
        except ConfigurationError as error:
            setting = f"TODOKU_TRANSPORTS {name}" if name else "TODOKU_RELAY_URL"
            raise ConfigurationError(f"{setting}: {error}") from None
    keys = KeyFolder(settings.home / "dkim", clock)
    keys.reload()
    return WaysOut(transports, SigningDesk(keys, clock))


def check_ways_out(settings: Settings, clock: Clock) -> list[Health]:
    """Try every way out without sending anything, and look at the DKIM keys; for `todoku doctor`."""
    try:
        ways = open_ways_out(settings, clock)
    except ConfigurationError as error:
        return [
            Health("way_out", HealthState.FAILING, str(error), clock.now_utc(), todo="correct it: docs/transports.md")
        ]
    facts = asyncio.run(_try_all(ways, clock))
    domains = ways.desk.domains()
    if domains:
        facts.append(Health("dkim", HealthState.OK, f"mail is signed for {', '.join(domains)}", clock.now_utc()))
    elif ways.transports:
        todo = "unless the relay signs: todoku dkim new DOMAIN"
        facts.append(Health("dkim", HealthState.LATE, "no key: mail leaves unsigned", clock.now_utc(), todo=todo))
    return facts


async def _try_all(ways: WaysOut, clock: Clock) -> list[Health]:
    facts = []
    try:
        for name, transport in sorted(ways.transports.items()):
            for trial in await try_transport(transport):
                fact = f"way_out.{name}" if name else "way_out"
                todo = "" if trial.works is not False else "start it, or correct its URL: docs/transports.md"
                facts.append(Health(fact, _STATES[trial.works], f"{trial.name}: {trial.seen}", clock.now_utc(), todo))
    finally:
        await ways.close()
    return facts


_STATES = {True: HealthState.OK, False: HealthState.FAILING, None: HealthState.UNKNOWN}


def _open_provider(url: str, clock: Clock) -> Transport:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "todoku.config.django_settings")  # read, but no app is loaded
    from todoku.delivery.providers import open_provider  # imports Django, which no other transport needs

    return open_provider(url, clock)
