"""Llama's tokenizer from its own file, and small ones of its kind."""

import json
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genixer.errors import ConfigError
from genixer.models.base import load_preset
from genixer.models.sentencepiece import llama_backend, read_pieces
from genixer.models.tokenizer import new_tokenizer, read_tokenizer, train_llama_tokenizer

FOLDER = Path(__file__).parent.parent / "fixtures" / "llama_tokenizer"
GOLDEN = json.loads((FOLDER / "golden.json").read_text())
BACKEND = llama_backend(read_pieces(FOLDER / "tokenizer.model"))
SMALL = train_llama_tokenizer(["Where is the red book?", "It is on the table."] * 5, 400)


@pytest.mark.parametrize(("text", "ids"), GOLDEN["texts"])
def test_text_is_cut_as_the_slow_tokenizer_cuts_it(text: str, ids: list[int]) -> None:
    assert BACKEND.encode(text, add_special_tokens=False).ids == ids


@given(st.text(max_size=60))
def test_no_text_is_lost(text: str) -> None:
    for backend in (BACKEND, SMALL.backend_tokenizer):
        backend.encode_special_tokens = True
        assert backend.decode(backend.encode(text, add_special_tokens=False).ids) == text


def test_a_small_tokenizer_learns_words_within_its_size() -> None:
    assert len(SMALL) <= 400
    assert SMALL.tokenize("the book?") == ["▁the", "▁book?"]


@pytest.mark.parametrize("name", ["tiny", "tiny_llava", "tiny_shikra"])
def test_a_new_tokenizer_has_the_control_tokens_of_its_preset(name: str) -> None:
    preset = load_preset(name)
    vocabulary = new_tokenizer(preset, ["a red book"] * 3).get_vocab()
    assert set(preset.tokens.names()) <= set(vocabulary)


def test_listed_tokens_keep_their_ids(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.model").write_bytes((FOLDER / "tokenizer.model").read_bytes())
    listed = tmp_path / "added_tokens.json"
    listed.write_text(json.dumps({"<im_end>": 421, "<im_start>": 420}))
    preset = load_preset("tiny_shikra")
    assert read_tokenizer(tmp_path, preset).convert_tokens_to_ids("<im_end>") == 421
    listed.write_text(json.dumps({"<im_end>": 500}))
    with pytest.raises(ConfigError, match=r"'<im_end>' has id 500, the next free one is 420"):
        read_tokenizer(tmp_path, preset)


@pytest.mark.parametrize("data", [b"", b"\x0a\xff\x01", b"not a model", b"\x0b\x00", b"\x10\x01"])
def test_a_file_of_another_kind_is_refused(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.model"
    path.write_bytes(data)
    with pytest.raises(ConfigError, match="not a sentencepiece model"):
        read_pieces(path)


@given(st.binary(max_size=80))
def test_no_bytes_crash_the_reader(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tokenizer.model"
        path.write_bytes(data)
        with suppress(ConfigError):
            assert read_pieces(path)
