"""Errors that end a command with one sentence (see `command.py`)."""


class AuditNotWhole(Exception):
    """The audit is not whole. The findings were shown."""


class NoAudit(Exception):
    """There is nothing to verify, or no key; the text says what to do."""


class NoPlace(Exception):
    """The folder of the backup is not set, or there is nothing to back up."""
