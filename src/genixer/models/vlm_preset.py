"""What no file of an image-text model says: how its text spells a box, and how a turn is ended."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from genixer.errors import ConfigError, near
from genixer.frames import Frame
from genixer.models.box_text import BoxSpelling

if TYPE_CHECKING:
    from genixer.tasks.base import Canvas

__all__ = ["PRESET_FILE", "VlmPreset", "load_vlm_preset", "preset_for", "vlm_presets"]

PRESET_FILE = "genixer_vlm.json"
"""Where a model folder keeps its preset."""


class VlmPreset(BaseModel):
    """A model's conventions, declared; nothing is told from the size of the numbers."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    model_types: tuple[str, ...] = ()
    """Values of `model_type` in `config.json` that it is meant for; empty for any."""
    frame: Frame = "unit"
    """Frame of the coordinates in the model's text.

    With `resized_F_MIN_MAX` the image processor is made to resize to these very numbers.
    """
    decimals: int = 3
    boxes: BoxSpelling = "brackets"
    """How a box looks in the model's text."""
    chat_template: str = ""
    """Jinja template, for a model that has none or a wrong one."""
    end: str = ""
    """Mark put after an answer, where the template writes no end token there."""
    most_pairs: int | None = None
    """Questions and answers one conversation may have."""
    reads_prefix_both_ways: bool = False
    """Whether all that is not an answer is attended to in both directions (PaliGemma)."""

    def canvas(self, width: int, height: int) -> Canvas:
        """How the model writes coordinates on an image of `width` x `height` px."""
        from genixer.tasks.base import Canvas

        return Canvas(self.frame, self.decimals, width, height)

    def fitted(self, image_processor: Any, most_px: int | None) -> VlmPreset:
        """This preset with at most `most_px` pixels an image, `image_processor` set accordingly.

        Raises `ConfigError` where image processor and frame do not go together.
        """
        size: Any = getattr(image_processor, "size", None)
        by_area = hasattr(image_processor, "merge_size") and hasattr(size, "longest_edge")
        if not by_area:
            if most_px is not None or self.frame.startswith("resized_"):
                raise ConfigError(
                    f"preset {self.name}: {type(image_processor).__name__} does not resize by area;"
                    " leave most_px out, and the frame resized_..."
                )
            return self
        factor = image_processor.patch_size * image_processor.merge_size
        least, most, frame = size.shortest_edge, size.longest_edge, self.frame
        if frame.startswith("resized_"):
            declared, least, most = (int(part) for part in frame.split("_")[1:])
            if declared != factor:
                raise ConfigError(
                    f"preset {self.name}: frame {frame} is of multiples of {declared} px, the image"
                    f" processor's are of {factor}"
                )
        most = min(most, most_px or most)
        if most < least:
            raise ConfigError(f"most_px: {most} is less than the {least} px an image has at least")
        image_processor.size = type(size)(shortest_edge=least, longest_edge=most)
        if not frame.startswith("resized_"):
            return self
        return self.model_copy(update={"frame": f"resized_{factor}_{least}_{most}"})


def vlm_presets() -> dict[str, VlmPreset]:
    """The presets that ship with the package, by name.

    >>> vlm_presets()["qwen2_vl"].frame
    'per_1000'
    """
    folder = files("genixer.models") / "vlm_presets"
    texts = (path.read_text(encoding="utf-8") for path in folder.iterdir())
    found = (VlmPreset.model_validate(yaml.safe_load(text)) for text in texts)
    return {preset.name: preset for preset in sorted(found, key=lambda one: one.name)}


def load_vlm_preset(name: str) -> VlmPreset:
    """Preset called `name`, or in the YAML file `name`; raises `ConfigError`."""
    known = vlm_presets()
    if name in known:
        return known[name]
    path = Path(name)
    if path.suffix not in (".yaml", ".yml"):
        raise ConfigError(f"no preset is called {name!r}; {near(name, known)}")
    try:
        return VlmPreset.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, yaml.YAMLError, ValidationError) as error:
        raise ConfigError(f"preset {name}: {error}") from error


def preset_for(folder: Path, name: str, model_type: str) -> VlmPreset:
    """Preset `name`, or the one that `folder` holds, for a model of `model_type`.

    Raises `ConfigError` where there is neither, or it is for models of another type.
    """
    stored = folder / PRESET_FILE
    if name:
        preset = load_vlm_preset(name)
    elif stored.is_file():
        try:
            preset = VlmPreset.model_validate_json(stored.read_bytes())
        except ValidationError as error:
            raise ConfigError(f"{stored}: {error}; name a preset to go without it") from error
    else:
        fitting = [one.name for one in vlm_presets().values() if model_type in one.model_types]
        raise ConfigError(
            f"{folder} does not say how its model writes boxes; set `preset` to "
            f"{' or '.join(fitting) or 'a YAML file of your own'}"
        )
    if preset.model_types and model_type not in preset.model_types:
        raise ConfigError(
            f"preset {preset.name} is for {', '.join(preset.model_types)}; {folder} holds a "
            f"{model_type}"
        )
    return preset
