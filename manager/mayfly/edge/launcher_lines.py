"""What a launcher prints of itself before there is a job (agents/launch.sh), in one grammar for all."""

from __future__ import annotations

import re

# The agent's generation, as whom its job runs (UID:GID), and what its account comes with, where it has a key.
# With its end: what has come of a line so far may be half of a number.
OPENED = re.compile(
    rb"mayfly: opened ([0-9a-z]{13}) ([0-9]{1,10}:[0-9]{1,10})(?: ([0-9a-f-]{36}))?\r?\n"
)
