"""How people sign what they do: "Name <address>". Pure.

The address they sign in with tells two people of one name apart, and knows one person under two names; pages show the
name alone. What programs do is signed without an address ("planner", "cli: root", "api: till").
"""

from __future__ import annotations

import re

_ADDRESS = re.compile(r"<([^<>@\s]+@[^<>@\s]+)>\s*\Z")
LONGEST = 400  # a name of 100, an address of 254 and what stands between; so wide are the columns


def sign(name: str, address: str) -> str:
    """Return the signature of somebody; without an address it is the name."""
    name = " ".join(name.replace("<", "(").replace(">", ")").split())
    return f"{name} <{address}>" if address else name


def shown_name(signature: str) -> str:
    """Return what pages show: the name, or the address where there is no name."""
    found = _ADDRESS.search(signature)
    if found is None:
        return signature
    return signature[: found.start()].strip() or found[1]


def same_person(one: str, other: str) -> bool:
    """Tell whether two signatures are one person's: by their addresses, else by all that they say."""
    return _key(one) == _key(other)


def address_in(signature: str) -> str:
    """Return the address of who signed, "" when there is none; an address alone is a signature too."""
    found = _ADDRESS.search(signature) or _ADDRESS.search(f"<{signature.strip()}>")
    return found[1] if found is not None else ""


def _key(signature: str) -> str:
    return (address_in(signature) or signature).strip().casefold()
