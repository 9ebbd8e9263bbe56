"""The quickstart room: everything that exists only so that the first run works on a fresh machine.

`python -m evalx_quickstart` prepares it (an environment with NumPy and a harness, and the weights of a small model); `evalx run
quickstart` uses it. Nothing else in evalx needs this package.
"""
