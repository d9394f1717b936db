"""Words, shapes and tones for every state: the one place where pages name them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from django.utils import translation
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from todoku import extraction
from todoku.campaigns.types import CampaignState, RunState
from todoku.delivery.types import RecipientState
from todoku.extraction.types import Event
from todoku.guests.types import SuppressionReason
from todoku.intake.types import MailRow, MailState, ReplayState
from todoku.projects.types import Role
from todoku.reservations.types import Effect, ReservationState

TODAY, TOMORROW, YESTERDAY = _("today"), _("tomorrow"), _("yesterday")
_Text = str | Promise


@dataclass(frozen=True, slots=True)
class Word:
    """A state as a page shows it: an icon of icons.svg, a word, and a tone (good, busy, look, bad, off)."""

    text: _Text
    icon: str
    tone: str = ""
    help: _Text = ""


EVENTS: dict[Event, Word] = {
    Event.BOOKED: Word(pgettext_lazy("event", "New"), "new", "busy"),
    Event.REQUESTED: Word(pgettext_lazy("event", "Request"), "ask", "look"),
    Event.TENTATIVE: Word(pgettext_lazy("event", "Tentative"), "ask", "look"),
    Event.CHANGED: Word(pgettext_lazy("event", "Changed"), "change", "look"),
    Event.CHANGE_REQUESTED: Word(pgettext_lazy("event", "Change request"), "ask", "look"),
    Event.CANCELLED: Word(pgettext_lazy("event", "Cancelled"), "cross", "bad"),
    Event.DECLINED: Word(pgettext_lazy("event", "Declined"), "none", "off"),
}
RESERVATIONS: dict[ReservationState, Word] = {
    ReservationState.BOOKED: Word(_("Booked"), "done", "good"),
    ReservationState.REQUESTED: Word(_("Waiting for an answer"), "ask", "look"),
    ReservationState.TENTATIVE: Word(_("Tentatively booked"), "hold", "look"),
    ReservationState.CANCELLED: Word(_("Cancelled"), "cross", "bad"),
    ReservationState.DECLINED: Word(_("Declined"), "none", "off"),
}
EFFECTS: dict[Effect, Word] = {
    Effect.APPLIED: Word(_("Entered"), "done", "good"),
    Effect.DUPLICATE: Word(_("Came twice"), "same", "off"),
    Effect.STALE: Word(_("Older than the book"), "old", "off"),
    Effect.HELD: Word(_("Waits for its booking"), "hold", "look"),
}
MAILS: dict[MailState, Word] = {
    MailState.PENDING: Word(_("Not read yet"), "clock", "busy", _("Arrived and kept; reading follows.")),
    MailState.APPLIED: Word(_("Entered in the book"), "done", "good", _("The book says what this mail said.")),
    MailState.DUPLICATE: Word(_("Came twice"), "same", "off", _("The same mail was entered before.")),
    MailState.STALE: Word(_("Older than the book"), "old", "off", _("A newer mail about it was entered before.")),
    MailState.HELD: Word(
        _("Waits for its booking"), "hold", "look", _("A change or cancellation; the booking itself is not here yet.")
    ),
    MailState.NOT_A_RESERVATION: Word(_("Not a reservation"), "mail", "off", _("A digest, a review, news.")),
    MailState.UNKNOWN_LAYOUT: Word(
        _("Could not be read"), "warn", "bad", _("From a known site, in a form we do not know. Please look yourself.")
    ),
    MailState.QUARANTINED: Word(_("Set aside"), "lock", "look", _("Sender or address could not be trusted.")),
    MailState.UNREADABLE: Word(_("Broken mail"), "broken", "bad", _("Broken beyond reading; the original is kept.")),
}
BOOK_DECIDES = Word(_("Goes into the book"), "done", "good")
OTHER_VALUES = Word(_("Other values"), "change", "look")
REPLAYS: dict[ReplayState, Word] = {
    ReplayState.ASKED: Word(_("Begins in a moment"), "clock", "busy"),
    ReplayState.RUNNING: Word(_("Being read"), "change", "busy"),
    ReplayState.DONE: Word(_("Finished"), "done", "good"),
    ReplayState.STOPPED: Word(_("Stopped"), "stop", "off"),
    ReplayState.FAILED: Word(_("Failed"), "broken", "bad"),
}
CAMPAIGNS: dict[CampaignState, Word] = {
    CampaignState.DRAFT: Word(_("Draft"), "draft", "off"),
    CampaignState.SCHEDULED: Word(_("Scheduled"), "clock", "busy"),
    CampaignState.ACTIVE: Word(_("Sending"), "campaign", "busy"),
    CampaignState.PAUSED: Word(_("Paused"), "pause", "look"),
    CampaignState.STOPPED: Word(_("Stopped"), "stop", "bad"),
    CampaignState.FINISHED: Word(_("Finished"), "done", "good"),
}
RUNS: dict[RunState, Word] = {
    RunState.PLANNED: Word(_("Planned"), "clock", "busy"),
    RunState.SEALING: Word(_("Being sealed"), "mail", "busy"),
    RunState.SEALED: Word(_("Sealed, ready to leave"), "lock", "good"),
    RunState.SENDING: Word(_("Sending"), "campaign", "busy"),
    RunState.FINISHED: Word(_("Finished"), "done", "good"),
    RunState.PAUSED: Word(_("Paused"), "pause", "look"),
    RunState.HELD: Word(_("Waits for you"), "hold", "look"),
    RunState.STOPPED: Word(_("Stopped"), "stop", "bad"),
    RunState.MISSED: Word(_("Missed"), "cross", "bad"),
}
RECIPIENTS: dict[RecipientState, Word] = {
    RecipientState.SENT: Word(_("Sent"), "done", "good", _("Accepted by the mail server.")),
    RecipientState.REFUSED: Word(
        _("Refused"), "cross", "bad", _("The mail server refused for good; its words are kept.")
    ),
    RecipientState.SUPPRESSED: Word(_("Left out"), "none", "off", _("No consent, unsubscribed, or unreachable.")),
    RecipientState.UNRENDERABLE: Word(_("Could not be written"), "warn", "bad", _("The template lacked a value.")),
    RecipientState.EXPIRED: Word(_("Ran out of time"), "clock", "look", _("Temporary answers until the deadline.")),
    RecipientState.UNKNOWN: Word(
        _("Not certain"), "unknown", "look", _("The connection died at the last moment. Never sent again by itself.")
    ),
    RecipientState.PENDING: Word(_("Still to go"), "clock", "busy", _("Not decided yet.")),
}
ROLES: dict[Role, _Text] = {
    Role.OWNER: _("Owner"),
    Role.MANAGER: _("Manager"),
    Role.MARKETER: _("Marketer"),
    Role.OPERATOR: _("Operator"),
    Role.VIEWER: _("Viewer"),
}
NOT_MAILED: dict[str, _Text] = {
    "": _("May be mailed"),
    "no_address": _("No mail address"),
    "no_consent": _("No consent"),
    SuppressionReason.UNSUBSCRIBED.value: _("Unsubscribed"),
    SuppressionReason.BOUNCED.value: _("Address does not exist"),
    SuppressionReason.COMPLAINED.value: _("Complained"),
    SuppressionReason.MANUAL.value: _("Stopped by hand"),
}
# What reading or intake says about a mail; "missing:start" names the field after the colon.
REASONS: dict[str, _Text] = {
    "missing": _("Not found in the mail: %(field)s"),
    "ambiguous": _("Stated twice with different values: %(field)s"),
    "unreadable": _("Could not be understood: %(field)s"),
    "date_mismatch": _("Date and weekday contradict each other"),
    "unknown_kind": _("It does not say whether something was booked, changed or cancelled"),
    "no_definition": _("No definition for this sender"),
    "broken_markup": _("Its structured data is broken"),
    "unknown_address": _("Nobody owns the address it came to"),
    "address_retired": _("Its address was retired on %(field)s"),
    "unknown_project": _("Its project is not there"),
    "other_project": _("It says that it is of another project than the one it came to"),
    "site_of_address": _("It came to the address of another site: %(field)s"),
    "no_facts": _("Nothing was found in it that a reservation needs"),
    "impossible": _("It states what no reservation can have: %(field)s"),
    "refused": _("The book could not keep it (%(field)s); the original is kept"),
    "same_bytes": _("The very same mail arrived before, letter for letter"),
    "published_twice": _("It was announced twice inside Todoku; the book took it once"),
    "bytes_missing": _("Its original is not where it was put; please tell who runs Todoku"),
    "bytes_corrupt": _("Its original is damaged on the disk; please tell who runs Todoku"),
    "arrival_undecodable": _("The note of its arrival can't be read; please tell who runs Todoku"),
    "reader_error": _("Reading it ended in an error of Todoku; please tell who runs Todoku"),
    "empty": _("There is nothing in it"),
    "not_a_mail": _("It is no mail: it has no header"),
    "too_large": _("It is larger than what is read"),
    "headers_too_large": _("Its headers are larger than any mail system writes"),
    "too_many_parts": _("It has more parts than are read"),
    "too_deep": _("Its parts are nested deeper than is read"),
    "digest": _("Digest of the day"),
    "point_digest": _("Digest of points"),
    "reminder": _("Reminder"),
    "review": _("Review"),
    "promotion": _("Advertising"),
    "guest_message": _("Message of a guest"),
    "verification": _("Verification"),
    "forwarding_confirmation": _("Confirmation of forwarding"),
    "other": _("Nothing in it says that it is about a reservation"),
}
PARTS: dict[str, _Text] = {"subject": _("Subject"), "html": _("HTML"), "text": _("Text")}
ACTS: dict[str, _Text] = {
    "campaign.created": _("Created"),
    "campaign.updated": _("Edited"),
    "campaign.scheduled": _("Scheduled"),
    "campaign.sent_now": _("Sent at once"),
    "campaign.paused": _("Paused"),
    "campaign.resumed": _("Resumed"),
    "campaign.stopped": _("Stopped"),
    "campaign.back_to_draft": _("Back to draft"),
    "campaign.rescheduled": _("Rescheduled"),
    "campaign.approved": _("Approved"),
    "campaign.test_sent": _("Test sent"),
    "campaign.planned_ahead": _("Next starts planned"),
    "campaign.finished": _("Finished"),
    "run.created": _("Planned"),
    "run.due": _("Due"),
    "run.pre_sealed": _("Sealed ahead"),
    "run.missed": _("Missed"),
    "run.paused": _("Paused"),
    "run.resumed": _("Resumed"),
    "run.stopped": _("Stopped"),
    "run.skipped": _("Skipped"),
    "run.sent_now": _("Sent at once"),
    "run.acknowledged": _("Seen"),
    "run.resend_planned": _("Sent again to those not reached"),
    "run.had_begun": _("Had begun already"),
    "run.first_message": _("First message"),
    "run.last_message": _("Last message so far"),
    "run.sealing": _("Being sealed"),
    "run.sealed": _("Sealed"),
    "run.started": _("Began to leave"),
    "run.late": _("Late"),
    "run.held": _("Waits for a person"),
    "run.finished": _("Finished"),
    "run.seal_failed": _("Could not be sealed yet"),
    "run.seal_lost": _("Is sealed again"),
}
FIELDS: dict[str, _Text] = {
    "start": _("Visit"),
    "end": _("Until"),
    "party_size": _("People"),
    "guest.name": _("Name"),
    "guest.kana": _("Reading of the name"),
    "guest.phone": _("Phone"),
    "guest.email": _("Mail address"),
    "shop": _("Shop"),
    "course": _("Course"),
    "seat": _("Seat"),
    "requests": _("Requests"),
    "amount": _("Amount"),
    "reference": _("Reservation number"),
    "cancel_reason": _("Reason for cancelling"),
    "link": _("Page at the site"),
    "site": _("Site"),
    "shop_code": _("Code of the shop"),
    "event": _("What happened"),
    "amount.minor": _("Amount"),
    "amount.currency": _("Currency"),
    "previous.start": _("Visit before the change"),
    "previous.party_size": _("People before the change"),
    "previous": _("Visit before the change"),
    "issued_at": _("Time of sending"),
    "received_at": _("Time of arrival"),
}


def reason(code: str) -> str:
    """Return why a mail ended as it did, in words; an unknown code is shown as it is."""
    head, _colon, field = code.partition(":")
    if head not in REASONS:
        return code
    text = str(REASONS[head])
    if "%(field)s" not in text:
        return text
    named = site_name(field) if head == "site_of_address" else FIELDS.get(field, field)
    return text % {"field": named or _("the whole mail")}


def why(row: MailRow) -> str:
    """Return why a mail is not simply in the book, in words: what its state means, its own reason, or both."""
    meaning = "" if row.state is MailState.APPLIED else str(MAILS[row.state].help)
    if not row.reason:
        return meaning
    beside = row.reason.startswith("site_of_address:")  # a remark only: the state has another cause
    return f"{meaning} {reason(row.reason)}".strip() if beside else reason(row.reason)


def not_mailed(reason: str) -> str:
    """Return why an address is not mailed, in words; an unknown reason is shown as it is."""
    return str(NOT_MAILED.get(reason, reason))


def site_name(site: str | None) -> str:
    """Return the name of a booking site in the reader's language; its id when it is not known."""
    if not site:
        return ""
    names = _site_names().get(site, (site, site))
    return names[0 if (translation.get_language() or "ja").startswith("ja") else 1]


def site_ids() -> tuple[str, ...]:
    """Return the ids of all sites that can be read."""
    return tuple(_site_names())


@cache
def _site_names() -> dict[str, tuple[str, str]]:
    return {info.id: (info.name_ja, info.name_en) for info in extraction.sites()}
