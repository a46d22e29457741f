"""A runtime ``nvidia`` that puts a stand-in ``nvidia-smi`` into containers, for a private Engine.

It lists the devices that ``NVIDIA_VISIBLE_DEVICES`` names, as the true one would see them, and fails or
misses some when a test says so, in containers that run already too:

    runtime = NvidiaRuntime(engine)
    runtime.blind()                 # nvidia-smi says: Failed to initialize NVML: Unknown Error
    runtime.hide(uuid)              # this GPU is not there any more
    runtime.empty()                 # containers made from now on get nothing at all
    runtime.void()                  # nor do these, and their variable says void, as where CDI found nothing

In a container ``nvidia-smi compute COMMAND…`` runs the command as one that has its GPUs to itself: it ends
with 97 where another, in whatever container, has one of them at that moment.

``NvidiaHook`` is the program that an Engine without that runtime calls for device requests.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from tests.engine.private_engine import PrivateEngine

PLACE = "/usr/local/nvidia/bin"

SMI = """#!/bin/sh
here=${0%/*}
while [ -e "$here/hang" ]; do sleep 0.1; done
if [ -e "$here/blind" ]; then
  echo 'Failed to initialize NVML: Unknown Error'
  exit 255
fi
number=0
# What the container was given, whoever asks with whichever variables.
given=${NVIDIA_VISIBLE_DEVICES:-$(tr '\\0' '\\n' </proc/1/environ | sed -n 's/^NVIDIA_VISIBLE_DEVICES=//p')}
if [ "$1" = compute ]; then
  shift
  for uuid in $(printf '%s' "$given" | tr , ' '); do
    set -- flock -n -E 97 "$here/at/$uuid" "$@"
  done
  exec "$@"
fi
for uuid in $(printf '%s' "$given" | tr , ' '); do
  if ! grep -qsx "$uuid" "$here/hidden"; then
    case $uuid in
      MIG-*)
        echo "GPU $number: Stub GPU (UUID: GPU-parent-$number)"
        echo "  MIG 1g.10gb     Device  0: (UUID: $uuid)" ;;
      *) echo "GPU $number: Stub GPU (UUID: $uuid)" ;;
    esac
  fi
  number=$((number + 1))
done
"""

# runc is called some eight times a container, and one time is of interest.
WRAPPER = """#!/bin/sh
case " $* " in
  *' create '*) exec {python} -S {creating} "$@" ;;
esac
exec runc "$@"
"""

CREATING = """
import json, os, sys
words = sys.argv[1:]
bundle, record = words[words.index("--bundle") + 1], os.path.join("{records}", words[-1])
with open(bundle + "/config.json") as file:
    spec = json.load(file)
os.makedirs(record, exist_ok=True)
with open(record + "/argv", "w") as file:
    file.write("\\n".join(words) + "\\n")
with open(record + "/config.json", "w") as file:
    json.dump(spec, file)
if os.path.exists("{tools}/void"):
    env = [pair for pair in spec["process"]["env"] if not pair.startswith("{variable}=")]
    spec["process"]["env"] = [*env, "{variable}=void"]
elif not os.path.exists("{tools}/empty"):
    spec["mounts"].append({{"destination": "{place}", "type": "bind", "source": "{tools}",
                           "options": ["rbind", "ro"]}})
with open(bundle + "/config.json", "w") as file:
    json.dump(spec, file)
os.execvp("runc", ["runc", *words])
"""

HOOK = """#!{python} -S
import json, os, sys
state = json.load(sys.stdin)
with open(state["bundle"] + "/config.json") as file:
    spec = json.load(file)
os.makedirs("{records}", exist_ok=True)
with open("{records}/" + state["id"], "w") as file:
    json.dump(spec["process"]["env"], file)
root = os.path.join(state["bundle"], spec["root"]["path"])
os.makedirs(root + "{place}", exist_ok=True)
with open(root + "{place}/nvidia-smi", "w") as file:
    file.write({smi!r})
os.chmod(file.name, 0o755)
"""


class NvidiaRuntime:
    """The runtime ``nvidia`` of one private Engine, in place of the one that only records."""

    def __init__(self, engine: PrivateEngine) -> None:
        self.tools: Path = engine.home / "nvidia-bin"
        self.tools.mkdir()
        smi = self.tools / "nvidia-smi"
        smi.write_text(SMI)
        smi.chmod(0o755)
        creating = engine.home / "nvidia-create.py"
        creating.write_text(
            CREATING.format(
                records=engine.home / "records",
                tools=self.tools,
                place=PLACE,
                variable="NVIDIA_VISIBLE_DEVICES",
            )
        )
        wrapper = engine.home / "nvidia"
        wrapper.write_text(WRAPPER.format(python=sys.executable, creating=creating))
        wrapper.chmod(0o755)

    def blind(self, on: bool = True) -> None:
        """Whether ``nvidia-smi`` fails, as where a container's devices were taken away."""
        self._mark("blind", on)

    def empty(self, on: bool = True) -> None:
        """Whether containers get nothing, as where the runtime is set up wrong."""
        self._mark("empty", on)

    def void(self, on: bool = True) -> None:
        """Whether containers get nothing and are told ``void``, as where an Engine asked CDI in vain."""
        self._mark("void", on)

    def hang(self, on: bool = True) -> None:
        """Whether ``nvidia-smi`` does not return, as on a GPU that hangs."""
        self._mark("hang", on)

    def witness(self, *uuids: str) -> None:
        """Of these devices it is seen where two compute on one at once."""
        (self.tools / "at").mkdir(exist_ok=True)
        for uuid in uuids:
            (self.tools / "at" / uuid).touch()

    def hide(self, *uuids: str) -> None:
        """These devices are not seen any more."""
        (self.tools / "hidden").write_text("".join(f"{uuid}\n" for uuid in uuids))

    def _mark(self, name: str, on: bool) -> None:
        if on:
            (self.tools / name).touch()
        else:
            (self.tools / name).unlink(missing_ok=True)


class NvidiaHook:
    """The program ``nvidia-container-runtime-hook``, for one private Engine.

    Docker looks for it when it starts, so ``restart`` the Engine after a change.
    """

    NAME = "nvidia-container-runtime-hook"

    def __init__(self, engine: PrivateEngine) -> None:
        self.program = engine.programs / self.NAME
        self._records = engine.home / "hooked"

    def install(self, *, found: bool = True) -> None:
        """Put it where the Engine finds it, or take it away."""
        if found:
            text = HOOK.format(python=sys.executable, records=self._records, place=PLACE, smi=SMI)
            self.program.write_text(text)
            self.program.chmod(0o755)
        else:
            self.program.unlink(missing_ok=True)

    def asked(self, cid: str) -> dict[str, str]:
        """The variables of a container that it was called for; KeyError where it was not."""
        record = self._records / cid
        if not record.exists():
            raise KeyError(cid)
        return dict(pair.split("=", 1) for pair in json.loads(record.read_text()))
