"""From a mail that has arrived to the book: real NATS, vault, PostgreSQL and site definitions."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from todoku.bus.streams import MAIL, UNROUTED_PROJECT, mail_subject
from todoku.extraction import sample_mails
from todoku.guests import queries as guests
from todoku.intake import queries
from todoku.intake.errors import MailMissing
from todoku.intake.types import MailRow, MailState, OnTheBus
from todoku.kernel.ids import new_id
from todoku.reservations import queries as reservations
from todoku.reservations.types import ReservationState
from todoku.sources.types import Arrival

if TYPE_CHECKING:
    from tests.integration.intake.conftest import Office

Gnavi = Callable[..., bytes]


async def rows(office: Office, project_id: str) -> dict[Any, MailRow]:
    return {row.arrival_id: row for row in await office.ask(queries.list_mails, project_id, limit=1000)}


async def test_every_sample_ends_in_one_state_and_the_balance_closes(office: Office) -> None:
    samples = [raw for _, _, raw in sample_mails()]
    await office.arrive(*samples)
    assert (await office.balance())["pending"] == len(samples)
    assert await office.reader().drain() == len(samples)
    balance = await office.balance()
    assert (balance["arrived"], balance["pending"]) == (len(samples), 0)
    assert {"applied", "duplicate", "stale", "not_a_reservation", "unknown_layout"} <= set(balance)
    assert "unreadable" not in balance
    shown = await office.ask(reservations.online, office.mine, limit=1000)
    assert len(shown) == len({(row.site, row.reference) for row in shown}) > 30
    names = "".join(row.guest_name or "" for row in shown)
    assert {"髙", "㈱"} <= set(names)


async def test_mails_of_one_moment_are_all_on_some_page_of_the_list(office: Office, gnavi: Gnavi) -> None:
    """The clock of these tests stands still, so all arrive at one moment."""
    arrived = await office.arrive(*(gnavi(f"PL{n}") for n in range(23)), b"\0")
    await office.reader().drain()
    listed: list[Any] = []
    before = None
    while page := await office.ask(queries.list_mails, office.mine, limit=5, before=before):
        listed += [row.arrival_id for row in page]
        before = listed[-1]
    assert sorted(listed) == sorted(one.arrival_id for one in arrived)
    applied = [row.arrival_id for row in await office.ask(queries.list_mails, office.mine, state=MailState.APPLIED)]
    walked = [applied[0]]
    while (beside := await office.ask(queries.neighbours, office.mine, walked[-1], MailState.APPLIED))[1] is not None:
        assert beside[0] == (walked[-2] if len(walked) > 1 else None)
        walked.append(beside[1])
    assert walked == applied
    assert await office.ask(queries.neighbours, office.other, applied[3], MailState.APPLIED) == (None, None)


async def test_large_mails_are_read_a_portion_at_a_time(
    office: Office, gnavi: Gnavi, monkeypatch: pytest.MonkeyPatch
) -> None:
    """200 mails of 60 MB in one batch would be 12 GB."""
    monkeypatch.setattr("todoku.intake.kept.PORTION_OCTETS", 100_000)
    small = [gnavi(f"PL{n}") for n in range(12)]
    large = [gnavi(f"PL9{n}") + b"x" * (60_000 if n else 150_000) for n in range(4)]
    await office.arrive(*small[:6], *large, *small[6:])
    asked: list[int] = []
    get_many = office.vault.get_many

    async def watched(keys: Sequence[str]) -> list[Any]:
        found = await get_many(keys)
        asked.append(sum(len(one) for one in found if isinstance(one, bytes)))
        return found

    monkeypatch.setattr(office.vault, "get_many", watched)
    assert await office.reader().drain() == 16
    assert (await office.balance()) == {"arrived": 16, "pending": 0, "applied": 16}
    assert len(asked) == 5
    assert sorted(asked)[-1] > 150_000, "the largest came alone"
    assert sorted(asked)[-2] <= 100_000


async def test_replaying_everything_twice_makes_the_same_book(office: Office) -> None:
    samples = [raw for _, _, raw in sample_mails()]
    await office.arrive(*samples)
    await office.reader().drain()
    before = await office.ask(reservations.online, office.mine, limit=1000)
    people = await office.ask(guests.search, office.mine, limit=1000)
    await office.bus.delete_consumer(MAIL, "reader")  # from the stream's first message again
    assert await office.reader().drain() == len(samples)
    await office.arrive(*samples)  # and every mail handed over once more by its source
    await office.reader().drain()
    assert await office.ask(reservations.online, office.mine, limit=1000) == before
    assert await office.ask(guests.search, office.mine, limit=1000) == people
    balance = await office.balance()
    assert (balance["arrived"], balance["pending"]) == (2 * len(samples), 0)
    assert balance["duplicate"] >= len(samples)


async def test_a_booking_is_in_the_book_with_its_guest_and_its_shop(office: Office, gnavi: Gnavi) -> None:
    (arrival,) = await office.arrive(gnavi("PL1"), shop_code="ginza", site="gnavi")
    await office.reader().drain()
    detail = await office.ask(queries.get_mail, office.mine, arrival.arrival_id)
    assert (detail.row.state, detail.row.site, detail.row.shop_name) == (MailState.APPLIED, "gnavi", "届屋 銀座本店")
    assert (detail.vault_key, detail.size_bytes) == (arrival.vault_key, arrival.size_bytes)
    assert detail.row.reservation_id is not None
    book = await office.ask(reservations.get, office.mine, detail.row.reservation_id)
    assert (book.row.guest_name, book.row.party_size, book.row.course) == ("髙橋 花子", 2, "冬の鍋コース①")
    assert [entry.arrival_id for entry in book.history] == [arrival.arrival_id]
    guest = await office.ask(guests.guest_of_reservation, office.mine, detail.row.reservation_id)
    assert guest is not None
    assert (await office.ask(guests.get, office.mine, guest)).row.phones == ("+819000000001",)


async def test_a_cancel_that_comes_first_is_held_and_then_applied(office: Office, gnavi: Gnavi) -> None:
    (cancel,) = await office.arrive(gnavi("PL1", "キャンセル", minute=5))
    await office.reader().drain()
    assert await office.balance() == {"arrived": 1, "pending": 0, "held": 1}
    await office.arrive(gnavi("PL1"))
    await office.reader().drain()
    assert await office.balance() == {"arrived": 2, "pending": 0, "applied": 2}
    row = (await rows(office, office.mine))[cancel.arrival_id]
    book = await office.ask(reservations.get, office.mine, row.reservation_id)
    assert book.row.state is ReservationState.CANCELLED
    (visit,) = (await office.ask(guests.search, office.mine))[0:1]
    assert (visit.visits, visit.upcoming) == (0, 0)


async def test_held_and_released_in_one_batch(office: Office, gnavi: Gnavi) -> None:
    await office.arrive(gnavi("PL1", "キャンセル", minute=5), gnavi("PL1"))
    await office.reader().drain()
    assert await office.balance() == {"arrived": 2, "pending": 0, "applied": 2}


@pytest.mark.parametrize(
    ("raw", "state", "reason"),
    [
        (b"", MailState.UNREADABLE, "empty"),
        (bytes(range(256)) * 40, MailState.UNREADABLE, None),
        (b"\x00" * 5000, MailState.UNREADABLE, None),
        (b"X-Fill: " + b"x" * 2_000_000 + b"\n\nbody", MailState.UNREADABLE, None),
    ],
)
async def test_rubbish_is_unreadable_and_the_next_mail_flows(
    office: Office, gnavi: Gnavi, raw: bytes, state: MailState, reason: str | None
) -> None:
    (bad, good) = await office.arrive(raw, gnavi("PL1"))
    await office.reader().drain()
    found = await rows(office, office.mine)
    assert found[bad.arrival_id].state is state
    assert found[bad.arrival_id].reason == reason or (reason is None and found[bad.arrival_id].reason)
    assert found[good.arrival_id].state is MailState.APPLIED
    assert await office.vault.get(bad.vault_key) == raw


async def test_nul_bytes_in_names_and_subjects_reach_the_book_without_their_nul(office: Office, gnavi: Gnavi) -> None:
    raw = gnavi("PL1", name="髙\x00橋").replace(b"Subject: ", b"Subject: =?UTF-8?B?AA==?= ")
    (arrival,) = await office.arrive(raw)
    await office.reader().drain()
    row = (await rows(office, office.mine))[arrival.arrival_id]
    assert row.state is not MailState.UNREADABLE
    assert "\x00" not in row.subject + row.sender
    assert (await office.balance())["pending"] == 0


@pytest.mark.parametrize("start", ["9999-12-31T23:00:00-09:00", "0001-01-01T00:00:00+09:00"])
async def test_an_impossible_value_names_itself_and_its_neighbours_are_applied(
    office: Office, gnavi: Gnavi, start: str
) -> None:
    bad, good = await office.arrive(_marked_up(start), gnavi("PL2"))
    await office.reader().drain()
    found = await rows(office, office.mine)
    assert (found[bad.arrival_id].state, found[bad.arrival_id].reason) == (MailState.UNREADABLE, "impossible:start")
    assert found[good.arrival_id].state is MailState.APPLIED
    assert (await office.balance())["pending"] == 0


async def test_mail_for_nobody_and_for_a_project_that_is_not_there_is_kept_apart(office: Office, gnavi: Gnavi) -> None:
    await office.arrive(gnavi("PL1"), project_id=UNROUTED_PROJECT)
    await office.arrive(gnavi("PL2"), project_id="intake-nowhere")
    await office.arrive(gnavi("PL3"))
    await office.reader().drain()
    assert await office.balance(UNROUTED_PROJECT) == {"arrived": 1, "pending": 0, "quarantined": 1}
    assert await office.balance("intake-nowhere") == {"arrived": 1, "pending": 0, "quarantined": 1}
    assert await office.balance() == {"arrived": 1, "pending": 0, "applied": 1}
    (stray,) = (await rows(office, UNROUTED_PROJECT)).values()
    assert (stray.reason, stray.subject) == ("unknown_address", "ネット予約のお知らせ")


async def test_a_message_that_is_no_arrival_has_a_row_too(office: Office, gnavi: Gnavi) -> None:
    await office.bus.publish(mail_subject(office.mine, "smtp"), b"\xc1rubbish")
    await office.arrive(gnavi("PL1"))
    await office.reader().drain()
    assert await office.balance() == {"arrived": 2, "pending": 0, "applied": 1, "unreadable": 1}


async def test_an_arrival_published_twice_is_counted_on_both_sides(office: Office, gnavi: Gnavi) -> None:
    stored = await office.vault.put(office.mine, gnavi("PL1"))
    arrival = Arrival(
        arrival_id=new_id(),
        project_id=office.mine,
        source="smtp",
        vault_key=stored.key,
        sha256=stored.sha256,
        size_bytes=stored.size_bytes,
        received_at_utc=office.writer.clock.now_utc(),
    )
    for _ in range(3):  # no message_id: as if the bus had forgotten the earlier ones
        await office.bus.publish(mail_subject(office.mine, "smtp"), msgspec.msgpack.encode(arrival))
        await office.reader().drain()
    assert await office.balance() == {"arrived": 3, "pending": 0, "applied": 1, "duplicate": 2}


async def test_bytes_that_are_gone_or_changed_are_named(office: Office, gnavi: Gnavi) -> None:
    gone, changed, good = await office.arrive(gnavi("PL1"), gnavi("PL2"), gnavi("PL3"))
    with contextlib.closing(sqlite3.connect(office.home / "vault" / "index.sqlite3", isolation_level=None)) as index:
        index.execute("DELETE FROM contents WHERE sha256 = ?", (bytes.fromhex(gone.sha256),))
    (pack,) = (office.home / "vault" / "packs").glob("*.open")
    pack.write_bytes(pack.read_bytes().replace(b"PL2", b"PL5"))
    await office.reader().drain()
    found = await rows(office, office.mine)
    assert found[gone.arrival_id].reason == "bytes_missing"
    assert found[changed.arrival_id].reason == "bytes_corrupt"
    assert found[good.arrival_id].state is MailState.APPLIED


async def test_a_mail_that_the_database_refuses_is_named_and_its_neighbours_are_applied(
    office: Office, gnavi: Gnavi
) -> None:
    """The refusal is real: a trigger in PostgreSQL, for which nothing in the code is prepared."""
    await office.ask(_execute, _REFUSE)
    try:
        bad, *good = await office.arrive(gnavi("PLBAD"), *(gnavi(f"PL{number}") for number in range(5)))
        await office.reader().drain()
    finally:
        await office.ask(_execute, "DROP FUNCTION todoku_test_refuse() CASCADE")
    found = await rows(office, office.mine)
    assert (found[bad.arrival_id].state, found[bad.arrival_id].reason) == (
        MailState.UNREADABLE,
        "refused:IntegrityError",
    )
    assert {found[arrival.arrival_id].state for arrival in good} == {MailState.APPLIED}
    assert (await office.balance())["pending"] == 0


async def test_tenants_never_see_each_others_mails(office: Office, gnavi: Gnavi) -> None:
    raw = gnavi("PL1")
    (mine,) = await office.arrive(raw)
    await office.arrive(raw, project_id=office.other)
    await office.reader().drain()
    assert await office.balance() == await office.balance(office.other) == {"arrived": 1, "pending": 0, "applied": 1}
    with pytest.raises(MailMissing):
        await office.ask(queries.get_mail, office.other, mine.arrival_id)
    assert mine.arrival_id not in await rows(office, office.other)
    assert list(await office.ask(queries.last_arrival_per_site, office.mine)) == ["gnavi"]
    (theirs,) = await office.ask(reservations.online, office.other)
    assert await office.ask(queries.mails_of_reservation, office.mine, theirs.id) == []


async def test_a_running_reader_takes_what_comes_tells_pages_and_stops_when_asked(office: Office, gnavi: Gnavi) -> None:
    told: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    await office.bus.subscribe_live(
        f"event.{office.mine}.reservation", lambda _, payload: told.put_nowait(msgspec.msgpack.decode(payload))
    )
    stop = asyncio.Event()
    running = asyncio.create_task(office.reader().run(stop))
    (arrival,) = await office.arrive(gnavi("PL1"))
    event = await asyncio.wait_for(told.get(), 20)
    (row,) = (await rows(office, office.mine)).values()
    assert event == {"reservation_ids": [str(row.reservation_id)], "arrival_ids": [str(arrival.arrival_id)]}
    stop.set()
    await asyncio.wait_for(running, 20)
    assert await office.balance() == {"arrived": 1, "pending": 0, "applied": 1}


async def test_two_readers_share_the_mails(office: Office, gnavi: Gnavi) -> None:
    await office.arrive(*(gnavi(f"PL{number}", minute=number % 7, phone="090-0000-0009") for number in range(60)))
    done = await asyncio.gather(office.reader().drain(), office.reader().drain())
    assert sum(done) == 60
    assert await office.balance() == {"arrived": 60, "pending": 0, "applied": 60}
    assert await office.ask(guests.count, office.mine) == 1


async def test_reading_in_other_processes_gives_the_same(office: Office, gnavi: Gnavi) -> None:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        await office.arrive(gnavi("PL1"), b"")
        await office.reader(executor=pool).drain()
    assert await office.balance() == {"arrived": 2, "pending": 0, "applied": 1, "unreadable": 1}


async def test_a_database_that_is_away_is_waited_for_and_nothing_is_acknowledged(
    office: Office, gnavi: Gnavi, logged: Callable[[str], asyncio.Event]
) -> None:
    await office.arrive(*(gnavi(f"PL{number}") for number in range(3)))
    away, recorded = logged("mail.book_away"), logged("mail.recorded")
    consumer = await office.bus.consumer(MAIL, durable="reader", filter_subject="mail.>", ack_wait_seconds=10.0)
    await office.ask(_execute, "ALTER TABLE intake_incomingmail RENAME TO intake_away")
    stop = asyncio.Event()
    running = asyncio.create_task(office.reader().run(stop))
    try:
        await asyncio.wait_for(away.wait(), 30)
        assert await consumer.pending() == 3
        assert not recorded.is_set()
    finally:
        await office.ask(_execute, "ALTER TABLE intake_away RENAME TO intake_incomingmail")
    await asyncio.wait_for(recorded.wait(), 30)
    stop.set()
    await running
    assert await consumer.pending() == 0
    await consumer.close()
    assert await office.balance() == {"arrived": 3, "pending": 0, "applied": 3}


async def test_a_reader_that_is_stopped_while_the_database_is_away_leaves_its_mails_to_the_next(
    office: Office, gnavi: Gnavi, logged: Callable[[str], asyncio.Event]
) -> None:
    await office.arrive(gnavi("PL1"))
    away = logged("mail.book_away")
    await office.ask(_execute, "ALTER TABLE intake_incomingmail RENAME TO intake_away")
    stop = asyncio.Event()
    running = asyncio.create_task(office.reader().run(stop))
    try:
        await asyncio.wait_for(away.wait(), 30)
        stop.set()
        await asyncio.wait_for(running, 30)
    finally:
        await office.ask(_execute, "ALTER TABLE intake_away RENAME TO intake_incomingmail")
    await office.reader().drain()
    assert await office.balance() == {"arrived": 1, "pending": 0, "applied": 1}


async def test_a_vault_that_can_not_be_read_now_is_asked_again(
    office: Office, gnavi: Gnavi, logged: Callable[[str], asyncio.Event]
) -> None:
    await office.arrive(gnavi("PL1"))
    (path,) = (office.home / "vault" / "packs").glob("*.open")
    path.rename(path.with_name("aside"))
    path.mkdir()  # reading it fails, and not because the file is missing
    away, recorded = logged("mail.vault_away"), logged("mail.recorded")
    stop = asyncio.Event()
    running = asyncio.create_task(office.reader().run(stop))
    await asyncio.wait_for(away.wait(), 30)
    assert await office.balance() == {"arrived": 1, "pending": 1}
    path.rmdir()
    path.with_name("aside").rename(path)
    await asyncio.wait_for(recorded.wait(), 30)
    stop.set()
    await running
    assert await office.balance() == {"arrived": 1, "pending": 0, "applied": 1}


async def test_a_reader_outlives_its_database_connection(
    office: Office, gnavi: Gnavi, logged: Callable[[str], asyncio.Event]
) -> None:
    recorded = logged("mail.recorded")
    stop = asyncio.Event()
    running = asyncio.create_task(office.reader().run(stop))
    for number in range(3):
        recorded.clear()
        await office.arrive(gnavi(f"PL{number}"))
        await asyncio.wait_for(recorded.wait(), 30)
        assert await office.ask(_end_other_connections) >= 1
    stop.set()
    await running
    assert await office.balance() == {"arrived": 3, "pending": 0, "applied": 3}


_REFUSE = """
CREATE FUNCTION todoku_test_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.reference = 'PLBAD' THEN
        RAISE EXCEPTION 'refused' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER todoku_test_refuse BEFORE INSERT ON reservations_reservationfact
    FOR EACH ROW EXECUTE FUNCTION todoku_test_refuse();
"""


def _marked_up(start: str) -> bytes:
    return (
        "From: bistro@example.com\nSubject: Reservation\nDate: Fri, 20 Nov 2026 09:00:00 +0000\nMIME-Version: 1.0\n"
        'Content-Type: text/html; charset=utf-8\n\n<html><script type="application/ld+json">'
        '{"@context": "http://schema.org", "@type": "FoodEstablishmentReservation", "reservationNumber": "SE-1",'
        '"reservationStatus": "http://schema.org/ReservationConfirmed", "partySize": "2",'
        '"underName": {"@type": "Person", "name": "A. Keller"},'
        '"reservationFor": {"@type": "FoodEstablishment", "name": "Bistro Ato"},'
        f'"startTime": "{start}"}}</script></html>'
    ).encode()


def _execute(statement: str) -> None:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(statement)


def _end_other_connections() -> int:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        (ended,) = cursor.fetchone()
    return int(ended)


async def test_mails_that_left_the_bus_by_age_are_counted_by_the_book_on_both_sides(
    office: Office, gnavi: Gnavi
) -> None:
    await office.arrive(*(gnavi(f"PL9900{number}") for number in range(4)))
    await office.reader().drain()
    sequences = await office.ask(_sequences, office.mine)
    two_left = OnTheBus(mails=2, first_sequence=sequences[2])
    balance = await office.ask(queries.balance, office.mine, two_left)
    assert (balance.arrived, balance.pending) == (4, 0)
    lost = await office.ask(queries.balance, office.mine, OnTheBus(mails=3, first_sequence=sequences[2]))
    assert (lost.arrived, lost.pending) == (5, 1), "a mail on the bus without a state is pending, whatever has left it"
    silent = await office.ask(queries.balance, office.mine, None)
    assert (silent.arrived, silent.pending) == (4, 0)


def _sequences(project_id: str) -> list[int]:
    from todoku.intake.models import IncomingMail

    rows = IncomingMail.objects.filter(project_id=project_id).order_by("stream_sequence")
    return list(rows.values_list("stream_sequence", flat=True))
