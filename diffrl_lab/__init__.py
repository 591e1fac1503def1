"""diffrl_lab: see, run, break and measure how diffusion models act in reinforcement learning.

The rooms, each importing only those to its left: data, diffusion, nets, methods, analysis, widgets. Nothing is
imported here, so that `import diffrl_lab` costs nothing and `diffrl_lab.diffusion` costs what PyTorch costs.
"""

from __future__ import annotations

__version__ = "0.1.0"
