"""Days until the service's own certificates expire."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from cryptography import x509

from collectors.wire.reading import Value
from gateway.settings import Settings


def days_left(settings: Settings, now: datetime) -> dict[str, Value]:
    """Days until the first of the settings' certificates expires, negative afterwards; empty if none can be read.

    These are the page's, our client certificate at the broker, and the broker's CA. The certificates of a reverse proxy
    and of the broker itself are not readable here.

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
    """A chain expires with its first certificate; a bundle of CAs with its last."""
    try:
        return which([one.not_valid_after_utc for one in x509.load_pem_x509_certificates(file.read_bytes())])
    except (OSError, ValueError):  # its user reports this at the start
        return None
