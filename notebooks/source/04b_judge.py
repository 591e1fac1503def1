# %% [markdown]
# ![Histogram of the dynamics residual of a half-cheetah: the residuals of recorded steps are nearly zero, and those of drawn steps are many powers of ten larger.](attachment:04b.png)
#
# # 04b · Judge it
#
# **The question.** A model draws trajectories that look real. How do you find out what is wrong with them?
#
# The drawn half-cheetahs of this lesson look like recorded ones in the film. For the picture above a simulator repeated every step: it reproduces the recorded steps, and nearly no drawn one.
# This is the survey's first experiment: train a trajectory DDPM on logged data and *evaluate unconditioned generation quality* (unconditioned: nothing is given). You write three measures, and find out what a measure cannot see.
#
# **Afterwards you can**
# - say how far samples lie from data, compare this with a *noise floor*, and notice when a measure is blind;
# - judge samples against the dynamics, with a simulator and without one;
# - tell many good routes from one unreliable route.
#
# **You need** lesson 04: plans, windows, and a model that is trained with the mask and can draw with nothing given. **Machine:** about 35 seconds on two CPU cores, no network. **You:** 75 minutes (an estimate).

# %% tags=["collapsed"]
import numpy as np
import torch

from diffrl_lab import widgets
from diffrl_lab.analysis.feasibility import dynamics_residual, infeasible, locomotive, points_in_walls, segments_in_walls
from diffrl_lab.analysis.sweeps import Table
from diffrl_lab.course import check, guess, hint, mine
from diffrl_lab.data.minari import read
from diffrl_lab.data.shipped import shipped
from diffrl_lab.methods.planning.diffuser import RUNGS, Config, Diffuser, Pieces
from diffrl_lab.methods.planning.windows import Windows, joined
from diffrl_lab.studies import trajectories
from diffrl_lab.widgets.explore import explore
from diffrl_lab.widgets.movie import movie
from diffrl_lab.worlds import mazes
from diffrl_lab.worlds import robots as locomotion

# %% tags=["parameters"]
PROFILE = "class"  # smoke: seconds; class and full: more samples
SEED = 0

# %%
SEEDS, DRAWS = {"smoke": (16, 2), "class": (64, 4), "full": (64, 20)}[PROFILE]
H, dt, generator = 32, 0.05, torch.Generator().manual_seed(SEED)
widgets.component_map(["data", "diffusion model", "execution"], alt="The survey's component map; lit in lesson 04b: data, diffusion model, execution.")

# %% [markdown]
# ## 1 · How far from the data?
#
# Two sets of samples are given: one drawn from the model, one taken from the data. Are their distributions equal? The **energy distance** (Székely and Rizzo 2013) answers with one number,
# $$2\,\mathbb{E}|X - Y| - \mathbb{E}|X - X'| - \mathbb{E}|Y - Y'|,$$
# where $X, X'$ are two draws of one distribution and $Y, Y'$ of the other. It is 0 if the distributions are equal, and positive otherwise.
#
# **Exercise 1 · energy distance** (medium, 10 minutes). Estimate it from the rows of `x` and `y`; $|\cdot|$ is the Euclidean length. Pitfall: $X$ and $X'$ are two *different* draws, so a row must not be compared with itself.

# %% tags=["exercise"]
def energy(x: torch.Tensor, y: torch.Tensor) -> float:
    """The energy distance of samples x [n, d] and y [m, d], estimated without bias."""
    ### BEGIN SOLUTION
    def within(z):
        return torch.cdist(z, z).sum() / (len(z) * (len(z) - 1))

    return float(2 * torch.cdist(x, y).mean() - within(x) - within(y))
    ### END SOLUTION


check("04b.energy", energy)

# %% [markdown]
# For two normal distributions of variance 1, with means a distance $m$ apart, the energy distance is known exactly. How close to it comes an estimate from 64 samples of each?

# %%
energy, m = mine("04b.energy"), torch.linspace(0, 2, 9).double()
length = (2 / np.pi**0.5) * (torch.exp(-(m**2) / 4) - 1) + m * torch.erf(m / 2)  # E|X - Y| - E|X - X'|
draws = torch.tensor([[float(energy(*(torch.randn(2, 64, 1, generator=generator).double() + torch.stack([a, 0 * a])[:, None, None])))
                       for _ in range(40)] for a in m])
assert (abs(draws.mean(1) - 2 * length) < 4 * draws.std(1) / 40**0.5).all(), "exact, but for four standard errors"

# %%
low, high = draws.quantile(0.05, 1), draws.quantile(0.95, 1)
assert 2 * length[1] < high[0], "large effect: a shift of 0.25 lies below the floor"
widgets.lines(m, {"exact": 2 * length, "64 samples": (draws.mean(1), low, high)}, xlabel="m, distance of the two means", ylabel="energy distance",
    title=f"Equal distributions: up to {high[0]:.2f} by chance", alt="Energy distance of two normal distributions against the distance of their means: the estimates follow the exact curve in a band.")

# %% [markdown]
# **Exact.** On average the estimate equals the exact energy distance, within four standard errors. A single estimate does not: even for equal distributions ($m = 0$) it is often above 0, by chance. In 95 % of the draws it then stays below a bound, which is called its **noise floor**. Below the floor two distributions cannot be told apart. With 64 samples the energy distance of a shift by a quarter of a standard deviation lies below the floor.
#
# ## 2 · Does a plan agree with itself?
#
# Lesson 04 trained planners with the mask, so they also draw with nothing given. We judge four of them, for the U-maze: *untrained*, after a tenth of the training (*10%*), *good*, and *overfit*. Beside the energy distance we use two measures:
# - **walls:** the share of points, and of segments between them, that lie in walls. This measure needs the map, which no model here has seen;
# - **inconsistency:** how far a step ends from where the plan's own velocities lead, $|x_{k+1} - x_k - \delta \, (v_k + v_{k+1}) / 2|$, where a step lasts $\delta$ seconds. This measure needs nothing but the plan.
#
# **Exercise 2 · inconsistency** (medium, 10 minutes). One plan of $H$ points takes `duration` seconds in all. Give the inconsistency of each of its $H - 1$ steps, in metres. Pitfall: how long
# is one step?

# %% tags=["exercise"]
def gaps(positions: torch.Tensor, velocities: torch.Tensor, duration: float) -> torch.Tensor:
    """What each step moves against what the velocities at its two ends say, as a length. -> [H - 1]"""
    ### BEGIN SOLUTION
    step = duration / (len(positions) - 1)
    said = step * (velocities[1:] + velocities[:-1]) / 2
    return (positions.diff(dim=0) - said).norm(dim=-1)
    ### END SOLUTION


check("04b.consistency", gaps)

# %%
gaps, umaze = mine("04b.consistency"), mazes.Walls.named("umaze")
ladder = {rung: Diffuser.load("maze-umaze", rung) for rung in RUNGS}
pieces = Pieces(read(shipped("recordings/pointmaze-umaze-v0")), Config(), generator)  # of the recordings
data = pieces.plans(300)[0]
flat = lambda x: ladder["good"].scaler(x).flatten(1).double()  # one row for each plan, in the data's own units


def judged(x):
    """Points and segments in walls, and the root mean square of your gaps, of plans [n, H, 5]."""
    seconds = (H - 1) * trajectories.seconds_per_point(x)
    off = torch.cat([torch.as_tensor(gaps(p[:, :2], p[:, 2:4], float(s))) for p, s in zip(x, seconds, strict=True)])
    return points_in_walls(x, umaze), segments_in_walls(x, umaze), float(off.square().mean().sqrt())

# %%
def climb(rung, seed):
    x = trajectories.unconditioned(ladder[rung], 64, seed)
    return x, (*judged(x), float(energy(flat(x), flat(data))))


floor = torch.tensor([float(energy(flat(pieces.plans(64)[0]), flat(data))) for _ in range(40)])  # data against data
scores = {rung: [climb(rung, 100 * SEED + k)[1] for k in range(DRAWS)] for rung in RUNGS}  # DRAWS sets of 64 plans
scores["data"] = [(*judged(pieces.plans(64)[0]), float(floor[k])) for k in range(DRAWS)]
trajectories.score_table(scores)

# %%
untrained, good, overfit = (np.mean(scores[rung], 0) for rung in ("untrained", "good", "overfit"))
assert untrained[3] > 3 * floor.max() and good[3] < untrained[3] / 5 and good[2] < untrained[2] / 5, "large effect"
assert overfit[3] > floor.quantile(0.95) and overfit[0] < 0.05, "large effect: legal, and not the data's distribution"
assert max(row[2] for row in scores["good"]) < 0.7 * min(row[2] for row in scores["10%"]), "large effect: more consistent, in every set"
print(f"noise floor of the energy distance: {floor.quantile(0.95):.2f} in 95 % of the draws")
explore(lambda rung, seed: trajectories.rung_picture(*climb(rung, seed), umaze, rung), rung=list(RUNGS), seed=(0, 20))

# %% [markdown]
# **Large effect.** The *good* planner is far nearer to the data than the *untrained* one by every measure. In every set of 64 plans its inconsistency is smaller than that of *10%*. The *overfit* planner copies a few drives: nearly none of its points lie in walls, and yet its energy distance to the data lies
# above the noise floor. So no single one of these measures is enough.
#
# **Open.** Is *good* as good as data, and better than *10%*? By energy distance 64 plans are too few to say: some sets of *good* plans lie below the noise floor and some above it, and so do the sets of *10%*. (The numbers in brackets are the lowest and the highest of the sets.) The ranges of *good* and *10%* overlap in the walls, too. Only the inconsistency separates these two.
#
# ## 3 · Robots that never ran
#
# The survey's experiment asks for *MuJoCo locomotion logs*. A hopper and a half-cheetah were driven by half-trained policies. A window is 32 steps of observation $o_k$ *and* action $a_k$, and two shipped models draw new windows. Play the films:
# without the titles, would you know which robots were drawn?

# %%
luck = torch.Generator().manual_seed(SEED)
robots = {name: locomotion.make(name) for name in ("hopper", "halfcheetah")}
models = {name: Windows.load(shipped(f"weights/windows-{name}.safetensors")) for name in robots}
logs = {name: joined(read(shipped(f"recordings/{name}-medium-v0")), H, stride=7) for name in robots}
lived = {name: x[torch.randperm(len(x), generator=luck)[:SEEDS]] for name, x in logs.items()}
with torch.no_grad():
    dreamt = {name: torch.cat(m.sample(SEEDS, steps=20, generator=luck), -1) for name, m in models.items()}

# %%
film, scene = trajectories.stage(robots["hopper"], {n: models["hopper"].split(x["hopper"][:3])[0] for n, x in {"recorded": lived, "drawn": dreamt}.items()})
movie(film, **scene, alt="Recorded hoppers and hoppers drawn by the model hop in place of a moving camera; hard to tell apart.")

# %%
film, scene = trajectories.stage(robots["halfcheetah"], {n: models["halfcheetah"].split(x["halfcheetah"][:2])[0] for n, x in {"recorded": lived, "drawn": dreamt}.items()})
movie(film, **scene, alt="Recorded half-cheetahs and drawn ones gallop side by side, seen by a camera that goes along.")

# %% [markdown]
# They look alike. There is no wall to run into, so we ask the simulator. It starts at the window's *own* $o_k$ and takes the window's *own* action $a_k$. The distance from where it lands to the window's
# $o_{k+1}$, in standard deviations of a recorded change, is the **dynamics residual**. Its floor is the residual of recorded windows. This floor is not exactly 0: the log
# is kept in single precision, and the hopper's observations clip the speed of fast joints.

# %%
question = "Of the half-cheetah's drawn steps, how many have a larger residual than 99 % of the recorded steps?"
prediction = guess("04b.residual", question, 0, 100, "%")
prediction

# %%
residual, still = {}, {}
for name, env in robots.items():
    change = models[name].split(logs[name])[0].diff(dim=1).std((0, 1)).numpy()
    for what, x in {"recorded": lived, "drawn": dreamt}.items():
        residual[name, what] = dynamics_residual(locomotive(env), *models[name].split(x[name]), change)
    still[name] = float(np.median(np.linalg.norm(models[name].split(lived[name])[0].diff(dim=1).numpy() / change, axis=-1)))
beyond = {name: infeasible(residual[name, "drawn"], residual[name, "recorded"]) for name in robots}
prediction.reveal(100 * beyond["halfcheetah"])

# %%
median = {key: float(np.median(r)) for key, r in residual.items()}
assert all(median[name, "drawn"] < 0.6 * still[name] for name in robots), "large effect: the models have learned how robots move"
assert beyond["halfcheetah"] > 0.9, "large effect: and nearly every step is off"
trajectories.table({name: {"recorded": f"{median[name, 'recorded']:.0e}", "drawn": f"{median[name, 'drawn']:.2f}", "if nothing moved": f"{still[name]:.2f}",
    "drawn, beyond 99 % of the recorded": f"{beyond[name]:.0%}"} for name in robots}, "median residual")

# %% tags=["punchline"]
edge = {what: np.log10(residual["halfcheetah", what]) for what in ("recorded", "drawn")}
widgets.histogram(edge, bins=np.linspace(-8, 2, 80), marks={"99 % of the recorded": np.quantile(edge["recorded"], 0.99)},
    xlabel="dynamics residual of a step, power of ten", title=f"Half-cheetah: {beyond['halfcheetah']:.0%} of the drawn steps lie beyond",
    alt="Half-cheetah: residuals of drawn steps lie many powers of ten above those of recorded steps, and beyond their 99 % line.")

# %%
edge = {what: np.log10(residual["hopper", what]) for what in ("recorded", "drawn")}
widgets.histogram(edge, bins=np.linspace(-8, 2, 80), xlabel="dynamics residual of a step, power of ten", title=f"Hopper: {beyond['hopper']:.0%} lie beyond",
    alt="Hopper: most recorded residuals are tiny, but where a joint's speed was clipped they are as large as those of drawn steps.")

# %% [markdown]
# **Large effect.** The median residual of drawn steps is less than 0.6 of what it would be if nothing moved, so the models have learned something of how the robots move. And yet more than 90 % of the half-cheetah's drawn steps have a larger residual than 99 % of the recorded ones; the film does not show that. The hopper shows why a floor is needed. Where its log clips the speed of a joint, the recorded steps themselves have large residuals, and therefore fewer drawn steps lie beyond them.
# A robot that follows such a window needs feedback: act, observe, plan again.
#
# ## 4 · Experiment 1, in numbers
#
# A study measured the same for five logs, with models of several sizes and lengths of training. Two more measures are needed. **Precision** is the share of samples that lie where data lie, and **recall** is the share of data that lie where samples lie (Kynkäänniemi et al. 2019). *Where data lie* means: in a ball around a data point that reaches to its third neighbour.
# For the robots the models are compared with a simple rival: one *normal distribution* of whole windows, with their mean and full covariance. By energy distance this rival is as near to the hopper's log as one half of the log is to the other.

# %%
study = Table.load(shipped("results/unconditioned.json"))
question = "How many windows of the hopper's normal distribution lie where data lie (its precision)?"
prediction = guess("04b.blind", question, 0, 100, "%")
prediction

# %%
normal, trained = ({k: study.column(k, world="hopper", size=s, T=t).mean() for k in ("energy", "floor_energy_95", "precision")}
    for s, t in (("gaussian", 0), ("medium-3000", 20)))
prediction.reveal(100 * normal["precision"])

# %% [markdown]
# Here is the table, with 20 sampling steps. In brackets stands the floor of each measure, which is what data score against data. (Good precision and recall are *high*, so there a model falls short if it is below the number in brackets.) For the energy distance the floor is the 95 % point <!-- 95: a level by definition, not a result -->: below it a model cannot be told from data. Each row is the mean of three trainings, except the shipped models, *medium-3000* and the large hopper (one each); *medium-3000* had three times the updates.

# %%
trajectories.study_tables(study)

# %%
assert max(row["energy"] - row["floor_energy_95"] for row in (normal, trained)) < 0, "large effect: energy sees no difference"
assert trained["precision"] > normal["precision"] + 0.5, "large effect: precision does"
live = {name: (median[name, "drawn"], study.column("residual", world=name, size="medium-3000", T=20)[0]) for name in robots}
assert all(abs(ours / theirs - 1) < 0.25 for ours, theirs in live.values()), "large effect: live as in the table"
trajectories.table({name: {"measured above": f"{a:.2f}", "in the study": f"{b:.2f}"} for name, (a, b) in live.items()}, "median residual")

# %% [markdown]
# **Large effect.** By energy distance one normal distribution lies as near to the hopper's log as two halves of the log lie to each other. By precision hardly any of its windows lies where data lie, while most windows of the trained model (*medium-3000*) do. So a measure can be blind: use several, and know
# the floor of each.
#
# **Open.** The study does not say whether the size of a model or its training time matters more. Three times the updates improved the dynamics residual more than a larger model did, but only the medium size was trained with two numbers of updates.
#
# ## 5 · Break it: one task, many seeds
#
# The survey's first failure signature is *"High trajectory variance across samples leading to inconsistent behavior."* We measure it. We take one start and one goal, draw many
# plans, and let a ball follow each of them, in two mazes: in two-ways there are two good routes, and in the U-maze there is one (the negative control). Let $\bar{x}$ be the mean of all plans, $\bar{x}_g$ the mean of those on route $g$, and $p_g$ their share. Then the variance splits exactly,
# $$\underbrace{\mathbb{E}|x - \bar{x}|^2}_{\text{total}} = \underbrace{\textstyle\sum_g p_g |\bar{x}_g - \bar{x}|^2}_{\text{between routes}} + \underbrace{\textstyle\sum_g p_g \, \mathbb{E}_g |x - \bar{x}_g|^2}_{\text{within a route}}.$$
#
# **Exercise 3 · split the variance** (medium, 10 minutes). You get one number per seed, and the group (the route) of each. Give `(between, within)`, each group weighed by its share.
# Pitfall: the two must add up to the variance of all.

# %% tags=["exercise"]
def split(values: torch.Tensor, groups: torch.Tensor) -> tuple[float, float]:
    """(between, within) with between + within = the variance of `values` [S] (mean square, no n - 1)."""
    ### BEGIN SOLUTION
    between = within = 0.0
    for g in groups.unique():
        chosen = values[groups == g]
        portion = len(chosen) / len(values)
        between += portion * float(chosen.mean() - values.mean()) ** 2
        within += portion * float(chosen.var(correction=0))
    return between, within
    ### END SOLUTION


check("04b.spread", split)

# %%
question = "Two-ways: how much of the variance of the driven paths, half-way, lies between the routes?"
prediction = guess("04b.share", question, 0, 100, "%")
prediction

# %%
split = mine("04b.spread")
two, one = (trajectories.crowd(name, SEEDS, SEED, generator) for name in ("two-ways", "umaze"))
between, within = trajectories.half_way(split, *two["driven"])
prediction.reveal(100 * between / (between + within))

# %% tags=["broken"]
for what in ("plan", "driven"):
    between, within = trajectories.half_way(split, *two[what])
    assert between > 4 * within, "large effect: nearly all of it lies between the routes"
assert sum(trajectories.half_way(split, *two["plan"])) > 5 * sum(trajectories.half_way(split, *one["plan"])), "large effect: more"
trajectories.spread_picture(two["driven"], one["driven"], dt)

# %%
trajectories.variances(split, two, one)

# %% [markdown]
# **Large effect.** The variance of the plans is more than five times as large in two-ways as in the U-maze; the table has the driven paths, too. In two-ways almost all of it lies *between* the routes: there are two good plans, and not one
# unreliable plan. So high variance alone is not a signature of failure; high variance **within a route** is. (The right corridor costs a toll, so the *returns* differ between the routes, too.)
#
# | signature | in the picture | the number that gives it away | cure |
# |---|---|---|---|
# | high variance across samples, and nothing is wrong | the paths part into bundles, and each bundle is narrow | the variance within a route, small beside the variance between routes | split the variance by route before you call a planner unreliable |
# | samples look right, and the simulator does not reproduce them | the film shows nothing wrong | the dynamics residual, larger than that of nearly all recorded steps | plan again after each few actions; more updates |
# | one measure says *as good as data*, and the samples are not | samples lie where no data lie | precision far below its floor, while the energy distance is below its own | use several measures, each beside its floor |
#
# ## 6 · What the survey claims, and what was measured
#
# | The survey says | Measured here | Verdict |
# |---|---|---|
# | Signature: high variance across samples | nearly all of the variance lies between two good routes | failed as stated (large effect) |
# | Signature: mismatch with the dynamics | positions and velocities disagree more in drawn plans than in recorded ones, and the simulator reproduces nearly no drawn step of a half-cheetah | held (large effect) |
# | Experiment 1: unconditioned quality | measured on five logs, each measure beside its floor; whether samples and data have one distribution is not proven | open |
#
# **Symbols.** $X, Y$ draws of two distributions; $o_k, a_k$ `obs, act` observation and action; $x$ position, $v$ velocity; $\delta$ `dt` seconds between two points; $H$ `H` points of a plan;
# $K$ `K` sampling steps; $\bar{x}$ mean of many plans; $p_g$ share of route $g$; $m$ `m` distance of two means.
#
# **References.** Janner et al., "Planning with Diffusion for Flexible Behavior Synthesis" (2022). Székely and Rizzo, "Energy statistics" (2013). Kynkäänniemi et al., "Improved Precision and Recall Metric for Assessing
# Generative Models" (2019). The survey: "Diffusion Models for Reinforcement Learning" (arXiv 2510.12253, 2025).
#
# **Next.** Lesson 05 steers the samples: towards a return, a side, a goal. To write guidance yourself on an empty page: `diffrl-lab start blank-05`.

# %% [markdown]
# ## Further · few steps cost diversity
#
# How many sampling steps $K$ does a model need? The picture shows precision and recall of the hopper's small model, as the mean of three trainings; the band reaches from the lowest to the highest of them.

# %%
K = sorted(set(study.column("T", world="hopper", size="small")))
curves = {name: np.array([study.column(name, world="hopper", size="small", T=k) for k in K]).T for name in ("precision", "recall")}
low, high = ({name: float(c[:, i].mean()) for name, c in curves.items()} for i in (0, -1))
assert low["precision"] > high["precision"] and low["recall"] < high["recall"], "large effect: few steps are safe and alike"
widgets.lines(K, {name: (c.mean(0), c.min(0), c.max(0)) for name, c in curves.items()}, logx=True, points=True,
    xlabel="K, sampling steps", ylabel="share", alt="Hopper, small model, three trainings: with five steps most samples lie where data lie but "
    "cover few of them; with more steps recall rises and precision falls.")

# %% [markdown]
# **Large effect.** With five sampling steps more samples lie where data lie than with a hundred steps, and they cover fewer of the data: few steps cost diversity.
