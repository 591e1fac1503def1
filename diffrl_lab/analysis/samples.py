"""Samples as arguments: tensors (of any precision, with gradients or not), numpy arrays and lists are taken alike."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffrl_lab.diffusion.schedules import tensor


def real(name: str, values: Any) -> Tensor:
    """`values` as a tensor of float32 at least, with its gradient. Raises ValueError, with `name`, for no numbers."""
    x = tensor(name, values)
    if x.is_complex():
        raise ValueError(f"{name} must hold real numbers, got {x.dtype}")
    return x.to(torch.promote_types(x.dtype, torch.float32))


def array(name: str, values: Any) -> NDArray[np.float64]:
    """`values` as an array of float64, without its gradient. Raises ValueError, with `name`, for no numbers."""
    if torch.is_tensor(values) or (isinstance(values, list | tuple) and any(map(torch.is_tensor, values))):
        return real(name, values).detach().to("cpu", torch.float64).numpy()
    try:
        return np.asarray(values, float)
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be a tensor, an array or numbers, got {values!r}") from None
