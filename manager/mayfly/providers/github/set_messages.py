"""What a scale set's messages say, as values. Pure; what does not fit is nothing, and never an error.

Names of keys are read by any spelling, as services differ in it. Of a job its ids are read alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from mayfly.core.delivery import Delivery, JobCounts, Offer

ENTRIES = 1_000  # of one message; the service sends 50
LONGEST = 200  # characters of an id or a name
LARGEST = 2**63 - 1  # of its numbers, which are of 64 bits


def delivery_of(body: object) -> Delivery:
    """The answer to a poll; an empty one where it is none."""
    if not isinstance(body, dict):
        return Delivery()
    message = lowered(body)
    number = _number(message.get("messageid"))
    if number is None:
        return Delivery()
    offers: list[Offer] = []
    assigned: set[int] = set()
    over: list[str] = []
    gone: set[str] = set()
    for entry in _entries(message.get("body")):
        kind = entry.get("messagetype")
        job, request = _text(entry.get("jobid")), _number(entry.get("runnerrequestid")) or 0
        name = _text(entry.get("runnername"))
        if kind == "JobAvailable" and request > 0:
            offers.append(Offer(request, job))
        elif kind == "JobCompleted":
            gone |= {job} - {""}
            over += [name] if name else []
            assigned |= {request} - {0}
        elif kind in ("JobAssigned", "JobStarted"):
            assigned |= {request} - {0}
    return Delivery(
        number,
        counts_of(message.get("statistics")),
        tuple(offers),
        frozenset(assigned),
        tuple(over),
        frozenset(gone),
    )


def started_in(body: object) -> Iterator[str]:
    """The names of runners that have begun a job by this message."""
    message = lowered(body) if isinstance(body, dict) else {}
    for entry in _entries(message.get("body")):
        name = _text(entry.get("runnername"))
        if entry.get("messagetype") == "JobStarted" and name:
            yield name


def counts_of(value: object) -> JobCounts | None:
    """The statistics; ``None`` where there are none."""
    if not isinstance(value, dict):
        return None
    counts = lowered(value)

    def count(key: str) -> int:
        return max(0, _number(counts.get(key)) or 0)

    return JobCounts(
        available=count("totalavailablejobs"),
        assigned=count("totalassignedjobs"),
        running=count("totalrunningjobs"),
        registered=count("totalregisteredrunners"),
        busy=count("totalbusyrunners"),
        idle=count("totalidlerunners"),
    )


def lowered(value: Mapping[str, object]) -> dict[str, object]:
    """The object with its keys in lower case."""
    return {str(key).lower(): one for key, one in value.items()}


def _entries(body: object) -> Iterator[dict[str, object]]:
    if not isinstance(body, str) or not body.strip():
        return
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return
    for entry in found[:ENTRIES] if isinstance(found, list) else ():
        if isinstance(entry, dict):
            yield lowered(entry)


def _number(value: object) -> int | None:
    if not isinstance(value, int) or isinstance(value, bool) or abs(value) > LARGEST:
        return None
    return value


def _text(value: object) -> str:
    return value[:LONGEST] if isinstance(value, str) else ""
