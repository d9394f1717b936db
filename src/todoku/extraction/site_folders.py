"""The folders of the sites: their definitions, loaded once, and their samples."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from importlib.resources import files
from importlib.resources.abc import Traversable

from todoku.extraction.compiled import CompiledSite, compile_site
from todoku.extraction.definition import load_definition
from todoku.extraction.errors import DefinitionError
from todoku.extraction.types import SiteInfo


def _folders() -> list[Traversable]:
    root = files("todoku.extraction").joinpath("sites")
    return sorted((entry for entry in root.iterdir() if entry.is_dir()), key=lambda entry: entry.name)


@lru_cache(maxsize=1)
def compiled_sites() -> tuple[CompiledSite, ...]:
    """Return every site of the package, ready to run. Raises DefinitionError naming file and key."""
    loaded: list[CompiledSite] = []
    for folder in _folders():
        source = folder.joinpath("site.toml")
        if not source.is_file():
            continue  # samples of no known site
        file = f"sites/{folder.name}/site.toml"
        definition = load_definition(source.read_text(encoding="utf-8"), file=file)
        if definition.id != folder.name:
            raise DefinitionError(file, "id", f"is {definition.id!r} in the folder {folder.name!r}")
        loaded.append(compile_site(definition, file=file))
    return tuple(loaded)


def sites() -> tuple[SiteInfo, ...]:
    """Return the sites that can be read, by id."""
    return tuple(
        SiteInfo(id=site.id, name_ja=site.definition.name_ja, name_en=site.definition.name_en)
        for site in compiled_sites()
    )


def sample_mails(*wanted: str) -> Iterator[tuple[str, str, bytes]]:
    """Yield (folder, file name, raw bytes) of every sample, in the order in which they arrived in their stories.

    folder: the id of a site, or "none" for mails of no known site. wanted: only these folders. All mails are invented.
    """
    found = [
        (sample.name, folder.name, sample)
        for folder in _folders()
        if folder.joinpath("samples").is_dir() and (not wanted or folder.name in wanted)
        for sample in folder.joinpath("samples").iterdir()
        if sample.name.endswith(".eml")
    ]
    for name, folder_name, sample in sorted(found, key=lambda entry: (entry[0], entry[1])):
        yield folder_name, name, sample.read_bytes()
