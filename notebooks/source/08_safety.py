# %% [markdown]
# ![Four panels of a maze with a disc in its right corridor: plans without a rule run through it, moved points cut its edge, strong guidance cuts walls, and refused candidates leave plans that keep the rule.](attachment:08.png)
#
# # 08 · Constraints and safety
#
# **The question.** A rule appears after the training: keep out of this disc. How can a plan keep it, and what does that cost?
#
# A planner can be told where not to go without new training: move what is forbidden, push against it, or draw again. Here you hold each way against a case with an exact answer, and then you count what is driven.
#
# **Afterwards you can**
# - say which ways give the safe part of a distribution, and which do not;
# - write the exact denoiser of a constrained Gaussian, and combine two constraints;
# - count unsafe *segments and drives*, not points;
# - choose a margin from measured errors, and say how often it holds;
# - show how a classifier is fooled by the plans that it guides.
#
# **You need** lesson 01 (chains), lesson 04 (plans) and lesson 05 (guidance). **Machine:** about 20 seconds on two CPU cores, no network.
# **You:** 85 minutes (an estimate).

# %% tags=["collapsed"]
import math

import torch
from torch import Tensor

from diffrl_lab import widgets
from diffrl_lab.course import check, guess, hint, mine
from diffrl_lab.data.toys import Truncated
from diffrl_lab.diffusion import Cosine, Function, GaussianDenoiser, ascend, ddpm, sample
from diffrl_lab.diffusion.constraints import confined, log_within, projected
from diffrl_lab.studies import obstacles
from diffrl_lab.studies.obstacles import DISC
from diffrl_lab.widgets.explore import explore

torch.set_num_threads(1)  # for tensors this small a second thread costs more than it brings

# %% tags=["parameters"]
PROFILE = "class"  # smoke: seconds; class: a minute; full: more samples
SEED = 0

# %%
N, STEPS = {"smoke": (2000, 50), "class": (10_000, 100), "full": (50_000, 200)}[PROFILE]
generator = torch.Generator().manual_seed(SEED)
widgets.component_map(["conditioning", "guided sampling", "execution"], alt="The survey's component map with three boxes "
    "lit, conditioning, guided sampling and execution: this lesson puts rules around a planner and drives its plans.")

# %% [markdown]
# ## 1 · A Gaussian above a threshold
#
# Let the data be one number, $x_0 \sim \mathcal{N}(0, 1)$. The rule is $x_0 \geq c$ with $c = 1$. We want the data *given that they are safe*: the same Gaussian, cut off at $c$. Its share, mean and spread are known.

# %%
c, D, exact = 1.0, GaussianDenoiser(torch.zeros(1), Cosine(), std=1.0), Truncated(1.0)
draw = lambda denoiser, step=None: sample(denoiser, torch.randn(N, 1, generator=generator), steps=STEPS,
    step=step or ddpm(), generator=generator)
widgets.table({"of the data": ["safe", "mean of the safe part", "its spread"],
    "exact": [f"{v:.3f}" for v in (exact.share, exact.mean, exact.std)]})

# %% [markdown]
# The simplest way is to sample without the rule, and then to move whatever is forbidden to the nearest allowed place. This is a *projection*.

# %%
edge = guess("08.edge", "Samples are projected at the end. Which share of them lies exactly on the boundary?", 0.0, 1.0, "of the samples")
edge

# %%
onto = lambda x: x.clamp(min=c)
ways = {"at the end": onto(draw(D)), "x0_hat, each step": draw(projected(D, onto)),
    "iterate, each step": draw(D, confined(ddpm(), lambda x, *_: onto(x)))}
edge.reveal(obstacles.on_boundary(ways["at the end"], c))

# %%
assert abs(obstacles.on_boundary(ways["at the end"], c) - (1 - exact.share)) < 0.03, "exact: all that was unsafe"
assert all(float(x.min()) > c - 1e-5 for x in ways.values()), "exact: no sample is unsafe"
assert all(exact.mean - float(x.mean()) > 0.03 for x in ways.values()), "exact: and the mean is too small"
obstacles.compared(ways, exact)

# %% [markdown]
# **Exact.** Every projection keeps every sample safe, and none of the three gives the safe part of the distribution: the means are too small. If the projection comes last, all samples that were unsafe end on the boundary. If x0_hat or the iterate is projected in each step, fewer do.
#
# ## 2 · The exact guide
#
# Lesson 05 moved $\hat{x}_0$ by $\sigma_t^2 / \alpha_t$ times the slope of $\ln P(\text{safe} \mid x_t)$. Here this probability is known. Given $x_t$, the data are $\mathcal{N}(m, s^2)$ with $m = \alpha_t x_t$ and $s = \sigma_t$. So $P(x_0 \geq c \mid x_t) = \Phi(z)$ with $z = (m - c) / s$, where $\Phi$ is the distribution function of $\mathcal{N}(0, 1)$ and $\phi$ its density. The slope in $x_t$ is $\frac{\alpha_t}{s} \frac{\phi(z)}{\Phi(z)}$.
#
# **Exercise 1** (hard, 25 minutes). Put these lines together into the denoiser of the *safe* data, $\mathbb{E}[x_0 \mid x_t, x_0 \geq c]$. A law judges it: the exact mean. Pitfalls: whether $s$ is a deviation or a variance, and an $x_t$ far below $c$, where $\phi$ and $\Phi$ are both too small for a float.

# %% tags=["exercise"]
def safe(x_t: Tensor, alpha: float, sigma: float, c: float) -> Tensor:
    """x_t [B, 1] of data N(0, 1), alpha^2 + sigma^2 = 1. -> E[x_0 given x_t and x_0 >= c], [B, 1]"""
    ### BEGIN SOLUTION
    m = alpha * x_t
    z = (m - c) / sigma
    log_phi = -0.5 * z**2 - 0.5 * math.log(2 * math.pi)
    return m + sigma * torch.exp(log_phi - torch.special.log_ndtr(z))
    ### END SOLUTION


check("08.safe", safe)

# %%
safe, schedule = mine("08.safe"), D.schedule
D_safe = Function(lambda x_t, t, cond=None: safe(x_t, *(max(float(v), 1e-3) for v in schedule(t)), c), schedule)
cost = lambda x, t: -(c - x[:, 0]).clamp(min=0) ** 2
ways |= {"cost, scale 10": draw(ascend(D, cost, 10.0, "x0_hat")), "your exact denoiser": draw(D_safe)}
obstacles.compared(ways, exact)

# %%
found = ways["your exact denoiser"]
assert float((found < c - 1e-4).double().mean()) < 0.002 and obstacles.on_boundary(found, c) < 0.05, "exact: safe"
assert abs(float(found.mean()) - exact.mean) < 0.04 and abs(float(found.std()) - exact.std) < 0.04, "exact: the law"
assert float((ways["cost, scale 10"] < c).double().mean()) > 0.03, "exact: a cost leaves some samples unsafe"
obstacles.law({k: ways[k] for k in ("at the end", "x0_hat, each step", "cost, scale 10", "your exact denoiser")}, exact,
    alt="Four histograms beside the exact density of a Gaussian above 1: two projections pile up on the boundary, a cost "
    "leaves samples below it, and the exact denoiser follows the dashed curve.")

# %% [markdown]
# **Exact.** With your denoiser the chain follows the exact density: no sample is unsafe, hardly any lies on the boundary, and mean and spread are right. A cost at x0_hat, a common way, leaves some samples unsafe, and the others do not follow the density.
#
# **AND, NOT.** Do the guides of two rules add up? And does minus a guide mean "not"? Take two independent numbers with a rule for each, then two rules for one number, then "not between 0.5 and 1.5".

# %%
J = lambda lo, hi, **more: log_within(schedule, lo, hi, **more)
two = GaussianDenoiser(torch.zeros(2), Cosine(), std=1.0)
pair = sample(ascend(ascend(two, J(1.0, math.inf)), J(-math.inf, -0.5, axis=1)), torch.randn(N, 2, generator=generator),
    steps=STEPS, step=ddpm(), generator=generator)
both = draw(ascend(ascend(D, J(1.0, math.inf)), J(-math.inf, 1.5)))
neither = draw(ascend(D, J(0.5, 1.5, outside=True)))
minus = draw(ascend(D, lambda x, t: -J(0.5, 1.5)(x, t)))

# %%
laws = [Truncated(1.0), Truncated(hi=-0.5), Truncated(1.0, 1.5), Truncated(0.5, 1.5, outside=True)]
means = [float(x.mean()) for x in (pair[:, 0], pair[:, 1], both, neither)]
assert all(abs(m - law.mean) < 0.1 for m, law in zip(means, laws, strict=True)), "exact: the means of the laws"
assert float(minus.abs().nanmedian()) > 10, "exact: minus a guide leads off the data"
widgets.table({"rule": ["first of two numbers: above 1", "second: below -0.5", "one number: between 1 and 1.5",
    "NOT between 0.5 and 1.5", "minus the guide of between"], "mean": [*(f"{m:.2f}" for m in means), "off the data"],
    "exact": [*(f"{law.mean:.2f}" for law in laws), f"{laws[3].mean:.2f}"]})

# %% [markdown]
# **Exact.** Guides add up to the guide of both rules where the rules speak of independent parts: $\ln P$ of a product is a sum. For two rules on *one* number the sum of the guides is not $\ln P$ of both, and yet the mean comes out close, because near the end of the chain both agree. NOT is the guide of the complement. Minus a guide is something else: it asks for the data divided by the probability of what is forbidden, which grows without bound outside, so samples fly off. (Two *learned* guides: see Further.)
#
# ## 3 · Points and segments
#
# Now the maze with two ways, whose planner never met a rule. A disc of known middle and radius appears in a corridor. A plan has 32 points, and between two of them the ball goes on.
#
# **Exercise 2** (easy, 8 minutes). Move every point that lies in the disc to the nearest place outside. Pitfalls: the disc has its own centre, and points outside stay.

# %% tags=["exercise"]
def project(x: Tensor, centre: Tensor, r: float) -> Tensor:
    """x [..., 2], centre [2]. -> [..., 2], the nearest places at the distance r or more"""
    ### BEGIN SOLUTION
    p = x - centre
    return centre + p * (r / p.norm(dim=-1, keepdim=True)).clamp(min=1)
    ### END SOLUTION


check("08.project", project)

# %% [markdown]
# **Exercise 3** (medium, 15 minutes). How near does the way from a point to the next come to a centre? Pitfall: the nearest place of a segment may be one of its ends, or lie between them.

# %% tags=["exercise"]
def nearest(a: Tensor, b: Tensor, centre: Tensor) -> Tensor:
    """Segments from a [n, 2] to b [n, 2], centre [2]. -> distances [n]"""
    ### BEGIN SOLUTION
    way = b - a
    u = (((centre - a) * way).sum(-1) / way.square().sum(-1)).clamp(0, 1)
    return (a + u[:, None] * way - centre).norm(dim=-1)
    ### END SOLUTION


check("08.segment", nearest)

# %%
project, nearest, centre = mine("08.project"), mine("08.segment"), torch.tensor([DISC.x, DISC.y])
free = obstacles.planned([], SEED).plan.candidates[..., :2]
unsafe = lambda x, at=centre: torch.stack([(nearest(p[:-1], p[1:], at) < DISC.radius - 1e-4).any() for p in x])
hit = (free - centre).norm(dim=-1).lt(DISC.radius).any(1)
crossing = guess("08.crossing", f"{int(hit.sum())} of 32 plans have a point in the disc. Their points are moved out. How many "
    "of the 32 plans still have an unsafe segment?", 0, 32, "plans")
crossing

# %%
moved = project(free, centre, DISC.radius)
crossing.reveal(int(unsafe(moved).sum()))

# %%
R, lower = DISC.radius + 0.1, centre - torch.tensor([0.0, 0.1])
tried = {"as drawn": (free, centre), "points moved out": (moved, centre), "moved out of the grown disc": (project(free, centre, R), centre),
    "the same, the disc 0.1 m lower": (project(free, lower, R), lower)}
point = [int((x - at).norm(dim=-1).lt(DISC.radius - 1e-4).any(1).sum()) for x, at in tried.values()]
segment = [int(unsafe(x, at).sum()) for x, at in tried.values()]
longest = [float(x.diff(dim=1).norm(dim=-1).max()) for x, _ in tried.values()]
assert not any(point[1:]), "exact: no point is unsafe"
assert segment[1] >= 0.8 * point[0] > 16 and segment[3] >= 0.8 * point[0], "large effect: segments still are, where the disc is grown, too"
allowed = round(2 * math.sqrt(R**2 - DISC.radius**2), 2)
assert segment[2] == 0 and longest[2] < allowed == 0.53 < longest[3], "exact: short segments are safe"
widgets.table({"plans": list(tried), "an unsafe point": [f"{n} of 32" for n in point],
    "an unsafe segment": [f"{n} of 32" for n in segment], "longest segment, m": [f"{v:.2f}" for v in longest]})

# %% [markdown]
# **Large effect.** After the projection no *point* is unsafe, and nearly all plans that met the disc still have an unsafe *segment*: the way between two points on the edge is a chord. So from now on we count segments, and judge whole curves.
#
# **Exact.** Two points that are $\ell$ apart, both outside of a disc of radius $\sqrt{r^2 + \ell^2 / 4}$, have a segment outside of the disc of radius $r$. This is why zones are *grown* before a plan is bent. Grown by 0.1 m, this disc allows $\ell$ up to 0.53 m, and the moved points are nearer than that. In the last row they are not: the point before the middle of the disc was moved back, and the next one forwards, so the segment between them crosses the disc.
#
# ## 4 · Five ways to bend plans
#
# Plans are bent in five ways, in 40 tasks with random discs, and judged without any margin. Points are moved at the *end*, in *x0_hat*, or in the *iterate* of each step; a *barrier* lets the iterate approach a disc only up to a bound that closes (SafeDiffuser); a *cost* pushes out of the disc. The last column is about walls: no rule names them, and the planner has no map of them.

# %%
study = obstacles.Study("bent")
study.shown({"form": "form", "grown": "grown by, m", "scale": "scale", "points": "unsafe point",
    "segments": "unsafe segment", "walls": "touches a wall"})

# %%
told, x0_hat = study.row(form="none"), study.row(form="x0_hat", grown=0.1)
weak, strong = (study.row(form="cost", scale=s) for s in (10.0, 10_000.0))
assert x0_hat["points"] < 0.01 and x0_hat["segments"] > 0.5 * told["segments"], "large effect: points, not curves"
assert weak["segments"] > 0.5 * told["segments"] and strong["segments"] < weak["segments"], "large effect: a cost by its scale"
assert strong["walls"] > told["walls"] + 0.1, "large effect: over-guidance cuts walls"
tries = {"no rule": obstacles.planned([], SEED), "points moved": obstacles.planned([DISC], SEED, form="end", slack=0.0, margin=0.0, tries=1),
    "cost, scale 10,000": obstacles.planned([DISC], SEED, form="cost", scales=(10_000.0,), tries=1),
    "refused and drawn again": obstacles.planned([DISC], SEED, form="select")}

# %% tags=["punchline"]
panels = {name: [x for x, good in zip(t.curves, t.kept, strict=True) if good or "refused" not in name] for name, t in tries.items()}
obstacles.in_maze(panels, [DISC], alt="Four panels of the maze with two ways and a disc in the right corridor: plans without "
    "a rule run through it, moved points cut its edge, strong guidance cuts walls, and refused candidates leave safe plans.")

# %% [markdown]
# **Large effect.** Projections onto grown zones leave no point in a disc, and still about six tenths as many curves as without a rule meet one, as in the last row of section 3. A weak cost does little. A strong cost makes plans safe and drives them through walls.
#
# In the last panel candidates with an unsafe segment are *refused*. If all are, it draws again, for ends moved at random by about two decimetres, and leads the plans back to the true ends. Why moved ends? For many starts our planner knows a single way by heart, so all 32 candidates take it. If none is left after four draws, the plan is *given up*: the ball stays where it is.
#
# Below, a ball drives by a plan that knows no disc. After some steps a disc appears where you put it (drag it, or use the sliders), and the ball plans again. Thin lines are the new plans that are kept. Let the disc appear early, then late, and compare plan and drive for each form.

# %%
mover = obstacles.Obstacle()
explore(mover.picture, on_page=("form", "after"), form=["candidates refused", "cost descended", "x0_hat projected", "no rule"],
    after=(0, 80, 5, 20), x=(-2.4, 2.4, 0.05, 1.75), y=(-1.9, 1.9, 0.1, 0.1), radius=(0.1, 0.5, 0.05, 0.3))

# %% [markdown]
# ## 5 · What is driven
#
# The study behind this lesson drove 100 tasks in two-ways with one disc, and 100 in the large maze with three, other discs in each task. A drive is *safe* if no segment of the ball's path lies in a disc. In brackets: Wilson's intervals over tasks, as in lesson 05b; each planner was trained once.

# %%
driven = obstacles.Study("driven")
HEADS = {"arm": "planner", "given up": "first plan given up", "plan safe": "plan safe", "plan clear": "plan clear of walls",
    "drive safe": "drive safe", "reached": "reached", "driven safely": "safe and reached", "all": "plan and drive right"}
driven.shown(HEADS, maze="two-ways")

# %%
driven.shown(HEADS, maze="large")

# %%
row = lambda arm, maze="two-ways": driven.row(maze=maze, arm=arm)
assert row("refused")["driven safely"] > row("no rules")["driven safely"] + 0.1, "large effect: two-ways"
assert row("refused")["driven safely"] > row("x0_hat, one draw")["driven safely"] + 0.05, "large effect: and projection"
assert row("refused, ends as they are")["given up"] > row("refused")["given up"] + 0.1, "large effect: moved ends"

# %% [markdown]
# **Large effect.** In two-ways more drives are safe *and* arrive if unsafe candidates are refused, and drawn again for moved ends, than without a rule or with a projection of x0_hat. With ends as they are, far more plans are given up. Read "given up" beside "safe": a planner that always gives up is safe.
#
# **Open.** In the large maze the intervals of "safe and reached" overlap, since three small discs are seldom in the way. Drives that refuse without *pushed* are all safe, and some do not arrive: every candidate met a disc, and the plan was given up. If later draws descend the cost first (*pushed*), no first plan is given up, and 1 of 100 drives is lost: that one is unsafe. Plan and drive are right in 86 to 88 of 100, since some plans touch walls, with and without a rule; to stay near recorded places hardly changes that.
#
# ## 6 · A margin that was measured
#
# A ball does not follow its plan exactly. How far away from a disc must a plan keep? Measure $n$ drives. The next drive's error is equally likely to be the smallest, the second smallest, ..., or the largest of $n + 1$. So a margin that holds with probability 0.9 is the $k$-th smallest of the $n$ errors, where $k$ is $0.9\, (n + 1)$ rounded up. This is *split conformal prediction*.
#
# **Exercise 4** (easy, 10 minutes). Write the margin. Pitfalls: the new drive counts, and with too few errors no margin is enough.

# %% tags=["exercise"]
def margin(errors: Tensor, level: float) -> Tensor:
    """errors [n], level in (0, 1). -> [], infinite where n is too small"""
    ### BEGIN SOLUTION
    k = math.ceil((len(errors) + 1) * level - 1e-9)
    return errors.sort().values[k - 1] if k <= len(errors) else torch.tensor(math.inf)
    ### END SOLUTION


check("08.margin", margin)

# %%
low = guess("08.coverage", "100 people measure 19 drives each and take their margin for 0.9. For how many does it hold in less "
    "than 85 % of new drives?", 0, 100, "people")
low

# %%
margin, errors = mine("08.margin"), torch.tensor(obstacles.Study("margins").table.about["scores"])
shuffled = {n: [errors[torch.randperm(len(errors), generator=generator)] for _ in range(500)] for n in (19, 99)}
holds = {n: torch.tensor([float((e[n:] <= margin(e[:n], 0.9)).double().mean()) for e in each]) for n, each in shuffled.items()}
low.reveal(100 * float((holds[19] < 0.85).double().mean()))

# %%
assert all(abs(float(v.mean()) - 0.9) < 0.02 for v in holds.values()), "exact: 0.9 in the mean over calibrations"
assert float(holds[19].std()) > 1.5 * float(holds[99].std()), "exact: the spread falls with n"
widgets.histogram({f"n = {n}": v for n, v in holds.items()}, bins=25, marks={"0.9": 0.9}, xlabel="share of new drives within the margin",
    alt="Two histograms of the share of new drives that a margin covers, around 0.9: with 19 measured drives it spreads "
    "widely, with 99 it is narrow.")

# %% [markdown]
# **Exact.** In the mean over calibrations the margin holds with probability 0.9, for 19 drives as for 99. *One* calibration of 19 drives may be far off, and one is what you have.
#
# ## 7 · Break it: a classifier off its data
#
# Often no formula tells what is safe, but drives were labelled. So a classifier learns $\ln P(\text{safe} \mid x_t)$ from recorded drives, and plans climb it, harder and harder.

# %%
model = obstacles.classifier(DISC, {"smoke": 200, "class": 400, "full": 1500}[PROFILE], SEED)
SCALES = (0.0, 1.0, 10.0, 100.0)
climbed = {scale: obstacles.climbed(model, DISC, scale, SEED) for scale in SCALES}
fooled = {scale: obstacles.shares(judged, [DISC]) for scale, (judged, _) in climbed.items()}

# %% tags=["broken"]
obstacles.in_maze({f"scale {scale:g}": judged.curves for scale, (judged, _) in climbed.items()}, [DISC], alt="Four panels of "
    "plans that climb a learned classifier of safety: at scale 0 and 1 they run through the disc, at 10 they take the "
    "other corridor, and at 100 most of them leave the corridor and cut walls.")

# %%
widgets.table({"scale": list(SCALES), "it says: safe": [f"{says.mean():.2f}" for _, says in climbed.values()],
    "unsafe segment": [f"{v['unsafe segment']:.2f}" for v in fooled.values()],
    "touches a wall": [f"{v['wall']:.2f}" for v in fooled.values()],
    "points against velocities, m (median)": [f"{float(j.plan.gaps.median()):.2f}" for j, _ in climbed.values()]})

# %%
says, none, hard = climbed[100.0][1], fooled[0.0], fooled[100.0]
assert none["unsafe segment"] > 0.3 and none["wall"] < 0.1, "large effect: without guidance plans are unsafe and clear of walls"
assert fooled[10.0]["unsafe segment"] < 0.15, "large effect: climbed at 10, hardly any plan is unsafe"
assert says.mean() > 0.95 and hard["wall"] > 0.3, "large effect: climbed at 100, what it calls safe runs into walls"
gap = {scale: float(judged.plan.gaps.median()) for scale, (judged, _) in climbed.items()}
assert gap[100.0] > 3 * gap[10.0], "large effect: and its points contradict its velocities"

# %% [markdown]
# **Large effect.** At scale 10 hardly any plan enters the disc. At scale 100 it calls nearly every plan safe, and most of these touch a wall. No recorded drive ever did, so nothing taught the classifier what is safe there. Its number does not warn: it is 1.00 at scale 10, too. The last column warns: at scale 100 the points of a plan contradict its velocities.
#
# | signature | in the picture | the number that gives it away | cure |
# |---|---|---|---|
# | samples projected onto a boundary | a pile at the edge | share of samples exactly on the boundary | the exact guide, or refuse and draw again |
# | points safe, segments not | plans cut the edge of a disc | unsafe segments beside unsafe points | judge the whole curve |
# | over-guidance | plans keep the rule and cut walls | plans that touch a wall, over the scale | the smallest scale that is enough |
# | a classifier off its data | plans leave the corridors, and it calls them safe | its probability, beside how far points contradict velocities | less guidance, refuse such plans |
# | safe because nothing moves | few plans are left | share given up, beside the share that is safe | more candidates, moved ends |
#
# ## 8 · What the survey claims, and what was measured
#
# | The survey says | Measured here | Verdict |
# |---|---|---|
# | Errors of a classifier carry over into unsafe trajectories | at scale 10 its plans are safe; at 100 it gives them probability 1.00, and about half of the candidates touch a wall (40 tasks, one disc, three trainings); no drive was unsafe (Further: *a guide alone*) | held (large effect) for candidates under strong guidance; not seen in drives |
# | *Ours:* a rule that is kept is not a distribution that is right | three projections keep all samples above a threshold; their means are too small | held (exact) |
#
# **Symbols.** $x_0, x_t, \hat{x}_0, \alpha_t, \sigma_t$ as in lesson 01; $c$ a threshold; $m, s$ mean and standard deviation of $x_0$ given $x_t$; $z$ how many $s$ the mean lies above $c$; $\phi, \Phi$ density and distribution function of $\mathcal{N}(0, 1)$; $P$ a probability; $r$ a radius; $\ell$ the length of a segment; $n$ number of measured drives; $k$ which of them.
#
# **References.** Xiao et al., "SafeDiffuser: Safe Planning with Diffusion Probabilistic Models" (2023). Liu et al., "Compositional Visual Generation with Composable Diffusion Models" (2022). Vovk et al., "Algorithmic Learning in a Random World" (2005). The survey: "Diffusion Models for Reinforcement Learning" (arXiv 2510.12253, 2025).
#
# **Next.** Lesson 09 asks when a policy must be able to act in several ways.

# %% [markdown]
# ## Further · a box and a limit of speed
#
# Rules need not be discs, and they need not be about places. Here a box closes the right corridor, and then a limit of 2 m/s is added. Nothing is trained for either. A limit of speed has an exact answer: take more time. If all times are multiplied by a factor, the curve stays where it is, and all speeds are divided by the factor.

# %%
from diffrl_lab.worlds import zones
from diffrl_lab.worlds.zones import Box, Speed

limit = 2.0
rules = {"none": [], "a box": [Box(1.5, 2.5, -0.4, 0.4)], "a box and a limit": [Box(1.5, 2.5, -0.4, 0.4), Speed(limit)]}
ruled = {name: obstacles.planned(told, SEED, form="select", tries=8) for name, told in rules.items()}
speed = {name: torch.as_tensor(j.curves[0][:, 2:]).norm(dim=1).max() for name, j in ruled.items()}
widgets.table({"rules": list(ruled), "plans kept": [f"{int(j.kept.sum())} of 32" for j in ruled.values()],
    "highest speed of the best, m/s": [f"{v:.2f}" for v in speed.values()], "its steps": [len(j.curves[0]) - 1 for j in ruled.values()]})

# %%
box, slow = ruled["a box"], ruled["a box and a limit"]
assert all(not zones.broken(ruled[name].curves[0], told).any() for name, told in rules.items()), "exact: the best plan keeps its rules"
assert torch.equal(box.plan.candidates[0, :, :2], slow.plan.candidates[0, :, :2]), "exact: a limit of speed moves no point"
assert speed["a box and a limit"] <= limit < speed["a box"], "exact: and no step is faster"

# %% [markdown]
# **Exact.** The limit changes no point of the plan: it takes longer. This is why a limit of speed is not projected. Velocities that are cut off to 2 m/s would contradict the points that they stand beside.

# %% [markdown]
# ## Further · a guide alone, driven
#
# In section 7 the classifier was judged by its plans. Here a ball follows them: 40 tasks in two-ways with one disc, for all guides the same. Each task has one draw of 32 candidates, and none is refused, so the guide is alone. The ball follows the candidate whose points and velocities agree best, which asks neither the guide nor the rule. The classifier was trained three times (intervals over trainings, else over tasks).

# %%
alone = obstacles.Study("guided")
alone.shown({"form": "guide", "scale": "scale", "unsafe segment": "candidates: unsafe segment", "wall": "touch a wall",
    "says": "it says: safe", "plan clear": "plan followed: clear", "drive safe": "drive safe", "reached": "reached"})

# %%
g = lambda form, scale=None: alone.row(form=form, scale=scale)
assert g("cost", 10.0)["drive safe"] < 0.7 > g("learned", 1.0)["drive safe"], "large effect: weak guides leave drives unsafe"
assert g("cost", 10_000.0)["wall"] > 0.3 < g("learned", 100.0)["wall"], "large effect: strong ones push candidates into walls"
assert g("learned", 10.0)["drive safe"] > 0.95 and g("learned", 10.0)["wall"] < 0.05, "large effect: the classifier at 10 does neither"

# %% [markdown]
# **Large effect.** Weak guides leave about as many drives unsafe as no guide at all. Strong ones keep out of the disc, and push about half of the candidates into walls. The classifier has a scale between them at which neither happens; the cost has none among the three that were driven. The candidate that agrees best with itself is mostly one that is clear of walls. So the classifier's errors are in the *candidates*, and the drives of this table do not show them: at scale 100, too, every drive keeps out of the disc and arrives. Refusing unsafe candidates does the same without a guide.

# %% [markdown]
# ## Further · two learned guides
#
# In section 2 the guides of two rules were formulas. Here two classifiers are learned from the same recorded drives, each for one rule: keep out of a disc in the right corridor, and keep out of a disc in the left one. Plans climb one of them or both: `ascend(ascend(D, J_right), J_left)`. There are 40 tasks, 32 candidates each, and nothing is refused (intervals over three trainings).

# %%
pairs = obstacles.Study("composed")
pairs.shown({"arm": "climbed", "scale": "scale", "right": "meets the right disc", "left": "meets the left disc", "either": "meets one",
    "wall": "touches a wall", "right plan": "none of these", "gap": "points against velocities, m"})

# %%
p = lambda arm, scale=None: pairs.row(arm=arm, scale=scale)
assert p("recorded")["either"] == 1, "exact: no recorded drive keeps both rules"
assert p("right disc", 10.0)["right"] < 0.05 > p("left disc", 10.0)["left"], "large effect: each guide keeps its own rule"
assert p("both added", 30.0)["either"] < 0.05, "large effect: the two that are added up keep both"
assert p("both added", 30.0)["wall"] > 0.5, "large effect: at the price of walls"

# %% [markdown]
# **Large effect.** Each classifier alone keeps its own rule, and its plans take the other corridor. Climbed together at scale 10, the two leave part of the plans in a disc; at 30 hardly any plan meets one. So the two together do keep both rules. But nearly all of these plans touch a wall: no recorded drive keeps both rules, so a plan that does is unlike all that the planner has learned. Two rules that some recorded drives keep together were not tried.

# %% [markdown]
# ## Further · a sentence says where, which way and how fast
#
# Can a sentence take the place of a goal and of rules? MTDiff (He et al. 2023) and LCD (Zhang et al. 2024) condition one planner of many tasks on what was said. Here is the idea at toy scale, in `methods/planning/language.py`. A grammar (`worlds/sentences.py`) has 72 sentences about two-ways, such as *go to the upper left by the right way slowly*. Each has one exact meaning: a place, a way, a pace. "Left" and "right" are words for a place and for a way.

# %%
from diffrl_lab.studies import language
from diffrl_lab.worlds import sentences

a, b = language.ambiguous(sentences.Meaning("upper", "left", "right"))
assert sorted(a.split()) == sorted(b.split()) and sentences.parse(a) != sentences.parse(b), "exact: the same words, two meanings"
heard = obstacles.Study("heeded", "language")
heard.shown({"arm": "who answers", "seen all": "heeded: pair recorded", "held out all": "pair held out", "held out place": "of these: place",
    "held out way": "way", "held out pace": "pace", "shared all": "words with two meanings", "clear": "plan clear of walls"})

# %%
who = {arm: heard.row(arm=name) for arm, name in (language.PLANNERS | language.SIMPLE).items()}
assert all(who[arm]["seen place"] > 0.9 < who[arm]["seen way"] for arm in language.PLANNERS), "large effect: recorded pairs are heeded"
assert who["nearest"]["seen all"] > 0.95 > 0.1 > who["nearest"]["held out all"], "large effect: a recorded drive does so, too, and no more"
assert who["meaning"]["held out place"] > who["gru"]["held out place"] + 0.3, "large effect: what composes is the parser"
assert round(who["meaning"]["held out all"], 2) == 0.14, "large effect: and of whole sentences it heeds few"

# %% [markdown]
# **Large effect.** Each planner heeds place and way of the pairs that were recorded, and misses some paces. The recorded drive with the same sentence misses nothing there, so for these sentences nobody needs a planner. It is of no use for pairs that were held out. Nor are the planners that learned to read: their places are mostly wrong there. The planner that is given the *parsed* meaning finds most places and ways of the same pairs, and then its pace is often wrong. So place and way could be put together from known parts once the meaning was given, and reading was what failed for the others. The pace failed for the parsed meaning, too: of whole sentences it heeds 0.14, and the intervals of the three planners overlap. Simpler readers miss fewer of these places: the one that counts words, and least squares on words and pairs of words.
#
# **Open.** Three trainings stand behind each planner, and intervals over three are wide. A pretrained language model, which the papers use, brings the reading with it. It was not tried.
