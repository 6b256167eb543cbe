"""The dataset layouts that `collect` can read. One line here and a module make a new one known."""

from genixer.registry import Entry, Registry

__all__ = ["SOURCES"]

_HERE = "genixer.sources"

SOURCES = Registry(
    "source",
    {
        "vqav2": Entry(f"{_HERE}.vqa:VqaV2", "open questions (official JSON)", "CC BY 4.0"),
        "gqa": Entry(
            f"{_HERE}.gqa:Gqa", "questions about scenes (JSON, one file or ten)", "CC BY 4.0"
        ),
        "tallyqa": Entry(f"{_HERE}.tallyqa:TallyQa", "counting questions (JSON)", "not stated"),
        "textvqa": Entry(f"{_HERE}.textvqa:TextVqa", "questions about writing (JSON)", "CC BY 4.0"),
        "ocrvqa": Entry(
            f"{_HERE}.ocrvqa:OcrVqa", "questions about book covers (JSON)", "not stated"
        ),
        "scienceqa": Entry(
            f"{_HERE}.scienceqa:ScienceQa",
            "school questions with options (problems and lists of ids as JSON)",
            "CC BY-NC-SA 4.0",
        ),
        "pope": Entry(f"{_HERE}.vqa:Pope", "whether an object is there (JSONL)", "MIT"),
        "aokvqa": Entry(f"{_HERE}.vqa:Aokvqa", "questions with options (JSON)", "Apache-2.0"),
        "llava_instruct": Entry(
            f"{_HERE}.dialogue:LlavaInstruct", "conversations (LLaVA JSON)", "CC BY 4.0"
        ),
        "refcoco": Entry(
            f"{_HERE}.grounding:RefCoco",
            "expressions and their boxes (refs and instances as JSON)",
            "Apache-2.0 (expressions), CC BY 4.0 (COCO boxes)",
            capability="grounding",
        ),
        "coco_instances": Entry(
            f"{_HERE}.grounding:CocoInstances",
            "every object of an image with its box (COCO JSON)",
            "CC BY 4.0",
            capability="grounding, helper",
        ),
    },
)
