"""What the Engine says, and the family it becomes: texts of Engines that are not here as well."""

from __future__ import annotations

import pytest

from mayfly.core.model import ContainerState
from mayfly.core.quantities import moment
from mayfly.core.workspace import Unbrought
from mayfly.edge.faults import Fault, Passing, Refused, Unbringable
from mayfly.engines.docker.faults import NoImage, answered, unreachable, untaken
from mayfly.engines.docker.values import container_state, numbers
from mayfly.engines.protocol import Gone, NameTaken

ID = "0123456789ab" * 5 + "0123"


@pytest.mark.parametrize(
    ("status", "text", "family", "says"),
    [
        (400, "Unknown runtime specified nvidia", Refused, "nvidia-ctk"),
        (400, "unknown or invalid runtime name: nvidia", Refused, "nvidia-ctk"),
        (404, "No such image: mayfly/local:cpu", NoImage, "mayfly images"),
        (404, "No such container: abc", Gone, "looks again"),
        (404, "network x not found", Passing, "made again"),
        (
            400,
            'invalid mount config for type "bind": bind source path does not exist: /data',
            Refused,
            "/data; create the directory",
        ),
        (
            400,
            'invalid mount config for type "bind": bind source path does not exist: /s/agents/mx18i5vf8qxxy',
            Refused,
            "does not see Mayfly's own directory",
        ),
        (
            500,
            'could not select device driver "cdi" with capabilities: []',
            Refused,
            "Container Toolkit",
        ),
        (500, "failed to discover GPU vendor from CDI: no CDI devices", Refused, "Toolkit"),
        (
            500,
            "nvidia-container-cli: requirement error: unsatisfied condition: cuda>=13.0",
            Refused,
            "older CUDA",
        ),
        (
            404,
            "could not find an available, non-overlapping IPv4 address pool among the defaults",
            Refused,
            "network prune",
        ),
        (
            400,
            "all predefined address pools have been fully subnetted",
            Refused,
            "network prune",
        ),
        (500, "write /var/lib/docker/x: no space left on device", Passing, "free some space"),
        (400, "client version 1.30 is too old. Minimum supported API version is 1.44", Refused, ""),
        (409, "something is in the way", Passing, "tried again"),
        (500, "", Passing, "HTTP 500"),
        (403, "authorization denied by plugin", Refused, "authorization denied"),
    ],
)
def test_every_saying_has_a_family_and_a_next_step(
    status: int, text: str, family: type[Fault], says: str
) -> None:
    fault = answered(status, text, "creating container azure-0")
    assert type(fault) is family
    assert says in str(fault)
    assert str(fault).startswith("creating container azure-0: ")
    assert "\n" not in str(fault)


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (
            409,
            f'Conflict. The container name "/azure-0" is already in use by container "{ID}".',
        ),
        (
            500,
            f'creating container storage: the container name "azure-0" is already in use by {ID}.',
        ),
    ],
)
def test_a_taken_name_is_told_with_its_owner(status: int, text: str) -> None:
    fault = answered(status, text, "creating")
    assert isinstance(fault, NameTaken)
    assert (fault.name, fault.owner) == ("azure-0", ID)


def test_a_name_that_a_network_has_not_let_go_of_is_taken() -> None:
    fault = answered(403, "endpoint with name azure-0 already exists in network lab", "starting")
    assert isinstance(fault, NameTaken)
    assert (fault.name, fault.owner) == ("azure-0", None)


@pytest.mark.parametrize(
    ("error", "family", "says"),
    [
        (PermissionError(13, "Permission denied"), Refused, "docker group"),
        (FileNotFoundError(2, "No such file"), Passing, "no such socket"),
        (ConnectionRefusedError(111, "refused"), Passing, "nobody listens"),
        (TimeoutError("timed out"), Passing, "in time"),
        (ConnectionError("closed"), Passing, "broke off"),
    ],
)
def test_an_engine_that_is_not_reached_is_told_by_its_cause(
    error: OSError, family: type[Fault], says: str
) -> None:
    wrapped = RuntimeError("library", ValueError("inner", error))
    fault = unreachable("unix:///x", "listing", wrapped)
    assert type(fault) is family
    assert says in str(fault)


def test_an_unheard_of_state_counts_as_running() -> None:
    assert container_state("exited") is ContainerState.EXITED
    assert container_state("created") is ContainerState.CREATED
    assert container_state("levitating") is ContainerState.RUNNING


def test_versions_and_times_of_the_engine_are_read() -> None:
    assert numbers("20.10.24+dfsg1") == (20, 10, 24)
    assert numbers("6.18.44-arch1-1") == (6, 18, 44)
    assert moment("0001-01-01T00:00:00Z") is None
    assert moment("1970-01-01T00:00:01.5Z") == 1.5


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("Error processing tar file(exit status 1): open /workspace/x: file name too long",
         Unbrought.NAME_TOO_LONG),
        ("open /workspace/x: file name too long", Unbrought.NAME_TOO_LONG),
        ('invalid symlink "/workspace/l" -> "../../../x"', Unbrought.LINK),
        ("open /workspace/x/y: not a directory", Unbrought.KIND),
        ('cannot overwrite directory "/workspace/a" with non-directory "/"', Unbrought.KIND),
        ("archive/tar: invalid tar header", Unbrought.NO_ARCHIVE),
        ("write /workspace/x: no space left on device", None),
        # The Engine's word counts, and not what a job calls its files.
        ("write /workspace/open x: file name too long: no space left on device", None),
        ("open /workspace/no space left on device: file name too long", Unbrought.NAME_TOO_LONG),
        ("lchown /workspace/x: invalid argument", None),
        ("unexpected EOF", None),
        ("", None),
    ],
)  # fmt: skip
def test_a_tree_that_no_container_can_take_is_its_jobs_fault_and_nothing_else_is(
    text: str, why: Unbrought | None
) -> None:
    fault = untaken(500, text, "putting a job's files into container abc")
    assert isinstance(fault, Unbringable if why is not None else Passing)
    assert getattr(fault, "why", None) is why
