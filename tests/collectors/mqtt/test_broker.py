"""The broker's side of ingest, against a real Mosquitto; a fake does what Mosquitto cannot be told to do."""

import asyncio
import contextlib
import gc
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt import _packet as paho_packet
from paho.mqtt.enums import MQTTProtocolVersion

from collectors.mqtt import broker as broker_module
from collectors.mqtt.broker import Broker, BrokerAddress, BrokerRefused
from collectors.mqtt.inbox import Inbox
from collectors.mqtt.message import Message
from collectors.mqtt.packets import OVERSIZE_HEAD, BufferedSocket
from collectors.wire.topics import SUBSCRIPTION
from tests.servers import wire
from tests.servers.mosquitto import Mosquitto, free_port
from tests.servers.waiting import WITHIN_S, parted, until
from tests.servers.wire import fake_broker, send

TOPIC = "gengfu/garden/pump/P1/telemetry"
VERSIONS = pytest.mark.parametrize("protocol", [4, 5], ids=["mqtt-3.1.1", "mqtt-5"])
StartMosquitto = Callable[..., Mosquitto]


@pytest.fixture(autouse=True)
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broker_module, "_FIRST_RETRY_S", 0.05)
    monkeypatch.setattr(broker_module, "_LAST_RETRY_S", 0.1)


@contextlib.asynccontextmanager
async def running(port: int, *, subscription: str = SUBSCRIPTION, **address: Any) -> AsyncIterator[Broker]:
    """A broker's side that runs; at the end it is closed and must have ended well."""
    broker = Broker(BrokerAddress(port=port, **address), [subscription])
    task = asyncio.create_task(broker.run())
    try:
        yield broker
    finally:
        await broker.close()
        async with asyncio.timeout(WITHIN_S):
            await task


@contextlib.asynccontextmanager
async def connected(port: int, **address: Any) -> AsyncIterator[Broker]:
    async with running(port, **address) as broker:
        await until(lambda: broker.connected, "the broker lets us in")
        yield broker


async def take(broker: Broker, count: int) -> list[Message]:
    taken: list[Message] = []
    async with asyncio.timeout(WITHIN_S):
        while len(taken) < count:
            taken += await broker.next_batch(count - len(taken))
    return taken


def numbered(first: int, last: int, size: int = 0) -> list[wire.Item]:
    return [(TOPIC, b"%d" % number + b" " * size) for number in range(first, last)]


def numbers(messages: list[Message]) -> list[int]:
    return [int(message.payload) for message in messages]


# -- a session that lasts ------------------------------------------------------------------------------


@pytest.mark.server
@VERSIONS
async def test_a_message_arrives_with_topic_payload_and_time_of_receipt(mosquitto: Mosquitto, protocol: int) -> None:
    before = time.time_ns()
    async with connected(mosquitto.port, protocol=protocol) as broker:
        await send(mosquitto.port, [(TOPIC, '{"text":"三楼"}'.encode())])
        (message,) = await take(broker, 1)
    assert (message.topic, message.payload) == (TOPIC, '{"text":"三楼"}'.encode())
    assert message.mid > 0
    assert before <= message.received_ns <= time.time_ns()


@pytest.mark.server
@VERSIONS
async def test_what_was_published_while_we_were_away_arrives(mosquitto: Mosquitto, protocol: int) -> None:
    async with connected(mosquitto.port, protocol=protocol):
        pass
    await send(mosquitto.port, numbered(0, 50))
    async with connected(mosquitto.port, protocol=protocol) as broker:
        assert numbers(await take(broker, 50)) == list(range(50))


@pytest.mark.server
@VERSIONS
async def test_what_was_not_acknowledged_comes_again_and_what_was_does_not(mosquitto: Mosquitto, protocol: int) -> None:
    async with connected(mosquitto.port, protocol=protocol) as broker:
        await send(mosquitto.port, numbered(0, 6))
        messages = await take(broker, 6)
        broker.acknowledge(messages[:4])
    await parted(mosquitto)
    await send(mosquitto.port, numbered(6, 7))
    async with connected(mosquitto.port, protocol=protocol) as broker:
        assert numbers(await take(broker, 3)) == [4, 5, 6]


@pytest.mark.server
@VERSIONS
async def test_what_is_finished_while_there_is_no_connection_is_acknowledged_when_it_comes_again(
    mosquitto: Mosquitto, protocol: int
) -> None:
    async with connected(mosquitto.port, protocol=protocol) as broker:
        await send(mosquitto.port, numbered(0, 5))
        old = await take(broker, 5)
        mosquitto.stop()
        await until(lambda: not broker.connected, "the loss is noticed")
        broker.acknowledge(old[:2])
        mosquitto.start()
        await until(lambda: broker.connected, "we are back")
        await send(mosquitto.port, numbered(5, 6))
        assert numbers(await take(broker, 1)) == [5], "what is in hand, or finished, is not worked on again"
        broker.acknowledge(old[2:3])  # of an earlier connection: it has come again meanwhile, and is valid on this one
    await parted(mosquitto)
    async with connected(mosquitto.port, protocol=protocol) as broker:
        assert numbers(await take(broker, 3)) == [3, 4, 5], "only what was finished is gone"


async def test_acknowledgements_leave_in_order_and_only_on_their_own_connection() -> None:
    async with fake_broker() as fake, running(fake.port, protocol=4) as broker:
        peer = await fake.accept()
        await peer.let_in()
        peer.send(*(wire.publish(TOPIC, b"%d" % mid, mid) for mid in (7, 9, 8)))
        old = await take(broker, 3)
        broker.acknowledge(old[:2])
        assert [await peer.expect(wire.PUBACK) for _ in range(2)] == [b"\x00\x07", b"\x00\x09"]
        await peer.hang_up()
        peer = await fake.accept()
        await peer.let_in()
        peer.send(wire.publish(TOPIC, b"another message", 8))
        new = await take(broker, 1)
        broker.acknowledge(old)  # its packet id 8 belongs to another message now
        peer.send(wire.publish(TOPIC, b"last", 3))
        last = await take(broker, 1)
        broker.acknowledge(last)
        assert await peer.expect(wire.PUBACK) == b"\x00\x03"
        broker.acknowledge(new)
        assert await peer.expect(wire.PUBACK) == b"\x00\x08"


async def test_what_comes_before_the_subscription_is_confirmed_is_acknowledged_too() -> None:
    async with fake_broker() as fake, running(fake.port, protocol=4) as broker:
        peer = await fake.accept()
        peer.send(wire.packet(wire.CONNACK, b"\x00\x00"))  # a new session: nothing of ours has lasted
        subscription = await peer.expect(wire.SUBSCRIBE)
        assert not broker.connected, "connected means that messages are kept for us"
        peer.send(wire.publish(TOPIC, b"early", 5))
        broker.acknowledge(await take(broker, 1))
        assert await peer.expect(wire.PUBACK) == b"\x00\x05"
        peer.send(wire.packet(wire.SUBACK, subscription[:2] + b"\x01"))
        await until(lambda: broker.connected, "the subscription stands")


@pytest.mark.server
async def test_what_waits_when_the_connection_is_lost_is_not_handed_out_twice(mosquitto: Mosquitto) -> None:
    async with connected(mosquitto.port) as broker:
        await send(mosquitto.port, numbered(0, 10))
        await until(lambda: broker.waiting == 10, "all wait")
        mosquitto.stop()
        await until(lambda: not broker.connected, "the loss is noticed")
        assert broker.waiting == 0


# -- who is let in -------------------------------------------------------------------------------------


@pytest.mark.server
@VERSIONS
async def test_a_wrong_password_ends_the_run_with_a_clear_text(
    start_mosquitto: StartMosquitto, tmp_path: Path, protocol: int
) -> None:
    passwords = tmp_path / "passwords"
    passwords.touch()
    write_password(passwords, "gengfu", "right")
    port = start_mosquitto(f"allow_anonymous false\npassword_file {passwords}\n").port
    wrong = Broker(BrokerAddress(port=port, username="gengfu", password="wrong", protocol=protocol), [SUBSCRIPTION])
    with pytest.raises(BrokerRefused, match=rf"the broker at 127\.0\.0\.1:{port} rejects .*: Not authorized"):
        async with asyncio.timeout(WITHIN_S):
            await wrong.run()
    assert not wrong.connected
    async with connected(port, username="gengfu", password="right", protocol=protocol) as broker:
        assert broker.trouble == ""


def write_password(file: Path, name: str, password: str) -> None:
    subprocess.run(["mosquitto_passwd", "-b", file, name, password], check=True)
    file.chmod(0o644)  # Mosquitto gives up root before it reads it


async def test_a_refused_subscription_ends_the_run_because_nobody_would_hear_anything() -> None:
    async with fake_broker() as fake:
        broker = Broker(BrokerAddress(port=fake.port, protocol=4), [SUBSCRIPTION])
        run = asyncio.create_task(broker.run())
        await (await fake.accept()).let_in(granted=0x80)
        with pytest.raises(BrokerRefused, match="refuses gengfu/#"):
            async with asyncio.timeout(WITHIN_S):
                await run
        assert not broker.connected


@pytest.mark.server
async def test_a_broker_that_is_not_there_yet_is_tried_again(mosquitto: Mosquitto) -> None:
    mosquitto.stop()
    async with running(mosquitto.port) as broker:
        await until(lambda: "cannot reach" in broker.trouble, "the first try failed")
        assert not broker.connected
        mosquitto.start()
        await until(lambda: broker.connected, "the broker lets us in")
        assert broker.trouble == ""


@pytest.mark.server
@VERSIONS
async def test_a_broker_that_dies_and_comes_back_is_found_again(mosquitto: Mosquitto, protocol: int) -> None:
    async with connected(mosquitto.port, protocol=protocol) as broker:
        for round_number in range(2):
            mosquitto.kill()
            await until(lambda: not broker.connected, "the loss is noticed")
            assert "connection lost" in broker.trouble or "cannot reach" in broker.trouble
            mosquitto.start()
            await until(lambda: broker.connected, "we are back")
            await send(mosquitto.port, numbered(round_number, round_number + 1))
            messages = await take(broker, 1)
            assert numbers(messages) == [round_number]
            broker.acknowledge(messages)


# -- TLS -----------------------------------------------------------------------------------------------


class Authority:
    """A certificate authority of one test: its keys are made now and thrown away."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._name = name
        self.certificate = folder / f"{name}.crt"
        self._key = folder / f"{name}.key"
        self._openssl(
            "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
            "-subj", f"/CN={name}", "-keyout", self._key, "-out", self.certificate,
        )  # fmt: skip

    def issue(self, name: str) -> tuple[Path, Path]:
        """Certificate and key for 127.0.0.1."""
        key, request, certificate = (self._folder / f"{name}.{end}" for end in ("key", "csr", "crt"))
        extensions = self._folder / f"{name}.ext"
        extensions.write_text("subjectAltName=IP:127.0.0.1\n")
        self._openssl(
            "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={name}",
            "-keyout", key, "-out", request,
        )  # fmt: skip
        self._openssl(
            "x509", "-req", "-in", request, "-CA", self.certificate, "-CAkey", self._key, "-CAcreateserial",
            "-days", "2", "-extfile", extensions, "-out", certificate,
        )  # fmt: skip
        key.chmod(0o644)  # Mosquitto gives up root before it reads it
        return certificate, key

    def _openssl(self, *arguments: object) -> None:
        subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


@pytest.mark.server
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # paho drops a failed handshake's socket
async def test_tls_asks_both_sides_for_their_certificates(start_mosquitto: StartMosquitto, tmp_path: Path) -> None:
    authority, stranger = Authority(tmp_path, "authority"), Authority(tmp_path, "stranger")
    certificate, key = authority.issue("server")
    mine, my_key = map(str, authority.issue("client"))
    inside = free_port()
    mosquitto = start_mosquitto(
        f"cafile {authority.certificate}\ncertfile {certificate}\nkeyfile {key}\nrequire_certificate true\n"
        f"listener {inside} 127.0.0.1\n"
    )
    ours = {"ca_file": str(authority.certificate), "certificate_file": mine, "key_file": my_key}
    async with connected(mosquitto.port, **ours) as broker:
        await send(inside, numbered(0, 3_000, size=100))
        messages = await take(broker, 3_000)  # more than one TLS record at a time
        assert numbers(messages) == list(range(3_000))
        broker.acknowledge(messages)
    async with running(mosquitto.port, ca_file=str(stranger.certificate)) as broker:
        await until(lambda: "CERTIFICATE_VERIFY_FAILED" in broker.trouble, "the server is not believed")
    async with running(mosquitto.port, ca_file=str(authority.certificate)) as broker:
        await until(lambda: "connection lost" in broker.trouble or "cannot" in broker.trouble, "it is refused")
        assert not broker.connected
    gc.collect()  # or it is another test that hears of the dropped socket


# -- much and odd --------------------------------------------------------------------------------------


@pytest.mark.server
@VERSIONS
async def test_many_messages_arrive_in_order(mosquitto: Mosquitto, protocol: int) -> None:
    async with connected(mosquitto.port, protocol=protocol) as broker:
        sending = asyncio.create_task(send(mosquitto.port, numbered(0, 20_000)))
        seen: list[int] = []
        async with asyncio.timeout(60):
            while len(seen) < 20_000:
                batch = await broker.next_batch(4_000)
                assert 0 < len(batch) <= 4_000
                seen += numbers(batch)
                broker.acknowledge(batch)
        await sending
        assert seen == list(range(20_000))
        assert broker.waiting == 0


@pytest.mark.server
@VERSIONS
async def test_a_poisonous_message_does_not_stop_the_next_one(mosquitto: Mosquitto, protocol: int) -> None:
    poison = [
        (TOPIC, b""),
        (TOPIC, b"\xff\x00\xfe"),
        (TOPIC, b"\x00" * 2**20),  # a megabyte
        ("gengfu/花园/电梯/一号/遥测", b"{}"),
        ("gengfu////", b"{}"),  # five empty parts
        ("gengfu/" + "a" * 60_000 + "/b/c/d", b"{}"),
        (TOPIC, b"[" * 100_000),
    ]
    async with connected(mosquitto.port, protocol=protocol) as broker:
        await send(mosquitto.port, [*poison, *numbered(1, 2)])
        messages = await take(broker, len(poison) + 1)
    assert [(message.topic, message.payload) for message in messages[:-1]] == poison
    assert numbers(messages[-1:]) == [1]


async def test_a_topic_that_is_no_utf_8_is_handed_on_as_one_that_nobody_permits() -> None:
    async with fake_broker() as fake, running(fake.port, protocol=4) as broker:
        peer = await fake.accept()
        await peer.let_in()
        peer.send(wire.publish(b"gengfu/\xff/pump/P1/event", b"bad", 1), wire.publish(TOPIC, b"good", 2))
        bad, good = await take(broker, 2)
        assert (bad.topic, good.topic) == ("gengfu/\ufffd/pump/P1/event", TOPIC)
        broker.acknowledge([bad, good])
        assert [await peer.expect(wire.PUBACK) for _ in range(2)] == [b"\x00\x01", b"\x00\x02"]


async def test_messages_behind_a_packet_that_came_in_two_parts_do_not_wait_for_the_next_one() -> None:
    async with fake_broker() as fake, running(fake.port, protocol=4) as broker:
        peer = await fake.accept()
        peer.send(wire.packet(wire.CONNACK, b"\x00\x00"))
        answer = wire.packet(wire.SUBACK, (await peer.expect(wire.SUBSCRIBE))[:2] + b"\x01")
        peer.send(answer[:2])
        await until(lambda: broker._client._in_packet["command"], "the first part has been read")
        peer.send(answer[2:], wire.publish(TOPIC, b"fire", 1))
        assert [message.payload for message in await take(broker, 1)] == [b"fire"]


@pytest.mark.server
@pytest.mark.parametrize("size", [0, 4_000], ids=["a trickle", "a flood"])
async def test_reading_pauses_when_too_much_waits_and_goes_on_when_it_is_taken(
    mosquitto: Mosquitto, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(broker_module, "Inbox", lambda: Inbox(most_messages=50))
    async with connected(mosquitto.port) as broker:
        for first in range(0, 2_000, 100):
            await send(mosquitto.port, numbered(first, first + 100, size))
        await until(lambda: broker._network.is_paused, "reading pauses")
        waiting = broker.waiting
        assert waiting > 50
        await send(mosquitto.port, numbered(2_000, 2_100, size))
        assert broker.waiting == waiting, "while it pauses nothing is read"
        messages = await take(broker, 2_100)
        assert numbers(messages) == list(range(2_100))


@pytest.mark.server
async def test_a_pause_ends_with_its_connection_and_the_next_one_pauses_again(
    mosquitto: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broker_module, "Inbox", lambda: Inbox(most_messages=50))
    async with connected(mosquitto.port, keepalive_s=2) as broker:
        await send(mosquitto.port, numbered(0, 1_000, 4_000))
        await until(lambda: broker._network.is_paused, "reading pauses")
        mosquitto.stop()
        await until(lambda: not broker.connected, "the loss is noticed")
        assert broker.waiting == 0
        mosquitto.start()
        await until(lambda: broker.connected and broker._network.is_paused, "reading pauses again")
        waiting = broker.waiting
        await send(mosquitto.port, numbered(1_000, 1_100, 4_000))
        assert broker.waiting == waiting < 1_000
        assert numbers(await take(broker, 1_100)) == list(range(1_100))


@pytest.mark.server
@VERSIONS
async def test_the_session_outlives_a_loop_that_is_busy_for_longer_than_the_keep_alive(
    mosquitto: Mosquitto, protocol: int
) -> None:
    async with connected(mosquitto.port, protocol=protocol, keepalive_s=1) as broker:
        await send(mosquitto.port, numbered(0, 2_000, 500))
        seen: list[int] = []
        for _ in range(2):
            time.sleep(2.5)  # noqa: ASYNC251 - a loop that is held up is what is tested
            messages = await take(broker, 1_000)
            broker.acknowledge(messages)
            seen += numbers(messages)
        assert seen == list(range(2_000))
        assert broker._inbox.connection == 0, "the connection was never lost"
        assert broker.connected


@pytest.mark.server
async def test_the_session_outlives_a_pause_for_want_of_room(
    mosquitto: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broker_module, "Inbox", lambda: Inbox(most_bytes=100_000))
    async with connected(mosquitto.port, keepalive_s=1) as broker:
        sending = asyncio.create_task(send(mosquitto.port, numbered(0, 2_000, 4_000)))
        await until(lambda: broker._network.is_paused, "reading pauses")
        assert broker.waiting_bytes < 100_000 + 2 * 64 * 1024
        began = time.monotonic()
        await until(lambda: time.monotonic() - began > 3.5, "more than the keep-alive and its half have passed")
        messages = await take(broker, 2_000)
        assert numbers(messages) == list(range(2_000))
        assert {message.connection for message in messages} == {0}, "the connection was never lost"
        await sending


@pytest.mark.server
async def test_with_mqtt_5_the_broker_is_told_the_largest_packet_and_keeps_back_what_is_larger(
    mosquitto: Mosquitto,
) -> None:
    async with connected(mosquitto.port, protocol=5, max_packet_kb=64) as broker:
        await send(mosquitto.port, [(TOPIC, b"x" * 100_000), *numbered(1, 2)])
        assert numbers(await take(broker, 1)) == [1]


@pytest.mark.server
async def test_with_mqtt_3_1_1_the_head_of_a_packet_that_is_too_large_arrives_and_the_next_one_whole(
    mosquitto: Mosquitto,
) -> None:
    async with connected(mosquitto.port, protocol=4, max_packet_kb=64) as broker:
        await send(mosquitto.port, [(TOPIC, b"x" * 1_000_000), *numbered(1, 2)])
        large, small = await take(broker, 2)
        assert (large.payload, large.oversize) == (b"x" * OVERSIZE_HEAD, 1_000_000)
        assert numbers([small]) == [1]
        broker.acknowledge([large, small])
    await parted(mosquitto)
    async with connected(mosquitto.port, protocol=4, max_packet_kb=64) as broker:
        await send(mosquitto.port, numbered(2, 3))
        assert numbers(await take(broker, 1)) == [2], "it was acknowledged like any other"


@pytest.mark.server
async def test_closing_says_good_bye_and_ends_the_run(mosquitto: Mosquitto) -> None:
    async with connected(mosquitto.port, client_id="watchman") as broker:
        await send(mosquitto.port, numbered(0, 1))
        broker.acknowledge(await take(broker, 1))
    assert not broker.connected
    assert broker.trouble == "closed"
    await parted(mosquitto, "watchman")
    await broker.close()  # twice does no harm


async def test_closing_before_the_broker_has_answered_leaves_no_connection_behind() -> None:
    async with fake_broker() as fake:
        async with running(fake.port, protocol=4) as broker:
            peer = await fake.accept()
        with pytest.raises(asyncio.IncompleteReadError):
            await peer.read()
        assert not broker.connected


# -- packets -------------------------------------------------------------------------------------------


class Pieces:
    """A fake socket that brings what the test says, piece by piece."""

    def __init__(self, pieces: list[bytes]) -> None:
        self._pieces = pieces

    def recv(self, _size: int) -> bytes:
        if not self._pieces:
            raise BlockingIOError
        return self._pieces.pop(0)


PUBLISHED = st.tuples(st.text(min_size=1, max_size=200), st.binary(max_size=300), st.integers(0, 65_535))
USER_PROPERTY = b"\x26\x00\x01k\x00\x01v"
PROPERTIES = st.integers(0, 30).map(lambda count: USER_PROPERTY * count)  # over 127 bytes: a length of two bytes


@given(st.lists(PUBLISHED, max_size=12), st.booleans(), st.data())
def test_packets_are_taken_whole_wherever_the_stream_was_cut(
    published: list[tuple[str, bytes, int]], is_v5: bool, data: st.DataObject
) -> None:
    packets = [
        wire.publish(topic, payload, mid, data.draw(PROPERTIES) if is_v5 else None) for topic, payload, mid in published
    ]
    stream = b"".join(packets)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    pieces = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    buffered = BufferedSocket(Pieces([piece for piece in pieces if piece]), has_properties=is_v5)
    taken: list[tuple[bytes, bytes, int]] = []
    with contextlib.suppress(BlockingIOError):
        while True:
            buffered.fill()
            taken += [packet[:3] for packet in buffered.take_publishes()]
            assert not buffered.has_other_packet
    assert taken == [(topic.encode(), payload, mid) for topic, payload, mid in published]
    version = MQTTProtocolVersion.MQTTv5 if is_v5 else MQTTProtocolVersion.MQTTv311
    for mine, whole in zip(taken, packets, strict=True):
        length_bytes = 1 if whole[1] < 0x80 else 2
        theirs = paho_packet.decode_publish(whole[0], whole[1 + length_bytes :], version)
        assert (theirs.topic, theirs.payload, theirs.mid) == mine, "as paho reads it"


@given(st.lists(st.integers(0, 120_000), max_size=5), st.booleans(), st.data())
def test_of_a_packet_that_is_too_large_the_head_is_taken_and_no_more_is_held_than_that(
    sizes: list[int], is_v5: bool, data: st.DataObject
) -> None:
    largest = 1_000
    packets = [wire.publish(TOPIC, b"y" * size, mid, b"" if is_v5 else None) for mid, size in enumerate(sizes, 1)]
    stream = b"".join(packets)
    piece = data.draw(st.sampled_from([1_000, 64 * 1024]))
    pieces = [stream[at : at + piece] for at in range(0, len(stream), piece)]
    buffered = BufferedSocket(Pieces(pieces), has_properties=is_v5, largest=largest)
    taken: list[tuple[int, int, int]] = []
    with contextlib.suppress(BlockingIOError):
        while True:
            buffered.fill()
            taken += [(packet.mid, len(packet.payload), packet.oversize) for packet in buffered.take_publishes()]
            assert len(buffered._buffer) - buffered._at <= 80 * 1024 + piece
    expected = [
        (mid, min(size, OVERSIZE_HEAD), size) if len(whole) > largest else (mid, size, 0)
        for mid, (size, whole) in enumerate(zip(sizes, packets, strict=True), 1)
    ]
    assert taken == expected


@given(st.binary(max_size=100), st.booleans())
def test_a_malformed_packet_is_left_to_paho_from_its_first_byte_on(noise: bytes, is_v5: bool) -> None:
    size = len(noise)
    stream = bytes([0x32, size]) + noise
    buffered = BufferedSocket(Pieces([stream]), has_properties=is_v5)
    buffered.fill()
    taken = buffered.take_publishes()
    if not taken:
        assert buffered.has_other_packet
        assert buffered.recv(1_000) == stream
    else:
        ((topic, payload, mid),) = taken
        assert size >= len(topic) + len(payload) + 4
        assert int.from_bytes(noise[:2], "big") == len(topic)
        assert noise.endswith(payload)
        assert noise[2 + len(topic) : 4 + len(topic)] == mid.to_bytes(2, "big")
