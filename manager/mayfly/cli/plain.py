"""Text of jobs and people made safe for a terminal: by another name it is ``core/plain_text.py``."""

from mayfly.core.plain_text import Cleaner, clean, safe

__all__ = ["Cleaner", "clean", "safe"]
