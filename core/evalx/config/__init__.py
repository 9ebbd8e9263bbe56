"""Configuration: from YAML files, config groups and overrides to validated values.

`load` is what the command line and the Python API use; `ExecutionSettings`, `setting` and `structure` are what plugins use.
"""

from evalx.config.loading import Config, execution_settings, load
from evalx.config.settings import ExecutionSettings, at_least, setting
from evalx.config.structure import structure, to_plain

__all__ = ["Config", "ExecutionSettings", "at_least", "execution_settings", "load", "setting", "structure", "to_plain"]
