# %% [markdown]
# ![Three histograms of samples of one exact denoiser with 3, 7 and 63 evaluations against the dashed exact density: with 3 the small mode on the left is nearly empty and many samples lie between the modes, with 63 both modes are right.](attachment:02.png)
#
# # 02 · Schedules and samplers
#
# **The question.** There are many ways down from noise to data. Which is cheap, which is right, and how
# would you know? In the picture the denoiser is exact in all three panels. With 3 evaluations of it the sampler loses a mode all the same.
#
# In sections 1 to 5 all denoisers are *exact*, except the small networks of section 2. So whatever goes wrong with an exact one is an error of the
# solver (the rule for a step), of the schedule, or of the start.
#
# **Afterwards you can**
# - write a step of DDIM, a step of Heun's method and a whole solver of your own, and say what each costs;
# - measure a sampler against its noise floor, at equal cost;
# - find the faults by which a sampler draws wrong shares of the modes from an exact denoiser.
#
# **You need** lesson 01: $x_t = \alpha_t x_0 + \sigma_t \epsilon$ and $\hat{x}_0 = D(x_t, t)$. **Machine:** about 45
# seconds on two CPU cores, no network. **You:** 90 minutes (an estimate).

# %% tags=["collapsed"]
import math
from functools import partial
from itertools import pairwise, product

import torch
from IPython.display import Markdown
from torch import Tensor, nn

from diffrl_lab import widgets
from diffrl_lab.analysis.intervals import student
from diffrl_lab.course import check, guess, hint, mine
from diffrl_lab.data.toys import two_modes
from diffrl_lab.diffusion import (Batches, Cosine, Discrete, GaussianDenoiser, Karras, Linear, MixtureDenoiser, NeuralDenoiser, Rectified,
                                  chain, cosine_decay, ddpm, denoising_loss, descend, dpm_pp_2m, fit, heun, sample)
from diffrl_lab.nets import MLP
from diffrl_lab.widgets.explore import explore
from diffrl_lab.widgets.movie import movie

torch.set_num_threads(1)  # for tensors this small a second thread costs more than it brings

# %% tags=["parameters"]
PROFILE = "class"  # smoke: seconds; class: half a minute; full: more seeds and samples
SEED = 0

# %%
widgets.component_map("guided sampling", alt="The survey's component map with its fourth box lit, guided sampling: this "
    "lesson is about how the samples are drawn.")

# %% [markdown]
# The driver of lesson 01 is back, with a rarer habit: he turns left (near $-1$) two times out of ten, and right (near $+1$) otherwise.
# The left turns are the **minor mode**. A wrong sampler gets their share wrong.
#
# ## 1 · Three ways down
#
# DDPM walks down with fresh noise in every step. **DDIM** adds no noise. By $x_t = \alpha_t x_0 + \sigma_t \epsilon$ it splits
# $x_t$ into the data $\hat{x}_0$ that $D$ believes in and the noise $\hat\epsilon$ that is left. DDIM then mixes the same two
# again, in the proportions of the new level $s < t$. The result is $x_s$.
#
# **Exercise 1** (easy, 8 minutes). Write that step. Pitfall: two scales belong to $t$ and two to $s$.

# %% tags=["exercise"]
def ddim_step(x_t, x0_hat, alpha_t: float, sigma_t: float, alpha_s: float, sigma_s: float) -> Tensor:
    """One deterministic step from t to s < t. -> the shape of x_t"""
    ### BEGIN SOLUTION
    eps_hat = (x_t - alpha_t * x0_hat) / sigma_t
    return alpha_s * x0_hat + sigma_s * eps_hat
    ### END SOLUTION


check("02.ddim_step", ddim_step)

# %% [markdown]
# When the steps of DDIM become tiny, $x_t$ follows a curve: the solution of the *probability-flow ODE*. **Rectified flow** follows the same ODE with the
# scales $\alpha_t = 1 - t$ and $\sigma_t = t$. It steps along the velocity $\hat\epsilon - \hat{x}_0 = (x_t - \hat{x}_0) / t$.
# Is that another method? The last line below says that it is your DDIM step.

# %%
ddim_step = mine("02.ddim_step")
driver, generator = two_modes(p=0.2), torch.Generator().manual_seed(SEED)
exact = lambda schedule: MixtureDenoiser(driver.weights, driver.means, schedule, std=driver.std)
x_T = torch.randn(N := {"smoke": 1000, "class": 2000, "full": 4000}[PROFILE], 1, generator=generator)


def ddim(D, x_t, t, s, state=None, generator=None):
    """Your step in the form that `chain` and `sample` take: -> x_s, x0_hat, what the next step should remember."""
    x0_hat = D(x_t, t)
    return ddim_step(x_t, x0_hat, *map(float, (*D.schedule(t), *D.schedule(s)))), x0_hat, state


x0_hat, t, s = exact(Rectified())(x_T, 0.6), 0.6, 0.5
torch.testing.assert_close(ddim_step(x_T, x0_hat, 1 - t, t, 1 - s, s), x_T + (s - t) * (x_T - x0_hat) / t)  # exact

# %% [markdown]
# The movie draws $x_t$ (upwards) against $t$ (sideways): noise is on the right, data on the left. All panels start from the same six points, and
# a colour says where DDIM takes a point. Scrub back to $t = 1$ and watch the paths grow. DDIM and rectified flow take every point to the same mode. Does DDPM, too?

# %%
WAYS = {"DDPM": (Linear(), ddpm()), "DDIM": (Linear(), ddim), "rectified flow": (Rectified(), ddim)}


def frames(way: str, x_T: Tensor, steps: int) -> list:
    schedule, step = WAYS[way]
    return list(chain(exact(schedule), x_T, steps=steps, step=step, generator=generator))


paths = {way: frames(way, torch.linspace(-1.6, 1.6, 6)[:, None], 32) for way in WAYS}
movie({way: widgets.trails(path) for way, path in paths.items()}, limits=(0, 1, -2.6, 2.6), step=-1, samples=6, xlabel="t", ylabel="x_t",
    groups=(paths["DDIM"][-1].x_t[:, 0] > 0).int().tolist(), labels=["DDIM ends left", "DDIM ends right"], alt="Paths of x_t "
    "over t from the same six starts, noise on the right. DDPM's are jagged and cross. DDIM's are smooth and never cross. "
    "Rectified flow's start out straight and end in the same modes as DDIM's.")

# %%
again = guess("02.again", "Of the noise that DDIM takes to the left, how much does DDPM take there?", 0, 100, "%")
again

# %%
end = {way: frames(way, x_T, 64)[-1].x_t[:, 0] < 0 for way in WAYS}
left_too = {way: 100 * float(left[end["DDIM"]].double().mean()) for way, left in end.items()}
again.reveal(left_too["DDPM"])

# %%
assert left_too["rectified flow"] > 90, "exact: one ODE, whatever the schedule"
assert abs(left_too["DDPM"] - 20) < 12, "large effect: DDPM's fresh noise makes it forget x_T"

# %% [markdown]
# **Large effect.** Of the noise that DDIM takes to the left, DDPM takes about a fifth there, as it does of any noise: DDPM forgets where it started. **Exact.**
# Rectified flow takes more than 90 % of that noise to the left, since it follows DDIM's ODE (all of it, if the steps were tiny). So under an ODE each $x_T$ belongs to *one*
# sample. (In control this means that the same $x_T$ gives the same plan twice.)
#
# ## 2 · Does DDIM need its own training?
#
# The survey contrasts DDPM's "stable training" with DDIM's "faster inference". That sounds like two models. We train
# small networks once, under the schedule `Linear`; they predict neither noise nor data but a mix of both, `alpha * eps - sigma * x_0` (called `"v"`). Then we change the schedule and the sampler, and keep the weights.
# We compare samples by lesson 01's $W_1$: how far the samples of one set must be moved, on average, to become the other set. The $W_1$ of two exact sets is the noise floor (grey).

# %%
STEPS, RUNS = {"smoke": (300, 2), "class": (1500, 4), "full": (4000, 8)}[PROFILE]


def train(seed: int) -> NeuralDenoiser:
    torch.manual_seed(seed)
    D = NeuralDenoiser(MLP(1, width=64), Linear(), predict="v")
    update = descend(lambda x: denoising_loss(D, x, generator=generator), D, lr=1e-2, schedule=cosine_decay(STEPS))
    losses[f"seed {seed}"] = [float(row["loss"]) for row in fit(update, Batches(data, 256, generator), STEPS)]
    return D


data, losses = driver.sample(4000, generator)[0], {}
nets = [train(SEED + n) for n in range(RUNS)]
before = sum(map(len, losses.values()))  # steps of training so far
widgets.losses(losses, title="The only training of this lesson", alt="Training losses of the small networks, one curve per "
    "seed: all fall in the first tenth and then lie on top of each other.")

# %%
more = guess("02.more", "The training above is DDPM's. How many more steps of training does DDIM need?", 0, 1000, "steps")
more

# %%
def w1(a: Tensor, b: Tensor) -> float:
    return float((a.flatten().sort().values - b.flatten().sort().values).abs().mean())


fresh = lambda: driver.sample(N, generator)[0]
FLOOR = torch.tensor([w1(fresh(), fresh()) for _ in range(100)]).quantile(torch.tensor([0.05, 0.95])).tolist()
PAIRS = {"Linear, DDPM": (Linear(), ddpm()), "Linear, DDIM": (Linear(), ddim), "Cosine, DDIM": (Cosine(), ddim),
    "Rectified, DDIM": (Rectified(), ddim)}
w1_of = {label: [] for label in PAIRS}
for label, (schedule, step) in PAIRS.items():
    for D in (*nets, *[exact(schedule)] * RUNS):  # the exact denoiser as often, for comparison
        D.schedule, noise = schedule, torch.randn(N, 1, generator=generator)
        w1_of[label].append(w1(sample(D, noise, steps=32, step=step, generator=generator), fresh()))
more.reveal(sum(map(len, losses.values())) - before)

# %%
D, y, r = nets[0], torch.randn(100, 1, generator=generator), torch.tensor(0.7)
beliefs = []
for D.schedule in (Linear(), Cosine(), Rectified()):
    t = D.schedule.time(r)  # the time of one ratio sigma / alpha
    beliefs.append(D(D.schedule(t)[0] * y, t).detach())
torch.testing.assert_close(beliefs[0].expand(3, -1, -1), torch.stack(beliefs), rtol=1e-3, atol=1e-4)  # exact, but for rounding
picture = widgets.intervals([(label, w[:RUNS]) for label, w in w1_of.items()], xlabel="W1: a dot per network, a star for the exact D",
    alt="W1 of the same networks under four pairs of schedule and sampler, 32 steps: with DDIM the dots lie about the grey band "
    "of two exact sets, with DDPM farther right; the star of the exact denoiser lies near the dots, and with DDPM farther right, too.")
picture.axes[0].plot([sum(w[RUNS:]) / RUNS for w in w1_of.values()], range(3, -1, -1), "*", markersize=11, color=widgets.COLOUR["exact"])
picture.axes[0].axvspan(*FLOOR, color=widgets.COLOUR["wall"], zorder=0)
picture

# %% [markdown]
# **Exact.** Under three schedules the same weights give the same $\hat{x}_0$ at the same ratio $\sigma_t / \alpha_t$. The network sees $x_t$ scaled to unit variance, and the ratio $\sigma_t / \alpha_t$ as a label, so it cannot
# know the schedule. **DDIM is a sampler, not a model.** DDIM and DDPM share the weights, and nothing was trained in between.
# With the networks (dots), DDPM's samples lie farther from the data than DDIM's. With the exact $D$ (stars), which nobody trained, they do, too. So part of DDPM's distance comes from its 32 steps, which are too few.
#
# ## 3 · Order against cost
#
# Divide by $\alpha_t$: with $x = x_t / \alpha_t$ and $\sigma = \sigma_t / \alpha_t$ the scale of the signal is 1 for every schedule, and the ODE is short:
# $\dfrac{dx}{d\sigma} = \dfrac{x - D(x, \sigma)}{\sigma}$. Euler's method steps along the slope at the point where it stands; that is DDIM.
# **Heun's method** takes Euler's step only as a trial, asks for the slope at the end of the trial, and steps again from $x$ by the
# mean of both slopes.
#
# **Exercise 2** (medium, 12 minutes). Write Heun's step. Pitfall: at $\sigma_s = 0$ the second slope is $0/0$.

# %% tags=["exercise"]
def heun_step(D, x: Tensor, sigma_t: float, sigma_s: float) -> Tensor:
    """One step of dx/dsigma = (x - D(x, sigma)) / sigma from sigma_t down to sigma_s. -> the shape of x"""
    ### BEGIN SOLUTION
    slope = (x - D(x, sigma_t)) / sigma_t
    trial = x + (sigma_s - sigma_t) * slope
    if sigma_s == 0:
        return trial
    end = (trial - D(trial, sigma_s)) / sigma_s
    return x + (sigma_s - sigma_t) * (slope + end) / 2
    ### END SOLUTION


check("02.heun", heun_step)

# %% [markdown]
# A solver has **order** $p$ if twice as many steps make its error $2^p$ times smaller, *once steps are small*. For data from a Gaussian
# the end of every path is known exactly: its distance from the mean shrinks as the standard deviation does. So the order of two solvers that walk by your steps can be measured.

# %%
heun_step = mine("02.heun")
euler_step = lambda D, x, a, b: ddim_step(x, D(x, a), 1.0, a, 1.0, b)


def walk(step, D, x, levels):
    for a, b in pairwise(levels):
        x = step(D, x, a, b)
    return x


SOLVERS = {"DDIM": partial(walk, euler_step), "Heun": partial(walk, heun_step)}
z, KS = x_T[:300].double(), [2, 4, 8, 16, 32, 64, 128]
bell = lambda x, sigma: (0.3**2 * x + sigma**2 * 0.5) / (0.3**2 + sigma**2)  # D where the data are N(0.5, 0.3^2)
end = 0.5 + 0.3 / math.sqrt(0.3**2 + 2**2) * (2 * z - 0.5)  # of the path from x = 2 z at sigma = 2
grids = [[2 * (1 - k / K) ** 3 for k in range(K + 1)] for K in KS]
error = {name: [float((f(bell, 2 * z, g) - end).pow(2).mean().sqrt()) for g in grids] for name, f in SOLVERS.items()}
order = {name: math.log2(e[-2] / e[-1]) for name, e in error.items()}
assert abs(order["DDIM"] - 1) < 0.1 and abs(order["Heun"] - 2) < 0.2, "exact: orders 1 and 2"
widgets.lines(KS, error, logx=True, logy=True, points=True, xlabel="steps K", ylabel="error of x_0",
    title=f"Measured order: DDIM {order['DDIM']:.2f}, Heun {order['Heun']:.2f}", alt="Error against steps for a Gaussian, both "
    "axes logarithmic: two straight lines that begin close together; Heun's falls about twice as steeply as DDIM's.")

# %% [markdown]
# With the same number of steps, from 8 on, Heun's error is far smaller than DDIM's. But time is spent on *evaluations of D*, and Heun's step asks $D$ twice.
#
# **Exercise 3** (easy, 5 minutes). How many steps does a budget of evaluations buy? Solvers: `"ddpm"`, `"ddim"`, `"2m"` (order 2 with
# one evaluation a step: you write such a solver next) and `"heun"`. Pitfall: chains end at $\sigma = 0$.

# %% tags=["exercise"]
def steps_for(solver: str, budget: int) -> int:
    """The most steps whose evaluations of D do not exceed `budget`."""
    ### BEGIN SOLUTION
    return (budget + 1) // 2 if solver == "heun" else budget
    ### END SOLUTION


check("02.budget", steps_for)

# %% [markdown]
# **Exercise 4 · a whole solver of your own** (hard, 25 minutes). Heun's method pays a second evaluation to learn how the slope changes. But the step
# before has asked $D$ already, at another level. Write a solver of order 2 that asks $D$ once a step.
# 1. `levels` are numbers that fall from the first to 0, with long and short steps among them. `x` starts at the first.
# 2. You may ask $D$ at most as often as there are steps.
# 3. Pitfalls: the first step has no step before it; the last level is 0.
#
# The check knows no right samples: it measures your order on a Gaussian, on smooth and on uneven levels, and counts how often you
# ask. Every solver of order 2 passes. (The *blank pages* are tasks without even the first line of a function: `diffrl-lab start blank-01` in a terminal puts one into `my/`.)

# %% tags=["exercise"]
def solver(D, x: Tensor, levels: list[float]) -> Tensor:
    """x at levels[0] -> x at levels[-1] = 0 on dx/dsigma = (x - D(x, sigma)) / sigma, of the shape of x"""
    ### BEGIN SOLUTION
    before, length = None, 1.0
    for a, b in pairwise(levels):
        slope = (x - D(x, a)) / a
        ahead = 0 if before is None else (b - a) / (2 * length) * (slope - before)
        x = x + (b - a) * (slope + ahead)
        before, length = slope, b - a
    return x
    ### END SOLUTION


check("02.solver", solver)

# %% [markdown]
# Now the driver, whose distribution is no Gaussian. A *left turn* is a sample within three standard deviations of $-1$. A sample *between*
# the modes is no turn at all: hardly any data lie there. Move the slider of the cost (evaluations of $D$), which is the same for all four solvers. Which solver is the first to get both shares right?

# %%
steps_for, SOLVERS["exercise 4"] = mine("02.budget"), mine("02.solver")
wide, grid = Karras(sigma_max=float(Linear().ratio(1.0))), torch.linspace(-2, 2, 161, dtype=torch.float64)
D = lambda x, sigma: exact(wide)(x, wide.time(sigma))  # the driver's exact denoiser where alpha = 1
density = exact(wide).log_prob(grid[:, None], 0.0).exp()
LEFT, EMPTY = float(driver.weights[0]), float(density[grid.abs() < 0.4].sum() * (grid[1] - grid[0]))  # the exact shares
lefts, between = (lambda x: float(((x + 1).abs() < 0.6).double().mean())), (lambda x: float((x.abs() < 0.4).double().mean()))


def x_0(name: str, x_T: Tensor, evaluations: int) -> Tensor:
    K = int(steps_for("heun" if name == "Heun" else "ddim", evaluations))
    levels = Linear().ratio(Linear().grid(K)).tolist()  # of sigma, from about 150 to 0
    return frames(name, x_T, K)[-1].x_t if name in WAYS else SOLVERS[name](D, levels[0] * x_T, levels)


def look(evaluations: int) -> widgets.Picture:
    x = {name: x_0(name, x_T[:1000], evaluations) for name in ("DDPM", *SOLVERS)}
    panels = {f"{name}\n{lefts(v):.0%} left\n{between(v):.0%} between": v for name, v in x.items()}
    return widgets.histograms(panels, exact=(grid, density), top=3, height=3,
        alt=f"Histograms after {evaluations} evaluations of D against the dashed exact density: {'; '.join(panels)}.")


explore(look, evaluations=(3, 63, 2, 5))  # odd, for a budget that Heun can spend whole

# %%
cross = guess("02.cross", "Call DDIM's W1 at 5 evaluations 1. How large is Heun's at the same cost? (0.5 is half the error)", 0.0, 3.0)
cross

# %%
BUDGET, NAMES = [3, 5, 7, 15, 31, 63], ("DDPM", "DDIM", "Heun", "rectified flow", "exercise 4")
sets = [(torch.randn(N, 1, generator=generator), fresh()) for _ in range({"smoke": 3, "class": 4, "full": 10}[PROFILE])]
far, left, gap = ({name: [] for name in NAMES} for _ in range(3))
for name, n in product(NAMES, BUDGET):  # from the same noise, against the same samples of the exact distribution
    x = [x_0(name, noise, n) for noise, _ in sets]
    far[name].append(sum(w1(a, b) for a, (_, b) in zip(x, sets, strict=True)) / len(sets))
    left[name].append(sum(map(lefts, x)) / len(sets))
    gap[name].append(sum(map(between, x)) / len(sets))
cross.reveal(far["Heun"][1] / far["DDIM"][1])

# %%
picture = widgets.lines(BUDGET, far, logx=True, logy=True, points=True, xlabel="evaluations of D", ylabel="W1",
    alt="W1 against evaluations of D, both logarithmic: all fall, from 0.2 to 0.4 at 3 evaluations towards the grey band of two "
    "exact sets at 63; Heun lies a little above DDIM, and rectified flow lies well below both with few evaluations.")
picture.axes[0].axhspan(*FLOOR, color=widgets.COLOUR["wall"], zorder=0)
widgets.show(picture)
assert far["Heun"][1] > far["DDIM"][1], "large effect: at 5 evaluations Heun is no nearer than DDIM"
assert far["rectified flow"][0] < 0.75 * far["DDIM"][0], "large effect: at 3 evaluations the levels matter"
assert all(left["Heun"][k] > left["DDIM"][k] and gap["Heun"][k] > gap["DDIM"][k] for k in (1, 2)), "large effect: both shares"
assert left["DDIM"][0] < 0.06 and gap["DDIM"][0] > 0.15, "large effect: at 3 evaluations the mode is missing"
assert left["DDPM"][3] < 0.95 * LEFT and gap["DDPM"][3] < 0.03, "large effect: at 15 evaluations DDPM looks right and is not"
Markdown("| | left, 5 evaluations | between, 5 | left, 15 | between, 15 |\n|---|---|---|---|---|\n" + "".join(
    f"| {name} | {left[name][1]:.1%} | {gap[name][1]:.1%} | {left[name][3]:.1%} | {gap[name][3]:.1%} |\n" for name in NAMES)
    + f"| exact | {LEFT:.1%} | {EMPTY:.1%} | {LEFT:.1%} | {EMPTY:.1%} |")

# %% tags=["punchline"]
x = {n: x_0("DDIM", x_T, n) for n in (3, 7, 63)}
widgets.histograms({f"{n} evaluations\n{lefts(v):.0%} left, {between(v):.0%} between": v for n, v in x.items()}, top=2.4,
    exact=(grid, density), alt="Three histograms of DDIM's samples of the exact denoiser with 3, 7 and 63 evaluations against the "
    "dashed density: with 3 the left mode is nearly empty and a fifth of the samples lie between the modes; with 63 both are right.")

# %% [markdown]
# **Large effect.** The figures allow four conclusions, all at equal cost: $K$ steps of Heun are counted as $2K - 1$ evaluations.
# 1. **Higher order is not always better.** With 5 evaluations Heun's samples lie no nearer to the exact distribution (in $W_1$) than DDIM's. Heun takes three
#    large steps for that price, and order is a promise about *small* steps. Where does your solver lie, which takes five steps?
# 2. **One number does not decide.** With 5 evaluations Heun draws more of the left turns than DDIM, and more samples between the modes, too (see the table; with 7 it is the same).
# 3. **The levels matter, too.** Rectified flow is your DDIM step on other levels, and with 3 evaluations its $W_1$ is well below DDIM's.
# 4. **An exact $D$ does not protect the minor mode.** With 3 evaluations DDIM misses nearly all of it, as the histograms show, and the samples between the modes reveal the fault. With 15 evaluations of DDPM
#    hardly any sample lies between the modes (see the table). Each sample looks right, and still too few are left turns.
#
# Inside the grey band $W_1$ cannot tell a set of this size from an exact one, and it cannot show whether further evaluations help.

# %% [markdown]
# ## 4 · Where does the chain begin?
#
# The chain begins with pure noise. So the schedule must *end* there: $\alpha_1$, the scale of the signal left at $t = 1$, must
# be small. DDPM's betas were made for 1,000 steps. How much signal do 20 of them leave?
#
# A chain of few steps does not need a list of few betas. One can keep the *schedule* of 1,000 betas and take fewer *steps* on it: 20 of its 1,000 levels.
#
# **Exercise 5** (medium, 8 minutes). Choose the levels "trailing": evenly spaced, counted back from $T$, where pure noise belongs.
# Pitfall: "leading" levels are counted up from 0 and never reach $T$. Then the chain starts from pure noise, but $D$ is told that some signal is left.

# %% tags=["exercise"]
def trailing(T: int, K: int) -> Tensor:
    """The K + 1 whole levels n at which a chain of K equal steps stands. -> [K+1]"""
    ### BEGIN SOLUTION
    return torch.arange(K, -1, -1) * T // K
    ### END SOLUTION


check("02.trailing", trailing)

# %%
trailing, signal = mine("02.trailing"), lambda T: float(Discrete.linear(T)(1.0)[0])  # alpha_1
panels = {}
for T, steps in {20: 20, 1000: torch.as_tensor(trailing(1000, 20)).double() / 1000}.items():
    x = sample(exact(Discrete.linear(T)), x_T, steps=steps, step=ddim)
    panels[f"{T} betas: alpha_1 = {signal(T):.2f}\n{lefts(x):.0%} left, {between(x):.0%} between"] = x
few, many = panels.values()
assert lefts(few) > 0.3 and abs(lefts(many) - LEFT) < 0.05, "large effect: few betas spoil the share, trailing levels restore it"
assert round(signal(20) ** 2, 3) == 0.817, "exact: four fifths of the signal's variance is left"
assert float(Discrete.linear(1000)(0.95)[0]) < 0.02, "exact: what is left at 950, where leading begins"
widgets.histograms(panels, exact=(grid, density), alt="Samples after 20 steps against the dashed density: with a schedule of 20 "
    "betas the two modes are nearly equal, with 20 trailing levels of 1,000 they have the heights of the exact density.")

# %% [markdown]
# **Exact.** Twenty of DDPM's betas leave four fifths of the signal's variance at $t = 1$, but the chain begins as if nothing were left. **Large effect.** With these betas more than 30 % of the samples are left turns; on your 20 levels of the 1,000 about a fifth are, as in the data. ("Leading" levels would be harmless here: they begin
# at level 950, where $\alpha$ is below 0.02. With betas that leave more signal there they are a fault.)
#
# ## 5 · Break it
#
# The *variance-exploding* schedule of EDM keeps $\alpha_t = 1$ and lets $\sigma_t$ rise to $\sigma_{\max}$. A colleague
# takes $\sigma_{\max} = 5$, the exact $D$, 20 of your Heun steps, and starts as always: `x_T = torch.randn(...)`.

# %%
lost = guess("02.lost", "20 % of the data are left turns. And of the colleague's samples?", 0, 100, "%")
lost

# %%
edm, noise = Karras(sigma_max=5.0), torch.randn(N, 1, generator=generator)
levels = edm.ratio(edm.grid(20)).tolist()
x = {std: SOLVERS["Heun"](D, std * noise, levels) for std in (1, 5)}
left = {std: 100 * lefts(v) for std, v in x.items()}
lost.reveal(left[1])

# %% tags=["broken"]
assert left[1] < 1 and abs(left[5] - 100 * LEFT) < 8, "large effect: the minor mode is gone"
widgets.histograms({f"x_T of standard deviation {std}\n{left[std]:.0f}% left": v for std, v in x.items()},
    exact=(grid, density), alt="Samples from a start of standard deviation 1 all lie in the right-hand mode; those from standard "
    "deviation 5 fill both modes of the dashed exact density.")

# %% [markdown]
# **Large effect.** From noise of standard deviation 1 fewer than one sample in a hundred is a left turn; from noise of standard deviation 5 about a fifth is (a little more, since at $\sigma = 5$ the mean of the data still shows; EDM takes $\sigma_{\max} = 80$). In one dimension the
# ODE keeps the order of the points: the lowest fifth of the noise becomes the left turns. But where the chain starts, noise should have standard deviation 5: noise of standard deviation 1 lies near
# the middle of it, and hardly any in its lowest fifth. The three faults of this lesson, with exact $D$:
#
# | signature | in the picture | the number that gives it away | cure |
# |---|---|---|---|
# | the minor mode is missing | one mode is perfect, the other empty | the standard deviation of $x_T$, which should be $\sigma_{\max}$ | start from `schedule.prior(shape, generator)` |
# | the minor mode is too large | both modes are nearly equal | $\alpha_1$, which should be close to 0 | keep the 1,000 betas, take trailing levels |
# | samples between the modes, the minor mode low | the gap is filled | the share of samples where no data are | more evaluations, or better levels, until $W_1$ lies in the grey band |
#
# ## What the survey claims, and what we saw

# %%
gap, of_exact = (torch.tensor(w1_of["Linear, DDIM"]) - torch.tensor(w1_of["Linear, DDPM"])).split(RUNS)
low, high = student(gap)  # 95 %
text = f"{float(gap.mean()):+.3f} ({low:+.3f} to {high:+.3f})"
final = [sum(run[-50:]) / 50 for run in losses.values()]
assert max(final) - min(final) < 0.1 and max(final) < 0.85, "large effect: training ends at one loss, whatever the seed"
Markdown("| the survey, confidence medium | measured here | verdict |\n|---|---|---|\n| DDPM trains stably; DDIM is chosen "
    f"when sampling | {RUNS} seeds end at losses {min(final):.2f} to {max(final):.2f}; the same weights serve both; W1 of DDIM "
    f"minus DDPM at 32 steps {text}, of the exact D {float(of_exact.mean()):+.3f} | **held**, if read as *one* training; in one dimension |")

# %% [markdown]
# - **Exact.** All deterministic solvers follow one ODE. DDIM has order 1, Heun has order 2. Twenty of DDPM's betas leave far more signal than 1,000 of them.
# - **Large effect.** At 5 evaluations Heun's samples are no nearer to the exact distribution than DDIM's; they hold more of the minor mode, and more samples between the modes. A solver with few steps, or a wrong start, loses the minor mode of an exact $D$.
# - **Open.** Nothing here says whether the solvers have this ranking for plans and learned $D$, too. Lesson 06 will ask that question in control.
#
# **Next:** 03 leaves diffusion for an hour: it is about decisions and recorded data. 04 builds on 01 alone.
#
# ## Symbols
#
# | symbol | code | meaning |
# |---|---|---|
# | $t, s$ | `t`, `s` | diffusion times, $s < t$ |
# | $\alpha_t, \sigma_t$ | `alpha, sigma = schedule(t)` | scales of signal and noise; $\bar\alpha = \alpha^2$ |
# | $\hat{x}_0, \hat\epsilon$ | `x0_hat`, `eps_hat` | what $D$ believes are data and noise in $x_t$ |
# | $K, T$ | `steps`, `T` | steps of the chain; number of betas |
# | $p$ | | order of a solver |
# | $\sigma_{\max}$ | `Karras.sigma_max` | noise at $t = 1$ where $\alpha = 1$ |
# | $W_1$ | `w1` | how far samples must be moved, on average |
#
# **References.** Ho et al., "Denoising Diffusion Probabilistic Models" (2020). Song, Meng and Ermon, "Denoising Diffusion
# Implicit Models" (2021). Karras et al., "Elucidating the Design Space of Diffusion-Based Generative Models" (2022). Lu et
# al., "DPM-Solver++" (2022). Liu et al., "Flow Straight and Fast" (2023). Lipman et al., "Flow Matching for Generative
# Modeling" (2023). Song et al., "Consistency Models" (2023). Lin et al., "Common Diffusion Noise Schedules and Sample
# Steps are Flawed" (2024). The survey: "Diffusion Models for Reinforcement Learning: Foundations, Taxonomy, and
# Development" (arXiv 2510.12253, 2025).
#
# ## Further · EDM: where to put the steps, and churn
#
# EDM spaces its levels evenly in $\sigma^{1/7}$, so that steps are short near the data. EDM can also **churn**: before each step it adds
# a little noise and goes on from there, so that a chain forgets its errors. Does churn repair the colleague's start, too?
# (For the first two rows the chain starts from the exact distribution at $\sigma = 5$, so that only the levels differ.)

# %%
x_5, spaced = fresh() + 5 * noise, {"EDM's levels": edm.ratio(edm.grid(10)).tolist(), "even levels": torch.linspace(5, 0, 11).tolist()}
far_of = {name: w1(SOLVERS["Heun"](D, x_5, g), fresh()) for name, g in spaced.items()}
churned = sample(exact(edm), noise, steps=20, step=heun(churn=0.4), generator=generator)
assert lefts(churned) > 0.1, "large effect: churn forgets a wrong start"
assert far_of["EDM's levels"] < far_of["even levels"], "large effect: short steps belong near the data"
Markdown("| Heun | measured |\n|---|---|\n" + "".join(f"| W1, 10 steps, {name} | {v:.3f} |\n" for name, v in far_of.items())
    + f"| left turns, 20 steps, from the wrong start | {left[1]:.0f}% |\n| the same, with churn | {lefts(churned):.0%} |")

# %% [markdown]
# With EDM's levels $W_1$ is smaller than with even ones, and churn brings the left turns back.
#
# ## Further · DPM-Solver++(2M), and its last step
#
# 2M is the published solver of the kind that you wrote in exercise 4. It remembers its last $\hat{x}_0$ and extrapolates it by the factor
# $h / 2 h_{\text{prev}}$, where $h$ is the gain in $\ln(\alpha / \sigma)$. In the last step, to $\sigma = 0$, $h$ is
# infinite, so that step must drop to order 1. Suppose that code stops at a tiny $\sigma$ instead and extrapolates all the same: how much worse does $W_1$ become?

# %%
times = Linear().grid(10)
almost = torch.cat([times[:-1], torch.tensor([1e-5], dtype=torch.float64)])  # not quite 0: the step stays order 2
last = {name: w1(sample(exact(Linear()), x_T, steps=g, step=dpm_pp_2m()), fresh())
    for name, g in {"order 1": times, "order 2": almost}.items()}
assert last["order 2"] > 2 * last["order 1"], "large effect: the last step must drop to order 1"
Markdown("| last step of 2M, 10 steps | W1 |\n|---|---|\n" + "".join(f"| {name} | {v:.2f} |\n" for name, v in last.items()))

# %% [markdown]
# With a last step of order 2, $W_1$ is more than twice as large. The order of 2M itself is measured where some noise is left, so that no step is infinite:

# %%
narrow, ends = GaussianDenoiser(torch.tensor([0.0]), Linear(), std=0.3), []
for K in (64, 128):
    g = Linear().time(torch.logspace(math.log10(float(Linear().ratio(1.0))), math.log10(0.05), K + 1).double()).clamp(max=1)
    (a_T, s_T), (a, s) = Linear()(g[0]), Linear()(g[-1])
    true = z * torch.sqrt(((0.3 * a) ** 2 + s**2) / ((0.3 * a_T) ** 2 + s_T**2))
    ends.append(float((sample(narrow, z, steps=g, step=dpm_pp_2m()) - true).abs().mean()))
order = math.log2(ends[0] / ends[1])
assert abs(order - 2) < 0.35, "exact: order 2"
Markdown(f"Measured order of 2M: **{order:.2f}**.")

# %% [markdown]
# ## Further · A consistency model, distilled before your eyes
#
# Must a sampler walk at all? A **consistency function** $f(x, \sigma)$ jumps to where the ODE ends. For $\mathcal N(0, d^2)$ it is
# $f = x\, d / \sqrt{d^2 + \sigma^2}$. (It is no denoiser: $D = x\, d^2 / (d^2 + \sigma^2)$ is a mean.) To learn $f$ we ask
# only that it agrees at two neighbours on one path: $f(x, \sigma_n) = f(x', \sigma_{n-1})$, where $x'$ lies one of your Heun steps below $x$.

# %%
d, ve = 0.5, Karras(sigma_max=5.0)
sigma = ve.ratio(ve.grid(10)).flip(0).tolist()  # 0 = sigma_0 < ... < sigma_10 = 5
torch.manual_seed(SEED)
net = nn.Sequential(nn.Linear(1, 32), nn.SiLU(), nn.Linear(32, 32), nn.SiLU(), nn.Linear(32, 1))
mean = lambda x, s: x * d**2 / (d**2 + s**2)  # D, exact


def f(x: Tensor, s: Tensor) -> Tensor:
    label = s.clamp(min=1e-3).log() / 4
    return x * (d**2 + s * (d**2 + s**2).sqrt() * net(label)) / (d**2 + s**2)  # f(x, 0) = x, built in


upper, lower = (torch.tensor(part).repeat_interleave(32)[:, None] for part in (sigma[1:], sigma[:-1]))
optimizer, updates = torch.optim.Adam(net.parameters(), lr=2e-2), {"smoke": 800, "class": 1000, "full": 5000}[PROFILE]
for n in range(updates):
    x = [(d**2 + s**2) ** 0.5 * torch.randn(32, 1, generator=generator) for s in sigma[1:]]
    below = [heun_step(mean, x[i], sigma[i + 1], sigma[i]) for i in range(10)]
    loss = (f(torch.cat(x), upper) - f(torch.cat(below), lower).detach()).square().mean()
    optimizer.param_groups[0]["lr"] = 2e-2 * (1 - n / updates)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()

# %%
s = torch.logspace(-2, math.log10(5), 60)[:, None]
ratio = (f((d**2 + s**2).sqrt(), s) / d).detach()[:, 0]
assert abs(float(ratio[-1]) - 1) < 0.35 and d / (d**2 + 25) ** 0.5 < 0.11, "large effect: a jump keeps the spread, D does not"
widgets.lines(s[:, 0], {"exact": torch.ones(60), "learned": ratio, "D, the mean": (d / (d**2 + s**2).sqrt())[:, 0]}, logx=True,
    xlabel="sigma", ylabel="spread after a jump / exact", alt="Spread of the samples after one jump from noise "
    "level sigma over the exact one: the learned consistency model stays near 1 up to sigma 5, the denoiser falls to 0.1.")

# %% [markdown]
# After one jump with $f$ the spread (the standard deviation) is nearly right; one jump with $D$ from $\sigma = 5$ would put all samples close to the mean. An error remains, since
# the ten Heun steps that taught $f$ are not exact, and $f$ learned each of them only nearly.

# %% [markdown]
# ## Further · How much signal do the betas leave?
#
# **Exercise 6** (easy, 6 minutes). Section 4 read $\alpha_1$ from the schedule. Compute $\alpha_1$ from a list of betas, by lesson 01's relation of betas and $\alpha$.

# %% tags=["exercise"]
def signal_left(betas: Tensor) -> Tensor:
    """betas [T]. -> [], the scale alpha_1 of the signal after all T steps"""
    ### BEGIN SOLUTION
    return (1 - betas).prod() ** 0.5
    ### END SOLUTION


check("02.signal_left", signal_left)

# %%
signal_left = mine("02.signal_left")
few_betas, many_betas = (Discrete.linear(T).betas for T in (20, 1000))
assert abs(float(signal_left(few_betas)) - signal(20)) < 1e-6, "exact: the product of the steps is the schedule's alpha_1"
widgets.table({"betas": ["20", "1,000", "the first 950 of 1,000"],
    "alpha_1": [f"{float(signal_left(b)):.4f}" for b in (few_betas, many_betas, many_betas[:950])]})
