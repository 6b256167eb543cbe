"""What a backbone is to the rest of the project.

Ids and pixels go in, text comes out, and a preset says in which frame its boxes are.

Letters for tensor axes, here and in `training`: B rows, T tokens, N images, H, W px, D features, V
vocabulary.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from genixer.errors import ConfigError, near
from genixer.frames import Frame

if TYPE_CHECKING:
    from genixer.tasks.base import Canvas

__all__ = [
    "Device",
    "Dtype",
    "Preset",
    "Prompt",
    "Tokens",
    "load_preset",
    "model_files",
    "shipped_models",
    "shipped_presets",
    "weights_folder",
]

Dtype = Literal["auto", "float32", "bfloat16", "float16"]
"""Number format of weights; `auto` is that of the file."""
Device = Literal["auto", "cpu", "cuda"]
"""Where a model computes; `auto` is a GPU where there is one."""
PRESET_FILE = "genixer_preset.json"
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"


class Prompt(BaseModel):
    """Words around a conversation, and where its image stands."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    style: Literal["marks", "vicuna_v1"] = "marks"
    """`marks`: control tokens alone say who speaks. `vicuna_v1`: words do (`USER: ... ASSISTANT:
    ...`), and only an answer ends with a control token."""
    system: str = ""
    """What every conversation begins with."""
    user: str = "USER"
    assistant: str = "ASSISTANT"
    separator: str = " "
    """Between system, question and answer."""
    before_image: str = " "
    """Between the first `USER:` and the image."""
    after_image: str = "\n"
    """Between the image and the first question."""


class Tokens(BaseModel):
    """Names of the control tokens in a model's vocabulary."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    begin: str = "<s>"
    end: str = "</s>"
    pad: str = "<pad>"
    image: str = "<image>"
    """Stands at every place that the image takes."""
    image_start: str = ""
    """Before the image's places; empty for none."""
    image_end: str = ""
    """After them; empty for none."""

    def names(self) -> list[str]:
        """All that there are.

        >>> Tokens(image="<im_patch>").names()
        ['<s>', '</s>', '<pad>', '<im_patch>']
        """
        named: list[str] = list(self.model_dump().values())
        return [name for name in named if name]


class Preset(BaseModel):
    """A backbone's fixed choices.

    They are kept beside its weights, so that training and generation cannot disagree.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    about: str = ""
    """One line for people."""
    licence: str = ""
    """Licence of the weights that this preset is for."""
    family: str = "llava"
    tower: Literal["conv", "clip"] = "conv"
    """`conv`: our small one. `clip`: the stock one, read at its last layer but one, class token
    dropped."""
    projector: Literal["mlp2x_gelu", "linear"] = "mlp2x_gelu"
    """From the tower's features to the decoder's: two layers around a GELU, or one."""
    image_side_px: int
    """Side of the square the model sees.

    The image is centred on a square of its longer side, then resized.
    """
    image_tokens: int
    """How many places of the text the image takes, marks around it not counted."""
    resize: Literal["bilinear", "bicubic"] = "bilinear"
    """Filter by which the square is resized."""
    pixels: Literal["exact", "fast"] = "exact"
    """`exact`: bit for bit as the reference code. `fast`: nearly the same numbers, sooner."""
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
    tokens: Tokens = Tokens()
    vision: dict[str, Any] = {}
    text: dict[str, Any] = {}

    def canvas(self, width: int, height: int) -> Canvas:
        """How this model writes coordinates on an image of `width` x `height` px."""
        from genixer.tasks.base import Canvas

        return Canvas(self.frame, self.decimals, width, height)


def load_preset(name: str) -> Preset:
    """Preset called `name` that ships with the package, or in the YAML file `name`.

    Raises `ConfigError` where there is none, or the file holds another thing.

    >>> load_preset("tiny").frame
    'padded_square'
    """
    path = Path(name)
    if not path.suffix:
        known = shipped_presets()
        if name not in known:
            raise ConfigError(f"no preset is called {name!r}; {near(name, known)}")
        folder = files("genixer.models") / "presets"
        text = (folder / f"{name}.yaml").read_text(encoding="utf-8")
        return Preset.model_validate(yaml.safe_load(text))
    try:
        return Preset.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, ValidationError) as error:
        raise ConfigError(f"preset {name}: {error}") from error


def shipped_presets() -> list[str]:
    """Names of the presets that ship with the package.

    >>> "genixer_s" in shipped_presets()
    True
    """
    folder = files("genixer.models") / "presets"
    return sorted(p.name.removesuffix(".yaml") for p in folder.iterdir())


def shipped_models() -> list[str]:
    """Names of the models whose weights ship with the package."""
    folder = files("genixer.models") / "weights"
    return sorted(p.name for p in folder.iterdir() if (p / WEIGHTS).is_file())


def weights_folder(name: str) -> Path:
    """Folder of the model called `name`: a shipped one, or a folder on disk.

    Weights are one safetensors file, or several with an index. Raises `ConfigError` where there are
    none.
    """
    path = Path(name)
    if any((path / file).is_file() for file in (WEIGHTS, INDEX)):
        return path
    shipped = Path(str(files("genixer.models") / "weights")) / name
    if "/" not in name and (shipped / WEIGHTS).is_file():
        return shipped
    raise ConfigError(
        f"no model at {name!r}: neither a folder with {WEIGHTS} nor one of the shipped "
        f"({', '.join(shipped_models()) or 'none'}); weights of the original code bases are "
        "brought in by `genixer convert-weights`"
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
