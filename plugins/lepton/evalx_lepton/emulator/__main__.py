"""`python -m evalx_lepton.emulator`: the same as `evalx lepton emulate`."""

import sys

from evalx.errors import EvalxError
from evalx_lepton.emulator.command import emulate

if __name__ == "__main__":
    try:
        emulate(prog_name="python -m evalx_lepton.emulator")
    except EvalxError as error:
        print(f"error: {error}", *([f" hint: {error.hint}"] if error.hint else []), sep="\n", file=sys.stderr)
        sys.exit(error.exit_code)
