"""Address and credentials of InfluxDB."""

from base64 import b64encode

import msgspec


class Access(msgspec.Struct, frozen=True):
    """Address and credentials: a token (InfluxDB 2 and 3), or user and password (InfluxDB 1)."""

    url: str
    bucket: str
    org: str = ""
    token: str = ""
    username: str = ""
    password: str = ""
    gzip: bool = False
    timeout_s: float = 10.0
    """Initial timeout of a request; it grows if the server needs longer."""

    @property
    def base(self) -> str:
        """The address without a trailing slash."""
        return self.url.rstrip("/")

    def headers(self) -> dict[str, str]:
        """The authorization header of a query."""
        if self.token:
            return {"Authorization": f"Token {self.token}"}
        if self.username:
            pair = b64encode(f"{self.username}:{self.password}".encode()).decode()
            return {"Authorization": f"Basic {pair}"}
        return {}
