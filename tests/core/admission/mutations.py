"""Requests as a hostile client might put them together: those of real clients, changed at random places.

A place is taken away, is given what it may not have, is spelled otherwise or twice, or gets another kind of
value; paths name the agent's own things and others'; what is drawn is told by one number.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace
from random import Random
from typing import Any

from mayfly.core.admission.admit import ROUTES
from mayfly.core.admission.create import CONFIG, HEALTHCHECK
from mayfly.core.admission.create_host import HOST
from mayfly.core.admission.create_mounts import BIND_OPTIONS, MOUNT, TMPFS_OPTIONS, VOLUME_OPTIONS
from mayfly.core.admission.create_network import ENDPOINT
from mayfly.core.admission.grant import Grant, GrantLimits, VolumePlace
from mayfly.core.admission.keys import Key
from mayfly.core.admission.request import quoted
from tests.core.admission import clients
from tests.core.admission.engine import (
    ANONYMOUS,
    DB,
    EXEC,
    THEIR_EXEC,
    THEIR_VOLUME,
    THEIRS,
    WEB,
)
from tests.core.admission.granted import AGENT, GRANT, HOLDER, OTHER_UUID, PREFIX, UUID

NAMES = (
    *("db", "web", "net", "data", "bridge", "default", "none", "host", "pool-gpu", "stranger", ""),
    *("alpine", "alpine:3", "postgres:16", "localhost:5000/x", "lab/secret:1", "x", "/db", "a b"),
    *(DB, WEB, THEIRS, AGENT, HOLDER, EXEC, THEIR_EXEC, ANONYMOUS, THEIR_VOLUME, DB[:12]),
    *(THEIRS[:12], PREFIX + "db", "mf-0mzzzzzzzzzzz-db", "mf-0mzzzzzzzzzzz-data", "gpu-0"),
    *("mayfly-work-0mabcdefghijk", "mayfly-externals", "0" * 64, ".", "..", "a/../b", "%", "é"),
)
TEXTS = (
    *NAMES,
    *(f"container:{one}" for one in ("db", DB, THEIRS, AGENT, HOLDER, "", "container:db")),
    *("service:db", "ns:/proc/1/ns/net", "private", "shareable", "host", "nvidia", "runc", "cdi"),
    *(
        "/",
        "/etc",
        "/proc",
        "/sys/fs/cgroup",
        "/dev",
        "/dev/shm",
        "/w",
        "/x",
        "/run",
        "/data/imagenet",
    ),
    *("/cache/pip", "/home/agent/_work", "/home/agent/_work/a", "/home/agent/externals/node"),
    *("/home/agent", "/home/agent/_workx", "/var/run/docker.sock", "/run/docker.sock"),
    *("/srv/imagenet", "/var/lib/docker", f"/var/run/nvidia-container-devices/{OTHER_UUID}"),
    *("/:/x", "/etc:/x:ro", "/home/agent/_work:/w", "/home/agent/_work/../..:/x", "data:/x", "/v"),
    *(
        f"{ANONYMOUS}:/v",
        f"{THEIR_VOLUME}:/v",
        "/home/agent/_work/a:/y:ro,z",
        "/data/imagenet:/d:rw",
    ),
    *(
        "/var/run/docker.sock:/s",
        "mf-0mzzzzzzzzzzz-data:/x",
        "../x:/x",
        "C:\\x:/x",
        "data:/x:nocopy",
    ),
    *("bind", "volume", "tmpfs", "npipe", "image", "BIND", "rprivate", "rshared", "local", "nfs"),
    *("SYS_ADMIN", "CAP_CHOWN", "chown", "ALL", "NET_RAW", "seccomp=unconfined", "label=disable"),
    *(
        "no-new-privileges",
        "no-new-privileges=false",
        "apparmor:unconfined",
        "systempaths=unconfined",
    ),
    *(
        "size=1g",
        "size=99%",
        "dev",
        "mode=1777",
        "rw,exec",
        "uid=0",
        "context=x",
        "nvidia.com/gpu=all",
    ),
    *(
        f"nvidia.com/gpu={OTHER_UUID}",
        "vendor.com/x=0",
        "/dev/nvidia1",
        UUID,
        OTHER_UUID,
        "all",
        "7",
    ),
    *(
        "NVIDIA_VISIBLE_DEVICES=all",
        f"NVIDIA_VISIBLE_DEVICES={OTHER_UUID}",
        "NVIDIA_VISIBLE_DEVICES",
    ),
    *("NVIDIA_MIG_CONFIG_DEVICES=all", "NVIDIA_IMEX_CHANNELS=0", "LD_PRELOAD=/x", "=x", "A=b", "A"),
    *("always", "on-failure", "unless-stopped", "syslog", "json-file", "gpu", "compute", "80/tcp"),
    *(
        "53/udp",
        "99999/tcp",
        "8080",
        "0",
        "65536",
        "10.0.0.1",
        "::1",
        "x:host-gateway",
        "x:10.0.0.1",
    ),
    *("io.mayfly.belongs", "io.mayfly.seal", "IO.MAYFLY.x", "kernel.shmmax", "kernel.core_pattern"),
    *(
        "net.core.somaxconn",
        "nofile",
        "rtprio",
        "memlock",
        "1",
        "true",
        "a\nb",
        "NONE",
        "CMD-SHELL",
    ),
)
NUMBERS = (
    *(0, 1, -1, 2, 10, 99, 1000, 6 * 2**20, 2**30, 2**33, 2**40, 2**62, 2**63, 2**64, 2**70, -1000),
    *(10**6, 10**9, 10**12),
)
KEYS: tuple[Key, ...] = (
    *HOST,
    *CONFIG,
    *ENDPOINT,
    *MOUNT,
    *BIND_OPTIONS,
    *VOLUME_OPTIONS,
    *TMPFS_OPTIONS,
    *HEALTHCHECK,
)
STRANGE = (
    "NewKey",
    "Networ\u212aMode",
    "PRIVILEGED",
    "hostconfig",
    "",
    "io.mayfly.x",
    "\u017fecurityOpt",
)
GRANTS: tuple[Grant, ...] = (
    GRANT,
    GRANT,
    replace(GRANT, gpu=None, lease=()),
    replace(GRANT, work=None, shared=(), mounts=(), ca=None),
    replace(GRANT, network="none"),
    replace(GRANT, limits=GrantLimits(), cgroup_parent=None, capabilities=()),
    replace(GRANT, allowed_images=("alpine*", "lab/*")),
    replace(GRANT, pull="always"),
    replace(GRANT, work=VolumePlace("/", GRANT.work.volume) if GRANT.work else None),
    replace(GRANT, builder="alpine:3"),
)


HAD = tuple(one for one in ROUTES if not one.does.startswith("refused"))


def request(draw: Random) -> tuple[Grant, str, str, bytes]:
    """Whose it is, method, target and body of one request."""
    grant = draw.choice(GRANTS)
    if draw.random() < 0.6:
        return grant, "POST", _target(draw, "/containers/create", ("name", "platform")), _body(draw)
    route = draw.choice(ROUTES if draw.random() < 0.1 else HAD)
    path = route.path
    while "{" in path:
        before, _, rest = path.partition("{")
        path = before + _part(draw) + rest.partition("}")[2]
    body = _object(draw, route.keys, 3) if route.keys else {}
    names = tuple(one.name for one in route.query)
    return grant, route.method, _target(draw, path, names), _text(draw, body)


def _part(draw: Random) -> str:
    name = draw.choice(NAMES)
    return name if draw.random() < 0.2 else quoted(name, slashes=draw.random() < 0.5)


def _target(draw: Random, path: str, names: tuple[str, ...]) -> str:
    version = draw.choice(("", "/v1.41", "/v1.47", "/v1.54"))
    version = version if draw.random() < 0.98 else "/v9.99"
    said = []
    for name in (*names, "filters", "x"):
        if draw.random() < (0.3 if name in names else 0.02):
            plain = draw.choice(("1", "0", "true", "x", "alpine", "a/b", "KILL"))
            value = plain if draw.random() < 0.7 else draw.choice(TEXTS)
            said.append(f"{name}={quoted(_filters(draw) if name == 'filters' else value)}")
    return version + path + ("?" + "&".join(said) if said else "")


def _filters(draw: Random) -> str:
    names = ("label", "label!", "name", "id", "volume", "network", "since", "status", "x", "until")
    values = [draw.choice((*TEXTS, "^/db$", "a=b")) for _ in range(draw.randrange(3))]
    some: Any = values if draw.random() < 0.6 else {one: draw.random() < 0.8 for one in values}
    return json.dumps({draw.choice(names): some for _ in range(draw.randrange(3))})


def _body(draw: Random) -> bytes:
    body = deepcopy(clients.ALL[draw.choice(tuple(clients.ALL))])
    for _ in range(draw.choice((0, 1, 1, 1, 2, 2, 3, 5))):
        _change(draw, body)
    return _text(draw, body)


def _text(draw: Random, body: Any) -> bytes:
    text = json.dumps(body, ensure_ascii=draw.random() < 0.5)
    if draw.random() < 0.03 and len(text) > 2:
        at = draw.randrange(len(text))
        text = (
            text[:at]
            + draw.choice(('"', "}", ",", "\\u0000", '"Privileged": true,', "\ud800"))
            + text[at:]
        )
    return text.encode(errors="surrogatepass")


def _change(draw: Random, body: dict[str, Any]) -> None:
    """One place of it is another."""
    at: Any = body
    for _ in range(draw.randrange(4)):
        inner = [one for one in _values(at) if isinstance(one, (dict, list)) and one]
        if not inner:
            break
        at = draw.choice(inner)
    if isinstance(at, list):
        if draw.random() < 0.8:
            at.append(_beside(draw, at))
        else:
            at[draw.randrange(len(at))] = _value(draw, 2)
        return
    known = [key.name for key in (HOST if "NetworkMode" in at else CONFIG)]
    name = draw.choice((*at, *known)) if draw.random() < 0.9 else draw.choice((*STRANGE, *TEXTS))
    match draw.randrange(8):
        case 0:
            at.pop(name, None)
        case 1:
            at[draw.choice((name.lower(), name.upper(), name.swapcase()))] = _value(draw, 2)
        case 2:
            at[name] = _object(draw, KEYS, 2)
        case 3:
            at[name] = None
        case _:
            at[name] = _like(draw, at.get(name), name)


def _like(draw: Random, now: Any, name: str) -> Any:
    """Mostly of the kind that it is of, so that a rule has to judge it."""
    lists = (
        "Binds",
        "CapAdd",
        "SecurityOpt",
        "VolumesFrom",
        "Links",
        "Env",
        "Devices",
        "Dns",
        "Aliases",
    )
    if draw.random() < 0.15:
        return _value(draw, 2)
    if name == "Mounts":
        return [_object(draw, MOUNT, 2) for _ in range(draw.randrange(3))]
    if name == "DeviceRequests":
        return [
            {
                "Driver": draw.choice(TEXTS),
                "DeviceIDs": [draw.choice(TEXTS)],
                "Capabilities": [["gpu"]],
            }
        ]
    if isinstance(now, bool):
        return not now
    if isinstance(now, int):
        return draw.choice(NUMBERS)
    if isinstance(now, list) or name in lists:
        return [draw.choice(TEXTS) for _ in range(draw.randrange(4))]
    if isinstance(now, dict):
        return {**now, draw.choice(TEXTS): _beside(draw, list(now.values()))}
    return draw.choice(TEXTS)


def _beside(draw: Random, others: list[Any]) -> Any:
    """Mostly such a value as those are."""
    if others and isinstance(others[0], str) and draw.random() < 0.9:
        return draw.choice(TEXTS)
    if others and others[0] == {} and draw.random() < 0.9:
        return {}
    return _value(draw, 2)


def _object(draw: Random, keys: tuple[Key, ...], depth: int) -> dict[str, Any]:
    return {draw.choice(keys).name: _value(draw, depth - 1) for _ in range(draw.randrange(6))}


def _value(draw: Random, depth: int) -> Any:
    match draw.randrange(9 if depth > 0 else 6):
        case 0:
            return draw.choice(NUMBERS)
        case 1:
            return draw.choice((True, False, None, 1.5, -0.0, 1e300))
        case 2 | 3 | 4 | 5:
            return draw.choice(TEXTS)
        case 6:
            return [_value(draw, depth - 1) for _ in range(draw.randrange(3))]
        case 7:
            return {draw.choice(TEXTS): _value(draw, depth - 1) for _ in range(draw.randrange(3))}
        case _:
            return _object(draw, KEYS, depth)


def _values(at: Any) -> list[Any]:
    return list(at.values()) if isinstance(at, Mapping) else list(at)
