"""What a model that was not trained here is told of the form of its answer.

A line or two after the instruction, in the same words for every model, so that its text can be read
by a task's codec (`pairs`) or by the reader `json`.
"""

from __future__ import annotations

from typing import Literal

from genixer.data import Box, Request
from genixer.frames import box_to_frame
from genixer.models.box_text import write_boxes
from genixer.models.vlm_preset import VlmPreset
from genixer.tasks import load_task
from genixer.tasks.brackets import write_box

__all__ = ["Hint", "hint_for"]

Hint = Literal["none", "pairs", "json"]

_FORMS = {
    "pairs": "Write it on one line, as `Question: ... Answer: ...`; every further question gets a "
    "line of its own. Write nothing else.",
    "json": 'Reply with JSON alone: {"question": "...", "answer": "..."}; several of them in a '
    "list. Keep every value on one line.",
}
_EXAMPLE = Box(0.25, 0.5, 0.75, 1.0)


def hint_for(request: Request, hint: Hint, preset: VlmPreset) -> str:
    """The hint for a request, with the box convention where its task may need one.

    Empty where the request has a schema: then its own words say it all.

    >>> preset = VlmPreset(name="any", frame="per_1000", decimals=0)
    >>> from genixer.data import ImageRef, Sampling
    >>> image = ImageRef("cat.png", 640, 480, "")
    >>> request = Request.of(image, "rec", "specific", 0, "Ask.", Sampling())
    >>> print(hint_for(request, "pairs", preset).splitlines()[1])
    Write a box as [250,500,750,1000]: left, top, right, bottom; the whole image is 1000 by 1000.
    """
    task, image = request.task, request.image
    if hint == "none" or request.schema:
        return ""
    if task and not load_task(task).grounding:
        return _FORMS[hint]
    canvas = preset.canvas(image.width, image.height)
    size = image.width, image.height
    x0, y0, x1, y1 = box_to_frame(Box(0.0, 0.0, 1.0, 1.0), preset.frame, *size)
    whole = f"{x1 - x0:g} by {y1 - y0:g}"
    example = write_boxes(write_box([_EXAMPLE], canvas), preset.boxes)
    order = (
        "top, left, bottom, right"
        if preset.boxes == "location_tokens"
        else "left, top, right, bottom"
    )
    return f"{_FORMS[hint]}\nWrite a box as {example}: {order}; the whole image is {whole}."
