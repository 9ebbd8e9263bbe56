"""Values of secret variables, in every form in which they may stand in a text, are replaced by their names."""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest

from evalx import redaction
from evalx.redaction import forget, hold, mask_files, redact, redacted, refer, without_literals

VALUE = "s3cret/välue+1?"


@pytest.fixture(autouse=True)
def only(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No secret but the tests' own: the machine's may be anything."""
    for name in list(os.environ):
        if name not in ("HOME", "PATH", "EVALX_STATE_DIR"):
            monkeypatch.delenv(name)
    forget()
    redaction._forms.cache_clear()
    yield
    forget()


@pytest.mark.parametrize("name", ["MY_TOKEN", "API_KEY", "a_secret", "Password1", "PASSWD", "AWS_CREDENTIALS"])
def test_a_name_that_says_so_hides_its_value(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, VALUE)
    assert redact(f"before {VALUE} {VALUE} after") == f"before <{name}> <{name}> after"


def test_other_variables_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDITOR", VALUE)
    assert redact(f"before {VALUE} after") == f"before {VALUE} after"


@pytest.mark.parametrize("value", [VALUE, "12345678", "a b/c d/e", 'ä"ö-value', "nonsense12", "a\"b\\c'd\ne", "\udcff\udcfe-bytes"])
def test_no_way_of_writing_it_hides_it(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "MY_TOKEN", value)
    data = value.encode("utf-8", "surrogateescape")
    in_url = quote(data, safe="")
    ways = [value, repr(value)[1:-1], json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1], data.hex(), data.hex().upper()]
    ways += [in_url, quote(data), quote_plus(data), re.sub("%..", lambda code: code[0].lower(), in_url)]
    for way in ways:
        assert redact(f"[{way}]") == "[<MY_TOKEN>]"


@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
@pytest.mark.parametrize("before", ["", "a", "ab", "user:", "user42:"])
@pytest.mark.parametrize("after", ["", "z", "yz", "xyz"])
@pytest.mark.parametrize("value", ["nonsense", "nonsense1", "nonsense12", "~~~???>>>~~~"])
def test_base64_hides_nothing_wherever_in_it_it_stands(
    value: str, before: str, after: str, encode: Callable[[bytes], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_TOKEN", value)
    text = encode(f"{before}{value}{after}".encode()).decode()
    left = redact(text)
    assert "<MY_TOKEN>" in left
    first, last = -(-8 * len(before) // 6), 8 * len(before + value) // 6  # characters that hold no bits of the neighbours
    assert left.replace("<MY_TOKEN>", "") == text[:first] + text[last:]


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


def test_what_a_config_refers_to_is_secret_whatever_its_name_says(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ONE", "TWO", "THREE", "FOUR", "FIVE"):
        monkeypatch.setenv(name, f"value-of-{name.lower()}")
    said = "value-of-one value-of-two value-of-three value-of-four value-of-five"
    assert redact(said) == said
    refer({"env": [{"A": "host:ONE"}, 5, ("host:TWO",)], "api_key_name": "THREE", "env_var_names": ["FOUR", 4], "text": "see host:FIVE"})
    assert redact(said) == "<ONE> <TWO> <THREE> <FOUR> value-of-five"
    forget()
    assert redact(said) == said


def test_what_is_held_is_hidden_and_the_longest_first(monkeypatch: pytest.MonkeyPatch) -> None:
    hold("a", "abcdefgh")
    hold("b", "abcdefgh-and-more")
    hold("tiny", "abcdefg")
    assert redact("abcdefgh abcdefgh-and-more abcdefg") == "<a> <b> abcdefg"
    forget()
    assert redact("abcdefgh") == "abcdefgh"


def test_passwords_in_urls_are_hidden_there_and_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    assert redact("at https://me:pa%20ss@host/x and ftp://:p@h") == "at https://me:***@host/x and ftp://:***@h"
    assert redact("no://password here:either@x") == "no://password here:either@x"
    monkeypatch.setenv("HTTPS_PROXY", "http://me:pass%20word-long@proxy:8080")
    assert redact("I use pass word-long") == "I use <HTTPS_PROXY>"


@pytest.mark.parametrize("prefix", ["hf_", "nvapi-", "sk-", "ghp_", "gho_", "ghs_", "ghu_", "glpat-", "github_pat_"])
def test_tokens_of_known_services_are_recognised(prefix: str) -> None:
    assert redact(f"({prefix}{'aB3_-' * 4})") == "(<a token>)"
    assert redact(f"{prefix}{'a' * 19}") == f"{prefix}{'a' * 19}"


def test_files_are_masked_in_place_across_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redaction, "BLOCK", 300)
    monkeypatch.setenv("MY_TOKEN", "secret-value")
    plain = b"x".join([b"secret-value", b"-" * 285, b"secret-valuesecret-value", b"." * 1000, b"secret-value"])
    for place in ("a.log", "deep/b.txt"):
        (tmp_path / place).parent.mkdir(exist_ok=True)
        (tmp_path / place).write_bytes(plain)
    mask_files(tmp_path, "**/*.log")
    assert (tmp_path / "a.log").read_bytes() == plain.replace(b"secret-value", b"*" * 12)
    assert (tmp_path / "deep" / "b.txt").read_bytes() == plain
    mask_files(tmp_path)
    assert (tmp_path / "deep" / "b.txt").read_bytes() == plain.replace(b"secret-value", b"*" * 12)


def test_links_and_files_with_a_second_name_are_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_TOKEN", "secret-value")
    outside, run = tmp_path / "outside", tmp_path / "run"
    run.mkdir()
    for name in ("one", "two"):
        (tmp_path / name).write_text("secret-value")
    outside.write_text("secret-value")
    (run / "link").symlink_to(outside)
    os.link(tmp_path / "one", run / "hard")
    os.mkfifo(run / "pipe")
    (run / "own").write_text("a secret-value")
    mask_files(run)
    assert outside.read_text() == (run / "hard").read_text() == "secret-value"
    assert (run / "own").read_text() == "a ************"


@pytest.mark.parametrize("secret", [b"secret-value", b"\xff-no-text-\xfe"])
def test_no_place_in_a_file_hides_a_secret(secret: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redaction, "BLOCK", 300)
    monkeypatch.setitem(os.environ, "MY_TOKEN", os.fsdecode(secret))
    longest = max((os.fsencode(form) for form in redaction._forms(os.fsdecode(secret))), key=len)
    plain = {}
    for form in (secret, longest):
        for shift in range(len(longest) + 2):
            plain[f"{len(form)}-{shift}.log"] = form, b"-" * (300 - shift) + form + b"." + form * 3 + b"." * 700
    for name, (_, data) in plain.items():
        (tmp_path / name).write_bytes(data)
    mask_files(tmp_path)
    for name, (form, data) in plain.items():
        assert (tmp_path / name).read_bytes() == data.replace(form, b"*" * len(form)), name


def test_a_file_that_cannot_be_masked_does_not_spare_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_TOKEN", "secret-value")
    real = redaction._mask

    def mask(path: Path, forms: list[bytes]) -> None:
        if path.name == "b":
            raise PermissionError(13, "no", str(path))
        real(path, forms)

    monkeypatch.setattr(redaction, "_mask", mask)
    for name in "abc":
        (tmp_path / name).write_text("secret-value")
    mask_files(tmp_path)
    assert {path.name for path in tmp_path.iterdir() if "*" in path.read_text()} == {"a", "c"}


def test_what_a_config_holds_itself_under_the_name_of_a_secret() -> None:
    variables = {
        "MY_TOKEN": "lit:first-secret",
        "MY_KEY": {"value": "lit:second-secret"},
        "TOKENIZER": "lit:meta/model-8b",
        "A_KEY": "host:B",
    }
    tasks = [{"env": {"DB_PASSWORD": "third-secret"}}]
    refer({"evaluation": {"env_vars": variables, "tasks": tasks}, "MY_SECRET": "no variable"})
    text = "first-secret second-secret third-secret meta/model-8b host:B no variable"
    assert redact(text) == without_literals(text) == "<MY_TOKEN> <MY_KEY> <DB_PASSWORD> meta/model-8b host:B no variable"
    forget()
    assert redact(text) == without_literals(text) == text
