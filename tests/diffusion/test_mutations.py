"""Known mistakes put into a copy of the core, one at a time: each must make a test of this folder fail."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT, SELF = Path(__file__).parents[2], Path(__file__)

MISTAKES = {  # name: (file, what it says, what it says with the mistake, the tests chosen)
    "pin shows noisy entries": ("guidance", "D(torch.where(here, v, x_t), t, cond)", "D(x_t, t, cond)", "pin"),
    "known entries in the loss": ("training", "valid = ~known if valid is None else valid & ~known", "pass", "known"),
    "guidance without 1 / alpha": ("guidance", "sigma**2 / alpha.clamp(min=1e-4)", "sigma**2", "ascent"),
    "the other w": ("guidance", "return free + _rows(", "return conditional + _rows(", "cfg"),
    "not given shown as 0": ("guidance", 'torch.full_like(cond, float("nan"))', "torch.zeros_like(cond)", "cfg"),
    "one drop for the batch": ("training", "torch.rand(len(cond), gen", "torch.rand(1, gen", "drops"),
    "the iterate clipped": ("samplers", "        x = x_s\n", "        x = x_s.clamp(-1, 1)\n", "clip"),
    "beta for beta tilde": (
        "samplers",
        "sigma_s * torch.sqrt(fresh)",
        "(sigma_t**2 - (alpha_ts * sigma_s) ** 2).sqrt()",
        "bayes",
    ),
    "temperature on the variance": ("samplers", "temperature * std *", "temperature**0.5 * std *", "temperature"),
    "signal left at t = 1": ("schedules", "beta_1: float = 20.0", "beta_1: float = 2.0", "t_1"),
    "leading times": ("schedules", "return torch.linspace(1, 0,", "return torch.linspace(1 - 1 / steps, 0,", "grid"),
    "2M of order 2 to the end": ("samplers", "torch.isfinite(w) & torch.isfinite(h)", "~torch.isnan(w)", "last_step"),
    "eta left out of the mean": ("samplers", "(sigma_s**2 - nu**2).clamp", "(sigma_s**2).clamp", "eta_1"),
    "the level before churn": (
        "samplers",
        "_noise_like(x_t, generator), t_hat",
        "_noise_like(x_t, generator), t",
        "edm",
    ),
    "prior of unit variance": ("schedules", "(self.prior_std * torch.randn", "(torch.randn", "prior"),
    "EMA an alias": ("training", "deepcopy(module).requires_grad_(False).eval()", "module", "ema"),
    "padding in the mean": ("training", ".sum() / mask.sum().clamp(min=1)", ".mean()", "padding"),
    "history kept": (
        "samplers",
        "        x = x_s\n",
        "        x = x_s\n        D.kept = [*getattr(D, 'kept', []), x]\n",
        "lazy",
    ),
    "no_grad around the yield": (
        "samplers",
        "        yield Frame(t, x, x0_hat)",
        "            yield Frame(t, x, x0_hat)",
        "no_grad",
    ),
    "optimiser forgotten": ("training", '"state": state}', '"state": {}}', "resumes"),
    "generator forgotten": ("training", "self.generator.set_state", "(lambda state: None)", "resumes"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_the_core_says_what_a_mistake_replaces(name):
    """Without this, a change of the core empties the list and only the slow run tells."""
    file, right, wrong, chosen = MISTAKES[name]
    text = (ROOT / "diffrl_lab" / "diffusion" / f"{file}.py").read_text()
    assert right in text, f"the core no longer says {right!r}: bring this list up to date"
    laws = "".join(path.read_text() for path in (ROOT / "tests" / "diffusion").glob("test_*.py") if path != SELF)
    assert re.search(rf"def test_\w*{chosen}", laws.lower()), f"no law has {chosen!r} in its name"


@pytest.mark.slow
@pytest.mark.parametrize("name", MISTAKES)
def test_a_known_mistake_is_noticed(name, tmp_path):
    file, right, wrong, chosen = MISTAKES[name]
    shutil.copytree(ROOT / "diffrl_lab", tmp_path / "diffrl_lab", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(
        ROOT / "tests" / "diffusion", tmp_path / "laws", ignore=shutil.ignore_patterns("test_mut*", "__py*")
    )
    path = tmp_path / "diffrl_lab" / "diffusion" / f"{file}.py"
    text = path.read_text()
    path.write_text(text.replace(right, wrong))
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-x",
        "-c",
        os.devnull,
        f"--rootdir={tmp_path}",
        "laws",
        "-k",
        chosen,
    ]
    out = subprocess.run(
        command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(tmp_path)}, capture_output=True, text=True
    )
    assert out.returncode == 1, out.stdout[-2000:]  # 1: tests ran and failed; 5: none was chosen
