"""That an address of the page has no answer, and why."""

from __future__ import annotations


class NoAnswer(Exception):
    """The manager does not answer that; with the status and the sentence that it gives."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status
