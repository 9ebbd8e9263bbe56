from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter

import pytest

from evalx.errors import ConfigError
from evalx.tasks import all_tasks, resolve
from evalx.tasks.catalogue import _catalogue

AMBIGUOUS = sorted(name for name, count in Counter(task.name for task in all_tasks()).items() if count > 1)


def test_every_task_has_what_running_it_takes() -> None:
    tasks = all_tasks()
    assert (len(tasks), len({task.suite for task in tasks})) == (421, 23)
    assert len({task.query for task in tasks}) == len(tasks)
    for task in tasks:
        assert re.fullmatch(r"sha256:[0-9a-f]{64}", task.digest) and task.endpoints, task.query
        assert re.fullmatch(r"[a-z.]+(/[a-z0-9-]+)+@sha256:[0-9a-f]{64}", task.container), task.query
        assert resolve(task.query) == task


def test_a_bare_name_and_a_name_with_its_suite() -> None:
    assert resolve("gsm8k").query == "lm-evaluation-harness.gsm8k"
    assert resolve("lm_evaluation_harness.gsm8k") == resolve("lm-evaluation-harness.gsm8k") == resolve("gsm8k")
    assert resolve("simple_evals.gpqa_diamond") == resolve("simple-evals.gpqa_diamond")
    assert resolve("aa-lcr.aa_lcr").suite == "AA-LCR"


def test_each_name_that_several_suites_have_has_a_default_with_a_reason() -> None:
    assert len(AMBIGUOUS) == 11
    assert sorted(_catalogue().defaults) == AMBIGUOUS
    for name in AMBIGUOUS:
        chosen = resolve(name)
        assert chosen.suite == _catalogue().defaults[name]["suite"]
        assert chosen.note and chosen.note.startswith(chosen.query) and "rather than" in chosen.note
        assert chosen.suite != "codec"


def test_the_endpoint_type_decides_between_suites() -> None:
    assert resolve("mmlu").suite == resolve("mmlu", "chat").suite == "simple_evals"
    completions = resolve("mmlu", "completions")
    assert (completions.suite, completions.note) == ("lm-evaluation-harness", None)


@pytest.mark.parametrize(
    ("query", "message", "hint"),
    [
        ("gms8k", "no task 'gms8k'", "gsm8k"),
        ("GSM8K", "no task 'GSM8K'", "gsm8k"),
        ("xyzzyplugh", "no task", "evalx tasks"),
        ("simple_eval.mmlu", "no suite 'simple_eval'", "simple_evals"),
        ("simple_evals.gpqa_diamon", "simple_evals has no task 'gpqa_diamon'", "gpqa_diamond"),
        ("", "no task ''", "evalx tasks"),
        (".mmlu", "no suite ''", "evalx tasks"),
        ("simple_evals.", "has no task ''", "evalx tasks"),
    ],
)
def test_what_is_not_there_is_refused_with_a_suggestion(query: str, message: str, hint: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)) as caught:
        resolve(query)
    assert hint in str(caught.value.hint)


def test_a_task_that_does_not_ask_such_endpoints_is_refused_with_what_does() -> None:
    with pytest.raises(ConfigError, match="gsm8k asks completions endpoints, not chat") as caught:
        resolve("gsm8k", "chat")
    assert "gsm8k_cot_instruct" in str(caught.value.hint)
    with pytest.raises(ConfigError) as caught:
        resolve("gsm8k", "embedding")
    assert caught.value.hint == "set endpoint_type: completions"


def test_loading_needs_no_yaml_and_nothing_is_read_on_import() -> None:
    script = """
import sys
from evalx.tasks import catalogue
read = catalogue._catalogue.cache_info().currsize
catalogue.resolve("gsm8k")
print(read, "yaml" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["0", "False"]
