"""Joins histories stored under several codes or kinds. Pure."""

from collections.abc import Sequence

from collectors.timeseries.store import Bucket, Change, History


def joined(parts: Sequence[History], points: int) -> History:
    """Join histories of one range and field; at most `points` buckets, and the newest `points` changes.

    If a history leaves out older changes, the result begins where the last of these histories begins.
    """
    filled = [part for part in parts if part.buckets or part.changes]
    if len(filled) < 2:
        return filled[0] if filled else History(raw=True, buckets=[], changes=[])
    buckets = sorted(bucket for part in filled for bucket in part.buckets)
    changes, older_left_out = _changes(filled, points)
    is_raw = all(part.raw for part in filled) and len(buckets) <= points
    return History(is_raw, _at_most(buckets, points), changes, older_left_out)


def _changes(parts: Sequence[History], points: int) -> tuple[list[Change], bool]:
    since = max((part.changes[0].at for part in parts if part.older_left_out and part.changes), default=None)
    in_order = sorted((change for part in parts for change in part.changes), key=lambda change: change.at)
    known = [change for change in in_order if since is None or change.at >= since]
    found = [change for number, change in enumerate(known) if not number or known[number - 1].value != change.value]
    return found[-points:], since is not None or len(found) > points


def _at_most(buckets: Sequence[Bucket], points: int) -> list[Bucket]:
    """Merge neighbours if there are too many."""
    if len(buckets) <= points:
        return list(buckets)
    size = -(-len(buckets) // points)
    return [_together(buckets[first : first + size]) for first in range(0, len(buckets), size)]


def _together(buckets: Sequence[Bucket]) -> Bucket:
    samples = sum(bucket.samples for bucket in buckets)
    mean = sum(bucket.mean * bucket.samples for bucket in buckets) / samples
    return Bucket(
        buckets[0].at, min(bucket.least for bucket in buckets), mean, max(bucket.most for bucket in buckets), samples
    )
