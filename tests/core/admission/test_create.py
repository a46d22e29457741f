"""What clients that people use send comes to what they meant, within what the agent may have."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest

from mayfly.core.admission.grant import GrantLimits, GrantSecurity, GrantUlimit, VolumePlace
from mayfly.core.admission.outcome import Answer, Directory, Forward
from mayfly.core.admission.ports import Published, published_of
from tests.core.admission import clients
from tests.core.admission.checker import assert_safe
from tests.core.admission.clients import GO_ENDPOINT, made
from tests.core.admission.engine import ANONYMOUS, DB, decided, engine, forwarded, refused
from tests.core.admission.granted import CACHE, CLIENT, DATASET, GRANT, PREFIX, UUID, WORK

CREATE = "/v1.47/containers/create?name=job"


def host_of(forward: Forward) -> dict[str, Any]:
    assert forward.body is not None
    host: dict[str, Any] = forward.body["HostConfig"]
    return host


def mounts_of(forward: Forward) -> dict[str, dict[str, Any]]:
    return {one["Target"]: one for one in host_of(forward)["Mounts"]}


@pytest.mark.parametrize("client", clients.ALL)
def test_what_a_client_sends_goes_out_whole(client: str) -> None:
    forward = forwarded("POST", CREATE, clients.ALL[client])
    assert_safe(forward, GRANT)
    assert forward.target == f"/v1.45/containers/create?name={PREFIX}job"
    assert forward.makes
    assert (forward.counts, forward.answer) == ("containers", Answer.CREATED)
    assert forward.body is not None
    sent = clients.ALL[client]
    for key in ("Cmd", "Entrypoint"):
        assert forward.body.get(key) == (sent.get(key) or None)
    assert set(sent.get("Labels") or {}) <= set(forward.body["Labels"])
    assert set(sent.get("Env") or ()) <= set(forward.body["Env"])
    assert forward.body["Tty"] is sent["Tty"]
    assert forward.body["Labels"]["io.mayfly.belongs.image"] == sent["Image"]


def test_a_client_that_sends_small_letters_means_the_same() -> None:
    """The Engine's reader takes either."""

    def small(value: Any) -> Any:
        known = {*clients.GO_CONFIG, *clients.GO_HOST, "HostConfig", "NetworkingConfig"}
        if isinstance(value, dict):
            return {key.lower() if key in known else key: small(one) for key, one in value.items()}
        return [small(one) for one in value] if isinstance(value, list) else value

    for body in clients.ALL.values():
        assert decided("POST", CREATE, small(body)) == decided("POST", CREATE, body)


def test_the_runners_directories_are_the_agents_own() -> None:
    forward = forwarded("POST", CREATE, clients.RUNNER_JOB)
    mounts = mounts_of(forward)
    assert mounts["/var/run/docker.sock"] == {
        "Type": "bind",
        "Source": GRANT.door,
        "Target": "/var/run/docker.sock",
        "ReadOnly": False,
        "BindOptions": {"Propagation": "rprivate"},
    }
    assert mounts["/__w"] == {
        "Type": "volume",
        "Source": WORK.volume,
        "Target": "/__w",
        "ReadOnly": False,
        "VolumeOptions": {"NoCopy": True},  # all of it: no subpath
    }
    assert mounts["/__e"]["Source"] == CLIENT.volume
    assert mounts["/__e"]["ReadOnly"] is True
    assert mounts["/github/home"]["VolumeOptions"] == {
        "NoCopy": True,
        "Subpath": "_temp/_github_home",
    }
    # Docker makes what is missing, and so has the gateway to.
    assert Directory(WORK.volume, "_temp/_github_home") in forward.directories
    assert all(one.volume == WORK.volume for one in forward.directories)
    assert host_of(forward)["NetworkMode"] == f"{PREFIX}github_network_9c5e"
    settings = forward.body["NetworkingConfig"]["EndpointsConfig"] if forward.body else {}
    assert settings[f"{PREFIX}github_network_9c5e"]["Aliases"] == ["8f2a1b", "job"]


@pytest.mark.parametrize(
    ("bind", "mount", "directories"),
    [
        (
            "/home/agent/_work/a//b/./c:/x",
            {
                "Source": WORK.volume,
                "ReadOnly": False,
                "VolumeOptions": {"NoCopy": True, "Subpath": "a/b/c"},
            },
            (Directory(WORK.volume, "a/b/c"),),
        ),
        (
            "/home/agent/externals/node20:/x",
            {
                "Source": CLIENT.volume,
                "ReadOnly": True,
                "VolumeOptions": {"NoCopy": True, "Subpath": "node20"},
            },
            (),
        ),
        (
            "/data/imagenet:/x",
            {
                "Source": DATASET.source,
                "ReadOnly": True,
                "BindOptions": {"Propagation": "rprivate"},
            },
            (),
        ),
        (
            "/cache/pip/:/x",
            {"Source": CACHE.source, "ReadOnly": False, "BindOptions": {"Propagation": "rprivate"}},
            (),
        ),
        (
            "/cache/pip:/x:ro,Z,cached",
            {"Source": CACHE.source, "ReadOnly": True, "BindOptions": {"Propagation": "rprivate"}},
            (),
        ),
        (
            f"{ANONYMOUS}:/x",
            {
                "Source": ANONYMOUS,
                "ReadOnly": False,
                "VolumeOptions": {
                    "NoCopy": False,
                    "Labels": GRANT.labels,
                    "DriverConfig": {"Name": "local"},
                },
            },
            (),
        ),
        (
            "data:/x:nocopy",
            {
                "Source": f"{PREFIX}data",
                "ReadOnly": False,
                "VolumeOptions": {
                    "NoCopy": True,
                    "Labels": GRANT.labels,
                    "DriverConfig": {"Name": "local"},
                },
            },
            (),
        ),
    ],
)
def test_a_path_becomes_what_it_is_in_the_agent(
    bind: str, mount: dict[str, Any], directories: tuple[Directory, ...]
) -> None:
    forward = forwarded("POST", CREATE, made(host={"Binds": [bind]}))
    told = mounts_of(forward)["/x"]
    kind = "bind" if "BindOptions" in mount else "volume"
    assert told == {"Type": kind, "Target": "/x", **mount}
    assert forward.directories == directories


def test_the_nearest_directory_above_a_path_counts() -> None:
    inner = VolumePlace("/home/agent/_work/_tools", "mayfly-tools")
    grant = replace(GRANT, shared=(inner,))
    outer = replace(GRANT, shared=(VolumePlace("/home/agent", "mayfly-home"),))
    for path, volume, given in (
        ("_work/_tools/x", "mayfly-tools", grant),
        ("_work/_toolsx", WORK.volume, grant),
        ("_work/x", WORK.volume, outer),
        ("_workx", "mayfly-home", outer),
    ):
        body = made(host={"Binds": [f"/home/agent/{path}:/x"]})
        forward = forwarded("POST", CREATE, body, grant=given)
        assert mounts_of(forward)["/x"]["Source"] == volume


def test_a_bind_by_mounts_makes_its_directory_where_it_says_so() -> None:
    for options, count in (
        (None, 0),
        ({"CreateMountpoint": True}, 1),
        ({"Propagation": "rprivate"}, 0),
    ):
        mount = {
            "Type": "bind",
            "Source": "/home/agent/_work/a",
            "Target": "/x",
            "BindOptions": options,
        }
        forward = forwarded("POST", CREATE, made(host={"Mounts": [mount]}))
        assert len(forward.directories) == count


def test_the_default_network_is_made_before() -> None:
    world = engine()
    forward = forwarded("POST", CREATE, made(), world=world)
    network = world.things[f"/v1.45/networks/{PREFIX}bridge"]
    assert network["Labels"] == {"io.mayfly.belongs.default": "1", **GRANT.labels}
    assert host_of(forward)["NetworkMode"] == f"{PREFIX}bridge"
    assert forward.body is not None
    told = forward.body["NetworkingConfig"]["EndpointsConfig"]
    assert told == {f"{PREFIX}bridge": {"Aliases": ["job"], "Links": []}}


@pytest.mark.parametrize(
    ("host", "networks", "mode", "others"),
    [
        ({"NetworkMode": "net"}, {"net": {}}, "net", {"net"}),
        ({"NetworkMode": "net"}, {}, "net", {"net"}),
        ({"NetworkMode": "default"}, {"net": {}}, "net", {"net"}),
        ({"NetworkMode": "bridge"}, {"default": GO_ENDPOINT}, "bridge", {"bridge"}),
        ({"NetworkMode": ""}, {}, "bridge", {"bridge"}),
        ({"NetworkMode": "net"}, {"net": {}, "lab_default": {}}, "net", {"net", "lab_default"}),
        ({"NetworkMode": "bridge"}, {"bridge": {}, "net": {}}, "bridge", {"bridge", "net"}),
        ({"NetworkMode": "none"}, {"none": GO_ENDPOINT}, None, set()),
        ({"NetworkMode": "none"}, {"default": GO_ENDPOINT}, None, set()),
    ],
)
def test_a_container_is_in_the_networks_that_it_names(
    host: dict[str, Any], networks: dict[str, Any], mode: str | None, others: set[str]
) -> None:
    forward = forwarded("POST", CREATE, made(host=host, networks=networks))
    assert host_of(forward)["NetworkMode"] == (PREFIX + mode if mode else "none")
    assert forward.body is not None
    assert set(forward.body["NetworkingConfig"]["EndpointsConfig"]) == {
        PREFIX + one for one in others
    }


def test_a_container_may_share_what_is_the_jobs() -> None:
    host = {
        "NetworkMode": "container:db",
        "PidMode": f"container:{DB}",
        "IpcMode": "container:/db",
        "VolumesFrom": ["db:ro"],
    }
    forward = forwarded("POST", CREATE, made(host=host))
    told = host_of(forward)
    assert {told[key] for key in ("NetworkMode", "PidMode", "IpcMode")} == {f"container:{DB}"}
    assert told["VolumesFrom"] == [f"{DB}:ro"]
    assert told["Dns"] == []  # they are the other's


def test_what_an_image_keeps_is_a_volume_of_the_jobs_unless_another_container_has_it() -> None:
    world = engine()
    path = "/v1.45/images/alpine:latest/json"
    world.things[path] = {**world.things[path], "Config": {"Volumes": {"/data": {}}}}
    forward = forwarded("POST", CREATE, made(), world=world)
    assert mounts_of(forward)["/data"]["VolumeOptions"]["Labels"] == GRANT.labels
    forward = forwarded("POST", CREATE, made(host={"VolumesFrom": ["db"]}), world=world)
    assert "/data" in mounts_of(forward)  # which it has not
    by_name = f"/v1.45/containers/{PREFIX}db/json"
    world.things[by_name] = {**world.things[by_name], "Mounts": [{"Destination": "/data"}]}
    forward = forwarded("POST", CREATE, made(host={"VolumesFrom": ["db"]}), world=world)
    assert "/data" not in mounts_of(forward)
    forward = forwarded("POST", CREATE, made(host={"Binds": ["data:/data/"]}), world=world)
    assert mounts_of(forward)["/data"]["Source"] == f"{PREFIX}data"


def test_a_place_of_an_image_is_judged_whatever_comes_from_another_container() -> None:
    world = engine()
    path = "/v1.45/images/alpine:latest/json"
    world.things[path] = {**world.things[path], "Config": {"Volumes": {"/proc/x": {}}}}
    told = refused("POST", CREATE, made(host={"VolumesFrom": ["db"]}), world=world)
    assert "a VOLUME of the image" in told.sentence


def test_a_platform_is_the_images_and_not_passed_on() -> None:
    world = engine()
    path = "/v1.45/images/alpine:latest/json"
    world.things[path] = {**world.things[path], "Os": "linux", "Architecture": "arm64"}
    for said in ("linux/arm64", "linux/arm64/v8", "arm64", "linux/aarch64", "linux"):
        forward = forwarded("POST", f"{CREATE}&platform={said}", made(), world=world)
        assert "platform" not in forward.target
    told = refused("POST", f"{CREATE}&platform=linux/amd64", made(), world=world)
    assert (told.status, "here for linux/arm64" in told.sentence) == (400, True)


def test_what_an_image_says_to_the_nvidia_runtime_is_taken_back() -> None:
    world = engine()
    path = "/v1.45/images/alpine:latest/json"
    env = ["NVIDIA_NEW_THING=1", "NVIDIA_REQUIRE_CUDA=cuda>=12", "PATH=/bin"]
    world.things[path] = {**world.things[path], "Config": {"Env": env}}
    forward = forwarded("POST", CREATE, made({"Env": ["NVIDIA_OTHER=2", "A=b"]}), world=world)
    assert forward.body is not None
    told = forward.body["Env"]
    assert {"NVIDIA_NEW_THING", "NVIDIA_OTHER", "A=b"} <= set(told)
    assert not any(one.startswith("NVIDIA_REQUIRE") for one in told)


def test_the_volumes_that_a_container_brings_are_counted() -> None:
    binds = ["data:/a", "new:/b", "/home/agent/_work/x:/c"]
    forward = forwarded("POST", CREATE, made({"Volumes": {"/d": {}}}, host={"Binds": binds}))
    assert forward.numbers == {"containers": 1, "volumes": 2}


def test_a_volume_without_a_name_goes_with_its_container() -> None:
    for said in ("", "?v=0", "?v=false&force=1"):
        assert "v=1" in forwarded("DELETE", f"/containers/db{said}").target


def test_links_lead_to_containers_of_the_job() -> None:
    forward = forwarded("POST", CREATE, clients.GITLAB)
    assert forward.body is not None
    (settings,) = forward.body["NetworkingConfig"]["EndpointsConfig"].values()
    assert settings["Links"] == [f"{PREFIX}db:postgres"]


def test_ports_are_kept_for_the_gateway_and_not_told_to_the_engine() -> None:
    ports = {
        "5432/tcp": [{"HostIp": "", "HostPort": "15432"}],
        "80/tcp": [{"HostIp": "127.0.0.1", "HostPort": ""}],
        "443": None,
    }
    forward = forwarded("POST", CREATE, made(host={"PortBindings": ports}))
    assert host_of(forward)["PortBindings"] == {}
    assert forward.body is not None
    label = forward.body["Labels"]["io.mayfly.belongs.ports"]
    assert published_of(label) == (Published(5432, 15432), Published(80), Published(443))


def test_all_ports_are_those_of_the_container_and_its_image() -> None:
    world = engine()
    path = "/v1.45/images/alpine:latest/json"
    world.things[path] = {
        **world.things[path],
        "Config": {"ExposedPorts": {"80/tcp": {}, "53/udp": {}}},
    }
    body = made({"ExposedPorts": {"8080/tcp": {}}}, {"PublishAllPorts": True})
    forward = forwarded("POST", CREATE, body, world=world)
    assert forward.body is not None
    label = forward.body["Labels"]["io.mayfly.belongs.ports"]
    assert published_of(label) == (Published(8080), Published(80))
    assert host_of(forward)["PublishAllPorts"] is False


@pytest.mark.parametrize(
    "label", [None, "", "x", "{}", "[1]", '[["a", 1]]', "[[1, 70000]]", "[[true, 1]]"]
)
def test_a_label_that_is_none_of_ours_publishes_nothing(label: str | None) -> None:
    assert published_of(label) == ()


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (
            {},
            {
                "Memory": 8 * 2**30,
                "MemorySwap": 8 * 2**30,
                "NanoCpus": 4 * 10**9,
                "PidsLimit": 2048,
            },
        ),
        ({"Memory": 2**30}, {"Memory": 2**30, "MemorySwap": 2**30}),
        ({"Memory": 2**40}, {"Memory": 8 * 2**30}),
        ({"NanoCpus": 5 * 10**8}, {"NanoCpus": 5 * 10**8, "CpuShares": 512}),
        ({"NanoCpus": 10**11}, {"NanoCpus": 4 * 10**9, "CpuShares": 1024}),
        ({"CpuQuota": 50_000}, {"NanoCpus": 5 * 10**8}),
        ({"CpuQuota": 10_000, "CpuPeriod": 20_000}, {"NanoCpus": 5 * 10**8}),
        ({"CpuShares": 100}, {"CpuShares": 100}),
        ({"PidsLimit": 64}, {"PidsLimit": 64}),
        ({"ShmSize": 2**28}, {"ShmSize": 2**28}),
        ({"ShmSize": 2**40}, {"ShmSize": 2**30}),
        ({"OomScoreAdj": 900}, {"OomScoreAdj": 900}),
        (
            {"RestartPolicy": {"Name": "always"}},
            {"RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 10}},
        ),
        (
            {"RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 99}},
            {"RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 10}},
        ),
        (
            {"RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 3}},
            {"RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 3}},
        ),
        (
            {"CapDrop": ["CAP_CHOWN"]},
            {"CapAdd": [one for one in GRANT.capabilities if one != "CHOWN"]},
        ),
        ({"CapDrop": ["ALL"], "CapAdd": ["setuid"]}, {"CapAdd": ["SETUID"]}),
        ({"CapAdd": ["ALL"]}, {"CapAdd": list(GRANT.capabilities)}),
        (
            {"SecurityOpt": ["no-new-privileges"]},
            {"SecurityOpt": ["no-new-privileges:true", "seccomp=builtin"]},
        ),
        (
            {"SecurityOpt": ["label=disable"]},
            {"SecurityOpt": ["no-new-privileges:false", "seccomp=builtin"]},
        ),
        (
            {
                "Ulimits": [
                    {"Name": "nofile", "Soft": 2048, "Hard": 999_999},
                    {"Name": "memlock", "Soft": -1, "Hard": -1},
                ]
            },
            {
                "Ulimits": [
                    {"Name": "nofile", "Soft": 2048, "Hard": 65536},
                    {"Name": "memlock", "Soft": -1, "Hard": -1},
                ]
            },
        ),
        ({"Tmpfs": {"/t": "size=64m,exec"}}, {"Tmpfs": {"/t": "size=64m,exec,nodev"}}),
        ({"Tmpfs": {"/t": "size=64g"}}, {"Tmpfs": {"/t": f"size={8 * 2**30},nodev"}}),
        (
            {
                "Mounts": [
                    {
                        "Type": "tmpfs",
                        "Target": "/t",
                        "TmpfsOptions": {"SizeBytes": 2**20, "Mode": 0o1777},
                    }
                ]
            },
            {"Tmpfs": {"/t": "size=1048576,mode=1777,nodev"}},
        ),
        ({"Sysctls": {"net.core.somaxconn": "1024"}}, {"Sysctls": {"net.core.somaxconn": "1024"}}),
        ({"ExtraHosts": ["a:10.0.0.1"]}, {"ExtraHosts": ["a:10.0.0.1"]}),
        ({"Dns": ["1.1.1.1"]}, {"Dns": ["1.1.1.1"]}),
        ({"Init": True}, {"Init": True}),
        ({}, {"Init": False, "Dns": ["10.0.0.53"], "IpcMode": "private"}),
    ],
)
def test_what_a_container_may_take_is_within_its_pools(
    asked: dict[str, Any], told: dict[str, Any]
) -> None:
    host = host_of(forwarded("POST", CREATE, made(host=asked)))
    assert {key: host[key] for key in told} == told


def test_a_pool_without_limits_bounds_nothing_that_is_not_asked() -> None:
    grant = replace(GRANT, limits=GrantLimits(), cgroup_parent=None)
    host = host_of(forwarded("POST", CREATE, made(host={"Memory": 2**40}), grant=grant))
    assert (host["Memory"], host["PidsLimit"], host["ShmSize"]) == (2**40, -1, 64 * 2**20)
    host = host_of(forwarded("POST", CREATE, made(), grant=grant))
    assert (host["Memory"], host["NanoCpus"], host["CgroupParent"]) == (0, 0, "")


def test_the_pools_security_holds_for_its_containers() -> None:
    security = GrantSecurity(
        seccomp='{"defaultAction": "SCMP_ACT_ALLOW"}',
        apparmor="lab",
        ulimits={"nproc": GrantUlimit(100, 200)},
        runtime="runsc",
        userns="host",
        cpuset="0-3",
    )
    grant = replace(GRANT, security=security, gpu=None)
    host = host_of(forwarded("POST", CREATE, made(host={"UsernsMode": "host"}), grant=grant))
    assert host["SecurityOpt"] == [
        "no-new-privileges:false",
        "apparmor=lab",
        'seccomp={"defaultAction": "SCMP_ACT_ALLOW"}',
    ]
    assert host["Ulimits"] == [{"Name": "nproc", "Soft": 100, "Hard": 200}]
    assert (host["Runtime"], host["UsernsMode"], host["CpusetCpus"]) == ("runsc", "host", "0-3")


def test_gpus_get_in_as_into_the_agent() -> None:
    way = {
        "DeviceRequests": [{"Driver": "cdi", "DeviceIDs": [f"nvidia.com/gpu={UUID}"]}],
        "Runtime": "runc",
    }
    assert GRANT.gpu is not None
    grant = replace(GRANT, gpu=replace(GRANT.gpu, host_config={**way, "Privileged": True}))
    host = host_of(forwarded("POST", CREATE, clients.CLI_GPU, grant=grant))
    assert (host["Runtime"], host["DeviceRequests"]) == ("runc", way["DeviceRequests"])
    assert host["Privileged"] is False


@pytest.mark.parametrize(
    "ids", [None, ["0", "1"], [UUID], ["MIG-GPU-1111/1/0"], ["0:1"], ["nvidia.com/gpu=0"]]
)
@pytest.mark.parametrize("driver", ["", "nvidia"])
def test_gpus_are_asked_for_by_any_name(ids: list[str] | None, driver: str) -> None:
    request = {"Driver": driver, "Count": 0, "DeviceIDs": ids, "Capabilities": [["gpu", "utility"]]}
    forward = forwarded("POST", CREATE, made(host={"DeviceRequests": [request]}))
    assert forward.body is not None
    assert f"NVIDIA_VISIBLE_DEVICES={UUID}" in forward.body["Env"]


def test_the_pools_variables_come_before_the_jobs() -> None:
    for env, told in (
        (None, "https_proxy=http://proxy:3128"),
        (["https_proxy=x"], "https_proxy=x"),
    ):
        forward = forwarded("POST", CREATE, made({"Env": env}))
        assert forward.body is not None
        assert [one for one in forward.body["Env"] if one.startswith("https_proxy")] == [told]


def test_the_pools_authority_is_mounted() -> None:
    mount = mounts_of(forwarded("POST", CREATE, made()))["/etc/mayfly/ca.pem"]
    assert (mount["Source"], mount["ReadOnly"]) == ("/etc/ssl/lab.pem", True)


def test_a_container_without_a_name_gets_the_gateways() -> None:
    forward = forwarded("POST", "/containers/create", made())
    assert forward.target == f"/v1.45/containers/create?name={PREFIX}c-00112233aabb"


def test_an_image_goes_out_by_its_id() -> None:
    forward = forwarded(
        "POST", CREATE, made({"Image": "docker.io/library/alpine:3"}), world=_named_whole()
    )
    assert forward.body is not None
    assert forward.body["Image"].startswith("sha256:")
    assert forward.body["Labels"]["io.mayfly.belongs.image"] == "docker.io/library/alpine:3"


def _named_whole() -> Any:
    world = engine()
    path = "/v1.45/images/docker.io/library/alpine:3/json"
    world.things[path] = world.things["/v1.45/images/alpine:3/json"]
    return world


def test_an_image_that_is_not_there_is_told_so_that_clients_fetch_it() -> None:
    for name, told in (("busybox", "busybox:latest"), ("lab/x:2", "lab/x:2")):
        outcome = refused("POST", CREATE, made({"Image": name}))
        assert (outcome.status, outcome.sentence) == (404, f"No such image: {told}")
        assert not outcome.told


def test_a_pool_that_pulls_always_has_no_image_before_the_agent_has_fetched_it() -> None:
    outcome = refused("POST", CREATE, made(), grant=replace(GRANT, pull="always"))
    assert (outcome.status, outcome.sentence) == (404, "No such image: alpine:latest")


def test_what_nobody_knows_may_be_there_with_nothing_in_it() -> None:
    body = deepcopy(clients.CLI_GPU)
    body["HostConfig"] |= {
        "NewThing": None,
        "Other": [],
        "More": {"a": 0, "b": [""]},
        "Less": False,
    }
    assert_safe(forwarded("POST", CREATE, body), GRANT)


def test_where_the_engine_s_disk_keeps_sizes_each_container_and_volume_has_one() -> None:
    grant = replace(GRANT, limits=replace(GRANT.limits, disk=5 << 30))
    sized = {"size": str(5 << 30)}
    body = made({"Volumes": {"/own": {}}}, {"Binds": ["data:/x", "/home/agent/_work:/w"]})
    forward = forwarded("POST", CREATE, body, grant=grant)
    assert host_of(forward)["StorageOpt"] == sized
    told = {place: one.get("VolumeOptions", {}) for place, one in mounts_of(forward).items()}
    # The agent's own work volume, at /w, was made with its own.
    assert {place: one["DriverConfig"] for place, one in told.items() if "DriverConfig" in one} == {
        "/own": {"Name": "local", "Options": sized},
        "/x": {"Name": "local", "Options": sized},
    }
    volume = forwarded("POST", "/volumes/create", {"Name": "data"}, grant=grant)
    assert volume.body is not None
    assert volume.body["DriverOpts"] == sized
    assert "StorageOpt" not in host_of(forwarded("POST", CREATE, body))
