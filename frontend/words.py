"""Plain words for what the backend calls by short names."""

from collections.abc import Sequence
from http import HTTPStatus

from flask import Request

from contracts.jobs import JobStage, JobView, Voice

STAGES = {
    JobStage.WAITING: "Waiting for its turn",
    JobStage.SPEAKING: "Speaking the text",
    JobStage.PREPARING: "Finding the face",
    JobStage.RENDERING: "Moving the mouth",
    JobStage.FINISHING: "Finishing the video",
    JobStage.DONE: "Done",
}
"""What a job is doing."""

SECONDS = {
    "speak": "Speaking the text",
    "decode": "Reading the files",
    "track": "Finding the face",
    "prepare": "Preparing the face",
    "render": "Moving the mouth",
    "encode": "Writing the picture and the sound",
    "finish": "Finishing the video",
}
"""Where a job's time went, in order."""

STATUS = {
    HTTPStatus.BAD_REQUEST: (
        "The browser sent something that can't be understood here",
        "Open the page at the address that the program printed at its start.",
    ),
    HTTPStatus.NOT_FOUND: ("There is no page here", "Check the address, or start at the studio."),
    HTTPStatus.METHOD_NOT_ALLOWED: (
        "This address is not for opening directly",
        "Start at the studio and use the form there.",
    ),
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: (
        "The form is too large",
        "Send at most 100 MB in one go; compress or shorten the files.",
    ),
}
"""Title and hint of errors that are not the backend's."""

_FACE_CODES = {"FACE_KIND_UNSUPPORTED", "IMAGE_TOO_LARGE", "NO_FACE_FOUND", "FACE_TOO_SMALL"}
_VOICE_CODES = {
    "TEXT_REJECTED",
    "TEXT_TOO_LONG",
    "VOICE_NOT_FOUND",
    "SPEECH_FAILED",
    "SPEECH_TOO_LONG",
    "SPEECH_EMPTY",
    "SOUND_MISSING",
}


def place(code: str) -> str:
    """The part of the form where an error belongs: `face`, `voice`, `make` or `consent`."""
    if code in _FACE_CODES:
        return "face"
    if code in _VOICE_CODES:
        return "voice"
    return "consent" if code == "CONSENT_MISSING" else "make"


def seconds(value: float) -> str:
    """A span of time as people say it: `4.2 s`, `1 min 5 s`."""
    if value < 60:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes} min {rest} s"


def wants_json(request: Request) -> bool:
    """Whether a script asks, not a person's browser."""
    if request.path.endswith(".json"):
        return True
    best = request.accept_mimetypes.best_match(["text/html", "application/json"])
    return best == "application/json"


def device(name: str) -> str:
    """Where an engine computes."""
    return "CPU" if name == "cpu" else "GPU" if name.startswith("cuda") else name


def language(voices: Sequence[Voice]) -> str:
    """The name of the language that these voices speak, taken from a voice's own name."""
    return voices[0].name.split(" (")[0]


def recorded(job: JobView) -> bool:
    """Whether the speech came as a recording, as far as it is known yet."""
    return job.voice is None and job.stage not in (JobStage.WAITING, JobStage.SPEAKING)


def when(stage: JobStage, now: JobStage) -> str:
    """Whether a stage is `past`, `now` or `next`."""
    order = list(STAGES)
    if stage == now:
        return "now"
    return "past" if order.index(stage) < order.index(now) else "next"
