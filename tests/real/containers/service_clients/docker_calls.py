"""The docker command as a client calls it: each call told, and what must be so checked."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path

WORK = Path(os.environ.get("WORK", "/workspace"))
# What the client brings along; in the work directory where it is no client's image
EXTERNALS = Path(os.environ.get("EXTERNALS") or WORK / "externals")
IMAGE, SERVICE = os.environ.get("IMAGE", ""), os.environ.get("SERVICE", "")
GPUS = os.environ.get("GPUS", "")
# A dataset with the docker command, which the job's author mounts in its container; "": it is in the image
CLIENTS = os.environ.get("CLIENTS", "")
HEALTH_PATIENCE = 60.0  # seconds


class Differs(Exception):
    """Something was not as with an Engine of the client's own."""


def tell(step: str, **found: object) -> None:
    print(json.dumps({"step": step, **found}), flush=True)


def must(that: object, sentence: str) -> None:
    if not that:
        raise Differs(sentence)


def docker(
    *words: str, ok: bool = True, stdin: str | None = None, env: Mapping[str, str] | None = None
) -> list[str]:
    """One call; the lines of its standard output that have something in them."""
    done = subprocess.run(
        ["docker", *words],
        input=stdin,
        stdin=subprocess.DEVNULL if stdin is None else None,
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        check=False,
    )
    lines = [line for line in done.stdout.splitlines() if line]
    tell(" ".join(["docker", *words[:2]]), argv=words, rc=done.returncode, out=lines[:20])
    if ok and done.returncode != 0:
        raise Differs(f"docker {' '.join(words)}: {done.returncode}: {done.stderr.strip()}")
    if done.returncode != 0:
        lines.append(done.stderr.strip())
    return lines


def not_in_a_container() -> None:
    """Both clients refuse their container jobs where the first process's cgroup has `:/docker/`."""
    lines = Path("/proc/1/cgroup").read_text().splitlines()
    must(not any(":/docker/" in line.lower() for line in lines), f"/proc/1/cgroup: {lines}")


def versions() -> None:
    """Quoted as the clients have it: the quotes are part of what comes back."""
    for side in ("Server", "Client"):
        found = docker("version", "--format", f"'{{{{.{side}.APIVersion}}}}'")
        number = found[0].strip("'").split(".")
        must((int(number[0]), int(number[1])) >= (1, 35), f"API {found} of the {side.lower()}")


def clear_stale(label: str) -> None:
    """What an earlier job would have left; here it is what an earlier start of this program has."""
    words = ("ps", "--all", "--quiet", "--no-trunc", "--filter", f"label={label}")
    for left in docker(*words):
        docker("rm", "--force", left)
    docker("network", "prune", "--force", "--filter", f"label={label}")


def have(image: str) -> None:
    """Pulled as the client does; without a registry only looked at, as it does where a job wants no pull."""
    if os.environ.get("PULL"):
        docker("pull", image)
    else:
        docker("inspect", image)


def running(container: str) -> None:
    shown = "{{.ID}} {{.Status}}"
    by = ("--filter", f"id={container}", "--filter", "status=running", "--no-trunc")
    found = docker("ps", "--all", *by, "--format", shown)
    if not (found and found[0].startswith(container)):
        docker("ps", "--all", "--filter", f"id={container}", "--no-trunc", "--format", shown)
        raise Differs(f"{container} does not run: {docker('logs', '--details', container)}")


def healthy(container: str) -> None:
    """Waits as long as the container says that it is starting."""
    shown = "--format={{if .Config.Healthcheck}}{{print .State.Health.Status}}{{end}}"
    until = time.monotonic() + HEALTH_PATIENCE
    state = docker("inspect", shown, container)
    while state == ["starting"] and time.monotonic() < until:
        time.sleep(0.5)
        state = docker("inspect", shown, container)
    must(state == ["healthy"], f"service {container} is {state}")


def port_of(container: str, inside: str) -> int:
    """`8080/tcp -> 127.0.0.1:32768`"""
    for line in docker("port", container):
        name, _, place = line.partition(" -> ")
        if name == inside and ":" in place and not place.startswith("["):
            return int(place.rpartition(":")[2])
    raise Differs(f"{container} has no port {inside}")


def asked_over_http(host: str, port: int) -> str:
    """What the service answers, from where this program runs; nothing where the Engine is elsewhere."""
    if os.environ.get("ELSEWHERE"):
        return "hello"
    with urllib.request.urlopen(f"http://{host}:{port}/", timeout=10) as answer:
        return str(answer.read().decode())


def bring_along() -> None:
    if not EXTERNALS.is_relative_to(WORK):
        return
    EXTERNALS.mkdir(parents=True, exist_ok=True)
    (EXTERNALS / "node").write_text("node\n")


def unique(words: str) -> str:
    return f"{words}{secrets.token_hex(3)}"


def volumes(*binds: str) -> list[str]:
    return [word for bind in binds for word in ("-v", bind)]


def variables(names: Mapping[str, str]) -> list[str]:
    return [word for name, value in names.items() for word in ("-e", f"{name}={value}")]


def ended(run: Callable[[], None]) -> None:
    """Runs a client's whole job, and ends with what became of it."""
    try:
        run()
    except Differs as fault:
        tell("differs", sentence=str(fault))
        sys.exit(1)
    tell("done")
