"""Posting to addresses that callers chose: to public ones only, once, and not for long."""

import http.client
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Iterable
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

from requests.utils import DEFAULT_CA_BUNDLE_PATH

TRY_SECONDS: Final = 10.0
"""How long one post may take, from the connection to the end of the answer's head."""

_NAT64 = ipaddress.ip_network("64:ff9b::/96")
# Protocols' own, relays of 6to4, documentation: not every Python knows that these are special.
_SPECIAL = tuple(map(ipaddress.ip_network, ("192.0.0.0/24", "192.88.99.0/24", "3fff::/20")))


class AddressRefused(Exception):
    """The name leads to an address that only this machine or its network reaches."""


def post(url: str, body: bytes, headers: dict[str, str], *, private: bool) -> int:
    """Post once; follows no redirect, and uses no proxy.

    Args:
        url: An http or https address.
        body: What to post.
        headers: What goes with it.
        private: Whether private and loopback addresses may be reached.

    Returns:
        The answer's status.

    Raises:
        AddressRefused: They may not, and this is one; nothing was connected to.
        OSError: Nobody answers, or not in time.
        http.client.HTTPException: What came is no answer.
    """
    parts = urlsplit(url)
    connection = _Connection(parts, private)
    # Each read has a time-out of its own, so one who answers byte by byte would never end.
    end = threading.Timer(TRY_SECONDS + 0.5, connection.abort)
    end.start()
    try:
        path = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
        connection.request("POST", path, body, headers)
        status = connection.getresponse().status
        if connection.aborted:  # its end was taken for that of the answer's head
            raise TimeoutError(f"it took longer than {TRY_SECONDS:.0f} s")
        return status
    finally:
        end.cancel()
        connection.close()


def is_public(address: str) -> bool:
    """Whether an IP address is one that everybody may reach."""
    ip = ipaddress.ip_address(address)
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            ip = ip.ipv4_mapped
        elif ip in _NAT64:
            ip = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        elif ip.sixtofour or ip.teredo or ip.is_site_local:
            return False
    special = ip.is_multicast or ip.is_reserved or any(ip in network for network in _SPECIAL)
    return ip.is_global and not special


class _Connection(http.client.HTTPConnection):
    """Connects to the very address that was checked, whatever the name leads to afterwards."""

    def __init__(self, parts: SplitResult, private: bool) -> None:
        self._tls = parts.scheme == "https"
        if self._tls:
            self.default_port = http.client.HTTPS_PORT
        port = parts.port or self.default_port
        super().__init__(parts.hostname or "", port, timeout=TRY_SECONDS)
        self._private = private
        self._deadline = time.monotonic() + TRY_SECONDS
        self.aborted = False

    def connect(self) -> None:
        found = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
        if not self._private and not all(is_public(str(address[0])) for *_, address in found):
            raise AddressRefused(f"{self.host} leads to a private address")
        self.sock = self._dial(found)
        if self._tls:
            context = ssl.create_default_context()
            context.load_verify_locations(DEFAULT_CA_BUNDLE_PATH)
            # Two steps, so that `abort` ends a handshake too.
            secured = context.wrap_socket(
                self.sock, server_hostname=self.host, do_handshake_on_connect=False
            )
            self.sock = secured
            secured.do_handshake()

    def _dial(self, found: Iterable[tuple[int, int, int, str, Any]]) -> socket.socket:
        failure: OSError = TimeoutError("nobody answered in time")
        for family, kind, protocol, _, address in found:
            if (seconds := self._deadline - time.monotonic()) <= 0:
                break
            dialled = socket.socket(family, kind, protocol)
            dialled.settimeout(seconds)
            try:
                dialled.connect(address)
                return dialled
            except OSError as error:
                dialled.close()
                failure = error
        raise failure

    def abort(self) -> None:
        """End whatever it waits for; called from another thread."""
        self.aborted = True
        try:
            # SSLSocket's own would take the encryption away from whoever reads at this moment.
            socket.socket.shutdown(self.sock, socket.SHUT_RDWR)
        except (OSError, TypeError):  # there is none any more
            return
