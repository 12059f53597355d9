"""When the certificates end with which the service itself works."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from cryptography import x509

from collectors.wire.reading import Value
from gateway.settings import Settings


def days_left(settings: Settings, now: datetime) -> dict[str, Value]:
    """Days until the first of the settings' certificates ends, below 0 once it has; nothing where none can be read.

    These are the page's, ours at the broker, and the authority by which we know the broker. What a reverse proxy or
    the broker itself shows stands elsewhere, and is not ours to read.

    Args:
        settings: name the files.
        now: aware.
    """
    ends = [
        _end_of(Path(file), min) for file in (settings.http.tls_certificate, settings.broker.certificate_file) if file
    ]
    if settings.broker.ca_file:
        ends.append(_end_of(Path(settings.broker.ca_file), max))
    known = [end for end in ends if end is not None]
    return {"certificate_days": round((min(known) - now).total_seconds() / 86_400, 1)} if known else {}


def _end_of(file: Path, which: Callable[[list[datetime]], datetime]) -> datetime | None:
    """A chain ends with the first of its certificates; of a bundle of authorities one that is good will do."""
    try:
        return which([one.not_valid_after_utc for one in x509.load_pem_x509_certificates(file.read_bytes())])
    except (OSError, ValueError):  # who works with it finds that out at the start, and says so
        return None
