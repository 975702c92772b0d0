"""GPU hosts at the endpoints of an ngrok account, which need not be pasted."""

import logging
import threading
import time
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit

import requests
from pydantic import BaseModel, TypeAdapter, ValidationError

from backend.gpu.client import GpuClient
from backend.gpu.traffic import Traffic
from backend.gpu.usage import SPARED_QUESTIONS, Usage
from contracts.errors import InvalidInput, LipSyncError, NgrokRefused, NgrokUnreachable
from contracts.hosts import FoundGpuHost, FoundGpuHosts, host_url, is_loopback

log = logging.getLogger(__name__)

NGROK_API: Final = "https://api.ngrok.com"
FRESH_SECONDS: Final = 60.0
"""The account is asked at most so often, and only when somebody wants to know."""
WAIT_SECONDS: Final = 1.5
"""So long somebody who wants to know waits for the answer."""
MAX_ENDPOINTS: Final = 20
"""So many endpoints are asked; the free plan has 3."""
TIMEOUT_SECONDS: Final = 5.0


class _Endpoint(BaseModel):
    # ngrok names both; older answers have `public_url` alone.
    url: str = ""
    public_url: str = ""


class _Endpoints(BaseModel):
    endpoints: list[_Endpoint] = []


_ENDPOINTS = TypeAdapter(_Endpoints)


class _KeyHeader(requests.auth.AuthBase):
    # An auth object, because a header set by hand loses against a .netrc entry.
    def __init__(self, key: str) -> None:
        self._key = key

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._key}"
        return request


class Discovery:
    """Looks for GPU hosts in an ngrok account; safe to use from every thread.

    The account's own endpoints are asked over the rules of GPU hosts, not over those of `outbound`:
    nobody but the account's owner chooses them.

    Args:
        api_key: Of the account; empty looks for nothing.
        usage: Counts what passes to endpoints, and how often they may be asked.
        api_url: Where ngrok's API is; its own address where empty.
        clock: Seconds that only grow.
        allowed: Whether an endpoint's address may be asked.
    """

    def __init__(
        self,
        api_key: str,
        usage: Usage,
        api_url: str = "",
        *,
        clock: Callable[[], float] = time.monotonic,
        allowed: Callable[[str], bool] = lambda url: _is_public(url),
    ) -> None:
        self._api_key = api_key
        self._usage = usage
        self._api_url = (api_url or NGROK_API).rstrip("/")
        self._clock = clock
        self._allowed = allowed
        self._changed = threading.Condition()
        self._looking = False
        self._looked_at: float | None = None
        self._hosts: dict[str, FoundGpuHost] = {}
        self._error: LipSyncError | None = None

    def found(self, known: Collection[str]) -> FoundGpuHosts:
        """The hosts that answer, as of a minute ago at most.

        Args:
            known: Addresses of hosts that are there already; they are left out, and not asked.

        Raises:
            NgrokRefused: ngrok does not accept the API key.
            NgrokUnreachable: It can't be asked.
        """
        if not self._api_key:
            return FoundGpuHosts(configured=False)
        with self._changed:
            if self._is_due():
                self._looking = True
                threading.Thread(
                    target=self._look, args=[frozenset(known)], name="discovery", daemon=True
                ).start()
            self._changed.wait_for(lambda: not self._looking, WAIT_SECONDS)
            if self._error is not None and not self._looking:
                # One that is kept is never raised: it would hold on to all that it passed through.
                raise type(self._error)(self._error.detail, hint=self._error.hint)
            hosts = tuple(host for url, host in self._hosts.items() if url not in known)
            return FoundGpuHosts(configured=True, looking=self._looking, hosts=hosts)

    def _is_due(self) -> bool:
        fresh = self._looked_at is not None and self._clock() - self._looked_at < FRESH_SECONDS
        return not (self._looking or fresh)

    def _look(self, known: frozenset[str]) -> None:
        hosts: dict[str, FoundGpuHost] = {}
        error: LipSyncError | None = None
        try:
            urls = [url for url in self._endpoints() if url not in known]
            if urls:
                with ThreadPoolExecutor(max_workers=len(urls)) as pool:
                    answers = pool.map(self._ask, urls)
                    hosts = {host.url: host for host in answers if host is not None}
        except LipSyncError as failure:
            error = failure
        except Exception:
            # Else it would count as looking for ever.
            log.exception("looking for GPU hosts failed")
            error = NgrokUnreachable("looking for GPU hosts in the ngrok account failed")
        with self._changed:
            self._hosts, self._error = hosts, error
            self._looking, self._looked_at = False, self._clock()
            self._changed.notify_all()

    def _endpoints(self) -> list[str]:
        """The account's addresses that could be GPU hosts."""
        try:
            answer = requests.get(
                f"{self._api_url}/endpoints",
                params={"limit": "100"},
                auth=_KeyHeader(self._api_key),
                headers={"Ngrok-Version": "2"},
                timeout=TIMEOUT_SECONDS,
                allow_redirects=False,
            )
        except requests.RequestException as error:
            raise NgrokUnreachable(f"nobody answers at {self._api_url}") from error
        # Its own words are not passed on: they quote the key.
        if answer.status_code in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            raise NgrokRefused("ngrok does not accept BACKEND_NGROK_API_KEY")
        if answer.status_code == HTTPStatus.BAD_REQUEST:  # as to an authtoken, or half a key
            raise NgrokRefused("ngrok takes BACKEND_NGROK_API_KEY for no API key")
        if answer.status_code != HTTPStatus.OK:
            raise NgrokUnreachable(f"ngrok's API answers {answer.status_code}")
        try:
            listed = _ENDPOINTS.validate_json(answer.content).endpoints
        except ValidationError as error:
            raise NgrokUnreachable("ngrok's API answers with something unknown") from error
        urls = dict.fromkeys(_address(endpoint) for endpoint in listed)
        return [url for url in urls if url and self._allowed(url)][:MAX_ENDPOINTS]

    def _ask(self, url: str) -> FoundGpuHost | None:
        """The host at an address; None when there is none of ours."""
        before = self._hosts.get(url)
        # Added some time today, it has to be asked again.
        if not self._usage.may_ask(url, spared=SPARED_QUESTIONS):
            return before

        def meter(traffic: Traffic) -> None:
            self._usage.passed(url, traffic)

        try:
            # It tells how it does without a token, and gets none.
            health = GpuClient(url, "", meter=meter).health()
        except LipSyncError as error:
            log.debug("no GPU host at an endpoint: %s", error.detail)
            return None
        return FoundGpuHost(
            url=url,
            device=health.device,
            engines_ready=health.engines_ready,
            version=health.version,
        )


def _address(endpoint: _Endpoint) -> str:
    try:
        return host_url(endpoint.url or endpoint.public_url)
    except InvalidInput:  # such as tcp://
        return ""


def _is_public(url: str) -> bool:
    """Whether an endpoint can be reached from here: ngrok has internal ones, too."""
    hostname = urlsplit(url).hostname or ""
    return (
        url.startswith("https:")
        and not is_loopback(hostname)
        and not hostname.endswith(".internal")
    )
