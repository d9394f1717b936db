"""What tests vary: any name, phone, moment and wish of a booking, any charset and shape of its mail."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from tests.samples.people import GINZA, TOKYO, Booking, Guest
from tests.samples.writing import SHAPES

from todoku.extraction.types import Reading

RECEIVED = datetime(2026, 11, 21, tzinfo=UTC)
ISSUED = datetime(2026, 11, 20, 12, 0, tzinfo=TOKYO)
FULL_WIDTH = str.maketrans("0123456789", "０１２３４５６７８９")

# Every one of them is in the code that Japanese mail uses, vendor rows too.
NAME_LETTERS = "佐藤髙橋山﨑邊①②㈱№ⅢアイウエオｱｲｳﾞﾟあいうえおABCdeー・"
KANA_LETTERS = "アイウエオカキクケコサシスセソタチツテトナニヌネノハヒフヘホマミムメモヤユヨラリルレロワンー"

names = st.text(alphabet=NAME_LETTERS, min_size=1, max_size=12)
kanas = st.text(alphabet=KANA_LETTERS, min_size=1, max_size=10)
phones = st.from_regex(r"\A0[789]0-[0-9]{4}-[0-9]{4}\Z")
moments = st.integers(0, 500_000).map(lambda minutes: ISSUED + timedelta(minutes=minutes))
shapes = st.sampled_from(sorted(SHAPES))
wishes = st.one_of(
    st.none(),
    st.text(alphabet=NAME_LETTERS + "、。!\n ", min_size=1, max_size=80)
    .map(str.strip)
    .map(lambda text: re.sub(r"\s*\n\s*", "\n", text) or None),
)
bookings = st.builds(
    lambda name, kana, phone, start, party, wish: Booking(
        GINZA, Guest(name, "", kana, "", phone), "31000001", start, party, "コース①", "A1", wish
    ),
    names, kanas, phones, moments, st.integers(1, 99), wishes,
)  # fmt: skip

variously = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def facts_of(reading: Reading) -> tuple[object, ...]:
    facts = reading.facts
    assert facts is not None, (reading.problem, reading.text)
    assert reading.lossy_characters == 0
    return (
        facts.event,
        facts.reference,
        facts.start,
        facts.party_size,
        facts.guest.name,
        facts.guest.phone,
        facts.course,
        facts.requests,
    )


def widen(text: str, labels: str, *, wide: bool, colon: str) -> str:
    """Write digits full-width and another colon in the field lines."""
    lines = []
    for line in text.split("\n"):
        match = re.match(rf"({labels}) ?：(.*)\Z", line)
        if match is None:
            lines.append(line)
            continue
        value = (
            match[2].translate(FULL_WIDTH) if wide and "要望" not in match[1] and "名前" not in match[1] else match[2]
        )
        lines.append(f"{match[1]}{colon}{value}")
    return "\n".join(lines)
