"""Sites, created and changed by administrators of all sites."""

from typing import Annotated, Any

import msgspec

from gateway.api.equipment.bodies import SiteBody
from gateway.api.http.bodies import Texts, texts
from gateway.api.http.problems import ProblemError
from gateway.api.http.route import Call, Route
from gateway.equipment.ledger import Site
from gateway.equipment.sites import NoSuchSite, NotASite, SiteTaken, StaleSite, add_site, edit_site
from gateway.people.permissions import ALL_SITES, Permission, may

TimeZone = Annotated[str, msgspec.Meta(max_length=64)]


class AddSite(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`code` is part of topics and never changes; `time_zone` is an IANA name."""

    code: Annotated[str, msgspec.Meta(max_length=64)]
    name: Texts
    time_zone: TimeZone


class EditSite(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Omitted fields stay as they are."""

    version: int
    name: Texts | None = None
    time_zone: TimeZone | None = None


async def enter_site(call: Call) -> SiteBody:
    _require_all_sites(call)
    wanted: AddSite = call.body
    services = call.services
    new = Site(wanted.code, _both(wanted.name), wanted.time_zone)
    try:
        return site_body(await add_site(services.database, services.ledger, new, call.cause, services.clock()))
    except NotASite as error:
        raise ProblemError("bad_request", str(error)) from error
    except SiteTaken as error:
        raise ProblemError("site_taken", str(error)) from error


async def change_site(call: Call) -> SiteBody:
    services, wanted, code = call.services, call.body, call.path["site"]
    grants = call.person.grants if call.person else None
    if code not in services.ledger.sites or not may(grants, Permission.WATCH, code).permitted:
        raise ProblemError("not_found", "there is no such site")
    _require_all_sites(call)
    changes: dict[str, Any] = {} if wanted.name is None else {"name": _both(wanted.name)}
    if wanted.time_zone is not None:
        changes["time_zone"] = wanted.time_zone
    try:
        edited = await edit_site(
            services.database, services.ledger, code, wanted.version, changes, call.cause, services.clock()
        )
    except NotASite as error:
        raise ProblemError("bad_request", str(error)) from error
    except NoSuchSite as error:
        raise ProblemError("not_found", str(error)) from error
    except StaleSite as error:
        raise ProblemError("stale_version", str(error)) from error
    return site_body(edited)


def _require_all_sites(call: Call) -> None:
    if not may(call.person.grants if call.person else None, Permission.MANAGE_SITES, ALL_SITES).permitted:
        raise ProblemError("forbidden", "only an administrator of all sites can create and change sites")


def _both(name: Texts) -> dict[str, str]:
    return {"en": name.en, "zh-CN": name.zh}


ROUTES = (
    Route("POST", "/sites", Permission.MANAGE_SITES, enter_site, "Create a site", SiteBody, request=AddSite),
    Route(
        "PATCH", "/sites/{site}", Permission.MANAGE_SITES, change_site, "Change a site's name or time zone", SiteBody,
        request=EditSite,
    ),
)  # fmt: skip


def site_body(site: Site) -> SiteBody:
    return SiteBody(site.code, texts(site.name), site.time_zone, site.version)
