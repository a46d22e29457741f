"""What a job is shown of the Engine's answers: its own, by its own names, and nothing of the host's."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from mayfly.core.admission.answers import shown, shown_headers
from mayfly.core.admission.outcome import Answer, Forward
from tests.core.admission import clients
from tests.core.admission.clients import made
from tests.core.admission.engine import DB, THEIRS, decided, forwarded
from tests.core.admission.granted import GRANT, PREFIX, WORK

HOSTS = (
    PREFIX,
    "/var/lib/docker",
    "io.mayfly",
    "4242",
    "/srv/",
    "/etc/ssl/lab",
    GRANT.seal,
    WORK.volume,
    "/mayfly/",
)
STRANGER = {"io.mayfly.belongs": "0mzzzzzzzzzzz", "io.mayfly.belongs.host": "host-1"}


def inspected(body: dict[str, Any] | None = None) -> dict[str, Any]:
    """The inspection of a running container, as an Engine has it that was sent such a creation."""
    forward = forwarded("POST", "/containers/create?name=db", body or clients.RUNNER_JOB)
    assert forward.body is not None
    config = {
        key: value for key, value in forward.body.items() if key[-6:] not in ("Config", "gConfig")
    }
    mounts = [
        {
            "Type": one["Type"],
            **({"Name": one["Source"] or DB, "Driver": "local"} if one["Type"] == "volume" else {}),
            "Source": _source(one),
            "Destination": one["Target"],
            "Mode": "z",
            "RW": not one["ReadOnly"],
            "Propagation": "rprivate" if one["Type"] == "bind" else "",
        }
        for one in forward.body["HostConfig"]["Mounts"]
        if "Source" in one
    ]
    network = forward.body["HostConfig"]["NetworkMode"]
    return {
        "Id": DB,
        "Created": "2026-01-01T00:00:00Z",
        "Path": "tail",
        "Args": ["-f"],
        "State": {"Status": "running", "Running": True, "Pid": 4242, "Error": "", "ExitCode": 0},
        "Image": forward.body["Image"],
        "ResolvConfPath": f"/var/lib/docker/containers/{DB}/resolv.conf",
        "HostnamePath": f"/var/lib/docker/containers/{DB}/hostname",
        "HostsPath": f"/var/lib/docker/containers/{DB}/hosts",
        "LogPath": f"/var/lib/docker/containers/{DB}/x.log",
        "Name": f"/{PREFIX}db",
        "Driver": "overlay2",
        "MountLabel": "",
        "ProcessLabel": "",
        "HostConfig": forward.body["HostConfig"],
        "GraphDriver": {"Name": "overlay2", "Data": {"UpperDir": "/var/lib/docker/overlay2/x"}},
        "Mounts": mounts,
        "Config": config,
        "NetworkSettings": {
            "SandboxKey": "/var/run/docker/netns/x",
            "Ports": {},
            "Networks": {
                network: {
                    "IPAddress": "172.20.0.2",
                    "Aliases": ["db"],
                    "Links": [f"{PREFIX}web:web"],
                    "DNSNames": [f"{PREFIX}db", "db"],
                    "NetworkID": "c" * 64,
                }
            },
        },
        "NewKey": {"at": "/var/lib/docker"},
    }


def _source(mount: dict[str, Any]) -> str:
    name = str(mount["Source"])
    return name if mount["Type"] == "bind" else f"/var/lib/docker/volumes/{name}/_data"


def nothing_of_the_host(document: Any) -> None:
    told = json.dumps(document)
    assert [one for one in HOSTS if one in told] == []


def test_a_container_looks_as_the_job_made_it() -> None:
    found = shown(Answer.CONTAINER, inspected(), GRANT)
    nothing_of_the_host(found)
    assert (found["Name"], found["Config"]["Image"]) == ("/db", "node:20")
    assert found["Config"]["Labels"] == {"8f2a1b": ""}
    assert found["State"]["Pid"] == 0
    assert found["HostConfig"]["NetworkMode"] == "github_network_9c5e"
    places = {one["Destination"]: one for one in found["Mounts"]}
    assert places["/__w"]["Source"] == "/home/agent/_work"
    assert places["/__w"]["Type"] == "bind"
    assert places["/github/home"]["Source"] == "/home/agent/_work/_temp/_github_home"
    assert (places["/__e"]["Source"], places["/__e"]["RW"]) == ("/home/agent/externals", False)
    assert places["/var/run/docker.sock"]["Source"] == "/var/run/docker.sock"
    assert "/etc/mayfly/ca.pem" not in places
    (settings,) = found["NetworkSettings"]["Networks"].values()
    assert settings["Links"] == ["web:web"]
    assert settings["DNSNames"] == ["db", "db"]


def test_ports_are_shown_as_the_gateway_has_them() -> None:
    document = inspected(clients.CLI_SERVICE)
    found = shown(Answer.CONTAINER, document, GRANT, {DB: {"5432/tcp": (5432,)}})
    assert found["NetworkSettings"]["Ports"] == {
        "5432/tcp": [{"HostIp": "127.0.0.1", "HostPort": "5432"}]
    }
    assert found["HostConfig"]["PortBindings"] == {"5432/tcp": [{"HostIp": "", "HostPort": "5432"}]}
    assert shown(Answer.CONTAINER, document, GRANT)["NetworkSettings"]["Ports"] == {
        "5432/tcp": None
    }
    document["State"]["Running"] = False
    assert shown(Answer.CONTAINER, document, GRANT)["NetworkSettings"]["Ports"] == {}


def test_the_default_network_looks_like_dockers_own() -> None:
    found = shown(Answer.CONTAINER, inspected(made()), GRANT)
    nothing_of_the_host(found)
    assert found["HostConfig"]["NetworkMode"] == "bridge"
    assert found["NetworkSettings"]["IPAddress"] == "172.20.0.2"
    assert set(found["NetworkSettings"]["Networks"]) == {"bridge"}


def test_a_volume_is_shown_by_the_jobs_name_for_it() -> None:
    found = shown(Answer.CONTAINER, inspected(clients.COMPOSE), GRANT)
    nothing_of_the_host(found)
    (mount,) = [one for one in found["Mounts"] if one["Type"] == "volume"]
    assert (mount["Name"], mount["Source"]) == ("lab_data", "")
    said = {one["Target"]: one for one in found["HostConfig"]["Mounts"]}
    assert said["/var/lib/postgresql/data"]["Source"] == "lab_data"
    assert said["/docker-entrypoint-initdb.d"]["Source"] == "/home/agent/_work/init"


def test_a_list_has_the_agents_own_alone() -> None:
    labels = {**GRANT.labels, "io.mayfly.belongs.image": "alpine", "a": "b"}
    entry = {
        "Id": DB,
        "Names": [f"/{PREFIX}db", f"/{PREFIX}web/db"],
        "Image": "sha256:1",
        "Labels": labels,
        "Ports": [{"PrivatePort": 80, "Type": "tcp"}],
        "HostConfig": {"NetworkMode": f"{PREFIX}net"},
        "NetworkSettings": {"Networks": {f"{PREFIX}net": {"IPAddress": "172.20.0.2"}}},
        "Mounts": [
            {
                "Type": "volume",
                "Name": WORK.volume,
                "Source": "/var/lib/docker/x",
                "Destination": "/w",
                "RW": True,
            }
        ],
        "State": "running",
    }
    others = [{**entry, "Id": THEIRS, "Labels": STRANGER}, {**entry, "Labels": None}]
    (found,) = shown(Answer.CONTAINERS, [entry, *others], GRANT, {DB: {"80/tcp": (8080, 9090)}})
    nothing_of_the_host(found)
    assert found["Names"][0] == "/db"
    assert (found["Image"], found["Labels"]) == ("alpine", {"a": "b"})
    assert found["Ports"] == [
        {"IP": "127.0.0.1", "PrivatePort": 80, "PublicPort": at, "Type": "tcp"}
        for at in (8080, 9090)
    ]
    assert found["Mounts"][0]["Source"] == "/home/agent/_work"


def test_networks_and_volumes_are_the_agents_own() -> None:
    network: dict[str, Any] = {
        "Id": "c" * 64,
        "Name": f"{PREFIX}net",
        "Labels": {**GRANT.labels, "a": "b"},
        "Containers": {DB: {"Name": f"{PREFIX}db"}, THEIRS: {"Name": "gpu-0"}},
        "Driver": "bridge",
    }
    default = {**network, "Labels": {**network["Labels"], "io.mayfly.belongs.default": "1"}}
    assert len(shown(Answer.NETWORKS, [network, default], GRANT)) == 2
    assert len(shown(Answer.CUSTOM_NETWORKS, [network, default], GRANT)) == 1
    (found,) = shown(Answer.NETWORKS, [network, {**network, "Labels": STRANGER}], GRANT)
    assert (found["Name"], found["Containers"], found["Labels"]) == (
        "net",
        {DB: {"Name": "db"}},
        {"a": "b"},
    )
    volume = {
        "Name": f"{PREFIX}data",
        "Labels": dict(GRANT.labels),
        "Mountpoint": "/var/lib/docker/volumes/x/_data",
        "Driver": "local",
    }
    work = {**volume, "Name": WORK.volume}
    listed = {"Volumes": [volume, work, {**volume, "Labels": None}], "Warnings": ["x"]}
    told = shown(Answer.VOLUMES, listed, GRANT)
    nothing_of_the_host(told)
    assert [one["Name"] for one in told["Volumes"]] == ["data"]
    assert shown(Answer.VOLUMES, {"Volumes": None}, GRANT)["Volumes"] == []
    pruned = {"VolumesDeleted": [f"{PREFIX}data", DB], "SpaceReclaimed": 3}
    assert shown(Answer.PRUNED, pruned, GRANT) == {
        "VolumesDeleted": ["data", DB],
        "SpaceReclaimed": 3,
    }


def test_images_are_those_that_the_pool_allows() -> None:
    image = {
        "Id": "sha256:1",
        "RepoTags": ["lab/x:1"],
        "RepoDigests": None,
        "Labels": {"io.mayfly.gate": "3"},
    }
    other = {**image, "RepoTags": ["localhost:5000/secret:1"]}
    nameless = {**image, "RepoTags": ["<none>:<none>"], "RepoDigests": ["<none>@<none>"]}
    both = {**image, "RepoTags": ["localhost:5000/secret:1", "lab/x:2"]}
    found = shown(Answer.IMAGES, [image, other, nameless, both], GRANT)
    assert [one["RepoTags"] for one in found] == [["lab/x:1"], ["lab/x:2"]]
    nothing_of_the_host(found)
    always = replace(GRANT, pull="always")
    told = shown(Answer.IMAGES, [image, both], always, pulled={"lab/x:2"})
    assert [one["RepoTags"] for one in told] == [["lab/x:2"]]
    assert shown(Answer.IMAGES, [image, both], always) == []
    document: dict[str, Any] = {**both, "Config": {"Labels": {"io.mayfly.gate": "3", "a": "b"}}}
    document["GraphDriver"] = {"Name": "overlay2", "Data": {"UpperDir": "/var/lib/docker/x"}}
    told = shown(Answer.IMAGE, document, GRANT)
    assert (told["RepoTags"], told["Config"]["Labels"]) == (["lab/x:2"], {"a": "b"})
    nothing_of_the_host(told)


def test_events_are_the_agents_own() -> None:
    event = {
        "Type": "container",
        "Action": "start",
        "Actor": {
            "ID": DB,
            "Attributes": {
                **GRANT.labels,
                "io.mayfly.belongs.image": "alpine",
                "name": f"{PREFIX}db",
                "image": "sha256:1",
            },
        },
        "from": "sha256:1",
        "time": 1,
    }
    found = shown(Answer.EVENT, event, GRANT)
    assert found["Actor"]["Attributes"] == {"name": "db", "image": "alpine"}
    assert found["from"] == "alpine"
    assert (
        shown(Answer.EVENT, {**event, "Actor": {"ID": THEIRS, "Attributes": STRANGER}}, GRANT)
        is None
    )
    assert shown(Answer.EVENT, {"Type": "network"}, GRANT) is None
    network = {"ID": "c" * 64, "Attributes": {"name": f"{PREFIX}net", "type": "bridge"}}
    told = shown(Answer.EVENT, {"Type": "network", "Action": "create", "Actor": network}, GRANT)
    assert told["Actor"]["Attributes"] == {"name": "net", "type": "bridge"}
    network["Attributes"] = {"name": "pool-gpu"}
    assert shown(Answer.EVENT, {"Type": "network", "Actor": network}, GRANT) is None
    volume = {"Type": "volume", "Actor": {"ID": f"{PREFIX}data", "Attributes": {"driver": "local"}}}
    assert shown(Answer.EVENT, volume, GRANT)["Actor"]["ID"] == "data"
    work = {"Type": "volume", "Actor": {"ID": WORK.volume, "Attributes": {"driver": "local"}}}
    assert shown(Answer.EVENT, work, GRANT) is None
    assert shown(Answer.EVENT, [], GRANT) is None


def test_the_engine_is_shown_as_far_as_it_is_the_agents() -> None:
    document = {
        "Name": "gpu-host.lab",
        "DockerRootDir": "/var/lib/docker",
        "NCPU": 64,
        "MemTotal": 2**40,
        "Containers": 77,
        "ServerVersion": "28.5.2",
        "HttpProxy": "http://user:secret@proxy",
        "Runtimes": {"runsc": {"path": "/usr/bin/runsc"}},
    }
    found = shown(Answer.INFO, document, GRANT)
    told = json.dumps(found)
    assert "lab" not in told
    assert "secret" not in told
    assert "runsc" not in told
    assert (found["NCPU"], found["MemTotal"], found["Containers"]) == (4, 8 * 2**30, 0)
    assert found["ServerVersion"] == "28.5.2"
    assert "nvidia" in found["Runtimes"]


def test_headers_are_those_that_clients_read() -> None:
    headers = {
        "Api-Version": "1.51",
        "Builder-Version": "2",
        "Server": "Docker/28.5.2 (linux)",
        "Set-Cookie": "x",
        "X-Docker-Container-Path-Stat": "e30=",
        "Content-Length": "3",
        "Transfer-Encoding": "chunked",
    }
    assert shown_headers(headers) == {
        "Api-Version": "1.51",
        "Builder-Version": "1",
        "Server": "Docker/28.5.2 (linux)",
        "X-Docker-Container-Path-Stat": "e30=",
    }
    assert shown_headers({}) == {}


def test_other_answers() -> None:
    assert shown(Answer.CREATED, {"Id": DB, "Warnings": ["no /var/lib/docker/x"]}, GRANT) == {
        "Id": DB,
        "Warnings": [],
    }
    assert shown(Answer.EXEC, {"ID": "e", "Pid": 4242, "ExitCode": 1}, GRANT) == {
        "ID": "e",
        "Pid": 0,
        "ExitCode": 1,
    }
    assert shown(Answer.STATS, {"name": f"/{PREFIX}db", "id": DB}, GRANT) == {
        "name": "/db",
        "id": DB,
    }
    assert shown(Answer.WAIT, {"StatusCode": 1, "Error": None}, GRANT) == {
        "StatusCode": 1,
        "Error": None,
    }
    gone = {"StatusCode": 1, "Error": {"Message": "/var/lib/docker/x"}}
    assert shown(Answer.WAIT, gone, GRANT)["Error"] == {"Message": "the container ended otherwise"}
    failed = {
        "error": 'Get "https://reg.lab:5000/v2/": dial tcp 10.0.0.1:5000: refused',
        "status": "x",
    }
    assert (
        shown(Answer.PULL, failed, GRANT)["error"]
        == 'registry "reg.lab:5000" does not answer the Engine, or refuses it'
    )
    assert shown(Answer.PULL, {"status": "Pulling", "id": "1"}, GRANT) == {
        "status": "Pulling",
        "id": "1",
    }
    assert shown(Answer.LOGIN, {"Status": "ok", "x": 1}, GRANT) == {"Status": "ok"}
    assert shown(Answer.HISTORY, [{"Id": "x", "Tags": ["secret"]}], GRANT) == [
        {"Id": "x", "Tags": None}
    ]


def test_numbers_of_processes_are_not_the_hosts() -> None:
    top = {
        "Titles": ["UID", "PID", "PPID", "CGROUP", "CMD"],
        "Processes": [
            ["root", "41234", "41200", "0::/mayfly/x", "sh"],
            ["root", "41300", "41234", "0::/mayfly/x", "ps"],
        ],
    }
    assert shown(Answer.TOP, top, GRANT)["Processes"] == [
        ["root", "1", "0", "-", "sh"],
        ["root", "2", "1", "-", "ps"],
    ]
    other = shown(Answer.TOP, {"Titles": ["CMD", "PGID"], "Processes": [["sh", "77"]]}, GRANT)
    assert other["Processes"] == [["sh", "0"]]


def test_of_versions_and_figures_only_known_keys_are_shown() -> None:
    version = {
        "Version": "28.5.2",
        "Root": "/srv/docker",
        "Platform": {"Name": "Docker Engine", "Host": "gpu-box"},
        "Components": [
            {"Name": "runc", "Version": "1", "Details": {"Path": "/usr", "Os": "linux"}}
        ],
    }
    assert shown(Answer.VERSION, version, GRANT) == {
        "Version": "28.5.2",
        "Platform": {"Name": "Docker Engine"},
        "Components": [{"Name": "runc", "Version": "1", "Details": {"Os": "linux"}}],
    }
    figures = {"name": f"/{PREFIX}db", "num_procs": 0, "host": "gpu-box"}
    assert shown(Answer.STATS, figures, GRANT) == {"name": "/db", "num_procs": 0}


def test_a_pull_of_what_is_there_is_answered_here() -> None:
    outcome = decided("POST", "/images/create?fromImage=alpine&tag=3")
    assert not isinstance(outcome, Forward)
    assert "up to date for alpine:3" in json.dumps(getattr(outcome, "body", None))
