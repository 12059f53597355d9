"""Stands between the service and a real InfluxDB and does to it what networks and busy servers do."""

import asyncio

from aiohttp import ClientError, ClientSession, web

from tests.servers.loop_thread import LoopThread

_HOP_BY_HOP = frozenset({"transfer-encoding", "connection", "content-encoding", "content-length"})


class FaultyProxy(LoopThread):
    """Passes everything on; `delay_s` is waited before each write, `status` is answered instead of writing."""

    def __init__(self, upstream: str) -> None:
        super().__init__()
        self.delay_s = 0.0
        self.status = 0
        self.writes = 0
        self.url = ""
        self._upstream = upstream

    async def _serve(self) -> None:
        app = web.Application(client_max_size=1 << 26)
        app.router.add_route("*", "/{path:.*}", self._pass_on)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        async with ClientSession(auto_decompress=False) as self._session:
            self._ready.set()
            await self._over.wait()
            await runner.cleanup()

    async def _pass_on(self, request: web.Request) -> web.Response:
        body = await request.read()
        if request.path.startswith("/api/v2/write"):
            self.writes += 1
            if self.delay_s:
                await asyncio.sleep(self.delay_s)
            if self.status:
                return web.Response(status=self.status, text="as the test wants")
        headers = {name: value for name, value in request.headers.items() if name.lower() != "host"}
        try:
            answer = await self._session.request(
                request.method, self._upstream + str(request.rel_url), data=body, headers=headers
            )
        except ClientError as error:
            return web.Response(status=502, text=str(error))
        async with answer:
            kept = {name: value for name, value in answer.headers.items() if name.lower() not in _HOP_BY_HOP}
            return web.Response(status=answer.status, body=await answer.read(), headers=kept)
