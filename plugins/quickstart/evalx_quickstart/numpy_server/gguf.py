"""Reads a Llama model from a GGUF file, version 2 or 3: tensors of type F32, F16, Q8_0, Q4_0 and Q4_1."""

from __future__ import annotations

import mmap
import struct
from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .weights import PARTS, Array, Geometry, Layer, Model, ModelError, Vocabulary, assemble_layer

BLOCK = 32
"""Weights in a quantised block."""

TENSOR_NAMES = dict(
    zip(PARTS, ("attn_norm", "attn_q", "attn_k", "attn_v", "attn_output", "ffn_norm", "ffn_gate", "ffn_up", "ffn_down"), strict=True)
)
CONTROL_TOKENS = (3, 4)
"""Token types that are never ordinary text: control and user-defined."""

STRING, ARRAY = 8, 9
SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}

Bytes = npt.NDArray[np.uint8]


class Reader:
    """Reads little-endian values one after the other."""

    def __init__(self, data: mmap.mmap) -> None:
        self.data = data
        self.offset = 0

    def scalar(self, code: str) -> Any:
        (value,) = struct.unpack_from("<" + code, self.data, self.offset)
        self.offset += struct.calcsize("<" + code)
        return value

    def string(self) -> str:
        size = self.scalar("Q")
        self.offset += size
        return self.data[self.offset - size : self.offset].decode("utf-8", "replace")

    def value(self, kind: int) -> Any:
        if kind == STRING:
            return self.string()
        if kind == ARRAY:
            element, count = self.scalar("I"), self.scalar("Q")
            return [self.value(element) for _ in range(count)]
        return self.scalar(SCALARS[kind])


def half(columns: Bytes) -> Array:
    """Pairs of bytes as float16, widened."""
    return columns.copy().view(np.float16).astype(np.float32)


def nibbles(packed: Bytes) -> Array:
    """A block's 16 bytes as its 32 four-bit numbers: low halves first, then high halves."""
    return np.concatenate([packed & 15, packed >> 4], axis=1).astype(np.float32)


def dequantise_q4_0(blocks: Bytes) -> Array:
    scaled: Array = (nibbles(blocks[:, 2:]) - 8) * half(blocks[:, :2])
    return scaled


def dequantise_q4_1(blocks: Bytes) -> Array:
    scaled: Array = nibbles(blocks[:, 4:]) * half(blocks[:, :2]) + half(blocks[:, 2:4])
    return scaled


def dequantise_q8_0(blocks: Bytes) -> Array:
    scaled: Array = half(blocks[:, :2]) * blocks[:, 2:].view(np.int8)
    return scaled


QUANTISED: dict[int, tuple[int, Callable[[Bytes], Array]]] = {2: (18, dequantise_q4_0), 3: (20, dequantise_q4_1), 8: (34, dequantise_q8_0)}
"""Tensor type to the bytes of one block and how to unpack blocks."""


def read_tensor(data: mmap.mmap, kind: int, shape: list[int], offset: int) -> Array:
    """The tensor at `offset`, as float32. Raises ModelError for a type it does not know."""
    count = prod(shape)
    if kind == 0:
        return np.frombuffer(data, np.float32, count, offset).reshape(shape).copy()
    if kind == 1:
        return np.frombuffer(data, np.float16, count, offset).reshape(shape).astype(np.float32)
    if kind not in QUANTISED:
        raise ModelError(f"tensor type {kind} is not supported, only F32, F16, Q8_0, Q4_0 and Q4_1")
    size, dequantise = QUANTISED[kind]
    blocks = np.frombuffer(data, np.uint8, count // BLOCK * size, offset).reshape(-1, size)
    return dequantise(blocks).reshape(shape)


def read_metadata(reader: Reader) -> tuple[dict[str, Any], dict[str, tuple[int, list[int], int]]]:
    """The header: key-values, and each tensor's (type, shape, absolute offset)."""
    reader.offset = 4
    if (version := reader.scalar("I")) not in (2, 3):
        raise ModelError(f"GGUF version {version} is not supported, only 2 and 3")
    tensor_count, value_count = reader.scalar("Q"), reader.scalar("Q")
    metadata: dict[str, Any] = {}
    for _ in range(value_count):
        key = reader.string()
        metadata[key] = reader.value(reader.scalar("I"))
    listed = {}
    for _ in range(tensor_count):
        name = reader.string()
        dimensions = [reader.scalar("Q") for _ in range(reader.scalar("I"))]
        listed[name] = (reader.scalar("I"), dimensions[::-1], reader.scalar("Q"))
    alignment = metadata.get("general.alignment", 32)
    start = -(-reader.offset // alignment) * alignment
    return metadata, {name: (kind, shape, start + offset) for name, (kind, shape, offset) in listed.items()}


def geometry(metadata: dict[str, Any]) -> Geometry:
    heads = metadata["llama.attention.head_count"]
    return Geometry(
        layers=metadata["llama.block_count"],
        heads=heads,
        kv_heads=metadata.get("llama.attention.head_count_kv", heads),
        head_size=metadata.get("llama.rope.dimension_count", metadata["llama.embedding_length"] // heads),
        context=metadata["llama.context_length"],
        norm_epsilon=metadata["llama.attention.layer_norm_rms_epsilon"],
        rope_base=metadata.get("llama.rope.freq_base", 10000.0),
        interleaved=True,
    )


def vocabulary(metadata: dict[str, Any]) -> Vocabulary:
    tokens = metadata["tokenizer.ggml.tokens"]
    kinds = metadata.get("tokenizer.ggml.token_type", [1] * len(tokens))
    left_right = (merge.split(" ", 1) for merge in metadata["tokenizer.ggml.merges"])
    return Vocabulary(
        tokens=tokens,
        merges=[(left, right) for left, right in left_right],
        special=frozenset(index for index, kind in enumerate(kinds) if kind in CONTROL_TOKENS),
        end=frozenset({metadata["tokenizer.ggml.eos_token_id"]}),
        single_digits="smollm" in metadata.get("tokenizer.ggml.pre", ""),
    )


def load(path: Path) -> Model:
    """The model in the file. Raises ModelError, or what struct and NumPy raise for a damaged file."""
    with path.open("rb") as file:
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    if data[:4] != b"GGUF":
        raise ModelError("not a GGUF file")
    return assemble(data)


def assemble(data: mmap.mmap) -> Model:
    try:
        metadata, listed = read_metadata(Reader(data))
    except struct.error as error:
        raise ModelError(f"the file ends too early ({error})") from error
    if (family := metadata.get("general.architecture")) != "llama":
        raise ModelError(f"architecture {family!r} is not supported, only 'llama'")

    def tensor(name: str) -> Array:
        return read_tensor(data, *listed[name])

    def layer(index: int) -> Layer:
        return assemble_layer(lambda part: tensor(f"blk.{index}.{TENSOR_NAMES[part]}.weight"))

    embedding = tensor("token_embd.weight")
    return Model(
        geometry=geometry(metadata),
        embedding=embedding,
        layers=[layer(index) for index in range(metadata["llama.block_count"])],
        norm=tensor("output_norm.weight"),
        head=tensor("output.weight") if "output.weight" in listed else embedding,
        vocabulary=vocabulary(metadata),
    )
