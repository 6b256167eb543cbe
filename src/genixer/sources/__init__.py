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
        "coco_captions": Entry(
            f"{_HERE}.captions:CocoCaptions", "captions (COCO JSON)", "CC BY 4.0"
        ),
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
        "vqav2_dialogue": Entry(
            f"{_HERE}.vqa_dialogue:VqaV2Dialogue",
            "all questions of an image as a dialogue (VQAv2 JSON)",
            "CC BY 4.0",
        ),
        "refcoco": Entry(
            f"{_HERE}.grounding:RefCoco",
            "expressions and their boxes (refs and instances as JSON)",
            "Apache-2.0 (expressions), CC BY 4.0 (COCO boxes)",
            capability="grounding",
        ),
        "refcoco_jsonl": Entry(
            f"{_HERE}.shikra:RefCocoJsonl",
            "expressions and their boxes (JSONL of Shikra)",
            "CC BY-NC 4.0 (Shikra's files), Apache-2.0 (RefCOCO expressions)",
            capability="grounding",
        ),
        "vg_regions": Entry(
            f"{_HERE}.visual_genome:VgRegions",
            "described regions (Visual Genome JSON)",
            "CC BY 4.0",
            capability="grounding",
        ),
        "vg_objects": Entry(
            f"{_HERE}.visual_genome:VgObjects",
            "named objects (Visual Genome JSON)",
            "CC BY 4.0",
            capability="grounding",
        ),
        "flickr30k_entities": Entry(
            f"{_HERE}.flickr30k:Flickr30kEntities",
            "captions whose phrases have boxes (text and XML files)",
            "research only (Flickr terms for the images)",
            capability="grounding",
        ),
        "point_qa_local": Entry(
            f"{_HERE}.shikra:PointQaLocal",
            "questions about a point or a box (JSONL of Shikra)",
            "CC BY-NC 4.0 (Shikra's files), CC BY 4.0 (Visual Genome)",
            capability="grounding",
        ),
        "localqa": Entry(
            f"{_HERE}.localqa:LocalQa",
            "questions about a point or a box (PointQA-Local JSON)",
            "not stated",
            capability="grounding",
        ),
        "visual7w_jsonl": Entry(
            f"{_HERE}.shikra:Visual7WJsonl",
            "which of some boxes (JSONL of Shikra)",
            "CC BY-NC 4.0 (Shikra's files; Visual7W states none)",
            capability="grounding",
        ),
        "visual7w": Entry(
            f"{_HERE}.visual7w:Visual7W",
            "which of four boxes (Visual7W pointing JSON)",
            "not stated",
            capability="grounding",
        ),
        "shikra_rd": Entry(
            f"{_HERE}.shikra:ShikraRd",
            "referential dialogue by GPT-4 (JSONL of Shikra)",
            "CC BY-NC 4.0",
            capability="grounding",
        ),
        "shikra_qcboxa": Entry(
            f"{_HERE}.shikra:ShikraQcboxa",
            "chains of thought with boxes by GPT-4 (JSONL of Shikra)",
            "CC BY-NC 4.0",
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
