"""python-gitlab's calls.

python -m tests.real.sdk.gitlab_client URL TOKEN
"""

from __future__ import annotations

import sys
from typing import Any

import gitlab

from tests.real.sdk.answering import serve


class Calls:
    """Each method is a call; what it gives is what the SDK has read."""

    def __init__(self, url: str, token: str) -> None:
        self.gitlab = gitlab.Gitlab(url, private_token=token)

    def user(self) -> Any:
        self.gitlab.auth()
        assert self.gitlab.user is not None
        return self.gitlab.user.asdict()

    def version(self) -> Any:
        return self.gitlab.version()

    def own_token(self) -> Any:
        return self.gitlab.personal_access_tokens.get("self").asdict()

    def make_runner(self, **body: Any) -> Any:
        self.gitlab.auth()
        assert self.gitlab.user is not None
        return self.gitlab.user.runners.create(body).asdict()

    def runner(self, number: int) -> Any:
        return self.gitlab.runners.get(number).asdict()

    def change_runner(self, number: int, **body: Any) -> Any:
        runner = self.gitlab.runners.get(number)
        for name, value in body.items():
            setattr(runner, name, value)
        runner.save()
        return runner.asdict()

    def delete_runner(self, number: int) -> None:
        self.gitlab.runners.delete(number)

    def runners(self, of: str, number: int | None = None, tags: list[str] | None = None) -> Any:
        some = {"tag_list": tags} if tags else {}
        if of == "mine":
            found = self.gitlab.runners.list(iterator=True, per_page=2, **some)
        elif of == "all":
            found = self.gitlab.runners_all.list(iterator=True, per_page=2, **some)
        else:
            manager = self.gitlab.groups if of == "group" else self.gitlab.projects
            assert number is not None
            found = manager.get(number, lazy=True).runners.list(iterator=True, per_page=2, **some)
        return [one.asdict() for one in found]

    def runner_jobs(self, number: int, **filters: Any) -> Any:
        jobs = self.gitlab.runners.get(number, lazy=True).jobs.list(get_all=True, **filters)
        return [one.asdict() for one in jobs]

    def managers(self, number: int) -> Any:
        return self.gitlab.http_list(f"/runners/{number}/managers", get_all=True)

    def verify(self, token: str) -> Any:
        return self.gitlab.runners.verify(token)

    def rotate(self, number: int) -> Any:
        return self.gitlab.http_post(f"/runners/{number}/reset_authentication_token")

    def group(self, name: str | int) -> Any:
        return self.gitlab.groups.get(name).asdict()

    def group_projects(self, number: int) -> Any:
        found = self.gitlab.groups.get(number, lazy=True).projects.list(get_all=True)
        return [one.asdict() for one in found]

    def project(self, name: str | int) -> Any:
        return self.gitlab.projects.get(name).asdict()

    def jobs(self, project: int, scope: list[str]) -> Any:
        found = self.gitlab.projects.get(project, lazy=True).jobs.list(scope=scope, get_all=True)
        return [one.asdict() for one in found]

    def job(self, project: int, number: int) -> Any:
        return self.gitlab.projects.get(project, lazy=True).jobs.get(number).asdict()

    def trace(self, project: int, number: int) -> Any:
        return self.gitlab.projects.get(project, lazy=True).jobs.get(number, lazy=True).trace()

    def cancel(self, project: int, number: int) -> Any:
        return self.gitlab.projects.get(project, lazy=True).jobs.get(number, lazy=True).cancel()


def main() -> None:
    """Serve."""
    calls = Calls(*sys.argv[1:])
    serve(lambda call, given: getattr(calls, call)(**given))


if __name__ == "__main__":
    main()
