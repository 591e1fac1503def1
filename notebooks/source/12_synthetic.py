# %% [markdown]
# ![Four clouds of transitions of a pendulum by their distance to the nearest recorded row and by their residual. SynthER's rows are new and nearly right, little noise makes copies, more noise makes rows that are wrong, least squares keeps recorded states.](attachment:12.png)
#
# # 12 · Synthetic experience
#
# **The question.** Can a model of recorded transitions make more of them, and does a learner gain by it?
#
# Data of a robot are few. SynthER (Lu et al. 2023) trains a diffusion model on recorded transitions $(s, a, r, s')$ and draws as many new ones as one likes. The survey lists this as one of six roles of diffusion, *exploration augmentation*, and claims a gain in sample efficiency. Here you draw such rows in two worlds whose laws are known, so that each row can be held against the truth. You will see that one number alone, however good, does not tell whether rows are worth anything.
#
# **Afterwards you can**
# - read the dynamics of a world off drawn rows, and say how exact that can be;
# - measure the residual of a drawn transition, and whether it is a copy, and say why both are needed;
# - explain what drawn rows cannot know;
# - augment a data set without copies, and test whether a learner gains.
#
# **You need** lesson 02 (how samples are drawn), lesson 03 (transitions, offline data) and lesson 04 (data that are copied). **Machine:** about 50 seconds on two CPU cores, no network. **You:** 85 minutes (an estimate).

# %% tags=["collapsed"]
import torch
from torch import Tensor

from diffrl_lab import widgets
from diffrl_lab.course import check, guess, hint, mine
from diffrl_lab.data.episodes import transitions
from diffrl_lab.data.scaling import Scaler
from diffrl_lab.diffusion import Karras, MixtureDenoiser, heun, sample
from diffrl_lab.methods.models.synther import rows
from diffrl_lab.studies import augmented, synthetic
from diffrl_lab.widgets.explore import explore
from diffrl_lab.worlds import linear, pendulum

torch.set_num_threads(1)  # for networks this small a second thread costs more than it brings

# %% tags=["parameters"]
PROFILE = "class"  # smoke: seconds; class: a minute; full: more rows
SEED = 0

# %%
N, SETS, TRAININGS = {"smoke": (500, 4, 1), "class": (2000, 8, 3), "full": (10_000, 20, 5)}[PROFILE]
generator = torch.Generator().manual_seed(SEED)
widgets.component_map(["data", "diffusion model"], alt="The survey's component map with two boxes lit, data and "
    "diffusion model: this lesson makes new transitions from recorded ones, and acts with none of them.")

# %% [markdown]
# ## 1 · A world that regression can read
#
# Let $s' = A s + B a + w$, where $w$ is Gaussian with mean 0 and covariance $\Sigma$, and let the policy that records be linear with Gaussian noise. This world has two numbers in $s$ and one in $a$. After a while its rows $(s, a, r, s')$ are all drawn from one Gaussian with mean 0. Its covariance $C$ follows from $A$, $B$, $\Sigma$ and the policy, so it is known.
#
# Whoever has rows can find $A$, $B$ and $\Sigma$ by least squares. Write $x = (s, a)$ and $M = [A\ B]$. Setting the slope of $\sum |s' - M x|^2$ to 0 gives
# $$\hat M = \Big(\sum s' x^\top\Big) \Big(\sum x x^\top\Big)^{-1}.$$
#
# **Exercise 1** (medium, 12 minutes). Write this regression, without a constant, and estimate $\Sigma$ by the mean of $e e^\top$, where $e$ is what is left over. Pitfalls: $a$ depends on $s$; which axis of the solution belongs to what?

# %% tags=["exercise"]
def regression(s: Tensor, a: Tensor, after: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """s [n, d], a [n, k], after [n, d]. -> A [d, d], B [d, k], Sigma [d, d]"""
    ### BEGIN SOLUTION
    x = torch.cat([s, a], 1)
    M = torch.linalg.lstsq(x, after).solution
    e = after - x @ M
    return M[: s.shape[1]].T, M[s.shape[1] :].T, e.T @ e / len(s)
    ### END SOLUTION


check("12.regression", regression)

# %% [markdown]
# The exact denoiser of these rows is a mixture of one Gaussian. A chain with it draws rows without any training. How near does your regression on them come to the truth? The rows' own chance sets the limit. Given $x$, the error of $\hat M$ has the expected square
# $$\mathbb{E}\, |\hat M - M|^2 \approx \frac{1}{n} \operatorname{tr} \Sigma \, \operatorname{tr} C_{x}^{-1},$$
# because each row adds one $w$, and $C_x$ is the part of $C$ that belongs to $x$.

# %%
regression, true, C = mine("12.regression"), linear.law(), linear.covariance()
truth = torch.cat([true.A, true.B], 1)


def fitted(x: Tensor) -> Tensor:
    """[A B] by your regression on rows (s, a, r, s')."""
    return torch.cat(regression(x[:, :2], x[:, 2:3], x[:, 4:6])[:2], 1)


def drawn(D, n: int, steps: int = 40) -> Tensor:
    """n rows of a denoiser, by Heun's method."""
    noise = D.schedule.prior((n, 6), generator, dtype=torch.float64)
    return sample(D, noise, steps=steps, step=heun())

# %%
exact = MixtureDenoiser([1.0], torch.zeros(1, 6), Karras(0.002, 80.0), cov=C[None])
counts = [125, 250, 500, 1000, 2000]
limit = [float((true.sigma.trace() * C[:3, :3].inverse().trace() / n).sqrt()) for n in counts]
sets = [torch.stack([(fitted(drawn(exact, n)) - truth).square().sum() for _ in range(SETS)]) for n in counts]
errors = [float(e.mean().sqrt()) for e in sets]
assert all(0.5 < e / at < 1.8 for e, at in zip(errors, limit, strict=True)), "exact: as near as so many rows can tell"
widgets.lines(counts, {"drawn rows": errors, "exact": limit}, logx=True, logy=True, points=True, xlabel="rows drawn",
    ylabel="error of A and B", alt="The error of A and B over the number of drawn rows, both axes logarithmic: it falls "
    "along the exact dashed line, by half for four times as many rows.")

# %% [markdown]
# **Exact.** Rows of the exact denoiser give $A$ and $B$ back, up to the error that as many real rows would have.
#
# ## 2 · What drawn rows cannot know
#
# The exact denoiser knew the truth. A model knows only what was recorded. Take the best Gaussian model of 100 recorded rows: it has their mean and their covariance. From it you may draw rows without end.

# %%
worth = guess("12.worth", "100 rows were recorded, and the best Gaussian model of them draws 20,000. The error of A and B by the drawn rows, as a share of the error by the recorded rows?", 0.0, 2.0)
worth

# %%
recorded = rows(transitions(linear.record(100, seed=SEED)))[:, :6].double()
best = MixtureDenoiser([1.0], recorded.mean(0)[None], Karras(0.002, 80.0), cov=torch.cov(recorded.T, correction=0)[None])
many = best.sample(20_000, generator, dtype=torch.float64)
off = {"recorded": float((fitted(recorded) - truth).norm()), "drawn": float((fitted(many) - truth).norm())}
worth.reveal(off["drawn"] / off["recorded"])

# %%
counts = [100, 400, 1600, 6400, 20_000]
falls = [float((fitted(many[:n]) - fitted(recorded)).norm()) for n in counts]
assert falls[-1] < 0.06, "exact: drawn rows give the regression of the recorded rows back"
assert 0.8 < off["drawn"] / off["recorded"] < 1.25, "exact: and are no nearer to the truth"
widgets.lines(counts, {"to the truth": [float((fitted(many[:n]) - truth).norm()) for n in counts], "to the recorded rows' answer": falls},
    logx=True, logy=True, points=True, xlabel="rows drawn", ylabel="distance of A and B", alt="Two curves over the number of "
    "drawn rows: the distance to the recorded rows' own answer falls on, the distance to the truth stays where it is.")

# %% [markdown]
# **Exact.** The drawn rows answer what the recorded rows answer, mistakes included: 20,000 of them tell nothing about $A$ and $B$ that 100 recorded rows did not. The formula for $\hat M$ says why. It needs two moments of the rows, and the model was made to have the moments of the recorded ones.
#
# So where could a gain come from? A *learned* model has assumptions of its own: what it draws between the rows may be nearer to the world than the rows' own noise, or further off. And a learner that is not least squares may suffer from few rows in ways that more rows cure, be they made up or not. Both are questions for a measurement.
#
# Here is SynthER on 400 recorded rows of this world (one training): a network with EDM's preconditioning, on rows that are scaled to unit variance. Your regression reads its rows.

# %%
learned, shown = augmented.model("linear", 400), rows(augmented.recorded("linear", 400))
made = rows(learned.sample(N, steps=40, generator=generator))
far = lambda x: float((fitted(x[:, :6].double()) - truth).norm())
gap = {"recorded": far(shown), "drawn": far(made)}
assert gap["drawn"] < 0.25, "large effect: A and B can be read off the rows of a trained model"
widgets.table({"rows": ["400 recorded", f"{N:,} drawn"], "error of A and B": [f"{v:.3f}" for v in gap.values()],
    "error that as many real rows have (exact)": [f"{limit[0] * (125 / n) ** 0.5:.3f}" for n in (400, N)]})

# %% [markdown]
# **Large effect.** The rows of the trained network have the world's $A$ and $B$ to within 0.25 in this one training. If they come out nearer to the truth than the recorded rows, that may be chance: the model saw nothing but these rows. The study behind this lesson trained it three times, and drew 10,000 rows each time. The table has the mean of the three, and in brackets the lowest and the highest.

# %%
study, arms = augmented.Study("linear"), {"real": "400 recorded", "drawn": "400 drawn", "more drawn": "10,000 drawn", "more real": "10,000 real"}
widgets.table({"rows": list(arms.values()), **{f"error of {what}": [study.cell(what, n=400, arm=arm) for arm in arms] for what in ("A", "B")}})

# %%
assert (study("A", n=400, arm="more real") < study("A", n=400, arm="more drawn") / 2).all(), "large effect: real rows tell more"

# %% [markdown]
# **Large effect.** In each of three trainings 10,000 real rows give $A$ with less than half the error of 10,000 drawn ones, and these are about as near to it as the 400 recorded rows are.
#
# ## 3 · Pendulum: every transition can be checked
#
# In Gymnasium's Pendulum the observed state is $(\cos\theta, \sin\theta, \omega)$: $\theta$ is the angle, 0 when the pole stands upright, and $\omega$ is its speed. The action $a$, within $[-1, 1]$, is a torque of $2 a$. There is no chance in it:
# $$\omega' = \omega + 0.05\, (15 \sin\theta + 3 \cdot 2 a), \qquad \theta' = \theta + 0.05\, \omega',$$
# with $\omega'$ cut to $[-8, 8]$. So a drawn transition is right or wrong, and by how much can be computed: the **residual** is the root of the mean of the squared errors of the three numbers of $s'$, each over its spread.
#
# **Exercise 2** (medium, 15 minutes). Write the residual. Drawn states lie a little beside the circle, so read the angle from both numbers; an action beyond $[-1, 1]$ does what the end of it does. Pitfall: which speed moves the angle?

# %% tags=["exercise"]
def residual(s: Tensor, a: Tensor, after: Tensor, spread: Tensor) -> Tensor:
    """s, after [n, 3]: cosine, sine, speed; a [n, 1]; spread [3]. -> [n]"""
    ### BEGIN SOLUTION
    theta, u = torch.atan2(s[:, 1], s[:, 0]), 2 * a[:, 0].clamp(-1, 1)
    omega = (s[:, 2] + (15 * theta.sin() + 3 * u) * 0.05).clamp(-8, 8)
    theta = theta + omega * 0.05
    true = torch.stack([theta.cos(), theta.sin(), omega], 1)
    return ((after - true) / spread).square().mean(1).sqrt()
    ### END SOLUTION


check("12.residual", residual)

# %% [markdown]
# Your residual judges four ways to make rows from 400 recorded ones: SynthER (one training); noise on each number of a recorded row, of 0.02 and of 0.2 of its deviation; and least squares, the simplest model, which makes $s'$ a linear function of $(s, a)$ and keeps the recorded $s$ and $a$.

# %%
residual, spread = mine("12.residual"), torch.tensor(pendulum.SPREAD)
real, fresh = augmented.recorded("pendulum", 400), transitions(pendulum.scattered(2000, seed=10_000 + SEED))
wrong = lambda t: float(residual(t.obs, t.act, t.next_obs, spread).median())
A, B, _ = regression(real.obs, real.act, real.next_obs)
ways = {"SynthER": augmented.model("pendulum", 400).sample(N, generator=generator),
    "noise 0.02": synthetic.noisy(real, N, 0.02, generator), "noise 0.2": synthetic.noisy(real, N, 0.2, generator),
    "least squares": real._replace(next_obs=real.obs @ A.T + real.act @ B.T), "the world itself": fresh}
found = {name: wrong(t) for name, t in ways.items()}
widgets.table({"rows of": list(found), "residual (median)": [f"{v:.3f}" for v in found.values()]})

# %%
assert found["the world itself"] < 1e-3, "exact: the world's own rows have no residual"
assert found["SynthER"] < 0.05 < 0.15 < found["noise 0.2"], "large effect: rows of the trained model nearly obey the equations"
assert found["noise 0.02"] < 0.05, "exact: so do recorded rows with hardly any noise"

# %% [markdown]
# **Large effect.** SynthER's rows nearly obey equations that it never saw: their median residual is below 0.05, that of rows with noise of 0.2 above 0.15. But rows with noise of 0.02 stay below 0.05 as well, and nobody learned anything for them: a row that is *copied* has no residual at all. This number alone decides nothing.
#
# ## 4 · Is it new?
#
# To find copies, look for the recorded row that is nearest to a drawn one. That distance alone says little: the more rows were recorded, the smaller it is for everybody. So divide by what *new* rows of the world have.
#
# **Exercise 3** (medium, 10 minutes). Write the nearest-row ratio: the median distance of the drawn rows to their nearest training row, over the same median for fresh real rows. Distances are in deviations of the training rows' columns. Pitfall: compared with what? Training rows lie at distance 0 from themselves.

# %% tags=["exercise"]
def ratio(x: Tensor, train: Tensor, fresh: Tensor) -> Tensor:
    """x [n, d] drawn, train [N, d], fresh [m, d] rows of the world that no model saw. -> []"""
    ### BEGIN SOLUTION
    std = train.std(0)
    near = lambda rows: torch.cdist(rows / std, train / std).amin(1).median()
    return near(x) / near(fresh)
    ### END SOLUTION


check("12.ratio", ratio)

# %%
copied = guess("12.copied", "SynthER was trained on 400 rows of Pendulum. Its nearest-row ratio is?", 0.0, 2.0)
copied

# %%
ratio, numbers = mine("12.ratio"), lambda t: rows(t)[:, :-1]  # the last column, the end of an episode, is 0 in all rows
how_new = lambda t: float(ratio(numbers(t), numbers(real), numbers(fresh)))
copied.reveal(how_new(ways["SynthER"]))

# %% tags=["punchline"]
augmented.clouds({name: (ways[name], real) for name in ("SynthER", "noise 0.02", "noise 0.2", "least squares")}, fresh,
    alt="Four clouds of transitions by nearness to a recorded row and by residual: SynthER lies low and around 1, noise of "
    "0.02 as low and far to the left, noise of 0.2 around 1 and far higher, least squares to the left.")

# %%
new = {name: how_new(t) for name, t in ways.items()}
assert new["noise 0.02"] < 0.3, "exact: little noise makes copies"
assert 0.7 < new["SynthER"] < 2, "large effect: rows of the trained model are as new as the world's own"
assert new["noise 0.2"] > 0.9 and found["noise 0.2"] > 4 * found["SynthER"], "large effect: noise that is as new is far off"
widgets.table({"rows of": list(ways), "residual": [f"{found[name]:.3f}" for name in ways], "ratio": [f"{v:.2f}" for v in new.values()]})

# %% [markdown]
# **Large effect.** Noise has to choose: at 0.02 its rows are copies, with a ratio below 0.3; at 0.2 they are new, and their residual is more than 4 times that of SynthER. The trained model does both, in this one training: its rows are as new as the world's own, between 0.7 and 2, and nearly right. Least squares lies between: its states and actions are the recorded ones, and what follows is further off. Neither number tells this alone.
#
# The study has three trainings each of 400 and of 2,000 recorded rows.

# %%
oracle, kinds = augmented.Study("oracle"), {"SynthER": ("diffusion", 2000, 0.0), "noise 0.02": ("noise", 0, 0.02), "noise 0.2": ("noise", 0, 0.2)}
at = {(n, kind): dict(zip(("arm", "updates", "noise"), kinds[kind], strict=True), n=n) for n in (400, 2000) for kind in kinds}
widgets.table({"recorded": [f"{n:,}" for n, _ in at], "rows of": [kind for _, kind in at],
    **{what: [oracle.cell(what, digits, **w) for w in at.values()] for what, digits in (("residual", 3), ("ratio", 2))}})

# %%
for n in (400, 2000):
    assert (oracle("ratio", **at[n, "SynthER"]) > 0.9).all(), "large effect: no training memorised"
    assert (oracle("residual", **at[n, "SynthER"]) < 0.04).all(), "large effect: and each nearly found the equations"

# %% [markdown]
# **Large effect.** In all six trainings the ratio is above 0.9 and the median residual below 0.04. That a model of only 400 rows copies them was expected, and it was not seen with networks of this size.
#
# ## 5 · Augment a data set
#
# **Exercise 4** (hard, 25 minutes). This is the synthesis of the lesson: make a larger data set out of recorded rows and a model's draws. The draws come scaled; `scaler(x)` scales rows, and `scaler.inverse(z)` takes them back to units. Steps:
# 1. a draw is a copy if it is nearer to a recorded row than `share` times the median of fresh rows, in scaled units; drop it;
# 2. of those that are left keep the first `most * len(rows)`;
# 3. take them back to units, and put them behind the recorded rows.
#
# A law judges your rows: a regression on them must find the world's $A$ and $B$. Pitfalls: in which units is each step done? What is cut first?

# %% tags=["exercise"]
def augment(rows: Tensor, fresh: Tensor, z: Tensor, scaler: Scaler, share: float, most: int) -> Tensor:
    """rows [n, d] recorded, fresh [m, d], z [k, d] draws, scaled. -> [n + ..., d], the recorded rows first"""
    ### BEGIN SOLUTION
    near = lambda x: torch.cdist(x, scaler(rows)).amin(1)
    new = z[near(z) >= share * near(scaler(fresh)).median()]
    return torch.cat([rows, scaler.inverse(new[: most * len(rows)])])
    ### END SOLUTION


check("12.augment", augment)

# %%
augment, base = mine("12.augment"), shown
more = [rows(transitions(linear.record(n, seed=seed + SEED))) for n, seed in ((2000, 700), (1600, 800))]
z = learned.scaler(rows(learned.sample(2 * len(base) + N, steps=40, generator=generator)))
grown = augment(base, more[0], z, learned.scaler, 0.5, 2)
with_real = torch.cat([base, more[1][: len(grown) - len(base)]])
error = {name: far(x) for name, x in {"recorded": base, "augmented": grown, "as many real": with_real}.items()}
widgets.table({"rows": list(error), "how many": [len(base), len(grown), len(with_real)],
    "error of A and B": [f"{v:.3f}" for v in error.values()]})

# %% [markdown]
# **Open.** The table compares one training and one recording, so chance decides much of its order. What was exact in section 2 holds here as well: new rows of a model are not new facts about the world.
#
# ## 6 · Does a learner gain?
#
# Least squares cannot gain. Perhaps a network can, for few rows let it fit chance. A small network learns to forecast $s'$ in Pendulum from 400 recorded rows alone, or with 2,000 rows beside them: SynthER's, noisy copies, or *real* ones, which is the most that one could hope for. All have equally many updates, and are judged by 2,000 fresh rows.

# %%
gain = guess("12.gain", "The forecast's error with SynthER's rows beside the recorded ones, as a share of its error with the recorded ones alone?", 0.0, 2.0)
gain

# %%
beside = {"recorded alone": (), "+ SynthER": (augmented.model("pendulum", 400).sample(2000, generator=generator),),
    "+ noise 0.2": (synthetic.noisy(real, 2000, 0.2, generator),), "+ real": (transitions(pendulum.scattered(2000, seed=700 + SEED)),)}
off = {name: torch.tensor([augmented.forecast(augmented.joined(real, *more), fresh, seed=SEED + i) for i in range(TRAININGS)])
    for name, more in beside.items()}
gain.reveal(float(off["+ SynthER"].mean() / off["recorded alone"].mean()))

# %%
assert off["recorded alone"].max() < off["+ SynthER"].min() < 0.02, "large effect: drawn rows make this forecast worse"
assert off["+ noise 0.2"].min() > 2 * off["+ SynthER"].max(), "large effect: noise makes it far worse"
widgets.intervals([(name, v.tolist()) for name, v in off.items()], xlabel="error of the forecast on fresh rows", alt="Errors of the "
    "forecast by what it was trained on: the recorded rows alone and with real ones beside them are best, SynthER is a little behind, noise far.")

# %% [markdown]
# **Large effect.** In each training the forecast is *worse* with SynthER's rows than without them. The recorded rows of Pendulum are exact, and the drawn ones have a residual: the learner trusts both alike. With noise that is as new the error is more than twice that with SynthER. Even real rows bring little, as the picture shows: for this forecast 400 exact rows are nearly enough.
#
# **Open.** A *policy* might gain from rows where nothing was recorded, even if they are a little wrong; a forecast on fresh rows of the same recording cannot see this. The first *Further* section asks it of TD3+BC.
#
# ## 7 · Move it
#
# How many rows were recorded, how many steps the chain has, how large the noise is: watch both numbers at once.

# %%
slider = augmented.Slider(fresh)
explore(slider.picture, rows=[400, 2000], denoising=[18, 3, 6, 40], noise=[0.05, 0.01, 0.1, 0.3])

# %% [markdown]
# ## 8 · Break it: the perfect score
#
# What would a network draw that minimised its training loss completely? The loss is a mean over the recorded rows, so its minimum is known (lesson 04): a mixture with one very narrow Gaussian on each recorded row. We draw from it, and judge it by the residual.

# %% tags=["broken"]
perfect = augmented.copied(real, N, generator)
augmented.clouds({"the lowest training loss": (perfect, real), "SynthER": (ways["SynthER"], real),
    "the world itself": (fresh, real)}, fresh, cols=3, alt="Three clouds: the model with the lowest training loss lies at the far "
    "left, with residuals below those of the trained model; the world's own rows lie at the bottom around 1.")

# %%
seen = {"residual": wrong(perfect), "ratio": how_new(perfect)}
assert seen["residual"] < 0.02 and seen["ratio"] < 0.1, "exact: copies win by the residual, and are no news"
short = [drawn(exact, 4 * N, steps=k) for k in (8, 18, 40)]
over = [float(regression(x[:, :2], x[:, 2:3], x[:, 4:6])[2].trace() / true.sigma.trace()) for x in short]
assert over[0] > 1.2 and over[0] > over[-1], "exact: too few steps leave noise in the rows"
widgets.table({"steps of the chain": ["8", "18", "40"], "trace of Sigma, over the true one": [f"{v:.2f}" for v in over]})

# %% [markdown]
# **Exact.** The model with the lowest training loss wins by the residual, which is below 0.02, and it has nothing to offer: its ratio is below 0.1. So a low training loss alone is no reason to trust a model. The study's networks stayed far from this minimum. The second fault is quieter. With 8 steps the chain of the *exact* denoiser leaves noise in its rows, and the trace of $\Sigma$ is more than 1.2 times the true one.
#
# | signature | in the picture | the number that gives it away | cure |
# |---|---|---|---|
# | memorised rows | the cloud lies far left of 1, and low | nearest-row ratio, against fresh rows | more rows, fewer updates; drop copies |
# | too few steps | the cloud lies too high | residual; $\Sigma$ by regression | more steps |
# | noise on rows | to the right only where it is high | residual and ratio together | a model of the rows |
# | model of too few rows | drawn rows agree with the recorded ones, not with the world | error on fresh rows | more real rows |
#
# ## 9 · What the survey claims, and what was measured
#
# | The survey says | Measured here | Verdict |
# |---|---|---|
# | Diffusion improves the sample efficiency of reinforcement learning | nothing new about $A$ and $B$; a forecast and a policy (TD3+BC) that are worse with drawn rows, for one model and one world; the course's study of data: a planner needs fewer transitions than cloning, and following the nearest recording needs fewer still | open |
# | Diffusion augments experience with new transitions that fit the world | of 400 rows of Pendulum SynthER makes rows as new as the world's own, with less than a quarter of the residual of noise that is as new | held (large effect), in three trainings |
#
# **Symbols.** $s, a, r, s'$ `obs, act, rew, next_obs` a transition; $A, B, \Sigma$ `A, B, sigma` of the linear world, $w$ its noise; $x$ the pair $(s, a)$, $M$ `truth` the matrix $[A\ B]$, $\hat M$ its estimate, $e$ what is left over; $C$ covariance of a row; $n$ number of rows; $\theta, \omega$ angle and speed.
#
# **References.** Lu et al., "Synthetic Experience Replay" (2023). Wang et al., "Prioritized Generative Replay" (2024). Karras et al., "Elucidating the Design Space of Diffusion-Based Generative Models" (2022). The survey: "Diffusion Models for Reinforcement Learning" (arXiv 2510.12253, 2025).
#
# **Next.** Lesson 13 learns the world itself, one step at a time, and asks of each step whether it is possible.

# %% [markdown]
# ## Further · Does a policy gain?
#
# TD3+BC (lesson 10) was trained on 400 recorded transitions of Pendulum alone, and with 10,000 beside them: SynthER's, noisy copies, or *real* ones. Five trainings each, on five recordings; each dot is the mean return of 100 drives.

# %%
paid = augmented.Study("downstream")
kinds = {"real": "recorded alone", "drawn": "+ SynthER", "noise": "+ noise 0.2", "more real": "+ real"}
assert (paid("paid", arm="drawn") < paid("paid", arm="real")).all(), "large effect: in each training SynthER's rows cost"
widgets.intervals([(name, paid("paid", arm=arm).tolist()) for arm, name in kinds.items()], xlabel="return of 200 steps", alt="Returns of five trainings of TD3+BC by what "
    "they were trained on: with SynthER's rows the lowest and close together, recorded rows alone and with noise spread widely above, real rows the highest in the mean.")

# %% [markdown]
# **Large effect.** On each of the five recordings the policy is paid less with SynthER's rows than without them. **Open.** None of these policies plays well, and other settings of TD3+BC were not tried: that drawn rows never help a policy is not shown.

# %% [markdown]
# ## Further · Does a learner who collects gain?
#
# Here a learner (SAC, Haarnoja et al. 2018) collects 2,000 steps of Pendulum itself, five trainings each. Four of the arms make two updates for each step. In three of these, half of each batch is made: by SynthER, by prioritised replay, or by copying with noise. One arm makes a single update for each step. Which half is worth most?

# %%
online = augmented.Study("online")
halves = {"own rows, 1 update a step": ("real", 1), "own rows, 2 updates": ("real", 2), "half SynthER": ("drawn", 2),
          "half prioritised": ("prioritised", 2), "half noisy copies": ("noise", 2)}
paid = {name: online("paid_2000", arm=arm, updates=k) for name, (arm, k) in halves.items()}
seen = [online("covered_2000", arm=arm, updates=k).mean() for arm, k in halves.values() if k == 2]
once, twice = paid["own rows, 1 update a step"], paid["own rows, 2 updates"]
assert once.max() < -900 and (twice > once + 500).sum() == 4, "large effect: a second update helps in four of five"
assert max(seen) - min(seen) < 0.1, "large effect: none of those with two updates sees many more states"
widgets.intervals([(name, v.tolist()) for name, v in paid.items()], xlabel="return after 2,000 steps", alt="Returns after 2,000 steps "
    "of five trainings: one update a step stays low in all, two updates on own rows end high in four and low in one, made halves are spread over the whole range.")

# %% [markdown]
# **Large effect.** A second update for each step, on the learner's own rows, is worth much in four of five trainings. **Open.** With half of each batch made, some trainings end as high and others far below; whether made rows help is not shown by five. An arm with as many *real* rows beside, the most that one could hope for, was not run. All arms with two updates see about the same share of states.

# %% [markdown]
# ## Further · Replay where a score is high
#
# Prioritised generative replay (Wang et al. 2024) draws rows where a score is high, such as *curiosity*: how badly $s'$ was predicted. `methods/models/replay.py` does so by classifier-free guidance. Here is the exact version in the linear world. A score that is linear in the row tilts its Gaussian (lesson 05), so the rows that are drawn are known. We tilt once by the state $s$, and once by $s'$.

# %%
tilts = {"no score": (0, 0.0), "a score of s": (0, 2.0), "a score of s'": (4, 2.0)}
table = {"drawn with": list(tilts), "mean of s": [], "mean of what A s + B a leaves over": []}
for column, size in tilts.values():
    b = torch.zeros(6, dtype=torch.float64)
    b[column] = size
    x = exact.tilt(b).sample(20 * N, generator, dtype=torch.float64)
    left = (x[:, 4:] - x[:, :3] @ truth.T).mean(0)
    assert (left - true.sigma @ b[4:]).abs().max() < 0.02, "exact: a score moves the dynamics by Sigma times its slope in s'"
    table["mean of s"].append(f"{x[:, 0].mean():+.2f}")
    table["mean of what A s + B a leaves over"].append(", ".join(f"{v:+.3f}" for v in left))
widgets.table(table)

# %% [markdown]
# **Exact.** A score of $s$ (and of $a$) draws other states, and in each of them the world stays what it is. A score that looks at $s'$ draws rows in which chance went one way: what $A s + B a$ leaves over has a mean, and whoever learns from these rows learns a wrong world. Curiosity is an error in $s'$, so where the world has noise of its own, this bias is to be expected. In Pendulum, which has none, there is nothing to bias.
