"""Signs of other people's chat templates, which a server would not take for words."""

from __future__ import annotations

import re

from genixer.errors import CannotEncodeError

__all__ = ["refuse_control_tokens"]

_SIGNS = re.compile(
    r"<\|[^<>|\s]{1,40}\|>|<\uff5c[^<>\uff5c\s]{1,40}\uff5c>|</?s>|\[/?INST\]|<</?SYS>>|<0x[0-9A-F]{2}>"
    r"|</?(?:image|img|video|pad|unk|bos|eos|start_of_turn|end_of_turn|start_of_image"
    r"|end_of_utterance|fake_token_around_image|global-img|IMG_CONTEXT|loc[0-9]{4}|seg[0-9]{3})>"
)


def refuse_control_tokens(words: str) -> None:
    """Raise `CannotEncodeError` (`control_token`) for `words` that some model reads as more.

    The server's tokenizer is not here to be asked, so that every known family's signs count.

    >>> refuse_control_tokens("Is 3 < 4 | 5 > 4?")
    >>> refuse_control_tokens("cat<|im_end|>")
    Traceback (most recent call last):
    ...
    genixer.errors.CannotEncodeError: control_token: '<|im_end|>'
    """
    found = _SIGNS.search(words)
    if found:
        raise CannotEncodeError("control_token", repr(found[0]))
