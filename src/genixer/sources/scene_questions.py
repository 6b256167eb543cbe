"""What can be asked about a scene in plain English, and what is true of it.

One table serves asking and checking.

Every form is a pattern with `{a}`, `{b}` for names. The asker fills it; the checker
(`genixer.sources.scene_truth`) matches a generated question against the same table, so that truth
is exact and not a model's opinion.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from genixer.sources.scene_art import BACKGROUNDS, CAST, plural
from genixer.sources.scenes import Scene, Thing

__all__ = ["FORMS", "Asked", "answer_to", "ask_all", "expressions", "matches_name", "names_in"]

FORMS: dict[str, tuple[str, ...]] = {
    "count": (
        "How many {as} are there?",
        "How many {as} do you see?",
        "What is the number of {as}?",
    ),
    "total": ("How many objects are there?", "How many things do you see in total?"),
    "color": ("What color is the {a}?", "Which color does the {a} have?"),
    "side": (
        "Is the {a} to the left or right of the {b}?",
        "On which side of the {b} is the {a}, left or right?",
    ),
    "height": (
        "Is the {a} above or below the {b}?",
        "Compared with the {b}, is the {a} above or below?",
    ),
    "background": ("What is in the background?", "What is behind the objects?"),
    "existence": (
        "Is there a {a} in the image?",
        "Can you see a {a}?",
        "Does the image show a {a}?",
    ),
}
MARGIN = 0.12
"""Centres closer than this share of 256 px are neither left nor right, above nor below.

Nobody is asked.
"""


class Asked(NamedTuple):
    """A question with its true answer.

    `kind` is a key of `FORMS`; `wrong` are wrong answers of the same sort.
    """

    kind: str
    question: str
    answer: str
    wrong: tuple[str, ...]


def matches_name(name: str, thing: Thing) -> bool:
    """Whether `thing` may be called `name`: by full name, or by its kind."""
    return name in (thing.name, thing.kind)


def names_in(scene: Scene) -> Counter[str]:
    """How many things of the scene each name fits, full names and kinds alike."""
    counts: Counter[str] = Counter()
    for thing in scene.things:
        counts.update({thing.name, thing.kind})
    return counts


def _only(scene: Scene, name: str) -> Thing | None:
    """The one thing called `name`, or None where there is none or more than one."""
    found = [thing for thing in scene.things if matches_name(name, thing)]
    return found[0] if len(found) == 1 else None


def _compare(first: float, second: float, words: tuple[str, str]) -> str | None:
    if abs(first - second) < MARGIN * 256:
        return None
    return words[0] if first < second else words[1]


def answer_to(kind: str, scene: Scene, a: str = "", b: str = "") -> str | None:
    """The true answer, or None where the question has none in this scene.

    It has none when there is no such thing, or more than one.
    """
    if kind == "total":
        return str(len(scene.things))
    if kind == "background":
        return scene.background
    if kind == "count":
        return str(names_in(scene)[a])
    if kind == "existence":
        return "yes" if names_in(scene)[a] else "no"
    one = _only(scene, a)
    if kind == "color":
        return one.color or None if one else None
    other = _only(scene, b)
    if one is None or other is None or one is other:
        return None
    axis, words = (0, ("left", "right")) if kind == "side" else (1, ("above", "below"))
    return _compare(one.centre[axis], other.centre[axis], words)


def _fill(form: str, a: str = "", b: str = "") -> str:
    text = form.replace("{as}", plural(a)).replace("{a}", a).replace("{b}", b)
    return re.sub(r"\ba (?=[aeiou])", "an ", text)


def _wrong(kind: str, answer: str, scene: Scene) -> tuple[str, ...]:
    if kind in ("count", "total"):
        return tuple(str(n) for n in range(6) if str(n) != answer)
    if kind == "color":
        return tuple(c for c in sorted({art.color for art in CAST.values()} - {"", answer}))
    if kind == "background":
        return tuple(sorted(set(BACKGROUNDS) - {answer}))
    pairs = {"left": "right", "right": "left", "above": "below", "below": "above"}
    return (pairs[answer],) if answer in pairs else ({"yes": "no", "no": "yes"}[answer],)


def _asked(
    kind: str, scene: Scene, rng: random.Random, a: str = "", b: str = ""
) -> Iterator[Asked]:
    answer = answer_to(kind, scene, a, b)
    if answer is not None:
        question = _fill(rng.choice(FORMS[kind]), a, b)
        yield Asked(kind, question, answer, _wrong(kind, answer, scene))


def absent_names(scene: Scene, rng: random.Random, like: Sequence[str]) -> list[str]:
    """For each name of something there, the name of something that is not, all different.

    In place of a coloured thing comes the same kind in another colour, which is the hard case, in
    place of any other a kind that is nowhere: a name by itself then tells nothing.
    """
    here = names_in(scene)
    found: list[str] = []
    for name in like:
        colors = [art.name for art in CAST.values() if art.kind == CAST[name].kind and art.color]
        plain = [art.name for art in CAST.values() if not art.color]
        for sort in (colors, plain):
            fitting = [one for one in sort if not here[one] and one not in found]
            if fitting:
                found.append(rng.choice(fitting))
                break
    return found


def ask_all(scene: Scene, rng: random.Random) -> Iterator[Asked]:
    """Every sensible question about `scene` but whether something is there."""
    here = sorted(names_in(scene))
    for a in here:
        yield from _asked("count", scene, rng, a)
    for a in absent_names(scene, rng, [rng.choice(scene.things).name] if scene.things else []):
        yield from _asked("count", scene, rng, a)
    for a in sorted({thing.kind for thing in scene.things if thing.color}):
        yield from _asked("color", scene, rng, a)
    names = [thing.name for thing in scene.things]
    for a in names:
        for b in names:
            if a != b:
                yield from _asked("side", scene, rng, a, b)
                yield from _asked("height", scene, rng, a, b)
    yield from _asked("background", scene, rng)
    yield from _asked("total", scene, rng)


def ask_existence(scene: Scene, rng: random.Random) -> Iterator[tuple[Asked, str]]:
    """Balanced yes/no questions, each with the split it belongs to.

    To every "yes" there is a "no" about a thing of the same sort. Split "adversarial": things that
    come in colours, where the "no" asks for another colour; "random": the others.
    """
    present = sorted({thing.name for thing in scene.things})
    for name in (*present, *absent_names(scene, rng, present)):
        for asked in _asked("existence", scene, rng, name):
            yield asked, "adversarial" if CAST[name].color else "random"


def expressions(scene: Scene, thing: Thing) -> list[str]:
    """Expressions that fit `thing` and nothing else in the scene, the plainest first.

    There are none where no words tell it from its twins.

    A twin is told apart by its side when the two are clearly left and right of each other.
    """
    here = names_in(scene)
    found = [name for name in dict.fromkeys((thing.name, thing.kind)) if here[name] == 1]
    if found:
        return found
    twins = [other for other in scene.things if other.name == thing.name and other is not thing]
    if len(twins) == 1:
        side = _compare(thing.centre[0], twins[0].centre[0], ("left", "right"))
        if side:
            return [f"{side} {thing.name}"]
    return []
