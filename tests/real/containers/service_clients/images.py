"""The two images that the clients' jobs need, on the image of an agent: no registry.

`job` has git, curl and bash, what the agent of Azure Pipelines takes for a node, and the
two words of GitLab's helper. `service` answers over HTTP with a variable's words, and says when it does.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

JOB, SERVICE = "base:job", "base:service"
FILES = {
    "node": "#!/bin/sh\nexec sleep 3600\n",
    "gitlab-runner-helper": """#!/bin/bash
case $1 in
  cache-init) chmod 0777 "$2" ;;
  health-check)
    for name in ${!WAIT_FOR_SERVICE_*}; do
      case $name in *_TCP_PORT) port=${!name} ;; esac
    done
    for ((tries = 0; tries < 200; tries++)); do
      (exec 3<>"/dev/tcp/$WAIT_FOR_SERVICE_TCP_ADDR/$port") 2>/dev/null && exit 0
      sleep 0.1
    done
    exit 1
    ;;
esac
""",
    "answer.py": """import http.server, os, pathlib
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(f"{os.environ['GREETING']}\\n".encode())
server = http.server.HTTPServer(("", 8080), Answer)
pathlib.Path("/tmp/ready").touch()
server.serve_forever()
""",
}
_JOB = """FROM {base}
COPY node gitlab-runner-helper /usr/local/bin/
RUN chmod 0755 /usr/local/bin/node /usr/local/bin/gitlab-runner-helper
LABEL com.azure.dev.pipelines.agent.handler.node.path=/usr/local/bin/node
ENTRYPOINT []
CMD ["bash"]
"""
_SERVICE = """FROM {base}
COPY answer.py /answer.py
EXPOSE 8080
ENTRYPOINT []
CMD ["python3", "/answer.py"]
"""


def make(base: str, around: Mapping[str, str] | None = None) -> None:
    """Both, on the Engine that the variables ``around`` name."""
    with TemporaryDirectory() as folder:
        for name, content in FILES.items():
            Path(folder, name).write_text(content)
        for tag, text in ((JOB, _JOB), (SERVICE, _SERVICE)):
            done = subprocess.run(
                ["docker", "build", "-q", "-t", tag, "-f", "-", folder],
                input=text.format(base=base),
                env={**os.environ, "DOCKER_BUILDKIT": "0", **(around or {})},
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, done.stderr
