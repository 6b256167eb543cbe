"""A conversation as token ids, in the two ways that backbones read one.

What stands before a conversation's own words is its prefix: begin token, system words, the image.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from genixer.data import Message
from genixer.errors import CannotEncodeError

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer

    from genixer.models.base import Preset

__all__ = ["MarkedConversation", "Script", "VicunaConversation", "script_of"]


class Script(Protocol):
    """How a backbone lays out a conversation.

    Texts are whatever people wrote: what looks like a control token in them stays text.
    """

    def prefix(self, image: bool) -> list[int]:
        """Ids before the first that depends on the conversation, with or without an image."""
        ...

    def turns(self, messages: Sequence[Message], image: bool) -> tuple[list[int], list[bool]]:
        """Ids after the prefix, and for each whether it is the assistant's own, its end included.

        Where the last message is the user's, the assistant's answer can be written on. Raises
        `CannotEncodeError`.
        """
        ...


def script_of(preset: Preset, words: Tokenizer, ids: dict[str, int]) -> Script:
    """The script of `preset`, written with `words`; `ids` are those of the vocabulary."""
    if preset.prompt.style == "marks":
        return MarkedConversation(preset, words, ids)
    return VicunaConversation(preset, words, ids)


def _image_ids(preset: Preset, ids: dict[str, int]) -> list[int]:
    tokens = preset.tokens
    places = [tokens.image_start, *[tokens.image] * preset.image_tokens, tokens.image_end]
    return [ids[name] for name in places if name]


class MarkedConversation:
    """`<s>`, the image; then `<user>`, question, `<assistant>`, answer, `</s>` again and again."""

    def __init__(self, preset: Preset, words: Tokenizer, ids: dict[str, int]) -> None:
        """Look the marks up in `ids`."""
        self._words, self._lead = words, preset.lead
        self._begin, self._end = ids[preset.tokens.begin], ids[preset.tokens.end]
        self._user, self._assistant = ids["<user>"], ids["<assistant>"]
        self._image = _image_ids(preset, ids)

    def prefix(self, image: bool) -> list[int]:
        """Begin token, and the image's places."""
        return [self._begin, *(self._image if image else [])]

    def turns(self, messages: Sequence[Message], image: bool) -> tuple[list[int], list[bool]]:
        """Ids and ownership; the same with and without an image."""
        ids: list[int] = []
        own: list[bool] = []
        for message in messages:
            text = self._words.encode(self._lead + message.text, add_special_tokens=False).ids
            if message.role == "user":
                part = [self._user, *text, self._assistant]
            else:
                part = [*text, self._end]
            ids += part
            own += [message.role == "assistant"] * len(part)
        return ids, own


class VicunaConversation:
    """System words, `USER: question ASSISTANT: answer</s>` again and again.

    A stretch of text between control tokens is tokenised as a whole, the way the original code
    bases do it; which tokens are the answer's is read off their places in the text. A stretch
    tokenised in pieces would come out differently where a token reaches across a border.
    """

    def __init__(self, preset: Preset, words: Tokenizer, ids: dict[str, int]) -> None:
        """Tokenise what all conversations begin with."""
        self._words, self._prompt = words, preset.prompt
        self._end = ids[preset.tokens.end]
        prompt = preset.prompt
        self._opening = f"{prompt.system}{prompt.separator}{prompt.user}:"
        begin = [ids[preset.tokens.begin]]
        before = self._encode(self._opening + prompt.before_image).ids
        self._with_image = [*begin, *before, *_image_ids(preset, ids)]
        self._without_image = [*begin, *self._encode(self._opening).ids]

    def prefix(self, image: bool) -> list[int]:
        """Begin token, system words, `USER:`, and the image's places."""
        return list(self._with_image if image else self._without_image)

    def turns(self, messages: Sequence[Message], image: bool) -> tuple[list[int], list[bool]]:
        """Ids and ownership, round by round.

        The space before an answer is the answer's: its first word is one token with it. Raises
        `CannotEncodeError` with `unaligned_answer` where a token reaches across the border of an
        answer, and with `roles_do_not_alternate`.
        """
        roles = [message.role for message in messages]
        if roles != [("user", "assistant")[i % 2] for i in range(len(roles))]:
            raise CannotEncodeError("roles_do_not_alternate", ", ".join(roles))
        ids: list[int] = []
        own: list[bool] = []
        for i in range(0, len(messages), 2):
            answer = messages[i + 1].text if i + 1 < len(messages) else None
            head, question, known = self._round(messages[i].text, first=i == 0, image=image)
            part, mine = self._stretch(head + question, answer, known)
            ids += part
            own += mine
        return ids, own

    def _round(self, question: str, first: bool, image: bool) -> tuple[str, str, int]:
        """What stands before a question, the question, and how much of it the prefix holds.

        The last is in characters of the stretch.
        """
        if first and image:
            # Both original code bases put the image first and trim the question behind it.
            return self._prompt.after_image, question.strip(), 0
        if first:
            return f"{self._opening} ", question, len(self._opening)
        return f"{self._prompt.user}: ", question, 0

    def _stretch(self, asked: str, answer: str | None, known: int) -> tuple[list[int], list[bool]]:
        """One round's ids and ownership, the first `known` characters left to the prefix."""
        asked = f"{asked}{self._prompt.separator}{self._prompt.assistant}:"
        text = asked if answer is None else f"{asked} {answer}"
        found = self._encode(text)
        skipped = _border(found, known, text) if known else 0
        if answer is None:
            ids = found.ids[skipped:]
            return ids, [False] * len(ids)
        start = _border(found, len(asked), text)
        ids = [*found.ids[skipped:], self._end]
        return ids, [i + skipped >= start for i in range(len(ids))]

    def _encode(self, text: str) -> Encoding:
        return self._words.encode(text, add_special_tokens=False)


def _border(found: Encoding, place: int, text: str) -> int:
    """Index of the token that begins at character `place` of `text`."""
    for i, (start, end) in enumerate(found.offsets):
        if end > place:
            if start == place:
                return i
            raise CannotEncodeError(
                "unaligned_answer", f"a token covers {text[start:end]!r}, a border is in it"
            )
    return len(found.offsets)
