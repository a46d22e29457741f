"""Docker Engine's API: every call that Mayfly makes on containers, images and networks.

It translates and decides nothing: values in, values out, and every failure one of the three
families of ``edge.faults``. Each call has a timeout and is safe to repeat. No other file imports
``docker``. It must never read an agent's output through attach: a reader that stops, stops the job.
"""

from __future__ import annotations

import json
import threading
import time
from contextlib import contextmanager, suppress
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import docker

from mayfly.core.bare_command import bare
from mayfly.core.gpu_health import ForeignContainer
from mayfly.core.model import (
    LABEL_GENERATION,
    LABEL_HOST,
    LABEL_POOL,
    Container,
    ContainerId,
    HostId,
    PoolName,
)
from mayfly.core.quantities import moment
from mayfly.core.reserved_paths import within
from mayfly.edge.faults import Passing, Refused
from mayfly.edge.mountinfo import mounts_here
from mayfly.edge.patience import comes_true
from mayfly.edge.results import Taken
from mayfly.engines.docker import faults, wire
from mayfly.engines.docker.about import engine_facts, see_that_it_serves
from mayfly.engines.docker.container import (
    LEAST_SHARES,
    SHARES,
    bears_labels,
    container_config,
    container_from,
    is_an_agents,
    is_made_by_an_agent,
    layer_size,
    not_running,
)
from mayfly.engines.docker.events import EventFollower
from mayfly.engines.docker.execution import DETACH_KEYS, DockerExecution, start_body
from mayfly.engines.docker.gate_socket import GateSocket
from mayfly.engines.docker.places import places
from mayfly.engines.docker.quotas import keeps_sizes
from mayfly.engines.docker.taking import mounted_places, problem_with_step
from mayfly.engines.docker.ulimits import own_ulimits
from mayfly.engines.docker.values import ContainerPlan, Dialect, Network, gpus_of
from mayfly.engines.protocol import (
    EngineEvent,
    EngineFacts,
    EventCursor,
    Gone,
    ImageFacts,
    ImageSize,
    StreamTurn,
    Unmeasured,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

_PROBE_OUTPUT = 64 * 1024
MEASURED = 10.0  # seconds that the Engine has for counting the files of one container
ENDING = 4.0  # seconds in which the Engine comes to know that a container has ended
ENDING_AGAIN = 0.02  # after the first look
TAKE_SECONDS = 120.0  # for what is brought back of one path
PUT_SECONDS = 120.0  # for what a job brings; the deadline of its gate counts from then on
UNKILLED_REST = 15.0  # seconds until the next try: each may take a worker as long
_IMAGES_KNOWN = 64  # whose variables are kept in mind
# What keeps agents apart: where it is not said, `default-network-opts` in daemon.json decides. IPv6 has a
# filter of its own, which not every Engine has switched on.
OF_NETWORKS = {
    "com.docker.network.bridge.enable_icc": "false",
    "com.docker.network.enable_ipv6": "false",
    # From 28.1 on an Engine says a new address three times, of which the last comes after two seconds: that
    # would be a packet of a job's.
    "com.docker.network.advertise_addr_nmsgs": "0",
}


def _beside_the_layer(place: Path) -> int:
    """Bytes of the files that the Engine keeps for a container there: its root may write into them."""
    written = 0
    for name in ("hosts", "hostname", "resolv.conf"):
        with suppress(
            OSError
        ):  # who is in another's network has none, and not all Engines are on this host
            written += (place / name).lstat().st_blocks * 512
    return written


class DockerClient:
    """One Engine behind a unix socket; may be used from any thread, each of which gets a client of
    its own.
    """

    def __init__(self, base_url: str, *, timeout: float = 30) -> None:
        wire.socket_path(base_url)
        self.base_url = base_url
        self.timeout = timeout
        self._local = threading.local()
        self._dialect: Dialect | None = None  # None: nobody has asked yet
        self._image_environments: dict[str, Mapping[str, str]] = {}

    # -- the host --------------------------------------------------------------------------

    def ping(self) -> None:
        """Whether the Engine takes a new connection and answers; ``Passing`` where it does not.

        On a connection of its own: an Engine that is shutting down still serves those that it has.
        """
        wire.get_json(self.base_url, "/version", "asking the Engine for a sign of life", timeout=10)

    def facts(self) -> EngineFacts:
        """What the Engine says of itself; ``Refused`` where it is too old, or is not Docker's."""
        version = self._get("/version", "asking the Engine about itself")
        see_that_it_serves(version, self.base_url)
        info = self._get("/info", "asking the Engine about itself")
        found = engine_facts(version, info, places(info))
        self._dialect = Dialect(
            found.api,
            found.cgroup_version,
            found.places[0],
            found.cgroup_driver,
            keeps_sizes(info, mounts_here()),
        )
        return found

    def _spoken(self) -> Dialect:
        """How it is to be spoken to, as it was last asked."""
        if self._dialect is None:
            self.facts()
        assert self._dialect is not None
        return self._dialect

    def image(self, ref: str, *, within: float | None = None) -> ImageFacts | None:
        """The image of that name or id; None where this host has none. ``within``: seconds, at most."""
        target, doing = f"/images/{quote(ref, safe='/:@')}/json", f"looking for the image {ref}"
        try:
            found = wire.get_json(self.base_url, target, doing, timeout=within or self.timeout)
        except (faults.NoImage, Gone):
            return None
        return ImageFacts(
            id=found["Id"],
            labels=dict((found.get("Config") or {}).get("Labels") or {}),
            created=moment(found.get("Created")),
            tags=tuple(found.get("RepoTags") or ()),
            digests=tuple(found.get("RepoDigests") or ()),
            volumes=tuple((found.get("Config") or {}).get("Volumes") or ()),
        )

    def image_names(self) -> tuple[str, ...]:
        """The images of this host by name and tag."""
        doing = "listing the images"
        listed = wire.get_json(self.base_url, "/images/json", doing, timeout=self.timeout)
        named = (name for image in listed for name in image.get("RepoTags") or ())
        return tuple(name for name in named if "<none>" not in name)

    def image_sizes(self) -> Mapping[str, ImageSize]:
        """Of each image by its names; see ``engines.protocol``."""
        doing = "looking how large the images are"
        listed = wire.get_json(self.base_url, "/images/json", doing, timeout=self.timeout)
        return {
            str(name): ImageSize(str(image.get("Id")), int(image.get("Size") or 0))
            for image in listed
            for name in (*(image.get("RepoTags") or ()), *(image.get("RepoDigests") or ()))
        }

    def image_environment(self, ref: str) -> Mapping[str, str]:
        """The variables that the image sets; ``Refused`` where this host has no such image."""
        known = self._image_environments.get(ref)
        if known is not None:
            return known
        with self._asking(f"looking for the image {ref}") as api:
            found = api.inspect_image(ref)
        pairs = (entry.partition("=") for entry in (found.get("Config") or {}).get("Env") or ())
        known = {name: value for name, _, value in pairs}
        if ref == found["Id"]:  # a name may be another image's the next time
            if len(self._image_environments) >= _IMAGES_KNOWN:
                self._image_environments.clear()
            self._image_environments[ref] = known
        return known

    # -- containers, seen ------------------------------------------------------------------

    def list(self) -> tuple[Container, ...]:
        """Every agent's container of any Mayfly, running or not, in one call."""
        wanted = quote(json.dumps({"label": [LABEL_HOST, LABEL_GENERATION]}))
        listed = self._get(f"/containers/json?all=1&filters={wanted}", "listing containers")
        return tuple(container_from(entry) for entry in listed if bears_labels(entry))

    def size(self, cid: ContainerId) -> int | None:
        """Bytes that it has written on the Engine's disk; None where it does not run, ``Unmeasured`` where
        the Engine cannot count its files, or not in time. (It is listed, not inspected: that may
        wait for what is done to it.)
        """
        doing = f"measuring container {cid[:12]}"
        wanted = quote(json.dumps({"id": [cid]}))
        began = time.monotonic()
        try:
            listed = wire.get_json(
                self.base_url,
                f"/containers/json?size=1&filters={wanted}",
                doing,
                timeout=MEASURED,
            )
        except Passing as fault:
            if time.monotonic() - began < MEASURED:
                raise
            raise Unmeasured(str(fault)) from fault
        own = _beside_the_layer(Path(self._spoken().root, "containers", cid))
        return next((layer_size(entry) + own for entry in listed), None)

    def foreign_gpu_containers(self) -> tuple[ForeignContainer, ...]:
        """Running containers that are not Mayfly's and were given GPUs, each looked at once."""
        with self._asking("listing the containers of others") as api:
            listed = [
                entry["Id"]
                for entry in api.containers()
                if not is_an_agents(entry) and not is_made_by_an_agent(entry)
            ]
        found: list[ForeignContainer] = []
        for cid in listed:
            target = f"/containers/{quote(cid)}/json"
            doing = f"inspecting container {cid[:12]}"
            try:
                seen = wire.get_json(self.base_url, target, doing, timeout=self.timeout)
            except Gone:
                continue
            devices = gpus_of(seen)
            if devices:
                found.append(ForeignContainer(cid, seen.get("Name", "").removeprefix("/"), devices))
        return tuple(found)

    def first_process(self, cid: ContainerId) -> int | None:
        """The number that the Engine knows its first process by; None where it does not run."""
        target, doing = f"/containers/{quote(cid)}/json", f"inspecting container {cid[:12]}"
        try:
            seen = wire.get_json(self.base_url, target, doing, timeout=self.timeout)
        except Gone:
            return None
        return int(seen["State"].get("Pid") or 0) or None

    def own_process(self) -> int | None:
        """The number of the process that serves the Engine's socket, or has opened it for the Engine."""
        return wire.served_by(self.base_url)

    # -- containers, changed ---------------------------------------------------------------

    def create(self, plan: ContainerPlan) -> ContainerId:
        """Create the container without starting it; ``NameTaken`` where the name belongs to
        another.
        """
        config = container_config(plan, self._spoken(), own_ulimits())
        target, doing = (
            f"/containers/create?name={quote(plan.name)}",
            f"creating container {plan.name}",
        )
        made = wire.post_json(self.base_url, target, doing, config, timeout=self.timeout)
        return ContainerId(made["Id"])

    def start(self, cid: ContainerId) -> None:
        """Start it; one that runs already is a success, ``NameTaken`` where a network still has an end of
        its name.
        """
        self._do("POST", f"/containers/{quote(cid)}/start", f"starting container {cid[:12]}")

    def start_again(self, cid: ContainerId) -> None:
        """Start a container that has ended once more; see ``engines.protocol``."""
        self.start(cid)

    def process_count(self, cid: ContainerId) -> int:
        """How many processes run in it; 0 where it does not run."""
        with self._asking(f"counting the processes of container {cid[:12]}") as api:
            try:
                return len(api.top(cid).get("Processes") or ())
            except docker.errors.APIError as error:
                if error.status_code != 404 and not not_running(error):
                    raise
                return 0

    def rename(self, cid: ContainerId, name: str) -> None:
        """Give it another name; having that name already is a success, ``NameTaken`` where another
        has it.
        """
        target = f"/containers/{quote(cid)}/rename?name={quote(name)}"
        try:
            self._do("POST", target, f"renaming container {cid[:12]} to {name}")
        except (Passing, Refused) as fault:
            if "same name as its current name" not in str(fault):
                raise

    def signal(self, cid: ContainerId, sig: str) -> None:
        """Send a signal such as ``TERM`` to its first process; one that does not run (any more) is
        a success.
        """
        with self._asking(f"sending {sig} to container {cid[:12]}") as api:
            try:
                api.kill(cid, sig)
            except docker.errors.APIError as error:
                if error.status_code != 404 and not not_running(error):
                    raise

    def freeze(self, cid: ContainerId) -> None:
        """Stop all that runs in it where it is; frozen already, or not running, is a success."""
        with self._asking(f"freezing container {cid[:12]}") as api:
            try:
                api.pause(cid)
            except docker.errors.APIError as error:
                frozen = "already paused" in str(error.explanation)
                if not frozen and error.status_code != 404 and not not_running(error):
                    raise

    def thaw(self, cid: ContainerId) -> None:
        """Let what runs in it go on; not frozen, or not running, is a success."""
        with self._asking(f"thawing container {cid[:12]}") as api:
            try:
                api.unpause(cid)
            except docker.errors.APIError as error:
                runs = "is not paused" in str(error.explanation)
                if not runs and error.status_code != 404 and not not_running(error):
                    raise

    def remove(self, cid: ContainerId) -> None:
        """Remove it with its volumes, killing what runs in it; gone or going is a success.

        ``Passing`` where something in it does not die. It may be too many processes for its share of the
        processors, which each of them needs to die: the share is lifted, so that the next try finds less.
        """
        try:
            self._remove(cid)
        except Passing as fault:
            if not faults.lives_on(fault):
                raise
            with suppress(Passing, Refused):
                self._lift_cpu_quota(cid)
            raise Passing(str(fault), UNKILLED_REST) from fault

    def _remove(self, cid: ContainerId) -> None:
        target = f"/containers/{quote(cid)}?v=1&force=1"
        try:
            self._do("DELETE", target, f"removing container {cid[:12]}")
        except Gone:
            pass
        except Passing as fault:
            if "already in progress" not in str(fault):
                raise

    def weigh(self, cid: ContainerId, weight: float) -> None:
        """Say what it counts for where processors are short; one that is not there is a success."""
        doing = f"changing the weight of container {cid[:12]}"
        with suppress(Gone):
            self._update(cid, doing, {"CpuShares": max(LEAST_SHARES, round(weight * SHARES))})

    def _lift_cpu_quota(self, cid: ContainerId) -> None:
        doing = f"lifting the share of the processors of container {cid[:12]}"
        with self._asking(doing) as api:
            processors = int(api.info()["NCPU"])
        self._update(cid, doing, {"NanoCpus": processors * 10**9, "CpuShares": SHARES})

    def _update(self, cid: ContainerId, doing: str, resources: Mapping[str, int]) -> None:
        self._do("POST", f"/containers/{quote(cid)}/update", doing, resources)

    def attach_stdin(self, cid: ContainerId) -> GateSocket:
        """A socket to the container's standard input alone; ``Gone`` or ``Passing`` where it does
        not run.
        """
        doing = f"attaching to container {cid[:12]}"
        opened = wire.open_stream(
            self.base_url,
            "POST",
            f"/containers/{quote(cid)}/attach?stream=1&stdin=1",
            doing,
            timeout=self.timeout,
            upgrade=True,
        )
        return GateSocket(opened.socket, cid)

    def put_tree(self, cid: ContainerId, archive: Iterable[bytes]) -> None:
        """Unpack a tar at its root."""
        doing = f"putting a job's files into container {cid[:12]}"
        target = f"/containers/{quote(cid)}/archive?path=/&noOverwriteDirNonDir=1"
        wire.put_stream(self.base_url, target, archive, doing, timeout=PUT_SECONDS)

    def _ended(self, cid: ContainerId, doing: str) -> Mapping[str, Any]:
        """What the Engine says of a container that has ended; the kernel may have said so just before it."""
        target, seen = f"/containers/{quote(cid)}/json", {}

        def over() -> bool:
            seen.update(wire.get_json(self.base_url, target, doing, timeout=self.timeout))
            return not seen["State"].get("Running")

        if not comes_true(over, within=ENDING, first=ENDING_AGAIN):
            raise Passing(f"{doing}: it runs; it is tried again")
        return seen

    @contextmanager
    def take_tree(self, cid: ContainerId, path: str) -> Iterator[Taken]:
        """What is at that path of an ended container: nothing that is mounted, and through no link.

        The Engine itself follows links and looks into mounts as root. Each step of the path is looked at
        first; nothing changes there any more.
        """
        doing = f"taking {path} from container {cid[:12]}"
        deadline = time.monotonic() + TAKE_SECONDS
        mounted = mounted_places(self._ended(cid, doing))
        steps = [f"/{step}" for step in accumulate(path.strip("/").split("/"), "{}/{}".format)]
        for step in steps:
            said = wire.look_at(
                self.base_url,
                f"/containers/{quote(cid)}/archive?path={quote(step)}",
                doing,
                timeout=self.timeout,
            )
            if (problem := problem_with_step(said, step, path, mounted)) is not None:
                raise Refused(problem)
        opened = wire.open_stream(
            self.base_url,
            "GET",
            f"/containers/{quote(cid)}/archive?path={quote(path)}",
            doing,
            timeout=self.timeout,
        )
        beneath = tuple(place for place in mounted if within(place, path))
        with opened.socket:
            yield Taken(path, wire.pieces(opened, deadline, doing), beneath)

    def exec_probe(
        self, cid: ContainerId, argv: tuple[str, ...], timeout: float, *, user: str = "0:0"
    ) -> tuple[int, bytes]:
        """Run a short command inside; its exit code and its output (at most 64 KiB), stderr with stdout.

        A command that does not end in time is ``Passing``, and is left to end with its container.
        """
        doing = f"running {argv[0]} in container {cid[:12]}"
        deadline = time.monotonic() + timeout
        with self._asking(doing) as api:
            made = api.exec_create(cid, list(bare(argv)), stdin=False, user=user)["Id"]
        opened = wire.open_stream(
            self.base_url,
            "POST",
            f"/exec/{quote(made)}/start",
            doing,
            timeout=timeout,
            upgrade=True,
            body=start_body(terminal=False),
        )
        output = wire.read_frames(opened, deadline, _PROBE_OUTPUT, doing)
        with self._asking(doing) as api:
            code = api.exec_inspect(made)["ExitCode"]
        if code is None:
            raise Passing(f"{doing}: its exit code is not known yet; it is tried again")
        return int(code), output

    def execute(
        self,
        cid: ContainerId,
        argv: tuple[str, ...],
        *,
        user: str,
        variables: Mapping[str, str],
        terminal: bool,
    ) -> DockerExecution:
        """Start a process inside, and hold on to the way to it; see ``engines.protocol``."""
        doing = f"running {argv[0]} in container {cid[:12]}"
        with self._asking(doing) as api:
            made = api.exec_create(
                cid,
                list(argv),
                stdin=True,
                tty=terminal,
                privileged=False,
                user=user,
                environment=dict(variables),
                workdir="/",
                detach_keys=DETACH_KEYS,
            )["Id"]
        opened = wire.open_stream(
            self.base_url,
            "POST",
            f"/exec/{quote(made)}/start",
            doing,
            timeout=self.timeout,
            upgrade=True,
            body=start_body(terminal=terminal),
        )
        return DockerExecution(self.base_url, made, opened, terminal=terminal)

    # -- networks --------------------------------------------------------------------------

    def ensure_network(self, name: str, host: HostId, pool: PoolName) -> None:
        """A bridge network of ours without traffic between its members; ``Refused`` where the name
        is another's.
        """
        if self._our_network(name, host):
            return
        with self._asking(f"making the network {name}") as api:
            try:
                api.create_network(
                    name,
                    driver="bridge",
                    check_duplicate=True,
                    labels={LABEL_HOST: host, LABEL_POOL: pool},
                    options=OF_NETWORKS,
                )
            except docker.errors.APIError as error:
                if error.status_code != 409:
                    raise
        self._our_network(name, host)

    def networks(self) -> tuple[Network, ...]:
        """Every network of any Mayfly."""
        with self._asking("listing networks") as api:
            listed = api.networks(filters={"label": LABEL_HOST})
        return tuple(
            Network(
                id=entry["Id"],
                name=entry["Name"],
                host=HostId(entry["Labels"][LABEL_HOST]),
                pool=PoolName(entry["Labels"].get(LABEL_POOL, "")),
            )
            for entry in listed
        )

    def remove_network(self, name: str) -> None:
        """Remove it, by name or id, with the ends of containers that are gone; not there is a success,
        in use is ``Passing``.
        """
        with self._asking(f"removing the network {name}") as api:
            try:
                self._remove_network(api, name)
            except docker.errors.APIError as error:
                if "active endpoints" in str(error.explanation):
                    raise Passing(
                        f"removing the network {name}: a container still uses it; it is tried again"
                    ) from error
                if error.status_code != 404:
                    raise

    def _remove_network(self, api: docker.APIClient, name: str) -> None:
        try:
            api.remove_network(name)
        except docker.errors.APIError as error:
            if "active endpoints" not in str(error.explanation):
                raise
            # An Engine that was killed may keep the ends of containers that it no longer has.
            for owner, end in (api.inspect_network(name).get("Containers") or {}).items():
                if not api.containers(all=True, filters={"id": owner}):
                    api.disconnect_container_from_network(end["Name"], name, force=True)
            api.remove_network(name)

    def _our_network(self, name: str, host: HostId) -> bool:
        """Whether the network is there and ours; ``Refused`` where it is there and not ours."""
        with self._asking(f"looking for the network {name}") as api:
            listed = api.networks(names=[name])
        for entry in listed:
            if entry["Name"] != name:  # the Engine's filter matches parts of names
                continue
            if (entry.get("Labels") or {}).get(LABEL_HOST) == host:
                return True
            raise Refused(
                f"The network {name} exists and is not this Mayfly's; remove it with"
                f" `docker network rm {name}`, or name the pool otherwise"
            )
        return False

    def addresses_in(self, cid: ContainerId, network: str) -> tuple[str, str]:
        """The container's IPv4 address in that network, and its IPv6 address or ``""``."""
        target, doing = f"/containers/{quote(cid)}/json", f"inspecting container {cid[:12]}"
        found = wire.get_json(self.base_url, target, doing, timeout=self.timeout)
        end = found["NetworkSettings"]["Networks"].get(network, {})
        address = str(end.get("IPAddress") or "")
        if not address:
            raise Passing(f"{doing}: it has no address in the network {network}; it is tried again")
        return address, str(end.get("GlobalIPv6Address") or "")

    def filters_bridges(self) -> bool | None:
        """Whether the kernel shows iptables what goes over bridges; None: the Engine does not say."""
        with self._asking("asking the Engine about itself") as api:
            said = api.info().get("BridgeNfIptables")
        return said if isinstance(said, bool) else None

    # -- events ----------------------------------------------------------------------------

    def watch(
        self,
        ring: Callable[[EngineEvent], None],
        turned: Callable[[StreamTurn], None],
        *,
        cursor: EventCursor | None = None,
    ) -> EventFollower:
        """Start a thread that follows the Engine's events for ever; see ``EventFollower``."""
        follower = EventFollower(self.base_url, ring, turned, cursor=cursor, timeout=self.timeout)
        follower.start()
        return follower

    # -- the client ------------------------------------------------------------------------

    def _get(self, target: str, doing: str) -> Any:
        return wire.get_json(self.base_url, target, doing, timeout=self.timeout)

    def _do(self, method: str, target: str, doing: str, document: Any = None) -> None:
        wire.do(self.base_url, method, target, doing, timeout=self.timeout, document=document)

    @contextmanager
    def _asking(self, doing: str) -> Iterator[Any]:
        """This thread's client; whatever goes wrong inside leaves as a fault that says what was
        being done.
        """
        try:
            yield self._client()
        except docker.errors.APIError as error:
            response = error.response
            status = 500 if response is None else int(response.status_code)
            raise faults.answered(status, str(error.explanation or error), doing) from error
        except docker.errors.InvalidVersion as error:  # older than the library speaks at all
            raise Refused(
                f"{doing}: its API is far older than 1.41, which Mayfly needs; upgrade to Docker"
                " Engine 20.10 or newer"
            ) from error
        except (docker.errors.DockerException, OSError) as error:  # requests' errors are OSErrors
            self._local.client = None  # the next call negotiates the version again
            raise faults.unreachable(self.base_url, doing, error) from error

    def _client(self) -> Any:
        client = getattr(self._local, "client", None)
        if client is None:
            client = docker.APIClient(base_url=self.base_url, version="auto", timeout=self.timeout)
            self._local.client = client
        return client
