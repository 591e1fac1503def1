# %% [markdown]
# ![Three panels over the guidance scale. Coverage falls for every form of guidance, at once for the classifier-free one; the share of plans outside the data rises steeply for the classifier-free one alone; the distance that plans move rises for all, and most for the classifier-free one.](attachment:05b.png)
#
# # 05b · Guidance measured
#
# **The question.** Which form of guidance is better, and how can one tell?
#
# Many papers compare forms of guidance by a table of returns, each form at the scale that suits it. Here you compare where the comparison is fair: at equal return, with intervals, and with the costs counted alike. You also count how often goals are reached, see what a guide learns from a reward that is paid only at the goal, and test a published result on robots.
#
# **Afterwards you can**
# - say how much diversity a *perfect* model seems to lose because few samples were drawn;
# - compare two forms of guidance whose scales have different units;
# - tell a network that no condition is given, and combine several conditions;
# - read a result on guidance and ask for the number that is missing.
#
# **You need** lesson 05: ascent, classifier-free guidance, and the two things that go wrong: a mode is lost, or the data are left. **Machine:** about 20 seconds on two CPU cores, no network.
# **You:** 70 minutes (an estimate).

# %% tags=["collapsed"]
import math

import torch
from torch import Tensor

from diffrl_lab import widgets
from diffrl_lab.analysis.intervals import paired, wilson
from diffrl_lab.analysis.sweeps import Table
from diffrl_lab.course import check, guess, hint, mine
from diffrl_lab.data.shipped import shipped
from diffrl_lab.data.toys import two_corridors
from diffrl_lab.diffusion import Cosine, Function, MixtureDenoiser, ddpm, sample
from diffrl_lab.studies import frontiers, measured
from diffrl_lab.studies.frontiers import entropy
from diffrl_lab.widgets.explore import explore

torch.set_num_threads(1)  # for tensors this small a second thread costs more than it brings

# %% tags=["parameters"]
PROFILE = "class"  # smoke: seconds; class: a minute; full: more samples
SEED = 0

# %%
N, generator = {"smoke": 1000, "class": 4000, "full": 20_000}[PROFILE], torch.Generator().manual_seed(SEED)
widgets.component_map(["guided sampling", "execution"], alt="The survey's component map with two boxes lit, guided "
    "sampling and execution: this lesson measures what guidance does to plans, and to drives of them.")

# %% [markdown]
# ## 1 · What is diversity, and what is luck?
#
# Before you blame guidance for a loss of diversity, look at a model that loses nothing: exact paths around a block, which go left with
# probability $p = 0.2$. As in lesson 05, the *coverage* of a set of paths is the entropy of the share that goes left, in bits.

# %%
ways = two_corridors(p=0.2)  # left 20 %, right 80 %: exact
paths, mode = ways.sample(48, generator)
widgets.trajectories(paths, groups=["left" if k == 0 else "right" for k in mode], points=False, alt="Forty-eight exact paths around a "
    "block that is not drawn: about a fifth bend to the left, the others to the right.")

# %%
sizes = [4, 8, 16, 32, 64, 128]
shares = {n: (torch.rand(2000, n, generator=generator) < 0.2).double().mean(1) for n in sizes}  # of a perfect model
both = [float(((s > 0) & (s < 1)).double().mean()) for s in shares.values()]
exact_both = [1 - 0.8**n - 0.2**n for n in sizes]
for a, b in zip(both, exact_both, strict=True):
    assert abs(a - b) < 4 * math.sqrt(b * (1 - b) / 2000), "exact: 1 - (1-p)^n - p^n"

# %%
mean_bits = [float(entropy(s).mean()) for s in shares.values()]
truth = float(entropy(torch.tensor(0.2, dtype=torch.float64)))
assert mean_bits[0] < truth - 0.1 and abs(mean_bits[-1] - truth) < 0.02, "exact: with few samples entropy is too low"
curves = {"sees both ways": both, "exact": exact_both, "entropy, mean": mean_bits, "exact entropy": [truth] * len(sizes)}
widgets.lines(sizes, curves, logx=True, points=True, xlabel="samples n", ylabel="share of sets, or bits", alt="A perfect "
    "model measured with n samples: with 4 samples only six sets in ten see both ways and the entropy is far too low; "
    "from 64 samples on both are near their limits.")

# %% [markdown]
# **Exact.** A set of $n$ samples of a *perfect* model contains both ways with probability $1 - p^n - (1-p)^n$. With 8 samples it misses the left way in one set out of six. The mean entropy of so few samples is lower than the exact entropy. This difference is the
# **noise floor**: only a larger loss of diversity counts as an effect of guidance. The tables below use 128 plans for each number.
#
# ## 2 · How is "no condition" said?
#
# Classifier-free guidance asks one network twice, with a condition and without it. The inputs of a network are numbers. Which number says "no condition"? The number 0 will not do: a return of 0, or the middle of a maze, is a legal condition.
#
# **Exercise 1** (easy, 8 minutes). Conditions come as a batch, with NaN where there is no condition. Turn each into two numbers that a network can take: the condition, and a flag that is 1 if there is one.

# %% tags=["exercise"]
def told(cond: Tensor) -> Tensor:
    """cond [B], NaN for no condition. -> [B, 2]: value (0 where there is none), flag"""
    ### BEGIN SOLUTION
    given = ~cond.isnan()
    return torch.stack([torch.where(given, cond, 0.0), given.to(cond)], -1)
    ### END SOLUTION


check("05b.null", told)

# %% [markdown]
# A driver has three ways, $-1$, 0 and 1, and the condition names one of them. The next cell defines an exact denoiser that reads your two numbers as a network would. Then two chains ask for the way at 1, at scale 4: one says "no condition" by NaN, the other by the number 0.

# %%
told, three = mine("05b.null"), MixtureDenoiser([1.0, 1.0, 1.0], [[-1.0], [0.0], [1.0]], Cosine(), std=0.2)


def network(x_t: Tensor, t: Tensor, value_flag: Tensor) -> Tensor:
    one_way = (value_flag[:, :1] == torch.tensor([-1.0, 0.0, 1.0])).to(x_t)
    return three(x_t, t, torch.where(value_flag[:, 1:] > 0, one_way, float("nan")))

# %%
def asked_for(c: float, nothing: float) -> Tensor:
    shown, none = told(torch.full((N,), c)), told(torch.full((N,), nothing))
    line = lambda x, t, _=None: network(x, t, none) + 4 * (network(x, t, shown) - network(x, t, none))
    return sample(Function(line, Cosine()), torch.randn(N, 1, generator=generator), steps=40, step=ddpm(), generator=generator)[:, 0]

# %%
ends = {"NaN": asked_for(1.0, float("nan")), "0": asked_for(1.0, 0.0)}
off = {name: float((x - 1).abs().mean()) for name, x in ends.items()}
assert off["0"] > 5 * off["NaN"], "large effect: pushed away from the middle"
widgets.histogram({f'"no condition" is {name}': x for name, x in ends.items()}, alt="Samples that were asked for the way at 1: where NaN says "
    "that nothing is asked they lie close to 1, where the number 0 says it they lie far to the right of it.")

# %% [markdown]
# **Large effect.** Asked for the way at 1, the samples end more than one and a half times as far from it where 0 says "no condition" as where NaN says it: the network reads 0 as the condition *middle*, and guidance pushes the samples away from the middle. A chain that asks for the way at 0 is then not guided at all.
#
# ## 3 · Compare at equal return
#
# Now the planner of lesson 05, with three forms of guidance. **cfg** is classifier-free guidance, and asks for a return that one drive in twenty beats. **value** and **energy** are ascent of a second network: the first climbs the mean return for a noisy plan, the other its noisy energy. A table that ships with the course holds 128 plans for each form, scale and training (three trainings).
#
# The scales of the forms have different units, so a comparison at one scale says nothing about the forms. We compare where the mean *returns* are equal. A form's *frontier* is the curve of its coverage over its mean return, with a point for each scale.
#
# **Exercise 2** (medium, 10 minutes). A form's mean returns rise with its scale; each scale has a coverage. What is the coverage at the return `wanted`? Pitfall: no scale that was tried has exactly this mean return.

# %% tags=["exercise"]
def at_return(returns: Tensor, coverage: Tensor, wanted: float) -> float:
    """Coverage where the frontier passes `wanted`, linear between two scales; returns [S] rise through it."""
    ### BEGIN SOLUTION
    k = int((returns >= wanted).nonzero()[0, 0])
    share = (wanted - returns[k - 1]) / (returns[k] - returns[k - 1])
    return float(coverage[k - 1] + share * (coverage[k] - coverage[k - 1]))
    ### END SOLUTION


check("05b.matched", at_return)

# %%
study, two_ways = Table.load(shipped("results/guidance-plans-two-ways-p50.json")), frontiers.TwoWays()
curves = frontiers.frontier(study)
equal = frontiers.at_equal_return(curves, 164, mine("05b.matched"))
ascent = float(equal["value"]["coverage"].mean())
more = guess("05b.more", f"Where the mean return is 164, ascent of the value has a coverage of {ascent:.2f} bits. And cfg?", 0.0, 1.0, "bits")
more

# %%
more.reveal(float(equal["cfg"]["coverage"].mean()))

# %%
walls, coverage = ({form: row[k] for form, row in equal.items()} for k in ("walls", "coverage"))
assert min(walls["cfg"]) > 0.05 > max(*walls["value"], *walls["energy"]), "large effect: at one return, more in walls"
assert min(coverage["cfg"]) > max(*coverage["value"], *coverage["energy"]), "large effect: and yet more coverage"
frontiers.return_table(equal, 164)

# %% tags=["punchline"]
frontiers.over_scale(curves)

# %% [markdown]
# **Large effect.** At a return of 164 classifier-free guidance has *more* coverage than either form of ascent, in every training, and more of its plans run through walls: at this scale plans change from the right corridor to the left one, and one plan in eight to one in four cuts through the block. The last column of the table takes only scales where at most two plans in a hundred run through walls: there the best
# returns of the forms differ by a few points. The classifier-free curve of the left panel is steep because its scale has other units. Other units do not explain the middle panel: at the largest scales nearly all classifier-free plans leave the data, and few plans of ascent do at any scale.
#
# (The driver here tosses a fair coin. For a driver who seldom goes left the intervals of the coverage overlap.) The next cell draws plans with the same weights, other noise, and scales between those of the table.

# %%
explore(two_ways.picture, form=["cfg", "value", "energy"], scale=(0.0, 8.0, 0.25, 1.0), seed=(0, 20))

# %% [markdown]
# In the next table a controller drives the plans: twenty episodes, a plan for each, for each of three trainings.

# %%
R, driven_returns = frontiers.driven_table(Table.load(shipped("results/guidance-driven.json")))
gain = paired(R["value", 4], R["value", 0])
assert (R["value", 4] > R["value", 0] + 5).all(), "large effect: guidance steers towards return, when driven, too"
assert (R["cfg", 8] < R["cfg", 1] - 5).all(), "large effect: over-guidance costs return"
print(f"ascent of the value at scale 4 against no guidance: {gain.difference:+.1f}, 95 % interval {gain.interval[0]:.1f} to {gain.interval[1]:.1f}")
driven_returns

# %% [markdown]
# **Large effect.** Driven, plans that climb the value network at scale 4 return more than plans without guidance, in every training. Plans of classifier-free guidance return less at scale 8 than at scale 1, in every training.
#
# ## 4 · Reaching a goal
#
# The survey's second experiment asks how often a goal is reached. There are three ways to say where to go: **pin** (the goal is inpainted, lesson 04), **cfg** (the goal is a condition, which is dropped in training for every fourth drive), and **classifier**
# (the chain climbs a classifier, which says where a noisy plan will end). First we count plans that end at the goal and keep clear of walls. Then the plans of each form, at its best scale, are driven to 500 new goals in every maze.

# %%
goals = measured.Goals()
assert goals.clear["umaze", "cfg", 1] > goals.clear["umaze", "cfg", 4] + 0.2, "large effect: over-guidance runs through walls"
goals.over_scale(alt="Share of plans that end at the goal and keep clear of walls, over the scale, in four mazes: it rises and falls "
    "again for both forms with a scale, and the level line of pinning is near the best of them.")

# %%
best = {form: goals.driven["large", form]["interval"] for form in ("cfg", "classifier")}
medium = {form: goals.driven["medium", form]["interval"] for form in ("cfg", "pin")}
assert best["cfg"][0] > best["classifier"][1], "large effect: in the large maze the intervals are apart"
assert medium["cfg"][0] > medium["pin"][1], "large effect: in the medium maze, cfg and pinning are apart"
widgets.intervals(goals.measured(), xlabel="share of the goals that are reached, driven", alt="Goals reached by the "
    "three forms at the best scale of each in four mazes, with intervals: nearly all in the two small mazes; "
    "in medium and large the classifier reaches fewest.")

# %%
goals.costs("large")

# %% [markdown]
# **Large effect.** In the U-maze far more classifier-free plans end at the goal and keep clear of walls at scale 1 than at scale 4. In the large maze classifier-free guidance reaches more goals than the classifier, and in the medium maze it reaches more goals than pinning. With too little guidance plans miss the goal, with too much they run through walls.
#
# **Open.** In the large maze the intervals of classifier-free guidance and of pinning overlap. Pinning is the cheapest of the three and has no scale to tune. Classifier-free guidance pays a second evaluation of the large network; a classifier pays a forward and a *backward* pass of a small one.
#
# ## 5 · A guide knows what it was taught
#
# **A reward that is paid at the goal.** We train guides in the large maze of lesson 00; they differ in the reward alone. The *dense* reward is, at every step, minus the length of the remaining way to the goal. The *goal-only* reward is paid at the goal and nowhere else; we use it with two discounts, 0.99<!-- 0.99: a row of the table below --> and 0.997<!-- 0.997: a row of the table below -->.
# There are three goals, and for each goal the guides are trained anew. Each guide is used at the scale that is best for it.

# %%
credit = measured.Credit()
widgets.lines(credit.middle, credit.curves, points=True, xlabel="way to the goal, m",
    ylabel="share of plans that arrive", alt="Share of guided plans that arrive against the way to the goal: with "
    "dense reward around two in five, with goal-only reward falling from a fifth to almost none.")

# %%
credit.each()

# %% [markdown]
# **Open.** Pooled over the three goals, plans guided by the dense reward arrive far more often than plans guided by the goal-only reward, and the gap is smallest near the goal. Yet at one of the goals the guide of the dense reward fails from afar, too.
#
# **Robots, and a published result that did not come back.** The published scores of Diffuser's guided planner on robots lie above those of behaviour cloning (Janner et al. 2022), and on Hopper above those that others publish for cloning of the *best tenth* of the episodes (Chen et al. 2021). The recordings are *medium-replay*: what a policy did in its training until it was of medium
# quality. Each method got the same hours, and the last checkpoint counts. Plans of eight steps climb a value network; the best of sixteen is driven for one step, and then a new plan is made.

# %%
robots = measured.Robots()
guided, cloning = (robots.scores["hopper", method]["interval"] for method in ("guided", "cloning"))
assert guided[0] > cloning[1], "large effect: above cloning"
widgets.intervals(robots.measured(), xlabel="normalised score, interquartile mean with 95 % interval", alt="Scores of robots: Hopper's guided planner "
    "lies above behaviour cloning and below cloning of the best tenth, HalfCheetah's far above the one and level with the other.")

# %%
robots.diagnosis()

# %% [markdown]
# **Large effect.** On both robots the guided planner scores far above cloning of all episodes. The published result, above cloning of the *best tenth*, **failed** on Hopper: there the guided planner scores below cloning of the best tenth, which is far simpler. On the half-cheetah it is **open**: the intervals of the two overlap. The table suggests why Hopper
# fails. The value network ranks recorded windows well, but on Hopper the next step of a guided plan is further from what the simulator does than that of an unguided plan (the unit is the standard deviation of a recorded change). On the half-cheetah the two are equally far. So on Hopper the guide leads to plans that the robot cannot follow. Our settings are smaller than the paper's, which may also be a reason; `docs/studies.md` has the numbers.
#
# ## 6 · Break it: two conditions that exclude each other
#
# A condition gives a direction, `D(x_t, c) - D(x_t)`. Directions can be added: AND gives each a positive weight, NOT a negative one (Liu et al. 2022).
#
# **Exercise 3** (medium, 8 minutes). Write the guided answer for several conditions. Pitfall: how often does the free answer count?

# %% tags=["exercise"]
def combined(free: Tensor, conditional: Tensor, w: Tensor) -> Tensor:
    """The guided x0_hat for k conditions: free [B, H], conditional [k, B, H], w [k]. -> [B, H]"""
    ### BEGIN SOLUTION
    return free + (w[:, None, None] * (conditional - free)).sum(0)
    ### END SOLUTION


check("05b.compose", combined)

# %% [markdown]
# Decision Diffuser plans states, with the return as a condition (Ajay et al. 2023). A drive through the left corridor returns about 168, one through the right about 145. We ask for one of them, for both at once, and for the one without the other. Your function combines the answers.

# %%
combined = mine("05b.compose")
ASKED = {"168": {168: 1.0}, "145": {145: 1.0}, "168 AND 145": {168: 1.0, 145: 1.0}, "168 NOT 145, weakly": {168: 1.0, 145: -0.1}, "168 NOT 145": {168: 1.0, 145: -0.5}}
outcomes = {name: frontiers.asking(two_ways, returns, combined, SEED) for name, returns in ASKED.items()}

# %% tags=["broken"]
in_walls = {name: float((way < 0).double().mean()) for name, (_, way, _) in outcomes.items()}
assert max(in_walls["168"], in_walls["145"]) < 0.1 < 0.5 < in_walls["168 AND 145"], "large effect: asked for both, the plans go between"
frontiers.asked_plans(two_ways, {name: outcomes[name] for name in ("168", "145", "168 AND 145")}, alt="Plans asked for a return of 168 go left, "
    "plans asked for 145 go right; asked for both at once they go between the corridors, through the block.")

# %%
frontiers.asked_table(outcomes)

# %% [markdown]
# **Large effect.** Asked for one return, nearly all plans keep out of the walls and return about what was asked for. Asked for both, most plans go between the corridors and through the block. A small negative weight changes hardly anything; with a larger one the plans run through walls, as under over-guidance. The sum is exact only for conditions that are independent given $x_t$, and
# the sampler gives no warning where they are not.
#
# | signature | in the picture | the number that gives it away | cure |
# |---|---|---|---|
# | two conditions that exclude each other | plans go between the modes | the share of plans in walls, beside that under each condition alone | ask only for what a recorded plan can have at once |
# | 0 says "no condition" | samples overshoot; for the condition 0 guidance has no effect | distance to what was asked for, at the condition 0 and elsewhere | NaN outside, a value and a flag inside |
# | forms compared at one scale | one curve looks far steeper | the returns at that scale differ | compare at equal return |
#
# ## 7 · What the survey claims, and what was measured
#
# | The survey says | Measured here | Verdict |
# |---|---|---|
# | Guidance steers towards high return | plans and drives return more than without guidance, in every training | held (large effect) |
# | Classifier-free guidance needs no classifier | it reaches goals (section 4) and returns that are asked for (*Further*), at twice the evaluations | held (large effect) |
# | A classifier is modular, classifier-free guidance needs joint training | planners were guided by networks that they were not trained with (sections 3 and 4, and *Further* of lesson 05); each costs a backward pass | held (large effect) |
# | Sparse rewards limit credit assignment | from afar few plans arrive with a guide of goal-only reward, many with a guide of dense reward, but not at each of three goals | open |
# | *Published scores:* a guided planner beats cloning, on Hopper that of the best tenth, too | above cloning of all episodes on both robots; below cloning of the best tenth on Hopper, and on the half-cheetah the intervals overlap | failed on Hopper, open on the half-cheetah |
#
# **Symbols.** $w$ `scale` guidance scale; $J$ what is wanted; $p$ a probability; $n$ `sizes` number of samples in a set; $x_t$ a noisy plan.
#
# **References.** Janner et al., "Planning with Diffusion for Flexible Behavior Synthesis" (2022). Ajay et al., "Is Conditional Generative
# Modeling all you need for Decision-Making?" (2023). Liu et al., "Compositional Visual Generation with Composable Diffusion Models" (2022). Lu et al., "Contrastive Energy Prediction for Exact Energy-Guided Diffusion Sampling
# in Offline Reinforcement Learning" (2023). Chen et al., "Decision Transformer: Reinforcement Learning via Sequence Modeling" (2021). The survey: "Diffusion Models for Reinforcement Learning" (arXiv 2510.12253, 2025).
#
# **Next.** Lesson 06 makes the chain shorter. The blank page of lesson 05, `diffrl-lab start blank-05`, needs exercise 1 of this lesson, too.

# %% [markdown]
# ## Further · the frontier, point by point
#
# Here are the frontiers of the first training, coverage over return. Move the pointer over a point: you see its scale, and how many of its plans
# run through walls. (Where no JavaScript runs you see the same curves as a plain picture.)

# %%
frontiers.hovering(curves)

# %% [markdown]
# ## Further · do the tables hold?
#
# Tables can be wrong, or old. Here three points are computed again from the weights, with the table's noise and with fresh noise. The last assert does the same with the table of two exact modes, for three scales and two seeds.

# %%
rows = measured.recomputed(study, two_ways, {"cfg": 1, "value": 2, "energy": 4}, (10_000, 20_000 + SEED))
for r in rows:
    assert abs(r["left"] - r["table"]) < 4 * r["se"], "large effect: computed here, the corridors are the table's"
    assert abs(r["return"] - r["table return"]) < 6 * r["return se"] + 0.2, "large effect: so are the returns"
assert measured.exactly_again("cfg", (1, 2, 4), (0, 1)) < 1e-3, "exact: the same samples"
measured.recomputed_table(rows)

# %% [markdown]
# ## Further · do plans return what they were asked for?

# %%
word = Table.load(shipped("results/guidance-asked.json"))
want = sorted(set(word.column("want")))
got = {f"w = {w}": [word.column("got", w=w, want=q).mean() for q in want] for w in (0, 1, 4)}
widgets.lines(want, {"exact": want, **got}, points=True, xlabel="return that is asked for",
    ylabel="mean return of the plans", alt="Return of plans against the return asked for: at w = 1 on the diagonal, at "
    "w = 4 near it, without the condition level.")

# %% [markdown]
# At $w = 1$ the plans return what they were asked for, to within a few points. Without the condition the mean return is the same, whatever was asked for.
#
# ## Further · is the exact energy better?
#
# On the two modes of lesson 05 the slope of the noisy energy gave the exact tilt, and the slope of $J$ at $x_t$ did not. Contrastive energy prediction (Lu et al. 2023) learns the energy for plans. At scale 1 the exact answer is known: weigh the recorded drives by $e^{\,J}$.

# %%
tilt = next(row for row in two_ways.laws.rows if row["world"] == "two-ways-p50")["tilted"]
exactly = next(t["left"] for t in tilt if t["scale"] == 1)
rows = []
for form in ("energy", "value"):
    for seed in study.about["seeds"]:
        left = study.column("left", form=form, scale=1, seed=seed)[0]
        rows.append((f"{form}: training {seed}", left, *wilson(round(128 * left), 128)))
widgets.intervals(rows, xlabel="share that goes left at scale 1, of 128 plans", reference={"exact tilt": exactly},
    alt="Share of plans that go left at scale 1 for the energy and the value guide, one row for each training: all "
    "intervals hold the exact tilt of the recorded drives.")

# %% [markdown]
# **Open.** With 128 plans, neither the energy guide nor the value guide can be told from the exact tilt, and the two guides cannot be told from each other. Where the reward is nearly linear over the plans that are possible given $x_t$, the mean of $J$ and the noisy energy have nearly the same slope.
