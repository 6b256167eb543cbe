"""The two-level instruction: a general line, and in specific mode a line that names the task.

Lines live in `templates/*.txt`, one each; a line that starts with `#` is a comment.
"""

from __future__ import annotations

import random
from functools import cache
from importlib.resources import files

from genixer.data import Mode

__all__ = ["ask", "lines"]


@cache
def lines(name: str) -> tuple[str, ...]:
    """Lines of the template file called `name`.

    >>> "{box}" in lines("reg_questions")[0]
    True
    """
    text = (files("genixer.tasks") / "templates" / f"{name}.txt").read_text(encoding="utf-8")
    return tuple(line for line in text.splitlines() if line and not line.startswith("#"))


def ask(task: str, rng: random.Random, mode: Mode) -> str:
    """Instruction drawn with `rng`: a general line, then the task's own in mode `specific`.

    >>> len(ask("rec", random.Random(7), "specific").splitlines())
    2
    """
    general = rng.choice(lines("general"))
    return general if mode == "agnostic" else f"{general}\n{rng.choice(lines(task))}"
