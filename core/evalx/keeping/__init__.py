"""Endpoints that stay up for a while when the tasks of their run are over.

`kept`: what is told of them, and the files of their keys. `handover`: how their run passes from its process to a keeper, which waits and
then ends it. `keeper`: that process, started, found and replaced.
"""
