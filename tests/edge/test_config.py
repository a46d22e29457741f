"""The configuration: what is understood, who said it, and how every mistake is told."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mayfly.core import model
from mayfly.core.gpu_checks import CheckSetting, CheckSeverity
from mayfly.core.gpu_selection import GpuSelection
from mayfly.core.model import DeviceKind
from mayfly.edge import config
from mayfly.edge.cluster import Cluster
from mayfly.edge.config import ConfigError
from mayfly.edge.config_text import DURATIONS, SIZES, config_lines
from mayfly.edge.faults import Refused
from mayfly.providers.azure.settings import AzureSettings
from mayfly.providers.configuration import load, schema
from mayfly.providers.gitea.settings import GiteaSettings
from mayfly.providers.github.settings import GitHubApp, GitHubSettings
from mayfly.providers.gitlab.settings import GitLabSettings
from mayfly.providers.installed import packages

Write = Callable[..., Path]

MINIMAL = '[host]\nname = "lab"\n[[pool]]\nname = "local"\n'


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write the main file and, by name, drop-ins beside it."""

    def _write(main: str, **drop_ins: str) -> Path:
        path = tmp_path / "config.toml"
        path.write_text(main)
        for name, text in drop_ins.items():
            (tmp_path / "conf.d").mkdir(exist_ok=True)
            (tmp_path / "conf.d" / f"{name}.toml").write_text(text)
        return path

    return _write


def mistakes(path: Path, **environ: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load(path, environ=environ)
    return str(caught.value).replace(f"{path.parent}/", "")


def pool(text: str) -> str:
    return MINIMAL + text


SCALE_SET = """provider = "github"
[pool.github]
url = "https://github.com/ourlab"
token = {{ credential = "github" }}
{keys}
"""


EVERYTHING = """
[host]
name = "lab-7"
gpu = "required"
gpu_checks = { "gpu.power_cap" = "warn", "gpu.xid.69" = "off", "gpu.ecc_corrected" = { threshold = 7 } }
engine = "docker"
docker_host = "unix:///run/other.sock"
state_dir = "/srv/mayfly"
socket = "/run/other/control.sock"
metrics = "127.0.0.1:9925"
web = "127.0.0.1:9788"
web_user_header = "X-Remote-User"
web_trusted_proxies = ["www-data", "10.0.0.0/8"]
web_boxes = { gpu2 = "https://gpu2.lab.example/" }
docs = "https://docs.lab.example/mayfly"
log_max_size = "5MiB"
output_per_agent = "1MiB"
output_total = "1GB"
workspace_max = "64MiB"
workspaces_per_user = "1GiB"
workspaces_total = "2GiB"
results_max = "32MiB"
results_total = "512MiB"
images_total = "50GiB"
history_days = 30
history_events = 5000
fair_share_half_life = "7d"
driver_branches = ["535", "580"]

[[pool]]
name = "azure"
provider = "azure"
slots = 3
gpus = ["GPU-8f2c1111", "MIG-77aa", 0]
cuda = "12.8"
cuda_compat = true
job_lines = false
image = "registry.lab/ci/agent:7"
job_images = []
labels = ["gpu", "a100"]
gpu_labels = ["model", "driver"]
env = { HF_HOME = "/cache/hf" }
user = "1001:44"
groups = ["video", 44]
network = "lab"
isolation = "required"
containers = false
allowed_images = ["*"]
pull = "missing"
images_keep = "14d"
dns = ["10.0.0.1", "fd00::1"]
sandbox = "job"
proxy = "http://proxy.lab:3128"
no_proxy = "localhost,.lab"
plain_http = true
ca = "/etc/ssl/lab.pem"
cap_add = ["CAP_SYS_PTRACE"]
sudo = true
standby = false
removal = "manager"
hold_failed = "1h"
hold_most = "12h"
share = true
exclusive = "always"
weight = 1
heal = "reset"
stuck_after = "2h"
cancel_stuck = "6h"
token_expires = 2027-11-29
injection = "cdi"

[pool.azure]
url = "https://dev.azure.com/ourlab"
agent_pool = "gpu"
token = { credential = "azure-pat" }
tenant_id = "tenant-1"
client_id = "client-1"
authority = "https://login.lab"
calls_per_hour = 500

[pool.limits]
memory = "8GiB"
cpus = 2.5
pids = 512
shm = "1GiB"
disk = "20GB"
job_timeout = "1h30m"
idle_recycle = 600
connection_rate = 40
process_rate = "none"

[pool.security]
ulimits = { nofile = { soft = 1024, hard = 4096 }, memlock = "unlimited", core = 0, rss = -1 }
seccomp = "/etc/calls.json"
apparmor = "lab-jobs"
cap_drop = ["SETFCAP"]
tmpfs = { "/home/runner" = "1GiB" }
cpuset = "0-3,8"
userns = "host"

[[pool.dataset]]
source = "/data/imagenet/"
target = "/datasets/imagenet"
env = "IMAGENET_DIR"
nested = "allow"

[[pool.caches]]
source = "/data/cache"
target = "/cache"
env = "CACHE_DIR"

[[pool]]
name = "github"
provider = "github"

[pool.github]
url = "https://github.com/ourlab"
runner_group = "gpu"
enrolment = "scaleset"
scale_set = "lab-gpu"
fallback = "token"

[pool.github.app]
id = "12345"
key = { file = "/etc/mayfly/app.pem" }

[[pool]]
name = "gitea"
provider = "gitea"
containers = true
builder = "registry.lab/builder:1"
gpus = 2

[pool.gpu]
model = "H100"
min_memory = "80GB"
compute = ">=8.0,<10.0"
mig = "none"

[pool.gitea]
url = "https://gitea.lab/ourlab"
token = { credential = "gitea" }

[[pool]]
name = "gitlab"
provider = "gitlab"

[pool.gitlab]
url = "https://gitlab.lab"
token = { credential = "gitlab" }
scope = "group:7"
releases = "https://mirror.lab/gitlab-runner"
default_image = "python:3.12"
helper_image = "registry.lab/gitlab-runner-helper:x86_64-v18.5.0"

[pool.security]
runtime = "runsc"
read_only = true
"""


def test_every_key_is_read_into_the_core_s_words(write: Write) -> None:
    found = load(write(EVERYTHING), environ={}).config
    assert found.host == model.HostSpec(
        name="lab-7",
        gpu="required",
        gpu_checks={
            "gpu.power_cap": CheckSetting(CheckSeverity.WARN),
            "gpu.xid.69": CheckSetting(CheckSeverity.OFF),
            "gpu.ecc_corrected": CheckSetting(threshold=7.0),
        },
        docker_host="unix:///run/other.sock",
        state_dir="/srv/mayfly",
        socket="/run/other/control.sock",
        metrics="127.0.0.1:9925",
        web="127.0.0.1:9788",
        web_user_header="X-Remote-User",
        web_trusted_proxies=("www-data", "10.0.0.0/8"),
        web_boxes={"gpu2": "https://gpu2.lab.example/"},
        docs="https://docs.lab.example/mayfly",
        log_max_size=5 * 2**20,
        output_per_agent=2**20,
        output_total=10**9,
        workspace_max=2**26,
        workspaces_per_user=2**30,
        workspaces_total=2**31,
        results_max=2**25,
        results_total=2**29,
        images_total=50 * 2**30,
        history_days=30,
        history_events=5000,
        fair_share_half_life=7 * 86400.0,
        driver_branches=("535", "580"),
    )
    assert found.pools == (
        model.PoolSpec(
            name=model.PoolName("azure"),
            provider="azure",
            slots=3,
            gpus=("GPU-8f2c1111", "MIG-77aa", 0),
            cuda="12.8",
            cuda_compat=True,
            job_lines=False,
            image="registry.lab/ci/agent:7",
            embedded=False,
            settings=AzureSettings(
                url="https://dev.azure.com/ourlab",
                agent_pool="gpu",
                token={"credential": "azure-pat"},
                tenant_id="tenant-1",
                client_id="client-1",
                authority="https://login.lab",
                calls_per_hour=500,
            ),
            labels=("gpu", "a100"),
            gpu_labels=("model", "driver"),
            env={"HF_HOME": "/cache/hf"},
            datasets=(
                model.Dataset("/data/imagenet", "/datasets/imagenet", "IMAGENET_DIR", "allow"),
            ),
            caches=(model.Cache("/data/cache", "/cache", "CACHE_DIR"),),
            limits=model.Limits(
                memory=8 * 2**30,
                cpus=2.5,
                pids=512,
                shm=2**30,
                disk=20 * 10**9,
                job_timeout=5400.0,
                idle_recycle=600.0,
                connection_rate=40.0,
                process_rate=None,
            ),
            security=model.PoolSecurity(
                ulimits={
                    "nofile": model.Ulimit(1024, 4096),
                    "memlock": model.Ulimit(-1, -1),
                    "core": model.Ulimit(0, 0),
                    "rss": model.Ulimit(-1, -1),
                },
                seccomp="/etc/calls.json",
                apparmor="lab-jobs",
                cap_drop=("SETFCAP",),
                tmpfs={"/home/runner": 2**30},
                cpuset="0-3,8",
                userns="host",
            ),
            user="1001:44",
            groups=("video", "44"),
            network="lab",
            isolation="required",
            sandbox="job",
            dns=("10.0.0.1", "fd00::1"),
            proxy="http://proxy.lab:3128",
            no_proxy="localhost,.lab",
            plain_http=True,
            ca="/etc/ssl/lab.pem",
            cap_add=("SYS_PTRACE",),
            sudo=True,
            standby=False,
            removal=model.Removal.MANAGER,
            hold_failed=3600.0,
            hold_most=43200.0,
            share=True,
            heal="reset",
            stuck_after=7200.0,
            cancel_stuck=21600.0,
            token_expires="2027-11-29",
            injection="cdi",
        ),
        model.PoolSpec(
            name=model.PoolName("github"),
            provider="github",
            embedded=False,
            settings=GitHubSettings(
                url="https://github.com/ourlab",
                app=GitHubApp("12345", {"file": "/etc/mayfly/app.pem"}),
                runner_group="gpu",
                enrolment="scaleset",
                scale_set="lab-gpu",
                fallback="token",
            ),
        ),
        model.PoolSpec(
            name=model.PoolName("gitea"),
            provider="gitea",
            embedded=False,
            settings=GiteaSettings("https://gitea.lab/ourlab", {"credential": "gitea"}),
            containers=True,
            builder="registry.lab/builder:1",
            gpus=2,
            gpu=GpuSelection("H100", 80 * 10**9, ">=8.0,<10.0", "none"),
        ),
        model.PoolSpec(
            name=model.PoolName("gitlab"),
            provider="gitlab",
            embedded=False,
            settings=GitLabSettings(
                url="https://gitlab.lab",
                token={"credential": "gitlab"},
                scope="group:7",
                releases="https://mirror.lab/gitlab-runner",
                default_image="python:3.12",
                helper_image="registry.lab/gitlab-runner-helper:x86_64-v18.5.0",
            ),
            security=model.PoolSecurity(runtime="runsc", read_only=True),
        ),
    )


# Of engine kubernetes alone.
CLUSTER = """
[host]
name = "lab"
engine = "kubernetes"

[host.kubernetes]
namespace = "agents"
kubeconfig = "/etc/mayfly/kubeconfig"
context = "lab"
registry = "registry.lab:5000/ci"
pull = "Always"
pull_secrets = ["lab"]
gpu_resource = "nvidia.com/mig-1g.10gb"
device_class = "mig.nvidia.com"
device_selector = 'device.attributes["gpu.nvidia.com"].profile == "1g.10gb"'
priority_class = "ci"
service_account = "agents"
start_seconds = 60.0
pull_seconds = 600.0

[[pool]]
name = "gpu"
gpus = 2
cuda = "12.8"

[[pool.dataset]]
source = "pvc:sets/imagenet"
target = "/datasets/imagenet"

[[pool.caches]]
source = "pvc:caches"
target = "/cache"

[pool.limits]
memory = "8GiB"
cpus = 2
"""


def test_a_cluster_is_read_and_its_pools_gpus_are_counts(write: Write) -> None:
    found = load(write(CLUSTER), environ={}).config
    assert found.host.engine_settings == Cluster(
        namespace="agents",
        kubeconfig="/etc/mayfly/kubeconfig",
        context="lab",
        registry="registry.lab:5000/ci",
        pull="Always",
        pull_secrets=("lab",),
        gpu_resource="nvidia.com/mig-1g.10gb",
        device_class="mig.nvidia.com",
        device_selector='device.attributes["gpu.nvidia.com"].profile == "1g.10gb"',
        priority_class="ci",
        service_account="agents",
        start_seconds=60.0,
        pull_seconds=600.0,
    )
    (pool,) = found.pools
    assert (pool.gpus, pool.devices) == (0, 2)
    assert pool.mounts[0].source == "pvc:sets/imagenet"


@pytest.mark.parametrize(
    ("key", "where", "said"),
    [
        ('network = "none"', "network", "a NetworkPolicy says whom they reach"),
        ('isolation = "required"', "isolation", "has no equivalent yet"),
        ('sandbox = "slot"', "sandbox", "a network namespace of its own"),
        ('removal = "engine"', "removal", "nothing there removes an ended pod in time"),
        ('injection = "cdi"', "injection", "the node's device plugin"),
        ('job_images = ["lab/*"]', "job_images", "has no equivalent yet"),
        ("containers = true", "containers", "a cluster has no Engine"),
        ("share = true", "share", "has no"),
        ("gpus = 1\ncuda = '12.8'\nexclusive = 'in turn'", "exclusive", "has no equivalent"),
        ("gpus = 1\ncuda = '12.8'\nlease = 'slurm'", "lease", "has no equivalent"),
        ('gpus = "all"', "gpus", "must be a number"),
        (
            "gpus = 1\ncuda = '12.8'\ngpu = { model = 'H100' }",
            "gpu: ",
            "say gpu_resource, or device_class",
        ),
        ("gpus = 1", "cuda", "must be set, or `image`"),
        ("kubernetes = { device_class = 'a' }", "kubernetes: ", "has no meaning without `gpus`"),
        (
            "gpus = 1\nkubernetes = { device_selector = 'true' }",
            "kubernetes.device_selector: ",
            "has no meaning without `device_class`, here or in host.kubernetes",
        ),
        (
            "gpus = 1\nkubernetes = { device_class = 'a', gpu_resource = 'a.b/c' }",
            "kubernetes.device_class: ",
            "cannot be beside `gpu_resource`",
        ),
        (
            "gpus = 1\nkubernetes = { gpu_resource = 'gpu' }",
            "gpu_resource",
            "is no resource of a cluster",
        ),
        ("security.cpuset = '0-3'", "security cpuset: ", "the node's CPU manager"),
        ("security.userns = 'host'", "security userns: ", "has no meaning"),
        ("security.ulimits = { nofile = 1024 }", "security ulimits: ", "container runtime"),
        ("security.seccomp = '/etc/calls.json'", "security seccomp: ", "which no node has"),
        ("limits.pids = 100", "limits pids: ", "podPidsLimit"),
        ("limits.process_rate = 10", "limits process_rate: ", "a pod is not frozen"),
        ("limits.connection_rate = 10", "limits connection_rate: ", "a pod is not frozen"),
        ("caches = [{ source = '/c', target = '/c' }]", "caches number 1 source: ", "pvc:NAME"),
        (
            "dataset = [{ source = 'pvc:A', target = '/c' }]",
            "dataset number 1 source: ",
            "is no claim",
        ),
        (
            "dataset = [{ source = 'image:!', target = '/c' }]",
            "dataset number 1 source: ",
            "no image",
        ),
    ],
)
def test_what_a_cluster_has_no_equivalent_for_is_refused_in_a_sentence(
    write: Write, key: str, where: str, said: str
) -> None:
    limits = "limits.memory = '1GiB'\nlimits.cpus = 1"
    text = f'[host]\nname = "lab"\nengine = "kubernetes"\n[[pool]]\nname = "a"\n{key}\n{limits}\n'
    with pytest.raises(ConfigError) as caught:
        load(write(text), environ={})
    told = [str(one) for one in caught.value.problems]
    assert any(where in one and said in one for one in told), told


KIND = "\n[pool.kubernetes]\ndevice_class = 'h100.lab'\ndevice_selector = 'true'\n"


def test_pools_of_a_cluster_may_have_gpus_of_their_own_kinds(write: Write) -> None:
    found = load(write(f"{CLUSTER}{KIND}"), environ={}).config
    (pool,) = found.pools
    assert pool.device_kind == DeviceKind(device_class="h100.lab", device_selector="true")
    assert isinstance(found.host.engine_settings, Cluster)
    assert found.host.engine_settings.device_classes == ("mig.nvidia.com", "h100.lab")
    before = load(write(CLUSTER), environ={}).config.host
    assert before.reread(found.host)[1] == (), "a pool's kind is read anew while a manager runs"


def test_a_cluster_is_shown_as_it_would_be_read_again(write: Write) -> None:
    found = load(write(f"{CLUSTER}{KIND}"), environ={}).config
    again = load(write("\n".join(config_lines(found, None))), environ={}).config
    assert again.pools == found.pools
    assert again.host == found.host


@pytest.mark.parametrize("key", ["device_class = 'a'", "gpu_resource = 'nvidia.com/gpu'"])
def test_a_pools_kind_of_gpus_is_a_clusters(write: Write, key: str) -> None:
    with pytest.raises(ConfigError, match='without engine = "kubernetes"'):
        load(write(f"{MINIMAL}[pool.kubernetes]\n{key}\n"), environ={})


def test_a_pools_name_is_one_that_a_label_can_be(write: Write) -> None:
    text = CLUSTER.replace('name = "gpu"', 'name = "gpu-"')
    with pytest.raises(ConfigError, match="pods bear it as a label"):
        load(write(text), environ={})


def test_names_of_a_cluster_may_have_dots(write: Write) -> None:
    text = CLUSTER.replace("pvc:caches", "pvc:caches.lab/a.b").replace('["lab"]', '["lab.pull"]')
    (pool,) = load(write(text), environ={}).config.pools
    assert pool.caches[0].source == "pvc:caches.lab/a.b"


def test_a_pod_needs_its_memory_and_its_processors_said(write: Write) -> None:
    text = '[host]\nname = "lab"\nengine = "kubernetes"\n[[pool]]\nname = "a"\n'
    with pytest.raises(ConfigError) as caught:
        load(write(text), environ={})
    assert len([one for one in caught.value.problems if "throws out" in one.text]) == 2


@pytest.mark.parametrize(
    "key", ["source = 'pvc:sets'\ntarget = '/a'", "source = 'image:a'\ntarget = '/a'"]
)
def test_what_only_a_cluster_has_is_refused_elsewhere(write: Write, key: str) -> None:
    with pytest.raises(ConfigError, match='without engine = "kubernetes"'):
        load(write(f"{MINIMAL}[[pool.dataset]]\n{key}\n"), environ={})


def test_a_clusters_keys_have_no_meaning_on_this_host(write: Write) -> None:
    with pytest.raises(ConfigError, match='without engine = "kubernetes"'):
        load(write('[host]\nname = "a"\n[host.kubernetes]\n[[pool]]\nname = "a"\n'), environ={})


def test_a_manager_that_is_a_pod_has_its_metrics_at_the_pods_address(write: Write) -> None:
    head = '[host]\nname = "a"\nengine = "kubernetes"\n[host.kubernetes]\n'
    pool = '[[pool]]\nname = "a"\nlimits = { memory = "1GiB", cpus = 1 }\n'
    where = 'metrics = "0.0.0.0:9925"\n'
    assert load(write(f"{head}{where}{pool}"), environ={}).config.host.metrics == "0.0.0.0:9925"
    for keys, why in (
        (f'{where}kubeconfig = "/k"\n', "is for a manager that is a pod itself"),
        ('metrics = "pod:9925"\n', "must be an IP address and a port"),
    ):
        with pytest.raises(ConfigError, match=why):
            load(write(f"{head}{keys}{pool}"), environ={})


def test_everything_names_every_key_that_there_is() -> None:
    definitions = schema()["$defs"]
    assert definitions.keys() >= {
        "HostTable",
        "PoolTable",
        "AzureTable",
        "GitHubTable",
        "GiteaTable",
        "GitLabTable",
    }
    for table in definitions:
        for key in definitions[table]["properties"]:
            told = EVERYTHING + CLUSTER + REGISTRIES + NOTIFY + BENCH + RESERVED + SLURM
            told += IDLE + IDLE_BY_HOOK
            assert f"\n{key} = " in told or f".{key}]" in told, (table, key)


def test_what_is_not_written_is_what_the_core_says(write: Write) -> None:
    found = load(write(MINIMAL), environ={}).config
    assert found == model.Config(
        model.HostSpec(name="lab"), (model.PoolSpec(name=model.PoolName("local")),)
    )


def test_the_schema_defaults_are_the_core_s(write: Write) -> None:
    limits = schema()["$defs"]["LimitsTable"]["properties"]
    assert limits["pids"]["default"] == model.Limits().pids
    assert limits["job_timeout"]["default"] == model.Limits().job_timeout


@pytest.mark.parametrize(
    ("machine", "name"),
    [
        ("gpu01", "gpu01"),
        ("GPU_01.lab.example.org", "gpu-01"),
        ("-x-", "x"),
        ("ü", "host"),
        ("", "host"),
    ],
)
def test_a_host_without_a_name_is_called_like_its_machine(machine: str, name: str) -> None:
    assert config.default_host_name(machine) == name


# -- layers ----------------------------------------------------------------------------------------


def test_drop_ins_count_in_the_order_of_their_names(write: Write) -> None:
    path = write(
        MINIMAL + 'slots = 1\nlabels = ["a"]\nenv = { A = "1" }\n[pool.limits]\nmemory = "1GiB"\n',
        b='[[pool]]\nname = "local"\nslots = 3\n[pool.security.ulimits]\ncore = 0\n',
        a='[[pool]]\nname = "local"\nslots = 2\nlabels = ["b"]\nenv = { B = "2" }\n'
        '[pool.limits]\ncpus = 2\n[pool.security.ulimits]\nstack = "16MiB"\n[[pool]]\nname = "more"\n',
    )
    first, second = load(path, environ={}).config.pools
    assert first.slots == 3, "a scalar is replaced by the last drop-in"
    assert first.labels == ("b",), "an array is replaced"
    assert first.env == {"A": "1", "B": "2"}, "a table is merged"
    assert first.limits == model.Limits(memory=2**30, cpus=2)
    assert first.security.ulimits == {
        "core": model.Ulimit(0, 0),
        "stack": model.Ulimit(2**24, 2**24),
    }, "limits of two files are joined"
    assert second.name == "more"


def test_the_drop_ins_are_those_beside_the_file_that_is_named(write: Write, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "mine.toml").write_text(MINIMAL)
    write(MINIMAL, a='[[pool]]\nname = "other"\n')
    found = load(None, environ={"MAYFLY_CONFIG": str(elsewhere / "mine.toml")})
    assert [p.name for p in found.config.pools] == ["local"]
    assert found.files == (elsewhere / "mine.toml",)


def test_the_environment_speaks_for_the_host_only(write: Write) -> None:
    found = load(
        write(MINIMAL),
        environ={
            "MAYFLY_HOST__NAME": "777",
            "MAYFLY_HOST__HISTORY_EVENTS": "500",
            "MAYFLY_HOST__HISTORY_DAYS": "1.5",
            "MAYFLY_HOST__OUTPUT_TOTAL": "1GiB",
            "MAYFLY_POOL__SLOTS": "9",
            "MAYFLY_TOKEN": "x",
        },
    ).config.host
    assert (found.name, found.history_events, found.history_days) == ("777", 500, 1.5)
    assert found.output_total == 2**30


def test_a_wrong_variable_is_named(write: Write) -> None:
    told = mistakes(write(MINIMAL), MAYFLY_HOST__NAM="x", MAYFLY_HOST__HISTORY_EVENTS="many")
    assert "$MAYFLY_HOST__NAM: [host] nam: there is no such key; did you mean name?" in told
    assert "$MAYFLY_HOST__HISTORY_EVENTS: [host] history_events: must be a whole number" in told


def test_flags_count_most_and_systemd_s_directories_least(write: Write) -> None:
    systemd = {"STATE_DIRECTORY": "/srv/state:/other", "RUNTIME_DIRECTORY": "/run/mine"}
    found = load(write(MINIMAL), environ=systemd).config.host
    assert (found.state_dir, found.socket) == ("/srv/state", "/run/mine/control.sock")
    said = MINIMAL.replace("[[pool]]", 'socket = "/a.sock"\n[[pool]]')
    assert load(write(said), environ=systemd).config.host.socket == "/a.sock"
    systemd["MAYFLY_HOST__SOCKET"] = "/b.sock"
    assert load(write(said), environ=systemd).config.host.socket == "/b.sock"
    flags = {"socket": "/c.sock"}
    assert load(write(said), environ=systemd, flags=flags).config.host.socket == "/c.sock"


def test_it_is_known_who_said_each_key(write: Write, tmp_path: Path) -> None:
    path = write(
        MINIMAL + 'env = { A = "1" }\n',
        site='[[pool]]\nname = "local"\nslots = 2\nenv = { B = "1" }\n',
    )
    origins = load(path, environ={"MAYFLY_HOST__GPU": "off"}).origins
    site = str(tmp_path / "conf.d" / "site.toml")
    assert origins == {
        "host.name": str(path),
        "host.gpu": "$MAYFLY_HOST__GPU",
        "pool.local.name": site,
        "pool.local.env.A": str(path),
        "pool.local.env.B": site,
        "pool.local.slots": site,
    }


REGISTRIES = pool(
    "containers = true\n"
    'allowed_images = ["registry.lab:5000/*", "*"]\n'
    '[[pool.registries]]\naddress = "registry.lab:5000"\nuser = "ci"\npassword = { file = "/p" }\n'
    '[[pool.registries]]\naddress = "index.docker.io"\nuser = "$lab"\npassword = { credential = "h" }\n'
)
NOTIFY = (
    pool("slots = 1\n")
    + """
[[host.notify]]
name = "board"
webhook = "https://board.lab/hook"
token = { file = "/t" }
ca = "/ca.pem"
conditions = "error"
jobs = "all"
reservations = true
users = ["anna"]
pools = ["local"]
title = "{host}: {code}"
text = "{text} {{}}"
[[host.notify]]
name = "phone"
ntfy = "https://ntfy.lab/gpu"
[[host.notify]]
name = "chat"
slack = { credential = "chat" }
[[host.notify]]
name = "post"
jobs = "failed"
[host.notify.mail]
server = "[::1]:25"
tls = "tls"
user = "mayfly"
password = { file = "/p" }
sender = "mayfly@lab"
to = ["{user}@lab", "ops@lab"]
"""
)
IDLE = (
    pool("slots = 1\n")
    + """
[host.idle]
after = "20m"
command = ["/usr/local/sbin/pause-host", "--now"]
timeout = "30s"
veto = ["/bin/true"]
logins = "none"
gone_within = "5m"
price_per_hour = 2.49
currency = "EUR"
"""
)
IDLE_BY_HOOK = (
    pool("slots = 1\n")
    + """
[host.idle]
webhook = { credential = "pause" }
token = { file = "/t" }
ca = "/ca.pem"
"""
)
IDLE_WRONG = [
    ("", "wants one of `command` and `webhook`, and neither is there"),
    ('command = ["a"]\nwebhook = "http://x"', "and both are there"),
    ('command = "pause --now"', "must be a list of words"),
    ('command = [""]', "is empty"),
    ('command = ["a"]\nca = "/c"', "is of `webhook`, and there is none"),
    ('command = ["a"]\ntoken = { file = "/c" }', "is of `webhook`, and there is none"),
    ('command = ["a"]\nafter = "0s"', "after: must be at least 1 s, not 0 s"),
    ('command = ["a"]\ntimeout = "2h"', "timeout: must be at most 3600 s"),
    ('command = ["a"]\ngone_within = 0', "gone_within: must be at least 1 s"),
    ('command = ["a"]\ncurrency = "EUR"', "is of `price_per_hour`"),
    ('command = ["a"]\nprice_per_hour = -1', "must be at least 0"),
    ('command = ["a"]\nprice_per_hour = 1\ncurrency = "a b"', "is no currency"),
    ('webhook = "http://ann:x@y"', "webhook"),
    ('command = ["a"]\nlogin = "1h"', 'logins'),
]  # fmt: skip


@pytest.mark.parametrize(("table", "says"), IDLE_WRONG)
def test_an_idle_host_that_could_not_be_paused_is_a_mistake(
    write: Write, table: str, says: str
) -> None:
    with pytest.raises(ConfigError) as wrong:
        load(write(f"{MINIMAL}[host.idle]\n{table}\n"), environ={})
    assert says in str(wrong.value)


def test_hosts_of_a_cluster_are_not_paused(write: Write) -> None:
    text = MINIMAL.replace("[host]\n", '[host]\nengine = "kubernetes"\n', 1)
    with pytest.raises(ConfigError, match="a cluster has many"):
        load(write(f'{text}[host.idle]\ncommand = ["a"]\n'), environ={})


NOTIFY_WRONG = [
    ('name = "a"\nwebhook = "http://x"\nslack = "http://x"', "webhook and slack are there"),
    ('name = "a"', "none is there"),
    ('name = "a"\nwebhook = "http://x"\nconditions = "none"', "is told nothing"),
    ('name = "a"\nwebhook = "http://x"\npools = ["nix"]', 'there is no pool "nix"'),
    ('name = "a"\nwebhook = "http://x"\nusers = ["b"]', "are of jobs"),
    ('name = "a"\nwebhook = "http://x"\ntitle = "{nix}"', "names {nix}"),
    ('name = "a"\nwebhook = "http://x?t=1"', "no place for a token"),
    ('name = "a"\nmail = { server = "m", sender = "a@b", to = ["c@d"] }', "is not a host and a port"),
    ('name = "a"\nmail = { server = "m:0", sender = "a@b", to = ["c@d"] }', "0 is no port"),
    ('name = "a"\nmail = { server = "m:1", sender = "a@b", to = ["c@d"], user = "u" }', "come together"),
    ('name = "a"\nmail = { server = "m:1", sender = "a@b", to = ["c@d"], user = "u", tls = "none" }',
     "could read the password"),
    ('name = "a"\nmail = { server = "m:1", sender = "a@b", to = ["{x}@d"] }', "only {user} is known"),
    ('name = "a"\nmail = { server = "m:1", sender = "a@b", to = ["{user}@d"] }', "the owner of a job"),
    ('name = "a"\ntoken = { file = "/t" }\nmail = { server = "m:1", sender = "a@b", to = ["c@d"] }',
     "is of HTTP"),
]  # fmt: skip


@pytest.mark.parametrize(("table", "says"), NOTIFY_WRONG)
def test_a_target_that_could_tell_nobody_is_a_mistake(write: Write, table: str, says: str) -> None:
    with pytest.raises(ConfigError) as wrong:
        load(write(f"{MINIMAL}[[host.notify]]\n{table}\n"), environ={})
    assert says in str(wrong.value)


BENCH = pool(
    'gpus = 1\ncuda = "12.8"\n[pool.bench]\nclock = 1200\nmemory_clock = 2619\nothers_idle = true\n'
    '[[pool]]\nname = "base"\ngpus = 1\nbench = true\n'
)
RESERVED = pool(
    'gpus = 1\n[pool.reserve]\nlongest = "4h"\nahead = "7d"\nper_person = 1\nat_once = 2\nidle = 0\n'
    'per_week = "8h"\nclear = "30m"\n[[pool]]\nname = "base"\ngpus = 1\nreserve = true\n'
)
SLURM = pool(
    'gpus = 2\nlease = "slurm"\n[pool.slurm]\npartition = "ci"\naccount = "lab"\nqos = "low"\n'
    'gres = "gpu:a100"\nnode = "box7"\ntime_limit = "9h"\nwait = "5m"\nretry = "2m"\nidle = "10s"\n'
    'look = "30s"\noptions = ["--mem=16G", "--exclusive"]\n'
)
ODD = pool('env = { A = "😀 \\u0007\\n" }\n[[pool.dataset]]\nsource = "/data/😀"\ntarget = "/x"')


@pytest.mark.parametrize(
    "text",
    [
        MINIMAL,
        EVERYTHING,
        REGISTRIES,
        NOTIFY,
        IDLE,
        IDLE_BY_HOOK,
        BENCH,
        RESERVED,
        SLURM,
        pool('[pool.limits]\njob_timeout = "none"\nprocess_rate = "none"'),
        ODD,
    ],
)
def test_what_is_shown_loads_as_the_same_configuration(write: Write, text: str) -> None:
    found = load(write(text), environ={})
    again = load(write("\n".join(config_lines(found.config, found.origins))), environ={})
    assert again.config == found.config


def test_registries_of_a_pool_are_read_as_images_name_them(write: Write) -> None:
    (found,) = load(write(REGISTRIES), environ={}).config.pools
    assert found.registries == (
        model.Registry("registry.lab:5000", "ci", {"file": "/p"}),
        model.Registry("docker.io", "$lab", {"credential": "h"}),
    )


def test_a_registry_s_password_is_in_no_cache_of_jobs(write: Write) -> None:
    text = REGISTRIES.replace('"/p"', '"/c/p"') + '[[pool.caches]]\nsource = "/c"\ntarget = "/x"\n'
    with pytest.raises(ConfigError, match="whose jobs can put anything in its place"):
        load(write(text), environ={})


def test_what_is_shown_has_its_units(write: Write) -> None:
    text = pool('hold_failed = "90m"\n[pool.limits]\nmemory = 8388609\njob_timeout = "1h30m"')
    shown = set(config_lines(load(write(text), environ={}).config, None))
    assert {
        'log_max_size = "10MiB"', 'output_total = "2GiB"', 'job_timeout = "1h30m"', 'idle_recycle = "1d"',
        "memory = 8388609", "pids = 4096", 'hold_failed = "1h30m"', "history_events = 100000",
    } <= shown  # fmt: skip


def test_every_key_in_bytes_or_seconds_is_shown_with_its_unit() -> None:
    keys = {
        name: json.dumps(shape)
        for table in schema()["$defs"].values()
        for name, shape in table.get("properties", {}).items()
    }
    assert {name for name, shape in keys.items() if '"512MiB"' in shape} | {"tmpfs"} == SIZES
    assert {name for name, shape in keys.items() if '"90s"' in shape} == DURATIONS


# -- mistakes --------------------------------------------------------------------------------------

A_SERVICE = '[[pool]]\nname = "a"\nprovider = "azure"\nurl = "https://x"\nagent_pool = "p"\n'

MISTAKES: list[tuple[str, str]] = [
    # spelling and types
    (pool("slotz = 2"), '[[pool]] "local" slotz: there is no such key; did you mean slots?'),
    (pool('hold_failed = "1h"\nremoval = "engine"'), 'removal: is "engine", which keeps nothing'),
    (
        pool('stuck_after = "2h"'),
        "stuck_after: has no meaning here: the embedded queue is no service",
    ),
    (pool("token_expires = 2027-11-29"), "token_expires: has no meaning here"),
    (pool("job_lines = false"), "job_lines: has no meaning here: the embedded queue is no service"),
    (pool('token_expires = "next year"'), "must be a day such as 2027-11-29"),
    (
        pool('provider = "github"\ncancel_stuck = "30m"'),
        "cancel_stuck: must be at least stuck_after: a job is stuck first, then cancelled",
    ),
    (
        pool('provider = "github"\nstuck_after = 0\ncancel_stuck = "6h"'),
        "cancel_stuck: has no meaning with stuck_after = 0",
    ),
    (pool("zzz = 2"), '[[pool]] "local" zzz: there is no such key; there are name, provider'),
    (pool('slots = "2"'), "[[pool]] \"local\" slots: must be a whole number, not '2'"),
    (pool("slots = true"), "slots: must be a whole number, not True"),
    (pool("slots = -1"), "slots: must be at least 0, not -1"),
    (pool("slots = 1001"), "slots: must be at most 1000, not 1001"),
    (pool("sudo = 1"), "sudo: must be true or false, not 1"),
    (pool("labels = 'a'"), "labels: must be a list, not 'a'"),
    (pool("labels = [1]"), 'labels.1: must be a string, in quotes: "1"'),
    (pool("env = { A = 1 }"), 'env.A: must be a string, in quotes: "1"'),
    (pool("limits = 3"), '"local" limits: must be a table, not 3'),
    (
        pool("[pool.limits]\ncpu = 2"),
        '[[pool]] "local" . limits cpu: there is no such key; did you',
    ),
    (pool("[pool.limits]\ncpus = 0"), "cpus: must be more than 0"),
    (pool("[pool.limits]\npids = 1"), "pids: must be at least 32"),
    (pool("[pool.limits]\nmemory = '8Gigs'"), "memory: '8Gigs' is not a size; write for example"),
    (pool("[pool.limits]\nmemory = 0"), "memory: must be more than 0; leave it out"),
    (pool("[pool.limits]\nmemory = -5"), "memory: -5 is out of range"),
    (pool("[pool.limits]\nmemory = true"), "memory: must be a size"),
    (pool("[pool.limits]\njob_timeout = 'soon'"), "job_timeout: 'soon' is not a duration"),
    (pool("[pool.limits]\nidle_recycle = []"), "idle_recycle: must be a duration"),
    (pool("[pool.limits]\nprocess_rate = 'many'"), "process_rate: must be a number"),
    (pool("[pool.limits]\nconnection_rate = nan"), "connection_rate: must be a number"),
    (pool("[pool.limits]\nconnection_rate = true"), "connection_rate: must be a number"),
    (pool(f"[pool.limits]\nprocess_rate = 1{'0' * 400}"), "process_rate: must be a number"),
    (pool("[pool.limits]\nconnection_rate = 0"), "connection_rate: must be more than 0"),
    (pool("[pool.limits]\nmemory = '1GiB'\nshm = '2GiB'"), "shm: is larger than memory"),
    ("zebra = 1\n" + MINIMAL, "config.toml: zebra: there is no such key; there are host, pool"),
    ("[pol]\nx = 1\n" + MINIMAL, "config.toml: pol: there is no such key; did you mean pool?"),
    ("pool = 3", "config.toml: pool: must be a list, not 3"),
    ("[pool]\nname = 'x'", "config.toml: pool: must be a list, not a table"),
    ("host = []\n[[pool]]\nname = 'x'", "host: must be a table, not a list"),
    ("[host]\nname = 'x'", "config.toml: there is no [[pool]], so there is nothing to keep filled"),
    ("[[pool]]\nslots = 1", "config.toml: [[pool]] number 1 name: is missing"),
    # names
    ("[[pool]]\nname = 'Azure'", "name: 'Azure' must be lower-case letters, digits and -"),
    ("[[pool]]\nname = '-a'", "name: '-a' must be lower-case letters"),
    ("[host]\nname = 'a.b'\n[[pool]]\nname = 'a'", "[host] name: 'a.b' must be letters, digits"),
    (MINIMAL + "[[pool]]\nname = 'local'", "there is more than one pool named local"),
    (pool("provider = 'azur'"), "provider: there is no provider 'azur'; did you mean azure?"),
    (
        f"[host]\nname = '{'h' * 40}'\n[[pool]]\nname = 'pool-seven'\nslots = 11",
        f"name: {'h' * 40}-pool-seven-10-GENERATION has 55 + 13 characters, and services take 64",
    ),
    # a scale set
    (
        pool(SCALE_SET.format(keys="scale_set = 'lab'")),
        'scale_set: is for enrolment = "scaleset" alone: set that, or leave this out',
    ),
    (
        pool(SCALE_SET.format(keys="enrolment = 'token'\nfallback = 'jit'")),
        'fallback: is for enrolment = "scaleset" alone: set that, or leave this out',
    ),
    (
        pool(SCALE_SET.format(keys="enrolment = 'scaleset'\nscale_set = 'a b'")),
        "scale_set: 'a b' is not 1 to 64 letters, digits, '.', '_' or '-'",
    ),
    # GPUs and images
    (pool("gpus = 'none'"), 'gpus: must be a number, "all", or a list of "GPU-…", "MIG-…"'),
    (pool("gpus = -1"), "gpus: must be a number"),
    (pool("gpus = []"), "gpus: must be a number"),
    (pool("gpus = ['GPU-8f2c1111', 'GPU-8f2c1111']"), "gpus: names a GPU twice"),
    (pool("share = true"), "share: has no meaning in a pool without GPUs"),
    (
        pool("gpu = { model = 'H100' }"),
        "gpu: has no meaning without `gpus`: say how many of them a slot",
    ),
    (pool("gpus = 1\ngpu = {}"), "gpu: says nothing: give it model, min_memory, compute or mig"),
    (
        pool("gpus = [0]\ngpu = { model = 'H100' }"),
        "gpu: says which GPUs beside a list in `gpus` that names them: take one of the two",
    ),
    (
        pool("gpus = 1\ngpu = { modell = 'H100' }"),
        "gpu.modell: there is no such key; did you mean model?",
    ),
    (pool("gpus = 1\ngpu = { model = '-' }"), "gpu.model: '-' has no word of a model's name"),
    (pool("gpus = 1\ngpu = { min_memory = 'much' }"), "gpu.min_memory: 'much' is not a size"),
    (pool("gpus = 1\ngpu = { compute = '8.0' }"), "gpu.compute: '8.0' is not such as"),
    (pool("gpus = 1\ngpu = { compute = '>=9.0,<8.0' }"), "its bounds exclude each other"),
    (pool("gpus = 1\ngpu = { mig = 'half' }"), "gpu.mig: 'half' is no MIG profile such as"),
    (pool("gpus = 1\ngpu = 'H100'"), "gpu: must be a table, not 'H100'"),
    (pool("gpu_labels = ['driver']"), "gpu_labels: has no meaning in a pool without GPUs"),
    (pool("gpus = 1\ngpu_labels = ['colour']"), "gpu_labels.1: must be 'name', 'cuda', 'model'"),
    (
        "[host]\nfair_share_half_life = '1s'\n[[pool]]\nname = 'x'",
        "fair_share_half_life: must be at least 60 s, not 1 s",
    ),
    ("[host]\ndriver_branches = ['580.65']\n[[pool]]\nname = 'x'", "is not a driver's branch"),
    (pool("lease = 'slurm'"), 'lease: is "slurm", which has no meaning in a pool without GPUs'),
    (pool("gpus = 'all'\nlease = 'slurm'"), "gpus: must be a number: which ones a slot gets is"),
    (pool("gpus = 1\nlease = 'slurm'\nheal = 'reset'"), 'heal: is "reset", and its GPUs are'),
    (pool("gpus = 1\nlease = 'slurm'\nshare = true"), "share: has no meaning with lease"),
    (
        pool("gpus = 1\nlease = 'slurm'\nexclusive = 'in turn'"),
        "Slurm says whose turn it is: take one of the two",
    ),
    (pool("gpus = 1\nlease = 'slurm'\ngpu = { model = 'H100' }"), "gpu: has no meaning with lease"),
    (pool("gpus = 1\n[pool.slurm]\nqos = 'ci'"), "qos: has no meaning without lease"),
    (
        pool("gpus = 1\nlease = 'slurm'\n[pool.slurm]\nqos = 'c i'"),
        "'c i' is not a name as Slurm has them",
    ),
    (
        pool("gpus = 1\nlease = 'slurm'\nlimits = { job_timeout = 'none' }"),
        "a job without a limit would outlast its",
    ),
    (
        pool("gpus = 1\nlease = 'slurm'\n[pool.slurm]\ntime_limit = '6h'"),
        "time_limit: must be at least limits.job_timeout",
    ),
    (pool("gpus = 1\nlease = 'slurm'\n[pool.slurm]\nlook = '0'"), "look: must be at least 1s"),
    (
        pool("gpus = 1\nlease = 'slurm'\n[pool.slurm]\noptions = ['--nodelist=x']"),
        "--nodelist may not be said here",
    ),
    (
        pool("gpus = 1\nlease = 'slurm'\n") + "[[pool]]\nname = 'other'\ngpus = 1\n",
        "gpus: counts GPUs, and Slurm may give any of its own to pool",
    ),
    (
        EVERYTHING.replace("share = true", 'lease = "slurm"'),
        'lease: is "slurm", and an agent that waits at its service for a job would keep an allocation',
    ),
    (
        pool("exclusive = 'in turn'"),
        'exclusive: is "in turn", which has no meaning in a pool without GPUs',
    ),
    (
        pool("gpus = 1\nexclusive = 'in turn'\nshare = true"),
        'exclusive: is "in turn", and share = true lets jobs have a GPU at once: take one of the two',
    ),
    (pool("gpus = 1\nexclusive = 'sometimes'"), "exclusive: must be 'always' or 'in turn'"),
    (pool("heal = 'reset'"), "heal: has no meaning in a pool without GPUs"),
    (pool("gpus = 1\nheal = 'often'"), "heal: must be 'off' or 'reset'"),
    (pool("bench = true"), "bench: has no meaning in a pool whose slots have no GPUs of this host"),
    (
        pool("gpus = 1\nshare = true\nbench = true"),
        "bench: is not for GPUs that jobs share: leave out `share`",
    ),
    (
        EVERYTHING.replace("share = true", "bench = true"),
        "bench: cannot be had here: an agent that waits at its service for a job would have its clocks",
    ),
    (
        EVERYTHING + "\n[[pool]]\nname = 'b'\ngpus = 1\nbench = { others_idle = true }",
        "bench.others_idle: cannot be had beside pool azure, whose idle agents each may be given a job",
    ),
    (pool("gpus = 1\nbench = 'fast'"), "bench: must be a table, not 'fast'"),
    (
        pool("reserve = true"),
        "reserve: has no meaning in a pool whose slots have no GPUs of this host",
    ),
    (pool("gpus = 1\nbench = true\nreserve = true"), "reserve: does not go with bench"),
    (
        pool("gpus = 1\nlease = 'slurm'\nreserve = true"),
        'reserve: does not go with lease = "slurm": its GPUs are Slurm\'s',
    ),
    (pool("gpus = 1\nreserve = { longest = 0 }"), "reserve.longest: must be more than 0"),
    (pool("gpus = 1\nreserve = { per_person = 0 }"), "reserve.per_person:"),
    (pool("gpus = 1\nreserve = 'yes'"), "reserve: must be a table, not 'yes'"),
    (pool("gpus = 1\nbench = { clock = 0 }"), "bench.clock: must be a frequency in MHz"),
    (
        pool("gpus = 1\nbench = { clock = 'boost' }"),
        "clock: must be a frequency in MHz such as 1410, or",
    ),
    (pool("gpus = 1\nbench = { memory_clock = 'base' }"), "bench.memory_clock: must be a"),
    (pool("gpus = 1\nbench = { clocks = 1410 }"), "did you mean clock?"),
    (pool("gpus = 1\nweight = 2"), 'weight: has no meaning without exclusive = "in turn"'),
    (pool("gpus = 1\nexclusive = 'in turn'\nweight = 0"), "weight: must be at least 1"),
    (
        EVERYTHING.replace("share = true", 'exclusive = "in turn"'),
        'exclusive: is "in turn", and an agent that waits at its service for a job would keep its GPUs',
    ),
    (
        pool(
            "gpus = 1\nexclusive = 'in turn'\n"
            + SCALE_SET.format(keys="enrolment = 'scaleset'\nfallback = 'jit'")
        ),
        'exclusive: is "in turn", and an agent that waits at its service for a job would keep its GPUs',
    ),
    (
        pool("image = 'mayfly/github:cpu'"),
        "image: is an image for provider github, and this pool's is local",
    ),
    (pool("[pool.limits]\nmemory = '1KiB'"), "limits memory: must be at least 6MiB"),
    (pool("cuda = '12'"), "cuda: '12' is not a CUDA version such as \"12.8\""),
    (pool("image = '-x'"), "image: '-x' is not an image's name"),
    (
        pool("job_images = ['lab/a:1', 'lab b']"),
        "job_images.2: 'lab b' is not an image's name, in which * may stand",
    ),
    (
        EVERYTHING.replace("job_images = []", "job_images = ['lab/a:1']"),
        "job_images: has no meaning here: jobs of a service do not come by `mayfly submit`",
    ),
    (pool("injection = 'magic'"), "injection: must be 'auto', 'runtime', 'cdi' or 'request'"),
    # mounts
    (
        pool("[[pool.dataset]]\nsource = 'data'\ntarget = '/x'"),
        "\"local\" . dataset number 1 source: 'data' must be an absolute path",
    ),
    (
        pool("[[pool.dataset]]\nsource = '/data'\ntarget = 'x'"),
        "dataset number 1 target: 'x' must be an absolute path",
    ),
    (
        pool("[[pool.dataset]]\nsource = '/data/../etc'\ntarget = '/x'"),
        "source: '/data/../etc' must not contain ..",
    ),
    (
        pool("[[pool.dataset]]\nsource = '/d'\ntarget = '/run/mayfly/w'"),
        "target: '/run/mayfly/w' is reserved: /run/mayfly belongs to the container itself",
    ),
    (
        pool("[[pool.caches]]\nsource = '/d'\ntarget = '//usr/'"),
        "caches number 1 target: '/usr' is reserved: it would hide the image's own files",
    ),
    (
        pool("[[pool.caches]]\nsource = '/d'\ntarget = '/var/run/mayfly'"),
        "target: '/var/run/mayfly' is reserved: /run/mayfly belongs to the container itself",
    ),
    (
        pool("[[pool.dataset]]\nsource = '/d'\ntarget = '/etc/sudoers.d'"),
        "target: '/etc/sudoers.d' is reserved: what root runs in an agent goes by",
    ),
    (
        pool("[[pool.caches]]\nsource = '/'\ntarget = '/x'"),
        "caches number 1 source: '/' is never mounted: ",
    ),
    (
        MINIMAL.replace("[[pool]]", "state_dir = '/srv/m'\n[[pool]]")
        + "[[pool.dataset]]\nsource = '/srv/m/output'\ntarget = '/x'",
        "dataset number 1 source: '/srv/m/output' is never mounted: /srv/m is the host's own",
    ),
    (
        pool("[[pool.caches]]\nsource = '/nc'\ntarget = '/c'\n")
        + "[[pool]]\nname = 'b'\n[[pool.dataset]]\nsource = '/nc/sub'\ntarget = '/c'\n",
        '[[pool]] "b" . dataset number 1 source: /nc/sub lies in the cache /nc of pool "local", whose jobs',
    ),
    *(
        (
            pool(f"{written}\n[[pool.caches]]\nsource = '/nc'\ntarget = '/c'\n"),
            f"{key}: /nc/file lies in the cache /nc of pool",
        )
        for key, written in (
            ("ca", "ca = '/nc/file'"),
            ("seccomp", "[pool.security]\nseccomp = '/nc/file'"),
        )
    ),
    (
        A_SERVICE
        + "token = { file = '/nc/token' }\n[[pool.caches]]\nsource = '/nc'\ntarget = '/c'",
        '[[pool]] "a" azure: /nc/token lies in the cache /nc of pool "a", whose jobs',
    ),
    (
        pool(2 * "[[pool.dataset]]\nsource = '/d'\ntarget = '/x'\n"),
        "dataset number 2 target: /x is the target of another one",
    ),
    (
        pool("env = { D = '1' }\n[[pool.dataset]]\nsource = '/d'\ntarget = '/x'\nenv = 'D'"),
        "dataset number 1 env: D is set by another one, or by env",
    ),
    # variables and secrets
    (pool("env = { MAYFLY_USER = '0' }"), "env: MAYFLY_USER is reserved"),
    (pool("env = { NVIDIA_VISIBLE_DEVICES = 'all' }"), "env: NVIDIA_VISIBLE_DEVICES is reserved"),
    *(
        (pool(f"env = {{ {name} = 'x' }}"), f"env: {name} follows from the job's user: set `user`")
        for name in ("HOME", "USER", "LOGNAME", "SHELL")
    ),
    (
        pool("[[pool.dataset]]\nsource = '/d'\ntarget = '/x'\nenv = 'HOME'"),
        "dataset number 1 env: HOME follows from the job's user",
    ),
    (pool("env = { 'A B' = '1' }"), "env: 'A B' is not a variable's name"),
    (pool(f"env = {{ T = 'ghp_{'a' * 36}' }}"), "env: T looks like a secret"),
    (
        A_SERVICE + "token = 'hunter2'",
        'token: a secret is not written here; use { credential = "NAME" } or { file = "/path" }',
    ),
    (A_SERVICE + "token = { value = 'hunter2' }", 'token: must be { credential = "NAME" } or'),
    (A_SERVICE + "token = { credential = '../x' }", "token: '../x' is not a credential's name"),
    (A_SERVICE + "token = { file = 'x' }", "token: 'x' must be an absolute path"),
    (A_SERVICE, "token: is missing; provider azure needs it"),
    (
        pool("url = 'https://x'"),
        "url: belongs to a service; provider local, the embedded queue, has none",
    ),
    (
        A_SERVICE + "token = { credential = 'c' }\ntenant_id = 't'",
        "client_id: is missing; a service principal (tenant_id) needs it",
    ),
    (
        pool("client_id = 'c'"),
        "client_id: belongs to a service; provider local, the embedded queue, has none",
    ),
    (
        A_SERVICE.replace("//x", "//user:hunter2@x") + "token = { credential = 'c' }",
        "url: must not carry a user or password",
    ),
    *(
        (
            A_SERVICE.replace("//x", "//x" + rest) + "token = { credential = 'c' }",
            "url: must end before its ? or #",
        )
        for rest in ("/o?private_token=glpat-abcdefghijkl", "/o#t", "/o?", "?x")
    ),
    (
        A_SERVICE.replace("//x", "//x/glpat-abcdefghijkl") + "token = { credential = 'c' }",
        "url: looks like it holds a token",
    ),
    # a token goes over no http unless that is said, or it stays on this host
    *(
        (
            A_SERVICE.replace("https://x", url) + "token = { credential = 'c' }",
            "everybody on the way could read the token; if it has to be, say plain_http = true in the pool",
        )
        for url in ("http://ghe.corp/acme", "http://10.1.2.3:8080/x", "http://127.0.0.1.evil/x")
    ),
    (
        A_SERVICE
        + "token = { credential = 'c' }\ntenant_id = 't'\nclient_id = 'c'\n"
        + "authority = 'http://login.corp'",
        "authority: is not https: everybody on the way could read the token",
    ),
    (pool("proxy = 'http://p/?token=x'"), "proxy: must end before its ? or #"),
    (
        pool(
            "proxy = 'socks5://p:1080'\nprovider = 'gitlab'\n[pool.gitlab]\nurl = 'https://g.lab'"
        ),
        "proxy: is a SOCKS proxy, by which Mayfly itself asks no service",
    ),
    (pool("proxy = 'proxy:3128'"), "proxy: must be a URL that begins with http or https or socks5"),
    (pool("proxy = 'http://u:hunter2@p'"), "proxy: must not carry a user or password"),
    # accounts, network, capabilities
    (pool("user = 'root'"), "user: a job never runs as root; sudo = true lets it become root"),
    (pool("user = '0:44'"), "user: a job never runs as root"),
    (pool("user = 'a b'"), "user: 'a b' is not a user or group"),
    (pool("user = '-n'"), "user: '-n' is not a user or group"),
    (pool("user = 4294967295"), "user: '4294967295' is no number of a user or group"),
    (pool("user = '00000000000:1'"), "is not a user or group"),
    (pool("groups = [99999999999]"), "groups.1: '99999999999' is not a user or group"),
    (
        pool(
            "[[pool.dataset]]\nsource = '/s'\ntarget = '/d'\n"
            "[[pool.caches]]\nsource = '/c'\ntarget = '/d/cache'"
        ),
        "target: /d/cache is below the dataset at /d, which is read-only",
    ),
    (
        pool(
            "[[pool.dataset]]\nsource = '/s'\ntarget = '/d/e/f'\n"
            "[[pool.dataset]]\nsource = '/t'\ntarget = '/d'"
        ),
        "target: /d/e/f is below the dataset at /d, which is read-only",
    ),
    # below a cache, where a job of before may have put a link
    *(
        (
            pool(
                f"[[pool.caches]]\nsource = '/a'\ntarget = '{above}'\n"
                f"[[pool.{kind}]]\nsource = '/b'\ntarget = '{below}'"
            ),
            f"{kind} number {number} target: {below} is below the cache at {above}, whose jobs",
        )
        for kind, number, above, below in (
            ("caches", 2, "/cache", "/cache/.cache/pip"),
            ("caches", 2, "/home/runner", "/home/runner/.cache"),
            ("caches", 2, "/run/lock", "/var/lock/x"),
            ("dataset", 1, "/cache", "/cache/data"),
            ("dataset", 1, "/var/lock", "/run/lock/data"),
        )
    ),
    (
        pool(
            "[[pool.caches]]\nsource = '/b'\ntarget = '/cache/pip'\n"
            "[[pool.caches]]\nsource = '/a'\ntarget = '/cache'"
        ),
        "caches number 1 target: /cache/pip is below the cache at /cache, whose jobs can put a link",
    ),
    (
        pool(
            "[[pool.caches]]\nsource = '/a'\ntarget = '/run/lock'\n"
            "[[pool.caches]]\nsource = '/b'\ntarget = '/var/lock'"
        ),
        "caches number 2 target: /var/lock is the target of another one",
    ),
    (
        pool("[[pool.caches]]\nsource = '/a'\ntarget = '/usr/local/cuda-12.8'"),
        "caches number 1 target: '/usr/local/cuda-12.8' is never a cache",
    ),
    (pool("groups = [0]"), "groups.1: a job never runs as root"),
    (
        pool('containers = true\nnetwork = "host"'),
        'containers: has no meaning with network = "host": jobs\' containers are in others',
    ),
    (pool('containers = true\nnetwork = "lab"'), 'has no meaning with network = "lab"'),
    (
        pool('containers = true\nsecurity = { userns = "host" }'),
        "containers: is not for a pool with security.userns",
    ),
    (
        pool('containers = true\nnetwork = "none"'),
        'Say "never", or name the registries in allowed_images',
    ),
    (pool('pull = "always"'), "pull: has no meaning without containers = true"),
    (
        pool('allowed_images = ["postgres:*"]'),
        "allowed_images: has no meaning without containers = true",
    ),
    (pool('builder = "lab/builder"'), "builder: has no meaning without containers = true"),
    (
        pool('containers = true\nbuilder = "lab/builder"\nallowed_images = ["postgres:*"]'),
        'builder: is none of allowed_images: put "lab/builder" there, too',
    ),
    (
        pool('containers = true\nbuilder = "b"\nsecurity = { seccomp = "unconfined" }'),
        "builder: is not for a pool with security.seccomp",
    ),
    (
        pool('containers = true\nbuilder = "b"\nsecurity = { cap_drop = ["SETUID", "SETGID"] }'),
        "builder: needs SETGID and SETUID, which security.cap_drop takes away",
    ),
    *(
        (
            pool(f'sudo = true\ncontainers = true\nbuilder = "b"\nsecurity.cap_drop = ["{name}"]'),
            f"builder: gives {name} back, which security.cap_drop takes away: leave one out",
        )
        for name in ("DAC_OVERRIDE", "FOWNER", "FSETID")
    ),
    (
        pool('registries = [{ address = "r.lab", user = "u", password = { file = "/p" } }]'),
        "registries: has no meaning without containers = true",
    ),
    (
        pool(
            "containers = true\n"
            'registries = [{ address = "r.lab", user = "u", password = { file = "/p" } }]'
        ),
        'no image of it is allowed: add "r.lab/*" to allowed_images',
    ),
    (
        pool(
            "containers = true\n"
            'registries = [{ address = "https://r.lab/", user = "u", password = { file = "/p" } }]'
        ),
        "without https:// and without a path",
    ),
    (
        pool(
            "containers = true\n"
            'registries = [{ address = "docker.io", user = "u", password = "hunter2" }]'
        ),
        "a secret is not written here",
    ),
    (
        pool(
            "containers = true\n"
            'registries = [{ address = "docker.io", user = "u", password = { file = "/p" } },'
            ' { address = "index.docker.io", user = "u", password = { file = "/p" } }]'
        ),
        "there is more than one entry for docker.io",
    ),
    (
        pool('containers = true\nallowed_images = ["no image"]'),
        "allowed_images.1: 'no image' is not an image's name",
    ),
    (
        pool('sandbox = "slot"\nnetwork = "host"'),
        'sandbox: "slot" has no meaning with network = "host": there is nothing to keep',
    ),
    (
        pool('sandbox = "slot"\ncap_add = ["IPC_LOCK", "NET_ADMIN"]'),
        'sandbox: "slot" keeps a network for the next job, which NET_ADMIN could change: leave one out',
    ),
    (
        pool('sandbox = "slot"\nsecurity = { runtime = "runsc" }'),
        'sandbox: "slot" is not for agents with a `runtime` of their own',
    ),
    (pool("dns = ['dns.lab']"), "dns.1: 'dns.lab' is not an IP address"),
    *(
        (pool(f"{more}[pool.security]\n{written}"), f'"local" . security {told}')
        for written, told, more in (
            ("runtime = '--x'", "runtime: '--x' is not a runtime's name", ""),
            ("runtime = 'runsc'", "runtime: has no meaning with GPUs", "gpus = 1\n"),
            ("seccomp = 'none'", "seccomp: 'none' must be an absolute path", ""),
            ("apparmor = 'a b'", "apparmor: 'a b' is not a profile's name", ""),
            ("cpuset = '0..3'", "cpuset: '0..3' is not a list of processors such as", ""),
            ("userns = 'private'", "userns: must be 'host'", ""),
            ("read_only = true", "read_only: leaves sudo no place", "sudo = true\n"),
            ("cap_drop = ['SETFCAP']", "cap_drop: has no meaning without sudo", ""),
            ("cap_drop = ['KILL']", "cap_drop: takes KILL, which the launcher", "sudo = true\n"),
            ("tmpfs = { '/etc' = '1MiB' }", "tmpfs: '/etc' is reserved", ""),
            ("tmpfs = { '/x' = 0 }", "tmpfs: '/x': a size of 0", ""),
            (
                "tmpfs = { '/x' = 1 }",
                "tmpfs: /x is the target of a dataset",
                "[[pool.caches]]\nsource = '/d'\ntarget = '/x'\n",
            ),
            (
                "tmpfs = { '/var/lock/y' = 1 }",
                "tmpfs: /var/lock/y is below the cache at /run/lock, whose jobs can",
                "[[pool.caches]]\nsource = '/d'\ntarget = '/run/lock'\n",
            ),
            (
                "tmpfs = { '/x/y' = 1 }",
                "tmpfs: /x/y is below the dataset at /x, which is read-only",
                "[[pool.dataset]]\nsource = '/d'\ntarget = '/x'\n",
            ),
        )
    ),
    (pool("cap_add = ['ALL']"), "cap_add.1: ALL is the host itself: name the ones"),
    (pool("user = '1000:0'"), "user: a job never has root's group"),
    (pool("cap_add = ['all of them']"), "cap_add.1: 'all of them' is not a capability"),
    # resource limits
    *(
        (pool(f"[pool.security]\nulimits = {written}"), f'"local" . security ulimits: {told}')
        for written, told in (
            ("65536", "must be a table such as { nofile = 1048576 }"),
            ("{ nofiles = 1 }", "there is no limit 'nofiles'; did you mean nofile?"),
            ("{ files = 1 }", "there is no limit 'files'; did you mean"),
            ("{ nofile = 'unlimited' }", "nofile cannot be unlimited: write a number"),
            ("{ nofile = -1 }", "nofile cannot be unlimited: write a number"),
            ("{ nofile = '64KiB' }", "nofile: must be a number, or { soft = …, hard = … }"),
            ("{ nproc = -2 }", 'nproc: must be a number or "unlimited", or { soft'),
            ("{ core = true }", 'core: must be a number, a size such as "8GiB" or "unlimited", or'),
            ("{ core = { soft = 1 } }", "core: must be a number, a size"),
            ("{ nofile = { soft = 2, hard = 1 } }", "nofile: soft is more than hard"),
            ("{ core = { soft = -1, hard = 1 } }", "core: soft is more than hard"),
        )
    ),
    (pool("[pool.security]\nulimit = {}"), "ulimit: there is no such key; did you mean ulimits?"),
    (
        pool("[pool.security]\nsudo = true"),
        ". security sudo: there is no such key; [[pool]] itself has it",
    ),
    (
        pool('[pool.limits]\nlabels = ["gpu"]'),
        ". limits labels: there is no such key; [[pool]] itself has it",
    ),
    (pool("[[pool.dataset]]\ncuda = 1"), "cuda: there is no such key; [[pool]] itself has it"),
    (pool("network = '-n'"), "network: '-n' is not a network's name"),
    # the host
    ("[host]\ngpu = 'on'\n[[pool]]\nname = 'a'", "gpu: must be 'auto', 'required' or 'off'"),
    (
        "[host]\ndocker_host = 'tcp://x'\n[[pool]]\nname = 'a'",
        "[host] docker_host: 'tcp://x' must be a unix socket",
    ),
    (
        "[host]\nmetrics = '0.0.0.0:9'\n[[pool]]\nname = 'a'",
        "[host] metrics: '0.0.0.0:9' must be a loopback address and port",
    ),
    (
        f"[host]\nsocket = '/{'s' * 110}'\n[[pool]]\nname = 'a'",
        "[host] socket: is longer than the 107 bytes of a socket's path",
    ),
    # no TOML
    ("[host", "config.toml: is not TOML: "),
]


@pytest.mark.parametrize(
    ("url", "more"),
    [
        ("http://ghe.corp/acme", "plain_http = true\n"),
        ("http://127.0.0.1:8080/acme", ""),
        ("http://localhost/acme", ""),
        ("http://[::1]:3000/acme", ""),
    ],
)
def test_a_token_goes_over_http_where_that_is_said_and_on_this_host(
    write: Write, url: str, more: str
) -> None:
    path = write(A_SERVICE.replace("https://x", url) + "token = { credential = 'c' }\n" + more)
    [pool] = load(path, environ={}).config.pools
    assert pool.plain_http is bool(more)


@pytest.mark.parametrize("provider", [name for name, one in packages().items() if not one.embedded])
@pytest.mark.parametrize(
    ("url", "told"),
    [
        *(
            (f"http://{host}", "is not https")
            for host in ("ghe.corp", "127.0.0.1.corp", "localhost.corp")
        ),
        *((f"http://{host}", "is not https") for host in ("0.0.0.0", "127.1", "2130706433")),
        *(
            (url, "must be a URL")
            for url in ("HTTP://ghe.corp", "Https://ghe.corp", "http:ghe.corp")
        ),
        *(
            (url, "must be a URL")
            for url in ("\\u0001http://ghe.corp", "http:/ghe.corp", "http:\\\\ghe.corp")
        ),
        ("http://127.0.0.1@ghe.corp", "must not carry a user"),
    ],
)
def test_no_spelling_of_an_address_has_a_token_leave_in_clear_text(
    write: Write, provider: str, url: str, told: str
) -> None:
    place = "/acme" if provider in ("azure", "github") else ""
    text = f"[[pool]]\nname = 'a'\nprovider = '{provider}'\n[pool.{provider}]\nurl = \"{url}{place}\"\n"
    assert f"url: {told}" in mistakes(write(text + "token = { credential = 'c' }\n"))


@pytest.mark.parametrize(("text", "told"), MISTAKES, ids=[told[-40:] for _, told in MISTAKES])
def test_a_mistake_is_one_sentence_with_its_place(write: Write, text: str, told: str) -> None:
    found = mistakes(write(text))
    assert told in re.sub(r"^config.toml:\d+: ", "config.toml: ", found, flags=re.MULTILINE)
    *each, last = found.splitlines()
    for line in [*each, *([last] if not each else [])]:
        assert re.match(r"config\.toml:\d+: ", line) or "there is no [[pool]]" in line
    assert last == f"{len(each)} mistakes" or not each
    assert "hunter2" not in found
    assert "pydantic" not in found


def test_all_mistakes_are_told_at_once_each_with_its_own_file_and_line(write: Write) -> None:
    path = write(
        MINIMAL + 'slotz = 1\n[pool.limits]\nmemory = "x"\n',
        site='\n[[pool]]\nname = "local"\nstandby = "yes"\n',
    )
    assert mistakes(path).splitlines() == [
        'config.toml:5: [[pool]] "local" slotz: there is no such key; did you mean slots?',
        (
            "config.toml:7: [[pool]] \"local\" . limits memory: 'x' is not a size; write for example "
            '"8GiB", "512MiB" or "10GB"'
        ),
        "conf.d/site.toml:4: [[pool]] \"local\" standby: must be true or false, not 'yes'",
        "3 mistakes",
    ]


# Mistakes of every stage: the grammar, a value's type, a provider's table, between keys, between pools.
TWENTY = """\
[host]
name = lab
gpu = "on"
metrics = "0.0.0.0:9"

[[pool]]
name = "a"
provider = "gitub"
slots = -1
limits = { memory = "1GiB", shm = "2GiB", pids = 1 }

[[pool]]
name = "a"
provider = "gitlab"
url = "https://gitlab.lab/group"
labels = [
  "right",
  "two\\nlines",
]
agent_pol = "x"

[[pool.dataset]]
source = "/data"
target = "/x"

[[pool.dataset]]
source = "/data"
target = "/x"

[[pool]]
slots = 1
share = true
url = "https://x"

[pool.azure]
token = { credential = "c" }

[[pool]]
name = "d"
provider = "github"
[pool.github]
url = "ftp://x"
token = "hunter2"
app = { key = { credential = "k" } }
"""


def test_a_mistake_hides_no_other_however_early_it_is_found(write: Write) -> None:
    path = write(TWENTY, second='[[pool]]\nname = "d"\ncuda = 12.8\nsudo = yes\n')
    found = [line.partition(": ") for line in mistakes(path).splitlines()]
    assert [(place.removeprefix("config.toml:"), text[:44]) for place, _, text in found] == [
        ("2", "is not TOML: invalid value; text stands in q"),
        ("3", "[host] gpu: must be 'auto', 'required' or 'o"),
        ("4", "[host] metrics: '0.0.0.0:9' must be a loopba"),
        ("8", '[[pool]] "a" provider: there is no provider '),
        ("9", '[[pool]] "a" slots: must be at least 0, not '),
        ("10", '[[pool]] "a" . limits pids: must be at least'),
        ("10", '[[pool]] "a" . limits shm: is larger than me'),
        ("12", '[[pool]] "a" . gitlab token: is missing; pro'),
        ("13", '[[pool]] "a" name: there is more than one po'),
        ("18", "[[pool]] \"a\" labels.2: 'two\\nlines' is not a"),
        ("20", '[[pool]] "a" agent_pol: there is no such key'),
        ("28", '[[pool]] "a" . dataset number 2 target: /x i'),
        ("30", "[[pool]] number 3 name: is missing"),
        ("32", "[[pool]] number 3 share: has no meaning in a"),
        ("33", "[[pool]] number 3 url: belongs to a service;"),
        ("35", "[[pool]] number 3 azure: is a table of provi"),
        ("42", '[[pool]] "d" . github url: must be a URL tha'),
        ("43", '[[pool]] "d" . github token: a secret is not'),
        ("44", '[[pool]] "d" . github app.id: is missing; `k'),
        ("conf.d/second.toml:3", '[[pool]] "d" cuda: must be a string, in quot'),
        ("conf.d/second.toml:4", "is not TOML: invalid value; write sudo = tru"),
        ("21 mistakes", ""),
    ]


def test_a_stray_word_hides_nothing_and_no_earlier_line_is_blamed_for_it(write: Write) -> None:
    text = '[[pool]]\nname = "a"\nenv = { A = "1", "a b" = "c" }\n'
    text += '[pool.limits]\npids = 4\n[[pool]]\nnmae = "b"\n'
    found = mistakes(write(text + "bogus # what was meant?\n")).splitlines()
    assert [line.partition(" ")[0] for line in found] == [
        *(f"config.toml:{line}:" for line in (3, 5, 6, 7, 8)), "5",
    ]  # fmt: skip
    assert found[4] == "config.toml:8: is not TOML: expected '=' after a key in a key/value pair"


def test_what_does_not_parse_hides_the_file_and_invents_nothing(write: Write) -> None:
    path = write(
        '[[pool]]\nname = "gpu"\nprovider = "gitlab"\nslots = 1\nlabels = ["a",\n\n[pool.gitlab]\nurl = 3\n',
        site='[[pool]]\nname = "gpu"\nurl = "https://x/y"\nslots = "two"\n',
    )
    assert mistakes(path).splitlines() == [
        "config.toml:5: is not TOML: what is opened here is not closed",
        "conf.d/site.toml:4: [[pool]] \"gpu\" slots: must be a whole number, not 'two'",
        "2 mistakes",
    ]


NOT_TOML = [
    ("a = b # c", 'is not TOML: invalid value; text stands in quotes: a = "…"'),
    ('a = "b', "is not TOML: a quote is not closed"),
    ("a = 1\na = 2", "config.toml:6: is not TOML: cannot overwrite a value"),
    ("sudo = Yes", "invalid value; write sudo = true or sudo = false"),
    ("token = hunter2", 'text stands in quotes: token = "…"'),
    ('a = """b\n\n', "config.toml:5: is not TOML: a quote is not closed"),
    ("[pool.limits", "config.toml:5: is not TOML: expected ']' at the end of a table declaration"),
]


@pytest.mark.parametrize(("text", "told"), NOT_TOML, ids=[text for text, _ in NOT_TOML])
def test_a_mistake_of_the_grammar_has_its_line_and_repeats_no_value(
    write: Write, text: str, told: str
) -> None:
    found = mistakes(write(pool(text)))
    assert told in found
    assert "hunter2" not in found
    assert found.startswith("config.toml:")


def test_a_drop_in_does_not_hide_what_is_wrong_before_it(write: Write) -> None:
    assert "config.toml:1: [[pool]] number 1: must be a table, not '8GiB'" in mistakes(
        write("pool = ['8GiB']", site="[[pool]]\nname = 'a'")
    )


def test_a_file_that_is_not_there_says_who_writes_one(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="there is no such file; `mayfly init` writes one"):
        load(tmp_path / "nothing.toml", environ={})


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="is not UTF-8 text"):
        load(tmp_path / "c.toml", environ={})


def test_a_nest_without_end_is_refused(write: Write) -> None:
    assert re.match(r"config.toml(:1)?: is ", mistakes(write("a = " + "[" * 20_000)))


def test_the_schema_is_json_and_knows_every_table() -> None:
    document: dict[str, Any] = json.loads(json.dumps(schema()))
    assert document["$schema"].startswith("https://json-schema.org/")
    assert document["additionalProperties"] is False
    assert set(document["properties"]) == {"host", "pool"}
