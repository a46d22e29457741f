"""How a command begins that Mayfly has run inside an agent: with nothing that the agent says.

Pure. Root runs them, while a job may be at work, and the image and the pool say where programs are searched
for: perhaps in a cache, where a job leaves programs of its own. So the first word is always a program's path.
"""

from __future__ import annotations

# Of all images: some have a program in /bin alone, some in /usr/bin. (As agents/gate has it.)
SEARCHED = "/usr/sbin:/usr/bin:/sbin:/bin"


def bare(argv: tuple[str, ...]) -> tuple[str, ...]:
    """The command with a search path that no job writes to, and no other variable."""
    return ("/usr/bin/env", "-i", f"PATH={SEARCHED}", *argv)
