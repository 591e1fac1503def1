"""diffrl_lab: see, run, break and measure how diffusion models act in reinforcement learning.

The rooms, each importing only those to its left; `help(diffrl_lab.ROOM)` says what is in one:

    data         recorded episodes and their windows, Minari datasets, scaling, toy laws, and what ships
    worlds       what can be driven, and who drives it: mazes, robots, games, a bandit, small MDPs
    diffusion    the theory in one notation: schedules, denoisers, samplers, guidance, training
    nets         networks behind one interface, which know no schedule
    methods      one file, one method: planning, policies, models, baselines
    analysis     samples against data, plans against the dynamics, runs against each other; `diagnose`
    widgets      what a lesson shows: pictures, tables, movies, explorers, guesses
    studies      what was measured behind the lessons: `diffrl-lab study NAME [PART] --seeds N`
    course       a learner's things: checks, hints, guesses, editions, progress
    classroom    an instructor's things: releases, grading in a sandbox, reports
    publish      what is generated for readers: lessons, pages, the README, tables of studies

Nothing is imported here, so that `import diffrl_lab` costs nothing and `diffrl_lab.diffusion` costs what PyTorch costs.
"""

from __future__ import annotations

__version__ = "0.1.0"
