"""A sealed file: what comes out is what went in, or nothing at all."""

import io

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.backup.sealed_file import (
    CHUNK,
    MAGIC,
    BackupDamaged,
    Header,
    PassphraseNeeded,
    SealedReader,
    SealedWriter,
    read_header,
)

HEADER = Header(1_763_800_000_000, "0.1", "0004", n=16)
"""The key is made at once: these tests make thousands."""
PASSPHRASES = st.sampled_from(["", "correct horse", "密码"])


def sealed(content: bytes, passphrase: str = "", header: Header = HEADER) -> bytes:
    file = io.BytesIO()
    writer = SealedWriter(file, header, passphrase)
    writer.write(content)
    writer.finish()
    return file.getvalue()


def opened(file: bytes, passphrase: str = "") -> bytes:
    reader = SealedReader(io.BytesIO(file), passphrase)
    content = reader.read()
    reader.finish()
    return content


@given(content=st.binary(max_size=300), passphrase=PASSPHRASES)
def test_what_comes_out_is_what_went_in(content: bytes, passphrase: str) -> None:
    assert opened(sealed(content, passphrase), passphrase) == content


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK, 3 * CHUNK + 7])
def test_any_length_in_any_portions(size: int) -> None:
    content = (bytes(range(251)) * (size // 251 + 1))[:size]
    file = io.BytesIO()
    writer = SealedWriter(file, HEADER, "x")
    for start in range(0, size, 700_001):
        writer.write(content[start : start + 700_001])
    writer.finish()
    reader = SealedReader(io.BytesIO(file.getvalue()), "x")
    assert b"".join(iter(lambda: reader.read(300_007), b"")) == content


@given(data=st.data(), passphrase=PASSPHRASES)
def test_a_flipped_bit_anywhere_is_found(data: st.DataObject, passphrase: str) -> None:
    file = bytearray(sealed(b"readings and alarms", passphrase))
    place = data.draw(st.integers(0, len(file) - 1))
    file[place] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises((BackupDamaged, PassphraseNeeded)):
        opened(bytes(file), passphrase)


@given(data=st.data(), passphrase=PASSPHRASES)
def test_a_cut_anywhere_is_found(data: st.DataObject, passphrase: str) -> None:
    file = sealed(b"readings and alarms", passphrase)
    with pytest.raises(BackupDamaged):
        opened(file[: data.draw(st.integers(0, len(file) - 1))], passphrase)


@pytest.mark.parametrize("passphrase", ["", "secret"])
def test_chunks_that_are_left_out_exchanged_or_added_are_found(passphrase: str) -> None:
    content = bytes(CHUNK) * 3
    file = sealed(content, passphrase)
    begin = len(file) - 3 * ((len(file) - len(MAGIC)) // 3)
    size = 4 + CHUNK + (16 if passphrase else 32)
    begin = len(file) - 3 * size
    head, chunks = file[:begin], [file[begin + at * size : begin + (at + 1) * size] for at in range(3)]
    assert opened(head + b"".join(chunks), passphrase) == content
    for wrong in ([1, 0, 2], [0, 2], [1, 2], [0, 1], [0, 1, 1, 2], [0, 1, 2, 2]):
        with pytest.raises(BackupDamaged):
            opened(head + b"".join(chunks[at] for at in wrong), passphrase)


def test_another_passphrase_opens_nothing() -> None:
    with pytest.raises(BackupDamaged, match="wrong passphrase"):
        opened(sealed(b"secret", "one"), "two")


def test_without_a_passphrase_it_says_that_one_is_needed() -> None:
    with pytest.raises(PassphraseNeeded, match="GENGFU_BACKUP__PASSPHRASE"):
        opened(sealed(b"secret", "one"))


def test_nothing_of_an_encrypted_content_can_be_read_in_the_file() -> None:
    assert b"operator" not in sealed(b"operator" * 100, "one")
    assert sealed(b"same", "one") != sealed(b"same", "one"), "each file has a salt of its own"


def test_an_encryption_that_somebody_took_out_of_the_header_is_found() -> None:
    file = sealed(b"secret", "one")
    header, encoded = read_header(io.BytesIO(file))
    plain = msgspec.json.encode(msgspec.structs.replace(header, salt=""))
    forged = MAGIC + len(plain).to_bytes(4, "big") + plain + file[len(MAGIC) + 4 + len(encoded) :]
    with pytest.raises(BackupDamaged):
        opened(forged, "one")


@pytest.mark.parametrize("n", [0, 1, 3, 2**30, -2])
def test_a_header_cannot_make_us_take_all_the_memory(n: int) -> None:
    encoded = msgspec.json.encode(Header(0, "", "", salt="00", n=n))
    with pytest.raises(BackupDamaged, match="invalid key parameters"):
        SealedReader(io.BytesIO(MAGIC + len(encoded).to_bytes(4, "big") + encoded), "x")


@pytest.mark.parametrize("file", [b"", b"PK", MAGIC, MAGIC + b"\xff\xff\xff\xff", MAGIC + b"\0\0\0\2{}"])
def test_what_is_no_backup_is_refused(file: bytes) -> None:
    with pytest.raises(BackupDamaged):
        opened(file)
