"""The variational code of labels (Voita & Titov 2020, section 2.1): bits of a network's weights, and of the labels given these.

    L = KL(q || p) + E_q[ -sum_i log p(y_i | x_i, weights) ]

Layers are those of Louizos, Ullrich & Welling (2017), as the released code has them: y = (x * z) W' + b, Gaussian W and b with the
prior N(0, 1), one factor z for each input unit with a log-uniform prior, whose KL is the usual approximation (Molchanov et al.
2017), ReLU between layers. Released programs add the loss at the posterior means instead of the expectation; no code has that
length. The prior of z is improper: differences between probes of one shape mean something, the size of the code does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch.nn.functional import cross_entropy, softplus

from probing.types import Features, Labels, Values

K1, K2, K3 = 0.63576, 1.87320, 1.48695
"""Constants of the approximation of the KL of z."""


def gaussian_kl(mean: torch.Tensor, log_variance: torch.Tensor) -> torch.Tensor:
    """KL(N(mean, variance) || N(0, 1)) in nats, summed: -ln s + (s^2 + mean^2 - 1) / 2."""
    return 0.5 * (log_variance.exp() + mean.square() - 1 - log_variance).sum()


class Layer(NamedTuple):
    """Means and log variances: of z (inputs,), of W (outputs, inputs), of b (outputs,)."""

    z_mean: torch.Tensor
    z_log_variance: torch.Tensor
    w_mean: torch.Tensor
    w_log_variance: torch.Tensor
    b_mean: torch.Tensor
    b_log_variance: torch.Tensor

    @classmethod
    def drawn(cls, inputs: int, outputs: int, rng: torch.Generator) -> Layer:
        """The released start: z about 1, all log variances about -9 (sd .01), weights N(0, 1 / sqrt(inputs)), biases 0."""

        def normal(mean: float, deviation: float, *shape: int) -> torch.Tensor:
            return torch.empty(*shape).normal_(mean, deviation, generator=rng)

        return cls(
            normal(1, 0.01, inputs), normal(-9, 0.01, inputs), normal(0, inputs**-0.5, outputs, inputs),
            normal(-9, 0.01, outputs, inputs), torch.zeros(outputs), normal(-9, 0.01, outputs),
        )  # fmt: skip

    @property
    def log_alpha(self) -> torch.Tensor:
        return self.z_log_variance - torch.log(self.z_mean.square() + 1e-8)

    def kl(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """KL of z, W and b in nats."""
        a = self.log_alpha
        of_z = -(K1 * torch.sigmoid(K2 + K3 * a) - 0.5 * softplus(-a) - K1).sum()
        return of_z, gaussian_kl(self.w_mean, self.w_log_variance), gaussian_kl(self.b_mean, self.b_log_variance)

    def forward(self, x: torch.Tensor, noise: tuple[torch.Tensor, torch.Tensor] | None) -> torch.Tensor:
        """Outputs (n, outputs) of x (n, inputs): with noise (n, inputs) of z and (n, outputs) drawn by local reparametrisation,
        without at the means."""
        if noise is None:
            return torch.addmm(self.b_mean, x * self.z_mean, self.w_mean.T)
        xz = x * (self.z_mean + (self.z_log_variance / 2).exp() * noise[0])
        mean = torch.addmm(self.b_mean, xz, self.w_mean.T)
        variance = torch.addmm(self.b_log_variance.exp(), xz.square(), self.w_log_variance.exp().T)
        return mean + variance.clamp_min(1e-30).sqrt() * noise[1]


Noise = Sequence[tuple[torch.Tensor, torch.Tensor]]


def losses(layers: Sequence[Layer], x: torch.Tensor, labels: torch.Tensor, noise: Noise | None) -> torch.Tensor:
    """Cross-entropy of each label in nats, (n,)."""
    for k, layer in enumerate(layers):
        x = layer.forward(torch.relu(x) if k else x, None if noise is None else noise[k])
    return cross_entropy(x, labels, reduction="none")


def total_kl(layers: Sequence[Layer]) -> torch.Tensor:
    return torch.stack([part for layer in layers for part in layer.kl()]).sum()


@dataclass(frozen=True)
class VariationalResult:
    """Nats: KL of the weights; expected cross-entropy over the draws, (draws,); loss at the means (`plug_in`, not part of a
    code)."""

    n: int
    n_classes: int
    kl: float
    draws: Values
    plug_in: float

    @property
    def uniform(self) -> float:
        """Bits of the uniform code."""
        return float(self.n * np.log2(self.n_classes))

    @property
    def bits(self) -> float:
        return float((self.kl + self.draws.mean()) / np.log(2))

    @property
    def standard_error(self) -> float:
        """Of the bits, by the draws; NaN for one draw."""
        n = len(self.draws)
        return float(self.draws.std(ddof=1) / np.sqrt(n) / np.log(2)) if n > 1 else np.nan

    @property
    def compression(self) -> float:
        return self.uniform / self.bits

    @property
    def legacy_total(self) -> float:
        """What released programs print, in nats: KL and the loss at the means."""
        return self.kl + self.plug_in


@dataclass(frozen=True)
class Training:
    """Hidden widths, and the steps of Adam. Released: [1000, 1000], 200 epochs, batches of 20 sentences, no early stop."""

    hidden: tuple[int, ...] = (1000, 1000)
    epochs: int = 200
    batch_size: int = 400
    learning_rate: float = 1e-3
    draws: int = 10


def fit(x: Features, labels: Labels, n_classes: int, training: Training, seed: int) -> list[Layer]:
    """Layers fitted to the summed cross-entropy of a batch plus the KL times the batch's share of the targets."""
    rng = torch.Generator().manual_seed(seed)
    features, targets = torch.from_numpy(np.ascontiguousarray(x, np.float32)), torch.from_numpy(np.asarray(labels, np.int64))
    widths = [x.shape[1], *training.hidden, n_classes]
    layers = [Layer.drawn(a, b, rng) for a, b in zip(widths, widths[1:], strict=False)]
    parameters = [part.requires_grad_() for layer in layers for part in layer]
    adam = torch.optim.Adam(parameters, lr=training.learning_rate)
    for _ in range(training.epochs):
        for rows in torch.randperm(len(features), generator=rng).split(training.batch_size):
            adam.zero_grad()
            loss = losses(layers, features[rows], targets[rows], drawn(layers, len(rows), rng)).sum()
            (loss + total_kl(layers) * (len(rows) / len(features))).backward()
            adam.step()
    return [Layer(*(part.detach() for part in layer)) for layer in layers]


def drawn(layers: Sequence[Layer], n: int, rng: torch.Generator) -> Noise:
    return [(torch.randn(n, len(one.z_mean), generator=rng), torch.randn(n, len(one.b_mean), generator=rng)) for one in layers]


def code_of(
    layers: Sequence[Layer], x: Features, labels: Labels, n_classes: int, draws: int | Sequence[Noise], seed: int = 0
) -> VariationalResult:
    """The code of labels by fitted layers; `draws`: how many, each with noise of its own for every example, or their noise."""
    rng = torch.Generator().manual_seed(seed)
    kind = layers[0].w_mean.dtype
    features, targets = torch.from_numpy(np.asarray(x)).to(kind), torch.from_numpy(np.asarray(labels, np.int64))
    with torch.no_grad():
        kl, plug_in = float(total_kl(layers)), float(losses(layers, features, targets, None).double().sum())
        sums = []
        for given in range(draws) if isinstance(draws, int) else draws:
            total = 0.0
            for rows in torch.arange(len(features)).split(8192):
                noise = drawn(layers, len(rows), rng) if isinstance(given, int) else given
                total += float(losses(layers, features[rows], targets[rows], noise).double().sum())
            sums.append(total)
    return VariationalResult(len(features), n_classes, kl, np.array(sums), plug_in)
