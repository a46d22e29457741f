"""GitHub's runner with a job that has `container:` and `services:`, and two Docker actions.

Order and words of each call: actions/runner, src/Runner.Worker, ContainerOperationProvider.cs,
Container/DockerCommandManager.cs, Handlers/StepHost.cs, Handlers/ContainerActionHandler.cs.
"""

from __future__ import annotations

import os
import secrets

from tests.real.containers.service_clients.docker_calls import (
    CLIENTS,
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
    variables,
    versions,
    volumes,
)

LABEL = "a1b2c3"  # six digits of a checksum of the runner's settings
# Beside an Engine that is elsewhere its own socket stands for the usual one.
SOCKET = f"{os.environ.get('ELSEWHERE') or '/var/run/docker.sock'}:/var/run/docker.sock"
WORKSPACE = WORK / "repo/repo"
TEMP = WORK / "_temp"
HEALTH = ["--health-interval", "1s", "--health-retries", "30"]
AS_ACTIONS = ["-e", "GITHUB_ACTIONS=true", "-e", "CI=true"]


def make_folders() -> None:
    """What the runner has made before it starts containers."""
    for folder in (WORKSPACE, WORK / "_actions", WORK / "_tool", TEMP / "_runner_file_commands"):
        folder.mkdir(parents=True, exist_ok=True)
    for name in ("_github_home", "_github_workflow"):
        (TEMP / name).mkdir(exist_ok=True)
    bring_along()
    (WORKSPACE / "checked-out").write_text("by the runner\n")


def started(name: str, *words: str) -> str:
    """Created, started, and looked at."""
    named = ["--name", unique(f"{name}_image_"), "--label", LABEL]
    container = docker("create", *named, *words)[0]
    docker("start", container)
    running(container)
    return container


def service(network: str) -> str:
    have(SERVICE)
    options = ["-p", "8080", "--health-cmd", "test -e /tmp/ready", *HEALTH]
    if GPUS:
        options += ["--gpus", "all"]
    within = ["--network", network, "--network-alias", "web"]
    return started("service", *within, *options, "-e", "GREETING=hello", *AS_ACTIONS, SERVICE)


def job(network: str) -> str:
    have(IMAGE)
    binds = [
        SOCKET,
        *([f"{CLIENTS}:/clients:ro"] if CLIENTS else []),
        f"{WORK}:/__w",
        f"{EXTERNALS}:/__e:ro",
        f"{TEMP}:/__w/_temp",
        f"{WORK}/_actions:/__w/_actions",
        f"{WORK}/_tool:/__w/_tool",
        f"{TEMP}/_github_home:/github/home",
        f"{TEMP}/_github_workflow:/github/workflow",
    ]
    words = ["--workdir", "/__w/repo/repo", "--network", network]
    if GPUS:
        words += ["--gpus", "all"]
    words += [*variables({"HOME": "/github/home"}), *AS_ACTIONS, *volumes(*binds)]
    return started("job", *words, "--entrypoint", "tail", IMAGE, "-f", "/dev/null")


def run_step(container: str, script: str, **environment: str) -> list[str]:
    """A `run:` step: its script lies in the temp folder, and its variables come by their names."""
    path = TEMP / f"{secrets.token_hex(8)}.sh"
    path.write_text(script)
    named = [word for name in environment for word in ("-e", name)]
    words = ["exec", "-i", "--workdir", "/__w/repo/repo", *named, container, "bash", "-e"]
    return docker(*words, f"/__w/_temp/{path.name}", stdin="", env=environment)


def steps(container: str, network: str) -> None:
    docker("exec", container, "sh", "-c", "cat /etc/*release | grep ^ID")
    script = (
        "cat checked-out; pwd; echo by the job > made; echo $SECRET; cat /__e/node;"
        "touch /__e/x 2>/dev/null && echo writable || echo read-only;"
        "curl -fsS http://web:8080/; PATH=/clients/bin:$PATH docker ps --format '{{.Names}}' | wc -l"
    )
    found = run_step(container, script, SECRET="s3cr3t")
    expected = ["by the runner", "/__w/repo/repo", "s3cr3t", "node", "read-only", "hello"]
    must(found[:-1] == expected, f"the step said {found}")
    # Its own container and the service: no stranger's, and no agent. (A real Engine shows all.)
    count = int(found[-1])
    must(count == 2 or (count > 2 and os.environ.get("ELSEWHERE")), f"it sees {count} containers")
    must((WORKSPACE / "made").read_text() == "by the job\n", "the job's file is not the runner's")
    action(network)


def action(network: str) -> None:
    """An action with a Dockerfile, which is refused, or with BUILDS built; and `uses: docker://IMAGE`."""
    binds = [
        SOCKET,
        f"{TEMP}/_github_home:/github/home",
        f"{TEMP}/_github_workflow:/github/workflow",
        f"{TEMP}/_runner_file_commands:/github/file_commands",
        f"{WORKSPACE}:/github/workspace",
    ]
    images = [IMAGE]
    folder = WORK / "_actions/own/action"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "Dockerfile").write_text(f"FROM {IMAGE}\nRUN echo built > /built\n")
    built = f"{LABEL}:{secrets.token_hex(16)}"
    builds = bool(os.environ.get("BUILDS"))
    of = ("build", "-t", built, "-f", str(folder / "Dockerfile"), str(folder))
    said = " ".join(docker(*of, ok=builds))
    if builds:
        images.append(built)
    else:
        must("builds no images for a job" in said, f"docker build said {said}")
    for image in images:
        words = ["--name", unique("action_"), "--label", LABEL, "--workdir", "/github/workspace"]
        words += ["--rm", "-e", "INPUT_WHO", *AS_ACTIONS, "--entrypoint", "sh"]
        words += ["--network", network, *volumes(*binds), image]
        tell = "cat made; echo $INPUT_WHO; cat /built 2>/dev/null || true"
        found = docker("run", *words, "-c", tell, env={"INPUT_WHO": "me"})
        wanted = ["by the job", "me"] + (["built"] if image != IMAGE else [])
        must(found == wanted, f"the action said {found}")


def main() -> None:
    make_folders()
    not_in_a_container()
    versions()
    clear_stale(LABEL)
    network = f"github_network_{secrets.token_hex(16)}"
    docker("network", "create", "--label", LABEL, network)
    beside = service(network)
    at = port_of(beside, "8080/tcp")
    container = job(network)
    paths = docker("inspect", "--format", "{{range .Config.Env}}{{println .}}{{end}}", container)
    must(any(line.startswith("PATH=") for line in paths), f"no PATH among {paths}")
    healthy(beside)
    must(asked_over_http("localhost", at).strip() == "hello", "the published port does not answer")
    steps(container, network)
    for one in (container, beside):
        docker("rm", "--force", one)
    docker("network", "rm", network)
    must(not docker("ps", "--all", "--quiet", "--filter", f"label={LABEL}"), "something is left")


if __name__ == "__main__":
    ended(main)
