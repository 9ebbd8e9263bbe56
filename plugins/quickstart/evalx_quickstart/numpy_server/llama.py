"""The forward pass of a Llama model for one sequence, with a cache of the keys and values of the tokens it has read."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .weights import Array, Layer, Model


def log_softmax(rows: Array) -> Array:
    shifted = rows - rows.max(-1, keepdims=True)
    result: Array = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    return result


def softmax(rows: Array) -> Array:
    """In place: attention's scores are the largest thing of a pass."""
    rows -= rows.max(-1, keepdims=True)
    np.exp(rows, out=rows)
    rows /= rows.sum(-1, keepdims=True)
    return rows


def silu(values: Array) -> Array:
    with np.errstate(over="ignore"):
        result: Array = values / (1 + np.exp(-values))
    return result


def causal_mask(start: int, count: int) -> Array:
    """Added to the scores of `count` tokens from `start`: minus infinity where a token would see a later one."""
    seen_by = start + np.arange(count)[:, None]
    return np.where(np.arange(start + count)[None] <= seen_by, 0, -np.inf).astype(np.float32)


class Llama:
    """Reads tokens and says what may follow. `read` is how many it has read; not for use from two threads at once.

    max_context: the longest sequence in tokens; the model's own limit if that is less.
    """

    def __init__(self, model: Model, max_context: int) -> None:
        self.model = model
        self.geometry = model.geometry
        self.context = min(max_context, model.geometry.context)
        self.read = 0
        shape = (self.geometry.layers, self.geometry.kv_heads, self.context, self.geometry.head_size)
        self.keys = np.zeros(shape, np.float32)
        self.values = np.zeros(shape, np.float32)
        self.cosines, self.sines = self._rotations()

    def rewind(self, read: int = 0) -> None:
        """Forget all tokens after the first `read`."""
        self.read = min(read, self.read)

    def __call__(self, tokens: Sequence[int], *, every: bool = False) -> Array:
        """Read the tokens; rows of log-probabilities of the next token: after each token read, or after the last one only."""
        hidden = self.model.embedding[list(tokens)]
        mask = causal_mask(self.read, len(tokens)) if len(tokens) > 1 else None
        for index, layer in enumerate(self.model.layers):
            hidden = hidden + self._attention(index, layer, self._norm(hidden, layer.attention_norm), mask)
            hidden = hidden + self._feed_forward(layer, self._norm(hidden, layer.feed_forward_norm))
        self.read += len(tokens)
        last = hidden if every else hidden[-1:]
        return log_softmax(self._norm(last, self.model.norm) @ self.model.head.T)

    def _rotations(self) -> tuple[Array, Array]:
        """Cosine and sine of each position's rotary angles, shaped to broadcast over heads."""
        size = self.geometry.head_size
        frequencies = 1.0 / self.geometry.rope_base ** (np.arange(0, size, 2, dtype=np.float64) / size)
        angles = np.arange(self.context)[:, None] * frequencies
        return np.cos(angles).astype(np.float32)[:, None], np.sin(angles).astype(np.float32)[:, None]

    def _norm(self, hidden: Array, weight: Array) -> Array:
        mean_square = (hidden * hidden).mean(-1, keepdims=True)
        normed: Array = hidden / np.sqrt(mean_square + self.geometry.norm_epsilon) * weight
        return normed

    def _rotate(self, heads: Array) -> Array:
        """Rotary position embedding of (tokens, heads, head size), for tokens that follow those already read."""
        half = heads.shape[-1] // 2
        first, second = (slice(0, None, 2), slice(1, None, 2)) if self.geometry.interleaved else (slice(0, half), slice(half, None))
        here = slice(self.read, self.read + len(heads))
        cosine, sine = self.cosines[here], self.sines[here]
        rotated = np.empty_like(heads)
        rotated[..., first] = heads[..., first] * cosine - heads[..., second] * sine
        rotated[..., second] = heads[..., second] * cosine + heads[..., first] * sine
        return rotated

    def _attention(self, index: int, layer: Layer, hidden: Array, mask: Array | None) -> Array:
        """Grouped-query attention; adds the tokens' keys and values to the cache."""
        count, size = len(hidden), self.geometry.head_size
        heads, groups = self.geometry.heads, self.geometry.kv_heads
        projected = (hidden @ layer.query_key_value.T).reshape(count, heads + 2 * groups, size)
        end = self.read + count
        self.keys[index, :, self.read : end] = self._rotate(projected[:, heads : heads + groups]).transpose(1, 0, 2)
        self.values[index, :, self.read : end] = projected[:, heads + groups :].transpose(1, 0, 2)
        queries = self._rotate(projected[:, :heads]).transpose(1, 0, 2).reshape(groups, heads // groups, count, size)
        scores = queries @ self.keys[index, :, None, :end].swapaxes(-1, -2)
        scores /= size**0.5
        if mask is not None:
            scores += mask
        mixed = softmax(scores) @ self.values[index, :, None, :end]
        joined = mixed.reshape(heads, count, size).transpose(1, 0, 2).reshape(count, heads * size)
        result: Array = joined @ layer.attention_output.T
        return result

    def _feed_forward(self, layer: Layer, hidden: Array) -> Array:
        gate, up = np.split(hidden @ layer.gate_up.T, 2, axis=-1)
        result: Array = (silu(gate) * up) @ layer.down.T
        return result
