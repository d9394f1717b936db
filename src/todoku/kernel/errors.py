"""The root of every room's error tree.

TodokuError
  ├─ transient or permanent: a field, so that a caller can decide to retry without knowing the type
  └─ each room draws its own tree below it, in its `errors` module
ConfigurationError stands outside: nothing that forgives errors may forgive a wrong setting.
"""

from __future__ import annotations


class TodokuError(Exception):
    """Something went wrong: what happened, what was kept, what to do.

    what: one sentence for the person who has to act. kept: what is safe ("the raw mail is in the vault").
    todo: the next step. transient: True when trying again later can succeed.
    """

    transient: bool = False

    def __init__(self, what: str, *, kept: str = "", todo: str = "", transient: bool | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.kept = kept
        self.todo = todo
        if transient is not None:
            self.transient = transient

    def __str__(self) -> str:
        parts = [self.what]
        if self.kept:
            parts.append(f"Kept: {self.kept}")
        if self.todo:
            parts.append(f"Next: {self.todo}")
        return " ".join(part if part.endswith((".", "。")) else f"{part}." for part in parts)


class ConfigurationError(Exception):
    """A setting is wrong; the program refuses to start rather than guess."""
