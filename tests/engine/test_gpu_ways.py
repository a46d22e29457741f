"""How GPUs get into containers on an Engine without the runtime ``nvidia``: device requests, and CDI.

Device requests are served by the stand-in hook on any Engine. CDI needs one of 28.2 or newer, which
MAYFLY_TEST_ENGINE may name (see ``private_engine``); its stand-in is a specification with devices by UUID.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engine.gpu_manager import GpuManager
from tests.engine.private_engine import PrivateEngine, version, why_not
from tests.fakes.nvidia_runtime import PLACE, NvidiaHook
from tests.fakes.nvml import Hardware, uuid
from tests.harness import until

pytestmark = pytest.mark.engine

CPU = '[[pool]]\nname = "cpu"\nslots = 1\nnetwork = "none"\n'
CDI_SINCE = (28, 2, 0)


def pool(more: str = "") -> str:
    keys = 'slots = 2\ngpus = 1\nnetwork = "none"\nimage = "mayfly/local:cpu"'
    return f'[[pool]]\nname = "gpu"\n{keys}\n{more}\n{CPU}'


@pytest.fixture(scope="module")
def engine() -> Iterator[PrivateEngine]:
    if (why := why_not()) is not None:
        pytest.skip(why)
    with PrivateEngine(nvidia=False) as made:
        yield made


@pytest.fixture
def hook(engine: PrivateEngine) -> NvidiaHook:
    return NvidiaHook(engine)


@pytest.fixture
def hardware() -> Iterator[Hardware]:
    with Hardware(gpus=2) as made:
        yield made


@pytest.fixture
def meet(tmp_path: Path) -> str:
    """A pool's cache in which two jobs wait for each other."""
    place = tmp_path / "meet"
    place.mkdir()
    place.chmod(0o777)
    return f'[[pool.caches]]\nsource = "{place}"\ntarget = "/meet"\n'


def each_sees_its_own(manager: GpuManager) -> dict[str, str]:
    """Two jobs at once, each on a GPU of its own; slot -> container."""
    wait = "touch /meet/$(hostname); until [ $(ls /meet | wc -l) = 2 ]; do sleep 0.02; done"
    jobs = [manager.on_gpu("sh", "-c", f"{wait}; {PLACE}/nvidia-smi -L") for _ in range(2)]
    ended = {row["slot"]: row for row in (manager.ended(job) for job in jobs)}
    assert set(ended) == {"gpu-0", "gpu-1"}
    for number in range(2):
        row = ended[f"gpu-{number}"]
        assert row["exit_code"] == 0
        assert f"(UUID: {uuid(number)})" in manager.output(row["job"])
        assert uuid(1 - number) not in manager.output(row["job"])
    lives = manager.json("history")["agents"]
    return {life["slot"]: life["container"] for life in lives if life["job"] in jobs}


def injection(manager: GpuManager) -> str:
    """What the doctor says of the way in."""
    checks = {row["code"]: row for row in manager.json("doctor")["checks"]}
    return f"{checks['gpu.injection']['state']}: {checks['gpu.injection']['text']}"


def test_where_the_host_has_the_hook_the_engine_itself_is_asked_for_the_gpus(
    engine: PrivateEngine, hook: NvidiaHook, hardware: Hardware, meet: str
) -> None:
    hook.install()
    engine.restart()
    with GpuManager(engine.url, hardware, pool(meet), path=engine.programs) as manager:
        assert injection(manager) == "ok: pool gpu: GPUs get into containers by request"
        manager.start()
        for slot, cid in each_sees_its_own(manager).items():
            asked = hook.asked(cid)
            assert asked["NVIDIA_VISIBLE_DEVICES"] == uuid(int(slot[-1]))
            assert set(asked["NVIDIA_DRIVER_CAPABILITIES"].split(",")) == {"compute", "utility"}


def test_a_request_that_the_engine_cannot_serve_is_one_sentence_and_others_run(
    engine: PrivateEngine, hook: NvidiaHook, hardware: Hardware
) -> None:
    hook.install(found=False)
    engine.restart()
    hook.install()  # on the host now; an Engine looks for it when it starts
    with GpuManager(engine.url, hardware, pool(), path=engine.programs) as manager:
        manager.start(wait="answer")
        note = manager.in_phase("held", "gpu-0")["note"]
        assert 'could not select device driver "" with capabilities: [[gpu' in note
        assert "install the NVIDIA Container Toolkit, restart the Engine" in note
        assert "\n" not in note
        assert manager.ended(manager.submit("true", options=["--pool", "cpu"]))["exit_code"] == 0
        until(lambda: not [n for n in manager.containers() if "gpu" in n], "nothing of it is left")
        engine.restart()
        assert manager.cli("retry", "gpu-0", "gpu-1").returncode == 0
        manager.in_phase("idle", "gpu-0")
        manager.in_phase("idle", "gpu-1")


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ("", "the Engine has no runtime nvidia: install nvidia-container-toolkit"),
        ('injection = "runtime"', "the Engine has no runtime nvidia"),
        ('injection = "cdi"', "the Engine lists no CDI device"),
    ],
    ids=["auto", "runtime", "cdi"],
)
def test_without_any_way_in_the_pool_is_held_with_what_to_install(
    engine: PrivateEngine, hook: NvidiaHook, hardware: Hardware, more: str, says: str
) -> None:
    hook.install(found=False)
    with GpuManager(engine.url, hardware, pool(more)) as manager:
        manager.start(wait="answer")
        assert says in manager.in_phase("held", "gpu-0")["note"]
        assert injection(manager).startswith(f"fail: pool gpu: {says}")
        assert manager.ended(manager.submit("true", options=["--pool", "cpu"]))["exit_code"] == 0


# Each device puts in a file of its name, which this lists; the variable is void, as in NVIDIA's own.
LIST = f"""#!/bin/sh
number=0
for file in {PLACE}/GPU-*; do
  [ -e "$file" ] || exit 9
  echo "GPU $number: Stub GPU (UUID: ${{file##*/}})"
  number=$((number + 1))
done
"""


def specification(tools: Path) -> dict[str, object]:
    """A CDI specification with both GPUs by UUID."""
    (tools / "nvidia-smi").write_text(LIST)
    (tools / "nvidia-smi").chmod(0o755)

    def mount(name: str) -> dict[str, object]:
        (tools / name).touch()
        options = ["ro", "bind"]
        return {
            "hostPath": str(tools / name),
            "containerPath": f"{PLACE}/{name}",
            "options": options,
        }

    names = [uuid(number) for number in range(2)]
    return {
        "cdiVersion": "0.5.0",
        "kind": "nvidia.com/gpu",
        "devices": [{"name": n, "containerEdits": {"mounts": [mount(n)]}} for n in names],
        "containerEdits": {
            "env": ["NVIDIA_VISIBLE_DEVICES=void"],
            "mounts": [mount("nvidia-smi")],
        },
    }


@pytest.mark.skipif(
    why_not() is None and version() < CDI_SINCE,
    reason="an Engine lists CDI devices since 28.2: MAYFLY_TEST_ENGINE may name the programs of one",
)
def test_an_engine_that_lists_cdi_devices_is_asked_for_them_and_void_inside_is_no_fault(
    hardware: Hardware, meet: str, tmp_path: Path
) -> None:
    specs, tools = tmp_path / "cdi", tmp_path / "tools"
    specs.mkdir()
    tools.mkdir()
    (specs / "nvidia.json").write_text(json.dumps(specification(tools)))
    hardware.gpus = 3  # one more than when the specification was made
    hardware.write()
    with (
        PrivateEngine(nvidia=False, settings={"cdi-spec-dirs": [str(specs)]}) as engine,
        GpuManager(engine.url, hardware, pool(meet)) as manager,
    ):
        assert injection(manager) == "ok: pool gpu: GPUs get into containers by cdi"
        manager.start()
        each_sees_its_own(manager)
        inside = manager.on_gpu("printenv", "NVIDIA_VISIBLE_DEVICES")
        assert (manager.ended(inside)["exit_code"], manager.output(inside)) == (0, "void\n")
        manager.configure(pool(meet).replace("slots = 2", "slots = 3"))
        manager.cli("reload")
        note = manager.in_phase("held", "gpu-2")["note"]
        assert f"CDI devices do not have {uuid(2)}: the specification is stale" in note
