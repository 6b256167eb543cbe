"""A conversation through a model's own chat template: once to text, once to tokens.

What the assistant says is found by rendering turn by turn: each shorter rendering must be the
beginning of the longer one. Its tokens are found by their offsets; where a token reaches over the
border, the conversation is refused rather than trained on a guess.

Words that look like a control token are words. They are **veiled** before the template sees them:
the first sign of the look-alike becomes one that no text has. Behind the template the veil changes
sides, from the words to the template's own tokens, and a second tokenizer reads the text that knows
control tokens under their veiled names alone. So `<|im_end|>` in a caption is read as any text is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

from genixer.data import Message
from genixer.errors import CannotEncodeError, ConfigError

__all__ = ["Chat", "Spoken"]

UNALIGNED = "unaligned_answer"
"""Reason for a conversation whose answers are not whole tokens."""
_VEIL = "\ufdd0"
"""Stands for the first sign of a veiled mark: no text may hold this code point (Unicode 23.7)."""


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
        self,
        tokenizer: Any,
        template: str,
        image_token: str,
        end_ids: Sequence[int],
        end: str = "",
        own: Iterable[str] = (),
    ) -> None:
        """`end` is put after every answer, for a template that does not end one itself.

        `own` are tokens that control something beside those the tokenizer says are special.
        """
        self.tokenizer, self.template, self.image_token = tokenizer, template, image_token
        self.end_ids, self.end = frozenset(end_ids), end
        self.image_id: int = tokenizer.convert_tokens_to_ids(image_token)
        special = (t.content for t in tokenizer.added_tokens_decoder.values() if t.special)
        marks: set[str] = {image_token, *(mark for mark in special if mark.strip()), *own}
        # The longest first: one may begin as another does.
        longest = sorted(marks, key=len, reverse=True)
        self._marks: dict[str, str] = {mark: _VEIL + mark[1:] for mark in longest}
        self._plain = re.compile("|".join(map(re.escape, self._marks)))
        both = (*self._marks, *self._marks.values())
        self._either = re.compile("|".join(map(re.escape, both)))
        self._names = {veiled: mark for mark, veiled in self._marks.items()}

    def veil(self, text: str) -> str:
        """`text` in which nothing is a control token any more, for the words of a message.

        Raises `CannotEncodeError`, `control_mark`, for text with a veil of its own.
        """
        veiled = self._plain.sub(lambda found: self._marks[found[0]], text)
        if _VEIL in text or self._plain.search(veiled):
            raise CannotEncodeError("control_mark", text)
        return veiled

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
        ids, _ = self._encode(self.render(messages, image, reply=True))
        return ids

    def reply_ids(self, text: str) -> list[int]:
        """Tokens the assistant writes to say `text`, the end token left out.

        Raises `ConfigError` where they cannot be told from what stands before.
        """
        said = [Message("user", "?"), Message("assistant", self.veil(text))]
        spoken = self.spoken(said, image=False)
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
        ids, offsets = self._encode(whole)
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

    def _encode(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """Tokens of a rendered `text`, and where each stands in it."""
        begin = self.tokenizer.bos_token
        # As in the library: a template that writes the first token itself wants no second one.
        bare = begin is not None and text.startswith(begin)
        if _VEIL not in text:
            found = self.tokenizer(text, add_special_tokens=not bare, return_offsets_mapping=True)
            return found["input_ids"], found["offset_mapping"]
        # A veil is one sign, as what it stands for: all offsets stay.
        turned = self._either.sub(lambda found: self._turned(found[0]), text)
        veiled = self._veiled.encode(turned, add_special_tokens=not bare)
        return veiled.ids, veiled.offsets

    def _turned(self, mark: str) -> str:
        return self._names[mark] if mark.startswith(_VEIL) else self._marks[mark]

    @cached_property
    def _veiled(self) -> Any:
        """The same tokenizer that knows control tokens by their veiled names alone."""
        from tokenizers import Tokenizer

        written = json.loads(self.tokenizer.backend_tokenizer.to_str())
        for token in written["added_tokens"]:
            token["content"] = self._marks.get(token["content"], token["content"])
        model = written["model"]
        words = model["vocab"]
        if isinstance(words, dict):
            renamed: Any = {self._marks.get(word, word): number for word, number in words.items()}
        else:
            renamed = [[self._marks.get(word, word), score] for word, score in words]
        model["vocab"] = renamed
        if model.get("unk_token") in self._marks:
            model["unk_token"] = self._marks[model["unk_token"]]
        if "merges" in model:
            # No run of words may add up to a control token.
            model["merges"] = [pair for pair in model["merges"] if _joined(pair) not in self._marks]
        return Tokenizer.from_str(json.dumps(written))


def _joined(pair: str | Sequence[str]) -> str:
    """What a merge of two pieces makes; older files write it as one text with a space."""
    return pair.replace(" ", "") if isinstance(pair, str) else "".join(pair)


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
