"""Which emergencies are verified: a panel's reset unlatches only these."""

from collections.abc import Iterable, Mapping
from typing import Final

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.alarms.evaluation.outcomes import Decision
from gateway.alarms.lifecycle.transitions import Row
from gateway.storage.queries.chunks import in_portions
from gateway.storage.tables import activation, alarm, ticket, ticket_activation

VERIFIED: Final = frozenset({"on_scene", "contained", "resolved", "reviewed", "stood_down"})
"""States of an emergency ticket in which a person has been on the scene or found it false; not those on the way."""

_OF_ALARM: Final = activation.alias()
# One index lookup for each alarm, however many activations it has.
_NEWEST_ACTIVATION: Final = select(func.max(_OF_ALARM.c.id)).where(_OF_ALARM.c.alarm == alarm.c.id).scalar_subquery()


async def verified(connection: AsyncConnection, decisions: Iterable[Decision], found: Mapping[str, Row]) -> set[str]:
    """Ids of the alarms concerned by a panel's reset whose newest activation is verified.

    It counts by activation: one after the last ticket was closed is a new emergency, which may not have its ticket
    yet.
    """
    keys = {str(decision.key) for decision in decisions if decision.change.reset}
    identities = sorted(found[key]["id"] for key in keys & found.keys())
    known: set[str] = set()
    for part in in_portions(identities):
        newest = select(_NEWEST_ACTIVATION).where(alarm.c.id.in_(part))
        statement = (
            select(activation.c.alarm)
            .join(ticket_activation, ticket_activation.c.activation == activation.c.id)
            .join(ticket, ticket.c.number == ticket_activation.c.ticket)
            .where(activation.c.id.in_(newest), ticket.c.state.in_(VERIFIED))
        )
        known.update(await connection.scalars(statement))
    return known
