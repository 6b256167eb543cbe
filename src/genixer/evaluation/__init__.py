"""The benchmarks a config can name. One line here and a class make a new one known."""

from __future__ import annotations

from genixer.registry import Entry, Registry

__all__ = ["BENCHMARKS"]

_HERE = "genixer.evaluation"

BENCHMARKS = Registry(
    "benchmark",
    {
        "vqav2": Entry(f"{_HERE}.vqa:VqaV2Benchmark", "open questions, VQA soft score"),
        "pope": Entry(f"{_HERE}.yes_no:PopeBenchmark", "is it there: accuracy, F1, share of yes"),
        "aokvqa": Entry(f"{_HERE}.choice:AokvqaBenchmark", "options, accuracy of the letter"),
        "rec": Entry(
            f"{_HERE}.grounding:RecBenchmark",
            "words to a box, share with IoU over a half",
            capability="grounding",
        ),
        "reg": Entry(
            f"{_HERE}.naming:RegBenchmark",
            "a box to words, exact match",
            capability="grounding",
        ),
    },
)
