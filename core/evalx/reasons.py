"""Reasons in words: one text, of which a hint may be part, as ` (hint: …)`. Stored and listed it is that one text; screens set it apart."""

from __future__ import annotations

from evalx.errors import EvalxError

_OPENING = "(hint: "


def in_words(error: EvalxError) -> str:
    """An error as a reason: what it says and, if it has one, its hint."""
    return with_hint(str(error), error.hint)


def whole(run_id: str) -> str:
    """What may be alive of a run beside endpoints and tasks: what its executor made for all of them."""
    return f"what belongs to run {run_id} as a whole"


def with_hint(text: str, hint: str | None) -> str:
    """A reason, and what to do about it."""
    return f"{text} {_OPENING}{hint})" if hint else text


def has_hint(reason: str) -> bool:
    """Whether what to do is part of the reason."""
    return _OPENING in reason


def apart(reason: str) -> tuple[str, list[str]]:
    """What a reason says, and its hints, each once."""
    said, hints = reason, list[str]()
    while (start := said.find(_OPENING)) >= 0:
        end = _closing(said, start)
        hints.append(said[start + len(_OPENING) : end])
        said = said[:start].rstrip(" ") + said[end + 1 :]
    return said, list(dict.fromkeys(hints))


def _closing(text: str, start: int) -> int:
    """Where the bracket that opens there is closed; the end of the text if it is not."""
    depth = 0
    for at in range(start, len(text)):
        depth += {"(": 1, ")": -1}.get(text[at], 0)
        if depth == 0:
            return at
    return len(text)
