"""Accounts and topic permissions at the broker: Mosquitto's password and acl files, as texts (no I/O).

A device is named by its place in the topic, `SITE/KIND/EQUIPMENT`; patterns of the acl file let every account publish
under its own name, so it needs no line there. A third-party gateway has topics of its own, and lines for them.
"""

import re
from collections.abc import Sequence
from enum import StrEnum
from typing import Final

import msgspec

from collectors.wire.fields import Channel
from collectors.wire.topics import ROOT, TopicError, parse_topic
from gateway.devices.mosquitto_passwords import mosquitto_line

_GATEWAY: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_OWN_TOPIC: Final = re.compile(r"(?!gengfu(?:-watchdog)?(?:/|$))[A-Za-z0-9_.-]+(?:/[^\x00-\x20/+#]+|/\+)*(?:/#)?")
"""The first level must be literal and not ours: no account may publish for devices of others."""
_ACCESSES: Final = frozenset({"read", "write", "readwrite", "deny"})


class DeviceError(Exception):
    """The request cannot be done; the text says why, and what to do instead."""


class Role(StrEnum):
    """The purpose of an account."""

    DEVICE = "device"
    GATEWAY = "gateway"
    PROGRAM = "program"
    """Gengfu's own (service, collectors, health check, simulators): created at installation, not by this command."""


class Files(msgspec.Struct, frozen=True):
    """The contents of both files."""

    passwords: str
    acl: str


class Account(msgspec.Struct, frozen=True):
    """A line of the password file, with its lines of the acl file, like `readwrite zigbee2mqtt/#`."""

    name: str
    role: Role
    topics: tuple[str, ...]


def accounts(files: Files) -> list[Account]:
    """Every account, by name."""
    permitted = _permissions(files.acl)
    return [Account(name, _role(topics := permitted.get(name, ())), topics) for name in sorted(_names(files))]


def add(files: Files, name: str, topics: Sequence[str], password: str) -> Files:
    """The files with a new account: a device, or with `topics` a gateway. Raises DeviceError."""
    if topics:
        _check_gateway(name, topics)
    else:
        _check_device(name)
    if name in _names(files) or name in _permissions(files.acl):
        raise DeviceError(f"{name} has an account already; --rotate gives it a new password")
    acl = f"{_ended(files.acl)}\nuser {name}\n" + "".join(f"topic readwrite {topic}\n" for topic in topics)
    passwords = _ended(files.passwords) + mosquitto_line(name, password)
    return Files(passwords, acl if topics else files.acl)


def rotate(files: Files, name: str, password: str) -> Files:
    """The files with a new password for an existing account. Raises DeviceError."""
    _check_ours(files, name)
    return Files(_without_password(files.passwords, name) + mosquitto_line(name, password), files.acl)


def revoke(files: Files, name: str) -> Files:
    """The files without an account. Raises DeviceError."""
    _check_ours(files, name)
    return Files(_without_password(files.passwords, name), _without_block(files.acl, name))


def _check_device(name: str) -> None:
    complaint = _complaint(f"{ROOT}/{name}/{Channel.STATUS}")
    if complaint:
        raise DeviceError(
            f"{name!r} is not valid in a topic ({complaint}): write SITE/KIND/EQUIPMENT, as HQ/pump/P-1; "
            "a gateway with topics of its own needs --topic"
        )


def _complaint(topic: str) -> str:
    """Why a topic cannot be an account: its name is used in files, so it must be a code without escaping."""
    try:
        is_plain = str(parse_topic(topic)) == topic
    except TopicError as error:
        return str(error)
    return "" if is_plain else "letters, digits and _.- only, and the kind as the wire contract spells it"


def _check_gateway(name: str, topics: Sequence[str]) -> None:
    if _GATEWAY.fullmatch(name) is None:
        raise DeviceError(f"a gateway's name has 1 to 64 letters, digits and _.- only; {name!r} does not")
    wrong = [topic for topic in topics if _OWN_TOPIC.fullmatch(topic) is None]
    if wrong:
        raise DeviceError(
            f"{wrong[0]!r} is not a topic for a gateway: write a literal first level, as zigbee2mqtt/#; "
            f"{ROOT}/ belongs to devices with an account of their own"
        )


def _check_ours(files: Files, name: str) -> None:
    found = next((account for account in accounts(files) if account.name == name), None)
    if found is None:
        raise DeviceError(f"{name} has no account; gengfu device list shows all accounts")
    if found.role is Role.PROGRAM:
        raise DeviceError(
            f"{name} is an account of Gengfu itself: without it the site is not monitored. Nothing was changed"
        )


def _role(topics: Sequence[str]) -> Role:
    if not topics:
        return Role.DEVICE
    own = all(_OWN_TOPIC.fullmatch(topic.partition(" ")[2]) for topic in topics)
    return Role.GATEWAY if own else Role.PROGRAM


def _names(files: Files) -> set[str]:
    return {line.rpartition(":")[0] for line in files.passwords.splitlines() if ":" in line}


def _permissions(acl: str) -> dict[str, tuple[str, ...]]:
    """User -> its topic lines, each as access and topic."""
    found: dict[str, tuple[str, ...]] = {}
    user = ""
    for line in acl.splitlines():
        word, _, rest = line.strip().partition(" ")
        if word == "user":
            user = rest.strip()
            found.setdefault(user, ())
        elif word == "topic" and user:
            given = rest.strip() if rest.split(" ", 1)[0] in _ACCESSES else f"readwrite {rest.strip()}"
            found[user] += (given,)
    return found


def _ended(text: str) -> str:
    return text if not text or text.endswith("\n") else f"{text}\n"


def _without_password(passwords: str, name: str) -> str:
    return "".join(line for line in _ended(passwords).splitlines(True) if line.rpartition(":")[0] != name)


def _without_block(acl: str, name: str) -> str:
    """Remove the account's `user` line, the topics after it, and one empty line before it."""
    kept: list[str] = []
    inside = False
    for line in acl.splitlines(True):
        word, _, rest = line.strip().partition(" ")
        inside = (word == "user" and rest.strip() == name) or (inside and word == "topic")
        if not inside:
            kept.append(line)
        elif word == "user" and kept and not kept[-1].strip():
            kept.pop()
    return "".join(kept)
