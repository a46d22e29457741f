"""Why a job of the embedded queue did not succeed, in one line: what its row, its list and its client say.

Pure. It says what is known and how; what may be behind it is said as a guess, with what to do about it.
"""

from __future__ import annotations

from mayfly.core.exit_codes import signal_of
from mayfly.core.memory import Agent, Job
from mayfly.core.model import Cause, DoomReason
from mayfly.core.outcomes import End
from mayfly.core.quantities import spoken_size

# plus a signal's number: the code of a process that was ended by it, as shells have it
SIGNALLED = 128
SHM = 64 * 1024 * 1024  # bytes of shared memory where nothing is said
NOT_RUN = {126: "its command could not be run", 127: "its command was not found"}


def why(cause: Cause | None, end: End, agent: Agent, job: Job) -> str:
    """The line; empty for a job that succeeded."""
    match cause:
        case None:
            return ""
        case Cause.EXIT:
            return _own_end(end, agent)
        case Cause.OOM:
            return _out_of_memory(end, agent)
        case Cause.TIMEOUT:
            return f"it was over its time limit: {end.because or 'it ran for too long'}"
        case Cause.DISK:
            return f"it was over its disk limit: {end.because or 'it wrote too much'}"
        case Cause.CANCELLED:
            by = job.cancelled_by or (agent.doom.by if agent.doom is not None else None)
            return f"it was ended by {by}" if by else "somebody ended it"
        case Cause.ENGINE_STOPPED:
            return "the Engine stopped or was restarted while it ran"
        case Cause.KILLED:
            if end.doom is DoomReason.LEASE_LOST:
                return f"its GPUs were taken away: {end.because}"
            if end.done_to:
                return f"it was ended from outside: {end.done_to}"
            return "somebody other than Mayfly killed its container"
        case _:
            return end.done_to or "nothing tells how its container ended"


def _own_end(end: End, agent: Agent) -> str:
    code = end.exit.code if end.exit is not None else None
    if code in NOT_RUN:
        return f"{NOT_RUN[code]} (exit code {code})"
    name = signal_of(code)
    if not name:
        return f"it ended with exit code {code}"
    told = f"it was ended by {name} (exit code {code})"
    if name == "SIGBUS":
        size = spoken_size(agent.shm or SHM)
        told += f"; /dev/shm has {size}, and where that was full: set limits.shm"
    return told


def _out_of_memory(end: End, agent: Agent) -> str:
    killed = end.exit.oom_kills if end.exit is not None else None
    times = f", and the kernel killed {killed} of its processes" if killed and killed > 1 else ""
    if agent.memory is None:
        return f"the host was out of memory{times}: its pool has no limits.memory"
    return f"it was out of memory: its limit is {spoken_size(agent.memory)}{times}"


def never_started(tries: int, because: str, image: str | None = None) -> str:
    """Of a job that no agent has begun; ``because``: what the last of them ended of, where that is known,
    ``image``: which it asks for.
    """
    of = "" if image is None else f" of image {image}"
    told = f"{tries} agents{of} that were to run it ended before it began"
    return f"{told}: {because}" if because else told
