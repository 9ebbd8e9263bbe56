"""Starts the NumPy model server: `python server.py --path MODEL --model NAME --port N`.

A script on purpose: a script's own folder is on Python's path, so any interpreter that has NumPy can run it, without evalx or this
package being installed there.
"""

import runpy

if __name__ == "__main__":
    runpy.run_module("numpy_server", run_name="__main__", alter_sys=True)
