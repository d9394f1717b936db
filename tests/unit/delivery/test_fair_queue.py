from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from todoku.delivery.transports.smtp.fair_queue import QUANTUM_BYTES, FairQueue
from todoku.delivery.transports.smtp.job import Handover, Job
from todoku.delivery.types import Envelope


def jobs(flow: str, count: int, size: int = 4096) -> list[Job]:
    handover = Handover(None, count, None, flow)  # type: ignore[arg-type]  # nobody is told anything here
    return [Job(Envelope(ref, "a@example.com", "b@example.com", bytes(size)), handover) for ref in range(count)]


def order(queue: FairQueue, count: int) -> list[str]:
    popped = [queue.pop() for _ in range(count)]
    return [job.handover.flow for job in popped if job is not None]


def test_the_first_message_of_a_small_run_is_the_next_one_beside_a_huge_run() -> None:
    queue = FairQueue()
    queue.add(jobs("huge", 10_000), "huge")
    order(queue, 777)
    queue.add(jobs("small", 3), "small")
    assert order(queue, 4) == ["small", "small", "small", "huge"]


def test_flows_share_by_octets_not_by_messages() -> None:
    queue = FairQueue()
    queue.add(jobs("long", 100, size=40_960), "long")
    queue.add(jobs("short", 1_000, size=4_096), "short")
    taken = Counter(order(queue, 440))
    assert 35 <= taken["long"] <= 45


def test_one_message_larger_than_any_turn_leaves_and_is_paid_for() -> None:
    queue = FairQueue()
    queue.add(jobs("long", 2, size=40 * QUANTUM_BYTES), "long")
    queue.add(jobs("short", 1_000), "short")
    taken = order(queue, 300)
    assert taken[0] == "long"
    assert 120 <= taken.index("long", 1) <= 170


def test_coming_again_and_again_gains_no_more_than_a_turn_each_time() -> None:
    queue = FairQueue()
    queue.add(jobs("steady", 2_000), "steady")
    taken: Counter[str] = Counter()
    for _ in range(100):
        queue.add(jobs("nervous", 4), "nervous")
        taken.update(order(queue, 8))
    assert taken["steady"] >= 350


def test_within_a_flow_first_come_first_served_and_what_was_put_back_comes_first() -> None:
    queue = FairQueue()
    first, second, third = jobs("a", 3)
    queue.add([first, second, third], "a")
    assert queue.pop() is first
    queue.put_front(first)
    assert [queue.pop() for _ in range(4)] == [first, second, third, None]


def test_one_handover_is_taken_out_of_its_flow() -> None:
    queue = FairQueue()
    mine, others = jobs("a", 3), jobs("a", 2)
    queue.add(mine, "a")
    queue.add(others, "a")
    assert queue.take_handover(mine[0].handover) == mine
    assert len(queue) == 2
    assert queue.take_all() == others
    assert queue.pop() is None


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.integers(1, 20), st.integers(0, 60_000)), max_size=20))
def test_everything_comes_out_once(adds: list[tuple[str, int, int]]) -> None:
    queue = FairQueue()
    for flow, count, size in adds:
        queue.add(jobs(flow, count, size), flow)
    total = sum(count for _, count, _ in adds)
    assert len(queue) == total
    popped = []
    while (job := queue.pop()) is not None:
        popped.append(job)
    assert len({id(job) for job in popped}) == len(popped) == total
    assert len(queue) == 0
