"""The command line of a job that runs in an image of its own, as a container beside its agent.

Pure. The agent is one of the pool's own, and its job is the command line that runs that container: Docker's
client passes on input, output, signals and the exit code. The container gets the slot's GPUs, the pool's
datasets and caches under the names that they have in the agent, and the work directory, in which it starts.
Nothing is said of limits, network or security: the gateway gives each container the pool's. See ADR 0029.
"""

from __future__ import annotations

from collections.abc import Mapping

from mayfly.core.contained_job import pools_variables
from mayfly.core.model import PoolSpec
from mayfly.core.workspace import WORKSPACE

NAME = "job"  # what it is called in its agent: `docker exec job …`
# Who it is says the image, and nobody else's files are in the work directory, $0.
_RUNS = 'chmod a+rwx "$0" && exec "$@"'


def in_container(
    pool: PoolSpec,
    image: str,
    argv: tuple[str, ...],
    env: Mapping[str, str],
    *,
    gpus: bool,
    stdin: bool,
) -> tuple[str, ...]:
    """The command line that runs ``argv`` in a container of that image, with these variables of the job's.

    ``gpus``: its slot has any; ``stdin``: the job brings input.
    """
    words = ["docker", "run", "--rm", "--init", "--quiet", "--name", NAME, "--pull", pool.pull]
    words += ["--workdir", WORKSPACE, "--volume", f"{WORKSPACE}:{WORKSPACE}"]
    for mount in pool.mounts:
        words += ["--volume", f"{mount.target}:{mount.target}"]
    if gpus:
        words += ["--gpus", "all"]
    if stdin:
        words.append("--interactive")
    for name, value in {**pools_variables(pool), **env}.items():
        words += ["--env", f"{name}={value}"]
    return ("/bin/sh", "-c", _RUNS, WORKSPACE, *words, image, *argv)
