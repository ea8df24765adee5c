from collections.abc import Callable

import pytest

from chipsim import devices
from chipsim.devices import ALL, Device, Ideal, Rram
from chipsim.testing import conformance

VARIANTS = {
    **{name: preset for name, preset in vars(devices).items() if isinstance(preset, Device)},
    "Ideal, 2 levels": Ideal(levels=2),
    "Ideal, 16 levels": Ideal(g_min=1e-6, levels=16),
    "Rram, truncated": Rram(sigma_offset=10e-6),
    "Rram, rising": Rram(sigma_slope=0.05, levels=1024),
}
DEVICES = {**{kind.__name__: kind() for kind in ALL}, **VARIANTS}


@pytest.mark.parametrize("check", conformance.DEVICE)
@pytest.mark.parametrize("device", DEVICES.values(), ids=DEVICES)
def test_device(device: Device, check: Callable[[Device], None]) -> None:
    check(device)
