"""Replays that somebody asked for: one at a time, batch by batch, stopped, taken over and ended, each just once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from uuid import UUID, uuid4

import pytest

from todoku.intake import extracting, replaying, replays
from todoku.intake.errors import ReplayMissing, ReplayUnderWay
from todoku.intake.extracting import ReadOutcome
from todoku.intake.replaying import Chosen
from todoku.intake.replays import TAKEN_OVER_AFTER, ReplayReport, ReplayWorker
from todoku.intake.types import MailState, ReplayState
from todoku.kernel.clock import SystemClock, VirtualClock

from .conftest import Office, write_gnavi

EVERYTHING = Chosen()
Ask = Callable[..., asyncio.Future[UUID]]


@pytest.fixture
async def misread(office: Office, monkeypatch: pytest.MonkeyPatch) -> Office:
    """Five mails that no rule could read then; each batch has two."""
    monkeypatch.setattr(replaying, "BATCH", 2)
    with monkeypatch.context() as broken:
        broken.setattr(extracting, "read_one", lambda _mail: ReadOutcome(None, "reader_error"))
        await office.arrive(*(write_gnavi(f"R{number}", minute=number) for number in range(5)))
        await office.reader().drain()
    return office


@pytest.fixture
def ask(misread: Office, clock: VirtualClock) -> Ask:
    def asked(
        chosen: Chosen = EVERYTHING, *, apply: bool = True, project_id: str = misread.mine
    ) -> asyncio.Future[UUID]:
        return asyncio.ensure_future(
            misread.ask(replays.ask, project_id, chosen, apply=apply, asked_by="nao@todoku.example", clock=clock)
        )

    return asked


async def _find(office: Office, replay_id: UUID) -> ReplayReport:
    return await office.ask(replays.find, office.mine, replay_id)


async def _work_off(worker: ReplayWorker) -> int:
    steps = 0
    while await worker.step():
        steps += 1
    return steps


async def test_a_dry_run_tells_and_an_applied_one_changes(misread: Office, clock: VirtualClock, ask: Ask) -> None:
    worker = ReplayWorker(misread.bus, misread.vault, clock)
    dry = await ask(apply=False)
    asked = await _find(misread, dry)
    assert (asked.state, asked.mails, asked.asked_by) == (ReplayState.ASKED, 5, "nao@todoku.example")
    assert await _work_off(worker) == 4  # 2 + 2 + 1 mails, and the look that finds no more
    told = await _find(misread, dry)
    assert (told.state, told.came_to.read, told.came_to.differing, told.came_to.amended) == (ReplayState.DONE, 5, 5, 0)
    assert told.came_to.kinds == {(MailState.UNREADABLE, MailState.APPLIED): 5}
    assert [one.reference for one in told.came_to.different] == ["R0", "R1", "R2", "R3", "R4"]

    clock.advance(60)
    wet = await ask()
    await _work_off(worker)
    done = await _find(misread, wet)
    assert (done.state, done.came_to.amended, done.ended) == (ReplayState.DONE, 5, True)
    assert await misread.balance() == {"arrived": 5, "pending": 0, "applied": 5}
    assert [one.replay_id for one in await misread.ask(replays.recent, misread.mine)] == [wet, dry]
    assert await worker.step() is False


async def test_a_project_has_one_replay_at_a_time(misread: Office, clock: VirtualClock, ask: Ask) -> None:
    first, *refused = await asyncio.gather(ask(), ask(), return_exceptions=True)
    answers = [first, *refused]
    (replay_id,) = [one for one in answers if isinstance(one, UUID)]
    assert [type(one) for one in answers if not isinstance(one, UUID)] == [ReplayUnderWay]
    await ask(project_id=misread.other)  # another tenant's
    with pytest.raises(ReplayMissing):
        await misread.ask(replays.find, misread.other, replay_id)
    assert not await misread.ask(replays.stop, misread.other, replay_id, by="nao", clock=clock)
    assert await misread.ask(replays.stop, misread.mine, replay_id, by="nao", clock=clock)
    assert await ask()


async def test_one_that_is_stopped_ends_behind_its_batch(misread: Office, clock: VirtualClock, ask: Ask) -> None:
    worker = ReplayWorker(misread.bus, misread.vault, clock)
    replay_id = await ask()
    assert await worker.step()
    assert await misread.ask(replays.stop, misread.mine, replay_id, by="nao", clock=clock)
    assert await worker.step() is False
    report = await _find(misread, replay_id)
    assert (report.state, report.came_to.amended) == (ReplayState.STOPPED, 2)
    assert await misread.balance() == {"arrived": 5, "pending": 0, "applied": 2, "unreadable": 3}
    assert not await misread.ask(replays.stop, misread.mine, replay_id, by="nao", clock=clock)


async def test_whoever_comes_next_goes_on_where_a_dead_worker_was(
    misread: Office, clock: VirtualClock, ask: Ask
) -> None:
    dead, heir = ReplayWorker(misread.bus, misread.vault, clock), ReplayWorker(misread.bus, misread.vault, clock)
    replay_id = await ask()
    assert await dead.step()
    assert await heir.step() is False  # somebody has it
    clock.advance((TAKEN_OVER_AFTER + timedelta(seconds=1)).total_seconds())
    assert await heir.step()
    assert await dead.step() is False  # it was only slow: it notices and leaves
    await _work_off(heir)
    report = await _find(misread, replay_id)
    assert (report.state, report.came_to.read, report.came_to.amended) == (ReplayState.DONE, 5, 5)


async def test_a_batch_that_two_workers_did_is_counted_once(
    misread: Office, clock: VirtualClock, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow, heir = ReplayWorker(misread.bus, misread.vault, clock), ReplayWorker(misread.bus, misread.vault, clock)
    replay_id = await ask()
    once = replaying.replay_batch

    async def overtaken(*arguments: object, **named: object) -> object:
        monkeypatch.setattr(replaying, "replay_batch", once)
        clock.advance((TAKEN_OVER_AFTER + timedelta(seconds=1)).total_seconds())
        assert await heir.step()
        return await once(*arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(replaying, "replay_batch", overtaken)
    assert await slow.step()
    await _work_off(heir)
    report = await _find(misread, replay_id)
    assert (report.state, report.came_to.read, report.came_to.amended) == (ReplayState.DONE, 5, 5)
    assert await misread.balance() == {"arrived": 5, "pending": 0, "applied": 5}


async def test_one_that_fails_says_why_and_the_next_goes_on(
    misread: Office, clock: VirtualClock, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = ReplayWorker(misread.bus, misread.vault, clock)
    replay_id = await ask()

    async def broken(*_arguments: object, **_named: object) -> object:
        raise RuntimeError("a rule that nobody thought of")

    with monkeypatch.context() as patch:
        patch.setattr(replaying, "replay_batch", broken)
        assert await worker.step()
    report = await _find(misread, replay_id)
    assert (report.state, report.why) == (ReplayState.FAILED, "RuntimeError: a rule that nobody thought of")
    await ask()
    await _work_off(worker)
    assert await misread.balance() == {"arrived": 5, "pending": 0, "applied": 5}


async def test_a_worker_that_is_told_to_stop_lets_go_at_once(
    misread: Office,
    ask: Ask,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stopping = asyncio.Event()
    once = replaying.replay_batch

    async def last(*arguments: object, **named: object) -> object:
        stopping.set()
        return await once(*arguments, **named)  # type: ignore[arg-type]

    replay_id = await ask()
    with monkeypatch.context() as patch:
        patch.setattr(replaying, "replay_batch", last)
        await ReplayWorker(misread.bus, misread.vault, SystemClock()).run(stopping)
    assert (await _find(misread, replay_id)).came_to.read == 2
    await _work_off(ReplayWorker(misread.bus, misread.vault, SystemClock()))
    assert (await _find(misread, replay_id)).state is ReplayState.DONE


async def test_mails_are_chosen_by_the_rules_that_read_them(misread: Office, clock: VirtualClock, ask: Ask) -> None:
    older = Chosen(rules=replaying.OLDER)
    assert await misread.ask(replaying.count, misread.mine, older) == 5
    await ask(older)
    await _work_off(ReplayWorker(misread.bus, misread.vault, clock))
    assert await misread.ask(replaying.count, misread.mine, older) == 0
    counts = [
        await misread.ask(replaying.count, misread.mine, Chosen(rules=version)) for version in replaying.todays_rules()
    ]
    assert sorted(counts)[-2:] == [0, 5]
    assert await misread.ask(replaying.count, misread.mine, Chosen(rules=f"{uuid4()}"[:8])) == 0
