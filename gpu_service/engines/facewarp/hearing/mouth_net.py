"""The small network that hears what a mouth does, step by step; NumPy alone."""

import zlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from tokenize import TokenError
from typing import Final
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from contracts.errors import EngineUnavailable
from gpu_service.audio.speech_mel import NUM_BANDS

Array = NDArray[np.float32]
Weights = dict[str, Array]

STEP_ROWS: Final = 2
"""Rows of the mel spectrum in a step."""
BLOCK_STEPS: Final = 2
"""Steps are computed this many at a time."""
WIDTH: Final = 112
"""Channels of every layer."""
KERNEL: Final = 3
DILATIONS: Final = (1, 1, 2)
"""Of the convolutions, the first of which takes the spectrum; the others add to what they hear."""
NUM_OUTPUTS: Final = 6
"""open, width, round, closure, fv, and whether somebody speaks; all but width through a sigmoid."""
WEIGHTS_PATH: Final = Path(__file__).with_name("mouth_net.npz")

_WIDTH_CHANNEL, _SPEAKS_CHANNEL = 1, 5
# Surely nobody speaks.
_NOBODY: Final = 0.1
# The longest pauses of the training are not much longer than this second.
_LISTENING_STEPS: Final = 50
# What zipfile and NumPy raise by where the damage is: in an archive's header it looks like a method
# that is not supported (RuntimeError), in an array's like Python that can't be parsed (TokenError).
_DAMAGED: Final = (
    OSError,
    ValueError,
    KeyError,
    TypeError,
    EOFError,
    RuntimeError,
    BadZipFile,
    TokenError,
    zlib.error,
)


def shapes_of_weights() -> dict[str, tuple[int, ...]]:
    """Name and shape of every array of the network."""
    num_inputs = STEP_ROWS * NUM_BANDS
    shapes: dict[str, tuple[int, ...]] = {}
    for i in range(len(DILATIONS)):
        shapes[f"conv{i}"] = (KERNEL * (WIDTH if i else num_inputs), WIDTH)
        shapes[f"conv{i}_bias"] = (WIDTH,)
    for side in ("input", "state"):
        shapes[f"gru_{side}"] = (WIDTH, 3 * WIDTH)
        shapes[f"gru_{side}_bias"] = (3 * WIDTH,)
    return shapes | {"head": (2 * WIDTH, NUM_OUTPUTS), "head_bias": (NUM_OUTPUTS,)}


def load_weights(path: Path) -> Weights:
    """The network's arrays, as float32.

    Raises:
        EngineUnavailable: The file is missing, damaged, or of another network.
    """
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            weights = {name: file[name].astype(np.float32) for name in shapes_of_weights()}
    except _DAMAGED as error:
        raise EngineUnavailable(
            f"{path.name}, by which mouths follow the sound, is missing or damaged: {error}",
            hint="Install the service anew: the file is part of it.",
        ) from error
    for name, shape in shapes_of_weights().items():
        if weights[name].shape != shape or not np.isfinite(weights[name]).all():
            raise EngineUnavailable(
                f"{path.name}, by which mouths follow the sound, does not fit: {name}",
                hint="Install the service anew: the file is part of it.",
            )
    return weights


@cache
def shipped_weights() -> Weights:
    """Those beside this module, read once."""
    return load_weights(WEIGHTS_PATH)


class MouthNet:
    """Goes through a speech once, from its start.

    Every product has the same size each time, so that rounding does not depend on the cuts. While
    nobody speaks, the state stays as it was after a second of that: whom silence teaches for longer
    takes the first word after it for a noise.
    """

    def __init__(self, weights: Weights) -> None:
        self._weights = weights
        num_inputs = STEP_ROWS * NUM_BANDS
        self._pasts = [
            np.zeros(((KERNEL - 1) * dilation, WIDTH if i else num_inputs), np.float32)
            for i, dilation in enumerate(DILATIONS)
        ]
        self._state: Array = np.zeros(WIDTH, np.float32)
        self._idle_steps = 0

    def hear(self, rows: Array) -> Array:
        """Take the next (BLOCK_STEPS * STEP_ROWS, NUM_BANDS) rows.

        Returns:
            (BLOCK_STEPS, NUM_OUTPUTS), width in [-1, 1], the others in [0, 1].
        """
        heard = rows.reshape(BLOCK_STEPS, STEP_ROWS * NUM_BANDS)
        for i in range(len(DILATIONS)):
            felt = self._convolved(i, heard)
            heard = heard + felt if i else felt
        before = self._state
        states = np.stack(list(self._recalled(heard)))
        both = np.concatenate((states, heard), axis=1)
        outputs: Array = both @ self._weights["head"] + self._weights["head_bias"]
        straight = np.tanh(outputs[:, _WIDTH_CHANNEL])
        outputs = _sigmoid(outputs)
        outputs[:, _WIDTH_CHANNEL] = straight
        nobody = bool(outputs[:, _SPEAKS_CHANNEL].max() < _NOBODY)
        self._idle_steps = self._idle_steps + BLOCK_STEPS if nobody else 0
        if self._idle_steps > _LISTENING_STEPS:
            self._state = before
        return outputs

    def _convolved(self, i: int, heard: Array) -> Array:
        dilation = DILATIONS[i]
        known = np.concatenate((self._pasts[i], heard))
        self._pasts[i] = known[BLOCK_STEPS:]
        taps = [known[tap * dilation :][:BLOCK_STEPS] for tap in range(KERNEL)]
        product = np.concatenate(taps, axis=1) @ self._weights[f"conv{i}"]
        felt: Array = np.maximum(product + self._weights[f"conv{i}_bias"], np.float32(0))
        return felt

    def _recalled(self, heard: Array) -> Iterator[Array]:
        """The states of a gated recurrent unit (Cho et al., 2014), as PyTorch defines it."""
        inputs = heard @ self._weights["gru_input"] + self._weights["gru_input_bias"]
        for step in inputs:
            recalled = self._state @ self._weights["gru_state"] + self._weights["gru_state_bias"]
            gates = _sigmoid(step[: 2 * WIDTH] + recalled[: 2 * WIDTH])
            reset, keep = gates[:WIDTH], gates[WIDTH:]
            new = np.tanh(step[2 * WIDTH :] + reset * recalled[2 * WIDTH :])
            self._state = new + keep * (self._state - new)
            yield self._state


def _sigmoid(values: Array) -> Array:
    half = np.float32(0.5)
    result: Array = half + half * np.tanh(half * values)
    return result
