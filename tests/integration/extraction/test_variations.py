"""Any name, any charset, any width and spacing: the same facts come out."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.samples import gnavi, hotpepper, tabelog
from tests.samples.people import GINZA, Booking, Guest
from tests.samples.writing import SHAPES, write

from todoku.extraction import read_mail
from todoku.extraction.types import Event, Outcome, Previous

from .varied import FULL_WIDTH, ISSUED, RECEIVED, bookings, facts_of, shapes, variously, widen


@variously
@given(bookings, shapes, st.booleans(), st.sampled_from(["：", " ：", ": ", "　：　", " : "]))
def test_any_tabelog_booking(booking: Booking, shape: str, wide: bool, colon: str) -> None:
    labels = "お名前|電話番号|日付|来店時刻|滞在可能時間|人数|コース|卓|ご要望"
    text = widen(tabelog.body("booked", booking), labels, wide=wide, colon=colon)
    subject = "【新規予約】新しい予約が入りました。【食べログネット予約】"
    raw = write(tabelog.envelope(GINZA, subject, ISSUED, "t"), text, shape)
    reading = read_mail(raw, received_at=RECEIVED)
    person = booking.guest
    wanted = (
        Event.BOOKED,
        "31000001",
        booking.start,
        booking.party,
        person.surname,
        person.e164,
        "コース①",
        booking.requests,
    )
    if wide:
        wanted = (*wanted[:6], "コース①", booking.requests)
    assert facts_of(reading) == wanted
    assert reading.facts is not None
    assert reading.facts.guest.kana == person.surname_kana


@variously
@given(bookings, shapes, st.booleans(), st.integers(1, 99), st.integers(-600, 600))
def test_any_hotpepper_change_in_either_order(
    booking: Booking, shape: str, after_first: bool, party: int, minutes: int
) -> None:
    later = replace(booking, party=party, start=booking.start + timedelta(minutes=minutes))
    before = ["【変更前】", *hotpepper.fields(booking, "未対応"), "-" * 30]
    after = ["【変更後】", *hotpepper.fields(later, "未対応"), "-" * 30]
    text = hotpepper.page(GINZA, "お知らせ", [*after, *before] if after_first else [*before, *after])
    reading = read_mail(
        write(hotpepper.envelope(GINZA, "変更処理完了", ISSUED, "t"), text, shape), received_at=RECEIVED
    )
    wanted = (Event.CHANGED, "31000001", later.start, party, booking.guest.surname, None, "コース①", booking.requests)
    assert facts_of(reading) == wanted
    assert reading.facts is not None
    assert reading.facts.previous == Previous(booking.start, booking.party)


@variously
@given(
    bookings,
    shapes,
    st.booleans(),
    st.sampled_from(
        [
            ("未確定", Event.REQUESTED),
            ("確定済", Event.BOOKED),
            ("キャンセル", Event.CANCELLED),
            ("お断り", Event.DECLINED),
        ]
    ),
)
def test_any_gnavi_state(booking: Booking, shape: str, wide: bool, state: tuple[str, Event]) -> None:
    text = gnavi.page(booking, state[0], "お知らせ")
    if wide:
        text = re.sub(
            r"(?m)^(［(?:来店日時|来店人数|電話番号)］)(.*)$",
            lambda match: match[1] + match[2].translate(FULL_WIDTH),
            text,
        )
    reading = read_mail(write(gnavi.envelope(GINZA, "ぐるなび", ISSUED, "t"), text, shape), received_at=RECEIVED)
    person = booking.guest
    assert facts_of(reading) == (
        state[1],
        "31000001",
        booking.start,
        booking.party,
        person.surname,
        person.e164,
        "コース①",
        booking.requests,
    )


@pytest.mark.parametrize("label", ["予約番号", "来店日時"])
@pytest.mark.parametrize("shape", sorted(SHAPES))
def test_a_renamed_key_label_is_an_unknown_layout_and_never_silence(label: str, shape: str) -> None:
    booking = Booking(GINZA, Guest("佐藤", "", "サトウ", "", "090-0000-2222"), "PL1", ISSUED + timedelta(days=1), 2)
    text = gnavi.page(booking, "確定済", "お知らせ").replace(label, "新しい" + label)
    reading = read_mail(
        write(gnavi.envelope(GINZA, "予約が確定しました", ISSUED, "t"), text, shape), received_at=RECEIVED
    )
    assert (reading.site, reading.outcome) == ("gnavi", Outcome.UNKNOWN_LAYOUT)
    assert reading.problem == ("missing:reference" if label == "予約番号" else "missing:start")


def test_a_gnavi_mail_as_a_table_of_html() -> None:
    rows = [
        ("［予約番号］", "PL1"),
        ("［状態］", "確定済"),
        ("［来店日時］", "2026年11月30日(月) 18時30分"),
        ("［来店人数］", "2名"),
        ("［予約者名］", "髙橋 一郎様"),
        ("［コース］", "おまかせ<br>デザート付"),
    ]
    html = (
        "<p>届屋 銀座本店 様 (abcd001)</p><table>"
        + "".join(f"<tr><th>{label}</th><td>{value}</td></tr>" for label, value in rows)
        + "</table>"
    )
    raw = write(gnavi.envelope(GINZA, "予約が確定しました", ISSUED, "t"), "", "html", html_body=html)
    facts = read_mail(raw, received_at=RECEIVED).facts
    assert facts is not None
    assert (facts.reference, facts.event, facts.party_size, facts.guest.name, facts.shop_code) == (
        "PL1",
        Event.BOOKED,
        2,
        "髙橋 一郎",
        "abcd001",
    )


def test_a_hotpepper_mail_as_a_table_without_its_squares() -> None:
    rows = [
        ("予約依頼番号", "HP1"),
        ("来店日時", "2026年11月30日(月) 18:30"),
        ("人数", "2名様"),
        ("代表者", "髙橋 一郎様"),
        ("ステータス", "未対応"),
    ]
    html = "<table>" + "".join(f"<tr><td>{label}</td><td>{value}</td></tr>" for label, value in rows) + "</table>"
    raw = write(hotpepper.envelope(GINZA, "【即予約】髙橋様の申し込み", ISSUED, "t"), "", "html", html_body=html)
    facts = read_mail(raw, received_at=RECEIVED).facts
    assert facts is not None
    assert (facts.reference, facts.event, facts.party_size, facts.guest.name) == ("HP1", Event.BOOKED, 2, "髙橋 一郎")
