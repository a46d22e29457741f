"""How contents for jobs go to the manager: one behind the other in a body, each behind its length.

Both ends use this: ``mayfly submit`` writes it, the control socket reads it.
"""

from __future__ import annotations

import struct

LENGTH = struct.Struct(">Q")  # before each content: its bytes
CONTENTS_MAX = 10_000  # of one body
ASKED_MAX = 10_000  # digests of one question which are lacking
