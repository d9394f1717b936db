"""Errors of webhooks, below those of all sources.

SourceError
  └─ MalformedCall  permanent: a call can't be read as its provider documents it; its body is kept as it came
"""

from __future__ import annotations

from todoku.sources.errors import SourceError


class MalformedCall(SourceError):
    """The body of a call can't be read. proven: whether it is proven all the same to come from the provider."""

    def __init__(self, what: str, *, proven: bool = True, todo: str = "") -> None:
        super().__init__(what, kept="the body of the call, as it came", todo=todo)
        self.proven = proven
