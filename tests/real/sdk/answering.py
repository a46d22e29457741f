"""A process that makes an SDK's calls for a test: a line of JSON in, a line of JSON out.

It runs in an environment that has the SDK and nothing of Mayfly, so it imports neither Mayfly nor the tests.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from datetime import date
from typing import Any


def answer(asked: dict[str, Any], make: Callable[[str, dict[str, Any]], Any]) -> dict[str, Any]:
    """What came of one call: its value, or what the SDK raised."""
    try:
        return {"value": make(asked["call"], asked["with"])}
    except Exception as error:  # noqa: BLE001  whatever an SDK raises is told to the test
        status = getattr(error, "response_code", None)
        reply = getattr(error, "response", None)
        status = status if status is not None else getattr(reply, "status_code", None)
        return {"raised": type(error).__name__, "status": status, "text": str(error)[:2000]}


def serve(make: Callable[[str, dict[str, Any]], Any]) -> None:
    """Make the calls that come on standard input, until it ends."""
    for line in sys.stdin:
        text = json.dumps(answer(json.loads(line), make), default=_plain)
        print(text, flush=True)


def _plain(value: object) -> object:
    """What JSON has no word for."""
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.decode()
    return str(value)
