# %% [markdown]
# ![Twelve plans each through the large maze, drawn with 1, 2 and 20 evaluations of one network, and with 1 evaluation of a student of it. With 1 step most plans cut through walls; with 2 and with 20 they follow the corridors; those of the student lie between.](attachment:06.png)
#
# # 06 · Fast sampling in control
#
# **The question.** A robot cannot wait for a hundred denoising steps. How few are enough, and what do fewer cost?
#
# All plans of the first three panels above come from one network; only the number of steps of the chain differs. The survey says that DDIM with 20 steps is faster than full DDPM, at a possible loss of quality, and it is unsure whether diffusion can control in real time. Here you test both. You count costs in evaluations of the network, alike for all, so that your result does not depend on your machine.
#
# **Afterwards you can**
# - say what a chain of few steps loses, against an answer that is known exactly, and how the loss shows in plans;
# - choose the number of steps from a deadline, and say what a late plan does to a robot;
# - save steps by a warm start, and distil a whole chain into one step.
#
# **You need** lesson 02 (samplers and what they cost) and lesson 04 (plans in mazes). **Machine:** about 30 seconds on two CPU cores, no network.
# **You:** 85 minutes (an estimate).

# %% tags=["collapsed"]
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from diffrl_lab import widgets
from diffrl_lab.course import check, guess, hint, mine
from diffrl_lab.diffusion import chain, ddpm, given, pin, sample
from diffrl_lab.studies import fast, pace
from diffrl_lab.widgets.explore import explore
from diffrl_lab.widgets.movie import movie
from diffrl_lab.worlds.walls import Walls

torch.set_num_threads(1)  # for tensors this small a second thread costs more than it brings

# %% tags=["parameters"]
PROFILE = "class"  # smoke: seconds; class: half a minute; full: more tasks and drives
SEED = 0

# %%
TASKS, DRIVES = {"smoke": (24, 4), "class": (64, 12), "full": (128, 40)}[PROFILE]
generator = torch.Generator().manual_seed(SEED)
widgets.component_map(["guided sampling", "execution"], alt="The survey's component map with two boxes lit, guided "
    "sampling and execution: this lesson makes sampling so fast that a robot can be controlled by it.")

# %% [markdown]
# ## 1 · What few steps lose, exactly
#
# The data have two modes: numbers near $-1$ with probability 0.3, and near $1$ otherwise. Their denoiser $D$ is exact, so every error is the sampler's. DDIM follows an ODE, the *probability flow*, from the noise $x_T$ down to a sample $x_0$. On a line the paths of an ODE never overtake each other. So the flow keeps the order: the noise at which a share $\Phi(x_T)$ of all noise lies to the left goes to the $x_0$ at which the same share $F(x_0)$ of all data lies to the left,
# $$F(x_0) = \Phi(x_T).$$
# This gives the end of each path without any chain. How near does a chain of few steps come?
#
# At $t = 1$ the noise says nothing about the data. So one step returns $D(x_T, 1) = \mathbb{E}[x_0]$, the mean, for *every* noise. A second step can correct it.

# %%
between = guess("06.two", "Two steps of the exact D: how many of the samples belong to neither mode (farther than 0.6 from both)?", 0, 100, "%")
between

# %%
D = fast.law("modes")
noise = torch.randn(2000, 1, generator=generator, dtype=torch.float64)
flow, COSTS = fast.flowed(D, noise), [1, 2, 3, 5, 10, 20, 50, 100]
few = {n: sample(D, noise, steps=n) for n in COSTS}
neither = {n: float(((x.abs() - 1).abs() > 0.6).double().mean()) for n, x in few.items()}
between.reveal(100 * neither[2])

# %%
ruler = torch.linspace(-2.5, 2.5, 201, dtype=torch.float64)[:, None]


def ends(steps: int) -> widgets.Picture:
    """Where DDIM with so many steps takes noise, and where the flow does."""
    curves = {"exact": fast.flowed(D, ruler)[:, 0], f"DDIM, steps: {steps}": sample(D, ruler, steps=steps)[:, 0]}
    return widgets.lines(ruler[:, 0], curves, xlabel="noise x_T", ylabel="sample x_0",
        alt=f"The sample against the noise that it came from: the exact flow climbs steeply from one mode to the other; DDIM with {steps} steps.")


explore(ends, steps=[3, 1, 2, 5, 10, 20, 100])

# %%
rms = lambda x: float((x - flow).square().mean().sqrt())
error = {"DDIM": [rms(x) for x in few.values()]}
error["2M"] = [rms(sample(D, noise, steps=n, step=fast.STEPS["2m"]())) for n in COSTS]
assert few[1].std() < 1e-6 and abs(float(few[1].mean()) - 0.4) < 1e-6, "exact: one step returns the mean"
assert error["DDIM"][0] > 1.5 * error["DDIM"][1] and error["DDIM"][-1] < 0.1, "exact: the chain converges to the flow"
widgets.lines(COSTS, error, logx=True, logy=True, points=True, xlabel="evaluations of D", ylabel="off the flow's end (rms)",
    alt="Distance to the exact end of the flow against evaluations of D, both logarithmic: it falls steeply from one to three, then steadily.")

# %% [markdown]
# Move the slider above. **Exact.** One step returns the same number for every noise, the mean of the data. It belongs to neither mode. With more steps the samples come nearer and nearer to the ends of the flow, but the *largest* gain comes from the second and third step.
#
# ## 2 · How the error shows in plans
#
# Now the planner of the large maze that ships with the course (one training). For each of many tasks it draws a plan from a noise of the task's own. The exact end of the flow is not known here. So we hold plans of few steps against a chain of 200 steps from *the same noise*: how many metres are they apart? But metres are not what a robot cares about. Does the plan lead through a wall?
#
# **Exercise 1** (easy, 8 minutes). Which share of the plans goes through a wall? A plan is lost if *one* place of it lies in a wall. `inside(points)` takes points `[..., 2]` and says for each whether it lies in a wall. Look at `parts + 1` evenly spaced places of each piece, its ends among them. Pitfall: two neighbours may lie on either side of a wall.

# %% tags=["exercise"]
def through(plans: Tensor, inside, parts: int) -> Tensor:
    """plans [n, H, 2]; inside(points [..., 2]) -> bool [...]. -> the share of plans that meet a wall, []"""
    ### BEGIN SOLUTION
    u = torch.linspace(0, 1, parts + 1, dtype=plans.dtype)[:, None]
    a, b = plans[:, :-1, None], plans[:, 1:, None]
    return inside(a + u * (b - a)).flatten(1).any(1).double().mean()
    ### END SOLUTION


check("06.walls", through)

# %%
through, tasks = mine("06.walls"), pace.Tasks("large", TASKS)
inside, fine = pace.inside(tasks.walls), tasks.plans(200, SEED)
ddim = {n: tasks.plans(n, SEED) for n in COSTS}
lost = {n: float(through(x, inside, 12)) for n, x in ddim.items()}
full = float(through(tasks.plans(100, SEED, step=ddpm()), inside, 12))

# %%
off = {n: pace.apart(x, fine) for n, x in ddim.items()}
assert lost[1] > 0.4 and lost[1] > lost[20] + 0.3, "large effect: one step goes through walls"
assert max(lost[20], full) < 0.2, "large effect: few plans do with 20 steps of DDIM, or 100 of DDPM"
assert off[1] > 2 * off[2] > 2 * off[20] and lost[20] < 0.2, "large effect: plans come nearer to those of 200 steps"
widgets.table({"evaluations": [*COSTS, "100 (DDPM)"], "metres off the plan of 200 steps": [*(f"{v:.3f}" for v in off.values()), "-"],
    "plans through a wall": [*(f"{v:.0%}" for v in lost.values()), f"{full:.0%}"]})

# %% [markdown]
# **Large effect.** With one step far more plans go through walls than with 20. **Large effect.** Few plans meet walls with 20 steps of DDIM, and few with 100 steps of DDPM, from the same weights. Plans still move by some centimetres when more steps are added, but that changes nothing that a robot would notice. The trade-off that the survey expects is there. It lies between one step and three, not at 20.
#
# Watch the chain itself. The left panel takes 3 steps, the right one 20.

# %%
k = tasks.farthest
known, value, state = tasks.known[[k]], tasks.value[[k]], tasks.planner.unscale(tasks.value[k])
plan_D = pin(given(tasks.planner.denoiser, {"known": known}), known, value)
with torch.no_grad():
    x_T = torch.randn(12, *value.shape[1:], generator=generator)
    films = {f"{n} steps": list(chain(plan_D, x_T, steps=n)) for n in (3, 20)}
movie(films, maze=tasks.walls, start=state[0, :2], goal=state[-1, :2], transform=tasks.planner.unscale, show="x0_hat",
    alt="Twelve plans come out of noise in the large maze, in 3 steps on the left and in 20 on the right; both end in the same corridors.")

# %% [markdown]
# ## 3 · A deadline
#
# In the table a plan costs evaluations; in the world it costs time, and the world does not wait. A control loop has `hz` periods in a second. A machine makes `rate` evaluations in a second. So what can be paid in one period is known before anything is run.
#
# **Exercise 2** (easy, 8 minutes). Choose the number of steps. A plan may take `every` periods. Besides its chain it costs `fixed` evaluations once (choosing among candidates, following), and each step asks the network `calls` times. What is the largest number of steps that is in time? Pitfall: sometimes none is, and then the answer is 0.

# %% tags=["exercise"]
def steps_in_time(rate: int, hz: int, every: int, fixed: int, calls: int) -> int:
    """The most steps of a chain whose plan is there within `every` periods; 0 where none is."""
    ### BEGIN SOLUTION
    return max(0, (rate * every // hz - fixed) // calls)
    ### END SOLUTION


check("06.deadline", steps_in_time)

# %%
steps_in_time, RATES = mine("06.deadline"), [10, 50, 200, 1000]
rows = {f"a plan may take {k} periods": [steps_in_time(r, pace.HZ, k, pace.CHOICE, 1) for r in RATES] for k in (1, 6, 50)}
widgets.table({"evaluations in a second": RATES, **rows})

# %% [markdown]
# What happens if a plan is late? In this loop the robot then *holds its last action*. The machine is a slow one, with 50 evaluations in a second, and the loop of the maze has 100 periods in a second. The robot plans again every 50 periods, always out of 16 candidates. Each drive ends at the goal, or after 800 periods.

# %%
late = guess("06.late", "Call the mean time to the goal with plans of 2 steps 1. What is it with plans of 20 steps?", 0.0, 5.0, "times")
late

# %%
loop = {n: pace.drives(n, 50, DRIVES, SEED) for n in (1, 2, 5, 20)}
needed = {n: float(np.mean([e.steps for e in each])) for n, each in loop.items()}
late.reveal(needed[20] / needed[2])

# %%
held = {n: sum(e.extras["held"] for e in each) / sum(e.steps for e in each) for n, each in loop.items()}
assert needed[20] > 1.3 * needed[2] and held[20] > 2 * held[2], "large effect: later plans, longer drives"
widgets.table({"steps of the chain": list(loop), "arrived": [f"{sum(e.reached for e in v)} of {DRIVES}" for v in loop.values()],
    "periods to the goal": [f"{v:.0f}" for v in needed.values()], "of these, held": [f"{v:.0%}" for v in held.values()],
    "plans a drive": [f"{np.mean([e.plans for e in v]):.1f}" for v in loop.values()]})

# %% [markdown]
# **Large effect.** On this slow machine the better plans, those of 20 steps, make longer drives than those of 2 steps: a robot that waits holds an action that no longer fits. With one step plans are never later, but many are bad, so it plans again and again. The best number of steps is neither the smallest nor the one with the best plans. It follows from the deadline: by your function, two steps are in time if a plan may take six periods.
#
# On a fast machine nothing is late, and then the number of steps decides alone. The study behind this lesson drove 50 episodes without any delay (one training of the planner; beside the share its interval by Wilson):

# %%
study, arms = pace.Study("driven"), [("ddim", 1), ("ddim", 2), ("ddim", 5), ("ddim", 20), ("ddpm", 100)]
arrived = {arm: float(study("success", sampler=arm[0], evaluations=arm[1], again="never")[0]) for arm in arms}
assert arrived["ddim", 20] == arrived["ddpm", 100] == 1 > arrived["ddim", 1], "large effect: only one step loses drives"
rows = [next(r for r in study.table.rows if (r["sampler"], r["evaluations"], r["again"]) == (*arm, "never")) for arm in arms]
widgets.table({"sampler, steps": [f"{name}, {n}" for name, n in arms], "arrived": [f"{r['success']:.2f}" for r in rows],
    "interval": ["{:.2f} to {:.2f}".format(*r["success_interval"]) for r in rows], "return": [f"{r['return']:.0f}" for r in rows]})

# %% [markdown]
# **Large effect.** Twenty steps of DDIM arrive as often as a hundred of DDPM: always, in these episodes. One step of DDIM arrives less often.
#
# ## 4 · A warm start
#
# A robot that plans again already has a plan, and most of it is still good. Why begin from pure noise?
#
# **Exercise 3** (medium, 12 minutes). Begin from the last plan. `shift(plan)` is what is left of it. Noise this to the time $t$ by $x_t = \alpha_t x_0 + \sigma_t \epsilon$, and denoise from there to 0 in `K` equal steps. `step(D, x, t, s)` is one step of DDIM, and `D.schedule(t)` gives the two scales. Pitfall: $D$ is told the level of the noise, so $x_t$ must have it.

# %% tags=["exercise"]
def warm(D, plan: Tensor, shift, t: float, K: int, noise: Tensor, step) -> Tensor:
    """The last plan [H, d] and noise [B, H, d] -> B new plans [B, H, d]"""
    ### BEGIN SOLUTION
    alpha, sigma = D.schedule(t)
    x = alpha * shift(plan) + sigma * noise
    times = torch.linspace(t, 0, K + 1)
    for a, b in zip(times[:-1], times[1:], strict=True):
        x = step(D, x, a, b)
    return x
    ### END SOLUTION


check("06.warm", warm)

# %% [markdown]
# We draw plans of 20 steps, let the robot follow the first four of their 32 points, and plan again from there: cold from pure noise, or warm by your function from $t = 0.5$, at the same number of evaluations.

# %%
warm, left = mine("06.warm"), pace.shift(tasks.planner, 4)
before, ways = tasks.drawn(20, SEED)[:16], {}
for n in (1, 2, 5):
    cold = lambda D, plan, noise, n=n: sample(D, noise, steps=n)
    again = lambda D, plan, noise, n=n: warm(D, plan, left, 0.5, n, noise, pace.one_step)
    ways[n] = [float(through(pace.continued(tasks, before, 4, draw, 8, SEED), inside, 12)) for draw in (cold, again)]
assert ways[1][0] > 0.25 and ways[1][1] < ways[1][0] / 3, "large effect: one step is enough from a warm start"
widgets.table({"evaluations": list(ways), "through a wall, cold": [f"{c:.0%}" for c, _ in ways.values()],
    "through a wall, warm": [f"{w:.0%}" for _, w in ways.values()]})

# %% [markdown]
# **Large effect.** With one evaluation, hardly any of the warm plans go through walls, while many of the cold ones do. What was decided in the steps above $t = 0.5$ need not be decided again. There is a price: a warm plan keeps the way of the last one, so it does not change its mind. Lesson 04 showed that the way is settled far above this $t$.
#
# ## 5 · Break it: one step where two ways lead around
#
# In the two-ways maze a block lies between start and goal. Plans of many steps pass it on the left or on the right. An exact $D$ would answer pure noise with the mean of all plans, which leads straight through the block. The network is not exact.

# %%
block, walls = [0.0, 1.5, 0.0, 0.0], Walls.named("two-ways")
meets = pace.inside(walls)
middle = guess("06.block", "Of 200 plans of one step, how many lead through the block?", 0, 100, "%")
middle

# %%
two = {n: pace.one_task("two-ways", n, 200, SEED, block, [0.0, -1.5]) for n in (1, 2, 5, 20)}
cut = {n: float(through(x, meets, 12)) for n, x in two.items()}
middle.reveal(100 * cut[1])

# %% tags=["broken"]
widgets.trajectories({f"steps: {n}, cut: {cut[n]:.0%}": x[:40] for n, x in two.items()}, maze=walls, start=block[:2], goal=[0.0, -1.5],
    ncols=4, points=False, alt="Forty plans each from the top to the bottom of the two-ways maze: with one step many lead through the "
    "block between the two ways, with two steps few, with five and twenty none.")

# %%
near = {n: float(x[:, 12:20, 0].abs().min(1).values.median()) for n, x in two.items()}
assert cut[1] > 0.15 and cut[5] < 0.05 and near[1] < near[20], "large effect: plans of one step lie between the ways"
explore(lambda steps: pace.plans_picture(two[steps][:40], walls, cut[steps], steps), steps=[1, 2, 5, 20])

# %% [markdown]
# **Large effect.** Plans of one step go through the block far more often than plans of five. They are mixtures of both ways, weighted by what the network believes from noise alone. An exact $D$ would send *all* of them through the block. The network does not average fully; perhaps because in training it hardly ever saw pure noise.
#
# | signature | in the picture | the number that gives it away | cure |
# |---|---|---|---|
# | a chain of one step | plans lead between the ways, through walls | share of plans through a wall, beside that of 20 steps | two or three steps, a warm start, or a student |
# | a plan that is late | the drive stalls, then swerves | share of periods in which an action is held | steps from the deadline, not from habit |
# | a chain that starts at the wrong level | warm plans are too smooth, or too rough | the level that $D$ is told, beside that of $x_t$ | noise to $t$, and begin there |
#
# ## 6 · One step that has learned the whole chain
#
# One step of DDIM returns the mean because that is what $D$ is. But the map of section 1, from noise to the end of the flow, is a function like any other. A *student* can learn it from pairs: a noise, and where the chain of the teacher took it. This is distillation (Luhman and Luhman 2021).
#
# We give the student 31 places on the line of noise, and it sees how near $x_T$ is to each of them.

# %%
places = torch.linspace(-2.4, 2.4, 31, dtype=torch.float64)
features = lambda z: (1 - (z.clamp(-2.4, 2.4) - places).abs() / 0.16).clamp(min=0)  # [n, 1] -> [n, 31]

# %% [markdown]
# **Exercise 4** (hard, 25 minutes). This is the synthesis of the lesson. Walk with $D$ from the noise `x_T` along all of `times` by DDIM; then fit a student that gives the end from the noise at once. It may be linear in `features(z)`. The check knows no right student: it compares yours with the closed form of section 1, on noise that it has not seen, and counts how often it asks $D$ (it may not). Pitfall: which noise belongs to which end?

# %% tags=["exercise"]
def distil(D, features, x_T: Tensor, times: Tensor):
    """x_T [n, 1], times [K + 1] from 1 to 0 -> a function: noise z [m, 1] -> samples [m, 1], without D"""
    ### BEGIN SOLUTION
    x = x_T
    for t, s in pairwise(times):
        (alpha_t, sigma_t), (alpha_s, sigma_s) = D.schedule(t), D.schedule(s)
        x0_hat = D(x, t)
        x = alpha_s * x0_hat + sigma_s * (x - alpha_t * x0_hat) / sigma_t
    W = torch.linalg.lstsq(features(x_T), x).solution
    return lambda z: features(z) @ W
    ### END SOLUTION


check("06.student", distil)

# %%
distil = mine("06.student")
one = distil(D, features, noise, torch.linspace(1, 0, 61, dtype=torch.float64))
inner, wanted = ruler[20:181], fast.flowed(D, ruler[20:181])
missed = float((one(inner) - wanted).square().mean().sqrt())
assert missed < 0.2, "exact: a student of one step comes near the flow, where one step of DDIM gives the mean"
widgets.lines(inner[:, 0], {"exact": wanted[:, 0], "student, one step": one(inner)[:, 0], "DDIM, one step": sample(D, inner, steps=1)[:, 0]},
    xlabel="noise x_T", ylabel="sample x_0", title=f"The student is off by {missed:.2f} (rms)",
    alt="Samples against noise: the student follows the exact curve from one mode to the other, one step of DDIM stays at the mean.")

# %% [markdown]
# **Exact.** Your student gives each noise nearly the sample that the flow gives it. With the same single step DDIM gives the mean. So one step is *not* too few to have two modes: one step of $D$ is.
#
# Does it work in a maze? The student that ships learned from ways that the large maze's planner went (one training is shown; three were made). Its network has about a fifth of the planner's weights. DDIM with one step costs as much, in evaluations; two steps cost twice that.

# %%
small = tasks.plans(1, SEED, pace.student())
arms = {"DDIM, 1 step": ddim[1], "DDIM, 2 steps": ddim[2], "DDIM, 20 steps": ddim[20], "student, 1 step": small}
share = {name: float(through(x, inside, 12)) for name, x in arms.items()}
assert share["student, 1 step"] < share["DDIM, 1 step"] - 0.1, "large effect: at equal cost the student is better"
assert share["student, 1 step"] > share["DDIM, 2 steps"], "large effect: but a second step of DDIM is better still"
widgets.table({"arm": list(arms), "metres off the plan of 200 steps": [f"{pace.apart(x, fine):.2f}" for x in arms.values()],
    "plans through a wall": [f"{v:.0%}" for v in share.values()]})

# %% tags=["punchline"]
x_T = torch.randn(12, *value.shape[1:], generator=torch.Generator().manual_seed(SEED))
shown = {name: pace.from_noise(tasks, k, x_T, steps, model) for name, steps, model in (("DDIM, 1 step", 1, None),
    ("DDIM, 2 steps", 2, None), ("DDIM, 20 steps", 20, None), ("student, 1 step", 1, pace.student()))}
widgets.trajectories({f"{name}: {share[name]:.0%} of {TASKS} through a wall": x for name, x in shown.items()}, maze=tasks.walls,
    start=state[0, :2], goal=state[-1, :2], ncols=2, points=False, alt="Twelve plans each through the large maze. One step of DDIM: "
    "most cut through walls. Two and twenty steps: they follow the corridors. One step of the student lies between.")

# %% [markdown]
# **Large effect.** At the cost of one evaluation, fewer of the student's plans go through walls than of DDIM's. **Large effect.** Still more of them do than with two steps of DDIM. So here distillation saves less than one evaluation. It pays where every evaluation is dear, or where a chain needs many.
#
# ## 7 · Quality against milliseconds
#
# So far nothing was timed. The milliseconds of this picture are those of *one* run of the study, on one thread; your machine has others. A whole plan draws 16 candidates, chooses one and makes a state for every step. A loop of 50 Hz leaves 20 ms for it. The share is that of single plans, 128 tasks drawn three times; a plan counts as lost there if more than a short piece of it lies in walls, so the shares are smaller than yours.

# %%
timed = pace.timed_arms()["ddim"]  # evaluations -> (milliseconds, share of plans in a wall)
assert timed[100][0] > 20 * timed[2][0], "large effect: a hundred evaluations take far longer than two"
assert timed[1][1] - timed[2][1] > 0.3 and timed[2][1] - timed[100][1] < 0.1, "large effect: what is gained is gained by the second evaluation"
explore(lambda steps: pace.against_time(tasks, k, x_T, steps), steps=[3, 1, 2, 5, 10, 20, 50, 100])

# %% [markdown]
# Move the slider. **Large effect.** From one evaluation of DDIM to two the share of plans in walls falls far more than from two to a hundred, and a plan of a hundred takes more than 20 times as long as a plan of two.
#
# ## 8 · What the survey claims, and what was measured
#
# | The survey says | Measured here | Verdict |
# |---|---|---|
# | DDIM with 20 steps is faster than full DDPM, at a possible loss of quality | a fifth of the evaluations; plans meet walls about as often, and drives arrive as often; a loss shows with one step, hardly from three on; where actions are drawn (*avoid*, below), fewer episodes arrive with these 20 than with all 100 of DDPM | held (large effect): faster; no loss at 20 in mazes, a loss where actions are drawn |
# | The cost of computation allows control in real time | yes, if steps are chosen by the deadline; where lateness is counted in evaluations, 20 steps make drives longer than 2 do on a slow machine; in a loop of 50 Hz by the clock (below) plans of 2 steps of DDIM miss fewer periods than plans of 100 of DDPM | held (large effect), for a small planner that plans twice a second |
#
# **Symbols.** $x_0, x_t, x_T$ data, noisy data, noise; $\hat{x}_0$, $D$ denoiser and its answer; $t$ diffusion time; $\alpha_t, \sigma_t$ scales of signal and noise; $\epsilon$ noise; $F, \Phi$ the shares of data and of noise to the left.
#
# **References.** Song et al., "Denoising Diffusion Implicit Models" (2021). Luhman and Luhman, "Knowledge Distillation in Iterative Generative Models for Improved Sampling Speed" (2021). Salimans and Ho, "Progressive Distillation for Fast Sampling of Diffusion Models" (2022). Janner et al., "Planning with Diffusion for Flexible Behavior Synthesis" (2022). Frans et al., "One Step Diffusion via Shortcut Models" (2025). Song et al., "Consistency Models" (2023). The survey: "Diffusion Models for Reinforcement Learning" (arXiv 2510.12253, 2025).
#
# **Next.** Lesson 09 asks the same of policies that draw actions.

# %% [markdown]
# ## Further · by the clock
#
# These are the milliseconds of the picture in section 7: *one* run of the study, on one thread of a busy machine. A loop of 50 Hz leaves 20 ms.

# %%
pace.in_time()

# %% [markdown]
# **Open.** On that machine, on that day, plans of five steps were in time for 50 Hz and most plans of ten were not. A larger network moves this border, a faster machine moves it back. The ratio to a forward pass depends less on the machine: a plan of $K$ steps costs little more than $K$ passes.

# %% [markdown]
# ## Further · a loop by the clock
#
# In section 3 the lateness of a plan was counted in evaluations, and nothing was timed. Here the clock counts. A loop of 50 Hz drives the ball of the large maze on one thread, and the planner works inside the loop. In each period of 20 ms an action is due. An action that is there within its period acts in this period. In every period that ends before, the last action is held, and the period counts as missed. A plan is the best of 16 candidates; the loop plans again after half a second, after a tenth, or in each period. A `warm` plan begins with the last one. This is *one* run on one machine, with the same starts for all rows.

# %%
clocked = pace.Study("loop")
missed = lambda n, sampler="ddim", every=25: float(clocked("missed", sampler=sampler, evaluations=n, every=every)[0])
assert missed(2) + 0.1 < missed(100, "ddpm"), "large effect: planning twice a second, 100 steps of DDPM miss more periods than 2 of DDIM"
assert missed(2, every=1) + 0.2 < missed(20, every=1), "large effect: planning in each period, 20 steps miss more than 2"
pace.loop_rows()

# %% [markdown]
# **Large effect.** A loop that plans twice a second misses fewer periods with 2 steps of DDIM than with 100 of DDPM, and a loop that plans in each period misses fewer with 2 steps than with 20. **Open.** How many periods are missed depends on the machine and on what else it does at the time, so the table speaks of this run alone. A missed period is not yet a lost drive: compare both columns. Drives take longer where plans are drawn anew from noise in each period than where they are drawn twice a second, with 2 steps, too. Perhaps each plan chooses its way anew; the reason was not measured.

# %% [markdown]
# ## Further · does a better solver help?
#
# On the exact modes the second-order solver 2M beats DDIM from five evaluations on. On plans? The study drew 128 tasks three times; a plan counts as lost there if more than a short piece of it lies in walls, so its shares are smaller than yours.

# %%
plans, counts = pace.Study("fidelity"), [1, 2, 10, 20, 100]
solvers = {s: [float(plans("off", maze="large", sampler=s, evaluations=n).mean()) for n in counts] for s in ("ddim", "heun", "2m")}
widgets.lines(counts, solvers, logx=True, points=True, xlabel="evaluations", ylabel="m, off the plan of 400 steps",
    alt="Distance of plans to those of 400 steps against evaluations, for DDIM, Heun and 2M: the three curves lie nearly on each other.")

# %% [markdown]
# **Open.** In the large maze the three solvers lie nearly on each other. Perhaps the field of a trained network is too rough for a higher order; why order does not pay here was not measured.

# %% [markdown]
# ## Further · trained for few steps
#
# So far few steps were taken with a network that was trained at all levels of noise. Is a network better that was trained *for* its few steps? The study trained planners of the large maze from scratch. One saw all levels; one the levels of a chain of 10 steps, one those of 20; one, trained once, those of 1000, as Ho et al. did. The last is a *shortcut model*: it is told how far a step goes, and learns from itself that one step must end where two of half the length end (Frans et al. 2025). All have the student's small network and a short training, so they are worse than the planner above. Compare them with each other. Beside them stands a *consistency model* (Song et al. 2023). It has the same network and training, but a teacher, the planner above: its answer must be the same at all points of a way that the teacher goes from noise to plan. Its second evaluation noises the first answer anew.

# %%
alone = pace.Study("short")
through_walls = lambda arm, sampler, n: alone("walls", arm=arm, sampler=sampler, evaluations=n)
leaps, plain = through_walls("shortcut", "ddim", 1), through_walls("all times", "ddim", 1)
assert leaps.max() < plain.min() - 0.05, "large effect: one step that learned its length is better than one of DDIM"
second = [through_walls(arm, "ddim", 2) for arm in ("shortcut", "all times")]
assert second[0].min() > second[1].max() > 0.5, "large effect: a second step of DDIM is better than two that were learned"
taught, student = through_walls("consistency", "renewed", 1), pace.Study("fidelity")("walls", maze="large", sampler="student", evaluations=1)
assert student.max() < taught.min() - 0.05 and taught.max() < leaps.min(), "large effect: a teacher's ends teach more than agreement along its ways"
pace.short_rows([("all times", "ddim", 1), ("shortcut", "ddim", 1), ("all times", "ddim", 2), ("shortcut", "ddim", 2), ("consistency", "renewed", 1), ("consistency", "renewed", 2), ("all times", "ddpm", 10),
    ("10 levels", "ddpm", 10), ("all times", "ddpm", 20), ("20 levels", "ddpm", 20), ("1000 levels", "ddpm", 20), ("1000 levels", "ddpm", 1000)])

# %%
native = {n: [float(through_walls(arm, "ddpm", n).mean()) for arm in ("all times", f"{n} levels")] for n in (10, 20)}
assert all(trained > free - 0.05 for free, trained in native.values()), "large effect: a training for few levels gains nothing here"
widgets.table({"steps of DDPM": list(native), "trained on all times": [f"{a:.2f}" for a, _ in native.values()],
    "trained on these levels": [f"{b:.2f}" for _, b in native.values()]})

# %% [markdown]
# **Large effect.** With one evaluation, fewer plans of the shortcut model go through walls than of DDIM's single step, in each of three trainings. **Large effect.** With two evaluations it is the other way round: DDIM's plans are better, as they were beside the student. **Large effect.** With one evaluation, fewer plans of the consistency model than of the shortcut model go through walls, but more than of the student of section 6, in each of three trainings. The student has the same teacher, network and number of ways, and learns the end of each way directly. So where whole ways of a teacher are there, their ends are the better lesson; the paper's training needs no whole ways. **Large effect.** Planners that were trained for 10 or 20 levels alone are not better with these steps than the one that saw all levels. So few steps of a network that was trained for all of them lose nothing here. A planner of few levels has no fine plan to be held against, because between its levels it was never trained; its cell is empty. The consistency model is held against its teacher's.
#
# **Open.** Whether this holds for larger networks and longer trainings, or in other mazes. More than a third of all these plans go through walls, and nobody drove them. The planner of 1000 levels was trained once.

# %% [markdown]
# ## Further · few steps where actions are drawn
#
# A plan in a maze is followed by a controller, which corrects small errors. Nothing corrects an action that was drawn. How many steps are enough there? The study took the diffusion policy and the flow policy of lesson 09 to the world *avoid*: a point passes three rows of posts on one of 24 ways, and an episode is lost if it touches a post. A policy draws 8 actions together and does all of them before it looks again. Each policy was trained three times, and each training drove 600 episodes with the same weights for all samplers. The entropy is that of the ways taken, over its highest value.

# %%
chunks = pace.Study("chunks")
arrived = lambda n, sampler: chunks("success", arm="diffusion", sampler=sampler, evaluations=n)
steps = [arrived(n, "ddim") for n in (1, 2, 20)]
assert steps[0].max() + 0.1 < steps[1].min() and steps[1].max() + 0.1 < steps[2].min(), "large effect: each time more episodes arrive"
assert max(arrived(20, s).max() for s in ("ddpm", "ddim")) < arrived(100, "ddpm").min() and arrived(100, "ddim").max() < arrived(100, "ddpm").min(), "large effect: fresh noise"
pace.chunk_rows([("diffusion", "ddpm"), ("diffusion", "ddim"), ("diffusion", "heun"), ("diffusion", "2m"), ("flow", "ddim")], [1, 2, 5, 20, 100])

# %%
counts = [1, 2, 3, 5, 10, 20, 100]
curves = pace.chunk_curves([("diffusion", "ddpm"), ("diffusion", "ddim"), ("diffusion", "2m"), ("flow", "ddim")], counts)
widgets.lines(counts, curves, logx=True, points=True, xlabel="evaluations", ylabel="share of episodes that arrive",
    alt="Share of episodes in avoid that arrive against evaluations of a chunk: all curves rise up to 20 evaluations, that of the flow policy lies lowest. "
    "From 20 to 100 DDPM's rises on, DDIM's rises a little and the flow's does not; 2M's ends at 20.")

# %% [markdown]
# **Large effect.** In each of three trainings more episodes arrive with two evaluations than with one, and more with 20 than with two. In the maze two or three were enough. **Large effect.** DDPM with 100 evaluations brings more episodes through than with 20, and more than DDIM with 20 or with 100. So where the network's own actions are done, steps that a controller would make up for are not free. **Open.** With 20 evaluations the second-order solvers Heun and 2M bring hardly more episodes through than DDIM; three trainings cannot tell whether they bring more at all.
#
# And a robot? The guided planner of Hopper (lesson 05b) draws 16 windows anew at each step, and the first action of the best one is done. Here each plan begins with noise, and only the number of evaluations differs. A score of 100 is an expert's. There is *one* training, and the interval is that of ten episodes.

# %%
pace.window_rows()

# %% [markdown]
# **Open.** One evaluation scores least but for one row, and without guidance three, five and ten score alike and twenty a little more. With guidance no order is seen, and the plans of ten steps score far less than their neighbours in the table. The scale of guidance was tuned for short chains that begin with the last plan, the row `as tuned`, and a chain of another length climbs by another amount. So the number of steps and the scale belong together: whoever changes one has to tune the other again, which was not done here. One training and ten episodes cannot say more.
#
# The plans themselves come nearer to those of 400 steps with more evaluations, from two on. The score does not follow.
