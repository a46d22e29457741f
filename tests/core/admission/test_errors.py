"""Words of the Engine's are shown to a job where they say nothing of the host, and else replaced."""

from __future__ import annotations

import pytest

from mayfly.core.admission.answers import shown_error
from tests.core.admission.engine import DB
from tests.core.admission.granted import GRANT, PREFIX

_AROUND = (
    "failed to create task for container: failed to create shim task: OCI runtime create failed: runc create "
    "failed: unable to start container process: error during container init: "
)
_BASE = "/var/lib/docker/volumes/x/_data"
_IN_USE = (
    f'Conflict. The container name "/db" is already in use by container "{DB}". You have to remove '
    "(or rename) that container to be able to reuse that name."
)
_DENIED = (
    "pull access denied for lab/x, repository does not exist or may require 'docker login': denied: "
    "requested access to the resource is denied"
)
_RUNNING = (
    'cannot remove container "/db": container is running: stop the container before removing or '
    "force remove"
)
HARMLESS = (
    (404, "No such container: db"),
    (404, "No such image: alpine:latest"),
    (404, "network net not found"),
    (409, f"Container {DB} is not running"),
    (409, f"container {DB} is not running"),
    (409, _IN_USE),
    (409, _RUNNING),
    (
        403,
        f'error while removing network: network net has active endpoints (name:"db" id:"{DB[:12]}")',
    ),
    (409, f"remove data: volume is in use - [{DB}]"),
    (409, "network with name net already exists"),
    (404, "Could not find the file /x in container db"),
    (404, "manifest for lab/x:9 not found: manifest unknown: manifest unknown"),
    (404, _DENIED),
    (400, "client version 1.99 is too new. Maximum supported API version is 1.51"),
    (404, 'failed to resolve reference "docker.io/lab/x:1": docker.io/lab/x:1: not found'),
    (400, "Minimum memory limit allowed is 6MB"),
    (409, f"Cannot kill container: db: Container {DB} is not running"),
    (500, "cannot join network of a non running container: " + DB),
    (400, "conflicting options: hostname and the network mode"),
)


@pytest.mark.parametrize(("status", "words"), HARMLESS)
def test_words_of_the_engine_that_say_nothing_of_the_host_are_shown(
    status: int, words: str
) -> None:
    assert shown_error(status, {"message": words}, GRANT) == (status, {"message": words})
    prefixed = words.replace("db", f"{PREFIX}db").replace(" net ", f" {PREFIX}net ")
    assert shown_error(status, {"message": prefixed}, GRANT) == (status, {"message": words})


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (500, "open /var/lib/docker/containers/x/config.json: no such file or directory"),
        (400, 'invalid mount config for type "bind": bind source path does not exist: /srv/x'),
        (
            500,
            "driver failed programming external connectivity: listen tcp 0.0.0.0:80: address already in use",
        ),
        (409, "No such container: x\nroot:x:0:0"),
        (500, "No such container: x (see /var/log/docker)"),
        (409, 'container "gpu-0" of pool gpu is in the way'),
        (500, "x" * 100_000),
        (500, ""),
        (500, None),
    ],
)
def test_any_other_words_are_replaced(status: int, words: str | None) -> None:
    told = shown_error(status, {"message": words}, GRANT)[1]["message"]
    assert told.startswith("the Engine ")
    assert "/" not in told
    documents: tuple[object, ...] = ([], None, {"message": {"a": 1}})
    for document in documents:
        assert shown_error(status, document, GRANT)[1]["message"].startswith("the Engine ")


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (
            400,
            f"path concatenation escapes the base directory, base: {_BASE}, subpath: /etc/shadow",
        ),
        (
            404,
            f"cannot access path {_BASE}/../../etc/nothere: lstat /x: no such file or directory",
        ),
        (500, "failed to mount subpath: readlink /x: invalid argument"),
    ],
)
def test_a_link_of_the_jobs_does_not_tell_which_files_the_host_has(status: int, words: str) -> None:
    assert shown_error(status, {"message": words}, GRANT) == shown_error(
        400, {"message": "subpath"}, GRANT
    )


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            _AROUND
            + "error setting rlimits for ready process: error setting rlimit type 7: operation "
            "not permitted",
            "failed to start: error setting rlimit type 7: operation not permitted",
        ),
        (
            _AROUND + 'exec: "nosuch": executable file not found in $PATH: unknown',
            'failed to start: exec: "nosuch": executable file not found in $PATH',
        ),
        (
            'OCI runtime create failed: exec: "/x": permission denied: unknown',
            'failed to start: exec: "/x": permission denied',
        ),
        (
            'failed at /run/containerd/x: exec: "/x": stat /x: no such file or directory: unknown',
            'failed to start: exec: "/x": stat /x: no such file or directory',
        ),
        (
            "unable to find user me: no matching entries in passwd file",
            "failed to start: unable to find user me: no matching entries in passwd file",
        ),
    ],
)
def test_why_a_program_does_not_start_is_told_as_clients_look_for_it(words: str, told: str) -> None:
    assert shown_error(400, {"message": words}, GRANT) == (400, {"message": told})


def test_what_a_registry_refuses_asks_nobody_for_a_login() -> None:
    words = 'Head "https://registry.example:5000/v2/a/manifests/1": no basic auth credentials'
    status, document = shown_error(401, {"message": words}, GRANT)
    assert status == 403
    assert "does not take these credentials" in document["message"]
