"""What a pool may mount, where, and what never: the same whatever name a place goes by."""

from __future__ import annotations

import pytest

from mayfly.core.agent_plan import SUDO_CAPABILITIES
from mayfly.core.reserved_paths import (
    beneath,
    cache_target_problem,
    source_problem,
    target_problem,
)


@pytest.mark.parametrize(
    "path",
    [
        *("/", "/etc", "/opt", "/run", "/var/run", "/usr", "/bin", "/lib", "/lib64", "/usr/lib"),
        *("/run/mayfly", "/var/run/mayfly", "/var/run/mayfly/w", "/opt/mayfly", "/opt/mayfly/gate"),
        *("/run/mayfly-docker", "/run/mayfly-job", "/var/run/mayfly-job/first"),
        *("/etc/passwd", "/etc/sudoers.d", "/etc/sudoers.d/x", "/etc/ld.so.preload", "/etc/mayfly"),
        *("/proc", "/proc/self", "/sys/fs/cgroup", "/dev", "/dev/shm", "/lib/x86_64-linux-gnu"),
        *("/bin/x", "/usr/bin", "/usr/local/bin", "/home", "/var/lib"),
        # the probe's search path, and what the GPU runtime lists for the loader
        *("/usr/lib/cargo/bin", "/etc/alternatives", "/usr/local/nvidia"),
        *("/usr/local/nvidia/bin", "/usr/local/lib/x86_64-linux-gnu"),
    ],
)
def test_no_pool_mounts_what_root_in_an_agent_goes_by(path: str) -> None:
    assert "is reserved" in (target_problem(path) or "")


@pytest.mark.parametrize(
    "path",
    [
        *("/data", "/opt/data", "/opt/actions-runner/_work", "/home/runner", "/home/runner/.cache"),
        *("/usr/local/cuda", "/usr/share/data", "/var/lib/data", "/etc/ssl/certs", "/optical"),
        *("/run/media", "/tmp", "/usr/lib/R/site-library"),
    ],
)
def test_the_rest_of_a_container_is_free(path: str) -> None:
    assert target_problem(path) is None


def test_a_target_is_in_another_by_whatever_names_they_go() -> None:
    assert beneath("/cache/.cache/pip", "/cache")
    assert beneath("/var/lock/pip", "/run/lock")
    assert beneath("/usr/lib/R/site-library", "/lib/R")
    assert not beneath("/cache", "/cache")
    assert not beneath("/var/lock", "/run/lock")
    assert not beneath("/cache2", "/cache")
    assert not beneath("/cache", "/cache/pip")


def test_no_cache_is_where_root_s_libraries_and_settings_are_found() -> None:
    for path in (
        *("/usr/local/cuda", "/usr/local/cuda-12.8", "/usr/local/cuda/lib64", "/etc/ssl/certs"),
        *("/usr/local/lib/glibc-hwcaps", "/lib/haswell/x", "/usr/lib/glibc-hwcaps/x86-64-v3"),
    ):
        assert "is never a cache" in (cache_target_problem(path) or "")
    for path in ("/usr/local/share/data", "/usr/lib/R/site-library", "/home/runner", "/tmp"):
        assert cache_target_problem(path) is None


@pytest.mark.parametrize("writable", [True, False])
@pytest.mark.parametrize(
    "path",
    [
        *("/", "/etc", "/proc", "/sys", "/dev", "/run", "/var/run", "/var", "/var/lib", "/root"),
        *("/run/docker.sock", "/var/run/docker.sock", "/run/mayfly", "/etc/mayfly/credentials"),
        *("/var/lib/docker/volumes/x", "/var/lib/containerd", "/var/lib/mayfly", "/srv/mayfly/x"),
        *("/srv/mayfly", "/srv"),
    ],
)
def test_what_is_the_host_s_own_is_mounted_into_no_agent(path: str, writable: bool) -> None:
    told = source_problem(path, writable=writable, own=("/srv/mayfly",)) or ""
    assert "is never mounted" in told


def test_the_rest_of_a_host_is_free_and_what_it_runs_is_no_cache() -> None:
    for path in (
        "/data",
        "/home/alice/data",
        "/var/cache/mayfly",
        "/dev/shm/x",
        "/root/data",
        "/mnt",
    ):
        assert source_problem(path, writable=True) is None
    for path in ("/etc/ssl/certs", "/usr/lib/python3", "/lib/firmware"):
        assert source_problem(path, writable=False) is None
        assert "is never a cache" in (source_problem(path, writable=True) or "")


def test_a_job_that_may_become_root_has_neither_raw_sockets_nor_devices() -> None:
    assert not {"NET_RAW", "MKNOD", "SYS_ADMIN", "NET_ADMIN"} & set(SUDO_CAPABILITIES)
