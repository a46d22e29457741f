"""What the doctor is told of a pool at Gitea."""

from __future__ import annotations

import re
from collections.abc import Iterator

from mayfly.core.model import PoolSpec, Severity
from mayfly.edge.web import clean, origin
from mayfly.providers import Finding
from mayfly.providers.gitea.service import GiteaApi

LEAST = (1, 26)
ENDLESS = 3 * 3600.0  # ENDLESS_TASK_TIMEOUT of an app.ini that says nothing of it


def of_version(service: GiteaApi) -> Iterator[Finding]:
    """Whether it is a Gitea that lets a runner be disabled."""
    said = clean(service.version())
    number = re.match(r"v?([0-9]{1,4})\.([0-9]{1,4})", said)
    if "+gitea-" in said:
        yield Finding(
            Severity.ERROR,
            f"{service.web.host} is a Forgejo ({said}), whose runners and API are others",
            "# use a Gitea, 1.26 or newer",
        )
    elif number is None or (int(number[1]), int(number[2])) < LEAST:
        yield Finding(
            Severity.ERROR,
            f"Gitea at {service.web.host} is {said}: only from 1.26 on can a runner be told to take no job",
            "# upgrade Gitea to 1.26 or newer",
        )


def of_address(service: GiteaApi) -> Iterator[Finding]:
    """Whether Gitea's links, and what a job gets from it by them, lead to where agents reach it."""
    own, site = service.own_address(), service.place.site
    if own is not None and origin(own) != origin(site):
        yield Finding(
            Severity.WARNING,
            f"Gitea calls itself {clean(own)}, and `url` of {service.whose} is {site}: links, and actions "
            "that DEFAULT_ACTIONS_URL = self takes from it, lead agents to the first",
            "# set `url` to Gitea's ROOT_URL, or ROOT_URL in its app.ini to where agents reach it",
        )


def of_limits(pool: PoolSpec) -> Iterator[Finding]:
    """Gitea ends long jobs itself, and its API does not tell after how long."""
    limit = pool.limits.job_timeout
    if limit is None or limit > ENDLESS:
        allowed = "any length" if limit is None else f"{limit / 3600:.0f} h"
        yield Finding(
            Severity.INFO,
            f'pool "{pool.name}" allows jobs of {allowed}; Gitea ends them after ENDLESS_TASK_TIMEOUT, which '
            "is 3 h where its app.ini says nothing",
            "# in Gitea's app.ini: [actions] ENDLESS_TASK_TIMEOUT = 48h",
        )
