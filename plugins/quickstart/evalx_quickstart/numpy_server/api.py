"""The OpenAI-compatible requests: JSON in, JSON out, mistakes as `ApiError`. Knows nothing of HTTP.

Served: `chat/completions` and `completions` with logprobs, echo, stop, seed and temperature; prompts as text or token ids. Not
served, and refused: streaming and several choices.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from .engine import Completion, Engine, Sampling
from .fields import ApiError, Fields
from .weights import Array

Json = dict[str, Any]

CHAT_MAX_TOKENS = 256
TEXT_MAX_TOKENS = 16
MAX_TOP_LOGPROBS = 20
MAX_PROMPTS = 256


class Api:
    """Answers requests for one model."""

    def __init__(self, engine: Engine, model: str) -> None:
        self.engine = engine
        self.tokenizer = engine.tokenizer
        self.model = model
        self.routes: Mapping[str, Callable[[Fields], Json]] = {
            "/v1/chat/completions": self.chat,
            "/v1/completions": self.completions,
            "/tokenize": self.tokenize,
        }

    def models(self) -> Json:
        """The list of the one model there is."""
        entry = {"id": self.model, "object": "model", "owned_by": "local", "max_model_len": self.engine.llama.context}
        return {"object": "list", "data": [entry]}

    def answer(self, path: str, body: object) -> Json:
        """The answer to a POST. Raises ApiError."""
        if path not in self.routes:
            raise ApiError(f"there is nothing at {path}", status=404)
        fields = Fields(body)
        if (model := fields.text("model", self.model)) != self.model:
            raise ApiError(f"The model `{model}` does not exist.", status=404, kind="NotFoundError", param="model")
        if fields.flag("stream"):
            raise ApiError("streaming is not supported", param="stream")
        if fields.integer("n", 1, most=128) != 1:
            raise ApiError("only one choice is supported", param="n")
        return self.routes[path](fields)

    def tokenize(self, fields: Fields) -> Json:
        tokens = self.tokenizer.encode(fields.text("prompt", ""))
        return {"tokens": tokens, "count": len(tokens), "max_model_len": self.engine.llama.context}

    def chat(self, fields: Fields) -> Json:
        prompt = self._checked(self.tokenizer.encode(chat_prompt(fields.messages())))
        top = fields.integer("top_logprobs", 0, most=MAX_TOP_LOGPROBS)
        completion = self.engine.complete(prompt, sampling(fields, CHAT_MAX_TOKENS))
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": self._text(completion, fields)},
            "logprobs": {"content": self._chat_logprobs(completion, top)} if fields.flag("logprobs") else None,
            "finish_reason": completion.finish,
        }
        return self._envelope("chat.completion", "chatcmpl", [choice], len(prompt), len(completion.tokens))

    def completions(self, fields: Fields) -> Json:
        prompts = [self._checked(self._tokens(prompt)) for prompt in fields.prompts(MAX_PROMPTS)]
        choices, generated = [], 0
        for index, prompt in enumerate(prompts):
            choice, count = self._text_choice(index, prompt, fields)
            choices.append(choice)
            generated += count
        return self._envelope("text_completion", "cmpl", choices, sum(map(len, prompts)), generated)

    def _text_choice(self, index: int, prompt: list[int], fields: Fields) -> tuple[Json, int]:
        echo = fields.flag("echo")
        top = fields.optional_integer("logprobs", most=MAX_TOP_LOGPROBS)
        completion = self.engine.complete(prompt, sampling(fields, TEXT_MAX_TOKENS), prompt_rows=echo and top is not None)
        echoed = self.tokenizer.decode(prompt, keep_special=True) if echo else ""
        choice = {
            "index": index,
            "text": echoed + self._text(completion, fields),
            "logprobs": None if top is None else self._text_logprobs(prompt if echo else [], completion, top),
            "finish_reason": completion.finish,
        }
        return choice, len(completion.tokens)

    def _tokens(self, prompt: str | list[int]) -> list[int]:
        if isinstance(prompt, str):
            return self.tokenizer.encode(prompt)
        if any(not 0 <= token < len(self.tokenizer) for token in prompt):
            raise ApiError(f"token ids must be from 0 to {len(self.tokenizer) - 1}", param="prompt")
        return prompt

    def _checked(self, prompt: list[int]) -> list[int]:
        context = self.engine.llama.context
        if not prompt:
            raise ApiError("the prompt is empty", param="prompt")
        if len(prompt) >= context:
            raise ApiError(
                f"the prompt's {len(prompt)} tokens leave no room in the model's context of {context}",
                code="context_length_exceeded",
                param="prompt",
            )
        return prompt

    def _text(self, completion: Completion, fields: Fields) -> str:
        text = self.tokenizer.decode(completion.tokens)
        for end in fields.stop():
            text = text.partition(end)[0]
        return text

    def _top(self, row: Array, count: int) -> list[tuple[str, float]]:
        """The `count` likeliest tokens, likeliest first."""
        count = min(count, len(row))
        if not count:
            return []
        likeliest = np.argpartition(-row, count - 1)[:count]
        return [(self.tokenizer.text(token), float(row[token])) for token in sorted(map(int, likeliest), key=lambda token: -row[token])]

    def _chat_logprobs(self, completion: Completion, top: int) -> list[Json]:
        return [
            {
                "token": self.tokenizer.text(token),
                "logprob": float(row[token]),
                "bytes": list(self.tokenizer.raw(token)),
                "top_logprobs": [{"token": text, "logprob": value, "bytes": list(text.encode())} for text, value in self._top(row, top)],
            }
            for token, row in zip(completion.tokens, completion.rows, strict=True)
        ]

    def _text_logprobs(self, echoed: list[int], completion: Completion, top: int) -> Json:
        """As the completions API reports them; the first token of an echoed prompt has none."""
        rows: list[Array | None] = [None, *completion.prompt_rows[:-1]] if echoed else []
        rows += completion.rows
        tokens = [*echoed, *completion.tokens]
        texts = [self.tokenizer.text(token) for token in tokens]
        offsets = [0]
        for text in texts[:-1]:
            offsets.append(offsets[-1] + len(text))
        return {
            "tokens": texts,
            "token_logprobs": [None if row is None else float(row[token]) for token, row in zip(tokens, rows, strict=True)],
            "top_logprobs": [None if row is None else dict(self._top(row, max(1, top))) for row in rows],
            "text_offset": offsets[: len(texts)],
        }

    def _envelope(self, kind: str, prefix: str, choices: list[Json], prompt_tokens: int, completion_tokens: int) -> Json:
        return {
            "id": f"{prefix}-{time.time_ns()}",
            "object": kind,
            "created": int(time.time()),
            "model": self.model,
            "choices": choices,
            "usage": {
                "prompt_tokens": prompt_tokens,
                "completion_tokens": completion_tokens,
                "total_tokens": prompt_tokens + completion_tokens,
            },
        }


def sampling(fields: Fields, max_tokens: int) -> Sampling:
    """The request's sampling parameters. `max_completion_tokens` is the newer name of `max_tokens`."""
    limit = fields.optional_integer("max_completion_tokens")
    return Sampling(
        max_tokens=fields.integer("max_tokens", max_tokens) if limit is None else limit,
        temperature=fields.number("temperature", 1.0, most=2.0),
        seed=fields.optional_integer("seed", most=2**63),
        stop=fields.stop(),
    )


def chat_prompt(messages: list[tuple[str, str]]) -> str:
    """Messages as ChatML, ready for the assistant's turn."""
    turns = [f"<|im_start|>{role}\n{content}<|im_end|>\n" for role, content in messages]
    return "".join(turns) + "<|im_start|>assistant\n"
