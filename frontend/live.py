"""Answers of the backend that stay open: a job's events, and its video while it grows."""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import requests
from flask import Request, Response

from frontend.relay import backend, with_headers_of
from lipsync_client.multipart import CHUNK_BYTES

CHECK_SECONDS = 0.5

logger = logging.getLogger(__name__)


class OpenAnswers:
    """Lets go of answers whose browser has left.

    An open answer holds a thread that waits for the backend's next byte, which may come in a minute
    or never; it would notice only then that nobody reads any more. So one thread looks after all.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._gone: dict[requests.Response, Callable[[], bool]] = {}
        self._watched = False

    @contextmanager
    def watched(self, answer: requests.Response, gone: Callable[[], bool]) -> Iterator[None]:
        """End the reading of this answer once its reader is gone."""
        with self._lock:
            self._gone[answer] = gone
            if not self._watched:
                self._watched = True
                threading.Thread(target=self._watch, name="open-answers", daemon=True).start()
        try:
            yield
        finally:
            with self._lock:
                del self._gone[answer]

    def _watch(self) -> None:
        pause = threading.Event()
        while not pause.wait(CHECK_SECONDS):
            with self._lock:
                if not self._gone:
                    self._watched = False
                    return
                for answer in [answer for answer, gone in self._gone.items() if gone()]:
                    # It may have come to its end by itself this moment.
                    with suppress(OSError, RuntimeError, ValueError):
                        answer.raw.shutdown()


_open_answers = OpenAnswers()


def relay_live(request: Request, path: str) -> Response:
    """The backend's answer to a GET, passed on as it comes.

    Where the backend breaks it off, the browser's breaks off too, and has no clean end.
    """
    asked = {"Accept-Encoding": "identity"}
    if last := request.headers.get("Last-Event-ID"):
        asked["Last-Event-ID"] = last
    answer = backend().send("GET", path, headers=asked)
    gone = request.environ.get("waitress.client_disconnected", lambda: False)
    response = Response(_chunks(answer, gone), status=answer.status_code)
    # A proxy before the pages must not collect what is meant to be seen at once.
    response.headers["X-Accel-Buffering"] = "no"
    return with_headers_of(answer, response)


def _chunks(answer: requests.Response, gone: Callable[[], bool]) -> Iterator[bytes]:
    with _open_answers.watched(answer, gone):
        try:
            yield from answer.iter_content(CHUNK_BYTES)
        except requests.RequestException as error:
            if not gone():
                logger.info("the backend's answer broke off: %s", error)
            raise
