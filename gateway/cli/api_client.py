"""Commands that ask the running service: it alone holds the database, so they go by its API like everyone else."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import aiohttp

_TIMEOUT: Final = aiohttp.ClientTimeout(total=30)
_SHOWN: Final = 120


class RemoteError(Exception):
    """The service did not do it; the text says why."""


class Remote:
    """A login at the running service, as a command needs it."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url

    async def ask(self, method: str, path: str, **options: Any) -> Any:
        """The answer's JSON. Raises RemoteError."""
        try:
            async with self._session.request(method, f"{self._url}/api/v1{path}", **options) as answer:
                body = await answer.json(content_type=None) if answer.status != 204 else None
        except (aiohttp.ClientError, TimeoutError, json.JSONDecodeError, UnicodeDecodeError) as error:
            raise RemoteError(
                f"{self._url} does not answer as Gengfu does: {str(error) or 'no answer in time'}"
            ) from error
        if answer.status >= 400:
            problem = body if isinstance(body, dict) else {}
            parts = (problem.get("title"), problem.get("detail"))
            raise RemoteError(": ".join(filter(None, parts)) or f"the service answers with {answer.status}")
        return body


@asynccontextmanager
async def logged_in(url: str, username: str, password: str, code: str = "") -> AsyncIterator[Remote]:
    """Talk to the service at `url`; without a user name as the local person of a service without accounts.

    `code` is that of the second factor, where the account asks for one. The login ends with the block.
    """
    jar = aiohttp.CookieJar(unsafe=True)  # the service is addressed by number
    async with aiohttp.ClientSession(timeout=_TIMEOUT, cookie_jar=jar) as session:
        remote = Remote(session, url.rstrip("/"))
        if username:
            await remote.ask("POST", "/session", json={"username": username, "password": password, "code": code})
        try:
            yield remote
        finally:
            if username:
                await remote.ask("DELETE", "/session")


async def list_unknown(remote: Remote, tell: Callable[[str], None]) -> None:
    """Show equipment that was heard and belongs to nobody yet."""
    items = (await remote.ask("GET", "/equipment?adopted=false"))["items"]
    for item in items:
        last = item.get("last_message")
        tell(f"{item['id']}  {item['kind']}  last heard {item['last_seen'] or 'not since the start'}")
        if last is not None:
            more = " ..." if len(last["payload"]) > _SHOWN or last["size"] > len(last["payload"]) else ""
            tell(f"  {last['received_at']}  {last['topic']}")
            tell(f"  {last['payload'][:_SHOWN]}{more}")
    count = len(items)
    tell("No unknown equipment." if not count else f"{count} unknown. gengfu equipment adopt SITE:CODE takes one in.")


async def adopt(remote: Remote, identity: str, name: str, place: str, tell: Callable[[str], None]) -> None:
    """Take unknown equipment in, as it is now."""
    item = await remote.ask("GET", f"/equipment/{identity}")
    said = {"name": name, "place": place}
    both = {key: {"en": text, "zh-CN": text} for key, text in said.items() if text}
    body = {"version": item["version"], **both}
    adopted = await remote.ask("POST", f"/equipment/{identity}/adopt", json=body)
    tell(f"{adopted['id']} ({adopted['kind']}) is adopted as {adopted['name']['zh-CN']}.")
