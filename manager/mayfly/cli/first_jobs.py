"""The jobs that ``mayfly init`` has run at its end: one of Mayfly's own queue, one of a service."""

from __future__ import annotations

from collections.abc import Sequence

from mayfly.cli import canary_job, setup_start
from mayfly.cli.setup_answers import Answers
from mayfly.cli.setup_questions import Questions
from mayfly.cli.talk import say
from mayfly.cli.trouble import Trouble
from mayfly.core.model import HostSpec, PoolSpec
from mayfly.core.plain_text import clean
from mayfly.providers.installed import package


def try_all(
    pools: Sequence[PoolSpec], host: HostSpec, answers: Answers, questions: Questions
) -> None:
    """One in each pool where it was said, or somebody wants it.

    ``Trouble`` where one did not end well, or nobody can know which pool the one that was named is for.
    """
    services = [pool for pool in pools if not pool.embedded]
    named = answers.canary_job if len(services) == 1 else None
    for pool in pools:
        if not pool.embedded:
            if how := _by_hand(pool):
                say(f"a first job: {how}")
            canary_job.try_at_service(pool, host, questions, named)
        elif answers.canary or questions.yes(f"Try a job in pool {pool.name}", otherwise=False):
            setup_start.try_a_job(str(pool.name))
    if answers.canary_job is not None and len(services) != 1:
        which = ", ".join(str(pool.name) for pool in services)
        why = (
            f"it may be for any of the pools {which}"
            if which
            else "it is a job of a service, and no pool that was set up is of one"
        )
        raise Trouble(f"all is set up, and {clean(answers.canary_job)} was not tried: {why}")


def _by_hand(pool: PoolSpec) -> str:
    """What a person does at the service for a first job; "" where its provider does not say."""
    found = package(pool.provider)
    if found is None:
        return ""
    group = getattr(pool.settings, found.hints.group_key or "name", "")
    return found.hints.first_job.format(pool=pool.name, group=group)
