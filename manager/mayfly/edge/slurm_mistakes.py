"""What is wrong with the keys of a pool whose GPUs Slurm gives, or of one beside it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields

from mayfly.core import model
from mayfly.core.slurm_request import OPTIONS, SPARE, SlurmRequest
from mayfly.edge.mistakes import nearest
from mayfly.edge.sources import Where


def leased_by_slurm(
    pool: model.PoolSpec, providers: Sequence[str], config: model.Config
) -> Iterator[tuple[Where, str]]:
    """What does not go with an allocation, key by key; ``config``: the pool is one of its pools."""
    if not pool.by_slurm:
        yield from _beside(pool, config)
        return
    if pool.gpus == 0:
        yield ("lease",), 'is "slurm", which has no meaning in a pool without GPUs'
    elif not isinstance(pool.gpus, int):
        yield ("gpus",), "must be a number: which ones a slot gets is Slurm's to say"
    if pool.gpu is not None:
        yield ("gpu",), 'has no meaning with lease = "slurm": name a type, gres = "gpu:a100"'
    if pool.heal != "off":
        yield ("heal",), 'is "reset", and its GPUs are Slurm\'s: their node is drained for that'
    if pool.share:
        yield ("share",), 'has no meaning with lease = "slurm": an allocation is one slot\'s'
    if pool.takes_turns:
        yield ("exclusive",), 'is "in turn", and Slurm says whose turn it is: take one of the two'
    if pool.provider in providers and not pool.embedded and not pool.dispatched:
        why = "an agent that waits at its service for a job would keep an allocation from everybody"
        text = "that is for the embedded queue, and for a service that hands its jobs out"
        yield ("lease",), f'is "slurm", and {why}: {text}'
    yield from _times(pool)
    first = next(other for other in config.pools if other.by_slurm)
    if pool.slurm.node != first.slurm.node:
        yield ("slurm", "node"), f"is another than in pool {first.name}: this host is one node"
    for index, option in enumerate(pool.slurm.options):
        name = option.partition("=")[0]
        if name not in OPTIONS:
            here: Where = ("slurm", "options", index)
            yield here, f"{name} may not be said here{nearest(name, list(OPTIONS))}"


def _beside(pool: model.PoolSpec, config: model.Config) -> Iterator[tuple[Where, str]]:
    """Of a pool whose GPUs are its own."""
    for one in fields(SlurmRequest):
        if getattr(pool.slurm, one.name) != one.default:
            yield ("slurm", one.name), 'has no meaning without lease = "slurm"'
    others = [other.name for other in config.pools if other.by_slurm]
    if others and pool.gpus != 0 and not isinstance(pool.gpus, tuple):
        why = f"counts GPUs, and Slurm may give any of its own to pool {others[0]}"
        yield ("gpus",), f"{why}: name those that Slurm does not have, by UUID"


def _times(pool: model.PoolSpec) -> Iterator[tuple[Where, str]]:
    longest, limit = pool.limits.job_timeout, pool.slurm.time_limit
    if longest is None:
        why = "a job without a limit would outlast its allocation"
        yield ("limits", "job_timeout"), f'may not be "none" with lease = "slurm": {why}'
    elif limit is not None and limit < longest + SPARE:
        why = (
            f"must be at least limits.job_timeout and {SPARE:.0f} s, or no job of the pool fits in"
        )
        yield ("slurm", "time_limit"), why
    if pool.bench is not None:
        yield ("bench",), 'has no meaning with lease = "slurm": the GPUs are others\' afterwards'
    if pool.slurm.look < 1:
        yield ("slurm", "look"), "must be at least 1s: Slurm's controller serves others, too"
