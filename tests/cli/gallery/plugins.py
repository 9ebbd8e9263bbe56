"""Mistakes of authors of plugins, as their users and as they themselves are told of them."""

from __future__ import annotations

from typing import Any

from tests.cli.gallery.stage import GOOD, TASKS, Stage, situation

EXECUTOR = '''
from attrs import frozen
from evalx.config.settings import ExecutionSettings
from evalx.hookspecs import hookimpl


@frozen(kw_only=True)
class Settings(ExecutionSettings):
    """Nothing of its own."""


@frozen(kw_only=True)
class Options:
    served_model_name: str = "tiny"


class Variant:
    evalx_api = (1, 0)
    Options = Options


class Acme:
    evalx_api = (1, 0)
    Settings = Settings
    deployments = "evalx.acme.deployments"

    @hookimpl
    def preflight(self, run):
        return []

    @hookimpl
    def deploy(self, run, endpoint):
        return "it runs"

    @hookimpl
    def wait_ready(self, run, handle):
        return None

    @hookimpl
    def run_task(self, run, task, endpoint):
        return None

    @hookimpl
    def collect(self, run, handle):
        return None

    @hookimpl
    def cleanup(self, run, handle):
        return True
'''

ENTRIES = "[evalx.executors]\nacme = acme:Acme\n[evalx.acme.deployments]\nstub = acme:Variant\n"

CONFIG = "execution: {type: acme}\ndeployment: {type: stub}\n" + TASKS


def acme(stage: Stage, old: str = "", new: str = "") -> Any:
    stage.install("acme", EXECUTOR.replace(old, new) if old else EXECUTOR, ENTRIES)
    return stage.run(CONFIG)


@situation
def plugin_that_cannot_be_imported(stage: Stage) -> Any:
    return acme(stage, "from attrs import frozen", "import no_such_package\nfrom attrs import frozen")


@situation
def plugin_without_its_class(stage: Stage) -> Any:
    return acme(stage, "class Acme:", "class Acne:")


@situation
def plugin_for_another_interface(stage: Stage) -> Any:
    return acme(stage, "    evalx_api = (1, 0)\n    Settings", "    evalx_api = (2, 0)\n    Settings")


@situation
def plugin_without_a_version(stage: Stage) -> Any:
    return acme(stage, "    evalx_api = (1, 0)\n    Settings", "    Settings")


@situation
def plugin_with_a_misspelt_hook(stage: Stage) -> Any:
    return acme(stage, "def preflight", "def prefligth")


@situation
def plugin_without_one_of_the_five(stage: Stage) -> Any:
    return acme(stage, "def collect", "def preview")


@situation
def plugin_whose_hook_has_other_arguments(stage: Stage) -> Any:
    return acme(stage, "def deploy(self, run, endpoint)", "def deploy(self, run, endpoint_spec)")


@situation
def plugin_whose_hook_returns_something_else(stage: Stage) -> Any:
    return acme(stage)


@situation
def plugin_whose_preflight_raises(stage: Stage) -> Any:
    return acme(stage, "return []", "return run.no_such_thing")


@situation
def plugin_of_two_distributions(stage: Stage) -> Any:
    stage.install("acme", EXECUTOR, ENTRIES)
    stage.install("acme_two", EXECUTOR, ENTRIES.replace("acme:", "acme_two:"), "3.0")
    return stage.run(CONFIG)


@situation
def plugin_that_is_blocked(stage: Stage) -> Any:
    stage.monkeypatch.setenv("EVALX_BLOCK", "local")
    return stage.run(GOOD)


@situation
def plugin_checked_by_its_author(stage: Stage) -> Any:
    stage.install(
        "acme", EXECUTOR.replace("def preflight", "def prefligth").replace("def collect(self, run, ", "def collect(self, "), ENTRIES
    )
    return stage.evalx("plugins", "check", "acme")


@situation
def plugin_checked_that_is_not_there(stage: Stage) -> Any:
    return stage.evalx("plugins", "check", "acme")


@situation
def plugin_package_over_a_folder(stage: Stage) -> Any:
    stage.write("evalx-acme/pyproject.toml", "")
    return stage.evalx("plugins", "new", "executor", "acme")


@situation
def exporter_that_fails(stage: Stage) -> Any:
    module = "class Acme:\n    evalx_api = (1, 0)\n    file_name = None\n"
    module += "    def export(self, run, destination, options):\n        raise RuntimeError('the service said no')\n"
    module = "from attrs import frozen\n@frozen\nclass Options:\n    pass\n" + module.replace(
        "file_name", "Options = Options\n    file_name"
    )
    stage.install("acme", module, "[evalx.exporters]\nacme = acme:Acme\n")
    run = stage.stored("math")
    run.score(0)
    run.close()
    return stage.evalx("export", run.run_id, "--to", "acme")
