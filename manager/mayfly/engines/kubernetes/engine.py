"""Kubernetes as one of Mayfly's engines: bare pods of one namespace, their gates opened by attaching once.

What it holds between calls belongs to this process and is made again after a restart. A pod that was attached
to and did not say that its gate is open is never attached to again by anybody who means well: whoever called
is told, and ends it.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from itertools import chain
from pathlib import Path
from tarfile import BLOCKSIZE, HeaderError, TarInfo
from typing import Any, NoReturn

from mayfly.core.agent_plan import AgentPlan
from mayfly.core.bare_command import bare
from mayfly.core.capabilities import Capabilities
from mayfly.core.doubling import doubling
from mayfly.core.gpu_health import ForeignContainer
from mayfly.core.model import (
    Breach,
    Container,
    ContainerId,
    Continuity,
    Generation,
    HostId,
    PoolName,
)
from mayfly.core.sandbox import SandboxPlan
from mayfly.core.workspace import STDIN, WORKSPACE
from mayfly.edge.cluster import Cluster
from mayfly.edge.faults import Fault, Passing, Refused
from mayfly.edge.launcher_lines import OPENED
from mayfly.edge.patience import known
from mayfly.edge.results import Taken
from mayfly.engines.kubernetes import claims, sockets
from mayfly.engines.kubernetes.access import access
from mayfly.engines.kubernetes.api import Api, Changed
from mayfly.engines.kubernetes.authority import authority_of
from mayfly.engines.kubernetes.claims import GROUP, ClaimLost, Claims
from mayfly.engines.kubernetes.credential import credential_of
from mayfly.engines.kubernetes.ends import Ends
from mayfly.engines.kubernetes.examination import findings
from mayfly.engines.kubernetes.lease import CALL, NamespaceLease, holder_of
from mayfly.engines.kubernetes.lines import lines_of, run
from mayfly.engines.kubernetes.manifest import (
    CONTAINER,
    SELECTOR,
    budget,
    image,
    pod,
    pod_name,
)
from mayfly.engines.kubernetes.mirror import Mirror
from mayfly.engines.kubernetes.output import OutputKeeper
from mayfly.engines.kubernetes.pods import (
    account_of,
    claim_of,
    container_id,
    container_of,
    devices_of,
    end_of,
    has_ended,
    job_may_be_root,
    name_and_uid,
    pull_of,
    refused_by_node,
    runs,
    trouble_of,
)
from mayfly.engines.kubernetes.quarantine import Quarantine
from mayfly.engines.kubernetes.watching import PodWatch
from mayfly.engines.protocol import (
    Belonging,
    EngineEvent,
    EngineFacts,
    EventCursor,
    Execution,
    Finding,
    Gone,
    ImageFacts,
    ImageSize,
    NameTaken,
    OutputListener,
    StreamTurn,
    always,
)

OLDEST = (1, 30)  # whose server can end an input alone
NOTICED_LATE = 30.0  # seconds for what a pod has come to to be known to who judges it
SETTLING = 15.0  # seconds for which a trouble may be one of the first moments
REFUSED_AGAIN = 120.0  # seconds until a node that refused a pod is asked again
REMOVING = 25.0  # seconds for a pod to be gone; one whose node is lost is not
ACKNOWLEDGED = 20.0  # seconds until an agent has to say that its gate is open
LOOKING = 15.0
ASKING = 20.0  # seconds after which a list looks into no more pods: the next one does
PROTECTING = 2.0  # seconds for a pod's protection; what does not come through a list tries again
AT_GATE_SOON = 15.0  # seconds for a gate to say its first line
LINE = 4096
FIRST = 4096  # bytes that an agent prints first on the attachment that opens its gate: its launcher's line
TREE_SECONDS = 120.0
LOOK = (0.05, 0.1)
# Seconds between two looks whether a pod runs, at most: at first, and while its image is fetched for long.
LOOKS, PULLING_LOOK = 0.3, 2.0
# What root sees of a launcher's records, in the words of an account (agents/launch.sh).
RECORDS = """cd /run/mayfly/w || exit 0
[ ! -s ready ] || echo ready
[ ! -s opened ] || echo opened
[ ! -s user ] || { read -r user <user; echo "user $user"; }
[ ! -s key ] || { read -r key <key; echo "key $key"; }
"""
AT_GATE = "[ -s /run/mayfly/w/opened ]"
# What the user cannot make itself is made before: its workspace, and what its job is to read.
UNPACK = f"""owner=$1 && shift
mkdir -p {WORKSPACE} && : >>{STDIN} && chmod 0600 {STDIN} && chown "$owner" {WORKSPACE} {STDIN} && "$@" &&
  find {STDIN} -perm 0600 -delete"""
UNPACKING = ("/usr/bin/env", "tar", "-x", "-p", "--overwrite", "-f", "-", "-C", "/")
SIGNAL = 'read -r gate </run/mayfly/gate && kill -s "$1" "$gate"'
_USER = re.compile(r"user ([1-9][0-9]{0,9}:[1-9][0-9]{0,9})")
_KEY = re.compile(r"key ([0-9a-f-]{36})")


class KubernetesEngine:
    """One namespace of a cluster, as ``engines.protocol.Engine``; may be used from any thread."""

    def __init__(
        self, cluster: Cluster, *, timeout: float = 30, removing: float = REMOVING
    ) -> None:
        """``removing``: seconds for a pod to be gone."""
        self.cluster = cluster
        self.lines = lines_of(cluster)
        self._removing = removing
        reached = access(cluster)
        self._lease = NamespaceLease(Api(reached, timeout=CALL), cluster.namespace)
        self._holder: str | None = None  # None: no state directory was named
        self._api = Api(reached, timeout=timeout, may_change=self._lease.assure)
        self._uid: str | None = None  # the namespace's; None: not asked for yet
        self._path = f"/api/v1/namespaces/{cluster.namespace}/pods"
        self._mirror = Mirror()
        self._claims = Claims(self._api, cluster)
        self._quarantine = Quarantine(self._api, self._claims)
        self._agents: dict[ContainerId, Container] = {}  # those that were seen last
        self._ends = Ends(self._api.access, self._path, self._mirror, self._agents.get)
        self._unprotected: dict[ContainerId, Generation] = {}  # whose jobs a drain would end
        # Agents of which it is not known that they own their claims.
        self._unheld: dict[ContainerId, Mapping[str, Any]] = {}
        self._closing = threading.Event()
        self._watches: list[PodWatch] = []  # one, in a manager
        self._asked: dict[Generation, float] = {}  # when whoever was not heard yet was asked last

    # -- itself

    def ping(self) -> None:
        """Whether the API server answers."""
        self._api.call("GET", "/version", "asking the API server")

    def facts(self) -> EngineFacts:
        """What the cluster says of itself; ``Refused`` where it is too old."""
        said = self._api.call("GET", "/version", "asking the API server for its version")
        version = tuple(
            int(part) for part in re.findall(r"[0-9]+", str(said.get("gitVersion", "")))[:3]
        )
        if version[:2] < OLDEST:
            raise Refused(
                f"this cluster is Kubernetes {said.get('gitVersion')}, and Mayfly needs 1.30 or newer"
            )
        if self.cluster.device_classes:
            self._has_claims(str(said.get("gitVersion")))
        return EngineFacts(
            name="Kubernetes",
            id=self._identity(),
            version=version,
            api=(version[0], version[1]),
            capabilities=Capabilities(
                renames=False,
                removes_itself=False,
                picks_gpu=False,
                claims=json.dumps([self.cluster.device_class, self.cluster.device_selector])
                if self.cluster.device_class is not None
                else "",
                freezes=False,
                weighs=False,
                sandbox=False,
                unkept="each pod has one of its own",
                on_this_host=False,
                keeps_files=False,
                starts_again=False,
                preparing=self.cluster.start_seconds + self.cluster.pull_seconds + NOTICED_LATE,
                gateway=False,
                no_gateway="a cluster has no gateway for containers of jobs",
            ),
            recursive_read_only=True,
            self_removal=None,
            tainted=self._quarantine.rules() if self.cluster.device_classes else (),
            credential=credential_of(self._api.access, self.cluster),
        )

    def _identity(self) -> str:
        """The namespace's uid, which no other of any cluster has, whatever its address; ``""`` where Mayfly
        may not look at it.
        """
        if self._uid is None:
            path = f"/api/v1/namespaces/{self.cluster.namespace}"
            try:
                found = self._api.call("GET", path, "looking at the namespace")
            except Refused:
                return ""  # asked again: a right may be given, and a namespace made
            self._uid = str((found.get("metadata") or {}).get("uid") or "") or None
        return self._uid or ""

    def _has_claims(self, version: str) -> None:
        """``Refused`` where the cluster gives no devices by claims."""
        try:
            self._api.call("GET", GROUP, "asking the API server for claims of devices")
        except Gone:
            raise Refused(
                f"this cluster is Kubernetes {version} without resource.k8s.io/v1, which "
                "`device_class` wants: leave that out, or see for 1.34 or newer"
            ) from None

    def examine(self) -> tuple[Finding, ...]:
        """What Mayfly may do there, and what nodes have."""
        return tuple(findings(self._api, self.cluster))

    def image(self, reference: str, *, within: float | None = None) -> ImageFacts | None:  # noqa: ARG002
        """The image as its nodes pull it: nobody looks at it before one of them does."""
        return ImageFacts(image(reference, self.cluster), {}, None, (reference,), (), seen=False)

    def image_names(self) -> tuple[str, ...]:
        """None: they are the nodes'."""
        return ()

    def image_sizes(self) -> Mapping[str, ImageSize]:
        """None: they are the nodes'."""
        return {}

    def witnesses(self, root: Path) -> None:
        """Where what agents say is written."""
        self._mirror.begin(root)
        self._holder = holder_of(root.parent)

    def watch(
        self,
        ring: Callable[[EngineEvent], None],
        turned: Callable[[StreamTurn], None],
        *,
        cursor: EventCursor | None = None,
    ) -> PodWatch:
        """Follow the namespace's pods for ever, on a thread of its own. Who does so wants to run it, and
        changes nothing there without its lease.
        """

        def leased(held: bool, why: str) -> None:
            turned(StreamTurn(held, Continuity.SAME if held else Continuity.UNKNOWN, why))

        if self._holder is not None:
            self._lease.begin(self._holder, leased)
        once = self._ends.tell(ring)
        follower = PodWatch(self._api, self._path, once, turned, self._seen, cursor=cursor)
        self._watches.append(follower)
        follower.start()
        return follower

    def output(
        self,
        directory: Path,
        listener: OutputListener,
        *,
        per_agent: int,
        total: int,
        log_size: int,  # noqa: ARG002  the node's to say
    ) -> OutputKeeper:
        """Who keeps the agents' output in that directory."""
        return OutputKeeper(
            self._api,
            self._path,
            directory,
            listener,
            self._ends,
            per_agent=per_agent,
            total=total,
        )

    # -- pods, seen

    def list(self) -> tuple[Container, ...]:
        """Every agent's pod of any Mayfly in the namespace, in one call; what was not heard yet of those of
        an earlier run is asked for.
        """
        self._lease.assure()
        watched = [(one, one.version) for one in self._watches]
        said = self._api.call("GET", self._path, "listing pods", query={"labelSelector": SELECTOR})
        for one, version in watched:
            one.beside(version, str((said.get("metadata") or {}).get("resourceVersion")))
        found: list[Container] = []
        unheard: dict[Generation, Mapping[str, Any]] = {}
        for one in said.get("items") or ():
            agent = container_of(one)
            if agent is None:
                continue
            self._seen(one)
            if self._mirror.is_unheard(agent.generation) and runs(one):
                unheard[agent.generation] = one
            found.append(agent)
        self._ask_all(unheard)
        self._quarantine.again()
        self._hold_again(said.get("items") or ())
        self._protect_again({agent.id for agent in found if agent.live})
        for gone in self._agents.keys() - {agent.id for agent in found}:
            self._agents.pop(gone, None)
        there = {agent.generation for agent in found}
        for generation in self._mirror.unheard():
            if generation not in there and self._ends.vanished(generation):
                self._mirror.heard(generation)
        return self._equipped(found, said.get("items") or ())

    def _hold_again(self, pods: Sequence[Mapping[str, Any]]) -> None:
        """Have agents own their claims whose manager may have been killed between their creation and that."""
        self._unheld = {
            container_id(one): one
            for one in pods
            if (agent := container_of(one)) is not None
            and agent.live
            and not one["metadata"].get("deletionTimestamp")
            and not self._claims.held(one)
            and self._mirror.is_ours(agent.generation)
        }
        self._claims.forget({container_id(one) for one in pods})
        for container, one in tuple(self._unheld.items()):
            try:
                self._claims.hold_again(one)
            except ClaimLost:
                continue  # its gate does not open
            except Fault:
                return  # the next look tries again
            self._unheld.pop(container, None)

    def _equipped(
        self, agents: Sequence[Container], pods: Sequence[Mapping[str, Any]]
    ) -> tuple[Container, ...]:
        """The same with the devices that they were given."""
        by_claim = {
            container_id(one): claim for one in pods if (claim := claim_of(one)) is not None
        }
        counted = {container_id(one): devices_of(one) for one in pods}
        given: Mapping[str, tuple[str, ...]] = {}
        if by_claim:
            with suppress(Fault):  # the next look tries again
                given = self._claims.devices(by_claim.values())
        return tuple(
            replace(one, devices=given.get(by_claim.get(one.id, ""), ()) or counted.get(one.id, ()))
            for one in agents
        )

    def _seen(self, one: Mapping[str, Any]) -> None:
        """Write down what a pod's status says of its end."""
        end, agent = end_of(one), container_of(one)
        if agent is not None:
            self._agents[agent.id] = agent
        if end is not None and agent is not None:
            self._mirror.ended(agent.generation, end)
            self._quarantine.look(one, end)
        elif (
            agent is not None
            and not self._quarantine.knows(one)
            and self._mirror.is_ready(agent.generation)
        ):
            self._quarantine.answered(one)

    def _ask_all(self, unheard: Mapping[Generation, Mapping[str, Any]]) -> None:
        """Look into those pods, whoever waits longest first: a node that does not answer delays a list, and
        is not in the way of the others for ever.
        """
        last = time.monotonic() + ASKING
        self._asked = {one: at for one, at in self._asked.items() if one in unheard}
        for generation in sorted(unheard, key=lambda one: self._asked.get(one, 0.0)):
            self._asked[generation] = time.monotonic()
            self._ask(unheard[generation], generation)
            if time.monotonic() > last:
                return

    def _ask(self, one: Mapping[str, Any], generation: Generation) -> None:
        """Look into a pod that runs; one that cannot be looked into stays unknown."""
        try:
            code, said = self.exec_probe(container_id(one), ("/bin/sh", "-c", RECORDS), LOOKING)
        except Fault:
            return
        if code != 0:
            return
        lines = said.decode(errors="replace").split("\n")
        if "ready" in lines:
            self._mirror.ready(generation)
        if account_of(said.decode(errors="replace")).opened:
            users = [user[1] for line in lines if (user := _USER.fullmatch(line)) is not None]
            keys = [found[1] for line in lines if (found := _KEY.fullmatch(line)) is not None]
            # A job that may become root could write one, and its launcher makes none.
            key = keys[0] if keys and not job_may_be_root(one) else ""
            self._mirror.opened(generation, users[0] if users else None, key)
            self._unprotected[container_id(one)] = generation  # as far as this manager knows
        self._mirror.heard(generation)

    def size(self, container: ContainerId, *, made: bool = False) -> int | None:  # noqa: ARG002
        """Not to be had; a pod over its limit is thrown out by its node, and that is told."""
        return None

    def printed_inside(self, container: ContainerId) -> tuple[int, int]:  # noqa: ARG002
        """No pod's job makes containers of its own."""
        return 0, 0

    def foreign_gpu_containers(self) -> tuple[ForeignContainer, ...]:
        """Nobody else can have a pod's GPUs."""
        return ()

    def at_gate(self, container: ContainerId) -> bool:
        """Whether it runs nothing but its gate, or does not run; ``Passing`` where the look itself fails, as
        in a pod whose job has taken all memory or processes.
        """
        try:
            code, _ = self.exec_probe(container, ("/bin/sh", "-c", AT_GATE), LOOKING)
        except Gone:
            return True
        if code not in (0, 1):
            name, _ = name_and_uid(container)
            raise Passing(
                f"whether pod {name} is at its gate is not known: the look ended with {code}"
            )
        return code == 1

    def first_process(self, container: ContainerId) -> int | None:  # noqa: ARG002
        """It is on another host."""
        return None

    def own_process(self) -> int | None:
        """It is on another host."""
        return None

    # -- pods, changed

    def prepare(self, plan: AgentPlan, *, wanted: Callable[[], bool] = always) -> ContainerId:
        """Create a pod and wait until it runs; see ``engines.protocol``."""
        doing = f"making pod {plan.slot}-{plan.generation}"
        claim = self._claim(plan)
        asked = pod(plan, self.cluster, claim, authority_of(plan))
        try:
            made = self._api.call("POST", self._path, doing, body=asked)
        except NameTaken:
            # Nobody else gives such a name: an earlier try came through whose answer did not.
            made = self._api.call("GET", f"{self._path}/{asked['metadata']['name']}", doing)
            # (A cluster adds its own to what was asked for.)
            there = made["metadata"].get("annotations") or {}
            if not asked["metadata"]["annotations"].items() <= there.items():
                raise
        container = container_id(made)
        self._mirror.made(plan.generation, container, plan.host)
        try:
            if claim is not None:
                self._claims.hold(plan, made)
            self._runs_soon(container, doing, wanted)
        except Fault:
            with suppress(Fault):
                self.remove(container)
            raise
        self._hear_gate(container, plan.generation)
        return container

    def _claim(self, plan: AgentPlan) -> str | None:
        """The claim that its devices are of, by name: the slot's, or one that begins with it; ``None``: they
        are of none.
        """
        if not claims.wanted(plan, self.cluster):
            return None
        return self._claims.of_slot(plan) or pod_name(plan.slot, plan.generation)

    def _hear_gate(self, container: ContainerId, generation: Generation) -> None:
        """Read its log until the gate's own line; one that does not say it is the core's to judge."""
        name, _ = name_and_uid(container)
        query = {"container": CONTAINER, "follow": "true"}
        path = f"{self._path}/{name}/log"
        with suppress(Fault):
            stream = self._api.stream(
                path, query, f"reading the log of pod {name}", idle=AT_GATE_SOON
            )
            try:
                line = next(stream.lines(LINE), b"")
            finally:
                stream.close()
            self._ends.heard(generation, line.decode(errors="replace").rstrip("\n"))

    def _runs_soon(self, container: ContainerId, doing: str, wanted: Callable[[], bool]) -> None:
        """Wait until it runs; a ``Fault`` in the cluster's own words where it does not come to that.

        The time in which its node fetches its image has a bound of its own.
        """
        began = pulled = now = time.monotonic()
        troubled: float | None = None  # since when it has lasting trouble
        pulling, looks = 0.0, 0
        while True:
            seen = self._pod(container, doing)
            now, before = time.monotonic(), now
            refusal = refused_by_node(seen)
            if refusal is not None:
                raise Refused(f"{doing}: its node did not take it: {refusal}")
            if runs(seen) or has_ended(seen):
                return
            trouble, pull = trouble_of(seen), pull_of(seen)
            lasting = trouble is not None and trouble.lasting
            troubled = (now if troubled is None else troubled) if lasting else None
            if trouble is not None and troubled is not None and now - troubled > SETTLING:
                raise Refused(f"{doing}: {trouble.text}")
            pulling += now - before if pull and pulled == before else 0.0
            pulled = now if pull else pulled
            if pulling > self.cluster.pull_seconds:
                raise Passing(
                    f"{doing}: {pull or 'its image is pulled'}, for more than "
                    f"{self.cluster.pull_seconds:g} s (host.kubernetes.pull_seconds)",
                    REFUSED_AGAIN,
                )
            if now - began - pulling > self.cluster.start_seconds:
                why = trouble.text if trouble is not None else "nobody says why"
                raise Passing(
                    f"{doing}: it does not run after {self.cluster.start_seconds:g} s: {why}",
                    REFUSED_AGAIN,
                )
            looks += 1
            pause = doubling(LOOK[0], PULLING_LOOK if pulling > SETTLING else LOOKS, looks)
            self._closing.wait(pause)
            if self._closing.is_set() or not wanted():
                raise Passing(f"{doing}: it is not wanted any more")

    def _pod(self, container: ContainerId, doing: str) -> dict[str, Any]:
        """The pod as it is; ``Gone`` where it is not there, or another."""
        name, uid = name_and_uid(container)
        if not uid:
            raise Gone(f"{doing}: there is no such pod; look again")
        found = self._api.call("GET", f"{self._path}/{name}", doing)
        if (found.get("metadata") or {}).get("uid") != uid:
            raise Gone(f"{doing}: pod {name} is another one; look again")
        return found

    def open(self, generation: Generation, container: ContainerId, data: bytes) -> None:
        """Attach once, write all the bytes, and wait until the agent says that its gate is open."""
        name, _ = name_and_uid(container)
        doing = f"opening the gate of pod {name}"
        if (unheld := self._unheld.get(container)) is not None:
            self._claims.hold_again(unheld)
        query = [("container", CONTAINER), ("stdin", "true"), ("stdout", "true")]
        try:
            streams = self._streams(container, "attach", query, doing)
        except sockets.NotRunning as error:
            raise Gone(f"{doing}: it does not run; the agent is replaced") from error
        try:
            self._lease.assure()  # the connection may have taken its time
            with self._ends.opening(generation):
                streams.send(data)
                # No end of input is sent: the frame says its length, and the launcher reads no further.
                user, key = self._acknowledged(streams, generation, doing)
                # At once: by its key an account is told from output, and a job may be over in a moment.
                self._mirror.opened(generation, user, key)
        finally:
            streams.close()
        self._protect(container, generation)

    def _protect(self, container: ContainerId, generation: Generation) -> None:
        """Have who drains its node wait for it: it may have a job from now on. The budget goes with the pod.

        Where Mayfly may not, the job runs all the same; `mayfly doctor` says so. What the cluster does not
        take in this moment the next list tries again.
        """
        name, uid = name_and_uid(container)
        path = f"/apis/policy/v1/namespaces/{self.cluster.namespace}/poddisruptionbudgets"
        made = budget(name, uid, generation)
        self._unprotected.pop(container, None)
        try:
            self._api.call("POST", path, f"protecting pod {name}", body=made, within=PROTECTING)
        except Refused:
            return  # it is there, or Mayfly may not
        except Passing:
            self._unprotected[container] = generation

    def _protect_again(self, running: Collection[ContainerId]) -> None:
        """Once more for those that the cluster did not protect; in a bad moment a list waits for one."""
        for container, generation in tuple(self._unprotected.items()):
            if container not in running:
                self._unprotected.pop(container, None)
                continue
            self._protect(container, generation)
            if container in self._unprotected:
                return

    def _acknowledged(
        self, streams: sockets.Streams, generation: Generation, doing: str
    ) -> tuple[str, str]:
        """As whom its job runs, and what its account will come with (``""``: it does not say), which its
        launcher says before there is one.
        """
        last = time.monotonic() + ACKNOWLEDGED
        said = b""
        while (left := last - time.monotonic()) > 0 and not streams.over:
            got = streams.receive(left)
            if got is not None and got[0] == sockets.OUT:
                said = (said + got[1])[:FIRST]  # what comes later may be its job's
            for one in OPENED.finditer(said):
                if one[1].decode() == generation:
                    return one[2].decode(), (one[3] or b"").decode()
        raise Passing(f"{doing}: it did not say that it is open; the agent is replaced")

    def _streams(
        self, container: ContainerId, kind: str, query: Iterable[tuple[str, str]], doing: str
    ) -> sockets.Streams:
        name, _ = name_and_uid(container)
        path = f"{self._path}/{name}/{kind}"
        return sockets.connect(
            self._api.access, path, [*query], doing, may_change=self._lease.assure
        )

    def let_go(self, generation: Generation) -> None:
        """Nothing is held of a gate."""

    def put_tree(self, container: ContainerId, archive: Iterable[bytes]) -> None:
        """Unpack a tar at the root of a pod at its gate, as the one user whose all of it is: root has not the
        capability to change the mode of what it has given away.
        """
        doing = f"putting files into pod {name_and_uid(container)[0]}"
        self._enterable(container, doing)
        pieces = iter(archive)
        head = b""
        while len(head) < BLOCKSIZE and (piece := next(pieces, None)) is not None:
            head += piece
        try:
            first = TarInfo.frombuf(head[:BLOCKSIZE], "utf-8", "surrogateescape")
        except HeaderError as error:
            raise Passing(f"{doing}: it is no tar ({error})") from error
        user = f"{first.uid}:{first.gid}"
        words = ("/bin/sh", "-c", UNPACK, "unpack", user, *_as(user, UNPACKING))
        data = chain([head], pieces)
        code, said = self._run(container, words, doing, within=TREE_SECONDS, data=data)
        if code != 0:
            text = " ".join(said.decode(errors="replace").split())[:300]
            raise Passing(f"{doing}: tar ended with {code}: {text}")

    def take_tree(self, container: ContainerId, path: str) -> AbstractContextManager[Taken]:
        """Nothing: the files of a pod that has ended cannot be had."""
        doing = f"taking {path} from pod {name_and_uid(container)[0]}"
        if not has_ended(self._pod(container, doing)):
            raise Passing(f"{doing}: it runs")
        raise Refused(f"{doing}: the files of a pod that has ended cannot be had")

    def rename(self, container: ContainerId, name: str) -> None:
        """It keeps its name."""
        raise Refused(
            f"pod {name_and_uid(container)[0]} cannot be called {name}: a pod keeps its name"
        )

    def converse(self, plan: AgentPlan, words: tuple[str, ...], *, terminal: bool) -> int:
        """Not here: `kubectl run` does it."""
        del terminal
        typed = run(plan, words, self.cluster)
        raise Refused(
            f"a person's command is not run in a pod of image {plan.image} by Mayfly: `{typed}`"
        )

    def signal(self, container: ContainerId, signal: str) -> None:
        """Send a signal to its gate or launcher; one that does not run is a success."""
        doing = f"sending {signal} to pod {name_and_uid(container)[0]}"
        try:
            self._enterable(container, doing)
            words = ("/bin/sh", "-c", SIGNAL, "signal", signal)
            code, said = self._run(container, words, doing, within=LOOKING)
        except Gone:
            return
        except Passing:
            if not self._runs(container):
                return
            raise
        if code != 0 and self._runs(container):
            text = " ".join(said.decode(errors="replace").split())[:300]
            raise Passing(f"{doing}: kill ended with {code}: {text}")

    def _runs(self, container: ContainerId) -> bool:
        with suppress(Gone):
            return runs(self._pod(container, "looking at a pod"))
        return False

    def freeze(self, container: ContainerId) -> None:
        """It cannot be."""

    def thaw(self, container: ContainerId) -> None:
        """It was not frozen."""

    def weigh(self, container: ContainerId, weight: float) -> None:
        """It counts for what it asks for."""

    def start_again(self, container: ContainerId) -> None:
        """A pod that has ended is not started again."""
        raise Refused(
            f"starting pod {name_and_uid(container)[0]} once more: a cluster does not do that"
        )

    def remove(self, container: ContainerId) -> None:
        """Delete that pod and no other of its name, and wait until it is gone, which its node says."""
        name, uid = name_and_uid(container)
        doing = f"removing pod {name}"
        if not uid:
            return
        body = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            # Not 0: that takes the record away while processes may run, and their exit code with it.
            "gracePeriodSeconds": 1,
            "preconditions": {"uid": uid},
        }
        try:
            self._api.call("DELETE", f"{self._path}/{name}", doing, body=body)
        except Gone:
            return
        except Changed:
            pass  # another has its name, or it was changed in this moment: which of the two is seen now
        if (
            known(lambda: self._is_gone(container) or None, within=self._removing, first=LOOK[0])
            is None
        ):
            raise Passing(
                f"{doing}: its node has not said that it has ended; it is looked at again"
            )

    def _is_gone(self, container: ContainerId) -> bool:
        try:
            seen = self._pod(container, "looking whether a pod is gone")
        except Gone:
            return True
        self._seen(seen)
        return False

    def exec_probe(
        self, container: ContainerId, argv: tuple[str, ...], timeout: float, *, user: str = "0:0"
    ) -> tuple[int, bytes]:
        """Run a short command inside, as ``UID:GID``; its exit code and its output, at most 64 KiB."""
        doing = f"running {argv[0]} in pod {name_and_uid(container)[0]}"
        self._enterable(container, doing)
        return self._run(container, _as(user, argv), doing, within=timeout)

    def _enterable(self, container: ContainerId, doing: str) -> None:
        if not runs(self._pod(container, doing)):
            raise Gone(f"{doing}: it does not run; the agent is replaced")

    def _run(
        self,
        container: ContainerId,
        argv: tuple[str, ...],
        doing: str,
        *,
        within: float,
        data: Iterable[bytes] | None = None,
    ) -> tuple[int, bytes]:
        name, _ = name_and_uid(container)
        path, words = f"{self._path}/{name}/exec", bare(argv)
        return sockets.run(
            *(self._api.access, path, words, doing),
            within=within, data=data, may_change=self._lease.assure,
        )  # fmt: skip

    def execute(
        self,
        container: ContainerId,
        argv: tuple[str, ...],
        *,
        user: str,
        variables: Mapping[str, str],
        terminal: bool,
    ) -> Execution:
        """Start a process inside as ``UID:GID``; see ``engines.protocol``."""
        doing = f"running {argv[0]} in pod {name_and_uid(container)[0]}"
        self._enterable(container, doing)
        words = ("/usr/bin/env", *(f"{name}={value}" for name, value in variables.items()), *argv)
        query = [("container", CONTAINER), ("stdin", "true"), ("stdout", "true")]
        query += [("tty", "true")] if terminal else [("stderr", "true")]
        query += [("command", word) for word in _as(user, words)]
        return sockets.PodExecution(self._streams(container, "exec", query, doing))

    def isolation(self, plan: AgentPlan) -> tuple[Breach, ...]:
        """Not tried: whom a pod reaches is a NetworkPolicy's to say."""
        raise Passing(
            f'whether agents of pool "{plan.pool}" reach each other is not tried on a cluster: a '
            "NetworkPolicy has to see to it"
        )

    # -- what it does not have

    def make_sandbox(self, plan: SandboxPlan) -> ContainerId:
        """None: its capabilities say so."""
        _no_sandbox(plan.name)

    def sandbox_is_empty(self, holder: ContainerId) -> bool:  # noqa: ARG002
        """There is none."""
        return False

    def watch_sandbox(self, holder: ContainerId) -> None:
        """There is none."""

    def sandbox_was_used(self, holder: ContainerId) -> bool:  # noqa: ARG002
        """There is none."""
        return True

    def sweep(self, of: Callable[[HostId, PoolName], bool]) -> None:
        """Nothing is kept beside pods."""

    def grant(self, plan: AgentPlan, container: ContainerId) -> str:
        """There is no gateway."""
        del container
        raise Refused(f"{plan.name}: a cluster has no gateway for containers of jobs")

    def clear(self, state_dir: Path, host: HostId, generation: Generation, seal: str) -> None:
        """An agent makes nothing."""

    def give_up(self, generation: Generation) -> None:
        """An agent has nothing beside its pod."""

    def remove_image(self, name: str) -> None:
        """Images are the nodes'."""

    def belongings(self, host: HostId) -> tuple[Belonging, ...]:
        """An agent makes nothing."""
        del host
        return ()

    def close(self) -> None:
        """Give the lease back, and let go of the connections."""
        self._closing.set()
        self._ends.close()
        self._lease.end()
        self._api.close()


def _no_sandbox(name: str) -> NoReturn:
    raise Refused(f"{name}: a cluster keeps no network namespace for a slot: leave out `sandbox`")


def _as(user: str, argv: tuple[str, ...]) -> tuple[str, ...]:
    """The command as that user, who gains nothing by it; a process beside a pod's own begins as root."""
    if user == "0:0":
        return argv
    uid, _, gid = user.partition(":")
    drop = ("--clear-groups", "--inh-caps=-all", "--no-new-privs")
    return ("/usr/bin/setpriv", "--reuid", uid, "--regid", gid or uid, *drop, *argv)
