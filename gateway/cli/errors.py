"""."""


class AuditNotWhole(Exception):
    """Something was done to the audit. What, has been said."""


class NoAudit(Exception):
    """There is nothing to verify, or no key to verify it with; the text says what to do."""


class NoPlace(Exception):
    """Nobody said where the backup should go, or there is nothing to back up."""
