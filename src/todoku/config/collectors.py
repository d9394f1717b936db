"""The sources of this installation, the credentials that they log in with, and those that it shows, put together."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass
from pathlib import Path

from todoku.bus.connection import Bus
from todoku.config.settings import Settings
from todoku.credentials.certificate_file import CertificateFile
from todoku.credentials.challenges import ChallengeShelf
from todoku.credentials.cipher import SecretCipher, keys_of
from todoku.credentials.inventory import CredentialBook
from todoku.credentials.keyrings import KeyringDesk
from todoku.credentials.renewing import Renewer
from todoku.credentials.webhook_book import BusWebhookBook
from todoku.credentials.witness import SignatureNotes, Witness, see_certificate, see_keys
from todoku.delivery.signing import KeyFolder
from todoku.kernel.clock import Clock
from todoku.sources.arrivals import ArrivalWriter
from todoku.sources.fleet import Fleet
from todoku.sources.smtp import ServedCertificate
from todoku.sources.webhook.reception import Reception
from todoku.sources.webhook.types import Rebuild


def open_cipher(settings: Settings) -> SecretCipher:
    """Return what encrypts the secrets of this installation; raises BadCredential."""
    return SecretCipher(keys_of(settings.secrets_keys, settings.home))


def open_inventory(settings: Settings, bus: Bus, clock: Clock) -> CredentialBook:
    """Return the inventory of credentials; raises BadCredential."""
    return CredentialBook(bus, open_cipher(settings), clock)


@dataclass(frozen=True, slots=True)
class DoorCertificate:
    """What the SMTP door shows, and what keeps it as it should be. file: None when somebody else renews its files."""

    served: ServedCertificate
    file: CertificateFile | None
    credential_id: str
    name: str

    async def keep(self, settings: Settings, bus: Bus, clock: Clock, stop: asyncio.Event) -> None:
        """Keep its file in step with the inventory, and tell the inventory how it stands, until stop is set."""
        witness = _witness(settings, bus, clock, "intake")
        self.served.check()
        async with asyncio.TaskGroup() as group:
            if self.file is not None:
                group.create_task(self.file.run(stop))
            group.create_task(witness.run(lambda: [see_certificate(self.served, self.credential_id, self.name)], stop))


def open_certificate(settings: Settings, bus: Bus, clock: Clock) -> DoorCertificate | None:
    """Return the certificate of the SMTP door, None when the settings name none; raises BadCredential."""
    name = settings.smtp_credential
    if name:
        path = settings.home / "tls" / f"{name}.pem"
        served = ServedCertificate(path, path, clock)
        file = CertificateFile(bus, open_cipher(settings), name, path, served.check_at_once)
        return DoorCertificate(served, file, name, settings.mail_domain)
    if not settings.smtp_certificate:
        return None
    paths = Path(settings.smtp_certificate), Path(settings.smtp_certificate_key)
    return DoorCertificate(ServedCertificate(*paths, clock), None, "", settings.mail_domain)


async def tell_of_keys(settings: Settings, bus: Bus, clock: Clock, notes: SignatureNotes, stop: asyncio.Event) -> None:
    """Tell the inventory of the DKIM keys of this machine, and when they last signed, until stop is set."""
    folder = KeyFolder(settings.home / "dkim", clock)
    await _witness(settings, bus, clock, "send").run(lambda: see_keys(folder, notes), stop)


def _witness(settings: Settings, bus: Bus, clock: Clock, role: str) -> Witness:
    return Witness(bus, clock, role, machine=socket.gethostname(), home=str(settings.home))


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
