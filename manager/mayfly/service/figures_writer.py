"""Keeps agents' figures as the state has them, on a thread of its own: no step waits for a disk.

What it is told is a value; what is new of it is written, and what could not be is written with the next
reading.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping
from contextlib import suppress

from mayfly.core import job_lines
from mayfly.core.job_lines import JobLines
from mayfly.core.model import Generation
from mayfly.core.state import State
from mayfly.edge.faults import Fault
from mayfly.edge.figures import Figures
from mayfly.service.asked import Asked

FIRST, LAST = "first", "last"  # the files, as agents/job-lines reads them


class FiguresWriter:
    """Told by the loop after each step."""

    def __init__(self, figures: Figures) -> None:
        self._figures = figures
        self._wanted: Mapping[Generation, JobLines] = {}
        self._of: tuple[object, ...] = ()  # what that was made of
        self._written: dict[Generation, JobLines] = {}  # the thread's own
        self._left = False  # something could not be written, or has no place yet
        self._asked = Asked("job-figures", self._write)
        self.begun = False  # whether there is a thread

    def publish(self, state: State) -> None:
        """Have what is new written soon. Without an agent that has figures there is no thread."""
        of = (state.memory.agents, state.gpus.reading, state.desired.slots)
        if self._of and all(map(operator.is_, of, self._of)):
            return
        looked = not self._of or state.gpus.reading is not self._of[1]
        self._of = of
        wanted = job_lines.of_all(state, self._wanted, looked=looked)
        if wanted == self._wanted and not self._left:
            return
        self._wanted = wanted
        if not self.begun:
            with suppress(Fault):
                self._asked.start()
                self.begun = True
        self._asked.ask()

    def stop(self) -> None:
        """End after what it does now."""
        if self.begun:
            self._asked.stop()

    def _write(self) -> None:
        wanted = self._wanted
        for gone in [one for one in self._written if one not in wanted]:
            del self._written[gone]
        for generation, lines in wanted.items():
            if self._written.get(generation) != lines and self._wrote(generation, lines):
                self._written[generation] = lines
        self._left = len(self._written) < len(wanted)

    def _wrote(self, generation: Generation, lines: JobLines) -> bool:
        files = {LAST: lines.last} if lines.last else {}
        with suppress(Fault):
            if generation not in self._written and not self._figures.has(generation, FIRST):
                files[FIRST] = lines.first
            return not files or self._figures.write(generation, files)
        return False
