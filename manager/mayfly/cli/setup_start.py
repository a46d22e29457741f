"""The last part of ``mayfly init``: the unit in place, the manager started, a slot idle, a job tried."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Sequence

from mayfly.cli.client import Client, Document
from mayfly.cli.setup_files import DROP_INS, Layout, WantedFile, handed_since
from mayfly.cli.talk import say
from mayfly.cli.trouble import TimedOut, Trouble
from mayfly.cli.verbs_install import active, own_command, put_in_place, run
from mayfly.cli.verbs_status import await_status
from mayfly.core.plain_text import clean
from mayfly.core.quantities import spoken_age, whole_number

PATIENCE = 300.0  # seconds until a slot of the pool is idle
TRIED = ("sh", "-c", "echo hello from $(hostname)")


def put(written: Sequence[WantedFile]) -> None:
    """The unit is in place, and systemd knows which secrets it hands over."""
    for line in put_in_place():
        say(line)
    if any(one.path.parent == DROP_INS for one in written):
        run(["systemctl", "daemon-reload"])


def start(layout: Layout, written: Sequence[WantedFile]) -> None:
    """The manager runs with what is there; one that runs already goes on with its jobs.

    What counts is what it has read, not only what was ``written`` now: an ``init`` before may have been
    interrupted.
    """
    if not active():
        say("starting the manager: systemctl enable --now mayfly")
        _started(["systemctl", "enable", "--now", "mayfly"])
    elif any(one.secret for one in written) or handed_since(layout, _began()):
        say("restarting the manager, which costs no job: systemctl restart mayfly")
        run(["systemctl", "daemon-reload"])
        _started(["systemctl", "restart", "mayfly"])
    else:
        _started(["systemctl", "reload", "mayfly"])


def _began() -> float:
    """When the manager that runs was started (seconds since the epoch); 0 where systemd does not say."""
    asked = ["systemctl", "show", "mayfly", "--property=ExecMainStartTimestampMonotonic", "--value"]
    told = whole_number(run(asked).strip())
    ago = time.monotonic() - told / 1e6 if told else time.time()
    return time.time() - ago


def _started(command: list[str]) -> None:
    try:
        run(command)
    except Trouble as trouble:
        raise Trouble(
            f"{trouble}\nwhat it said: sudo journalctl -u mayfly -n 20; mend that, then run `mayfly init` "
            "again"
        ) from trouble


def await_idle(manager: Client, pools: Sequence[str], seconds: float = PATIENCE) -> str:
    """Wait until each pool has an idle slot; a sentence on them. ``Trouble`` where one waits for a person."""
    say(f"waiting until a slot of pool {', '.join(pools)} is idle, at most {spoken_age(seconds)}")
    try:
        shown = await_status(manager, _still(pools), seconds)
    except TimedOut as late:
        raise TimedOut(
            f"{late}; all is written, and goes on being tried: mayfly status tells how it stands, and "
            "`mayfly init` looks again"
        ) from late
    told = []
    for pool in pools:
        rows = _rows(shown, pool)
        idle = sum(row.get("phase") in ("idle", "busy") for row in rows)
        told.append(f"pool {pool} is ready: {idle} of {len(rows)} slots take jobs")
    return "; ".join(told)


def _rows(document: Document, pool: str) -> list[Document]:
    return [row for row in document.get("slots", ()) if row.get("pool") == pool]


def _still(pools: Sequence[str]) -> Callable[[Document], str | None]:
    """What is in the way of an idle slot of each pool."""

    def left(document: Document) -> str | None:
        for pool in pools:
            rows = _rows(document, pool)
            if any(row.get("phase") in ("idle", "busy") for row in rows):
                continue
            held = [row for row in rows if row.get("phase") == "held"]
            if rows and len(held) == len(rows):
                note = clean(str(held[0].get("note") or "see mayfly status"))
                raise Trouble(
                    f"{held[0].get('slot')} is held: {note}; then run `mayfly init` again"
                )
            if not rows:
                return f"the manager has no pool {pool} yet"
            return ", ".join(f"{row.get('slot')} is {row.get('phase')}" for row in rows[:4])
        return None

    return left


def try_a_job(pool: str) -> None:
    """A job through the embedded queue, shown as whoever submits it sees it."""
    words = [own_command(), "submit", "--wait", "--pool", pool, "--", *TRIED]
    say(f"trying a job: mayfly submit --wait --pool {pool} -- sh -c 'echo hello from $(hostname)'")
    done = subprocess.run(words, timeout=600, check=False)
    if done.returncode != 0:
        raise Trouble(f"the job ended with {done.returncode}: mayfly jobs tells why")
