"""Docker Engine keeps the contract, on the worker's Engine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import chain

import pytest

from mayfly.core.agent_plan import AgentPlan
from mayfly.core.tree_manifest import TreeEntry
from mayfly.core.workspace import Owner, Unbrought
from mayfly.edge.faults import Unbringable
from mayfly.edge.tree_archive import END, TreeArchive
from mayfly.engines.docker.engine import DockerEngine
from mayfly.engines.protocol import Engine
from tests.engine.contract import CLAIMS, IMAGE, EngineContract, World
from tests.engine.private_engine import PrivateEngine
from tests.waiting import Until

pytestmark = pytest.mark.engine

CLAIMING = "image/that-claims:much"
LEADING = "image/that-leads:elsewhere"
# Programs that a job might have left in a cache, by the names of those that root runs.
LEFT = """mkdir -m 0777 /leads && cd /leads
for one in env sh bash getent tar setpriv timeout sleep mkdir chown cat id; do
  printf '#!/bin/sh\\necho %s >>/leads/ran\\n' $one >$one
done
chmod 0755 * && chown -R 1000:1000 /leads"""


class TestDocker(EngineContract):
    @pytest.fixture
    def engine(self, worker_engine: PrivateEngine) -> Engine:
        return DockerEngine(worker_engine.url)

    @pytest.fixture
    def claiming(self, worker_engine: PrivateEngine) -> str:
        made = worker_engine.docker("create", IMAGE)
        labels = [
            word
            for claim in CLAIMS.items()
            for word in ("--change", f"LABEL {claim[0]}={claim[1]}")
        ]
        worker_engine.docker("commit", *labels, made, CLAIMING)
        worker_engine.docker("rm", made)
        return CLAIMING

    @pytest.fixture
    def leading(self, worker_engine: PrivateEngine) -> str:
        """An agent image that names a folder which anybody may write wherever a program looks for a file."""
        words = ("run", "-d", "--entrypoint", "/bin/sh", IMAGE, "-ec", LEFT)
        made = worker_engine.docker(*words)
        worker_engine.docker("wait", made)
        says = ["PATH=/leads:/usr/bin:/bin", "LD_PRELOAD=/leads/none.so", "BASH_ENV=/leads/id"]
        changes = [word for one in says for word in ("--change", f"ENV {one}")]
        entrypoint = ("--change", 'ENTRYPOINT ["/opt/mayfly/gate", "local"]')
        worker_engine.docker("commit", *changes, *entrypoint, made, LEADING)
        worker_engine.docker("rm", made)
        return LEADING

    def test_nothing_of_roots_goes_by_what_an_image_says(
        self, world: World, until: Until, leading: str
    ) -> None:
        """An image that searches a cache for programs: what a job has left there runs as no other."""
        plan = replace(world.plan(), image=leading)
        container = world.started(plan, until)
        engine = world.engine
        _, entry = engine.exec_probe(container, ("getent", "passwd", "1000"), 10.0)
        assert entry.startswith(b"runner:"), entry
        code, said = engine.exec_probe(container, ("bash", "-c", "timeout 5 id -u; env"), 10.0)
        assert (code, said.split(b"\n")[0]) == (0, b"0")
        assert not any(word in said for word in (b"LD_PRELOAD", b"BASH_ENV", b"/leads")), said
        engine.exec_probe(container, ("sh", "-c", "sleep 0"), 10.0, user="1000:1000")
        assert engine.exec_probe(container, ("test", "-e", "/leads/ran"), 10.0)[0] == 1
        assert engine.exec_probe(container, ("test", "-x", "/leads/getent"), 10.0)[0] == 0

    @pytest.fixture
    def prints(self) -> Callable[[World, AgentPlan], None]:
        """Nothing: the job itself does."""
        return lambda world, plan: None

    @pytest.mark.parametrize(
        ("paths", "why"),
        [
            (["x" * 300], Unbrought.NAME_TOO_LONG),
            (["/".join(["x" * 200] * 21)], Unbrought.NAME_TOO_LONG),
            (["a", "a/b"], Unbrought.KIND),
        ],
    )
    def test_a_tree_that_no_container_can_take_is_its_jobs_fault(
        self, world: World, until: Until, paths: list[str], why: Unbrought
    ) -> None:
        container = world.started(world.plan(), until)
        archive = TreeArchive(Owner(1000, 1000), 0.0)
        entries = [TreeEntry(path, "file", 0o644, 1, "0" * 64) for path in paths]
        with pytest.raises(Unbringable) as caught:
            world.engine.put_tree(
                container, chain(archive.workspace(entries, lambda _: [b"x"]), [END])
            )
        assert caught.value.why is why
