"""The records that flow through a run: typed, frozen, fast, addressed by what they contain.

Boxes and points are fractions of the *upright, un-padded* image, origin top left. Every other
convention is a named frame in `genixer.frames` and exists at a boundary only.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from genixer.errors import CannotEncodeError, DataError
from genixer.marks import count_marks, escape_marks, split_marks
from genixer.paths import escapes
from genixer.places import Box, Point, Record
from genixer.rows import content_id, decode_row, encode_row, random_for

__all__ = [
    "SCHEMA",
    "Box",
    "Completion",
    "Generation",
    "ImageRef",
    "Measured",
    "Message",
    "Mode",
    "Origin",
    "Point",
    "Quarantined",
    "Record",
    "Rejected",
    "Request",
    "Role",
    "Sample",
    "Sampling",
    "Score",
    "SftRow",
    "Turn",
    "Verdict",
    "content_id",
    "count_marks",
    "decode_row",
    "encode_row",
    "escape_marks",
    "escapes",
    "random_for",
    "split_marks",
]

SCHEMA = 1
"""Version of the records in a shard; a newer reader reads older ones or says how to migrate."""

Role = Literal["user", "assistant"]
Mode = Literal["agnostic", "specific"]


class ImageRef(Record, frozen=True):
    """Image by content: `path` relative to the image root, size in px of the upright image.

    Raises `DataError` for an absolute path, one that climbs out of the root, or a size below 1 px.

    >>> ImageRef("train/7.jpg", 640, 480, "9f2c").path
    'train/7.jpg'
    """

    path: str
    width: int
    height: int
    sha256: str

    def __post_init__(self) -> None:
        if escapes(self.path):
            raise DataError(
                f"image path {self.path!r} must be relative and stay inside the image root"
            )
        if self.width < 1 or self.height < 1:
            raise DataError(
                f"image {self.path}: size {self.width}x{self.height} px is not positive"
            )


class Turn(Record, frozen=True):
    r"""One side's words, with the boxes and points they speak of.

    `<box>` and `<point>` in `text` are marks, the i-th of a kind is `boxes[i]` / `points[i]`.
    Literal marks in data are escaped (`escape_marks`). `groups` gives the sizes of runs of box
    marks that belong to one phrase (Shikra); empty means each box stands alone. Raises `DataError`
    when marks and coordinates do not agree.

    >>> Turn("assistant", "at <box>", (Box(0.1, 0.1, 0.2, 0.2),)).boxes[0].x0
    0.1
    >>> Turn("assistant", "at <box>")
    Traceback (most recent call last):
    ...
    genixer.errors.DataError: turn has 1 box and 0 point marks but 0 boxes and 0 points
    """

    role: Role
    text: str
    boxes: tuple[Box, ...] = ()
    points: tuple[Point, ...] = ()
    groups: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if "<" not in self.text and not (self.boxes or self.points or self.groups):
            return  # nothing to agree on: most turns of most records
        boxes, points = count_marks(self.text)
        if boxes != len(self.boxes) or points != len(self.points):
            raise DataError(
                f"turn has {boxes} box and {points} point marks "
                f"but {len(self.boxes)} boxes and {len(self.points)} points"
            )
        if self.groups and (sum(self.groups) != boxes or min(self.groups) < 1):
            raise DataError(f"groups {self.groups} do not cover {boxes} boxes")


class Origin(Record, frozen=True):
    """Where a sample comes from; never part of its id.

    `parents` are ids of the records it was made of, `prompt` is the digest of the instruction,
    `scores` what filters said (each filter documents its range), `question_type` the source's own
    word for the kind of question, `reader` the lenient reader of a text its codec had refused.
    """

    source: str
    licence: str = ""
    parents: tuple[str, ...] = ()
    generator: str = ""
    revision: str = ""
    prompt: str = ""
    mode: str = ""
    seed: int | None = None
    question_type: str = ""
    scores: dict[str, float] = msgspec.field(default_factory=dict)
    reader: str = ""


class Sample(Record, frozen=True):
    """An image and a conversation about it, of one task; or a conversation in words alone.

    Make one with `Sample.of`, which fills `id`, the hash of task, image content and turns. Words
    alone have no `image`, and so no boxes and points: `DataError` otherwise.

    >>> cat = ImageRef("cat.png", 64, 64, "ab12")
    >>> turns = (Turn("user", "What is it?"), Turn("assistant", "cat"))
    >>> one = Sample.of("common_vqa", cat, turns, Origin("vqav2"))
    >>> two = Sample.of("common_vqa", cat, one.turns, Origin("elsewhere"))
    >>> one.id == two.id
    True
    """

    id: str
    task: str
    image: ImageRef | None
    turns: tuple[Turn, ...]
    origin: Origin

    def __post_init__(self) -> None:
        if self.image is None and any(turn.boxes or turn.points for turn in self.turns):
            raise DataError(f"sample {self.id} has boxes or points, but no image they are in")

    @classmethod
    def of(
        cls, task: str, image: ImageRef | None, turns: tuple[Turn, ...], origin: Origin
    ) -> Sample:
        """Build a sample; its id is the hash of `task`, `image.sha256` and `turns` alone."""
        seen = image.sha256 if image else ""
        return cls(content_id("sample", task, seen, turns), task, image, turns, origin)

    @property
    def image_sha256(self) -> str:
        """Digest of the image's bytes; empty where there is no image."""
        return self.image.sha256 if self.image else ""

    @property
    def picture(self) -> ImageRef:
        """The image, for those who cannot do without.

        Raises `CannotEncodeError` (`no_image`) where the sample is words alone.
        """
        if self.image is None:
            raise CannotEncodeError("no_image", "a conversation in words alone")
        return self.image


class Message(Record, frozen=True):
    """One finished turn of training text: coordinates written out, nothing left to fill in."""

    role: Role
    text: str


class SftRow(Record, frozen=True):
    """One conversation ready for training: what `instruct` makes of a sample.

    `frame` and `decimals` say how coordinates are written in `messages`, so that a trainer can
    refuse a model that reads another frame. `purpose` is `generator` (ask and answer from the image
    alone), `student` (answer a question) or `judge`.
    """

    id: str
    sample_id: str
    task: str
    purpose: Literal["generator", "student", "judge"]
    image: ImageRef | None
    messages: tuple[Message, ...]
    mode: str = ""
    frame: str = "unit"
    decimals: int = 3
    source: str = ""
    kind: str = ""
    """The source's word for the kind of question, where it has one."""


class Sampling(Record, frozen=True):
    """How tokens are drawn: `temperature` 0 is greedy; `top_p` in (0, 1]; `top_k` 0 is off.

    `seed` is per request.
    """

    max_new_tokens: int = 64
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int = 0


class Request(Record, frozen=True):
    """One thing asked of a generator about one image.

    `id` = hash of image content, task, mode and draw, and of the `kind` of question where one is
    asked for. `schema` is the JSON schema that the answer has to follow, for backends that can hold
    a model to one; empty for free text.

    >>> cat = ImageRef("cat.png", 64, 64, "ab12")
    >>> one = Request.of(cat, "rec", "specific", 0, "Ask.", Sampling())
    >>> one.id == Request.of(cat, "rec", "specific", 0, "Ask again.", Sampling()).id
    True
    """

    id: str
    image: ImageRef
    prompt: str
    sampling: Sampling
    task: str = ""
    mode: str = ""
    draw: int = 0
    kind: str = ""
    schema: dict[str, Any] = msgspec.field(default_factory=dict)

    @classmethod
    def of(
        cls,
        image: ImageRef,
        task: str,
        mode: str,
        draw: int,
        prompt: str,
        sampling: Sampling,
        kind: str = "",
    ) -> Request:
        """Build a request.

        Its id leaves prompt and sampling out, since they follow from the id and the run's seed.
        """
        what = (task, mode, draw, kind) if kind else (task, mode, draw)
        return cls(
            content_id("request", image.sha256, *what),
            image,
            prompt,
            sampling,
            task,
            mode,
            draw,
            kind,
        )


class Completion(Record, frozen=True):
    """What came back for a request.

    `logprobs` are natural logs, raw (before temperature, top-k and top-p), one per generated token.

    `finish` is `stop` (end token; it is in `token_ids`), `length` or `error`.
    """

    request_id: str
    text: str
    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    finish: Literal["stop", "length", "error"]


class Generation(Record, frozen=True):
    """A request with what came back, as the generate stage keeps it.

    `frame` and `decimals` say how to read boxes, `licence` what the picture's owner allows.
    """

    id: str
    request: Request
    completion: Completion
    frame: str = "unit"
    decimals: int = 3
    generator: str = ""
    revision: str = ""
    licence: str = ""


class Verdict(Record, frozen=True):
    """A filter's word on one sample.

    `reason` is snake_case and empty when kept; `score` has the filter's own range.
    """

    keep: bool
    reason: str = ""
    score: float | None = None


class Rejected(Record, frozen=True):
    """A well-formed row that a rule refused.

    The whole row, the rule's name, and every score known by then.
    """

    id: str
    reason: str
    row: Any
    scores: dict[str, float] = msgspec.field(default_factory=dict)


class Quarantined(Record, frozen=True):
    """Something unreadable or failed.

    `where` is `file:line` or an id, `raw` the bytes as they came (`store.shards.raw_text`).
    """

    where: str
    reason: str
    detail: str = ""
    raw: str = ""


class Measured(Record, frozen=True):
    """What the exact truth says of one generated sample.

    `id` is the sample's, `detail` is for people, `kind` is what was asked (count, color, side ...),
    where that is known. `unknown`: the truth at hand does not decide it.

    >>> Measured("9f2c", "rec", "specific", "wrong", "IoU 0.31 with the red cup").verdict
    'wrong'
    """

    id: str
    task: str
    mode: str
    verdict: Literal["right", "wrong", "unknown"]
    detail: str = ""
    kind: str = ""


class Score(Record, frozen=True):
    """A metric's `value` over `n` items with its 95 % interval, all in the metric's own unit."""

    metric: str
    value: float
    n: int
    ci95: tuple[float, float]
