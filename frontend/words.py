"""Plain words for what the backend calls by short names."""

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from http import HTTPStatus
from typing import NamedTuple
from urllib.parse import urlsplit

from flask import Request

from contracts.errors import LipSyncError, TunnelFailed
from contracts.hosts import GpuHostView, is_loopback
from contracts.jobs import JobStage, JobState, JobView, Voice
from contracts.lipsync import EngineStatus, RenderReport
from contracts.versions import API_VERSION
from frontend.options import NAMES

STAGES = {
    JobStage.WAITING: "Waiting for its turn",
    JobStage.SPEAKING: "Speaking the text",
    JobStage.UPLOADING: "Sending the files",
    JobStage.PREPARING: "Finding the face",
    JobStage.RENDERING: "Moving the mouth",
    JobStage.FINISHING: "Finishing the video",
    JobStage.DONE: "Done",
}
"""What a job is doing."""

ENDS = {
    JobState.SUCCEEDED: "Done",
    JobState.FAILED: "Failed",
    JobState.CANCELLED: "Cancelled",
}
"""How a job has ended."""

SECONDS = {
    "speak": "Speaking the text",
    "upload": "Sending the files",
    "decode": "Reading the files",
    "track": "Finding the face",
    "prepare": "Preparing the face",
    "render": "Moving the mouth",
    "compose": "Putting the mouth into the picture",
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

DEVICES = {"cpu": "CPU", "cuda": "GPU"}
RUNTIMES = {"torch": "PyTorch", "openvino": "OpenVINO", "onnx": "ONNX Runtime"}
"""What engines run on."""

NETWORKS = {"wav2lip_gan": "wav2lip_gan: sharper", "wav2lip": "wav2lip: most exact lips"}
"""Trained networks, with what sets them apart."""

FIELDS = {
    "image": "face",
    "audio": "voice",
    "text": "voice",
    "voice": "voice",
    "language": "voice",
    **{name: f"option-{name}" for name in NAMES},
}
"""The part of the form where a field is, for errors that name theirs; an option is its own."""

OPTIONS = frozenset(FIELDS[name] for name in NAMES)
"""Parts of the form that are folded away."""

PLACES = {
    "FACE_KIND_UNSUPPORTED": "face",
    "IMAGE_TOO_LARGE": "face",
    "NO_FACE_FOUND": "face",
    "FACE_TOO_SMALL": "face",
    "TEXT_REJECTED": "voice",
    "TEXT_TOO_LONG": "voice",
    "VOICE_NOT_FOUND": "voice",
    "SPEECH_FAILED": "voice",
    "SPEECH_TOO_LONG": "voice",
    "SPEECH_EMPTY": "voice",
    "SOUND_MISSING": "voice",
    "CONSENT_MISSING": "consent",
    "ENGINE_NOT_FOUND": "option-engine",
    "ENGINE_UNAVAILABLE": "option-engine",
    "CHECKPOINT_MISSING": "option-engine",
    "CHECKPOINT_MISMATCH": "option-engine",
}
"""The part of the form where other errors belong; the rest stands by the button (`make`)."""


ASK_DELETE = "The video and the files it was made from are removed, and can't be brought back."
ASK_REMOVE = "{} gets no more work, and its token is forgotten."
"""What is asked before something is removed."""


PLAIN = (
    "A plain Wav2Lip host: no progress, nothing to watch while it renders, no options, no queue. "
    "What is cancelled may be rendered to its end there. It gets work when no other host has room."
)
"""What a host can't do that offers only `POST /run-wav2lip`."""

FREE_REQUESTS = 20_000
FREE_GIGABYTES = 1
"""What ngrok's free plan lets pass in a month."""
_NGROK = re.compile(r"(^|\.)ngrok(-free)?\.[a-z]+$")


class Language(NamedTuple):
    """A language that can be spoken."""

    name: str
    tag: str
    """As given in the `language` field."""
    voices: list[Voice]


class Health(NamedTuple):
    """How a GPU host does, in words."""

    well: bool
    """Whether it gets jobs."""
    said: str
    again: str = ""
    """How long it gets none."""


def health(host: GpuHostView) -> Health:
    """How a GPU host does."""
    if host.checked_at is None:
        return Health(True, "not asked yet")
    again = until(host.next_try_at) if host.next_try_at else ""
    if not host.healthy:
        tunnel = host.error is not None and host.error.code == TunnelFailed.code
        answer = host.error.title if host.error else "does not answer"
        return Health(False, "only its tunnel answers" if tunnel else answer, again)
    if host.draining:
        return Health(False, "is being stopped, and takes no new videos")
    if again:
        return Health(False, "answers, but failed a moment ago", again)
    if host.running >= host.capacity:
        return Health(True, "busy")
    return Health(True, "ready")


def passed(host: GpuHostView) -> str:
    """What has passed this month to a host beyond this computer; empty where that is of no matter.

    `412 requests and 38 MB this month; ngrok's free plan allows 20,000 and 1 GB`
    """
    hostname = urlsplit(host.url).hostname or ""
    if host.usage is None or is_loopback(hostname):
        return ""
    said = f"{_number(host.usage.requests, 'request')} and {size(host.usage.received_bytes)}"
    said += " received this month"
    if _NGROK.search(hostname):
        said += f"; ngrok's free plan allows {FREE_REQUESTS:,} and {FREE_GIGABYTES} GB"
    return said


def version(host: GpuHostView) -> str:
    """Which version a host has, and how far its interface is from that of the backend, if it is."""
    said = f"version {host.version}" if host.version else ""
    if host.api and host.api != str(API_VERSION):
        theirs = f"interface {host.api}, the backend's {API_VERSION}"
        said = f"{said} ({theirs})" if said else theirs
    return said


def size(num_bytes: int) -> str:
    """A number of bytes as people say it: `38 MB`, `1.2 GB`."""
    if num_bytes < 999_500:
        return f"{round(num_bytes / 1000)} kB"
    if num_bytes < 999_500_000:
        return f"{round(num_bytes / 1e6)} MB"
    return f"{num_bytes / 1e9:.1f} GB"


def _number(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def languages(voices: Iterable[Voice]) -> list[Language]:
    """The voices by language, by name.

    Voices name their language in plain words before the first comma or bracket, and tag it each in
    its own way (`zh-CN`, `cmn`); so the name decides, and the first voice gives the tag.
    """
    groups: dict[str, list[Voice]] = {}
    for voice in voices:
        groups.setdefault(re.split(r",| \(", voice.name)[0], []).append(voice)
    return [
        Language(name, group[0].language.partition("-")[0], group)
        for name, group in sorted(groups.items())
    ]


def sentence(text: str) -> str:
    """The text with a capital and a full stop."""
    text = text.strip()
    if not text:
        return ""
    return text[0].upper() + text[1:] + ("" if text[-1] in ".!?" else ".")


def where(url: str) -> str:
    """The machine that does the work."""
    host = urlsplit(url).hostname or url
    return "This computer" if host in ("localhost", "127.0.0.1", "::1") else host


def runs_on(engine: EngineStatus) -> str:
    """What an engine runs on and how fast it was, in words."""
    said = [DEVICES.get(engine.device, engine.device)] if engine.device else []
    if engine.runtime != "built-in":
        said += [RUNTIMES.get(engine.runtime, engine.runtime), engine.precision]
    if engine.real_time is not None:
        said.append(speed(engine.real_time))
    return " · ".join(said)


def speed(real_time: float) -> str:
    """How fast an engine renders: `2.7 × real time`."""
    return f"{real_time:.1f} × real time" if real_time < 10 else f"{real_time:.0f} × real time"


def seconds(value: float) -> str:
    """A span of time as people say it: `4.2 s`, `1 min 5 s`."""
    if value < 60:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes} min {rest} s"


def place(error: LipSyncError) -> str:
    """The part of the form where an error stands."""
    return FIELDS.get(error.field) or PLACES.get(error.code, "make")


def file_name(job_id: str) -> str:
    """What a video is called on the disk of the person who keeps it."""
    return f"lipsync-{re.sub('[^A-Za-z0-9]', '', job_id)[:8]}.mp4"


def wants_json(request: Request) -> bool:
    """Whether a script asks, not a person's browser."""
    if request.path.endswith(".json"):
        return True
    best = request.accept_mimetypes.best_match(["text/html", "application/json"])
    return best == "application/json"


def now(job: JobView) -> str:
    """What a job is doing, or how it has ended."""
    if job.state == JobState.QUEUED:
        return STAGES[JobStage.WAITING]
    return ENDS.get(job.state) or STAGES[job.stage]


def worth_retrying(job: JobView) -> bool:
    """Whether the same once more may end better: what was sent is not at fault."""
    if job.state == JobState.FAILED:
        return job.error is None or job.error.status >= 500
    return job.state == JobState.CANCELLED


def left(job: JobView) -> str:
    """How long the job still takes, where that is known: `about 12 s left`."""
    if job.state != JobState.RUNNING or job.seconds_left is None:
        return ""
    return f"about {whole_seconds(max(1.0, job.seconds_left))} left"


def whole_seconds(value: float) -> str:
    """A span of time that is only roughly known: `12 s`, `1 min 5 s`."""
    minutes, rest = divmod(round(value), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def ago(moment: datetime) -> str:
    """When something was, seen from now: `5 min ago`."""
    passed = (datetime.now(UTC) - moment).total_seconds()
    for unit, length in (("days", 86_400), ("h", 3600), ("min", 60)):
        if passed >= length:
            number = int(passed // length)
            return f"{number} {'day' if (unit, number) == ('days', 1) else unit} ago"
    return "just now"


def until(moment: datetime) -> str:
    """How long it is to a moment: `40 s`."""
    return whole_seconds(max(1.0, (moment - datetime.now(UTC)).total_seconds()))


def without_face(report: RenderReport) -> list[str]:
    """The parts of a video that had no face, in seconds: `3.2 s to 4.8 s`."""
    return [
        f"{clock(each.first / report.fps)} to {clock((each.last + 1) / report.fps)}"
        for each in report.frames_without_face
    ]


def clock(value: float) -> str:
    """A place in a video: `3.2 s`, `1:05.2`."""
    if value < 60:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value, 1), 60)
    return f"{minutes:.0f}:{rest:04.1f}"


def recorded(job: JobView) -> bool:
    """Whether the speech came as a recording, as far as it is known yet."""
    return job.voice is None and job.stage not in (JobStage.WAITING, JobStage.SPEAKING)


def stages(job: JobView) -> list[JobStage]:
    """What the job goes through, in order, as far as it is known yet."""
    left_out = {JobStage.WAITING, JobStage.DONE}
    if recorded(job):
        left_out.add(JobStage.SPEAKING)
    # A GPU host on this computer is sent nothing that takes a while.
    if job.stage is not JobStage.UPLOADING and "upload" not in job.stage_seconds:
        left_out.add(JobStage.UPLOADING)
    return [stage for stage in STAGES if stage not in left_out]


def when(stage: JobStage, current: JobStage) -> str:
    """Whether a stage is `past`, `now` or `next`."""
    order = list(STAGES)
    if stage == current:
        return "now"
    return "past" if order.index(stage) < order.index(current) else "next"
