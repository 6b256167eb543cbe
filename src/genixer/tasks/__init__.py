"""The tasks a generator can be trained for.

One line here, a module and a template file make a new one known.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from genixer.registry import Entry, Registry

if TYPE_CHECKING:
    from genixer.tasks.base import Task

__all__ = ["TASKS", "load_task"]

_HERE = "genixer.tasks"

TASKS = Registry(
    "task",
    {
        "common_vqa": Entry(f"{_HERE}.vqa:CommonVqa", "an open question and its answer"),
        "adv_vqa": Entry(f"{_HERE}.vqa:AdvVqa", "is something there, yes or no"),
        "mc_vqa": Entry(f"{_HERE}.vqa:McVqa", "a question with lettered options"),
        "md": Entry(f"{_HERE}.dialogue:Dialogue", "several questions about one image"),
        "rec": Entry(f"{_HERE}.grounding:Rec", "words to a box", capability="grounding"),
        "reg": Entry(f"{_HERE}.grounding:Reg", "a box to words", capability="grounding"),
        "point_qa": Entry(
            f"{_HERE}.pointing:PointQa",
            "what is at a point or in a box, or which of several boxes it is",
            capability="grounding",
        ),
        "qcboxa": Entry(
            f"{_HERE}.referential:QCBoxA",
            "a question, a chain of thought with boxes, an answer",
            capability="grounding",
        ),
        "rd": Entry(
            f"{_HERE}.referential:Referential",
            "a dialogue that names things with their boxes",
            capability="grounding",
        ),
        "dense_caption": Entry(
            f"{_HERE}.caption:DenseCaption",
            "every object with its box; a helper, not one of the paper's nine",
            capability="grounding, helper",
        ),
    },
)


@cache
def load_task(name: str) -> Task:
    """The codec called `name`; raises `UnknownNameError` naming the near ones.

    >>> load_task("rec").grounding
    True
    """
    codec: Task = TASKS.load(name)()
    return codec
