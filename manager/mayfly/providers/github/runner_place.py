"""Where GitHub's runner is in its image, and where it keeps what a job container is given.

A job container gets the work folder as `/__w` and what the runner brings along (Node for actions) as `/__e`.
"""

from __future__ import annotations

from typing import Final

RUNNER: Final = "/opt/actions-runner"  # as in dockerfiles/Dockerfile and agents/github
WORK: Final = "_work"  # by its name in there, as the service hands it back
EXTERNALS: Final = "externals"
