"""One shape for every log line: time, level, stable action name, fields.

Purpose   make structlog print JSON lines into files and pipes, coloured lines on a terminal.
Writes    standard error; the supervisor sends it to `<home>/logs/`.
Limits    secrets are never handed to a logger; this module does not look for them.
"""

from __future__ import annotations

import logging
import sys

import structlog


def set_up_logging(*, level: int = logging.INFO) -> None:
    """Configure structlog and the standard library's logging alike; calling it again changes nothing."""
    shared: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    if sys.stderr.isatty():
        final: list[structlog.types.Processor] = [structlog.dev.ConsoleRenderer()]
    else:
        final = [
            structlog.processors.format_exc_info,
            structlog.processors.UnicodeDecoder(),
            structlog.processors.JSONRenderer(ensure_ascii=False),
        ]
    structlog.configure(
        processors=[*shared, *final],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(levelname)s %(name)s %(message)s")
