"""The file that ``mayfly init`` writes: pure, from what was found and what was answered.

It says why each line is there and shows what else could be. It never holds a secret: a service's
token is named, and the words beside it say how systemd hands it over.
"""

from __future__ import annotations

from dataclasses import dataclass

from mayfly.edge.toml_value import toml_value
from mayfly.providers import Package
from mayfly.providers.installed import packages


@dataclass(frozen=True, slots=True)
class Found:
    """What the host has."""

    host: str
    engine: str | None  # the socket that answers, as docker_host; None: none did
    engine_version: str = ""
    runtimes: tuple[str, ...] = ()
    gpus: int = 0  # by device files
    # why a socket that answers cannot be used; None: there is no such socket
    refused: str | None = None

    @property
    def nvidia(self) -> bool:
        """Whether containers can get GPUs here."""
        return self.gpus > 0 and "nvidia" in self.runtimes


@dataclass(frozen=True, slots=True)
class PoolAnswers:
    """What the pool is to be."""

    provider: str
    name: str
    slots: int
    gpus: int
    url: str | None = None
    group: str | None = None  # of agents, at the service; None: nobody said
    credential: str | None = None
    token_file: str | None = None
    place: str | None = None  # where agents are registered; None: where the URL points
    plain_http: bool = False  # the token may go to an http:// URL
    ca: str | None = None  # a PEM file that is trusted too
    proxy: str | None = None  # what the service, and jobs, are reached through
    no_proxy: str | None = None
    app: str | None = None  # an App's id; its key is where the token would be
    containers: bool = False  # jobs may bring their own


def config_text(found: Found, wanted: PoolAnswers) -> str:
    """The whole file."""
    return "\n".join([*_host(found), "", *_pool(found, wanted, packages()[wanted.provider]), ""])


def pool_text(found: Found, wanted: PoolAnswers) -> str:
    """A file of its own for one more pool."""
    lines = [
        "# One more pool, which `mayfly init` has added. `mayfly config check` reads it again.",
        "",
        *_pool(found, wanted, packages()[wanted.provider]),
    ]
    return "\n".join([*lines, ""])


def _host(found: Found) -> list[str]:
    lines = [
        "# Mayfly: which slots this host keeps filled. `mayfly config check` reads it again,",
        "# `mayfly config show --origin` shows every key that is in force and who said it.",
        "",
        "[host]",
        f"name = {toml_value(found.host)}  # this host at the services, and in their logs",
    ]
    if found.engine is None:
        lines.append(
            '# docker_host = "unix:///var/run/docker.sock"  # no Engine answered; start one'
        )
    else:
        runtimes = ", ".join(found.runtimes) or "none named"
        lines.append(f"# Docker Engine {found.engine_version}, runtimes: {runtimes}")
        lines.append(f"docker_host = {toml_value(found.engine)}")
    if found.gpus and not found.nvidia:
        lines.append(
            f"# {found.gpus} GPU device files, but the Engine has no runtime named nvidia:"
        )
        lines.append("#   sudo nvidia-ctk runtime configure && sudo systemctl reload docker")
    lines += [
        '# gpu = "required"          # refuse to run without a GPU; default "auto"',
        '# metrics = "127.0.0.1:9925" # for Prometheus, beside the control socket',
        '# web = "127.0.0.1:9788"     # a page for the people of the lab',
    ]
    return lines


def _pool(found: Found, wanted: PoolAnswers, provider: Package) -> list[str]:
    slots = f"called {wanted.name}-0 to {wanted.name}-{wanted.slots - 1}"
    if wanted.slots < 2:
        slots = f"called {wanted.name}-0"
    lines = [
        "[[pool]]",
        f"name = {toml_value(wanted.name)}",
        f"provider = {toml_value(wanted.provider)}  # {provider.hints.jobs_from}",
        f"slots = {wanted.slots}  # {slots}",
        f"gpus = {wanted.gpus}  # {_gpus_say(found.gpus)}",
    ]
    if wanted.plain_http:
        lines.append("plain_http = true  # everybody on the way to the service can read the token")
    if wanted.containers:
        lines.append("containers = true  # jobs bring their own: container:, services:, docker run")
    if wanted.ca is not None:
        lines.append(f"ca = {toml_value(wanted.ca)}  # trusted too, by Mayfly and in each agent")
    if wanted.proxy is not None:
        lines.append(f"proxy = {toml_value(wanted.proxy)}  # what the service is reached through")
    if wanted.no_proxy is not None:
        lines.append(f"no_proxy = {toml_value(wanted.no_proxy)}")
    lines += [
        '# gpu = { model = "H100" }   # which, of several models: `mayfly doctor --pools`',
        '# cuda = "12.8"              # default: the newest that the driver runs',
        '# labels = ["gpu"]           # what jobs ask for, at a service',
        '# env = { HF_HOME = "/cache/hf" }',
        *service_lines(wanted, provider),
        "",
        "[pool.limits]",
        '# memory = "32GiB"',
        "# cpus = 8",
        '# disk = "50GiB"             # of the writable layer',
        'job_timeout = "6h"',
        "",
        "# [[pool.dataset]]           # read-only in every agent; one entry a directory",
        '# source = "/data/imagenet"',
        '# target = "/datasets/imagenet"',
        '# env = "IMAGENET_DIR"',
        "",
        "# [[pool.caches]]            # what pip and uv have fetched, for all jobs of the pool; make it so:",
        "#                            # sudo install -d -m 700 -o 1000 -g 1000 /var/cache/mayfly/packages",
        '# source = "/var/cache/mayfly/packages"',
        '# target = "/var/cache/packages"',
        '# env = "XDG_CACHE_HOME"',
    ]
    return lines


def _gpus_say(there: int) -> str:
    return f"of {there} on this host, for each slot" if there else "this host has none"


def service_lines(wanted: PoolAnswers, provider: Package) -> list[str]:
    """The table of the pool's service; nothing of the embedded queue's."""
    if provider.embedded:
        return []
    hints = provider.hints
    url = wanted.url or hints.url or "https://"
    lines = ["", f"[pool.{provider.name}]", f"url = {toml_value(url)}"]
    if hints.place_key:
        lines.append(
            f"{hints.place_key} = {toml_value(wanted.place)}  # {hints.place}"
            if wanted.place
            else f'# {hints.place_key} = "{hints.places.split(",")[0]}"          # {hints.place}'
        )
    if wanted.group and hints.group_key:
        lines.append(f"{hints.group_key} = {toml_value(wanted.group)}")
    elif hints.group_key:
        lines.append(f'# {hints.group_key} = "…"          # {hints.group}')
    if wanted.token_file:
        return [*lines, f"{_secret(wanted, 'file', wanted.token_file)}  # mode 0600, root's"]
    name = wanted.credential or credential_name(wanted.name, wanted.app)
    return [
        *lines,
        "# The secret is no part of this file. systemd hands it over, told by a drop-in of mayfly.service:",
        f"#   LoadCredential={name}:/etc/mayfly/credentials/{name}",
        _secret(wanted, "credential", name),
    ]


def credential_name(pool: str, app: str | None) -> str:
    """What the secret of a pool is called where nobody has given it a name."""
    return f"{pool}-token" if app is None else f"{pool}-key"


def _secret(wanted: PoolAnswers, kind: str, where: str) -> str:
    reference = f"{{ {kind} = {toml_value(where)} }}"
    if wanted.app is None:
        return f"token = {reference}"
    return f"app = {{ id = {toml_value(wanted.app)}, key = {reference} }}"
