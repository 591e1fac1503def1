# %% [markdown]
# # 02 · Schedules and samplers
#
# **The question.** One denoiser, many ways down from noise to data. Which is cheap, which is right, and how would
# you know?
#
# All denoisers in the core are *exact*, but for a few small networks in section 2. So whatever goes wrong is an error of the
# solver, or of the schedule.
#
# **Afterwards you can**
# - write a step of DDIM and of Heun's method, and say what each costs;
# - measure a sampler against its noise floor, at equal cost;
# - find the two lines in which a correct denoiser loses a mode.
#
# **You need** lesson 01: $x_t = \alpha_t x_0 + \sigma_t \epsilon$ and $\hat{x}_0 = D(x_t, t)$. **Machine:** about 25
# seconds on two CPU cores, no network. **You:** 75 minutes (an estimate).

# %% tags=["collapsed"]
import math

import torch
from IPython.display import Markdown
from torch import Tensor, nn

from diffrl_lab import widgets
from diffrl_lab.course import check, guess, hint
from diffrl_lab.data.toys import two_modes
from diffrl_lab.diffusion import (Batches, Cosine, Discrete, GaussianDenoiser, Karras, Linear, MixtureDenoiser, NeuralDenoiser, Rectified,
                                  chain, cosine_decay, ddim, ddpm, denoising_loss, descend, dpm_pp_2m, fit, heun, sample)
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
# Here is the driver of lesson 01 again, with a rarer habit: he turns left (near $-1$) two times out of ten, else right (near $+1$).
# The left turns are our **minor mode**. Watch them.
#
# ## 1 · Four ways down
#
# DDPM walks down with fresh noise in every step. **DDIM** adds no noise. It splits $x_t$ into the data it believes
# in and the noise that is left, and mixes the same two again, at the new level $s < t$:
#
# $$\hat\epsilon = \frac{x_t - \alpha_t \hat{x}_0}{\sigma_t}, \qquad x_s = \alpha_s\, \hat{x}_0 + \sigma_s\, \hat\epsilon .$$
#
# **Exercise 1** (easy, 8 minutes). Write that step. Pitfall: which of the four scales belongs where?

# %% tags=["exercise"]
def ddim_step(x_t, x0_hat, alpha_t: float, sigma_t: float, alpha_s: float, sigma_s: float) -> Tensor:
    """One deterministic step from t to s < t. -> the shape of x_t"""
    ### BEGIN SOLUTION
    eps_hat = (x_t - alpha_t * x0_hat) / sigma_t
    return alpha_s * x0_hat + sigma_s * eps_hat
    ### END SOLUTION


check("02.ddim_step", ddim_step)

# %% [markdown]
# Make the steps tiny, and DDIM follows a curve: the *probability-flow ODE*. **Heun** follows it too, and looks at the
# slope at both ends of each step. **Rectified flow** has straight scales, $\alpha_t = 1 - t$ and $\sigma_t = t$, and
# steps along the velocity $\hat\epsilon - \hat{x}_0$. Such a step is a DDIM step:

# %%
law = two_modes(p=0.2)
generator = torch.Generator().manual_seed(SEED)
N = {"smoke": 1000, "class": 2000, "full": 4000}[PROFILE]


def exact(schedule) -> MixtureDenoiser:
    return MixtureDenoiser(law.weights, law.means, schedule, std=law.std)


x_T = torch.randn(N, 1, generator=generator)
x0_hat, t, s = exact(Rectified())(x_T, 0.6), 0.6, 0.5
eps_hat = (x_T - (1 - t) * x0_hat) / t
torch.testing.assert_close(x_T + (s - t) * (eps_hat - x0_hat), (1 - s) * x0_hat + s * eps_hat)  # exact

# %%
SOLVERS = {"DDPM": (Linear(), ddpm()), "DDIM": (Linear(), ddim()), "Heun": (Linear(), heun()),
    "rectified flow": (Rectified(), ddim())}


def frames(name: str, x_T: Tensor, steps: int) -> list:
    schedule, step = SOLVERS[name]
    return list(chain(exact(schedule), x_T, steps=steps, step=step, generator=generator))


def trail(made: list) -> dict:
    """Each frame as the path so far: the points (t, x_t), the last one repeated."""
    t, x = torch.stack([f.t for f in made]), torch.stack([f.x_t[:, 0] for f in made])
    path = torch.stack([t[:, None].expand_as(x), x], -1)  # [K+1, S, 2]
    upto = [path[torch.arange(len(t)).clamp(max=k)].transpose(0, 1) for k in range(len(t))]
    return {"t": t, "x_t": torch.stack(upto), "x0_hat": None}


few = torch.linspace(-1.6, 1.6, 14)[torch.randperm(14, generator=generator), None]
goes_left = sample(exact(Linear()), few, steps=64)[:, 0] < 0
movie({name: trail(frames(name, few, 16 if name == "Heun" else 32)) for name in SOLVERS}, limits=(0, 1, -2.6, 2.6), step=-1,
    groups=[int(not left) for left in goes_left], labels=["DDIM ends left", "DDIM ends right"], alt="Paths of x_t over t "
    "from the same 14 starts, noise on the right. DDPM's are jagged and cross. DDIM's and Heun's are smooth, end in the "
    "same modes and never cross. Rectified flow's start out straight.")

# %% [markdown]
# Noise is on the right, data on the left. Scrub back to $t = 1$ and watch the paths grow. All panels start from the same 14 points. A colour says
# where DDIM takes that point. Three panels agree. Does DDPM's?

# %%
again = guess("02.again", "Of the noise that DDIM takes to the left, how much does DDPM take there?", 0, 100, "%")
again

# %%
end = {name: frames(name, x_T, 64)[-1].x_t[:, 0] < 0 for name in SOLVERS}
share = {name: 100 * float(left[end["DDIM"]].double().mean()) for name, left in end.items()}
again.reveal(share["DDPM"])

# %%
assert share["rectified flow"] > 90 and share["Heun"] > 90, "exact: one ODE, whatever the schedule or solver"
assert abs(share["DDPM"] - 20) < 12, "large effect: DDPM's fresh noise makes it forget x_T"

# %% [markdown]
# **Large effect.** Of the noise that DDIM takes to the left, DDPM takes about a fifth there, as of any noise: it forgets where it started. **Exact.** Heun and rectified flow take nearly all of it there, since they follow the same ODE. So for an ODE an $x_T$ is a *name*
# for a sample. (In control: the same $x_T$ twice gives the same plan twice.)
#
# ## 2 · Does DDIM need its own training?
#
# The survey contrasts DDPM's "stable training" with DDIM's "faster inference". It sounds like two models. Train a few
# small networks, once, under the schedule `Linear`. Then swap everything else.

# %%
STEPS, RUNS = {"smoke": (300, 2), "class": (1500, 4), "full": (4000, 8)}[PROFILE]


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(2, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 1))

    def forward(self, x_t, label, cond=None):
        return self.layers(torch.cat([x_t, label[:, None]], 1))


def trained(seed: int) -> NeuralDenoiser:
    torch.manual_seed(seed)
    D = NeuralDenoiser(Net(), Linear(), predict="v")
    update = descend(lambda x: denoising_loss(D, x, generator=generator), D, lr=1e-2, schedule=cosine_decay(STEPS))
    losses.append([float(row["loss"]) for row in fit(update, Batches(data, 256, generator), STEPS)])
    return D

# %%
data, losses = law.sample(4000, generator)[0], []
nets = [trained(SEED + n) for n in range(RUNS)]
spent = sum(map(len, losses))  # training steps so far
final = [sum(run[-50:]) / 50 for run in losses]
widgets.losses({f"seed {SEED + n}": run for n, run in enumerate(losses)}, title="The only training of this lesson",
    alt="Training losses of the small networks, one curve per seed: all fall in the first tenth and then lie on top of "
    "each other.")

# %%
more = guess("02.more", "The training above is DDPM's. How many more steps does DDIM need?", 0, 1000, "steps")
more

# %% [markdown]
# To compare samples we use lesson 01's $W_1$: how far, on average, one set must be moved to become another.

# %%
def w1(a: Tensor, b: Tensor) -> float:
    return float((a.flatten().sort().values - b.flatten().sort().values).abs().mean())


def drawn(D, step, steps: int = 32) -> Tensor:
    return sample(D, D.schedule.prior((N, 1), generator), steps=steps, step=step, generator=generator)


swapped = {}
for label, schedule, step in [("Linear, DDPM", Linear(), ddpm()), ("Linear, DDIM", Linear(), ddim()),
                              ("Cosine, DDIM", Cosine(), ddim()), ("Rectified, DDIM", Rectified(), ddim())]:
    for D in nets:
        D.schedule = schedule
        swapped.setdefault(label, []).append(w1(drawn(D, step), law.sample(N, generator)[0]))
floors = torch.tensor([w1(law.sample(N, generator)[0], law.sample(N, generator)[0]) for _ in range(100)])
FLOOR = floors.quantile(torch.tensor([0.05, 0.5, 0.95])).tolist()
more.reveal(sum(map(len, losses)) - spent)

# %%
net, y, r = nets[0], torch.randn(100, 1, generator=generator), torch.tensor(0.7)
seen = []
for schedule in (Linear(), Cosine(), Rectified()):
    net.schedule, t = schedule, schedule.time(r)
    seen.append(net(schedule(t)[0] * y, t).detach())
torch.testing.assert_close(seen[0], seen[1], rtol=1e-3, atol=1e-4)  # exact, up to rounding
torch.testing.assert_close(seen[0], seen[2], rtol=1e-3, atol=1e-4)
widgets.show(widgets.intervals(swapped.items(), reference={"noise floor": FLOOR[1]}, xlabel="W1, one dot per network",
    alt="W1 of the same networks under four pairs of schedule and sampler, 32 steps: the dots of all four "
    "lie in one range, somewhat above the dashed noise floor of two exact sets."))

# %% [markdown]
# **Exact.** Under three schedules the same weights give the same denoiser. A network here sees $x_t$ scaled to unit variance, and the ratio $\sigma_t / \alpha_t$ as a label, so it cannot even know
# the schedule. **DDIM is not a model**: the weights are the same, the sampler and the schedule are others, and nothing was trained in between. What is
# trained is $D$. What differs is the path we take through it.
#
# ## 3 · Order against cost
#
# With $\alpha = 1$ the ODE is short: $\dfrac{dx}{d\sigma} = \dfrac{x - D(x, \sigma)}{\sigma}$. Euler's method steps
# along the slope where it stands; that is DDIM. Heun takes that as a trial, asks for the slope *there*, and goes by the
# mean of both.
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
# **Order** $p$ says that $K$ times more steps make the error $K^p$ times smaller, *once steps are small*. For a Gaussian
# the end of every path is known exactly: its distance from the mean shrinks as the standard deviation does.

# %%
bell, x = GaussianDenoiser(torch.tensor([0.5]), Rectified(), std=0.3), x_T[:300].double()
KS = [2, 4, 8, 16, 32, 64, 128]
error = {name: [float((sample(bell, x, steps=K, step=step) - (0.5 + 0.3 * x)).pow(2).mean().sqrt()) for K in KS]
    for name, step in {"DDIM": ddim(), "Heun": heun()}.items()}
slope = {name: math.log2(e[-2] / e[-1]) for name, e in error.items()}
assert abs(slope["DDIM"] - 1) < 0.1 and abs(slope["Heun"] - 2) < 0.2, "exact: orders 1 and 2"
widgets.lines(KS, error, logx=True, logy=True, points=True, xlabel="steps K", ylabel="error of x_0",
    title=f"Slopes: DDIM {slope['DDIM']:.2f}, Heun {slope['Heun']:.2f}", alt="Error against steps for a Gaussian, both axes "
    "logarithmic: two straight lines from one point, Heun's about twice as steep as DDIM's.")

# %% [markdown]
# Heun wins by a mile? Look at the bill. A learner pays for *evaluations of D*, and Heun asks twice.
#
# **Exercise 3** (easy, 5 minutes). How many steps does a budget buy? Solvers: `"ddpm"`, `"ddim"`, `"2m"` (order 2 with
# one evaluation a step, see Further) and `"heun"`. Pitfall: chains end at $t = 0$.

# %% tags=["exercise"]
def steps_for(solver: str, budget: int) -> int:
    """The most steps whose evaluations of D do not exceed `budget`."""
    ### BEGIN SOLUTION
    return (budget + 1) // 2 if solver == "heun" else budget
    ### END SOLUTION


check("02.budget", steps_for)

# %% [markdown]
# Now the driver. Slide the cost, which is the same for all four. Which of them gets both habits right first?

# %%
grid = torch.linspace(-2, 2, 161, dtype=torch.float64)
density = exact(Linear()).log_prob(grid[:, None], 0.0).exp()


def look(evaluations: int) -> widgets.Picture:
    fig, axes = widgets.figure(2.6, 1, 4, sharey=True)
    left = {}
    for ax, (name, (schedule, step)) in zip(axes, SOLVERS.items(), strict=True):
        K = (evaluations + 1) // 2 if name == "Heun" else evaluations
        x = sample(exact(schedule), x_T[:1000], steps=K, step=step, generator=generator)
        left[name] = float((x < 0).double().mean())
        ax.hist(x[:, 0].clamp(-2, 2), bins=50, range=(-2, 2), density=True, color=widgets.COLOUR["model"], alpha=0.6)
        ax.plot(grid, density, **widgets.look("exact"))
        ax.set(title=name, xlabel=f"left {left[name]:.0%}\n{K} steps", ylim=(0, 3), xticks=(-1, 1))
    axes[0].set_ylabel("density")
    return widgets.Picture(fig, f"Histograms after {evaluations} evaluations of D against the dashed exact density. Share of left turns: "
        + ", ".join(f"{name} {value:.0%}" for name, value in left.items()) + ".")


explore(look, evaluations=(3, 63, 2, 5))  # odd, for a budget that Heun can spend whole

# %%
cross = guess("02.cross", "Call DDIM's W1 at 5 evaluations 1. How large is Heun's at the same cost? (0.5 is half the error)", 0.0, 3.0)
cross

# %%
BUDGET, SETS = [3, 5, 7, 15, 31, 63], {"smoke": 2, "class": 3, "full": 10}[PROFILE]
far, minor = {}, {}
for name, (schedule, step) in SOLVERS.items():
    for n in BUDGET:
        K = (n + 1) // 2 if name == "Heun" else n
        sets = [drawn(exact(schedule), step, K) for _ in range(SETS)]
        far.setdefault(name, []).append(sum(w1(x, law.sample(N, generator)[0]) for x in sets) / SETS)
        minor.setdefault(name, []).append(sum(float((x < 0).double().mean()) for x in sets) / SETS)
cross.reveal(far["Heun"][1] / far["DDIM"][1])

# %%
fig, (top, low) = widgets.figure(4.6, 2, 1, sharex=True, height_ratios=(2, 1))
top.axhspan(FLOOR[0], FLOOR[2], color=widgets.COLOUR["wall"], label="two exact sets, 90 %")
for (name, e), key in zip(far.items(), ("noise", "model", "right", "data"), strict=True):
    top.plot(BUDGET, e, label=name, marker=widgets.MARKER[key], **widgets.look(key))
    low.plot(BUDGET, minor[name], marker=widgets.MARKER[key], **widgets.look(key))
low.axhline(0.2, label="exact", **widgets.look("exact"))
top.set(xscale="log", yscale="log", ylabel="W1")
low.set(xlabel="evaluations of D", ylabel="share of left turns", xticks=BUDGET, xticklabels=BUDGET, ylim=(-0.02, 0.26))
low.minorticks_off()
fig.legend(loc="outside right upper")
assert far["Heun"][1] > far["DDIM"][1], "large effect: at 5 evaluations order 2 is no nearer than order 1"
assert min(minor["Heun"][k] - minor["DDIM"][k] for k in (0, 1, 2)) > 0.01, "large effect: it finds more left turns"
assert far["rectified flow"][2] < far["DDIM"][2], "large effect: at 7 evaluations the grid matters"
assert minor["DDIM"][0] < 0.14 and minor["Heun"][0] < 0.17, "large effect: at 3 evaluations left turns are missing"
widgets.show(fig, "Above, W1 against evaluations of D, both logarithmic: all fall, from 0.3 to 0.4 at 3 evaluations towards the "
    "grey noise-floor band at 63; Heun lies a little above DDIM, rectified flow lowest. Below, the share of left turns: at 3 "
    "evaluations all miss some, and Heun is nearer to the dashed 0.2 than DDIM.")

# %% [markdown]
# **Large effect.** There are three readings, all at equal cost: $K$ steps of Heun are counted as $2K - 1$ evaluations.
# 1. **Higher order is not always better.** With 5 evaluations Heun's samples lie no nearer to the exact distribution than DDIM's. Its correction comes from
#    a point that a big step should not have reached. Order is a promise about *small* steps.
# 2. **A measure can miss what you care about.** With 3, 5 and 7 evaluations Heun finds more of the left turns than DDIM, although its $W_1$ is larger at 5. By the minor mode it is ahead.
# 3. **The error is in the minor mode.** With 3 evaluations all solvers draw too few left turns, although $D$ is exact. Nothing
#    looks broken: every sample is a fine right turn. This is mode collapse, made by the solver. And the grid of noise levels is worth as much as the order: rectified flow is plain DDIM on other levels, and with 7 evaluations it is nearer than DDIM.
#
# Inside the grey band nobody can tell a sampler from the truth with so many samples. Stop paying there.
#
# ## 4 · Where does the chain begin?
#
# It begins with pure noise. So the schedule must *end* there: $\alpha_1$, the scale of the signal left at $t = 1$, must
# be small. DDPM's betas were made for 1,000 steps.
#
# **Exercise 4** (easy, 6 minutes). Compute $\alpha_1$ from a list of betas. (Lesson 01 has the relation; here you run it
# to the end.)

# %% tags=["exercise"]
def signal_left(betas: Tensor) -> Tensor:
    """betas [T]. -> [], the scale alpha_1 of the signal after all T steps"""
    ### BEGIN SOLUTION
    return (1 - betas).prod() ** 0.5
    ### END SOLUTION


check("02.signal_left", signal_left)

# %% tags=["nbval-check-output"]
TS = [5, 10, 20, 50, 100, 200, 500, 1000]
kept = [float(Discrete.linear(T)(1.0)[0]) ** 2 for T in TS]  # alpha_bar at the end
for T, share in zip(TS, kept, strict=True):
    print(f"T = {T:4}: alpha_bar_T = {share:.3f}")
assert round(kept[2], 3) == 0.817 and kept[-1] < 1e-4, "exact: twenty of DDPM's betas leave four fifths of the variance"
widgets.lines(TS, {"DDPM's betas, T of them": kept, "Linear, any T": [float(Linear()(1.0)[0]) ** 2] * len(TS)}, logx=True,
    points=True, xlabel="T", ylabel="share of signal at t = 1", alt="Share of the data's variance left at t = 1 against the "
    "number of betas T: above 0.8 up to T = 20, falling to nearly 0 at 1,000; the schedule Linear is at 0 for every T.")

# %% [markdown]
# Lesson 01 showed what that does to the shares. The cure is to keep the *schedule* and take fewer *steps* on it: 20 of
# the 1,000 levels, not 20 of the 1,000 betas.
#
# **Exercise 5** (medium, 8 minutes). Choose them "trailing": evenly, counted back from $T$, where pure noise belongs.
# Pitfall: "leading" counts up from 0 and never reaches $T$: the chain is fed pure noise but told that some signal is left.

# %% tags=["exercise"]
def trailing(T: int, K: int) -> Tensor:
    """The K + 1 whole levels n at which a chain of K equal steps stands. -> [K+1]"""
    ### BEGIN SOLUTION
    return torch.arange(K, -1, -1) * T // K
    ### END SOLUTION


check("02.trailing", trailing)

# %% [markdown]
# ## 5 · Break it
#
# The *variance-exploding* schedule of EDM keeps $\alpha_t = 1$ and lets $\sigma_t$ rise to $\sigma_{\max}$. A colleague
# takes $\sigma_{\max} = 5$, an exact $D$, 20 steps of Heun, and starts as always: `x_T = torch.randn(...)`.

# %%
lost = guess("02.lost", "20 % of the data are left turns. And of the colleague's samples?", 0, 100, "%")
lost

# %%
edm = exact(Karras(sigma_max=5.0))
noise = torch.randn(N, 1, generator=generator)
made = {f"x_T of std {std}": sample(edm, std * noise, steps=20, step=heun()) for std in (5, 1)}
left = {name: 100 * float((x < 0).double().mean()) for name, x in made.items()}
lost.reveal(left["x_T of std 1"])

# %%
assert left["x_T of std 1"] < 1 and abs(left["x_T of std 5"] - 20) < 8, "large effect: the minor mode is gone"
widgets.show(widgets.histogram(made, exact=(grid, density), bins=torch.linspace(-2, 2, 61), alt="Samples from the right start "
    "fill both modes of the dashed exact law; from a start of standard deviation 1 all lie in the right-hand mode and none "
    "in the left."))

# %% [markdown]
# **Large effect.** From noise of standard deviation 1 fewer than one sample in a hundred is a left turn; from the right noise about a fifth is. **The number that gives it away is the standard deviation of $x_T$.** It should be $\sigma_{\max}$. In one dimension the
# ODE keeps order: the lowest fifth of the noise becomes the left turns. Noise of standard deviation 1 has no such fifth;
# at this level it is all "near the middle". Ask the schedule: `schedule.prior(shape, generator)`.
#
# ## What the survey claims, and what we saw

# %%
gap = torch.tensor(swapped["Linear, DDIM"]) - torch.tensor(swapped["Linear, DDPM"])
half = {2: 12.71, 4: 3.18, 8: 2.36}[RUNS] * float(gap.std()) / math.sqrt(RUNS)  # Student's t, 95 %
text = f"{float(gap.mean()):+.3f} ({float(gap.mean()) - half:+.3f} to {float(gap.mean()) + half:+.3f})"
assert max(final) - min(final) < 0.1 and max(final) < 0.85, "large effect: training ends at one loss, whatever the seed"
Markdown("| the survey, confidence medium | measured here | verdict |\n|---|---|---|\n| DDPM trains stably; DDIM is chosen "
    f"when sampling | {RUNS} seeds end at losses {min(final):.2f} to {max(final):.2f}; the same weights serve both; W1 of DDIM "
    f"minus DDPM at 32 steps {text} | **held**, if read as *one* training; in one dimension |")

# %% [markdown]
# - **Exact.** All deterministic solvers follow one ODE. DDIM has order 1, Heun has order 2. $\alpha_1$ of few betas is far larger than that of 1,000.
# - **Large effect.** At 5 evaluations Heun's samples are no nearer to the exact ones than DDIM's, and hold more of the minor mode. A solver with few steps, or a wrong start, draws too little of the minor mode of an exact $D$.
# - **Open.** Nothing here says whether this order of solvers holds for plans and learned $D$: that is lesson 06's question, in control.
#
# **Next:** 03 leaves diffusion for an hour, for decisions and the data they leave. 04 needs 01 alone.
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
# EDM spaces its levels evenly in $\sigma^{1/7}$: short steps near the data. And it can **churn**: before each step it adds
# a little noise and goes on from there, so that a chain forgets its mistakes. Even the colleague's:

# %%
even = edm.schedule.time(torch.linspace(5, 0, 21, dtype=torch.float64))
spaced = {"Karras's grid": 20, "even in sigma": even}
spaced = {k: w1(sample(edm, 5 * noise, steps=g, step=heun()), law.sample(N, generator)[0]) for k, g in spaced.items()}
churned = sample(edm, noise, steps=20, step=heun(churn=0.4), generator=generator)
healed = float((churned < 0).double().mean())
print(f"W1 with 20 steps: {', '.join(f'{k} {v:.3f}' for k, v in spaced.items())}")
print(f"left turns from the wrong start: {left['x_T of std 1']:.0f} % without churn, {100 * healed:.0f} % with it")
assert healed > 0.1, "large effect: churn forgets a wrong start"

# %% [markdown]
# ## Further · DPM-Solver++(2M), and its last step
#
# 2M reaches order 2 with *one* evaluation a step: it remembers its last $\hat{x}_0$ and extrapolates, by the factor
# $h / 2 h_{\text{prev}}$, where $h$ is the gain in $\ln(\alpha / \sigma)$. In the last step, to $\sigma = 0$, $h$ is
# infinite. So that step must drop to order 1. Code that stops at a tiny $\sigma$ and extrapolates all the same pays:

# %%
times = Linear().grid(10)
almost = torch.cat([times[:-1], torch.tensor([1e-5], dtype=torch.float64)])  # not quite 0: the step stays order 2
last = {name: w1(sample(exact(Linear()), x_T, steps=g, step=dpm_pp_2m()), law.sample(N, generator)[0])
    for name, g in {"order 1": times, "order 2": almost}.items()}
assert last["order 2"] > 2 * last["order 1"], "large effect: the last step must drop to order 1"
levels = lambda K: Linear().time(torch.logspace(math.log10(float(Linear().ratio(1.0))), math.log10(0.05), K + 1).double())
bell, ends = GaussianDenoiser(torch.tensor([0.0]), Linear(), std=0.3), []
for K in (64, 128):
    g = levels(K).clamp(max=1)
    (a_T, s_T), (a, s) = Linear()(g[0]), Linear()(g[-1])
    true = x * torch.sqrt(((0.3 * a) ** 2 + s**2) / ((0.3 * a_T) ** 2 + s_T**2))
    ends.append(float((sample(bell, x, steps=g, step=dpm_pp_2m()) - true).abs().mean()))
assert abs(math.log2(ends[0] / ends[1]) - 2) < 0.35, "exact: order 2"
print(f"W1 of 2M, 10 steps: last step of order 1 {last['order 1']:.2f}, of order 2 {last['order 2']:.2f}; "
      f"slope where noise is left: {math.log2(ends[0] / ends[1]):.2f}")

# %% [markdown]
# ## Further · A consistency model, distilled before your eyes
#
# Why walk at all? A **consistency function** $f(x, \sigma)$ jumps to where the ODE ends. For $\mathcal N(0, d^2)$ it is
# $f = x\, d / \sqrt{d^2 + \sigma^2}$. (It is no denoiser: $D = x\, d^2 / (d^2 + \sigma^2)$ is a mean.) To learn it, ask
# only that two neighbours on one path agree: $f(x, \sigma_n) = f(x', \sigma_{n-1})$, with $x'$ one Heun step below $x$.

# %%
d, ve = 0.5, Karras(sigma_max=5.0)
sigma = ve.ratio(ve.grid(10)).float().flip(0)  # 0 = sigma_0 < ... < sigma_10 = 5
torch.manual_seed(SEED)
net = nn.Sequential(nn.Linear(1, 32), nn.SiLU(), nn.Linear(32, 32), nn.SiLU(), nn.Linear(32, 1))
slope = lambda x, s: torch.where(s > 0, x * s / (d**2 + s**2), 0.0)  # (x - D) / sigma, exact


def f(x: Tensor, s: Tensor) -> Tensor:
    label = s.clamp(min=1e-3).log() / 4
    return x * (d**2 + s * (d**2 + s**2).sqrt() * net(label)) / (d**2 + s**2)  # f(x, 0) = x, built in


optimizer, distil = torch.optim.Adam(net.parameters(), lr=2e-2), {"smoke": 800, "class": 1000, "full": 5000}[PROFILE]
for n in range(distil):
    i = torch.randint(1, 11, (256, 1), generator=generator)
    s, lower, z = sigma[i], sigma[i - 1], torch.randn(256, 1, generator=generator)
    x_s = (d**2 + s**2).sqrt() * z
    trial = x_s + (lower - s) * slope(x_s, s)
    below = x_s + (lower - s) * (slope(x_s, s) + torch.where(lower > 0, slope(trial, lower), slope(x_s, s))) / 2
    loss = (f(x_s, s) - f(below, lower).detach()).square().mean()
    optimizer.param_groups[0]["lr"] = 2e-2 * (1 - n / distil)
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
# One evaluation, and the spread is nearly right; a single jump with $D$ would put everything on the mean. What is left is
# the teacher's error, handed down ten levels.
