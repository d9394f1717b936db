"""ぐるなび: the samples. 状態 says the kind, whatever the subject says; line 1 has the code of the shop."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from tests.samples.people import (
    ASAMA,
    GINZA,
    ITO,
    KOBAYASHI,
    MORI,
    NAKAMURA,
    SATO,
    SHINJUKU,
    SUZUKI_COMPANY,
    TAKAHASHI_PLAIN,
    WATANABE,
    YAMAZAKI,
    YOKOHAMA,
    Booking,
    Shop,
    at,
    weekday,
)  # fmt: skip
from tests.samples.timeline import Sample, Timeline, guest, iso, notice, reservation, unknown
from tests.samples.writing import Envelope, write

SITE = "gnavi"
SUBJECTS = {
    "requested": "【ぐるなび】リクエスト予約が入りました",
    "booked": "【ぐるなび】予約が確定しました",
    "confirmed": "【ぐるなび】リクエスト予約を確定しました",
    "changed": "【ぐるなび】予約内容を変更しました",
    "cancelled": "【ぐるなび】予約がキャンセルされました",
    "cancelled-by-shop": "【ぐるなび】予約をキャンセルしました",
    "declined": "【ぐるなび】予約をお断りしました",
}


def envelope(shop: Shop, subject: str, issued: datetime, token: str) -> Envelope:
    """Return the headers of a mail of this site."""
    to = f"demo-{shop.code}-gnavi@in.todoku.example"
    return Envelope("ぐるなび", "plan-reserve@gnavi.co.jp", to, subject, issued, f"<{token}@gnavi.co.jp>")


def when(moment: datetime) -> str:
    """Return `2026年08月30日(日) 18時30分`; after midnight the day before and 25時30分."""
    day, hour = (moment - timedelta(days=1), moment.hour + 24) if moment.hour < 4 else (moment, moment.hour)
    return f"{day.year}年{day:%m}月{day:%d}日({weekday(day)}) {hour:02d}時{moment:%M}分"


def page(booking: Booking, state: str, sentence: str, *, reason: str | None = None, size: str | None = None) -> str:
    """Return the text of one notification."""
    lines = [
        f"{booking.shop.name} 様 ({booking.shop.gnavi_code})", "", sentence, "", "━" * 20,
        f"［予約番号］ {booking.reference}", f"［状態］ {state}", f"［来店日時］ {when(booking.start)}",
        f"［来店人数］ {size or f'{booking.party}名'}", f"［テーブル］ {booking.seat or ''}",
        f"［予約者名］ {booking.guest.name}様", f"［電話番号］ {booking.guest.phone}",
        "［コース］", booking.course or "席のみ",
    ]  # fmt: skip
    if reason is not None:
        lines.append(f"［キャンセル理由］ {reason}")
    if booking.requests:
        lines.append(f"［ご要望］ {booking.requests}")
    lines += ["━" * 20, "ご予約の変更・キャンセルは管理画面から行ってください。", "株式会社ぐるなび", ""]
    return "\n".join(lines)


def answer(event: str, issued: datetime, now: Booking, **more: Any) -> dict[str, Any]:
    """Return what the notification must be read to."""
    facts: dict[str, Any] = {
        "shop": now.shop.name,
        "shop_code": now.shop.gnavi_code,
        "start": iso(now.start),
        "party_size": now.party,
        "guest": guest(now.guest.name, phone=now.guest.e164),
        "course": now.course,
        "seat": now.seat,
        "requests": now.requests,
    }
    return reservation(SITE, issued, event, now.reference, **{**facts, **more})


def mail(
    kind: str, issued: datetime, now: Booking, shape: str, *,
    slug: str = "", state: str | None = None, reason: str | None = None, size: str | None = None,
) -> Sample:  # fmt: skip
    """Return one notification with its answer; state: what 状態 says when it is not what the subject says."""
    usual = {"requested": "未確定", "cancelled": "キャンセル", "cancelled-by-shop": "キャンセル", "declined": "お断り"}
    events = {"未確定": "requested", "キャンセル": "cancelled", "お断り": "declined"}
    said = state or usual.get(kind, "確定済")
    event = events.get(said, "changed" if kind == "changed" else "booked")
    text = page(now, said, "ネット予約についてお知らせします。", reason=reason, size=size)
    raw = write(envelope(now.shop, SUBJECTS[kind], issued, f"{now.reference}.{issued:%m%d%H%M}"), text, shape)
    return Sample(
        issued, SITE, f"gnavi-{event}-{slug or now.guest.key}", raw, answer(event, issued, now, cancel_reason=reason)
    )


def tell(line: Timeline) -> None:
    """Put the stories of this site on the timeline."""
    _lives(line)
    _traps(line)
    _other(line)


def _lives(line: Timeline) -> None:
    taka = Booking(
        GINZA, TAKAHASHI_PLAIN, "PL10000001", at("10-08 18:30"), 2, "旬の握りと天ぷらのコース（全9品）", "カウンター"
    )
    line.add(mail("requested", at("09-24 09:00"), taka, "jis"))
    line.add(mail("confirmed", at("09-24 11:30"), taka, "jis", slug="takahashi-request-confirmed"))
    three = replace(taka, party=3)
    line.add(mail("changed", at("10-02 20:00"), three, "jis"))

    company = Booking(
        SHINJUKU,
        SUZUKI_COMPANY,
        "PL10000002",
        at("10-16 19:00"),
        20,
        "大宴会プラン①",
        "座敷",
        "上座・下座の席札をお願いします",
    )
    line.add(mail("booked", at("09-30 17:00"), company, "jis", slug="company-kabu"))
    line.add(
        mail(
            "cancelled-by-shop",
            at("10-06 10:00"),
            company,
            "jis",
            slug="company-kabu-by-the-shop",
            reason="台風による臨時休業",
        )
    )
    naka = Booking(YOKOHAMA, NAKAMURA, "PL10000003", at("10-17 12:00"), 3, "Lunch A", "テラス")
    line.add(mail("requested", at("10-08 08:00"), naka, "sjis"))
    line.add(mail("declined", at("10-08 09:10"), naka, "sjis", reason="満席のため"))
    wata = Booking(YOKOHAMA, WATANABE, "PL10000004", at("11-25 18:00"), 2, None, "窓側")
    line.add(mail("booked", at("11-13 21:15"), wata, "utf8-base64"))
    ito = Booking(GINZA, ITO, "PL10000005", at("12-18 19:00"), 6, "ふぐ尽くし", "個室")
    line.add(mail("requested", at("11-20 22:00"), ito, "utf8-quoted"))
    mori = Booking(SHINJUKU, MORI, "PL10000006", at("11-22 01:00"), 2, None, "カウンター")
    line.add(mail("booked", at("11-19 18:30"), mori, "jis", slug="mori-at-25-00"))


def _traps(line: Timeline) -> None:
    sato = Booking(SHINJUKU, SATO, "PL10000011", at("10-31 18:00"), 4, "炭火焼きコース", "テーブル")
    per_head = "4名(お1人様:4名)"
    line.add(mail("booked", at("10-18 12:00"), sato, "jis", slug="sato-per-head-label", size=per_head))
    line.add(
        mail(
            "changed",
            at("10-25 12:00"),
            sato,
            "jis",
            slug="subject-says-changed",
            state="キャンセル",
            reason="お客様都合",
        )
    )
    line.add(mail("booked", at("10-26 12:00"), replace(sato, party=2), "jis", slug="sato-again-same-number"))

    children = Booking(YOKOHAMA, KOBAYASHI, "PL10000012", at("11-15 17:30"), 3, "Family set", "ソファ")
    line.add(
        mail(
            "booked",
            at("11-01 09:40"),
            children,
            "cp932-base64",
            slug="children-under-12",
            size="大人2人 子供（12歳未満）1人",
        )
    )
    yama = Booking(GINZA, YAMAZAKI, "PL10000013", at("11-24 20:00"), 2, "おまかせ", "カウンター")
    line.add(
        mail("cancelled", at("11-14 10:00"), yama, "alternative-jis", slug="before-its-booking", reason="お客様都合")
    )
    asama = Booking(GINZA, ASAMA, "PL10000014", at("11-23 18:30"), 2, "旬の握りと天ぷらのコース（全9品）", "カウンター")
    line.add(mail("booked", at("11-15 15:15"), asama, "html", slug="html-only"))
    line.repeat("gnavi-booked-html-only-repeated", minutes=30)


def _other(line: Timeline) -> None:
    def other(issued: datetime, slug: str, subject: str, text: str, shape: str, expected: dict[str, Any]) -> Sample:
        raw = write(envelope(GINZA, subject, issued, f"{issued:%m%d%H%M}.{slug}"), text, shape)
        return Sample(issued, SITE, f"gnavi-{slug}", raw, expected)

    booking = Booking(GINZA, ITO, "PL10000005", at("12-18 19:00"), 6, "ふぐ尽くし", "個室")
    digest = (
        "届屋 銀座本店 様 (abcd001)\n\n本日来店予定のご予約は1件です。\n\n"
        "［予約番号］ PL10000014\n［状態］ 確定済\n"
        "［来店日時］ 2026年11月23日(月) 18時30分\n［来店人数］ 2名\n"
    )
    line.add(
        other(
            at("11-21 09:00"),
            "digest-quoting-labels",
            "【ぐるなび】本日（11月21日）来店予定のご予約情報",
            digest,
            "jis",
            notice(SITE, at("11-21 09:00"), "digest"),
        )
    )
    waiting = page(booking, "未確定", "お客様がお返事をお待ちです。")
    line.add(
        other(
            at("11-21 07:30"),
            "reminder-to-answer",
            "【ぐるなび】ネット予約の「確定」または「キャンセル」をお願いします",
            waiting,
            "jis",
            notice(SITE, at("11-21 07:30"), "reminder"),
        )
    )
    line.add(
        other(
            at("10-09 11:00"),
            "reminder-visit-happened",
            "【ぐるなび】来店実績の確認はお済みでしょうか",
            digest,
            "utf8-base64",
            notice(SITE, at("10-09 11:00"), "reminder"),
        )
    )
    offer = "加盟店様\n\n新春の特集にご参加ください。［来店日時］の多い時期です。\n"
    line.add(
        other(
            at("11-16 10:00"),
            "promotion",
            "【ぐるなび】新春キャンペーンのご案内",
            offer,
            "sjis",
            notice(SITE, at("11-16 10:00"), "promotion"),
        )
    )
    strange = page(booking, "仮押さえ", "ネット予約についてお知らせします。")
    line.add(
        other(
            at("11-21 09:30"),
            "unknown-state",
            SUBJECTS["booked"],
            strange,
            "jis",
            unknown(SITE, at("11-21 09:30"), "unknown_kind"),
        )
    )
