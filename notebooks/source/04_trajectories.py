# %% [markdown]
# # 04 · Trajectory diffusion
#
# **The question.** A diffusion model can draw whole trajectories. When is such a drawing a *plan*?
#
# You will watch an exact model pull paths out of noise, tie down their ends in a way that looks right and is wrong, and repair it.
# Then you do the same with recorded driving: you cut windows, train a temporal U-Net before your eyes, and judge hard what it draws.
#
# **Afterwards you can**
# - fix the start and the goal of a plan without spoiling what lies between, and show by a number that you did not;
# - cut recordings into windows, and judge samples against the data *and* against the dynamics;
# - tell many routes from one unreliable route.
#
# **You need** lesson 01: $x_t = \alpha_t x_0 + \sigma_t \epsilon$, and the denoiser $D(x_t, t) = \mathbb{E}[x_0 \mid x_t]$.
# **Machine:** about 45 seconds on two CPU cores, no network. **You:** 80 minutes (an estimate).

# %% tags=["collapsed"]
import numpy as np
import torch

from diffrl_lab import widgets
from diffrl_lab.analysis.chains import belief_settles
from diffrl_lab.analysis.distance import energy_distance, nearest, noise_floor
from diffrl_lab.analysis.intervals import wilson
from diffrl_lab.analysis.sweeps import Table
from diffrl_lab.course import check, guess, hint
from diffrl_lab.data import Scaler, episodes, resample
from diffrl_lab.data.minari import read
from diffrl_lab.data.shipped import shipped
from diffrl_lab.diffusion import (Batches, Cosine, Function, NeuralDenoiser, brownian_bridge, brownian_motion, chain, cosine_decay, ddpm,
                                  denoising_loss, descend, fit, given, pin, sample)
from diffrl_lab.methods.planning.diffuser import RUNGS, Config, Diffuser, Pieces
from diffrl_lab.methods.planning.plans import interpolated
from diffrl_lab.nets import PlanMLP, TemporalUNet
from diffrl_lab.studies import trajectories
from diffrl_lab.widgets.explore import explore
from diffrl_lab.widgets.movie import movie
from diffrl_lab.worlds import mazes

# %% tags=["parameters"]
PROFILE = "class"  # smoke: seconds; class: a minute; full: longer training
SEED = 0

# %%
BRIDGE_STEPS, STEPS, SEEDS, DRAWS = {"smoke": (300, 60, 16, 2), "class": (500, 250, 64, 4), "full": (3000, 4000, 64, 20)}[PROFILE]
torch.manual_seed(SEED)
H, generator = 32, torch.Generator().manual_seed(SEED)
widgets.component_map(["data", "diffusion model"], alt="The survey's component map; lit in lesson 04: data, diffusion.")

# %% [markdown]
# ## 1 · A path whose distribution is known
#
# A plan is a list of $H$ points, and a model of plans is a distribution over all of them at once. The simplest one is a random walk: its
# points are Gaussian with covariance $\Sigma_{ij} = 1 + \min(u_i, u_j)$ at $u_i = i / (H - 1)$, so its denoiser is known exactly.
#
# Now tie both ends: the walk shall begin at 0 and end at 1. What remains is a **Brownian bridge**,
# $$\mathbb{E}[x_i] = u_i, \qquad \operatorname{Var}[x_i] = u_i (1 - u_i).$$
# It is the smallest planning problem there is: *given start and goal, which paths lie between?*

# %%
free, known, value = brownian_motion(H, Cosine()), torch.zeros(H, 1, dtype=torch.bool), torch.zeros(H, 1)
known[[0, -1]], value[-1] = True, 1.0
bridge = free.condition(known, value)  # Gaussian conditioning

# %%
truth = brownian_bridge(H, [0.0], [1.0], Cosine())
torch.testing.assert_close(bridge.cov, truth.cov)  # exact
u, mean, sd = torch.linspace(0, 1, H), truth.means[0], truth.cov[0].diagonal().clamp(min=0).sqrt()
widgets.band(u, mean, sd, truth.sample(64, generator)[..., 0], xlabel="u, along the plan",
           alt="Samples of the Brownian bridge from 0 to 1 fill its exact band, which is widest in the middle.")

# %% [markdown]
# **Exact.** Conditioning the free walk gives the same covariance as the bridge's formula, entry by entry. Here is its reverse process. Scrub it, and remember that $t$ is diffusion time while $u$ is the place along the plan:
# all points of a path take part in every step.

# %%
noise = torch.randn(64, H, 1, generator=generator)
frames = list(chain(bridge, noise, steps=60, step=ddpm(), generator=generator))
movie(frames, schedule=Cosine(), alt="Sixty-four paths come out of noise, all points at once, as bridges from 0 to 1.")

# %% [markdown]
# **Exercise 1 · the survey's quick check** (easy, 5 minutes). *"Describe the forward process of DDPM and how the reverse process is
# parameterized for trajectory generation."* One letter each.
# 1. Forward, a trajectory is noised so: (a) noise enters at the first state and the dynamics carry it on; (b) every entry of the window gets
#    its own Gaussian noise, at one level $t$; (c) later points get more noise.
# 2. The network of the reverse process gives: (a) the next state for a state; (b) a sample of the clean window; (c) the mean of the clean window
#    (or the noise: the same information) for a whole noisy window and $t$.
# 3. The physics enters through: (a) the recorded windows alone; (b) a simulator inside the chain; (c) the noise schedule.

# %% tags=["exercise"]
### BEGIN SOLUTION
### STUB answer = None  # three letters, such as ("a", "b", "c")
answer = ("b", "c", "a")
### END SOLUTION
check("04.forward", answer)

# %% [markdown]
# ### Pinning: the obvious way to fix the ends
#
# A real planner has no $\Sigma$ to condition. It has a denoiser of *free* paths, and it does what Diffuser does (Janner et al. 2022): it overwrites the
# known entries. `pin(D, known, value)` does this; here you write it.
#
# **Exercise 2 · pin** (medium, 10 minutes). Give $\hat{x}_0$ with the entries `known` (bool) equal to `value`. 1. Show $D$ the known entries clean, whatever
# $t$ is. 2. Keep them in its answer. Pitfall: with one of the two alone, the ends look right and the rest does not listen.

# %% tags=["exercise"]
def pinned(D, x_t: torch.Tensor, t: torch.Tensor, known: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """x0_hat with its known entries kept, from a D that was shown them clean. -> the shape of x_t"""
    ### BEGIN SOLUTION
    x0_hat = D(torch.where(known, value, x_t), t)
    return torch.where(known, value, x0_hat)
    ### END SOLUTION


check("04.pin", pinned)

# %%
question = "Standard deviation of the middle point with both ends pinned? (In the exact bridge: 0.50)"
prediction = guess("04.pin", question, 0.0, 2.0)
prediction

# %%
noise = torch.randn(1000, H, 1, generator=generator)
pin_only = sample(pin(free, known, value), noise, steps=50, step=ddpm(), generator=generator)
prediction.reveal(float(pin_only[:, H // 2].std()))

# %% [markdown]
# The pinned paths are far too spread. Why? $D$ is told that all of $x_t$ carries noise of level $t$. So it takes the clean ends for noisy ones and hardly
# trusts them. The middle goes its own way until little noise is left.
#
# **The cure is to train for it.** A network learns what clean ends mean if it meets them in training: for each path nothing is known, or the start, or start and goal.
# Known entries are shown clean, together with the mask, and they leave the loss. One set of weights is then an unconditioned model *and* a conditional one.
# The network trains now. Then move the first control through its three settings, and look at the points beside the ends.

# %%
def masks(x_0, goal):
    """Nothing, the start, or start and goal known; a third of the paths each. -> bool, the shape of x_0"""
    draw, mask = torch.rand(len(x_0), 1, generator=generator), torch.zeros_like(x_0, dtype=torch.bool)
    mask[:, 0] |= draw > 1 / 3
    mask[:, -1, goal] |= draw > 2 / 3
    return mask


def train(D, data, steps, lr, goal=slice(None)):
    def loss(x_0):
        mask = masks(x_0, goal)
        return denoising_loss(D, x_0, known=mask, cond={"known": mask}, generator=generator)

    update = descend(loss, D, lr=lr, schedule=cosine_decay(steps, warmup=20))
    return list(fit(update, Batches(data, 128, generator), steps))


walk = NeuralDenoiser(PlanMLP(H, 1, width=64, depth=1, channels=8, positions=1), Cosine(), predict="v")
history = train(walk, free.sample(8192, generator), BRIDGE_STEPS, lr=1e-2)

# %%
masked, band = pin(given(walk, {"known": known}), known, value), (u, mean, sd)
methods, exact = {"pin off": free, "pin only": pin(free, known, value), "trained with the mask": masked}, float(sd[H // 2])
explore(lambda method, steps, seed: trajectories.bridges(methods[method], band, method, exact, steps=steps, seed=seed),
        method=list(methods), steps=(5, 100, 5, 50), seed=(0, 20))

# %%
with torch.no_grad():
    drawn = {m: sample(D, noise, steps=50, step=ddpm(), generator=generator)[..., 0].std(0) for m, D in methods.items()}
off, only, trained = (float(s[H // 2]) for s in drawn.values())
assert only > 1.6 * exact, "large effect: pinning alone is far too spread"
assert abs(trained - exact) < 0.15 < abs(only - exact), "large effect: the mask in training repairs it"
widgets.lines(u, {"exact": sd, **drawn}, xlabel="u, along the plan", ylabel="standard deviation",
            title=f"Half-way: exact {exact:.2f}, pin only {only:.2f}, trained with the mask {trained:.2f}",
            alt="Standard deviation along the plan: trained with the mask on the exact arch, pinned only far above it.")

# %% [markdown]
# **Large effect.** Half-way, paths that are pinned alone are more than one and a half times as spread as the exact bridge; trained with the mask they are as spread as the bridge. `known` in the loss and `pin` in the chain are one idea. From here on every model is trained with the mask.
#
# ## 2 · Recordings become windows
#
# A network wants pieces of equal size, so a recording is cut into **windows**. A window must never cross from one
# episode into the next. There the ball jumps from a goal to a new start, and the model would learn to teleport.
#
# **Exercise 3 · count them** (easy, 5 minutes). How many windows of `horizon` steps lie in episodes of the given `lengths` (in steps)? They may overlap and
# begin at every step. Pitfalls: an episode of exactly `horizon` steps, a shorter one, and the border between two.

# %% tags=["exercise"]
def count_windows(lengths: torch.Tensor, horizon: int) -> int:
    """Number of windows of `horizon` steps that lie inside one episode."""
    ### BEGIN SOLUTION
    return sum(max(int(L) - horizon + 1, 0) for L in lengths)
    ### END SOLUTION


check("04.windows", count_windows)

# %% [markdown]
# Now real trajectories: a scripted driver in a maze with one block and two equal ways around it. He tosses a fair coin, so the share of left is
# exactly $p = 1/2$. The state is $(x, y, v_x, v_y)$, a step lasts 0.01 s <!-- 0.01: the simulator's step -->, an episode is one drive from the top to the bottom. Our windows have 156 steps; every fifth is taken, which gives 32 states, 0.05 s apart.

# %%
drives, block = read(shipped("recordings/pointmaze-two-ways-p50-v0")), mazes.Walls.named("two-ways")
rows, dt = episodes.windows(drives, 156)[:, ::5], 0.05
assert not torch.isin(rows[:, :-1], drives.ends).any(), "exact: no window goes on after the end of an episode"
print(f"{len(drives)} drives, {len(drives.act) - len(drives)} steps -> {len(rows)} windows of {rows.shape[1]} states")

# %%
obs = drives.obs[rows]
scaler = Scaler.fit(obs)  # each of the four columns to [-1, 1]
ways = ["left" if mazes.side(path) < 0 else "right" for path in obs[::25, :, :2]]
widgets.trajectories(obs[::25, :, :2], maze=block, groups=ways, points=False,
                   alt="Recorded windows: about half go around the block on the left and half on the right.")

# %% [markdown]
# ## 3 · How far must a network see?
#
# An output of a convolution depends on a stretch of the plan, its *receptive field*. Diffuser's claim is that a small one is a gift, because pieces of different recordings can be
# **stitched** into plans that nobody recorded. When does that work? Again there is an exact answer. Of all denoisers whose answer at point $i$ depends on the
# points $i - r \dots i + r$ alone, the best for recorded plans $x^n$ is
# $$D_i(x_t) = \sum_n \frac{e^{-\ell_n}}{\sum_m e^{-\ell_m}} \, x^n_i, \qquad \ell_n = \sum_{|j - i| \le r} \frac{|x_{t,j} - \alpha_t x^n_j|^2}{2 \sigma_t^2}.$$
# No network with that reach can have a lower loss (Kamb and Ganguli 2024). Suppose that each point sees one neighbour on either side. Commit a guess; then drag $r$.

# %%
whole = resample(drives.obs, drives.starts, drives.lengths, H)[drives.lengths > 120][..., :2]  # a drive as 32 points


def local(r):
    data, i = whole / 2, torch.arange(H)  # about unit size

    def best(x_t, t, cond=None):
        alpha, sigma = (level.to(x_t) for level in Cosine()(t))
        far = ((x_t[:, None] - alpha * data) ** 2).sum(-1).cumsum(-1)  # [B, N, H], summed along the plan
        far = torch.nn.functional.pad(far, (1, 0))
        near = far[..., (i + r + 1).clamp(max=H)] - far[..., (i - r).clamp(min=0)]
        return torch.einsum("bnh,nhd->bhd", torch.softmax(-near / (2 * sigma**2).clamp(min=1e-8), 1), data)

    return Function(best, Cosine())


def stitched(r, n, seed):
    g = torch.Generator().manual_seed(seed)
    x = 2 * sample(local(r), torch.randn(n, H, 2, generator=g), steps=20, step=ddpm(), generator=g)
    return x, block.crosses(x[:, :-1], x[:, 1:]).any(1)  # plans [n, H, 2], and which of them cut a wall

# %%
torn = guess("04.torn", "Of 100 plans with r = 1, how many run through a wall?", 0, 100)
torn

# %%
reach = [0, 1, 2, 3, 4, 6, 8, 12, 16, 31]
plans = {r: stitched(r, 100, SEED) for r in reach}
torn.reveal(int(plans[1][1].sum()))

# %%
explore(lambda r, seed: trajectories.stitched_picture(*stitched(r, 12, seed), block, r), r=(0, 31, 1, 1), seed=(0, 20))

# %%
cut = [float(plans[r][1].mean()) for r in reach]
copy = [float(nearest(plans[r][0], whole).median()) / H**0.5 for r in reach]
between = torch.cdist(whole.flatten(1), whole.flatten(1)).fill_diagonal_(9e9).amin(1).median() / H**0.5
assert 1 - block.inside(plans[1][0]).mean() > 0.97 and cut[1] > 0.4, "large effect: legal points, illegal plans"
assert cut[-1] < 0.05 and copy[-1] < between, "large effect: full sight retrieves"
widgets.lines(reach, {"share of plans through a wall": cut, "metres from the nearest recording": copy}, points=True,
            xlabel="r, neighbours seen on either side", ylabel="share, or metres",
            title=f"r = 31 copies: {copy[-1]:.2f} m from a recording (between recordings: {between:.2f} m)",
            alt="Against the reach r: the share of plans through a wall and the distance to a recording both fall.")

# %% [markdown]
# **Large effect.** With a small $r$ nearly all points lie where the ball has been, yet many plans jump from corridor to corridor, because no point knows what the far end
# has chosen. With a large $r$ the plan is one recording, retrieved: it lies nearer to a recording than recordings lie to each other. Between the two lies the gift: whole, legal, and recorded by nobody.
#
# ## 4 · Judge it before you use it
#
# The survey's first experiment: train a trajectory DDPM on logged data and *evaluate unconditioned generation quality*. By which measures?
# - **Walls:** the share of points, and of segments between them, in walls. This needs the map, which no model here ever saw.
# - **Inconsistency:** what a step moves, against what its own velocities say, $|x_{k+1} - x_k - \delta \, (v_k + v_{k+1}) / 2|$, a step lasting $\delta$ seconds. This needs nothing but the plan.
# - **Energy distance** to the data, $2\,\mathbb{E}|X - Y| - \mathbb{E}|X - X'| - \mathbb{E}|Y - Y'|$: it is 0 for equal distributions, but never quite 0 with finite samples. So it is held against its *noise
#   floor*, the same distance between two samples of the data.
#
# **Exercise 4 · inconsistency** (medium, 10 minutes). For one plan of $H$ points that takes `duration` seconds in all, give its $H - 1$ gaps in metres. Pitfall: how long
# is one step?
#
# Below the exercise a temporal U-Net trains, with the mask, and is judged. It gets its reach from halving the plan between levels: with one level an output sees 17 points, with two 55, more than our
# plans have.

# %% tags=["exercise"]
def gaps(positions: torch.Tensor, velocities: torch.Tensor, duration: float) -> torch.Tensor:
    """What each step moves against what the velocities at its two ends say, as a length. -> [H - 1]"""
    ### BEGIN SOLUTION
    step = duration / (len(positions) - 1)
    said = step * (velocities[1:] + velocities[:-1]) / 2
    return (positions.diff(dim=0) - said).norm(dim=-1)
    ### END SOLUTION


check("04.consistency", gaps)

# %%
assert [TemporalUNet(4, mults=m).receptive_field for m in ((1,), (1, 2))] == [17, 55], "exact: each level sees further"
unet = NeuralDenoiser(TemporalUNet(4, mults=(1, 2)), Cosine(), predict="x0")
history = train(unet, scaler(obs), STEPS, lr=2e-3, goal=slice(0, 2))  # a goal is a position; its velocity stays free
widgets.show(widgets.losses(history, alt="Training loss of the temporal U-Net on recorded windows: a steep fall, then a slow one."))
with torch.no_grad():
    x = scaler.inverse(sample(unet, torch.randn(64, H, 4, generator=generator), steps=20, step=ddpm(), generator=generator))
for name, (points, segments, off) in {"recorded": trajectories.judged(obs[::20], block, dt), "U-Net": trajectories.judged(x, block, dt)}.items():
    print(f"{name:9} points in walls {points:.1%}, segments in walls {segments:.1%}, inconsistent by {off:.3f} m")

# %% [markdown]
# After seconds of training its plans keep almost clear of walls that it never saw. But its positions and its velocities tell slightly different stories.
#
# Now we judge a ladder of shipped planners for the U-maze. They were trained on pieces of *any* duration (the log of the duration is a fifth column). First comes their noise floor.

# %%
umaze, recorded = mazes.Walls.named("umaze"), read(shipped("recordings/pointmaze-umaze-v0"))
ladder = {rung: Diffuser.load("maze-umaze", rung) for rung in RUNGS}
scale = ladder["good"].scaler
data = Pieces(recorded, Config(), generator).plans(400)[0]
floor = noise_floor(scale(data), 64, 300, generator)


def climb(rung, seed):
    x = trajectories.unconditioned(ladder[rung], 64, seed)
    return x, (*trajectories.judged(x, umaze, trajectories.seconds_per_point(x)), energy_distance(scale(x), scale(data[:300])))


scores = {rung: [climb(rung, 100 * SEED + k)[1] for k in range(DRAWS)] for rung in RUNGS}  # DRAWS sets of 64 plans
scores["data"] = [(*trajectories.judged(data, umaze, trajectories.seconds_per_point(data)), float(floor.mean()))]
untrained, good, overfit = (np.mean(scores[rung], 0) for rung in ("untrained", "good", "overfit"))
trajectories.score_table(scores, float(floor.quantile(0.95)))

# %%
assert untrained[3] > 3 * floor.max() and good[3] < untrained[3] / 5 and good[2] < untrained[2] / 5, "large effect"
assert overfit[3] > floor.quantile(0.95) and overfit[0] < 0.05, "large effect: legal, and not the data's distribution"
assert max(row[2] for row in scores["good"]) < 0.7 * min(row[2] for row in scores["10%"]), "large effect: more consistent, in every set"
explore(lambda rung, seed: trajectories.rung_picture(*climb(rung, seed), umaze, rung), rung=list(RUNGS), seed=(0, 20))

# %% [markdown]
# **Large effect.** The good planner is far nearer to the data than the untrained one by every measure, and its positions and velocities disagree less than those of the planner after 10 % of the training, in every set of 64 plans. The overfit planner copies a few drives: it keeps clear of all walls, and its distance to the data is still
# above their noise floor. So one number is never enough. **Open.** Is *good* as good as data? By energy distance 64 plans cannot tell it from data where its distance lies below the floor, and they cannot tell it from *10 %* either. Read the ranges in brackets: a single set may put more of the good plans into walls than of the others.
#
# ## 5 · Plans
#
# Pin start and goal, and the same weights plan. Scrub: at which $t$ is it decided who goes left? A plan's *belief* $\hat{x}_0$ goes around the block on one side from the first moment on; we ask from which moment on it keeps to the side on which it ends.
#
# **And is a plan a path?** A PD controller then follows positions and velocities, a state every 0.01 s<!-- 0.01: the simulator's step -->. We give it the planner's plans, and plans of section 3
# with $r = 1$ between the same start and goal, whose points are all legal.

# %%
env, planner = mazes.make_maze("two-ways", position_noise_range=0.0), Diffuser.load("maze-two-ways")
seed, start, goal = trajectories.across(env, SEED)
plan = planner.plan(start, goal, SEEDS, generator, steps=20)
decided = belief_settles(plan.frames, lambda x: torch.tensor([mazes.side(path) for path in x[..., :2]])).t
ways = ["left" if mazes.side(path) < 0 else "right" for path in plan.candidates[..., :2]]
assert decided.median() > 0.7, "large effect: the side is decided while the plan is nearly pure noise"
print(f"the belief keeps to its side from t = {decided.median():.2f} on, median of {len(decided)} plans; all have decided at t = {decided.min():.2f}")
movie(plan.frames, maze=block, start=start[:2], goal=goal, groups=ways, schedule=Cosine(),
      alt="Plans from the top to the bottom come out of noise and settle into the left or the right corridor.")

# %%
ends = torch.stack([torch.tensor(start[:2]), *torch.zeros(H - 2, 2), torch.tensor(goal)]).float() / 2
pieces = pin(local(1), known, ends)
x = 2 * sample(pieces, torch.randn(8, H, 2, generator=generator), steps=20, step=ddpm(), generator=generator)
x = torch.cat([x, torch.gradient(x, spacing=dt, dim=1)[0]], -1)
paths = {"r = 1": [interpolated(p, 155) for p in x], "planner": [planner.reference(plan, k) for k in range(8)]}
balls = {name: [trajectories.driven(env, p, seed).obs[: len(p)] for p in each] for name, each in paths.items()}
far = {n: [abs(p - b)[:, :2].max() for p, b in zip(paths[n], balls[n], strict=True)] for n in paths}
gap = {n: float(np.median(each)) for n, each in far.items()}
assert gap["r = 1"] > 1.0 > 3 * gap["planner"], "large effect: legal points are not an executable path"
pairs = [(f"{n}: {what}", x[1][::5, :2]) for n in paths for what, x in (("plan", paths[n]), ("driven", balls[n]))]
print(f"plan and ball part by {gap['r = 1']:.1f} m (r = 1) and by {gap['planner']:.2f} m (planner), medians of 8")
widgets.trajectories(dict(pairs), maze=block, start=start[:2], goal=goal, ncols=2,
                   alt="With r = 1 the plan jumps and the ball goes elsewhere; the planner's plan and drive agree.")

# %% [markdown]
# **Large effect.** When is it decided who goes left? For most plans in the first steps: their belief keeps to its side while $x_t$ is still nearly pure noise. The median is above $t = 0.7$.
#
# **Large effect.** The ball leaves the plans of reach 1 by more than a metre, and the planner's plans by less than a third of one: legal points are not yet an executable path. This is the survey's fourth failure
# signature, a mismatch between what is generated and the dynamics. It could be seen before anything was driven: in the segments, and in the inconsistency.
#
# ## 6 · Break it: one task, many seeds
#
# The survey's first failure signature: *"High trajectory variance across samples leading to inconsistent behavior."* So we measure it. We take one start and one goal, draw many
# plans, and drive every plan, in two mazes: two-ways, where two routes are right, and the U-maze, where one is (the negative control). Variance splits exactly,
# $$\underbrace{\mathbb{E}|x - \bar{x}|^2}_{\text{total}} = \underbrace{\textstyle\sum_g p_g |\bar{x}_g - \bar{x}|^2}_{\text{between routes}} + \underbrace{\textstyle\sum_g p_g \, \mathbb{E}_g |x - \bar{x}_g|^2}_{\text{within a route}}.$$
#
# **Exercise 5 · split the variance** (medium, 10 minutes). You get one number per seed, and a group for each: give `(between, within)`, each group weighed by its share.
# Pitfall: the two must add up to the variance of all.

# %% tags=["exercise"]
def split(values: torch.Tensor, groups: torch.Tensor) -> tuple[float, float]:
    """(between, within) with between + within = the variance of `values` [S] (mean square, no n - 1)."""
    ### BEGIN SOLUTION
    between = within = 0.0
    for g in groups.unique():
        mine = values[groups == g]
        portion = len(mine) / len(values)
        between += portion * float(mine.mean() - values.mean()) ** 2
        within += portion * float(mine.var(correction=0))
    return between, within
    ### END SOLUTION


check("04.spread", split)

# %%
question = "Two-ways: how much of the driven paths' variance half-way lies between the routes?"
share = guess("04.share", question, 0, 100, "%")
share

# %%
two, one = (trajectories.crowd(name, SEEDS, SEED, generator) for name in ("two-ways", "umaze"))
between, within, total = trajectories.half_way(two["driven"])
share.reveal(100 * between / total)

# %%
for between, within, single in ((*trajectories.half_way(two[what])[:2], trajectories.half_way(one[what])[2]) for what in ("plan", "driven")):
    assert between + within > 5 * single and between > 4 * within, "large effect: more, for there are two routes"
widgets.show(trajectories.spread_picture(two["driven"], one["driven"], dt))
trajectories.variances(two, one)

# %% [markdown]
# **Large effect.** The same kind of planner varies more than five times as much in two-ways as in the U-maze, and in two-ways almost all of the variance lies *between* the corridors: these are two good plans, not one
# shaky one. The failure signature is not high variance. It is high variance **within a route**. (The right corridor costs a toll, so the *returns* differ by route, too.)
#
# **Open.** Is the planner's coin as fair as the driver's? A *Further* section tosses it.
#
# ## 7 · What the survey claims, and what was measured
#
# | The survey says | Measured here | Verdict |
# |---|---|---|
# | Goal-conditioned sampling plans, with no dynamics model | with the mask in training samples have the exact bridge's spread; pinned alone they do not | held (large effect) |
# | It recombines recorded trajectories | a limited reach recombines, too small a one tears, full sight retrieves | held, within limits (large effect) |
# | Signature: high variance across samples | nearly all of it lies between two good routes | failed as stated (large effect) |
# | Signature: mismatch with the dynamics | seen in segments and inconsistency before driving, and (*Further*) in robots' steps that no simulator makes | held (large effect) |
# | Experiment 1: unconditioned quality | measured on five logs against size and $K$ (*Further*), each beside its floor; equality with the data is unproven | open |
#
# **Symbols.** $x_0, x_t, \hat{x}_0$ `x_0, x_t, x0_hat` plan, noisy plan, its estimate; $t$ diffusion time; $u$ place along the plan; $H$ `H` its points; $D$ `D` denoiser; $\Sigma$ `cov`;
# $K$ `K` sampling steps; $o_k, a_k$ `obs, act` observation and action; $r$ `r` reach; $\ell_n$ misfit to recording $n$; $\delta$ `dt` seconds between two points; $v$ velocity; $p, p_g$ shares.
#
# **References.** Janner et al., "Planning with Diffusion for Flexible Behavior Synthesis" (2022). Ho et al., "Denoising Diffusion Probabilistic Models" (2020). Kamb and
# Ganguli, "An analytic theory of creativity in convolutional diffusion models" (2024). Székely and Rizzo, "Energy statistics" (2013). Kynkäänniemi et al., "Improved Precision and Recall Metric for Assessing
# Generative Models" (2019). Karatzas and Shreve, "Brownian Motion
# and Stochastic Calculus" (1991). The survey: "Diffusion Models for Reinforcement Learning" (arXiv 2510.12253, 2025).
#
# ## Further · Robots that never ran
#
# The survey's experiment asks for *MuJoCo locomotion logs*. A hopper and a half-cheetah were driven by half-trained runners (about 40, where 0 is random and 100 the
# best policy we trained); each log has 20,000 steps. A window is 32 steps of observation $o_k$ *and* action $a_k$, and two shipped models draw new ones. *Play them:*
# would you know without the titles which of them never happened?

# %%
from diffrl_lab.analysis.feasibility import dynamics_residual, infeasible, locomotive
from diffrl_lab.methods.planning.windows import Windows, joined
from diffrl_lab.worlds import robots as locomotion

luck = torch.Generator().manual_seed(SEED)
robots = {name: locomotion.make(name) for name in ("hopper", "halfcheetah")}
models = {name: Windows.load(shipped(f"weights/windows-{name}.safetensors")) for name in robots}
logs = {name: joined(read(shipped(f"recordings/{name}-medium-v0")), H, stride=7) for name in robots}
lived = {name: x[torch.randperm(len(x), generator=luck)[:SEEDS]] for name, x in logs.items()}
with torch.no_grad():
    dreamt = {name: torch.cat(m.sample(SEEDS, steps=20, generator=luck), -1) for name, m in models.items()}

# %%
def stage(name, windows, many, ground=["0" * 8] * 4 + ["1" * 8]):
    """A film over the steps k of `many` windows side by side: the robots as the simulator's kinematics draw them."""
    poses = locomotion.poses(robots[name], models[name].split(windows[:many])[0]).swapaxes(0, 1)
    places = np.stack([np.linspace(-1, 1, many), np.full(many, -0.75)], -1)[:, None]
    return {"t": np.arange(H), "x_t": poses + places}, dict(maze=ground, size=0.5, dots=False, clock="k")


scenes = {what: stage("hopper", x["hopper"], 3) for what, x in {"recorded": lived, "drawn": dreamt}.items()}
movie({what: film for what, (film, _) in scenes.items()}, **scenes["drawn"][1],
      alt="Recorded hoppers and hoppers drawn by the model hop in place of a moving camera; hard to tell apart.")

# %%
scenes = {what: stage("halfcheetah", x["halfcheetah"], 2) for what, x in {"recorded": lived, "drawn": dreamt}.items()}
movie({what: film for what, (film, _) in scenes.items()}, **scenes["drawn"][1],
      alt="Recorded half-cheetahs and drawn ones gallop side by side, seen by a camera that goes along.")

# %% [markdown]
# They look alike. There is no wall to run into, so ask the simulator. Start it at the plan's *own* $o_k$, give it the plan's *own* $a_k$, and see how far from the plan's
# $o_{k+1}$ it lands, counted in standard deviations of a recorded change. That is the **dynamics residual**. Its floor is the same of recorded windows: nearly 0, but not quite, for
# they are kept in single precision, and the hopper's observations clip fast joints.

# %%
question = "Of the half-cheetah's drawn steps, how many has the simulator further off than 99 % of the recorded ones?"
beyond_guess = guess("04.residual", question, 0, 100, "%")
beyond_guess

# %%
residual, median = {}, {}
for name, env in robots.items():
    change = models[name].split(logs[name])[0].diff(dim=1).std((0, 1)).numpy()
    for what, x in {"recorded": lived, "drawn": dreamt}.items():
        residual[name, what] = dynamics_residual(locomotive(env), *models[name].split(x[name]), change)
        median[name, what] = float(np.median(residual[name, what]))
    moves = models[name].split(lived[name])[0].diff(dim=1).numpy() / change
    median[name, "still"] = float(np.median(np.linalg.norm(moves, axis=-1)))
    print(f"{name}: median residual {median[name, 'drawn']:.2f} drawn, {median[name, 'recorded']:.0e} recorded, "
          f"{median[name, 'still']:.2f} if nothing moved")
beyond = {name: infeasible(residual[name, "drawn"], residual[name, "recorded"]) for name in robots}
beyond_guess.reveal(100 * beyond["halfcheetah"])

# %%
learned = all(median[name, "drawn"] < 0.6 * median[name, "still"] for name in robots)
assert learned and beyond["halfcheetah"] > 0.9, "large effect: nearly how it moves, and never quite"

# %%
widgets.histogram({f"{name}, {what}": np.log10(r) for (name, what), r in residual.items()}, bins=np.linspace(-8, 2, 80),
    xlabel="dynamics residual, power of ten", alt="Residuals of recorded steps lie many powers of ten below those "
    "of drawn steps, but for the hopper's clipped ones, which come near.")

# %% [markdown]
# **Large effect.** The drawn steps land far nearer to where the simulator goes than a robot that stands still, so the model has learned how the robots move. And yet more than nine in ten drawn steps of the half-cheetah are further off than nearly all recorded ones; no film shows that. The hopper shows what a floor is for: where its log clips a joint's speed, the recorded steps themselves are off, and against such a floor much passes.
# A plan like this needs feedback: act, observe, plan again.

# %% [markdown]
# ## Further · Experiment 1, in numbers
#
# A study measures the same for every log, for models of several sizes and trainings, and for $K$ sampling steps; here is its table. In brackets stands the floor of each measure. For the energy distance it is the 95 % point <!-- 95: a level by definition, not a result --> of the distance between two halves of the
# recorded episodes: below it a model cannot be told from data. **Precision** is the share of samples that lie where data lie, **recall** the share of data that lie where samples lie (Kynkäänniemi et al. 2019). For
# the robots there is a rival that learns nothing: one *normal distribution* of whole windows, with their mean and full covariance.

# %%
study = Table.load(shipped("results/unconditioned.json"))


def number(name, digits=2, **row):
    return f"{study.column(name, **row).mean():.{digits}f}"


rows_of = {"hopper": ["gaussian", "small", "medium", "large", "medium-3000"], "large": ["shipped"], "two-ways": ["shipped"],
    "halfcheetah": ["gaussian", "small", "medium", "medium-3000"], "umaze": ["small", "medium", "large", "shipped"]}
print(f"{'20 steps':24}{'energy (floor)':>18}{'precision (floor)':>19}{'recall (floor)':>17}    residual or walls (recorded)")
for log, sizes in rows_of.items():
    for size in sizes:
        row = dict(world=log, size=size, T=0 if size == "gaussian" else 20)
        pairs = [("energy", "floor_energy_95", 18), ("precision", "floor_precision", 19), ("recall", "floor_recall", 17)]
        text = "".join(f"{number(a, **row)} ({number(b, **row)})".rjust(n) for a, b, n in pairs)
        robot = log in robots
        last = ("residual", "floor_residual_state") if robot else ("segments_in_walls", "floor_segments_in_walls")
        print(f"{log:12}{size:12}{text}{number(last[0], **row):>12} ({number(last[1], **row)})")

# %%
K = sorted(set(study.column("T", world="hopper", size="small")))
curves = {name: np.array([study.column(name, world="hopper", size="small", T=k) for k in K]).T for name in ("precision", "recall")}
widgets.lines(K, {name: (c.mean(0), c.min(0), c.max(0)) for name, c in curves.items()}, logx=True, points=True,
    xlabel="K, sampling steps", ylabel="share", alt="Hopper, small model, three trainings: with five steps most samples lie where data lie but "
    "cover few of them; with more steps recall rises and precision falls.")

# %%
normal, trained = ({k: study.column(k, world="hopper", size=s, T=t).mean() for k in ("energy", "floor_energy_95", "precision")}
    for s, t in (("gaussian", 0), ("medium-3000", 20)))
assert max(row["energy"] - row["floor_energy_95"] for row in (normal, trained)) < 0, "large effect: energy sees no difference"
assert trained["precision"] > normal["precision"] + 0.5, "large effect: precision does"
live = {name: (median[name, "drawn"], study.column("residual", world=name, size="medium-3000", T=20)[0]) for name in robots}
assert all(abs(ours / theirs - 1) < 0.25 for ours, theirs in live.values()), "large effect: live as in the table"

# %% [markdown]
# **Large effect.** By energy distance one normal distribution lies as near to a hopper's log as two halves of the log lie to each other; by precision hardly one of its windows is a hopper's, while most windows of the trained model are. So a measure can be blind: use several, and know
# each one's floor. With five sampling steps samples are safe and alike: few steps cost diversity. **Open.** These budgets do not say whether size or training time matters more; three times the updates did more for the dynamics than any
# size. Each row is the mean of three trainings, except the shipped models and the large hopper (one each).
#
# ## 5 · Plans
#
# Pin start and goal, and the same weights plan. *Scrub:* when is it decided who goes left?
#
# **And is a plan a path?** A PD controller then follows positions and velocities, a state every 0.01 s <!-- 0.01: the simulator's step -->. We give it the planner's plans, and plans of section 3
# with $r = 1$ between the same start and goal, whose points are all legal.

# %% [markdown]
# ## Further · is the coin fair?
#
# The driver's coin shows left with probability 0.50, from every start. Here is the planner's coin, from six other starts:

# %%
rows, elsewhere = [], mazes.make_maze("two-ways")
for k in range(6):
    state = elsewhere.reset(seed=1000 * SEED + k)[0]
    x = planner.plan(state["observation"], state["desired_goal"], SEEDS, generator, frames=False).candidates
    left = sum(mazes.side(path) < 0 for path in x[..., :2])
    rows.append((f"start {k + 1}", left / SEEDS, *wilson(left, SEEDS)))
widgets.intervals(rows, xlabel="share of plans that go left, with 95 % interval", reference={"the driver's coin": 0.5},
                alt="Share of plans that go left from six other starts, with intervals, against the driver's coin.")

# %% [markdown]
# **Open.** Six starts do not say how fair the planner's coin is beside the driver's. Read the intervals. Where one lies far from 0.50, the network has learned the habits of the few recorded drives that began nearby. Every single plan is fine, so
# no picture of plans could have shown it; only counting does. Lesson 17 measures this properly.
#
# ## Further · the other cure
#
# An exact denoiser takes a noise level *for each point*. Tell it that the ends are at $t = 0$, and pinning is exact without any training. A network that is trained with a level
# per point can do the same: that is Diffusion Forcing (lesson 07).

# %%
def ends_clean(x_t, t, cond=None):
    return free(x_t, torch.where(known[:, 0], 0.0, t).expand(len(x_t), H))


x = sample(pin(Function(ends_clean, Cosine()), known, value), noise[:200], steps=50, step=ddpm(), generator=generator)
assert abs(float(x[:, H // 2].std()) - exact) < 4 * exact / 400**0.5, "exact, but for four standard errors"

# %% [markdown]
# ## Further · how far does the U-Net really look?
#
# The slope of $\hat{x}_0$ at the middle point with respect to each point of $x_t$: with little noise the neighbours settle a point, with much noise only the whole plan
# together says anything.

# %%
def sight(t):
    alpha, sigma = Cosine()(t)
    x = (alpha * scaler(obs[:64]) + sigma * torch.randn(64, H, 4, generator=generator)).float().requires_grad_()
    (slope,) = torch.autograd.grad(unet(x, torch.tensor(t))[:, H // 2].sum(), x)
    return slope.norm(dim=-1).mean(0) / slope.norm(dim=-1).mean(0).sum()


widgets.lines(range(H), {f"t = {t}": sight(t) for t in (0.1, 0.5, 0.9)}, xlabel="point of the plan",
            ylabel="share of the slope",
            alt="Sensitivity of the middle point's estimate: peaked with little noise, flat along the plan with much.")
