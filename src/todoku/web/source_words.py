"""How pages speak of sources and credentials."""

from __future__ import annotations

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext, pgettext_lazy

from todoku.credentials.served_types import DnsFinding, Place, ServedKind
from todoku.credentials.trial import Step, StepKind
from todoku.credentials.types import Condition
from todoku.sources.credentials import CredentialKind
from todoku.sources.errors import Cause
from todoku.sources.standing import Truth
from todoku.web.words import Word

TRUTHS: dict[Truth, Word] = {
    Truth.FETCHING: Word(_("Fetching"), "download", "busy"),
    Truth.FETCHED: Word(_("Mails come in"), "done", "good"),
    Truth.COULD_NOT: Word(_("Could not look"), "warn", "bad"),
    Truth.NOBODY_LOOKED: Word(_("Nobody looks"), "warn", "bad"),
    Truth.PAUSED: Word(_("Paused"), "pause", "look"),
    Truth.NOT_YET: Word(_("Not looked at yet"), "clock", "busy"),
    Truth.LISTENING: Word(_("Ready for calls"), "done", "good"),
}
CONDITIONS: dict[Condition, Word] = {
    Condition.NOT_SEEN: Word(_("Not seen any more"), "unknown", "bad"),
    Condition.UNREADABLE: Word(_("Can't be used"), "cross", "bad"),
    Condition.EXPIRED: Word(_("Expired"), "cross", "bad"),
    Condition.NOT_YET_VALID: Word(_("Not valid yet"), "clock", "bad"),
    Condition.REFUSED: Word(_("Refused by the server"), "cross", "bad"),
    Condition.RENEWAL_FAILED: Word(_("Renewal failed"), "warn", "bad"),
    Condition.NOT_IN_DNS: Word(_("Not in DNS"), "warn", "bad"),
    Condition.NEAR_ITS_END: Word(_("Ends very soon"), "warn", "bad"),
    Condition.ENDING: Word(_("Ends soon"), "clock", "look"),
    Condition.WAITING: Word(_("Waits"), "clock", "look"),
    Condition.UNPROVEN: Word(_("Not used so far"), "unknown", "look"),
    Condition.GOOD: Word(pgettext_lazy("credential", "Works"), "done", "good"),
}
CAUSES: dict[str, str | Promise] = {
    Cause.UNREACHABLE.value: _("The server can't be reached."),
    Cause.CREDENTIAL.value: _("The server does not let us in, or its certificate is not valid."),
    Cause.MISSING.value: _("The folder, mailbox or bucket is not there."),
    Cause.PROTOCOL.value: _("The server answers what nobody expects."),
    "settings": _("The settings can't be used."),
}
KINDS: dict[str, str | Promise] = {
    "imap": "IMAP",
    "pop3": "POP3",
    "s3": "Amazon S3",
    "webhook": _("Webhook of a mail provider"),
    "maildir": _("Folder on this server (Maildir)"),
}
CREDENTIAL_KINDS: dict[CredentialKind, str | Promise] = {
    CredentialKind.PASSWORD: _("Password"),
    CredentialKind.OAUTH_TOKEN: _("OAuth token"),
    CredentialKind.CLIENT_CERTIFICATE: _("Client certificate"),
    CredentialKind.STATIC_KEY: _("Access key"),
    CredentialKind.SESSION_KEY: _("Access key of a session"),
    CredentialKind.TLS_CERTIFICATE: _("TLS certificate"),
}
SERVED_KINDS: dict[ServedKind, str | Promise] = {
    ServedKind.TLS_CERTIFICATE: _("TLS certificate"),
    ServedKind.DKIM_KEY: _("DKIM key"),
}
PLACES: dict[Place, str | Promise] = {
    Place.SMTP_DOOR: _("shown by the SMTP door"),
    Place.SIGNATURES: _("signs mail that leaves"),
    Place.INVENTORY: _("kept in the inventory"),
}
NOT_SIGNING = _("does not sign")
DNS_FINDINGS: dict[DnsFinding, Word] = {
    DnsFinding.FOUND: Word(_("DNS answers with this key"), "done", "good"),
    DnsFinding.ABSENT: Word(_("DNS knows no such record"), "warn", "bad"),
    DnsFinding.ANOTHER: Word(_("DNS answers with another key"), "warn", "bad"),
    DnsFinding.REVOKED: Word(_("DNS says that the key is revoked"), "cross", "bad"),
    DnsFinding.NO_ANSWER: Word(_("DNS did not answer"), "unknown", "look"),
}
RENEWALS: dict[str, str | Promise] = {
    "acme": _("renewed by an authority (ACME)"),
    "command": _("renewed by a command"),
    "file": _("renewed from files"),
    "http": _("renewed by HTTP"),
    "oauth": _("renewed by OAuth"),
}
FIELDS: dict[str, str | Promise] = {
    "host": _("Server"),
    "port": _("Port"),
    "encryption": _("Encryption"),
    "folder": _("Folder"),
    "ca_pem": _("Certificate authority (PEM), when it is a private one"),
    "timeout_seconds": _("Patience in seconds"),
    "bucket": _("Bucket"),
    "prefix": _("Prefix of the keys"),
    "region": _("Region"),
    "endpoint": _("Address of the service, when it is not Amazon"),
    "queue_url": _("Queue with notifications (SQS)"),
    "username": _("User name"),
    "password": _("Password"),
    "token": _("Token"),
    "certificate_pem": _("Certificate (PEM)"),
    "key_pem": _("Private key (PEM)"),
    "access_key": _("Access key id"),
    "secret_key": _("Secret access key"),
    "session_token": _("Session token"),
}
CHOICES: dict[str, str | Promise] = {
    "tls": _("TLS from the start"),
    "starttls": _("STARTTLS: encrypted after a first word in clear"),
    "none": _("None: only for a server on the same machine"),
}
LONG_FIELDS = frozenset({"ca_pem", "certificate_pem", "key_pem"})
HIDDEN_FIELDS = frozenset({"password", "token", "secret_key", "session_token", "key_pem"})


def field_name(name: str) -> str | Promise:
    """Return the word for a setting; settings without one show their own name."""
    return FIELDS.get(name, name)


STEPS: dict[tuple[StepKind, bool], str | Promise] = {
    (StepKind.SETTINGS, True): _("The settings can be used."),
    (StepKind.SETTINGS, False): _("The settings can't be used."),
    (StepKind.NO_CREDENTIAL, False): _("There is no credential to log in with."),
    (StepKind.CREDENTIAL, False): _("The credential can't be used."),
    (StepKind.CALLED, True): _("It waits for the calls of its provider."),
}


def step_text(step: Step) -> str:
    """Say a step of a test in the reader's language; the server's own words stand beside it."""
    if step.kind is StepKind.LISTED:
        return ngettext("%(n)d mail is listed.", "%(n)d mails are listed.", step.count) % {"n": step.count}
    return str(STEPS.get((step.kind, step.fine)) or CAUSES.get(step.cause, step.why))
