"""Phoneme marks: what a voice says it spoke, and when."""

from pydantic import BaseModel, ConfigDict, Field


class PhonemeMark(BaseModel):
    """One phoneme of the speech, with its place in time."""

    model_config = ConfigDict(frozen=True)

    start: float = Field(ge=0, allow_inf_nan=False)
    """Seconds from the start of the whole speech."""
    end: float = Field(ge=0, allow_inf_nan=False)
    """Seconds from the start of the whole speech; a pause may lie before the next mark."""
    phoneme: str = Field(max_length=16)
    """IPA, as the voice wrote it; an empty string is silence."""
