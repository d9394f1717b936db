"""Mails that a person brings as files: kept byte for byte, then read like any other mail."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Final

from django.contrib import messages
from django.core.files.uploadedfile import UploadedFile
from django.http import HttpResponse
from django.shortcuts import redirect
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from todoku.bus.errors import BusError
from todoku.projects.types import Right
from todoku.sources.errors import SourceError
from todoku.sources.mailbox_files import MAX_MAIL_BYTES, FileKind, cut_file
from todoku.web.guards import MemberRequest, needs
from todoku.web.live import hub

_SECONDS: Final = 120.0


@needs(Right.HANDLE_RESERVATIONS, "POST")
def upload(request: MemberRequest) -> HttpResponse:
    """Take in the mails of the uploaded files; what can't be read is named, and the others are kept."""
    files = request.FILES.getlist("files")
    if not files or sum(file.size or 0 for file in files) > MAX_MAIL_BYTES:
        messages.error(request, _("Choose files of at most 64 MB together."))
        return redirect("sources")
    mails: list[tuple[str, bytes]] = []
    for file in files:
        found, problem = _mails_of(file)
        mails += found
        if problem:
            messages.error(request, _("%(name)s can't be read: %(why)s") % {"name": file.name, "why": problem})
    if not mails:
        return redirect("sources")
    try:
        count = hub.take_in(request.project.id, mails, _SECONDS)
    except (BusError, SourceError) as error:
        messages.error(request, _("That is not possible now: %(why)s") % {"why": error.what})
        return redirect("sources")
    text = ngettext("%(n)d mail is kept and is being read.", "%(n)d mails are kept and are being read.", count)
    messages.success(request, text % {"n": count})
    return redirect("mails")


def _mails_of(file: UploadedFile[bytes]) -> tuple[list[tuple[str, bytes]], str]:
    """Return (name, bytes) of each mail in the file, and why one could not be read, "" when all could."""
    with tempfile.NamedTemporaryFile(prefix="todoku-upload-", suffix=".eml") as copy:
        for chunk in file.chunks():
            copy.write(chunk)
        copy.flush()
        cut = list(cut_file(Path(copy.name)))
    name = (file.name or "mail")[:200]
    found = [(f"{name}#{one.offset}" if one.kind is FileKind.MBOX else name, one.raw) for one in cut if not one.problem]
    return found, next((one.problem for one in cut if one.problem), "")
