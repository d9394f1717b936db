"""The checks of `todoku doctor`, gathered from the rooms."""

from __future__ import annotations

from todoku.config.settings import Settings
from todoku.config.ways_out import check_ways_out
from todoku.delivery.transports.opening import shown_ways
from todoku.engines.checks import check_all
from todoku.kernel.clock import Clock, SystemClock
from todoku.kernel.health import Health, HealthState


def check_up(settings: Settings, *, clock: Clock | None = None) -> list[Health]:
    """Look at settings, disks, ports, engines and clocks; changes nothing but a probe file in the home."""
    watch = clock or SystemClock()
    listens = {
        "web": (settings.web_listen.host, settings.web_listen.port),
        "smtp": (settings.smtp_listen.host, settings.smtp_listen.port),
    }
    return [
        *_check_settings(settings, watch),
        *check_ways_out(settings, watch),
        *check_all(
            settings.home, watch, database_url=settings.database_url, nats_url=settings.nats_url, listens=listens
        ),
    ]


def _check_settings(settings: Settings, clock: Clock) -> list[Health]:
    now = clock.now_utc()
    facts = []
    if settings.relay_url or settings.demo:
        way = shown_ways(settings.relay_url) or "the demo's own"
        facts.append(Health("settings.relay", HealthState.OK, way, now))
    else:
        facts.append(
            Health(
                "settings.relay",
                HealthState.LATE,
                "no relay is set: campaigns are sealed and wait",
                now,
                todo="set TODOKU_RELAY_URL=smtp://host:port",
            )
        )
    if settings.mail_domain.endswith(".example"):
        facts.append(
            Health(
                "settings.mail_domain",
                HealthState.LATE,
                f"{settings.mail_domain} exists nowhere: booking sites can't reach it",
                now,
                todo="set TODOKU_MAIL_DOMAIN to a domain whose MX leads here",
            )
        )
    else:
        facts.append(Health("settings.mail_domain", HealthState.OK, settings.mail_domain, now))
    return facts
