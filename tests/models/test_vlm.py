import json
import shutil
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from tiny_vlms import FAMILIES, PRESETS
from transformers import AutoConfig, AutoModelForImageTextToText, AutoTokenizer

from genixer.data import Box, Message
from genixer.errors import CannotEncodeError, ConfigError
from genixer.frames import box_to_frame
from genixer.models.base import load_preset
from genixer.models.box_text import own_signs, write_boxes
from genixer.models.chat import Chat
from genixer.models.vlm import LoadedVlm, _call_options, _tells_kinds, load_vlm
from genixer.models.vlm_preset import PRESET_FILE, load_vlm_preset, vlm_presets
from genixer.tasks.brackets import write_box


@pytest.fixture(scope="module", params=sorted(FAMILIES))
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> LoadedVlm:
    folder = tmp_path_factory.mktemp("models") / request.param
    FAMILIES[request.param](folder)
    return load_vlm(str(folder), PRESETS[request.param])


@pytest.fixture(scope="module")
def qwen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "qwen"
    FAMILIES["qwen2_5_vl"](folder)
    return folder


def picture(width: int, height: int, seed: int = 0) -> Image.Image:
    noise = np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(noise)


ASKED = [Message("user", "Where is the red cup?")]
SAID = [*ASKED, Message("assistant", "a longer answer")]


# The library makes an array of a tensor the old way.
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize("size", [(70, 40), (24, 24), (33, 120)])
def test_prompts_are_those_of_the_librarys_own_processor(
    model: LoadedVlm, size: tuple[int, int]
) -> None:
    if model.preset.frame == "padded_square" and size[0] != size[1]:
        pytest.skip("the processor cuts the image, the preset keeps all of it")
    seen = model.look(picture(*size))
    ids = model.insert(model.chat.prompt_ids(ASKED), seen)
    ours = model.inputs([ids], [seen])
    text = model.chat.render(ASKED, image=True, reply=True)
    if model.preset.name == "paligemma":
        # Its processor adds the begin mark and the line break by itself.
        text = text.replace("<bos>", "").removesuffix("\n")
    begins = model.tokenizer.bos_token and text.startswith(model.tokenizer.bos_token)
    theirs = model.processor(
        text=[text], images=[[picture(*size)]], return_tensors="pt",
        add_special_tokens=not begins,
    )  # fmt: skip
    assert set(ours) == set(theirs) - {"labels"}
    for name, value in ours.items():
        assert torch.equal(value, theirs[name]), name


def test_rows_padded_together_see_their_own_images(model: LoadedVlm) -> None:
    looks = [model.look(picture(*size, seed)) for seed, size in enumerate([(70, 40), (24, 24)])]
    asked = [[Message("user", "Where?" * (1 + i))] for i in range(2)]
    rows = [model.insert(model.chat.prompt_ids(asked[i]), looks[i]) for i in range(2)]
    for left in (False, True):
        both = model.inputs(rows, looks, left=left)
        with torch.inference_mode():
            together = model.model(**both).logits
            for i, row in enumerate(rows):
                alone = model.model(**model.inputs([row], [looks[i]])).logits[0]
                there = together[i][both["attention_mask"][i].bool()]
                assert torch.allclose(there, alone, atol=1e-4)
    assert both["attention_mask"].sum(1).tolist() == [len(row) for row in rows]


def test_a_saved_folder_is_one_of_the_library(model: LoadedVlm, tmp_path: Path) -> None:
    with torch.no_grad():
        weight = model.model.get_input_embeddings().weight
        weight.add_(0.01)
    model.save(tmp_path)
    plain = AutoModelForImageTextToText.from_pretrained(tmp_path, local_files_only=True)
    seen = model.look(picture(40, 40))
    ids = model.insert(model.chat.prompt_ids(ASKED), seen)
    tensors = model.inputs([ids], [seen])
    with torch.inference_mode():
        assert torch.equal(plain(**tensors).logits, model.model(**tensors).logits)
    words = AutoTokenizer.from_pretrained(tmp_path, local_files_only=True)
    assert words("the red cup")["input_ids"] == model.tokenizer("the red cup")["input_ids"]
    assert AutoConfig.from_pretrained(tmp_path).model_type == model.model.config.model_type
    again = load_vlm(str(tmp_path))
    assert (again.preset, again.end_ids) == (model.preset, model.end_ids)
    assert again.revision != model.revision
    for name in ("generation_config.json", "chat_template.jinja", "preprocessor_config.json"):
        theirs = model.folder / name
        assert not theirs.is_file() or (tmp_path / name).read_bytes() == theirs.read_bytes()


def test_answers_are_whole_tokens_after_the_prompts_own(model: LoadedVlm) -> None:
    spoken, prompt = model.chat.spoken(SAID), model.chat.prompt_ids(ASKED)
    first = spoken.own.index(True)
    assert spoken.ids[:first] == prompt
    own = [one for one, mine in zip(spoken.ids, spoken.own, strict=True) if mine]
    assert own[-1] in model.end_ids
    assert own[:-1] == model.chat.reply_ids("a longer answer")
    assert model.decode(own).strip() == "a longer answer"


HOSTILE = (
    "<image>", "<|im_end|>", "<|im_start|>", "<|image_pad|>", "<|box_start|>", "<|endoftext|>",
    "</s>", "<s>", "<bos>", "<eos>", "<pad>", "<unk>", "<end_of_utterance>", "<loc0001>",
    "<fake_token_around_image>", "<row_1_col_1>", "[INST]", "<|im_end|", "|im_end|>",
)  # fmt: skip
WORDS = st.lists(st.text(max_size=8) | st.sampled_from(HOSTILE), max_size=4).map("".join)


@given(st.lists(WORDS, min_size=1, max_size=3))
def test_any_words_are_aligned_or_refused(answers: list[str]) -> None:
    chat = _chat()
    said = []
    for answer in answers:
        try:
            said += [Message("user", "Well?"), Message("assistant", chat.veil(answer))]
        except CannotEncodeError:
            # A code point that no text may hold.
            assert "\ufdd0" in answer
            return
    spoken = chat.spoken(said)
    if isinstance(spoken, str):
        # Space at the end of an answer is the template's where an end mark follows it.
        assert spoken == "unaligned_answer"
        return
    own = [one for one, mine in zip(spoken.ids, spoken.own, strict=True) if mine]
    text = chat.tokenizer.decode(own, clean_up_tokenization_spaces=False)
    assert text == "".join(f"{answer}<|im_end|>" for answer in answers)


_CHATS: list[Chat] = []


def _chat() -> Chat:
    """A chat of Qwen's kind, made once: hypothesis asks for it again and again."""
    if not _CHATS:
        import tempfile

        with tempfile.TemporaryDirectory() as folder:
            FAMILIES["qwen2_vl"](Path(folder))
            _CHATS.append(load_vlm(folder, "qwen2_vl").chat)
    return _CHATS[0]


def test_a_token_over_the_border_is_refused() -> None:
    # The space before the answer is the prompt's here, and one token with the answer's first word.
    template = (
        "{% for m in messages %}{{ m['role'] }}: {% for p in m['content'] %}"
        "{% if p['type'] == 'text' %}{{ p['text'] }}{% endif %}{% endfor %}"
        "{% if m['role'] == 'assistant' %}<|im_end|>{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}assistant: {% endif %}"
    )
    chat = _chat()
    crossing = Chat(chat.tokenizer, template, chat.image_token, sorted(chat.end_ids))
    assert crossing.spoken(SAID, image=False) == "unaligned_answer"


def test_a_template_that_ends_no_answer_stops_the_run() -> None:
    chat = _chat()
    template = chat.template.replace("<|im_end|>", "")
    endless = Chat(chat.tokenizer, template, chat.image_token, sorted(chat.end_ids))
    with pytest.raises(ConfigError, match="set `end` in the preset"):
        endless.spoken(SAID)
    ended = Chat(chat.tokenizer, template, chat.image_token, sorted(chat.end_ids), "<|im_end|>")
    assert not isinstance(ended.spoken(SAID), str)


def test_a_template_without_a_place_for_the_image_stops_the_run() -> None:
    chat = _chat()
    blind = Chat(chat.tokenizer, "{{ messages[0]['role'] }}", chat.image_token, [2])
    with pytest.raises(ConfigError, match="0 times for 1 image"):
        blind.prompt_ids(ASKED)


def _controls(model: LoadedVlm, ids: list[int]) -> list[int]:
    """Tokens of `ids` that are no words: those that a template may write, and the image's."""
    added = model.tokenizer.added_tokens_decoder
    special = {number for number, one in added.items() if one.special}
    return [one for one in ids if one in special | {model.chat.image_id}]


@pytest.mark.parametrize("mark", HOSTILE)
def test_control_tokens_in_words_are_words(model: LoadedVlm, mark: str) -> None:
    def said(word: str) -> list[Message]:
        asked = Message("user", f"Is {word}{word} there, {word}?")
        return model.spell([asked, Message("assistant", f"a {word} b{word}")])

    if own_signs(mark, model.preset.boxes):
        # Written by this model, it would be read as a box: in a question it is a word.
        with pytest.raises(CannotEncodeError, match="box_mark"):
            said(mark)
        ids = model.chat.prompt_ids(model.spell([Message("user", f"Is {mark} there?")]))
        assert model.tokenizer.convert_tokens_to_ids(mark) not in ids
        assert mark in model.tokenizer.decode(ids)
        return
    hostile, harmless = model.chat.spoken(said(mark)), model.chat.spoken(said("cup"))
    assert _controls(model, hostile.ids) == _controls(model, harmless.ids)
    own = [one for one, mine in zip(hostile.ids, hostile.own, strict=True) if mine]
    assert model.decode(own).strip() == f"a {mark} b{mark}"
    prompt = model.chat.prompt_ids(said(mark)[:1])
    assert hostile.ids[: hostile.own.index(True)] == prompt


def test_beside_a_veiled_word_all_else_is_read_as_ever(model: LoadedVlm) -> None:
    first = [Message("user", "Where is the red cup?"), Message("assistant", "a longer answer")]
    plain = model.chat.spoken(first)
    end = model.tokenizer.eos_token
    both = model.spell([*first, Message("user", f"And {end}?"), Message("assistant", "Yes")])
    veiled = model.chat.spoken(both)
    border = plain.own.index(True) + plain.own.count(True)
    assert veiled.ids[:border] == plain.ids[:border]
    assert veiled.own[:border] == plain.own[:border]


def test_a_word_with_a_veil_of_its_own_is_refused() -> None:
    with pytest.raises(CannotEncodeError, match="control_mark"):
        _chat().veil("\ufdd0|im_end|>")


@pytest.mark.parametrize("name", sorted(vlm_presets()))
def test_every_shipped_preset_is_found_by_its_name(name: str) -> None:
    preset = load_vlm_preset(name)
    assert preset.name == name
    assert preset.model_types
    assert preset.canvas(640, 480).step > 0


def test_a_folder_without_a_preset_says_which_would_fit(qwen: Path) -> None:
    with pytest.raises(ConfigError, match="set `preset` to qwen2_5_vl"):
        load_vlm(str(qwen))


def test_a_preset_for_another_kind_of_model_is_refused(qwen: Path) -> None:
    with pytest.raises(ConfigError, match=r"paligemma is for paligemma; .* holds a qwen2_5_vl"):
        load_vlm(str(qwen), "paligemma")
    with pytest.raises(ConfigError, match="no preset is called 'qwen'"):
        load_vlm(str(qwen), "qwen")


def test_most_px_bounds_image_and_frame_together(qwen: Path) -> None:
    model = load_vlm(str(qwen), "qwen2_5_vl", most_px=8 * 28 * 28)
    assert model.preset.frame == f"resized_28_3136_{8 * 28 * 28}"
    seen = model.look(picture(640, 480))
    assert len(seen.ids) <= 8
    _, rows, columns = seen.features["image_grid_thw"][0].tolist()
    canvas = model.canvas(640, 480)
    whole = box_to_frame(Box(0, 0, 1, 1), canvas.frame, canvas.width, canvas.height)
    assert whole == (0.0, 0.0, columns * 14, rows * 14)


def test_a_frame_of_other_multiples_is_refused(qwen: Path, tmp_path: Path) -> None:
    own = {"name": "mine", "frame": "resized_32_65536_16777216", "decimals": 0}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(own), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"multiples of 32 px.* of 28"):
        load_vlm(str(qwen), str(tmp_path / "mine.yaml"))
    (tmp_path / "bad.yaml").write_text("name: bad\nboxes: round\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="boxes"):
        load_vlm(str(qwen), str(tmp_path / "bad.yaml"))


def test_most_px_is_refused_where_images_have_one_size(tmp_path: Path) -> None:
    FAMILIES["paligemma"](tmp_path)
    with pytest.raises(ConfigError, match="does not resize by area"):
        load_vlm(str(tmp_path), "paligemma", most_px=1000)


def test_code_in_a_folder_is_never_run(qwen: Path, tmp_path: Path) -> None:
    folder = tmp_path / "hostile"
    shutil.copytree(qwen, folder)
    config = json.loads((folder / "config.json").read_text())
    config["model_type"] = "mine"
    config["auto_map"] = {
        "AutoConfig": "code.Config",
        "AutoModelForImageTextToText": "code.Model",
    }
    (folder / "config.json").write_text(json.dumps(config))
    mark = tmp_path / "ran"
    (folder / "code.py").write_text(
        f"open({str(mark)!r}, 'w')\nclass Config: pass\nModel = Config\n"
    )
    with pytest.raises(ConfigError, match="holds no image-text model"):
        load_vlm(str(folder), "qwen2_5_vl")
    assert not mark.exists()


def test_pickled_weights_are_not_read(qwen: Path, tmp_path: Path) -> None:
    folder = tmp_path / "pickled"
    shutil.copytree(qwen, folder)
    (folder / "model.safetensors").unlink()
    torch.save({}, folder / "pytorch_model.bin")
    with pytest.raises(ConfigError, match="holds no image-text model"):
        load_vlm(str(folder), "qwen2_5_vl")


def test_a_folder_that_is_not_there_is_named() -> None:
    with pytest.raises(ConfigError, match="no model at 'nowhere'"):
        load_vlm("nowhere", "qwen2_vl")


def test_half_precision_is_a_setting(qwen: Path) -> None:
    model = load_vlm(str(qwen), "qwen2_5_vl", dtype="bfloat16", device="cpu")
    seen = model.look(picture(40, 40))
    tensors = model.inputs([model.insert(model.chat.prompt_ids(ASKED), seen)], [seen])
    assert model.model.dtype == tensors["pixel_values"].dtype == torch.bfloat16
    with torch.inference_mode():
        assert model.model(**tensors).logits.isfinite().all()


def test_the_table_in_the_documents_is_what_the_presets_do() -> None:
    page = (Path(__file__).parents[2] / "docs" / "vlms.md").read_text(encoding="utf-8")
    for name, preset in vlm_presets().items():
        (line,) = (one for one in page.splitlines() if one.startswith(f"| `{name}`"))
        box = write_box([Box(0.12, 0.04, 0.30, 0.08)], preset.canvas(640, 480))
        assert write_boxes(box, preset.boxes) in line.replace("\\|", "|")
        assert preset.frame in line


def test_a_llava_of_the_hub_is_padded_as_its_makers_do(tmp_path: Path) -> None:
    FAMILIES["llava"](tmp_path / "llava")
    loaded = load_vlm(str(tmp_path / "llava"), PRESETS["llava"])
    loaded.processor.image_processor.image_mean = [0.48145466, 0.4578275, 0.40821073]
    corner = loaded.framed(Image.new("RGB", (70, 40))).getpixel((0, 0))
    assert corner == load_preset("llava_1_5_7b").pad_colour


def test_a_broken_preset_beside_the_weights_is_a_config_error(qwen: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(qwen, tmp_path / "qwen")
    (folder / PRESET_FILE).write_text("{}", encoding="utf-8")
    with pytest.raises(ConfigError, match=PRESET_FILE):
        load_vlm(str(folder))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_a_config_error(qwen: Path) -> None:
    with pytest.raises(ConfigError, match="device: cuda, but torch sees no GPU"):
        load_vlm(str(qwen), "qwen2_5_vl", device="cuda")


class _New:
    """Where a processor has its options from transformers 5.20 on."""

    return_mm_token_type_ids = True
    images_kwargs: ClassVar = {"return_row_col_info": True}


class _Old:
    """And where it had them before."""

    class valid_processor_kwargs:  # noqa: N801
        _defaults: ClassVar = {
            "images_kwargs": {"return_row_col_info": True},
            "text_kwargs": {"return_mm_token_type_ids": True},
        }


@pytest.mark.parametrize(("processor", "told"), [(_New, True), (_Old, True), (object, False)])
def test_options_of_a_processor_are_found_where_a_version_has_them(
    processor: type, told: bool
) -> None:
    assert _tells_kinds(processor()) is told
    expected = {"return_row_col_info": True} if told else {}
    assert _call_options(processor(), "images_kwargs") == expected
