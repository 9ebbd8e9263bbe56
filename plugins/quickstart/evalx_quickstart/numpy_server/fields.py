"""Reads a request's fields, each checked for type and range, so that a mistaken request is refused with a reason and nothing else."""

from __future__ import annotations

import math
from typing import Any

MAX_STOPS = 16


class ApiError(Exception):
    """A refused request, in OpenAI's terms. status: of HTTP. kind: `error.type`. param: the field at fault."""

    def __init__(
        self, message: str, *, status: int = 400, kind: str = "invalid_request_error", param: str | None = None, code: str | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"error": {"message": message, "type": kind, "param": param, "code": code or status}}


class Fields:
    """A request's JSON object. A field that is absent or null has its default. Every method raises ApiError."""

    def __init__(self, body: object) -> None:
        if not isinstance(body, dict):
            raise ApiError("the request must be a JSON object")
        self.body: dict[str, Any] = body

    def text(self, name: str, default: str) -> str:
        value = self.body.get(name)
        if value is None:
            return default
        if not isinstance(value, str):
            raise ApiError(f"{name} must be a string", param=name)
        return value

    def flag(self, name: str) -> bool:
        value = self.body.get(name)
        if value is not None and not isinstance(value, bool):
            raise ApiError(f"{name} must be true or false", param=name)
        return bool(value)

    def optional_integer(self, name: str, *, most: int = 1_000_000) -> int | None:
        value = self.body.get(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
            raise ApiError(f"{name} must be an integer from 0 to {most}", param=name)
        return value

    def integer(self, name: str, default: int, *, most: int = 1_000_000) -> int:
        value = self.optional_integer(name, most=most)
        return default if value is None else value

    def number(self, name: str, default: float, *, most: float) -> float:
        value = self.body.get(name)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or not 0 <= value <= most:
            raise ApiError(f"{name} must be a number from 0 to {most}", param=name)
        return float(value)

    def stop(self) -> tuple[str, ...]:
        """The texts that end a completion; empty ones mean nothing."""
        value = self.body.get("stop")
        listed = [] if value is None else [value] if isinstance(value, str) else value
        if not isinstance(listed, list) or len(listed) > MAX_STOPS or not all(isinstance(text, str) for text in listed):
            raise ApiError(f"stop must be a string or a list of at most {MAX_STOPS} strings", param="stop")
        return tuple(filter(None, listed))

    def messages(self) -> list[tuple[str, str]]:
        """(role, text) of each message of a chat; at least one."""
        listed = self.body.get("messages")
        if not isinstance(listed, list) or not listed:
            raise ApiError("messages must be a list of at least one message", param="messages")
        return [message(entry) for entry in listed]

    def prompts(self, most: int) -> list[str | list[int]]:
        """One or several prompts, each text or token ids."""
        value = self.body.get("prompt")
        listed: list[Any] = value if isinstance(value, list) and not is_tokens(value) else [value]
        if not 0 < len(listed) <= most or not all(isinstance(prompt, str) or is_tokens(prompt) for prompt in listed):
            raise ApiError(f"prompt must be a string, a list of token ids, or a list of at most {most} of these", param="prompt")
        return listed


def is_tokens(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(type(token) is int for token in value)


def message(entry: object) -> tuple[str, str]:
    """A chat message's role and text; text parts are joined, other parts (images) refused."""
    if not isinstance(entry, dict) or not isinstance(entry.get("role"), str):
        raise ApiError("each message must be an object with a role", param="messages")
    content = entry.get("content")
    if content is None or isinstance(content, str):
        return entry["role"], content or ""
    if not isinstance(content, list) or not all(isinstance(part, dict) and isinstance(part.get("text"), str) for part in content):
        raise ApiError("a message's content must be a string or a list of text parts", param="messages")
    return entry["role"], "".join(part["text"] for part in content)
