"""The face detector S3FD, with the parameter names of the published checkpoint.

Source: Zhang et al., "S³FD: Single Shot Scale-invariant Face Detector", 2017; layers as in
Rudrabha/Wav2Lip face_detection/detection/sfd/net_s3fd.py @5c90fa9, rewritten from its layer table.
"""

from pathlib import Path
from typing import Final

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from gpu_service.runtimes.torch_runtime import choose_device, load_checkpoint
from gpu_service.settings import Device

_VGG: Final = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
"""Channels and number of convolutions of each stage, between which pictures shrink by two."""
_HEADS: Final = {
    "conv3_3_norm": 256,
    "conv4_3_norm": 512,
    "conv5_3_norm": 512,
    "fc7": 1024,
    "conv6_2": 512,
    "conv7_2": 256,
}
"""The layers that heads look at, from the smallest faces to the largest, and their channels."""


class ChannelNorm(nn.Module):
    """Scales each pixel's features to unit length, then each channel by a learned weight."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        length = x.square().sum(dim=1, keepdim=True).sqrt() + 1e-10
        return x / length * self.weight.view(1, -1, 1, 1)


class S3FD(nn.Module):
    """Says of each cell of six grids whether a face is centred there, and where its edges are."""

    def __init__(self) -> None:
        super().__init__()
        before = 3
        for stage, (channels, count) in enumerate(_VGG, 1):
            for index in range(1, count + 1):
                self.add_module(f"conv{stage}_{index}", nn.Conv2d(before, channels, 3, padding=1))
                before = channels
        self.fc6 = nn.Conv2d(512, 1024, 3, padding=3)
        self.fc7 = nn.Conv2d(1024, 1024, 1)
        self.conv6_1 = nn.Conv2d(1024, 256, 1)
        self.conv6_2 = nn.Conv2d(256, 512, 3, stride=2, padding=1)
        self.conv7_1 = nn.Conv2d(512, 128, 1)
        self.conv7_2 = nn.Conv2d(128, 256, 3, stride=2, padding=1)
        for name, channels in _HEADS.items():
            if name.endswith("_norm"):
                self.add_module(name, ChannelNorm(channels))
        for name, channels in _HEADS.items():
            # On the smallest faces, the best of three guesses at "no face" counts.
            num_scores = 4 if name == "conv3_3_norm" else 2
            for kind, size in (("conf", num_scores), ("loc", 4)):
                head = nn.Conv2d(channels, size, 3, padding=1)
                self.add_module(f"{name}_mbox_{kind}", head)

    def forward(self, image: Tensor) -> list[Tensor]:
        """Look for faces.

        Args:
            image: (B, 3, H, W) as `gpu_service.faces.s3fd.network_input` makes it.

        Returns:
            For strides 4, 8, 16, 32, 64 and 128 in turn: scores (B, 2, h, w) of no face and face
            before the softmax, and places (B, 4, h, w) relative to the cell's anchor.
        """
        seen = self._features(image)
        heads: list[Tensor] = []
        for name in _HEADS:
            scores: Tensor = self.get_submodule(f"{name}_mbox_conf")(seen[name])
            if scores.shape[1] == 4:
                background = scores[:, :3].amax(dim=1, keepdim=True)
                scores = torch.cat((background, scores[:, 3:]), dim=1)
            heads += [scores, self.get_submodule(f"{name}_mbox_loc")(seen[name])]
        return heads

    def _features(self, x: Tensor) -> dict[str, Tensor]:
        """What each head looks at."""
        seen: dict[str, Tensor] = {}
        for stage, (_, count) in enumerate(_VGG, 1):
            for index in range(1, count + 1):
                x = F.relu(self.get_submodule(f"conv{stage}_{index}")(x))
            norm = f"conv{stage}_3_norm"
            if norm in _HEADS:
                seen[norm] = self.get_submodule(norm)(x)
            x = F.max_pool2d(x, 2)
        for name in ("fc6", "fc7", "conv6_1", "conv6_2", "conv7_1", "conv7_2"):
            x = F.relu(self.get_submodule(name)(x))
            if name in _HEADS:
                seen[name] = x
        return seen


class S3FDRuntime:
    """S3FD with its weights, on a device.

    Args:
        path: Its checkpoint.
        device: Where to run it.

    Raises:
        CheckpointMismatch: The file holds something else.
        EngineUnavailable: There is no such device.
    """

    def __init__(self, path: Path, device: Device = "auto") -> None:
        self._device = choose_device(device)
        network = S3FD()
        load_checkpoint(network, path)
        self._network = network.eval().to(self._device)

    @property
    def device(self) -> str:
        """`cpu` or `cuda`."""
        return self._device.type

    def __call__(self, pictures: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """What `S3FD.forward` gives, as arrays."""
        with torch.inference_mode():
            heads: list[Tensor] = self._network(torch.from_numpy(pictures).to(self._device))
            return [head.cpu().numpy() for head in heads]
