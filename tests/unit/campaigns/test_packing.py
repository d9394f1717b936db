"""From rows of an audience to batches: values, links, zones, who is left out."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from todoku.campaigns import audiences
from todoku.campaigns.packing import (
    Packed,
    PackedBatch,
    PackedEnd,
    PackedOut,
    Packer,
    PackJob,
    Row,
    ValueMaker,
    pack,
    read_rows,
)
from todoku.campaigns.readiness import project_values
from todoku.campaigns.tokens import read_token, token_key
from todoku.content.rendering import VARIABLES
from todoku.delivery.engine.codec import decode_batch, decode_journal
from todoku.guests.types import Audience
from todoku.projects.types import ProjectInfo

GUEST = "0199c0de-0000-7000-8000-000000000002"
RUN = "0199c0de00007000800000000000000a"
PROJECT = ProjectInfo("p", "Group", "Asia/Tokyo", "Sender", "s@example.com", "Street 1", "03-0000-0000")
KEY = token_key("secret")
DUE = datetime(2026, 11, 21, 3, 0, tzinfo=UTC)  # noon in Tokyo
JOB = PackJob(
    project_id="p",
    run_id=RUN,
    seal=3,
    now_utc=datetime(2026, 11, 20, 3, 0, tzinfo=UTC),
    subject="{{ guest_name }} 様",
    html='{{ visits }}<a href="{{ unsubscribe_url }}">x</a>',
    text="{{ sender_name }} {{ last_visit_on_ja }}",
    shared_values={"sender_name": "Sender"},
    unsubscribe_base_url="https://x.example/u/",
    token_key=KEY,
    batch_size=4,
    due_at_utc=DUE,
    time_zone="Asia/Tokyo",
)


def person(number: int, *, why_not: str = "", zone: str = "", name: str = "見本") -> Row:
    guest = f"0199c0de-0000-7000-8000-{number:012d}"
    return (guest, f"guest{number}@example.com", name, str(number), "2026-01-09", "s1", why_not, zone)


def _values(row: Row, shop_names: dict[str, str]) -> dict[str, Any]:
    return {name: column[0] for name, column in ValueMaker(VARIABLES, shop_names).columns([row]).items()}


def packed(job: PackJob, rows: list[Row]) -> list[Packed]:
    return list(pack(msgspec.structs.replace(job, rows=tuple(rows))))


def test_a_recipient_has_a_value_for_every_variable_there_is() -> None:
    row: Row = (GUEST, "a@example.com", "髙橋", "4", "2026-01-09", "shibuya", "", "")
    values = _values(row, {"shibuya": "渋谷店"}) | project_values(PROJECT)
    assert values.keys() | {"unsubscribe_url"} == VARIABLES.keys()
    assert (values["last_visit_on"], values["last_visit_on_ja"]) == ("2026-01-09", "2026年1月9日")
    assert (values["visits"], values["shop_name"]) == (4, "渋谷店")


def test_a_guest_who_never_came_has_empty_texts_not_missing_ones() -> None:
    values = _values((GUEST, "a@example.com", "", "0", "", "", "", ""), {})
    assert values == {"guest_name": "", "shop_name": "", "visits": 0, "last_visit_on": "", "last_visit_on_ja": ""}


def test_only_what_the_templates_name_is_sealed_and_what_all_share_is_not() -> None:
    first, end = packed(JOB, [person(7)])
    assert isinstance(first, PackedBatch)
    (one,) = decode_batch(first.payload).recipients
    assert (one.index, one.address, one.name) == (0, "guest7@example.com", "見本")
    token = one.values["unsubscribe_token"]
    assert one.values == {
        "guest_name": "見本",
        "visits": 7,
        "last_visit_on_ja": "2026年1月9日",
        "unsubscribe_token": token,
    }
    assert read_token(token, KEY, b"") == ("p", UUID(RUN), UUID(one.guest_id), "guest7@example.com")
    assert end == PackedEnd(1, 1, 0, {})


def test_people_fill_batches_in_order_and_those_left_out_stand_beside_them() -> None:
    rows = [person(number, why_not="bounced" if number % 5 == 0 else "") for number in range(20)]
    found = packed(JOB, rows)
    batches = [one for one in found if isinstance(one, PackedBatch)]
    assert [(one.number, one.people) for one in batches] == [(0, 4), (1, 4), (2, 4), (3, 4)]
    (out,) = [one for one in found if isinstance(one, PackedOut)]
    line = decode_journal(out.payload)
    assert [(one.index, one.address, one.answer) for one in line.outcomes] == [
        (place, f"guest{number}@example.com", "bounced") for place, number in enumerate((0, 5, 10, 15))
    ]
    assert (line.batch, line.seal) == ("ns-0", 3)
    assert found[-1] == PackedEnd(20, 16, 4, {})


def test_everybody_is_tried_and_those_who_cannot_be_written_to_are_sealed_with_the_others() -> None:
    found = packed(JOB, [person(1), person(2, name="a\r\nBcc: x"), person(3, name="a\nb")])
    assert found[-1] == PackedEnd(3, 3, 0, {"guest_name": 2})
    assert isinstance(found[0], PackedBatch)
    assert [one.name for one in decode_batch(found[0].payload).recipients] == ["見本", "a Bcc: x", "a b"]


def test_each_zone_has_batches_of_its_own_released_at_its_own_noon() -> None:
    rows = [person(n, zone=("", "Europe/Berlin", "No/Where", "Asia/Tokyo")[n % 4]) for n in range(20)]
    found = packed(msgspec.structs.replace(JOB, by_zone=True), rows)
    seen: dict[str, int] = {}
    for one in found[:-1]:
        assert isinstance(one, PackedBatch)
        batch = decode_batch(one.payload)
        assert one.people == len(batch.recipients)
        assert batch.release_at_utc == one.release_at_utc
        seen[batch.time_zone] = seen.get(batch.time_zone, 0) + one.people
        noon = {"Asia/Tokyo": DUE, "Europe/Berlin": datetime(2026, 11, 21, 11, 0, tzinfo=UTC)}
        assert batch.release_at_utc == noon[batch.time_zone]
    assert seen == {"Asia/Tokyo": 15, "Europe/Berlin": 5}


def test_many_zones_do_not_wait_for_full_batches_for_ever() -> None:
    packer = Packer(msgspec.structs.replace(JOB, by_zone=True, batch_size=20_000))
    left = [one for n in range(11) for one in packer.take([person(n)] * 1_000)]
    assert [one.people for one in left if isinstance(one, PackedBatch)] == [11_000]


@given(st.lists(st.tuples(*[st.text(st.characters(codec="utf-8", exclude_characters="\x00"))] * 8), max_size=4))
def test_rows_are_read_as_postgres_writes_them(rows: list[Row]) -> None:
    written = {"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r", "\b": "\\b", "\f": "\\f", "\v": "\\v"}
    text = "".join("\t".join("".join(written.get(c, c) for c in field) for field in row) + "\n" for row in rows)
    assert [tuple(row) for row in read_rows(text)] == rows


def test_null_is_an_empty_text() -> None:
    assert [list(row) for row in read_rows("a\t\\N\tb\n")] == [["a", "", "b"]]


@given(
    st.builds(
        Audience,
        min_visits=st.none() | st.integers(0, 9),
        max_visits=st.none() | st.integers(0, 9),
        last_visit_on_or_after=st.none() | st.dates(),
        last_visit_before=st.none() | st.dates(),
        sites=st.lists(st.text(max_size=5), max_size=3).map(tuple),
        shop_codes=st.lists(st.text(max_size=5), max_size=3).map(tuple),
    )
)
def test_an_audience_is_kept_as_it_is(audience: Audience) -> None:
    assert audiences.from_json(audiences.to_json(audience)) == audience
