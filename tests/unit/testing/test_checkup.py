"""Each mistake that an author can make is found, with its place and what mends it; and what is right is let alone."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.testing.plugins import edit, install, scaffold

from evalx.checkup import Problem, Report, check
from evalx.errors import ConfigError, PluginError
from evalx.scaffold import KINDS

NICE = 'nice: int = setting(0, help="How far the tasks stand back behind other processes, from 0 to 19.")'
COLLECT = "def collect(self, run: RunContext, handle: TaskHandle) -> TaskResult | None:"
GROUP = '[project.entry-points."evalx.executors"]'
MODULE = '"evalx_grid.executor:GridExecutor"'
EXECUTOR, PYPROJECT = "src/evalx_grid/executor.py", "pyproject.toml"
# kind, old text, new text, where, message, hint
MISTAKES = [
    (
        "executor",
        GROUP,
        '[project.entry-points."evalx.executor"]',
        PYPROJECT,
        "'evalx.executor'.*Did you mean 'evalx.executors'",
        "entry-points",
    ),
    ("executor", GROUP, '[project.entry-points."evalx_executors"]', PYPROJECT, "Did you mean 'evalx.executors'", "evalx.executors"),
    ("executor", GROUP, '[project.entry-points."evlax.executors"]', PYPROJECT, "Did you mean 'evalx.executors'", "evalx.executors"),
    ("executor", MODULE, '"evalx_gird.executor:GridExecutor"', PYPROJECT, "there is no module evalx_gird", "package.module:Class"),
    ("executor", MODULE, '"evalx_grid.executer:GridExecutor"', PYPROJECT, "there is no module evalx_grid.executer", "package.module:Class"),
    ("executor", MODULE, '"evalx_grid.executor:Executor"', PYPROJECT, "has no 'Executor'. Did you mean \"GridExecutor\"", "Class"),
    ("executor", MODULE, '"evalx_grid.executor:NoDeployment.evalx_api"', PYPROJECT, "is a tuple, not a class", "name the class"),
    (
        "executor",
        "import psutil",
        "import psutill",
        "src/evalx_grid/backend.py",
        "ModuleNotFoundError: No module named 'psutill'",
        "psutill",
    ),
    ("executor", "import psutil", "import psutil as", "src/evalx_grid/backend.py", "SyntaxError", "python -c"),
    ("executor", "import psutil", "raise RuntimeError('no licence')", "src/evalx_grid/backend.py", "RuntimeError: no licence", "python -c"),
    ("executor", "    evalx_api = (1, 0)\n    Settings", "    Settings", EXECUTOR, "states no evalx_api", r"evalx_api = \(1, 0\)"),
    ("executor", "evalx_api = (1, 0)\n    Settings", "evalx_api = (1, 7)\n    Settings", EXECUTOR, "interface 1.7", "--upgrade evalx"),
    ("executor", "evalx_api = (1, 0)\n    Settings", "evalx_api = (0, 9)\n    Settings", EXECUTOR, "interface 0.9", "bring it up to 1.0"),
    ("executor", "evalx_api = (1, 0)\n    Settings", 'evalx_api = "1"\n    Settings', EXECUTOR, r"\(found '1'\)", "evalx_api = "),
    ("executor", "def collect(", "def colect(", EXECUTOR, 'marks "colect" as a hook.*Did you mean "collect"', "the hooks are"),
    ("executor", f"    @hookimpl\n    {COLLECT}", f"    {COLLECT}", EXECUTOR, "collect that is not marked as a hook", "@hookimpl above"),
    (
        "executor",
        f"    @hookimpl\n    {COLLECT}",
        "    def gather(self, run, handle):",
        EXECUTOR,
        "lacks the hook collect",
        "implements cleanup",
    ),
    ("executor", COLLECT, "def collect(self, run, task):", EXECUTOR, '"task" of hook collect, which has none', "collect.self, run, handle"),
    (
        "executor",
        COLLECT,
        "def collect(self, run, *, handle):",
        EXECUTOR,
        '"handle" of hook collect that would never be filled',
        "no default",
    ),
    ("executor", COLLECT, "def collect(self, run, handle=None):", EXECUTOR, "would never be filled", "positional"),
    ("executor", COLLECT, "def collect(self, **given):", EXECUTOR, r"takes \*given in hook collect", "run, handle"),
    ("executor", COLLECT, f"async {COLLECT}", EXECUTOR, "declares the hook collect async", "plain functions"),
    ("executor", "class GridExecutor:", "@frozen\nclass GridExecutor:", EXECUTOR, "compares by value", "eq=False"),
    (
        "executor",
        "    Settings = ",
        "    def __init__(self, x): ...\n\n    Settings = ",
        EXECUTOR,
        "an instance cannot be made: TypeError",
        "setup",
    ),
    ("executor", "    Settings = GridSettings", "", EXECUTOR, "it has no Settings", "attrs class"),
    ("executor", "    Settings = GridSettings", "    Settings = dict", EXECUTOR, "Settings is not an attrs class", "frozen"),
    (
        "executor",
        "class GridSettings(ExecutionSettings)",
        "class GridSettings",
        EXECUTOR,
        "no subclass of ExecutionSettings",
        "evalx.config",
    ),
    ("executor", NICE, "nice: int = 0", EXECUTOR, "'nice' of GridSettings does not say what it is for", "setting"),
    ("executor", NICE, NICE.replace("nice", "max_tasks", 1), EXECUTOR, "'max_tasks' of GridSettings is evalx's own", "another name"),
    ("executor", NICE, NICE.replace(": int", ": set[int]"), EXECUTOR, "no config can give the key 'nice'", "Mapping"),
    ("executor", NICE, NICE.replace(": int", ": Nicety"), EXECUTOR, "types of GridSettings cannot be found out", "import"),
    ("executor", 'deployments = "evalx.grid', 'deployments = "grid', EXECUTOR, "it has no `deployments`", "evalx.NAME.deployments"),
    (
        "executor",
        'deployments = "evalx.grid',
        'deployments = "evalx.elsewhere',
        EXECUTOR,
        "no deployment variant is in evalx.elsewhere",
        "with a variant",
    ),
    (
        "executor",
        'deployments = "evalx.grid',
        'deployments = "evalx.gird',
        PYPROJECT,
        "no group 'evalx.grid.deployments'.*Did you mean 'evalx.gird.deployments'",
        "entry-points",
    ),
    (
        "local-deployment",
        "evalx.local.deployments",
        "evalx.locale.deployments",
        PYPROJECT,
        "mean 'evalx.local.deployments'",
        "entry-points",
    ),
    ("local-deployment", "    @hookimpl\n", "", "deployment.py", "server_spec that is not marked", "@hookimpl above"),
    (
        "local-deployment",
        "def server_spec(",
        "def server_specs(",
        "deployment.py",
        'marks "server_specs".*Did you mean "server_spec"',
        "hooks are",
    ),
    (
        "local-deployment",
        "    @hookimpl\n    def server_spec(",
        "    def server(",
        "deployment.py",
        "none of the hooks of its executor",
        "server_spec",
    ),
    (
        "local-deployment",
        "answer: str = setting(",
        'type: str = setting("", help="x")\n    answer: str = setting(',
        "deployment.py",
        "'type'",
        "taken",
    ),
    ("local-deployment", "Options = GridOptions", "", "deployment.py", "it has no Options", "attrs class"),
    (
        "lepton-deployment",
        "def server_spec(self, run: RunContext, endpoint",
        "def server_spec(self, run, endpoints",
        "deployment.py",
        '"endpoints"',
        "run",
    ),
    ("harness", "def parse(", "def parses(", "harness.py", "no method parse, but parses", "def parse.self, task, results"),
    (
        "harness",
        "def command(self, task: TaskSpec, target: Target, site",
        "def command(self, task, site",
        "harness.py",
        "cannot be called with",
        "t, s",
    ),
    ("harness", 'programs = ("python3",)', 'programs = "python3"', "harness.py", "not a tuple of names", "programs = "),
    ("harness", "def progress(self, log: Sequence[str])", "def progress(self)", "harness.py", "progress cannot be called", "log"),
    (
        "harness",
        "def progress(self, log",
        "def details(self, log",
        "harness.py",
        "details cannot be called with task, results",
        "task, results",
    ),
    ("exporter", "    file_name = ", "    name = ", "exporter.py", "no file_name", "None if"),
    ("exporter", '"scores.jsonl"', '"../scores.jsonl"', "exporter.py", "not the name of a file", "scores.txt"),
    ("exporter", "digits: int = setting", "output: int = setting", "exporter.py", "'output' of GridOptions is evalx's own", "taken"),
    ("exporter", "digits: int = setting", "api_key: int = setting", "exporter.py", "would hold a secret", "environment"),
    (
        "exporter",
        "def export(self, run: RunAccount, destination",
        "def export(self, *, run, destination",
        "exporter.py",
        "cannot be called",
        "run, d",
    ),
]


def problems(report: Report) -> list[Problem]:
    return [*report.general, *(problem for _, found in report.found for problem in found)]


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_new_is_right(kind: str, tmp_path: Path) -> None:
    report = check(str(scaffold(kind, "grid", tmp_path / "new")))
    assert problems(report) == []
    assert [candidate.name for candidate, _ in report.found if candidate.group == KINDS[kind].group] == ["grid"]


@pytest.mark.parametrize(("kind", "old", "new", "where", "message", "hint"), MISTAKES, ids=[mistake[4][:40] for mistake in MISTAKES])
def test_a_mistake_is_found(kind: str, old: str, new: str, where: str, message: str, hint: str, tmp_path: Path) -> None:
    import re

    folder = scaffold(kind, "grid", tmp_path / "new", (old, new))
    found = [one for one in problems(check(str(folder))) if re.search(message, one.message)]
    assert found, problems(check(str(folder)))
    path, _, line = found[0].where.rpartition(":")
    assert path.endswith(where)
    assert 0 < int(line) <= len(Path(path).read_text().splitlines())
    assert re.search(hint, found[0].hint)


def test_a_place_is_the_line_that_is_wrong(tmp_path: Path) -> None:
    folder = scaffold("executor", "grid", tmp_path / "new", ("def collect(", "def colect("), ('none = "evalx_grid', 'grid_2 = "evalx_gird'))
    wrong = {problem.where.rpartition("/")[2]: problem for problem in problems(check(str(folder)))}
    for place in wrong:
        name, _, line = place.partition(":")
        (path,) = folder.rglob(name)
        assert "colect" in path.read_text().splitlines()[int(line) - 1] or "grid_2" in path.read_text().splitlines()[int(line) - 1]


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    changes = (
        ("def collect(", "def colect("),
        ("def deploy(self, run: RunContext, endpoint", "def deploy(self, run, spec"),
        (NICE, "nice: int = 0"),
    )
    assert len(problems(check(str(scaffold("executor", "grid", tmp_path / "new", *changes))))) == 3


def test_one_slip_is_one_problem(tmp_path: Path) -> None:
    folder = scaffold("executor", "grid", tmp_path / "new", ("def collect(", "def colect("))
    assert len(problems(check(str(folder)))) == 1


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ('[project]\nname = "x"\nversion = "1"\n', "an entry point is missing", "project.entry-points"),
        ('[project]\nname = "x"\ndynamic = ["entry-points"]\n', "made when it is built", "pip install"),
        ('[tool.poetry]\nname = "x"\n', "made when it is built", "pip install"),
    ],
)
def test_a_package_without_plugins_is_told_so(text: str, message: str, hint: str, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(text)
    (problem,) = check(str(tmp_path)).general
    assert message in problem.message
    assert hint in problem.hint


def test_a_folder_that_is_no_package_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"has no pyproject\.toml"):
        check(f"{tmp_path}/nothing")
    (tmp_path / "pyproject.toml").write_text("[project\n")
    with pytest.raises(ConfigError, match="line 1"):
        check(str(tmp_path))


def test_what_comes_with_evalx_is_right() -> None:
    report = check("evalx")
    assert len(report.found) > 10
    assert problems(report) == []


def test_an_installed_plugin_is_found_by_its_name_and_by_its_distributions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = scaffold("executor", "grid", tmp_path / "new")
    edit(folder, "def collect(", "def colect(")
    install(folder, monkeypatch)
    (problem,) = problems(check("grid"))
    assert 'marks "colect"' in problem.message
    assert {candidate.group for candidate, _ in check("Evalx_Grid").found} == {"evalx.executors", "evalx.grid.deployments"}
    with pytest.raises(PluginError, match=r"no plugin .gird. is installed\. Did you mean .grid"):
        check("gird")
    with pytest.raises(PluginError, match="declares no plugin"):
        check("attrs")


def test_a_misspelt_group_of_an_installed_plugin_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = scaffold("harness", "grid", tmp_path / "new", ('"evalx.harnesses"]', '"evalx-harnesses"]'))
    install(folder, monkeypatch)
    assert ["Did you mean 'evalx.harnesses'" in problem.message for problem in problems(check("grid"))] == [True]


def test_a_name_that_another_distribution_has_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = scaffold("harness", "grid", tmp_path / "new", ('"evalx.harnesses"]\n"grid"', '"evalx.harnesses"]\n"lm_eval"'))
    (problem,) = problems(check(str(folder)))
    assert "has a plugin 'lm_eval' in evalx.harnesses as well" in problem.message
    install(folder, monkeypatch)
    assert problems(check(str(folder))) == [problem], "installed, it does not stand in its own way"


def test_a_malformed_distribution_is_told_and_does_not_hide_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = tmp_path / "bent-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: bent\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[evalx.executors]\nnothing like an entry point\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert [problem.where for problem in check("bent").general] == [problem.where for problem in check().general] == ["bent 1.0"]
    assert check("lm_eval").general == []


def test_a_blocked_plugin_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = scaffold("harness", "grid", tmp_path / "new")
    for value in ("grid", "x, evalx.harnesses:grid"):
        monkeypatch.setenv("EVALX_BLOCK", value)
        (problem,) = problems(check(str(folder)))
        assert problem.message == "it is blocked by EVALX_BLOCK"


def test_nothing_stays_imported(tmp_path: Path) -> None:
    import sys

    path = list(sys.path)
    check(str(scaffold("harness", "grid", tmp_path / "new")))
    assert sys.path == path
    assert [name for name in sys.modules if name.startswith("evalx_grid")] == []
