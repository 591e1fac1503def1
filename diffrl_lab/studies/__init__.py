"""What was measured behind the lessons: a lesson's question each, with its parts and seeds (`study.py` runs them).

acting             Few steps where actions are drawn: chunks of a policy in avoid, and windows of a planner of
                   Hopper, parts of `fast`
actions            What lesson 10 draws around its own few lines: the actions of policies on the bandit, and
                   what critics believe
bridges            What lesson 03 measures, and draws, around its own few lines: clones on a bridge, and values
                   fitted on a corridor
augmented          What lesson 12 draws around its own few lines: transitions against the equations and
                   against the rows recorded
calibration        How often `analysis.diagnose` is wrong about samples whose defect is known: false alarms, and
                   what it sees
clocked            A control loop by the clock, on one thread, with misses counted: what the part `loop` of
                   `fast` runs in
collapse           Collapse, behind lesson 17: what each number of diversity sees and is blind to, and from how
                   many samples on
collecting         What an online learner on Pendulum gains from generated rows in its replay: a part of
                   `synthetic`, behind lesson 12
costs              What a chain costs: evaluations of a network, counted at the denoiser, and a thread's
                   milliseconds, in turn
data               Data, behind lessons 03 and 04: what planners and policies need of it, on the medium and the
                   large maze
diversity          What lesson 17 draws around its own few lines: a distribution with known modes, defects, measures,
                   futures
drawn              A maze that a learner draws: drives in it are recorded, a small planner is trained on them,
                   and it is tried there
dreams             What a world model of Breakout draws where the game's law is known, behind lesson 13
dreamt             A policy that practises in rollouts of states: is it any good at the real Pendulum? A part of
                   `dreams`, lesson 13
fast               Fast sampling in control, behind lesson 06: what a plan is worth after K evaluations of a
                   network, and what it costs
frontiers          What lessons 05 and 05b draw around their own few lines: the knob of guidance on the planner
                   of two ways
gathered           Drives that wait for each other's plans, so that all of these are drawn in one batch
guidance           Guidance, behind lessons 05 and 05b: what it does to modes, validity and return, and whether
                   it reaches goals
hopping            Offline policies on a robot, from recorded steps of many skills: a part of `offline`, behind
                   lesson 10's *Further*
horizon            Long horizons, behind lesson 07: what goes wrong over a plan's length, in the large maze
imitation          Imitation, behind lesson 09: which policies keep the ways that a demonstrator took, and what
                   that costs
improvement        Improvement from data, behind lesson 10: which offline policies find what is paid without
                   leaving the data
joints             Joints of windows, exactly: what four ways to put windows of a known process together leave of
                   the correlation across a joint
language           Plans by sentences, behind the end of lesson 08: who heeds a sentence, and who one whose place and
                   way never met?
led                What a policy makes of an exact denoiser's rollouts: PolyGRAD's lead beside `ascend`
legs               What lesson 07 draws around its own few lines: chunks over recorded legs, and drives to far
                   goals
measured           What lesson 05b shows of the tables that ship: goals reached, what a guide learns, robots;
                   and whether they hold
obstacles          What lesson 08 draws around its own few lines: plans and drives beside zones, and samples
                   beside a truncated law
offline            Offline policies where errors add up over steps, behind lesson 10's *Further*: avoid, its 24 ways
                   paid differently
pace               What lesson 06 measures and draws around its own few lines: plans of few steps, and a loop
                   that does not wait
ogbench            OGBench's pointmazes (Park et al. 2025), behind lesson 07's *Further*: planners, and what is
                   simpler, on its tasks
parameterisations  What a network predicts, and modes that are lost by it: four symmetric modes, two ways, and a
                   policy in avoid
planner            The planner, behind the README's table: success and score in three mazes, beside what needs
                   less or knows more
planners           What the commands `train` and `evaluate` do: from a maze's name to a recording, a training
                   and numbers
practice           Practice in a dream, behind lesson 13: is a player who practised in a dreamed Breakout any
                   good at the real one?
robots             Robots, behind lesson 05b: a guided planner against behaviour cloning, on Hopper and
                   HalfCheetah
rollouts           Rollouts of states: what models of a world make of known actions over 1 to 50 steps, parts of
                   `dreams`
safety             Safety, behind lesson 08: what rules that are given at test time do to plans, and what of it
                   is driven
stitching          Stitching, behind lesson 07: from recordings of short legs to goals that no leg reaches, in
                   mazes
study              The frame of every study: parts, seeds, hours and the manifest; `diffrl-lab study NAME [PART]
                   --seeds N`
synthetic          Synthetic experience where the truth is known, behind lesson 12
trajectories       What lessons 04 and 04b measure, and draw, around their own few lines: plans in mazes,
                   driven, judged, counted
unconditioned      Unconditioned diffusion of logs, behind lesson 04b (the survey's experiment 1), against model
                   size and T
ways               What lesson 09 draws around its own few lines: roll-outs coloured by way, and actions at a
                   fork against the exact
"""

from __future__ import annotations

import re
from pathlib import Path


def names() -> list[str]:
    """The studies that there are: the files and folders of this room that have `PARTS`. Nothing is imported."""
    room = Path(__file__).parent
    files = {p.stem: p for p in room.glob("*.py")} | {p.parent.name: p for p in room.glob("*/__init__.py")}
    return sorted(name for name, p in files.items() if re.search(r"^PARTS\b", p.read_text("utf-8"), re.M))
