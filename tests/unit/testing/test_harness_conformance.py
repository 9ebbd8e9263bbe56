"""A new harness passes its suite, and each test of the suite fails for the faults it is there to find."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest
from tests.unit.testing.plugins import install, scaffold

from evalx.model import Metric
from evalx.testing import HarnessConformance

PARSE = "document = load_json(RESULTS, read_result_text(results, RESULTS))"
ADD = 'scores.add("accuracy", document.get("accuracy"), document.get("stderr"), document.get("asked"))'
ARGV = 'argv = ("python3", program, target.url, target.model, results, str(limit))'
BEFORE = "    def progress("


def telling(body: str) -> str:
    """A method `details`, which the scaffold has not."""
    return f"""    def details(self, task, results):
        from evalx.harnesses.api import Details, Sample
        import json
        text = (results / RESULTS).read_bytes()
        {body}

{BEFORE}"""


FAULTS = [
    ("the_class_states_what_the_core_asks_for", 'programs = ("python3",)', 'programs = "python3"', "a tuple of names"),
    ("the_class_states_what_the_core_asks_for", "evalx_api = (1, 0)", "", "states no evalx_api"),
    ("loading_the_plugin_imports_no_sdk", "import re\n", "import re\nimport sqlite3\n", "sqlite3"),
    ("the_command_is_one_that_a_process_can_be_given", ARGV, "argv = [program]", "not a tuple"),
    ("the_command_is_one_that_a_process_can_be_given", ARGV, 'argv = (f"python3 {program}",)', "is a line"),
    ("the_command_is_one_that_a_process_can_be_given", ARGV, "argv = ()", "no command"),
    ("the_command_is_one_that_a_process_can_be_given", '{"API_KEY":', '{"LIMIT": limit, "API_KEY":', "texts or references"),
    ("the_command_is_one_that_a_process_can_be_given", '{"API_KEY":', '{"API KEY": "", "API_KEY":', "no name for an environment variable"),
    ("the_command_is_one_that_a_process_can_be_given", "{PROGRAM.name: PROGRAM.read_text()}", "{'../x': ''}", "outside the task's folder"),
    ("the_command_is_one_that_a_process_can_be_given", "PROGRAM.read_text()", "PROGRAM.read_bytes()", "files are texts"),
    ("the_command_is_the_same_each_time", "str(limit))", 'str(limit), __import__("os").urandom(8).hex())', "another command"),
    (
        "two_tasks_side_by_side_share_nothing",
        "program, results =",
        'site = vars(self).setdefault("s", site)\n        program, results =',
        "told",
    ),
    ("the_endpoint_and_the_model_reach_the_command", "target.model,", '"gpt",', "a-model-of-ours is neither"),
    ("the_endpoint_and_the_model_reach_the_command", "target.url,", '"http://127.0.0.1",', "endpoint.invalid is neither"),
    ("a_key_travels_as_a_reference", 'target.api_key or "none"', '__import__("os").environ["HF_TOKEN"]', "the value of a secret"),
    ("a_key_travels_as_a_reference", 'target.api_key or "none"', '"none"', "no variable refers"),
    (
        "no_value_of_the_config_becomes_part_of_a_shell_script",
        ARGV,
        """argv = ("bash", "-ec", f"python3 {program} '{target.model}'")""",
        "part of its script",
    ),
    ("a_setting_that_does_not_exist_is_refused", '{"limit"}', '{"limit", "no_such_setting"}', "DID NOT RAISE"),
    ("the_sample_has_its_scores", ADD, ADD.replace('document.get("stderr")', "None"), "stderr"),
    ("the_sample_has_its_scores", "return scores.finish()", "return list(scores.finish())", "list|=="),
    ("no_result_is_no_score", PARSE, "document = load_json(RESULTS, (results / RESULTS).read_text())", "No such file"),
    (
        "an_empty_result_is_no_score",
        PARSE,
        """document = load_json(RESULTS, (results / RESULTS).read_text() or '{"accuracy": 0.0, "asked": 1}')""",
        "DID NOT RAISE",
    ),
    (
        "a_result_that_is_cut_off_is_never_another_score",
        PARSE,
        """found = re.search(r'"accuracy": ([\\d.]+)', read_result_text(results, RESULTS))
        document = {"accuracy": float(found[1]), "asked": 4, "stderr": 0.25} if found else {}""",
        "read as other scores",
    ),
    ("nonsense_in_place_of_numbers_is_no_score", ADD, 'return (Metric("accuracy", float(document["accuracy"])),)', "NaN"),
    (
        "hostile_bytes_are_no_score",
        PARSE,
        'document = __import__("json").loads(read_result_text(results, RESULTS))',
        "Expecting value|char",
    ),
    ("links_pipes_and_folders_are_no_result", PARSE, "document = load_json(RESULTS, (results / RESULTS).read_text())", "a link in place"),
    (
        "links_pipes_and_folders_are_no_result",
        PARSE,
        """if (results / RESULTS).is_symlink():
            raise ResultError("a link")
        document = load_json(RESULTS, (results / RESULTS).read_text())""",
        "a pipe in place",
    ),
    ("reading_leaves_the_adapter_as_it_was", PARSE, f"self.results = results\n        {PARSE}", "has no state"),
    ("progress_is_told_by_the_log_alone", "return counted(log, PROGRESS)", "return (0, 4)", "None"),
    ("progress_is_told_by_the_log_alone", "return counted(log, PROGRESS)", "return None", r"\(2, 4\)"),
    ("details_fit_the_scores", BEFORE, telling("return {}"), "returned a dict"),
    ("details_fit_the_scores", BEFORE, telling("return Details({})"), "why there are no samples"),
    ("details_fit_the_scores", BEFORE, telling("return Details({}, frozenset({'loss'}), missing='none')"), "names that no metric has"),
    ("details_fit_the_scores", BEFORE, telling("return Details({}, samples=(Sample('q', scores={'acc': 1.0}),))"), "metrics are called"),
    ("details_fit_the_scores", BEFORE, telling("return Details({'task': object()}, missing='none')"), "serializable|other details"),
    ("damaged_files_have_no_details_or_no_samples", BEFORE, telling("return Details(json.loads(text))"), "Expecting value"),
    (
        "damaged_files_have_no_details_or_no_samples",
        BEFORE,
        telling("return Details({}, samples=(Sample('q', scores={'accuracy': 1.0}),))"),
        "were read as samples",
    ),
    ("it_scores_for_real", 'f"{site.results}/{RESULTS}"', 'f"{site.workdir}/{RESULTS}"', "is missing"),
    ("it_scores_for_real", "questions, right = QUESTIONS[: int(limit)], 0", "raise OSError('it broke')", "it broke"),
]


class Suite(HarnessConformance):
    """As the scaffold's own test tells it."""

    plugin = "sums"
    runnable = True
    sdk = ("sqlite3",)

    def params(self) -> dict[str, Any]:
        return {"limit": 4}

    def sample(self, results: Path) -> None:
        (results / "scores.json").write_text('{"accuracy": 0.75, "stderr": 0.25, "asked": 4}')

    def scores(self) -> tuple[Metric, ...]:
        return (Metric("accuracy", 0.75, 0.25, 4),)

    def log(self) -> tuple[list[str], tuple[int, int]]:
        return ["asked 1 of 4", "asked 2 of 4"], (2, 4)


def run(suite: object, test: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One test of a suite, with the fixtures that it asks for."""
    function = getattr(suite, f"test_{test}")
    fixtures = {"tmp_path": tmp_path, "monkeypatch": monkeypatch}
    (tmp_path / "work").mkdir()
    fixtures["tmp_path"] = tmp_path / "work"
    function(**{name: fixtures[name] for name in inspect.signature(function).parameters})


@pytest.mark.parametrize(("test", "old", "new", "said"), FAULTS, ids=[f"{fault[0]}-{n}" for n, fault in enumerate(FAULTS)])
def test_each_test_finds_its_fault(test: str, old: str, new: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(scaffold("harness", "sums", tmp_path / "plugin", (old, new)), monkeypatch)
    with pytest.raises((Exception, pytest.fail.Exception), match=said):
        run(Suite(), test, tmp_path, monkeypatch)


def test_there_is_a_fault_for_each_test() -> None:
    tests = {name.removeprefix("test_") for name in dir(Suite) if name.startswith("test_")}
    assert tests == {fault[0] for fault in FAULTS}
