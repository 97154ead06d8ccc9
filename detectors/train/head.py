"""The head on the frozen frame encoder: one hidden layer, fitted on the features of laundered training frames."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from countermark.detectors.train.config import EncoderConfig

_BATCH = 256
_MIXING = 0.4  # of mixup's beta distribution


class Head(nn.Module):
    """Features (N, width) to the logit that the picture is generated (N,)."""

    centre: Tensor
    spread: Tensor

    def __init__(self, centre: Tensor, spread: Tensor, hidden: int) -> None:
        """Take the features' mean and deviation (width,), for standardising."""
        super().__init__()
        self.register_buffer("centre", centre)
        self.register_buffer("spread", spread)
        self.layers = nn.Sequential(
            nn.Dropout(0.3), nn.Linear(len(centre), hidden), nn.GELU(), nn.Dropout(0.5), nn.Linear(hidden, 1)
        )

    def forward(self, features: Tensor) -> Tensor:
        """Logits (N,)."""
        logit: Tensor = self.layers((features - self.centre) / self.spread)
        return logit.squeeze(1)


def fit_head(features: NDArray[np.float16], target: NDArray[np.int64], config: EncoderConfig, seed: int) -> Head:
    """Fit a head with mixup (Zhang et al., ICLR 2018), the mean over the last quarter of its steps.

    Args:
        features: (N, width), drawn with both classes alike and groups balanced, so no weights are needed.
        target: (N,), 1 for generated.
        config: width of the hidden layer and number of epochs.
        seed: of weights, order and mixing.
    """
    torch.manual_seed(seed)
    values = torch.from_numpy(features.astype(np.float32))
    truth = torch.from_numpy(target.astype(np.float32))
    head = Head(values.mean(0), values.std(0) + 1e-3, config.hidden)
    optimizer = torch.optim.AdamW(head.parameters(), lr=1e-3, weight_decay=0.05)
    steps = config.epochs * (len(values) // _BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps, pct_start=0.1)
    mean = torch.optim.swa_utils.AveragedModel(head)
    rng = np.random.default_rng(seed)
    head.train()
    for step in range(steps):
        rows = torch.from_numpy(rng.integers(0, len(values), (2, _BATCH)))
        share = torch.from_numpy(rng.beta(_MIXING, _MIXING, (_BATCH, 1)).astype(np.float32))
        mixed = share * values[rows[0]] + (1 - share) * values[rows[1]]
        soft = (share[:, 0] * truth[rows[0]] + (1 - share[:, 0]) * truth[rows[1]]) * 0.95 + 0.025
        loss = binary_cross_entropy_with_logits(head(mixed), soft)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
        if step >= steps * 3 // 4:
            mean.update_parameters(head)
    head.load_state_dict(mean.module.state_dict())
    head.eval()
    return head
