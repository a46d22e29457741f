"""What Microsoft's agent says, and what came of one that ended: its lines and its exit codes.

Pure. Code 0 alone proves nothing: it is any result of a job, an idle stop and a key that was taken back.
"""

from __future__ import annotations

import re

from mayfly.core.outcomes import End, Outcome
from mayfly.edge.web import clean
from mayfly.providers import Sign
from mayfly.providers.account import JobEnd, Told, account

# seconds for `config`, whose loop around a failing --replace never ends by itself
CONFIG_LIMIT = 150

NO_SESSION = "the service gave it no session"
_STAMP = r"[0-9]{4}-[0-9][0-9]-[0-9][0-9] [0-9][0-9]:[0-9][0-9]:[0-9][0-9]Z: "
_LISTENING = re.compile(_STAMP + r"Listening for Jobs\s*")
_CUT_OFF = re.compile(_STAMP + r"(Agent connect error: .*)")
_RECONNECTED = re.compile(_STAMP + r"Agent reconnected\.\s*")
_RUNNING = re.compile(_STAMP + r"Running job: ?(.*)")
# The name of a job is its author's text, and the launcher leaves it out of what it records.
_COMPLETED = re.compile(
    _STAMP + r"Job (?:.* )?completed with result: "
    r"(Succeeded|SucceededWithIssues|Failed|Canceled|Skipped|Abandoned)\s*"
)
CLOCK = "this host's clock is wrong: timedatectl set-ntp true"
LONGEST_LINE = 2000
_TROUBLES = (
    ("Agent pool not found:", "config did not find the agent pool: check `agent_pool`"),
    (
        "Failed to replace the agent",
        "config could not take the slot's entry: the owner of the token has to be the pool's Administrator",
    ),
    (
        "Cannot configure the agent because it is already configured",
        "the image holds a configured agent",
    ),
    (
        "A session for this agent already exists",
        "another agent of its name has a session: a dead one's lapses after about five minutes",
    ),
    ("Stop retry on SessionConflictException", "another agent of its name kept its session"),
    ("Access denied", "the service does not know its key"),
    ("VS30063", "the token is wrong or has expired"),
    ("Must not run", "the image runs its agent as root"),
    ("An error occurred:", "the agent failed"),
    ("The agent no longer exists on the server", "its entry in the agent pool is gone"),
    ("The local machine's clock may be out of sync", CLOCK),
    ("Current server time is", CLOCK),
    # Why stands behind it, where it is not one of the above.
    ("Failed to create a session", NO_SESSION),
    ("Failed to create session", NO_SESSION),
)
_FINE = ("Succeeded", "SucceededWithIssues", "Skipped")
_UPDATES = ("Agent update in progress", "Downgrading agent to a lower version")


def read(line: str) -> Sign | None:
    """What a line of the listener's own output means; ``None``: nothing."""
    if len(line) > LONGEST_LINE:
        return None
    if _LISTENING.fullmatch(line):
        return Sign("listening")
    running = _RUNNING.fullmatch(line)
    if running is not None:
        return Sign("job_started", clean(running.group(1)))
    completed = _COMPLETED.fullmatch(line)
    if completed is not None:
        return Sign("job_ended", completed.group(1))
    if _RECONNECTED.fullmatch(line):
        return Sign("reconnected")
    if any(line.startswith(words) for words in _UPDATES):
        return Sign("trouble", "the service wants a newer agent than the image has")
    cut_off = _CUT_OFF.fullmatch(line)
    for words, meaning in _TROUBLES:
        if words in line:
            return Sign("trouble", meaning, quiet=None if cut_off is not None else 0.0)
    return Sign("trouble", clean(cut_off.group(1)), quiet=None) if cut_off is not None else None


# How the launcher ends where the client was not even started (agents/azure).
CONFIG_LATE, CONFIG_FAILED = 75, 76
UPDATE_CODES = (3, 4)
_TOO_OLD = (
    "the service wants a newer agent than the image has: `sudo mayfly images refresh --newest`"
)
_CODES = {
    0: "it ended without a job and unasked: its key was taken back, or its entry taken by another",
    1: "the service let it have no session",
    2: "it failed",
    65: "what came through the gate was not what its launcher needs: the image is older than this manager",
    70: "its launcher failed",
    CONFIG_LATE: f"config did not end within {CONFIG_LIMIT} s, and was stopped",
    CONFIG_FAILED: "config failed",
}


def judge(end: End, signs: tuple[str, ...]) -> Outcome:
    """What came of an agent that ended so, after its client had said these lines."""
    return account(end, told(end, signs))


def told(end: End, lines: tuple[str, ...]) -> Told:
    """What its lines and its exit code tell."""
    signs = [sign for line in lines if (sign := read(line)) is not None]
    results = [sign.text for sign in signs if sign.kind == "job_ended"]
    code = end.exit.code if end.exit is not None else None
    if code in UPDATE_CODES:
        done = f"; its job had ended: {results[-1]}" if results else ""
        return Told(too_old=_TOO_OLD + done)
    if results:
        return Told(ended=JobEnd(results[-1], results[-1] in _FINE))
    if any(sign.kind == "job_started" for sign in signs):
        # It ends well without a result where its first renewal of the job is refused.
        how = "its job was taken back before it began, or broken off: its page tells"
        return Told(broken_off=how if code == 0 else "its job's result was not told")
    # Code 0 after a signal from outside is how it ends when it is told to.
    told_to_end = end.signalled and code == 0
    return Told(
        no_job="it had no job" if told_to_end else "",
        why=_why(code, signs) if code is not None else "",
        trouble=_trouble(signs),
    )


def _why(code: int, signs: list[Sign]) -> str:
    said = _CODES.get(code, f"the agent ended with exit code {code}")
    trouble = _trouble(signs)
    return f"{said}: {trouble}" if trouble else said


def _trouble(signs: list[Sign]) -> str:
    """What it last said to be wrong, but for the session that it was then refused; "" where nothing was."""
    told = [sign.text for sign in signs if sign.kind == "trouble"]
    return next((text for text in reversed(told) if text != NO_SESSION), told[-1] if told else "")
