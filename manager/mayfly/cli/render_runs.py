"""Runs as text for people: pure, values in, lines out, as ``cli/render.py`` has the rest."""

from __future__ import annotations

from mayfly.cli.render import Row, age, coloured, exit_of, seconds, standing, text, took, wrapped
from mayfly.cli.table import table
from mayfly.core.quantities import spoken_age


def runs(document: Row, now: float, width: int | None, colour: bool) -> list[str]:
    """A row a run: what it is of, whose, how it stands, how many of its jobs are over, and for how long."""
    found = list(document.get("runs", ()))
    states = [text(run.get("state")) for run in found]
    rows = [
        (
            text(run.get("run")),
            _base_name(text(run.get("repository"))),
            _short_ref(text(run.get("ref"))),
            text(run.get("commit"))[:12] or "-",
            text(run.get("owner")) or "-",
            state,
            _progress(run.get("jobs") or {}),
            age(run.get("submitted"), now),
            _lasted(run, now),
            text(run.get("subject")) or "-",
        )
        for run, state in zip(found, states, strict=True)
    ]
    headings = (
        "RUN",
        "REPOSITORY",
        "REF",
        "COMMIT",
        "OWNER",
        "STATE",
        "JOBS",
        "AGE",
        "TOOK",
        "SUBJECT",
    )
    lines = table(headings, rows, width, whole=("RUN", "STATE", "JOBS"))
    if colour:
        lines[1:] = [coloured(line, state) for line, state in zip(lines[1:], states, strict=True)]
    return lines


def run(row: Row, jobs_of_it: Row, now: float, width: int | None, colour: bool) -> list[str]:
    """What a run is of, then a row a job with why it stands as it does."""
    of = _short_ref(text(row.get("ref")))
    commit = text(row.get("commit"))[:12] or "what is not committed"
    subject = text(row.get("subject"))
    head = [
        f"run {text(row.get('run'))} of {text(row.get('repository'))} {of}, {commit}"
        + (f": {subject}" if subject else ""),
        f"{text(row.get('state'))}; by {text(row.get('owner'))}, {age(row.get('submitted'), now)} ago",
    ]
    found = list(jobs_of_it.get("jobs", ()))
    states = [text(job.get("state")) for job in found]
    rows = [
        (
            text(job.get("job")),
            text(job.get("name")) or "-",
            text(job.get("pool")) or "-",
            standing(job),
            exit_of(job),
            took(job, now),
            text(job.get("detail")) or "-",
        )
        for job in found
    ]
    lines = table(
        *(("JOB", "NAME", "POOL", "STATE", "EXIT", "RAN", "WHY"), rows, width),
        whole=("JOB", "STATE", "EXIT"),
    )
    if colour:
        lines[1:] = [coloured(line, state) for line, state in zip(lines[1:], states, strict=True)]
    return [*(part for line in head for part in wrapped(line, width, "  ")), *lines]


def _base_name(path: str) -> str:
    return path.rstrip("/").rpartition("/")[2].removesuffix(".git") or path or "-"


def _short_ref(ref: str) -> str:
    return ref.removeprefix("refs/heads/") or "-"


def _progress(jobs_by_state: Row) -> str:
    """How many are over, of how many."""
    counts = {text(state): int(count) for state, count in jobs_by_state.items()}
    every = sum(counts.values())
    return f"{every - counts.get('queued', 0) - counts.get('running', 0)}/{every}"


def _lasted(row: Row, now: float) -> str:
    begun, finished = seconds(row.get("submitted")), seconds(row.get("finished"))
    return "-" if begun is None else spoken_age((now if finished is None else finished) - begun)
