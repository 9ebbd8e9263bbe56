"""Reads a Llama model from a Hugging Face folder: config.json, model.safetensors and a byte-level BPE tokenizer.json."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np

from .weights import PARTS, Array, Geometry, Layer, Model, ModelError, Vocabulary, assemble_layer

TENSOR_NAMES = dict(
    zip(
        PARTS,
        (
            "input_layernorm",
            "self_attn.q_proj",
            "self_attn.k_proj",
            "self_attn.v_proj",
            "self_attn.o_proj",
            "post_attention_layernorm",
            "mlp.gate_proj",
            "mlp.up_proj",
            "mlp.down_proj",
        ),
        strict=True,
    )
)


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def widen(raw: bytes, kind: str) -> Array:
    """Bytes of a safetensors dtype as float32. Raises ModelError for one it does not know."""
    if kind == "BF16":
        return (np.frombuffer(raw, np.uint16).astype(np.uint32) << 16).view(np.float32)
    if kind == "F16":
        return np.frombuffer(raw, np.float16).astype(np.float32)
    if kind == "F32":
        return np.frombuffer(raw, np.float32).copy()
    raise ModelError(f"tensor type {kind} is not supported, only F32, F16 and BF16")


def read_tensors(path: Path) -> dict[str, Array]:
    """All tensors of a safetensors file: eight bytes of header length, a JSON header, the data."""
    raw = path.read_bytes()
    start = 8 + struct.unpack("<Q", raw[:8])[0]
    header = json.loads(raw[8:start])
    header.pop("__metadata__", None)
    tensors = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        tensors[name] = widen(raw[start + begin : start + end], entry["dtype"]).reshape(entry["shape"])
    return tensors


def geometry(config: dict[str, Any]) -> Geometry:
    heads = config["num_attention_heads"]
    rope = config.get("rope_parameters") or {}
    return Geometry(
        layers=config["num_hidden_layers"],
        heads=heads,
        kv_heads=config.get("num_key_value_heads", heads),
        head_size=config.get("head_dim") or config["hidden_size"] // heads,
        context=config["max_position_embeddings"],
        norm_epsilon=config["rms_norm_eps"],
        rope_base=rope.get("rope_theta", config.get("rope_theta", 10000.0)),
        interleaved=False,
    )


def vocabulary(tokenizer: dict[str, Any], end: int | list[int]) -> Vocabulary:
    ids = {**tokenizer["model"]["vocab"], **{added["content"]: added["id"] for added in tokenizer["added_tokens"]}}
    tokens = [""] * (max(ids.values()) + 1)
    for token, index in ids.items():
        tokens[index] = token
    pairs = (merge if isinstance(merge, list) else merge.split(" ", 1) for merge in tokenizer["model"]["merges"])
    return Vocabulary(
        tokens=tokens,
        merges=[(left, right) for left, right in pairs],
        special=frozenset(added["id"] for added in tokenizer["added_tokens"] if added.get("special")),
        end=frozenset(end if isinstance(end, list) else [end]),
        single_digits="Digits" in json.dumps(tokenizer.get("pre_tokenizer")),
    )


def load(folder: Path) -> Model:
    """The model in the folder. Raises ModelError, or what JSON and NumPy raise for damaged files."""
    config = read_json(folder / "config.json")
    if (family := config.get("model_type")) != "llama":
        raise ModelError(f"model type {family!r} is not supported, only 'llama'")
    tensors = read_tensors(folder / "model.safetensors")

    def layer(index: int) -> Layer:
        return assemble_layer(lambda part: tensors[f"model.layers.{index}.{TENSOR_NAMES[part]}.weight"])

    embedding = tensors["model.embed_tokens.weight"]
    return Model(
        geometry=geometry(config),
        embedding=embedding,
        layers=[layer(index) for index in range(config["num_hidden_layers"])],
        norm=tensors["model.norm.weight"],
        head=tensors.get("lm_head.weight", embedding),
        vocabulary=vocabulary(read_json(folder / "tokenizer.json"), config["eos_token_id"]),
    )
