"""Pictures and other files for tests of attachments, made when they are needed."""

import io
from functools import lru_cache
from typing import Any

from PIL import Image, PngImagePlugin

TAKEN_AT = "2025:11:22 09:30:00"
XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF><rdf:Description exif:GPSLatitude="31,13.9N"/></rdf:RDF></x:xmpmeta>'
)
PDF = b"%PDF-1.4\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n"
HTML = b"<!doctype html><script>alert(document.cookie)</script>"
SVG = b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>'


def exif() -> Image.Exif:
    """Turned, taken at a time and a place, by a camera whose maker notes and owner are in it."""
    found = Image.Exif()
    found[271], found[274], found[306], found[315] = "Lantern", 6, TAKEN_AT, "Wei"
    found[0x8769] = {36867: TAKEN_AT, 37386: 4.5, 37500: b"near the north gate"}
    found[0x8825] = {1: "N", 2: (31.0, 13.0, 54.0), 3: "E", 4: (121.0, 28.0, 25.0)}
    return found


@lru_cache
def photo(form: str = "JPEG", size: tuple[int, int] = (64, 48), *, bare: bool = False, **options: Any) -> bytes:
    """A picture of many colours, with a position in EXIF and XMP unless it is bare."""
    image = Image.effect_noise(size, 60).convert("RGB")
    if not bare:
        options |= {"exif": exif()}
        options |= {"pnginfo": xmp_of_png()} if form == "PNG" else {"xmp": XMP}
    target = io.BytesIO()
    image.save(target, form, **options)
    return target.getvalue()


def xmp_of_png() -> PngImagePlugin.PngInfo:
    found = PngImagePlugin.PngInfo()
    found.add_itxt("XML:com.adobe.xmp", XMP.decode())
    return found


def pixels(data: bytes) -> bytes:
    with Image.open(io.BytesIO(data)) as image:
        return image.convert("RGB").tobytes()


def exif_of(data: bytes) -> tuple[dict[int, Any], dict[int, Any], dict[int, Any]]:
    """The picture's own fields, those of the shot, and the position."""
    with Image.open(io.BytesIO(data)) as image:
        found = image.getexif()
        return dict(found), dict(found.get_ifd(0x8769)), dict(found.get_ifd(0x8825))
