"""Jobs that build images in a container of the pool's builder: by the page's lines, and by a refusal's.

The builder is Debian's buildah, the registry Debian's, both as they are; what the builder's containers may do
beside others is tried from within one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.engine import command
from tests.harness import until
from tests.providers.github_pool import BRIDGE
from tests.real.containers.images import PAGE, builder_image
from tests.real.containers.lab import CPUS, MEMORY, PIDS, Lab

pytestmark = [pytest.mark.real, pytest.mark.long, pytest.mark.engine, pytest.mark.timeout(1800)]

BUILDER = "builder:1"
# What the page's image has not: that the registry of the tests speaks plain HTTP.
PLAIN = (
    "FROM {image}\n"
    "RUN printf '[[registry]]\\nlocation = \"{registry}\"\\ninsecure = true\\n' "
    ">>/etc/containers/registries.conf\n"
)
# Two stages, files of the context, a user of its own, and what is root's; `MEMORY` says what a step may take.
DOCKERFILE = """cat >Dockerfile <<END
FROM {base} AS first
RUN mkdir /made && id -u >/made/who && ls /dev | grep -c nvidia >/made/gpus || true
RUN cd /sys/fs/cgroup && cat memory/memory.limit_in_bytes memory.max >/made/memory || true
FROM {base}
COPY --from=first /made /made
COPY brought /brought
RUN useradd -m someone && echo hers >/home/someone/file && chown someone /home/someone/file
USER someone
CMD ["sh", "-c", "id -un; cat /made/* /brought; stat -c %U /home/someone/file"]
END
echo "of the job" >brought
"""
MADE = ["someone", "0", str(MEMORY), "0", "of the job", "someone"]  # gpus, memory, who
# What root has in a namespace of its own, and what it has not.
TRIES = r"""
try() { name=$1; shift; if "$@" >/tmp/said 2>&1; then echo "had: $name"; else echo "not had: $name"; fi; }
own="unshare -Urm"
try "a root of its own" $own sh -c 'mount -t tmpfs x /mnt && chroot / true'
for one in n p i C T; do try "namespace $one" unshare -Urm$one true; done
try "namespace n, as root" unshare -n true
try "proc" $own mount -t proc proc /mnt
for fs in sysfs cgroup2 debugfs tracefs securityfs bpf configfs devtmpfs; do
  try $fs $own mount -t $fs x /mnt
done
try "cgroup" $own mount -t cgroup -o memory x /mnt
try "what is masked" $own umount /proc/acpi
try "what is guarded" $own sh -c 'mount -o remount,rw,bind /proc/sys && echo x >/proc/sys/kernel/core_pattern'
try "a dataset" $own sh -c 'mount -o remount,rw,bind /clients; touch /clients/made'
try "a device" $own mknod /tmp/disk b 8 0
try "the namespace of another" $own nsenter -t 1 -m true
"""


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """One whose pools have a builder, and whose registry jobs reach."""
    with Lab({"gpu": 1, "cpu": 1}, keys=f'builder = "{BUILDER}"', registry_at=BRIDGE) as made:
        image = builder_image()
        made.engine.fetch(image)
        text = PLAIN.format(image=image, registry=made.registry.address)
        command.build(made.engine.url, BUILDER, text)
        yield made


@pytest.fixture(scope="module")
def base(lab: Lab) -> str:
    """An image that the registry has and the Engine has not: who builds fetches it."""
    return lab.only_in_the_registry("builds")


def test_what_the_page_has_one_type_builds_pushes_and_runs(lab: Lab, base: str) -> None:
    (typed,) = re.findall(r"```sh\n(docker run .*? buildah .*?)```", PAGE.read_text(), re.DOTALL)
    lines = typed.replace("registry.lab.example/builder:1", BUILDER)
    lines = lines.replace("registry.lab.example", lab.registry.address)
    assert "example" not in lines
    done = lab.well(f"{DOCKERFILE.format(base=base)}\n{{ {lines} }} >out\ntail -n 6 out")
    assert done.lines == MADE
    lab.clean()


def test_a_refusal_has_the_line_to_type(lab: Lab, base: str) -> None:
    done = lab.well(
        f"""
        {DOCKERFILE.format(base=base)}
        docker build -t mine:1 . >/dev/null 2>said || echo refused
        line=$(sed -n 's/.*builds no images for a job: type //p' said | head -n 1)
        eval "$(echo "$line" | sed "s|REGISTRY/NAME:TAG|$REGISTRY/lab/mine:2|g")" >log
        docker run --rm "$REGISTRY/lab/mine:2"
        """,
        "gpu",
    )
    assert done.lines == ["refused", *MADE]
    lab.clean()


def test_a_build_is_within_the_pools_limits_and_gone_with_its_job(lab: Lab, base: str) -> None:
    job = lab.begin(
        f"""
        printf 'FROM {base}\\nRUN sleep 1000\\n' >Dockerfile
        docker run --rm --name build -v "$PWD:/src" -w /src {BUILDER} \\
          sh -c 'echo begun && exec buildah build -t x . 2>&1' >/share/building
        """
    )

    def steps() -> bool:
        return "sleep 1000" in lab.shared("building")

    until(steps, "the step runs", 240)
    generation = lab.generation("cpu-0")
    (box,) = lab.inspected("container", *lab.belongings(generation)["containers"])
    host = box["HostConfig"]
    assert (host["Memory"], host["NanoCpus"], host["PidsLimit"]) == (MEMORY, CPUS * 1e9, PIDS)
    assert host["CgroupParent"] == lab.grant(generation)["cgroup_parent"]
    given = {name.removeprefix("CAP_") for name in host["CapAdd"]}
    assert given.isdisjoint({"SYS_ADMIN", "NET_ADMIN", "NET_RAW", "MKNOD"})
    assert not host["Privileged"]
    lab.manager.cli("cancel", job)
    lab.done(job)
    lab.clean()


def test_a_namespace_of_its_own_leads_a_hostile_job_nowhere(lab: Lab) -> None:
    done = lab.well(
        f"""
        cat >tries.sh <<'END'
{TRIES}
END
        docker run --rm -v "$PWD:/src" -v /clients:/clients {BUILDER} bash /src/tries.sh
        docker run --rm "$IMAGE" unshare -Ur true 2>/dev/null || echo "not in another image"
        docker run --rm --security-opt seccomp=unconfined {BUILDER} true 2>/dev/null || echo "not unconfined"
        """
    )
    had = [line for line in done.lines if line.startswith("had")]
    assert had == ["had: a root of its own"], done.out
    assert done.out.count("not had: ") == 21
    assert done.lines[-2:] == ["not in another image", "not unconfined"]
    lab.clean()
