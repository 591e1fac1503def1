# %% [markdown]
# # 05 · Guidance
#
# **The question.** A diffusion model imitates its data. How do you make it *prefer*, and what does the preference cost?
#
# Guidance bends the reverse process towards what you want: a return, a side, a goal. Here you bend laws whose answer is known exactly, find three
# lines of folklore that are not true, and then turn the knob on a planner in a maze until something breaks.
#
# **Afterwards you can**
# - shift a denoiser by the slope of a reward, and say when the result is the law you asked for;
# - write classifier-free guidance, and say what it samples instead of what it is said to sample;
# - compare two ways of guidance fairly, and tell *losing a mode* from *leaving the data*.
#
# **You need** lesson 04: plans, `pin`, and the maze with two ways. **Machine:** about 40 seconds on two CPU cores, no network.
# **You:** 85 minutes (an estimate).

# %%
import math

import torch
from torch import Tensor

from diffrl_lab.course import check, guess
from diffrl_lab.data.toys import two_corridors, two_modes
from diffrl_lab.diffusion import Cosine, Function, GaussianDenoiser, MixtureDenoiser, ascend, cfg, ddpm, sample
from diffrl_lab.widgets import views

torch.set_num_threads(1)  # for tensors this small a second thread costs more than it brings
views.component_map(["conditioning", "guided sampling"], alt="The survey's component map with two boxes lit, conditioning and "
    "guided sampling: this lesson is about what is wanted and how samples are bent towards it.")

# %% tags=["parameters"]
PROFILE = "class"  # smoke: seconds; class: a minute; full: more samples
SEED = 0

# %% [markdown]
# ## A primer in four cells: what is diversity, and what is luck?
#
# "Over-guidance reduces diversity", says the survey. Then we need a number for diversity *before* we guide. Take paths around a block, left with
# probability $p = 0.2$. The **coverage** of a set of samples is the share of modes that it hits at all. Its **entropy** weighs how evenly.

# %%
generator = torch.Generator().manual_seed(SEED)
N = {"smoke": 1000, "class": 4000, "full": 20_000}[PROFILE]
ways = two_corridors(p=0.2)  # left 20 %, right 80 %: exact
paths, mode = ways.sample(48, generator)
views.trajectories(paths, groups=["left" if k == 0 else "right" for k in mode], alt="Forty-eight exact paths around a block that is not "
    "drawn: about a fifth bend to the left, the others to the right.")

# %%
def entropy(share: Tensor) -> Tensor:
    """Of left with this share, in bits: 1 is even, 0 is one mode alone."""
    return -(torch.xlogy(share, share) + torch.xlogy(1 - share, 1 - share)) / math.log(2)


sizes = [4, 8, 16, 32, 64, 128]
shares = {n: (torch.rand(2000, n, generator=generator) < 0.2).double().mean(1) for n in sizes}  # of a perfect model
both = [float(((s > 0) & (s < 1)).double().mean()) for s in shares.values()]
exact_both = [1 - 0.8**n - 0.2**n for n in sizes]
assert all(abs(a - b) < 4 * math.sqrt(b * (1 - b) / 2000) for a, b in zip(both, exact_both, strict=True)), "exact: 1 - (1-p)^n - p^n"

# %%
bits = [float(entropy(s).mean()) for s in shares.values()]
truth = float(entropy(torch.tensor(0.2, dtype=torch.float64)))
assert bits[0] < truth - 0.1 and abs(bits[-1] - truth) < 0.02, "exact: with few samples entropy is too low"
views.lines(sizes, {"sees both ways": both, "exact": exact_both, "entropy, mean": bits, "its own limit": [truth] * len(sizes)}, logx=True,
    points=True, xlabel="samples n", ylabel="share of sets, or bits", alt="A perfect model measured with n samples: with 4 samples "
    "only six sets in ten see both ways and the entropy is far too low; from 64 samples on both are near their limits.")

# %% [markdown]
# **Exact.** A *perfect* model, measured with 8 samples, misses the left way in one set out of six, and its entropy always comes out too low. That is the
# **noise floor**: whatever we blame on guidance below must exceed it.
#
# ## 1 · A slope, and where it leads
#
# We want the data's law $p(x_0)$ *tilted* towards a reward $J$: $\tilde p(x_0) \propto p(x_0)\, e^{\,w J(x_0)}$. In the reverse process all we have is the score of
# $x_t$. **Classifier guidance** adds the slope of $J$ to it. In the currency of this course, by Tweedie's formula $\alpha_t \hat{x}_0 = x_t + \sigma_t^2 \nabla \log p_t(x_t)$:
#
# **Exercise 1** (easy, 8 minutes). The score becomes $\nabla \log p_t + w \nabla J$. What becomes of $\hat{x}_0$? Pitfall: the units of a slope.

# %% tags=["exercise"]
def shifted(x0_hat: Tensor, slope: Tensor, alpha: float, sigma: float, w: float) -> Tensor:
    """x0_hat of the guided process, from the slope of J at x_t. -> the shape of x0_hat"""
    ### BEGIN SOLUTION
    return x0_hat + w * sigma**2 / alpha * slope
    ### END SOLUTION


check("05.shift", shifted)

# %% [markdown]
# The first test has an exact answer. A Gaussian $\mathcal N(\mu, d^2)$ tilted by $e^{\,w b x}$ is the same Gaussian, moved by $w\, b\, d^2$. `ascend(D, J, scale, at="x0_hat")` is the
# exercise's line with $J$ taken at $\hat{x}_0(x_t)$ and differentiated through $D$.

# %%
bell, b = GaussianDenoiser(torch.tensor([0.5]), Cosine(), std=0.4), 2.0


def drawn(D, n: int = N, steps: int = 40) -> Tensor:
    return sample(D, D.schedule.prior((n, 1), generator), steps=steps, step=ddpm(), generator=generator)[:, 0]


W = [0.0, 0.5, 1.0, 2.0, 4.0]
moved = [drawn(ascend(bell, lambda x, t: b * x[:, 0], scale=w, at="x0_hat")) for w in W]
for w, x in zip(W, moved, strict=True):
    assert abs(float(x.mean()) - 0.5 - w * b * 0.16) < 4 * 0.4 / N**0.5 + 0.01, "exact: moved by w b d^2"
    assert abs(float(x.std() / moved[0].std()) - 1) < 4 / N**0.5, "exact: as wide as before"

# %%
views.show(views.lines(W, {"sampled mean": [float(x.mean()) for x in moved], "exact": [0.5 + w * b * 0.16 for w in W],
    "sampled spread": [float(x.std()) for x in moved]}, points=True, xlabel="guidance scale w", ylabel="mean, spread",
    alt="Guided samples of one Gaussian: their mean rises in a straight line on the dashed exact one, their spread stays at 0.4."))

# %% [markdown]
# **Exact.** One mode, a linear reward: guidance is what it promises. Note where $w$ took us: at $w = 4$ the mean is three spreads away from the data. *Nothing was lost, everything was
# moved*, to where no data are. Keep that in mind.
#
# ## 2 · Two modes, and the slope at the wrong place
#
# Now the driver of lesson 01: left ($-1$) three times out of ten. We like the left: $J(x) = -x$, $w = 1.5$. The exact tilt hardly moves the modes ($d^2 = 0.04$). It
# moves their *weights*:

# %%
law, w = two_modes(p=0.3), 1.5
D = MixtureDenoiser(law.weights, law.means, Cosine(), std=law.std)
tilted = D.tilt([-w])
grid = torch.linspace(-3.2, 3.2, 321, dtype=torch.float64)[:, None]
want = float(tilted.weights[0])
print(f"left: {float(law.weights[0]):.2f} in the data, {want:.3f} in the exact tilt; modes at {tilted.means[:, 0].tolist()}")

# %%
naive = guess("05.naive", f"Exactly tilted, {want:.0%} go left. With the slope of J taken at the noisy x_t?", 0, 100, "%")
naive

# %% [markdown]
# There are three places where one may take the slope. At $x_t$ itself: $J(x_t)$, as with a reward model that never saw noise. At the mean: $J(\hat{x}_0(x_t))$. Or of the **noisy energy**
#
# $$J_t(x_t) = \log \mathbb E\big[e^{\,J(x_0)} \,\big|\, x_t\big],$$
#
# which asks what could be underneath and averages *what the tilt weighs by*. Contrastive energy prediction trains a network to be exactly this (Lu et al. 2023).
#
# **Exercise 2** (medium, 10 minutes). You get the weights `r` of the possible $x_0$ given $x_t$ and their rewards `J`. Write $J_t$. Pitfall: a regression of $J(x_0)$ on $x_t$ learns
# another mean.

# %% tags=["exercise"]
def noisy_energy(r: Tensor, J: Tensor) -> Tensor:
    """log E[exp(J) | x_t]; r [B, K] sums to 1 over K, J [K]. -> [B]"""
    ### BEGIN SOLUTION
    return torch.logsumexp(r.log() + J, -1)
    ### END SOLUTION


check("05.energy", noisy_energy)

# %%
def exact_energy(x_t: Tensor, t: Tensor) -> Tensor:
    """log E[exp(-w x_0) | x_t]: p(x_0 | x_t) is a mixture, and each of its bells gives its mean and half its variance."""
    r, m, s = D.posterior(x_t, t)
    return torch.logsumexp(r.log() - w * m[..., 0] + (w * s[..., 0]) ** 2 / 2, -1)


places = {"exact": tilted, "J at x_t": ascend(D, lambda x, t: -w * x[:, 0], at="x_t"),
    "J at x0_hat": ascend(D, lambda x, t: -w * x[:, 0], at="x0_hat"), "noisy energy": ascend(D, exact_energy, at="x_t")}
got = {name: drawn(guided) for name, guided in places.items()}
left = {name: 100 * float((x < 0).double().mean()) for name, x in got.items()}
error = 100 * 4 * math.sqrt(want * (1 - want) / N)
assert abs(left["noisy energy"] - left["exact"]) < 1.5 * error, "exact: the noisy energy samples the tilt"
assert abs(left["J at x_t"] - left["exact"]) > 2 * error, "large effect: the slope at x_t is another law"

# %%
views.show(views.histogram({k: v.clamp(-2.2, 2.2) for k, v in got.items() if k != "exact"}, exact=(grid[:, 0], tilted.log_prob(grid).exp()),
    title="Left: " + ", ".join(f"{v:.0f} % ({k})" for k, v in left.items()), alt="Histograms of guided samples against the exact tilt, "
    "dashed: with the slope of J at x_t or at x0_hat the shares of the two modes are off, with the noisy energy they fit."))
naive.reveal(left["J at x_t"])

# %% [markdown]
# **Large effect.** All three go left more often. Only one samples the law that was asked for. *The slope of $J$ at $x_t$ is not the tilt*: at high noise it pushes all samples by the same amount, and
# what decides between modes happens just there.
#
# ## 3 · Without a classifier
#
# **Classifier-free guidance** needs no $J$. One network learns both answers, with a condition $c$ and without, by dropping it in training for some samples. In the chain we go from the free answer
# towards the conditional one, and on:
#
# $$\hat{x}_0^{\,w} = D(x_t) + w\,\big(D(x_t, c) - D(x_t)\big).$$
#
# **Exercise 3** (easy, 8 minutes). Write it, for our $w$ and for the scale $v$ of Ho and Salimans, who write $(1 + v)\, D(x_t, c) - v\, D(x_t)$. Pitfall: papers compare scales without saying which.

# %% tags=["exercise"]
def guided(free: Tensor, conditional: Tensor, scale: float, papers: bool) -> Tensor:
    """Classifier-free guidance; `papers`: the scale is the v of Ho and Salimans. -> the shape of free"""
    ### BEGIN SOLUTION
    w = scale + 1 if papers else scale
    return free + w * (conditional - free)
    ### END SOLUTION


check("05.cfg", guided)

# %% [markdown]
# It is often said to sample $p(x)\, p(c \mid x)^w$, "the powered law". Bayes' rule gives exactly that factor of the *score*, at each $t$. But is a chain whose scores are powered at every $t$ a chain of
# the powered law? The condition is "left"; the exact powered law is a matter of quadrature.

# %%
over = guess("05.over", "Left is at -1, the powered law at w = 4 at -1.1. Where is the mean of cfg's samples?", -3.0, 0.0)
over

# %%
wide = two_modes(p=0.3, std=0.5)  # wider bells, so that there is something to overshoot
D = MixtureDenoiser(wide.weights, wide.means, Cosine(), std=wide.std)
LEFT = torch.tensor([[1.0, 0.0]])  # the condition: all weight on the left mode
free_law, left_law = D.log_prob(grid), MixtureDenoiser([1.0, 0.0], wide.means, Cosine(), std=wide.std).log_prob(grid)
scales = [0.0, 1.0, 2.0, 4.0, 8.0]
powered = [torch.softmax(free_law + w * (left_law - free_law), 0) @ grid[:, 0] for w in scales]
clouds = [drawn(cfg(D, LEFT.expand(N, 2), w), steps=60) for w in scales]
place = [float(x.mean()) for x in clouds]
assert abs(place[1] - float(powered[1])) < 4 * 0.5 / N**0.5 + 0.01, "exact: at w = 1 the two agree"
assert place[3] < float(powered[3]) - 0.1, "large effect: beyond 1 the samples overshoot the powered law"

# %%
views.show(views.lines(scales, {"cfg, sampled": place, "exact": powered, "lowest 2 %": [float(x.quantile(0.02)) for x in clouds]}, points=True,
    xlabel="guidance scale w", ylabel="x", title="Dashed: the powered law that cfg is said to sample",
    alt="Mean of classifier-free guided samples against w: down to -1 at w = 1 where it meets the dashed powered law, which stays near -1; "
    "the samples go on falling beyond it."))
over.reveal(place[3])

# %% [markdown]
# **Large effect.** They do not agree: classifier-free guidance *overshoots*, and more with every turn of the knob. Each score on the way is powered, but the noisy versions of the powered law have other
# scores. This is what "too much guidance" looks like before anything collapses: samples leave the data, all in the wished direction.
#
# ### What is no wish?
#
# A network takes numbers. Which number says "no condition"? Not 0: a return of 0, or the middle of a maze, is a legal wish. Suppose a driver with three ways, and a wish $c \in \{-1, 0, 1\}$.
#
# **Exercise 4** (easy, 8 minutes). Wishes come as a batch, NaN where nothing was asked. Turn each into two numbers that a network can take: the wish, and a flag, 1 if there is one.

# %% tags=["exercise"]
def told(cond: Tensor) -> Tensor:
    """cond [B], NaN for no wish. -> [B, 2]: value (0 where there is none), flag"""
    ### BEGIN SOLUTION
    given = ~cond.isnan()
    return torch.stack([torch.where(given, cond, 0.0), given.to(cond)], -1)
    ### END SOLUTION


check("05.null", told)

# %%
three = MixtureDenoiser([1.0, 1.0, 1.0], [[-1.0], [0.0], [1.0]], Cosine(), std=0.2)
WISH = {-1: [1.0, 0.0, 0.0], 0: [0.0, 1.0, 0.0], 1: [0.0, 0.0, 1.0]}
far = {}
for null, nothing in {"NaN": [float("nan")] * 3, "0": WISH[0]}.items():
    for c in (1, 0):
        wish, none = (torch.tensor(v).expand(N, 3) for v in (WISH[c], nothing))
        line = lambda x, t, _=None, a=wish, b=none: three(x, t, b) + 4 * (three(x, t, a) - three(x, t, b))
        x = drawn(Function(line, Cosine()))
        far[f"wish {c:+d}, null is {null}"] = float((x - c).abs().mean())
print("\n".join(f"{name}: {value:.2f} from the mode that was wished for, on average" for name, value in far.items()))
assert far["wish +1, null is 0"] > 1.5 * far["wish +1, null is NaN"], "large effect: pushed away from the middle, not from the data"

# %% [markdown]
# **Large effect.** With 0 for "no wish" guidance pushes away from the *middle*, whoever asked for it, and far past the right-hand mode. And the wish 0 itself? Then both answers are the same, and the knob
# is dead: whatever $w$ is, nothing is guided.
