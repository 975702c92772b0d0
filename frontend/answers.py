"""Answers in two forms: a page for a person, JSON for a script."""

from flask import Response, jsonify, redirect, request
from flask.typing import ResponseReturnValue
from pydantic import BaseModel

from frontend import words


def as_json(model: BaseModel, status: int = 200) -> Response:
    """A wire type, as the backend shows it."""
    return Response(model.model_dump_json(), status, mimetype="application/json")


def to_page(address: str) -> ResponseReturnValue:
    """Lead to a page, once what was asked for is done; a script is told where."""
    if words.wants_json(request):
        return jsonify(location=address)
    return redirect(address, 303)
