"""The options of the form, in plain words; what they may be comes from `LipSyncOptions`."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, Literal, NamedTuple, cast

from contracts.lipsync import LipSyncOptions

_SCHEMA: Final = LipSyncOptions.model_json_schema()["properties"]


class Option(NamedTuple):
    """One field under "More options"."""

    name: str
    """As in `LipSyncOptions`."""
    label: str
    help: str
    choices: Mapping[str, str] = MappingProxyType({})
    """Words for each value, where there are only some."""
    wrong: str = ""
    """What to write, for a value that can't be read."""
    kind: Literal["photo", "video", ""] = ""
    """The kind of face for which it counts."""

    @property
    def bounds(self) -> dict[str, Any]:
        """Its `default` and `type`, and `minimum` and `maximum`, or `pattern`, if there is one."""
        return cast(dict[str, Any], _SCHEMA[self.name])

    @property
    def default(self) -> str:
        """What holds when nobody chooses."""
        value = self.bounds.get("default")
        return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


OPTIONS: Final = (
    Option(
        "engine",
        "Engine",
        "What moves the mouth. Automatic takes the first ready one that can animate your face.",
    ),
    Option("checkpoint", "Trained network", "Which of the engine's networks draws the mouth."),
    Option(
        "length_mode",
        "When the face video and the voice differ in length",
        "The voice is never cut, except by “End with the shorter”.",
        {
            "loop": "Start the video over",
            "bounce": "Play it back and forth",
            "remap": "Play it slower or faster",
            "cut_off": "End with the shorter",
            "silence": "End with the longer",
        },
        kind="video",
    ),
    Option(
        "face",
        "Whose mouth moves",
        "The word largest, a number counted from the left (0 is the first face), or a point in the "
        "picture such as 320,180.",
        wrong="Write largest, a number such as 0, or a point such as 320,180.",
    ),
    Option(
        "motion",
        "What moves",
        "A head that moves sways and nods with the voice, and blinks.",
        {"natural": "Head, eyes and mouth", "still": "The mouth only"},
        kind="photo",
    ),
    Option(
        "seed",
        "Which motion of the head",
        "Another number moves the head otherwise; the same number repeats it.",
        wrong=f"Write a whole number from 0 to {_SCHEMA['seed']['maximum']}, such as 7.",
        kind="photo",
    ),
    Option(
        "paste",
        "How the mouth is put in",
        "Pasting the whole box shows its edges; it is meant for comparisons.",
        {"blend": "Blended into the face", "box": "The whole box is pasted"},
    ),
    Option(
        "pads",
        "Room around the face",
        "Pixels added above, below, left and right; more below when the chin is cut off.",
        wrong="Write four numbers with commas between them, such as 0,10,0,0.",
    ),
    Option(
        "detector",
        "What finds the face",
        "S3FD must be installed on the GPU host, and takes seconds a frame without a GPU.",
        {"mediapipe": "Built in", "s3fd": "S3FD, as in Wav2Lip's release"},
    ),
    Option(
        "smoothing",
        "How the face is held steady",
        "Less steadying follows quick turns sooner, and trembles more.",
        {
            "centred": "Averaged over time",
            "release": "As Wav2Lip's authors do",
            "none": "Not at all",
        },
        kind="video",
    ),
    Option(
        "fps",
        "Frames per second",
        "Of a video made from a photo; a face video keeps its own.",
        wrong="Write a number from 10 to 60.",
        kind="photo",
    ),
    Option(
        "max_height",
        "Largest height in pixels",
        "A taller face is scaled down.",
        wrong="Write a whole number from 64 to 1920.",
    ),
)
"""In the order of the form."""

NAMES: Final = tuple(option.name for option in OPTIONS)
OF_SOME_ENGINES: Final = frozenset({"checkpoint", "motion", "seed", "paste", "pads", "detector"})
"""Those that only the engines use which say so in `EngineInfo.options`."""
