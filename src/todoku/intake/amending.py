"""Give mails that have a row what reading them today gives: the row, the book and the guests together, or none of them.

STRATEGY  One transaction for each mail. What the book holds of the mail is corrected there, and every other mail of the
          reservations that this touches gets the state that it would have had. Locks are taken as the reader takes
          them, reservations first and rows after, so that the two can't wait for each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

import structlog
from django.db import transaction

from todoku.guests import services as guest_services
from todoku.intake import store
from todoku.intake.database import raise_when_away
from todoku.intake.fates import Fate, Received
from todoku.intake.lines import mail_line
from todoku.intake.recording import STATES, final_state, note_visits
from todoku.intake.types import GIVEN_BY_READING, GIVEN_BY_THE_BOOK, MailState
from todoku.reservations import services as reservation_services
from todoku.reservations.types import Applied, Corrected

log = structlog.get_logger(__name__)


class _MovedMeanwhile(Exception):
    """Undo the transaction: the row is not what it was."""


def amend(project_id: str, mails: Sequence[tuple[Received, Fate]]) -> int:
    """Amend these mails, each with the fate that reading it today gives; return how many were amended.

    A mail whose row is neither the reader's nor the book's to decide (quarantined, the same bytes as another) stays
    as it is, and so does one that the book can't hold; doing it again changes nothing. Raises BookUnavailable
    (transient); what was amended before it stays amended.
    """
    amended = 0
    for mail, fate in mails:
        try:
            amended += _amend(project_id, mail, fate)
        except _MovedMeanwhile:
            log.info("mail.moved_meanwhile", arrival_id=str(mail.arrival.arrival_id), project_id=project_id)
        except Exception as error:
            raise_when_away(error)
            log.exception("mail.not_amended", arrival_id=str(mail.arrival.arrival_id), project_id=project_id)
    return amended


def _amend(project_id: str, mail: Received, fate: Fate) -> bool:
    arrival_id = mail.arrival.arrival_id
    with transaction.atomic():
        corrected = reservation_services.correct(project_id, arrival_id, fate.notification)
        before = store.lock(project_id, arrival_id)
        if corrected is not None:
            if before not in GIVEN_BY_THE_BOOK:
                raise _MovedMeanwhile
            after = _follow_correction(project_id, mail, fate, corrected)
        elif before in GIVEN_BY_READING:
            after = _apply(project_id, mail, fate)
        else:
            return False
    log.info("mail.amended", project_id=project_id, arrival_id=str(arrival_id), before=str(before), after=str(after))
    return True


def _follow_correction(project_id: str, mail: Received, fate: Fate, corrected: Corrected) -> MailState:
    """Write what a correction of the book means for guests and for the rows of every mail that it touched.

    Returns the state of the mail that was corrected.
    """
    note_visits(project_id, corrected.shown)
    guest_services.forget_visits(project_id, corrected.hidden)
    states = {key: (STATES[one.effect], one.reservation_id) for key, one in corrected.settled.items()}
    final: tuple[Fate, UUID | None] = (fate, None)
    if fate.notification is not None:
        state, reservation_id = states[mail.arrival.arrival_id]
        final = (Fate(state, fate.reason), reservation_id)
    store.replace(mail_line(mail, final))
    store.settle(project_id, states)
    return final[0].state


def _apply(project_id: str, mail: Received, fate: Fate) -> MailState:
    """Put a mail into the book that it knew nothing of, or only give it another word; return its state then."""
    answers: dict[UUID, Applied] = {}
    if fate.notification is not None:
        answers = {one.arrival_id: one for one in reservation_services.apply_many(project_id, [fate.notification])}
    released = {key: answer.reservation_id for answer in answers.values() for key in answer.released}
    note_visits(project_id, [one.reservation_id for one in answers.values() if one.reservation_id is not None])
    final = final_state(fate, answers, released, mail)
    store.replace(mail_line(mail, final))
    earlier = {key: value for key, value in released.items() if key != mail.arrival.arrival_id}
    if earlier:
        store.release(project_id, earlier)
    return final[0].state
