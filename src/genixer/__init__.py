"""Genixer: images without labels into verified instruction-tuning data for multimodal language models."""

__version__ = "0.1.0"
