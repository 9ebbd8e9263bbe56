"""`python -m evalx_lepton.emulator`: the same as `evalx lepton emulate`."""

from evalx_lepton.emulator.command import emulate

if __name__ == "__main__":
    emulate(prog_name="python -m evalx_lepton.emulator")
