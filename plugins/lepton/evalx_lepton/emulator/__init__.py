"""An emulated Lepton workspace: the platform's HTTP protocol on 127.0.0.1, with real processes behind it.

The SDK and `lep` work against it unchanged. It is not the platform: images are not run, they are mapped to programs of this machine
(see `settings`), and whatever only the platform's servers decide is a guess, told as such in docs/emulator.md.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from evalx_lepton.emulator.server import Emulator
    from evalx_lepton.emulator.settings import EmulatorSettings

__all__ = ["Emulator", "EmulatorSettings"]


def __getattr__(name: str) -> Any:
    """Import what is asked for only now: the node's process imports this package too, and must stay small."""
    if name == "Emulator":
        from evalx_lepton.emulator.server import Emulator

        return Emulator
    if name == "EmulatorSettings":
        from evalx_lepton.emulator.settings import EmulatorSettings

        return EmulatorSettings
    raise AttributeError(name)
