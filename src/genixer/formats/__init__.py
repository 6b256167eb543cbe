"""The layouts samples are exported to and imported from. One line here and a module add one."""

from genixer.registry import Entry, Registry

__all__ = ["FORMATS"]

_HERE = "genixer.formats"

FORMATS = Registry(
    "format",
    {
        "llava": Entry(
            f"{_HERE}.llava:LlavaFormat",
            "LLaVA conversations, JSON or JSONL by the file's ending",
            capability="boxes as text",
        ),
        "coco": Entry(
            f"{_HERE}.coco:CocoFormat",
            "COCO detection JSON, boxes with the words about them",
            capability="boxes in pixels, x y width height; only samples with boxes",
        ),
        "csv": Entry(
            f"{_HERE}.csv_table:CsvFormat",
            "CSV for spreadsheets, one row a sample, no cell a formula",
            capability="boxes as text and exact",
        ),
        "hf_dataset": Entry(
            f"{_HERE}.hf_dataset:HfDatasetFormat",
            "Hugging Face dataset folder, Parquet files and a card (extra: data)",
            capability="boxes as text and exact, images",
        ),
        "parquet": Entry(
            f"{_HERE}.parquet:ParquetFormat",
            "one Parquet file with an image column (extra: data)",
            capability="boxes as text and exact, images",
        ),
        "webdataset": Entry(
            f"{_HERE}.webdataset:WebDatasetFormat",
            "WebDataset, a folder of tar files with the images in them",
            capability="boxes as text and exact, images",
        ),
        "sharegpt": Entry(
            f"{_HERE}.sharegpt:ShareGptFormat",
            "ShareGPT conversations with a list of images",
            capability="boxes as text",
        ),
        "messages": Entry(
            f"{_HERE}.messages:MessagesFormat",
            "messages of content parts (TRL, OpenAI)",
            capability="boxes as text",
        ),
        "axolotl": Entry(
            f"{_HERE}.axolotl:AxolotlFormat",
            "Axolotl's messages, paths in the image parts",
            capability="boxes as text",
        ),
        "ms_swift": Entry(
            f"{_HERE}.swift:SwiftFormat",
            "ms-swift's messages with objects",
            capability="boxes, points",
        ),
        "llama_factory": Entry(
            f"{_HERE}.llama_factory:LlamaFactoryFormat",
            "LLaMA-Factory's messages with their entry in dataset_info.json",
            capability="boxes as text",
        ),
        "qwen_vl": Entry(
            f"{_HERE}.qwen_vl:QwenVlFormat",
            "Qwen-VL grounding text (<ref>, <box>)",
            capability="boxes as text",
        ),
        "qwen_json": Entry(
            f"{_HERE}.qwen_json:QwenJsonFormat",
            "Qwen2.5-VL and Qwen3-VL answers in JSON (bbox_2d, label)",
            capability="boxes as text",
        ),
        "paligemma": Entry(
            f"{_HERE}.paligemma:PaliGemmaFormat",
            "PaliGemma prefix and suffix with location tokens",
            capability="boxes as text, one question a row",
        ),
        "shikra": Entry(
            f"{_HERE}.shikra:ShikraFormat",
            "Shikra conversations with a target of boxes and points in pixels",
            capability="boxes, points",
        ),
    },
)
