"""Attachments over real sockets: kept once, as they should be, for who may; and everything that a sender tries."""

import asyncio
import errno
import os
import shutil
import signal
import sys
import threading
import uuid
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from sqlalchemy import delete

from gateway.people.permissions import Role
from gateway.storage.leadership import lease
from gateway.storage.tables import attachment, audit, fact, journal, ticket
from gateway.tickets.attachments import attachments as attachments_module
from gateway.tickets.attachments import files as files_module
from gateway.tickets.attachments.attachments import AttachmentSweep
from gateway.tickets.attachments.files import ABANDONED_S, OF_ONE, PLACING_S, UNREFERENCED_S, AttachmentFiles
from tests.builders.alarms import T0, only_row, rows_of
from tests.builders.photos import HTML, PDF, SVG, exif_of, photo, pixels
from tests.servers.api_server import COOKIE, ApiServer
from tests.servers.waiting import until

ID = "0190b3f0-0000-7000-8000-000000000001"
MEGABYTE = 1024 * 1024
HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"


class Post(NamedTuple):
    """A ticket, and how to attach to it."""

    api: ApiServer
    number: str
    folder: Path

    @property
    def path(self) -> str:
        return f"/api/v1/tickets/{self.number}/attachments"

    async def send(self, data: Any, media_type: str = "image/jpeg", **query: str) -> tuple[int, Any]:
        headers = {"Content-Type": media_type}
        return await self.api.ask("POST", self.path, data=data, params=query, headers=headers)

    async def read(self, identity: str) -> tuple[int, bytes, dict[str, str]]:
        async with self.api.client.get(f"/api/v1/attachments/{identity}") as answer:
            return answer.status, await answer.read(), dict(answer.headers)

    def files(self) -> list[str]:
        """What lies in the folder."""
        return sorted(file.relative_to(self.folder).as_posix() for file in self.folder.rglob("*") if file.is_file())

    async def sweep(self) -> AttachmentSweep:
        epoch = await lease.take(self.api.services.database, "test", T0)
        assert epoch is not None
        return AttachmentSweep(self.api.services.database, self.api.services.attachments, epoch)


@pytest.fixture
async def post(api: ApiServer, tmp_path: Path) -> Post:
    """As an operator, with a ticket."""
    _, ticket = await api.raise_fire()
    api.log_in(Role.OPERATOR)
    return Post(api, ticket["number"], tmp_path / "attachments")


# -- the good way --------------------------------------------------------------------------------------------------


async def test_a_photo_is_kept_without_its_position_and_read_as_it_was_kept(post: Post) -> None:
    before = photo()
    status, body = await post.send(before, name="泵房 1.jpg", id=ID)
    assert status == 201, body
    assert (status, body["id"], body["name"], body["media_type"]) == (201, ID, "泵房 1.jpg", "image/jpeg")
    assert (body["ticket"], body["position"], body["person"]["en"]) == (post.number, False, "Operator")
    status, after, _ = await post.read(ID)
    assert (status, len(after), sha256(after).hexdigest()) == (200, body["size"], body["sha256"])
    assert pixels(after) == pixels(before)
    assert exif_of(after)[2] == {}
    assert exif_of(after)[0][274] == 6
    assert post.files() == [f"01/{ID}"]
    assert (post.folder / "01" / ID).stat().st_mode & 0o077 == 0
    assert await post.api.get(post.path) == (200, {"items": [body], "next": None})


async def test_a_position_stays_where_it_is_asked_for_and_the_list_says_so(post: Post) -> None:
    status, body = await post.send(photo(), keep_position="true")
    assert (status, body["position"]) == (201, True)
    assert exif_of((await post.read(body["id"]))[1])[2] != {}


@pytest.mark.parametrize(
    ("media_type", "data"),
    [("image/png", photo("PNG")), ("image/webp", photo("WEBP")), ("application/pdf", PDF)],
)
async def test_pictures_of_every_kind_and_pdfs_are_taken(post: Post, media_type: str, data: bytes) -> None:
    status, body = await post.send(data, media_type, name="paper", keep_position="true")
    assert (status, body["media_type"]) == (201, media_type)
    status, read, headers = await post.read(body["id"])
    assert (status, headers["Content-Type"]) == (200, media_type)
    assert (read if media_type == "application/pdf" else pixels(read)) == (
        data if media_type == "application/pdf" else pixels(data)
    )


async def test_journal_audit_and_fact_stand_beside_the_row_and_the_audit_has_no_name(post: Post) -> None:
    _, body = await post.send(photo(), name="Mr Wang.jpg", id=ID)
    database = post.api.services.database
    (line,) = [row for row in await rows_of(database, journal) if row["event"] == "attached"]
    assert (line["thing"], line["actor"], line["note"]) == (post.number, "demo:operator", "Mr Wang.jpg")
    (row,) = [row for row in await rows_of(database, audit) if row["act"] == "ticket.attach"]
    kept = {"id": ID, "media_type": "image/jpeg", "size": body["size"], "sha256": body["sha256"], "position": False}
    assert (row["site"], row["actor"], row["thing"], row["after"]) == ("HQ", "demo:operator", post.number, kept)
    assert [row["thing"] for row in await rows_of(database, fact) if row["kind"] == "ticket.attached"] == [post.number]


async def test_one_id_sent_twice_gets_the_first_answer_and_is_kept_once(post: Post) -> None:
    first = await post.send(photo(), name="first.jpg", id=ID)
    assert await post.send(photo("JPEG", (32, 32)), name="second.jpg", id=ID) == first
    both = await asyncio.gather(*(post.send(photo(), id=str(uuid.UUID(int=7))) for _ in range(OF_ONE)))
    assert both[0][0] == 201
    assert all(answer == both[0] for answer in both)
    assert len(await rows_of(post.api.services.database, attachment)) == 2
    assert len(post.files()) == 2


async def test_an_id_of_another_tickets_attachment_is_not_taken(post: Post) -> None:
    await post.send(photo(), id=ID)
    other = await second_ticket(post)
    status, problem = await other.send(photo(), id=ID)
    assert (status, problem["code"]) == (409, "attachment_id_taken")
    assert post.files() == [f"01/{ID}"]


async def second_ticket(post: Post) -> Post:
    """A copy of the ticket under another number."""
    row = await only_row(post.api.services.database, ticket)
    async with post.api.services.database.transaction() as connection:
        new = {**row, "number": "E-HQ-other", "id": "other", "open_key": None}
        await connection.execute(ticket.insert(), new)
    return post._replace(number="E-HQ-other")


async def test_a_ticket_has_room_for_so_many_and_no_more(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attachments_module, "MOST", 1)
    assert (await post.send(photo()))[0] == 201
    status, problem = await post.send(photo())
    assert (status, problem["code"]) == (409, "too_many_attachments")
    assert len(post.files()) == 1


# -- who may -------------------------------------------------------------------------------------------------------


async def test_another_sites_attachment_answers_as_if_it_did_not_exist(post: Post) -> None:
    await post.send(photo(), id=ID)
    await post.api.log_in_with({"B": tuple(Role)})
    missing = await post.api.get(f"/api/v1/attachments/{uuid.UUID(int=1)}")
    assert missing[0] == 404
    assert await post.api.get(f"/api/v1/attachments/{ID}") == missing
    assert (await post.api.get(post.path))[0] == 404
    assert (await post.send(photo()))[0] == 404


async def test_who_may_only_read_adds_nothing_and_nothing_of_it_is_received(post: Post) -> None:
    post.api.log_in(Role.VIEWER)
    status, problem = await post.send(photo())
    assert (status, problem["code"]) == (403, "forbidden")
    assert not post.folder.exists()


# -- what is refused -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("media_type", "data", "status", "code"),
    [
        ("image/jpeg", HTML, 422, "not_what_it_says"), ("image/jpeg", SVG, 422, "not_what_it_says"),
        ("image/jpeg", b"\xff\xd8\xff" + HTML, 422, "not_what_it_says"), ("image/jpeg", b"", 422, "not_what_it_says"),
        ("image/jpeg", photo("PNG"), 422, "not_what_it_says"), ("image/png", photo(), 422, "not_what_it_says"),
        ("image/jpeg", photo()[:-40], 422, "not_what_it_says"), ("application/pdf", PDF[:40], 422, "not_what_it_says"),
        ("application/pdf", HTML + PDF, 422, "not_what_it_says"), ("text/html", HTML, 415, "unsupported_type"),
        ("image/svg+xml", SVG, 415, "unsupported_type"), ("application/octet-stream", photo(), 415, "unsupported_type"),
        ("multipart/form-data; boundary=x", photo(), 415, "unsupported_type"),
        ("image/heic", HEIC, 415, "unsupported_type"), ("image/jpeg", HEIC, 415, "unsupported_type"),
    ],
)  # fmt: skip
async def test_what_is_not_what_it_says_is_refused_and_nothing_stays(
    post: Post, media_type: str, data: bytes, status: int, code: str
) -> None:
    answer = await post.send(data, media_type)
    assert (answer[0], answer[1]["code"]) == (status, code)
    assert ("Most Compatible" in answer[1]["detail"]) == (data == HEIC), "who sends HEIC hears what to do"
    await nothing_is_left(post)


async def nothing_is_left(post: Post) -> None:
    assert post.files() == []
    assert await rows_of(post.api.services.database, attachment) == []


NAMES = ["../../etc/passwd", "..\\..\\boot.ini", "/etc/passwd", "a\r\nSet-Cookie: stolen=1", "a%0d%0ab",
         'x"; filename="y.html', "\u202egpj.exe", "\U0001f525", "x" * 5_000]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
async def test_no_name_becomes_a_path_or_a_header(post: Post, name: str) -> None:
    status, body = await post.send(photo(), name=name, id=ID)
    assert status == 201
    assert not set("/\\\r\n\u202e") & set(body["name"])
    assert body["name"].endswith(".jpg")
    _, _, headers = await post.read(ID)
    assert "Set-Cookie" not in headers
    assert headers["Content-Disposition"].startswith('attachment; filename="')
    assert headers["Content-Disposition"].count('"') == 2
    assert post.files() == [f"01/{ID}"]


async def test_a_name_with_a_nul_is_refused(post: Post) -> None:
    status, problem = await post.send(photo(), name="a\0.jpg")
    assert (status, problem["code"]) == (400, "bad_query")


@pytest.mark.parametrize("identity", ["../../gengfu.db", "..", "01/../../x", ID.upper() + "/..", "x" * 36, "%00", "{}"])
async def test_no_id_that_is_sent_becomes_a_path(post: Post, tmp_path: Path, identity: str) -> None:
    status, problem = await post.send(photo(), id=identity)
    assert (status, problem["code"]) == (400, "bad_query")
    for written in (identity, identity.replace("/", "%2f").replace(".", "%2e")):
        reader, writer = await asyncio.open_connection("127.0.0.1", post.api.client.port)
        lines = f"Host: 127.0.0.1\r\nCookie: {COOKIE}=login-of-operator\r\nConnection: close"
        writer.write(f"GET /api/v1/attachments/{written} HTTP/1.1\r\n{lines}\r\n\r\n".encode())
        answer = await asyncio.wait_for(reader.read(), 10)
        writer.close()
        assert int(answer.split()[1]) in {400, 404}
        assert b"SQLite format" not in answer
    await nothing_is_left(post)


async def test_a_file_is_saved_and_never_shown_or_run_whatever_it_is(post: Post) -> None:
    """A PDF that is a page and a script as well."""
    polyglot = PDF.replace(b"trailer", HTML + b"\ntrailer")
    await post.send(polyglot, "application/pdf", name="page.html", id=ID)
    _, data, headers = await post.read(ID)
    assert data == polyglot
    assert headers["Content-Type"] == "application/pdf"
    assert headers["Content-Disposition"].startswith("attachment;")
    assert "page.html.pdf" in headers["Content-Disposition"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "sandbox" in headers["Content-Security-Policy"]
    assert "default-src 'none'" in headers["Content-Security-Policy"]


# -- too much, too slow, too many ----------------------------------------------------------------------------------


async def raw(post: Post, lines: str, chunks: Sequence[bytes]) -> tuple[int, int]:
    """Send a request by hand until it is answered. Returns the status, and how much of the body was sent."""
    reader, writer = await asyncio.open_connection("127.0.0.1", post.api.client.port)
    head = f"POST {post.path} HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: {COOKIE}=login-of-operator\r\n{lines}\r\n\r\n"
    writer.write(head.encode())
    answered, sent = asyncio.create_task(reader.readline()), 0
    for chunk in chunks:
        if answered.done():
            break
        writer.write(chunk)
        sent += len(chunk)
        try:
            await writer.drain()
        except ConnectionError:
            break
        await asyncio.sleep(0)
    status = int((await asyncio.wait_for(answered, 10)).split()[1])
    writer.close()
    return status, sent


async def test_fifty_megabytes_that_say_so_are_refused_before_a_byte_is_read(post: Post) -> None:
    lines = f"Content-Type: image/jpeg\r\nContent-Length: {50 * MEGABYTE}"
    assert await raw(post, lines, [b"\xff"]) == (413, 1)
    assert not post.folder.exists()


async def test_fifty_megabytes_that_do_not_say_so_are_refused_at_the_limit_and_nothing_stays(post: Post) -> None:
    piece = b"%x\r\n%s\r\n" % (MEGABYTE // 4, b"\xff" * (MEGABYTE // 4))
    lines = "Content-Type: image/jpeg\r\nTransfer-Encoding: chunked"
    status, sent = await raw(post, lines, [piece] * 200)
    assert status == 413
    assert sent < 25 * MEGABYTE, "it was not read to its end"
    await until(lambda: post.files() == [], "nothing is left")
    await nothing_is_left(post)


async def test_a_packed_body_is_refused_so_that_none_unpacks_to_more_than_the_limit(post: Post) -> None:
    lines = "Content-Type: image/jpeg\r\nContent-Encoding: gzip\r\nContent-Length: 10"
    assert (await raw(post, lines, [b"\x1f\x8b"]))[0] == 415


async def test_an_upload_that_falls_silent_is_ended(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files_module, "SILENT_S", 0.2)
    assert (await raw(post, "Content-Type: image/jpeg\r\nContent-Length: 9999", [photo()[:100]]))[0] == 408
    await nothing_is_left(post)


async def test_an_upload_that_drips_is_ended(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files_module, "LONGEST_S", 0.2)
    assert (await raw(post, "Content-Type: image/jpeg\r\nContent-Length: 9999", [b"\xff"] * 9))[0] == 408
    await nothing_is_left(post)


async def test_a_sender_that_goes_away_leaves_nothing_behind(post: Post) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", post.api.client.port)
    lines = f"Cookie: {COOKIE}=login-of-operator\r\nContent-Type: image/jpeg\r\nContent-Length: 9999"
    writer.write(f"POST {post.path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{lines}\r\n\r\n".encode() + photo()[:500])
    await writer.drain()
    await until(lambda: len(post.files()) == 1, "it is being received")
    writer.close()
    await until(lambda: post.files() == [], "nothing is left")
    await nothing_is_left(post)


async def test_one_person_sends_so_many_at_once_and_others_still_can(post: Post) -> None:
    waiting = [await asyncio.open_connection("127.0.0.1", post.api.client.port) for _ in range(OF_ONE)]
    lines = f"Cookie: {COOKIE}=login-of-operator\r\nContent-Type: image/jpeg\r\nContent-Length: 9999"
    for _, writer in waiting:
        writer.write(f"POST {post.path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{lines}\r\n\r\n".encode() + b"\xff")
    await until(lambda: len(post.files()) == OF_ONE, "all of them are being received")
    status, problem = await post.send(photo())
    assert (status, problem["code"]) == (503, "uploads_busy")
    post.api.log_in(Role.MANAGER)
    assert (await post.send(photo()))[0] == 201
    for _, writer in waiting:
        writer.close()
    await until(lambda: len(post.files()) == 1, "only the whole one is left")


# -- the disk, and a crash -----------------------------------------------------------------------------------------


async def test_a_disk_that_is_full_is_told_and_nothing_is_left_behind(
    post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    for step in ("_write", "_sealed"):
        with monkeypatch.context() as patch:
            patch.setattr(files_module, step, full)
            status, problem = await post.send(photo(), id=ID)
            assert (status, problem["code"]) == (507, "disk_full")
            await nothing_is_left(post)
    with monkeypatch.context() as patch:
        patch.setattr(files_module.AttachmentFiles, "_put", full)
        assert (await post.send(photo(), id=ID))[0] == 507
        await nothing_is_left(post)
    assert (await post.send(photo(), id=ID))[0] == 201


async def test_the_last_of_the_disk_is_kept_for_alarms(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(post.folder.parent)
    monkeypatch.setattr(files_module.shutil, "disk_usage", lambda _: usage._replace(free=files_module.RESERVE))
    assert (await post.send(photo()))[0] == 507
    await nothing_is_left(post)


async def test_a_row_whose_file_is_gone_says_so(post: Post) -> None:
    await post.send(photo(), id=ID)
    (post.folder / "01" / ID).unlink()
    status, problem = await post.api.get(f"/api/v1/attachments/{ID}")
    assert (status, problem["code"]) == (410, "attachment_missing")


KILLED = """
import asyncio, os, signal, sys
from pathlib import Path
from gateway.people.audit.entry import CLOCK
from gateway.storage.database import Database
from gateway.tickets.attachments.files import AttachmentFiles
from gateway.tickets.attachments.types import JPEG
from gateway.tickets.attachments.attachments import NewAttachment, add

class Files(AttachmentFiles):
    async def put(self, checked, identity):
        await super().put(checked, identity)
        os.kill(os.getpid(), signal.SIGKILL)

async def main(url, folder, source, number):
    files = Files(Path(folder), 1 << 21)
    with files.place("a") as target:
        target.parent.mkdir(parents=True)
        target.write_bytes(Path(source).read_bytes())
        checked = await files.check(target, JPEG, keep_position=False)
        await add(Database(url), files, NewAttachment(sys.argv[5], number, "a.jpg", False), checked, CLOCK, 1)

asyncio.run(main(*sys.argv[1:5]))
"""


async def test_kill_9_between_file_and_row_leaves_nothing_that_is_seen_and_the_sweep_takes_it_away(
    post: Post, database_address: str, tmp_path: Path
) -> None:
    (tmp_path / "photo.jpg").write_bytes(photo())
    command = [sys.executable, "-c", KILLED, database_address, str(post.folder), str(tmp_path / "photo.jpg"),
               post.number, ID]  # fmt: skip
    process = await asyncio.create_subprocess_exec(*command)
    assert await asyncio.wait_for(process.wait(), 60) == -signal.SIGKILL
    assert f"01/{ID}" in post.files()
    assert (await post.read(ID))[0] == 404
    assert (await post.api.get(post.path))[1]["items"] == []
    await (await post.sweep()).sweep()
    assert f"01/{ID}" in post.files(), "its row may still be on its way"
    age(post.folder / "01" / ID, PLACING_S + 60)
    await (await post.sweep()).sweep()
    assert f"01/{ID}" not in post.files()
    assert (await post.send(photo(), id=ID))[0] == 201, "and it can be sent again"
    await (await post.sweep()).sweep()
    assert f"01/{ID}" in post.files()
    assert pixels((await post.read(ID))[1]) == pixels(photo())


async def test_a_slow_disk_that_takes_an_attachment_keeps_no_acknowledgement_waiting(
    post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow, reached = threading.Event(), threading.Event()
    real = AttachmentFiles._place

    def place(files: AttachmentFiles, file: Path, target: Path) -> None:
        reached.set()
        assert slow.wait(60)
        real(files, file, target)

    monkeypatch.setattr(AttachmentFiles, "_place", place)
    sending = asyncio.create_task(post.send(photo(), id=ID))
    await until(reached.is_set, "the disk is working on the file")
    (alarm,) = (await post.api.get("/api/v1/alarms?state=open"))[1]["items"]
    acknowledged, _ = await post.api.post(f"/api/v1/alarms/{alarm['id']}/acknowledge", {"version": alarm["version"]})
    assert (acknowledged, sending.done()) == (200, False)
    slow.set()
    assert (await sending)[0] == 201


async def test_of_two_files_that_are_sent_at_once_under_one_id_the_row_tells_of_the_one_that_is_kept(
    post: Post,
) -> None:
    answers = await asyncio.gather(*(post.send(photo(size=(40 + number, 30)), id=ID) for number in range(3)))
    statuses = {status for status, _ in answers}
    assert 201 in statuses, answers
    assert statuses <= {201, 503}, answers
    row = await only_row(post.api.services.database, attachment)
    _, data, _ = await post.read(ID)
    assert sha256(data).hexdigest() == row["sha256"]


# -- files that no row tells of ------------------------------------------------------------------------------------


async def test_a_file_whose_row_has_gone_is_set_aside_for_a_week_and_then_removed(post: Post) -> None:
    await post.send(photo(), id=ID)
    await post.send(photo(), id=str(uuid.UUID(int=9)))
    async with post.api.services.database.transaction() as connection:
        await connection.execute(delete(attachment).where(attachment.c.id == ID))
    age(post.folder / "01" / ID, PLACING_S + 60)
    sweep = await post.sweep()
    await sweep.sweep()
    assert post.files() == [f"00/{uuid.UUID(int=9)}", f"unreferenced/{ID}"]
    age(post.folder / "unreferenced" / ID, UNREFERENCED_S - 60)
    await sweep.sweep()
    assert f"unreferenced/{ID}" in post.files()
    age(post.folder / "unreferenced" / ID, UNREFERENCED_S + 60)
    await sweep.sweep()
    assert post.files() == [f"00/{uuid.UUID(int=9)}"]


async def test_a_database_that_comes_back_finds_its_files(post: Post) -> None:
    _, body = await post.send(photo(), id=ID)
    row = await only_row(post.api.services.database, attachment)
    async with post.api.services.database.transaction() as connection:
        await connection.execute(delete(attachment))
    age(post.folder / "01" / ID, PLACING_S + 60)
    sweep = await post.sweep()
    await sweep.sweep()
    async with post.api.services.database.transaction() as connection:
        await connection.execute(attachment.insert(), row)
    assert (await post.read(ID))[0] == 410
    await sweep.sweep()
    status, data, _ = await post.read(ID)
    assert (status, sha256(data).hexdigest()) == (200, body["sha256"])


async def test_what_an_upload_that_broke_off_has_left_goes_and_one_that_runs_stays(post: Post) -> None:
    incoming = post.folder / "incoming"
    incoming.mkdir(parents=True)
    for name in ("left", "running"):
        (incoming / name).write_bytes(b"\xff")
    age(incoming / "left", ABANDONED_S + 60)
    await (await post.sweep()).sweep()
    assert post.files() == ["incoming/running"]


async def test_who_has_lost_the_lease_takes_nothing_away(post: Post) -> None:
    await post.send(photo(), id=ID)
    async with post.api.services.database.transaction() as connection:
        await connection.execute(delete(attachment))
    age(post.folder / "01" / ID, PLACING_S + 60)
    sweep = await post.sweep()
    await lease.take(post.api.services.database, "another", T0 + 2 * lease.LIFETIME_MS)
    with pytest.raises(lease.LeaseLost):
        await sweep.sweep()
    assert post.files() == [f"01/{ID}"]


def age(file: Path, seconds: float) -> None:
    at = file.stat().st_mtime - seconds
    os.utime(file, (at, at))
