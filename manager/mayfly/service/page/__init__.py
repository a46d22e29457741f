"""The lab's page (``host.web``): what the command line shows, for people with a browser.

It shows what the control socket's own answers say and nothing else, and asks of the loop what the users'
socket may ask. It must never decide anything, nor let a text out that ``markup`` has not escaped.
"""

from __future__ import annotations

from collections.abc import Callable

from mayfly.core.model import HostSpec
from mayfly.edge import page_http
from mayfly.edge.faults import Refused
from mayfly.edge.log import Log
from mayfly.edge.page_values import is_loopback
from mayfly.service.board import StatusBoard
from mayfly.service.control import Control
from mayfly.service.page.other_boxes import OtherBoxes
from mayfly.service.page.site import Site
from mayfly.service.page.strip import Reader, Stints
from mayfly.service.page.visitor import Visitors


def serve(
    host: HostSpec,
    control: Control,
    board: StatusBoard,
    reader: Reader,
    log: Log,
    erred: Callable[[str, BaseException], None],
) -> Callable[[], None]:
    """Serve the page where ``host.web`` says, if it does; returns how to stop that.

    A place that somebody else has must not stop the pool.
    """
    if host.web is None:
        return lambda: None
    where = host.web
    visitors = Visitors(host.web_user_header, host.web_trusted_proxies)
    others = OtherBoxes(host.web_boxes)
    site = Site(
        control,
        board,
        visitors,
        Stints(reader),
        on_failure=lambda path, error: erred(f"the page {path}", error),
        ignored=lambda note: log.event("page.header_ignored", reason=note),
        only_proxies=not is_loopback(where),
        boxes=others.seen,
    )
    try:
        close = page_http.serve(
            where,
            site.respond,
            lambda path, error: erred(f"the page {path}", error),
            visitors.trusts,
        )
    except (OSError, Refused) as error:
        reason = getattr(error, "strerror", None) or str(error)
        log.event("page.refused", address=where, reason=reason)
        return lambda: None

    others.start()

    def stop() -> None:
        others.stop()
        site.stop()
        close()

    return stop
