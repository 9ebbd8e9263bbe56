"""Whole configs, from files, groups, overrides and plugins."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from attrs import evolve

from evalx.config import Config, load
from evalx.errors import ConfigError, ConfigErrors

Load = Callable[..., Config]
Mistakes = Callable[..., list[ConfigError]]
Write = Callable[..., Path]

SIMPLE = """
execution:
  type: acme
  region: west
target:
  api_endpoint:
    url: http://127.0.0.1:8000/v1/chat/completions
    model_id: tiny
evaluation:
  tasks:
    - name: ifeval
"""
COMPOSED = """
defaults:
  - execution: acme/default
  - deployment: server
  - _self_
execution:
  output_dir: out
deployment:
  checkpoint_path: /models/tiny
evaluation:
  tasks:
    - name: ifeval
    - name: mmlu_pro
"""

SERVER = """
deployment:
  type: server
  checkpoint_path: /models/other
evaluation:
  tasks:
    - name: ifeval
"""


def test_a_plain_file_without_defaults_list(loaded: Load) -> None:
    config = loaded(SIMPLE)
    assert (config.execution.type, config.execution.region, config.execution.output_dir) == ("acme", "west", "evalx-runs")
    assert config.deployment_type == "none"
    assert config.target.api_endpoint.model_id == "tiny"
    assert [task.name for task in config.evaluation.tasks] == ["ifeval"]


def test_groups_come_from_the_plugins_package(loaded: Load) -> None:
    config = loaded(COMPOSED)
    assert (config.execution.region, config.execution.output_dir) == ("north", "out")
    assert (config.deployment.checkpoint_path, config.deployment.served_model_name) == ("/models/tiny", "tiny")


def test_the_users_own_groups_win(write: Write, loaded: Load) -> None:
    write("type: acme\nregion: mine\n", "execution/acme/default.yaml")
    assert loaded(COMPOSED).execution.region == "mine"


def test_a_file_without_self_wins_over_its_groups(loaded: Load) -> None:
    assert loaded(COMPOSED.replace("  - _self_\n", "")).execution.output_dir == "out"


def test_self_first_lets_groups_win(loaded: Load) -> None:
    text = COMPOSED.replace("  - _self_\n", "").replace("defaults:\n", "defaults:\n  - _self_\n").replace("output_dir: out", "region: mine")
    assert loaded(text, overrides=["execution.output_dir=x"]).execution.region == "north"


@pytest.mark.parametrize(
    ("override", "key", "value"),
    [
        ("execution.region=south", "execution.region", "south"),
        ("execution.max_tasks=3", "execution.max_tasks", 3),
        ("+execution.max_tasks=3", "execution.max_tasks", 3),
        ("++execution.region=south", "execution.region", "south"),
        ("execution=acme/south", "execution.region", "south"),
        ("evaluation.tasks.1.timeout=60", "evaluation.tasks[1].timeout", 60),
        ("evaluation.tasks[1].timeout=60", "evaluation.tasks[1].timeout", 60),
        ("evaluation.tasks=[{name: mmlu_pro}]", "evaluation.tasks[0].name", "mmlu_pro"),
        ("deployment.envs={A: 'b c'}", "deployment.envs.A", "b c"),
        ("execution.output_dir='a,b=c'", "execution.output_dir", "a,b=c"),
        ("execution.output_dir=${execution.region}/x", "execution.output_dir", "north/x"),
    ],
)
def test_overrides(loaded: Load, override: str, key: str, value: object) -> None:
    config = loaded(COMPOSED, overrides=[override])
    found = config.tree
    for part in key.replace("[", ".").replace("]", "").split("."):
        found = found[int(part) if isinstance(found, list) else part]
    assert found == value


def test_deleting_a_key_leaves_its_default(loaded: Load) -> None:
    assert loaded(COMPOSED, overrides=["~deployment.served_model_name"]).deployment.served_model_name is None


def test_every_bad_override_is_told_without_its_value(mistakes: Mistakes) -> None:
    found = mistakes(COMPOSED, overrides=["a=1,canary", "b={canary", "execution.region=x"])
    assert [error.where for error in found] == ["override a", "override b"]
    found = mistakes(COMPOSED, overrides=["~nope", "evaluation.tasks.9.name=canary", "+execution.region=canary", "x@y=canary"])
    assert [error.where for error in found] == [
        "override nope",
        "override evaluation.tasks.9.name",
        "override execution.region",
        "override x",
    ]
    assert not any("canary" in f"{error} {error.hint}" for error in found)


@pytest.mark.parametrize(
    "written",
    ["defaults: [{execution: acme/default}, {deployment: server}, _self_]", "defaults: [{execution: acme/default}, _self_]"],
    ids=["chosen by its group", "in a section of its own"],
)
def test_an_endpoint_that_exists_takes_the_place_of_a_server_whatever_files_say_of_it(loaded: Load, write: Write, written: str) -> None:
    write(f"{written}\ndeployment: {{type: server, checkpoint_path: /models/tiny}}", "base.yaml")
    given = ["execution.output_dir=out", "target.api_endpoint.url=http://127.0.0.1:1", "target.api_endpoint.model_id=m"]
    for text in (f"{written}\n{SERVER}", f"defaults: [base, _self_]\n{SERVER}"):
        config = loaded(text, overrides=["deployment=none", *given])
        assert (config.deployment_type, config.tree["deployment"]) == ("none", {"type": "none"})
        assert config.target.api_endpoint.model_id == "m"


def test_a_deployment_chosen_by_an_override_replaces_a_section_and_not_settings_of_a_chosen_group(loaded: Load) -> None:
    other = "execution: {type: acme, region: west}\ndeployment: {type: none}\nevaluation: {tasks: [{name: ifeval}]}"
    config = loaded(other, overrides=["deployment=server", "deployment.checkpoint_path=/models/tiny"])
    assert (config.deployment_type, config.deployment.checkpoint_path) == ("server", "/models/tiny")
    config = loaded(COMPOSED, overrides=["deployment=server"])
    assert config.deployment.checkpoint_path == "/models/tiny"


def test_a_choice_from_another_group_that_the_config_does_not_choose_from_is_a_mistake(mistakes: Mistakes) -> None:
    (error,) = mistakes(SIMPLE, overrides=["execution=acme/default"])
    assert error.where == "override execution"
    assert "chooses nothing from a config group 'execution'" in str(error)


def test_the_executor_option_wins(loaded: Load) -> None:
    without = SIMPLE.replace("  type: acme\n", "")
    with_folder = without.replace("region: west", "output_dir: x")
    assert loaded(with_folder, executor="acme").execution.region == "north"
    assert loaded(COMPOSED.replace("acme/default", "local/default"), executor="acme").execution.region == "north"
    assert loaded(COMPOSED.replace("acme/default", "acme/south"), executor="acme").execution.region == "south"
    assert loaded(COMPOSED, executor="acme", overrides=["execution=acme/south"]).execution.region == "south"


def test_an_executor_that_brings_no_groups_is_selected_too(acme: Path, loaded: Load) -> None:
    for file in acme.glob("configs/execution/acme/*"):
        file.unlink()
    text = SIMPLE.replace("  type: acme\n", "").replace("execution:", "defaults: [{execution: local/default}, _self_]\nexecution:")
    config = loaded(text, executor="acme")
    assert (config.execution.type, config.execution.region) == ("acme", "west")


def test_only_the_chosen_tasks_are_kept(loaded: Load, mistakes: Mistakes) -> None:
    config = loaded(COMPOSED, tasks=["mmlu_pro"])
    assert [task.name for task in config.evaluation.tasks] == ["mmlu_pro"]
    assert config.origin("evaluation.tasks[0].name") == "my.yaml:13"
    assert "ifeval" not in config.text
    (error,) = mistakes(COMPOSED, tasks=["mmlu_por"])
    assert error.hint == "did you mean 'mmlu_pro'?"


def test_configs_are_found_by_name(write: Write, acme: Path, tmp_path: Path) -> None:
    assert load("acme_example").path == acme / "configs" / "acme_example.yaml"
    here = write(SIMPLE, "configs/acme_example.yaml")
    assert load("acme_example").path == here
    here = write(SIMPLE, "acme_example.yaml")
    assert load("acme_example").path == here
    assert load(None, config_dir=acme / "configs", config_name="acme_example").path == acme / "configs" / "acme_example.yaml"
    assert load("./acme_example.yaml").path == here
    assert load(here).path == here


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        ({"config": "acme_exampel"}, "no config 'acme_exampel'", "did you mean 'acme_example'?"),
        ({"config": "zzz"}, "no config 'zzz'", "looked in"),
        ({"config": "./my.yml"}, "file name ends in .yaml", "mv"),
        ({"config": "./myy.yaml"}, "no file", "did you mean 'my.yaml'?"),
        ({"config": "nowhere/x.yaml"}, "no file", None),
        ({"config": None}, "no config given", "evalx run"),
        ({"config": "a", "config_name": "b"}, "a config and a config name", None),
    ],
)
def test_a_config_that_is_not_there(write: Write, arguments: dict[str, str | None], message: str, hint: str | None) -> None:
    write(SIMPLE)
    with pytest.raises(ConfigError) as caught:
        load(**arguments)  # type: ignore[arg-type]
    assert message in caught.value.message
    assert hint is None or hint in str(caught.value.hint)


def test_hydra_searchpath_adds_folders_and_nothing_else_of_hydra_is_taken(write: Write, loaded: Load, mistakes: Mistakes) -> None:
    write("type: acme\nregion: far\n", "more/execution/far.yaml")
    text = COMPOSED.replace("acme/default", "far")
    assert loaded("hydra: {searchpath: [file://more]}\n" + text).execution.region == "far"
    (error,) = mistakes("hydra: {searchpath: [nowhere]}\n" + text)
    assert error.where == "my.yaml:1 hydra.searchpath"
    (error,) = mistakes("hydra: {run: {dir: x}}\n" + text)
    assert "searchpath" in error.message


@pytest.mark.parametrize(
    ("defaults", "where", "message", "hint"),
    [
        (
            "[{execution: acme/defualt}]",
            "my.yaml:1 defaults",
            "no config 'acme/defualt' in config group 'execution'",
            "did you mean 'acme/default'?",
        ),
        ("[nope]", "my.yaml:1 defaults", "no config 'nope'", None),
        ("nope", "my.yaml:1 defaults", "must be a list", None),
        ("[3]", "my.yaml:1 defaults", "Unsupported type", None),
    ],
)
def test_mistakes_in_the_defaults_list(mistakes: Mistakes, defaults: str, where: str, message: str, hint: str | None) -> None:
    (error,) = mistakes(f"defaults: {defaults}\n{SIMPLE}")
    assert error.where == where
    assert message in error.message
    assert hint is None or hint in str(error.hint)


def test_a_group_chosen_twice_says_how_to_change_the_choice(mistakes: Mistakes) -> None:
    (error,) = mistakes(COMPOSED, overrides=["+execution=acme/south"])
    assert error.message == "config group 'execution' is chosen twice"
    assert "execution=" in str(error.hint)


def test_mistakes_in_a_group_file_name_that_file(write: Write, mistakes: Mistakes) -> None:
    write("type: acme\nregion: x\nregion: y\n", "execution/acme/default.yaml")
    (error,) = mistakes(COMPOSED)
    assert error.where == "execution/acme/default.yaml:3"


def test_interpolations_are_resolved_and_stay_references_in_the_text(loaded: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLACE", "canary-71b")
    config = loaded(SIMPLE.replace("west", "${oc.env:PLACE}-${acme:x,1}-${execution.type}"))
    assert config.execution.region == "canary-71b-/acme/x/1-acme"
    assert "canary" not in config.text
    assert "${oc.env:PLACE}-${acme:x,1}" in config.text


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("${oc.env:NOT_THERE}", "Environment variable 'NOT_THERE' not found"),
        ("${nope.x}", "Interpolation key 'nope.x' not found"),
        ("${execution.region}", "Recursive interpolation"),
        ("${execution}", "Interpolation to parent node"),
        ("${unknown:1}", "Unsupported interpolation type unknown"),
        ("${acme:broken}", "there is nothing of that name"),
        ("${broken", "an interpolation that cannot be understood"),
        ('${oc.decode:"[canary"}', "cannot be decoded"),
        ("${oc.env:HF_TOKEN,}", "the value of HF_TOKEN would be stored"),
        ("${target.api_endpoint.api_key_name}", "refers to a value that is not set"),
    ],
)
def test_an_interpolation_that_fails_is_located(mistakes: Mistakes, value: str, message: str) -> None:
    text = SIMPLE.replace("region: west", f"region: '{value}'").replace("model_id: tiny", "model_id: tiny\n    api_key_name: ???")
    error = next(error for error in mistakes(text) if "region" in str(error.where))
    assert error.where == "my.yaml:4 execution.region"
    assert message in error.message
    assert "canary" not in str(error)


def test_every_value_knows_where_it_came_from(loaded: Load, acme: Path) -> None:
    config = loaded(COMPOSED, overrides=["deployment.tensor_parallel_size=2", "deployment.envs={A: 1}"])
    assert config.origin("execution.output_dir") == "my.yaml:7"
    assert config.origin("execution.region") == f"{acme}/configs/execution/acme/default.yaml:2"
    assert config.origin("evaluation.tasks[1].name") == "my.yaml:13"
    assert config.origin("deployment.tensor_parallel_size") == "override deployment.tensor_parallel_size"
    assert config.origin("deployment.envs.A") == "override deployment.envs"
    assert config.origin("execution.start") is None
    assert config.origin("defaults[0]") is None


def test_a_list_belongs_to_the_layer_that_wrote_it_last(loaded: Load, write: Write) -> None:
    write("type: acme\nregion: x\noutput_dir: x\nenv_var_names: [A, B, C]\n", "execution/acme/default.yaml")
    config = loaded(COMPOSED.replace("output_dir: out", "env_var_names: [D]"))
    assert config.execution.env_var_names == ("D",)
    assert config.origin("execution.env_var_names[0]") == "my.yaml:7"
    assert config.origin("execution.env_var_names[1]") is None


def test_plugins_that_a_run_does_not_name_are_not_imported(loaded: Load) -> None:
    loaded(SIMPLE.replace("type: acme\n  region: west", "type: local"))
    assert not [name for name in sys.modules if name.startswith("acme_cloud")]


def test_loads_in_many_threads_do_not_meet_and_leave_nothing_global(write: Write) -> None:
    from hydra import version
    from hydra.core.global_hydra import GlobalHydra
    from omegaconf import OmegaConf

    before = version.getbase()
    for number in range(6):
        write(COMPOSED.replace("output_dir: out", f"output_dir: out-{number}"), f"c{number}.yaml")
    found: dict[int, str] = {}

    def run(number: int) -> None:
        found[number] = load(f"c{number}.yaml", overrides=[f"execution.region=r{number}"]).execution.output_dir

    threads = [threading.Thread(target=run, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {number: f"out-{number}" for number in range(6)}
    assert not GlobalHydra().is_initialized()
    assert not OmegaConf.has_resolver("acme")
    assert version.getbase() == before


def test_a_stored_text_loads_to_the_same_config(loaded: Load, write: Write) -> None:
    config = loaded(COMPOSED, overrides=["deployment.tensor_parallel_size=2"])
    again = loaded(config.text)
    assert evolve(again, text="") == evolve(config, text="")


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = "import sys, evalx.config; print(sorted({'hydra', 'omegaconf', 'cattrs', 'rich'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_a_section_that_is_empty_is_told_and_not_an_internal_error(tmp_path: Path) -> None:
    (tmp_path / "empty.yaml").write_text(
        "defaults: [{execution: local/default}, _self_]\nexecution:\nevaluation: {tasks: [{name: ifeval}]}\n"
    )
    with pytest.raises(ConfigErrors, match="execution: expected a mapping of keys to values with a 'type'"):
        load(tmp_path / "empty.yaml")
