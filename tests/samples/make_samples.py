"""Write the sample mails and their answers into the folders of the sites.

    python -m tests.samples.make_samples

The answers come from the stories, never from the reader: where the two differ, one of them is wrong.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tests.samples import gnavi, hotpepper, schema_org, tabelog
from tests.samples.timeline import Sample, Timeline

SITES = Path(__file__).resolve().parents[2] / "src" / "todoku" / "extraction" / "sites"


def timeline() -> list[tuple[str, Sample]]:
    """Return every sample with its name, in the order of arrival."""
    line = Timeline()
    for site in (tabelog, hotpepper, gnavi, schema_org):
        site.tell(line)
    return line.numbered()


def main() -> None:
    """Replace all samples and answers."""
    for old in [*SITES.glob("*/samples/*.eml"), *SITES.glob("*/expected/*.json")]:
        old.unlink()
    for name, sample in timeline():
        folder = SITES / sample.folder
        (folder / "samples").mkdir(parents=True, exist_ok=True)
        (folder / "expected").mkdir(parents=True, exist_ok=True)
        (folder / "samples" / f"{name}.eml").write_bytes(sample.raw)
        answer = {"file": f"{name}.eml", **sample.expected}
        text = json.dumps(answer, ensure_ascii=False, indent=2, sort_keys=True) + "\n"
        (folder / "expected" / f"{name}.json").write_text(text, encoding="utf-8")
    sys.stdout.write(f"{len(timeline())} samples\n")


if __name__ == "__main__":
    main()
