"""The catalogue: which published suite, container and endpoint type a task name stands for.

`catalogue.json` beside this file holds release 26.03 of the NeMo Evaluator containers: image, digest, tasks, the endpoint types each
task asks, the model capabilities it requires and its default parameters, as published in the public task metadata of
nemo-evaluator-launcher 0.2.6. `defaults` in it says which suite a name means that several suites have, and why.
"""

from evalx.tasks.catalogue import CatalogueTask, all_tasks, resolve

__all__ = ["CatalogueTask", "all_tasks", "resolve"]
