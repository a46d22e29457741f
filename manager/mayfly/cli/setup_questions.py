"""How ``mayfly init`` asks: options first; then, on a terminal, what a person types; then what is sensible.

A person who answers wrongly is told why and asked again; a wrong option is ``Usage``.
"""

from __future__ import annotations

import sys
import termios
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from mayfly.cli.setup_flow import Question
from mayfly.cli.setup_secret import pasted_key
from mayfly.cli.talk import say
from mayfly.cli.trouble import Trouble, Usage
from mayfly.core.plain_text import clean
from mayfly.providers.setting_up import Offer

KEY_ENDS = "-----END "
KEY_LINES = 300  # of a key that is pasted, at the most
GONE = "nobody answers any more: nothing is written"


class Questions:
    """Asks on standard error and reads standard input; ``asking``: there is somebody."""

    def __init__(self, asking: bool) -> None:
        self.asking = asking

    def ask(self, question: Question, wrong: Callable[[str], str | None]) -> str:
        """An answer that is not ``wrong``; ``Usage`` where nobody can be asked and there is no default."""
        if not self.asking:
            return _unasked(question, wrong)
        shown = f" [{question.default}]" if question.default is not None else ""
        for number, offer in enumerate(question.offers, 1):
            print(f"  {number:2}  {offer.shown}", file=sys.stderr)
        while True:
            if question.unseen:
                answer = self.secret(f"{question.text}{shown}")
            else:
                answer = self._line(f"{question.text}{shown}: ")
            answer = answer or (question.default or "")
            why = wrong(answer) if answer else "an answer is needed"
            if why is None:
                if question.unseen and not pasted_key(answer):
                    say(clean(answer))
                return answer
            say(why)

    def secret(self, text: str) -> str:
        """What is typed or pasted without being shown; "" where it is left empty."""
        with _unseen():
            answer = self._line(f"{text} (not shown): ")
        print(file=sys.stderr)
        return answer

    def yes(self, question: str, *, otherwise: bool) -> bool:
        """Whether a person agrees; ``otherwise`` where nobody can be asked, and what Enter means."""
        if not self.asking:
            return otherwise
        while True:
            answer = self._line(f"{question} [{'Y/n' if otherwise else 'y/N'}]: ").lower()
            if answer in ("", "y", "yes", "n", "no"):
                return otherwise if not answer else answer.startswith("y")
            say("y or n")

    def _line(self, prompt: str) -> str:
        """One line; of a private key that is pasted all of them, or each would answer a question."""
        print(prompt, end="", file=sys.stderr, flush=True)
        lines = [self._read()]
        if not pasted_key(lines[0]):
            return lines[0]
        with _unseen():
            while not lines[-1].startswith(KEY_ENDS) and len(lines) < KEY_LINES:
                lines.append(self._read())
        return "\n".join(lines)

    def _read(self) -> str:
        line = sys.stdin.readline()
        if not line:
            raise Trouble(GONE)
        return line.strip()


def _unasked(question: Question, wrong: Callable[[str], str | None]) -> str:
    if question.default is None:
        there = ", ".join(map(_typed, question.offers))
        option = question.option or f"--{question.key}"
        raise Usage(
            f"{question.text}? Say it by {option}" + (f"; there are: {there}" if there else "")
        )
    if (why := wrong(question.default)) is not None:
        raise Usage(why)
    return question.default


def _typed(offer: Offer) -> str:
    """An offer, and what an option says in its place where that is something else."""
    values = [value for value in offer.keys.values() if value != offer.shown]
    return f"{offer.shown} ({', '.join(values)})" if values else offer.shown


@contextmanager
def _unseen() -> Iterator[None]:
    """The terminal shows nothing of what is typed; as it was, whatever happens."""
    if not sys.stdin.isatty():
        yield
        return
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    silent = [*before]
    silent[3] = int(silent[3]) & ~termios.ECHO
    termios.tcsetattr(descriptor, termios.TCSADRAIN, silent)
    try:
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
