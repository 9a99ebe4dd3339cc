"""The carriers there are, by the name that a spec begins with. Another one is one file, and one line here."""

from collections.abc import Callable
from typing import Final

from signaling.carrier import Carrier, CarrierContext
from signaling.directory import DirectoryCarrier
from signaling.errors import CarrierError
from signaling.hub_carrier import HubCarrier
from signaling.log import LogCarrier
from signaling.paste import PasteCarrier
from signaling.qr import qr_carrier

_CARRIERS: Final[dict[str, Callable[[str, CarrierContext], Carrier]]] = {
    "dir": DirectoryCarrier,
    "hub": HubCarrier,
    "log": LogCarrier,
    "paste": PasteCarrier,
    "qr": qr_carrier,
}


def carrier_from_spec(spec: str, context: CarrierContext | None = None) -> Carrier:
    """The carrier that "dir:/path" or the like names, or CarrierError. Touches nothing yet."""
    name, _, where = spec.partition(":")
    make = _CARRIERS.get(name)
    if make is None:
        known = ", ".join(sorted(_CARRIERS))
        raise CarrierError(f"There is no carrier called {name!r}.", f"Use one of: {known}.")
    return make(where, context or CarrierContext())
