"""Microsoft's agent with a job that has `container:` and `services:`.

Order and words of each call: microsoft/azure-pipelines-agent, src/Agent.Worker,
ContainerOperationProvider.cs, Container/DockerCommandManager.cs, Handlers/StepHost.cs.
"""

from __future__ import annotations

import os
import pwd
import secrets
from pathlib import Path

from tests.real.containers.service_clients.docker_calls import (
    EXTERNALS,
    GPUS,
    IMAGE,
    SERVICE,
    WORK,
    asked_over_http,
    bring_along,
    clear_stale,
    docker,
    ended,
    have,
    healthy,
    must,
    not_in_a_container,
    port_of,
    running,
    unique,
    versions,
    volumes,
)

LABEL = "d4e5f6"  # six digits of a checksum of the agent's folder
NODE_LABEL = "com.azure.dev.pipelines.agent.handler.node.path"
BUILD = WORK / "1"
TEMP, TASKS, TOOLS = WORK / "_temp", WORK / "_tasks", WORK / "_tool"


def make_folders() -> None:
    """What the agent has made before it starts containers."""
    for folder in (BUILD / "s", TEMP, TASKS, TOOLS):
        folder.mkdir(parents=True, exist_ok=True)
    bring_along()
    (WORK / ".taskkey").write_text("")
    (BUILD / "s/checked-out").write_text("by the agent\n")


def started(name: str, *words: str) -> str:
    named = ["--name", unique(f"{name}_image_"), "--label", LABEL]
    container = docker("create", *named, *words)[0]
    docker("start", container)
    running(container)
    return container


def binds() -> list[str]:
    return volumes(
        f"{BUILD}:/__w/1",
        f"{TEMP}:/__w/_temp",
        f"{TASKS}:/__w/_tasks",
        f"{TOOLS}:/__t",
        f"{EXTERNALS}:/__a/externals:ro",
        f"{WORK}/.taskkey:/__w/.taskkey",  # a file, and no directory
    )


def service(network: str) -> str:
    options = ["-p", "8080", "--health-cmd", "test -e /tmp/ready", "--health-interval", "1s"]
    if GPUS:
        options += ["--gpus", "all"]
    within = ["--network", network, "--network-alias", "web"]
    return started("web", *within, *options, "-e", "GREETING=hello", *binds(), SERVICE)


def job(network: str) -> str:
    shown = f'--format={{{{index .Config.Labels "{NODE_LABEL}"}}}}'
    node = docker("inspect", shown, IMAGE)
    must(node, "the job's image names its own node")
    words = ["--network", network, *(["--gpus", "all"] if GPUS else [])]
    words += ["-e", "AGENT_NAME=box", "-e", "TF_BUILD=True", *binds(), IMAGE]
    return started("job", *words, node[0], "-e", "setInterval(function(){}, 24 * 60 * 60 * 1000);")


def make_user(container: str) -> None:
    """The agent makes itself a user of its own number in there, who may become root."""
    inside = ("exec", container)
    uid, name = str(os.getuid()), pwd.getpwuid(os.getuid()).pw_name
    docker(*inside, "sh", "-c", "command -v bash")
    known = docker(*inside, "bash", "-c", f"getent passwd {uid} | cut -d: -f1 ")
    user = known[0] if known else f"{name}_azpcontainer"
    if known:
        docker(*inside, "id", "-u", user)
    else:
        docker(*inside, "useradd", "-m", "-u", uid, user)
    docker(*inside, "groupadd", "azure_pipelines_sudo")
    docker(*inside, "usermod", "-a", "-G", "azure_pipelines_sudo", user)
    rule = "%azure_pipelines_sudo ALL=(ALL:ALL) NOPASSWD:ALL"
    docker(*inside, "su", "-c", f"echo '{rule}' >> /etc/sudoers")
    group = str(Path("/var/run/docker.sock").stat().st_gid)
    groups = docker(*inside, "bash", "-c", "cat /etc/group")
    existing = next((line.split(":")[0] for line in groups if line.split(":")[2] == group), None)
    if existing is None:
        existing = "azure_pipelines_docker"
        docker(*inside, "groupadd", "-g", group, existing)
    docker(*inside, "usermod", "-a", "-G", existing, user)


def step(container: str) -> None:
    """Its handler reads what to run from standard input; here it is a shell that reads its script there."""
    script = (
        "cd /__w/1/s; cat checked-out; id -u; echo by the job > made; curl -fsS http://web:8080/"
    )
    words = ("exec", "-i", "-u", str(os.getuid()), container, "bash")
    found = docker(*words, stdin=script)
    must(found == ["by the agent", str(os.getuid()), "hello"], f"the step said {found}")
    made = BUILD / "s/made"
    must(made.read_text() == "by the job\n", "the job's file is not there")
    must(made.stat().st_uid == os.getuid(), "the job's file is not the agent's")
    rows = docker("ps", "--filter", f"id={container}")
    must(len(rows) == 2, f"docker ps is a head and a row: {rows}")


def main() -> None:
    make_folders()
    not_in_a_container()
    versions()
    clear_stale(LABEL)
    for image in (IMAGE, SERVICE):
        have(image)
    drivers = docker("info", "-f", "{{range .Plugins.Network}}{{println .}}{{end}}")
    must("nat" not in drivers or "bridge" in drivers, f"network drivers {drivers}")
    network = f"vsts_network_{secrets.token_hex(16)}"
    docker("network", "create", "--label", LABEL, network)
    container, beside = job(network), service(network)
    at = port_of(beside, "8080/tcp")
    make_user(container)
    healthy(beside)
    must(asked_over_http("localhost", at).strip() == "hello", "the published port does not answer")
    step(container)
    for one in (container, beside):
        docker("rm", "--force", one)
    docker("network", "rm", network)
    must(not docker("ps", "--all", "--quiet", "--filter", f"label={LABEL}"), "something is left")


if __name__ == "__main__":
    ended(main)
