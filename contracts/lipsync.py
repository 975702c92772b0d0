"""What a caller may ask of a render, what an engine says of itself, and what a render reports."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

LengthMode = Literal["loop", "bounce", "cut_off", "silence", "remap"]
Motion = Literal["natural", "still"]
Detector = Literal["mediapipe", "s3fd"]


class LipSyncOptions(BaseModel):
    """How to render. A field that the engine does not use is ignored and named in the report."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    engine: Annotated[str, Field(max_length=40, examples=["auto", "wav2lip"])] = "auto"
    """Engine name, or `auto`: the first ready engine of the GPU host's order that animates the kind
    of face that was sent. `/engines` lists them in that order, with the options that each uses."""
    checkpoint: Annotated[str | None, Field(max_length=80, examples=["wav2lip_gan"])] = None
    """Which of an engine's checkpoints to use; `/engines` lists them. Empty takes its default."""
    fps: Annotated[float, Field(ge=10, le=60, examples=[25])] = 25.0
    """Frames per second of the video made from a photo; a face video keeps its own."""
    max_height: Annotated[int, Field(ge=64, le=1920, examples=[720])] = 1080
    """Tallest output, in pixels; larger faces are scaled down, sides are made even."""
    motion: Motion = "natural"
    """`natural` moves the head and blinks where the engine can, `still` moves the mouth only. A
    video's head moves as it was filmed."""
    length_mode: LengthMode = "loop"
    """What happens when a face video and the speech differ in length. `loop` starts the video over,
    `bounce` turns it back at its ends, `remap` plays it slower or faster: all three end with the
    speech. `cut_off` ends with the shorter of the two, `silence` with the longer: silence follows
    the speech, or the video's last frame is held."""
    face: Annotated[
        str,
        Field(pattern=r"^(largest|\d{1,2}|\d{1,5},\d{1,5})$", examples=["largest", "1", "320,180"]),
    ] = "largest"
    """Whose mouth moves: `largest`, an index from the left that begins with 0, or a point `x,y` in
    pixels of the upload."""
    detector: Detector = "mediapipe"
    """What finds the box that the engine cuts out: `mediapipe`, or `s3fd`, the network of Wav2Lip's
    release, whose weights must be installed and which takes seconds a frame on a CPU."""
    smoothing: Literal["centred", "release", "none"] = "centred"
    """How the face's place in a video is steadied: `centred` averages the frames around each,
    `release` averages boxes as Wav2Lip's release does, `none` takes what the detector says."""
    enhancer: Literal["none", "gfpgan"] = "none"
    """Restores face detail after rendering."""
    pads: Annotated[str, Field(pattern=r"^-?\d{1,4}(,-?\d{1,4}){3}$", examples=["0,10,0,0"])] = (
        "0,10,0,0"
    )
    """Pixels added to the face box: top, bottom, left, right."""
    bbox_shift: Annotated[int, Field(ge=-100, le=100)] = 0
    """Moves the upper edge of the mouth crop, in pixels."""
    paste: Literal["blend", "box"] = "blend"
    """`blend` feathers the mouth into the picture, `box` pastes the whole crop."""
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0
    """Makes a photo's random motion repeatable."""


class EngineInfo(BaseModel):
    """What an engine is and what it needs."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    name: str
    """As given in `LipSyncOptions.engine`."""
    title: str
    """One plain sentence for people."""
    version: str
    """Written into every result."""
    accepts: tuple[Literal["photo", "video"], ...]
    """Kinds of face the engine can animate."""
    streaming: bool
    """Whether frames come while the speech is still arriving."""
    look_ahead_seconds: float
    """Speech needed beyond a frame's own time before the frame can be drawn."""
    needs: tuple[str, ...] = ()
    """Checkpoints and hardware, in words; empty when nothing is needed."""
    licence: str
    """Licence of the engine's weights."""
    options: tuple[str, ...] = ()
    """Names of the `LipSyncOptions` fields that the engine uses beyond those of every engine."""
    checkpoints: tuple[str, ...] = ()
    """Values of the option `checkpoint`, the engine's own choice first."""


class EngineStatus(BaseModel):
    """An engine of one GPU host, and whether it can render there now."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    info: EngineInfo
    ready: bool
    reason: str = ""
    """Why the engine is not ready, with the line that mends it."""
    loading: bool = False
    """Whether the engine is being loaded now; a render that asks for it waits. While a load that
    failed is tried again with the same weights, this is false and `reason` says why it failed."""
    auto: bool = True
    """Whether `auto` tries the engine. Engines are listed in the order in which it does."""
    device: str = "cpu"
    """What its network runs on, such as `cpu` or `cuda`; filled in once the engine is ready."""
    runtime: str = "built-in"
    """What runs it, such as `torch`, `openvino` or `onnx`; `built-in` needs no such library."""
    precision: str = "fp32"
    """Numbers that it computes with: `fp32`, `bf16`, `fp16` or `int8`."""
    real_time: Annotated[float | None, Field(examples=[2.7])] = None
    """Seconds of video made in a second, everything from reading the face to the written file
    counted: the median of the last renders that this engine ended here since it was loaded. None
    until it has ended one; short videos measure low, because finding the face counts too, unless
    it has spoken here before."""
    checkpoints: tuple[str, ...] = ()
    """Those of `info.checkpoints` that are installed."""


class FrameRange(BaseModel):
    """Frames from `first` to `last`, both included."""

    model_config = ConfigDict(frozen=True)

    first: int
    last: int


class RenderReport(BaseModel):
    """What a finished render says of itself."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    engine: str
    engine_version: str
    width: int
    height: int
    fps: float
    num_frames: int
    seconds: float
    """Length of the video, in seconds."""
    stage_seconds: dict[str, float] = Field(default_factory=dict)
    """Wall seconds that each stage worked: decode, track, prepare, render (what the engine draws),
    compose, encode. Some work at the same time, so their sum may exceed what the whole took."""
    frames_without_face: tuple[FrameRange, ...] = ()
    """Output frames that passed through untouched."""
    ignored: tuple[str, ...] = ()
    """Options that were given and that this engine does not use, or this host does not know."""
    warnings: tuple[str, ...] = ()
    """What hurts the picture, in words."""
