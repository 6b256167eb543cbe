"""Writes the embedded world as annotation files of the layouts people download.

VQAv2 (questions and annotations), POPE, A-OKVQA, LLaVA-Instruct conversations, RefCOCO (refs and
COCO instances). The pipeline reads them through the same sources that read the real ones.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

from genixer.data import random_for
from genixer.sources.scene_art import ATTRIBUTION, CAST
from genixer.sources.scene_questions import (
    Asked,
    absent_names,
    ask_all,
    ask_existence,
    expressions,
)
from genixer.sources.scenes import Scene

__all__ = ["annotation_files"]

_VQA_TYPES = {"count": "number", "total": "number"}
_KIND_SHARE = ("count", "color", "side", "height", "background", "total")


def annotation_files(
    scenes: Sequence[Scene], seed: int, vqa_per_image: int, mc_per_image: int
) -> dict[str, bytes]:
    """Annotation files of a pool by file name.

    Which questions are asked depends on seed and scene alone.

    `vqa_per_image` and `mc_per_image` cap the questions of these layouts; existence questions,
    references and one dialogue an image are always written whole.
    """

    def rng(scene: Scene, layout: str) -> random.Random:
        return random_for(seed, f"{layout}/{scene.pool}", str(scene.id))

    per_scene = [(scene, _balanced(scene, rng(scene, "vqa"))) for scene in scenes]
    questions, annotations = _vqav2(per_scene, vqa_per_image)
    refs, instances = _refcoco(scenes)
    pope = [row for scene in scenes for row in _pope(scene, rng(scene, "pope"))]
    return {
        "vqav2_questions.json": _json(questions),
        "vqav2_annotations.json": _json(annotations),
        "pope.jsonl": b"".join(_json(row) + b"\n" for row in _numbered(pope, "question_id")),
        "aokvqa.json": _json(
            [
                row
                for scene in scenes
                for row in islice(_aokvqa(scene, rng(scene, "mc")), mc_per_image)
            ]
        ),
        "llava_instruct.json": _json([_dialogue(scene, rng(scene, "md")) for scene in scenes]),
        "refs.json": _json(refs),
        "instances.json": _json(instances),
        "LICENSE.txt": f"{ATTRIBUTION}\n".encode(),
    }


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, sort_keys=True).encode()


def _numbered(rows: Iterable[dict[str, Any]], key: str) -> list[dict[str, Any]]:
    return [{**row, key: number} for number, row in enumerate(rows)]


def _balanced(scene: Scene, rng: random.Random) -> list[Asked]:
    """Questions about the scene, kinds taking turns, so that any prefix is balanced."""
    by_kind: dict[str, list[Asked]] = {kind: [] for kind in _KIND_SHARE}
    for asked in ask_all(scene, rng):
        by_kind[asked.kind].append(asked)
    for many in by_kind.values():
        rng.shuffle(many)
    order = list(_KIND_SHARE)
    rng.shuffle(order)
    turns: list[Asked] = []
    while any(by_kind.values()):
        turns.extend(by_kind[kind].pop() for kind in order if by_kind[kind])
    return turns


def _vqav2(
    per_scene: Iterable[tuple[Scene, list[Asked]]], most: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    questions, annotations = [], []
    for scene, many in per_scene:
        for number, asked in enumerate(many[:most]):
            key = {"image_id": scene.id, "question_id": scene.id * 1000 + number}
            questions.append({**key, "question": asked.question})
            answers = [
                {"answer": asked.answer, "answer_confidence": "yes", "answer_id": i + 1}
                for i in range(10)
            ]
            annotations.append(
                {
                    **key,
                    "question_type": asked.kind,
                    "answer_type": _VQA_TYPES.get(asked.kind, "other"),
                    "multiple_choice_answer": asked.answer,
                    "answers": answers,
                }
            )
    info = {"description": "embedded world", "license": {"name": ATTRIBUTION}}
    return {**info, "questions": questions}, {**info, "annotations": annotations}


def _pope(scene: Scene, rng: random.Random) -> Iterable[dict[str, Any]]:
    for asked, split in ask_existence(scene, rng):
        yield {
            "image": scene.image,
            "text": asked.question,
            "label": asked.answer,
            "category": split,
        }


def _aokvqa(scene: Scene, rng: random.Random) -> Iterable[dict[str, Any]]:
    asked_list: list[tuple[str, str, Sequence[str]]] = []
    present = sorted({thing.name for thing in scene.things})
    if present:
        right = rng.choice(present)
        absent = absent_names(scene, rng, [right] * 3)
        asked_list.append(("Which of these is in the image?", right, absent))
    asked_list += [
        (one.question, one.answer, one.wrong)
        for one in _balanced(scene, rng)
        if one.kind in ("count", "color", "background")
    ]
    for number, (question, answer, wrong) in enumerate(asked_list):
        choices = [answer, *rng.sample(list(wrong), 3)]
        rng.shuffle(choices)
        yield {
            "image_id": scene.id,
            "question_id": f"{scene.pool}-{scene.id}-{number}",
            "question": question,
            "choices": choices,
            "correct_choice_idx": choices.index(answer),
            "direct_answers": [answer] * 10,
            "rationales": [],
        }


def _sentence(asked: Asked) -> str:
    """The answer as a short sentence, for dialogues."""
    templates: Mapping[str, Callable[[str], str]] = {
        "count": lambda answer: f"I see {answer}.",
        "total": lambda answer: f"There are {answer} in total.",
        "color": lambda answer: f"It is {answer}.",
        "side": lambda answer: f"It is on the {answer}.",
        "height": lambda answer: f"It is {answer}.",
        "background": lambda answer: f"It looks like {answer}.",
    }
    return templates[asked.kind](asked.answer)


def _dialogue(scene: Scene, rng: random.Random) -> dict[str, Any]:
    turns: list[dict[str, str]] = []
    for asked in _balanced(scene, rng)[: rng.randint(2, 3)]:
        mark = "<image>\n" if not turns else ""
        turns.append({"from": "human", "value": mark + asked.question})
        turns.append({"from": "gpt", "value": _sentence(asked)})
    return {"id": f"{scene.pool}-{scene.id}", "image": scene.image, "conversations": turns}


def _refcoco(scenes: Sequence[Scene]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    category = {name: number for number, name in enumerate(CAST, start=1)}
    images, boxes, refs = [], [], []
    for scene in scenes:
        file_name = scene.image
        images.append(
            {"id": scene.id, "file_name": file_name, "width": scene.width, "height": scene.height}
        )
        for number, thing in enumerate(scene.things):
            ann_id = scene.id * 100 + number
            x0, y0, x1, y1 = thing.box
            boxes.append(
                {
                    "id": ann_id,
                    "image_id": scene.id,
                    "category_id": category[thing.name],
                    "bbox": [x0, y0, x1 - x0, y1 - y0],
                    "area": (x1 - x0) * (y1 - y0),
                    "iscrowd": 0,
                }
            )
            sentences = [
                {"sent_id": ann_id * 10 + i, "sent": text, "raw": text, "tokens": text.split()}
                for i, text in enumerate(expressions(scene, thing))
            ]
            if sentences:
                refs.append(
                    {
                        "ref_id": ann_id,
                        "ann_id": ann_id,
                        "image_id": scene.id,
                        "file_name": file_name,
                        "category_id": category[thing.name],
                        "split": scene.pool,
                        "sent_ids": [one["sent_id"] for one in sentences],
                        "sentences": sentences,
                    }
                )
    categories = [
        {"id": number, "name": name, "supercategory": CAST[name].kind}
        for name, number in category.items()
    ]
    return refs, {"images": images, "annotations": boxes, "categories": categories}
