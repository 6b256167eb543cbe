"""What a backbone is to the rest of the project.

Ids and pixels go in, text comes out, and a preset says in which frame its boxes are.

Letters for tensor axes, here and in `training`: B rows, T tokens, N images, H, W px, D features, V
vocabulary.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import BaseModel, ConfigDict

from genixer.errors import ConfigError, near
from genixer.frames import Frame

if TYPE_CHECKING:
    from genixer.tasks.base import Canvas

__all__ = ["Preset", "Prompt", "load_preset", "model_files", "shipped_models", "weights_folder"]


class Prompt(BaseModel):
    """Words around a conversation.

    `system` first, then each turn between its role's mark and its end.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    system: str = ""
    user: str = "USER: "
    assistant: str = "ASSISTANT: "


class Preset(BaseModel):
    """A backbone's fixed choices.

    They are kept beside its weights, so that training and generation cannot disagree.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    family: str = "llava"
    image_side_px: int
    """Side of the square the model sees.

    The image is centred on a square of its longer side, then resized.
    """
    image_tokens: int
    """How many places of the text the image takes."""
    pad_colour: tuple[int, int, int] = (127, 127, 127)
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.25, 0.25, 0.25)
    frame: Frame = "padded_square"
    """Frame of the coordinates in this model's text."""
    decimals: int = 2
    max_tokens: int = 512
    vocabulary: int = 2048
    lead: str = ""
    """What is put before every turn's text, and taken off what the model writes.

    With a space a word is the same token at the start of a turn as inside it.
    """
    prompt: Prompt = Prompt()
    vision: dict[str, Any] = {}
    text: dict[str, Any] = {}

    def canvas(self, width: int, height: int) -> Canvas:
        """How this model writes coordinates on an image of `width` x `height` px."""
        from genixer.tasks.base import Canvas

        return Canvas(self.frame, self.decimals, width, height)


def load_preset(name: str) -> Preset:
    """Preset called `name` that ships with the package, or in the YAML file `name`.

    >>> load_preset("tiny").frame
    'padded_square'
    """
    folder = files("genixer.models") / "presets"
    path = Path(name)
    if not path.suffix:
        known = sorted(p.name.removesuffix(".yaml") for p in folder.iterdir())
        if name not in known:
            raise ConfigError(f"no preset is called {name!r}; {near(name, known)}")
        text = (folder / f"{name}.yaml").read_text(encoding="utf-8")
    else:
        text = path.read_text(encoding="utf-8")
    return Preset.model_validate(yaml.safe_load(text))


def shipped_models() -> list[str]:
    """Names of the models whose weights ship with the package."""
    folder = files("genixer.models") / "weights"
    return sorted(p.name for p in folder.iterdir() if (p / "model.safetensors").is_file())


def weights_folder(name: str) -> Path:
    """Folder of the model called `name`: a shipped one, or a folder on disk.

    Raises `ConfigError` where there is neither.
    """
    path = Path(name)
    if (path / "model.safetensors").is_file():
        return path
    shipped = Path(str(files("genixer.models") / "weights")) / name
    if "/" not in name and (shipped / "model.safetensors").is_file():
        return shipped
    raise ConfigError(
        f"no model at {name!r}: neither a folder with model.safetensors nor one of the shipped "
        f"({', '.join(shipped_models()) or 'none'})"
    )


def model_files(name: str) -> list[Path]:
    """Folder of a model that is there before the run begins, for fingerprints.

    Empty for one that the run makes (`@step/...`) and for names that mean no files.

    >>> model_files("@generator/model")
    []
    """
    if name.startswith("@"):
        return []
    try:
        return [weights_folder(name)]
    except ConfigError:
        return []
