# %% [markdown]
# # 01 · DDPM from scratch
#
# **The question.** A denoiser can only take noise away. How does that make *new* data?
#
# Everything here has one number per sample, so you can see every probability in the room. The exact answer is known at each step,
# and a small network is held against it.
#
# **Afterwards you can**
# - destroy data with noise, and say exactly how much is left at each moment;
# - explain why a perfect denoiser is not a sampler, and why its training loss does not go to 0;
# - train a diffusion model, and take one step of its reverse process with a line of your own.
#
# **You need** torch, the normal distribution, and Bayes' rule. Lesson 00 is a good start. **Machine:** MACHINE_SECONDS on
# two CPU cores. **You:** 80 minutes (an estimate).

# %%
from copy import deepcopy

import torch
from IPython.display import Markdown, display
from torch import nn
from torch.distributions import Normal, kl_divergence

from diffrl_lab.course import check, guess
from diffrl_lab.data.toys import two_modes
from diffrl_lab.diffusion import (
    Batches, Discrete, Linear, MixtureDenoiser, NeuralDenoiser, chain, cosine_decay, ddpm, denoising_loss, descend, fit, sample,
)
from diffrl_lab.widgets import views
from diffrl_lab.widgets.explore import Redrawn, explore
from diffrl_lab.widgets.movie import movie

views.component_map("diffusion model")

# %% tags=["parameters"]
PROFILE = "class"  # smoke: seconds; class: under a minute; full: longer training
SEED = 0

# %% [markdown]
# The survey's map, with this lesson's box lit. No actions, no rewards yet: think of $x$ as *one steering command*. A recorded driver
# turned left ($-1$) three times out of ten, else right ($+1$), and never drove straight on into the block.

# %%
law = two_modes(p=0.3, distance=2.0, std=0.2)
schedule = Linear()
exact = MixtureDenoiser(law.weights, law.means, schedule, std=law.std)
generator = torch.Generator().manual_seed(SEED)

# %% [markdown]
# ## 1 · Forward: noise goes in
#
# Time $t$ runs from 0 (data) to 1 (noise). This is *diffusion time*; no car moves. At each moment
#
# $$x_t = \alpha_t\, x_0 + \sigma_t\, \epsilon, \qquad \epsilon \sim \mathcal N(0, 1), \qquad \alpha_t^2 + \sigma_t^2 = 1.$$
#
# So $\alpha_t$ is the scale of the signal. One can also walk there in small steps from $s$ to $t > s$, each shrinking a little and adding
# a little fresh noise:
#
# $$x_t = \alpha_{t|s}\, x_s + \sigma_{t|s}\, z, \qquad \alpha_{t|s} = \alpha_t / \alpha_s, \qquad
# \sigma_{t|s}^2 = \sigma_t^2 - \alpha_{t|s}^2\, \sigma_s^2 .$$

# %%
times = torch.linspace(0, 1, 121, dtype=torch.float64)
alpha, sigma = schedule(times)
walk = [law.sample(4000, generator)[0].double()]
for n in range(1, len(times)):
    alpha_ts = alpha[n] / alpha[n - 1]
    sigma_ts = (sigma[n] ** 2 - alpha_ts**2 * sigma[n - 1] ** 2).sqrt()
    walk.append(alpha_ts * walk[-1] + sigma_ts * torch.randn(4000, 1, generator=generator, dtype=torch.float64))

# %%
x = torch.linspace(-3.5, 3.5, 281, dtype=torch.float64)[:, None]
density = torch.stack([exact.log_prob(x, t).exp() for t in times])  # p_t(x), exact -> [121, 281]
paths = torch.stack(walk)[:, :10, 0]
views.heat_map(times, x[:, 0], density, paths=paths, path_t=times, title="Two modes drown in noise",
    alt="Heat map of the exact density of x_t over t: two bands at +1 and -1 merge into one broad band around 0 by t = 0.4. Ten "
    "jagged paths start in the bands and spread.")

# %% [markdown]
# Ten commands lose themselves. The blue behind them is no histogram: it is the exact density $p_t(x_t)$. All 4,000 walkers must agree
# with the jump formula at every $t$. They do.

# %%
n = 30  # t = 0.25
jump = alpha[n] * 0.4, (alpha[n] ** 2 * (law.std[0] ** 2 + 0.84) + sigma[n] ** 2).sqrt()  # 0.4, 0.84: mean, variance of ±1
assert abs(walk[n].mean() - jump[0]) < 4 * jump[1] / 4000**0.5, "exact: many small steps are one jump"
assert alpha[-1] < 0.01, "exact: at t = 1 less than a hundredth of the signal is left"

# %% [markdown]
# ### One letter, two meanings
#
# DDPM (Ho et al. 2020) counts steps $n = 1 \ldots T$ and is told by a list of $\beta_n$, the noise of *one* step.
#
# | here | what it is | in DDPM |
# |---|---|---|
# | $\alpha_t$ | scale of the signal after **all** steps up to $t = n/T$ | $\sqrt{\bar\alpha_n}$ |
# | $\sigma_t$ | scale of the noise in $x_t$ | $\sqrt{1 - \bar\alpha_n}$ |
# | $\alpha_{t\mid s}$ | shrinking of **one** step | $\sqrt{\alpha_n} = \sqrt{1 - \beta_n}$ |
#
# **Exercise 1** (easy, 8 minutes). From the scales `alpha` $= (\alpha_{t_0}, \ldots, \alpha_{t_T})$ with $\alpha_{t_0} = 1$ compute the $T$
# numbers $\beta_n = 1 - \bar\alpha_n / \bar\alpha_{n-1}$. Pitfall: which of the two alphas is in your hand?

# %% tags=["exercise"]
def betas(alpha: torch.Tensor) -> torch.Tensor:
    """alpha [T+1], falling from 1: our scale of the signal. -> beta [T]"""
    ### BEGIN SOLUTION
    alpha_bar = alpha**2
    return 1 - alpha_bar[1:] / alpha_bar[:-1]
    ### END SOLUTION


check("01.betas", betas)

# %% tags=["nbval-check-output"]
alpha_bar = schedule(torch.linspace(0, 1, 1001, dtype=torch.float64))[0] ** 2
beta = 1 - alpha_bar[1:] / alpha_bar[:-1]
for n in (1, 100, 500, 1000):
    print(f"n {n:4}: beta {beta[n - 1]:.5f}   DDPM's alpha {1 - beta[n - 1]:.5f}   our alpha {alpha_bar[n] ** 0.5:.5f}")
assert (beta - Discrete.linear(1000).betas).abs().max() < 3e-4, "exact: these are DDPM's own betas, to rounding"

# %% [markdown]
# The last two columns share a letter, and nothing else. And those betas are the famous list "from 0.0001 to 0.02": with $T = 1000$ our
# smooth schedule *is* DDPM's.

# %% [markdown]
# ## 2 · Back again, if you knew everything
#
# Somebody shows you $x_t$. What was $x_0$? Bayes' rule answers with a whole distribution $p(x_0 \mid x_t)$. Its mean is the hero of this course:
#
# $$D(x_t, t) = \hat{x}_0 = \mathbb E[x_0 \mid x_t] .$$
#
# For a mixture it is known exactly. Commit a number first.

# %%
pure_noise = guess("01.blind", "At t = 1 all signal is gone. What is x0_hat, the exact D(x_t, 1)?", -1.0, 1.0)
pure_noise

# %%
def look(t: float, x_t: float) -> views.Picture:
    point = torch.tensor([[x_t]], dtype=torch.float64)
    r, m, s = exact.posterior(point, t)  # p(x_0 | x_t) is a mixture again: weights, means, standard deviations
    law_0 = MixtureDenoiser(r[0], m[0], schedule, std=s[0, :, 0]).log_prob(x).exp()
    x0_hat = float(exact(point, t))
    return views.point_and_law(times, x[:, 0], density, (t, x_t), law_0, prior=density[0], marks={f"x0_hat = {x0_hat:.2f}": x0_hat},
        alt=f"Left, a point at t = {t:.2f}, x_t = {x_t:.2f} in the heat map of p_t. Right, the law of x_0 given that point: "
        f"weight {float(r[0, 1]):.2f} on the right mode, and its mean x0_hat = {x0_hat:.2f}.")


explore(look, t=(0.02, 1.0, 0.02, 0.2), x_t=(-2.5, 2.5, 0.05, 0.0))

# %% [markdown]
# **Drag the yellow point** over the heat map (or use the sliders).
# 1. Put it at the far right. The law on the right is the data itself; the point tells you nothing.
# 2. Come down to $t = 0.2$ near $x_t = 0$. Two modes, and the orange line stands *between* them, where no data are.
# 3. Now nudge $x_t$ up and down. The line snaps to a mode.

# %%
bayes = density[0] * Normal(alpha[24] * x[:, 0], sigma[24]).log_prob(torch.tensor(0.05)).exp()  # prior times likelihood, t = 0.2
by_hand = (bayes * x[:, 0]).sum() / bayes.sum()
torch.testing.assert_close(by_hand, exact(torch.tensor([0.05], dtype=torch.float64), 0.2)[0])  # exact: D is Bayes' mean
pure_noise.reveal(float(exact(torch.zeros(1, dtype=torch.float64), 1.0)))

# %%
views.lines(x[:, 0], {f"t = {t}": exact(x, t)[:, 0] for t in (0.05, 0.2, 0.4, 0.8)}, xlabel="x_t", ylabel="x0_hat = D(x_t, t)",
    title="The denoiser: a slope that becomes a step",
    alt="The exact denoiser against x_t at four times: nearly flat at 0.4 for t = 0.8, a rising S for t = 0.4 and 0.2, and a sharp "
    "step from -1 to +1 at t = 0.05.")

# %% [markdown]
# With no signal the best answer is the mean of the data. It is also a command that the driver *never* gave: straight into the block.
# **D is not a sample.** How much of what $D$ says lies in that gap?

# %%
def in_gap(values: torch.Tensor) -> float:
    return float((values.abs() < 0.4).double().mean())


shares = {name: in_gap(v) for name, v in {"data": walk[0], "x0_hat at t = 0.3": exact(walk[36], 0.3)}.items()}
print(shares)
assert shares["x0_hat at t = 0.3"] > 0.1 > 20 * shares["data"], "large effect: means fall where data do not"

# %% [markdown]
# **Exercise 2** (medium, 12 minutes). Draw from $p(x_0 \mid x_t)$ instead of averaging it. You get its weights `r`, means `m` and standard
# deviations `s`. Pitfalls: the mode is random too; and two right modes with a bell around $D$ are a different law.

# %% tags=["exercise"]
def draw(r: torch.Tensor, m: torch.Tensor, s: torch.Tensor, n: int, generator: torch.Generator) -> torch.Tensor:
    """n draws from sum_k r_k N(m_k, s_k^2); r, m, s are [K]. -> [n]"""
    ### BEGIN SOLUTION
    k = torch.multinomial(r, n, replacement=True, generator=generator)
    return m[k] + s[k] * torch.randn(n, generator=generator)
    ### END SOLUTION


check("01.draw", draw)

# %% [markdown]
# ## 3 · From the likelihood to the simple loss
#
# Suppose you know $x_t$ *and* $x_0$. Where was $x_s$, a little earlier ($s < t$)? Two Gaussians multiplied give a Gaussian:
#
# $$q(x_s \mid x_t, x_0) = \mathcal N\!\left(\frac{\alpha_{t|s}\,\sigma_s^2\, x_t + \alpha_s\, \sigma_{t|s}^2\, x_0}{\sigma_t^2},\;
# \frac{\sigma_s^2\, \sigma_{t|s}^2}{\sigma_t^2}\right).$$

# %%
def posterior(x_t, x_0, t: float, s: float) -> Normal:
    (alpha_t, sigma_t), (alpha_s, sigma_s) = schedule(t), schedule(s)
    alpha_ts = alpha_t / alpha_s
    var_ts = sigma_t**2 - alpha_ts**2 * sigma_s**2
    mean = (alpha_ts * sigma_s**2 * x_t + alpha_s * var_ts * x_0) / sigma_t**2
    return Normal(mean, sigma_s * var_ts.sqrt() / sigma_t)

# %% [markdown]
# The chain does not know $x_0$, so it puts its guess $\hat{x}_0$ there: $p(x_s \mid x_t) = q(x_s \mid x_t, x_0 = \hat{x}_0)$. How much likelihood
# does that cost? The evidence lower bound (ELBO) says: for each step one KL divergence, between two Gaussians of equal width. With
# $\mathrm{SNR}(t) = \alpha_t^2 / \sigma_t^2$ it is
#
# $$\mathrm{KL} = \tfrac12 \big(\mathrm{SNR}(s) - \mathrm{SNR}(t)\big)\,(x_0 - \hat{x}_0)^2
# = \underbrace{\tfrac12 \Big(\tfrac{\mathrm{SNR}(s)}{\mathrm{SNR}(t)} - 1\Big)}_{\text{weight}}\,(\epsilon - \hat\epsilon)^2 .$$

# %%
x_t, x_0, x0_hat, t, s = 0.3, 1.1, 0.4, 0.31, 0.30
snr = {u: schedule(u)[0] ** 2 / schedule(u)[1] ** 2 for u in (t, s)}
kl = kl_divergence(posterior(x_t, x_0, t, s), posterior(x_t, x0_hat, t, s))
torch.testing.assert_close(kl, (snr[s] - snr[t]) / 2 * (x_0 - x0_hat) ** 2)  # exact

# %%
snr = (alpha[1:] / sigma[1:]) ** 2
weight = (snr[:-1] / snr[1:] - 1) / 2
views.lines(times[2:], {"ELBO": weight / weight.mean(), "simple loss": torch.ones_like(weight)}, xlabel="t", ylabel="weight (mean 1)",
    logy=True, title="What each t counts, in units of the noise",
    alt="Weight of the squared error in eps against t, on a logarithmic axis: the ELBO's is largest near t = 0 and falls, "
    "the simple loss weighs every t the same.")

# %% [markdown]
# DDPM's **simple loss** drops the weight. That is legal: whatever the weights, each $t$ alone asks for the mean, so all of them have the
# *same* best denoiser, $D$. Only the effort is spent elsewhere: more of it on noisy $x_t$.
#
# $$L = \mathbb E_{t, x_0, \epsilon}\,\big(\epsilon - \hat\epsilon(x_t, t)\big)^2$$
#
# **Exercise 3** (easy, 5 minutes). The network will predict $\hat\epsilon$. Which denoiser $\hat{x}_0$ is that?

# %% tags=["exercise"]
def x0_from_eps(x_t: torch.Tensor, eps_hat: torch.Tensor, alpha: float, sigma: float) -> torch.Tensor:
    """x_t = alpha x_0 + sigma eps, solved for x_0. -> the shape of x_t"""
    ### BEGIN SOLUTION
    return (x_t - sigma * eps_hat) / alpha
    ### END SOLUTION


check("01.x0_from_eps", x0_from_eps)

# %% [markdown]
# **Exercise 4** (medium, 8 minutes). Write the simple loss of a denoiser from its error in $x_0$. The check feeds it the *exact* $D$. Will it be 0?

# %% tags=["exercise"]
def simple_loss(x_0: torch.Tensor, x0_hat: torch.Tensor, alpha: float, sigma: float) -> torch.Tensor:
    """The mean of (eps - eps_hat)^2 at one noise level; x_0 and x0_hat are [N, 1]. -> []"""
    ### BEGIN SOLUTION
    return (alpha / sigma) ** 2 * ((x0_hat - x_0) ** 2).mean()
    ### END SOLUTION


check("01.floor", simple_loss)

# %%
perfect = guess("01.floor", "A network that always says eps_hat = 0 has loss 1. What is the loss of the best there can be?", 0.0, 1.0)
perfect

# %% [markdown]
# The error of $D$ is the spread of $p(x_0 \mid x_t)$, which we can integrate. Its mean over $t$ is the floor under every training run.

# %%
def over_noise(f, t) -> float:
    """E of f(x_t) (alpha_t / sigma_t)^2 under the exact p_t, by quadrature."""
    ratio = schedule(t)[0] / schedule(t)[1]
    return float(ratio**2 * (exact.log_prob(x, t).exp() * f(t)).sum() * (x[1] - x[0]))


def spread(t) -> torch.Tensor:
    r, m, s = exact.posterior(x, t)
    return (r * (m**2 + s**2)[..., 0]).sum(-1) - exact(x, t)[:, 0] ** 2


middle = (torch.arange(200, dtype=torch.float64) + 0.5) / 200
floor_t = torch.tensor([over_noise(spread, t) for t in middle])
FLOOR = float(floor_t.mean())

# %%
views.show(views.lines(middle, {"exact": floor_t, "noise": torch.ones(200)}, xlabel="t", ylabel="simple loss", title="Loss of the exact D",
    alt="Simple loss of the exact denoiser against t, below the dotted line at 1 of a network that says 0: near 1 at t = 0, a second "
    "hump near t = 0.2 where the modes merge, and almost 0 from t = 0.7 on."))
perfect.reveal(FLOOR)

# %% [markdown]
# At small $t$ the noise hides in the data's own width. Around the hump nobody can tell which mode it was. Only in nearly pure noise is the
# noise obvious. **A diffusion loss near 0 would be a bug**, and a flat loss does not mean that nothing is learned any more.

# %% [markdown]
# ## 4 · Learn it
#
# Now forget the formula. The network gets $x_t$ and a label of the noise level, and guesses the noise. That is all.

# %%
class Net(nn.Module):
    def __init__(self, width: int = 64):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(2, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, 1))

    def forward(self, x_t, label, cond=None):
        return self.layers(torch.cat([x_t, label[:, None]], 1))


torch.manual_seed(SEED)
D = NeuralDenoiser(Net(), schedule, predict="eps")
ladder = {"untrained": deepcopy(D)}

# %%
STEPS = {"smoke": 500, "class": 1500, "full": 20_000}[PROFILE]
data, _ = law.sample(4000, generator)
update = descend(lambda x_0: denoising_loss(D, x_0, generator=generator), D, lr=1e-2, schedule=cosine_decay(STEPS, warmup=20))
history, screen = [], Redrawn()
display(screen)
for row in fit(update, Batches(data, 512, generator), STEPS):
    history.append(row["loss"])
    if row["step"] == STEPS // 10:
        ladder["after 10 %"] = deepcopy(D)
    if row["step"] % (STEPS // 10) == 0:
        screen.show(views.losses(history, FLOOR, alt="The training loss so far, step by step, above the exact floor."))

# %%
views.losses(history, FLOOR, title="Training ends at the floor, not at 0",
    alt="Training loss against steps: it falls from 1 within a hundred steps and then runs flat, just above the dashed line of the exact floor.")

# %% [markdown]
# ### Held against the exact one
#
# Loss and truth are tied together. For any denoiser, loss = floor + squared distance of its $\hat\epsilon$ from the exact one. So we
# measure that distance on a grid, with no sampling noise.

# %%
@torch.no_grad()
def excess(D) -> float:
    return sum(over_noise(lambda t: (D(x.float(), t) - exact(x, t))[:, 0] ** 2, t) for t in middle) / len(middle)


ladder["trained"] = D
excess_of = {name: excess(net) for name, net in ladder.items()}
display(Markdown("| | excess | floor + excess |\n|---|---|---|\n" + "\n".join(
    f"| {name} | {e:.3f} | {FLOOR + e:.3f} |" for name, e in excess_of.items())))
assert excess_of["trained"] < 0.1 < 0.5 < excess_of["untrained"], "large effect: the network has found D"

# %%
with torch.no_grad():
    curves = {name: net(x.float(), torch.tensor(0.2))[:, 0] for name, net in ladder.items()}
views.lines(x[:, 0], {"exact": exact(x, 0.2)[:, 0], **curves}, xlabel="x_t", ylabel="x0_hat", title="t = 0.2: a network grows a step",
    alt="Four denoisers at t = 0.2: untrained a steep straight line, after a tenth of training already bent, trained almost on the "
    "dashed S of the exact one.")

# %% [markdown]
# ## 5 · Reverse: noise becomes data
#
# Here is the trick. $D$ is only a mean, but we never jump there. We take a **small step** towards it, add a little fresh noise, and ask
# again. Each $x_s$ leans to one side; the next $\hat{x}_0$ leans with it.
#
# **Exercise 5** (medium, 12 minutes). One ancestral step, $x_s \sim q(x_s \mid x_t, x_0 = \hat{x}_0)$, with the standard normal `z` given. Pitfalls: variance
# or standard deviation? And what must happen to the noise when $s = 0$?

# %% tags=["exercise"]
def ancestral_step(x_t, x0_hat, alpha_t: float, sigma_t: float, alpha_s: float, sigma_s: float, z) -> torch.Tensor:
    """Mean of q(x_s | x_t, x0_hat), plus z times its standard deviation. -> the shape of x_t"""
    ### BEGIN SOLUTION
    alpha_ts = alpha_t / alpha_s
    var_ts = sigma_t**2 - alpha_ts**2 * sigma_s**2
    mean = (alpha_ts * sigma_s**2 * x_t + alpha_s * var_ts * x0_hat) / sigma_t**2
    return mean + sigma_s * var_ts**0.5 / sigma_t * z
    ### END SOLUTION


check("01.ancestral_step", ancestral_step)

# %%
x_T = schedule.prior((1000, 1), generator)
frames = list(chain(D, x_T, steps=100, step=ddpm(), generator=generator))
p_t = torch.stack([exact.log_prob(x, frame.t).exp() for frame in frames])
movie(frames, curve=(x[:, 0], p_t), samples=1000, schedule=schedule, limits=(-3, 3, 0, 1),
    alt="Histogram of 1,000 samples of the trained network, from one broad hump at t = 1 to two narrow ones at -1 and +1, under the "
    "dashed exact density of each moment.")

# %% [markdown]
# Scrub from $t = 1$ to $t = 0$. The dashed line is the exact $p_t$, and the network's samples stay under it at *every* moment. Then switch to
# $\hat{x}_0$: the beliefs start in the gap, all together, and leave it as they snap.
#
# ### Is it the right law?
#
# "Looks right" is no measurement. The Wasserstein distance $W_1$ is the mean distance that samples must be moved to become the other
# set. Even two *exact* sets differ: that is the noise floor. The fourth row is the best **single Gaussian**, the usual policy head in RL.

# %%
def w1(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a.flatten().sort().values - b.flatten().sort().values).abs().mean())


def run(D, steps: int = 100, n: int = 2000) -> torch.Tensor:
    return sample(D, D.schedule.prior((n, 1), generator), steps=steps, step=ddpm(), generator=generator)


SETS = {"smoke": 4, "class": 8, "full": 40}[PROFILE]
mean, std = walk[0].mean(), walk[0].std()
makers = {"exact samples": lambda: law.sample(2000, generator)[0], "exact D, 100 steps": lambda: run(exact), "trained D, 100 steps": lambda:
    run(D), "one Gaussian": lambda: mean + std * torch.randn(2000, 1, generator=generator)}
distance = {name: [w1(make(), law.sample(2000, generator)[0]) for _ in range(SETS)] for name, make in makers.items()}

# %%
average = {name: sum(v) / SETS for name, v in distance.items()}
views.show(views.intervals(distance.items(), xlabel="W1 to 2,000 exact samples", reference={"noise floor": average["exact samples"]},
    alt="Distances to exact samples, one dot per set of 2,000: exact samples and the exact chain lie at the noise floor, the trained "
    "network slightly to its right, one Gaussian far away."))
assert average["trained D, 100 steps"] < 0.75 * average["one Gaussian"], "large effect: it beats any single Gaussian"

# %% [markdown]
# ## 6 · Break it
#
# A colleague wants speed: "DDPM's betas run from 0.0001 to 0.02, so I take 20 of them instead of 1,000." The denoiser stays *exact*; nothing
# is learned, nothing can be undertrained.

# %%
wrong_mode = guess("01.few", "Of the data 30 % are left (negative). What share of the colleague's samples?", 0, 100, "%")
wrong_mode

# %%
few = Discrete.linear(20)
a = schedule(torch.linspace(0, 1, 21, dtype=torch.float64))[0]
cured = Discrete(1 - (a[1:] / a[:-1]) ** 2)  # exercise 1: twenty betas out of alpha_bar
made = {name: run(MixtureDenoiser(law.weights, law.means, S, std=law.std), steps=20, n=4000)
    for name, S in {"DDPM's betas": few, "betas from alpha_bar": cured}.items()}
left = {name: 100 * float((v < 0).double().mean()) for name, v in made.items()}

# %%
views.show(views.histogram(made, exact=(x[:, 0], density[0]), title="Twenty steps, the exact denoiser",
    alt="Two histograms against the exact density: with DDPM's own betas the left mode is far too high and the right one too low; with betas "
    "derived from alpha_bar both heights fit."))
wrong_mode.reveal(left["DDPM's betas"])

# %%
for S in (few, cured):
    print(f"alpha at t = 1: {float(S(1.0)[0]):.3f}")
assert few(1.0)[0] > 0.9 and cured(1.0)[0] < 0.01, "exact: 20 small betas leave the signal standing"
assert left["DDPM's betas"] > 40 and abs(left["betas from alpha_bar"] - 30) < 5, "large effect: and the modes come out wrong"

# %% [markdown]
# **The number that gives it away is $\alpha_1$.** Twenty tiny betas hardly touch the data: at $t = 1$ the signal still stands. The sampler,
# though, starts from pure noise, which the exact $D$ reads as data that are there. Both modes look plausible one by one; only their
# *shares* are wrong. In a plan this is a wrong turn, taken too often. Before anything else, print `schedule(1.0)`.

# %% [markdown]
# ## What the survey claims, and what we saw

# %%
low, high = min(distance["trained D, 100 steps"]), max(distance["trained D, 100 steps"])
Markdown(f"""| claim (survey, high confidence) | measured here | verdict |
|---|---|---|
| The forward process corrupts with Gaussian noise, a learned reverse process undoes it | W1 of the trained chain {low:.3f} to {high:.3f} over {SETS} sets; noise floor {average["exact samples"]:.3f}, one Gaussian {average["one Gaussian"]:.3f} | **held**, in one dimension |
""")

# %% [markdown]
# - **Exact.** Small forward steps are one jump; all weights of the loss share one best denoiser; its loss is not 0.
# - **Large effect.** $\hat{x}_0$ falls where no data are; the chain of small steps does not; few small betas spoil the shares.
# - **Open.** With 100 steps even the exact chain is a little too narrow. How many steps are enough, and of which kind? Lesson 02.
#
# **Next:** 02 (schedules and samplers) or 04, where $x$ becomes a whole trajectory. The survey's quick check asks to *describe the forward
# process of DDPM*: you can now do it in one line and one picture.

# %% [markdown]
# ## Symbols
#
# | symbol | code | meaning |
# |---|---|---|
# | $t, s$ | `t`, `s` | diffusion times, $s < t$; 0 is data, 1 is noise |
# | $\alpha_t, \sigma_t$ | `alpha, sigma = schedule(t)` | scales of signal and noise |
# | $\bar\alpha_n, \beta_n$ | `alpha_bar`, `beta` | DDPM: $\bar\alpha_n = \alpha_t^2$; noise of one step |
# | $\epsilon, \hat\epsilon$ | `eps`, `eps_hat` | the noise in $x_t$, and the guess of it |
# | $\hat{x}_0 = D(x_t, t)$ | `x0_hat` | $\mathbb E[x_0 \mid x_t]$ |
# | $\mathrm{SNR}(t)$ | `snr` | $\alpha_t^2 / \sigma_t^2$ |
#
# **References.** Ho, Jain, Abbeel, "Denoising Diffusion Probabilistic Models" (2020). Sohl-Dickstein et al., "Deep Unsupervised Learning
# using Nonequilibrium Thermodynamics" (2015). Song et al., "Score-Based Generative Modeling through SDEs" (2021). Kingma et al., "Variational
# Diffusion Models" (2021). The survey: "Diffusion Models for Reinforcement Learning" (arXiv 2510.12253, 2025).
