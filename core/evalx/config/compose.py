"""Composition with Hydra: defaults lists, config groups, packages and the whole override grammar.

Hydra's own entry points keep a global singleton, import every installed Hydra plugin and mix a `hydra` section into the config. Its
building blocks do not, so these are put together here: files come from `YamlFolder` (which knows lines), nothing is global but Hydra's
version switch, which is put back.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from attrs import frozen
from hydra import version
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import CachingConfigRepository, ConfigRepository
from hydra._internal.config_search_path_impl import ConfigSearchPathImpl
from hydra._internal.defaults_list import create_defaults_list
from hydra.core.default_element import ConfigDefault, GroupDefault, InputDefault
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException, MissingConfigException
from hydra.plugins.config_source import ConfigLoadError, ConfigResult, ConfigSource
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from evalx.config.origins import Origins, parse_key
from evalx.config.source import Document, dotted, read_document, shown
from evalx.config.structure import suggestion
from evalx.errors import ConfigError, ConfigErrors

HYDRA_VERSION = "1.3"

DEPLOYMENT = "deployment"
"""The config group and the section of the same name."""


@frozen
class Composed:
    """A composed config, interpolations not resolved yet, and where its values were written."""

    config: DictConfig
    origins: Origins


def compose(primary: Document, folders: Sequence[Path], overrides: Sequence[str], executor: str | None) -> Composed:
    """Compose a config from its primary file, the config groups in the folders (first wins) and the overrides.

    executor: select this executor, whatever the files say. Must be called by one thread at a time. Raises ConfigError or ConfigErrors.
    """
    with _hydra_version():
        repository = _Repository(primary, folders)
        parsed = _parse_overrides(overrides)
        if executor:
            parsed += _select_executor(repository, executor, parsed)
        with _readable_errors(repository):
            parsed = _choose_deployment(repository, parsed)
            caching = CachingConfigRepository(repository)
            defaults = create_defaults_list(caching, primary.path.stem, parsed, prepend_hydra=False, skip_missing=False)
            config = repository.loader()._compose_config_from_defaults_list(defaults=defaults.defaults, repo=caching)
        origins = Origins(shown(primary.path))
        for default in defaults.defaults:
            origins.add_document(repository.documents[default.config_path or ""], default.package or "")
        _apply(defaults.config_overrides, config, origins)
    return Composed(config, origins)


class YamlFolder(ConfigSource):
    """A folder of the search path, as Hydra asks for it."""

    def __init__(self, provider: str, folder: Path, documents: dict[str, Document]) -> None:
        self.provider = provider
        self.path = str(folder)
        self._folder = folder
        self._documents = documents

    @staticmethod
    def scheme() -> str:
        return "file"

    def load_config(self, config_path: str) -> ConfigResult:
        document = self._documents.get(config_path) or read_document(self._file(config_path))
        self._documents[config_path] = document
        data = {key: value for key, value in document.data.items() if key != "hydra"}
        header = ConfigSource._get_header_dict(document.text[:512])
        return ConfigResult(provider=self.provider, path=self.full_path(), config=_nodes(document, data), header=header)

    def available(self) -> bool:
        return self._folder.is_dir()

    def is_group(self, config_path: str) -> bool:
        return (self._folder / config_path).is_dir()

    def is_config(self, config_path: str) -> bool:
        return config_path in self._documents or self._file(config_path).is_file()

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        entries = sorted((self._folder / config_path).iterdir())
        groups = [entry.name for entry in entries if entry.is_dir() and results_filter is not ObjectType.CONFIG]
        configs = [entry.stem for entry in entries if entry.suffix == ".yaml" and results_filter is not ObjectType.GROUP]
        return groups + configs

    def _file(self, config_path: str) -> Path:
        return self._folder / f"{config_path.removesuffix('.yaml')}.yaml"


def _nodes(document: Document, data: dict[str, Any]) -> DictConfig:
    try:
        return OmegaConf.create(data)
    except OmegaConfBaseException as error:
        key = parse_key(error.full_key or "")
        message = f"an interpolation that cannot be understood: {str(error.msg).partition(chr(10))[0]}"
        raise ConfigError(
            message, "write ${section.key}, or ${oc.env:NAME} for a variable", where=f"{document.where(key)} {dotted(key)}"
        ) from None


class _NoSchemas(YamlFolder):
    """Hydra's place for registered schemas. Ours are attrs classes, and those of an application around us are not meant for us."""

    def load_config(self, config_path: str) -> ConfigResult:
        raise ConfigLoadError(config_path)


class _Repository(ConfigRepository):
    """The files of one composition. documents: those that were read, by config path."""

    def __init__(self, primary: Document, folders: Sequence[Path]) -> None:
        self.primary = primary
        self.documents = {primary.path.stem: primary}
        self.sources: list[ConfigSource] = [YamlFolder("evalx", folder, self.documents) for folder in folders]
        self.first_defaults: list[InputDefault] = []

    def __deepcopy__(self, memo: dict[int, Any]) -> _Repository:
        return self

    def get_schema_source(self) -> ConfigSource:
        return _NoSchemas("schema", self.primary.path.parent, {})

    def load_config(self, config_path: str) -> ConfigResult | None:
        result = super().load_config(config_path)
        if result is not None and config_path == self.primary.path.stem:
            result.defaults_list = _with_self([*self.first_defaults, *(result.defaults_list or [])])
        return result

    def options(self, group: str) -> set[str]:
        """What can be chosen in a config group, its subfolders included."""
        folders = [Path(source.path) / group for source in self.sources]
        return {str(file.relative_to(folder).with_suffix("")) for folder in folders for file in folder.glob("**/*.yaml")}

    def loader(self) -> ConfigLoaderImpl:
        loader = ConfigLoaderImpl(ConfigSearchPathImpl())
        loader.repository = self
        return loader


def _with_self(defaults: list[InputDefault]) -> list[InputDefault]:
    """A config that does not say where its own values stand wins over the groups it names."""
    groups = [default for default in defaults if not default.is_override()]
    if not groups or any(default.is_self() for default in defaults):
        return defaults
    return [*defaults, ConfigDefault(path="_self_")]


@contextmanager
def _hydra_version() -> Iterator[None]:
    """Hydra's behaviour depends on a global switch: set it, and put it back."""
    before = version.getbase()
    version.setbase(HYDRA_VERSION)
    try:
        yield
    finally:
        version.VersionBase.instance().version_base = before


def _parse_overrides(overrides: Sequence[str]) -> list[Override]:
    parser = OverridesParser.create()
    parsed, errors = [], []
    for text in overrides:
        try:
            override = parser.parse_override(_with_dots(text))
        except HydraException:
            errors.append(ConfigError("cannot be understood", _GRAMMAR, where=f"override {_key_of(text)}"))
            continue
        if override.is_sweep_override():
            hint = "evalx runs one config at a time; for a list write key=[a,b], for text with a comma key='a,b'"
            errors.append(ConfigError("several values given", hint, where=f"override {_key_of(text)}"))
        else:
            parsed.append(override)
    if errors:
        raise ConfigErrors(errors)
    return parsed


_GRAMMAR = "write key=value, +key=value, ~key or group=choice; put values with special characters in quotes: key='\"a b\"'"


def _with_dots(text: str) -> str:
    """`tasks[0].name=x`, as messages show keys, is `tasks.0.name=x` in Hydra's grammar."""
    key, equals, value = text.partition("=")
    return re.sub(r"\[(\d+)\]", r".\1", key) + equals + value


def _key_of(text: str) -> str:
    """The part of an override that may be shown: values can be secrets."""
    return text.partition("=")[0].lstrip("+~")


def _select_executor(repository: _Repository, executor: str, overrides: Sequence[Override]) -> list[Override]:
    """What makes `--executor NAME` win over a config that says nothing, or something else."""
    parse = OverridesParser.create().parse_override
    chosen = _chosen_group(repository, "execution", overrides)
    choice = f"{executor}/default"
    exists = repository.config_exists(f"execution/{choice}")
    extra = []
    if chosen is None and exists:
        repository.first_defaults.append(GroupDefault(group="execution", value=choice))
    elif chosen is not None and chosen.partition("/")[0] != executor:
        extra.append(parse(f"execution={choice}" if exists else "~execution"))
    return [*extra, parse(f"++execution.type={executor}")]


def _choose_deployment(repository: _Repository, overrides: Sequence[Override]) -> list[Override]:
    """`deployment=CHOICE` as whoever types it means it: also where a file describes a server in its own section `deployment`.

    Such a section is about another server, and left out, where no file chooses from the config group or the endpoint exists (`none`).
    """
    chosen = [override for override in overrides if override.key_or_group == DEPLOYMENT and isinstance(override.value(), str)]
    if not chosen or any(override.is_add() or override.is_delete() for override in chosen):
        return list(overrides)
    others = [override for override in overrides if override not in chosen]
    found = create_defaults_list(
        CachingConfigRepository(repository), repository.primary.path.stem, others, prepend_hydra=False, skip_missing=True
    )
    in_group = [path for default in found.defaults if (path := str(default.config_path)).startswith(f"{DEPLOYMENT}/")]
    if in_group and (chosen[-1].value() != "none" or in_group == [f"{DEPLOYMENT}/none"]):
        return list(overrides)
    for path, document in repository.documents.items():
        if not path.startswith(f"{DEPLOYMENT}/"):
            repository.documents[path] = document.without(DEPLOYMENT)
    if in_group:
        return list(overrides)
    return [*others, OverridesParser.create().parse_override(f"+{DEPLOYMENT}={chosen[-1].value()}")]


def _chosen_group(repository: _Repository, group: str, overrides: Sequence[Override]) -> str | None:
    """The option of a config group that the overrides or the primary config choose."""
    for override in reversed(overrides):
        if override.key_or_group == group and isinstance(override.value(), str) and not override.is_delete():
            return str(override.value())
    for default in repository.primary.data.get("defaults") or []:
        if isinstance(default, dict):
            for key, value in default.items():
                if str(key).split()[-1] == group:
                    return str(value)
        elif isinstance(default, str) and default.startswith(f"{group}/"):
            return default.removeprefix(f"{group}/")
    return None


@contextmanager
def _readable_errors(repository: _Repository) -> Iterator[None]:
    """Hydra's complaints about defaults lists and group choices as ConfigErrors."""
    where = f"{repository.primary.where(('defaults',))} defaults"
    try:
        yield
    except MissingConfigException as error:
        raise _missing_config(str(error.missing_cfg_file), repository) from None
    except (HydraException, OmegaConfBaseException, ValueError, TypeError) as error:
        if twice := re.match(r"Multiple values for ([^\s.]+)", str(error)):
            hint = f"to change the choice, write {twice[1]}=… (without +) or, in a defaults list, 'override {twice[1]}: …'"
            raise ConfigError(f"config group '{twice[1]}' is chosen twice", hint, where=where) from None
        if unchosen := re.match(r"Could not override '([^']+)'", str(error)):
            hint = f"put `- {unchosen[1]}: CHOICE` into its defaults list, or set single keys: {unchosen[1]}.KEY=VALUE"
            raise ConfigError(
                f"the config chooses nothing from a config group '{unchosen[1]}'", hint, where=f"override {unchosen[1]}"
            ) from None
        message = str(error).partition("\nSee http")[0].strip().replace("\n", " ")
        raise ConfigError(message, "a line of it is `- group: choice`, `- file` or `- _self_`", where=where) from None


def _missing_config(name: str, repository: _Repository) -> ConfigError:
    group, _, choice = name.partition("/")
    if not choice:
        hint = "a file of that name must be beside this one, or in a folder of hydra.searchpath"
        return ConfigError(f"no config '{name}'", hint, where=_default_item(repository.primary, name))
    options = sorted(repository.options(group))
    hint = suggestion(choice, options) or f"there are: {', '.join(options) or 'none'}"
    return ConfigError(f"no config '{choice}' in config group '{group}'", hint, where=_default_item(repository.primary, choice))


def _default_item(primary: Document, choice: str) -> str:
    """The location of an item of the defaults list, or of the list if the choice was made elsewhere."""
    items = [index for index, item in enumerate(primary.data.get("defaults") or []) if choice in str(item)]
    return f"{primary.where(('defaults', *items[:1]))} defaults"


def _apply(overrides: Sequence[Override], config: DictConfig, origins: Origins) -> None:
    """Apply the overrides that are not group choices. Keys need not exist yet: the schema decides later which are known."""
    errors = []
    for override in overrides:
        key = override.key_or_group
        try:
            ConfigLoaderImpl._apply_overrides_to_config([override], config)
        except (HydraException, OmegaConfBaseException, ValueError, TypeError, KeyError, IndexError) as error:
            errors.append(_override_error(override, error))
            continue
        if override.is_delete():
            origins.forget(parse_key(key))
        else:
            origins.add_override(parse_key(key), override.value())
    if errors:
        raise ConfigErrors(errors)


def _override_error(override: Override, error: Exception) -> ConfigError:
    """Says what does not work without repeating the value, which could be a secret."""
    where = f"override {override.key_or_group}"
    if override.package is not None:
        return ConfigError(f"there is no config group '{override.key_or_group}'", "the groups are execution and deployment", where=where)
    if override.is_delete():
        return ConfigError("nothing to delete: the config has no such key (with that value)", "what it has: evalx config show", where=where)
    if override.is_add() and isinstance(error, HydraException):
        return ConfigError("the config has this key already", "write key=value to change it", where=where)
    message = "this key cannot be set: something above it is not a mapping, or a list is not that long"
    return ConfigError(message, "what the config has there: evalx config show", where=where)
