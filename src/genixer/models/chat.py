"""A conversation through a model's own chat template: once to text, once to tokens.

What the assistant says is found by rendering turn by turn: each shorter rendering must be the
beginning of the longer one. Its tokens are found by their offsets; where a token reaches over the
border, the conversation is refused rather than trained on a guess.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from genixer.data import Message
from genixer.errors import ConfigError

__all__ = ["Chat", "Spoken"]

UNALIGNED = "unaligned_answer"
"""Reason for a conversation whose answers are not whole tokens."""
CONTROL_MARK = "control_mark"
"""Reason for a conversation whose words hold what the model takes for a control token."""


@dataclass(frozen=True)
class Spoken:
    """Tokens of a conversation, its image one token still.

    `own[i]` is true where token i is the assistant's, the end token included.
    """

    ids: list[int]
    own: list[bool]


class Chat:
    """A tokenizer and a chat template. `image_token` stands for the image; `end_ids` end a turn."""

    def __init__(
        self, tokenizer: Any, template: str, image_token: str, end_ids: Sequence[int], end: str = ""
    ) -> None:
        """`end` is put after every answer, for a template that does not end one itself."""
        self.tokenizer, self.template, self.image_token = tokenizer, template, image_token
        self.end_ids, self.end = frozenset(end_ids), end
        self.image_id: int = tokenizer.convert_tokens_to_ids(image_token)
        special = (t.content for t in tokenizer.added_tokens_decoder.values() if t.special)
        self._control = (image_token, *(mark for mark in special if mark.strip()))

    def fault(self, messages: Sequence[Message]) -> str:
        """Why the words of `messages` must not be given to the template; empty if they may."""
        held = any(mark in message.text for message in messages for mark in self._control)
        return CONTROL_MARK if held else ""

    def render(self, messages: Sequence[Message], image: bool, reply: bool = False) -> str:
        """Text of `messages`, the image in the first of them; `reply` opens the assistant's turn.

        Raises `ConfigError` where the template does not show the image exactly once.
        """
        turns = []
        for place, message in enumerate(messages):
            ended = self.end if message.role == "assistant" else ""
            content = [{"type": "text", "text": message.text + ended}]
            if image and not place:
                content.insert(0, {"type": "image"})
            turns.append({"role": message.role, "content": content})
        text: str = self.tokenizer.apply_chat_template(
            turns, chat_template=self.template, tokenize=False, add_generation_prompt=reply
        )
        if text.count(self.image_token) != int(image):
            raise ConfigError(
                f"the chat template writes {self.image_token} {text.count(self.image_token)} times "
                f"for {int(image)} image; name a preset with a chat_template"
            )
        return text

    def prompt_ids(self, messages: Sequence[Message], image: bool = True) -> list[int]:
        """Tokens to continue from: `messages`, whose last is the user's, and an opened reply."""
        ids: list[int] = self._encode(self.render(messages, image, reply=True))["input_ids"]
        return ids

    def reply_ids(self, text: str) -> list[int]:
        """Tokens the assistant writes to say `text`, the end token left out.

        Raises `ConfigError` where they cannot be told from what stands before.
        """
        spoken = self.spoken([Message("user", "?"), Message("assistant", text)], image=False)
        if isinstance(spoken, str):
            raise ConfigError(f"{text!r} cannot be said in this chat template: {spoken}")
        ids = [one for one, own in zip(spoken.ids, spoken.own, strict=True) if own]
        while ids and ids[-1] in self.end_ids:
            ids.pop()
        return ids

    def spoken(self, messages: Sequence[Message], image: bool = True) -> Spoken | str:
        """Tokens of a whole conversation, or `unaligned_answer`.

        Raises `ConfigError` where the template ends no answer: nothing would teach when to stop.
        """
        whole = self.render(messages, image)
        spans = list(self._answers(whole, messages, image))
        encoded = self._encode(whole, return_offsets_mapping=True)
        ids, offsets = encoded["input_ids"], encoded["offset_mapping"]
        own = [False] * len(ids)
        for span in spans:
            found = span and _covering(offsets, *span)
            if not found:
                return UNALIGNED
            own[found.start : found.stop] = [True] * len(found)
            if ids[found.stop - 1] not in self.end_ids:
                raise ConfigError(
                    f"the chat template ends an answer with {whole[slice(*span or ())][-12:]!r}, "
                    "not with an end token of the model; set `end` in the preset"
                )
        return Spoken(ids, own)

    def _answers(
        self, whole: str, messages: Sequence[Message], image: bool
    ) -> Iterator[tuple[int, int] | None]:
        """Where each answer stands in `whole`, end mark included; None where that is unclear."""
        for place, message in enumerate(messages):
            if message.role != "assistant":
                continue
            before = self.render(messages[:place], image, reply=True)
            through = self.render(messages[: place + 1], image)
            if not (whole.startswith(through) and through.startswith(before)):
                yield None
            else:
                # Space after the end mark belongs to the template, not to the answer.
                yield len(before), len(through.rstrip())

    def _encode(self, text: str, **options: Any) -> Any:
        begin = self.tokenizer.bos_token
        # As in the library: a template that writes the first token itself wants no second one.
        bare = begin is not None and text.startswith(begin)
        return self.tokenizer(text, add_special_tokens=not bare, **options)


def _covering(offsets: Sequence[tuple[int, int]], start: int, end: int) -> range | None:
    """Tokens that spell text `start` to `end` and nothing else, if there are any.

    A token's offsets leave out space that it begins with: what lies between two tokens is the
    second one's.

    >>> _covering([(0, 3), (4, 7), (7, 8)], 3, 7), _covering([(0, 3), (4, 7)], 4, 7)
    (range(1, 2), None)
    """
    reach = 0
    starts = []
    for _, stop in offsets:
        starts.append(reach)
        reach = max(reach, stop)
    starts.append(reach)
    inside = [
        place
        for place, (low, high) in enumerate(pairwise(starts))
        if low >= start and high <= end and high > low
    ]
    if not inside:
        return None
    found = range(inside[0], inside[-1] + 1)
    exact = starts[found.start] == start and starts[found.stop] == end
    return found if exact else None
