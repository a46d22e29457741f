"""A push as its hook meets it: which jobs it asks for, and which of earlier ones nobody needs any more.

Runs as whoever pushes: the repository is read, and jobs are submitted and ended, with their rights alone. A
push has landed when this begins, and nothing here can undo it; what is not run is told, branch by branch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from functools import cache, partial
from shlex import quote

from mayfly.cli.client import Client, segment
from mayfly.cli.pipeline_tasks import (
    Asked,
    definition_of,
    offered_by,
    own_limits,
    queue,
    queued,
    tasks_of,
)
from mayfly.cli.run_notes import begun
from mayfly.cli.run_submission import kept, submitted, tree_of
from mayfly.cli.trouble import Denied, Trouble
from mayfly.core.pipeline.definition import FILE
from mayfly.core.pipeline.pushes import BRANCHES, BRANCHES_MOST, Update, run_of
from mayfly.core.plain_text import clean
from mayfly.core.run_note import line
from mayfly.core.runs import REF_MAX, Origin
from mayfly.edge.faults import Fault
from mayfly.edge.own_limits import OwnLimits
from mayfly.edge.repository import Repository

OPEN = ("queued", "running")
MINE_MOST, OTHERS_MOST = 1000, 100  # runs of one repository, in one state, that are looked at

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Receiver:
    """One push into a bare repository."""

    where: Repository
    manager: Client
    say: Say
    ends: bool = True  # whether jobs of commits that nothing keeps any more are ended
    notes: bool = False  # whether each commit gets a note of its run
    limits: OwnLimits = field(default_factory=own_limits)

    def receive(self, pushed: Sequence[Update]) -> bool:
        """Run what the push changed; whether all of it is."""
        default = self.where.ref_at_head()
        run = run_of(pushed, default)
        branches = [update for update in pushed if update.branch]
        if len([update for update in branches if update.new is not None]) > BRANCHES_MOST:
            only = f"only those of {named(default)} are run" if run else "none of them is run"
            self.say(
                f"the jobs of more than {BRANCHES_MOST} branches at once are too many: {only}; for one: "
                f"mayfly push {quote(self.where.place)} --ref BRANCH"
            )
        refs = [update.ref for update in branches if update.old is not None]
        well = self._tried("earlier runs", partial(self._end_former, refs))
        for update in run:  # one that fails stops no other
            well &= self._tried(named(update.ref), partial(self._run, update, default))
        return well

    def _tried(self, what: str, deed: Callable[[], None]) -> bool:
        try:
            deed()
        except (Fault, Trouble) as trouble:
            self.say(f"{what}: {trouble}")
            return False
        return True

    def _run(self, update: Update, default: str | None) -> None:
        if update.new is None:
            return
        base = self._base(update, update.new, default)
        changes = None if base is None else self.where.changes(base, update.new)
        asked = Asked(self.where, update.new, changes, limits=self.limits)
        at = f"{named(update.ref)} at {update.new[:12]}"
        read = definition_of(asked)
        tasks = () if read is None else tasks_of(read, asked, queue(), self._offers)
        if read is None:
            self.say(f"{at}: there is no {FILE}, so nothing is run")
            return
        if not tasks:
            self.say(f"{at}: no job is for what changed")
            return
        origin = Origin(
            self.where.place, update.ref, update.new, base, self.where.subject(update.new)
        )
        found = submitted(self.manager, origin, tasks, partial(tree_of, asked), self.say)
        self.say(f"{at}: {found}; how they stand: mayfly runs {found.run}")
        if self.notes:
            jobs = {"queued": len(tasks)}
            begun(self.where, update.new, line(found.run, named(update.ref), "queued", jobs))

    def _offers(self) -> tuple[str, ...]:
        return offered_by(lambda: self.manager.get("/v1/status"))

    def _base(self, update: Update, new: str, default: str | None) -> str | None:
        """What a branch is compared with: where it was, or where a new one left the default branch."""
        before = update.old
        if before is None and default not in (None, update.ref):
            before = self.where.commit_of_ref(str(default))
        if before is None:
            self.say(
                f"{named(update.ref)}: there is nothing to compare it with: every job is asked for"
            )
            return None
        base = self.where.parted(before, new)
        if base is None:
            self.say(f"{named(update.ref)}: it has another history now: every job is asked for")
        return base

    def _end_former(self, refs: Iterable[str]) -> None:
        """End the jobs of those branches' earlier commits that no branch or tag has any more."""
        moved = {kept(ref, REF_MAX) for ref in refs}
        if not self.ends or not moved:
            return
        gone = cache(lambda commit: not self.where.kept(commit))
        seen: set[object] = set()
        for run in self._open_runs(moved, mine=True):
            seen.add(run["run"])
            if gone(str(run["commit"])):
                self._end(run)
        # Those of others may be made up: each can say of theirs that it is of this branch.
        for run in self._open_runs(moved, mine=False):
            commit = str(run["commit"])
            ends = run["run"] not in seen and self.where.has(commit) and gone(commit)
            if ends and not self._end(run):
                return

    def _end(self, run: dict[str, object]) -> bool:
        """End it; whether whoever pushes may."""
        name, ref = clean(str(run["run"])), named(str(run["ref"]))
        told = f"{ref}: run {name} of {str(run['commit'])[:12]}, which is gone, is"
        try:
            self.manager.post(f"/v1/jobs/{segment(name)}/cancel", {})
        except Trouble as trouble:  # it is somebody else's, or has ended meanwhile
            self.say(f"{told} not ended: {trouble}")
            return not isinstance(trouble, Denied)
        self.say(f"{told} ended")
        return True

    def _open_runs(self, refs: AbstractSet[str], *, mine: bool) -> Iterator[dict[str, object]]:
        """Those of a commit of these refs; of whoever pushes alone, or of all."""
        query = {"repository": self.where.place, "limit": MINE_MOST if mine else OTHERS_MOST}
        for state in OPEN:
            asked = {**query, "state": state, "mine": int(mine) or None}
            for run in self.manager.get("/v1/runs", asked).get("runs", ()):
                if run.get("commit") and run.get("ref") in refs:
                    yield run


def checked(where: Repository, pushed: Sequence[Update], say: Say) -> bool:
    """Whether the file of each branch that a push would set can be used; each mistake is told."""
    well = True
    limits = own_limits()
    for update in run_of(pushed, where.ref_at_head()):
        asked = Asked(where, update.new, None, limits=limits)
        try:
            read = definition_of(asked)
            if read is not None:
                queued(tasks_of(read, asked, queue(), tuple))
        except (Fault, Trouble) as trouble:
            say(f"{named(update.ref)}: {trouble}")
            well = False
    return well


def named(ref: str | None) -> str:
    """A branch as people call it, safe to print."""
    return clean((ref or "").removeprefix(BRANCHES).encode("utf-8", "replace").decode()) or "HEAD"
