"""What is checked and shown before anything is created: configs, preflight, bodies."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from tests.lepton.conftest import World, program, question, server, until

from evalx.config import load
from evalx.context import RunContext
from evalx.errors import ConfigErrors, EndpointFailed
from evalx.hookspecs import hookimpl
from evalx.model import EndpointSpec, Finding, Limits, ServerSpec
from evalx.plan import make_plan
from evalx.runs import context_of
from evalx.testing.runs import make_run
from evalx_lepton.executor import LeptonExecutor
from evalx_lepton.sdk import Credentials
from evalx_lepton.settings import DeploymentPlatform, EmulatorChoice, EvaluationTasks, LeptonPlatform, LeptonSettings, TaskPlatform

SHIPPED = (
    "lepton_vllm_llama_3_1_8b_instruct",
    "lepton_nim_llama_3_1_8b_instruct",
    "lepton_none_llama_3_1_8b_instruct",
    "lepton_vllm_gpqa_hellaswag_winogrande",
)


def previewed(*overrides: str, name: str = SHIPPED[0]) -> dict[str, Any]:
    """What would be sent for a shipped config."""
    config = load(name, overrides=list(overrides))
    run = context_of(make_plan(config, "abcdefghijk"), Path("/nowhere"), settings=config.execution)
    hooks = run.plugins.hooks(run)
    hooks.setup()
    return dict(hooks.preview() or {})


class TestShippedConfigs:
    @pytest.mark.parametrize("name", SHIPPED)
    def test_they_are_sent_as_the_sdk_understands_them(self, name: str) -> None:
        shown = previewed(name=name)
        assert [entry["problems"] for kind in ("endpoints", "tasks") for entry in shown[kind].values() if entry["problems"]] == []
        json.dumps(shown)

    def test_three_tasks_have_three_endpoints(self) -> None:
        shown = previewed(name=SHIPPED[3])
        assert list(shown["endpoints"]) == list(shown["tasks"]) == ["gpqa_diamond", "hellaswag", "winogrande"]

    def test_images_of_suites_are_digests(self) -> None:
        assert all("@sha256:" in task["body"]["spec"]["container"]["image"] for task in previewed()["tasks"].values())

    def test_a_nim_keeps_its_entrypoint_and_gets_its_key_by_secret(self) -> None:
        spec = previewed(name=SHIPPED[1])["endpoints"]["gpqa_diamond"]["body"]["spec"]
        assert "command" not in spec["container"]
        env = {variable["name"]: variable for variable in spec["envs"]}
        assert env["NGC_API_KEY"]["value_from"] == {"secret_name_ref": "NGC_API_KEY"}
        assert env["NIM_MODEL_NAME"]["value"] == "meta/llama-3.1-8b-instruct"
        assert spec["mounts"] == [
            {"from": "node-nfs:lepton-shared-fs", "path": "/shared/nim-cache/llama-3.1-8b-instruct", "mount_path": "/opt/nim/.cache"}
        ]

    def test_a_nim_without_key_is_refused(self) -> None:
        with pytest.raises(Exception, match="NGC_API_KEY"):
            previewed("~deployment.lepton_config.envs.NGC_API_KEY", name=SHIPPED[1])


class TestKeys:
    """Every key that is accepted does something."""

    def spec(self, *overrides: str, kind: str = "endpoints") -> dict[str, Any]:
        found: dict[str, Any] = next(iter(previewed(*overrides)[kind].values()))["body"]["spec"]
        return found

    def test_extra_args_are_split_as_a_shell_would(self) -> None:
        command = self.spec("deployment.extra_args='--a \"b c\" --d=e'")["container"]["command"]
        assert command[-3:] == ["--a", "b c", "--d=e"]

    def test_platform_defaults_are_under_the_spec(self) -> None:
        defaults = "execution.lepton_platform.deployment.platform_defaults"
        spec = self.spec(
            f"{defaults}.queue_config={{priority_class:mid-4000}}",
            f"{defaults}.resource_requirement={{resource_shape:other,shared_memory_size:1024}}",
        )
        assert spec["queue_config"] == {"priority_class": "mid-4000"}
        assert spec["log"] == {"enable_collection": True}
        assert (spec["resource_requirement"]["resource_shape"], spec["resource_requirement"]["shared_memory_size"]) == ("gpu.1xh200", 1024)

    def test_unknown_fields_are_found(self) -> None:
        shown = previewed("+execution.lepton_platform.deployment.platform_defaults.levitate=true")
        assert "spec.levitate: leptonai knows no such field" in str(shown["endpoints"])

    def test_an_endpoint_that_is_kept_may_be_idle_for_so_much_longer(self) -> None:
        idle = [self.spec(*more)["auto_scaler"]["scale_down"]["no_traffic_timeout"] for more in ((), ("++execution.keep_endpoints=7200",))]
        assert idle[1] == idle[0] + 7200

    def test_what_published_configs_say_and_the_platform_no_longer_has(self) -> None:
        scale = "deployment.lepton_config.auto_scaler={scale_down:{no_traffic_timeout:3600,scale_from_zero:%s}}"
        off = "+execution.lepton_platform.deployment.platform_defaults.enable_rdma=false"
        spec = self.spec("+" + scale % "false", off)
        assert spec["auto_scaler"] == {"scale_down": {"no_traffic_timeout": 3600}}
        assert "enable_rdma" not in spec
        assert "scale_from_zero" in str(previewed("+" + scale % "true")["endpoints"]["ifeval"]["problems"])

    def test_shape_timeout_retries_and_images_of_jobs(self) -> None:
        tasks = "execution.lepton_platform.tasks"
        body = self.spec(
            "execution.evaluation_tasks={resource_shape:gpu.small,timeout:77,use_shared_storage:false}",
            f"+{tasks}.max_job_failure_retry=2",
            f"{tasks}.image_pull_secrets=[mine]",
            f"+{tasks}.platform_defaults={{queue_config:{{priority_class:low-1000}}}}",
            kind="tasks",
        )
        assert (body["resource_shape"], body["max_job_failure_retry"], body["image_pull_secrets"]) == ("gpu.small", 2, ["mine"])
        assert body["mounts"] == []
        assert body["queue_config"] == {"priority_class": "low-1000"}
        assert body["ttl_seconds_after_finished"] == 7 * 24 * 3600
        assert "77" in body["container"]["command"]

    def test_each_run_has_its_own_folder_on_each_mount(self) -> None:
        mounts = [
            {"from": "node-nfs:a", "path": "/data/", "mount_path": "/workspace"},
            {"from": "node-nfs:b", "path": "/models", "mount_path": "/models", "mount_options": {"read_only": True}},
        ]
        body = self.spec(f"execution.lepton_platform.tasks.mounts={json.dumps(mounts)}".replace('"', ""), kind="tasks")
        assert [mount["path"] for mount in body["mounts"]] == ["/data/abcdefghijk", "/models"]

    def test_a_reference_passes_and_a_host_value_becomes_one(self) -> None:
        body = self.spec("+execution.lepton_platform.tasks.env_vars.MINE=host:MY_VALUE", kind="tasks")
        env = {variable["name"]: variable.get("value_from") for variable in body["envs"]}
        assert env["HF_TOKEN"] == {"secret_name_ref": "HF_TOKEN"}
        assert env["MINE"] == {"secret_name_ref": "evalx-abcdefghijk-MY_VALUE"}

    @pytest.mark.parametrize(
        ("override", "said"),
        [
            ("+deployment.lepton_config.levitate=1", "unknown key"),
            ("+deployment.lepton_config.api_tokens=[{value:plain}]", "host:MY_TOKEN"),
            ("deployment.lepton_config.min_replicas=5", "less than"),
            ("+deployment.lepton_config.mounts=[{from:x}]", "a mount needs"),
            ("+deployment.lepton_config.mounts={cache:x}", "no key 'cache'"),
            ("execution.lepton_platform.tasks.mounts=[{from:x,path:/a/../b,mount_path:/c}]", r"without '\.\.'"),
            ("+execution.lepton_platform.deployment.platform_defaults.api_tokens=[]", "set by evalx"),
            ("execution.lepton_platform.workspace=imaginary", "real"),
            ("+execution.lepton_platform.tasks.env_vars.MY_TOKEN=plain", "secret must not be written"),
        ],
    )
    def test_mistakes_are_told(self, override: str, said: str) -> None:
        with pytest.raises(ConfigErrors, match=said):
            load(SHIPPED[0], overrides=[override])


class TestPreflight:
    def messages(self, here: World) -> list[str]:
        return [finding.message for finding in here.hooks.preflight() if finding.level == "error"]

    def test_an_endpoint_that_is_to_be_kept_but_stops_before(self, world: Callable[..., World]) -> None:
        def messages(keep: float) -> list[str]:
            here.run.plan = evolve(here.run.plan, limits=Limits(keep=keep))
            return self.messages(here)

        here = world([server(lepton_config={"auto_scaler": {"scale_down": {"no_traffic_timeout": 3600}}})], [question()])
        assert messages(3600.0) == []
        assert messages(7200.0) == ["the endpoint is to be kept for 2h, but stops after 1h without traffic"]

    def test_nothing_is_wrong_and_nothing_is_made(self, world: Callable[..., World]) -> None:
        here = world([server()], [question()])
        assert {finding.level for finding in here.hooks.preflight()} == {"ok"}
        assert not [call for call in here.emulator.calls if not call.startswith("GET")]

    def test_groups_shapes_and_secrets_that_do_not_exist(self, world: Callable[..., World]) -> None:
        deployment, tasks = (
            DeploymentPlatform(node_group="nowhere"),
            TaskPlatform(env_vars={"X": {"value_from": {"secret_name_ref": "NONE"}}}),
        )
        chosen = LeptonSettings(
            type="lepton",
            evaluation_tasks=EvaluationTasks(resource_shape="gpu.imaginary"),
            lepton_platform=LeptonPlatform(deployment=deployment, tasks=tasks),
        )
        said = "\n".join(self.messages(world([server()], [question()], chosen=chosen)))
        assert "there is no node group 'nowhere'" in said
        assert "no shape 'gpu.imaginary'" in said
        assert "no secret 'NONE'" in said

    def test_node_groups_by_name_or_id(self, world: Callable[..., World]) -> None:
        for name in ("emulated", "emulated-ng-0001"):
            platform = LeptonPlatform(deployment=DeploymentPlatform(node_group=name), tasks=TaskPlatform(node_group=name))
            here = world([server()], [question()], chosen=LeptonSettings(type="lepton", lepton_platform=platform))
            assert self.messages(here) == []
            assert here.result(here.submit(question(), here.ready())).reason is None

    def test_fields_that_the_sdk_would_drop(self, world: Callable[..., World]) -> None:
        platform = LeptonPlatform(deployment=DeploymentPlatform(platform_defaults={"health": {"http": {"path": "/"}}}))
        said = self.messages(world([server()], [question()], chosen=LeptonSettings(type="lepton", lepton_platform=platform)))
        assert said == ["endpoint model: spec.health.http: leptonai knows no such field"]

    def test_variables_and_containers_that_are_missing(self, world: Callable[..., World]) -> None:
        bare = program("x", index=1, container=None)
        said = self.messages(world([server(envs={"A": "host:NOT_SET_HERE"})], [evolve(bare, index=0)]))
        assert any("NOT_SET_HERE is not set" in message for message in said)
        assert any("has no container" in message for message in said)

    def test_a_token_that_is_refused(self, world: Callable[..., World], monkeypatch: pytest.MonkeyPatch) -> None:
        here = world([server()], [question()])
        with monkeypatch.context() as changed:
            changed.setenv("LEPTON_WORKSPACE_TOKEN", "nvapi-wrong-canary")
            findings: list[Finding] = here.again().hooks.preflight()
        assert [finding.kind for finding in findings if finding.level == "error"] == ["auth"]
        assert "canary" not in str(findings)

    def test_the_emulators_settings(self, tmp_path: Path) -> None:
        for settings, said in ((str(tmp_path / "none.yaml"), "cannot read"), ({"imagse": []}, "imagse")):
            platform = LeptonPlatform(workspace="emulated", emulator=EmulatorChoice(settings=settings))
            chosen = LeptonSettings(type="lepton", lepton_platform=platform)
            run = make_run(tmp_path, LeptonExecutor(), [server()], [question()], name="lepton", settings=chosen)
            assert said in str(run.plugins.hooks(run).preflight())


# ---------------------------------------------------------------------- sub-plugins


class Mirror:
    """A wrapper over all variants: images come from a mirror."""

    @hookimpl(wrapper=True, optionalhook=True)
    def server_spec(self, run: RunContext, endpoint: EndpointSpec) -> Any:
        server: ServerSpec | None = yield
        return server and evolve(server, image=f"mirror.test/{server.image}")


class Picky:
    """A variant of a third party: its own body, and its own idea of readiness."""

    @hookimpl
    def server_spec(self, run: RunContext, endpoint: EndpointSpec) -> ServerSpec | None:
        return ServerSpec("example.test/vllm:own", (), 9000, endpoint.model)

    @hookimpl
    def lepton_endpoint(self, run: RunContext, endpoint: EndpointSpec, server: ServerSpec) -> dict[str, Any]:
        envs = [{"name": "SERVED_MODEL_NAME", "value": "stub"}]
        container = {"image": server.image, "command": ["own"], "ports": [{"container_port": server.port}]}
        return {"container": container, "resource_requirement": {"resource_shape": "cpu.small"}, "envs": envs}

    @hookimpl
    def ready_probe(self, run: RunContext, url: str, api_key: str | None) -> Any:
        from evalx.serving import Readiness

        assert api_key == run.token("endpoint")
        return Readiness(False, "I do not like it", hopeless=True)


class TestSubPlugins:
    def test_a_wrapper_over_all_variants(self, world: Callable[..., World]) -> None:
        here = world([server()], plugins=[("mirror", Mirror())])
        assert dict(here.hooks.preview() or {})["endpoints"]["model"]["body"]["spec"]["container"]["image"].startswith("mirror.test/")

    def test_a_variant_of_a_third_party(self, world: Callable[..., World]) -> None:
        here = world([server()], plugins=[])
        here.run.plugins.register(Picky(), "picky")
        handle = here.deploy(here.run.plan.endpoints[0])
        with pytest.raises(EndpointFailed, match="I do not like it"):
            until(lambda: here.hooks.wait_ready(handle))
        body = dict(here.hooks.preview() or {})["endpoints"]["model"]["body"]
        assert body["spec"]["container"]["command"] == ["own"]
        assert body["spec"]["api_tokens"]
        assert {"name": "EVALX_RUN", "value": here.run.run_id} in body["spec"]["envs"]


def test_credentials_are_not_shown() -> None:
    assert "canary" not in repr(Credentials("ws", "canary", "http://x"))
