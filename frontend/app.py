"""create_app: the pages, their error answers and the headers that keep them to themselves."""

import logging
from http import HTTPStatus

from flask import Flask, Response, jsonify, render_template, request
from flask.typing import ResponseReturnValue
from flask_bootstrap import Bootstrap5
from flask_wtf.csrf import CSRFError, CSRFProtect
from werkzeug.exceptions import HTTPException, SecurityError

from contracts import limits
from contracts.errors import LipSyncError
from contracts.problem import PROBLEM_JSON, ErrorBody
from frontend import words
from frontend.pages import hosts, jobs, studio
from frontend.settings import Settings
from lipsync_client import LipSync

logger = logging.getLogger(__name__)

_SECURITY_HEADERS = {
    # `data:` is for the icons inside Bootstrap's style sheet, `blob:` for previews of chosen files.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
        "media-src 'self' blob:; connect-src 'self'; form-action 'self'; base-uri 'none'; "
        "frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def create_app(settings: Settings | None = None) -> Flask:
    """The frontend as a WSGI application.

    Args:
        settings: Read from the environment when None.
    """
    settings = settings or Settings()
    app = Flask(__name__)
    app.config.update(
        SECRET_KEY=settings.session_key(),
        SESSION_COOKIE_NAME="lipsync",
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        TRUSTED_HOSTS=settings.trusted_hosts,
        # The token lives as long as the session: a page may stay open for hours.
        WTF_CSRF_TIME_LIMIT=None,
        BOOTSTRAP_SERVE_LOCAL=True,
        SAMPLES_DIR=settings.samples_dir,
    )
    app.extensions["lipsync"] = LipSync(
        settings.backend_url, settings.backend_token.get_secret_value()
    )
    Bootstrap5(app)
    csrf = CSRFProtect(app)
    # CSRFProtect would read the whole upload to find the token; UploadForm checks it in passing.
    csrf.exempt(studio.make)
    app.jinja_env.globals.update(limits=limits, words=words)
    app.register_blueprint(studio.blueprint)
    app.register_blueprint(jobs.blueprint)
    app.register_blueprint(hosts.blueprint)
    app.add_url_rule("/health", view_func=lambda: jsonify(status="ok"), endpoint="health")
    app.after_request(_with_security_headers)
    app.register_error_handler(LipSyncError, _lipsync_error)
    app.register_error_handler(CSRFError, _csrf_error)
    app.register_error_handler(HTTPException, _http_error)
    return app


def _with_security_headers(response: Response) -> Response:
    response.headers.update(_SECURITY_HEADERS)
    # Static files and videos say for themselves how long they may be kept.
    response.headers.setdefault("Cache-Control", "no-store")
    return response


def _lipsync_error(error: LipSyncError) -> ResponseReturnValue:
    logger.info("%s %s: %s", error.request_id or "-", error.code, error.detail)
    return error_answer(error.body())


def _csrf_error(error: CSRFError) -> ResponseReturnValue:
    body = ErrorBody(
        title="This page has expired",
        status=400,
        detail="The form could not be matched to your visit, so nothing was sent.",
        code="FORM_EXPIRED",
        hint="Load the page again, with cookies allowed, and send the form once more.",
    )
    logger.info("form refused: %s", error.description)
    return error_answer(body)


def _http_error(error: HTTPException) -> ResponseReturnValue:
    if error.code is None or error.code < 400:
        return error
    if isinstance(error, SecurityError):
        # Raised for a foreign host name, for which no address can be built, so not by a page.
        words_alone = (
            "Open the page at the address that was printed at its start, "
            "or name this host in FRONTEND_ALLOWED_HOSTS.\n"
        )
        return Response(words_alone, 400, mimetype="text/plain")
    status = HTTPStatus(error.code)
    title, hint = words.STATUS.get(status, ("Something went wrong", "Go back and try again."))
    body = ErrorBody(title=title, status=status, detail=title + ".", code=status.name, hint=hint)
    return error_answer(body)


def error_answer(body: ErrorBody) -> ResponseReturnValue:
    """An error as a page, or as problem details for a script that asks for JSON."""
    if words.wants_json(request):
        return Response(body.model_dump_json(), status=body.status, mimetype=PROBLEM_JSON)
    return render_template("errors/error.html", error=body), body.status
