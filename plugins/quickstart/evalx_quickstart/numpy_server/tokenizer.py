"""Byte-level byte-pair encoding, as GPT-2 and most Llama-like models since use it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cached_property
from itertools import pairwise

from .weights import Vocabulary

NEVER = 1 << 30
"""The rank of a pair that is not merged."""


def byte_spelling() -> dict[int, str]:
    """Byte to the printable character that stands for it in a vocabulary: itself where it is printable, else one from U+0100 on."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + index) for index, byte in enumerate(others)}


SPELLING = byte_spelling()
BYTE_OF = {character: byte for byte, character in SPELLING.items()}

CONTRACTIONS = r"'s|'t|'re|'ve|'m|'ll|'d"
LETTERS = r" ?[^\W\d_]+"
SYMBOLS = r" ?(?:[^\s\w]|_)+"
SPACES = r"\s+(?!\S)|\s+"


def word_pattern(single_digits: bool) -> re.Pattern[str]:
    """Splits text into the words inside which pairs are merged."""
    if single_digits:
        return re.compile("|".join((CONTRACTIONS, LETTERS, r"\d", SYMBOLS, r" (?=\d)", SPACES)))
    return re.compile("|".join((CONTRACTIONS, LETTERS, r" ?\d+", SYMBOLS, SPACES)))


class Tokenizer:
    """Text to token ids and back. Special tokens in a text, such as `<|im_start|>`, become themselves."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary
        self.end = vocabulary.end
        self.ids = {token: index for index, token in enumerate(vocabulary.tokens)}
        self.ranks = {pair: rank for rank, pair in enumerate(vocabulary.merges)}
        self.words = word_pattern(vocabulary.single_digits)
        self.cache: dict[str, list[int]] = {}

    def __len__(self) -> int:
        return len(self.vocabulary.tokens)

    @cached_property
    def specials(self) -> dict[str, int]:
        texts = {self.vocabulary.tokens[index]: index for index in self.vocabulary.special}
        return {text: texts[text] for text in sorted(filter(None, texts), key=len, reverse=True)}

    @cached_property
    def special_pattern(self) -> re.Pattern[str] | None:
        return re.compile("(" + "|".join(map(re.escape, self.specials)) + ")") if self.specials else None

    def encode(self, text: str) -> list[int]:
        """Token ids of the text."""
        parts = self.special_pattern.split(text) if self.special_pattern else [text]
        ids: list[int] = []
        for part in parts:
            if part in self.specials:
                ids.append(self.specials[part])
            else:
                ids += self._encode_plain(part)
        return ids

    def _encode_plain(self, text: str) -> list[int]:
        ids: list[int] = []
        for word in self.words.findall(text):
            ids += self._encode_word("".join(SPELLING[byte] for byte in word.encode("utf-8", "replace")))
        return ids

    def _encode_word(self, word: str) -> list[int]:
        """Merge the best-ranked pair until none is left. Remembers short words, of which there are few."""
        if word in self.cache:
            return self.cache[word]
        parts = list(word)
        while len(parts) > 1:
            rank, at = min((self.ranks.get(pair, NEVER), index) for index, pair in enumerate(pairwise(parts)))
            if rank == NEVER:
                break
            parts[at : at + 2] = [parts[at] + parts[at + 1]]
        ids = [self.ids[part] for part in parts if part in self.ids]
        if len(word) <= 32 and len(self.cache) < 50_000:
            self.cache[word] = ids
        return ids

    def raw(self, token: int) -> bytes:
        """The bytes a token stands for; a multi-byte character may be spread over several tokens."""
        text = self.vocabulary.tokens[token] if token < len(self) else ""
        if token in self.vocabulary.special:
            return text.encode()
        return bytes(BYTE_OF.get(character, ord("?")) for character in text)

    def text(self, token: int) -> str:
        """One token as text, as far as it is text by itself."""
        return self.raw(token).decode("utf-8", "replace")

    def decode(self, tokens: Iterable[int], *, keep_special: bool = False) -> str:
        """Text of the tokens, without special tokens unless asked for."""
        kept = (token for token in tokens if keep_special or token not in self.vocabulary.special)
        return b"".join(map(self.raw, kept)).decode("utf-8", "replace")
