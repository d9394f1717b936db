"""The sources of this installation and the credentials that they log in with, put together."""

from __future__ import annotations

import asyncio

from todoku.bus.connection import Bus
from todoku.config.settings import Settings
from todoku.credentials.challenges import ChallengeShelf
from todoku.credentials.cipher import SecretCipher, keys_of
from todoku.credentials.inventory import CredentialBook
from todoku.credentials.keyrings import KeyringDesk
from todoku.credentials.renewing import Renewer
from todoku.credentials.webhook_book import BusWebhookBook
from todoku.kernel.clock import Clock
from todoku.sources.arrivals import ArrivalWriter
from todoku.sources.fleet import Fleet
from todoku.sources.webhook.reception import Reception
from todoku.sources.webhook.types import Rebuild


def open_cipher(settings: Settings) -> SecretCipher:
    """Return what encrypts the secrets of this installation; raises BadCredential."""
    return SecretCipher(keys_of(settings.secrets_keys, settings.home))


def open_inventory(settings: Settings, bus: Bus, clock: Clock) -> CredentialBook:
    """Return the inventory of credentials; raises BadCredential."""
    return CredentialBook(bus, open_cipher(settings), clock)


async def collect(settings: Settings, bus: Bus, writer: ArrivalWriter, stop: asyncio.Event) -> None:
    """Fetch from every source of every project, and renew what they log in with, until stop is set."""
    cipher = open_cipher(settings)
    desk = KeyringDesk(bus, cipher, writer.clock)
    fleet = Fleet(bus, writer, lambda entry: desk.keyring(entry.project_id, entry.credential_ids))
    async with asyncio.TaskGroup() as group:
        following = group.create_task(desk.run(stop))
        loaded = group.create_task(desk.until_loaded())
        await asyncio.wait({following, loaded}, return_when=asyncio.FIRST_COMPLETED)
        group.create_task(Renewer(bus, cipher, writer.clock).run(stop))
        await fleet.run(stop)


async def receive_calls(settings: Settings, bus: Bus, writer: ArrivalWriter, stop: asyncio.Event) -> None:
    """Let the doors before the pages take the calls of mail providers, and answer authorities, until stop is set."""
    from todoku.api import challenges
    from todoku.api.inbound import ports

    desk = KeyringDesk(bus, open_cipher(settings), writer.clock)
    book = BusWebhookBook(bus, desk, writer.clock)
    ports.connect(Reception(book, writer, rebuild=_rebuild()))
    challenges.connect(ChallengeShelf(bus, writer.clock))
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(desk.run(stop))
            group.create_task(book.run(stop))
    finally:
        ports.connect(None)
        challenges.connect(None)


def _rebuild() -> Rebuild | None:
    """Return what makes a mail of its parts; without the extra `anymail` such calls are kept as they came."""
    try:
        from todoku.api.inbound.rebuild import rebuild
    except ImportError:
        return None
    return rebuild
