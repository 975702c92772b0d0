"""The GPU hosts: how each does, which are found in the ngrok account, and a form that adds one."""

from contextlib import suppress
from typing import NamedTuple

from flask import Blueprint, render_template, request, url_for
from flask.typing import ResponseReturnValue

from contracts.errors import GpuHostNotFound, InvalidInput, LipSyncError
from contracts.hosts import FoundGpuHosts, GpuHostView, host_url
from frontend import words
from frontend.answers import to_page
from frontend.relay import backend

blueprint = Blueprint("hosts", __name__, url_prefix="/hosts")


class Found(NamedTuple):
    """What the ngrok account has, or why that can't be said."""

    account: FoundGpuHosts = FoundGpuHosts(configured=True)
    error: LipSyncError | None = None


FIELDS = ("connection", "url", "token", "name")


@blueprint.get("")
def index() -> ResponseReturnValue:
    """The hosts and the form."""
    return render_template(
        "hosts/hosts.html", hosts=backend().gpu_hosts(), found=_found(), values={}
    )


@blueprint.post("")
def add() -> ResponseReturnValue:
    """Add a host."""
    sent = {name: request.form.get(name, "").strip() for name in FIELDS}
    try:
        if not (sent["connection"] or sent["url"]):
            raise InvalidInput(
                "no GPU host was named",
                hint="Paste its connection string, or give its address and token.",
                field="connection",
            )
        host = backend().add_gpu_host(**sent)
    except LipSyncError as error:
        if words.wants_json(request):
            raise
        # Secrets are typed again: nothing that was sent as one is ever shown.
        kept = {"name": sent["name"], "url": _without_secrets(sent["url"])}
        page = render_template(
            "hosts/hosts.html",
            hosts=_hosts(),
            found=_found(),
            values=kept,
            error=error,
            place=_place(error, sent),
        )
        return page, error.http_status
    return to_page(url_for("hosts.index", _anchor=f"host-{host.id}"))


def _without_secrets(address: str) -> str:
    """An address as it was typed; empty where it holds more than one."""
    try:
        host_url(address)
    except InvalidInput:
        return ""
    return address


@blueprint.get("/<host_id>/remove")
def ask_to_remove(host_id: str) -> str:
    """Ask before the host is removed, where no script does."""
    host = next((host for host in backend().gpu_hosts() if host.id == host_id), None)
    if host is None:
        raise GpuHostNotFound("this GPU host is not there any more")
    return render_template("ask.html", host=host)


@blueprint.post("/<host_id>/remove")
def remove(host_id: str) -> ResponseReturnValue:
    """Give the host no more work, and forget it."""
    with suppress(GpuHostNotFound):
        backend().remove_gpu_host(host_id)
    return to_page(url_for("hosts.index"))


def _hosts() -> list[GpuHostView]:
    try:
        return backend().gpu_hosts()
    except LipSyncError:
        # What is wrong is said already, where the host could not be added.
        return []


def _found() -> Found:
    try:
        return Found(backend().found_gpu_hosts())
    except LipSyncError as error:
        return Found(error=error)


def _place(error: LipSyncError, sent: dict[str, str]) -> str:
    """The field beside which an error stands."""
    if error.field in FIELDS:
        return error.field
    return "connection" if sent["connection"] else "url"
