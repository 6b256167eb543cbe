"""What is true of a generated sample, by the exact record of its scene.

The checker reads question and answer with the same forms the embedded world asks in
(`scene_questions.FORMS`). A question it cannot read is `unknown`, never guessed.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Literal

import msgspec

from genixer.data import Box, Sample, Turn, split_marks
from genixer.sources.scene_art import CAST, KINDS, plural
from genixer.sources.scene_questions import FORMS, answer_to
from genixer.sources.scenes import Scene, Thing
from genixer.tasks.shape import place_count

__all__ = ["Truth", "check"]

_NAMES = tuple(dict.fromkeys((*CAST, *KINDS)))
_SINGULAR = {plural(name): name for name in _NAMES}
_OPTION = re.compile(r"^([A-Z])\. (.*)$")
_LETTER = re.compile(r"^\(?([A-Z])\b")
RIGHT_IOU = 0.5


class Truth(msgspec.Struct, frozen=True):
    """Verdict on a sample.

    `kind` is what was asked (a key of `FORMS`, `rec` or `reg`), `true_turns` the sample set right.

    `true_turns` is empty where the truth has no answer to give (no such thing, or several).
    """

    verdict: Literal["right", "wrong", "unknown"]
    kind: str = ""
    detail: str = ""
    true_turns: tuple[Turn, ...] = ()


@lru_cache(maxsize=1)
def _patterns() -> list[tuple[str, re.Pattern[str]]]:
    names = "|".join(sorted(map(re.escape, _NAMES), key=len, reverse=True))
    plurals = "|".join(sorted(map(re.escape, _SINGULAR), key=len, reverse=True))
    found = []
    for kind, forms in FORMS.items():
        for form in forms:
            text = re.escape(form).replace(r"\ ", " ").replace(r"\{as\}", f"(?P<as>{plurals})")
            text = text.replace(r"a \{a\}", rf"an? (?P<a>{names})").replace(
                r"\{a\}", f"(?P<a>{names})"
            )
            text = text.replace(r"\{b\}", f"(?P<b>{names})")
            found.append((kind, re.compile(text + "$")))
    return found


def _read(question: str) -> tuple[str, str, str] | None:
    """(kind, a, b) of a question in one of the forms."""
    for kind, pattern in _patterns():
        match = pattern.match(question)
        if match:
            groups = match.groupdict()
            a = groups.get("a") or _SINGULAR.get(groups.get("as") or "", "")
            return kind, a, groups.get("b") or ""
    return None


def check(sample: Sample, scene: Scene) -> Truth:
    """Verdict on `sample` about the picture of `scene`.

    A dialogue is right when all its turns are. A REC answer is right above IoU 0.5 with the one
    thing meant; a REG answer when it names the thing whose box was asked about.
    """
    pairs = list(zip(sample.turns[::2], sample.turns[1::2], strict=False))
    if not pairs:
        return Truth("unknown", detail="no question")
    checkers = {"rec": _check_rec, "reg": _check_reg, "mc_vqa": _check_choice}
    checker = checkers.get(sample.task, _check_answer)
    truths = [checker(question, answer, scene) for question, answer in pairs]
    for verdict in ("wrong", "unknown"):
        worst = next((one for one in truths if one.verdict == verdict), None)
        if worst is not None:
            break
    else:
        worst = truths[0]
    true_turns = tuple(turn for one in truths for turn in one.true_turns)
    whole = true_turns if all(one.true_turns for one in truths) else ()
    return Truth(worst.verdict, worst.kind, worst.detail, whole)


def _judge(
    kind: str, question: Turn, answer: Turn, said: str, true: str | None, right: str
) -> Truth:
    """Verdict of a text answer.

    `said` is its gist, `right` the full text that a true answer would have.
    """
    if true is None:
        return Truth("wrong", kind, "the question has no answer in this picture")
    turns = (question, Turn("assistant", right))
    if said == true:
        return Truth("right", kind, true_turns=turns)
    return Truth("wrong", kind, f"said {said!r}, is {true!r}", turns)


def _check_answer(question: Turn, answer: Turn, scene: Scene) -> Truth:
    if place_count(question) or place_count(answer):
        # The words alone may well be true, and said of the wrong place.
        return Truth("unknown", detail="words and places together")
    read = _read(question.text)
    if read is None:
        return Truth("unknown", detail="not a form of the embedded world")
    kind, a, b = read
    true = answer_to(kind, scene, a, b)
    said = _gist(answer.text, kind)
    right = answer.text.replace(said, true, 1) if true is not None and said else (true or "")
    return _judge(kind, question, answer, said, true, right)


def _gist(text: str, kind: str) -> str:
    """The word that answers, out of a short sentence: "It is on the left." says "left"."""
    words = re.findall(r"[a-z]+|\d+", text.lower())
    if kind in ("count", "total"):
        numbers = [word for word in words if word.isdigit()]
        return numbers[0] if len(numbers) == 1 else text
    return words[-1] if words else text


def _check_choice(question: Turn, answer: Turn, scene: Scene) -> Truth:
    lines = question.text.split("\n")
    options = {m[1]: m[2] for line in lines[1:] if (m := _OPTION.match(line))}
    letter = _LETTER.match(answer.text.strip())
    if not options or letter is None or letter[1] not in options:
        return Truth("unknown", "choice", "no options or no letter")
    said = options[letter[1]]
    if lines[0] == "Which of these is in the image?":
        kind, true = "choice", _one_present(options, scene)
    else:
        read = _read(lines[0])
        if read is None:
            return Truth("unknown", detail="not a form of the embedded world")
        kind, true = read[0], answer_to(read[0], scene, read[1], read[2])
    right = next((key for key, text in options.items() if text == true), None)
    return _judge(kind, question, answer, said, true if right else None, right or "")


def _one_present(options: dict[str, str], scene: Scene) -> str | None:
    """The one option that names something in the scene; None where none or several do."""
    present = [text for text in options.values() if _named(text, scene)]
    return present[0] if len(present) == 1 else None


def _named(expression: str, scene: Scene) -> list[Thing]:
    """Things an expression means.

    It names them by name or kind, a leading "left" or "right" choosing among twins.
    """
    side, _, rest = expression.partition(" ")
    if side in ("left", "right") and rest:
        twins = sorted(_named(rest, scene), key=lambda thing: thing.centre[0])
        return twins[:1] if side == "left" else twins[-1:]
    return [thing for thing in scene.things if expression in (thing.name, thing.kind)]


def _unit(thing: Thing, scene: Scene) -> Box:
    x0, y0, x1, y1 = thing.box
    return Box(x0 / scene.width, y0 / scene.height, x1 / scene.width, y1 / scene.height)


@lru_cache(maxsize=1)
def _expression() -> re.Pattern[str]:
    names = "|".join(sorted(map(re.escape, _NAMES), key=len, reverse=True))
    return re.compile(rf"\b(?:(?:left|right) )?(?:{names})\b")


def _check_rec(question: Turn, answer: Turn, scene: Scene) -> Truth:
    meant = _expression().findall(question.text)
    if len(set(meant)) != 1 or len(answer.boxes) != 1:
        return Truth("unknown", "rec", "not one expression and one box")
    things = _named(meant[0], scene)
    if len(things) != 1:
        return Truth("wrong", "rec", f"{len(things)} things are called {meant[0]!r}")
    box = _unit(things[0], scene)
    iou = box.iou(answer.boxes[0])
    turns = (question, Turn("assistant", answer.text, (box,)))
    return Truth("right" if iou > RIGHT_IOU else "wrong", "rec", f"IoU {iou:.2f}", turns)


def _check_reg(question: Turn, answer: Turn, scene: Scene) -> Truth:
    if len(question.boxes) != 1:
        return Truth("unknown", "reg", "not one box")
    best = max(
        scene.things, key=lambda thing: _unit(thing, scene).iou(question.boxes[0]), default=None
    )
    if best is None or _unit(best, scene).iou(question.boxes[0]) <= RIGHT_IOU:
        return Truth("wrong", "reg", "the box holds nothing")
    said = split_marks(answer.text)[0][0].strip(" .").lower()
    turns = (question, Turn("assistant", answer.text.replace(said, best.name, 1)))
    fits = any(thing is best for thing in _named(said, scene))
    return Truth("right" if fits else "wrong", "reg", f"said {said!r}, is {best.name!r}", turns)
