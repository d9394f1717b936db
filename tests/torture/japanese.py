"""One mail or more for every row of the tables of Japanese mail: charsets, dates and counts, names."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from functools import partial

from tests.samples import tabelog
from tests.samples.people import GINZA, TAKAHASHI, TOKYO, Booking
from tests.torture.writing import BOOKED, Case, booking, mail, text

from todoku.intake.types import MailState
from todoku.mail.jis_encoding import encode_iso2022jp, encode_subject_iso2022jp

UNKNOWN = MailState.UNKNOWN_LAYOUT
VENDOR = "髙橋 﨑㈱①Ⅲ"
_JIS_NAMES = ("ISO-2022-JP", "cp50220", "cp50221", "cp50222", "iso-2022-jp-ms")
_SJIS_NAMES = ("Shift_JIS", "x-sjis", "sjis-win", "windows-31j", "cp932")
_EUC_NAMES = ("EUC-JP", "eucjp-ms", "cp51932")

_DATES: tuple[tuple[str, str, str], ...] = (
    ("padded", "2026年08月30日(日) 18時30分", "2026-08-30T18:30:00+09:00"),
    ("not padded", "2026年8月3日(月) 9:05", "2026-08-03T09:05:00+09:00"),
    ("no weekday", "2026年7月23日 18:30", "2026-07-23T18:30:00+09:00"),
    ("blanks inside", "2026 年 07 月 15 日 18:30", "2026-07-15T18:30:00+09:00"),
    ("blank before the weekday", "2026年7月18日 (土) 14:40", "2026-07-18T14:40:00+09:00"),
    ("wide parentheses", "2026年7月18日（土） 14:40", "2026-07-18T14:40:00+09:00"),
    ("slashes", "2026/08/07 13:30", "2026-08-07T13:30:00+09:00"),
    ("hyphens", "2026-04-22 15:00", "2026-04-22T15:00:00+09:00"),
    ("no year, slashes", "11/28 18:30", "2026-11-28T18:30:00+09:00"),
    ("no year, kanji", "11月28日 18:30", "2026-11-28T18:30:00+09:00"),
    ("no year, past the new year", "1月3日(日) 18:30", "2027-01-03T18:30:00+09:00"),
    ("era", "令和8年11月28日 18:30", "2026-11-28T18:30:00+09:00"),
    ("era as one sign", "㋿8年11月28日 18:30", "2026-11-28T18:30:00+09:00"),
    ("wide digits", "２０２６年１１月２８日 １８：３０", "2026-11-28T18:30:00+09:00"),
    ("after midnight", "2026年11月28日(土) 25:30", "2026-11-29T01:30:00+09:00"),
    ("after midnight, wide", "2026年11月28日(土) ２５：３０", "2026-11-29T01:30:00+09:00"),
)
_RANGES = (("wave dash", "\u301c"), ("wide tilde", "\uff5e"), ("minus", "\u2212"), ("wide minus", "\uff0d"))
_PARTIES: tuple[tuple[str, int], ...] = (
    ("2名", 2), ("2名様", 2), ("3人", 3), ("２名", 2), ("大人2人 子供（12歳未満）0人", 2),
    ("大人(中学生以上)×2 人", 2), ("4名(お1人様:4名)", 4),
)  # fmt: skip
_NAMES: tuple[tuple[str, str | None, str | None], ...] = (
    ("髙橋 花子", "髙橋 花子", None),
    ("山﨑 太郎（ヤマサキ タロウ）", "山﨑 太郎", "ヤマサキ タロウ"),
    ("山崎 太郎(ヤマサキ タロウ)", "山崎 太郎", "ヤマサキ タロウ"),
    ("アサマ 一郎", "アサマ 一郎", None),
)
_DASHES = "-\u2010\u2011\u2012\u2013\u2014\u2015\u2212\uff0d\u30fc"


def cases() -> Iterator[Case]:
    """Yield the cases of all tables."""
    yield from _charsets()
    yield from _subjects()
    yield from _oddities()
    yield from _fields()
    yield from _changes()


def _charsets() -> Iterator[Case]:
    facts = {**BOOKED, "name": VENDOR, "course": "ﾔﾏﾀﾞ コース 18:00～20:00"}

    def write(key: str, charset: str, encode: Callable[[str], bytes]) -> Callable[[], bytes]:
        body = text(key, name=VENDOR, course="ﾔﾏﾀﾞ コース 18:00～20:00")
        return lambda: mail(encode(body), content_type=f"text/plain; charset={charset}".encode() if charset else b"")

    for charset in (*_JIS_NAMES, "", "us-ascii"):
        key = f"jis as {charset or 'nothing'}"
        yield Case(key, write(key, charset, encode_iso2022jp), facts=facts)
    for charset in (*_SJIS_NAMES, "", "UTF-8", "ISO-8859-1"):
        key = f"cp932 as {charset or 'nothing'}"
        yield Case(key, write(key, charset, lambda body: body.encode("cp932")), facts=facts)
    for charset in ("UTF-8", "ISO-2022-JP", "Shift_JIS", "EUC-JP", "us-ascii", "x-bogus", ""):
        key = f"utf-8 as {charset or 'nothing'}"
        yield Case(key, write(key, charset, str.encode), facts=facts)
    for charset in _EUC_NAMES:
        key = f"euc-jp as {charset}"
        body = text(key, name="高橋 花子")
        yield Case(
            key,
            partial(
                mail, body.encode("euc_jp"), content_type=f"text/plain; charset={charset}".encode()
            ),
            facts={**BOOKED, "name": "高橋 花子"},
        )  # fmt: skip


def _subjects() -> Iterator[Case]:
    jis, words = encode_iso2022jp("予約が確定しました㈱"), "予約が確定しました㈱"
    cut = [b"=?ISO-2022-JP?B?" + base64.b64encode(jis[at : at + 9]) + b"?=" for at in range(0, len(jis), 9)]
    subjects = {
        "encoded word of vendor characters": encode_subject_iso2022jp(words),
        "encoded words cut inside a character": b"\n ".join(cut),
        "raw jis": jis,
        "raw cp932": words.encode("cp932"),
        "cp50220 as its charset": b"=?cp50220?B?" + base64.b64encode(jis) + b"?=",
    }
    for name, subject in subjects.items():
        key = f"subject: {name}"
        yield Case(key, partial(mail, text(key).encode(), subject=subject), facts=BOOKED)


def _oddities() -> Iterator[Case]:
    def attached(key: str) -> bytes:
        body = (
            b"--b\nContent-Type: text/plain; charset=UTF-8\n\n"
            + text(key).encode()
            + b"\n--b\nContent-Type: text/csv\n"
            b'Content-Disposition: attachment; filename="=?ISO-2022-JP?B?'
            + base64.b64encode(encode_iso2022jp("予約①.csv"))
            + b'?="\n\na,b\n--b\nContent-Type: application/ms-tnef; name=winmail.dat\n\n\x78\x9f\x3e\x22\x00\n--b--\n'
        )
        return mail(body, content_type=b"multipart/mixed; boundary=b")

    yield Case("encoded file name and winmail.dat", lambda: attached("attached"), facts=BOOKED)
    for address in ("taro..y@docomo.ne.jp", "taro.@docomo.ne.jp", ".taro@docomo.ne.jp"):
        key = f"address {address}"
        more = f"Reply-To: {address}\nCc: =?ISO-2022-JP?B?GyRCQkBPOhsoQg==?= <{address}>\n".encode()
        yield Case(key, partial(mail, text(key).encode(), more=more), facts=BOOKED)
    blanks = "\u00a02\u2009名\u202f\u200b様\u3000"
    yield Case("blanks of other widths", lambda: booking("blanks", party=blanks), facts=BOOKED)


def _fields() -> Iterator[Case]:
    for name, when, start in _DATES:
        yield Case(f"date: {name}", partial(booking, "date" + name, when=when), facts={"start": start})
    for name, dash in _RANGES:
        facts = {**BOOKED, "end": "2026-11-28T20:00:00+09:00"}
        when = f"2026年11月28日(土) 18:30{dash}20:00"
        yield Case(f"range: {name}", partial(booking, "range" + name, when=when), facts=facts)
    for party, size in _PARTIES:
        yield Case(f"party: {party}", partial(booking, party, party=party), facts={"party_size": size})
    for written, name_read, kana in _NAMES:
        facts = {"name": name_read, "kana": kana}
        yield Case(f"name: {written}", partial(booking, written, name=written), facts=facts)
    for dash in _DASHES:
        phone = f"090{dash}0000{dash}0001"
        yield Case(
            f"phone with U+{ord(dash):04X}", partial(booking, phone, phone=phone),
            facts={"phone": "+819000000001"},
        )  # fmt: skip
    key = "time inside another field"
    yield Case(key, lambda: booking(key, when="2026年11月28日(土)", course="宴会（18:30 ）"), UNKNOWN, "missing:start")
    yield Case("date that is none", lambda: booking("none", when="2026年2月30日 18:30"), UNKNOWN, "date_mismatch")
    yield Case("hour that is none", lambda: booking("hour", when="2026年11月28日 30:00"), UNKNOWN, "missing:start")


def _changes() -> Iterator[Case]:
    """Yield date and time in two fields, then old → new; 食べログ writes so."""
    from datetime import datetime

    before = Booking(GINZA, TAKAHASHI, "31099001", datetime(2026, 11, 28, 13, 15, tzinfo=TOKYO), 2)
    now = Booking(GINZA, TAKAHASHI, "31099001", datetime(2026, 11, 29, 14, 0, tzinfo=TOKYO), 3)
    issued = datetime(2026, 11, 20, 12, 0, tzinfo=TOKYO)
    yield Case(
        "two fields", lambda: tabelog.mail("booked", issued, before, "jis").raw,
        facts={"start": "2026-11-28T13:15:00+09:00", "party_size": 2},
    )  # fmt: skip
    yield Case(
        "old → new", lambda: tabelog.mail("changed", issued.replace(hour=13), now, "jis", before).raw,
        facts={"start": "2026-11-29T14:00:00+09:00", "party_size": 3},
    )  # fmt: skip
