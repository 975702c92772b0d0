"""Where a post may go, and how long it may take."""

import http.client
import socket
import threading
from contextlib import contextmanager

import pytest

from backend import outbound
from backend.outbound import AddressRefused, is_public, post
from tests.fakes.scripted_server import answer, scripted

FORBIDDEN = [
    "127.0.0.1",
    "127.8.9.1",
    "0.0.0.0",  # noqa: S104
    "0.1.2.3",
    "10.1.2.3",
    "172.16.0.1",
    "172.31.255.254",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "192.0.0.192",
    "192.0.2.1",
    "192.88.99.1",
    "198.18.0.1",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::7f00:1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:0.0.0.0",
    "fc00::1",
    "fd12:3456::1",
    "fe80::1",
    "fe80::1%1",
    "fec0::1",
    "ff02::1",
    "2001:db8::1",
    "3fff::1",
    "2002:7f00:1::",
    "2001:0:7f00:1::",
    "64:ff9b::7f00:1",
    "64:ff9b::10.0.0.1",
    "64:ff9b:1::8.8.8.8",
]


@pytest.mark.parametrize("address", FORBIDDEN)
def test_an_address_within_is_not_public(address):
    assert not is_public(address)


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "172.32.0.1", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8"]
)
def test_an_address_of_the_internet_is_public(address):
    assert is_public(address)


class Lookups:
    """Leads every name to one of the addresses after the other."""

    def __init__(self, monkeypatch, *answers):
        self.answers = list(answers)
        monkeypatch.setattr(socket, "getaddrinfo", self)

    def __call__(self, host, port, *_, **__):
        addresses = self.answers.pop(0)
        return [
            (
                socket.AF_INET6 if ":" in each else socket.AF_INET,
                socket.SOCK_STREAM,
                6,
                "",
                (each, port),
            )
            for each in addresses
        ]


@pytest.fixture
def _short(monkeypatch):
    monkeypatch.setattr(outbound, "TRY_SECONDS", 1.0)


def port_of(server):
    return server.url.rpartition(":")[2]


def test_what_is_posted_arrives_and_the_status_is_told():
    with scripted(answer(status="204 No Content")) as server:
        assert post(f"{server.url}/a/b?c=d&e#f", b"body", {"X-A": "b"}, private=True) == 204
    assert server.requests[0].startswith("POST /a/b?c=d&e HTTP/1.1\r\n")
    assert "X-A: b\r\n" in server.requests[0]
    assert server.bodies == [b"body"]


def test_an_address_without_a_path_is_posted_to_its_root():
    with scripted(answer()) as server:
        assert post(f"{server.url}?a", b"", {}, private=True) == 200
    assert server.requests[0].startswith("POST /?a HTTP/1.1\r\n")


def test_a_redirect_is_not_followed(connects):
    with scripted(answer()) as trap:
        redirect = answer(status="307 Temporary Redirect", Location=trap.url)
        with scripted(redirect) as server:
            assert post(server.url, b"secret", {}, private=True) == 307
    assert trap.requests == []
    assert [port for _, port, *_ in connects] == [int(port_of(server))]


def test_a_proxy_from_the_environment_is_not_used(monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    with scripted(answer()) as server:
        assert post(server.url, b"", {}, private=True) == 200


@pytest.mark.parametrize(
    "addresses", [["10.0.0.7"], ["8.8.8.8", "127.0.0.1"], ["::1", "2606:4700::1111"]]
)
def test_a_name_that_leads_within_is_refused_unconnected(monkeypatch, connects, addresses):
    Lookups(monkeypatch, addresses)
    with pytest.raises(AddressRefused, match=r"receiver\.example"):
        post("http://receiver.example/", b"", {}, private=False)
    assert connects == []


def test_the_name_is_looked_up_once_and_the_address_that_was_checked_is_dialled(
    monkeypatch, connects
):
    lookups = Lookups(monkeypatch, ["127.0.0.9"], ["127.0.0.1"], ["127.0.0.1"])
    monkeypatch.setattr(outbound, "is_public", lambda address: address == "127.0.0.9")
    with socket.create_server(("127.0.0.1", 0)) as trap:
        port = trap.getsockname()[1]
        with pytest.raises(OSError, match="refused"):
            post(f"http://rebinding.example:{port}/", b"", {}, private=False)
    assert connects == [("127.0.0.9", port)]
    assert len(lookups.answers) == 2


def test_of_several_addresses_the_next_is_tried_and_the_name_is_kept(monkeypatch):
    Lookups(monkeypatch, ["127.0.0.9", "127.0.0.1"])
    with scripted(answer()) as server:
        url = f"http://receiver.example:{port_of(server)}/"
        assert post(url, b"", {}, private=True) == 200
    assert f"Host: receiver.example:{port_of(server)}\r\n" in server.requests[0]


def test_over_tls_the_name_is_asked_for_and_a_stranger_gets_nothing(monkeypatch):
    Lookups(monkeypatch, ["127.0.0.1"])
    heard = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def listen():
            with listener.accept()[0] as connection:
                heard.append(connection.recv(4096))

        thread = threading.Thread(target=listen)
        thread.start()
        port = listener.getsockname()[1]
        with pytest.raises(OSError, match=r"(?i)ssl|eof|reset"):
            post(f"https://receiver.example:{port}/", b"secret", {}, private=True)
        thread.join()
    assert b"receiver.example" in heard[0]
    assert b"secret" not in heard[0]


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.usefixtures("_short")
def test_one_who_says_nothing_is_left(scheme):
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        pytest.raises(TimeoutError),
    ):
        post(f"{scheme}://127.0.0.1:{listener.getsockname()[1]}/", b"", {}, private=True)


@contextmanager
def dripping(beginning):
    """The address of one whose answer never ends, and whether it was left."""
    left = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def drip():
            with listener.accept()[0] as connection:
                connection.sendall(beginning)
                while not left.wait(0.02):
                    try:
                        connection.send(b"x")
                    except OSError:
                        left.set()

        thread = threading.Thread(target=drip)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/", left
        thread.join(30)


@pytest.mark.usefixtures("_short")
def test_one_who_answers_byte_by_byte_is_left():
    with (
        dripping(b"HTTP/1.1 200 OK\r\nX: ") as (url, left),
        pytest.raises((OSError, http.client.HTTPException)),
    ):
        post(url, b"", {}, private=True)
    assert left.is_set()


@pytest.mark.parametrize("said", ["Connection: close", "Content-Length: 1000000"])
def test_nobody_waits_for_what_follows_the_status(said):
    with dripping(f"HTTP/1.1 200 OK\r\n{said}\r\n\r\n".encode()) as (url, left):
        assert post(url, b"", {}, private=True) == 200
    assert left.is_set()


@pytest.mark.parametrize("babble", [b"", b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 999999 \r\n\r\n"])
def test_what_is_no_answer_is_an_error(babble):
    with scripted(babble) as server, pytest.raises(http.client.HTTPException):
        post(server.url, b"", {}, private=True)
