"""What `docs/reference/job.md` says that a job finds, found by a job in the real image."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engine.private_engine import PrivateEngine
from tests.harness import Manager

pytestmark = pytest.mark.engine
PAGE = (Path(__file__).parents[2] / "docs/reference/job.md").read_text()
POOL = """
[[pool]]
name = "local"
provider = "local"
slots = 2
network = "none"
env = {{ UV_LINK_MODE = "copy" }}
[[pool.caches]]
source = "{cache}"
target = "/var/cache/packages"
env = "XDG_CACHE_HOME"
"""
LOOK = """
import json, os, shutil, sys
told = {"env": dict(os.environ), "uid": os.getuid(), "cwd": os.getcwd(), "umask": os.umask(0)}
told["programs"] = {name: shutil.which(name) is not None for name in sys.argv[1:]}
told["shm"] = os.statvfs("/dev/shm").f_blocks * os.statvfs("/dev/shm").f_frsize
places = ("/home/runner", "/tmp", "/var/tmp", "/etc", "/opt", "/")
told["writable"] = [place for place in places if os.access(place, os.W_OK)]
told["stdin"] = sys.stdin.read()
told["text"] = "ä".encode().decode(sys.getfilesystemencoding())
print(json.dumps(told))
"""


def table(name: str) -> dict[str, str]:
    """The rows of a table of the page."""
    found = re.search(rf"<!-- begin: {name} -->(.*?)<!-- end: {name} -->", PAGE, re.DOTALL)
    assert found is not None
    rows = [line.strip("|").split("|", 1) for line in found[1].strip().splitlines()[2:]]
    return {key.strip(): value.strip(" |") for key, value in rows}


@pytest.fixture(scope="module")
def manager(engine: PrivateEngine) -> Iterator[Manager]:
    with Manager(engine.url) as one:
        cache = one.home / "cache"
        cache.mkdir(mode=0o777)
        cache.chmod(0o777)
        one.configure(POOL.format(cache=cache))
        one.start()
        yield one


def test_a_job_finds_what_the_page_says(manager: Manager) -> None:
    programs = re.findall(r"`([a-z0-9+]+)`", " ".join(table("programs")))
    job = manager.submit("python3", "-c", LOOK, *programs)
    assert manager.ended(job)["state"] == "succeeded", manager.output(job)
    told = json.loads(manager.output(job))
    assert (told["uid"], told["cwd"], told["umask"]) == (1000, "/home/runner", 0o022)
    assert told["programs"] == dict.fromkeys(programs, True)
    assert (told["shm"], told["stdin"], told["text"]) == (64 << 20, "", "ä")
    assert told["writable"] == ["/home/runner", "/tmp", "/var/tmp"]
    slot = manager.job(job)["slot"]
    words = {"the slot's name": slot, "the job's id": job}
    words |= {"the pool's name": "local", "the image by name": manager.slot(slot)["image"]}
    words["the UUIDs of its GPUs; `void` without any"] = "void"
    words["where it starts"] = "/home/runner"
    said = {key.strip("`"): words.get(v, v.strip("`")) for key, v in table("variables").items()}
    beside = {"XDG_CACHE_HOME": "/var/cache/packages", "UV_LINK_MODE": "copy"}
    assert told["env"] == said | beside


def test_uv_and_pip_keep_what_they_fetch_where_the_next_job_of_the_pool_finds_it(
    manager: Manager,
) -> None:
    script = (
        "uv cache dir; python3 -m venv v; v/bin/pip cache dir; uv venv -q u && ls -d u/bin/python"
    )
    job = manager.submit("sh", "-c", script)
    assert manager.ended(job)["state"] == "succeeded", manager.output(job)
    assert manager.output(job).splitlines() == [
        "/var/cache/packages/uv",
        "/var/cache/packages/pip",
        "u/bin/python",
    ]
    assert (manager.home / "cache/uv").stat().st_uid == 1000
