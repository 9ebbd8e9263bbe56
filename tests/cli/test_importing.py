"""`evalx config import`: configs in the published format of nemo-evaluator-launcher, written for these tests, and its file of past jobs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from evalx.config import load
from evalx.config.importing import Kind, import_tree
from evalx.config.search import shipped_configs
from evalx.plan import make_plan

CANARY = "nvapi-4711-canary-4711"

LEPTON = f"""
name: my_run
defaults:
  - execution: lepton/default
  - deployment: vllm
  - _self_
execution:
  output_dir: results
  env_var_names: [HF_TOKEN]
  evaluation_tasks: {{timeout: 7200}}
  lepton_platform:
    deployment: {{node_group: my-gpus}}
    tasks:
      api_tokens: [{{value_from: {{token_name_ref: ENDPOINT_API_KEY}}}}]
      env_vars:
        HF_TOKEN: {{value_from: {{secret_name_ref: HF_TOKEN_read}}}}
        API_KEY: {CANARY}
        LOG_LEVEL: DEBUG
deployment:
  checkpoint_path: null
  hf_model_handle: meta-llama/Llama-3.1-8B-Instruct
  served_model_name: llama
  gpu_memory_utilization: 0.9
  extra_args: --max-model-len 8192
  env_vars: {{HF_TOKEN: HF_TOKEN_OF_MINE, VLLM_LOGGING_LEVEL: "lit:INFO", CACHE: /tmp/cache}}
  base_command: vllm serve something
  lepton_config:
    endpoint_name: my-llama
    resource_shape: gpu.1xh200
    api_tokens: [{{value: {CANARY}}}]
    envs: {{MY_SECRET: "${{oc.env:MY_OWN_SECRET}}", OMPI: "1"}}
    auto_scaler: {{scale_down: {{no_traffic_timeout: 3600, scale_from_zero: false}}}}
evaluation:
  env_vars: {{JUDGE_API_KEY: "runtime:JUDGE", HF_HOME: $HF_HOME}}
  overrides: {{config.params.request_timeout: 3600}}
  tasks:
    - name: ifeval
    - name: gpqa_diamond
      env_vars: {{HF_TOKEN: HF_TOKEN_FOR_GPQA_DIAMOND}}
      pre_cmd: echo hello
      post_cmd: ""
"""

LOCAL = """
defaults:
  - execution: local
  - deployment: none
  - _self_
env_vars: {HF_TOKEN: host:HF_TOKEN}
execution:
  output_dir: results
  mode: sequential
  extra_docker_args: --shm-size 8g
  mounts: {evaluation: {/data: /inside}, mount_home: false}
  auto_export: {destinations: [csv, gsheets]}
target:
  api_endpoint:
    model_id: meta/llama-3.1-8b-instruct
    url: https://models.example.com/v1/chat/completions
    api_key_name: NGC_API_KEY
    type: chat
    adapter_config: {use_reasoning: true}
evaluation:
  - name: lm-evaluation-harness.ifeval
export:
  gsheets: {spreadsheet: x}
  csv: {output: x.csv, log_logs: true}
"""

GENERIC = """
defaults: [{execution: local}, {deployment: generic}, _self_]
execution: {output_dir: results}
deployment:
  image: my/server:1
  command: my-server --port 8000
  extra_args: --verbose
  served_model_name: mine
  endpoints: {chat: /api/chat, health: /alive}
evaluation: {tasks: [{name: ifeval}]}
"""


@pytest.fixture
def imported(evalx: Any) -> Any:
    """Imports a config that a test gives as text; the done command, and the notes by key."""

    def call(text: str, *more: str) -> tuple[Any, dict[str, tuple[str, str]]]:
        Path("old.yaml").write_text(text)
        done = evalx("config", "import", "old.yaml", "--json", *more)
        assert CANARY not in done.out + done.err
        return done, {note["key"]: (note["kind"], note["text"]) for note in done.json["notes"]} if "notes" in done.json else {}

    return call


def test_a_lepton_config(imported: Any) -> None:
    done, notes = imported(LEPTON)
    assert done.code == 0 and done.json["complete"]
    text = Path("old-evalx.yaml").read_text()
    assert CANARY not in text
    new = load("old-evalx.yaml")
    plan = make_plan(new)
    assert (plan.executor, plan.endpoints[0].variant) == ("lepton", "vllm")
    options = plan.endpoints[0].options["deployment"]
    assert options["checkpoint_path"] == "meta-llama/Llama-3.1-8B-Instruct"
    assert options["extra_args"] == "--max-model-len 8192 --gpu-memory-utilization 0.9"
    assert options["envs"] == {"HF_TOKEN": "host:HF_TOKEN_OF_MINE", "VLLM_LOGGING_LEVEL": "lit:INFO", "CACHE": "/tmp/cache"}
    assert options["lepton_config"]["envs"] == {"MY_SECRET": "host:MY_OWN_SECRET", "OMPI": "1"}
    assert options["lepton_config"]["api_tokens"] == [{"value": "host:ENDPOINT_API_KEY"}]
    tasks = new.tree["execution"]["lepton_platform"]["tasks"]["env_vars"]
    assert tasks == {"HF_TOKEN": {"value_from": {"secret_name_ref": "HF_TOKEN_read"}}, "API_KEY": "host:API_KEY", "LOG_LEVEL": "DEBUG"}
    assert plan.tasks[1].options["env"] == {
        "HF_TOKEN": "host:HF_TOKEN_FOR_GPQA_DIAMOND",
        "JUDGE_API_KEY": "host:JUDGE",
        "HF_HOME": "host:HF_HOME",
    }
    kinds = {key: kind for key, (kind, _) in notes.items()}
    assert kinds["name"] == kinds["deployment.base_command"] == kinds["evaluation.tasks[1].post_cmd"] == "left_out"
    assert kinds["execution.env_var_names"] == kinds["execution.evaluation_tasks.timeout"] == "acts_now"
    assert kinds["execution.lepton_platform.tasks.env_vars.API_KEY"] == kinds["deployment.gpu_memory_utilization"] == "changed"
    assert kinds["execution.lepton_platform.deployment.node_group"] == kinds["deployment.served_model_name"] == "kept"
    assert "export API_KEY" in notes["execution.lepton_platform.tasks.env_vars.API_KEY"][1]
    assert "8 was the launcher's default" in notes["deployment.tensor_parallel_size"][1]


def test_every_key_of_the_old_config_is_accounted_for(imported: Any) -> None:
    for text in (LEPTON, LOCAL, GENERIC):
        Path("old-evalx.yaml").unlink(missing_ok=True)
        _, notes = imported(text)
        old = yaml.safe_load(text)
        silent = [key for key in _keys(old) if not any(key == one or key.startswith((f"{one}.", f"{one}[")) for one in notes)]
        assert silent == []


def _keys(tree: Any, at: str = "") -> list[str]:
    if isinstance(tree, dict) and tree:
        return [leaf for key, value in tree.items() if key != "defaults" for leaf in _keys(value, f"{at}.{key}" if at else str(key))]
    if isinstance(tree, list) and any(isinstance(one, dict) for one in tree):
        return [leaf for index, value in enumerate(tree) for leaf in _keys(value, f"{at}[{index}]")]
    return [at]


def test_a_local_config(imported: Any) -> None:
    done, notes = imported(LOCAL)
    assert done.code == 2 and not done.json["complete"]
    assert [key for key, (kind, _) in notes.items() if kind == "by_hand"] == ["execution.auto_export"]
    new = load("old-evalx.yaml")
    assert (new.execution.max_tasks, new.execution.runtime) == (1, "docker")
    assert new.execution.containers.extra_args == ["--shm-size", "8g"] and new.execution.containers.mounts == ["/data:/inside"]
    assert new.target.api_endpoint.api_key_name == "NGC_API_KEY"
    adapter = new.tree["evaluation"]["nemo_evaluator_config"]["target"]["api_endpoint"]["adapter_config"]
    assert adapter == {"use_reasoning": True}
    assert new.tree["evaluation"]["env_vars"] == {"HF_TOKEN": "host:HF_TOKEN"}
    assert new.tree["export"] == {"csv": {"output": "x.csv"}}
    assert notes["export.csv.log_logs"][0] == notes["export.gsheets"][0] == "left_out"
    assert "gsheets" in notes["execution.auto_export"][1]


def test_a_server_by_its_command(imported: Any) -> None:
    done, _ = imported(GENERIC)
    assert done.code == 0
    deployment = load("old-evalx.yaml").deployment
    assert deployment.argv == ["my-server", "--port", "8000", "--verbose"]
    assert (deployment.health_path, deployment.routes, deployment.image) == ("/alive", {"chat": "/api/chat"}, "my/server:1")


def test_what_no_rule_knows_is_left_for_the_user_with_evalxs_own_words(imported: Any) -> None:
    done, notes = imported(GENERIC.replace("image:", "imgae:"))
    assert done.code == 2
    assert notes["deployment.imgae"] == ("by_hand", "unknown key (did you mean 'image'?)")
    assert "imgae: my/server:1" in Path("old-evalx.yaml").read_text()


def test_a_secret_in_a_harnesses_settings_is_not_copied(imported: Any) -> None:
    judge = f"nemo_evaluator_config: {{config: {{params: {{extra: {{judge: {{api_key: {CANARY}}}}}}}}}}}"
    done, notes = imported(LOCAL.replace("  - name: lm-evaluation-harness.ifeval", f"  - name: ifeval\n    {judge}"))
    key = "evaluation.tasks[0].nemo_evaluator_config.config.params.extra.judge.api_key"
    assert done.code == 2 and notes[key][0] == "by_hand"
    assert CANARY not in Path("old-evalx.yaml").read_text()


def test_an_executor_that_evalx_has_not(imported: Any, evalx: Any) -> None:
    slurm = GENERIC.replace("execution: local", "execution: slurm/default")
    done, _ = imported(slurm)
    assert done.code == 2 and "slurm" in done.json["error"]["message"] and "--executor" in done.json["error"]["hint"]
    assert not Path("old-evalx.yaml").exists()
    done, notes = imported(slurm, "--executor", "local")
    assert done.code == 0 and notes["execution"][0] == "changed"


def test_evalxs_own_configs_for_lepton_stay_as_they_are() -> None:
    for path in shipped_configs().glob("lepton_*.yaml"):
        old = yaml.safe_load(path.read_text())
        result = import_tree(old)
        assert result.complete
        assert {key: value for key, value in result.tree.items() if key != "defaults"} == {k: v for k, v in old.items() if k != "defaults"}


def test_comments_are_not_carried_over_and_that_is_said(evalx: Any, tmp_path: Path) -> None:
    text = f"# by us\n# 2024\n{LEPTON.lstrip()}  # the last\n"
    text = text.replace("name: my_run", "name: my_run#1  # of May").replace("echo hello", '"echo # hello"')
    (tmp_path / "old.yaml").write_text(text + "export:\n  note: |\n    # no comment\n    text\n")
    done = evalx("config", "import", "old.yaml")
    last = text.count("\n")
    assert f"comments are not carried over; old.yaml has them in lines 1-3, {last}\n" in done.err
    assert evalx("config", "import", "old.yaml", "-o", "b.yaml", "--json").json["comments_left_out"] == [1, 2, 3, last]
    assert "of May" not in (tmp_path / "old-evalx.yaml").read_text()
    (tmp_path / "bare.yaml").write_text(LEPTON)
    assert "comments" not in evalx("config", "import", "bare.yaml").err


def test_what_a_person_reads(evalx: Any) -> None:
    Path("old.yaml").write_text(LEPTON)
    done = evalx("config", "import", "old.yaml", "-o", "new.yaml")
    assert done.code == 0
    assert [line for line in done.out.splitlines() if line.endswith(":")] == ["changed:", "acts now:", "left out:", "as it was:"]
    assert max(map(len, done.out.splitlines())) <= 80
    assert "evalx plan new.yaml" in done.err
    again = evalx("config", "import", "old.yaml", "-o", "new.yaml")
    assert again.code == 2 and "is there already" in again.err
    assert len(Kind) == 5


@pytest.mark.parametrize(
    ("args", "said"),
    [([], "Which file?"), (["no.yaml"], "no.yaml"), (["x.yaml", "--job", "1"], "--exec-db"), (["--exec-db", "no"], "'no'")],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_usage(evalx: Any, args: list[str], said: str) -> None:
    done = evalx("config", "import", *args)
    assert done.code == 2 and said in done.err and "Traceback" not in done.err


# ---------------------------------------------------------------------- past jobs


def record(job: str, status: str, endpoint: str | None, **more: Any) -> str:
    data = {"endpoint_name": endpoint, "lepton_job_name": f"job-{job}", "task_name": "ifeval", "status": status}
    return json.dumps({"invocation_id": job.split(".")[0], "job_id": job, "timestamp": 1e9, "executor": "lepton", "data": data, **more})


@pytest.fixture
def exec_db(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The launcher's file with a job that was killed, one that was not, a local one, and lines that are no records."""
    path = tmp_path / "home" / ".nemo-evaluator" / "exec-db" / "exec.v1.jsonl"
    path.parent.mkdir(parents=True)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("NEMO_EVALUATOR_EXEC_DB_FILE", raising=False)
    local = {"invocation_id": "c3", "job_id": "c3.0", "timestamp": 2e9, "executor": "local", "data": {"output_dir": "/out"}}
    killed = [record("a1.0", "submitted", "vllm-ifeval-0-a1"), record("a1.0", "killed", "vllm-ifeval-0-a1")]
    alive = record("b2.0", "submitted", "vllm-ifeval-0-b2", config=yaml.safe_load(LEPTON))
    path.write_text("\n".join([*killed, alive, "", "not json", "[]", '{"job_id": 1}', json.dumps(local)]) + "\n")
    return path


def test_past_jobs_and_the_endpoints_that_nobody_deleted(evalx: Any, exec_db: Path) -> None:
    done = evalx("config", "import", "--exec-db")
    assert done.code == 0
    assert [line.split()[0] for line in done.out.splitlines()] == ["job", "c3.0", "a1.0", "b2.0"]
    assert "lep endpoint remove -n vllm-ifeval-0-b2" in done.err and "vllm-ifeval-0-a1" not in done.err
    found = evalx("config", "import", "--exec-db", str(exec_db), "--json").json
    assert found["may_be_alive"] == ["vllm-ifeval-0-b2"]
    assert {job["job_id"]: job["may_be_alive"] for job in found["jobs"]} == {"c3.0": False, "a1.0": False, "b2.0": True}
    assert CANARY not in json.dumps(found)


def test_the_config_of_a_past_job(evalx: Any, exec_db: Path) -> None:
    done = evalx("config", "import", "--exec-db", "--job", "b2", "-o", "again.yaml")
    assert done.code == 0 and make_plan(load("again.yaml")).executor == "lepton"
    assert CANARY not in Path("again.yaml").read_text() + done.out
    assert "has not kept" in evalx("config", "import", "--exec-db", "--job", "c3.0").err
    assert "no job 'zz'" in evalx("config", "import", "--exec-db", "--job", "zz").err


def test_another_place_and_no_place(evalx: Any, exec_db: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEMO_EVALUATOR_EXEC_DB_FILE", str(exec_db))
    monkeypatch.setenv("HOME", "/nonexistent")
    assert evalx("config", "import", "--exec-db").code == 0
    monkeypatch.delenv("NEMO_EVALUATOR_EXEC_DB_FILE")
    done = evalx("config", "import", "--exec-db")
    assert done.code == 2 and "cannot read" in done.err
