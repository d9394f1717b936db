"""`python -m todoku.delivery.simulation`: play seeds, or replay one."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from todoku.delivery.simulation.bugs import BUGS, SOUND
from todoku.delivery.simulation.many import Tally, play_many, quiet
from todoku.delivery.simulation.play import Result, play

_SHOWN = 10


def main() -> int:
    """Return 0 when every invariant held (with --bug: when the bug was found), 1 when not."""
    arguments = _arguments()
    if arguments.seed is not None:
        return _replay(arguments.seed, arguments.bug)
    tally = play_many(
        arguments.first,
        arguments.seeds,
        bug=arguments.bug,
        jobs=arguments.jobs,
        stop_at_failure=bool(arguments.bug),
        on_progress=None if arguments.json else _progress,
    )
    if arguments.json:
        sys.stdout.write(json.dumps(_as_dict(tally, arguments), ensure_ascii=False) + "\n")
    else:
        _tell(tally, arguments.bug)
    return int(bool(tally.failed) == (not arguments.bug))


def _arguments() -> Any:
    parser = argparse.ArgumentParser(prog="python -m todoku.delivery.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1_000, help="how many worlds to play")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--jobs", type=int, default=0, help="processes; 0 = one a core")
    parser.add_argument("--bug", choices=sorted(BUGS), default="", help="plant a bug and look when it is found")
    parser.add_argument("--seed", type=int, help="replay this seed and print what happens in it")
    parser.add_argument("--json", action="store_true", help="print one line of JSON")
    return parser.parse_args()


def _replay(seed: int, bug: str) -> int:
    with quiet():
        result = play(seed, bug=BUGS[bug] if bug else SOUND, traced=True)
    sys.stdout.write("\n".join([*result.trace, *result.violations, ""]))
    return int(bool(result.violations))


def _progress(tally: Tally, failed: list[Result]) -> None:
    for result in failed:
        sys.stderr.write(f"\rseed {result.seed}: {result.violations[0]}\n")
    sys.stderr.write(f"\r{tally.seeds:,} seeds, {len(tally.failed)} with violations, {tally.seconds:.0f} s ")
    sys.stderr.flush()


def _tell(tally: Tally, bug: str) -> None:
    lines = [
        "",
        f"{tally.seeds:,} seeds in {tally.seconds:.1f} s: {len(tally.failed)} with violations",
        ", ".join(f"{name} {count:,}" for name, count in sorted(tally.counts.items())),
    ]
    for result in tally.failed[:_SHOWN]:
        lines += [f"seed {result.seed}: {what}" for what in result.violations]
        planted = f" --bug {bug}" if bug else ""
        lines.append(f"    replay: python -m todoku.delivery.simulation --seed {result.seed}{planted}")
    sys.stdout.write("\n".join([*lines, ""]))


def _as_dict(tally: Tally, arguments: Any) -> dict[str, Any]:
    return {
        "first": arguments.first,
        "seeds": tally.seeds,
        "bug": arguments.bug,
        "seconds": round(tally.seconds, 1),
        "violations": {str(result.seed): result.violations for result in tally.failed},
        "counts": dict(sorted(tally.counts.items())),
    }


if __name__ == "__main__":
    sys.exit(main())
