"""What GitHub's REST interface shows of a thing, with every key that its published description asks for.

Nothing in it is decided: a fake says what is so, and these give it the shape that a client reads. The shapes
are those of GitHub's OpenAPI description (API version 2022-11-28).
"""

from __future__ import annotations

import base64
import time
from collections.abc import Mapping
from typing import Any

BORN = "2026-01-01T00:00:00Z"
# What an account, an organisation or a repository has addresses of.
OF_USER = (
    "followers",
    "following",
    "gists",
    "starred",
    "subscriptions",
    "organizations",
    "repos",
    "events",
    "received_events",
)
OF_ORGANISATION = (
    "repos",
    "events",
    "hooks",
    "issues",
    "members",
    "public_members",
)
OF_REPOSITORY = (
    "archive",
    "assignees",
    "blobs",
    "branches",
    "collaborators",
    "comments",
    "commits",
    "compare",
    "contents",
    "contributors",
    "deployments",
    "downloads",
    "events",
    "forks",
    "git_commits",
    "git_refs",
    "git_tags",
    "issue_comment",
    "issue_events",
    "issues",
    "keys",
    "labels",
    "languages",
    "merges",
    "milestones",
    "notifications",
    "pulls",
    "releases",
    "stargazers",
    "statuses",
    "subscribers",
    "subscription",
    "tags",
    "teams",
    "trees",
    "hooks",
)


def stamp(when: float) -> str:
    """A moment as GitHub writes it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(when))


def account(login: str, api: str, kind: str = "Organization") -> dict[str, Any]:
    """An account in short."""
    at = f"{api}/users/{login}"
    return {
        "login": login,
        "id": 9001,
        "node_id": "A_1",
        "avatar_url": f"{at}/avatar",
        "gravatar_id": "",
        "url": at,
        "html_url": f"{api}/{login}",
        "type": kind,
        "site_admin": False,
        **{f"{name}_url": f"{at}/{name}" for name in OF_USER},
    }


def organisation(login: str, api: str) -> dict[str, Any]:
    """An organisation."""
    at = f"{api}/orgs/{login}"
    return {
        "login": login,
        "id": 9001,
        "node_id": "O_1",
        "url": at,
        "avatar_url": f"{at}/avatar",
        "description": None,
        "has_organization_projects": True,
        "has_repository_projects": True,
        "public_repos": 0,
        "public_gists": 0,
        "followers": 0,
        "following": 0,
        "html_url": f"{api}/{login}",
        "type": "Organization",
        "created_at": BORN,
        "updated_at": BORN,
        "archived_at": None,
        **{f"{name}_url": f"{at}/{name}" for name in OF_ORGANISATION},
    }


def repository(full_name: str, known: Mapping[str, Any], api: str) -> dict[str, Any]:
    """A repository; ``known`` is what the fake has of it, ``id`` and ``private`` among that."""
    at, (owner, _, name) = f"{api}/repos/{full_name}", full_name.partition("/")
    counts = ("forks", "stargazers", "watchers", "open_issues", "subscribers", "network")
    features = ("issues", "projects", "wiki", "pages", "discussions")
    return {
        "node_id": f"R_{known['id']}",
        "name": name,
        "full_name": full_name,
        "owner": account(owner, api),
        "html_url": f"{api}/{full_name}",
        "description": None,
        "fork": False,
        "url": at,
        **{f"{one}_url": f"{at}/{one}" for one in OF_REPOSITORY},
        **{f"{one}_url": f"{api}/{full_name}.git" for one in ("git", "ssh", "clone", "svn")},
        "mirror_url": None,
        "homepage": None,
        "language": None,
        "license": None,
        **{f"{one}_count": 0 for one in counts},
        **dict.fromkeys(("forks", "open_issues", "watchers", "size"), 0),
        **{f"has_{one}": True for one in features},
        "default_branch": "main",
        "archived": False,
        "disabled": False,
        "pushed_at": BORN,
        "created_at": BORN,
        "updated_at": BORN,
        **{name: known[name] for name in ("id", "private", "pushed_at") if name in known},
    }


def group(number: int, known: Mapping[str, Any], at: str) -> dict[str, Any]:
    """A runner group of an organisation; ``at`` is the address of its list."""
    return {
        "id": number,
        "name": known["name"],
        "visibility": "all",
        "default": number == 1,
        "runners_url": f"{at}/{number}/runners",
        "inherited": False,
        "allows_public_repositories": known["allows_public_repositories"],
        "restricted_to_workflows": False,
        "selected_workflows": [],
        "workflow_restrictions_read_only": False,
    }


def installation(
    number: int, login: str, app: int, permissions: Mapping[str, str], api: str, *, suspended: bool
) -> dict[str, Any]:
    """An App where it is installed."""
    at = f"{api}/app/installations/{number}"
    return {
        "id": number,
        "account": account(login, api),
        "repository_selection": "all",
        "access_tokens_url": f"{at}/access_tokens",
        "repositories_url": f"{api}/installation/repositories",
        "html_url": at,
        "app_id": app,
        "app_slug": "mayfly",
        "target_id": 9001,
        "target_type": "Organization",
        "permissions": dict(permissions),
        "events": [],
        "created_at": BORN,
        "updated_at": BORN,
        "single_file_name": None,
        "suspended_by": None,
        "suspended_at": BORN if suspended else None,
    }


def run(job: Any, repo: Mapping[str, Any], status: str, api: str) -> dict[str, Any]:
    """A workflow run; the fake's have one job each."""
    at = f"{repo['url']}/actions/runs/{job.run}"
    return {
        "id": job.run,
        "node_id": f"WFR_{job.run}",
        "name": "test",
        "head_branch": "main",
        "head_sha": "0" * 40,
        "path": f".github/workflows/{job.workflow}",
        "display_title": job.name,
        "run_number": job.number,
        "run_attempt": 1,
        "event": job.event,
        "status": status,
        "conclusion": conclusion(job.conclusion),
        "workflow_id": 1,
        "url": at,
        "html_url": f"{repo['html_url']}/actions/runs/{job.run}",
        "pull_requests": [],
        "created_at": stamp(job.queued_at),
        "updated_at": stamp(job.queued_at),
        "run_started_at": stamp(job.queued_at),
        **{
            f"{name}_url": f"{at}/{name}"
            for name in ("jobs", "logs", "artifacts", "cancel", "rerun")
        },
        "check_suite_url": f"{at}/check-suite",
        "workflow_url": f"{repo['url']}/actions/workflows/1",
        "head_commit": None,
        "repository": repo,
        "head_repository": repo,
        "actor": account("somebody", api, "User"),
    }


def job(one: Any, repo: Mapping[str, Any], status: str, runner: Any) -> dict[str, Any]:
    """A job of a workflow; ``runner`` is the one that has it, ``None``: nobody, or it is gone by now."""
    started = stamp(one.began or one.queued_at)  # as GitHub has it of a job that waits, too
    had = status != "queued" and one.runner_id is not None
    return {
        "id": one.run * 10,
        "run_id": one.run,
        "run_url": f"{repo['url']}/actions/runs/{one.run}",
        "run_attempt": 1,
        "node_id": f"J_{one.run}",
        "head_sha": "0" * 40,
        "url": f"{repo['url']}/actions/jobs/{one.run * 10}",
        "html_url": f"{repo['html_url']}/actions/runs/{one.run}/job/{one.run * 10}",
        "status": status,
        "conclusion": conclusion(one.conclusion),
        "created_at": stamp(one.queued_at),
        "started_at": started,
        "completed_at": stamp(one.ended or one.queued_at) if status == "completed" else None,
        "name": one.name,
        "steps": [],
        "check_run_url": f"{repo['url']}/check-runs/{one.run}",
        "labels": list(one.labels),
        "runner_id": one.runner_id if had else None,
        "runner_name": one.runner if had else None,
        "runner_group_id": runner.group if runner is not None else None,
        "runner_group_name": None,
        "workflow_name": "test",
        "head_branch": "main",
    }


def workflow(number: int, path: str, repo: Mapping[str, Any], *, active: bool) -> dict[str, Any]:
    """A workflow, by its file."""
    at = f"{repo['url']}/actions/workflows/{number}"
    return {
        "id": number,
        "node_id": f"W_{number}",
        "name": path.rpartition("/")[2].partition(".")[0],
        "path": path,
        "state": "active" if active else "disabled_manually",
        "created_at": BORN,
        "updated_at": BORN,
        "url": at,
        "html_url": f"{repo['html_url']}/blob/main/{path}",
        "badge_url": f"{repo['html_url']}/workflows/{number}/badge.svg",
    }


def content(path: str, data: str, repo: Mapping[str, Any]) -> dict[str, Any]:
    """A file."""
    at = f"{repo['url']}/contents/{path}"
    return {
        "type": "file",
        "encoding": "base64",
        "size": len(data),
        "name": path.rpartition("/")[2],
        "path": path,
        "content": base64.encodebytes(data.encode()).decode(),
        "sha": "0" * 40,
        "url": at,
        "git_url": at,
        "html_url": f"{repo['html_url']}/blob/main/{path}",
        "download_url": f"{repo['html_url']}/raw/main/{path}",
        "_links": {"self": at, "git": at, "html": f"{repo['html_url']}/blob/main/{path}"},
    }


def conclusion(word: str | None) -> str | None:
    """What REST calls the end that a runner reported."""
    if word is None:
        return None
    words = {"succeeded": "success", "failed": "failure", "canceled": "cancelled"}
    return words.get(word, word if word in words.values() else "failure")
