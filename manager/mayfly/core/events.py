"""Every event that log, journal and history know, and how much each matters.

Facts are events, and so is what happens to the manager itself. No event is logged that is not in the table: a
test holds the code to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from mayfly.core.model import Severity

INFO, WARNING, ERROR = Severity.INFO, Severity.WARNING, Severity.ERROR

EVENTS: Mapping[str, Severity] = MappingProxyType(
    {
        # Facts (core/facts.py).
        "agent.created": INFO,
        "agent.adopted": INFO,
        "agent.armed": INFO,
        "agent.ready": INFO,
        "agent.equipped": INFO,
        "agent.enrolled": INFO,
        "gate.opening": INFO,
        "agent.opened": INFO,
        "agent.confirmed": INFO,
        "agent.dismissed": INFO,
        "agent.cordoned": INFO,
        "agent.throttled": WARNING,
        "agent.unthrottled": INFO,
        "agent.stopping": INFO,
        "agent.stop_stepped": INFO,
        "agent.attached": INFO,
        "agent.detached": INFO,
        "agent.exited": INFO,
        "results.taken": INFO,
        "agent.cleared": INFO,
        "agent.removed": INFO,
        "slot.cooled": WARNING,
        "slot.recovered": INFO,
        "slot.held": WARNING,
        "slot.released": INFO,
        "slot.cordoned": INFO,
        "slot.uncordoned": INFO,
        "slot.booked": INFO,
        "slot.unbooked": INFO,
        "clocks.locking": INFO,
        "clocks.locked": INFO,
        "clocks.refused": WARNING,
        "clocks.unlocked": INFO,
        "job.submitted": INFO,
        "run.submitted": INFO,
        "job.requeued": INFO,
        "job.cancelling": INFO,
        "job.ended": INFO,
        "turn.awaited": INFO,
        "turn.ended": INFO,
        "turn.waived": INFO,
        "gpu.healing": WARNING,
        "gpu.resetting": INFO,
        "gpu.reset": INFO,
        "gpu.healed": WARNING,
        "waiting.cancelling": WARNING,
        "waiting.cancelled": WARNING,
        "manager.paused": INFO,
        "manager.resumed": INFO,
        "clock.jumped": INFO,
        # What the manager meets.
        "action.failed": WARNING,
        "agent.unbegun": INFO,
        "config.loaded": INFO,
        "config.old_key": WARNING,
        "config.rejected": WARNING,
        "daemon.started": INFO,
        "daemon.stopping": INFO,
        "gpu.leftover": WARNING,
        "notice.delayed": WARNING,
        "notice.dropped": WARNING,
        "disk.back": INFO,
        "disk.lost": ERROR,
        "slurm.back": INFO,
        "slurm.lost": ERROR,
        "engine.back": INFO,
        "engine.lost": ERROR,
        "engine.restarted": INFO,
        "engine.stream_ended": WARNING,
        "history.prune_failed": WARNING,
        "image.kept": WARNING,
        "image.removed": INFO,
        "host.left_running": WARNING,
        "host.taken_over": INFO,
        "loop.failed": ERROR,
        "loop.starved": ERROR,
        "metrics.refused": WARNING,
        "page.header_ignored": WARNING,
        "page.refused": WARNING,
        "network.kept": INFO,
        "pass.ended": INFO,
        "dispatch.back": INFO,
        "dispatch.failed": WARNING,
        "dispatch.fallback": WARNING,
        "provider.back": INFO,
        "provider.refused": WARNING,
        "step.unfinished": ERROR,
        "door.unclosed": WARNING,
        "witness.unreadable": WARNING,
    }
)
