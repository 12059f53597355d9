"""Attachments of tickets: add one, list them, read one."""

import uuid
from typing import Any
from urllib.parse import quote

import msgspec

from collectors.wire.reading import to_datetime
from gateway.api.http.bodies import Page, texts
from gateway.api.http.problems import ProblemError
from gateway.api.http.route import Call, FileAnswer, Route, Upload
from gateway.api.tickets.bodies import AttachmentBody
from gateway.api.tickets.tickets import find_ticket
from gateway.people.permissions import Permission, may
from gateway.storage.identity import new_id
from gateway.tickets.attachments.attachments import NewAttachment, add, find, of_ticket
from gateway.tickets.attachments.types import TAKEN, Refused, declared_type, shown_name
from gateway.tickets.tickets import NoSuchTicket


class NewAttachmentQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is said of a file beside it."""

    name: str = ""
    """For people to see; folders in it are left out."""
    id: uuid.UUID | None = None
    """Of the client's making: sent again with the same one, it is kept once."""
    keep_position: bool = False
    """Whether a photo keeps where it was taken; that is taken out else."""


def attachment_body(call: Call, row: dict[str, Any]) -> AttachmentBody:
    return AttachmentBody(
        id=row["id"],
        ticket=row["ticket"],
        name=row["name"],
        media_type=row["media_type"],
        size=row["size"],
        sha256=row["sha256"],
        position=row["position"],
        person=texts(call.services.accounts.name_of(row["person"])),
        at=to_datetime(row["at"]),
    )


async def add_attachment(call: Call) -> AttachmentBody:
    ticket = await find_ticket(call, Permission.ACT_ON_TICKET)
    query: NewAttachmentQuery = call.query
    upload: Upload = call.body
    services, files = call.services, call.services.attachments
    try:
        kind = declared_type(upload.content_type)
        with files.place(call.cause.actor) as target:
            await files.receive(upload.read, target)
            checked = await files.check(target, kind, keep_position=query.keep_position)
            new = NewAttachment(
                str(query.id or new_id(services.clock())), ticket["number"], shown_name(query.name, kind),
                position=query.keep_position and bool(kind.pillow),
            )  # fmt: skip
            row = await add(services.database, files, new, checked, call.cause, services.clock())
    except Refused as error:
        raise ProblemError(error.code, str(error), _AGAIN_S.get(error.code)) from error
    except NoSuchTicket:
        raise ProblemError("not_found") from None
    return attachment_body(call, row)


_AGAIN_S = {"uploads_busy": 5.0, "attachments_unavailable": 60.0}
"""After how many seconds it may be sent again."""


async def list_attachments(call: Call) -> Page[AttachmentBody]:
    ticket = await find_ticket(call, Permission.READ_TICKETS)
    rows = await of_ticket(call.services.database, ticket["number"])
    return Page([attachment_body(call, row) for row in rows])


async def read_attachment(call: Call) -> FileAnswer:
    row = await find(call.services.database, call.path["id"])
    grants = call.person.grants if call.person else None
    if row is None or not may(grants, Permission.READ_TICKETS, row["site"]).permitted:
        raise ProblemError("not_found", "there is no attachment with this id")
    try:
        file = await call.services.attachments.open(row["id"])
    except FileNotFoundError:
        raise ProblemError("attachment_missing", "it is not in the folder of attachments; look in a backup") from None
    except Refused as error:
        raise ProblemError(error.code, str(error), _AGAIN_S.get(error.code)) from error
    return FileAnswer(file, row["media_type"], disposition(row["name"]))


def disposition(name: str) -> str:
    """To be saved under this name (RFC 6266): in ASCII for the oldest, in UTF-8 for all others."""
    plain = "".join(
        letter if letter.isascii() and letter.isprintable() and letter not in '"\\%' else "_" for letter in name
    )
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"


ROUTES = (
    Route(
        "GET", "/tickets/{number}/attachments", Permission.READ_TICKETS, list_attachments, "Files attached to a ticket",
        Page[AttachmentBody],
    ),
    Route(
        "POST", "/tickets/{number}/attachments", Permission.ACT_ON_TICKET, add_attachment,
        "Attach a photo or a PDF to a ticket", AttachmentBody, query=NewAttachmentQuery, status=201, takes=tuple(TAKEN),
    ),
    Route(
        "GET", "/attachments/{id}", Permission.READ_TICKETS, read_attachment, "An attached file, to be saved", None,
        gives=tuple(TAKEN),
    ),
)  # fmt: skip
