"""Changes Mosquitto's password and acl files atomically, and makes Mosquitto reload them."""

import contextlib
import fcntl
import os
import secrets
import signal
from collections.abc import Callable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import Final

from gateway.devices.broker_accounts import DeviceError, Files

_PASSWORDS: Final = "passwords"
_ACL: Final = "acl"


class Reloaded(StrEnum):
    """Whether Mosquitto was notified to reload its files."""

    NOTIFIED = "notified"
    NOT_HERE = "not here"
    """No pid file: it runs in a container or on another machine, or not at all."""
    NOT_PERMITTED = "not permitted"


def read(folder: Path) -> Files:
    """Read both files. Raises DeviceError if one is missing."""
    try:
        return Files((folder / _PASSWORDS).read_text("utf-8"), (folder / _ACL).read_text("utf-8"))
    except FileNotFoundError as error:
        raise DeviceError(
            f"{error.filename} is not there: name the folder of Mosquitto's files with --accounts-dir, or in "
            "devices.accounts_dir; for a new installation run deploy/make_secrets.py"
        ) from None


def change(folder: Path, decide: Callable[[Files], Files]) -> None:
    """Write the result of `decide`, under a lock against other `gengfu device` commands.

    Raises:
        DeviceError: the change is refused, or a file was changed meanwhile. Then nothing was written, or for a gateway
            only its topics, which are useless without its password.
    """
    with _locked(folder):
        before = read(folder)
        after = decide(before)
        # The acl file first for a new account, last for a removed one: no account ever has too many permissions.
        steps = [(_ACL, before.acl, after.acl), (_PASSWORDS, before.passwords, after.passwords)]
        for name, old, new in steps if len(after.acl) >= len(before.acl) else reversed(steps):
            if new != old:
                _replace(folder / name, old, new)


def reload(pid_file: Path) -> Reloaded:
    """Send SIGHUP to the Mosquitto of the pid file. It then disconnects accounts that are no longer valid."""
    try:
        pid = int(pid_file.read_text("ascii"))
        if Path(f"/proc/{pid}/comm").read_text("ascii").strip() != "mosquitto":
            return Reloaded.NOT_HERE  # the pid belongs to another process by now
        os.kill(pid, signal.SIGHUP)
    except PermissionError:
        return Reloaded.NOT_PERMITTED
    except (OSError, ValueError):
        return Reloaded.NOT_HERE
    return Reloaded.NOTIFIED


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Lock the folder itself, so that it has no extra lock file."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except FileNotFoundError:
        read(folder)  # raises the error with advice
        raise
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise DeviceError(f"another gengfu device command is changing the files in {folder}: try again") from None
    finally:
        os.close(descriptor)


def _replace(file: Path, old: str, new: str) -> None:
    """Replace a file atomically, with the same owner and mode, so that Mosquitto can read it."""
    unfinished = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    was = file.stat()
    try:
        with os.fdopen(
            os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8"
        ) as writing:
            writing.write(new)
            writing.flush()
            _keep_owner(writing.fileno(), was, file)
            os.fsync(writing.fileno())
        if file.read_text("utf-8") != old:
            raise DeviceError(f"{file} was changed at the same time: check it, then try again")
        unfinished.replace(file)
    finally:
        unfinished.unlink(missing_ok=True)
    _sync(file.parent)


def _keep_owner(descriptor: int, was: os.stat_result, file: Path) -> None:
    try:
        os.fchown(descriptor, was.st_uid, was.st_gid)
    except PermissionError:
        raise DeviceError(
            f"{file} belongs to another user (uid {was.st_uid}): run this as root or as that user"
        ) from None
    os.fchmod(descriptor, was.st_mode & 0o7777)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
