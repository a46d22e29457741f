"""How gitlab-runner runs the jobs of a pool with `containers`: each in a container of its own image.

Pure. The runner speaks to the agent's own door. Its builds directory is the agent's work directory under
the same path, so that a job which calls `docker` itself can mount what it stands in; that job finds the door
where Docker's clients look. Nothing of a job runs in the agent, so that no step need be made the job user's.
"""

from __future__ import annotations

from mayfly.core.contained_job import pools_variables
from mayfly.core.model import DOOR_SOCKET, PoolSpec
from mayfly.providers.gitlab import contained_lines
from mayfly.providers.gitlab.settings import GitLabSettings

BUILDS = "/builds"  # in the agent and in a job's containers alike
SHARED_CACHE = "/cache"  # the target of a pool's cache that GitLab's `cache:` goes to
USUAL = "/var/run/docker.sock"
# A network for each build, as at gitlab.com: else services do not reach each other.
FEATURES = {"FF_NETWORK_PER_BUILD": True}
PULLS = {"missing": "if-not-present", "always": "always", "never": "never"}


def keys(pool: PoolSpec, settings: GitLabSettings) -> dict[str, object]:
    """The keys of `[[runners]]` that say so, `[runners.docker]` among them."""
    shares = any(cache.target == SHARED_CACHE for cache in pool.caches)
    volumes = [f"{BUILDS}:{BUILDS}", f"{USUAL}:{USUAL}"]
    # Else a cache lives as long as the agent, which is one job long.
    volumes.append(f"{SHARED_CACHE}:{SHARED_CACHE}" if shares else SHARED_CACHE)
    volumes += [
        f"{mount.target}:{mount.target}" for mount in pool.mounts if mount.target != SHARED_CACHE
    ]
    if pool.job_lines:
        volumes.append(contained_lines.VOLUME)
    docker: dict[str, object] = {
        "host": f"unix://{DOOR_SOCKET}",
        "volumes": volumes,
        "pull_policy": [PULLS[pool.pull]],
        "allowed_pull_policies": list(PULLS.values()),
        "disable_entrypoint_overwrite": False,
        "privileged": False,
    }
    if settings.default_image is not None:
        docker["image"] = settings.default_image
    if settings.helper_image is not None:
        docker["helper_image"] = settings.helper_image
    if pool.gpus:
        docker |= {"gpus": "all", "service_gpus": "all"}
    # As the launcher has it for jobs in agents: by the classic builder a refused build shows why.
    told = {"DOCKER_BUILDKIT": "0", **pools_variables(pool)}
    return {
        "executor": "docker",
        "environment": [f"{name}={value}" for name, value in told.items()],
        "builds_dir": BUILDS,
        "cache_dir": SHARED_CACHE,
        "docker": docker,
        **(contained_lines.KEYS if pool.job_lines else {}),
    }
