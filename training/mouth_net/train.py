"""Trains the network and judges it by voices and languages that it was not taught."""

import copy
import logging
import time
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.mouth_net.data import Data, Set
from training.mouth_net.network import MouthNetwork

_BATCH: Final = 16
_RATE: Final = 3e-3
_AVERAGED: Final = 0.995
"""Share of the running mean of the weights that is kept at each step: the mean is what ships."""
_REPORT_STEPS: Final = 250
_OPEN, _WIDTH, _ROUND, _CLOSURE, _FV, _SPEAKS = range(6)
_TEETH_OPEN: Final = 0.1
NAMES: Final = ("open", "width", "round", "closure", "fv", "speaks")

logger = logging.getLogger(__name__)


def train(data: Data, output: Path, num_steps: int, seed: int, seconds: float | None) -> None:
    """Train and, at the end, write the mean weights as float16.

    Args:
        data: What is learnt from, and what is judged by.
        output: The .npz file; its folder is made.
        num_steps: Of the optimizer; its rate falls to nothing along half a cosine.
        seed: Of the first weights and of the order of the examples.
        seconds: When to stop at the latest; the rate then falls by the clock.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    random = np.random.default_rng(seed)
    net = MouthNetwork()
    mean = copy.deepcopy(net).requires_grad_(False)
    logger.info("%d parameters", sum(weights.numel() for weights in net.parameters()))
    optimizer = torch.optim.AdamW(net.parameters(), lr=_RATE, weight_decay=0.01)
    start, losses = time.monotonic(), []
    order = random.permutation(len(data.training.features))
    for step in range(num_steps):
        done = step / num_steps
        if seconds:
            done = max(done, (time.monotonic() - start) / seconds)
        if done >= 1:
            break
        warm = min((step + 1) / 100, 1.0)
        for group in optimizer.param_groups:
            group["lr"] = _RATE * warm * (0.5 + 0.5 * float(np.cos(np.pi * done)))
        at = step * _BATCH % max(len(order) - _BATCH, 1)
        if at < _BATCH:
            order = random.permutation(len(order))
        chosen = np.sort(order[at : at + _BATCH])
        features, targets = _batch(data.training, chosen)
        loss = _loss(net(features), targets)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        keep = min(_AVERAGED, (1 + step) / (10 + step))
        with torch.no_grad():
            for average, weights in zip(mean.parameters(), net.parameters(), strict=True):
                average.lerp_(weights, 1 - keep)
        losses.append(loss.item())
        if (step + 1) % _REPORT_STEPS == 0:
            recent = float(np.mean(losses[-_REPORT_STEPS:]))
            spent = time.monotonic() - start
            logger.info(
                "step %d, %.0f s, loss %.4f; %s",
                step + 1,
                spent,
                recent,
                judged(mean, data.held_out),
            )
    write(mean, output)
    for name, judgement in (("varied", data.held_out), ("plain", data.plain)):
        logger.info("held out, %s: %s", name, judged(mean, judgement))


def write(net: MouthNetwork, output: Path) -> None:
    """Write the weights as float16."""
    arrays = {name: values.astype(np.float16) for name, values in net.arrays().items()}
    with output.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def judged(net: MouthNetwork, held_out: Set) -> str:
    """How well each output agrees with what the marks call for."""
    with torch.no_grad():
        parts = torch.split(torch.from_numpy(held_out.features).float(), _BATCH)
        said = torch.cat([_activated(net(part)) for part in parts]).numpy()
    wanted = held_out.targets.astype(np.float32)
    final = said[..., _OPEN] * (1 - said[..., _CLOSURE])
    return ", ".join(
        [f"final r {_r(final, wanted[..., _OPEN]):.3f}"]
        + [f"{name} r {_r(said[..., i], wanted[..., i]):.3f}" for i, name in enumerate(NAMES)]
    )


def _r(said: NDArray[np.float32], wanted: NDArray[np.float32]) -> float:
    return float(np.corrcoef(said.ravel(), wanted.ravel())[0, 1])


def _batch(examples: Set, chosen: NDArray[np.intp]) -> tuple[Tensor, Tensor]:
    features = torch.from_numpy(examples.features[chosen]).float()
    return features, torch.from_numpy(examples.targets[chosen]).float()


def _activated(outputs: Tensor) -> Tensor:
    straight = torch.arange(len(NAMES)) == _WIDTH
    return torch.where(straight, torch.tanh(outputs), torch.sigmoid(outputs))


def _loss(outputs: Tensor, targets: Tensor) -> Tensor:
    said = _activated(outputs)
    fv = said[..., _FV]
    opening = said[..., _OPEN]
    opening = opening + (opening.clamp(max=_TEETH_OPEN) - opening) * fv
    opening = opening * (1 - said[..., _CLOSURE])
    wanted = targets[..., _OPEN]
    velocity = (opening.diff(dim=1) - wanted.diff(dim=1)) * 5
    loss = 3 * (opening - wanted).square().mean() / 0.06 + 0.5 * velocity.square().mean() / 0.06
    for channel, weight, variance in ((_WIDTH, 1.0, 0.08), (_ROUND, 1.0, 0.05)):
        loss = (
            loss + weight * (said[..., channel] - targets[..., channel]).square().mean() / variance
        )
    entropy = torch.nn.functional.binary_cross_entropy_with_logits
    for channel, weight in ((_CLOSURE, 2.5), (_FV, 1.5), (_SPEAKS, 0.7)):
        loss = loss + weight * entropy(outputs[..., channel], targets[..., channel])
    return loss
