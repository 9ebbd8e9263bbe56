"""Tokenizer, file formats and forward pass, in this process."""

from __future__ import annotations

import json
import shutil
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalx_quickstart import paths
from evalx_quickstart.numpy_server import gguf
from evalx_quickstart.numpy_server.llama import Llama, Reading
from evalx_quickstart.numpy_server.tokenizer import Tokenizer, word_pattern
from evalx_quickstart.numpy_server.weights import Array, Model, ModelError, load

FOLDER = paths.TOY_MODELS["tinyqa-strong"]
TOKENIZER = Tokenizer(load(FOLDER).vocabulary)
TEXT = "<|im_start|>user\nWhat is 12 - 4?<|im_end|>\n<|im_start|>assistant\n"


# ---------------------------------------------------------------------- tokenizer


@given(st.text())
def test_any_text_survives_the_tokenizer(text: str) -> None:
    assert TOKENIZER.decode(TOKENIZER.encode(text), keep_special=True) == text


@given(st.text(), st.booleans())
def test_words_are_a_partition_of_the_text(text: str, single_digits: bool) -> None:
    assert "".join(word_pattern(single_digits).findall(text)) == text


def test_special_tokens_are_one_token_and_not_part_of_the_text() -> None:
    tokens = TOKENIZER.encode(TEXT)
    assert tokens.count(1) == 2 and tokens.count(2) == 1
    assert TOKENIZER.decode(tokens) == "user\nWhat is 12 - 4?\nassistant\n"


def test_digits_are_tokens_of_their_own() -> None:
    assert [TOKENIZER.text(token) for token in TOKENIZER.encode("144")] == ["1", "4", "4"]


def test_characters_may_be_spread_over_tokens() -> None:
    tokens = TOKENIZER.encode("Ж")
    assert b"".join(map(TOKENIZER.raw, tokens)) == "Ж".encode()


# ---------------------------------------------------------------------- forward pass


def at_once(llama: Llama, tokens: list[int]) -> Array:
    """Rows after every token."""
    (rows,) = llama([Reading(llama.cache(len(tokens)), tokens, every=True)])
    return rows


def test_rows_are_log_probabilities(model: Model) -> None:
    rows = at_once(Llama(model, 64), TOKENIZER.encode(TEXT))
    assert np.exp(rows).sum(-1) == pytest.approx(1, abs=1e-4)
    assert TOKENIZER.text(int(rows[-1].argmax())) == "8"


def test_reading_in_pieces_and_in_company_changes_nothing(model: Model) -> None:
    llama, tokens, other = Llama(model, 64), TOKENIZER.encode(TEXT), TOKENIZER.encode("Which planet?")
    expected, expected_other = at_once(llama, tokens), at_once(llama, other)
    cache, other_cache = llama.cache(len(tokens)), llama.cache(len(other))
    first, alone = llama([Reading(cache, tokens[:5], every=True), Reading(other_cache, other[:1])])
    second, rest = llama([Reading(cache, tokens[5:6]), Reading(other_cache, other[1:], every=True)])
    (third,) = llama([Reading(cache, tokens[6:], every=True)])
    assert np.concatenate([first, second, third]) == pytest.approx(expected, abs=1e-3)
    assert np.concatenate([alone, rest]) == pytest.approx(expected_other, abs=1e-3)


def test_a_cache_that_begins_like_another_goes_on_alike(model: Model) -> None:
    llama, tokens = Llama(model, 64), TOKENIZER.encode(TEXT)
    known, cache = llama.cache(len(tokens)), llama.cache(len(tokens))
    (expected,) = llama([Reading(known, tokens)])
    cache.begin_like(known, 7)
    (rows,) = llama([Reading(cache, tokens[7:])])
    assert rows == pytest.approx(expected, abs=1e-3)


# ---------------------------------------------------------------------- files


def packed(value: Any) -> bytes:
    """A GGUF metadata value with its type: int, float, str, or a list of one of these."""
    if isinstance(value, list):
        items = [packed(item) for item in value]
        return struct.pack("<I", gguf.ARRAY) + items[0][:4] + struct.pack("<Q", len(items)) + b"".join(item[4:] for item in items)
    if isinstance(value, str):
        return struct.pack("<IQ", gguf.STRING, len(value.encode())) + value.encode()
    return struct.pack("<If", 6, value) if isinstance(value, float) else struct.pack("<IQ", 10, value)


def interleaved(matrix: Array, heads: int) -> Array:
    """Rows of a query or key matrix in the order that neighbouring rotary pairs want."""
    size = len(matrix) // heads
    return matrix.reshape(heads, 2, size // 2, -1).swapaxes(1, 2).reshape(matrix.shape)


def write_gguf(path: Path, model: Model, **changed: Any) -> None:
    """The model as a GGUF file of F32 tensors; `changed` metadata without the leading `llama.`."""
    shape, words = model.geometry, model.vocabulary
    metadata = {
        "general.architecture": "llama",
        "llama.block_count": shape.layers,
        "llama.attention.head_count": shape.heads,
        "llama.attention.head_count_kv": shape.kv_heads,
        "llama.embedding_length": model.embedding.shape[1],
        "llama.context_length": shape.context,
        "llama.attention.layer_norm_rms_epsilon": float(shape.norm_epsilon),
        "tokenizer.ggml.tokens": words.tokens,
        "tokenizer.ggml.merges": [" ".join(pair) for pair in words.merges],
        "tokenizer.ggml.token_type": [3 if index in words.special else 1 for index in range(len(words.tokens))],
        "tokenizer.ggml.eos_token_id": min(words.end),
        "tokenizer.ggml.pre": "smollm",
        **changed,
    }
    tensors = {"token_embd.weight": model.embedding, "output_norm.weight": model.norm}
    for index, layer in enumerate(model.layers):
        query, key, value = np.split(layer.query_key_value, 3)
        gate, up = np.split(layer.gate_up, 2)
        parts = [layer.attention_norm, interleaved(query, shape.heads), interleaved(key, shape.kv_heads), value]
        parts += [layer.attention_output, layer.feed_forward_norm, gate, up, layer.down]
        tensors |= {f"blk.{index}.{name}.weight": part for name, part in zip(gguf.TENSOR_NAMES.values(), parts, strict=True)}
    header = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(metadata))
    header += b"".join(packed(key)[4:] + packed(value) for key, value in metadata.items())
    offset, data = 0, b""
    for name, tensor in tensors.items():
        header += packed(name)[4:] + struct.pack("<I", tensor.ndim) + b"".join(struct.pack("<Q", size) for size in tensor.shape[::-1])
        header += struct.pack("<IQ", 0, offset)
        data += tensor.tobytes()
        offset = len(data)
    path.write_bytes(header + b"\0" * (-len(header) % 32) + data)


def test_a_gguf_file_and_a_hugging_face_folder_are_the_same_model(model: Model, tmp_path: Path) -> None:
    write_gguf(tmp_path / "model.gguf", model)
    read = load(tmp_path / "model.gguf")
    assert read.vocabulary == model.vocabulary
    tokens = TOKENIZER.encode(TEXT)
    assert at_once(Llama(read, 64), tokens) == pytest.approx(at_once(Llama(model, 64), tokens), abs=1e-3)


@pytest.mark.parametrize("length", [0, 3, 4, 20, 400, 20_000, -1000])
def test_a_truncated_gguf_file_is_told_apart(model: Model, tmp_path: Path, length: int) -> None:
    path = tmp_path / "model.gguf"
    write_gguf(path, model)
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(ModelError, match=r"model\.gguf: "):
        load(path)


def test_another_architecture_is_refused(model: Model, tmp_path: Path) -> None:
    write_gguf(tmp_path / "model.gguf", model, **{"general.architecture": "mamba"})
    with pytest.raises(ModelError, match="'mamba' is not supported"):
        load(tmp_path / "model.gguf")


def quantised(kind: int, scale: float, least: float) -> bytes:
    """One block of the numbers 0 to 31 (0 to 15 twice where four bits hold no more), as its format lays them out."""
    scales = np.array([scale, least][: 2 if kind == 3 else 1], np.float16).tobytes()
    if kind == 8:
        return scales + np.arange(-16, 16, dtype=np.int8).tobytes()
    return scales + bytes(low | (15 - low) << 4 for low in range(16))


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (2, [0.5 * (n - 8) for n in (*range(16), *range(15, -1, -1))]),
        (3, [0.5 * n - 2 for n in (*range(16), *range(15, -1, -1))]),
        (8, [0.5 * n for n in range(-16, 16)]),
    ],
)
def test_quantised_blocks(kind: int, expected: list[float]) -> None:
    size, dequantise = gguf.QUANTISED[kind]
    block = quantised(kind, 0.5, -2)
    assert len(block) == size
    assert dequantise(np.frombuffer(block * 2, np.uint8).reshape(2, size)).tolist() == [expected, expected]


@pytest.mark.parametrize(
    ("name", "content"), [("config.json", "{"), ("config.json", "[]"), ("tokenizer.json", "{}"), ("model.safetensors", "short")]
)
def test_a_damaged_folder_is_told_apart(tmp_path: Path, name: str, content: str) -> None:
    folder = tmp_path / "model"
    shutil.copytree(FOLDER, folder)
    (folder / name).write_text(content)
    with pytest.raises(ModelError, match="model: "):
        load(folder)


def test_another_model_type_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(FOLDER, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "gpt2"}))
    with pytest.raises(ModelError, match="'gpt2' is not supported"):
        load(folder)
