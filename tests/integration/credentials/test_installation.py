"""The installation's inventory: what doors and senders of other machines show, when it ends, and who is silent."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dns.asyncresolver
import msgspec
import pytest
from structlog.testing import capture_logs
from tests.integration.credentials.conftest import KEY
from tests.integration.credentials.pebble import free_port, running
from tests.integration.smtp.certificates import CertificateFiles

from todoku.bus.connection import Bus
from todoku.bus.streams import CREDENTIALS_BUCKET
from todoku.credentials.cipher import SecretCipher
from todoku.credentials.dns_asking import ask_for_keys
from todoku.credentials.installation import installation_rows, sender_domains
from todoku.credentials.inventory import CredentialBook
from todoku.credentials.served_types import DnsFinding, Place, Report, ServedKind, ServedRow, Sighting
from todoku.credentials.sightings import FORGOTTEN_AFTER, SEEN_WITHIN_SECONDS, SightingBook
from todoku.credentials.types import INSTALLATION, Condition, Facts
from todoku.credentials.witness import SignatureNotes, Witness, see_certificate, see_keys
from todoku.delivery.signing import KeyFolder
from todoku.kernel.clock import VirtualClock
from todoku.mail.dkim import DkimKey, KeyKind, new_key
from todoku.sources.credentials import CredentialKind
from todoku.sources.smtp import ServedCertificate
from todoku.sources.smtp.certificate import CHECK_SECONDS

HOST = "mx.shop.example"


class Desk:
    """The inventory as pages see it."""

    def __init__(self, bus: Bus, clock: VirtualClock) -> None:
        self.clock = clock
        self.book = CredentialBook(bus, SecretCipher([KEY]), clock)
        self.sightings = SightingBook(bus, clock)

    async def rows(self, *domains: str) -> list[ServedRow]:
        """Return all rows, or those of these domains."""
        return await installation_rows(self.book, self.sightings, self.clock, domains=domains or None)

    async def row(self) -> ServedRow:
        """Return the only row."""
        (row,) = await self.rows()
        return row

    async def tell(self, sightings: list[Sighting], machine: str = "host-a", role: str = "intake") -> None:
        """Tell as a process of a machine does."""
        await self.sightings.tell(role, machine, "/var/lib/todoku", sightings)


@pytest.fixture
def desk(bus: Bus, clock: VirtualClock) -> Desk:
    return Desk(bus, clock)


async def test_a_certificate_of_another_machine_is_a_row_with_its_life_and_its_use(
    bus: Bus, desk: Desk, clock: VirtualClock, tmp_path: Path
) -> None:
    files = CertificateFiles(tmp_path, clock.now_utc())
    made = files.renew(HOST, days=89)
    served = ServedCertificate(files.certificate, files.key, clock)
    served.check()
    await desk.tell([see_certificate(served, "", "in.example")])
    row = await desk.row()
    assert (row.kind, row.place, row.machine) == (ServedKind.TLS_CERTIFICATE, Place.SMTP_DOOR, "host-a")
    assert HOST in row.name
    assert row.facts.issuer == f"CN={HOST}"
    assert (row.facts.not_before_utc, row.facts.not_after_utc) == (made.not_valid_before_utc, made.not_valid_after_utc)
    assert (row.condition, row.notes.used_at_utc) == (Condition.UNPROVEN, None)
    written_at_utc = datetime.fromtimestamp(files.certificate.stat().st_mtime, UTC)
    assert (row.notes.renewal_at_utc, row.notes.renewal_why) == (written_at_utc, "")

    clock.advance(60)
    served.used()
    await desk.tell([see_certificate(served, "", "in.example")])
    assert ((await desk.row()).condition, (await desk.row()).notes.used_at_utc) == (Condition.GOOD, clock.now_utc())

    files.write(files.certificate, b"rubbish")
    clock.advance(CHECK_SECONDS)
    served.check()
    await desk.tell([see_certificate(served, "", "in.example")])
    row = await desk.row()
    assert row.condition is Condition.RENEWAL_FAILED
    assert "no readable PEM" in row.notes.renewal_why
    assert row.facts.fingerprint, "the old one is shown, and stands in the row"

    for days, condition in ((70, Condition.ENDING), (80, Condition.NEAR_ITS_END), (90, Condition.EXPIRED)):
        later = VirtualClock(made.not_valid_before_utc + timedelta(days=days))
        fresh = Desk(bus, later)
        await fresh.tell([msgspec.structs.replace(see_certificate(served, "", ""), trouble="", trouble_at_utc=None)])
        assert (await fresh.row()).condition is condition


async def test_a_process_that_is_gone_is_not_seen_since(desk: Desk, clock: VirtualClock, tmp_path: Path) -> None:
    files = CertificateFiles(tmp_path, clock.now_utc())
    files.renew(HOST)
    served = ServedCertificate(files.certificate, files.key, clock)
    served.check()
    served.used()
    await desk.tell([see_certificate(served, "", "")], "host-a")
    await desk.tell([see_certificate(served, "", "")], "host-b")
    seen_at_utc = clock.now_utc()
    clock.advance(SEEN_WITHIN_SECONDS)
    assert {row.condition for row in await desk.rows()} == {Condition.GOOD}
    clock.advance(1)
    await desk.tell([see_certificate(served, "", "")], "host-b")
    gone, here = sorted(await desk.rows(), key=lambda row: row.machine)
    assert (gone.machine, gone.condition, gone.seen_at_utc) == ("host-a", Condition.NOT_SEEN, seen_at_utc)
    assert (here.machine, here.condition) == ("host-b", Condition.GOOD)
    assert gone.facts == here.facts, "what was known of it stays"

    clock.advance(FORGOTTEN_AFTER.total_seconds() - SEEN_WITHIN_SECONDS)
    await desk.tell([see_certificate(served, "", "")], "host-b")
    with capture_logs() as logs:
        await desk.sightings.forget_old()
    assert [one["machine"] for one in logs if one["event"] == "credential.unseen_forgotten"] == ["host-a"]
    assert [row.machine for row in await desk.rows()] == ["host-b"]


async def test_processes_of_one_machine_share_a_row_and_its_last_use(desk: Desk, clock: VirtualClock) -> None:
    at_utc = clock.now_utc()
    one = Sighting(
        kind=ServedKind.TLS_CERTIFICATE,
        place=Place.SMTP_DOOR,
        name=HOST,
        facts=Facts(fingerprint="a"),
        used_at_utc=at_utc,
    )
    await desk.tell([one])
    await desk.tell([msgspec.structs.replace(one, used_at_utc=None)])
    await desk.tell([msgspec.structs.replace(one, used_at_utc=at_utc - timedelta(hours=1))])
    assert (await desk.row()).notes.used_at_utc == at_utc, "one that started anew forgets nothing"
    await desk.tell([msgspec.structs.replace(one, facts=Facts(fingerprint="b"), used_at_utc=None)])
    assert (await desk.row()).notes.used_at_utc is None, "a renewed certificate has not been used yet"


class _Signs:
    async def sign(self, contents: Sequence[bytes]) -> list[bytes]:
        return [b"signed " + content for content in contents]


class _Fails:
    async def sign(self, contents: Sequence[bytes]) -> list[bytes]:
        raise RuntimeError("no process signs")


def _add(folder: KeyFolder, domain: str, selector: str, *, in_use: bool) -> DkimKey:
    key = new_key(domain, selector, KeyKind.ED25519)
    folder.add(key, in_use=in_use)
    return key


async def test_keys_are_rows_with_their_last_signature_and_the_unreadable_ones_too(
    bus: Bus, desk: Desk, clock: VirtualClock, tmp_path: Path
) -> None:
    folder = KeyFolder(tmp_path / "dkim", clock)
    key = _add(folder, "shop.example", "t1", in_use=True)
    _add(folder, "shop.example", "t2", in_use=False)
    _add(folder, "other.example", "t1", in_use=True)
    (tmp_path / "dkim" / "other.example" / "t1.pem").chmod(0o644)
    notes = SignatureNotes(clock)
    await desk.tell(see_keys(folder, notes), "host-a", "send")
    rows = {row.name: row for row in await desk.rows()}
    signing = rows["t1._domainkey.shop.example"]
    assert (signing.condition, signing.in_use) == (Condition.UNPROVEN, True)
    assert signing.record == key.record()
    assert signing.since_utc is not None
    assert rows["t2._domainkey.shop.example"].condition is Condition.WAITING
    shut = rows["t1._domainkey.other.example"]
    assert shut.condition is Condition.UNREADABLE
    assert "may be read by others" in shut.notes.renewal_why
    bucket = bus.bucket(CREDENTIALS_BUCKET)
    for name in await bucket.keys():
        entry = await bucket.get(name)
        assert entry is not None
        assert b"PRIVATE" not in entry.value

    signer = notes.noting(lambda _address: _Signs())("news@mail.SHOP.example")
    assert signer is not None
    assert await signer.sign([b"one"]) == [b"signed one"]
    assert notes.noting(lambda _address: None)("a@b.example") is None
    await desk.tell(see_keys(folder, notes), "host-a", "send")
    rows = {row.name: row for row in await desk.rows()}
    assert rows["t1._domainkey.shop.example"].notes.used_at_utc == clock.now_utc(), "by a domain below it"
    assert rows["t1._domainkey.shop.example"].condition is Condition.GOOD
    assert rows["t2._domainkey.shop.example"].notes.used_at_utc is None
    assert rows["t1._domainkey.other.example"].notes.used_at_utc is None

    clock.advance(10)
    failing = notes.noting(lambda _address: _Fails())("news@shop.example")
    assert failing is not None
    with pytest.raises(RuntimeError):
        await failing.sign([b"one"])
    assert notes.last_of("shop.example", {"shop.example"}) == clock.now_utc() - timedelta(seconds=10)


async def test_a_project_sees_its_own_keys_and_nobody_else_s(desk: Desk, clock: VirtualClock, tmp_path: Path) -> None:
    folder = KeyFolder(tmp_path / "dkim", clock)
    for domain in ("shop.example", "rival.example", "example.jp"):
        _add(folder, domain, "t1", in_use=True)
    await desk.tell(see_keys(folder, SignatureNotes(clock)), role="send")

    async def seen(sender: str) -> list[str]:
        rows = await installation_rows(desk.book, desk.sightings, clock, domains=sender_domains(sender))
        return [row.domain for row in rows]

    assert await seen("news@shop.example") == ["shop.example"]
    assert await seen("news@mail.shop.example") == ["shop.example"]
    assert await seen("news@notshop.example") == []
    assert await seen("not an address") == []
    assert await seen("") == []
    assert len(await desk.rows()) == 3


async def test_dns_is_asked_and_its_answer_stands_in_the_row(desk: Desk, clock: VirtualClock, tmp_path: Path) -> None:
    folder = KeyFolder(tmp_path / "dkim", clock)
    key = _add(folder, "shop.example", "t1", in_use=True)
    await desk.tell(see_keys(folder, SignatureNotes(clock)), role="send")
    assert (await desk.row()).dns is None, "nobody has asked"
    with running(tmp_path, free_port()) as authority:
        resolver = dns.asyncresolver.Resolver(configure=False)
        resolver.nameservers, resolver.port = ["127.0.0.1"], authority.dns_port

        async def ask() -> tuple[DnsFinding, Condition]:
            await ask_for_keys(await desk.rows(), desk.sightings, clock, resolver)
            row = await desk.row()
            assert row.dns is not None
            assert row.dns.asked_at_utc == clock.now_utc()
            return row.dns.finding, row.condition

        assert await ask() == (DnsFinding.ABSENT, Condition.NOT_IN_DNS)
        for text, finding in (
            (key.record(), DnsFinding.FOUND),
            (key.record().replace("p=", "p= ").replace("; ", ";"), DnsFinding.FOUND),
            (new_key("shop.example", "t1", KeyKind.ED25519).record(), DnsFinding.ANOTHER),
            ("v=DKIM1; k=ed25519; p=", DnsFinding.REVOKED),
            ("v=spf1 -all", DnsFinding.ABSENT),
        ):
            authority.set_txt(key.record_name, None)
            authority.set_txt(key.record_name, text)
            found, condition = await ask()
            assert found is finding
            assert condition is (Condition.UNPROVEN if finding is DnsFinding.FOUND else Condition.NOT_IN_DNS)
    resolver.port, resolver.lifetime = free_port(), 0.3
    clock.advance(5)
    answers = await ask_for_keys(await desk.rows(), desk.sightings, clock, resolver)
    assert [one.finding for one in answers.values()] == [DnsFinding.NO_ANSWER]
    assert (await desk.row()).condition is Condition.UNPROVEN, "nobody knows, so nothing is said against it"
    folder.use("shop.example", "t1", in_use=False)
    (tmp_path / "dkim" / "shop.example" / "t1.pem.waiting").unlink()
    _add(folder, "shop.example", "t1", in_use=True)
    await desk.tell(see_keys(folder, SignatureNotes(clock)), role="send")
    assert (await desk.row()).dns is None, "an answer about the key before says nothing about this one"


async def test_a_credential_of_the_installation_says_which_doors_show_it(
    desk: Desk, clock: VirtualClock, tmp_path: Path
) -> None:
    files = CertificateFiles(tmp_path, clock.now_utc())
    files.renew(HOST)
    await desk.book.add(INSTALLATION, "mx", CredentialKind.TLS_CERTIFICATE, {})
    row = await desk.row()
    assert (row.place, row.condition, row.shown_by) == (Place.INVENTORY, Condition.WAITING, [])
    await desk.book.install(
        INSTALLATION, "mx", {"certificate_pem": files.certificate.read_text(), "key_pem": files.key.read_text()}
    )
    assert (await desk.row()).condition is Condition.UNPROVEN
    served = ServedCertificate(files.certificate, files.key, clock)
    served.check()
    served.used()
    await desk.tell([see_certificate(served, "mx", "")], "host-a")
    kept, seen = sorted(await desk.rows(), key=lambda row: row.machine)
    assert (kept.shown_by, kept.condition, kept.notes.used_at_utc) == (["host-a"], Condition.GOOD, clock.now_utc())
    assert (seen.credential_id, seen.machine) == ("mx", "host-a")


async def test_what_else_lies_in_the_bucket_is_no_credential(desk: Desk, clock: VirtualClock, project: str) -> None:
    await desk.tell([Sighting(kind=ServedKind.DKIM_KEY, place=Place.SIGNATURES, name="a", facts=Facts())])
    await desk.book.add(project, "one", CredentialKind.PASSWORD, {"username": "a", "password": "b"})
    assert [record.credential_id for record in await desk.book.records()] == ["one"]
    assert await desk.book.encrypt_anew() == 1
    assert [row.credential_id for row in await desk.book.rows(project)] == ["one"]


@pytest.mark.parametrize("name", [INSTALLATION, "_seen", "_unrouted"])
def test_no_project_can_be_named_as_the_installation_is(name: str, clock: VirtualClock) -> None:
    from todoku.projects import services as projects
    from todoku.projects.types import ProjectInfo

    with pytest.raises(ValueError, match="installation"):
        projects.save_project(ProjectInfo(name, name, "Asia/Tokyo", "", "", "", ""), clock=clock)


async def test_what_can_t_be_read_is_left_out_and_logged(desk: Desk, bus: Bus) -> None:
    await bus.bucket(CREDENTIALS_BUCKET).put("_seen.intake.abc", b"\xff")
    await bus.bucket(CREDENTIALS_BUCKET).put("_dns.a.b", b"\xff")
    with capture_logs() as logs:
        assert await desk.rows() == []
    assert {one["event"] for one in logs} == {"credential.report_unreadable", "credential.dns_answer_unreadable"}


async def test_a_witness_tells_at_once_and_never_fails_its_role(bus: Bus, clock: VirtualClock) -> None:
    stop = asyncio.Event()
    called = asyncio.Event()
    loop = asyncio.get_running_loop()

    def see() -> list[Sighting]:
        loop.call_soon_threadsafe(called.set)
        raise PermissionError("the folder is shut")

    witness = Witness(bus, clock, "send", machine="host-a", home="/x")
    with capture_logs() as logs:
        running_ = asyncio.create_task(witness.run(see, stop))
        await called.wait()
        stop.set()
        await running_
    assert [one["event"] for one in logs] == ["credential.not_told"], "said once"
    assert await SightingBook(bus, clock).reports() == []
    await Witness(bus, clock, "send", machine="host-a", home="/x").run(list, stop)
    (report,) = await SightingBook(bus, clock).reports()
    assert report == Report(role="send", machine="host-a", at_utc=clock.now_utc(), sightings=[])
