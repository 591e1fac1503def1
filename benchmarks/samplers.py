"""Time of a sampler over (steps x bare forward pass), and of a training step over a bare one; one thread.

The same network, batch and number of steps for diffrl_lab and for HF diffusers' scheduler with the same method. Every
figure is the least processor time of many interleaved repeats. A bare training step is forward, backward, clipping and
AdamW on a fixed noisy batch.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from diffrl_lab.diffusion import Discrete, NeuralDenoiser, ddim, ddpm, denoising_loss, descend, dpm_pp_2m, sample
from diffrl_lab.nets import MLP, TemporalUNet

from . import table

STEPS = 20
LINEAR = {"num_train_timesteps": 1000, "beta_start": 1e-4, "beta_end": 0.02, "beta_schedule": "linear"}


def least(functions: list[Callable[[], object]], seconds: float) -> list[float]:
    """The least time of each function over interleaved repeats."""
    best, end = [float("inf")] * len(functions), time.perf_counter() + seconds
    while time.perf_counter() < end:
        for i, f in enumerate(functions):
            start = time.thread_time()  # of this thread alone: other processes cost it nothing
            f()
            best[i] = min(best[i], time.thread_time() - start)
    return best


def theirs(scheduler: object, net: nn.Module, x_T: Tensor) -> Callable[[], Tensor]:
    """The sampling loop of diffusers' documentation."""

    def loop() -> Tensor:
        scheduler.set_timesteps(STEPS)
        x = x_T
        with torch.no_grad():
            for n in scheduler.timesteps:
                x = scheduler.step(net(x, n.expand(len(x)) / 1000, None), n, x).prev_sample
        return x

    return loop


def sampling(net: nn.Module, x_T: Tensor, seconds: float) -> list[tuple[str, float, float | None]]:
    from diffusers import DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler

    D, label = NeuralDenoiser(net, Discrete.linear(), "eps"), torch.zeros(len(x_T))
    pairs = {
        "DDPM": (ddpm(), DDPMScheduler(**LINEAR, clip_sample=False, timestep_spacing="trailing")),
        "DDIM": (ddim(), DDIMScheduler(**LINEAR, clip_sample=False, timestep_spacing="trailing")),
        "DPM-Solver++(2M)": (
            dpm_pp_2m(),
            DPMSolverMultistepScheduler(**LINEAR, timestep_spacing="trailing", final_sigmas_type="zero"),
        ),
    }

    @torch.no_grad()
    def bare() -> None:
        for _ in range(STEPS):
            net(x_T, label)

    runs: list[Callable[[], object]] = [bare]
    for step, scheduler in pairs.values():
        runs += [lambda step=step: sample(D, x_T, steps=STEPS, step=step), theirs(scheduler, net, x_T)]
    base, *times = least(runs, seconds)
    return [(name, times[2 * i] / base, times[2 * i + 1] / base) for i, name in enumerate(pairs)]


def training(net: nn.Module, x_0: Tensor, seconds: float) -> tuple[str, float, float | None]:
    from diffusers import DDPMScheduler

    D, scheduler, label = NeuralDenoiser(net, Discrete.linear(), "eps"), DDPMScheduler(**LINEAR), torch.rand(len(x_0))
    target = torch.randn_like(x_0)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-6, weight_decay=0.0)
    update = descend(lambda x: denoising_loss(D, x), D, lr=1e-6)

    def step(loss: Tensor) -> None:
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()

    def bare() -> None:
        step(nn.functional.mse_loss(net(x_0, label), target))

    def with_diffusers() -> None:
        n, eps = torch.randint(1000, (len(x_0),)), torch.randn_like(x_0)
        step(nn.functional.mse_loss(net(scheduler.add_noise(x_0, eps, n), n / 1000), eps))

    base, ours, other = least([bare, lambda: update(x_0), with_diffusers], seconds)
    return "training step", ours / base, other / base


def run(seconds: float = 8.0) -> list[dict]:
    threads, rows = torch.get_num_threads(), []
    torch.set_num_threads(1)
    try:
        for name, net, shape, sampler, trainer in (
            ("MLP, B=256", MLP(8), (256, 8), "<= 1.25", "<= 1.05"),
            ("MLP, B=1", MLP(8), (1, 8), "", ""),
            ("temporal U-Net, B=64, H=32", TemporalUNet(6), (64, 32, 6), "<= 1.05", "<= 1.05"),
        ):
            x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
            measured = sampling(net, x, seconds)
            if shape[0] > 1:
                measured.append(training(net, x, seconds))
            for method, ours, other in measured:
                goal = trainer if method == "training step" else sampler
                rows.append({"network": name, "": method, "diffrl_lab": ours, "HF diffusers": other, "to reach": goal})
    finally:
        torch.set_num_threads(threads)
    return rows


if __name__ == "__main__":
    print(table(run()))
