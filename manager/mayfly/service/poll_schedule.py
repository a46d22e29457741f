"""When the eye is asked to look: soon after a bell, not too often, and at a slow tick without any bell."""

from __future__ import annotations

from mayfly.service.engine_observer import EngineObserver

TICK = 5.0  # seconds between looks that nobody rang for
LOOK_REST = 0.1  # seconds between two looks at the least, however often the Engine's bell rings
SURVEY_EVERY = 30.0
SURVEY_REST = 0.2  # seconds for what else changes with an image to have changed


class PollSchedule:
    """The pace of looking; used by the loop's thread alone."""

    def __init__(self) -> None:
        self._next_look = 0.0
        self._next_survey = 0.0
        self._looked = 0.0  # when the last look was asked for
        self._unanswered = False

    @property
    def due(self) -> float:
        """When the next look is due."""
        return min(self._next_look, self._next_survey)

    def at_once(self, now: float) -> None:
        """Something failed, or the Engine is back: look, however little time has passed."""
        self._next_look = now

    def soon(self, now: float) -> None:
        """At once after a quiet while; while much is going on, a few times a second for all of it."""
        self._next_look = min(self._next_look, max(now, self._looked + LOOK_REST))

    def survey_soon(self, now: float, rest: float = 0.0) -> None:
        """What the host offers may have changed."""
        self._next_survey = min(self._next_survey, now + rest)

    def reset_timers(self, now: float) -> None:
        """The clock has jumped: times that were set mean nothing."""
        self._next_look = self._next_survey = now
        self._looked = 0.0

    def answered(self) -> None:
        """The eye has said what it saw."""
        self._unanswered = False

    def ask(self, observer: EngineObserver, now: float) -> bool:
        """Ask the eye for what is due; True where it has not even answered the last time.

        An Engine that hangs rings no bell: whoever can is to look at the witnesses all the same.
        """
        if now < self.due:
            return False
        late, self._unanswered = self._unanswered, True
        if now >= self._next_survey:
            self._next_survey = now + SURVEY_EVERY
            observer.survey()
        else:
            observer.look()
        self._looked, self._next_look = now, now + TICK
        return late
