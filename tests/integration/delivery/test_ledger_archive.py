"""Months that leave PostgreSQL for Parquet files in a real vault, killed at every step."""

from __future__ import annotations

import random
import threading
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from django.db import connection

from todoku.delivery.engine.journal import JournalMessage
from todoku.delivery.ledger import archive as archive_module
from todoku.delivery.ledger import audit, queries, services
from todoku.delivery.ledger.errors import ArchiveBusy, ArchiveRefused, NotSettled
from todoku.delivery.ledger.packing import pack_line
from todoku.delivery.ledger.store import LedgerStore
from todoku.delivery.ledger.types import MonthStatus
from todoku.delivery.types import DeliveryRow, Outcome, RecipientState
from todoku.kernel.clock import VirtualClock

pytestmark = pytest.mark.usefixtures("database")

MADE = datetime(2026, 2, 10, 12, tzinfo=UTC)
NOW = VirtualClock(datetime(2026, 11, 21, 3, tzinfo=UTC))
GUESTS = [uuid4() for _ in range(5)]


class Killed(Exception):
    """Stands for the end of the process: nothing after it runs, the connection is gone."""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, settings_of_archive: None) -> Path:
    return tmp_path


@pytest.fixture
def settings_of_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from django.conf import settings

    monkeypatch.setattr(settings, "TODOKU_HOME", tmp_path)
    monkeypatch.setattr(settings, "TODOKU_VAULT_URL", "")


def run_of(moment: datetime) -> UUID:
    """Make a UUIDv7 of that moment."""
    milliseconds = int(moment.timestamp() * 1000)
    return UUID(int=milliseconds << 80 | 7 << 76 | random.getrandbits(76) & ~(3 << 62) & ~(15 << 76) | 2 << 62)


def told(index: int, state: RecipientState = RecipientState.SENT, **changes: str) -> Outcome:
    values = {"guest_id": str(GUESTS[index % len(GUESTS)]), "address": f"g{index}@example.com"}
    values |= {"answer": '250 ok, "quoted"\nand, a comma', "message_id": f"<{index}@x>"} | changes
    moment = MADE + timedelta(seconds=index, microseconds=index)
    return Outcome(index, values["guest_id"], values["address"], state, values["answer"], moment, values["message_id"])


def write(run_id: UUID, line: int, outcomes: list[Outcome], project: str = "shop") -> None:
    message = JournalMessage(project, run_id.hex, 1, "0", "s", 1, tuple(outcomes), (), b"", None)
    LedgerStore().apply([pack_line(line, message)])


def filled_run() -> UUID:
    """Write a run of 60: 40 sent, 12 refused, 5 unknown, 3 suppressed without a guest id."""
    run_id = run_of(MADE)
    states = [RecipientState.SENT] * 40 + [RecipientState.REFUSED] * 12 + [RecipientState.UNKNOWN] * 5
    write(run_id, 1, [told(index, state) for index, state in enumerate(states[:30])])
    write(run_id, 2, [told(index, state) for index, state in enumerate(states[30:], 30)])
    write(run_id, 3, [told(n, RecipientState.SUPPRESSED, guest_id="", answer="", message_id="") for n in range(57, 60)])
    write(run_of(MADE), 4, [told(index) for index in range(7)], project="other")
    return run_id


def everybody(run_id: UUID) -> list[DeliveryRow]:
    return list(queries.run_rows("shop", run_id))


def in_database() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM delivery")
        return int(cursor.fetchone()[0])


def february() -> MonthStatus:
    return next(one for one in audit.months_status() if one.month == date(2026, 2, 1))


def test_an_archived_month_answers_as_before() -> None:
    run_id = filled_run()
    before = everybody(run_id)
    sent_before = queries.sent_to_guest("shop", GUESTS[0], 4)
    pages_before = queries.names("shop", run_id, RecipientState.REFUSED, limit=5, after=before[41].cursor)
    assert len(before) == 60
    assert len({row.message_id for row in before}) == 58
    [moved] = services.archive(3, clock=NOW)
    assert (moved.rows, moved.files) == (67, 2)
    assert in_database() == 0
    assert everybody(run_id) == before
    assert queries.sent_to_guest("shop", GUESTS[0], 4) == sent_before
    assert queries.names("shop", run_id, RecipientState.REFUSED, limit=5, after=before[41].cursor) == pages_before
    assert queries.names("other", run_id, RecipientState.SENT) == []
    assert everybody(uuid4()) == []
    assert services.archive(3, clock=NOW) == []
    status = february()
    assert (status.state, status.rows_archived, status.rows_in_database) == ("archived", 67, 0)
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM delivery_line")
        assert cursor.fetchone()[0] == 0


def test_files_are_cut_at_lines_and_read_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive_module, "ROWS_A_FILE", 10)
    run_id = run_of(MADE)
    for line in range(1, 13):
        write(run_id, line, [told(index) for index in range(4)])
    before = everybody(run_id)
    [moved] = services.archive(3, clock=NOW)
    assert moved.rows == 48
    assert moved.files >= 4
    monkeypatch.setattr(queries, "ROWS_AT_ONCE", 7)
    assert everybody(run_id) == before


STEPS = ["leftovers removed", "file in the vault", "exported", "about to drop", "dropped"]


@pytest.mark.parametrize("step", STEPS)
def test_killed_at_any_step_the_month_is_whole_and_moves_the_next_time(step: str) -> None:
    run_id = filled_run()
    before = everybody(run_id)

    def die(name: str) -> None:
        if name == step:
            connection.close()  # what the server sees of a SIGKILL
            raise Killed

    with pytest.raises(Killed):
        services.archive(3, clock=NOW, on_step=die)
    connection.close()
    assert everybody(run_id) == before
    services.archive(3, clock=NOW)
    assert in_database() == 0
    assert everybody(run_id) == before
    status = february()
    assert (status.state, status.rows_archived) == ("archived", 67)


def test_a_line_that_comes_between_export_and_drop_is_not_lost() -> None:
    run_id = filled_run()
    seen = []

    def write_late(name: str) -> None:
        seen.append(name)
        if name == "exported" and seen.count(name) == 1:
            write(run_id, 9, [told(1), told(2)])

    [moved] = services.archive(3, clock=NOW, on_step=write_late)
    assert seen.count("exported") == 2
    assert moved.rows == 69
    assert len(everybody(run_id)) == 62


def test_late_lines_are_merged_in_order() -> None:
    run_id = filled_run()
    services.archive(3, clock=NOW)
    write(run_id, 5, [told(3), told(4)])
    rows = everybody(run_id)
    assert len(rows) == 62
    assert rows == sorted(rows, key=lambda row: tuple(int(part) for part in row.cursor.split(".")))
    status = february()
    assert (status.state, status.rows_in_database) == ("late_rows", 2)
    [moved] = services.archive(3, clock=NOW)
    assert moved.rows == 2
    assert everybody(run_id) == rows
    assert in_database() == 0
    assert queries.balance("shop", run_id, 62).pending == 0


def test_a_projector_that_began_before_writes_late_lines_to_the_default_partition() -> None:
    run_id = run_of(MADE)
    store = LedgerStore()
    message = JournalMessage("shop", run_id.hex, 1, "0", "s", 1, (told(0),), (), b"", None)
    store.apply([pack_line(1, message)])  # it knows the month's partition by now
    services.archive(3, clock=NOW)
    store.apply([pack_line(2, message)])
    assert len(everybody(run_id)) == 2


def test_a_month_that_does_not_add_up_stays() -> None:
    run_id = filled_run()
    with connection.cursor() as cursor:
        cursor.execute("UPDATE run_tally SET sent = sent + 1 WHERE run_id = %s", [run_id])
    with pytest.raises(ArchiveRefused, match="40 rows sent, 41 in the sums"):
        services.archive(3, clock=NOW)
    assert in_database() == 67


def test_a_month_that_changes_in_content_only_is_exported_again() -> None:
    run_id = filled_run()
    seen = []

    def change(name: str) -> None:
        seen.append(name)
        if name == "exported" and seen.count(name) == 1:
            with connection.cursor() as cursor:
                cursor.execute("UPDATE delivery SET answer = 'changed' WHERE run_id = %s AND line = 1", [run_id])

    services.archive(3, clock=NOW, on_step=change)
    assert seen.count("exported") == 2
    assert everybody(run_id)[0].answer == "changed"


def test_young_months_and_months_in_use_stay() -> None:
    run_id = filled_run()
    with pytest.raises(ArchiveRefused, match="3 months"):
        services.archive(2, clock=NOW)
    assert services.archive(3, clock=VirtualClock(MADE + timedelta(days=100))) == []
    recent = Outcome(0, "", "late@example.com", RecipientState.SENT, "ok", NOW.now_utc() - timedelta(days=70), "")
    write(run_id, 11, [recent])
    assert services.archive(3, clock=NOW) == []


def test_two_archivers_do_not_work_at_once() -> None:
    filled_run()
    failure: list[BaseException] = []

    def other() -> None:
        try:
            services.archive(3, clock=NOW)
        except ArchiveBusy as error:
            failure.append(error)
        finally:
            connection.close()

    def start_other(name: str) -> None:
        if name == "exported":
            thread = threading.Thread(target=other)
            thread.start()
            thread.join(30)

    services.archive(3, clock=NOW, on_step=start_other)
    assert len(failure) == 1


def test_a_file_that_rotted_in_the_vault_is_never_believed(home: Path) -> None:
    run_id = filled_run()
    services.archive(3, clock=NOW)
    for path in (home / "vault" / "packs").glob("*.pack"):
        path.write_bytes(path.read_bytes().replace(b"PAR1", b"PAR?"))  # what a Parquet file begins and ends with
    from todoku.vault.errors import VaultCorrupt

    with pytest.raises(VaultCorrupt):
        everybody(run_id)


@pytest.mark.parametrize("archived", [False, True], ids=["in the database", "in the archive"])
def test_evidence_settles_an_unknown_exactly_once(archived: bool) -> None:
    run_id = filled_run()
    if archived:
        services.archive(3, clock=NOW)
    opened = {"evidence": "opened 12:04", "seen_at_utc": MADE + timedelta(hours=1), "clock": NOW}
    sent, refused = RecipientState.SENT, RecipientState.REFUSED
    assert services.settle_unknown("shop", run_id, sent, message_id="<52@x>", **opened)  # type: ignore[arg-type]
    assert not services.settle_unknown("shop", run_id, sent, message_id="<52@x>", **opened)  # type: ignore[arg-type]
    assert not services.settle_unknown("shop", run_id, refused, message_id="<52@x>", **opened)  # type: ignore[arg-type]
    assert services.settle_unknown("shop", run_id, refused, address="g53@example.com", **opened)  # type: ignore[arg-type]
    assert not services.settle_unknown("other", run_id, sent, message_id="<54@x>", **opened)  # type: ignore[arg-type]
    assert not services.settle_unknown("shop", run_id, sent, message_id="<1@x>", **opened)  # type: ignore[arg-type]
    balance = queries.balance("shop", run_id, 60)
    assert (balance.sent, balance.refused, balance.unknown, balance.pending) == (41, 13, 3, 0)
    states = Counter(row.state for row in everybody(run_id))
    assert states == {"sent": 41, "refused": 13, "unknown": 3, "suppressed": 3}
    [row] = [row for row in queries.names("shop", run_id, sent) if row.message_id == "<52@x>"]
    assert row.answer.endswith("| opened 12:04")
    assert len(queries.names("shop", run_id, RecipientState.UNKNOWN)) == 3
    guest = next(one for one in queries.sent_to_guest("shop", GUESTS[52 % 5], 60) if one.message_id == "<52@x>")
    assert guest.state == "sent"
    write(run_id, 20, [told(1)])
    services.archive(3, clock=NOW)  # the sums agree, with settled rows on either side
    assert Counter(row.state for row in everybody(run_id)) == states + Counter(sent=1)


def test_what_evidence_can_not_prove_is_refused() -> None:
    run_id = filled_run()
    given = {"evidence": "x", "seen_at_utc": MADE, "clock": NOW}
    with pytest.raises(NotSettled):
        services.settle_unknown("shop", run_id, RecipientState.EXPIRED, address="g52@example.com", **given)  # type: ignore[arg-type]
    with pytest.raises(NotSettled):
        services.settle_unknown("shop", run_id, RecipientState.SENT, **given)  # type: ignore[arg-type]
    write(run_id, 12, [told(52, RecipientState.UNKNOWN)])
    with pytest.raises(NotSettled, match="2 recipients"):
        services.settle_unknown("shop", run_id, RecipientState.SENT, address="g52@example.com", **given)  # type: ignore[arg-type]


def test_many_threads_with_the_same_evidence_settle_once() -> None:
    run_id = filled_run()
    done: list[bool] = []

    def settle() -> None:
        done.append(
            services.settle_unknown(
                "shop", run_id, RecipientState.SENT, message_id="<52@x>", evidence="o", seen_at_utc=MADE, clock=NOW
            )
        )
        connection.close()

    threads = [threading.Thread(target=settle) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(done) == [False] * 5 + [True]
    assert queries.balance("shop", run_id, 60).unknown == 4
