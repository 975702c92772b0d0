"""The Studio: one page, one form for a typed voice and one for a recorded one."""

from flask import (
    Blueprint,
    Response,
    current_app,
    redirect,
    render_template,
    request,
    send_from_directory,
    url_for,
)
from flask.typing import ResponseReturnValue

from contracts.errors import LipSyncError
from contracts.jobs import JobView, Voice
from frontend import words
from frontend.answers import as_json
from frontend.options import NAMES, OF_SOME_ENGINES, OPTIONS
from frontend.relay import UploadForm, backend
from frontend.workplace import current_workplace
from lipsync_client.multipart import Part

blueprint = Blueprint("studio", __name__)

SAMPLE_TEXT = "Hello. I am only a photograph, yet here I am, speaking to you."
_WANTED = {
    "text": ("image", "text", "voice", "language", *NAMES),
    "audio": ("image", "audio", *NAMES),
}


@blueprint.get("/")
def show() -> ResponseReturnValue:
    """The empty form."""
    return _page()


@blueprint.get("/workplace")
def workplace() -> str:
    """What a page that stays open shows of the engines: the chip, and which one will render."""
    return render_template("studio/workplace.html", workplace=current_workplace())


@blueprint.post("/make/<any(text, audio):kind>")
def make(kind: str) -> ResponseReturnValue:
    """Pass the form on and lead to its job."""
    form = UploadForm(request, _WANTED[kind])
    try:
        job = form.submit(kind)
    except LipSyncError as error:
        if words.wants_json(request):
            raise
        # The files can't be put back into a form, the rest can.
        return _page(kind=kind, values=form.fields, error=error)
    return _to_job(job)


@blueprint.post("/make/sample")
def make_sample() -> ResponseReturnValue:
    """The sample face says the sample sentence; nobody's consent is needed."""
    portrait = current_app.config["SAMPLES_DIR"] / "portrait.jpg"
    parts = [Part.file("image", portrait), Part.field("text", SAMPLE_TEXT)]
    return _to_job(backend().submit_parts("text", parts))


@blueprint.get("/samples/portrait.jpg")
def sample_portrait() -> Response:
    """The sample face."""
    return send_from_directory(current_app.config["SAMPLES_DIR"], "portrait.jpg")


def _to_job(job: JobView) -> ResponseReturnValue:
    address = url_for("jobs.show", job_id=job.id)
    if words.wants_json(request):
        answer = as_json(job, 202)
        answer.headers["Location"] = address
        return answer
    return redirect(address, 303)


def _page(
    kind: str | None = None,
    values: dict[str, str] | None = None,
    error: LipSyncError | None = None,
) -> ResponseReturnValue:
    if kind is None:
        kind = "audio" if request.args.get("voice") == "upload" else "text"
    page = render_template(
        "studio/studio.html",
        current=kind,
        values=values or {},
        error=error,
        error_place=words.place(error) if error else None,
        languages=(languages := words.languages(_voices())),
        language_chosen=_language(languages, values),
        workplace=(workplace := current_workplace()),
        accepts=workplace.accepts,
        options=[
            (option, workplace.users(option.name))
            for option in OPTIONS
            if option.name not in OF_SOME_ENGINES or workplace.users(option.name)
        ],
        sample_text=SAMPLE_TEXT,
    )
    return page, error.http_status if error else 200


def _voices() -> list[Voice]:
    try:
        return backend().voices()
    except LipSyncError:
        # The chip says what is wrong; the form still offers the backend's own choice.
        return []


def _language(languages: list[words.Language], values: dict[str, str] | None) -> str | None:
    """The language to offer first: the one sent before, else the browser's, else English."""
    tags = [language.tag for language in languages]
    sent = (values or {}).get("language")
    return sent or request.accept_languages.best_match(tags, default="en")
