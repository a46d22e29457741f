"""What GitHub's runner says and how it ends: its lines and exit codes, and what they mean.

Pure. A job's name is anybody's text: nothing is read past the fixed beginning of a line, except the result at
its very end. Exit code 0 does not tell that a job ran, so the signs do.

The runner says once that it cannot ask for jobs, and nothing when it can again (actions/runner,
``BrokerMessageListener``): "Runner reconnected" is said of a session alone.
"""

from __future__ import annotations

import re

from mayfly.core.outcomes import End, Outcome
from mayfly.edge.web import clean
from mayfly.providers import Sign
from mayfly.providers.account import JobEnd, Told, account

_STAMPED = re.compile(
    r"[0-9]{4}-[0-9][0-9]-[0-9][0-9] [0-9][0-9]:[0-9][0-9]:[0-9][0-9]Z: (.*)", re.DOTALL
)
_RESULT = re.compile(r"completed with result: ([A-Za-z]{1,32})\s*\Z")
_TOO_OLD = re.compile(r"An error occur+ed: Runner version v\S{1,40} is deprecated")
_TROUBLE = (
    "An error occur",
    "Failed to create a session.",
    "Failed to create session.",
    "Stopped retrying OAuth token request exception",
    "A session for this runner already exists.",
    "Stop retry on SessionConflictException",
    "A runner exists with the same name",
)
CLOCK = "this host's clock is wrong: timedatectl set-ntp true"
_CLOCK = "The local machine's clock may be out of sync"
_REFUSED = re.compile(r"An error occur+ed: Get next message failed with non-retryable error")
_NO_LONGER = "The runner no longer exists on the server."
_UPDATING = "Runner update in progress"

TOO_OLD = (
    "image too old: GitHub gives this runner's version no jobs any more: "
    "`sudo mayfly images refresh --newest`"
)
FINE = ("Succeeded", "SucceededWithIssues", "Skipped")
FAILED = (1, 2)
OUTDATED, UPDATE, UPDATE_ONCE = 7, 3, 4


def read(line: str) -> Sign | None:
    """What one line of the listener's output means; ``None``: nothing."""
    line = line[:2000] if "completed with result: " not in line[-80:] else line[:1900] + line[-80:]
    stamped = _STAMPED.match(line)
    if stamped is not None:
        return _read_stamped(stamped.group(1))
    if line.startswith(_TROUBLE):
        return Sign("trouble", clean(line))
    if line.startswith(_CLOCK):
        return Sign("trouble", CLOCK)
    if line.startswith(_NO_LONGER):
        return Sign("trouble", "the service has taken its registration back")
    if line.startswith(_UPDATING):
        return Sign("trouble", "the service has it update itself")
    return None


def _read_stamped(words: str) -> Sign | None:
    if words.startswith("Listening for Jobs"):
        return Sign("listening")
    if words.startswith("Running job: "):
        return Sign("job_started", clean(words.removeprefix("Running job: ")))
    if words.startswith("Job "):
        result = _RESULT.search(words)
        return Sign("job_ended", result.group(1)) if result is not None else None
    if words.startswith("Runner connect error: "):
        return Sign("trouble", clean(words), quiet=None)
    if words.startswith("Runner reconnected."):
        return Sign("reconnected")
    return None


def judge(end: End, lines: tuple[str, ...]) -> Outcome:
    """What came of an agent that ended so and left these lines in its witness."""
    return account(end, told(end, lines))


def told(end: End, lines: tuple[str, ...]) -> Told:
    """What its lines and its exit code tell."""
    signs = [sign for sign in map(read, lines) if sign is not None]
    kinds = {sign.kind for sign in signs}
    results = [sign.text for sign in signs if sign.kind == "job_ended"]
    code = end.exit.code if end.exit is not None else None
    if results:
        return Told(ended=JobEnd(results[-1], succeeded=results[-1] in FINE))
    if "job_started" in kinds:
        return Told(broken_off=_broken_off(code))
    if code == OUTDATED or any(_TOO_OLD.match(line) for line in lines):
        return Told(too_old=TOO_OLD)
    if code in (UPDATE, UPDATE_ONCE):
        return Told(too_old=f"{TOO_OLD} (it was told to update itself)")
    troubles = [sign.text for sign in signs if sign.kind == "trouble"]
    trouble = CLOCK if CLOCK in troubles else troubles[-1] if troubles else ""
    # A registration that is gone makes the listener end well, or in the refusal of its next question.
    refused = code in FAILED and any(_REFUSED.match(line) for line in lines)
    expired = (code == 0 or refused) and "listening" in kinds
    return Told(
        no_job="idle expiry: the service took its registration back" if expired else "",
        why=trouble or f"the runner ended with {code} before any job",
        trouble=trouble,
    )


def _broken_off(code: int | None) -> str:
    if code == 0:
        # The listener ends well without a result where its first renewal of the job is refused.
        return "its job was taken back before it began, or broken off: GitHub's page of it tells"
    after = f" (exit code {code})" if code is not None else ""
    return f"its job was broken off{after}: GitHub reports lost communication in about ten minutes"
