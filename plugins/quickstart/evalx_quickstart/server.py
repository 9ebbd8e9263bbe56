"""Starts the NumPy model server: `python server.py --path MODEL --model NAME --port N`.

A script on purpose: a script's own folder is on Python's path, so any interpreter that has NumPy can run it, without evalx or this
package being installed there.
"""

import os
import runpy

if __name__ == "__main__":
    # OpenBLAS reads this when NumPy is imported. Its threads wait for each other at every product: two save little on an idle
    # machine, and on a busy one they take many times longer than one.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    runpy.run_module("numpy_server", run_name="__main__", alter_sys=True)
