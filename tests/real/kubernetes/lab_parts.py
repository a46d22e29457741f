"""What a cluster of the tests is made of, which `scripts/kubernetes` builds and says where it is."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
UNAVAILABLE = 75  # what the script ends with where a registry does not give the parts


@dataclass(frozen=True)
class LabParts:
    """The folder that `scripts/kubernetes` prints."""

    place: Path

    @property
    def kubelab(self) -> Path:
        """The program that has every part of Kubernetes in it."""
        return self.place / "kubelab"

    @property
    def pause(self) -> Path:
        """What holds a pod's namespaces."""
        return self.place / "pause"

    @property
    def cni(self) -> Path:
        """The plugins that give a pod its network."""
        return self.place / "cni"

    @property
    def programs(self) -> Path:
        """containerd, its shim, ctr and runc."""
        return self.place / "programs"


def why_not() -> str | None:
    """Why no cluster can be started here, in a sentence; None: it can."""
    if os.geteuid() != 0:
        return "a cluster of the tests needs root"
    for program in ("unshare", "nsenter", "ip", "mount", "docker"):
        if shutil.which(program) is None:
            return f"a cluster of the tests needs {program}"
    return None


def lab_parts() -> LabParts:
    """The parts, built where they are not there; skips the test where they cannot be had."""
    if (why := why_not()) is not None:
        pytest.skip(why)
    found = built()
    if found is None:
        pytest.skip("no registry gave the parts of a Kubernetes, or they were not built in time")
    return found


def built() -> LabParts | None:
    """The same; ``None`` where no registry gives them, or their build takes too long, or where (REAL=there)
    nothing is to be built.
    """
    there = ["--there"] if os.environ.get("REAL") == "there" else []
    words = [str(ROOT / "scripts/kubernetes"), *there]
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode == UNAVAILABLE:
        return None
    assert done.returncode == 0, "scripts/kubernetes: the reason is above"
    return LabParts(Path(done.stdout.strip()))
