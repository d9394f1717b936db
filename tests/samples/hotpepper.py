"""ホットペッパーグルメ: the samples. Its mails have no telephone number; a change has two blocks in either order."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from tests.samples.people import (
    GINZA,
    ITO,
    KOBAYASHI,
    MORI,
    NAKAMURA,
    SATO,
    SHINJUKU,
    TAKAHASHI,
    TANAKA_SECTION,
    WATANABE,
    YAMAZAKI,
    YOKOHAMA,
    Booking,
    Shop,
    at,
    weekday,
)  # fmt: skip
from tests.samples.timeline import Sample, Timeline, guest, iso, notice, previous, reservation, unknown
from tests.samples.writing import Envelope, forwarded_inline, write

SITE = "hotpepper"
RULER = "-" * 45


def envelope(shop: Shop, subject: str, issued: datetime, token: str) -> Envelope:
    """Return the headers of a mail of this site."""
    to = f"demo-{shop.code}-hotpepper@in.todoku.example"
    return Envelope("ホットペッパーグルメ", "jp_kanri@hotpepper.jp", to, subject, issued, f"<{token}@hotpepper.jp>")


def when(moment: datetime) -> str:
    """Return `2026年8月30日(日) 18:30`; a start after midnight is written on the day before, as 25:30."""
    if moment.hour < 4:
        day = moment - timedelta(days=1)
        return f"{day.year}年{day.month}月{day.day}日({weekday(day)}) {moment.hour + 24}:{moment:%M}"
    return f"{moment.year}年{moment.month}月{moment.day}日({weekday(moment)}) {moment:%H:%M}"


def fields(booking: Booking, status: str, *, reason: str | None = None, answers: str | None = None) -> list[str]:
    """Return the field lines of one state of a booking."""
    lines = [
        f"■予約依頼番号：{booking.reference}",
        "■予約経路：ホットペッパーグルメ",
        f"■来店日時：{when(booking.start)}",
        f"■代表者：{booking.guest.name}様",
        f"■コース：{booking.course or '席のみ'}",
        "■席情報：" + (booking.seat or "").replace("\n", "\n\u3000"),
        f"■人数：{booking.party}名様",
        f"■ステータス：{status}",
    ]
    if reason is not None:
        lines.append(f"■キャンセル理由：{reason}")
    if booking.requests:
        lines += ["■ご要望事項：", booking.requests]
    if answers:
        lines += ["■質問の回答", answers]
    return lines


def page(shop: Shop, sentence: str, blocks: list[str]) -> str:
    """Return the whole text around the field lines."""
    lines = [f"{shop.name}\u3000ご担当者様", "", sentence, "", "□■ ご予約内容 ■□", RULER, *blocks, RULER,
             "※キャンセルの際は、お早めにお客様へご連絡ください。", "ホットペッパーグルメ 運営事務局", ""]  # fmt: skip
    return "\n".join(lines)


def answer(event: str, issued: datetime, now: Booking, **more: Any) -> dict[str, Any]:
    """Return what the notification must be read to."""
    facts: dict[str, Any] = {
        "shop": now.shop.name,
        "start": iso(now.start),
        "party_size": now.party,
        "guest": guest(now.guest.name),
        "course": now.course,
        "seat": now.seat,
        "requests": now.requests,
    }
    return reservation(SITE, issued, event, now.reference, **{**facts, **more})


def mail(
    issued: datetime, event: str, now: Booking, slug: str, subject: str, text: str, shape: str, **more: Any
) -> Sample:
    """Return one notification with its answer."""
    raw = write(envelope(now.shop, subject, issued, f"{now.reference}.{issued:%m%d%H%M}"), text, shape)
    return Sample(issued, SITE, f"hotpepper-{event}-{slug}", raw, answer(event, issued, now, **more))


def booked(
    issued: datetime, now: Booking, shape: str, *, slug: str = "", request: bool = False, answers: str | None = None
) -> Sample:
    """Return a new booking, confirmed at once or to be answered."""
    tag, event = ("【リクエスト予約】", "requested") if request else ("【即予約】", "booked")
    subject = f"{tag}{now.guest.name}様 {when(now.start)} {now.party}名様の申し込み"
    text = page(now.shop, "下記のお客様より予約のお申し込みがありました。", fields(now, "未対応", answers=answers))
    more = {"requests": "\n".join(part for part in (now.requests, answers) if part)} if answers else {}
    return mail(issued, event, now, slug or now.guest.key, subject, text, shape, **more)


def changed(
    issued: datetime,
    old: Booking,
    now: Booking,
    shape: str,
    *,
    slug: str = "",
    after_first: bool = False,
    in_body: bool = False,
) -> Sample:
    """Return a change. in_body: the words that say so are only in the body (they moved there once)."""
    before = ["【変更前】", *fields(old, "未対応"), RULER]
    after = ["【変更後】", *fields(now, "相談中"), RULER]
    blocks = [*after, *before] if after_first else [*before, *after]
    subject = (
        f"【ホットペッパーグルメ】{now.guest.name}様のご予約について"
        if in_body
        else f"変更処理完了 {now.guest.name}様のご予約"
    )
    text = page(now.shop, "ご予約の変更処理完了をお知らせします。", blocks)
    both = previous(old, start=True, party=True)
    return mail(issued, "changed", now, slug or now.guest.key, subject, text, shape, previous=both)


def cancelled(issued: datetime, now: Booking, shape: str, *, slug: str = "", reason: str = "お客様都合") -> Sample:
    """Return a cancellation."""
    subject = f"{now.guest.name}様 {when(now.start)} のキャンセル"
    text = page(
        now.shop,
        "下記のご予約がキャンセルとなりました。変更のご依頼は承れません。",
        fields(now, f"キャンセル（{reason}）", reason=reason),
    )
    return mail(issued, "cancelled", now, slug or now.guest.key, subject, text, shape, cancel_reason=reason)


def tell(line: Timeline) -> None:
    """Put the stories of this site on the timeline."""
    _lives(line)
    _traps(line)
    _other(line)


def _lives(line: Timeline) -> None:
    seats = "テーブル席\n禁煙\n4名席×1"
    sato = Booking(
        SHINJUKU,
        SATO,
        "HP20260001",
        at("09-29 19:00"),
        4,
        "鍋コース　3,980円",
        seats,
        "妊婦が1名います。\n暖かい席だと助かります。",
    )
    line.add(booked(at("09-22 10:05"), sato, "jis"))
    later = replace(sato, start=at("09-30 19:30"), party=5)
    line.add(changed(at("09-23 18:00"), sato, later, "jis"))
    line.add(cancelled(at("09-29 20:12"), later, "jis"))

    ito = Booking(YOKOHAMA, ITO, "HP20260002", at("10-09 18:30"), 2, None, "カウンター席\n禁煙")
    line.add(booked(at("10-01 12:34"), ito, "sjis", request=True, slug="ito-must-be-answered"))
    line.add(booked(at("10-01 15:00"), ito, "sjis", slug="ito-confirmed"))

    night = Booking(SHINJUKU, MORI, "HP20260003", at("10-11 01:30"), 2, None, "カウンター席", "終電後に伺います")
    line.add(booked(at("10-07 22:10"), night, "cp932-base64", slug="mori-at-25-30"))
    questions = "Q.アレルギーはございますか？\nA.えび・かに（1名）\nQ.お車でのご来店ですか？\nA.いいえ"
    allergy = Booking(
        GINZA,
        TAKAHASHI,
        "HP20260004",
        at("10-30 19:00"),
        3,
        "①名物すき焼きコース",
        "個室\n完全個室・禁煙",
        "ﾊﾞｰｽﾃﾞｰﾌﾟﾚｰﾄをお願いします",
    )
    line.add(booked(at("10-16 09:00"), allergy, "jis", slug="takahashi-allergy-and-half-width-kana", answers=questions))
    yama = Booking(GINZA, YAMAZAKI, "HP20260005", at("11-22 18:00"), 2, "季節のおすすめ会席", "半個室\n禁煙")
    line.add(booked(at("11-11 19:45"), yama, "utf8-base64"))
    wata = Booking(YOKOHAMA, WATANABE, "HP20260006", at("12-12 19:00"), 10, "パーティープラン", "フロア貸切")
    line.add(booked(at("11-19 13:00"), wata, "alternative", request=True))
    html = Booking(YOKOHAMA, NAKAMURA, "HP20260007", at("12-01 18:30"), 2, None, "テーブル席\n禁煙")
    line.add(booked(at("11-20 09:30"), html, "html-jis", slug="html-only"))


def _traps(line: Timeline) -> None:
    base = Booking(GINZA, KOBAYASHI, "HP20260011", at("11-05 18:00"), 2, "鍋コース　3,980円", "テーブル席\n禁煙")
    line.add(booked(at("10-21 11:00"), base, "jis"))
    four = replace(base, party=4)
    line.add(changed(at("10-22 11:00"), base, four, "jis", slug="after-block-first", after_first=True))
    moved = replace(four, start=at("11-05 19:00"))
    line.add(changed(at("10-23 11:00"), four, moved, "jis", slug="words-only-in-the-body", in_body=True))

    # A "change" whose state after the change says that it is a cancellation.
    before = ["【変更前】", *fields(moved, "未対応"), RULER]
    after = ["【変更後】", *fields(moved, "キャンセル（無断）"), RULER]
    text = page(GINZA, "ご予約の変更処理完了をお知らせします。", [*before, *after])
    same = previous(moved, start=True, party=True)
    subject = "変更処理完了 小林 由紀様のご予約"
    issued = at("11-05 20:30")
    line.add(mail(issued, "cancelled", moved, "a-change-that-is-one", subject, text, "utf8-base64", previous=same))

    company = Booking(
        SHINJUKU,
        TANAKA_SECTION,
        "HP20260012",
        at("11-27 18:30"),
        15,
        "宴会コース（飲み放題120分付）",
        "座敷\n15名席×1",
        "請求書は㈱とどけ商会 第①営業部あてにお願いします",
    )
    line.add(booked(at("11-06 16:20"), company, "jis-undeclared", slug="charset-missing"))
    line.repeat("hotpepper-booked-charset-missing-repeated", minutes=3)


def _other(line: Timeline) -> None:
    booking = Booking(SHINJUKU, ITO, "HP20260021", at("11-30 19:00"), 3, None, "テーブル席")
    issued, passed_on = at("11-17 11:00"), at("11-17 11:30")
    inner = envelope(
        SHINJUKU, f"【即予約】伊藤 結衣様 {when(booking.start)} 3名様の申し込み", issued, "HP20260021.inner"
    )
    text = page(SHINJUKU, "下記のお客様より予約のお申し込みがありました。", fields(booking, "未対応"))
    outer = Envelope(
        "炉ばた とどけ",
        "shinjuku@todoke-restaurants.example",
        inner.to,
        "Fw: ご確認ください",
        passed_on,
        "<fwd-3@todoke-restaurants.example>",
    )
    raw = write(outer, forwarded_inline(inner, text, quoted=False), "jis")
    line.add(Sample(passed_on, SITE, "hotpepper-booked-forwarded-own-subject", raw, answer("booked", issued, booking)))

    def other(issued: datetime, slug: str, subject: str, text: str, shape: str, expected: dict[str, Any]) -> Sample:
        raw = write(envelope(SHINJUKU, subject, issued, f"{issued:%m%d%H%M}.{slug}"), text, shape)
        return Sample(issued, SITE, f"hotpepper-{slug}", raw, expected)

    offer = page(SHINJUKU, "年末特集のご案内です。■来店日時：12月中 ■人数：2名様から", ["■コース：忘年会"])
    line.add(
        other(
            at("11-09 10:00"),
            "promotion",
            "【ホットペッパーグルメ】忘年会キャンペーンのご案内",
            offer,
            "jis",
            notice(SITE, at("11-09 10:00"), "promotion"),
        )
    )
    review = page(SHINJUKU, "お客様より口コミが届きました。", ["■来店日時：2026年10月11日(日)", "■人数：2名様"])
    line.add(
        other(
            at("10-19 10:00"),
            "review",
            "【ホットペッパーグルメ】口コミ投稿のお知らせ",
            review,
            "sjis",
            notice(SITE, at("10-19 10:00"), "review"),
        )
    )
    renamed = text.replace("■予約依頼番号：", "■お申込番号：")
    subject = f"【即予約】伊藤 結衣様 {when(booking.start)} 3名様の申し込み"
    line.add(
        other(
            at("11-21 08:00"),
            "unknown-layout-renamed-reference",
            subject,
            renamed,
            "jis",
            unknown(SITE, at("11-21 08:00"), "missing:reference"),
        )
    )
