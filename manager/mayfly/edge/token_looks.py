"""How the tokens of services look, in one list: refused where they have no place, masked where they are told.

A token that looks like nothing in particular is not known here: what is never to be told is a ``Secret``.
"""

from __future__ import annotations

import re

MASK = "****"

KINDS = (
    r"gh[opsur]_\w{8,}(?:\.[\w-]+)*",  # GitHub
    r"github_pat_\w+",
    r"gl(?:pat|oas|dt|rtr?|cbt|ptt|ft|imt|agent|wt|soat|ffct)-[\w.-]{10,}",  # GitLab
    r"GR1348941[\w-]{20,}",  # its registration tokens
    r"[A-Za-z0-9]{76}AZDO[A-Za-z0-9]{4}",  # Azure DevOps
    r"eyJ[\w-]{6,}(?:\.[\w-]+)+",  # JSON Web Tokens
    r"(?<![\w~.-])[\w~.-]{3}[0-9]Q~[\w~.-]{31,34}(?![\w~.-])",  # Entra, of a service principal
    r"AKIA[A-Z0-9]{16}",  # AWS
    r"hf_[A-Za-z0-9]{20,}",  # Hugging Face
    r"xox[abprs]-[\w-]+",  # Slack
    r"-----BEGIN [A-Z ]*PRIVATE KEY(?:-----[^-]*(?:-----END [A-Z ]*PRIVATE KEY-----)?)?",
)
_KINDS = re.compile("|".join(KINDS))
_SAID = re.compile(
    r"""((?:token|secret|passw(?:or)?d|api_?key)=)[^&\s"'\\]+|(://)[^/@\s"'\\]+(?=@)""",
    re.IGNORECASE,
)
# In words from outside: what is as long as a token, and two forms that registration tokens have or had.
_LONG = re.compile(
    r"[A-Za-z0-9+/=_-]{48,}"
    r"|\b(?=[A-Z]*[0-9])(?=[0-9]*[A-Z])[A-Z0-9]{29}\b"
    r"|(?<![\w-])(?=[\w-]*[a-z])(?=[\w-]*[A-Z])(?=[\w-]*[0-9])[\w-]{20}(?![\w-])",
    re.ASCII,
)


def looks_like_a_token(text: str) -> bool:
    """Whether there is one in the text."""
    return _KINDS.search(text) is not None


def without_tokens(text: str) -> str:
    """The text with each masked, and with what stands behind ``token=`` or before a URL's ``@``."""
    return _SAID.sub(lambda found: f"{found[1] or found[2]}{MASK}", _KINDS.sub(MASK, text))


def without_long_words(text: str) -> str:
    """The same, and without any word that may be one by its length and letters: for words from outside."""
    return _LONG.sub(MASK, without_tokens(text))
