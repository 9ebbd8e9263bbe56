"""Values of secret variables, in every form in which they may stand in a text, are replaced by their names."""

from __future__ import annotations

import base64
import os
from urllib.parse import quote

import pytest

from evalx.redaction import redact, redacted

VALUE = "s3cret/välue+1?"


@pytest.fixture(autouse=True)
def only(monkeypatch: pytest.MonkeyPatch) -> None:
    """No secret but the tests' own: the machine's may be anything."""
    for name in list(os.environ):
        if name not in ("HOME", "PATH", "EVALX_STATE_DIR"):
            monkeypatch.delenv(name)


@pytest.mark.parametrize("name", ["MY_TOKEN", "API_KEY", "a_secret", "Password1", "PASSWD", "AWS_CREDENTIALS"])
def test_a_name_that_says_so_hides_its_value(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, VALUE)
    assert redact(f"before {VALUE} {VALUE} after") == f"before <{name}> <{name}> after"


def test_other_variables_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDITOR", VALUE)
    assert redact(f"before {VALUE} after") == f"before {VALUE} after"


@pytest.mark.parametrize("value", [VALUE, "12345678", "a b/c d/e", "padding", "padding1", "padding12"])
def test_urls_and_base64_hide_nothing(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_TOKEN", value + "-long")
    value += "-long"
    code = base64.b64encode(value.encode()).decode()
    assert redact(f"https://x/{quote(value, safe='')}/y") == "https://x/<MY_TOKEN>/y"
    assert redact(code.rstrip("=") + ".") == "<MY_TOKEN>."
    assert redact(f"Basic {code}").rstrip("=") == "Basic <MY_TOKEN>"


def test_a_value_that_is_no_text_is_hidden_too(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = b"\xff\xfe-not-utf-8"
    monkeypatch.setitem(os.environ, "MY_TOKEN", os.fsdecode(raw))
    assert redact(f"[{quote(raw, safe='')}] [{base64.b64encode(raw).decode().rstrip('=')}]") == "[<MY_TOKEN>] [<MY_TOKEN>]"


def test_values_of_fewer_than_eight_characters_are_too_common_to_be_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHORT_KEY", "1234567")
    monkeypatch.setenv("LONG_KEY", "abcdefgh")
    assert redact("1234567 abcdefgh") == "1234567 <LONG_KEY>"


def test_one_secret_does_not_end_the_search_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"SHORT_KEY": "x", "ONE_TOKEN": "first-value", "EDITOR": "some-editor", "TWO_TOKEN": "second-value"}.items():
        monkeypatch.setenv(name, value)
    assert redact("first-value second-value some-editor") == "<ONE_TOKEN> <TWO_TOKEN> some-editor"


def test_data_is_searched_to_its_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_TOKEN", VALUE)
    data = {VALUE: [VALUE, 1, None, True, 0.5], "deep": ({"x": f"a{VALUE}"},)}
    assert redacted(data) == {"<MY_TOKEN>": ["<MY_TOKEN>", 1, None, True, 0.5], "deep": [{"x": "a<MY_TOKEN>"}]}


def test_what_cannot_be_encoded_is_made_printable() -> None:
    assert redacted(["ü", os.fsdecode(b"a\xff")]) == ["ü", "a\\udcff"]
