"""The image that may build: what its containers may do beside others', and what a job is told that builds."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mayfly.core.admission.builder_image import calls
from mayfly.core.admission.grant import GrantSecurity
from mayfly.core.admission.outcome import Forward
from tests.core.admission.checker import assert_safe
from tests.core.admission.clients import made
from tests.core.admission.engine import engine, forwarded, refused
from tests.core.admission.granted import GRANT

CREATE = "/containers/create?name=job"
BUILDS = replace(GRANT, builder="alpine:3")
REFUSED, ALLOWED = "SCMP_ACT_ERRNO", "SCMP_ACT_ALLOW"
# Of clone(2), in its words.
NEWTIME, NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET = (
    *(0x80, 0x0002_0000, 0x0200_0000, 0x0400_0000),
    *(0x0800_0000, 0x1000_0000, 0x2000_0000, 0x4000_0000),
)
THREAD = 0x003D_0F00  # what a thread is made with
BEYOND = {"cgroup": NEWCGROUP, "ipc": NEWIPC, "pid": NEWPID, "net": NEWNET}


def options(forward: Forward) -> dict[str, str]:
    assert forward.body is not None
    said = forward.body["HostConfig"]["SecurityOpt"]
    return dict(one.split("=", 1) for one in said if "=" in one)


def judged(call: str, *given: int) -> str:
    """What a filter of that profile makes of a call, by seccomp(2): the first rule that fits."""
    profile: Mapping[str, Any] = json.loads(calls())
    for rule in profile["syscalls"]:
        compared = rule.get("args", ())
        if call in rule["names"] and all(
            _fits(one, (*given, 0, 0)[one["index"]]) for one in compared
        ):
            return str(rule["action"])
    return str(profile["defaultAction"])


def _fits(rule: Mapping[str, Any], value: int) -> bool:
    match rule["op"]:
        case "SCMP_CMP_EQ":
            return bool(value == rule["value"])
        case "SCMP_CMP_NE":
            return bool(value != rule["value"])
        case "SCMP_CMP_MASKED_EQ":
            return bool(value & rule["value"] == rule["valueTwo"])
    raise AssertionError(rule)


def test_a_container_of_the_builder_alone_may_make_namespaces() -> None:
    host = options(forwarded("POST", CREATE, made({"Image": "alpine:3"}), grant=BUILDS))
    assert host == {"seccomp": calls(), "apparmor": "unconfined"}
    assert_safe(forwarded("POST", CREATE, made({"Image": "alpine:3"}), grant=BUILDS), BUILDS)
    other = forwarded("POST", CREATE, made({"Image": "postgres:16"}), grant=BUILDS)
    assert options(other) == {"seccomp": "builtin"}
    assert_safe(other, BUILDS)


def test_the_builder_is_the_builder_however_it_is_called() -> None:
    world = engine()
    by_id = world.things["/v1.45/images/alpine:3/json"]["Id"]
    for name in ("docker.io/library/alpine:3", "index.docker.io/alpine:3", by_id):
        forward = forwarded("POST", CREATE, made({"Image": name}), grant=BUILDS, world=world)
        assert options(forward)["seccomp"] == calls()
    newest = replace(BUILDS, builder="alpine")  # which is alpine:latest
    assert options(forwarded("POST", CREATE, made({"Image": "alpine:3"}), grant=newest)) == {
        "seccomp": "builtin"
    }


def test_a_builder_is_held_as_every_container_is_otherwise() -> None:
    forward = forwarded("POST", CREATE, made({"Image": "alpine:3"}), grant=BUILDS)
    plain = forwarded("POST", CREATE, made({"Image": "alpine:3"}))
    assert forward.body is not None
    assert plain.body is not None
    theirs = {**forward.body["HostConfig"], "SecurityOpt": plain.body["HostConfig"]["SecurityOpt"]}
    assert {**forward.body, "HostConfig": theirs} == plain.body
    for asked in ({"Privileged": True}, {"CapAdd": ["SYS_ADMIN"]}):
        refused("POST", CREATE, made({"Image": "alpine:3"}, host=asked), grant=BUILDS)


def test_the_pools_own_apparmor_profile_is_the_builders() -> None:
    grant = replace(BUILDS, security=GrantSecurity(apparmor="lab"))
    host = options(forwarded("POST", CREATE, made({"Image": "alpine:3"}), grant=grant))
    assert host["apparmor"] == "lab"


@given(st.integers(min_value=0, max_value=2**32 - 1))
def test_no_namespace_of_another_kind_is_made_with_any_flags(flags: int) -> None:
    beyond = any(flags & one for one in BEYOND.values())
    assert judged("clone", flags) == (REFUSED if beyond else ALLOWED)
    assert judged("unshare", flags) == (REFUSED if beyond or flags & NEWTIME else ALLOWED)


@pytest.mark.parametrize("kind", BEYOND)
def test_a_root_of_ones_own_opens_no_further_kind(kind: str) -> None:
    assert judged("unshare", NEWUSER | NEWNS | NEWUTS) == ALLOWED
    assert judged("clone", NEWUSER | NEWNS | 17) == ALLOWED  # 17: SIGCHLD
    assert judged("clone", THREAD) == ALLOWED
    assert judged("unshare", NEWUSER | NEWNS | BEYOND[kind]) == REFUSED
    assert judged("clone", NEWUSER | BEYOND[kind] | 17) == REFUSED


FSSETXATTR, SETFLAGS, SETFLAGS_OF_32 = 0x401C_5820, 0x4008_6602, 0x4004_6602
UPPER = st.integers(min_value=0, max_value=2**32 - 1)


@given(st.sampled_from([FSSETXATTR, SETFLAGS, SETFLAGS_OF_32]), UPPER)
def test_a_file_is_given_to_no_other_project_whatever_stands_above_the_calls_number(
    shut: int, upper: int
) -> None:
    """The kernel reads 32 bits of it, a filter 64."""
    assert judged("ioctl", 3, upper << 32 | shut) == REFUSED


@given(UPPER, UPPER, st.sampled_from([0, FSSETXATTR, SETFLAGS, SETFLAGS_OF_32]), st.booleans())
def test_every_other_ioctl_goes_through(number: int, upper: int, by: int, near: bool) -> None:
    """Also those that are one bit from a refused one."""
    number = by ^ (1 << number % 32) if near else number
    if number not in (FSSETXATTR, SETFLAGS, SETFLAGS_OF_32):
        assert judged("ioctl", 3, number) == ALLOWED
        assert judged("ioctl", 3, upper << 32 | number) == ALLOWED


@pytest.mark.parametrize(
    "call",
    [
        *("setns", "bpf", "perf_event_open", "userfaultfd", "io_uring_setup", "open_by_handle_at"),
        *("keyctl", "add_key", "request_key", "init_module", "finit_module", "kexec_load"),
        *("fsopen", "fsconfig", "fsmount", "open_tree", "move_mount", "mount_setattr"),
        *("quotactl", "swapon", "reboot", "settimeofday", "syslog", "acct", "iopl", "ioperm"),
        *("socketcall", "file_setattr", "a_call_of_tomorrow"),
    ],
)
def test_what_no_build_needs_of_the_kernel_stays_shut(call: str) -> None:
    assert judged(call) == REFUSED


def test_a_library_that_asks_by_the_call_without_readable_flags_goes_back_to_the_other() -> None:
    (rule,) = (one for one in json.loads(calls())["syscalls"] if "clone3" in one["names"])
    assert (rule["action"], rule["errnoRet"]) == (REFUSED, 38)


def test_sockets_out_of_a_virtual_machine_are_not_had() -> None:
    assert judged("socket", 40) == REFUSED
    assert judged("socket", 2) == ALLOWED


@pytest.mark.parametrize("path", ["/build?t=x", "/session", "/grpc", "/build/prune"])
def test_who_builds_by_the_engine_is_told_what_to_type(path: str) -> None:
    told = refused("POST", path, grant=BUILDS)
    assert told.status == 403
    assert told.sentence == (
        "the Engine builds no images for a job: type "
        'docker run --rm -v "$PWD:/src" -w /src alpine:3 '
        "sh -c 'buildah build -t REGISTRY/NAME:TAG . && buildah push REGISTRY/NAME:TAG'"
    )
    told = refused("POST", path)
    assert 'pool "gpu" has no `builder`' in told.sentence
