"""The estate: the simulated equipment, with its display names.

estate = load_estate("demo")            # or a path to a YAML file of the same form
for item in estate.equipment:
    print(estate.site, item.kind, item.code, item.name.en, item.name.zh, item.place.zh)
"""

from pathlib import Path
from typing import Annotated, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from collectors.wire.topics import TopicError
from simulators.addresses import check_address
from simulators.devices.build import AnySpec
from simulators.devices.device import Texts
from simulators.yaml_input.files import entry_error, find_file, read_yaml

ESTATES: Final = Path(__file__).parent / "estates"


class Estate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One site and its equipment. The hours of its day are those of `time_zone`."""

    site: str
    name: Texts
    time_zone: str = "Asia/Shanghai"
    equipment: Annotated[tuple[AnySpec, ...], msgspec.Meta(min_length=1)]

    def find(self, code: str) -> AnySpec | None:
        """The equipment with that code."""
        return next((item for item in self.equipment if item.code == code), None)


def load_estate(name: str | Path = "demo") -> Estate:
    """Read an estate by path, or by the name of an included one.

    Raises:
        YamlFileError: not found, malformed, an unknown zone, a duplicate code, a code that is invalid in a topic, or a
            reference to equipment that is missing.
    """
    path = find_file(name, ESTATES)
    estate = read_yaml(path, Estate)
    if not _is_zone(estate.time_zone):
        raise entry_error(path, "$.time_zone", f"unknown time zone '{estate.time_zone}'; write one like Asia/Shanghai")
    seen: set[str] = set()
    for index, item in enumerate(estate.equipment):
        problem = _problem(estate.site, item, seen)
        if problem:
            raise entry_error(path, f"$.equipment[{index}].code", problem)
        seen.add(item.code)
    for index, item in enumerate(estate.equipment):
        for key, code in (("fed_by", item.fed_by), ("carried_by", item.carried_by)):
            if code and code not in seen - {item.code}:
                raise entry_error(
                    path, f"$.equipment[{index}].{key}", f"no other equipment of the estate has code {code}"
                )
    return estate


def _is_zone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        return False
    return True


def _problem(site: str, item: AnySpec, seen: set[str]) -> str:
    if item.code in seen:
        return f"code {item.code} occurs twice"
    try:
        check_address(site, item.kind, item.code)
    except TopicError as error:
        return str(error)
    return ""
