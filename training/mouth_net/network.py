"""The network of gpu_service/engines/facewarp/hearing/mouth_net.py in PyTorch, to be trained."""

import torch
from torch import Tensor, nn

from gpu_service.audio.speech_mel import NUM_BANDS
from gpu_service.engines.facewarp.hearing.mouth_net import (
    DILATIONS,
    KERNEL,
    NUM_OUTPUTS,
    STEP_ROWS,
    WIDTH,
    Weights,
)


class MouthNetwork(nn.Module):
    """Hears (B, T, inputs) and gives (B, T, NUM_OUTPUTS) before sigmoid and tanh."""

    def __init__(self) -> None:
        super().__init__()
        num_inputs = STEP_ROWS * NUM_BANDS
        self.convs = nn.ModuleList(
            nn.Conv1d(WIDTH if i else num_inputs, WIDTH, KERNEL, dilation=dilation)
            for i, dilation in enumerate(DILATIONS)
        )
        self.gru = nn.GRU(WIDTH, WIDTH, batch_first=True)
        self.head = nn.Linear(2 * WIDTH, NUM_OUTPUTS)

    def forward(self, features: Tensor) -> Tensor:
        """Each step hears itself and what came before it."""
        heard = features.transpose(1, 2)
        for i, (conv, dilation) in enumerate(zip(self.convs, DILATIONS, strict=True)):
            past = (KERNEL - 1) * dilation
            felt = torch.relu(conv(nn.functional.pad(heard, (past, 0))))
            heard = heard + felt if i else felt
        heard = heard.transpose(1, 2)
        states, _ = self.gru(heard)
        outputs: Tensor = self.head(torch.cat((states, heard), dim=2))
        return outputs

    def arrays(self) -> Weights:
        """The weights as the NumPy network takes them."""
        weights: dict[str, Tensor] = {}
        for i in range(len(DILATIONS)):
            weight = self.get_parameter(f"convs.{i}.weight")
            weights[f"conv{i}"] = weight.permute(2, 1, 0).flatten(0, 1)
            weights[f"conv{i}_bias"] = self.get_parameter(f"convs.{i}.bias")
        for side, letters in (("input", "ih"), ("state", "hh")):
            weights[f"gru_{side}"] = getattr(self.gru, f"weight_{letters}_l0").T
            weights[f"gru_{side}_bias"] = getattr(self.gru, f"bias_{letters}_l0")
        weights["head"], weights["head_bias"] = self.head.weight.T, self.head.bias
        return {name: value.detach().numpy().copy() for name, value in weights.items()}
