"""The errors that cross a service boundary: one tree, one wire form."""

from typing import ClassVar

from contracts.problem import ErrorBody


class LipSyncError(Exception):
    """Base of every error that a caller may see.

    Args:
        detail: What is wrong this time, in one sentence for people.
        hint: What to do about it; the class's own hint when empty.
        field: The field of the request that is at fault, where one is.
        retry_after_seconds: When to try again, for retryable errors.
    """

    code: ClassVar[str] = "INTERNAL"
    title: ClassVar[str] = "Something went wrong inside the service"
    http_status: ClassVar[int] = 500
    retryable: ClassVar[bool] = False
    default_hint: ClassVar[str] = "Look at the service's log for the request id."

    def __init__(
        self,
        detail: str,
        *,
        hint: str = "",
        field: str = "",
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.hint = hint or self.default_hint
        self.field = field
        self.retry_after_seconds = retry_after_seconds
        self.request_id = ""
        """Names the request in the log of the service that raised it, once known."""

    def body(self, request_id: str = "") -> ErrorBody:
        """The error's wire form."""
        return ErrorBody(
            type=f"/errors#{self.code}",
            title=self.title,
            status=self.http_status,
            detail=self.detail,
            code=self.code,
            hint=self.hint,
            field=self.field,
            retryable=self.retryable,
            request_id=request_id or self.request_id,
        )


class InvalidInput(LipSyncError):
    """What was sent can't be used."""

    code = "INVALID_INPUT"
    title = "The request can't be used as it is"
    http_status = 422
    default_hint = "Correct the field that the detail names and send the request again."


class OptionRejected(InvalidInput):
    """An option has an unknown name or a value outside its range."""

    code = "OPTION_REJECTED"
    title = "An option has a value that is not allowed"
    default_hint = "The allowed values are listed under /docs."


class UnsupportedMedia(InvalidInput):
    """The bytes are of a kind that is not accepted here."""

    code = "UNSUPPORTED_MEDIA"
    title = "This kind of file is not accepted here"
    http_status = 415
    default_hint = "Send a JPEG, PNG or WebP picture; WAV, MP3, M4A or Ogg audio; or a video."


class FaceKindUnsupported(UnsupportedMedia):
    """The engine animates photos only, or videos only."""

    code = "FACE_KIND_UNSUPPORTED"
    title = "The engine does not animate this kind of face"
    default_hint = "Send a photo, or choose an engine whose `accepts` lists this kind (/engines)."


class MediaTooLarge(InvalidInput):
    """The request's body is over the limit."""

    code = "MEDIA_TOO_LARGE"
    title = "The upload is too large"
    http_status = 413
    default_hint = "Send at most 100 MB in one request; compress or shorten the files."


class ImageTooLarge(MediaTooLarge):
    """The picture has too many pixels."""

    code = "IMAGE_TOO_LARGE"
    title = "The picture has too many pixels"
    default_hint = "Scale the picture down to at most 25 megapixels."


class SpeechTooLong(MediaTooLarge):
    """The speech lasts too long."""

    code = "SPEECH_TOO_LONG"
    title = "The speech is too long"
    default_hint = "Send at most 10 minutes of speech; cut longer recordings into parts."


class UndecodableMedia(InvalidInput):
    """The file is damaged or cut short."""

    code = "UNDECODABLE_MEDIA"
    title = "The file is damaged"
    default_hint = "Open the file in another program and export it again, or send the original."


class SpeechEmpty(UndecodableMedia):
    """There is sound in the file by its header, but not one sample of it."""

    code = "SPEECH_EMPTY"
    title = "The recording is empty"
    default_hint = "Record again, or choose another file."


class SoundMissing(InvalidInput):
    """A video was sent as the speech, and it has no sound track."""

    code = "SOUND_MISSING"
    title = "The video has no sound"
    default_hint = "Send an audio file, or a video that has a sound track."


class NoFaceFound(InvalidInput):
    """No face could be found."""

    code = "NO_FACE_FOUND"
    title = "No face was found"
    default_hint = (
        "Use a picture of one face from the front, both eyes and the mouth visible: upright, well "
        "lit, and cropped to head and shoulders."
    )


class FaceTooSmall(NoFaceFound):
    """A face is there, but too small to animate."""

    code = "FACE_TOO_SMALL"
    title = "The face is too small"
    default_hint = "Use a closer or larger picture: the face should be at least 48 pixels wide."


class TextRejected(InvalidInput):
    """The text can't be spoken."""

    code = "TEXT_REJECTED"
    title = "The text can't be spoken"
    default_hint = "Type at least one word in the chosen language."


class TextTooLong(TextRejected):
    """The text is over the limit."""

    code = "TEXT_TOO_LONG"
    title = "The text is too long"
    default_hint = "Send at most 5,000 characters; make several videos of a longer text."


class NotAuthorized(LipSyncError):
    """The token is missing or wrong."""

    code = "NOT_AUTHORIZED"
    title = "The token is missing or wrong"
    http_status = 401
    default_hint = "Send `Authorization: Bearer <token>` with the token that the service uses."


class OriginRefused(LipSyncError):
    """The request came for a foreign host name or from a foreign web page."""

    code = "ORIGIN_REFUSED"
    title = "Requests from there are refused"
    http_status = 403
    default_hint = "Use the address that the service printed at its start, such as localhost."


class NotFound(LipSyncError):
    """Nothing is there."""

    code = "NOT_FOUND"
    title = "Nothing is there"
    http_status = 404
    default_hint = "The addresses that exist are listed under /docs."


class MethodNotAllowed(LipSyncError):
    """The address exists, but not for this method."""

    code = "METHOD_NOT_ALLOWED"
    title = "The address does not take this method"
    http_status = 405
    default_hint = "The `Allow` header lists the methods; /docs shows how to use them."


class JobNotFound(NotFound):
    """No job has this id."""

    code = "JOB_NOT_FOUND"
    title = "There is no such job"
    default_hint = "Check the id; a job that was deleted is gone."


class RenderNotFound(NotFound):
    """The GPU host has no render with this key."""

    code = "RENDER_NOT_FOUND"
    title = "The GPU host does not know this render"
    default_hint = "Send the render again; a host that was restarted knows none of the old ones."


class IdempotencyMismatch(InvalidInput):
    """A request repeats a key, but asks for something else."""

    code = "IDEMPOTENCY_MISMATCH"
    title = "The key was used for another request"
    http_status = 409
    default_hint = "Send the request with an Idempotency-Key of its own, or repeat it unchanged."


class FaceNeeded(LipSyncError):
    """A face was named by its hash, and the GPU host has it no more."""

    code = "FACE_NEEDED"
    title = "The GPU host does not have this face"
    http_status = 428
    default_hint = "Send the request again with the file itself in the field `face`."


class SpeechNeeded(LipSyncError):
    """A speech was named by its hash, and the GPU host has it no more."""

    code = "SPEECH_NEEDED"
    title = "The GPU host does not have this speech"
    http_status = 428
    default_hint = "Send the request again with the file itself in the field `speech`."


class MediaNotFound(NotFound):
    """The GPU host has nothing of the file."""

    code = "MEDIA_NOT_FOUND"
    title = "The GPU host does not have this file"
    default_hint = "Send it from its first byte, by PUT with `Content-Range: bytes 0-LAST/SIZE`."


class GpuHostNotFound(NotFound):
    """No GPU host has this id."""

    code = "GPU_HOST_NOT_FOUND"
    title = "There is no such GPU host"
    default_hint = "The hosts are listed under /gpu-hosts."


class Conflict(LipSyncError):
    """What is asked for does not go with how things stand."""

    code = "CONFLICT"
    title = "That is not possible as things stand"
    http_status = 409
    default_hint = "Look at how it stands now, and ask again."


class MediaGap(Conflict):
    """A part of a file begins beyond what has arrived of it."""

    code = "MEDIA_GAP"
    title = "Bytes are missing before this part of the file"
    default_hint = "Ask by GET how much has arrived, and send from there."


class MediaCorrupt(InvalidInput):
    """What arrived of a file is not what its hash says."""

    code = "MEDIA_CORRUPT"
    title = "The file is not the one that was announced"
    default_hint = "Nothing of it is kept: send it again from its first byte."


class JobEnded(Conflict):
    """The job has ended, so there is nothing to stop."""

    code = "JOB_ENDED"
    title = "The job has ended already"
    default_hint = "Its state says how; a failed or cancelled job can be retried."


class JobNotRetriable(Conflict):
    """The job still waits or runs, or has succeeded, so there is nothing to retry."""

    code = "JOB_NOT_RETRIABLE"
    title = "The job can't be retried"
    default_hint = "Only failed and cancelled jobs can; cancel it first."


class RangeRefused(LipSyncError):
    """The asked part of a file lies beyond its end."""

    code = "RANGE_REFUSED"
    title = "The file has no such part"
    http_status = 416
    default_hint = "Ask for bytes within the size that `Content-Range` names, or for the file."


class VideoNotReady(LipSyncError):
    """The job has no video, now or ever."""

    code = "VIDEO_NOT_READY"
    title = "The job has no video"
    http_status = 409
    default_hint = "Wait until the job's state is `succeeded`."


class EngineNotFound(NotFound):
    """No engine has this name."""

    code = "ENGINE_NOT_FOUND"
    title = "There is no such engine"
    default_hint = "The engines are listed under /engines; `auto` takes the best that is ready."


class VoiceNotFound(NotFound):
    """No voice has this name, or none speaks this language."""

    code = "VOICE_NOT_FOUND"
    title = "There is no such voice"
    default_hint = "The voices are listed under /voices; leave the field empty for the default."


class MediaExpired(NotFound):
    """The media were here and have been removed."""

    code = "MEDIA_EXPIRED"
    title = "The file has been removed"
    http_status = 410
    default_hint = "Make the video again."


class StorageFull(LipSyncError):
    """The disk is full."""

    code = "STORAGE_FULL"
    title = "There is no room for the files"
    http_status = 507
    retryable = True
    default_hint = "Delete jobs that are needed no more, or make room on the backend's disk."


class Busy(LipSyncError):
    """The service has no capacity at the moment."""

    code = "BUSY"
    title = "The service is busy"
    http_status = 503
    retryable = True
    default_hint = "Try again after the seconds that `Retry-After` names."


class QueueFull(Busy):
    """Too many jobs wait already."""

    code = "QUEUE_FULL"
    title = "Too many jobs are waiting"
    http_status = 429


class EngineBusy(Busy):
    """The GPU host renders as much as it may."""

    code = "ENGINE_BUSY"
    title = "The GPU host is busy"


class EngineError(LipSyncError):
    """An engine failed."""

    code = "ENGINE_FAILED"
    title = "The engine failed"
    default_hint = "Try another picture or engine; the GPU host's log says why."


class EngineUnavailable(EngineError):
    """The engine exists but can't run on this host."""

    code = "ENGINE_UNAVAILABLE"
    title = "The engine can't run on this GPU host"
    http_status = 503
    default_hint = "Choose another engine, or install what the detail names."


class CheckpointMissing(EngineUnavailable):
    """The engine's weights are not on this host."""

    code = "CHECKPOINT_MISSING"
    title = "The engine's checkpoint is not installed"
    default_hint = "Install the checkpoint on the GPU host, or use `engine=auto`."


class CheckpointMismatch(EngineUnavailable):
    """A file is damaged, or holds other weights than the engine's network has."""

    code = "CHECKPOINT_MISMATCH"
    title = "The checkpoint does not fit the engine"
    default_hint = "Get the file again, or install another: python -m gpu_service weights list"


class RenderFailed(EngineError):
    """A render stopped half-way for a reason of its own."""

    code = "RENDER_FAILED"
    title = "The render failed"


class UpstreamError(LipSyncError):
    """Another service failed."""

    code = "UPSTREAM_FAILED"
    title = "A service that is needed failed"
    http_status = 502
    retryable = True
    default_hint = "Try again; if it stays, look at that service's log."


class GpuUnreachable(UpstreamError):
    """No GPU host answers."""

    code = "GPU_UNREACHABLE"
    title = "The GPU host does not answer"
    http_status = 503
    default_hint = "Start the GPU host, and check BACKEND_GPU_URL."


class GpuTimeout(UpstreamError):
    """The GPU host stopped answering."""

    code = "GPU_TIMEOUT"
    title = "The GPU host stopped answering"
    http_status = 504
    default_hint = "Try again; check the GPU host's log and the tunnel."


class GpuHostDied(UpstreamError):
    """The GPU host was restarted in the middle of a render."""

    code = "GPU_HOST_DIED"
    title = "The GPU host died while it rendered"
    default_hint = "Look at the GPU host's log, and whether its memory is enough for this video."


class GpuRefused(UpstreamError):
    """The GPU host does not accept the backend's token."""

    code = "GPU_REFUSED"
    title = "The GPU host refuses the backend's token"
    retryable = False
    default_hint = "Set BACKEND_GPU_TOKEN to the GPU_TOKEN that the GPU host printed at its start."


class VersionMismatch(UpstreamError):
    """Backend and GPU host speak versions of the interface that do not understand each other."""

    code = "VERSION_MISMATCH"
    title = "The backend and the GPU host are too far apart in version"
    retryable = False
    default_hint = "Update the older of the two."


class TunnelFailed(GpuUnreachable):
    """The tunnel to the GPU host answers in its place: the host is away, or a limit is reached."""

    code = "TUNNEL_FAILED"
    title = "Only the GPU host's tunnel answers"
    default_hint = "Look at the terminal or notebook that runs the GPU host."
    midway: bool = False
    """Whether the host may have had the request, and what it made of it is lost."""


class NoGpuHost(GpuUnreachable):
    """Somebody answers at the address, but not as a GPU host does."""

    code = "NO_GPU_HOST"
    title = "What answers there is no GPU host"
    default_hint = "Check BACKEND_GPU_URL and the tunnel."


class NgrokRefused(UpstreamError):
    """ngrok does not accept the API key."""

    code = "NGROK_REFUSED"
    title = "The API key of ngrok is refused"
    retryable = False
    default_hint = (
        "Make an API key at https://dashboard.ngrok.com/api-keys (an authtoken is none), set "
        "BACKEND_NGROK_API_KEY to it, and restart the backend."
    )


class NgrokUnreachable(UpstreamError):
    """ngrok can't be asked which endpoints the account has."""

    code = "NGROK_UNREACHABLE"
    title = "The ngrok account can't be asked"
    http_status = 503
    default_hint = "Check this computer's connection to the internet; hosts can be added by hand."


class GpuAnswerBroken(UpstreamError):
    """The GPU host's answer broke off, or does not fit what it sent before."""

    code = "GPU_ANSWER_BROKEN"
    title = "The GPU host's answer broke off"
    default_hint = "Make the video again; the GPU host's log says why it stopped."


class SpeechFailed(UpstreamError):
    """No voice could speak the text."""

    code = "SPEECH_FAILED"
    title = "The text could not be spoken"
    default_hint = "Try another voice; the voices are listed under /voices."


class Cancelled(LipSyncError):
    """The caller stopped it."""

    code = "CANCELLED"
    title = "The job was cancelled"
    http_status = 499
    default_hint = "Start it again if that was a mistake."
