from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from todoku.delivery.engine.turns import Turns


def anyone(_run_id: str) -> str | None:
    return ""


def turns(*runs: str, batches: int = 4, visits: int = 256) -> Turns:
    made = Turns(batches, visits, 100)
    for run in reversed(runs):
        made.add(run)
    return made


def fill(made: Turns, way_of: object = anyone) -> list[str]:
    begun = []
    while (run := made.next(way_of)) is not None:  # type: ignore[arg-type]
        made.begin(run, way_of(run))  # type: ignore[operator]
        begun.append(run)
    return begun


def test_one_run_alone_gets_all_the_spare_capacity() -> None:
    assert fill(turns("big")) == ["big"] * 4


def test_a_new_run_gets_a_visit_at_once_beside_a_full_house() -> None:
    made = turns("big")
    fill(made)
    made.add("small")
    assert fill(made) == ["small"]


def test_spare_capacity_goes_round() -> None:
    assert Counter(fill(turns("a", "b", batches=6))) == {"a": 3, "b": 3}


def test_three_hundred_runs_all_have_a_visit() -> None:
    runs = [f"run-{number}" for number in range(300)]
    assert Counter(fill(turns(*runs, visits=512))) == dict.fromkeys(runs, 1)


def test_more_runs_than_visits_ask_one_visit_each_to_give_its_place() -> None:
    made = turns("a", "b", "c", visits=2)
    first, second = [made.begin(run, "") for run in (made.next(anyone), made.next(anyone)) if run]
    assert made.next(anyone) is None
    assert first.give_back()
    assert not second.give_back(), "one run waits, so one visit is asked"
    first.end()
    assert made.next(anyone) == "c"
    made.begin("c", "")
    assert made.next(anyone) is None
    assert second.give_back(), "now the first one waits"


def test_as_many_visits_make_room_as_runs_wait() -> None:
    made = turns(*[f"run-{number}" for number in range(10)], visits=6)
    begun = [made.begin(run, "") for _ in range(6) if (run := made.next(anyone))]
    assert made.next(anyone) is None
    leaving = [one for one in begun if one.give_back()]
    assert len(leaving) == 4
    for one in leaving:
        assert one.give_back(), "asked twice, it says the same"
        one.end()
    assert len(set(fill(made))) == 4


def test_a_run_that_waits_for_its_relay_takes_no_capacity_of_another_way_out() -> None:
    made = turns("slow", "quick")
    begun = Counter(fill(made, {"slow": "a", "quick": "b"}.get))
    assert begun == {"slow": 4, "quick": 4}


def test_a_visit_that_idles_makes_room_for_another_batch_of_its_run() -> None:
    made = turns("big", batches=1)
    assert made.next(anyone) == "big"
    turn = made.begin("big", "")
    assert made.next(anyone) is None
    with turn.idle(run_may_go_on=True):
        assert made.next(anyone) == "big"
    with turn.idle(run_may_go_on=False):
        made.add("other")
        assert made.next(anyone) == "other"
        made.begin("other", "").end()


def test_windows_shrink_when_many_share_the_wire_and_the_memory() -> None:
    made = turns(*[f"run-{number}" for number in range(64)])
    assert made.window == 100
    fill(made)
    assert made.window == 12


@given(st.lists(st.sampled_from(["add", "remove", "next", "end", "idle"]), max_size=80), st.randoms())
def test_whoever_could_work_and_has_no_visit_is_never_passed_over(steps: list[str], randomness: object) -> None:
    made = Turns(2, 1_000, 100)
    runs = [f"run-{number}" for number in range(6)]
    known: set[str] = set()
    begun: list[tuple[str, object]] = []
    for step in steps:
        run = randomness.choice(runs)  # type: ignore[attr-defined]
        if step == "add":
            made.add(run)
            known.add(run)
        elif step == "remove":
            made.remove(run)
            known.discard(run)
        elif step == "end" and begun:
            begun.pop(randomness.randrange(len(begun)))[1].end()  # type: ignore[attr-defined]
        elif step == "next":
            without = {one for one in known if not made.visits(one)}
            chosen = made.next(anyone)
            assert chosen is None or chosen in known
            if without:
                assert chosen in without
            if chosen is not None:
                begun.append((chosen, made.begin(chosen, "")))
