"""`/api/v1/runs`, `/away`, `/calendar`: watch what leaves, and put right what did not."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any, Literal
from uuid import UUID

from django.http import HttpRequest, StreamingHttpResponse
from ninja import Header, Query, Router, Schema

from todoku.api.calls import MAY_READ, MAY_WRITE, asker, moved, once
from todoku.api.errors import RequestInvalid
from todoku.api.shapes import AwayOut, CalendarOut, RecipientOut, RemedyOut, RunOut, TimelineOut
from todoku.campaigns import names_csv, queries, services
from todoku.delivery.ledger import queries as ledger
from todoku.delivery.types import RecipientState

router = Router(tags=["runs"], auth=MAY_READ)
Once = Annotated[str | None, Header(alias="Idempotency-Key", max_length=200)]
LONGEST_CALENDAR_DAYS = 92


class RecipientsOut(Schema):
    """Some names behind a number. next: give it as `after` for the page that follows; "" at the end."""

    recipients: list[RecipientOut]
    next: str


class ResendIn(Schema):
    """States of those to be written to again. `unknown` may mean that somebody gets it twice: say so on purpose."""

    states: list[Literal["refused", "unrenderable", "expired", "unknown", "pending"]]


class RemedyIn(Schema):
    """What to do with several runs at once."""

    run_ids: list[UUID]
    action: Literal["send_now", "resend", "skip", "acknowledge"]


class RemediesOut(Schema):
    """What became of each."""

    results: list[RemedyOut]


@router.get("/runs/{run_id}", response=RunOut, summary="Read one run")
def read(request: HttpRequest, run_id: UUID) -> Any:
    """One run with its balance as of now."""
    return RunOut.of(queries.get_run(asker(request)[0].project_id, run_id))


@router.get("/runs/{run_id}/timeline", response=list[TimelineOut], summary="The life of a run")
def timeline(request: HttpRequest, run_id: UUID) -> Any:
    """Created, approved, sealed, due, started, paused, finished: oldest first."""
    return [TimelineOut.of(one) for one in queries.timeline(asker(request)[0].project_id, run_id)]


@router.get("/runs/{run_id}/recipients", response=RecipientsOut, summary="The names behind a number")
def recipients(
    request: HttpRequest,
    run_id: UUID,
    state: RecipientState,
    after: str = "",
    limit: Annotated[int, Query(ge=1, le=1_000)] = 100,
) -> Any:
    """Recipients in one state, page by page."""
    project_id = asker(request)[0].project_id
    queries.get_run(project_id, run_id)
    found = ledger.names(project_id, run_id, state, limit=limit + 1, after=after or None)
    return RecipientsOut(
        recipients=[RecipientOut.of(row) for row in found[:limit]],
        next=found[limit - 1].cursor if len(found) > limit else "",
    )


@router.get("/runs/{run_id}/recipients.csv", summary="The names as a CSV", include_in_schema=True)
def recipients_csv(
    request: HttpRequest, run_id: UUID, state: RecipientState | None = None, language: Literal["ja", "en"] = "en"
) -> Any:
    """All recipients, or those in one state, streamed; no cell of it can become a formula in a spreadsheet."""
    project_id = asker(request)[0].project_id
    queries.get_run(project_id, run_id)
    states = () if state is None else (state,)
    return StreamingHttpResponse(
        names_csv.stream(project_id, run_id, states, language=language), content_type="text/csv; charset=utf-8"
    )


@router.post("/runs/{run_id}/resend", response={201: RunOut}, auth=MAY_WRITE, summary="Send to those not reached")
def resend(request: HttpRequest, run_id: UUID, document: ResendIn, idempotency_key: Once = None) -> Any:
    """Make a new run from exactly the recipients in these states of an old one."""
    key, clock = asker(request)
    states = tuple(RecipientState(one) for one in document.states)
    if not states:
        raise RequestInvalid("states", "name at least one state")

    def work() -> RunOut:
        made = services.send_to_not_reached(key.project_id, run_id, states=states, by=key.by, clock=clock)
        moved(request, run_id=made)
        return RunOut.of(queries.get_run(key.project_id, made))

    return once(request, idempotency_key, work, 201)


@router.post("/runs/{run_id}/send-now", response=RunOut, auth=MAY_WRITE, summary="Let a waiting run leave now")
def send_now(request: HttpRequest, run_id: UUID, idempotency_key: Once = None) -> Any:
    """Send a planned, held or missed run at once."""
    key, clock = asker(request)

    def work() -> RunOut:
        services.send_run_now(key.project_id, run_id, by=key.by, clock=clock)
        moved(request, run_id=run_id)
        return RunOut.of(queries.get_run(key.project_id, run_id))

    return once(request, idempotency_key, work, 200)


@router.post("/runs/{run_id}/skip", response=RunOut, auth=MAY_WRITE, summary="Let a run go")
def skip(request: HttpRequest, run_id: UUID, idempotency_key: Once = None) -> Any:
    """Do without this run; it ends as `missed`."""
    key, clock = asker(request)

    def work() -> RunOut:
        services.skip_run(key.project_id, run_id, by=key.by, clock=clock)
        moved(request, run_id=run_id)
        return RunOut.of(queries.get_run(key.project_id, run_id))

    return once(request, idempotency_key, work, 200)


@router.get("/away", response=list[AwayOut], summary="What happened while nobody looked")
def away(request: HttpRequest) -> Any:
    """Every late, held and missed run that nobody has answered yet."""
    key, clock = asker(request)
    return [AwayOut.of(one) for one in queries.while_away(key.project_id, clock=clock)]


@router.post("/away/remedies", response=RemediesOut, auth=MAY_WRITE, summary="Put several runs right")
def remedy(request: HttpRequest, document: RemedyIn, idempotency_key: Once = None) -> Any:
    """Do the same with several runs; each one is done or named with its problem."""
    key, clock = asker(request)

    def work() -> RemediesOut:
        results = services.remedy(key.project_id, document.run_ids, document.action, by=key.by, clock=clock)
        moved(request)
        return RemediesOut(results=[RemedyOut.of(one) for one in results])

    return once(request, idempotency_key, work, 200)


@router.get("/calendar", response=list[CalendarOut], summary="Starts between two days")
def calendar(request: HttpRequest, first: date, last: date) -> Any:
    """All starts from the first day to the last, both included, by the project's clock; at most 92 days."""
    key, clock = asker(request)
    if not 0 <= (last - first).days < LONGEST_CALENDAR_DAYS:
        raise RequestInvalid("last", f"ask for 1 to {LONGEST_CALENDAR_DAYS} days")
    return [CalendarOut.of(one) for one in queries.calendar(key.project_id, first, last, clock=clock)]
