"""Exporters to trackers and leaderboards: formats and services that belong to others. Their libraries are extras of evalx."""
