"""What stays of a picture: every pixel, when it was taken and which way up; not where, nor what hides in it."""

import contextlib
import io
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms

from gateway.tickets.attachments.picture_bytes import MOST_PIXELS, picture
from gateway.tickets.attachments.types import JPEG, PNG, TAKEN, WEBP, MediaType, Refused, require_type, shown_name
from tests.builders.photos import HTML, PDF, SVG, TAKEN_AT, XMP, exif_of, photo, pixels

KINDS = (JPEG, PNG, WEBP)


def cleaned(data: bytes, kind: MediaType, *, keep_position: bool = False) -> bytes:
    kept = picture(data, kind, keep_position=keep_position)
    return b"".join(piece if isinstance(piece, bytes) else data[slice(*piece)] for piece in kept.pieces)


@pytest.mark.parametrize("kind", KINDS)
def test_a_photo_loses_its_position_and_not_a_pixel(kind: MediaType) -> None:
    before = photo(kind.pillow)
    assert exif_of(before)[2], "the test's own photo has a position"
    assert XMP in before
    after = cleaned(before, kind)
    assert pixels(after) == pixels(before)
    assert exif_of(after)[2] == {}
    for told in (b"GPSLatitude", b"xmpmeta", b"north gate", b"Wei"):
        assert told not in after


@pytest.mark.parametrize("kind", KINDS)
def test_which_way_up_it_is_and_when_it_was_taken_stay(kind: MediaType) -> None:
    own, shot, _ = exif_of(cleaned(photo(kind.pillow), kind))
    assert {tag: value for tag, value in own.items() if tag != 0x8769} == {271: "Lantern", 274: 6, 306: TAKEN_AT}
    assert shot == {36867: TAKEN_AT, 37386: 4.5}


@pytest.mark.parametrize("kind", KINDS)
def test_a_position_that_is_asked_for_stays(kind: MediaType) -> None:
    before = photo(kind.pillow)
    after = cleaned(before, kind, keep_position=True)
    assert pixels(after) == pixels(before)
    assert exif_of(after)[2] == exif_of(before)[2] != {}
    assert XMP in after


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("keep_position", [False, True])
def test_what_stands_behind_the_picture_goes(kind: MediaType, keep_position: bool) -> None:
    whole = photo(kind.pillow)
    after = cleaned(whole + HTML + b"GPS of a film", kind, keep_position=keep_position)
    assert after == cleaned(whole, kind, keep_position=keep_position)
    assert b"alert(" not in after


@pytest.mark.parametrize(
    ("kind", "options"),
    [(JPEG, {"progressive": True}), (JPEG, {"restart_marker_blocks": 2}), (JPEG, {"comment": b"at the gate"}),
     (WEBP, {"lossless": True}), (PNG, {"compress_level": 0})],
)  # fmt: skip
def test_every_form_of_them_is_read(kind: MediaType, options: dict[str, object]) -> None:
    before = photo(kind.pillow, (300, 200), **options)
    after = cleaned(before, kind)
    assert pixels(after) == pixels(before)
    assert b"at the gate" not in after


@pytest.mark.parametrize("kind", KINDS)
def test_its_colours_stay(kind: MediaType) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    after = cleaned(photo(kind.pillow, icc_profile=profile), kind)
    with Image.open(io.BytesIO(after)) as image:
        assert image.info["icc_profile"] == profile


def test_exif_data_that_cannot_be_read_goes_as_a_whole() -> None:
    before = photo(bare=True)
    torn = b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"GPS" * 40
    data = before[:2] + b"\xff\xe1" + (len(torn) + 2).to_bytes(2, "big") + torn + before[2:]
    assert cleaned(data, JPEG) == before


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_cut_short_is_refused_wherever_it_is_cut(kind: MediaType) -> None:
    whole = photo(kind.pillow)
    for length in range(len(whole) - 1):
        with pytest.raises(Refused, match="cannot be read"):
            picture(whole[:length], kind, keep_position=False)


@pytest.mark.parametrize("kind", KINDS)
@given(where=st.integers(0, 400), what=st.binary(min_size=1, max_size=12))
def test_whatever_a_byte_is_changed_to_it_is_read_or_refused(kind: MediaType, where: int, what: bytes) -> None:
    data = bytearray(photo(kind.pillow))
    data[where : where + len(what)] = what
    with contextlib.suppress(Refused):  # anything else would be a fault of the service
        cleaned(bytes(data), kind)


def bomb(kind: MediaType) -> bytes:
    """A few bytes that say that they are an enormous picture."""
    data = bytearray(photo(kind.pillow, bare=True))
    if kind is PNG:
        data[16:24] = (60_000).to_bytes(4, "big") * 2
        data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    elif kind is JPEG:
        at = data.index(b"\xff\xc0") + 5
        data[at : at + 4] = b"\xea\x60" * 2
    else:
        at = data.index(b"\x9d\x01\x2a") + 3
        data[at : at + 4] = b"\xff\x3f" * 2
    return bytes(data)


@pytest.mark.parametrize("kind", KINDS)
def test_a_decompression_bomb_is_refused_and_never_set_off(kind: MediaType) -> None:
    with pytest.raises(Refused, match=f"{MOST_PIXELS // 1_000_000} million pixels"):
        picture(bomb(kind), kind, keep_position=False)


@pytest.mark.parametrize("declared", TAKEN.values(), ids=TAKEN)
def test_a_file_is_taken_for_what_its_first_bytes_say(declared: MediaType) -> None:
    files = {kind.name: photo(kind.pillow) for kind in KINDS} | {"application/pdf": PDF}
    heic = b"\0\0\0\x18ftypheic\0\0\0\0"
    for name, content in {**files, "html": HTML, "svg": SVG, "heic": heic, "nothing": b"", "zip": b"PK\3\4"}.items():
        if name == declared.name:
            require_type(content[:16], declared)
            continue
        with pytest.raises(Refused) as refused:
            require_type(content[:16], declared)
        assert refused.value.code == ("unsupported_type" if name == "heic" else "not_what_it_says")


@pytest.mark.parametrize(
    ("given_name", "shown"),
    [
        ("../../etc/passwd", "passwd.jpg"), ("..\\..\\boot.ini", "boot.ini.jpg"), ("泵房.jpg", "泵房.jpg"),
        ("", "attachment.jpg"), ("..", "attachment.jpg"), ("a.JPEG", "a.JPEG"), ("page.html", "page.html.jpg"),
        ("a\r\nSet-Cookie: b=c.jpg", "aSet-Cookie: b=c.jpg"), ("photo\u202egpj.exe", "photogpj.exe.jpg"),
        ("x" * 300, "x" * 196 + ".jpg"), ("x" * 300 + ".jpg", "x" * 196 + ".jpg"),
    ],
)  # fmt: skip
def test_a_name_is_one_line_without_folders_and_with_an_ending_of_its_kind(given_name: str, shown: str) -> None:
    assert shown_name(given_name, JPEG) == shown
