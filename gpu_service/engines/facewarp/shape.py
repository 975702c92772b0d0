"""The mouth shape that speech commands."""

from typing import NamedTuple


class MouthShape(NamedTuple):
    """What the mouth does in one frame."""

    open: float
    """0 shut, 1 the widest of speech; closures and f/v have already pulled it down."""
    width: float
    """-1 narrow, 0 rest, 1 spread."""
    round: float
    """Rounding of the lips in [0, 1]."""
    closure: float
    """How firmly the lips are pressed together, in [0, 1]."""
    fv: float
    """How far the lower lip is tucked under the upper teeth, in [0, 1]."""


REST = MouthShape(0.0, 0.0, 0.0, 0.0, 0.0)
"""The mouth of somebody who does not speak."""
