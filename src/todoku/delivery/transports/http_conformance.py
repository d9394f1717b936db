"""What every transport over an HTTP API promises; `check_http_transport` for them, as `check_transport` for SMTP.

The difference: a request is in flight as soon as it is written, so a connection that breaks then is UNKNOWN even when
the other side took nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from todoku.delivery.transports.conformance import WatchingSink, check_books, check_truth, envelopes_for
from todoku.delivery.transports.scripted_api import ApiBehaviour, Dialect, ScriptedApi
from todoku.delivery.types import AnswerKind, Transport

Make = Callable[[str], Transport]
"""Origin (http://127.0.0.1:port) -> a fresh transport that waits at most 1 s for an answer, 2 s for all of it."""

EXPECTED: dict[ApiBehaviour, AnswerKind] = {
    ApiBehaviour.ACCEPT: AnswerKind.ACCEPTED,
    ApiBehaviour.SLOW: AnswerKind.ACCEPTED,
    ApiBehaviour.REFUSE: AnswerKind.PERMANENT,
    ApiBehaviour.THROTTLE: AnswerKind.TEMPORARY,
    ApiBehaviour.BUSY: AnswerKind.TEMPORARY,
    ApiBehaviour.GATEWAY: AnswerKind.UNKNOWN,
    ApiBehaviour.DROP_UNTAKEN: AnswerKind.UNKNOWN,
    ApiBehaviour.DROP_AFTER_END: AnswerKind.UNKNOWN,
    ApiBehaviour.HALF_CLOSE_AFTER_END: AnswerKind.UNKNOWN,
    ApiBehaviour.HANG: AnswerKind.UNKNOWN,
    ApiBehaviour.DRIP: AnswerKind.UNKNOWN,
}


async def check_http_transport(make: Make, dialect: Dialect) -> None:
    """Check a transport that sends one request a message; raises AssertionError on the first broken promise."""
    await _check_answers(make, dialect)
    await _check_holding(make, dialect)
    await _check_redirects(make, dialect)
    await _check_nobody_there(make, dialect)
    await _check_taking_back(make, dialect)
    await _check_idle_connections(make, dialect)
    await _check_two_at_once(make, dialect)
    await _check_closing(make, dialect)


async def _check_answers(make: Make, dialect: Dialect) -> None:
    api = ScriptedApi(dialect)
    transport = make(await api.start())
    expected = {**EXPECTED, ApiBehaviour.CUT_ANSWER: dialect.cut_answer}
    behaviours = [behaviour for behaviour in expected for _ in range(3)] + [ApiBehaviour.ACCEPT] * 10
    try:
        for _ in range(2):  # the second time over connections that are open already
            envelopes = envelopes_for(behaviours)
            api.taken.clear()
            sink = WatchingSink()
            answers = await asyncio.wait_for(transport.send(envelopes, sink), timeout=30)
            check_books(envelopes, answers, sink)
            check_truth(envelopes, answers, sink, api.taken)
            for answer in answers:
                wanted = expected[behaviours[answer.ref]]
                assert answer.kind is wanted, f"{behaviours[answer.ref]}: {answer.kind} ({answer.text}), not {wanted}"
                assert answer.text, "an answer without words"
    finally:
        await transport.close()
        await api.stop()


async def _check_holding(make: Make, dialect: Dialect) -> None:
    """Check that a fault of the account refuses nobody and says that the relay failed."""
    api = ScriptedApi(dialect)
    transport = make(await api.start())
    try:
        await _all_temporary(transport, [ApiBehaviour.HOLD] * 20, towards_nobody=False)
        assert not api.taken
    finally:
        await transport.close()
        await api.stop()


async def _check_redirects(make: Make, dialect: Dialect) -> None:
    api = ScriptedApi(dialect)
    transport = make(await api.start())
    try:
        await _all_temporary(transport, [ApiBehaviour.REDIRECT] * 3, towards_nobody=False)
        assert all(request.target != "/accept" for request in api.requests.values()), "a POST was sent again elsewhere"
    finally:
        await transport.close()
        await api.stop()


async def _check_nobody_there(make: Make, dialect: Dialect) -> None:
    api = ScriptedApi(dialect)
    origin = await api.start()
    await api.stop()
    transport = make(origin)
    try:
        await _all_temporary(transport, [ApiBehaviour.ACCEPT] * 20, towards_nobody=True)
        await api.start(int(origin.rpartition(":")[2]))
        answers = await asyncio.wait_for(transport.send(envelopes_for(["accept"] * 3), WatchingSink()), timeout=10)
        assert {one.kind for one in answers} == {AnswerKind.ACCEPTED}, "the API came back and was not used"
    finally:
        await transport.close()
        await api.stop()


async def _check_taking_back(make: Make, dialect: Dialect) -> None:
    api = ScriptedApi(dialect)
    transport = make(await api.start())
    try:
        envelopes = envelopes_for(["accept"] * 30)
        sink = WatchingSink(forbidden=frozenset(range(0, 30, 2)))
        answers = await asyncio.wait_for(transport.send(envelopes, sink), timeout=10)
        check_books(envelopes, answers, sink)
        check_truth(envelopes, answers, sink, api.taken)
        for answer in answers:
            wanted = AnswerKind.ACCEPTED if answer.ref % 2 else AnswerKind.TEMPORARY
            assert answer.kind is wanted, f"message {answer.ref}: {answer.kind}, not {wanted}"
    finally:
        await transport.close()
        await api.stop()


async def _check_idle_connections(make: Make, dialect: Dialect) -> None:
    """Check that a connection which the other side closed while it was idle costs nothing."""
    api = ScriptedApi(dialect)
    transport = make(await api.start())
    try:
        for _ in range(3):
            answers = await transport.send(envelopes_for(["accept"] * 5), WatchingSink())
            assert {one.kind for one in answers} == {AnswerKind.ACCEPTED}, [one.text for one in answers]
            api.drop_idle()
            await asyncio.sleep(0.05)
    finally:
        await transport.close()
        await api.stop()


async def _check_two_at_once(make: Make, dialect: Dialect) -> None:
    api = ScriptedApi(dialect)
    transport = make(await api.start())
    try:
        sinks = [WatchingSink(), WatchingSink()]
        envelopes = envelopes_for(["accept", "throttle"] * 10)
        calls = (transport.send(envelopes, sink, flow=f"run {number}") for number, sink in enumerate(sinks))
        for answers, sink in zip(await asyncio.gather(*calls), sinks, strict=True):
            check_books(envelopes, answers, sink)
        assert len(api.taken) == 20
        assert await transport.send([], WatchingSink()) == []
    finally:
        await transport.close()
        await api.stop()


async def _check_closing(make: Make, dialect: Dialect) -> None:
    """Check that closing leaves an answer for what is under way, and nothing is sent after it."""
    api = ScriptedApi(dialect)
    transport = make(await api.start())
    try:
        envelopes = envelopes_for([ApiBehaviour.HANG] * 2)
        sink = WatchingSink()
        sending = asyncio.ensure_future(transport.send(envelopes, sink))
        for _ in envelopes:
            await asyncio.wait_for(api.hanging.acquire(), timeout=10)
        await transport.close()
        answers = await asyncio.wait_for(sending, timeout=10)
        check_books(envelopes, answers, sink)
        assert {one.kind for one in answers} == {AnswerKind.UNKNOWN}, "closing made a message better than it is"
        await _all_temporary(transport, [ApiBehaviour.ACCEPT] * 3, towards_nobody=True)
        assert all("accept" not in recipient for recipient in api.taken)
    finally:
        await transport.close()
        await api.stop()


async def _all_temporary(transport: Transport, behaviours: Sequence[str], *, towards_nobody: bool) -> None:
    envelopes = envelopes_for(behaviours)
    sink = WatchingSink()
    answers = await asyncio.wait_for(transport.send(envelopes, sink), timeout=10)
    check_books(envelopes, answers, sink)
    assert not (towards_nobody and sink.marked), "a message was completed towards nobody"
    assert {(one.kind, one.relay_failed) for one in answers} == {(AnswerKind.TEMPORARY, True)}
