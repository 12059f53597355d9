"""Words for the state of a component in `/readyz`."""

READY = "ready"


STANDING_BY = "standing by"
"""Another process runs this component; this one is the standby."""


def working(notice: str) -> str:
    """The state of a working component, with a notice for people if there is one."""
    return f"{READY}; {notice}" if notice else READY
