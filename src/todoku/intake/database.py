"""The database of the book: its connection of this thread, and whether an error is about it or about a mail."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from django.db import (
    DatabaseError,
    InterfaceError,
    OperationalError,
    ProgrammingError,
    close_old_connections,
    connection,
)

from todoku.intake.errors import BookUnavailable
from todoku.kernel.errors import TodokuError

# SQLSTATE classes by which PostgreSQL speaks of itself and not of the values it was given: connection, rollback
# (deadlock), resources, object state (locks), operator intervention, system error, wrong schema.
_NOT_THE_MAIL = ("08", "40", "53", "55", "57", "58", "42", "25")


Answer = TypeVar("Answer")


async def ask(question: Callable[..., Answer], *arguments: object) -> Answer:
    """Ask the database on a thread, and leave no connection there; raises BookUnavailable when it is away."""

    def asked() -> Answer:
        close_old_connections()
        try:
            return question(*arguments)
        except (DatabaseError, InterfaceError) as error:
            raise_when_away(error)
            raise
        finally:
            close_old_connections()

    return await asyncio.to_thread(asked)


def keep_sound_connection() -> None:
    """Close this thread's connection when an error broke it; a sound one stays open, whatever CONN_MAX_AGE says.

    A new connection for each batch cost PostgreSQL 5 to 10 ms for its caches, a quarter of all work of the intake.
    """
    if connection.connection is not None:
        connection.close_at = None
    connection.close_if_unusable_or_obsolete()


def raise_when_away(error: Exception) -> None:
    """Raise BookUnavailable when the error is about the database and not about a mail."""
    transient = isinstance(error, TodokuError) and error.transient
    if isinstance(error, DatabaseError | InterfaceError):
        sqlstate = getattr(error.__cause__, "sqlstate", None)
        nameless = sqlstate is None and isinstance(error, OperationalError | InterfaceError | ProgrammingError)
        transient = nameless or (sqlstate is not None and sqlstate.startswith(_NOT_THE_MAIL))
    if transient:
        raise BookUnavailable(f"the database is away: {_short(error)}", kept="all mails, on the bus") from error


def _short(error: Exception) -> str:
    """Name the error in the log; a database's message can quote values of a guest, so only its first line goes on."""
    return f"{type(error).__name__}: {str(error).splitlines()[0][:200] if str(error) else ''}"
