"""githubkit's calls: `NAMESPACE.METHOD` of its REST client, with that method's arguments.

python -m tests.real.sdk.github_client API TOKEN [APP PEM]
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from githubkit import AppAuthStrategy, GitHub, TokenAuthStrategy

from tests.real.sdk.answering import serve


def main() -> None:
    """Serve, as whoever the token says, or as the App."""
    api, token, *app = sys.argv[1:]
    auth = AppAuthStrategy(app[0], Path(app[1]).read_text()) if app else TokenAuthStrategy(token)
    github = GitHub(auth, base_url=api, http_cache=False, auto_retry=False)

    def make(call: str, given: dict[str, Any]) -> Any:
        sdk = github
        if call.startswith("installed."):
            call = call.removeprefix("installed.")
            sdk = github.with_auth(github.auth.as_installation(given.pop("installation_id")))
        namespace, _, method = call.partition(".")
        reply = getattr(getattr(sdk.rest, namespace), method)(**given)
        if not reply.content or reply.status_code == 202:
            return None
        parsed = reply.parsed_data
        listed = parsed if isinstance(parsed, list) else [parsed]
        shown = [one.model_dump(mode="json", exclude_unset=True) for one in listed]
        return shown if isinstance(parsed, list) else shown[0]

    serve(make)


if __name__ == "__main__":
    main()
