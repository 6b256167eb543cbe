"""Regions as turns: boxes and points in pixels, expressions asked for or given, phrases' boxes."""

from __future__ import annotations

from collections.abc import Sequence

from genixer.data import Box, ImageRef, Point, Turn, random_for
from genixer.errors import FrameError
from genixer.frames import point_from_frame
from genixer.store.entries import EntryError
from genixer.tasks.instructions import lines

__all__ = [
    "caption_turns",
    "centre",
    "check_size",
    "choice_turns",
    "corner_box",
    "grouped",
    "pixel_point",
    "region_turns",
    "wide_box",
]


def check_size(picture: ImageRef, width: int | None, height: int | None) -> None:
    """Raises `EntryError` (`image_size_differs`) for a file that is not the image annotated.

    A size that the dataset does not tell is not compared.
    """
    if width in (None, picture.width) and height in (None, picture.height):
        return
    raise EntryError(
        "image_size_differs",
        f"{picture.path} is {picture.width}x{picture.height} px, annotated as {width}x{height}",
    )


def corner_box(
    corners: tuple[float, float, float, float], picture: ImageRef, slack_px: float, shown: str = ""
) -> Box:
    """Box between two corners in px; corners at most `slack_px` outside are moved to the edge.

    Raises `EntryError`: `empty_box`, `box_inverted`, `box_outside_image`. `shown` is how the
    dataset spells the box, for the message.

    >>> corner_box((10, 20, 40, 60), ImageRef("a", 100, 200, ""), 0)
    Box(x0=0.1, y0=0.1, x1=0.4, y1=0.3)
    """
    x0, y0, x1, y1 = corners
    shown = f"{shown or f'corners {corners}'} in {picture.path}"
    if x0 > x1 or y0 > y1:
        raise EntryError("box_inverted", shown)
    inside = -slack_px <= x0 and x1 <= picture.width + slack_px
    if not (inside and -slack_px <= y0 and y1 <= picture.height + slack_px):
        raise EntryError("box_outside_image", f"{shown} of {picture.width}x{picture.height} px")
    sides = picture.width, picture.height, picture.width, picture.height
    box = Box(*(min(1.0, max(0.0, at / side)) for at, side in zip(corners, sides, strict=True)))
    if not box.area:
        raise EntryError("empty_box", shown)
    return box


def wide_box(bbox: tuple[float, float, float, float], picture: ImageRef, slack_px: float) -> Box:
    """Box given as x, y, width, height in px; as `corner_box` otherwise.

    >>> wide_box((10, 20, 30, 40), ImageRef("a", 100, 200, ""), 0)
    Box(x0=0.1, y0=0.1, x1=0.4, y1=0.3)
    """
    x, y, width, height = bbox
    if width <= 0 or height <= 0:
        raise EntryError("empty_box", f"{bbox} in {picture.path}")
    return corner_box((x, y, x + width, y + height), picture, slack_px, f"x, y, w, h {bbox}")


def pixel_point(xy: tuple[float, float], picture: ImageRef, slack_px: float) -> Point:
    """Point in px; at most `slack_px` outside it is moved to the edge.

    Raises `EntryError` (`point_outside_image`).

    >>> pixel_point((10, 20), ImageRef("a", 100, 200, ""), 0)
    Point(x=0.1, y=0.1)
    """
    size = picture.width, picture.height
    try:
        return point_from_frame(xy, "pixel", *size, slack=slack_px / max(size))
    except FrameError as error:
        raise EntryError(
            "point_outside_image", f"x, y {xy} in {picture.path} of {size[0]}x{size[1]} px"
        ) from error


def region_turns(source: str, task: str, words: str, box: Box, key: str) -> tuple[Turn, Turn]:
    """Question and answer of `rec` or `reg`, in a form that depends on `source` and `key` alone."""
    form = random_for(0, source, f"{key}/{task}").choice(lines(f"{task}_questions"))
    if task == "rec":
        question = Turn("user", form.replace("{expression}", words))
        return question, Turn("assistant", "<box>", (box,))
    return Turn("user", form.replace("{box}", "<box>"), (box,)), Turn("assistant", words)


def caption_turns(source: str, named: Sequence[tuple[str, Box]], key: str) -> tuple[Turn, Turn]:
    """A request to list all objects and the list, top to bottom, left to right."""
    rows = sorted(named, key=lambda pair: (pair[1].y0 + pair[1].y1, pair[1].x0 + pair[1].x1))
    form = random_for(0, source, key).choice(lines("dense_questions"))
    text = ", ".join(f"{name} <box>" for name, _ in rows)
    return Turn("user", form), Turn("assistant", text, tuple(box for _, box in rows))


def choice_turns(
    question: str, candidates: tuple[Box, ...], answer: Box | Point
) -> tuple[Turn, Turn]:
    """A question with candidates, and the one that is meant, or a point in it."""
    kind, marks = (
        "point" if isinstance(answer, Point) else "box",
        " ".join(["<box>"] * len(candidates)),
    )
    asked = Turn("user", f"{question} Candidates: {marks} Reply with a {kind}.", candidates)
    if isinstance(answer, Point):
        return asked, Turn("assistant", "<point>", (), (answer,))
    return asked, Turn("assistant", "<box>", (answer,))


def centre(box: Box) -> Point:
    """Middle of a box.

    >>> centre(Box(0.0, 0.5, 0.5, 1.0))
    Point(x=0.25, y=0.75)
    """
    return Point((box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2)


def grouped(sizes: Sequence[int]) -> tuple[int, ...]:
    """Groups of a turn whose phrases have so many boxes; none when each has one.

    >>> grouped([1, 2]), grouped([1, 1])
    ((1, 2), ())
    """
    return tuple(sizes) if any(size > 1 for size in sizes) else ()
