"""Vectors in the frequency domain (SMORE, Ong and Khong, WSDM 2025, arXiv 2412.14978)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class SpectrumFilter(nn.Module):
    """``F^{-1}(w ⊙ Π_m F(x^m))`` with a learned complex w; F is the orthonormal Fourier transform over a vector.

    With one x a filter that takes out noise, with several a fusion.
    """

    def __init__(self, width: int):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(width // 2 + 1, 2))
        self.width = width

    def forward(self, vectors: Sequence[Tensor], present: Sequence[Tensor]) -> Tensor:
        """``[n, d]`` from some ``[n, d]``; what is not ``present``, ``[n]`` each, is no factor."""
        spectrum: Tensor | float = torch.view_as_complex(self.weight)
        with torch.autocast(self.weight.device.type, enabled=False):
            for x, has in zip(vectors, present, strict=True):
                of_x = torch.fft.rfft(x.float(), dim=1, norm="ortho")
                spectrum = spectrum * torch.where(has.unsqueeze(1), of_x, torch.ones_like(of_x))
            return torch.fft.irfft(spectrum, n=self.width, dim=1, norm="ortho")
