"""Environment variables and secrets as a config writes them."""

from __future__ import annotations

from typing import Any

import pytest

from evalx.config.env import parse_env
from evalx.config.secrets import environments, literal_secrets, resolved_secrets
from evalx.config.source import dotted
from evalx.errors import ConfigError
from evalx.model import Secret
from evalx.redaction import looks_secret


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("host:HF_TOKEN", Secret("host:HF_TOKEN")),
        ({"value_from": {"secret_name_ref": "HF_TOKEN_read"}}, Secret("secret:HF_TOKEN_read")),
        ("lit:host:X", "host:X"),
        ("lit:", ""),
        ("plain", "plain"),
        ("http://host:80", "http://host:80"),
        ("", ""),
        (8, "8"),
        (0.5, "0.5"),
        (True, "true"),
        (False, "false"),
        ({"value": "x"}, "x"),
        ({"value": "host:X"}, "host:X"),
        ({"value": 1}, "1"),
    ],
)
def test_each_form_of_a_value(value: Any, expected: str | Secret) -> None:
    assert parse_env({"NAME": value}) == {"NAME": expected}


NO_VALUE = [None, [1], {}, {"value": 1, "x": 2}, {"value": None}, {"value_from": {}}, {"value_from": "x"}]
NO_REFERENCE = ["host:", "host:a b", {"value_from": {"secret_name_ref": "a b"}}, {"value_from": {"secret_name_ref": 7}}]


@pytest.mark.parametrize(
    ("value", "said"), [*((value, "not a value for an") for value in NO_VALUE), *((value, "followed by a name") for value in NO_REFERENCE)]
)
def test_what_is_no_value_is_refused(value: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        parse_env({"GOOD": "1", "NAME": value})
    assert caught.value.where == "NAME"
    assert "host:NAME" in str(caught.value.hint)


@pytest.mark.parametrize("name", ["", "1A", "A B", "A=B", "A\n", "$(id)", "-A"])
def test_what_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="cannot be the name") as caught:
        parse_env({name: "x"})
    assert caught.value.where == name and caught.value.hint


@pytest.mark.parametrize("value", ["x\0y", "lit:x\0y", {"value": "x\0y"}])
def test_a_nul_cannot_be_passed(value: Any) -> None:
    with pytest.raises(ConfigError, match="NUL") as caught:
        parse_env({"A": value})
    assert caught.value.where == "A" and caught.value.hint


@pytest.mark.parametrize(
    "name", ["HF_TOKEN", "hf_token", "NGC_API_KEY", "APIKEY", "AWS_SECRET_ACCESS_KEY", "DB_PASSWORD", "SSH_KEY", "api_key"]
)
def test_names_of_secrets(name: str) -> None:
    assert looks_secret(name)


@pytest.mark.parametrize(
    "name", ["TOKENIZERS_PARALLELISM", "MAX_TOKENS", "KEYBOARD", "MODEL", "api_key_name", "secret_name_ref", "max_new_tokens"]
)
def test_names_of_what_is_no_secret(name: str) -> None:
    assert not looks_secret(name)


def test_secrets_in_plain_text_are_found_wherever_they_are() -> None:
    tree = {
        "deployment": {"envs": {"HF_TOKEN": "hf_x", "A": "b", "OTHER_TOKEN": "host:T", "FINE_KEY": "lit:x"}, "api_token": "t"},
        "execution": {"x": [{"env_vars": {"API_KEY": {"value": "k"}, "NGC_KEY": {"value_from": {"secret_name_ref": "n"}}}}]},
        "target": {"api_key": "sk", "api_key_name": "NAME", "password": "???", "token": None, "my_token": 5, "its_secret": "true"},
        "evaluation": {
            "nemo_evaluator_config": {"judge": {"api_key": "JUDGE_API_KEY"}, "other": {"api_key": "sk-1"}},
            "overrides": {"config.params.extra.api_key": "sk-2", "config.params.max_tokens": "12"},
        },
    }
    assert sorted(map(dotted, literal_secrets(tree))) == [
        "deployment.api_token",
        "deployment.envs.HF_TOKEN",
        "evaluation.nemo_evaluator_config.other.api_key",
        "evaluation.overrides.config.params.extra.api_key",
        "execution.x[0].env_vars.API_KEY",
        "target.api_key",
    ]


def test_references_to_secrets_that_would_be_resolved_are_found() -> None:
    tree = {"a": ["x ${oc.env:HF_TOKEN} y", "${oc.env:HOME}"], "b": {"c": "${ oc.env:'MY_API_KEY',''}"}}
    assert list(resolved_secrets(tree)) == [(("a", 0), "HF_TOKEN"), (("b", "c"), "MY_API_KEY")]


def test_environments_are_found_but_not_those_of_a_harness() -> None:
    tree = {"harness_config": {"env": {"A": "1"}}, "x": [{"env_vars": {"B": "2"}, "envs": "no mapping"}], "env": {"C": "3"}}
    assert list(environments(tree)) == [(("x", 0, "env_vars"), {"B": "2"}), (("env",), {"C": "3"})]


def test_of_variables_more_names_are_those_of_secrets_than_of_keys() -> None:
    tree = {"envs": {"DB_CREDENTIALS": "x"}, "db_credentials": "x", "harness_config": {"env": {"DB_CREDENTIALS": "x", "api_key": "sk-1"}}}
    assert list(literal_secrets(tree)) == [("envs", "DB_CREDENTIALS"), ("harness_config", "env", "api_key")]
