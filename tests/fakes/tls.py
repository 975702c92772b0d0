"""TLS on loopback without a certificate, so that no key has to be kept here."""

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from backend.gpu.wire import Wire

_ANONYMOUS = "AECDH-AES128-SHA:@SECLEVEL=0"


def _context(protocol: int) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.maximum_version = ssl.TLSVersion.TLSv1_2  # the last with anonymous ciphers
    context.set_ciphers(_ANONYMOUS)
    return context


class AnonymousWire(Wire):
    """Talks to `tls_server`; requests over it need `verify=False`."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Open connections that ask for no certificate."""
        context = _context(ssl.PROTOCOL_TLS_CLIENT)
        super().init_poolmanager(*args, ssl_context=context, **kwargs)


@contextmanager
def tls_server(serve: Callable[[ssl.SSLSocket], None]) -> Iterator[str]:
    """The address of a server whose only connection is given to `serve`, then closed."""

    def accept() -> None:
        with suppress(OSError):
            connection = listener.accept()[0]
            with _context(ssl.PROTOCOL_TLS_SERVER).wrap_socket(connection, server_side=True) as tls:
                serve(tls)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(30)
        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield f"https://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            thread.join()
