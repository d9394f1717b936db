"""Write the sample mails and their answers into the folders of the sites.

    python -m tests.samples.make_samples [SITE...]

The answers come from the stories, never from the reader: where the two differ, one of them is wrong. The sites of
TOGETHER tell one story of one group of shops, so their mails are numbered together; every other site is told by the
module of its name, `tests/samples/<site>.py` with `tell(line)`, and numbered alone.
"""

from __future__ import annotations

import json
import sys
from importlib import import_module
from pathlib import Path

from tests.samples import gnavi, hotpepper, schema_org, tabelog
from tests.samples.timeline import Sample, Timeline

SITES = Path(__file__).resolve().parents[2] / "src" / "todoku" / "extraction" / "sites"
TOGETHER = {"gnavi", "hotpepper", "none", "schema-org", "tabelog"}


def story() -> list[tuple[str, Sample]]:
    """Return the samples of the sites that are told together, each with its name, in the order of arrival."""
    line = Timeline()
    for site in (tabelog, hotpepper, gnavi, schema_org):
        site.tell(line)
    return line.numbered()


def alone(site: str) -> list[tuple[str, Sample]]:
    """Return the samples of one site that tells its own story; their names begin with the site's id."""
    line = Timeline()
    import_module(f"tests.samples.{site.replace('-', '_')}").tell(line)
    odd = [sample.slug for sample in line.samples if sample.folder != site or not sample.slug.startswith(f"{site}-")]
    if odd:
        raise ValueError(f"{site}: samples of another folder, or not named after their site: {', '.join(odd)}")
    return line.numbered()


def main(wanted: list[str]) -> None:
    """Replace the samples and answers of the wanted sites, or of all."""
    folders = wanted or sorted(path.parent.name for path in SITES.glob("*/site.toml"))
    samples = [one for site in folders if site not in TOGETHER for one in alone(site)]
    replaced = set(folders) - TOGETHER
    if not wanted or TOGETHER & set(wanted):
        samples += story()
        replaced |= TOGETHER
    for site in replaced:
        for old in [*(SITES / site).glob("samples/*.eml"), *(SITES / site).glob("expected/*.json")]:
            old.unlink()
    for name, sample in samples:
        _write(name, sample)
    sys.stdout.write(f"{len(samples)} samples\n")


def _write(name: str, sample: Sample) -> None:
    folder = SITES / sample.folder
    (folder / "samples").mkdir(parents=True, exist_ok=True)
    (folder / "expected").mkdir(parents=True, exist_ok=True)
    (folder / "samples" / f"{name}.eml").write_bytes(sample.raw)
    answer = {"file": f"{name}.eml", **sample.expected}
    text = json.dumps(answer, ensure_ascii=False, indent=2, sort_keys=True) + "\n"
    (folder / "expected" / f"{name}.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
