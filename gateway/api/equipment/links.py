"""Links of the ledger: what supplies equipment with power, and what connects it to the network."""

import msgspec

from gateway.api.equipment.equipment import find_equipment
from gateway.api.http.problems import ProblemError
from gateway.api.http.route import Call, Route
from gateway.equipment.ledger import Equipment
from gateway.equipment.links import LinkLoop, NoSuchLink, NotInLedger
from gateway.equipment.topology import Link, Relation
from gateway.people.permissions import Permission, may


class LinkBody(msgspec.Struct, frozen=True):
    """The other end of a link, as `{site}:{code}`."""

    equipment: str
    relation: Relation


class LinksBody(msgspec.Struct, frozen=True):
    """Links of an equipment (`power` or `network`): its parents and its children."""

    id: str
    parents: list[LinkBody]
    children: list[LinkBody]


class LinkTo(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`parent` is `{site}:{code}`, of the same site."""

    parent: str
    relation: Relation


async def show_links(call: Call) -> LinksBody:
    return _body(call, find_equipment(call, Permission.WATCH))


async def add_link(call: Call) -> LinksBody:
    item, wanted = _find_to_change(call), call.body
    site, _, parent = wanted.parent.partition(":")
    if site != item.site:
        raise ProblemError("bad_request", f"a link must be within one site: the parent must be on {item.site}")
    services, link = call.services, Link(item.site, item.code, parent, wanted.relation)
    try:
        await services.ledger.links.link(link, call.cause, services.clock())
    except NotInLedger as error:
        raise ProblemError("bad_request", str(error)) from error
    except LinkLoop as error:
        raise ProblemError("link_loop", str(error)) from error
    return _body(call, item)


async def remove_link(call: Call) -> LinksBody:
    item, services = _find_to_change(call), call.services
    relation, (site, _, parent) = call.path["relation"], call.path["parent"].partition(":")
    if relation not in set(Relation) or site != item.site:
        raise ProblemError("not_found", "name a link as {child}/links/{power or network}/{parent}")
    try:
        link = Link(item.site, item.code, parent, Relation(relation))
        await services.ledger.links.unlink(link, call.cause, services.clock())
    except NoSuchLink as error:
        raise ProblemError("not_permitted_in_state", str(error)) from error
    return _body(call, item)


def _body(call: Call, item: Equipment) -> LinksBody:
    topology = call.services.ledger.links.topology
    parents, children = topology.parents(item.site, item.code), topology.children(item.site, item.code)
    return LinksBody(
        id=item.id,
        parents=[LinkBody(f"{link.site}:{link.parent}", link.relation) for link in parents],
        children=[LinkBody(f"{link.site}:{link.child}", link.relation) for link in children],
    )


def _find_to_change(call: Call) -> Equipment:
    item = find_equipment(call, Permission.WATCH)
    if not may(call.person.grants if call.person else None, Permission.EDIT_LEDGER, item.site).permitted:
        raise ProblemError("forbidden")
    return item


_ONE = "/equipment/{equipment}/links"
ROUTES = (
    Route("GET", _ONE, Permission.WATCH, show_links, "Power and network links of an equipment", LinksBody),
    Route(
        "POST", _ONE, Permission.EDIT_LEDGER, add_link, "Add a power or network parent of an equipment", LinksBody,
        request=LinkTo,
    ),
    Route(
        "DELETE", _ONE + "/{relation}/{parent}", Permission.EDIT_LEDGER, remove_link,
        "Remove a power or network parent of an equipment", LinksBody,
    ),
)  # fmt: skip
