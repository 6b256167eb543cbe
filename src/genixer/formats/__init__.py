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
    },
)
