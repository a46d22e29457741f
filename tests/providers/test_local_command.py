"""The command line of a job that runs in an image of its own, as a container beside its agent."""

from __future__ import annotations

from mayfly.core.model import Cache, Dataset, PoolName, PoolSpec
from mayfly.providers.local.contained_job import in_container

POOL = PoolSpec(
    PoolName("box"),
    containers=True,
    env={"TZ": "UTC"},
    datasets=(Dataset("/srv/imagenet", "/datasets/imagenet", "IMAGENET"),),
    caches=(Cache("/srv/cache", "/cache"),),
)


def test_it_has_the_pool_s_mounts_and_variables_the_slot_s_gpus_and_its_own_words() -> None:
    words = in_container(
        POOL, "lab/torch:2", ("train", "--seed", "a b"), {"TZ": "CET"}, gpus=True, stdin=False
    )
    assert words[:2] == ("/bin/sh", "-c")
    assert words[3] == "/workspace"
    assert words[4:6] == ("docker", "run")
    at = words.index("lab/torch:2")
    assert words[at + 1 :] == ("train", "--seed", "a b")
    options = words[6:at]
    assert _given(options, "--volume") == [
        "/workspace:/workspace",
        "/datasets/imagenet:/datasets/imagenet",
        "/cache:/cache",
    ]
    assert _given(options, "--env") == ["TZ=CET", "IMAGENET=/datasets/imagenet"]
    assert _given(options, "--workdir") == ["/workspace"]
    assert _given(options, "--gpus") == ["all"]
    assert "--interactive" not in options
    assert "--tty" not in options  # its two outputs stay apart


def test_without_gpus_none_are_asked_for_and_input_is_passed_on_where_there_is_any() -> None:
    words = in_container(POOL, "busybox", ("cat",), {}, gpus=False, stdin=True)
    options = words[: words.index("busybox")]
    assert "--gpus" not in options
    assert "--interactive" in options


def _given(options: tuple[str, ...], name: str) -> list[str]:
    return [options[at + 1] for at, word in enumerate(options) if word == name]
