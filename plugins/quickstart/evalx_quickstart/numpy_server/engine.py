"""Generation: from a prompt's tokens to a completion, one request at a time."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import takewhile

import numpy as np

from .llama import Llama
from .tokenizer import Tokenizer
from .weights import Array

GREEDY_BELOW = 1e-4
"""Temperatures under this pick the likeliest token."""


@dataclass(frozen=True)
class Sampling:
    """How to choose tokens. temperature: 0 is greedy. seed: None draws differently each time. stop: texts that end the completion."""

    max_tokens: int
    temperature: float = 0.0
    seed: int | None = None
    stop: tuple[str, ...] = ()


@dataclass
class Completion:
    """What was generated. finish: `stop` or `length`. rows: log-probabilities each token was chosen from. prompt_rows: those after
    each token of the prompt if they were asked for, else only the last."""

    prompt_rows: Array
    tokens: list[int] = field(default_factory=list)
    rows: list[Array] = field(default_factory=list)
    finish: str = "length"


class Engine:
    """Serves one completion at a time: NumPy already uses every core for it.

    Requests of one task begin alike, so what the previous prompt has in common with the next one is not read again.
    """

    def __init__(self, llama: Llama, tokenizer: Tokenizer) -> None:
        self.llama = llama
        self.tokenizer = tokenizer
        self._turn = threading.Lock()
        self._read: list[int] = []

    def complete(self, prompt: Sequence[int], sampling: Sampling, *, prompt_rows: bool = False) -> Completion:
        """Generate after the prompt, which must be at least one token and shorter than the context."""
        with self._turn:
            completion = Completion(self._read_prompt(list(prompt), prompt_rows))
            self._generate(completion, sampling)
            return completion

    def _read_prompt(self, prompt: list[int], every: bool) -> Array:
        known = 0 if every else sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(self._read, prompt[:-1], strict=False)))
        self._read = []
        self.llama.rewind(known)
        rows = self.llama(prompt[known:], every=every)
        self._read = prompt
        return rows

    def _generate(self, completion: Completion, sampling: Sampling) -> None:
        random = np.random.default_rng(sampling.seed)
        row = completion.prompt_rows[-1]
        while len(completion.tokens) < sampling.max_tokens and self.llama.read < self.llama.context:
            token = choose(row, sampling.temperature, random)
            if token in self.tokenizer.end:
                completion.finish = "stop"
                return
            completion.tokens.append(token)
            completion.rows.append(row)
            if self._stopped(completion, sampling.stop):
                completion.finish = "stop"
                return
            if len(completion.tokens) < sampling.max_tokens:
                row = self.llama([token])[0]

    def _stopped(self, completion: Completion, stop: tuple[str, ...]) -> bool:
        if not stop:
            return False
        text = self.tokenizer.decode(completion.tokens)
        return any(end in text for end in stop)


def choose(row: Array, temperature: float, random: np.random.Generator) -> int:
    """A token from a row of log-probabilities, by adding Gumbel noise: a sample from the softmax at this temperature."""
    if temperature < GREEDY_BELOW:
        return int(row.argmax())
    return int(np.argmax(row / temperature + random.gumbel(size=len(row))))
