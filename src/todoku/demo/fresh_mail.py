"""Booking mails that never were: fresh notifications for the demo's stream, in the charsets such mail really uses.

Purpose   give somebody who watches Online a believable evening: bookings, changes and cancels.
Reads     nothing; people and references are invented from a seeded chance.
Limits    three sites and four kinds; the full range lies in the samples of `todoku.extraction`.
"""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from email.utils import format_datetime
from zoneinfo import ZoneInfo

from todoku.guests.types import PersonImport
from todoku.mail.charsets import encode_iso2022jp, encode_subject_iso2022jp
from todoku.projects.types import ShopInfo

TOKYO = ZoneInfo("Asia/Tokyo")
_WEEKDAYS = "月火水木金土日"
_COURSES = ("季節のおまかせコース", "冬の鍋コース", "炉ばた十品コース", "お席のみのご予約", "記念日ディナー")
_REQUESTS = (
    "",
    "",
    "窓際の席を希望します。",
    "ベビーカーで伺います。",
    "えびアレルギーがあります。",
    "誕生日のお祝いです。",
)
_CANCELS = ("【都合が悪くなった】", "【人数が集まらなかった】")
_REMEMBERED = 40


@dataclass(frozen=True, slots=True)
class Booking:
    """One invented booking, as far as the mails about it must agree."""

    site: str
    shop: ShopInfo
    reference: str
    person: PersonImport
    start: datetime
    party_size: int
    course: str
    request: str


@dataclass(frozen=True, slots=True)
class FreshMail:
    """One notification and the address it goes to, as (shop code, site)."""

    shop_code: str
    site: str
    content: bytes


class FreshMails:
    """Make one notification after the other; about one in four is a change or a cancel of an earlier one."""

    def __init__(self, shops: list[ShopInfo], people: list[PersonImport], *, seed: int) -> None:
        self._chance = random.Random(seed)  # noqa: S311 - invented people, not secrets
        self._shops = shops
        self._people = people
        self._made: deque[Booking] = deque(maxlen=_REMEMBERED)

    def next(self, now: datetime) -> FreshMail:
        """Return the next notification, dated now; its visit lies within the next two weeks."""
        local_now = now.astimezone(TOKYO)
        if self._made and self._chance.random() < 0.25:
            return self._about_earlier(local_now)
        booking = self._new_booking(local_now)
        self._made.append(booking)
        return _MAKERS[booking.site](booking, "booked", local_now)

    def _about_earlier(self, now: datetime) -> FreshMail:
        booking = self._made.popleft()
        if self._chance.random() < 0.5:
            return _MAKERS[booking.site](booking, "cancelled", now)
        later = replace(booking, start=booking.start + timedelta(minutes=30), party_size=booking.party_size + 1)
        self._made.append(later)
        return (
            _tabelog_changed(booking, later, now)
            if booking.site == "tabelog"
            else _MAKERS[booking.site](later, "changed", now)
        )

    def _new_booking(self, now: datetime) -> Booking:
        chance = self._chance
        site = chance.choice(("tabelog", "tabelog", "hotpepper", "gnavi"))
        day = now.date() + timedelta(days=chance.randrange(0, 14))
        start = datetime(
            day.year, day.month, day.day, chance.randrange(17, 21), chance.choice((0, 15, 30, 45)), tzinfo=TOKYO
        )
        if start <= now:
            start += timedelta(days=1)
        number = chance.randrange(10**7, 10**8)
        return Booking(
            site=site,
            shop=chance.choice(self._shops),
            reference={"tabelog": f"{number}", "gnavi": f"PL{number}", "hotpepper": f"HP{number}"}[site],
            person=chance.choice(self._people),
            start=start,
            party_size=chance.choice((1, 2, 2, 2, 3, 4, 4, 6, 8)),
            course=chance.choice(_COURSES),
            request=chance.choice(_REQUESTS),
        )


def _tabelog(booking: Booking, kind: str, now: datetime) -> FreshMail:
    mark, sentence = {
        "booked": ("【新規予約】新しい予約が入りました。", "お客様により下記予約が登録されました。"),
        "cancelled": (
            "【予約キャンセル】予約がキャンセルされました。",
            "お客様により下記予約内容がキャンセルされました。",
        ),
    }[kind]
    hyphen = "-" if kind == "booked" else ""
    fields = _tabelog_fields(booking, f"{booking.start:%m/%d}", f"{booking.start:%H:%M}", f"{booking.party_size}名")
    if kind == "cancelled":
        fields.append(f"キャンセル理由 ：{_CANCELS[booking.party_size % 2]}")
    return _tabelog_mail(
        booking, f"{mark} ({_tabelog_when(booking, hyphen)})【食べログネット予約】", sentence, fields, now
    )


def _tabelog_changed(old: Booking, new: Booking, now: datetime) -> FreshMail:
    fields = _tabelog_fields(
        new, f"{new.start:%m/%d}", f"{old.start:%H:%M} → {new.start:%H:%M}", f"{old.party_size} → {new.party_size}名"
    )
    subject = f"【予約変更】予約内容が変更されました。 ({_tabelog_when(new, '')})【食べログネット予約】"
    return _tabelog_mail(new, subject, "お客様により下記予約内容が変更されました。", fields, now)


def _tabelog_when(booking: Booking, hyphen: str) -> str:
    start = booking.start
    return f"{start.month}月{start.day}日({_WEEKDAYS[start.weekday()]}) {start:%H:%M}{hyphen} {booking.party_size}名様"


def _tabelog_fields(booking: Booking, day: str, time: str, party: str) -> list[str]:
    surname, kana = booking.person.name.split(" ")[0], (booking.person.kana or "").split(" ")[0]
    return [
        f"お名前 ：{surname}（{kana}） 様",
        f"電話番号 ：{(booking.person.phone or '').replace('+81', '0')}",
        f"日付 ：{day}",
        f"来店時刻 ：{time}",
        "滞在可能時間 ：2時間",
        f"人数 ：{party}",
        f"コース ：{booking.course}",
        "卓 ：A1 (テーブル席)[禁煙]",
        f"ご要望 ：{booking.request}",
    ]


def _tabelog_mail(booking: Booking, subject: str, sentence: str, fields: list[str], now: datetime) -> FreshMail:
    lines = [
        f"{booking.shop.name} 様",
        "",
        "-" * 40,
        "このメールは自動送信している予約通知メールです。",
        "-" * 40,
        "",
        sentence,
        "",
        *fields,
        "",
        "キャンセルポリシー：前日 50%、当日 100%",
        f"https://owner.tabelog.com/tn/time-schedule/{booking.start:%Y-%m-%d}?bookingId=net:{booking.reference}",
        "",
        "+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+",
        "owner_support@tabelog.com",
    ]
    return _mail(booking, ("食べログ", "info@mail.tabelog.com"), subject, lines, now)


def _hotpepper(booking: Booking, kind: str, now: datetime) -> FreshMail:
    details = [
        f"■予約依頼番号：{booking.reference}",
        "■予約経路：ホットペッパーグルメ",
        f"■来店日時：{_long_date(booking.start)} {booking.start:%H:%M}",
        f"■代表者：{booking.person.name}様",
        f"■コース：{booking.course}",
        "■席情報：テーブル席",
        f"■人数：{booking.party_size}名様",
    ]
    request = ["■ご要望事項", booking.request or "なし"]
    if kind == "changed":
        subject = f"【変更処理完了】{booking.shop.name}のご予約"
        before = [
            *details[:2],
            f"■来店日時：{_long_date(booking.start)} {booking.start - timedelta(minutes=30):%H:%M}",
            *details[3:6],
        ]
        body = [
            "【変更前】", *before, f"■人数：{booking.party_size - 1}名様", "",
            "【変更後】", *details, "■ステータス：予約確定",
        ]  # fmt: skip
    elif kind == "cancelled":
        subject = f"【ホットペッパーグルメ】{booking.shop.name}のキャンセル"
        body = [*details, "■キャンセル理由：お客様のご都合"]
    else:
        subject = f"【即予約】{booking.shop.name}の申し込み"
        body = [*details, "■ステータス：予約確定", *request]
    lines = [f"{booking.shop.name} 御中", "", "□■ご予約内容", "-" * 40, *body, "-" * 40]
    return _mail(booking, ("ホットペッパーグルメ", "jp_kanri@hotpepper.jp"), subject, lines, now)


def _gnavi(booking: Booking, kind: str, now: datetime) -> FreshMail:
    subject, status = {
        "booked": ("【ぐるなび】予約が確定しました", "確定済"),
        "changed": ("【ぐるなび】予約内容を変更しました", "確定済"),
        "cancelled": ("【ぐるなび】予約がキャンセルされました", "キャンセル"),
    }[kind]
    code = next((name for name in booking.shop.site_names if name.isascii() and name[-3:].isdigit()), "abcd000")
    lines = [
        f"{booking.shop.name} 様 ({code})",
        "",
        f"［予約番号］ {booking.reference}",
        f"［状態］ {status}",
        f"［来店日時］ {_long_date(booking.start, padded=True)} {booking.start:%H時%M分}",
        f"［来店人数］ {booking.party_size}名",
        "［テーブル］ 半個室",
        f"［予約者名］ {booking.person.name}様",
        f"［電話番号］ {(booking.person.phone or '').replace('+81', '0')}",
        "［コース］",
        booking.course,
        *(["［キャンセル理由］ お客様のご都合"] if kind == "cancelled" else []),
    ]
    return _mail(booking, ("ぐるなび", "plan-reserve@gnavi.co.jp"), subject, lines, now)


def _long_date(start: datetime, *, padded: bool = False) -> str:
    month, day = (f"{start:%m}", f"{start:%d}") if padded else (start.month, start.day)
    return f"{start.year}年{month}月{day}日({_WEEKDAYS[start.weekday()]})"


def _mail(booking: Booking, sender: tuple[str, str], subject: str, lines: list[str], now: datetime) -> FreshMail:
    name, address = sender
    head = b"\r\n".join(
        [
            b"From: " + encode_subject_iso2022jp(name) + f" <{address}>".encode(),
            f"To: {booking.shop.code}-{booking.site}@in.todoku.example".encode(),
            b"Subject: " + encode_subject_iso2022jp(subject),
            f"Date: {format_datetime(now)}".encode(),
            f"Message-ID: <{booking.reference}.{now.timestamp():.6f}@{address.partition('@')[2]}>".encode(),
            b"MIME-Version: 1.0",
            b"Content-Type: text/plain; charset=ISO-2022-JP",
            b"Content-Transfer-Encoding: 7bit",
        ]
    )
    body = b"\r\n".join(encode_iso2022jp(line) for line in lines)
    return FreshMail(booking.shop.code, booking.site, head + b"\r\n\r\n" + body + b"\r\n")


_MAKERS = {"tabelog": _tabelog, "hotpepper": _hotpepper, "gnavi": _gnavi}
