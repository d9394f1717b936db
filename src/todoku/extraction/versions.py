"""Which rules read a mail: two short digests, so that "read by older rules" is a fact and no memory of a person.

STRATEGY  The first digest is of what the site's definition says (its comments and blanks do not count), the second of
          the program that runs definitions. Nobody has to raise a number by hand, and nobody can forget to.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import sha256
from importlib.resources import files

import msgspec

from todoku.extraction.site_folders import compiled_sites

_ROOMS = ("extraction", "mail", "kernel")
"""The packages whose code decides what a mail says: definitions, decoding, folding."""

_DIGITS = 8


@lru_cache(maxsize=64)
def rules_version(site: str | None) -> str:
    """Return the version of the rules that read mails of a site today, such as `3f9a1c20-77aa1234`.

    site: None for mails of no known site, which every definition has looked at. Two versions are equal when the same
    definition was run by the same program. The part before the dash is the definition's. Raises KeyError for a site
    that has no definition.
    """
    return f"{_definition_digest(site)}-{_program_digest()}"


def _definition_digest(site: str | None) -> str:
    definitions = {one.id: one.definition for one in compiled_sites()}
    chosen = list(definitions.values()) if site is None else [definitions[site]]
    return sha256(msgspec.json.encode(chosen, order="sorted")).hexdigest()[:_DIGITS]


@lru_cache(maxsize=1)
def _program_digest() -> str:
    digest = sha256()
    for room in _ROOMS:
        sources = (entry for entry in files(f"todoku.{room}").iterdir() if entry.name.endswith(".py"))
        for source in sorted(sources, key=lambda entry: entry.name):
            digest.update(source.name.encode() + b"\0" + source.read_bytes() + b"\0")
    return digest.hexdigest()[:_DIGITS]
