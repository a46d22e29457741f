"""The names that Mayfly gives: slots, generations, containers, networks, registrations.

A name once given never changes its meaning; nothing here may ask what names exist.
"""

from __future__ import annotations

from mayfly.core.model import ContainerId, Generation, HostId, JobId, PoolName, SlotName
from mayfly.core.quantities import whole_number

ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyz"
GENERATION_LENGTH = 13
TIME_LENGTH = 8  # base 36 milliseconds: enough until the year 2059
HOST_ID_LENGTH = 12
FIGURES = "figures"  # the directory of all agents' figures, in that of the state
WITNESSES = "agents"  # the directory of all witnesses, in that of the state
GATEWAY = "gateway"  # the directory of all doors, in that of the state
# begins the names of what agents have made, and of what stands beside them for that
BELONGING = "mf-"
WORK = "work"
SHORT_ID = 12
REGISTERED_LENGTH = 64  # HOST-POOL-N-GENERATION at a service


def base36(number: int, width: int) -> str:
    """The number in base 36, zero-padded to ``width`` characters; too large a number keeps its low digits."""
    digits = []
    for _ in range(width):
        number, rest = divmod(number, 36)
        digits.append(ALPHABET[rest])
    return "".join(reversed(digits))


def generation(now: float, noise: int) -> Generation:
    """A generation: 8 characters of time in milliseconds, then 5 of ``noise`` (a random number)."""
    time = base36(int(now * 1000), TIME_LENGTH)
    return Generation(time + base36(noise, GENERATION_LENGTH - TIME_LENGTH))


def is_generation(name: str) -> bool:
    """Whether a generation is written so: what an image or a person writes on a container may be anything."""
    return len(name) == GENERATION_LENGTH and all(character in ALPHABET for character in name)


def born(generation: str) -> float:
    """When an agent of that generation was made, in seconds since the epoch, as its maker's clock had it."""
    return int(generation[:TIME_LENGTH], 36) / 1000


def witness_path(state_dir: str, generation: Generation) -> str:
    """The directory of an agent's witness."""
    return f"{state_dir}/{WITNESSES}/{generation}"


def job(now: float, noise: int) -> JobId:
    """A job's id: 6 characters of time in seconds, then 3 of ``noise`` (a random number)."""
    return JobId(base36(int(now), 6) + base36(noise, 3))


def place_in_group(job: str) -> int:
    """Which of its group or run the job of that id is, from 1; 0: of none."""
    return whole_number(job.rpartition("-")[2]) or 0


def host_id(noise: int) -> HostId:
    """The random id by which this installation knows its own containers and registrations."""
    return HostId(base36(noise, HOST_ID_LENGTH))


def slot(pool: PoolName, index: int) -> SlotName:
    """``POOL-N``."""
    return SlotName(f"{pool}-{index}")


def pool_of(slot: SlotName) -> PoolName:
    """Whose slot it is; a pool's name may hold hyphens, a slot's number none."""
    return PoolName(slot.rpartition("-")[0])


def standby(of: SlotName, generation: Generation) -> str:
    """The container name of an agent that does not yet bear its slot's name."""
    return f"{of}.{generation}"


def holder(of: SlotName, generation: Generation) -> str:
    """The container name of what holds a slot's network namespace."""
    return f"{of}.sandbox.{generation}"


def sandbox_of(slot: SlotName) -> str:
    """The subject of a slot's sandbox while it is being made."""
    return f"sandbox:{slot}"


def naming_of(name: str) -> str:
    """The subject that rests while a container cannot be given that name."""
    return f"name:{name}"


def throttle_of(generation: Generation) -> str:
    """The subject that rests while an agent cannot be frozen or thawed."""
    return f"throttle:{generation}"


def weight_of(generation: Generation) -> str:
    """The subject of what an agent counts for where processors are short."""
    return f"weight:{generation}"


def clocks_of(slot: SlotName) -> str:
    """The subject of the clocks of a slot's GPUs."""
    return f"clocks:{slot}"


def belongings_of(generation: Generation) -> str:
    """The subject of what an agent has made."""
    return f"belongings:{generation}"


def belonging(generation: Generation) -> str:
    """What the names begin with of what an agent has made."""
    return f"{BELONGING}{generation}-"


def is_kept_for_belongings(name: str) -> bool:
    """Whether nothing of a person's is called so: an agent, whichever, may have made it."""
    return name.startswith(BELONGING) and is_generation(
        name.removeprefix(BELONGING).partition("-")[0]
    )


def work_volume(generation: Generation) -> str:
    """The volume in which an agent works that may have containers."""
    return f"{belonging(generation)}{WORK}"


def is_work_volume(name: str) -> bool:
    """Whether it is called as one in which some agent works."""
    return is_kept_for_belongings(name) and name.partition("-")[2].partition("-")[2] == WORK


def shared_volume(image: str, number: int) -> str:
    """The volume with one of the directories that an image (by its id) shares with agents' containers."""
    return f"{BELONGING}shared-{image.rpartition(':')[2][:SHORT_ID]}-{number}"


def enrolment_of(generation: Generation) -> str:
    """The subject that rests while an agent's service gives it no enrolment."""
    return f"enrolment:{generation}"


def registration_of(pool: PoolName, registration: str) -> str:
    """The subject of a registration, which outlives its agent."""
    return f"registration:{pool}:{registration}"


def offers_of(pool: PoolName) -> str:
    """The subject of what a service offers to a pool."""
    return f"offers:{pool}"


def shown(container: ContainerId) -> str:
    """What a person types of it: the name that stands before an @, or the beginning of a long number."""
    name, named, _ = container.partition("@")
    return name if named else container[:SHORT_ID]


def network(host: HostId, pool: PoolName) -> str:
    """The name of the network that the agents of one pool share."""
    return f"mayfly-{host}-{pool}"


def registered(host: str, of: SlotName, generation: Generation | None = None) -> str:
    """The name at a service: ``HOST-POOL-N``, or ``HOST-POOL-N-GENERATION``."""
    parts = [host, of] if generation is None else [host, of, generation]
    return "-".join(parts)


def slot_registered(name: str, host: str, pool: PoolName) -> SlotName | None:
    """The slot whose agent has that name at a service; ``None``: it is none of that pool on that host.

    A service may spell a name in another case than it was given.
    """
    ours = f"{host}-{pool}-"
    if name[: len(ours)].lower() != ours.lower():
        return None
    number, _, born = name[len(ours) :].partition("-")
    index = whole_number(number)
    if index is None or (born and not is_generation(born)):
        return None
    return slot(pool, index)
