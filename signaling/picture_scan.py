"""Reading codes out of a picture, in a process of its own: whatever happens there, it ends in a second.

The decoders are C and C++ and take what anybody sends. What they cost cannot be told from a picture's size:
one of four million pixels that is full of finder patterns keeps the reader busy for seven seconds, and no
thread that is in C can be ended. So this process is given a picture on its standard input, and little memory
and processor time; it answers with JSON, or dies.
"""

import io
import json
import math
import signal
import sys
import time
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from signaling.errors import BadPicture
from signaling.picture_header import MAX_PIXELS, Header, read_header

if TYPE_CHECKING:
    from PIL.Image import Image

MEMORY: Final = 80 << 20  # bytes of data, of which 12 MB are there before anything is read
SECONDS: Final = 0.7  # of processor time
_PATIENCE: Final = 0.4  # after which no other attempt is begun
_MAX_CODES: Final = 16
_MAX_TEXT: Final = 4096


def main() -> None:
    """Read a picture, write what was found: {"codes": [...]} or {"message": ..., "hint": ...}."""
    _bound()
    try:
        answer: dict[str, object] = {"codes": codes_in(sys.stdin.buffer.read())}
    except BadPicture as error:
        answer = {"message": error.message, "hint": error.hint}
    sys.stdout.write(json.dumps(answer))


def _bound() -> None:
    """Nothing but processor time and memory are given, and those scarcely; where the system knows limits.

    What is imported first is not counted.
    """
    import PIL.JpegImagePlugin
    import PIL.PngImagePlugin
    import PIL.WebPImagePlugin
    import zxingcpp  # noqa: F401

    PIL.PngImagePlugin.MAX_TEXT_CHUNK = 1 << 20
    PIL.PngImagePlugin.MAX_TEXT_MEMORY = 4 << 20
    try:
        import resource
    except ImportError:  # Windows: whoever started us ends us after a while
        return
    for what, most in (
        (resource.RLIMIT_DATA, MEMORY),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CPU, math.ceil(SECONDS) + 1),
    ):
        _, hard = resource.getrlimit(what)
        least = most if hard == resource.RLIM_INFINITY else min(most, hard)  # we may have been given less
        resource.setrlimit(what, (least, least))
    signal.signal(signal.SIGPROF, signal.SIG_DFL)  # it ends us, also if whoever started us ignores it
    signal.setitimer(signal.ITIMER_PROF, SECONDS)


def codes_in(data: bytes) -> list[str]:
    """The texts of all QR codes in a picture file, from top to bottom; BadPicture."""
    import zxingcpp

    began = time.process_time()
    picture = _decoded(data, read_header(data))
    for attempt in _attempts(picture):
        found = zxingcpp.read_barcodes(
            attempt, formats=zxingcpp.BarcodeFormats(zxingcpp.BarcodeFormat.QRCode)
        )
        if found:
            found.sort(key=lambda code: (code.position.top_left.y, code.position.top_left.x))
            texts = dict.fromkeys(code.text for code in found if len(code.text) <= _MAX_TEXT)
            return list(texts)[:_MAX_CODES]
        if time.process_time() - began > _PATIENCE:
            break
    return []


def _decoded(data: bytes, header: Header) -> "Image":
    """The picture in shades of grey, on white where it is transparent."""
    try:
        with warnings.catch_warnings():  # about what is odd in a file: nobody is there to be warned
            warnings.simplefilter("ignore")
            return _grey(_loaded(data, header))
    except MemoryError:
        raise BadPicture("This picture takes too much memory.", "Save it anew as PNG or JPEG.") from None
    except BadPicture:
        raise
    except Exception:  # whatever Pillow's decoders raise; they name no family
        raise BadPicture("This picture is damaged or not whole.") from None


def _loaded(data: bytes, header: Header) -> "Image":
    from PIL import Image

    picture = Image.open(io.BytesIO(data), formats=[header.format])
    if picture.size != (header.width, header.height):
        raise BadPicture("This picture contradicts itself about its size.")
    if header.shrink > 1:
        picture.draft("L", (header.width // header.shrink, header.height // header.shrink))
    if picture.width * picture.height > MAX_PIXELS:
        raise BadPicture("This picture cannot be made smaller while it is read.")
    picture.load()
    return picture


def _grey(picture: "Image") -> "Image":
    from PIL import Image

    if picture.mode.startswith("I"):  # sixteen bits: converting would cut off, not scale
        return picture.convert("I").point(lambda level: level * (1 / 256)).convert("L")
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        ground = Image.new("L", picture.size, 255)
        ground.paste(picture.convert("L"), mask=picture.getchannel("A"))
        return ground
    return picture.convert("L")


def _attempts(picture: "Image") -> Iterator["Image"]:
    """The picture as it is, then what helps by measurement: larger against smallness, sharper against blur,
    softer against grain.

    Other binarizers, more contrast and smaller copies read nothing that these do not.
    """
    from PIL import Image, ImageFilter

    yield picture
    larger = None
    if picture.width * picture.height <= MAX_PIXELS // 4:
        larger = picture.resize((2 * picture.width, 2 * picture.height), Image.Resampling.BICUBIC)
        yield larger
    yield picture.filter(ImageFilter.UnsharpMask(radius=3, percent=400, threshold=0))
    if larger is not None:
        yield larger.filter(ImageFilter.UnsharpMask(radius=4, percent=200, threshold=0))
    yield picture.filter(ImageFilter.GaussianBlur(1))


if __name__ == "__main__":
    main()
