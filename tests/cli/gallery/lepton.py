"""What a Lepton workspace refuses before anything is created; tests/lepton/situations.py has what goes wrong there later."""

from __future__ import annotations

from importlib import metadata, util
from typing import Any

from tests.cli.gallery.stage import CANARY, TASKS, Stage, situation

LEPTON = f"""\
defaults: [{{execution: lepton/default}}, {{deployment: vllm}}, _self_]
deployment:
  image: example.test/vllm:1
  checkpoint_path: example/stub
  served_model_name: stub
  lepton_config: {{resource_shape: gpu.small}}
{TASKS.replace("{name: one,", "{name: one, container: example.test/eval:1,")}"""


def unasked(stage: Stage, *args: str) -> Any:
    """`evalx run` where the config alone is wrong, so that no workspace is asked."""
    for name, value in (("ID", "abc123"), ("TOKEN", CANARY), ("URL", "http://127.0.0.1:1")):
        stage.monkeypatch.setenv(f"LEPTON_WORKSPACE_{name}", value)
    return stage.run(LEPTON, *args)


def workspace(stage: Stage, *args: str, **environment: str) -> Any:
    """`evalx run` in an emulated workspace, to which the environment leads unless it is given otherwise."""
    from leptonai.api.v2.client import reset_new_deployment_api_flag_cache

    from evalx_lepton.emulator import Emulator, EmulatorSettings

    reset_new_deployment_api_flag_cache()
    with Emulator(EmulatorSettings(), state=stage.folder / "emulator") as emulator:
        for name, value in {**emulator.environment(), **environment}.items():
            stage.monkeypatch.setenv(name, value)
        return stage.run(LEPTON, *args)


@situation
def lepton_without_its_sdk(stage: Stage) -> Any:
    _sdk(stage, None)
    return stage.run(LEPTON)


@situation
def lepton_with_another_sdk(stage: Stage) -> Any:
    _sdk(stage, "0.27.3")
    return stage.run(LEPTON)


def _sdk(stage: Stage, version: str | None) -> None:
    def found(name: str, known: Any = metadata.version) -> str:
        if name == "leptonai" and version is None:
            raise metadata.PackageNotFoundError(name)
        return version if name == "leptonai" and version else str(known(name))

    stage.monkeypatch.setattr("evalx_lepton.installation.metadata.version", found)


if util.find_spec("leptonai") is not None:

    @situation
    def lepton_with_a_token_that_is_refused(stage: Stage) -> Any:
        return workspace(stage, LEPTON_WORKSPACE_TOKEN=CANARY)

    @situation
    def lepton_with_a_cost_cap_and_no_prices(stage: Stage) -> Any:
        return workspace(stage, "--max-cost", "5")

    @situation
    def lepton_without_an_answer(stage: Stage) -> Any:
        return unasked(stage)

    @situation
    def lepton_with_what_is_not_in_the_workspace(stage: Stage) -> Any:
        tasks = "execution.lepton_platform.tasks"
        return workspace(
            stage,
            f"{tasks}.node_group=h100s",
            "execution.evaluation_tasks.resource_shape=gpu.none",
            f"++{tasks}.env_vars.HF_TOKEN.value_from.secret_name_ref=HF_TOKEN_read",
        )

    @situation
    def lepton_with_a_field_that_it_does_not_know(stage: Stage) -> Any:
        return workspace(stage, "++execution.lepton_platform.deployment.platform_defaults.autoscale=3")

    @situation
    def lepton_with_an_unknown_key(stage: Stage) -> Any:
        return unasked(stage, "++execution.lepton_platform.task.node_group=x", "++deployment.lepton_config.min_replica=2")

    @situation
    def lepton_with_a_mount_that_is_none(stage: Stage) -> Any:
        return unasked(stage, "execution.lepton_platform.tasks.mounts=[{path: shared}]")

    @situation
    def lepton_with_settings_of_the_emulator_that_are_wrong(stage: Stage) -> Any:
        return unasked(stage, "execution.lepton_platform.workspace=emulated", "++execution.lepton_platform.emulator.settings={imagse: []}")
