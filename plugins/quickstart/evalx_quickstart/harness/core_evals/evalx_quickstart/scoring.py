"""How a reply is scored. One sample, two scores.

`contains`: an accepted answer occurs in the reply, as whole words, whatever the case. `exact`: the reply is an accepted answer and
nothing else but punctuation.
"""

import re
from collections.abc import Iterable


def words(text: str) -> str:
    """The text in lower case, its punctuation and spacing reduced to single spaces; a minus sign before a number stays."""
    return " ".join(re.sub(r"[^\w\s-]|-(?!\d)|(?<=\w)-", " ", text.lower()).split())


def score(reply: str, accepted: Iterable[str]) -> dict[str, bool]:
    """Both scores of a reply."""
    said = words(reply)
    wanted = [words(answer) for answer in accepted]
    return {
        "contains": any(re.search(rf"(?<![\w-]){re.escape(answer)}(?!\w)", said) for answer in wanted),
        "exact": said in wanted,
    }
