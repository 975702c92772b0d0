"""What a request for a render asks for: files sent with it or before, and options."""

import asyncio
from typing import Final, NamedTuple
from urllib.parse import quote

from fastapi import UploadFile
from pydantic import ConfigDict, TypeAdapter, ValidationError

from contracts.errors import FaceNeeded, InvalidInput, OptionRejected, SpeechNeeded
from contracts.lipsync import LipSyncOptions
from contracts.marks import PhonemeMark
from gpu_service.cache import Cache
from gpu_service.render import RenderRequest
from gpu_service.routes.errors import rejected_fields
from gpu_service.uploads import Uploads

MAX_UNKNOWN: Final = 20
"""So many unknown options are named, each by so many characters at most."""
MAX_NAME: Final = 40
_MARKS = TypeAdapter(tuple[PhonemeMark, ...])


class Sent(NamedTuple):
    """A file of a request."""

    file: UploadFile | None
    """Sent with it."""
    sha256: str | None = None
    """Of the file; instead of it, that of one that was sent before."""


class Wanted(NamedTuple):
    """How it is to be rendered."""

    options: LipSyncOptions
    unknown: tuple[str, ...] = ()
    """Names of options that this host does not know; those of others may know more."""
    marks: tuple[PhonemeMark, ...] | None = None


class _AnyOptions(LipSyncOptions):
    model_config = ConfigDict(extra="allow")


def parse_wanted(options: str, marks: str | None) -> Wanted:
    """Read the fields `options` and `marks` of the form.

    Raises:
        OptionRejected: An option has a value that it can't have.
        InvalidInput: The marks are none.
    """
    try:
        given = _AnyOptions.model_validate_json(options)
    except ValidationError as error:
        first = error.errors()[0]["loc"]
        raise OptionRejected(
            rejected_fields(error.errors()),
            hint=f"The options are: {', '.join(LipSyncOptions.model_fields)}.",
            field=str(first[0]) if first else "options",
        ) from error
    known = given.model_dump(include=set(LipSyncOptions.model_fields))
    # Named in a header too, which takes plain characters only.
    unknown = sorted(quote(name, safe="")[:MAX_NAME] for name in given.model_extra or ())
    return Wanted(
        LipSyncOptions.model_validate(known), tuple(unknown[:MAX_UNKNOWN]), _parse_marks(marks)
    )


def _parse_marks(text: str | None) -> tuple[PhonemeMark, ...] | None:
    if text is None:
        return None
    try:
        return _MARKS.validate_json(text)
    except ValidationError as error:
        raise InvalidInput(f"marks: {rejected_fields(error.errors()[:3])}") from error


async def read_order(
    faces: Cache[str, bytes], uploads: Uploads, face: Sent, speech: Sent, wanted: Wanted
) -> RenderRequest:
    """What is asked for, with all its bytes.

    Args:
        faces: Those that were sent lately, by their hash.
        uploads: Files that were sent ahead.
        face: Whose mouth moves.
        speech: What is said.
        wanted: How.

    Raises:
        FaceNeeded: The face that the hash names is not here.
        SpeechNeeded: The speech that the hash names is not here.
        InvalidInput: One of the two is missing, or is not what its hash says.
    """
    if face.file is None and face.sha256 is None:
        raise InvalidInput(
            "no face was sent", hint="Send a file as `face`, or `face_sha256`.", field="face"
        )
    if speech.file is None and speech.sha256 is None:
        raise InvalidInput(
            "no speech was sent",
            hint="Send a file as `speech`, or `speech_sha256`.",
            field="speech",
        )
    face_data = faces.get(_name(face)) if face.file is None else await face.file.read()
    if face_data is None:
        face_data = await asyncio.to_thread(uploads.read, _name(face))
    if face_data is None:
        raise FaceNeeded("the GPU host does not have the face with this hash", field="face_sha256")
    speech_data = (
        await asyncio.to_thread(uploads.read, _name(speech))
        if speech.file is None
        else await speech.file.read()
    )
    if speech_data is None:
        raise SpeechNeeded(
            "the GPU host does not have the speech with this hash", field="speech_sha256"
        )
    order = RenderRequest(face_data, speech_data, wanted.options, wanted.marks, wanted.unknown)
    # Uploads have up to 100 MB, which take a good part of a second.
    await asyncio.to_thread(lambda: order.sha256)
    _require_named("face", face, order.face_sha256)
    _require_named("speech", speech, order.speech_sha256)
    # The one that is kept may hang on an avatar too: another in its place would be there twice.
    if faces.get(order.face_sha256) is None:
        faces.put(order.face_sha256, face_data, len(face_data))
    return order


def _name(sent: Sent) -> str:
    return (sent.sha256 or "").lower()


def _require_named(field: str, sent: Sent, sha256: str) -> None:
    if sent.sha256 is not None and _name(sent) != sha256:
        raise InvalidInput(
            f"{field}_sha256 is not that of the {field}, which is {sha256}",
            field=f"{field}_sha256",
        )
