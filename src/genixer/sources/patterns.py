"""Paths of images from their ids, as a pattern of the settings says."""

from __future__ import annotations

__all__ = ["check_pattern", "check_text_pattern", "image_path"]


def image_path(pattern: str, image_id: int | str, suffix: str = "") -> str:
    """Path of the image with `image_id`; `suffix` is the ending that its source names, if any.

    >>> image_path("train2014/COCO_train2014_{image_id:012d}.jpg", 9)
    'train2014/COCO_train2014_000000000009.jpg'
    >>> image_path("images/{image_id}{suffix}", "0812", ".gif")
    'images/0812.gif'
    """
    return pattern.format(image_id=image_id, suffix=suffix)


def check_pattern(pattern: str) -> str:
    """`pattern` if it gives every number a path of its own; raises `ValueError` otherwise."""
    return _checked(pattern, 1, 2, "{image_id:06d}")


def check_text_pattern(pattern: str) -> str:
    """The same for ids that are text."""
    return _checked(pattern, "1", "2", "{image_id}")


def _checked(pattern: str, one: int | str, other: int | str, example: str) -> str:
    try:
        differs = image_path(pattern, one) != image_path(pattern, other)
    except (KeyError, IndexError, ValueError) as error:
        raise ValueError(f"{pattern!r} is not a pattern with {example}: {error!r}") from None
    if not differs:
        raise ValueError(f"{pattern!r} has no {{image_id}}: all entries would share one image")
    return pattern
