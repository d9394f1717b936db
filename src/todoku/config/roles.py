"""The roles of an installation, and the process that plays some of them.

Purpose     `todoku run ROLE...`: put adapters into ports and run the roles side by side on one event loop.
Roles       intake  receives mail by SMTP and LMTP, and fetches it from places: vault, then bus, then the
                    other side is told                                             (no database)
            read    MAIL -> reading -> reservations, guests, mail states; reads
                    again what somebody asked for                                  (database)
            plan    seals due runs, closes finished ones                           (database)
            send    sealed runs leave at their second                              (no database)
            book    JOURNAL -> ledger -> archive                                   (database)
            web     pages                                                          (database)
Guarantees  a role that fails ends its process with exit code 1, so that the supervisor starts it again; what it held
            is on the bus and is taken up by whoever comes next.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog
import uvloop

from todoku.bus.connection import Bus
from todoku.config.settings import Settings, embedded_nats_url
from todoku.kernel.clock import Clock, SystemClock
from todoku.kernel.errors import ConfigurationError, TodokuError
from todoku.kernel.garbage import collect_rarely
from todoku.vault import open_vault
from todoku.vault.types import Vault

log = structlog.get_logger(__name__)

ADDRESS_MIRROR_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Stage:
    """What every role is given."""

    settings: Settings
    clock: Clock
    bus: Bus
    vault: Vault


RoleMain = Callable[[Stage, asyncio.Event], Awaitable[None]]


async def intake(stage: Stage, stop: asyncio.Event) -> None:
    """Keep the SMTP door open, and the LMTP one when it is wanted; fetch from every source that a project names."""
    from todoku.config.collectors import collect, open_certificate
    from todoku.sources.arrivals import ArrivalWriter
    from todoku.sources.routes import RouteBook
    from todoku.sources.smtp import DoorLimits, SmtpDoor

    settings = stage.settings
    certificate = open_certificate(settings, stage.bus, stage.clock)
    routes = RouteBook(stage.bus)
    await routes.start()
    writer = ArrivalWriter(stage.vault, stage.bus, stage.clock)
    limits = DoorLimits(trusted_networks=settings.smtp_trusted)
    served = certificate.served if certificate is not None else None
    door = SmtpDoor(writer, routes, settings.mail_domain, limits, served)
    await door.start(settings.smtp_listen.host, settings.smtp_listen.port)
    if settings.lmtp_listen is not None:
        await door.start(settings.lmtp_listen.host, settings.lmtp_listen.port, lmtp=True)
    collect_rarely()
    async with asyncio.TaskGroup() as group:
        if certificate is not None:
            group.create_task(certificate.keep(settings, stage.bus, stage.clock, stop))
        await collect(settings, stage.bus, writer, stop)
    await door.stop()
    await routes.stop()


async def read(stage: Stage, stop: asyncio.Event) -> None:
    """Carry mails into the book, count them from the sources' side, read again, keep the door's addresses fresh."""
    from todoku.config.django_setup import set_up_django

    set_up_django()
    from todoku.config.collectors import open_inventory
    from todoku.intake.reader import MailReader
    from todoku.intake.reconciling import Reconciler
    from todoku.intake.replays import ReplayWorker

    inventory = open_inventory(stage.settings, stage.bus, stage.clock)
    collect_rarely()
    async with asyncio.TaskGroup() as group:
        group.create_task(MailReader(stage.bus, stage.vault, stage.clock).run(stop))
        group.create_task(_mirror_addresses(stage, stop))
        group.create_task(Reconciler(stage.bus, inventory, stage.clock).run(stop))
        group.create_task(ReplayWorker(stage.bus, stage.vault, stage.clock).run(stop))


async def plan(stage: Stage, stop: asyncio.Event) -> None:
    """Seal due runs and close finished ones."""
    from todoku.config.django_setup import set_up_django

    set_up_django()
    from todoku.campaigns.planner import Planner

    planner = Planner(
        stage.bus,
        stage.clock,
        public_url=stage.settings.public_url,
        lead_seconds=stage.settings.seal_lead_seconds,
        pre_seal_seconds=stage.settings.pre_seal_seconds,
    )
    await planner.run(stop)


async def send(stage: Stage, stop: asyncio.Event) -> None:
    """Let sealed runs leave, by the relay or the way out that their campaign names."""
    from todoku.config.collectors import tell_of_keys
    from todoku.config.ways_out import open_ways_out
    from todoku.content.rendering import make_renderer
    from todoku.credentials.witness import SignatureNotes
    from todoku.delivery.engine.options import SenderOptions
    from todoku.delivery.engine.sender import Sender

    ways = open_ways_out(stage.settings, stage.clock)
    signatures = SignatureNotes(stage.clock)
    if not ways.transports:
        log.warning("send.no_relay", todo="set TODOKU_RELAY_URL=smtp://host:port; until then runs wait and are late")
        await tell_of_keys(stage.settings, stage.bus, stage.clock, signatures, stop)
        return
    sender = Sender(
        stage.bus,
        ways.transports,
        make_renderer,
        stage.clock,
        local_answers=stage.settings.home / "answers",
        options=SenderOptions(
            # a hop without 8BITMIME would rewrite the body and break the signature (RFC 6376 section 5.3)
            eight_bit=not ways.desk.domains(),
            transport_paces={
                "" if name == "default" else name: pace for name, pace in stage.settings.transport_paces.items()
            },
            domain_paces=stage.settings.domain_paces,
        ),
        signer_of=signatures.noting(ways.desk.signer_of),
    )
    collect_rarely()
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(tell_of_keys(stage.settings, stage.bus, stage.clock, signatures, stop))
            await sender.run(stop)
    finally:
        await ways.close()


async def book(stage: Stage, stop: asyncio.Event) -> None:
    """Carry the journal into the ledger, and old months of it into the archive."""
    from todoku.config.django_setup import set_up_django

    set_up_django()
    from todoku.delivery.ledger.keeper import ArchiveKeeper
    from todoku.delivery.ledger.projector import Projector

    async with asyncio.TaskGroup() as group:
        group.create_task(Projector(stage.bus, stage.clock).run(stop))
        group.create_task(ArchiveKeeper(stage.settings.ledger_months, stage.clock).run(stop))


async def web(stage: Stage, stop: asyncio.Event) -> None:
    """Serve the pages, and take the calls of mail providers."""
    from todoku.config.collectors import receive_calls
    from todoku.config.web_server import serve_pages
    from todoku.sources.arrivals import ArrivalWriter

    writer = ArrivalWriter(stage.vault, stage.bus, stage.clock)
    async with asyncio.TaskGroup() as group:
        group.create_task(receive_calls(stage.settings, stage.bus, writer, stop))
        group.create_task(serve_pages(stage.settings, stop))


ROLES: dict[str, RoleMain] = {
    "intake": intake,
    "read": read,
    "plan": plan,
    "send": send,
    "book": book,
    "web": web,
}


async def _mirror_addresses(stage: Stage, stop: asyncio.Event) -> None:
    from todoku.intake.routes import publish_addresses

    while not stop.is_set():
        try:
            await publish_addresses(stage.bus)
        except TodokuError as error:  # database or bus away: the door goes on with the addresses it has
            if not error.transient:
                raise
            log.warning("intake.addresses_not_mirrored", error=str(error))
        try:
            await asyncio.wait_for(stop.wait(), ADDRESS_MIRROR_SECONDS)
        except TimeoutError:
            continue


def require_roles(names: list[str]) -> list[str]:
    """Return the names when each is a role, else raise ConfigurationError that lists the roles there are."""
    odd = [name for name in names if name not in ROLES]
    if odd or not names:
        raise ConfigurationError(f"no role named {', '.join(odd) or 'nothing'}: there are {', '.join(ROLES)}")
    return names


def run_roles(names: list[str], settings: Settings) -> None:
    """Play these roles until SIGTERM or SIGINT; blocks. Raises what a role raised."""
    uvloop.run(_play(require_roles(names), settings))


async def _play(names: list[str], settings: Settings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    bus = await Bus.connect(settings.nats_url or embedded_nats_url(settings.home), name="+".join(names))
    vault = open_vault(settings.vault_url, settings.home / "vault")
    try:
        await bus.declare(replicas=settings.nats_replicas)
        stage = Stage(settings=settings, clock=SystemClock(), bus=bus, vault=vault)
        log.info("roles.started", roles=names)
        async with asyncio.TaskGroup() as group:
            for name in names:
                group.create_task(_run_role(name, stage, stop), name=name)
    finally:
        await bus.close()
        await vault.close()
    log.info("roles.ended", roles=names)


async def _run_role(name: str, stage: Stage, stop: asyncio.Event) -> None:
    try:
        await ROLES[name](stage, stop)
    except Exception as error:
        log.exception("role.failed", role=name, error=str(error))
        raise
    if not stop.is_set():
        log.error("role.ended_early", role=name)
        stop.set()
