"""`paste`: one line of text each way, through whatever two people write to each other with."""

from signaling.carrier import CarrierContext
from signaling.errors import CarrierError
from signaling.hands import HandCarrier


class PasteCarrier(HandCarrier):
    """Tokens as text. What shows them and takes them is the console's."""

    def __init__(self, where: str = "", context: CarrierContext | None = None) -> None:
        if where:
            raise CarrierError("paste takes nothing behind its name.", "Write --via paste.")
        super().__init__("paste")
