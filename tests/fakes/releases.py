"""Where the makers of GitLab's and Gitea's runners publish them: lists of checksums, and files."""

from __future__ import annotations

from tests.fakes.http import Answer, Call, Fake


class FakeReleases(Fake):
    """A place with files; what is not there is 403, as at a store that lists nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.files: dict[str, bytes] = {}
        self.moved: dict[str, str] = {}  # path -> where it is
        self.route("GET", "/{path*}", self._file)

    def publish_gitlab(self, version: str, **checksums: str) -> None:
        """``release.sha256`` of that version, as in GitLab's folder; by architecture."""
        lines = [f"{sum_} *binaries/gitlab-runner-linux-{arch}" for arch, sum_ in checksums.items()]
        lines.append("0" * 64 + " *deb/gitlab-runner_amd64.deb")
        self.files[f"v{version}/release.sha256"] = "\n".join(lines).encode()

    def publish_gitea(self, version: str, architecture: str, checksum: str) -> None:
        """NAME.sha256 beside the binary."""
        name = f"gitea-runner-{version}-linux-{architecture}"
        self.files[f"{version}/{name}.sha256"] = f"{checksum}  {name}\n".encode()

    def _file(self, call: Call) -> Answer:
        path = call.at["path"]
        if path in self.moved:
            return Answer(302, None, {"Location": self.moved[path]})
        if path not in self.files:
            return Answer(403, b"AccessDenied")
        return Answer(200, self.files[path], {"Content-Type": "text/plain"})
