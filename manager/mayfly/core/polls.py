"""When the Engine is looked at: soon after a bell, not too often, and at a slow tick without any bell.

The tick is slower where nothing goes on.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from mayfly.core.requests import Look

TICK = 5.0  # seconds between looks that nobody rang for
QUIET = 6  # ticks between them while no job runs and nothing is under way: each survey brings one
LOOK_REST = 0.1  # seconds between two looks at the least, however often the Engine's bell rings
SURVEY_EVERY = 30.0
SURVEY_REST = 0.2  # seconds for what else changes with an image to have changed


@dataclass(frozen=True, slots=True)
class PollSchedule:
    """The pace of looking; never changed in place."""

    next_look: float = 0.0
    next_survey: float = 0.0
    looked: float = 0.0  # when the last look was asked for
    unanswered: bool = False

    @property
    def due(self) -> float:
        """When the next look is due."""
        return min(self.next_look, self.next_survey)

    def at_once(self, now: float) -> PollSchedule:
        """Something failed, or the Engine is back: look, however little time has passed."""
        return replace(self, next_look=now)

    def soon(self, now: float) -> PollSchedule:
        """At once after a quiet while; while much is going on, a few times a second for all of it."""
        return replace(self, next_look=min(self.next_look, max(now, self.looked + LOOK_REST)))

    def survey_soon(self, now: float, rest: float = 0.0) -> PollSchedule:
        """What the host offers may have changed."""
        return replace(self, next_survey=min(self.next_survey, now + rest))

    def reset_timers(self, now: float) -> PollSchedule:
        """The clock has jumped: times that were set mean nothing."""
        return replace(self, next_look=now, next_survey=now, looked=0.0)

    def answered(self) -> PollSchedule:
        """Something was seen."""
        return replace(self, unanswered=False) if self.unanswered else self

    def paced(self, *, quiet: bool) -> PollSchedule:
        """While nothing goes on the bell of an Engine that answers is enough for some ticks."""
        slow = self.looked + TICK * QUIET
        if self.unanswered or self.next_look not in (self.looked + TICK, slow):
            return self
        return replace(self, next_look=slow if quiet else self.looked + TICK)

    def ask(self, now: float) -> tuple[PollSchedule, Look | None]:
        """After asking for what is due, and what that is; ``None``: nothing.

        Where even the last look is ``unanswered`` then, the Engine hangs and rings no bell.
        """
        if now < self.due:
            return self, None
        survey = now >= self.next_survey
        return (
            PollSchedule(
                next_look=now + TICK,
                next_survey=now + SURVEY_EVERY if survey else self.next_survey,
                looked=now,
                unanswered=True,
            ),
            Look(survey),
        )
