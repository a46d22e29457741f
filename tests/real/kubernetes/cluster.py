"""A Kubernetes of one node, real in all its parts but the GPUs: booted in seconds, and gone without a trace.

    with Cluster(lab_parts()) as cluster, cluster.namespace("test") as space:
        cluster.api.post(f"/api/v1/namespaces/{space.name}/pods", pod)
        cluster.kill_kubelet()

It has four GPUs by a device plugin and four by a driver of resource claims. This host's Docker Engine is
asked for images and otherwise left alone.
"""

from __future__ import annotations

import json
import secrets
import signal
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Self

import requests

from tests.harness import until
from tests.real.kubernetes import lab_settings
from tests.real.kubernetes.cluster_api import ApiFault, ClusterApi
from tests.real.kubernetes.image_archive import image_archive
from tests.real.kubernetes.lab_parts import LabParts
from tests.real.kubernetes.lab_settings import DRIVER, NODE, PAUSE, RESOURCE, gpu
from tests.real.kubernetes.namespace import Namespace
from tests.real.kubernetes.node_machine import NodeMachine, sweep_up

IMAGES = ("mayfly/local:cpu",)
GPUS = 4  # of each kind
PLUGIN_GPUS = tuple(gpu("a", number) for number in range(GPUS))
CLAIMED_GPUS = tuple(gpu("d", number) for number in range(GPUS))
LOADING = 240.0  # seconds for an image to get in
_PLUGINS = "/var/lib/kubelet/device-plugins"


class Cluster:
    """One such cluster; a context manager that boots it and leaves nothing behind."""

    def __init__(self, parts: LabParts, images: Sequence[str] = IMAGES) -> None:
        self._parts = parts
        self._images = images
        self._token = secrets.token_hex(16)
        self._loaded: set[str] = set()
        self.machine = NodeMachine()
        self.home = self.machine.home

    # -- its life --------------------------------------------------------------------------

    def __enter__(self) -> Self:
        sweep_up()
        try:
            self.machine.__enter__()
            self._write()
            self._boot()
        except BaseException:
            self.machine.destroy()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.machine.destroy()

    def _write(self) -> None:
        home = self.home
        for name in ("cdi", "cni", "pki"):
            (home / name).mkdir()
        (home / "containerd.toml").write_text(lab_settings.containerd(home, self._parts.cni))
        (home / "cni/10-pods.conflist").write_text(lab_settings.network(home, self.machine.pods))
        (home / "kubelet.yaml").write_text(
            lab_settings.kubelet(home, self.machine.address, self.machine.cgroup)
        )
        (home / "tokens.csv").write_text(f"{self._token},admin,1,system:masters\n")
        (home / "audit.json").write_text(lab_settings.audit())
        self.write_kubeconfig(home / "kubeconfig", self._token)
        words = ["openssl", "genrsa", "-out", str(home / "pki/accounts.key"), "2048"]
        subprocess.run(words, check=True, capture_output=True)

    def _boot(self) -> None:
        self.machine.start(
            "containerd",
            self._parts.programs / "containerd",
            f"--config={self.home}/containerd.toml",
            environment={"PATH": f"{self._parts.programs}:/usr/sbin:/usr/bin:/sbin:/bin"},
        )
        loading = threading.Thread(target=self._load_first)
        loading.start()
        self._start("etcd", f"{self.home}/etcd", lab_settings.STORE)
        self.start_apiserver()
        self._start("scheduler", f"--kubeconfig={self.home}/kubeconfig", "--leader-elect=false")
        self._start("controllers", *lab_settings.controllers(self.home))
        loading.join()
        self._start_node()
        until(self.is_ready, "the node is ready, with its GPUs")

    def _start(self, part: str, *argv: str) -> None:
        self.machine.start(
            part,
            self._parts.kubelab,
            part,
            *argv,
            environment={"PATH": f"{self._parts.programs}:/usr/sbin:/usr/bin:/sbin:/bin"},
        )

    def _load_first(self) -> None:
        until((self.home / "containerd.sock").exists, "containerd listens")
        image_archive(PAUSE, self._parts.pause, self.home / "pause.tar")
        self.ctr("images", "import", f"{self.home}/pause.tar")
        for image in self._images:
            self.load(image)

    # -- what it is asked for --------------------------------------------------------------

    @property
    def server(self) -> str:
        """Where its API is."""
        return f"https://{self.machine.address}"

    @property
    def authority(self) -> Path:
        """The certificate that its API is known by."""
        return self.home / "pki/apiserver.crt"

    @property
    def kubeconfig(self) -> Path:
        """Of an administrator."""
        return self.home / "kubeconfig"

    @property
    def api(self) -> ClusterApi:
        """As an administrator; a connection of its own each time."""
        return ClusterApi(self.server, self.authority, self._token)

    def write_kubeconfig(self, place: Path, token: str, namespace: str = "default") -> None:
        """Write the kubeconfig of whoever has that token."""
        place.write_text(lab_settings.kubeconfig(self.server, self.authority, token, namespace))
        place.chmod(0o600)

    def kubectl_words(self) -> list[str]:
        """What a command line of an administrator's begins with."""
        return [str(self._parts.kubelab), "kubectl", f"--kubeconfig={self.kubeconfig}"]

    def kubectl(
        self, *argv: str, stdin: str | None = None, check: bool = True, timeout: float = 120
    ) -> subprocess.CompletedProcess[str]:
        """What ``kubectl`` says to an administrator."""
        done = subprocess.run(
            [*self.kubectl_words(), *argv],
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
        )
        assert not check or done.returncode == 0, f"kubectl {' '.join(argv)}: {done.stderr}"
        return done

    def ctr(self, *argv: str, stdin: IO[bytes] | None = None) -> str:
        """What containerd's own client says; it runs where the node's files are mounted."""
        words = ["--address", f"{self.home}/containerd.sock", "--namespace", "k8s.io", *argv]
        done = subprocess.run(
            [*self.machine.inside(), self._parts.programs / "ctr", *words],
            stdin=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=LOADING,
        )
        assert done.returncode == 0, f"ctr {' '.join(argv)}: {done.stderr}"
        return done.stdout

    def load(self, image: str, *, anew: bool = False) -> None:
        """Have it load that image of this host's Engine, unless it has; ``anew``: whatever it has."""
        if image in self._loaded and not anew:
            return
        saved = subprocess.Popen(["docker", "save", image], stdout=subprocess.PIPE)
        try:
            self.ctr("images", "import", "-", stdin=saved.stdout)
            assert saved.wait(LOADING) == 0, f"this host's Engine does not have {image}"
        finally:
            saved.kill()
            saved.wait()
        self._loaded.add(image)

    def calls(self) -> list[str]:
        """What accounts of namespaces have asked for so far, each as VERB RESOURCE[/SUBRESOURCE]."""
        place = self.home / "audit.log"
        rows = (
            [json.loads(line) for line in place.read_text().splitlines()] if place.exists() else []
        )
        found = []
        for row in rows:
            of = row.get("objectRef") or {}
            parts = (of.get("resource", row["requestURI"]), of.get("subresource"))
            found.append(f"{row['verb']} {'/'.join(part for part in parts if part)}")
        return found

    def device_class(self) -> str:
        """A class with all GPUs of the driver of claims, which is there afterwards."""
        classes = "/apis/resource.k8s.io/v1/deviceclasses"
        if self.api.there(f"{classes}/{DRIVER}") is None:
            drivers = {"cel": {"expression": f'device.driver == "{DRIVER}"'}}
            self.api.post(classes, {"metadata": {"name": DRIVER}, "spec": {"selectors": [drivers]}})
        return DRIVER

    def node(self) -> Any:
        """Its node, as the API shows it."""
        return self.api.get(f"/api/v1/nodes/{NODE}")

    def is_ready(self) -> bool:
        """Whether pods can run, and all GPUs are there."""
        try:
            status = self.node()["status"]
            slices = self.api.get("/apis/resource.k8s.io/v1/resourceslices")["items"]
        except (ApiFault, requests.RequestException):
            return False
        conditions = {row["type"]: row["status"] for row in status["conditions"]}
        devices = [device for one in slices for device in one["spec"]["devices"]]
        return (
            conditions.get("Ready") == "True"
            and status["allocatable"].get(RESOURCE) == str(GPUS)
            and len(devices) == GPUS
        )

    @contextmanager
    def namespace(self, prefix: str, **labels: str) -> Iterator[Namespace]:
        """A namespace of one's own, in which pods can be made; it goes with all that is in it."""
        name = f"{prefix[:40]}-{secrets.token_hex(4)}"
        self.api.post("/api/v1/namespaces", {"metadata": {"name": name, "labels": labels}})
        account = f"/api/v1/namespaces/{name}/serviceaccounts/default"
        until(lambda: self.api.there(account), f"{name} has its own account")
        space = Namespace(self, name)
        try:
            yield space
        finally:
            space.close()

    # -- what goes wrong -------------------------------------------------------------------

    def start_apiserver(self) -> None:
        """Start it, and wait until it is ready."""
        self._start("apiserver", *lab_settings.apiserver(self.home, self.machine.address))
        until(self._answers, "the API server is ready")

    def kill_apiserver(self, sig: signal.Signals = signal.SIGKILL) -> None:
        """End it; pods go on."""
        self.machine.kill("apiserver", sig)

    def _answers(self) -> bool:
        assert self.machine.runs("apiserver"), self.machine.log("apiserver")[-3000:]
        if not self.authority.exists():
            return False
        try:
            return self.api.text("/readyz") == "ok"
        except (ApiFault, requests.RequestException, OSError):
            return False

    def start_kubelet(self) -> None:
        """Start it again, and wait until its node is ready, with its GPUs."""
        self._start_node()
        until(self.is_ready, "the node is ready again, with its GPUs")

    def kill_kubelet(self) -> None:
        """End it; pods go on, and nobody says how."""
        for part in ("kubelet", "plugin", "dra"):
            self.machine.kill(part)

    def _start_node(self) -> None:
        socket = self.machine.path(f"{_PLUGINS}/kubelet.sock")
        socket.unlink(missing_ok=True)
        self._start(
            "kubelet",
            f"--config={self.home}/kubelet.yaml",
            f"--kubeconfig={self.home}/kubeconfig",
            f"--node-ip={self.machine.address}",
            f"--hostname-override={NODE}",
        )
        until(socket.exists, "kubelet listens for device plugins")
        self._say_health(())
        self._start("plugin", _PLUGINS, RESOURCE, f"{self.home}/gpus.json")
        self._start(
            "dra", f"{self.home}/kubeconfig", NODE, DRIVER, f"{self.home}/cdi", *CLAIMED_GPUS
        )

    def make_ill(self, *uuids: str) -> None:
        """Those GPUs of the plugin's are ill from now on, and no others."""
        self._say_health(uuids)
        self.machine.send_signal("plugin", signal.SIGHUP)

    def _say_health(self, ill: Sequence[str]) -> None:
        written = json.dumps({"devices": PLUGIN_GPUS, "unhealthy": ill})
        place = self.home / "gpus.json"
        place.with_suffix(".new").write_text(written)
        place.with_suffix(".new").rename(place)

    def drain(self, *options: str) -> subprocess.CompletedProcess[str]:
        """Empty the node as an administrator does; ``options`` such as ``--grace-period=1``."""
        words = ("--force", "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=60s")
        return self.kubectl("drain", NODE, *words, *options, check=False)

    def uncordon(self) -> None:
        """Let pods on the node again."""
        self.kubectl("uncordon", NODE)
