"""The page of one job: how it does, then its video."""

from datetime import UTC, datetime
from urllib.parse import quote

from flask import Blueprint, Response, render_template, request
from flask.typing import ResponseReturnValue

from contracts.jobs import JobView
from frontend import words
from frontend.relay import backend, relay_download

blueprint = Blueprint("jobs", __name__, url_prefix="/jobs")


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
    return Response(backend().job(job_id).model_dump_json(), mimetype="application/json")


@blueprint.get("/<job_id>/video")
def video(job_id: str) -> Response:
    """The job's video, in ranges where asked for."""
    answer = relay_download(request, f"/jobs/{quote(job_id, safe='')}/video")
    answer.headers["Content-Disposition"] = f'inline; filename="{words.file_name(job_id)}"'
    answer.headers["Cache-Control"] = "private, max-age=3600"
    return answer


def _voice_name(job: JobView) -> str | None:
    """The name for people of the voice that spoke."""
    if job.voice is None:
        return None
    return next((voice.name for voice in backend().voices() if voice.id == job.voice), job.voice)
