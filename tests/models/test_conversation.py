"""Token sequences and labels are those of the original code bases.

`golden.json` holds what the slow Llama tokenizer gives: of transformers 4.37.2, which LLaVA-1.5 and
Genixer pin, with LLaVA's rule that text is cut at the image; and of 4.28, which Shikra pins.
"""

import json
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import normalizers, pre_tokenizers

from genixer.data import ImageRef, Message, SftRow
from genixer.errors import CannotEncodeError, ConfigError
from genixer.models.base import Preset, load_preset
from genixer.models.conversation import Script, script_of
from genixer.models.llava import LoadedModel, create
from genixer.models.sentencepiece import Piece, llama_backend, read_pieces
from genixer.models.tokenizer import add_control, read_tokenizer, wrap_llama
from genixer.training.batch import Conversation, encode

FOLDER = Path(__file__).parent.parent / "fixtures" / "llama_tokenizer"
GOLDEN = json.loads((FOLDER / "golden.json").read_text())
IN_LLAVA = -200
"""LLaVA's own id for an image."""


def tokens_of(preset: Preset):
    tokenizer = read_tokenizer(FOLDER, preset)
    add_control(tokenizer.backend_tokenizer, preset)
    return tokenizer.backend_tokenizer


def golden_script(name: str, image_tokens: int) -> tuple[Script, dict[str, int]]:
    preset = load_preset(name).model_copy(update={"image_tokens": image_tokens})
    words = tokens_of(preset)
    return script_of(preset, words, words.get_vocab()), words.get_vocab()


def messages_of(conversation) -> list[Message]:
    return [Message(role, text) for role, text in conversation["messages"]]


@pytest.mark.parametrize("conversation", GOLDEN["conversations"])
@pytest.mark.parametrize(
    ("preset", "key", "image_tokens"),
    [
        ("llava_1_5_7b", "llava", 1),
        ("genixer_l", "llava", 1),
        ("genixer_s", "genixer_s", 4),
        ("shikra_7b", "shikra_7b", 4),
    ],
)
def test_ids_are_those_of_the_original_code_base(preset, key, image_tokens, conversation) -> None:
    script, ids = golden_script(preset, image_tokens)
    said = messages_of(conversation)
    image = ids.get("<image>")
    expected = [image if one == IN_LLAVA else one for one in conversation[key]]
    assert [*script.prefix(True), *script.turns(said, True)[0]] == expected
    asked = [image if one == IN_LLAVA else one for one in conversation[f"{key}_prompt"]]
    assert [*script.prefix(True), *script.turns(said[:-1], True)[0]] == asked


@pytest.mark.parametrize("scheme", ["first", "always"])
@pytest.mark.parametrize("conversation", GOLDEN["conversations"])
def test_newer_tokenizer_files_give_the_same_ids_and_labels(conversation, scheme) -> None:
    script, _ = golden_script("llava_1_5_7b", 1)
    preset = load_preset("llava_1_5_7b").model_copy(update={"image_tokens": 1})
    newer = tokens_of(preset)
    newer.normalizer = normalizers.Sequence([])
    newer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=False)
    other = script_of(preset, newer, newer.get_vocab())
    said = messages_of(conversation)
    assert other.prefix(True) == script.prefix(True)
    for image in (True, False):
        assert other.turns(said, image) == script.turns(said, image)


@pytest.mark.parametrize("conversation", GOLDEN["conversations"])
def test_ids_without_an_image_are_those_of_the_original_too(conversation) -> None:
    script, _ = golden_script("llava_1_5_7b", 1)
    found = [*script.prefix(False), *script.turns(messages_of(conversation), False)[0]]
    assert found == conversation["llava_text"]


def small(name: str, image_tokens: int) -> LoadedModel:
    """The preset `name` with a short system sentence, so that ids can be written out by hand."""
    preset = load_preset(name)
    prompt = preset.prompt.model_copy(update={"system": "Be good."})
    vision = {**preset.vision, "image_size": 14 * round(image_tokens**0.5)}
    preset = preset.model_copy(
        update={"prompt": prompt, "image_tokens": image_tokens, "vision": vision}
    )
    tokenizer = read_tokenizer(FOLDER, preset)
    add_control(tokenizer.backend_tokenizer, preset)
    return create(preset, tokenizer, seed=1)


SAID = [
    *(Message("user", "Is it red?"), Message("assistant", "yes")),
    *(Message("user", "So?"), Message("assistant", "two dogs")),
]
SYSTEM = ["<s>", "▁", "<0x42>", "e", "▁g", "o", "o", "d", ".", "▁", "U", "S", "E", "R", ":"]
ANSWER = ["▁A", "S", "S", "I", "S", "T", "A", "N", "T", ":"]
QUESTION = ["I", "s", "▁i", "t", "▁re", "d", "?"]
AGAIN = ["▁", "U", "S", "E", "R", ":", "▁", "S", "o", "?"]


def labelled(model: LoadedModel, image: bool) -> tuple[list[str], list[str]]:
    """Prefix, and the tokens after it with `*` behind those that are trained on."""
    name = model.tokenizer.convert_ids_to_tokens
    ids, own = model.turns(SAID, image)
    marked = [f"{one}{'*' if mine else ''}" for one, mine in zip(name(ids), own, strict=True)]
    return name(model.prefix(image)), marked


def test_labels_are_the_answers_and_their_ends_in_llavas_layout() -> None:
    prefix, marked = labelled(small("tiny_llava", 4), image=True)
    assert prefix == [*SYSTEM, "▁", *["<image>"] * 4]
    first = ["▁", "<0x0A>", *QUESTION, *ANSWER, "▁y*", "es*", "</s>*"]
    assert marked == [*first, *AGAIN, *ANSWER, "▁two*", "▁dog*", "s*", "</s>*"]


def test_labels_without_an_image_differ_in_the_first_question_alone() -> None:
    prefix, marked = labelled(small("tiny_llava", 4), image=False)
    assert prefix == SYSTEM
    first = ["▁", *QUESTION, *ANSWER, "▁y*", "es*", "</s>*"]
    assert marked == [*first, *AGAIN, *ANSWER, "▁two*", "▁dog*", "s*", "</s>*"]


def test_shikras_image_stands_between_its_marks() -> None:
    prefix, marked = labelled(small("tiny_shikra", 256), image=True)
    assert prefix == [*SYSTEM, "▁", "<im_start>", *["<im_patch>"] * 256, "<im_end>"]
    first = ["▁▁", *QUESTION, *ANSWER, "▁y*", "es*", "</s>*"]
    assert marked[: len(first)] == first


def test_the_tower_of_shikra_fills_all_places_between_the_marks() -> None:
    import torch

    model = small("tiny_shikra", 256)
    ids = torch.tensor([model.prompt_ids(SAID[:1])])
    pixels = torch.zeros(1, 3, 224, 224)
    with torch.no_grad():
        assert model.model(input_ids=ids, pixel_values=pixels).logits.shape[1] == ids.shape[1]


@cache
def shared() -> LoadedModel:
    return small("tiny_shikra", 4)


@given(st.text(max_size=30), st.text(max_size=30))
def test_words_that_look_like_control_tokens_stay_words(question: str, answer: str) -> None:
    model = shared()
    hostile = "</s><im_start><im_patch><s><unk>"
    said = [Message("user", question + hostile), Message("assistant", answer + hostile)]
    ids, own = model.turns(said)
    control = {model.tokenizer.convert_tokens_to_ids(name) for name in model.preset.tokens.names()}
    assert [one for one in ids if one in control] == [model.end_id]
    assert model.decode([one for one, mine in zip(ids, own, strict=True) if mine]) == (
        answer + hostile
    )


@given(st.text(max_size=40))
def test_what_a_model_writes_is_read_back_exactly(text: str) -> None:
    model = shared()
    assert model.decode(model.encode_text(text)) == text


def test_an_option_is_encoded_as_it_stands_behind_the_prompt() -> None:
    model = shared()
    for answer in ("yes", "two dogs", "[0.125,0.250,0.500,0.975]"):
        ids, own = model.turns([SAID[0], Message("assistant", answer)])
        mine = [one for one, is_own in zip(ids, own, strict=True) if is_own]
        assert mine == [*model.encode_text(answer), model.end_id]


def row(*messages: Message) -> SftRow:
    image = ImageRef("1.png", 20, 20, "aa")
    return SftRow("1", "2", "common_vqa", "student", image, messages)


def test_an_answer_that_shares_a_token_with_the_question_is_rejected_and_counted() -> None:
    preset = load_preset("tiny_llava").model_copy(update={"frame": "unit"})
    # A token `:▁y` reaches from the words before the answer into the answer.
    pieces = [*read_pieces(FOLDER / "tokenizer.model"), Piece("▁y", 2.0, 1), Piece(":▁y", 3.0, 1)]
    tokenizer = wrap_llama(llama_backend(list(dict.fromkeys(pieces))))
    add_control(tokenizer.backend_tokenizer, preset)
    model = create(preset, tokenizer, seed=1)
    bad = row(SAID[0], Message("assistant", "yes"))
    assert encode(bad, model) == "unaligned_answer"
    assert isinstance(encode(row(SAID[0], Message("assistant", "no")), model), Conversation)


def test_roles_that_do_not_alternate_are_rejected_and_counted() -> None:
    model = shared()
    assert encode(row(SAID[0], SAID[0], SAID[1]), model) == "roles_do_not_alternate"
    with pytest.raises(CannotEncodeError, match="assistant"):
        model.turns([SAID[1]])


def test_a_conversation_is_too_long_with_its_prefix_counted() -> None:
    model = shared()
    length = len(model.prefix()) + len(model.turns(SAID)[0])
    most = model.preset
    model.preset = most.model_copy(update={"max_tokens": length})
    fits = encode(row(*SAID), model)
    model.preset = most.model_copy(update={"max_tokens": length - 1})
    assert encode(row(*SAID), model) == "too_long"
    model.preset = most
    assert isinstance(fits, Conversation)


def test_a_tokenizer_of_another_preset_is_refused() -> None:
    tokenizer = read_tokenizer(FOLDER, load_preset("tiny_llava"))
    model = shared()
    with pytest.raises(ConfigError, match="has no <im_patch>, <im_start>, <im_end>"):
        LoadedModel(model.model, tokenizer, model.preset, "x")
