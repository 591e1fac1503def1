# %% [markdown]
# ![Plans in the maze with two corridors, guided harder from left to right. Above, classifier-free guidance loses the right corridor at once and ends inside walls; below, ascent of the value goes left little by little, and at the largest scale a few plans cut through walls.](attachment:05.png)
#
# # 05 · Guidance
#
# **The question.** A diffusion model imitates its data. How do you make it *prefer* some samples, and what does the preference cost?
#
# Guidance bends the reverse process towards what you want: a return, a side, a goal. You first bend distributions whose answer is known exactly, then you turn the same knob on a planner until something breaks.
# On the way you test three lines of folklore:
#
# 1. *The slope of the reward at the noisy sample leads to the tilted distribution* (section 2).
# 2. *Classifier-free guidance samples the powered distribution* (section 3).
# 3. *Over-guidance is a collapse of modes* (section 4).
#
# **Afterwards you can**
# - write a guided sampler, and say when its samples follow the distribution that you asked for;
# - write classifier-free guidance, and compare its samples with the distribution that it is said to sample;
# - tell the *loss of a mode* from *leaving the data*, and name the number that shows each.
#
# **You need** lesson 04: plans, and the two-ways maze. **Machine:** about 20 seconds on two CPU cores, no network.
# **You:** 80 minutes (an estimate).

# %% tags=["collapsed"]
import math

import torch
from torch import Tensor

from diffrl_lab import widgets
from diffrl_lab.course import check, guess, hint, mine
from diffrl_lab.data.toys import two_modes
from diffrl_lab.diffusion import Cosine, Function, GaussianDenoiser, MixtureDenoiser, ascend, ddpm, given, pin, sample
from diffrl_lab.methods.planning.diffuser import Diffuser
from diffrl_lab.studies import frontiers
from diffrl_lab.studies.guidance import STEPS, plan_returns
from diffrl_lab.widgets.explore import explore
from diffrl_lab.worlds import mazes

torch.set_num_threads(1)  # for tensors this small a second thread costs more than it brings

# %% tags=["parameters"]
PROFILE = "class"  # smoke: seconds; class: a minute; full: more samples
SEED = 0

# %%
N, generator = {"smoke": 1000, "class": 4000, "full": 20_000}[PROFILE], torch.Generator().manual_seed(SEED)
widgets.component_map(["conditioning", "guided sampling"], alt="The survey's component map with two boxes lit, "
    "conditioning and guided sampling: this lesson is about what is wanted and how samples are bent towards it.")

# %% [markdown]
# ## 1 · A slope, and where it leads
#
# We want the data's distribution $p(x_0)$ *tilted* towards a reward $J$: $\tilde p(x_0) \propto p(x_0)\, e^{\,w J(x_0)}$. The reverse process works with the score of
# $x_t$, and **classifier guidance** adds $w$ times the slope of $J$ to this score. Tweedie's formula turns a score into $\hat{x}_0$: $\alpha_t \hat{x}_0 = x_t + \sigma_t^2 \nabla \log p_t(x_t)$.
#
# **Exercise 1** (easy, 8 minutes). The score becomes $\nabla \log p_t + w \nabla J$. What becomes of $\hat{x}_0$? Pitfall: a slope and $\hat{x}_0$ have different units.

# %% tags=["exercise"]
def shifted(x0_hat: Tensor, slope: Tensor, alpha: float, sigma: float, w: float) -> Tensor:
    """x0_hat of the guided process, from the slope of J at x_t. -> the shape of x0_hat"""
    ### BEGIN SOLUTION
    return x0_hat + w * sigma**2 / alpha * slope
    ### END SOLUTION


check("05.shift", shifted)

# %% [markdown]
# The first test has an exact answer. A Gaussian $\mathcal N(\mu, d^2)$ tilted by $e^{\,w b x}$ is the same Gaussian, moved by $w\, b\, d^2$. The reward $J(x) = b x$ is taken at $\hat{x}_0(x_t)$, so its slope is taken through the denoiser $D$.
# Your function guides the chain.

# %%
shifted = mine("05.shift")
bell, b, W = GaussianDenoiser(torch.tensor([0.5]), Cosine(), std=0.4), 2.0, [0.0, 0.5, 1.0, 2.0, 4.0]


def climbing(D, w: float) -> Function:
    def guided(x_t: Tensor, t: Tensor, _=None) -> Tensor:
        with torch.enable_grad():
            x0_hat = D(x := x_t.detach().requires_grad_(), t)
            (slope,) = torch.autograd.grad(b * x0_hat.sum(), x)
        return shifted(x0_hat.detach(), slope, *map(float, D.schedule(t)), w)
    return Function(guided, D.schedule)

# %%
def drawn(D, n: int = N, steps: int = 40) -> Tensor:
    times = torch.linspace(0.99, 0, steps + 1)  # at t = 1 no signal is left, and the shift would divide by 0
    return sample(D, torch.randn(n, 1, generator=generator), steps=times, step=ddpm(), generator=generator)[:, 0]

# %%
clouds = {steps: [drawn(climbing(bell, w), steps=steps) for w in W] for steps in (40, 400)}
means, spreads = ({steps: [float(f(x)) for x in xs] for steps, xs in clouds.items()} for f in (torch.mean, torch.std))
for w, m, d in zip(W, means[400], spreads[400], strict=True):
    assert abs(m - 0.5 - w * b * 0.16) < 4 * 0.4 / N**0.5 + 0.01, "exact: moved by w b d^2"
    assert abs(d - 0.4) < 4 * 0.4 / (2 * N) ** 0.5 + 0.01, "exact: as wide as the data, with many steps"
assert max(spreads[40]) < 0.4 * 0.97, "exact: forty steps make it too narrow, guided or not"

# %%
widgets.lines(W, {"sampled": means[400], "exact": [0.5 + w * b * 0.16 for w in W]}, points=True, xlabel="guidance scale w",
    ylabel="mean", alt="Guided samples of one Gaussian, 400 steps: their mean rises in a straight line on the dashed exact one.")

# %%
picture = widgets.lines(W, {"400 steps": spreads[400], "40 steps": spreads[40], "exact": [0.4] * len(W)}, points=True, xlabel="guidance scale w",
    ylabel="spread", alt="Spread of the guided samples over the scale: close to the dashed 0.4 with 400 steps, level but below it with 40.")
picture.axes[0].set(ylim=(0.3, 0.45))
picture

# %% [markdown]
# **Exact.** With one mode and a linear reward, the guided samples have the mean of the tilted distribution. With 400 steps they are also as wide as the data, at every $w$. With 40 steps they are narrower than the data at every $w$, also at $w = 0$: this error comes from the chain and not from guidance.
# At $w = 4$ the mean of the samples lies more than three spreads away from the mean of the data. No sample was lost, but all of them were moved to a place where there are hardly any data.
#
# ## 2 · Two modes, and the slope at the wrong place
#
# Now take the driver of lesson 01, who goes left ($-1$) three times out of ten. We prefer the left: $J(x) = -w x$ with $w = 1.5$. The exact tilt hardly moves the modes, since they are narrow ($d^2 = 0.04$). It
# changes their *weights*.

# %%
data, w = two_modes(p=0.3), 1.5
D = MixtureDenoiser(data.weights, data.means, Cosine(), std=data.std)
tilted = D.tilt([-w])
print(f"left: {float(data.weights[0]):.2f} in the data, {float(tilted.weights[0]):.3f} in the exact tilt; its modes at {tilted.means[0, 0]:.2f} and {tilted.means[1, 0]:.2f}")

# %%
want, grid = float(tilted.weights[0]), torch.linspace(-3.2, 3.2, 321, dtype=torch.float64)[:, None]
naive = guess("05.naive", f"Exactly tilted, {want:.0%} go left. With the slope of J at the noisy x_t?", 0, 100, "%")
naive

# %% [markdown]
# There are three functions whose slope one may take. The first is $J(x_t)$, the reward of the noisy sample itself, as if a reward model had never seen noise. The second is $J(\hat{x}_0(x_t))$, the reward of the mean of the possible $x_0$. The third is the **noisy energy**
#
# $$J_t(x_t) = \log \mathbb E\big[e^{\,J(x_0)} \,\big|\, x_t\big].$$
#
# Why is this the right one? At the level $t$ the tilted distribution has the density $\tilde p_t(x_t) \propto \int p(x_0)\, e^{\,J(x_0)}\, p(x_t \mid x_0)\, \mathrm{d} x_0$. By Bayes' rule $p(x_0)\, p(x_t \mid x_0) = p_t(x_t)\, p(x_0 \mid x_t)$. The factor $p_t(x_t)$ does not depend on $x_0$ and comes out of the integral:
#
# $$\tilde p_t(x_t) \;\propto\; p_t(x_t) \int e^{\,J(x_0)}\, p(x_0 \mid x_t)\, \mathrm{d} x_0 \;=\; p_t(x_t)\, e^{\,J_t(x_t)}.$$
#
# So the score of the tilted distribution is $\nabla \log p_t + \nabla J_t$ at every level. Contrastive energy prediction trains a network to give $J_t$ (Lu et al. 2023).
#
# **Exercise 2** (medium, 10 minutes). You get the weights `r` of the possible $x_0$ given $x_t$, and the reward `J` of each. Write $J_t$ in torch, since its slope will be taken. Pitfall: the mean of $J(x_0)$ given $x_t$, which a regression learns, is
# another number.

# %% tags=["exercise"]
def noisy_energy(r: Tensor, J: Tensor) -> Tensor:
    """log E[exp(J) | x_t]; r [B, K] sums to 1 over K, J [K]. -> [B]"""
    ### BEGIN SOLUTION
    return torch.logsumexp(r.log() + J, -1)
    ### END SOLUTION


check("05.energy", noisy_energy)

# %% [markdown]
# **Exercise 3, the synthesis** (hard, 25 minutes). Write the whole guided sampler, in about ten lines. Each round of the loop goes from a time $t$ to the next time $s$.
#
# 1. Take the slope of $J(x_t, t)$ with `torch.autograd.grad`; `shift`, your function of exercise 1, turns it into the guided $\hat{x}_0$.
# 2. Go from $t$ to $s$ by the step of lesson 01 (DDPM, which draws noise with `generator`) or of lesson 02 (DDIM), with the *guided* $\hat{x}_0$ wherever the step needs $\hat{x}_0$.
# 3. `D(x, t)` gives $\hat{x}_0$ and `D.schedule(t)` gives $\alpha_t, \sigma_t$. Pitfall: the graph of one step must not grow into the next, so detach.
#
# The check does not read your lines, it looks at your samples. It hands over a Gaussian $p(x_0)$ and its exact energy, and the samples must follow the tilted Gaussian of section 1: moved by $w\, b\, d^2$, and as wide as before.

# %% tags=["exercise"]
def guided_sampler(D, J, shift, w: float, x: Tensor, times: Tensor, generator: torch.Generator) -> Tensor:
    """Samples guided by w J(x_t, t) -> [B], from noise x [B, d] at times[0] down to times[-1] = 0. -> [B, d]"""
    ### BEGIN SOLUTION
    for t, s in zip(times[:-1], times[1:], strict=True):
        (alpha_t, sigma_t), (alpha_s, sigma_s) = D.schedule(t), D.schedule(s)
        x = x.detach().requires_grad_()
        (slope,) = torch.autograd.grad(J(x, t).sum(), x)
        x0_hat = shift(D(x, t), slope, alpha_t, sigma_t, w).detach()
        x = alpha_s * x0_hat + sigma_s * (x.detach() - alpha_t * x0_hat) / sigma_t
    return x
    ### END SOLUTION


check("05.sampler", guided_sampler)

# %% [markdown]
# In this section the samples are now drawn by your sampler, and the third guide climbs your energy. The possible $x_0$ are the points of a fine grid.

# %%
guided_sampler, noisy_energy = mine("05.sampler"), mine("05.energy")
possible = torch.linspace(-2.2, 2.2, 111, dtype=torch.float64)
log_prior = D.log_prob(possible[:, None])


def energy(x_t: Tensor, t: Tensor) -> Tensor:
    alpha, sigma = D.schedule(t)
    r = torch.softmax(log_prior - (x_t - alpha * possible) ** 2 / (2 * sigma**2), -1)  # p(x_0 | x_t) on the grid
    return noisy_energy(r.clamp(min=1e-300), -w * possible)

# %%
places = {"J at x_t": lambda x, t: -w * x[:, 0], "J at x0_hat": lambda x, t: -w * D(x, t)[:, 0], "noisy energy": energy}
times, got = torch.linspace(0.99, 0, 41, dtype=torch.float64), {}
for name, J in places.items():
    noise = torch.randn(N, 1, generator=generator, dtype=torch.float64)
    got[name] = guided_sampler(D, J, shifted, 1.0, noise, times, generator)[:, 0].detach()
left = {name: 100 * float((x < 0).double().mean()) for name, x in got.items()}
naive.reveal(left["J at x_t"])

# %%
error = 100 * 4 * math.sqrt(want * (1 - want) / N)
assert abs(left["noisy energy"] - 100 * want) < 1.5 * error, "exact: the noisy energy samples the tilt"
assert abs(left["J at x_t"] - 100 * want) > 2 * error, "large effect: the slope at x_t samples another distribution"
widgets.histogram({f"{k}: {left[k]:.0f} % left": v for k, v in got.items()}, exact=(grid[:, 0], tilted.log_prob(grid).exp()),
    title=f"Exact tilt: {want:.0%} left", alt="Histograms of guided samples against the exact tilt, dashed: with the slope of "
    "J at x_t nearly all go left and lie beyond the mode, at x0_hat too few go left, with the noisy energy the samples fit.")

# %% [markdown]
# **Large effect.** Guided by the slope of $J$ at $x_t$, more samples go left than in the exact tilt, and they end beyond the left mode. In the picture fewer go left than in the exact tilt when the slope is taken at $\hat{x}_0$. Guided by the noisy energy, the share that goes left is that of the exact tilt. So *folklore 1 is false*. At high noise a sample joins one of the modes, and there
# the slope of $J$ at $x_t$ pushes every sample by the same amount, whichever $x_0$ are possible.
#
# ## 3 · Without a classifier
#
# **Classifier-free guidance** needs no $J$. One network learns two answers: a *conditional* one with a condition $c$, and a *free* one without it, because in training the condition is dropped for some samples. The guided answer goes from the free one
# ($w = 0$) to the conditional one ($w = 1$) and beyond it ($w > 1$):
#
# $$\hat{x}_0^{\,w} = D(x_t) + w\,\big(D(x_t, c) - D(x_t)\big).$$
#
# Papers count the scale in two ways: for Ho and Salimans $v = 0$ is already the conditional answer, and $v = 1$ goes the same distance beyond it.
#
# **Exercise 4** (easy, 8 minutes). Write the guided answer for our $w$ and for their $v$. Pitfall: many papers do not say which of the two their scale is.

# %% tags=["exercise"]
def guided(free: Tensor, conditional: Tensor, scale: float, papers: bool) -> Tensor:
    """Classifier-free guidance; `papers`: the scale is the v of Ho and Salimans. -> the shape of free"""
    ### BEGIN SOLUTION
    w = scale + 1 if papers else scale
    return free + w * (conditional - free)
    ### END SOLUTION


check("05.cfg", guided)

# %% [markdown]
# Classifier-free guidance is often said to sample the *powered distribution* $p(x_0)\, p(c \mid x_0)^w$. Compare the two at the level $t$.
#
# 1. By Bayes' rule $\nabla \log p_t(x_t \mid c) = \nabla \log p_t(x_t) + \nabla \log p_t(c \mid x_t)$. So the formula above uses, at each level, the score of $p_t(x_t)\, p_t(c \mid x_t)^w$: this is where the word *powered* comes from.
# 2. What is $p_t(c \mid x_t)$? It is the mean over all clean samples $x_0$ that are possible given $x_t$: $p_t(c \mid x_t) = \mathbb E[\,p(c \mid x_0) \mid x_t\,]$. So classifier-free guidance weighs $x_t$ by $\mathbb E[\,p(c \mid x_0) \mid x_t\,]^{\,w}$.
# 3. The powered distribution is a tilt with $J = w \log p(c \mid x_0)$. Section 2 derived the factor that a tilt needs at the level $t$: $\mathbb E[\,p(c \mid x_0)^w \mid x_t\,]$.
# 4. The power of a mean is not the mean of the powers. The factors of steps 2 and 3 agree at $w = 1$, and where $x_t$ leaves no doubt about $c$. At high noise there is doubt.
#
# The smallest example has two data points, $-1$ and $1$, and the condition "left". Then $p(c \mid x_0)$ is 1 or 0, no power changes it, and the powered distribution is $-1$ alone: the exact guided answer is $-1$ everywhere. Your formula answers:

# %%
guided = mine("05.cfg")
pair, LEFT = MixtureDenoiser([0.5, 0.5], [[-1.0], [1.0]], Cosine(), std=1e-3), torch.tensor([[1.0, 0.0]])
x_t, t = torch.linspace(-2, 2, 161, dtype=torch.float64)[:, None], torch.tensor(0.5)
free, conditional = pair(x_t, t), pair(x_t, t, LEFT.expand(161, 2))
answers = {f"w = {w:g}": guided(free, conditional, w, False)[:, 0] for w in (0.0, 1.0, 4.0)}
assert abs(float(answers["w = 4"][80]) + 4) < 1e-3, "exact: half-way, where D is 0, the answer is 0 + 4 (-1 - 0)"
widgets.lines(x_t[:, 0], {**answers, "exact": [-1.0] * 161}, xlabel="x_t, at t = 0.5", ylabel="guided x0_hat", alt="The guided "
    "answer over x_t for two data at -1 and 1: at w = 1 it lies on the dashed exact line at -1, at w = 4 it falls to -4 where both "
    "data are equally likely and to -7 where the right one is certain.")

# %% [markdown]
# **Exact.** Half-way between the two data $D$ is 0, and at $w = 4$ the guided answer is $-4$, while the exact answer is $-1$ and no data point lies further left. As the noise vanishes, $D$ becomes $-1$ for a sample on the left, and the error vanishes too: the data point pulls the sample back. What happens where the modes are wide?
# The exact powered distribution of two wide bells is computed by summing over a grid.

# %%
over = guess("05.over", "Left is at -1, the powered distribution at w = 4 at -1.1. Where is the mean of the samples?", -3.0, 0.0)
over

# %%
wide = two_modes(p=0.3, std=0.5)  # wider bells
D = MixtureDenoiser(wide.weights, wide.means, Cosine(), std=wide.std)
log_free, log_left = D.log_prob(grid), MixtureDenoiser([1.0, 0.0], wide.means, Cosine(), std=wide.std).log_prob(grid)


def free_of_classifiers(c: Tensor, w: float) -> Function:
    return Function(lambda x, t, _=None: guided(D(x, t), D(x, t, c.expand(len(x), 2)), w, False), D.schedule)

# %%
scales = [0.0, 1.0, 2.0, 4.0, 8.0]
powered = torch.stack([torch.softmax(log_free + w * (log_left - log_free), 0) for w in scales])
clouds = [drawn(free_of_classifiers(LEFT, w), steps=60) for w in scales]
over.reveal(float(clouds[3].mean()))

# %%
place, should = [float(x.mean()) for x in clouds], (powered @ grid[:, 0]).tolist()
assert abs(place[1] - should[1]) < 4 * 0.5 / N**0.5 + 0.01, "exact: at w = 1 the two agree"
assert place[3] < should[3] - 0.1, "large effect: beyond 1 the samples overshoot the powered distribution"
widgets.lines(scales, {"sampled": place, "exact": should}, points=True, xlabel="guidance scale w", ylabel="mean of x_0",
    title="Dashed: the powered distribution", alt="Mean of classifier-free guided samples against w: at w = 1 it meets the dashed mean of the powered distribution, "
    "which stays near -1; the mean of the samples goes on falling beyond it.")

# %%
widgets.histogram({"sampled at w = 4": clouds[3]}, exact=(grid[:, 0], powered[3] / (grid[1, 0] - grid[0, 0])), alt="Histogram of classifier-free guided samples at "
    "w = 4 beside the dashed density of the powered distribution: the samples lie further left than it.")

# %% [markdown]
# **Large effect.** At $w = 1$ the samples have the mean of the powered distribution. At $w = 4$ they lie further left than the powered distribution, and the gap grows with $w$: classifier-free guidance *overshoots*. So *folklore 2 is false*. No mode collapses here:
# all samples are moved too far towards what was asked for. The sampler matters, too: without fresh noise in its steps the samples go further (Bradley and Nakkiran 2024; this is not measured here).
#
# ## 4 · The knob on a planner
#
# Now you guide plans. A network learned whole recorded drives of the two-ways maze of lesson 04: the driver tosses a fair coin between the corridors, and the right one costs a toll. Its condition is the *return* of a drive.
#
# - **Classifier-free** guidance asks the network for a return that one drive in twenty beats.
# - **Ascent** takes the same network without a condition, and climbs a second one, the *value network*: it gives the mean return for a noisy plan (as in Diffuser, Janner et al. 2022).
#
# The charts measure diversity by **coverage**: the entropy $-p \log_2 p - (1 - p) \log_2 (1 - p)$ of the share $p$ that goes left, in bits. It is 1 for two even shares and 0 for one mode alone.

# %%
lost = guess("05.lost", "From which w on does classifier-free guidance draw no plan to the right?", 0.0, 8.0)
lost

# %%
two_ways = frontiers.TwoWays()
knob = frontiers.Knob(two_ways)
lost.reveal(knob.empty())

# %% [markdown]
# Move the slider. (1) In which maze does the right corridor empty first? (2) When do plans enter the walls? (3) Where do the dots leave the dashed curves? The dashed curves are exact: the tilt of the recorded drives, and the powered distribution of the two modes of section 3.

# %%
knob.slider()

# %% [markdown]
# The next picture shows four scales of the slider side by side.

# %% tags=["punchline"]
classifier_free, ascent = (dict(zip((0, 1, 2, 8), (knob.shares(name, w) for w in (0, 1, 2, 8)), strict=True)) for name in knob.film)
assert classifier_free[1][0] == 0 < ascent[2][0], "large effect: classifier-free guidance loses the right corridor first"
assert classifier_free[8][1] > 0.9 > 0.5 > ascent[8][1], "large effect: and its plans end in the walls, those of ascent do not"
knob.stills([0, 1, 2, 8], alt="Plans at the scales 0, 1, 2 and 8. Classifier-free guidance: both corridors, then the left one alone, "
    "then plans inside walls. Ascent: the right corridor empties slowly, and at 8 some plans cut through walls.")

# %% [markdown]
# **Large effect.** Two things go wrong as the scale grows, and they are not the same. So *folklore 3 tells half of the story*.
#
# - **A mode is lost.** Classifier-free guidance has no plan in the right corridor at scale 1; ascent still has some at scale 2. The exact tilt of the recorded drives loses the right corridor, too: this is what was asked for.
# - **The data are left.** At scale 8 nearly all plans of classifier-free guidance run through walls, and fewer than half of the plans of ascent do. No tilt of the data does that, since no recorded drive goes through a wall.
#
# The scales of the two forms have different units, so the slider cannot say which form is better. Lesson 05b compares the forms where their returns are equal.
#
# ## 5 · Break it
#
# Now forget the diffusion model, and climb the value network itself, from finished plans. Each step changes a plan by about a centimetre. After every twenty steps a controller drives the plans.

# %%
uphill, said, driven = two_ways.climb({"smoke": 4, "class": 8, "full": 24}[PROFILE], SEED)

# %% tags=["broken"]
assert said[-1] > said[0] + 8 and driven[0] > 130, "large effect: the network promises more and more"
assert driven[-1] < driven[0] - 8, "large effect: and the drives bring less"
widgets.lines(uphill, {"what the value network says": said, "driven": driven}, points=True, xlabel="steps uphill", ylabel="return",
    alt="Climbing the value network from finished plans: the return it promises rises with every step, the return of the drives falls.")

# %% [markdown]
# **Large effect.** After the climb the value network promises a higher return than before it, and the drives return less than before. The climb finds plans that are unlike all plans of the training, and the value network is wrong about them. Inside the chain the denoiser pulls each plan back to the data at every step. This is why ascent inside the chain
# does no such harm at moderate scales.
#
# | signature | in the picture | the number that gives it away | cure |
# |---|---|---|---|
# | over-guidance: one mode | the right corridor is empty | the coverage lies below that of the exact tilt | a smaller scale |
# | over-guidance: off the data | plans bend into walls; samples lie beyond the mode | the share of plans in walls rises; $J$ may still rise | a smaller scale; ascent inside the chain |
# | a value network that is climbed alone | the promise rises and the drives fall | promised return minus driven return | keep the denoiser in the loop; drive a few plans |
#
# ## 6 · What is said, and what was measured
#
# | It is said | Measured here | Verdict |
# |---|---|---|
# | *Folklore 1.* The slope of the reward at the noisy sample leads to the tilted distribution | another share goes left than in the exact tilt; with the noisy energy the share is that of the tilt | failed (large effect) |
# | *Folklore 2.* Classifier-free guidance samples the powered distribution | true at $w = 1$; at $w = 4$ the samples lie beyond it | failed (large effect) |
# | *The survey, and folklore 3.* Over-guidance reduces diversity until modes collapse | both forms have fewer plans in the right corridor, as the exact tilt has; classifier-free plans also leave the data, which coverage does not show | held, and incomplete (large effect) |
#
# **Symbols.** $w$ `w, scale` guidance scale; $v$ the same where papers count from the conditional answer; $J$ `J` what is wanted; $J_t$ `noisy_energy` the same of a noisy $x_t$; $c$ a condition; $p, \tilde p$ a distribution, and tilted; $\mu, d$ mean and spread of a
# Gaussian; $b$ `b` slope of a reward; $x_0, x_t, \hat{x}_0$, $\alpha_t, \sigma_t$, $D$ as before.
#
# **References.** Dhariwal and Nichol, "Diffusion Models Beat GANs on Image Synthesis" (2021). Ho and Salimans, "Classifier-Free Diffusion Guidance" (2022). Lu et al., "Contrastive Energy Prediction for Exact Energy-Guided Diffusion Sampling
# in Offline Reinforcement Learning" (2023). Bradley and Nakkiran, "Classifier-Free Guidance is a Predictor-Corrector" (2024). Janner et al., "Planning with Diffusion for Flexible Behavior Synthesis" (2022). Chung et al., "Diffusion Posterior Sampling
# for General Noisy Inverse Problems" (2023). The survey: "Diffusion Models for Reinforcement Learning" (arXiv 2510.12253, 2025).
#
# **A blank page.** You have now written every part of classifier-free guidance once. `diffrl-lab start blank-05` puts an empty page into `my/blank_05.py`: write it whole, from the dropped condition to the guided samples (an hour, an estimate).
# `diffrl-lab blank 05 my/blank_05.py` judges what your functions give: at the scales 0 and 1, for a condition of 0 (which is not a missing condition), and how far the samples overshoot.
#
# **Next.** Lesson 05b measures guidance on the planner. Lesson 06 makes the chain shorter. Lesson 17 asks *when* in the chain a plan chooses its corridor.

# %% [markdown]
# ## Further · your own start and goal
#
# The planner of section 4 draws start and goal, too, since nothing is pinned. For a start and a goal of *yours* we take
# the planner of lesson 04, which was trained with pinned ends and without returns. Guidance is modular: any $J$ with a slope can guide it, taken at $\hat{x}_0$. One choice of $J$ is *left*, which rewards plans for going left. The other is the value network of section 4, used on plans
# that it was not trained on. Choose the value network, put start and goal at $-1.5$, turn the scale up, and watch the plans and their mean return. `ascend(D, J, scale, at="x0_hat")` is the library's form of exercise 1 with the slope taken through $D$ (Chung et al. 2023).

# %%
planner = Diffuser.load("maze-two-ways")
climbed = {"left": lambda x, t: -0.3 * planner.scaler.inverse(x)[:, 8:24, 0].mean(1),
    "value": lambda x, t: two_ways.guides["value"](two_ways.planner.scaler(planner.scaler.inverse(x)), torch.tensor(0.0))}


@torch.no_grad()
def ends(start: float, goal: float, J: str, scale: float, seed: int) -> widgets.Picture:
    known, value = planner.ends([start, 1.5, 0, 0], [goal, -1.5])
    D = ascend(given(planner.denoiser, {"known": known}), climbed[J], scale, at="x0_hat")
    plan = planner.drawn(pin(D, known, value), known, value, 24, STEPS, torch.Generator().manual_seed(seed))
    R = plan_returns(plan, planner, "two-ways").mean()
    groups = ["left" if mazes.side(x) < 0 else "right" for x in plan.candidates[..., :2]]
    title = f"{groups.count('left')} of 24 go left; mean return {R:.0f}"
    alt = f"Plans from x = {start} above to {goal} below, climbing {J}, scale {scale}: {title}."
    return widgets.trajectories(plan.candidates[..., :2], maze=two_ways.maze, start=[start, 1.5], goal=[goal, -1.5], groups=groups,
        points=False, title=title, alt=alt)

# %%
place = (-2.0, 2.0, 0.25, 0.0)
explore(ends, on_page=("J", "scale"), start=place, goal=place, J=list(climbed), scale=(0.0, 8.0, 0.5, 2.0), seed=(0, 20))
