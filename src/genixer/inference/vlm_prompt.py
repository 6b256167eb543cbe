"""How a request is put to a chat model: the same words on whatever it runs."""

from __future__ import annotations

from genixer.data import Message, Request
from genixer.errors import CannotEncodeError
from genixer.inference.hints import Hint, hint_for
from genixer.models.vlm import LoadedVlm

__all__ = ["vlm_prompt"]


def vlm_prompt(loaded: LoadedVlm, request: Request, hint: Hint) -> list[int] | None:
    """Tokens of what is asked, the image one of them; None where it cannot be said."""
    try:
        (asked,) = loaded.spell([Message("user", request.prompt)])
    except CannotEncodeError:
        return None
    # The hint shows a box as the model spells it: it is not spelled again.
    told = hint_for(request, hint, loaded.preset)
    words = "\n".join(part for part in (asked.text, told) if part)
    return loaded.chat.prompt_ids([Message("user", words)])
