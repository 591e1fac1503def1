"""The theory in one notation, x_t = alpha_t x_0 + sigma_t eps: schedules, denoisers, samplers, guidance, training.

constraints  Constraints on samples: four ways to keep them, and the exact guide of a constrained Gaussian
denoisers    Denoisers D(x_t, t, cond) = E[x_0 | x_t, cond]: learned ones, and exact ones to hold them against
guidance     Guidance: functions from denoiser to denoiser, to be put around each other
samplers     Samplers: one step from t to s < t, and the chain that is made of such steps
schedules    Noise schedules: how much signal and how much noise there is at each diffusion time
training     Training: a loss, one update, a generator of updates, and files from which a stopped run goes on
             bit for bit
"""

from .denoisers import (
    Denoiser,
    EmpiricalDenoiser,
    Function,
    GaussianDenoiser,
    MixtureDenoiser,
    NeuralDenoiser,
    brownian_bridge,
    brownian_motion,
    coefficients,
)
from .guidance import ascend, cfg, clip, given, pin
from .samplers import Frame, Step, chain, ddim, ddpm, dpm_pp_1, dpm_pp_2m, euler, heun, sample
from .schedules import Cosine, Discrete, Karras, Linear, Rectified, Schedule
from .training import (
    EMA,
    Batches,
    Run,
    Stage,
    cosine_decay,
    denoising_loss,
    descend,
    drop,
    fit,
    load,
    masked_mean,
    save,
    seeded,
)

# fmt: off
__all__ = [
    "EMA", "Batches", "Cosine", "Denoiser", "Discrete", "EmpiricalDenoiser", "Frame", "Function", "GaussianDenoiser",
    "Karras", "Linear", "MixtureDenoiser", "NeuralDenoiser", "Rectified", "Run", "Schedule", "Stage", "Step", "ascend",
    "brownian_bridge", "brownian_motion", "cfg", "chain", "clip", "coefficients", "cosine_decay", "ddim", "ddpm",
    "denoising_loss", "descend", "dpm_pp_1", "dpm_pp_2m", "drop", "euler", "fit", "given", "heun", "load",
    "masked_mean", "pin", "sample", "save", "seeded",
]
