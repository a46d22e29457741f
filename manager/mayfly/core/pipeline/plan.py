"""Which jobs a change asks for, each with what its paths captured and its cell of the matrix.

A name out of a path goes into job names and shell lines, and whoever may propose a change may choose it: one
that a shell could read as anything but a word is refused.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from mayfly.core.pipeline.changes import Change
from mayfly.core.pipeline.definition import ALL, FILE, Definition, JobRule, When
from mayfly.core.pipeline.pattern import Captures, Patterns

NAME = re.compile(r"\w[\w.+-]{0,99}")  # letters and digits of any script


@dataclass(frozen=True, slots=True)
class PlannedJob:
    """One job that is to run."""

    rule: JobRule
    captures: Captures = ()  # sorted by name
    cell: Captures = ()  # its place in the matrix
    # the paths that asked for it, sorted; empty: something else did
    changed: tuple[str, ...] = ()

    @property
    def values(self) -> dict[str, str]:
        """What its templates know."""
        return dict(self.captures + self.cell)

    @property
    def default_name(self) -> str:
        """Its name where the file gives it none."""
        cell = (key + value if key == "cuda" else value for key, value in self.cell)
        return "-".join((self.rule.id, *(value for _, value in self.captures), *cell))


@dataclass(frozen=True, slots=True)
class Plan:
    """All jobs that are to run, or why none may."""

    jobs: tuple[PlannedJob, ...] = ()
    # sentences; one is enough to run nothing
    refused: tuple[str, ...] = ()
    whole: bool = False  # every job is asked for


# What one job's patterns made of the changes, by what they captured.
Groups = dict[Captures, list[Change]]


def planned(
    definition: Definition,
    changes: Iterable[Change] | None,
    tree: Iterable[str],
    offered: Mapping[str, tuple[str, ...]],
    template_of: Callable[[JobRule, Captures], str | None],
) -> Plan:
    """The plan; ``changes`` is None where everything counts as changed, ``tree``: the paths that are there.

    ``offered``: the values that stand for ``ALL``, by axis; ``template_of`` names the file that a job's
    script is written in.
    """
    changes = None if changes is None else tuple(changes)
    ignored = Patterns(definition.exclude)
    everything = Patterns(definition.all_when)
    whole = changes is None or any(
        change.path == FILE or everything.any(change.path) for change in changes
    )
    counting = [change for change in changes or () if not ignored.any(change.path)]
    changed = {change.path for change in changes or ()}
    rules = [rule for rule in definition.jobs if rule.paths]
    finder = _Finder(rules)
    touched: dict[str, Groups] = {rule.id: {} for rule in rules}
    for change in counting:
        for rule, captures in finder.groups(change.path):
            touched[rule.id].setdefault(captures, []).append(change)
    wanted = rules if whole or _asks_for_tree(rules, touched) else []
    there = _there(finder, tree, ignored, wanted)
    jobs: list[PlannedJob] = []
    refused: list[str] = []
    for rule in definition.jobs:
        if rule.when is When.ALWAYS:
            jobs += _cells(rule, (), (), offered)
        if not rule.paths:
            continue
        groups = touched[rule.id]
        present = there.get(rule.id, {})
        asked = _asked(rule, groups, present, whole, changed, template_of)
        for captures in sorted(asked):
            paths = tuple(sorted({change.path for change in groups.get(captures, ())}))
            example = paths[0] if paths else present.get(captures, "")
            wrong = _wrong(rule, captures, example)
            if rule.when is not When.DELETED:  # what never had a job leaves nothing to be done
                refused += wrong
            if not wrong:
                jobs += _cells(rule, captures, paths, offered)
    if not any(job.rule.when is not When.ALWAYS for job in jobs):
        for rule in definition.jobs:
            if rule.when is When.NOTHING:
                jobs += _cells(rule, (), (), offered)
    order = {rule.id: number for number, rule in enumerate(definition.jobs)}
    jobs.sort(key=lambda job: order[job.rule.id])
    return Plan(tuple(jobs), tuple(dict.fromkeys(refused)), whole)


class _Finder:
    """All patterns of all jobs at once."""

    def __init__(self, rules: list[JobRule]) -> None:
        self._wanted = [(rule, pattern) for rule in rules for pattern in rule.paths]
        self._unwanted = [(rule, pattern) for rule in rules for pattern in rule.exclude]
        self._patterns = Patterns([pattern for _, pattern in self._wanted + self._unwanted])

    def groups(self, path: str) -> list[tuple[JobRule, Captures]]:
        """Each job that the path is for, with what it captures there: by the first pattern that matches."""
        found: dict[str, tuple[int, JobRule, Captures]] = {}
        without: set[str] = set()
        for number, captures in self._patterns.matches(path):
            if number >= len(self._wanted):
                without.add(self._unwanted[number - len(self._wanted)][0].id)
                continue
            rule = self._wanted[number][0]
            if rule.id not in found or number < found[rule.id][0]:
                found[rule.id] = number, rule, tuple(sorted(captures))
        return [(rule, captures) for _, rule, captures in found.values() if rule.id not in without]


def _asks_for_tree(rules: Iterable[JobRule], touched: Mapping[str, Groups]) -> bool:
    """Whether what is there has to be known: where all of something may be gone, and for scripts in files."""
    return any(
        rule.template is not None or any(_all_gone(found) for found in touched[rule.id].values())
        for rule in rules
    )


def _all_gone(changes: Iterable[Change]) -> bool:
    return all(change.gone for change in changes)


def _there(
    finder: _Finder, tree: Iterable[str], ignored: Patterns, rules: list[JobRule]
) -> dict[str, dict[Captures, str]]:
    """By job, what its patterns capture of the paths that are there, each with a path."""
    found: dict[str, dict[Captures, str]] = {rule.id: {} for rule in rules}
    if rules:
        for path in tree:
            groups = finder.groups(path)
            if groups and not ignored.any(path):
                for rule, captures in groups:
                    found[rule.id].setdefault(captures, path)
    return found


def _asked(
    rule: JobRule,
    groups: Groups,
    present: Mapping[Captures, str],
    whole: bool,
    changed: set[str],
    template_of: Callable[[JobRule, Captures], str | None],
) -> set[Captures]:
    if rule.when is When.DELETED:
        return {
            captures
            for captures, changes in groups.items()
            if _all_gone(changes) and captures not in present
        }
    if whole:
        return set(present)
    asked = {
        captures
        for captures, changes in groups.items()
        if captures in present or not _all_gone(changes)
    }
    if rule.template is not None and changed:
        asked |= {one for one in present if template_of(rule, one) in changed}
    return asked


def _wrong(rule: JobRule, captures: Captures, path: str) -> list[str]:
    """A sentence for each captured name that is none."""
    return [
        f"{path!a}: the {name} that job {rule.id} takes from it is {value!a}, and a name is letters, "
        "digits and ._+-, a letter or digit first: rename it, or leave it out by except"
        for name, value in captures
        if not NAME.fullmatch(value)
    ]


def _cells(
    rule: JobRule,
    captures: Captures,
    changed: tuple[str, ...],
    offered: Mapping[str, tuple[str, ...]],
) -> list[PlannedJob]:
    axes = [
        [(axis, value) for value in (offered[axis] if values == ALL else values)]
        for axis, values in rule.matrix.items()
    ]
    return [PlannedJob(rule, captures, cell, changed) for cell in itertools.product(*axes)]


class Order:
    """Which of the jobs that are to run waits for which."""

    def __init__(self, jobs: Iterable[PlannedJob]) -> None:
        self._of_rule: dict[str, list[PlannedJob]] = {}
        # by rule and some of its jobs' values: those jobs
        self._about: dict[tuple[str, frozenset[str]], dict[Captures, list[PlannedJob]]] = {}
        for job in jobs:
            self._of_rule.setdefault(job.rule.id, []).append(job)

    def before(self, job: PlannedJob) -> list[PlannedJob]:
        """Those that it waits for: of what it needs, what has the same values where both have one."""
        own = job.values
        return [other for rule in job.rule.needs for other in self._same(rule, own)]

    def _same(self, rule: str, own: Mapping[str, str]) -> list[PlannedJob]:
        jobs = self._of_rule.get(rule)
        if not jobs:
            return []
        shared = own.keys() & jobs[0].values.keys()  # all of one rule's have the same names
        key = rule, frozenset(shared)
        if key not in self._about:
            index = self._about[key] = {}
            for job in jobs:
                index.setdefault(_only(job.values, shared), []).append(job)
        return self._about[key].get(_only(own, shared), [])


def _only(values: Mapping[str, str], names: Iterable[str]) -> Captures:
    return tuple(sorted((name, values[name]) for name in names))
