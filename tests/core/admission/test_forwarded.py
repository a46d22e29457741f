"""What goes out for containers that are there, and for networks and volumes: by ids, with all said."""

from __future__ import annotations

from typing import Any

import pytest

from mayfly.core.admission.admit import expects
from mayfly.core.admission.outcome import Answer, Streams
from mayfly.core.admission.request import Request
from mayfly.core.admission.routes import Expects
from tests.core.admission.engine import ANONYMOUS, DB, EXEC, forwarded, numbered
from tests.core.admission.granted import GRANT, PREFIX

NET = numbered(0xC0)
UPGRADE = [("Connection", "Upgrade"), ("Upgrade", "tcp")]


_NONE, _PLAIN = Streams.NONE, Answer.PLAIN
_DB = f"/containers/{DB}"


@pytest.mark.parametrize(
    ("method", "path", "told", "streams", "answer"),
    [
        ("GET", "/v1.47/_ping", "/v1.47/_ping", _NONE, _PLAIN),
        ("HEAD", "/_ping", "/_ping", _NONE, _PLAIN),
        ("GET", "/version", "/version", _NONE, Answer.VERSION),
        ("GET", "/v1.41/info", "/v1.41/info", _NONE, Answer.INFO),
        (
            "GET",
            "/containers/db/json?size=1",
            f"{_DB}/json?size=1",
            _NONE,
            Answer.CONTAINER,
        ),
        (
            "GET",
            f"/containers/{DB[:12]}/json",
            f"{_DB}/json",
            _NONE,
            Answer.CONTAINER,
        ),
        (
            "GET",
            "/containers/db/logs?stdout=1&follow=true&tail=all&since=1.5",
            f"{_DB}/logs?stdout=1&follow=true&tail=all&since=1.5",
            Streams.ANSWER,
            _PLAIN,
        ),
        (
            "POST",
            "/containers/db/wait?condition=removed",
            f"{_DB}/wait?condition=removed",
            Streams.LINES,
            Answer.WAIT,
        ),
        (
            "GET",
            "/containers/db/stats?stream=false&one-shot=1",
            f"{_DB}/stats?stream=false&one-shot=1",
            Streams.LINES,
            Answer.STATS,
        ),
        ("POST", "/containers/db/start", f"{_DB}/start", _NONE, _PLAIN),
        (
            "POST",
            "/containers/db/stop?t=-1&signal=SIGTERM",
            f"{_DB}/stop?t=-1&signal=SIGTERM",
            _NONE,
            _PLAIN,
        ),
        (
            "POST",
            "/containers/db/kill?signal=",
            f"{_DB}/kill",
            _NONE,
            _PLAIN,
        ),
        (
            "POST",
            "/containers/db/resize?h=40&w=100",
            f"{_DB}/resize?h=40&w=100",
            _NONE,
            _PLAIN,
        ),
        (
            "POST",
            "/containers/db/rename?name=/x",
            f"{_DB}/rename?name={PREFIX}x",
            _NONE,
            _PLAIN,
        ),
        (
            "DELETE",
            "/containers/db?force=1&v=1&link=0",
            f"{_DB}?force=1&v=1",
            _NONE,
            _PLAIN,
        ),
        (
            "HEAD",
            "/containers/db/archive?path=/etc/x",
            f"{_DB}/archive?path=%2Fetc%2Fx",
            _NONE,
            _PLAIN,
        ),
        (
            "GET",
            "/containers/db/archive?path=x%20y",
            f"{_DB}/archive?path=x%20y",
            Streams.ANSWER,
            _PLAIN,
        ),
        (
            "PUT",
            "/containers/db/archive?path=/&noOverwriteDirNonDir=true&copyUIDGID=",
            f"{_DB}/archive?path=%2F&noOverwriteDirNonDir=true",
            Streams.UPLOAD,
            _PLAIN,
        ),
        ("GET", "/containers/db/export", f"{_DB}/export", Streams.ANSWER, _PLAIN),
        ("GET", f"/exec/{EXEC}/json", f"/exec/{EXEC}/json", _NONE, Answer.EXEC),
        (
            "POST",
            f"/exec/{EXEC}/resize?h=1&w=2",
            f"/exec/{EXEC}/resize?h=1&w=2",
            _NONE,
            _PLAIN,
        ),
        ("GET", "/networks/net", f"/networks/{NET}", _NONE, Answer.NETWORK),
        ("GET", "/networks/bridge", f"/networks/{numbered(0xB0)}", _NONE, Answer.NETWORK),
        ("DELETE", f"/networks/{NET}", f"/networks/{NET}", _NONE, _PLAIN),
        ("GET", "/volumes/data", f"/volumes/{PREFIX}data", _NONE, Answer.VOLUME),
        (
            "DELETE",
            f"/volumes/{ANONYMOUS}?force=1",
            f"/volumes/{ANONYMOUS}?force=1",
            _NONE,
            _PLAIN,
        ),
    ],
)
def test_a_path_goes_out_by_ids(
    method: str, path: str, told: str, streams: Streams, answer: Answer
) -> None:
    forward = forwarded(method, path)
    assert (forward.method, forward.target) == (method, told)
    assert (forward.streams, forward.answer) == (streams, answer)
    assert not forward.makes
    assert forward.body is None


@pytest.mark.parametrize("upgraded", [True, False])
def test_a_connection_is_taken_over_as_the_client_asks(upgraded: bool) -> None:
    headers = UPGRADE if upgraded else []
    for path, body in (
        ("/containers/db/attach?stream=1&stdin=1&stdout=1", None),
        (f"/exec/{EXEC}/start", {"Detach": False, "Tty": True}),
    ):
        forward = forwarded("POST", path, body, headers=headers)
        assert forward.streams is Streams.HIJACK
        assert forward.headers == (dict(UPGRADE) if upgraded else {})


def test_what_some_clients_say_and_the_engine_does_not_read_is_left_out() -> None:
    forward = forwarded("GET", "/containers/json?limit=-1&all=1&size=0&trunc_cmd=0")
    assert forward.target.startswith("/containers/json?limit=-1&all=1&size=0&filters=")
    forward = forwarded("GET", "/images/json?only_ids=0&all=0&manifests=1&shared-size=1")
    assert forward.target == "/images/json?all=0"


def test_a_process_that_is_started_aside_takes_no_connection_over() -> None:
    forward = forwarded("POST", f"/exec/{EXEC}/start", {"Detach": True}, headers=UPGRADE)
    assert (forward.streams, forward.headers) == (Streams.NONE, {})
    assert forward.body == {"Detach": True, "Tty": False}


def test_a_process_goes_out_as_it_was_asked_for() -> None:
    asked: dict[str, Any] = {
        "Cmd": ["sh", "-c", "id"],
        "Env": ["A=b"],
        "User": "1234",
        "WorkingDir": "/tmp",
        "Tty": True,
        "AttachStdin": True,
        "AttachStdout": True,
        "AttachStderr": True,
        "DetachKeys": "ctrl-p,ctrl-q",
        "ConsoleSize": [40, 100],
    }
    forward = forwarded("POST", "/containers/db/exec", {**asked, "Container": "x", "Detach": True})
    assert forward.target == f"/v1.45/containers/{DB}/exec"
    assert forward.body == {**asked, "Privileged": False}
    forward = forwarded("POST", "/containers/db/exec", {"Cmd": "id", "Privileged": False})
    assert forward.body is not None
    assert forward.body["Cmd"] == ["id"]
    assert "ConsoleSize" not in forward.body


def test_a_network_has_all_said_that_a_daemon_could_say_otherwise() -> None:
    asked = {
        "Name": "lab_default",
        "CheckDuplicate": True,
        "Driver": "",
        "EnableIPv6": False,
        "IPAM": {"Driver": "default", "Config": []},
        "Internal": True,
        "Attachable": True,
        "Options": {"com.docker.network.driver.mtu": "1400"},
        "Labels": {"a": "b"},
    }
    forward = forwarded("POST", "/v1.47/networks/create", asked)
    assert (forward.makes, forward.counts, forward.answer) == (True, "networks", Answer.CREATED)
    assert forward.target == "/v1.45/networks/create"
    assert forward.body == {
        "Name": f"{PREFIX}lab_default",
        "CheckDuplicate": True,
        "Driver": "bridge",
        "Scope": "local",
        "Internal": True,
        "Attachable": False,
        "Ingress": False,
        "ConfigOnly": False,
        "EnableIPv6": False,
        "IPAM": {"Driver": "default", "Config": []},
        "Options": {
            "com.docker.network.bridge.enable_icc": "true",
            "com.docker.network.driver.mtu": "1400",
        },
        "Labels": {"a": "b", **GRANT.labels},
    }


def test_a_container_is_joined_to_a_network_by_their_ids() -> None:
    config = {"Aliases": ["x"], "Links": ["web"], "IPAMConfig": None}
    forward = forwarded(
        "POST", "/networks/net/connect", {"Container": "db", "EndpointConfig": config}
    )
    assert forward.target == f"/v1.45/networks/{NET}/connect"
    assert forward.body == {
        "Container": DB,
        "EndpointConfig": {"Aliases": ["x", "db"], "Links": [f"{PREFIX}web:web"]},
    }
    forward = forwarded("POST", "/networks/net/disconnect", {"Container": DB[:12], "Force": True})
    assert forward.target == f"/v1.45/networks/{NET}/disconnect"
    assert forward.body == {"Container": DB, "Force": True}
    forward = forwarded("POST", "/networks/bridge/connect", {"Container": "db"})
    assert forward.target == f"/v1.45/networks/{numbered(0xB0)}/connect"


def test_a_volume_is_the_agents_own() -> None:
    forward = forwarded(
        "POST", "/volumes/create", {"Name": "pg", "DriverOpts": None, "Labels": {"a": "b"}}
    )
    assert (forward.makes, forward.counts, forward.answer) == (True, "volumes", Answer.VOLUME)
    assert forward.body == {
        "Name": f"{PREFIX}pg",
        "Driver": "local",
        "DriverOpts": {},
        "Labels": {"a": "b", **GRANT.labels},
    }
    forward = forwarded("POST", "/volumes/create", {})
    assert forward.body is not None
    assert forward.body["Name"] == f"{PREFIX}v-00112233aabb"


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("POST", "/containers/create", Expects.JSON),
        ("POST", "/containers/x/exec", Expects.JSON),
        ("POST", "/exec/x/start", Expects.JSON),
        ("PUT", "/containers/x/archive", Expects.UPLOAD),
        ("POST", "/containers/x/start", Expects.NOTHING),
        ("POST", "/build", Expects.NOTHING),
        ("POST", "/images/load", Expects.NOTHING),
        ("POST", "/nowhere", Expects.NOTHING),
    ],
)
def test_what_is_done_with_a_body(method: str, path: str, expected: Expects) -> None:
    assert expects(Request(method, path)) is expected
