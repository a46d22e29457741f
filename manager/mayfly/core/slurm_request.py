"""What a pool asks of Slurm for the GPUs of its slots: the table ``[pool.slurm]``, checked."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

# seconds beyond a job's longest that an allocation is asked for, so that several fit
MARGIN = 900.0
SPARE = 120.0  # seconds beyond a job's longest that are left at the least when its gate is opened

# What else of salloc's options may be said. None of them names another node, job, user or number of GPUs.
OPTIONS = (
    *("--begin", "--comment", "--constraint", "--cpus-per-gpu", "--cpus-per-task"),
    *("--exclusive", "--licenses", "--mem", "--mem-per-gpu", "--nice", "--priority"),
    *("--reservation", "--wckey"),
)


@dataclass(frozen=True, slots=True)
class SlurmRequest:
    """How an allocation is asked for, and how long it is waited for and kept."""

    partition: str | None = None  # None: Slurm's default
    account: str | None = None  # None: that of the manager's user
    qos: str | None = None  # None: Slurm's default
    gres: str = "gpu"  # with a type where the site has several: "gpu:a100"
    node: str | None = None  # this host as Slurm knows it; None: its short name
    time_limit: float | None = None  # seconds of an allocation; None: by the pool's job_timeout
    wait: float = 600.0  # seconds that an allocation may wait in Slurm's queue
    retry: float = 300.0  # seconds until one is asked for again that was given up, or refused
    idle: float = 60.0  # seconds without a job after which one is given back
    look: float = 10.0  # seconds between two looks at Slurm's queue
    options: tuple[str, ...] = ()  # further ones of salloc, of OPTIONS, as --NAME or --NAME=VALUE

    def asked_for(self, job_timeout: float | None) -> float | None:
        """Seconds that an allocation is asked for; ``None``: nothing bounds it."""
        if self.time_limit is not None or job_timeout is None:
            return self.time_limit
        return job_timeout + MARGIN

    def minutes(self, job_timeout: float | None) -> int | None:
        """The same as salloc takes it; ``None``: what the partition gives."""
        seconds = self.asked_for(job_timeout)
        return None if seconds is None else max(1, ceil(seconds / 60))
