"""A cluster of one namespace that speaks an API server's HTTP and websockets, with the faults that a real one
does not have on demand.

    with FakeCluster() as cluster:
        cluster.fails("POST", r"/pods$", 403, "exceeded quota: …")
        cluster.forget()              # every version before now is too old: 410
        cluster.restore(version=10)   # its store is set back
        cluster.cut_attach_after = 7  # bytes of standard input

A pod is no container here: its gate reads frames as agents/gate does, and a job is a process of this machine.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from mayfly.engines.simulated.gate import unpacked
from tests.fakes.ending import EndsAtOnce
from tests.fakes.kubernetes_claims import FakeClaims
from tests.fakes.websocket_end import WebSocketEnd, accepted

NAMESPACE = "agents"
Document = dict[str, Any]
MANAGER: Document = {
    "metadata": {"name": "mayfly-0", "uid": "m"},
    "status": {
        "phase": "Running",
        "containerStatuses": [{"name": "manager", "state": {"running": {}}, "ready": True}],
    },
}
FIXED: dict[str, Document] = {
    "/api/v1/nodes": {"items": [{"status": {"allocatable": {"nvidia.com/gpu": "4"}}}]},
    "/version": {"major": "1", "minor": "37", "gitVersion": "v1.37.2"},
}


def stamp() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class FakePod:
    """One pod: what is said of it, what it prints, and the process that is its job."""

    def __init__(self, cluster: FakeCluster, document: Document) -> None:
        self.cluster = cluster
        self.document = document
        self.log: list[bytes] = []  # lines, each with its time
        self.account: list[str] = []
        self.attached: list[WebSocketEnd] = []
        self.opened = False
        self.burnt = False  # somebody was attached, and has left
        self.tree: list[bytes] = []
        self.job: subprocess.Popen[bytes] | None = None
        self.signalled = False
        self.over = False  # as its runtime knows it, whatever its status says
        self.begun = b""  # a line of its job's that has no end
        self.key = ""  # what its launcher's account comes with on its output

    @property
    def name(self) -> str:
        return str(self.document["metadata"]["name"])

    @property
    def generation(self) -> str:
        environment = self.document["spec"]["containers"][0]["env"]
        return next(str(one["value"]) for one in environment if one["name"] == "MAYFLY_GENERATION")

    @property
    def asked_to_print(self) -> bool:
        """Whether its launcher is to print its account."""
        environment = self.document["spec"]["containers"][0]["env"]
        return {"name": "MAYFLY_ACCOUNT", "value": "printed"} in environment

    @property
    def claim(self) -> str | None:
        """The claim that it uses."""
        used = self.document["spec"].get("resourceClaims") or [{}]
        name = used[0].get("resourceClaimName")
        return None if name is None else str(name)

    @property
    def runs(self) -> bool:
        statuses = self.document["status"].get("containerStatuses") or [{}]
        return "running" in statuses[0].get("state", {})

    def note(self, line: bytes) -> None:
        """What a runtime copies into its log."""
        at = datetime.now(UTC)
        self.log.append(f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond:06d}000Z ".encode() + line)

    def say(self, text: bytes) -> None:
        for line in text.splitlines(keepends=True):
            self.note(line)
        for one in self.attached:
            one.send(1, text)
        self.cluster.ring()

    def start(self) -> None:
        claim = self.claim
        while claim is not None and claim not in self.cluster.claims.there:
            if self.cluster.stopping or self.name not in self.cluster.pods:
                return
            self.cluster.wait(0.1)  # as a scheduler does
        while self.cluster.pulling is not None:
            with self.cluster.lock:
                if self.name not in self.cluster.pods:
                    return
                self._pull(self.cluster.pulling)
            self.cluster.wait(0.05)
        self.document["status"] = {
            "phase": "Running",
            "podIP": "10.0.0.1",
            "containerStatuses": [
                {"name": "agent", "state": {"running": {"startedAt": stamp()}}, "ready": True}
            ],
        }
        self.cluster.changed("MODIFIED", self.document)
        if self.cluster.unwell is not None:
            self.end(self.cluster.unwell, died="its GPUs do not answer")
            return
        self.say(f"mayfly: at gate {self.generation}\n".encode())

    def _pull(self, reason: str) -> None:
        """Its node has made all but its container, whose image it fetches."""
        said = {"reason": reason, "message": ""}
        self.document["spec"]["nodeName"] = "node-1"
        self.document["status"] = {
            "phase": "Pending",
            "conditions": [{"type": "PodReadyToStartContainers", "status": "True"}],
            "containerStatuses": [{"name": "agent", "state": {"waiting": said}}],
        }

    def input(self, data: bytes) -> bool:
        """What came to standard input so far; whether the gate has read enough."""
        head, newline, _ = data.partition(b"\n")
        words = head.split()
        if not newline:
            return False
        if len(words) != 4 or not words[2].isdigit():
            self.end(64, died="the first line is not the header of a frame")
            return True
        if len(data) < len(head) + 1 + int(words[2]):
            return False
        files = unpacked(data, self.generation)  # type: ignore[arg-type]
        if files is None:
            self.end(64, died="the frame is meant for another agent")
            return True
        self.opened = True
        self.account.append("opened")
        if self.asked_to_print:
            self.key = str(uuid.uuid4())
        said = f"mayfly: opened {self.generation} 1000:1000 {self.key}".rstrip()
        for line in self.cluster.overtaking:  # by another of its outputs
            self.note(line.replace(b"GENERATION", self.generation.encode()))
        self.say(f"{said}\n".encode() + self.cluster.at_once(self.generation))
        threading.Thread(target=self._work, args=(files,), daemon=True).start()
        return True

    def _work(self, files: Any) -> None:
        argv = shlex.split(files["job.argv"].decode(errors="surrogateescape").removeprefix("&\n"))
        if "/workspace" in argv:
            self.end(0 if self.tree else 70)
            return
        self.job = subprocess.Popen(argv, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
        assert self.job.stdout is not None
        for line in self.job.stdout:
            if line.endswith(b"\n"):
                self.say(line)
            else:
                self.begun = line  # a runtime's log has it with what follows on its line
        code = self.job.wait()
        if self.runs:
            self.end(code if code >= 0 else 128 - code)

    def end(self, code: int, *, died: str = "", reason: str = "", account: bool = True) -> None:
        """Its launcher ends, or (without ``account``) is ended."""
        with self.cluster.lock:
            if not self.runs or self.over:
                return
            self.over = True
            if died:
                self.account.append(f"died {code} {died}")
            if self.opened and account:
                given = ["opened", *(["signalled"] if self.signalled else []), f"exit {code} 0"]
                self.account += given
                for line in given if self.key else []:
                    begun, self.begun = self.begun, b""
                    self.say(begun + f"mayfly: {self.key} {line}\n".encode())
            if self.begun:
                self.say(self.begun)
        if self.job is not None and self.job.poll() is None:
            self.job.kill()
        for one in tuple(self.attached) if not self.cluster.lingering else ():
            one.close()
        self.cluster.told.wait()
        with self.cluster.lock:
            status = self.document["status"]
            status["phase"] = "Succeeded" if code == 0 else "Failed"
            status["containerStatuses"][0]["state"] = {
                "terminated": {
                    "exitCode": code,
                    "reason": reason or ("Completed" if code == 0 else "Error"),
                    "finishedAt": stamp(),
                    "message": "\n".join(self.account) + "\n" if self.account else "",
                }
            }
            self.cluster.changed("MODIFIED", self.document)

    def signal(self, name: str) -> None:
        if name == "KILL":
            self.end(137, account=False)
        elif self.job is not None:
            self.signalled = True
            self.end(143)
        else:
            self.end(143)


class FakeCluster:
    """The API server; a context manager."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self._bell = threading.Condition(self.lock)
        self.uid = str(uuid.uuid4())  # of its namespace
        self.token = "secret"
        self.lingering = False  # whether attachments stand although their container has ended
        self.ahead = 0.0  # seconds that its clock is ahead of ours
        self.quotas: list[Document] = []
        self.classes: set[str] = set()  # of runtimes and priorities
        self.version = 1
        self.oldest = 0
        self.history: list[tuple[int, str, Document]] = []
        self.pods: dict[str, FakePod] = {}
        self.claims = FakeClaims()
        self.has_claims = True  # whether it has resource.k8s.io/v1 at all
        self.told = threading.Event()  # whether statuses say how pods have ended
        self.told.set()
        self.calls: list[str] = []
        self.starts = True  # whether pods come to run
        self.cut_attach_after: int | None = None
        self.acknowledges = True
        self.pulling: str | None = None  # why nodes that fetch images say that pods wait
        self.overtaking: list[
            bytes
        ] = []  # lines of jobs' that stand in logs before their launchers'
        self.printing = b""  # what jobs print in the moment in which they begin
        self.unwell: int | None = None  # with what agents end before they stand at their gates
        self.looks_end: int | None = None  # with this code, where one is said
        self.flood = 0  # bytes in each of a thousand messages of such a process; 0: it sends none
        self.begun: list[tuple[str, ...]] = []  # what was started beside pods' own, word for word
        self.elsewhere: str | None = None  # where who asks for streams is sent
        self.budgets: list[Document] = []
        self.taints: list[Document] = []
        self.between: Callable[[], object] | None = (
            None  # what happens before a claim changes or a pod is protected
        )
        self.lease: Document | None = None  # who runs the namespace
        self.manager: Path | None = None  # the socket of a manager that is a pod here
        self.denied: set[tuple[str, str]] = set()  # verbs and resources that Mayfly may not
        self.stuck: set[str] = set()  # names of pods whose node does not say that they have ended
        self._faults: list[tuple[str, re.Pattern[str], int, str, str]] = []
        self._server = _Server(("127.0.0.1", 0), _handler(self))
        self.stopping = False
        self.released = threading.Event()  # when those who are held get their answer

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping = True
        self.released.set()
        self.told.set()
        self.ring()
        for one in tuple(self.pods.values()):
            if one.job is not None and one.job.poll() is None:
                one.job.kill()
        self._server.shutdown()
        self._server.server_close()

    @property
    def server(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def kubeconfig(self) -> str:
        """What a file says that leads here."""
        return json.dumps(
            {
                "current-context": "fake",
                "contexts": [{"name": "fake", "context": {"cluster": "fake", "user": "me"}}],
                "clusters": [{"name": "fake", "cluster": {"server": self.server}}],
                "users": [{"name": "me", "user": {"token": self.token}}],
            }
        )

    # -- faults ----------------------------------------------------------------------------

    def fails(self, method: str, path: str, status: int, message: str, reason: str = "") -> None:
        """The next such call ends so."""
        self._faults.append((method, re.compile(path), status, message, reason))

    def fault(self, method: str, path: str) -> tuple[int, str, str] | None:
        for one in self._faults:
            if one[0] == method and one[1].search(path):
                self._faults.remove(one)
                return one[2:]
        return None

    def forget(self) -> None:
        """Every version before now is too old."""
        with self.lock:
            self.version += 1
            self.oldest = self.version
            self.history.clear()
        self.ring()

    def restore(self, version: int) -> None:
        """Its store is a copy of before; who watches from a later version hears nothing until then, as of a
        real server.
        """
        with self.lock:
            self.version = version
            self.history = [event for event in self.history if event[0] <= version]

    def leased(self, document: Document) -> Document | None:
        """Take a lease as it is written; ``None`` where somebody else was quicker."""
        with self.lock:
            about = document["metadata"]
            now = (self.lease or {}).get("metadata", {}).get("resourceVersion")
            if about.get("resourceVersion") != now:
                return None
            self.version += 1
            about["resourceVersion"] = str(self.version)
            self.lease = json.loads(json.dumps(document))
            return document

    def at_once(self, generation: str) -> bytes:
        """What an agent's job has printed by the time that anybody reads of its beginning."""
        return self.printing.replace(b"GENERATION", generation.encode())

    def pod(self, generation: str) -> FakePod:
        return next(one for one in self.pods.values() if one.generation == generation)

    # -- what its parts do -----------------------------------------------------------------

    def ring(self) -> None:
        with self._bell:
            self._bell.notify_all()

    def wait(self, seconds: float) -> None:
        with self._bell:
            self._bell.wait(seconds)

    def changed(self, kind: str, document: Document) -> None:
        with self.lock:
            self.version += 1
            document["metadata"]["resourceVersion"] = str(self.version)
            self.history.append((self.version, kind, json.loads(json.dumps(document))))
        self.ring()

    def create(self, document: Document) -> Document | None:
        """``None``: there is one of that name."""
        with self.lock:
            name = document["metadata"]["name"]
            if name in self.pods:
                return None
            document["metadata"]["uid"] = f"uid-{self.version}"
            document["metadata"]["creationTimestamp"] = stamp()
            document["status"] = {"phase": "Pending"}
            self.pods[name] = FakePod(self, document)
            self.changed("ADDED", document)
            found: Document = json.loads(json.dumps(document))
        if self.starts:
            threading.Thread(target=self.pods[name].start, daemon=True).start()
        return found

    def delete(self, name: str) -> None:
        """As a node does it whose pod has a second."""
        with self.lock:
            one = self.pods.get(name)
            if one is None:
                return
            one.document["metadata"]["deletionTimestamp"] = stamp()
            self.changed("MODIFIED", one.document)
            if name in self.stuck:
                return
        one.end(137, account=False)
        with self.lock:
            self.pods.pop(name, None)
            self.changed("DELETED", one.document)
            self.claims.collect({one.document["metadata"]["uid"] for one in self.pods.values()})

    def force_delete(self, name: str) -> FakePod:
        """As `--force --grace-period=0` does it: it is gone at once, and its processes go on."""
        with self.lock:
            one = self.pods.pop(name)
            self.changed("DELETED", one.document)
            self.claims.collect({one.document["metadata"]["uid"] for one in self.pods.values()})
            return one

    def collect_pods(self, *, condition: bool = True) -> tuple[FakePod, ...]:
        """As pod GC does it whose node's object is gone, or (without ``condition``) out of service: their
        processes may go on.
        """
        gone: Document = {
            "type": "DisruptionTarget",
            "status": "True",
            "reason": "DeletionByPodGC",
            "message": "PodGC: node no longer exists",
        }
        with self.lock:
            there = tuple(self.pods.values())
            for one in there:
                status = one.document["status"]
                status["phase"] = "Failed"
                if condition:
                    status["conditions"] = [*status.get("conditions", []), gone]
                self.changed("MODIFIED", one.document)
        for one in there:
            self.force_delete(one.name)
        return there

    def events_after(self, version: int) -> list[tuple[int, str, Document]]:
        with self.lock:
            return [event for event in self.history if event[0] > version]


class _Server(EndsAtOnce, ThreadingHTTPServer):
    daemon_threads = True


def _handler(cluster: FakeCluster) -> type[BaseHTTPRequestHandler]:
    class Handler(_Handler):
        fake = cluster

    return Handler


class _Handler(BaseHTTPRequestHandler):
    fake: FakeCluster
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Nothing."""

    def date_time_string(self, timestamp: float | None = None) -> str:
        return super().date_time_string(int(time.time() + self.fake.ahead))

    def _asked(self) -> tuple[str, dict[str, list[str]]]:
        parts = urlsplit(self.path)
        return parts.path, parse_qs(parts.query)

    def _body(self) -> Document:
        size = int(self.headers.get("Content-Length") or 0)
        found: Document = json.loads(self.rfile.read(size) or b"{}")
        return found

    def _answer(self, status: int, document: Document) -> None:
        data = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _refuse(self, status: int, message: str, reason: str = "") -> None:
        document = {"kind": "Status", "status": "Failure", "message": message, "code": status}
        self._answer(status, {**document, "reason": reason})

    def _failing(self, method: str, path: str) -> bool:
        self.fake.calls.append(f"{method} {path}")
        if self.headers.get("Authorization") != f"Bearer {self.fake.token}":
            self._refuse(401, "Unauthorized")
            return True
        found = self.fake.fault(method, path)
        if found is not None:
            self._refuse(*found)
        return found is not None

    def do_GET(self) -> None:
        path, query = self._asked()
        if self.headers.get("Upgrade", "").lower() == "websocket":
            self._upgraded(path, query)
        elif self._failing("WATCH" if "watch" in query else "GET", path):
            return
        elif path.startswith("/apis/resource.k8s.io/v1"):
            self._of_claims(path, query)
        elif path == f"/api/v1/namespaces/{NAMESPACE}":
            self._the_namespace()
        elif path.endswith("/resourcequotas"):
            self._answer(200, {"items": self.fake.quotas})
        elif path.split("/")[-2] in ("runtimeclasses", "priorityclasses"):
            self._the_class(path.rpartition("/")[2])
        elif path in FIXED:
            self._answer(200, FIXED[path])
        elif path.endswith("/pods") and "watch" in query:
            self._watch(int(query["resourceVersion"][0]))
        elif path.endswith("/pods"):
            self._list("component=manager" in query.get("labelSelector", [""])[0])
        elif path.endswith("/leases/mayfly"):
            self._the_lease()
        elif path.endswith("/log"):
            self._log(path.split("/")[-2], query)
        else:
            self._the_pod(path)

    def _the_class(self, name: str) -> None:
        if name in self.fake.classes:
            self._answer(200, {"metadata": {"name": name}})
        else:
            self._refuse(404, f'"{name}" not found', "NotFound")

    def _the_namespace(self) -> None:
        if ("get", "namespaces") in self.fake.denied:
            self._refuse(403, "forbidden", "Forbidden")
        else:
            self._answer(200, {"metadata": {"name": NAMESPACE, "uid": self.fake.uid}})

    def _the_pod(self, path: str) -> None:
        one = self.fake.pods.get(path.rpartition("/")[2])
        if one is None:
            self._refuse(404, f'pods "{path}" not found', "NotFound")
        else:
            with self.fake.lock:
                self._answer(200, one.document)

    def _of_claims(self, path: str, query: dict[str, list[str]]) -> None:
        if not self.fake.has_claims:
            self._refuse(404, "the server could not find the requested resource", "NotFound")
        elif path.endswith("/resourceclaims"):
            with self.fake.lock:
                self._answer(200, self.fake.claims.selected(query.get("labelSelector", [""])[0]))
        elif (
            path.endswith("/devicetaintrules") and ("list", "devicetaintrules") in self.fake.denied
        ):
            self._refuse(403, "forbidden", "Forbidden")
        elif path.endswith("/devicetaintrules"):
            self._answer(200, {"items": self.fake.taints})
        elif path.endswith("/resourceslices"):
            self._answer(200, self.fake.claims.slices())
        else:
            kinds = [{"name": "resourceclaims"}, {"name": "devicetaintrules"}]
            self._answer(200, {"kind": "APIResourceList", "resources": kinds})

    def do_PATCH(self) -> None:
        path, _ = self._asked()
        body = self._body()
        if self._failing("PATCH", path):
            return
        self._between()
        with self.fake.lock:
            one = self.fake.claims.merge(path.rpartition("/")[2], body)
            if one is None:
                self._refuse(404, "not found", "NotFound")
            else:
                self._answer(200, one)

    def _between(self) -> None:
        between, self.fake.between = self.fake.between, None
        if between is not None:
            between()

    def _the_lease(self) -> None:
        if self.fake.lease is None:
            self._refuse(404, 'leases.coordination.k8s.io "mayfly" not found', "NotFound")
        else:
            self._answer(200, self.fake.lease)

    def _list(self, managers: bool) -> None:
        with self.fake.lock:
            items = [one.document for one in self.fake.pods.values()]
            if managers:
                items = [MANAGER] if self.fake.manager is not None else []
            about = {"resourceVersion": str(self.fake.version)}
            self._answer(200, {"kind": "PodList", "metadata": about, "items": items})

    def do_POST(self) -> None:
        path, _ = self._asked()
        body = self._body()
        if self._failing("POST", path):
            return
        if path.endswith("/selfsubjectaccessreviews"):
            asked = body["spec"]["resourceAttributes"]
            what = "/".join(filter(None, (asked["resource"], asked.get("subresource"))))
            allowed = (asked["verb"], what) not in self.fake.denied
            self._answer(201, {"status": {"allowed": allowed}})
            return
        if path.endswith("/poddisruptionbudgets"):
            self._between()
            self.fake.budgets.append(body)
            self._answer(201, body)
            return
        if path.endswith("/leases"):
            self._leased(body, "AlreadyExists")
            return
        if path.endswith("/devicetaintrules"):
            name = body["metadata"]["name"]
            if any(one["metadata"]["name"] == name for one in self.fake.taints):
                self._refuse(409, "already exists", "AlreadyExists")
                return
            self.fake.taints.append(body)
            self._answer(201, body)
            return
        if path.endswith("/resourceclaims"):
            with self.fake.lock:
                made = self.fake.claims.create(body)
            self.fake.ring()
        else:
            made = self.fake.create(body)
        if made is None:
            name = body["metadata"]["name"]
            self._refuse(409, f'"{name}" already exists', "AlreadyExists")
        else:
            self._answer(201, made)

    def do_PUT(self) -> None:
        path, _ = self._asked()
        body = self._body()
        if not self._failing("PUT", path):
            self._leased(body, "Conflict")

    def _leased(self, body: Document, conflict: str) -> None:
        taken = self.fake.leased(body)
        if taken is None:
            self._refuse(409, "the object has been modified", conflict)
        else:
            self._answer(200, taken)

    def do_DELETE(self) -> None:
        path, _ = self._asked()
        body = self._body()
        if self._failing("DELETE", path):
            return
        one = self.fake.pods.get(path.rpartition("/")[2])
        if one is None:
            self._refuse(404, "not found", "NotFound")
            return
        wanted = (body.get("preconditions") or {}).get("uid")
        if wanted != one.document["metadata"]["uid"]:
            self._refuse(409, "Precondition failed: UID in precondition", "Conflict")
            return
        threading.Thread(target=self.fake.delete, args=(one.name,), daemon=True).start()
        self._answer(200, one.document)

    # -- streams ---------------------------------------------------------------------------

    def _begin(self) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.close_connection = True

    def _chunk(self, data: bytes) -> bool:
        try:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
            self.wfile.flush()
        except OSError:
            return False
        return True

    def _watch(self, version: int) -> None:
        if self.fake.fault("HOLD", "/watch") is not None:
            self.fake.released.wait()
        self._begin()
        while not self.fake.stopping:
            if version < self.fake.oldest:
                expired = {"kind": "Status", "code": 410, "reason": "Expired"}
                expired["message"] = "too old resource version"
                self._chunk(json.dumps({"type": "ERROR", "object": expired}).encode() + b"\n")
                break
            if self.fake.fault("END", "/watch") is not None:
                break  # as at its time
            cut = self.fake.fault("CUT", "/watch")
            if cut is not None:
                return
            for number, kind, document in self.fake.events_after(version):
                version = number
                line = json.dumps({"type": kind, "object": document}).encode() + b"\n"
                if not self._chunk(line):
                    return
            self.fake.wait(0.2)
        self._chunk(b"")

    def _log(self, name: str, query: dict[str, list[str]]) -> None:
        one = self.fake.pods.get(name)
        if one is None:
            self._refuse(404, f'pods "{name}" not found', "NotFound")
            return
        if self.fake.fault("UNAVAILABLE", "/log") is not None:
            self._begin()
            self._chunk(b"unable to retrieve container logs for containerd://x")
            self._chunk(b"")
            return
        self._begin()
        at, follow = 0, query.get("follow") == ["true"]
        stamped = query.get("timestamps") == ["true"]
        since = query.get("sinceTime", [""])[0].encode()
        if "tailLines" in query:
            at = max(0, len(one.log) - int(query["tailLines"][0]))
        while True:
            over = not follow or not one.runs or self.fake.stopping
            for line in one.log[at:]:
                at += 1
                text = line if stamped else line.partition(b" ")[2]
                if b"broken" in line and self.fake.fault("BREAK", "/log") is not None:
                    self._chunk(text[: len(text) // 2 + 10])
                    self._chunk(b"")
                    return
                if line >= since and not self._chunk(text):
                    return
            if over:
                break
            self.fake.wait(0.2)
        self._chunk(b"")

    def _upgraded(self, path: str, query: dict[str, list[str]]) -> None:
        name, kind = path.split("/")[-2:]
        if self._failing("GET", path):
            return
        if self.fake.elsewhere is not None:
            self.send_response(302)
            self.send_header("Location", f"{self.fake.elsewhere}{self.path}")
            self.end_headers()
            return
        one = self.fake.pods.get(name)
        enters = name == MANAGER["metadata"]["name"] and self.fake.manager is not None
        if not enters and (one is None or not one.runs or one.over):
            self._refuse(500, "container agent not found in pod")
            return
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.send_header("Sec-WebSocket-Accept", accepted(self.headers["Sec-WebSocket-Key"]))
        self.send_header("Sec-WebSocket-Protocol", "v5.channel.k8s.io")
        self.end_headers()
        self.close_connection = True
        end = WebSocketEnd(self.rfile, self.wfile)  # type: ignore[arg-type]
        for stream in (1, 2, 3):
            end.send(stream, b"")
        if one is None:
            self._run(end, query["command"])
        elif kind == "attach":
            self._attach(one, end)
        else:
            self._exec(one, end, query["command"])

    def _run(self, end: WebSocketEnd, argv: list[str]) -> None:
        """A process of this machine, as one beside a manager whose socket is there."""
        process = subprocess.Popen(
            [sys.executable, *argv[1:]],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "MAYFLY_HOST__SOCKET": str(self.fake.manager)},
            bufsize=0,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        said, told = process.stdout, process.stderr

        def ends() -> None:
            while data := said.read(65536):
                end.send(1, data)
            end.send(2, told.read())
            code = process.wait()
            causes = [{"reason": "ExitCode", "message": str(code)}]
            failed = {"status": "Failure", "details": {"causes": causes}}
            end.send(3, json.dumps({"status": "Success"} if code == 0 else failed).encode())
            end.close()

        threading.Thread(target=ends, daemon=True).start()
        with suppress(OSError):
            for piece in self._pieces(end):
                process.stdin.write(piece)
            process.stdin.close()
        process.wait()

    def _attach(self, one: FakePod, end: WebSocketEnd) -> None:
        if self.fake.acknowledges:
            one.attached.append(end)
        data, limit = b"", self.fake.cut_attach_after
        while (message := end.receive()) is not None:
            if message[:1] != b"\0":
                continue
            data += message[1:]
            if limit is not None and len(data) >= limit:
                self.connection.close()
                break
            if not one.opened and one.input(data):
                limit = None
        if end in one.attached:
            one.attached.remove(end)
        if not one.opened:
            one.end(64, died="standard input ended in the middle of the frame")

    def _exec(self, one: FakePod, end: WebSocketEnd, argv: list[str]) -> None:
        self.fake.begun.append(tuple(argv))
        while argv[0] in ("/usr/bin/setpriv", "/usr/bin/env"):
            known = ("/bin/cat", "/bin/true", "/bin/sh", "tar", "getent")
            argv = argv[next(at for at, word in enumerate(argv) if word in known) :]
        code = 0
        match argv:
            case ["/bin/sh", "-c", script] if "echo ready" in script:
                said = "ready\n" + ("opened\nuser 1000:1000\n" if one.opened else "")
                said += f"key {one.key}\n" if one.key else ""
                end.send(1, said.encode())
            case ["/bin/sh", "-c", script] if "opened" in script:
                code = 0 if one.opened else 1
                code = code if self.fake.looks_end is None else self.fake.looks_end
            case ["/bin/sh", "-c", _, "signal", name]:
                one.signal(name)
            case ["/bin/sh", "-c", _, "unpack", *_]:
                code = self._unpack(one, end)
            case ["/bin/cat"]:
                self._echo(one, end)
            case _:
                code = 0 if argv[0] == "/bin/true" else 1
        causes = [{"reason": "ExitCode", "message": str(code)}]
        failed = {"status": "Failure", "details": {"causes": causes}}
        end.send(3, json.dumps({"status": "Success"} if code == 0 else failed).encode())
        end.close()

    def _pieces(self, end: WebSocketEnd) -> Iterator[bytes]:
        while (message := end.receive()) is not None and message != b"\xff\0":
            if message[:1] == b"\0":
                yield message[1:]

    def _unpack(self, one: FakePod, end: WebSocketEnd) -> int:
        data = b"".join(self._pieces(end))
        good = data[257:262] == b"ustar" or not data.strip(b"\0")
        if good:
            one.tree.append(data)
        return 0 if good else 2

    def _echo(self, one: FakePod, end: WebSocketEnd) -> None:
        for _ in range(1000 if self.fake.flood else 0):
            end.send(1, b"y" * self.fake.flood)
        one.attached.append(end)
        for piece in self._pieces(end):
            end.send(1, piece)
        one.attached.remove(end)


def until(look: Callable[[], object], seconds: float = 20.0) -> None:
    """Wait for a state."""
    last = time.monotonic() + seconds
    while not look():
        assert time.monotonic() < last
        time.sleep(0.02)
