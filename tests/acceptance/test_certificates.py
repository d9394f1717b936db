"""A certificate as an operator has one: ordered by command from a real authority, shown by the running SMTP door."""

from __future__ import annotations

import hashlib
import json
import smtplib
import ssl
import time
from pathlib import Path
from typing import Any

import pytest
from tests.acceptance.conftest import Todoku, ready
from tests.integration.credentials.pebble import running

HOST = "mx.todoku-demo.example"
WITHIN_SECONDS = 60.0  # only a guard against hanging


def _rows(todoku: Todoku) -> dict[str, dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(todoku.run("certificate", "list", "--json"))
    return {one["place"]: one for one in found}


def _shown(todoku: Todoku, root_pem: str) -> str:
    """Return the fingerprint of the certificate that a client of the SMTP door sees and believes."""
    context = ssl.create_default_context(cadata=root_pem)
    with smtplib.SMTP("127.0.0.1", todoku.smtp_port, timeout=10) as client:
        client.ehlo()
        if not client.has_extn("starttls"):
            return ""
        client._host = HOST  # type: ignore[attr-defined]  # what is looked for in the certificate
        client.starttls(context=context)
        assert isinstance(client.sock, ssl.SSLSocket)
        return hashlib.sha256(client.sock.getpeercert(binary_form=True) or b"").hexdigest()


def test_a_certificate_is_ordered_and_shown_without_a_restart(
    todoku: Todoku, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TODOKU_SMTP_CERTIFICATE", "credential:mx")
    todoku.run("dkim", "new", "todoku-demo.example", "--selector", "t1", "--use")
    with running(tmp_path, todoku.web_port) as authority, todoku.start("demo", "--json", "--no-evening") as process:
        ready(process)
        assert "certificate ask-dns" not in todoku.run("certificate", "list")
        where = ("--directory", authority.directory, "--ca", str(authority.ca))
        order = ("certificate", "order", "mx", *where, "--domain", HOST, "--contact", "ops@todoku-demo.example")
        todoku.run(*order, expect=1)  # nobody agreed to the terms
        todoku.run(*order, "--agree-terms")
        root = authority.root_pem()
        deadline = time.monotonic() + WITHIN_SECONDS
        while not (fingerprint := _shown(todoku, root)):
            listed = todoku.run("certificate", "list")
            assert time.monotonic() < deadline, listed
        rows = _rows(todoku)
        kept = rows["inventory"]
        assert (kept["fingerprint"], kept["renewed_by"], kept["why"]) == (fingerprint, "acme", "")
        assert kept["ends"] is not None
        assert "Pebble" in kept["issuer"]
        key = rows["signatures"]
        assert (key["name"], key["in_use"]) == ("t1._domainkey.todoku-demo.example", True)
        assert key["machine"]
        assert json.loads(todoku.run("credential", "list", "--installation", "--json"))
        todoku.run("credential", "list", expect=2)
        for words in (
            ("certificate", "remove", "nobody"),
            ("certificate", "renew-by", "mx", "oauth", "--set", "token_url=http://ca.example/"),
            ("certificate", "replace", "mx", "--secret", f"certificate_pem={authority.ca}"),
            ("credential", "add", "-p", "todoku-demo", "x", "--kind", "tls_certificate"),
        ):
            todoku.run(*words, expect=1)
        assert "PRIVATE KEY" not in todoku.run("certificate", "list", "--json")
