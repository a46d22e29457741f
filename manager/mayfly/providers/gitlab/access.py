"""GitLab as one pool reaches it: the token, what kind of runners it makes, the instance, the place."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import cached_property
from threading import Thread
from urllib.parse import urlsplit

from mayfly.core.model import PoolSpec
from mayfly.edge import credentials
from mayfly.edge.credentials import Secret
from mayfly.edge.faults import Refused
from mayfly.edge.lasting_thread import begun
from mayfly.providers.gitlab.service import GitLabApi, GitLabScope, place_of
from mayfly.providers.gitlab.settings import GitLabSettings

REGISTRATION_TOKENS = "GR1348941"  # how such tokens begin
RUNNER_TOKENS = ("glrt-", "glrtr-")
# Seconds that who configures a pool waits for its token: it may be on a mount that hangs.
PATIENCE = 1.0
TOKEN_EVERY = 6 * 3600.0  # seconds between two questions when the token ends


class Access:
    """The way to the runners of one pool."""

    def __init__(
        self, pool: PoolSpec, settings: GitLabSettings, clock: Callable[[], float]
    ) -> None:
        self._pool, self._settings, self._clock = pool, settings, clock
        self.whose = f'pool "{pool.name}"'
        self._found: GitLabScope | None = None
        self.token_end: float | None = None  # None: it is not known, or never
        self._token_seen: float | None = None  # when GitLab was last asked for that
        self._token_known = 0  # which token that was about, by its hash
        # Whether the token is a runner's own, as it was when it was last read: it makes no runners.
        self.runner_token = False
        # That is found out once for each configuration, and whenever a worker reads the token.
        looks = Thread(target=self._find_out, name=f"token of {pool.name}", daemon=True)
        if begun(looks):
            looks.join(PATIENCE)

    def _find_out(self) -> None:
        with suppress(Refused):
            self.secret()

    def secret(self) -> Secret:
        """The token, read anew; what kind it is is remembered."""
        if self._settings.token is None:
            raise Refused(f"{self.whose} has no `token`: the how-to of GitLab says which it may be")
        secret = credentials.read(self._settings.token)
        if secret.reveal().startswith(REGISTRATION_TOKENS):
            raise Refused(
                f"`token` of {self.whose} is a registration token, which GitLab is giving up: make a runner "
                "on its web page and give that one's glrt- token, or give a personal access token with "
                "create_runner and manage_runner"
            )
        self.runner_token = secret.reveal().startswith(RUNNER_TOKENS)
        if self._token_known != hash(secret):
            self._token_known, self._token_seen, self.token_end = hash(secret), None, None
        return secret

    def look_at_token(self) -> None:
        """Ask GitLab when the personal access token ends, unless that was asked lately."""
        now = self._clock()
        if self._token_seen is None or not 0 <= now - self._token_seen < TOKEN_EVERY:
            self._token_seen = now
            self.token_end = self.service.own_end()

    @property
    def shared(self) -> bool:
        """Whether all slots share one runner that a person has made; reads the token."""
        with suppress(Refused):
            self.secret()
        return self.runner_token

    @cached_property
    def service(self) -> GitLabApi:
        """The instance that ``url`` names."""
        base = self._settings.url.rstrip("/")
        if self._settings.scope is None and not self.shared:
            parts = urlsplit(base)
            base = f"{parts.scheme}://{parts.netloc}"
        return GitLabApi(base, self._pool, self._settings.calls_per_hour, self.secret, self._clock)

    @property
    def place(self) -> GitLabScope:
        """Where the pool's runners belong: what ``scope`` says, or what ``url`` names."""
        if self._settings.scope is not None:
            return place_of(self._settings.scope)
        if self._found is None:
            self._found = self.service.look_up(urlsplit(self._settings.url).path.strip("/"))
        return self._found

    def at(self, base: str) -> GitLabApi:
        """Another instance, with the same token."""
        return GitLabApi(base, self._pool, self._settings.calls_per_hour, self.secret, self._clock)
