"""GitLab's runner with the docker executor: a job with `image:`, a service, a cache and a network of its own.

Order and bodies of each call: gitlab-org/gitlab-runner, executors/docker, docker.go, services.go,
docker_command.go, internal/exec, internal/wait, internal/networks, internal/volumes. HELPER is the helper
image; that of the job has its two words, too.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from typing import Any

from tests.real.containers.service_clients.docker_calls import (
    GPUS,
    IMAGE,
    SERVICE,
    WORK,
    Differs,
    ended,
    must,
    tell,
)
from tests.real.containers.service_clients.engine_http import Engine, Unlike

HELPER = os.environ.get("HELPER", IMAGE)
LABEL = "com.gitlab.gitlab-runner"
UNIQUE = "runner-t1_abcdefg-project-7-concurrent-0"
JOB = 4711
PROJECT = "/builds/group/project"
LOG = {"Type": "json-file", "Config": {}}
NEVER = {"Name": "no", "MaximumRetryCount": 0}


def labels(**more: str) -> dict[str, str]:
    told = {
        "job.id": str(JOB),
        "job.url": "https://gitlab.example.org/-/jobs/4711",
        "job.sha": "0" * 40,
        "job.before_sha": "0" * 40,
        "job.ref": "main",
        "project.id": "7",
        "pipeline.id": "1",
        "runner.id": "t1_abcdefg",
        "runner.local_id": "0",
        "managed": "true",
        **more,
    }
    return {f"{LABEL}.{name}": value for name, value in told.items()}


class Executor:
    """One job's calls, in their order."""

    def __init__(self) -> None:
        self.engine = Engine()
        self.name = f"{UNIQUE}-{secrets.token_hex(8)}"
        self.network = f"{UNIQUE}-job-{JOB}-network"
        self.made: list[str] = []
        self.cache = f"{UNIQUE}-cache-{hashlib.md5(b'/cache').hexdigest()}"
        self.binds = [
            f"{WORK}:/builds",
            "/var/run/docker.sock:/var/run/docker.sock",
            f"{self.cache}:/cache",
        ]

    def call(self, method: str, path: str, body: object = None, **query: object) -> Any:
        try:
            found = self.engine.call(method, path, body, query or None)
        except Unlike as fault:
            tell(f"{method} {path}", body=body, status=fault.status, said=str(fault))
            raise
        tell(f"{method} {path}", body=body, said=json.dumps(found, default=str)[:300])
        return found

    def connect(self) -> None:
        info = self.call("GET", "/info")
        must(info["OSType"] == "linux", f"OSType {info['OSType']}")
        must(info["Architecture"], "the helper image is chosen by Architecture")
        for key in ("KernelVersion", "ServerVersion"):
            must(isinstance(info[key], str), f"info has no {key}")
        must(self.call("GET", "/version")["ApiVersion"], "version has no ApiVersion")

    def build_network(self) -> None:
        body = {"Name": self.network, "Labels": labels(), "EnableIPv6": False, "Options": {}}
        made = self.call("POST", "/networks/create", body)
        found = self.call("GET", f"/networks/{made['Id']}")
        must(found["Name"] == self.network, f"the network is called {found['Name']}")
        self.network_id = made["Id"]

    def image(self, name: str) -> dict[str, Any]:
        """By the pull policy if-not-present."""
        try:
            found: dict[str, Any] = self.call("GET", f"/images/{name}/json")
        except Unlike as fault:
            if fault.status != 404:
                raise
            self.call("POST", "/images/create", fromImage=name, tag="latest")
            found = self.call("GET", f"/images/{name}/json")
        return found

    def cache_volume(self) -> None:
        """`/cache`, which belongs to nobody, and a container that lets everybody write there."""
        made = self.call(
            "POST", "/volumes/create", {"Name": self.cache, "Labels": labels(type="cache")}
        )
        must(made["Name"] == self.cache, f"the volume is called {made['Name']}")
        at = "/gitlab-runner-cache-init"
        config = {
            "Image": self.image(HELPER)["Id"],
            "Cmd": ["gitlab-runner-helper", "cache-init", at],
            "Labels": labels(type="cache-init"),
            "HostConfig": {"LogConfig": LOG, "Binds": [f"{self.cache}:{at}"]},
        }
        container = self.create(f"{self.cache}-set-permission-{secrets.token_hex(8)}", config)
        self.call("POST", f"/containers/{container}/start")
        self.wait(container)
        self.call("DELETE", f"/containers/{container}", force=1)

    def create(self, name: str, config: dict[str, Any]) -> str:
        made = self.call("POST", "/containers/create", config, name=name)
        return str(made["Id"])

    def wait(self, container: str) -> None:
        found = self.call("POST", f"/containers/{container}/wait", condition="not-running")
        if found["StatusCode"] != 0:
            raise Differs(f"exit code {found['StatusCode']}: {self.engine.logs(container)!r}")

    def remove(self, container: str) -> None:
        """What the executor does before each create, too, where nothing is of that name."""
        for network in self.call("GET", "/networks"):
            for plugged in (network.get("Containers") or {}).values():
                must(plugged.get("Name") != container, "a list of networks has no containers")
        self.call("DELETE", f"/containers/{container}", v=1, force=1)

    def network_config(self, *aliases: str) -> dict[str, Any]:
        one = {"MacAddress": "", "Aliases": list(aliases), "IPAMConfig": None, "Links": None}
        return {"EndpointsConfig": {self.network: one}}

    def service(self) -> str:
        image = self.image(SERVICE)
        name = f"{self.name}-lab__web-0"
        self.without(name)
        config = {
            "Image": image["Id"],
            "Labels": labels(type="service", service="web", **{"service.version": "latest"}),
            "Env": ["CI=true", "GREETING=hello"],
            "HostConfig": {**self.host_config(), "Binds": self.binds},
            "NetworkingConfig": self.network_config("lab-web", "web"),
        }
        container = self.create(name, config)
        self.made.append(container)
        self.call("POST", f"/containers/{container}/start")
        self.reachable(container, name)
        return container

    def without(self, name: str) -> None:
        try:
            self.remove(name)
        except Unlike as fault:
            must(fault.status == 404, f"what is not there is {fault}")

    def reachable(self, service: str, name: str) -> None:
        """The helper's container tries each port of the image, by the short id of the service."""
        ports = self.call("GET", f"/containers/{service}/json")["Config"]["ExposedPorts"]
        numbers = sorted(int(port.split("/")[0]) for port in ports)
        env = [f"WAIT_FOR_SERVICE_TCP_ADDR={service[:12]}"]
        env += [f"WAIT_FOR_SERVICE_{number}_TCP_PORT={number}" for number in numbers]
        config = {
            "Image": self.image(HELPER)["Id"],
            "Cmd": ["gitlab-runner-helper", "health-check"],
            "Env": env,
            "Labels": labels(type="wait", wait=service),
            "HostConfig": {
                "RestartPolicy": NEVER,
                "NetworkMode": self.network,
                "LogConfig": LOG,
                "Links": None,
            },
        }
        container = self.create(f"{name}-wait-for-service", config)
        self.call("POST", f"/containers/{container}/start")
        self.wait(container)
        self.remove(container)

    def host_config(self) -> dict[str, Any]:
        """With every key that the runner's type has, most of them empty."""
        asked = [
            {"Driver": "", "Count": -1, "DeviceIDs": None, "Capabilities": [["gpu"]], "Options": {}}
        ]
        return {
            "Memory": 0,
            "MemorySwap": 0,
            "MemoryReservation": 0,
            "CgroupParent": "",
            "CpusetCpus": "",
            "CpuShares": 0,
            "NanoCpus": 0,
            "Devices": None,
            "DeviceRequests": asked if GPUS else None,
            "DeviceCgroupRules": None,
            "Ulimits": [],
            "OomKillDisable": False,
            "Dns": None,
            "DnsSearch": None,
            "Runtime": "",
            "Privileged": False,
            "GroupAdd": None,
            "UsernsMode": "",
            "CapAdd": None,
            "CapDrop": None,
            "SecurityOpt": None,
            "RestartPolicy": NEVER,
            "ExtraHosts": None,
            "NetworkMode": self.network,
            "IpcMode": "",
            "Links": None,
            "OomScoreAdj": 0,
            "ShmSize": 0,
            "Isolation": "",
            "VolumeDriver": "",
            "VolumesFrom": None,
            "LogConfig": LOG,
            "Tmpfs": None,
            "Sysctls": None,
        }

    def container(self, kind: str, image: str, cmd: list[str]) -> str:
        name = f"{self.name}-{kind}"
        config = {
            "Image": image,
            "Hostname": UNIQUE,
            "Cmd": cmd,
            "Labels": labels(type=kind),
            "Tty": False,
            "AttachStdin": True,
            "AttachStdout": True,
            "AttachStderr": True,
            "OpenStdin": True,
            "StdinOnce": True,
            "Env": ["CI=true", f"CI_PROJECT_DIR={PROJECT}", "SECRET=s3cr3t"],
            "User": "",
            "Entrypoint": None,
            "HostConfig": {**self.host_config(), "Binds": self.binds},
            "NetworkingConfig": self.network_config("build", name),
        }
        self.without(name)
        container = self.create(name, config)
        self.made.append(container)
        self.call("GET", f"/containers/{container}/json")
        return container

    def stage(self, container: str, script: str) -> str:
        """Attached, started, its script on its input, and waited for; a container may have several."""
        said = self.engine.attached(container, script).decode()
        tell(f"attach {container[:12]}", said=said)
        self.wait(container)
        return said

    def clean_up(self) -> None:
        for container in self.made:
            self.remove(container)
        self.call("DELETE", f"/volumes/{self.cache}", force=1)
        must(
            not self.call("GET", f"/networks/{self.network_id}")["Containers"], "it has containers"
        )
        self.call("DELETE", f"/networks/{self.network_id}")


def main() -> None:
    job = Executor()
    job.connect()
    job.build_network()
    job.cache_volume()
    job.service()
    helper, image = job.image(HELPER)["Id"], job.image(IMAGE)["Id"]
    clone = job.container("predefined", helper, ["bash"])
    said = job.stage(
        clone, f"mkdir -p {PROJECT} && cd {PROJECT} && echo cloned | tee checked-out\n"
    )
    must(said == "cloned\n", f"the helper said {said!r}")
    build = job.container("build", image, ["bash"])
    said = job.stage(build, f"cd {PROJECT}; cat checked-out; echo $SECRET; echo kept >/cache/it\n")
    must(said == "cloned\ns3cr3t\n", f"the job said {said!r}")
    said = job.stage(build, "curl -fsS http://web:8080/; cat /cache/it; ls /var/run/docker.sock\n")
    must(said == "hello\nkept\n/var/run/docker.sock\n", f"the job's next stage said {said!r}")
    try:
        job.stage(build, "exit 3\n")
    except Differs as fault:
        must("exit code 3" in str(fault), str(fault))
    else:
        raise Differs("a script that ends with 3 is told as 0")
    must((WORK / "group/project/checked-out").read_text() == "cloned\n", "the clone is not there")
    job.clean_up()
    ours = json.dumps({"label": [f"{LABEL}.managed=true"]})
    left = job.call("GET", "/containers/json", all=1, filters=ours)
    must(not left, f"something is left: {[one['Names'] for one in left]}")


if __name__ == "__main__":
    ended(main)
