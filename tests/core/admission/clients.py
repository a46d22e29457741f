"""What clients of Docker's send to make a container, as data: all the keys that each of them fills in,
and the values such as their everyday commands come to.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any

# A client in Go sends each field of its structures, with nothing in it where nobody said anything.
GO_HOST: dict[str, Any] = {
    "Binds": None,
    "ContainerIDFile": "",
    "LogConfig": {"Type": "", "Config": {}},
    "NetworkMode": "bridge",
    "PortBindings": {},
    "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0},
    "AutoRemove": False,
    "VolumeDriver": "",
    "VolumesFrom": None,
    "ConsoleSize": [52, 210],
    "CapAdd": None,
    "CapDrop": None,
    "CgroupnsMode": "",
    "Dns": [],
    "DnsOptions": [],
    "DnsSearch": [],
    "ExtraHosts": None,
    "GroupAdd": None,
    "IpcMode": "",
    "Cgroup": "",
    "Links": None,
    "OomScoreAdj": 0,
    "PidMode": "",
    "Privileged": False,
    "PublishAllPorts": False,
    "ReadonlyRootfs": False,
    "SecurityOpt": None,
    "UTSMode": "",
    "UsernsMode": "",
    "ShmSize": 0,
    "Isolation": "",
    "CpuShares": 0,
    "Memory": 0,
    "NanoCpus": 0,
    "CgroupParent": "",
    "BlkioWeight": 0,
    "BlkioWeightDevice": [],
    "BlkioDeviceReadBps": [],
    "BlkioDeviceWriteBps": [],
    "BlkioDeviceReadIOps": [],
    "BlkioDeviceWriteIOps": [],
    "CpuPeriod": 0,
    "CpuQuota": 0,
    "CpuRealtimePeriod": 0,
    "CpuRealtimeRuntime": 0,
    "CpusetCpus": "",
    "CpusetMems": "",
    "Devices": [],
    "DeviceCgroupRules": None,
    "DeviceRequests": None,
    "MemoryReservation": 0,
    "MemorySwap": 0,
    "MemorySwappiness": -1,
    "OomKillDisable": False,
    "PidsLimit": 0,
    "Ulimits": [],
    "CpuCount": 0,
    "CpuPercent": 0,
    "IOMaximumIOps": 0,
    "IOMaximumBandwidth": 0,
    "MaskedPaths": None,
    "ReadonlyPaths": None,
}
GO_CONFIG: dict[str, Any] = {
    "Hostname": "",
    "Domainname": "",
    "User": "",
    "AttachStdin": False,
    "AttachStdout": True,
    "AttachStderr": True,
    "Tty": False,
    "OpenStdin": False,
    "StdinOnce": False,
    "Env": None,
    "Cmd": None,
    "Image": "alpine",
    "Volumes": {},
    "WorkingDir": "",
    "Entrypoint": None,
    "OnBuild": None,
    "Labels": {},
}
GO_ENDPOINT: dict[str, Any] = {
    "IPAMConfig": None,
    "Links": None,
    "Aliases": None,
    "MacAddress": "",
    "DriverOpts": None,
    "GwPriority": 0,
    "NetworkID": "",
    "EndpointID": "",
    "Gateway": "",
    "IPAddress": "",
    "IPPrefixLen": 0,
    "IPv6Gateway": "",
    "GlobalIPv6Address": "",
    "GlobalIPv6PrefixLen": 0,
    "DNSNames": None,
}


def made(
    config: dict[str, Any] | None = None,
    host: dict[str, Any] | None = None,
    networks: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """A creation of the docker command line's, with those differences."""
    return deepcopy(
        {
            **GO_CONFIG,
            **(config or {}),
            "HostConfig": {**GO_HOST, **(host or {})},
            "NetworkingConfig": {
                "EndpointsConfig": {"default": GO_ENDPOINT} if networks is None else networks
            },
        }
    )


# docker run --rm --gpus all -v "$PWD:/w" -w /w alpine nvidia-smi
CLI_GPU = made(
    {"Image": "alpine", "Cmd": ["nvidia-smi"], "WorkingDir": "/w"},
    {
        "AutoRemove": True,
        "Binds": ["/home/agent/_work:/w"],
        "DeviceRequests": [
            {
                "Driver": "",
                "Count": -1,
                "DeviceIDs": None,
                "Capabilities": [["gpu"]],
                "Options": {},
            }
        ],
    },
)
# docker run -it --network NET --name db -p 5432:5432 -e … --health-cmd …
CLI_SERVICE = made(
    {
        "Image": "postgres:16",
        "Env": ["POSTGRES_PASSWORD=x"],
        "Tty": True,
        "OpenStdin": True,
        "StdinOnce": True,
        "AttachStdin": True,
        "ExposedPorts": {"5432/tcp": {}},
        "Healthcheck": {
            "Test": ["CMD-SHELL", "pg_isready"],
            "Interval": 10 * 10**9,
            "Timeout": 5 * 10**9,
            "Retries": 5,
        },
    },
    {
        "NetworkMode": "net",
        "PortBindings": {"5432/tcp": [{"HostIp": "", "HostPort": "5432"}]},
    },
    {"net": {**GO_ENDPOINT, "Aliases": ["postgres"]}},
)
# A runner's job container: docker create --name … --workdir … --network … -e … -v … --entrypoint tail
RUNNER_JOB = made(
    {
        "Image": "node:20",
        "Env": ["HOME=/github/home", "GITHUB_ACTIONS=true", "CI=true"],
        "Cmd": ["-f", "/dev/null"],
        "Entrypoint": ["tail"],
        "WorkingDir": "/__w/repo/repo",
        "Labels": {"8f2a1b": ""},
        "AttachStdout": False,
        "AttachStderr": False,
    },
    {
        "NetworkMode": "github_network_9c5e",
        "Binds": [
            "/var/run/docker.sock:/var/run/docker.sock",
            "/home/agent/_work:/__w",
            "/home/agent/externals:/__e:ro",
            "/home/agent/_work/_temp:/__w/_temp",
            "/home/agent/_work/_actions:/__w/_actions",
            "/home/agent/_work/_tool:/__w/_tool",
            "/home/agent/_work/_temp/_github_home:/github/home",
            "/home/agent/_work/_temp/_github_workflow:/github/workflow",
        ],
    },
    {"github_network_9c5e": {**GO_ENDPOINT, "Aliases": ["8f2a1b"]}},
)
# A library in Python that leaves out what nobody said.
PYTHON = {
    "Image": "redis:7",
    "Tty": False,
    "OpenStdin": False,
    "StdinOnce": False,
    "AttachStdin": False,
    "AttachStdout": True,
    "AttachStderr": True,
    "Hostname": None,
    "Domainname": None,
    "ExposedPorts": {"6379/tcp": {}},
    "User": None,
    "Env": None,
    "Cmd": ["redis-server"],
    "Volumes": {"/data": {}},
    "NetworkDisabled": False,
    "Entrypoint": None,
    "WorkingDir": None,
    "MacAddress": None,
    "Labels": {"org.testcontainers": "true", "org.testcontainers.session-id": "1"},
    "StopSignal": None,
    "Healthcheck": None,
    "StopTimeout": None,
    "Runtime": None,
    "HostConfig": {
        "NetworkMode": "default",
        "PortBindings": {"6379/tcp": [{"HostIp": "", "HostPort": ""}]},
        "Binds": ["/home/agent/_work/conf:/conf:ro"],
    },
    "NetworkingConfig": None,
}
# The helper that removes what a test suite leaves: it is given the Engine's socket.
RYUK = {
    **PYTHON,
    "Image": "testcontainers/ryuk:0.8.1",
    "ExposedPorts": {"8080/tcp": {}},
    "Volumes": None,
    "HostConfig": {
        "NetworkMode": "default",
        "AutoRemove": True,
        "Privileged": False,
        "PortBindings": {"8080/tcp": [{"HostIp": "", "HostPort": ""}]},
        "Binds": ["/var/run/docker.sock:/var/run/docker.sock:rw"],
    },
}
# Compose: two services, a volume of the project's, a device reservation.
COMPOSE = made(
    {
        "Image": "postgres:16",
        "Hostname": "",
        "AttachStdout": False,
        "AttachStderr": False,
        "Env": ["POSTGRES_PASSWORD=x"],
        "ExposedPorts": {"5432/tcp": {}},
        "Labels": {
            "com.docker.compose.project": "lab",
            "com.docker.compose.service": "db",
            "com.docker.compose.container-number": "1",
            "com.docker.compose.oneoff": "False",
        },
    },
    {
        "NetworkMode": "lab_default",
        "RestartPolicy": {"Name": "always", "MaximumRetryCount": 0},
        "Mounts": [
            {
                "Type": "volume",
                "Source": "lab_data",
                "Target": "/var/lib/postgresql/data",
                "VolumeOptions": {},
            },
            {
                "Type": "bind",
                "Source": "/home/agent/_work/init",
                "Target": "/docker-entrypoint-initdb.d",
                "ReadOnly": True,
                "BindOptions": {"CreateMountpoint": True},
            },
        ],
        "DeviceRequests": [
            {
                "Driver": "nvidia",
                "Count": 1,
                "DeviceIDs": None,
                "Capabilities": [["gpu"]],
                "Options": None,
            }
        ],
        "MemorySwappiness": None,
        "OomKillDisable": None,
        "PidsLimit": None,
        "ConsoleSize": [0, 0],
        "LogConfig": {"Type": "", "Config": None},
        "MaskedPaths": None,
        "ExtraHosts": [],
        "Annotations": None,
    },
    {
        "lab_default": {
            **GO_ENDPOINT,
            "IPAMConfig": {},
            "Aliases": ["lab-db-1", "db"],
        }
    },
)
# GitLab's executor: a volume for the build, a helper beside it, links to services.
GITLAB = made(
    {
        "Image": "alpine:3",
        "Hostname": "runner-1-project-2-concurrent-0",
        "Cmd": ["sh", "-c", "if [ -x /bin/bash ]; then exec /bin/bash; else exec /bin/sh; fi"],
        "Env": ["CI=true", "CI_JOB_ID=1"],
        "OpenStdin": True,
        "StdinOnce": True,
        "AttachStdin": True,
        "Labels": {
            "com.gitlab.gitlab-runner.job.id": "1",
            "com.gitlab.gitlab-runner.type": "build",
        },
    },
    {
        "NetworkMode": "runner-net-1",
        "Binds": ["runner-cache-3c3f:/cache", "/home/agent/_work/builds:/builds"],
        "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0},
        "LogConfig": {"Type": "json-file", "Config": None},
        "Privileged": False,
        "ExtraHosts": None,
        "Links": ["runner-postgres:postgres"],
        "VolumesFrom": [],
        "Init": False,
    },
    {"runner-net-1": {**GO_ENDPOINT}},
)
ALL: dict[str, dict[str, Any]] = {
    "docker run --gpus all": CLI_GPU,
    "docker run -p": CLI_SERVICE,
    "docker run": made(),
    "the runner's docker create": RUNNER_JOB,
    "docker-py": PYTHON,
    "testcontainers' helper": RYUK,
    "docker compose": COMPOSE,
    "gitlab's executor": GITLAB,
}
