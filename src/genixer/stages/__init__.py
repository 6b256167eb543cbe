"""The stages a config can name. One line here makes a new one known."""

from genixer.registry import Entry, Registry

__all__ = ["STAGES"]

_HERE = "genixer.stages"

STAGES = Registry(
    "stage",
    {
        "scenes": Entry(
            f"{_HERE}.scenes:ScenesStage",
            "draws the embedded world: images, annotation files, truth",
        ),
        "collect": Entry(f"{_HERE}.collect:CollectStage", "step 1: annotated datasets to samples"),
        "import": Entry(
            f"{_HERE}.import_file:ImportStage", "a file in one of the formats to samples"
        ),
        "instruct": Entry(
            f"{_HERE}.instruct:InstructStage",
            "step 2: samples to training text, two-level instructions",
        ),
        "train": Entry(f"{_HERE}.train:TrainStage", "step 3: training text to weights"),
        "train_vlm": Entry(
            f"{_HERE}.train_vlm:TrainVlmStage",
            "step 3 for image-text models of transformers: training text to weights",
        ),
        "train_clip": Entry(
            f"{_HERE}.train_clip:TrainClipStage", "regions and names to a small image-text model"
        ),
        "generate": Entry(
            f"{_HERE}.generate:GenerateStage", "step 4: unlabelled images to completions"
        ),
        "parity": Entry(
            f"{_HERE}.parity:ParityStage",
            "whether two backends say the same, before rows are mixed",
        ),
        "decode": Entry(
            f"{_HERE}.decode:DecodeStage", "completions to samples; what does not parse is rejected"
        ),
        "filter": Entry(f"{_HERE}.filter:FilterStage", "a chain of filters over samples"),
        "dedup": Entry(
            f"{_HERE}.dedup:DedupStage", "drops duplicates, near texts and pictures if asked"
        ),
        "leak_index": Entry(
            f"{_HERE}.leak_index:LeakIndexStage", "hashes of benchmarks, for the check of mixtures"
        ),
        "mix": Entry(f"{_HERE}.mix:MixStage", "draws a training mixture for one arm of a study"),
        "evaluate": Entry(
            f"{_HERE}.evaluate:EvaluateStage", "a model on benchmarks: predictions and scores"
        ),
        "measure": Entry(
            f"{_HERE}.measure:MeasureStage",
            "precision of rows against the exact truth of the embedded world",
        ),
        "correct": Entry(
            f"{_HERE}.measure:CorrectStage", "generated samples set right by the exact truth"
        ),
        "report": Entry(f"{_HERE}.report:ReportStage", "one offline page about the run"),
    },
)
