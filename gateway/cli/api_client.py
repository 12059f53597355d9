"""API client for commands that need the running service."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import aiohttp

_TIMEOUT: Final = aiohttp.ClientTimeout(total=30)
_SHOWN: Final = 120


class RemoteError(Exception):
    """The service refused the request; the text says why."""


class Remote:
    """A session of a command at the running service."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url

    async def ask(self, method: str, path: str, **options: Any) -> Any:
        """The answer's JSON. Raises RemoteError."""
        try:
            async with self._session.request(method, f"{self._url}/api/v1{path}", **options) as answer:
                body = await answer.json(content_type=None) if answer.status != 204 else None
        except (aiohttp.ClientError, TimeoutError, json.JSONDecodeError, UnicodeDecodeError) as error:
            raise RemoteError(f"{self._url} does not answer like Gengfu: {str(error) or 'timeout'}") from error
        if answer.status >= 400:
            problem = body if isinstance(body, dict) else {}
            parts = (problem.get("title"), problem.get("detail"))
            raise RemoteError(": ".join(filter(None, parts)) or f"the service answered with status {answer.status}")
        return body


@asynccontextmanager
async def logged_in(url: str, username: str, password: str, code: str = "") -> AsyncIterator[Remote]:
    """Connect to the service at `url`; without a user name as the local person of a service without accounts.

    `code` is the second-factor code, if the account requires one. The login ends with the block.
    """
    jar = aiohttp.CookieJar(unsafe=True)  # the service is addressed by IP address
    async with aiohttp.ClientSession(timeout=_TIMEOUT, cookie_jar=jar) as session:
        remote = Remote(session, url.rstrip("/"))
        if username:
            await remote.ask("POST", "/session", json={"username": username, "password": password, "code": code})
        try:
            yield remote
        finally:
            if username:
                await remote.ask("DELETE", "/session")


async def list_unknown(remote: Remote, say: Callable[[str], None]) -> None:
    """Show unknown equipment."""
    items = (await remote.ask("GET", "/equipment?adopted=false"))["items"]
    for item in items:
        last = item.get("last_message")
        say(f"{item['id']}  {item['kind']}  last message {item['last_seen'] or 'not since the start'}")
        if last is not None:
            more = " ..." if len(last["payload"]) > _SHOWN or last["size"] > len(last["payload"]) else ""
            say(f"  {last['received_at']}  {last['topic']}")
            say(f"  {last['payload'][:_SHOWN]}{more}")
    count = len(items)
    say("No unknown equipment." if not count else f"{count} unknown. Adopt with: gengfu equipment adopt SITE:CODE")


async def adopt(remote: Remote, identity: str, name: str, place: str, say: Callable[[str], None]) -> None:
    """Adopt unknown equipment in its current version."""
    item = await remote.ask("GET", f"/equipment/{identity}")
    said = {"name": name, "place": place}
    both = {key: {"en": text, "zh-CN": text} for key, text in said.items() if text}
    body = {"version": item["version"], **both}
    adopted = await remote.ask("POST", f"/equipment/{identity}/adopt", json=body)
    say(f"{adopted['id']} ({adopted['kind']}) is adopted as {adopted['name']['zh-CN']}.")
