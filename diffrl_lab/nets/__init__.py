"""Networks behind one interface: net(x [B, ...], label [B] or [B, H], cond) -> the shape of x. They know no
schedule.

    heads     Heads: what the numbers of a network's last layer mean as a distribution
    image     A small U-Net for pictures that are shown past pictures and actions: what DIAMOND's world model is
              made of
    mlp       Networks for vectors: Fourier features of the noise level, and a plain MLP that serves as policy and
              as denoiser
    plan      A network for whole plans that is cheap on a CPU: an MLP proposes all points at once, a small
              convolution corrects them
    temporal  The temporal U-Net of Diffuser: 1-D convolutions along the plan, coarser and coarser, and back
"""

from .image import ImageUNet
from .mlp import MLP, Fourier
from .plan import PlanMLP
from .temporal import TemporalUNet

__all__ = ["MLP", "Fourier", "ImageUNet", "PlanMLP", "TemporalUNet"]
