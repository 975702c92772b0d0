"""Files that are sent to a GPU host ahead of a render, in parts if the connection breaks."""

from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field

MIN_RESUMABLE_BYTES: Final = 1_000_000
"""Smaller files travel with the render: sending them once more costs less than asking."""


class MediaView(BaseModel):
    """How much of a file the GPU host has; the answer of GET and PUT /media/{sha256}."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    """Of the whole file, in hex: its name."""
    received: Annotated[int, Field(ge=0)]
    """How many bytes from its start are there: where the next part begins."""
    size: Annotated[int, Field(ge=1)]
    """Of the whole file, in bytes."""
    complete: bool
    """Whether it is all there, and is what its name says."""
