"""The forward pass of a Llama model, for several sequences at once.

Each sequence has a cache of the keys and values of the tokens it has read. The large products are done for all new tokens of all
sequences together, which is what makes a batch cheaper than its parts; attention is done for each sequence by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .weights import Array, Geometry, Layer, Model


class Cache:
    """What one sequence has read: `length` tokens of at most `capacity`. Arrays are (layers, key heads, capacity, head size)."""

    def __init__(self, geometry: Geometry, capacity: int) -> None:
        shape = (geometry.layers, geometry.kv_heads, capacity, geometry.head_size)
        self.keys: Array = np.empty(shape, np.float32)
        self.values: Array = np.empty(shape, np.float32)
        self.length = 0

    def begin_like(self, other: Cache, length: int) -> None:
        """Take over the first `length` tokens that the other has read."""
        self.keys[:, :, :length] = other.keys[:, :, :length]
        self.values[:, :, :length] = other.values[:, :, :length]
        self.length = length


@dataclass(frozen=True)
class Reading:
    """Tokens for one sequence to read next; at least one. every: what may follow is wanted after each, not only after the last."""

    cache: Cache
    tokens: Sequence[int]
    every: bool = False


@dataclass(frozen=True)
class Part:
    """One sequence's share of a batch: its rows, and what hides later tokens from earlier ones (None for a single token)."""

    cache: Cache
    rows: slice
    end: int
    mask: Array | None


class Llama:
    """The model. context: the longest sequence in tokens, at most `max_context`. Not for use from two threads at once."""

    def __init__(self, model: Model, max_context: int) -> None:
        self.model = model
        self.geometry = model.geometry
        self.context = min(max_context, model.geometry.context)
        self.cosines, self.sines = self._rotations()

    def cache(self, capacity: int) -> Cache:
        """An empty cache for a sequence of up to `capacity` tokens."""
        return Cache(self.geometry, capacity)

    def __call__(self, readings: Sequence[Reading]) -> list[Array]:
        """Read; for each sequence rows of log-probabilities of the next token, one or as many as it read."""
        parts = divide(readings)
        positions = np.concatenate([np.arange(part.cache.length, part.end) for part in parts])
        hidden: Array = self.model.embedding[np.concatenate([reading.tokens for reading in readings])]
        for index, layer in enumerate(self.model.layers):
            hidden = hidden + self._attention(index, layer, self._norm(hidden, layer.attention_norm), positions, parts)
            hidden = hidden + self._feed_forward(layer, self._norm(hidden, layer.feed_forward_norm))
        for part in parts:
            part.cache.length = part.end
        return [
            self._next(hidden[part.rows if reading.every else [part.rows.stop - 1]]) for part, reading in zip(parts, readings, strict=True)
        ]

    def _rotations(self) -> tuple[Array, Array]:
        """Cosine and sine of each position's rotary angles, shaped to broadcast over heads."""
        size = self.geometry.head_size
        frequencies = 1.0 / self.geometry.rope_base ** (np.arange(0, size, 2, dtype=np.float64) / size)
        angles = np.arange(self.context)[:, None] * frequencies
        return np.cos(angles).astype(np.float32)[:, None], np.sin(angles).astype(np.float32)[:, None]

    def _next(self, hidden: Array) -> Array:
        return log_softmax(product(self._norm(hidden, self.model.norm), self.model.head))

    def _norm(self, hidden: Array, weight: Array) -> Array:
        mean_square = (hidden * hidden).mean(-1, keepdims=True)
        normed: Array = hidden / np.sqrt(mean_square + self.geometry.norm_epsilon) * weight
        return normed

    def _rotate(self, heads: Array, positions: np.ndarray[tuple[int], np.dtype[np.intp]]) -> Array:
        """Rotary position embedding of (tokens, heads, head size)."""
        half = heads.shape[-1] // 2
        first, second = (slice(0, None, 2), slice(1, None, 2)) if self.geometry.interleaved else (slice(0, half), slice(half, None))
        cosine, sine = self.cosines[positions], self.sines[positions]
        rotated = np.empty_like(heads)
        rotated[..., first] = heads[..., first] * cosine - heads[..., second] * sine
        rotated[..., second] = heads[..., second] * cosine + heads[..., first] * sine
        return rotated

    def _attention(
        self, index: int, layer: Layer, hidden: Array, positions: np.ndarray[tuple[int], np.dtype[np.intp]], parts: Sequence[Part]
    ) -> Array:
        """Grouped-query attention; adds the new tokens' keys and values to the caches."""
        heads, groups, size = self.geometry.heads, self.geometry.kv_heads, self.geometry.head_size
        projected = product(hidden, layer.query_key_value).reshape(len(hidden), heads + 2 * groups, size)
        turned = self._rotate(projected[:, : heads + groups], positions)
        mixed = np.empty((len(hidden), heads * size), np.float32)
        for part in parts:
            new = slice(part.cache.length, part.end)
            part.cache.keys[index, :, new] = turned[part.rows, heads:].transpose(1, 0, 2)
            part.cache.values[index, :, new] = projected[part.rows, heads + groups :].transpose(1, 0, 2)
            mixed[part.rows] = self._mix(index, turned[part.rows, :heads], part)
        return product(mixed, layer.attention_output)

    def _mix(self, index: int, queries: Array, part: Part) -> Array:
        """What each new token of one sequence gathers from the tokens before it: (tokens, heads * head size)."""
        count, heads, size = queries.shape
        groups = self.geometry.kv_heads
        grouped = queries.transpose(1, 0, 2).reshape(groups, heads // groups, count, size)
        scores: Array = grouped @ part.cache.keys[index, :, None, : part.end].swapaxes(-1, -2) / np.float32(size**0.5)
        if part.mask is not None:
            scores += part.mask
        gathered: Array = softmax(scores) @ part.cache.values[index, :, None, : part.end]
        return gathered.reshape(heads, count, size).transpose(1, 0, 2).reshape(count, heads * size)

    def _feed_forward(self, layer: Layer, hidden: Array) -> Array:
        gate, up = np.split(product(hidden, layer.gate_up), 2, axis=-1)
        return product(silu(gate) * up, layer.down)


def divide(readings: Sequence[Reading]) -> list[Part]:
    """Each sequence's rows in the batch, in order."""
    parts, start = [], 0
    for reading in readings:
        count, read = len(reading.tokens), reading.cache.length
        mask = causal_mask(read, count) if count > 1 else None
        parts.append(Part(reading.cache, slice(start, start + count), read + count, mask))
        start += count
    return parts


def causal_mask(start: int, count: int) -> Array:
    """Added to the scores of `count` tokens from `start`: minus infinity where a token would see a later one."""
    seen_by = start + np.arange(count)[:, None]
    return np.where(np.arange(start + count)[None] <= seen_by, 0, -np.inf).astype(np.float32)


def product(rows: Array, matrix: Array) -> Array:
    """Rows times the transpose of an (outputs, inputs) matrix."""
    # For a few rows and a large matrix this order takes a quarter less time than rows @ matrix.T.
    return np.ascontiguousarray(np.matmul(matrix, rows.T).T)


def log_softmax(rows: Array) -> Array:
    shifted = rows - rows.max(-1, keepdims=True)
    result: Array = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    return result


def softmax(rows: Array) -> Array:
    exponentials = np.exp(rows - rows.max(-1, keepdims=True))
    result: Array = exponentials / exponentials.sum(-1, keepdims=True)
    return result


def silu(values: Array) -> Array:
    with np.errstate(over="ignore"):
        result: Array = values / (1 + np.exp(-values))
    return result
