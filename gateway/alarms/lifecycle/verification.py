"""Which emergencies somebody has verified: a panel's reset may let go of these only."""

from collections.abc import Iterable, Mapping
from typing import Final

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.alarms.evaluation.outcomes import Decision
from gateway.alarms.lifecycle.transitions import Row
from gateway.storage.queries.chunks import in_portions
from gateway.storage.tables import activation, alarm, ticket, ticket_activation

VERIFIED: Final = frozenset({"on_scene", "contained", "resolved", "reviewed", "stood_down"})
"""States of an emergency ticket in which somebody has been there, or has found it false; who is on the way has not."""

_OF_ALARM: Final = activation.alias()
# One look at the end of the index for each alarm, however many activations it has.
_NEWEST_ACTIVATION: Final = select(func.max(_OF_ALARM.c.id)).where(_OF_ALARM.c.alarm == alarm.c.id).scalar_subquery()


async def verified(connection: AsyncConnection, decisions: Iterable[Decision], found: Mapping[str, Row]) -> set[str]:
    """Ids of the alarms that a panel's reset is about and whose newest activation somebody has verified.

    It counts by activation: one that came after the last ticket was over is a new emergency, which may not have its
    ticket yet.
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
