"""`kill -9` by numbers: each seed is a run of real evalx processes that die, fail or hang somewhere, and what must be true afterwards.

python -m tests.faults.seeds --seeds 1000 --from 200
"""
