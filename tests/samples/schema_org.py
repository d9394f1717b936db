"""schema.org markup: the samples. An invented platform, seat.example, writes JSON-LD or microdata into its mail."""

from __future__ import annotations

import html
import json
from dataclasses import replace
from datetime import datetime
from typing import Any

from tests.samples.people import (
    GINZA,
    KELLER,
    KOBAYASHI,
    NAKAMURA,
    OKAFOR,
    SATO,
    SHINJUKU,
    TAKAHASHI,
    YOKOHAMA,
    Booking,
    Shop,
    at,
)  # fmt: skip
from tests.samples.timeline import Sample, Timeline, guest, iso, notice, reservation, unknown
from tests.samples.writing import Envelope, write

SITE = "schema-org"


def envelope(shop: Shop, subject: str, issued: datetime, token: str) -> Envelope:
    """Return the headers of a mail of the platform."""
    to = f"demo-{shop.code}-schema-org@in.todoku.example"
    return Envelope("Seat Example", "bookings@seat.example", to, subject, issued, f"<{token}@seat.example>")


def modify_link(booking: Booking) -> str:
    """Return the address at which the booking is changed."""
    return f"https://seat.example/r/{booking.reference}?a=1&lang=ja"


def markup(booking: Booking, status: str) -> dict[str, Any]:
    """Return the JSON-LD of one reservation."""
    person: dict[str, Any] = {"@type": "Person", "name": booking.guest.name, "email": booking.guest.email}
    if booking.guest.phone:
        person["telephone"] = booking.guest.phone
    return {
        "@context": "http://schema.org",
        "@type": "FoodEstablishmentReservation",
        "reservationNumber": booking.reference,
        "reservationStatus": f"http://schema.org/{status}",
        "underName": person,
        "reservationFor": {
            "@type": "FoodEstablishment",
            "name": booking.shop.name_en,
            "telephone": "+81-3-0000-0001",
            "address": {"@type": "PostalAddress", "addressCountry": "JP"},
        },
        "startTime": booking.start.isoformat(),
        "partySize": str(booking.party),
        "modifyReservationUrl": modify_link(booking),
    }


def page(booking: Booking, json_text: str, sentence: str) -> str:
    """Return the HTML of the mail with its JSON-LD."""
    start = f"{booking.start:%d %B %Y, %H:%M}"
    return (
        f'<html><head><script type="application/ld+json">\n{json_text}\n</script></head><body><h1>{sentence}</h1>'
        f"<p>{html.escape(booking.guest.name)}, table for {booking.party}, {start}</p></body></html>\n"
    )


def microdata(booking: Booking, status: str) -> str:
    """Return the HTML of the mail with microdata."""
    return (
        '<html><body><div itemscope itemtype="http://schema.org/FoodEstablishmentReservation">'
        f'<meta itemprop="reservationNumber" content="{booking.reference}"/>'
        f'<link itemprop="reservationStatus" href="http://schema.org/{status}"/>'
        '<div itemprop="underName" itemscope itemtype="http://schema.org/Person">Guest: '
        f'<span itemprop="name">{html.escape(booking.guest.name)}</span>'
        f'<meta itemprop="email" content="{booking.guest.email}"/></div>'
        '<div itemprop="reservationFor" itemscope itemtype="http://schema.org/FoodEstablishment">'
        f'<b itemprop="name">{html.escape(booking.shop.name_en)}</b></div>'
        f'<time itemprop="startTime" datetime="{booking.start.isoformat()}">{booking.start:%d %B %H:%M}</time>'
        f'<meta itemprop="partySize" content="{booking.party}"/>'
        f'<a itemprop="modifyReservationUrl" href="{html.escape(modify_link(booking))}">Change</a>'
        "</div></body></html>\n"
    )


def answer(event: str, issued: datetime, now: Booking) -> dict[str, Any]:
    """Return what the notification must be read to."""
    return reservation(
        SITE, issued, event, now.reference, shop=now.shop.name_en, start=iso(now.start), party_size=now.party,
        guest=guest(now.guest.name, phone=now.guest.e164, email=now.guest.email), link=modify_link(now),
    )  # fmt: skip


def mail(event: str, issued: datetime, now: Booking, body: str, slug: str, shape: str = "html") -> Sample:
    """Return one notification with its answer."""
    head = envelope(
        now.shop, f"Reservation {now.reference} at {now.shop.name_en}", issued, f"{now.reference}.{issued:%m%d%H%M}"
    )
    text = f"Your guest {now.guest.name}, {now.party} people, {now.start:%d %B %H:%M}\n"
    raw = write(head, text, shape, html_body=body)
    return Sample(issued, SITE, f"schema-org-{event}-{slug}", raw, answer(event, issued, now))


def tell(line: Timeline) -> None:
    """Put the stories of this folder on the timeline."""
    _lives(line)
    _broken(line)
    _nobody(line)


def _dump(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2)


def _lives(line: Timeline) -> None:
    keller = Booking(YOKOHAMA, KELLER, "SE-1001", at("10-03 19:00"), 2)
    line.add(
        mail(
            "booked",
            at("09-21 15:00"),
            keller,
            page(keller, _dump(markup(keller, "Confirmed")), "New reservation"),
            "keller-old-status-word",
        )
    )
    line.add(
        mail(
            "cancelled",
            at("09-27 08:00"),
            keller,
            page(keller, _dump(markup(keller, "ReservationCancelled")), "Cancelled"),
            "keller",
        )
    )
    okafor = Booking(GINZA, OKAFOR, "SE-1002", at("10-23 18:30"), 4)
    pending = page(okafor, _dump(markup(okafor, "ReservationPending")), "Please answer")
    line.add(mail("requested", at("10-13 07:00"), okafor, pending, "okafor", "alternative"))
    line.add(mail("booked", at("10-13 12:00"), okafor, microdata(okafor, "ReservationConfirmed"), "okafor-microdata"))
    taka = Booking(GINZA, TAKAHASHI, "SE-1003", at("11-18 19:00"), 2)
    line.add(
        mail(
            "booked",
            at("11-07 10:00"),
            taka,
            page(taka, _dump([markup(taka, "ReservationConfirmed")]), "New reservation"),
            "takahashi-in-a-list",
        )
    )
    hold = Booking(SHINJUKU, NAKAMURA, "SE-1004", at("12-03 18:00"), 8)
    line.add(
        mail(
            "tentative",
            at("11-18 10:00"),
            hold,
            page(hold, _dump(markup(hold, "ReservationHold")), "On hold"),
            "nakamura-hold",
        )
    )
    sato = Booking(SHINJUKU, SATO, "SE-1005", at("12-10 19:30"), 3)
    graph = {
        "@context": "https://schema.org",
        "@graph": [{"@type": "Organization", "name": "Seat Example"}, markup(sato, "Pending")],
    }
    line.add(mail("requested", at("11-21 06:00"), sato, page(sato, _dump(graph), "Please answer"), "sato-in-a-graph"))
    gone = replace(okafor, start=at("10-23 18:30"))
    line.add(mail("cancelled", at("10-22 09:00"), gone, microdata(gone, "Cancelled"), "okafor-microdata"))


def _broken(line: Timeline) -> None:
    koba = Booking(YOKOHAMA, KOBAYASHI, "SE-1006", at("11-26 18:00"), 2)
    good = _dump(markup(koba, "ReservationConfirmed"))
    mended = (
        "<!--\n" + good.replace('"partySize": "2"', '"partySize": "2",\n  "x": "line\nend"').rstrip("}\n") + ",\n}\n-->"
    )
    line.add(
        mail("booked", at("11-12 12:00"), koba, page(koba, mended, "New reservation"), "kobayashi-broken-json-mended")
    )
    refused = good.replace('"reservationNumber": ', '"reservationNumber" ')
    head = envelope(YOKOHAMA, "Reservation SE-1007 at Bistro Ato Yokohama", at("11-12 13:00"), "SE-1007.refused")
    raw = write(head, "", "html", html_body=page(koba, refused, "New reservation"))
    line.add(
        Sample(
            at("11-12 13:00"),
            SITE,
            "schema-org-unknown-layout-broken-json",
            raw,
            unknown(SITE, at("11-12 13:00"), "broken_markup"),
        )
    )


def _nobody(line: Timeline) -> None:
    folder = "none"
    supplier = Envelope(
        "とどけ青果",
        "order@yasai.example",
        "demo-ginza-tabelog@in.todoku.example",
        "明日の配送について",
        at("10-11 09:00"),
        "<1@yasai.example>",
    )
    text = "いつもお世話になっております。\n明日の納品は7:30頃の予定です。人数分の柚子もお持ちします。\n"
    line.add(
        Sample(
            at("10-11 09:00"),
            folder,
            "none-supplier-mail",
            write(supplier, text, "jis"),
            notice(None, at("10-11 09:00"), "other"),
        )
    )
    hello = Envelope(
        "Gmail Team",
        "forwarding-noreply@google.com",
        "demo-ginza-tabelog@in.todoku.example",
        "(#123456789) Gmail の転送の確認",
        at("09-20 09:00"),
        "<2@google.com>",
    )
    confirm = "確認コード: 123456789\n転送を許可するには次のリンクをクリックしてください。\nhttps://mail-settings.google.com/mail/vf-example\n"
    line.add(
        Sample(
            at("09-20 09:00"),
            folder,
            "none-forwarding-confirmation",
            write(hello, confirm, "utf8-base64"),
            notice(None, at("09-20 09:00"), "forwarding_confirmation"),
        )
    )
