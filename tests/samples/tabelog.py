"""食べログ: the samples. Its mails name only the surname, and keep id and year in the link."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from tests.samples.people import (
    ASAMA,
    GINZA,
    KOBAYASHI,
    MORI,
    NAKAMURA,
    SATO,
    SHINJUKU,
    SUZUKI_COMPANY,
    TAKAHASHI,
    TANAKA_SECTION,
    WATANABE,
    YAMAZAKI,
    YOKOHAMA,
    YOSHIDA,
    Booking,
    Shop,
    at,
    short_when,
)  # fmt: skip
from tests.samples.timeline import Sample, Timeline, guest, iso, notice, previous, reservation, unknown
from tests.samples.writing import Envelope, forwarded_attached, forwarded_inline, write

SITE = "tabelog"
BOX = "-" * 42
FOOTER = "+-" * 21
SUBJECTS = {
    "booked": ("【新規予約】新しい予約が入りました。", "-", "お客様により下記予約が登録されました。"),
    "changed": ("【予約変更】予約内容が変更されました。", "", "お客様により下記予約内容が変更されました。"),
    "cancelled": (
        "【予約キャンセル】予約がキャンセルされました。",
        "",
        "お客様により下記予約内容がキャンセルされました。",
    ),
}
POLICY = "お席のみのご予約\n前日：お1人様 1,000円\n当日・無断キャンセル：お1人様 3,000円"


def link(booking: Booking) -> str:
    """Return the address of the booking in the owner's screen."""
    return f"https://owner.tabelog.com/tn/time-schedule/{booking.start:%Y-%m-%d}?bookingId=net:{booking.reference}"


def envelope(shop: Shop, subject: str, issued: datetime, token: str) -> Envelope:
    """Return the headers of a mail of this site."""
    to = f"demo-{shop.code}-tabelog@in.todoku.example"
    return Envelope("食べログ", "info@mail.tabelog.com", to, subject, issued, f"<{token}@mail.tabelog.com>")


def body(kind: str, now: Booking, old: Booking | None = None, *, reason: str | None = None, colon: str = " ：") -> str:
    """Return the text of one notification; old: the booking before a change."""
    before = old or now

    def arrow(was: str, is_now: str) -> str:
        return is_now if was == is_now else f"{was} → {is_now}"

    size = f"{now.party}名" if before.party == now.party else f"{before.party} → {now.party}"
    person = now.guest
    lines = [
        f"{now.shop.name} 様", "", BOX, "このメールはシステムから自動送信している予約通知メールです。",
        "個人情報保護のため、お客様のフルネームはメールではご確認いただけません。", BOX, "", SUBJECTS[kind][2], "",
        f"お名前{colon}{person.surname}（{person.surname_kana}）様",
        f"電話番号{colon}{person.phone.replace('-', '')}",
        f"日付{colon}{arrow(f'{before.start:%m/%d}', f'{now.start:%m/%d}')}",
        f"来店時刻{colon}{arrow(f'{before.start:%H:%M}', f'{now.start:%H:%M}')}",
        f"滞在可能時間{colon}{now.stay_hours}時間",
        f"人数{colon}{size}",
        f"コース{colon}{now.course or 'お席のみのご予約'}",
        f"卓{colon}{now.seat or ''}",
        f"ご要望{colon}{now.requests or ''}",
    ]  # fmt: skip
    if reason is not None:
        lines.append(f"キャンセル理由{colon}【{reason}】")
    lines += [f"キャンセルポリシー：{POLICY}", "", "▼予約の詳細はこちら", link(now), "", FOOTER, "株式会社カカクコム",
              "食べログ 店舗会員サポート owner_support@tabelog.com", FOOTER, ""]  # fmt: skip
    return "\n".join(lines)


def answer(kind: str, issued: datetime, now: Booking, old: Booking | None = None, **more: Any) -> dict[str, Any]:
    """Return what the notification must be read to."""
    facts: dict[str, Any] = {
        "shop": now.shop.name,
        "start": iso(now.start),
        "end": iso(now.end),
        "party_size": now.party,
        "guest": guest(now.guest.surname, now.guest.surname_kana, now.guest.e164),
        "course": now.course,
        "seat": now.seat,
        "requests": now.requests,
        "link": link(now),
    }
    if old is not None:
        moved = old.start != now.start
        resized = old.party != now.party
        facts["previous"] = previous(old, start=moved, party=resized) if moved or resized else None
    return reservation(SITE, issued, kind, now.reference, **{**facts, **more})


def mail(
    kind: str, issued: datetime, now: Booking, shape: str, old: Booking | None = None, *,
    slug: str = "", reason: str | None = None, late_minutes: int = 0, colon: str = " ：",
) -> Sample:  # fmt: skip
    """Return one notification with its answer. late_minutes: how long it was on the way."""
    head, mark, _ = SUBJECTS[kind]
    subject = f"{head} ({short_when(now.start, mark, now.party)})【食べログネット予約】"
    token = f"{now.reference}.{issued:%m%d%H%M}.{kind}"
    raw = write(envelope(now.shop, subject, issued, token), body(kind, now, old, reason=reason, colon=colon), shape)
    more = {"cancel_reason": reason} if reason is not None else {}
    arrives = issued + timedelta(minutes=late_minutes)
    return Sample(arrives, SITE, f"tabelog-{kind}-{slug or now.guest.key}", raw, answer(kind, issued, now, old, **more))


def other(
    issued: datetime, shop: Shop, slug: str, subject: str, text: str, shape: str, expected: dict[str, Any]
) -> Sample:
    """Return a mail of the site that is no readable reservation."""
    raw = write(envelope(shop, subject, issued, f"{issued:%m%d%H%M}.{slug}"), text, shape)
    return Sample(issued, SITE, f"tabelog-{slug}", raw, expected)


def tell(line: Timeline) -> None:
    """Put the stories of this site on the timeline."""
    _lives(line)
    _disorder(line)
    _forwarded(line)
    _notices(line)
    _drift(line)


def _lives(line: Timeline) -> None:
    first = Booking(
        GINZA, TAKAHASHI, "31000001", at("09-25 18:30"), 2, "季節の会席コース 8,800円", "A1 (テーブル)[禁煙]"
    )
    line.add(mail("booked", at("09-20 11:02"), first, "jis"))
    moved = replace(first, start=at("09-26 19:00"), party=3)
    line.add(mail("changed", at("09-21 09:15"), moved, "jis", first))
    line.add(mail("cancelled", at("09-24 21:40"), moved, "jis", reason="お客様のご都合"))

    rooms = "個室 松 (個室)[禁煙]、個室 竹 (個室)[禁煙]"
    wish = "領収書の宛名は「㈱オリゾン商事」でお願いします。\n会計は№3の席の者がまとめて行います。"
    company = Booking(GINZA, SUZUKI_COMPANY, "31000002", at("10-02 19:00"), 8, "接待コース①", rooms, wish)
    line.add(mail("booked", at("09-22 14:20"), company, "jis", slug="company-kabu"))
    asama = Booking(SHINJUKU, ASAMA, "31000003", at("10-04 20:00"), 1, None, "C3 (カウンター)[禁煙]")
    line.add(mail("booked", at("09-28 18:00"), asama, "sjis", slug="asama-name-ends-like-honorific"))
    late = Booking(
        SHINJUKU,
        NAKAMURA,
        "31000004",
        at("10-10 21:30"),
        4,
        "炉ばた満喫コース",
        "T5 (テーブル)[喫煙可]",
        "遅くなるかもしれません",
        3,
    )
    line.add(mail("booked", at("10-01 23:50"), late, "cp932-base64"))
    more = replace(late, party=6)
    line.add(mail("changed", at("10-03 12:00"), more, "utf8-base64", late, slug="party-only"))
    yamazaki = Booking(
        YOKOHAMA,
        YAMAZAKI,
        "31000005",
        at("10-18 18:00"),
        2,
        "Menu du soir",
        "窓側2 (テーブル)[禁煙]",
        "記念日です。ケーキに「Happy 10th」とお願いします。",
    )
    line.add(mail("booked", at("10-05 10:10"), yamazaki, "utf8-quoted"))
    section = Booking(
        YOKOHAMA, TANAKA_SECTION, "31000006", at("11-06 19:30"), 12, "貸切プラン②", "ホール (テーブル)[禁煙]"
    )
    line.add(mail("booked", at("10-20 15:05"), section, "jis", slug="section-maru-ichi"))
    yoshida = Booking(GINZA, YOSHIDA, "31000007", at("11-14 18:30"), 2, None, "A2 (テーブル)[禁煙]")
    line.add(mail("booked", at("11-02 08:30"), yoshida, "utf8-8bit", slug="yoshida-beyond-the-bmp"))
    newyear = Booking(
        GINZA, SATO, "31000008", at("2027-01-02 18:00"), 4, "新春の祝い膳", "個室 梅 (個室)[禁煙]", "子供用の椅子を1脚"
    )
    line.add(mail("booked", at("11-19 20:15"), newyear, "jis", slug="new-year"))
    plain = Booking(
        SHINJUKU, MORI, "31000009", at("11-21 20:00"), 2, None, "C1 (カウンター)[禁煙]、C2 (カウンター)[禁煙]"
    )
    line.add(
        mail("booked", at("11-21 11:30"), plain, "utf8-8bit", slug="today-no-break-spaces", colon="\u00a0：\u00a0")
    )


def _disorder(line: Timeline) -> None:
    # The change overtakes its booking.
    old = Booking(SHINJUKU, KOBAYASHI, "31000011", at("10-24 18:00"), 2, "炉ばた満喫コース", "T1 (テーブル)[禁煙]")
    new = replace(old, start=at("10-24 19:30"))
    line.add(mail("changed", at("10-12 13:05"), new, "jis", old, slug="kobayashi-before-its-booking"))
    line.add(mail("booked", at("10-12 13:00"), old, "jis", slug="kobayashi-after-its-change", late_minutes=40))

    # Two changes; the older one arrives last and must not win.
    base = Booking(YOKOHAMA, WATANABE, "31000012", at("11-08 18:00"), 2, "Menu dégustation", "T8 (テーブル)[禁煙]")
    three = replace(base, party=3)
    four = replace(three, party=4, start=at("11-08 18:30"))
    line.add(mail("booked", at("10-22 10:00"), base, "utf8-base64"))
    line.add(mail("changed", at("10-23 10:30"), four, "utf8-base64", three, slug="watanabe-newer"))
    line.add(
        mail(
            "changed", at("10-23 10:00"), three, "utf8-base64", base, slug="watanabe-older-comes-late", late_minutes=55
        )
    )

    # Cancelled, then booked again under the same id; the second notice comes twice.
    again = Booking(GINZA, SATO, "31000013", at("11-20 19:00"), 2, "季節の会席コース 8,800円", "A4 (テーブル)[禁煙]")
    line.add(mail("booked", at("11-03 09:00"), again, "jis"))
    line.add(mail("cancelled", at("11-04 09:00"), again, "jis", reason="日程変更のため"))
    line.add(mail("booked", at("11-05 09:00"), replace(again, party=5), "jis", slug="sato-again"))
    line.repeat("tabelog-booked-sato-again-repeated")


def _forwarded(line: Timeline) -> None:
    booking = Booking(GINZA, NAKAMURA, "31000021", at("11-28 19:00"), 6, "忘年会コース", "個室 松 (個室)[禁煙]")
    issued, passed_on = at("11-16 12:00"), at("11-16 12:20")
    subject = f"{SUBJECTS['booked'][0]} ({short_when(booking.start, '-', 6)})【食べログネット予約】"
    inner = envelope(GINZA, subject, issued, "31000021.inner")
    by_hand = Envelope(
        "届屋 店長",
        "manager@todoke-restaurants.example",
        inner.to,
        "Fwd: " + subject,
        passed_on,
        "<fwd-1@todoke-restaurants.example>",
    )
    text = forwarded_inline(inner, body("booked", booking), quoted=True)
    line.add(
        Sample(
            passed_on,
            SITE,
            "tabelog-booked-forwarded-quoted",
            write(by_hand, text, "utf8-base64"),
            answer("booked", issued, booking),
        )
    )

    cancelled = envelope(
        GINZA,
        f"{SUBJECTS['cancelled'][0]} ({short_when(booking.start, '', 6)})【食べログネット予約】",
        at("11-18 12:00"),
        "31000021.c",
    )
    raw = write(cancelled, body("cancelled", booking, reason="人数が集まらなかったため"), "jis")
    outer = Envelope(
        "届屋 店長",
        "manager@todoke-restaurants.example",
        inner.to,
        "転送します",
        at("11-18 12:30"),
        "<fwd-2@todoke-restaurants.example>",
    )
    expected = answer("cancelled", at("11-18 12:00"), booking, cancel_reason="人数が集まらなかったため")
    line.add(
        Sample(
            at("11-18 12:30"),
            SITE,
            "tabelog-cancelled-forwarded-as-attachment",
            forwarded_attached(outer, raw, "ご確認ください。\n"),
            expected,
        )
    )

    html = Booking(YOKOHAMA, YAMAZAKI, "31000022", at("12-05 18:00"), 2, "Menu du soir", "窓側1 (テーブル)[禁煙]")
    line.add(mail("booked", at("11-17 16:00"), html, "html", slug="html-only"))
    both = replace(html, start=at("12-05 19:00"))
    line.add(mail("changed", at("11-18 16:00"), both, "alternative-jis", html, slug="alternative"))


def _notices(line: Timeline) -> None:
    digest = "\n".join([
        "届屋 銀座本店 様", "", "本日（11/20）のご来店予定をお知らせします。", "",
        "＜本日の食べログネット予約一覧＞", "",
        "19:00～ 5名 佐藤 （サトウ） 様", "20:30～ 2名 髙橋 （タカハシ） 様", "", "*11月20日10:00 時点", "", FOOTER,
        "株式会社カカクコム", "owner_support@tabelog.com",
    ])  # fmt: skip
    line.add(
        other(
            at("11-20 10:00"),
            GINZA,
            "digest-today",
            "【本日のご来店一覧】11月20日(金) 食べログネット予約",
            digest,
            "jis",
            notice(SITE, at("11-20 10:00"), "digest"),
        )
    )
    labels = digest + "\n\n日付 ：11/20\n来店時刻 ：19:00\n人数 ：5名\nお名前 ：佐藤（サトウ）様\n"
    line.add(
        other(
            at("11-21 10:00"),
            GINZA,
            "digest-quoting-labels",
            "食べログ ネット予約一覧（11/21）",
            labels,
            "sjis",
            notice(SITE, at("11-21 10:00"), "digest"),
        )
    )
    points = (
        (
            "届屋 銀座本店 様\n\n本日、Vポイントのご利用が2件あります。\n\n日付 ：11/20\n"
            "人数 ：2名\n利用Vポイント ：500\n\n"
        )
        + FOOTER
        + "\n"
    )
    line.add(
        other(
            at("11-20 10:05"),
            GINZA,
            "point-digest",
            "【Vポイント利用予約まとめ情報】本日、Vポイントのご利用が2件あります。",
            points,
            "jis",
            notice(SITE, at("11-20 10:05"), "point_digest"),
        )
    )
    review = "届屋 銀座本店 様\n\n新しい口コミが投稿されました。\n来店時刻 ：夜\n\n" + FOOTER + "\n"
    line.add(
        other(
            at("10-15 12:00"),
            GINZA,
            "review",
            "【食べログ】新しい口コミが投稿されました",
            review,
            "utf8-base64",
            notice(SITE, at("10-15 12:00"), "review"),
        )
    )
    offer = "店舗会員様\n\n集客セミナーのご案内です。日付 ：12/01 来店時刻 ：14:00\nキャンセルポリシー：なし\n"
    line.add(
        other(
            at("11-10 12:00"),
            SHINJUKU,
            "promotion",
            "【食べログ】無料セミナーのご案内",
            offer,
            "html",
            notice(SITE, at("11-10 12:00"), "promotion"),
        )
    )


def _drift(line: Timeline) -> None:
    booking = Booking(SHINJUKU, KOBAYASHI, "31000031", at("11-29 18:00"), 2, None, "T2 (テーブル)[禁煙]")
    subject = f"{SUBJECTS['booked'][0]} ({short_when(booking.start, '-', 2)})【食べログネット予約】"
    renamed = body("booked", booking).replace("来店時刻 ：", "ご来店のお時間 ：")
    line.add(
        other(
            at("11-20 18:00"),
            SHINJUKU,
            "unknown-layout-renamed-label",
            subject,
            renamed,
            "jis",
            unknown(SITE, at("11-20 18:00"), "missing:start"),
        )
    )
    wrong = body("booked", booking).replace("time-schedule/2026-11-29", "time-schedule/2026-11-30")
    line.add(
        other(
            at("11-20 18:10"),
            SHINJUKU,
            "unknown-layout-date-mismatch",
            subject,
            wrong,
            "jis",
            unknown(SITE, at("11-20 18:10"), "date_mismatch"),
        )
    )
    system = "店舗会員様\n\n予約台帳のシステムを更新しました。詳しくは管理画面をご覧ください。\n"
    line.add(
        other(
            at("11-12 03:00"),
            SHINJUKU,
            "unknown-kind",
            "【食べログ】予約台帳の更新について",
            system,
            "utf8-quoted",
            unknown(SITE, at("11-12 03:00"), "unknown_kind"),
        )
    )
