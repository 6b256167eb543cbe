"""The README of a converted model: what it is made of, under which licence, how to load it."""

from __future__ import annotations

from transformers import LlavaConfig

from genixer.models.base import Preset
from genixer.models.gather import Sources

__all__ = ["model_card"]

_MADE_OF = {
    "full": "A whole model under other names; no number was changed.",
    "delta": "A published difference, added to the weights it is a difference to.",
    "lora": "Low-rank adapters, added to the weights they were trained on.",
    "start": "A language model and a vision tower as they were, between them a projector drawn at "
    "random: nothing to use before it is trained.",
    "projector": "A projector between a vision tower and a language model as they were.",
}

_CARD = """---
license: other
license_name: {licence}
library_name: transformers
pipeline_tag: image-text-to-text
---
# {name}

{about}.

{made_of} Source: `{source}`{base}.

- Licence of the weights: {licence}. Conversion does not change it.
- {tokens} image tokens of {side} px, coordinates in the frame `{frame}`, {decimals} decimals.
{identity}
## Loading

With this project: `genixer.models.llava.load("FOLDER")`, or `model: FOLDER` in a config. With
transformers alone:

```python
from transformers import LlavaForConditionalGeneration

model = LlavaForConditionalGeneration.from_pretrained("FOLDER", dtype="auto")
```

The image stands at {tokens} tokens `{image}` (id {image_id}); `genixer_preset.json` has the prompt
around it.
"""

_IDENTITY = """- The projector is one linear layer. It is `linear_1` of the stock class, whose
  activation and `linear_2` are the identity; keep `linear_2` frozen when you train.
"""


def model_card(preset: Preset, sources: Sources, config: LlavaConfig) -> str:
    """Markdown with a YAML head; folders by name only, paths are of no use elsewhere."""
    base = sources.model.name
    return _CARD.format(
        name=preset.name,
        about=preset.about or preset.name,
        licence=preset.licence or "that of the source",
        made_of=_MADE_OF[sources.layout],
        source=sources.source.name,
        base=f", base `{base}`" if sources.model != sources.source else "",
        tokens=preset.image_tokens,
        side=preset.image_side_px,
        frame=preset.frame,
        decimals=preset.decimals,
        identity=_IDENTITY if preset.projector == "linear" else "",
        image=preset.tokens.image,
        image_id=config.image_token_id,
    )
