"""Where InfluxDB is, and how it lets us in."""

from base64 import b64encode

import msgspec


class Access(msgspec.Struct, frozen=True):
    """Where InfluxDB is and how it lets us in: a token (InfluxDB 2 and 3), or user and password (InfluxDB 1)."""

    url: str
    bucket: str
    org: str = ""
    token: str = ""
    username: str = ""
    password: str = ""
    gzip: bool = False
    timeout_s: float = 10.0
    """What a request may take at first; a server that needs longer is given longer."""

    @property
    def base(self) -> str:
        """The address without a closing slash."""
        return self.url.rstrip("/")

    def headers(self) -> dict[str, str]:
        """What a query says about us."""
        if self.token:
            return {"Authorization": f"Token {self.token}"}
        if self.username:
            pair = b64encode(f"{self.username}:{self.password}".encode()).decode()
            return {"Authorization": f"Basic {pair}"}
        return {}
