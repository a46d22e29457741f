"""The page's reports: summed up for all visitors together, kept, and a tenth of the time at most.

To sum up a long history takes seconds of a processor. There are few reports that can be asked for here, so
each is kept; one is summed up at a time, and where that has taken its share, the last one is shown, which
says until when it counts.
"""

from __future__ import annotations

import json
import threading
import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC

from mayfly.core.quantities import rfc3339
from mayfly.core.usage_figures import as_csv
from mayfly.core.usage_report import By, begin_of_last
from mayfly.service.page.markup import Html, el, join
from mayfly.service.page.no_answer import NoAnswer
from mayfly.service.page.report_view import Choice, choices, report

FRESH = 60.0  # seconds for which a report is shown as it is
SHARE = 10.0  # so many times as long as summing up took goes by for it, on the whole
AT_ONCE = 30.0  # seconds of summing up that may be taken one after the other, after a rest
WAIT = 10.0  # seconds that one waits for another's report
LONGEST = 4 << 20  # bytes of a document, some 15,000 rows: a longer one is for a terminal

Ask = Callable[[str, Mapping[str, str]], bytes]


@dataclass(frozen=True, slots=True)
class Kept:
    """A report as it was last summed up."""

    until: float  # it is shown without another look; of the steady clock
    shown: Html
    packed: bytes | None  # the CSV, compressed; None: it is too long

    def csv(self) -> bytes:
        """The table for a spreadsheet; ``NoAnswer`` where it is too long for the page."""
        if self.packed is None:
            raise NoAnswer(503, "This report is too long for the page: type mayfly report --csv.")
        return zlib.decompress(self.packed)


class Reports:
    """All that can be asked for; ``of`` may be called by many threads."""

    def __init__(
        self,
        ask: Ask,
        now: Callable[[], float] = time.time,
        steady: Callable[[], float] = time.monotonic,
        wait: float = WAIT,
    ) -> None:
        """``ask``: what the manager answers on a path and a query; ``NoAnswer`` where it does not."""
        self._wait = wait
        self._ask = ask
        self._now = now
        self._steady = steady
        # So that one of many who look sums up: docs/adr/0051. What it guards is a copy of what others own.
        self._summing = threading.Lock()
        self._kept: dict[Choice, Kept] = {}
        self._left, self._left_at = AT_ONCE, steady()  # seconds that may be taken, and when

    def of(self, choice: Choice) -> Kept:
        """The report; ``NoAnswer`` where there is none yet and none may be summed up now."""
        kept = self._kept.get(choice)
        if kept is not None and self._steady() < kept.until:
            return kept
        if not self._summing.acquire(timeout=0 if kept is not None else self._wait):
            if kept is not None:
                return kept
            raise NoAnswer(503, "Other reports are being summed up: ask again in a minute.")
        try:
            return self._anew(choice)
        finally:
            self._summing.release()

    def _anew(self, choice: Choice) -> Kept:
        began = self._steady()
        kept = self._kept.get(choice)
        if kept is not None and began < kept.until:  # another has done it meanwhile
            return kept
        self._left = min(AT_ONCE, self._left + (began - self._left_at) / SHARE)
        self._left_at = began
        if self._left <= 0:
            if kept is not None:
                return kept
            rest = int(-self._left * SHARE) + 1
            raise NoAnswer(
                503, f"Reports are summed up a tenth of the time: ask again in {rest} s."
            )
        try:
            shown, packed = self._summed(choice)
        finally:
            took = self._steady() - began
            self._left -= took
        kept = Kept(began + took + max(FRESH, SHARE * took), shown, packed)
        self._kept[choice] = kept
        return kept

    def _summed(self, choice: Choice) -> tuple[Html, bytes | None]:
        since = rfc3339(begin_of_last(choice.last, choice.per, UTC, self._now()))
        asked = {"by": str(choice.by), "per": str(choice.per), "since": since, "zone": "UTC"}
        data = self._ask("/v1/report", asked)
        if len(data) > LONGEST:
            typed = f"mayfly report --by {choice.by} --per {choice.per} --since {since[:10]}"
            long = el("p", "This report is too long for the page. On the host: ", el("code", typed))
            return join(el("h2", "Report"), choices(choice), long), None
        document = json.loads(data)
        gpus = self._gpus() if choice.by is By.GPU else {}
        csv = as_csv(document).encode("utf-8", "replace")
        return report(document, choice, gpus), zlib.compress(csv)

    def _gpus(self) -> dict[str, str]:
        """What the host's GPUs are called, by UUID."""
        found = json.loads(self._ask("/v1/gpus", {})).get("gpus", ())
        return {str(one.get("uuid")): f"{one.get('index')}: {one.get('name')}" for one in found}
