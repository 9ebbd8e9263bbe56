"""What a model is once loaded: its geometry, its tensors in float32, its vocabulary; and which reader loads which file."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]


class ModelError(Exception):
    """The file or folder is not a model this server can run."""


@dataclass(frozen=True)
class Geometry:
    """The numbers of a Llama model. context: in tokens. interleaved: rotary pairs are neighbours (GGUF) instead of halves (HF)."""

    layers: int
    heads: int
    kv_heads: int
    head_size: int
    context: int
    norm_epsilon: float
    rope_base: float
    interleaved: bool


@dataclass(frozen=True)
class Layer:
    """One transformer block. Matrices are (outputs, inputs); those that read the same input are stacked, for fewer, larger products."""

    attention_norm: Array
    query_key_value: Array
    attention_output: Array
    feed_forward_norm: Array
    gate_up: Array
    down: Array


@dataclass(frozen=True)
class Vocabulary:
    """What the tokenizer needs. tokens: by id, in byte-level BPE spelling. single_digits: every digit is a token of its own."""

    tokens: list[str]
    merges: list[tuple[str, str]]
    special: frozenset[int]
    end: frozenset[int]
    single_digits: bool


@dataclass(frozen=True)
class Model:
    """A loaded model. head: the output matrix; the embedding itself where the file has none."""

    geometry: Geometry
    embedding: Array
    layers: list[Layer]
    norm: Array
    head: Array
    vocabulary: Vocabulary


PARTS = ("attention_norm", "query", "key", "value", "attention_output", "feed_forward_norm", "gate", "up", "down")
"""The tensors of a block as files keep them; each reader names them in its own format's way, in this order."""


def assemble_layer(part: Callable[[str], Array]) -> Layer:
    """A block of the tensors that `part` returns for each name in `PARTS`."""
    return Layer(
        attention_norm=part("attention_norm"),
        query_key_value=np.concatenate([part("query"), part("key"), part("value")]),
        attention_output=part("attention_output"),
        feed_forward_norm=part("feed_forward_norm"),
        gate_up=np.concatenate([part("gate"), part("up")]),
        down=part("down"),
    )


def load(path: Path) -> Model:
    """Load a `.gguf` file or a Hugging Face folder. Raises ModelError, which names the path and what is wrong with it."""
    from . import gguf, huggingface

    if not path.exists():
        raise ModelError(f"{path}: no such file or folder")
    try:
        return huggingface.load(path) if path.is_dir() else gguf.load(path)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error
    except (OSError, ValueError, LookupError, TypeError, AttributeError, struct.error) as error:
        raise ModelError(f"{path}: not a readable Llama model ({type(error).__name__}: {error})") from error
