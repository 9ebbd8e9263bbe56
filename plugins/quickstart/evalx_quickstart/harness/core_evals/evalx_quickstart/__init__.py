"""Three small sets of questions, as a plugin folder of NeMo Evaluator: on PYTHONPATH is installed."""
