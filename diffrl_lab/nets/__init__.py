"""Networks behind one interface: net(x [B, ...], label [B] or [B, H], cond) -> the shape of x. They know no
schedule."""

from .image import ImageUNet
from .mlp import MLP, Fourier
from .plan import PlanMLP
from .temporal import TemporalUNet

__all__ = ["MLP", "Fourier", "ImageUNet", "PlanMLP", "TemporalUNet"]
