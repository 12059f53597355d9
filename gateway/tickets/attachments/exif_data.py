"""EXIF data of a photo without its position and without the camera's owner.

An allowlist of fields stays; all others are removed: makers store positions in notes of their own.
"""

from typing import Final

from PIL import Image

_EXIF_IFD: Final = 0x8769
_MOST: Final = 1024 * 1024
"""Bytes; a JPEG holds at most 64 KiB."""
_OF_THE_PICTURE: Final = frozenset(
    {
        271, 272,  # make, model
        274,  # orientation
        282, 283, 296,  # resolution
        305, 306,  # software, time
        531,
    }
)  # fmt: skip
_OF_THE_SHOT: Final = frozenset(
    {
        33434, 33437, 34850, 34855, 34864,  # exposure, aperture, sensitivity
        36864, 40960,  # versions
        36867, 36868, 36880, 36881, 36882, 37520, 37521, 37522,  # when it was taken, and the time zone
        37121, 37377, 37378, 37379, 37380, 37381, 37382, 37383, 37384, 37385, 37386,
        40961, 40962, 40963,  # colours, size
        41986, 41987, 41988, 41989, 41990, 42034, 42035, 42036,  # settings, lens
    }
)  # fmt: skip


def without_position(exif: bytes) -> bytes:
    """The allowed fields, as a TIFF header and its directories; empty if there is none or it cannot be read.

    Args:
        exif: a TIFF header and its directories, with or without the prefix Exif and two NULs.
    """
    try:
        return _rewritten(exif) if len(exif) <= _MOST else b""
    except Exception:  # noqa: BLE001 - Pillow raises whatever the bytes make it stumble over; then all of it goes
        return b""


def _rewritten(exif: bytes) -> bytes:
    read, kept = Image.Exif(), Image.Exif()
    read.load(exif)
    for tag, value in read.items():
        if tag in _OF_THE_PICTURE:
            kept[tag] = value
    shot = {tag: value for tag, value in read.get_ifd(_EXIF_IFD).items() if tag in _OF_THE_SHOT}
    if shot:
        kept[_EXIF_IFD] = shot
    return kept.tobytes().removeprefix(b"Exif\0\0") if len(kept) else b""
