# ruff: noqa: RUF009 (`setting` makes an attrs field)
"""Plain data into attrs classes."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any, Literal

import pytest
from attrs import frozen
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from evalx.config import ExecutionSettings, at_least, setting, structure, to_plain
from evalx.errors import ConfigError, ConfigErrors


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


@frozen(kw_only=True)
class Inner:
    size: int = setting(help="How big.", validator=at_least(1))


@frozen(kw_only=True)
class Thing:
    flag: bool = setting(False, help="")
    count: int = setting(0, help="")
    ratio: float = setting(0.0, help="")
    name: str = setting("", help="")
    maybe: int | None = setting(None, help="")
    mode: Literal["one", "two"] | int = setting("one", help="")
    colour: Colour = setting(Colour.RED, help="")
    folder: Path = setting(Path(), help="")
    inner: Inner | None = setting(None, help="")
    inners: tuple[Inner, ...] = setting((), help="")
    table: Mapping[str, int] = setting(factory=dict, help="")
    either: str | Inner | list[int] = setting("", help="")
    free: Mapping[str, Any] = setting(factory=dict, help="")


def mistakes(data: Any) -> list[str]:
    with pytest.raises(ConfigErrors) as caught:
        structure(Thing, data)
    return [str(error) for error in caught.value.errors]


@pytest.mark.parametrize(
    ("key", "value", "result"),
    [
        ("count", "8000", 8000),
        ("count", "-3", -3),
        ("ratio", 3, 3.0),
        ("ratio", "0.5", 0.5),
        ("flag", "true", True),
        ("maybe", None, None),
        ("maybe", 3, 3),
        ("mode", "two", "two"),
        ("mode", 4, 4),
        ("colour", "blue", Colour.BLUE),
        ("folder", "/x", Path("/x")),
        ("inner", {"size": 2}, Inner(size=2)),
        ("inners", [{"size": 2}, {"size": 3}], (Inner(size=2), Inner(size=3))),
        ("table", {"a": "7"}, {"a": 7}),
        ("either", "x", "x"),
        ("either", {"size": 2}, Inner(size=2)),
        ("either", [1], [1]),
        ("free", {"a": [{"b": None}]}, {"a": [{"b": None}]}),
    ],
)
def test_a_value_that_fits_is_taken(key: str, value: Any, result: Any) -> None:
    found = getattr(structure(Thing, {key: value}), key)
    assert found == result
    assert type(found) is type(result)


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("count", True, "count: expected an integer, found true"),
        ("count", 1.5, "count: expected an integer, found 1.5"),
        ("count", " 1", "count: expected an integer, found ' 1'"),
        ("count", "1_0", "count: expected an integer"),
        ("count", None, "count: expected an integer, found nothing (null)"),
        ("ratio", "nan", "ratio: expected a number, found 'nan'"),
        ("ratio", "inf", "ratio: expected a number"),
        ("ratio", float("nan"), "ratio: expected a finite number, found nan"),
        ("ratio", float("-inf"), "ratio: expected a finite number, found -inf"),
        ("ratio", False, "ratio: expected a number, found false"),
        ("flag", 1, "flag: expected true or false, found 1"),
        ("flag", "yes", "flag: expected true or false, found 'yes'"),
        ("name", 405, "name: expected text, found 405"),
        ("maybe", "x", "maybe: expected an integer, found 'x'"),
        ("mode", "three", "mode: expected one of 'one', 'two' or an integer, found 'three'"),
        ("mode", True, "mode: expected one of 'one', 'two' or an integer, found true"),
        ("colour", "green", "colour: expected one of 'red', 'blue', found 'green'"),
        ("inner", {"size": "big"}, "inner.size: expected an integer, found 'big'"),
        ("inner", {"size": 0}, "inner.size: must be at least 1, not 0"),
        ("inner", {}, "inner.size: mandatory, but not set: How big."),
        ("inner", {"size": "???"}, "inner.size: mandatory, but not set: How big."),
        ("inner", [], "inner: expected a mapping of keys to values, found a list"),
        ("inners", {"size": 1}, "inners: expected a list, found a mapping"),
        ("inners", "abc", "inners: expected a list, found 'abc'"),
        ("table", {"a": 1.5}, "table.a: expected an integer, found 1.5"),
        ("either", {"size": "x"}, "either.size: expected an integer, found 'x'"),
        ("either", 3, "either: expected text or a mapping of keys to values or a list, found 3"),
        ("free", {"a": ["???"]}, "free.a[0]: mandatory, but not set"),
        ("nmae", 1, "nmae: unknown key"),
    ],
)
def test_a_value_that_does_not_fit_is_refused(key: str, value: Any, expected: str) -> None:
    (message,) = mistakes({key: value})
    assert message.startswith(expected)


def test_all_mistakes_are_told_at_once() -> None:
    found = mistakes({"count": "x", "inners": [{"size": 1}, {"sise": 1}, {"size": 0}], "zzz": 1})
    assert len(found) == 5
    assert {message.partition(":")[0] for message in found} == {"count", "inners[1].sise", "inners[1].size", "inners[2].size", "zzz"}


def test_hints_suggest_what_was_meant() -> None:
    with pytest.raises(ConfigErrors) as caught:
        structure(Thing, {"cuont": 1, "name": 7, "zzz": 1, "colour": "bleu"})
    hints = {error.where: error.hint for error in caught.value.errors}
    assert hints["cuont"] == "did you mean 'count'?"
    assert hints["name"] == "put it in quotes"
    assert str(hints["zzz"]).startswith("known here: colour, count")
    assert hints["colour"] == "did you mean 'blue'?"


def test_a_class_may_refuse_a_combination_and_name_the_key() -> None:
    @frozen
    class Picky:
        a: int = setting(help="")

        def __attrs_post_init__(self) -> None:
            raise ConfigError("never", "give up", where="a")

    with pytest.raises(ConfigErrors) as caught:
        structure(Picky, {"a": 1}, at=("deployment",))
    (error,) = caught.value.errors
    assert (error.where, error.message, error.hint) == ("deployment.a", "never", "give up")


def test_a_secret_is_not_repeated() -> None:
    @frozen
    class Login:
        api_token: int = setting(help="")

    with pytest.raises(ConfigErrors) as caught:
        structure(Login, {"api_token": "canary-5f2c"})
    assert "canary" not in str(caught.value)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.sampled_from(["", "red", "1", "one", "x y"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["size", "a", ""]), inner, max_size=3),
    max_leaves=6,
)


@hypothesis_settings(deadline=None, max_examples=60)
@given(
    st.dictionaries(st.sampled_from(["flag", "count", "mode", "inner", "inners", "table", "either", "free", "colour", "folder"]), values)
)
def test_any_data_is_structured_or_refused(data: dict[str, Any]) -> None:
    try:
        thing = structure(Thing, data)
    except ConfigErrors as errors:
        assert errors.errors
    else:
        assert structure(Thing, to_plain(thing)) == thing


def test_settings_survive_becoming_plain_data() -> None:
    thing = Thing(colour=Colour.BLUE, folder=Path("/x"), inners=(Inner(size=2),), inner=Inner(size=3))
    assert structure(Thing, to_plain(thing)) == thing
    plain = to_plain(ExecutionSettings(type="x", env_var_names=("A",)))
    assert plain["env_var_names"] == ["A"]
    assert structure(ExecutionSettings, plain) == ExecutionSettings(type="x", env_var_names=("A",))
