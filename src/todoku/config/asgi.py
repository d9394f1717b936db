"""The pages as an ASGI application, with the web room's ports filled in."""

from __future__ import annotations

from django.core.handlers.asgi import ASGIHandler

from todoku.api.challenges import ChallengeDoor
from todoku.api.inbound.door import InboundDoor
from todoku.config.django_setup import set_up_django


def make_application() -> ChallengeDoor:
    """Return the application, authorities and providers' calls first; Django is set up on the way."""
    set_up_django()
    return ChallengeDoor(InboundDoor(ASGIHandler()))
