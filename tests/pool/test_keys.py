"""What each key of a pool does inside a container: one manager with a pool for every group of keys.

What GPUs, services and kept containers are about is tried where they are: `ELSEWHERE`.
"""

from __future__ import annotations

import json
import subprocess
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from mayfly.core.model import LABEL_SANDBOX
from mayfly.providers.configuration import schema
from tests.engine.command import build
from tests.harness import Manager, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.engine.private_engine import PrivateEngine

pytestmark = pytest.mark.long

POOLS = """
[[pool]]
name = "full"
provider = "local"
slots = 1
labels = ["gpu"]
env = {{ GREETING = "hello there", HF_HOME = "/cache/hf" }}
user = "1234:2345"
groups = ["audio", "20000"]
proxy = "http://proxy.test:3128"
no_proxy = ".test,192.0.2.0/24"
ca = "{home}/ca.pem"
cap_add = ["SYS_PTRACE"]
standby = false
removal = "manager"
[pool.limits]
memory = "160MiB"
cpus = 0.5
pids = 77
shm = "32MiB"
[pool.security]
ulimits = {{ nofile = {{ soft = 100, hard = 200 }}, memlock = "64KiB" }}
[[pool.dataset]]
source = "{home}/data"
target = "/datasets/answers"
env = "ANSWERS"
[[pool.caches]]
source = "{home}/cache"
target = "/cache"
env = "CACHE"

[[pool]]
name = "own"
standby = false
slots = 2
[[pool.caches]]
source = "{home}/cache"
target = "/cache"

[[pool]]
name = "lab"
standby = false
slots = 2
network = "lab"
removal = "engine"
[[pool.caches]]
source = "{home}/cache"
target = "/cache"

[[pool]]
name = "alone"
standby = false
network = "none"
image = "test/of-ones-own:1"

[[pool]]
name = "host"
standby = false
network = "host"

[[pool]]
name = "named"
standby = false
network = "bridge"
dns = ["192.0.2.53", "192.0.2.54"]

[[pool]]
name = "root"
sudo = true
[pool.security]
cap_drop = ["SETFCAP"]

[[pool]]
name = "locked"
standby = false
[pool.security]
runtime = "io.containerd.runc.v2"
seccomp = "{home}/calls.json"
apparmor = "unconfined"
read_only = true
tmpfs = {{ "/home/runner" = "8MiB" }}
cpuset = "0"
userns = "host"

[[pool]]
name = "brief"
standby = false
limits = {{ job_timeout = "2s", idle_recycle = "3s" }}

[[pool]]
name = "small"
standby = false
limits = {{ disk = "4MiB" }}

[[pool]]
name = "nested"
standby = false
[[pool.dataset]]
source = "{home}/outer"
target = "/data"

[[pool]]
name = "allowed"
standby = false
[[pool.dataset]]
source = "{home}/outer"
target = "/data"
nested = "allow"
"""
EFFECTS = {
    "name": "test_a_slot_is_called_by_its_pool",
    "provider": "test_a_slot_is_called_by_its_pool",
    "slots": "test_a_slot_is_called_by_its_pool",
    "image": "test_an_image_of_one_s_own",
    "env": "test_variables_datasets_and_caches",
    "dataset": "test_variables_datasets_and_caches",
    "caches": "test_variables_datasets_and_caches",
    "user": "test_the_job_s_user_and_groups",
    "groups": "test_the_job_s_user_and_groups",
    "cap_add": "test_capabilities_and_sudo",
    "sudo": "test_capabilities_and_sudo",
    "network": "test_networks",
    "dns": "test_networks",
    "proxy": "test_proxy_and_ca",
    "no_proxy": "test_proxy_and_ca",
    "ca": "test_proxy_and_ca",
    "standby": "test_a_pool_without_standby",
    "removal": "test_who_removes_a_container",
    "limits": "test_limits_of_the_container",
    "memory": "test_limits_of_the_container",
    "cpus": "test_limits_of_the_container",
    "pids": "test_limits_of_the_container",
    "shm": "test_limits_of_the_container",
    "security": "test_limits_of_the_container",
    "ulimits": "test_limits_of_the_container",
    "cap_drop": "test_capabilities_and_sudo",
    **dict.fromkeys(
        ("runtime", "seccomp", "apparmor", "read_only", "tmpfs", "cpuset", "userns"),
        "test_what_a_pool_closes_is_closed",
    ),
    "disk": "test_a_job_that_writes_too_much_is_ended",
    "job_timeout": "test_a_job_that_runs_too_long_is_ended",
    "idle_recycle": "test_an_agent_that_idles_too_long_is_replaced",
    "nested": "test_mounts_beneath_a_dataset",
}
ELSEWHERE = {
    "GPUs": ("gpus", "cuda", "cuda_compat", "share", "injection"),
    # tests/core/test_leases.py, tests/core/test_gpu_selection.py, tests/core/test_gpu_labels.py
    "which GPUs": ("gpu", "model", "min_memory", "compute", "mig", "gpu_labels"),
    "GPUs in turn": ("exclusive", "weight"),  # tests/core/test_turns.py
    "GPUs that are reset": ("heal",),  # tests/engine/test_gpu_heal.py
    # tests/engine/test_bench_lane.py, tests/core/test_bench_lane.py
    "jobs that are measured": ("bench", "clock", "memory_clock", "others_idle"),
    # tests/core/test_reservations.py, tests/core/test_reserved_hours.py, tests/engine/test_reservations.py
    "GPUs that people reserve": (
        *("reserve", "longest", "ahead", "per_person", "at_once", "per_week", "clear"),
    ),
    "GPUs of Slurm": (  # tests/core/test_allocations.py, tests/edge/test_slurm.py, tests/real/slurm
        *("lease", "slurm", "partition", "account", "qos", "gres", "node", "time_limit"),
        *("wait", "retry", "idle", "look", "options"),
    ),
    "services": (
        *("azure", "gitea", "github", "gitlab"),  # their own tables
        *("url", "agent_pool", "token", "tenant_id", "client_id", "authority", "enrolment"),
        *("app", "runner_group", "calls_per_hour", "scope", "plain_http"),
        *("scale_set", "fallback"),  # tests/providers/test_github_scaleset.py
        "releases",  # tests/providers/test_client_release.py
        *("default_image", "helper_image"),  # tests/providers/test_gitlab.py
        *("stuck_after", "cancel_stuck", "token_expires"),  # tests/providers/test_waiting.py
        "job_lines",  # tests/core/test_job_lines.py, tests/service/test_figures_writer.py
        "labels",  # the service hands them to jobs; the embedded queue has none
    ),
    "held jobs": ("hold_failed", "hold_most"),  # tests/engine/test_gpu_hold.py
    "hostile jobs": ("connection_rate", "process_rate"),
    "an Engine that filters nothing": ("isolation",),
    "kept networks": ("sandbox",),
    # tests/real/kubernetes/test_claims.py
    "a cluster": ("kubernetes", "gpu_resource", "device_class", "device_selector"),
    "jobs that ask for an image": ("job_images",),
    # tests/core/test_belongings.py, tests/engine/test_doors.py
    "containers of jobs' own": ("containers", "allowed_images", "pull", "images_keep"),
    # tests/engine/gateway/test_registry_credentials.py
    "their registries": ("registries", "address", "password"),
    # tests/core/admission/test_builder_image.py, tests/real/containers/test_builds.py
    "images that jobs build": ("builder",),
}
LISTEN = (
    "use Socket; socket(my $s, PF_INET, SOCK_STREAM, 0); bind($s, sockaddr_in(4000, INADDR_ANY)) or die; "
    "listen($s, 1); open(my $f, '>', '/cache/NAME'); close $f; accept(my $c, $s)"
)
REACH = "timeout 3 bash -c 'exec 3<>/dev/tcp/$0/4000' $(cat /cache/address-NAME) "
REACH += "&& echo reached || echo apart"


def test_every_key_of_a_pool_has_its_test() -> None:
    tables = schema()["$defs"]
    keys = {
        key
        for table in tables
        if table
        not in {"HostTable", "ClusterTable", "CacheTable", "AppTable", "NotifyTable", "MailTable"}
        | {"IdleTable"}  # tests/pool/test_idle.py
        for key in tables[table]["properties"]
    } - {"source", "target"}
    named = {key for names in ELSEWHERE.values() for key in names}
    assert keys == EFFECTS.keys() | named
    assert not EFFECTS.keys() & named
    assert all(callable(globals().get(test)) for test in EFFECTS.values())


class Pools:
    """The manager, and what each pool's jobs have said."""

    def __init__(self, manager: Manager, engine: PrivateEngine) -> None:
        self.manager = manager
        self.engine = engine

    def said(self, pool: str, script: str, *, code: int = 0) -> list[str]:
        """The lines that a job of the pool prints."""
        job = self.manager.queue("bash", "-c", script, pool=pool)
        row = self.manager.ended(job)
        lines = self.printed(job)
        assert row["exit_code"] == code, (row, lines)
        return lines

    def printed(self, job: str) -> list[str]:
        status, body = self.manager.ask("GET", f"/v1/jobs/{job}/output?format=text")
        assert status == 200
        return body.decode().splitlines()

    def inspected(self, slot: str) -> Any:
        """What the Engine tells of the slot's container."""
        self.manager.in_phase("idle", slot)
        return json.loads(self.manager.docker("inspect", self.manager.slot(slot)["container"]))[0]


@pytest.fixture(scope="module")
def pools(engine: PrivateEngine) -> Iterator[Pools]:
    """All pools above, on one Engine."""
    with Manager(engine.url) as manager:
        for name in ("data", "cache", "outer", "outer/inner"):
            (manager.home / name).mkdir()
        (manager.home / "cache").chmod(0o777)
        (manager.home / "data/answer").write_text("forty-two\n")
        calls = {"names": ["symlink", "symlinkat"], "action": "SCMP_ACT_ERRNO"}
        profile = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [calls]}
        (manager.home / "calls.json").write_text(json.dumps(profile))
        (manager.home / "ca.pem").write_text("-----BEGIN CERTIFICATE-----\n")
        manager.docker("network", "create", "lab")
        build(engine.url, "test/of-ones-own:1", "FROM mayfly/local:cpu\nENV MADE_BY=us\n")
        inner = manager.home / "outer/inner"
        subprocess.run(["mount", "-t", "tmpfs", "none", str(inner)], check=True)
        try:
            manager.configure(POOLS.format(home=manager.home))
            manager.start(wait="answer")
            yield Pools(manager, engine)
        finally:
            manager.kill()
            manager.close()
            subprocess.run(["umount", str(inner)], check=False)
            with suppress(subprocess.CalledProcessError):
                manager.docker("network", "rm", "lab")


@pytest.fixture(scope="module")
def writes(pools: Pools) -> str:
    """A job that writes more than its pool allows: the layer is looked at twice a minute only."""
    script = "head -c 30000000 /dev/zero >~/much; echo written; sleep 1000"
    return pools.manager.queue("bash", "-c", script, pool="small")


def test_a_slot_is_called_by_its_pool(pools: Pools, writes: str) -> None:
    rows = {row["slot"]: row for row in pools.manager.get("/v1/status")["slots"]}
    assert [name for name in rows if name.startswith(("own", "lab"))] == [
        "own-0",
        "own-1",
        "lab-0",
        "lab-1",
    ]
    assert {row["provider"] for row in rows.values()} == {"local"}
    (said,) = pools.said("own", 'echo "$(hostname) $MAYFLY_SLOT"')
    assert said in {"own-0 own-0", "own-1 own-1"}


def test_an_image_of_one_s_own(pools: Pools) -> None:
    assert pools.said("alone", "echo $MADE_BY") == ["us"]
    assert pools.manager.slot("alone-0")["image"] == "test/of-ones-own:1"


def test_variables_datasets_and_caches(pools: Pools) -> None:
    said = pools.said(
        "full",
        'echo "$GREETING"; echo $HF_HOME; echo $ANSWERS $CACHE; cat $ANSWERS/answer; '
        "touch $ANSWERS/mine 2>&1; echo kept >$CACHE/mine; stat -c %u $CACHE/mine",
    )
    assert said == [
        "hello there",
        "/cache/hf",
        "/datasets/answers /cache",
        "forty-two",
        "touch: cannot touch '/datasets/answers/mine': Read-only file system",
        "1234",
    ]
    assert (pools.manager.home / "cache/mine").read_text() == "kept\n"
    assert pools.said("full", "cat /cache/mine") == ["kept"]


def test_the_job_s_user_and_groups(pools: Pools) -> None:
    audio = pools.said("own", "getent group audio | cut -d: -f3")[0]
    said = pools.said("full", "id -u; id -g; id -G; cd && pwd && touch mine && echo at home")
    assert said[:2] == ["1234", "2345"]
    assert set(said[2].split()) == {"2345", audio, "20000"}
    assert said[3:] == ["/home/runner", "at home"]
    assert pools.said("own", "id -un; id -G") == ["runner", "1000"]


def test_capabilities_and_sudo(pools: Pools) -> None:
    look = "awk '/^Cap(Eff|Bnd)|^NoNewPrivs/ {print $2}' /proc/self/status; sudo -n id -un 2>/dev/null; true"
    effective, bounding, locked = pools.said("own", look)
    own = int(bounding, 16)
    assert (int(effective, 16), locked) == (0, "1")
    assert own == sum(1 << number for number in (0, 5, 6, 7))  # CHOWN KILL SETGID SETUID
    effective, bounding, locked = pools.said("full", look)
    assert (int(effective, 16), locked) == (0, "1")
    assert int(bounding, 16) == own | 1 << 19  # SYS_PTRACE
    effective, bounding, locked, became = pools.said("root", look)
    assert (int(effective, 16), locked, became) == (0, "0", "root")
    assert int(bounding, 16) & own == own
    assert int(bounding, 16) & 1 << 1  # DAC_OVERRIDE, of Docker's default set
    # SYS_ADMIN, NET_RAW, MKNOD, and SETFCAP, which this pool drops
    assert not int(bounding, 16) & (1 << 21 | 1 << 13 | 1 << 27 | 1 << 31)


def test_what_a_pool_closes_is_closed(pools: Pools) -> None:
    look = "for f in /etc/mine ~/mine /tmp/mine; do touch $f 2>/dev/null; echo $?; done; "
    look += "nproc; ln -s a ~/link 2>/dev/null; echo $?; df -Pk ~ | awk 'NR == 2 {print $1, $2}'"
    assert pools.said("locked", look) == ["1", "0", "0", "1", "1", "tmpfs 8192"]
    noted = pools.inspected("locked-0")["HostConfig"]
    assert (noted["Runtime"], noted["UsernsMode"]) == ("io.containerd.runc.v2", "host")
    assert "apparmor=unconfined" in noted["SecurityOpt"]


def test_networks(pools: Pools) -> None:
    assert pools.said("alone", "ls /sys/class/net") == ["lo"]
    assert pools.engine._holder is not None
    namespace = str(Path(f"/proc/{pools.engine._holder.pid}/ns/net").readlink())
    assert pools.said("host", "readlink /proc/self/ns/net; hostname") == [namespace, "host-0"]
    servers = "awk '/^nameserver/ {print $2}' /etc/resolv.conf"
    assert pools.said("named", servers) == ["192.0.2.53", "192.0.2.54"]
    host = pools.manager.host_id()
    assert set(pools.inspected("own-0")["NetworkSettings"]["Networks"]) == {f"mayfly-{host}-own"}


@pytest.mark.parametrize(("pool", "told"), [("lab", "reached"), ("own", "apart")])
def test_agents_of_a_pool_meet_only_on_a_network_of_one_s_own(
    pools: Pools, pool: str, told: str
) -> None:
    cache = pools.manager.home / "cache"
    listens = pools.manager.queue(
        "bash", "-c",
        f"hostname -I | tr -d ' \\n' >/cache/address-{pool}; exec perl -e \"{LISTEN}\"".replace("NAME", pool)
        .replace("$s", "\\$s").replace("$f", "\\$f").replace("$c", "\\$c"),
        pool=pool,
    )  # fmt: skip
    until((cache / pool).exists, f"the agent of {pool} listens")
    assert pools.said(pool, REACH.replace("NAME", pool)) == [told]
    pools.manager.ask("POST", f"/v1/jobs/{listens}/cancel", "{}")


def test_proxy_and_ca(pools: Pools) -> None:
    names = "http_proxy https_proxy HTTP_PROXY HTTPS_PROXY"
    said = pools.said(
        "full",
        f"for name in {names} no_proxy NO_PROXY; do echo ${{!name}}; done; "
        "tail -n 1 $SSL_CERT_FILE; "
        "echo $SSL_CERT_FILE $REQUESTS_CA_BUNDLE $CURL_CA_BUNDLE $NODE_EXTRA_CA_CERTS; "
        "test -w $SSL_CERT_FILE || echo read-only",
    )
    place = "/etc/mayfly/trusted.pem"  # what the image trusts, and the pool's authority at its end
    assert said == [
        *["http://proxy.test:3128"] * 4,
        *[".test,192.0.2.0/24"] * 2,
        "-----BEGIN CERTIFICATE-----",
        " ".join([*[place] * 3, "/etc/mayfly/ca.pem"]),
        "read-only",
    ]


def test_limits_of_the_container(pools: Pools) -> None:
    said = pools.said(
        "full",
        "cd /sys/fs/cgroup; cat memory.max memory/memory.limit_in_bytes 2>/dev/null; "
        "cat cpu.max 2>/dev/null || echo $(cat cpu/cpu.cfs_quota_us cpu/cpu.cfs_period_us); "
        "cat pids.max pids/pids.max 2>/dev/null; df -B1 --output=size /dev/shm | tail -n 1; "
        "ulimit -Sn; ulimit -Hn; ulimit -Hl",
    )
    assert said[0] == str(160 << 20)
    quota, period = map(int, said[1].split())
    assert quota / period == 0.5
    assert said[2] == "77"
    assert int(said[3]) == 32 << 20
    assert said[4:] == ["100", "200", "64"]
    host = pools.inspected("full-0")["HostConfig"]
    assert host["MemorySwap"] == host["Memory"] == 160 << 20  # swap is not added
    assert host["CpuShares"] == 512  # half a processor counts for half as much


def test_a_pool_without_standby(pools: Pools) -> None:
    manager = pools.manager
    jobs = [manager.queue("sleep", "1000", pool=pool) for pool in ("full", "root")]
    until(
        lambda: (manager.slot("root-0")["standby"] or {}).get("phase") == "armed",
        "the pool with standby has one",
    )
    manager.in_phase("busy", "full-0")
    assert manager.slot("full-0")["standby"] is None
    of_slot = ("--filter", "label=io.mayfly.slot=full-0", "--filter", f"label={LABEL_SANDBOX}=")
    assert len(manager.docker("ps", "-aq", *of_slot).split()) == 1
    for job in jobs:
        manager.ask("POST", f"/v1/jobs/{job}/cancel", "{}")
    manager.in_phase("idle", "full-0")


def test_who_removes_a_container(pools: Pools) -> None:
    for slot, engine in (("full-0", False), ("lab-0", True)):
        assert pools.inspected(slot)["HostConfig"]["AutoRemove"] is engine
        agent = pools.manager.slot(slot)["agent"]
        pools.manager.ask("POST", "/v1/recycle", json.dumps({"slots": [slot]}))
        until(
            partial(_gone, pools.manager, f"label=io.mayfly.generation={agent}"),
            f"the recycled container of {slot} is gone",
        )


def _gone(manager: Manager, label: str) -> bool:
    return not manager.docker("ps", "-aq", "--filter", label)


def test_a_job_that_runs_too_long_is_ended(pools: Pools) -> None:
    job = pools.manager.queue("sleep", "1000", pool="brief")
    row = pools.manager.ended(job)
    assert (row["state"], row["cause"]) == ("failed", "timeout")


def test_an_agent_that_idles_too_long_is_replaced(pools: Pools) -> None:
    def recycled() -> bool:
        rows = pools.manager.get("/v1/history?slot=brief-0")["agents"]
        return any(row["ended_for"] == "old" for row in rows)

    until(recycled, "an agent was replaced for having been idle too long")
    assert pools.manager.in_phase("idle", "brief-0")["agent"] is not None


def test_mounts_beneath_a_dataset(pools: Pools) -> None:
    version = pools.manager.docker("version", "--format", "{{.Server.Version}}")
    pools.manager.in_phase("idle", "allowed-0")
    if int(version.split(".")[0]) >= 25:
        pools.manager.in_phase("idle", "nested-0")
        return
    note = pools.manager.in_phase("held", "nested-0")["note"]
    assert f"dataset {pools.manager.home}/outer" in note
    assert 'set nested = "allow"' in note


def test_a_job_that_writes_too_much_is_ended(pools: Pools, writes: str) -> None:
    row = pools.manager.ended(writes, 120)
    assert (row["state"], row["cause"]) == ("failed", "disk")
    assert pools.printed(writes) == ["written"]
