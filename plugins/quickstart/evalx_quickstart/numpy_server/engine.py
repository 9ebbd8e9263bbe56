"""Generation: from prompts to completions, for several requests at a time.

One thread owns the model. At each step it takes in the requests that have arrived, reads one piece of every sequence (a new one's
prompt, another's latest token) in a single batch, and chooses each one's next token.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import takewhile

import numpy as np

from .llama import Cache, Llama, Reading
from .tokenizer import Tokenizer
from .weights import Array

GREEDY_BELOW = 1e-4
"""Temperatures under this pick the likeliest token."""

MAX_BATCH = 16
"""Sequences in a batch; further requests wait."""


@dataclass(frozen=True)
class Sampling:
    """How to choose tokens. temperature: 0 is greedy. seed: None draws differently each time. stop: texts that end the completion."""

    max_tokens: int
    temperature: float = 0.0
    seed: int | None = None
    stop: tuple[str, ...] = ()


@dataclass
class Completion:
    """What was generated. finish: `stop` or `length`. rows: log-probabilities that each token was chosen from. prompt_rows: those
    after each token of the prompt if they were asked for, else only the last."""

    prompt_rows: Array
    tokens: list[int] = field(default_factory=list)
    rows: list[Array] = field(default_factory=list)
    finish: str = "length"


class Job:
    """One request under way. limit: of new tokens. pending: the tokens its sequence reads next."""

    def __init__(self, prompt: list[int], sampling: Sampling, limit: int, cache: Cache, every: bool) -> None:
        self.prompt = prompt
        self.cache = cache
        self.pending = prompt
        self.sampling = sampling
        self.limit = limit
        self.every = every
        self.random = np.random.default_rng(sampling.seed)
        self.completion: Completion | None = None
        self.result: Future[Completion] = Future()

    def advance(self, rows: Array, tokenizer: Tokenizer) -> bool:
        """Choose the next token from what the model said. True when the completion is complete."""
        if self.completion is None:
            self.completion = Completion(rows)
        done = self.completion
        if len(done.tokens) == self.limit:
            return True
        token = choose(rows[-1], self.sampling.temperature, self.random)
        if token in tokenizer.end:
            done.finish = "stop"
            return True
        done.tokens.append(token)
        done.rows.append(rows[-1])
        self.pending = [token]
        if self._stopped(tokenizer.decode(done.tokens) if self.sampling.stop else ""):
            done.finish = "stop"
            return True
        return len(done.tokens) == self.limit

    def _stopped(self, text: str) -> bool:
        return any(end in text for end in self.sampling.stop)


class Engine:
    """Completes prompts. Requests of one task begin alike, so what a prompt has in common with the latest one is not read again."""

    def __init__(self, llama: Llama, tokenizer: Tokenizer) -> None:
        self.llama = llama
        self.tokenizer = tokenizer
        self._arrived: queue.Queue[Job] = queue.Queue()
        self._active: list[Job] = []
        self._latest: tuple[list[int], Cache] = ([], llama.cache(0))
        threading.Thread(target=self._work, name="engine", daemon=True).start()

    def complete(self, prompt: Sequence[int], sampling: Sampling, *, prompt_rows: bool = False) -> Completion:
        """Wait for the completion of a prompt of at least one token, shorter than the context."""
        limit = min(sampling.max_tokens, self.llama.context - len(prompt))
        job = Job(list(prompt), sampling, limit, self.llama.cache(len(prompt) + limit), prompt_rows)
        self._arrived.put(job)
        return job.result.result()

    def _work(self) -> None:
        while True:
            self._admit()
            try:
                self._step()
            except Exception as error:  # noqa: BLE001 - those who wait must hear of it, and the server goes on
                for job in self._active:
                    job.result.set_exception(error)
                self._active = []

    def _admit(self) -> None:
        """Take in what has arrived, as far as there is room; wait if there is nothing to do."""
        while len(self._active) < MAX_BATCH:
            try:
                job = self._arrived.get(block=not self._active)
            except queue.Empty:
                return
            self._begin(job)
            self._active.append(job)

    def _begin(self, job: Job) -> None:
        tokens, latest = self._latest
        known = 0 if job.every else common(tokens, job.prompt[:-1])
        job.cache.begin_like(latest, known)
        job.pending = job.prompt[known:]

    def _step(self) -> None:
        """Everyone reads, everyone chooses; who is done leaves."""
        jobs = self._active
        rows = self.llama([Reading(job.cache, job.pending, job.every) for job in jobs])
        self._latest = (jobs[-1].prompt, jobs[-1].cache)
        self._active = [job for job, row in zip(jobs, rows, strict=True) if not job.advance(row, self.tokenizer)]
        for job in jobs:
            if job not in self._active and job.completion is not None:
                job.result.set_result(job.completion)


def common(one: list[int], other: list[int]) -> int:
    """How many tokens both begin with."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


def choose(row: Array, temperature: float, random: np.random.Generator) -> int:
    """A token from a row of log-probabilities, by adding Gumbel noise: a sample from the softmax at this temperature."""
    if temperature < GREEDY_BELOW:
        return int(row.argmax())
    return int(np.argmax(row / temperature + random.gumbel(size=len(row))))
