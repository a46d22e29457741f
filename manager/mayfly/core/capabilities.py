"""What an engine can do.

What it cannot do the rules leave out, or refuse in a sentence; they never ask which engine it is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What an engine can do."""

    standby: bool = True  # a container may wait started at its gate while another works in its slot
    renames: bool = True  # a started container may be given another name
    removes_itself: bool = True  # an ended container may be removed by the engine
    outlives_restart: bool = True  # containers go on while the engine is restarted
    picks_gpu: bool = True  # the manager says which GPU a container gets
    # by what GPUs that the engine picks are claimed for a slot and all its agents; "": each agent gets others
    claims: str = ""
    networks: bool = True  # each pool may have a network of its own
    freezes: bool = True  # all processes of a container may be stopped where they are, and go on
    # what a running container counts for where processors are short may be changed
    weighs: bool = True
    sandbox: bool = True  # a network namespace can be kept for a slot, and looked into
    unkept: str = ""  # why none can; "": nobody said
    on_this_host: bool = True  # its containers see this host's directories, processes and GPUs
    keeps_files: bool = True  # the files of a container that has ended can be had
    starts_again: bool = True  # a container that has ended may be started once more, as it was left
    # agents may have containers of their own, by a gateway that stands before it
    gateway: bool = True
    # seconds within which it has a container at its gate, where its image may have to be fetched first; None:
    # as for every engine
    preparing: float | None = None
    no_gateway: str = ""  # why they may not; "": nobody said

    def without_sandbox(self, why: str) -> Capabilities:
        """These, where no network namespace can be kept for a slot."""
        return replace(self, sandbox=False, unkept=why)


EVERYTHING = Capabilities()
