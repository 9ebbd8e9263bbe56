"""Distributions are real folders of metadata on sys.path, as pip leaves them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from evalx import catalog
from evalx.errors import ExitCode, PluginError
from evalx.hookspecs import API_VERSION

Install = Callable[..., Path]
GOOD = "class Plugin:\n    evalx_api = (1, 0)\n"


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Put a distribution with entry points and a module into a folder of sys.path, before everything else that is there."""
    before = set(sys.modules)

    def write(
        name: str, entry_points: str, module: str = GOOD, version: str = "1.0", folder: str = "site", extras: tuple[str, ...] = ()
    ) -> Path:
        site = tmp_path / folder
        info = site / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir(parents=True)
        provides = "".join(f"Provides-Extra: {extra}\n" for extra in extras)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{provides}")
        (info / "entry_points.txt").write_text(entry_points)
        (site / f"{name.replace('-', '_')}_module.py").write_text(module)
        if str(site) not in sys.path:
            monkeypatch.syspath_prepend(str(site))
        return site

    yield write
    for module in set(sys.modules) - before:
        if module.endswith("_module"):
            del sys.modules[module]


def names(group: str | None = None) -> list[str]:
    return [info.name for info in catalog.plugins(group)]


def test_built_ins_are_ordinary_entry_points_of_our_own_distribution() -> None:
    assert {"command", "lm_eval", "nemo_evaluator"} <= set(names("evalx.harnesses"))
    assert {info.distribution for info in catalog.plugins("evalx.harnesses")} == {"evalx"}
    assert {info.group for info in catalog.plugins()} <= set(catalog.GROUPS)


def test_an_installed_plugin_is_listed_with_its_source_and_loaded(install: Install) -> None:
    install("acme-cloud", "[evalx.executors]\nacme = acme_cloud_module:Plugin\n", version="2.3")
    (info,) = [info for info in catalog.plugins("evalx.executors") if info.name == "acme"]
    assert (info.distribution, info.version, info.value) == ("acme-cloud", "2.3", "acme_cloud_module:Plugin")
    plugin = catalog.load("evalx.executors", "acme")
    assert plugin.__name__ == "Plugin"
    assert catalog.source_of(plugin) == "acme-cloud 2.3"


def test_what_is_installed_while_we_run_is_seen(install: Install) -> None:
    install("acme", "[evalx.executors]\nfirst = acme_module:Plugin\n")
    assert "first" in names("evalx.executors")
    install("acme-two", "[evalx.executors]\nsecond = acme_two_module:Plugin\n")
    assert "second" in names("evalx.executors")


def test_a_group_of_an_executors_own_is_found(install: Install) -> None:
    install("acme", "[evalx.acme.deployments]\ntiny = acme_module:Plugin\n")
    assert names("evalx.acme.deployments") == ["tiny"]
    assert catalog.load("evalx.acme.deployments", "tiny").evalx_api == (1, 0)


def test_listing_imports_no_plugin(install: Install) -> None:
    install("broken", "[evalx.executors]\nbroken = broken_module:Plugin\n", module="raise RuntimeError('imported')")
    assert "broken" in names("evalx.executors")
    assert "broken_module" not in sys.modules


def test_listing_in_a_fresh_process_imports_no_module_of_a_plugin() -> None:
    code = (
        "import sys; from evalx import catalog; catalog.plugins();"
        "print([m for m in sys.modules if m.startswith(('evalx_', 'evalx.harnesses', 'pluggy', 'structlog', 'cattrs'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_plugin_that_fails_to_import_is_blamed_by_distribution_and_cause(install: Install) -> None:
    install("broken", "[evalx.executors]\nbroken = broken_module:Plugin\n", module="raise RuntimeError('no licence')", version="0.9")
    with pytest.raises(PluginError, match=r'"broken" .* of broken 0\.9 cannot be loaded: RuntimeError: no licence') as caught:
        catalog.load("evalx.executors", "broken")
    assert isinstance(caught.value.__cause__, RuntimeError)
    assert "EVALX_BLOCK=evalx.executors:broken" in str(caught.value.hint)
    assert caught.value.exit_code is ExitCode.USAGE


@pytest.mark.parametrize("module", ["import sys; sys.exit(3)", "x = 1", "import a_module_that_is_nowhere"])
def test_every_way_to_fail_at_import_is_a_plugin_error(install: Install, module: str) -> None:
    install("broken", "[evalx.executors]\nbroken = broken_module:Plugin\n", module=module)
    with pytest.raises(PluginError, match=r"of broken 1.0 cannot be loaded"):
        catalog.load("evalx.executors", "broken")


def test_a_missing_extra_of_a_plugin_is_the_hint(install: Install) -> None:
    install("acme", "[evalx.executors]\nacme = acme_module:Plugin [cloud]\n", module="import a_module_that_is_nowhere")
    with pytest.raises(PluginError) as caught:
        catalog.load("evalx.executors", "acme")
    assert caught.value.hint == "pip install 'acme[cloud]'"


def test_a_misspelt_name_is_suggested_and_the_rest_listed() -> None:
    with pytest.raises(PluginError, match=r'no plugin "lm_evl".*Did you mean "lm_eval"') as caught:
        catalog.load("evalx.harnesses", "lm_evl")
    assert caught.value.hint == f"installed: {', '.join(names('evalx.harnesses'))}"


def test_an_empty_group_says_so() -> None:
    with pytest.raises(PluginError) as caught:
        catalog.load("evalx.nothing", "x")
    assert caught.value.hint == "none is installed"


def test_a_name_that_is_one_of_our_extras_says_how_to_install_it(install: Install) -> None:
    install("evalx", "[evalx.executors]\n", version="9.9", extras=("moon",))
    with pytest.raises(PluginError, match=r'no plugin "moon"') as caught:
        catalog.load("evalx.executors", "moon")
    assert caught.value.hint == "pip install 'evalx[moon]'"


def test_two_plugins_of_one_name_are_refused_with_both_distributions(install: Install) -> None:
    install("acme", "[evalx.executors]\nlunar = acme_module:Plugin\n", version="1.2")
    install("other", "[evalx.executors]\nlunar = other_module:Plugin\n", version="3.4")
    with pytest.raises(PluginError, match=r"acme 1\.2 \(acme_module:Plugin\) and other 3\.4 \(other_module:Plugin\)") as caught:
        catalog.load("evalx.executors", "lunar")
    assert "pip uninstall other" in str(caught.value.hint)
    assert not {"acme_module", "other_module"} & set(sys.modules)


def test_the_same_distribution_twice_on_the_path_counts_once_and_the_first_wins(install: Install) -> None:
    install("Acme.Cloud", "[evalx.executors]\nacme = old:Plugin\n", version="1.0", folder="later")
    install("acme-cloud", "[evalx.executors]\nacme = acme_cloud_module:Plugin\n", version="2.0", folder="earlier")
    (info,) = [info for info in catalog.plugins("evalx.executors") if info.name == "acme"]
    assert info.version == "2.0"


def test_a_shadowed_version_does_not_count_even_if_only_it_declares_the_plugin(install: Install) -> None:
    install("acme", "[evalx.executors]\nacme = acme_module:Plugin\n", version="1.0", folder="later")
    install("acme", "[console_scripts]\nx = y:z\n", version="2.0", folder="earlier")
    assert "acme" not in names("evalx.executors")


@pytest.mark.parametrize("block", ["acme", "evalx.executors:acme", "other, acme"])
def test_a_blocked_plugin_is_neither_listed_nor_loaded(install: Install, monkeypatch: pytest.MonkeyPatch, block: str) -> None:
    install("acme", "[evalx.executors]\nacme = acme_module:Plugin\n")
    monkeypatch.setenv("EVALX_BLOCK", block)
    assert "acme" not in names("evalx.executors")
    with pytest.raises(PluginError, match=r'"acme" .* is blocked by EVALX_BLOCK'):
        catalog.load("evalx.executors", "acme")


def test_a_block_with_a_group_leaves_other_groups_alone(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    install("acme", "[evalx.executors]\nacme = acme_module:Plugin\n[evalx.exporters]\nacme = acme_module:Plugin\n")
    monkeypatch.setenv("EVALX_BLOCK", "evalx.exporters:acme")
    assert "acme" in names("evalx.executors")
    assert "acme" not in names("evalx.exporters")


MAJOR, MINOR = API_VERSION


@pytest.mark.parametrize(
    ("stated", "upgrade"),
    [((MAJOR + 1, 0), "evalx"), ((MAJOR, MINOR + 1), "evalx"), ((MAJOR - 1, 9), "acme")],
    ids=["newer", "minor", "older"],
)
def test_a_plugin_for_another_version_says_which_side_to_upgrade(install: Install, stated: tuple[int, int], upgrade: str) -> None:
    install("acme", "[evalx.executors]\nacme = acme_module:Plugin\n", module=f"class Plugin:\n    evalx_api = {stated}\n")
    with pytest.raises(PluginError, match=rf"interface {stated[0]}\.{stated[1]}, this evalx has {MAJOR}\.{MINOR}") as caught:
        catalog.load("evalx.executors", "acme")
    assert caught.value.hint == f"pip install --upgrade {upgrade}"


@pytest.mark.parametrize("line", ["pass", "evalx_api = '1.0'", "evalx_api = (1,)"])
def test_a_plugin_must_state_its_version(install: Install, line: str) -> None:
    install("acme", "[evalx.executors]\nacme = acme_module:Plugin\n", module=f"class Plugin:\n    {line}\n")
    with pytest.raises(PluginError, match=r"states no evalx_api"):
        catalog.load("evalx.executors", "acme")


def test_a_resolver_is_a_plain_function_and_needs_no_version(install: Install) -> None:
    install("acme", "[evalx.resolvers]\nacme = acme_module:resolve\n", module="def resolve(what):\n    return what\n")
    assert catalog.load("evalx.resolvers", "acme")("x") == "x"


def test_malformed_metadata_of_one_distribution_does_not_hide_the_others(install: Install) -> None:
    site = install("acme", "[evalx.executors]\nacme = acme_module:Plugin\n")
    install("bad", "[evalx.executors]\nno equals sign\n")
    (site / "nameless-1.dist-info").mkdir()
    (site / "nameless-1.dist-info" / "entry_points.txt").write_text("[evalx.exporters]\nnameless = x:y\n")
    with capture_logs() as logs:
        assert "acme" in names("evalx.executors")
    assert [log["distribution"] for log in logs] == ["bad"]
    assert [(info.name, info.version) for info in catalog.plugins("evalx.exporters") if info.name == "nameless"]
