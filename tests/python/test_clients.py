"""python-socketio over each transport: the same contract for another language's client."""

import itertools

import engineio.payload
import pytest
import socketio

from conftest import until

TRANSPORTS = {
    "polling": ["polling"],
    "websocket": ["websocket"],
    "upgrade": ["polling", "websocket"],
}

# This client breaks off when one poll brings more packets than this; 16 unless set.
engineio.payload.Payload.max_decode_packets = 10_000

numbers = itertools.count(1)


class Client:
    """A client that remembers, in order, all that it was sent."""

    def __init__(self, url: str, auth: dict, transports: list[str], **options):
        self.received: list[tuple[str, dict]] = []
        self.refusals: list[dict] = []
        self.socket = socketio.Client(reconnection=False)
        self.socket.on("*", lambda event, payload=None: self.received.append((event, payload)))
        self.socket.on("connect_error", lambda error: self.refusals.append(error))
        self.socket.connect(url, auth=auth, transports=transports, wait_timeout=20, **options)

    def all(self, event: str) -> list[dict]:
        return [payload for name, payload in list(self.received) if name == event]

    def next(self, event: str) -> dict:
        return until(lambda: self.all(event), f"{event}; came: {self.received[-5:]}")[0]

    def messages(self) -> list[dict]:
        return [payload["data"] for payload in self.all("message:receive") if payload["success"]]

    def contents(self) -> list[str]:
        return [message["content"] for message in self.messages()]

    def send(self, **payload) -> dict:
        return self.socket.call("message:send", payload, timeout=20)


@pytest.fixture
def clients():
    made: list[Client] = []

    def connect(*args, **options) -> Client:
        client = Client(*args, **options)
        made.append(client)
        client.next("stream:ready")
        return client

    yield connect
    for client in made:
        client.socket.disconnect()


@pytest.fixture(params=TRANSPORTS)
def transports(request):
    return TRANSPORTS[request.param]


def pair():
    number = next(numbers)
    return f"alice.py{number}", f"bob.py{number}", f"conv_py{number}"


def test_two_clients_chat(server, clients, transports):
    alice, bob, conversation = pair()
    a = clients(server.url, {"token": server.token(alice, "--email", "a@example.com")}, transports)
    b = clients(server.url, {"token": server.token(bob)}, transports)
    if len(transports) == 2:
        until(lambda: a.socket.transport() == "websocket", "the upgrade")
    else:
        assert a.socket.transport() == transports[0]
    ack = a.send(conversationId=conversation, targetUserId=bob, content="Hello! ä 🦀")
    assert ack["success"] is True
    for client in (a, b):
        payload = client.next("message:receive")
        assert payload["success"] is True
        assert {**payload["data"], "cursor": None} == {**ack["data"], "cursor": None}
    assert ack["data"]["senderInfo"] == {"userId": alice, "email": "a@example.com", "role": "user"}
    assert b.send(conversationId=conversation, content="Hello back!")["data"]["sequence"] == 2
    until(lambda: a.contents() == ["Hello! ä 🦀", "Hello back!"], "the answer")


def test_gets_are_answered_on_their_events(server, clients, transports):
    alice, _, _ = pair()
    a = clients(server.url, {"token": server.token(alice)}, transports)
    for name in ("notification", "connection", "conversation"):
        a.socket.emit(f"{name}:get", {})
        assert a.next(f"{name}:receive")["success"] is True
    assert {"userId": alice, "socketId": a.socket.get_sid()} in a.next("connection:receive")["data"]


def test_order_is_kept(server, clients, transports):
    alice, bob, conversation = pair()
    a = clients(server.url, {"token": server.token(alice)}, transports)
    b = clients(server.url, {"token": server.token(bob)}, transports)
    expected = [f"{n}" for n in range(100)]
    for content in expected:
        a.socket.emit("message:send", {"conversationId": conversation, "targetUserId": bob, "content": content})
    until(lambda: len(b.messages()) == 100 and len(a.messages()) == 100, "all messages")
    for client in (a, b):
        assert client.contents() == expected
        assert [message["sequence"] for message in client.messages()] == list(range(1, 101))


def test_a_client_with_a_cursor_gets_exactly_what_it_missed(server, clients, transports):
    alice, bob, conversation = pair()
    a = clients(server.url, {"token": server.token(alice)}, transports)
    b = clients(server.url, {"token": server.token(bob)}, transports)
    for n in range(5):
        a.send(conversationId=conversation, targetUserId=bob, content=f"{n}")
    until(lambda: len(b.messages()) == 5, "the first messages")
    cursor = b.messages()[2]["cursor"]
    b.socket.disconnect()
    for n in range(5, 10):
        a.send(conversationId=conversation, content=f"{n}")
    again = clients(server.url, {"token": server.token(bob), "cursor": cursor}, transports)
    assert again.contents() == [f"{n}" for n in range(3, 10)]
    assert again.next("stream:ready")["data"]["replayed"] == 7


def test_failures_come_in_the_ack(server, clients, transports):
    alice, _, conversation = pair()
    a = clients(server.url, {"token": server.token(alice)}, transports)
    answer = a.send(conversationId=conversation, content="x")
    assert answer["success"] is False
    assert answer["error"]["code"] == "not_found"
    assert a.socket.call("message:send", b"bytes", timeout=20)["error"]["code"] == "bad_request"
    assert a.socket.connected


def test_the_authorization_header_will_do(server, clients, transports):
    alice, _, _ = pair()
    headers = {"Authorization": f"Bearer {server.token(alice)}"}
    assert clients(server.url, None, transports, headers=headers).socket.connected


@pytest.mark.parametrize(
    ("auth", "message"),
    [
        ({}, "Authentication failed: No token provided"),
        ({"token": "nonsense"}, "Authentication failed: Invalid token"),
    ],
)
def test_a_bad_handshake_is_refused(server, transports, auth, message):
    client = socketio.Client(reconnection=False)
    refusals = []
    client.on("connect_error", refusals.append)
    with pytest.raises(socketio.exceptions.ConnectionError):
        client.connect(server.url, auth=auth, transports=transports, wait_timeout=20)
    until(lambda: refusals, "connect_error")
    assert message in str(refusals[0])
