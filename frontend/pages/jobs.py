"""The jobs: all of them in a list, and the page of each with its video."""

from contextlib import suppress
from datetime import UTC, datetime
from urllib.parse import quote

from flask import Blueprint, Response, render_template, request, url_for
from flask.typing import ResponseReturnValue

from contracts.errors import JobEnded, JobNotFound, JobNotRetriable
from contracts.jobs import JobView
from frontend import words
from frontend.answers import as_json, to_page
from frontend.live import relay_live
from frontend.relay import backend, relay_download

blueprint = Blueprint("jobs", __name__, url_prefix="/jobs")

PAGE_LENGTH = 20


@blueprint.get("")
def index() -> ResponseReturnValue:
    """The jobs, newest first."""
    page = backend().jobs(request.args.get("cursor"), limit=PAGE_LENGTH)
    return render_template("jobs/list.html", page=page, later="cursor" in request.args)


@blueprint.get("/<job_id>")
def show(job_id: str) -> ResponseReturnValue:
    """The page of one job."""
    job = backend().job(job_id)
    elapsed = ((job.finished_at or datetime.now(UTC)) - job.created_at).total_seconds()
    return render_template(
        "jobs/job.html",
        job=job,
        elapsed=max(0.0, elapsed),
        voice=_voice_name(job),
    )


@blueprint.get("/<job_id>.json")
def view(job_id: str) -> Response:
    """The job for scripts, as the backend shows it."""
    return as_json(backend().job(job_id))


@blueprint.get("/<job_id>/events")
def events(job_id: str) -> Response:
    """How the job does, as server-sent events."""
    return relay_live(request, f"{_path(job_id)}/events")


@blueprint.get("/<job_id>/stream")
def stream(job_id: str) -> Response:
    """The job's video from its first fragment, while it is rendered."""
    return relay_live(request, f"{_path(job_id)}/stream")


@blueprint.get("/<job_id>/video")
def video(job_id: str) -> Response:
    """The job's video, in ranges where asked for."""
    answer = relay_download(request, f"{_path(job_id)}/video")
    answer.headers["Content-Disposition"] = f'inline; filename="{words.file_name(job_id)}"'
    answer.headers["Cache-Control"] = "private, max-age=3600"
    return answer


@blueprint.get("/<job_id>/poster")
def poster(job_id: str) -> Response:
    """The job's first picture."""
    answer = relay_download(request, f"{_path(job_id)}/poster")
    # A job that is rendered anew has another.
    answer.headers["Cache-Control"] = "private, max-age=60"
    return answer


@blueprint.post("/<job_id>/cancel")
def cancel(job_id: str) -> ResponseReturnValue:
    """Stop the job."""
    try:
        job = backend().cancel(job_id)
    except JobEnded:
        # It came to its end in this moment, and its page says how.
        job = backend().job(job_id)
    return _acted(job)


@blueprint.post("/<job_id>/retry")
def retry(job_id: str) -> ResponseReturnValue:
    """Make the job once more."""
    try:
        job = backend().retry(job_id)
    except JobNotRetriable:
        # Two windows asked for it.
        job = backend().job(job_id)
    return _acted(job)


@blueprint.get("/<job_id>/delete")
def ask_to_delete(job_id: str) -> str:
    """Ask before the job is deleted, where no script does."""
    return render_template("ask.html", job=backend().job(job_id))


@blueprint.post("/<job_id>/delete")
def delete(job_id: str) -> ResponseReturnValue:
    """Remove the job and its files."""
    with suppress(JobNotFound):
        backend().delete(job_id)
    return to_page(url_for("jobs.index"))


def _acted(job: JobView) -> ResponseReturnValue:
    if words.wants_json(request):
        return as_json(job)
    if request.form.get("back") == "list":
        return to_page(url_for("jobs.index"))
    return to_page(url_for("jobs.show", job_id=job.id))


def _path(job_id: str) -> str:
    return f"/jobs/{quote(job_id, safe='')}"


def _voice_name(job: JobView) -> str | None:
    """The name for people of the voice that spoke."""
    if job.voice is None:
        return None
    return next((voice.name for voice in backend().voices() if voice.id == job.voice), job.voice)
