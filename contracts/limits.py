"""The largest inputs accepted anywhere; refused before they cost anything."""

from typing import Final

MAX_UPLOAD_BYTES: Final = 100 * 1000 * 1000
"""Largest request body, in bytes, counted while it streams."""

MAX_IMAGE_PIXELS: Final = 25_000_000
"""Largest picture, in pixels, read from its header before it is decoded."""

MAX_SPEECH_SECONDS: Final = 600.0
"""Longest speech, in seconds."""

MAX_TEXT_CHARACTERS: Final = 5_000
"""Longest text to speak, in characters."""

MIN_FACE_PX: Final = 48
"""Narrowest face that can be animated, in pixels from ear to ear."""

MAX_OUTPUT_SIDE: Final = 1920
"""Longest side of a rendered video, in pixels."""
