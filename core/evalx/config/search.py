"""Where configs and config groups are found: the user's folders, the shipped ones, and those of installed plugins."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import evalx
from evalx import catalog
from evalx.config.source import shown
from evalx.config.structure import suggestion
from evalx.errors import ConfigError


def shipped_configs() -> Path:
    """The configs that come with evalx: inside the wheel, or the source tree's in an editable install."""
    package = Path(evalx.__file__).parent
    packaged = package / "_configs"
    return packaged if packaged.is_dir() else package.parents[1] / "configs"


def plugin_configs() -> list[Path]:
    """What installed plugins bring: a folder `configs` in their top-level package, found without importing it."""
    packages = {info.value.partition(":")[0].strip().partition(".")[0] for info in catalog.plugins()}
    return [folder for package in sorted(packages) for folder in _configs_of(package)]


def _configs_of(package: str) -> list[Path]:
    try:
        spec = find_spec(package)
    except (ImportError, ValueError):
        return []
    places = spec.submodule_search_locations if spec else None
    return [Path(place) / "configs" for place in places or () if (Path(place) / "configs").is_dir()]


def find_config(config: str | None, config_dir: str | Path | None, config_name: str | None) -> Path:
    """The primary file: `config` is a path or a name, `config_name` a name in `config_dir`. Raises ConfigError if there is none."""
    if config and config_name:
        raise ConfigError("a config and a config name were given", "give one of them")
    name = config or config_name
    if not name:
        raise ConfigError("no config given", "evalx run CONFIG, a path or a name such as `quickstart`")
    if config and _is_path(config):
        return _existing(Path(config))
    if config_dir and not Path(config_dir).is_dir():
        raise ConfigError(f"there is no folder '{config_dir}'", "--config-dir names the folder in which your configs are")
    folders = [Path(config_dir)] if config_dir else _named_places()
    for folder in folders:
        file = folder / f"{name.removesuffix('.yaml')}.yaml"
        if file.is_file():
            return file.absolute()
    raise _not_found(name, folders)


def _is_path(config: str) -> bool:
    return "/" in config or config.endswith((".yaml", ".yml"))


def _existing(path: Path) -> Path:
    if path.is_dir():
        raise ConfigError(f"'{path}' is a folder", f"evalx run --config-dir {path} --config-name NAME runs a config in it")
    if path.suffix != ".yaml":
        raise ConfigError(f"a config's file name ends in .yaml, not '{path.name}'", f"mv '{path}' '{path.with_suffix('.yaml')}'")
    if not path.is_file():
        similar = suggestion(path.name, [file.name for file in path.parent.glob("*.yaml")]) if path.parent.is_dir() else None
        raise ConfigError(f"no file '{path}'", similar or f"evalx init {path} writes one to begin with")
    return path.absolute()


def _named_places() -> list[Path]:
    return [Path.cwd(), Path.cwd() / "configs", shipped_configs(), *plugin_configs()]


def _not_found(name: str, folders: list[Path]) -> ConfigError:
    known = [file.stem for folder in folders if folder.is_dir() for file in folder.glob("*.yaml")]
    looked = f"looked in {', '.join(shown(folder) for folder in folders)}"
    return ConfigError(f"no config '{name}'", suggestion(name, known) or looked)
