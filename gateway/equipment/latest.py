"""Newest values of equipment with former codes: of each field the last received value. Pure."""

from collections.abc import Mapping

from collectors.timeseries.store import Latest
from gateway.equipment.ledger import Equipment, Who


def latest_of(item: Equipment, table: Mapping[Who, Latest]) -> Latest | None:
    """The last values under any of its codes, without those of another kind.

    A separate collector stores values under the code that is sent, so a former code may have the newer values.
    """
    codes = (item.code, *item.former_codes, *filter(None, [item.shares_code]))
    found = [
        latest for code in codes if (latest := table.get((item.site, code))) is not None and latest.kind == item.kind
    ]
    if len(found) < 2:
        return found[0] if found else None
    found.sort(key=lambda latest: latest.heard_at)
    fields = {name: entry for latest in found for name, entry in latest.fields.items()}
    return Latest(item.kind, found[-1].heard_at, fields)
