# %% [markdown]
# # 01 · DDPM from scratch
#
# **The question.** A denoiser can only take noise away. How does that make *new* data?
#
# Everything here has one number per sample, so you can see every probability in the room. The exact answer is known
# at each step, and a small network is held against it.
#
# **Afterwards you can**
# - destroy data with noise, and say exactly how much is left at each moment;
# - explain why a perfect denoiser is not a sampler, and why its training loss does not go to 0;
# - train a diffusion model, and take a step of its reverse process with a line of your own.
#
# **You need** torch, the normal distribution and Bayes' rule; lesson 00 is a good start. **Machine:** about 20
# seconds on two CPU cores, no network. **You:** 75 minutes (an estimate).

# %%
from copy import deepcopy

import torch
from IPython.display import Markdown, display
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence

from diffrl_lab import widgets
from diffrl_lab.course import check, guess, hint
from diffrl_lab.data.toys import two_modes
from diffrl_lab.diffusion import Discrete, Linear, MixtureDenoiser, NeuralDenoiser, chain, ddpm, sample
from diffrl_lab.widgets.explore import explore
from diffrl_lab.widgets.movie import movie

widgets.component_map("diffusion model")

# %% tags=["parameters"]
PROFILE = "class"  # smoke: seconds; class: half a minute; full: longer training, more samples
SEED = 0

# %% [markdown]
# The survey's map, with this lesson's box lit. No rewards yet. Think of $x$ as *one steering command*: a recorded
# driver turned left (near $-1$) three times out of ten, else right (near $+1$), and never drove straight on into
# the block at 0.
#
# ## 1 · Forward: noise goes in
#
# Time $t$ runs from 0 (data) to 1 (noise). This is *diffusion time*; no car moves. At each moment
#
# $$x_t = \alpha_t\, x_0 + \sigma_t\, \epsilon, \qquad \epsilon \sim \mathcal N(0, 1), \qquad
# \alpha_t^2 + \sigma_t^2 = 1.$$
#
# So $\alpha_t$ is the scale of the signal. One can also walk there, from $s$ to $t > s$ in small steps, each
# shrinking what is there and adding a little fresh noise $z$:
#
# $$x_t = \alpha_{t|s}\, x_s + \sigma_{t|s}\, z, \qquad \alpha_{t|s} = \alpha_t / \alpha_s, \qquad
# \sigma_{t|s}^2 = \sigma_t^2 - \alpha_{t|s}^2\, \sigma_s^2 .$$

# %%
law = two_modes(p=0.3, distance=2.0, std=0.2)
schedule = Linear()
exact = MixtureDenoiser(law.weights, law.means, schedule, std=law.std)
generator = torch.Generator().manual_seed(SEED)
torch.set_num_threads(1)  # for a network this small a second thread only waits
x = torch.linspace(-3.5, 3.5, 281, dtype=torch.float64)[:, None]
times = torch.linspace(0, 1, 121, dtype=torch.float64)
density = torch.stack([exact.log_prob(x, t).exp() for t in times])  # p_t(x), exact -> [121, 281]
alpha, sigma = schedule(times)
walk = [law.sample(4000, generator)[0].double()]
for n in range(1, len(times)):
    alpha_ts = alpha[n] / alpha[n - 1]
    sigma_ts = (sigma[n] ** 2 - alpha_ts**2 * sigma[n - 1] ** 2).sqrt()
    z = torch.randn(4000, 1, generator=generator, dtype=torch.float64)
    walk.append(alpha_ts * walk[-1] + sigma_ts * z)
assert all(abs(walk[n].mean() - alpha[n] * 0.4) < 4 / 4000**0.5 for n in (6, 30, 60)), "exact: steps make one jump"
assert alpha[-1] < 0.01, "exact: at t = 1 less than a hundredth of the signal is left"

# %%
widgets.heat_map(times, x[:, 0], density, paths=torch.stack(walk)[:, :10, 0], path_t=times, title="Two modes drown",
    alt="Heat map of the exact density of x_t over t: two bands at +1 and -1 merge into one broad band around 0 by "
    "t = 0.4. Ten jagged paths start in the bands and spread.")

# %% [markdown]
# Ten commands lose themselves. The blue behind them is no histogram: it is the exact density $p_t(x_t)$. The
# asserts above held 4,000 walkers against the jump formula.
#
# ### One letter, two meanings
#
# DDPM (Ho et al. 2020) counts steps $n = 1 \ldots T$, each with its own amount of noise $\beta_n$.
#
# | here | what it is | in DDPM |
# |---|---|---|
# | $\alpha_t$ | scale of the signal after **all** steps up to $t = n/T$ | $\sqrt{\bar\alpha_n}$ |
# | $\sigma_t$ | scale of all noise in $x_t$ | $\sqrt{1 - \bar\alpha_n}$ |
# | $\alpha_{t\mid s}$ | shrinking in **one** step | $\sqrt{\alpha_n} = \sqrt{1 - \beta_n}$ |
#
# **Exercise 1** (easy, 8 minutes). From our scales `alpha` at the $T + 1$ times $0, \tfrac1T, \ldots, 1$ compute
# the $T$ numbers $\beta_n = 1 - \bar\alpha_n / \bar\alpha_{n-1}$. Pitfall: which of the two alphas is in your hand?

# %% tags=["exercise"]
def betas(alpha: Tensor) -> Tensor:
    """alpha [T+1], falling from 1: our scale of the signal. -> beta [T]"""
    ### BEGIN SOLUTION
    alpha_bar = alpha**2
    return 1 - alpha_bar[1:] / alpha_bar[:-1]
    ### END SOLUTION


check("01.betas", betas)

# %% tags=["nbval-check-output"]
a = schedule(torch.linspace(0, 1, 1001, dtype=torch.float64))[0]
beta = 1 - (a[1:] / a[:-1]) ** 2
print(f"step 500 of 1000: beta {beta[499]:.4f}, DDPM's alpha {1 - beta[499]:.4f}, our alpha {a[500]:.4f}")
assert Discrete.linear(1000).betas[[0, -1]].tolist() == [0.0001, 0.02], "exact: DDPM's own list"
assert (beta - Discrete.linear(1000).betas).abs().max() < 3e-4, "exact: DDPM's betas are this schedule in 1000 steps"

# %% [markdown]
# One letter, and nothing else in common. And these betas are DDPM's famous list "from 0.0001 to 0.02".
#
# ## 2 · Back again, if you knew everything
#
# Somebody shows you $x_t$. What was $x_0$? Bayes' rule answers with a whole distribution $p(x_0 \mid x_t)$. Its mean is the
# most important function of this course:
#
# $$D(x_t, t) = \hat{x}_0 = \mathbb E[x_0 \mid x_t] .$$
#
# For a mixture it is known exactly. Commit a number first.

# %%
blind = guess("01.blind", "At t = 1 all signal is gone. What is x0_hat, the exact D(x_t, 1)?", -1.0, 1.0)
blind

# %%
display(blind.reveal(float(exact(torch.zeros(1, dtype=torch.float64), 1.0))))


def look(t: float, x_t: float) -> widgets.Picture:
    point = torch.tensor([[x_t]], dtype=torch.float64)
    r, m, s = exact.posterior(point, t)  # p(x_0 | x_t) is a mixture again: weights, means, standard deviations
    law_0, x0_hat = MixtureDenoiser(r[0], m[0], schedule, std=s[0, :, 0]), float(exact(point, t))
    return widgets.point_and_law(times, x[:, 0], density, (t, x_t), law_0.log_prob(x).exp(), prior=density[0],
        marks={f"x0_hat = {x0_hat:.2f}": x0_hat},
        alt=f"Left, a point at t = {t:.2f}, x_t = {x_t:.2f} in the heat map of p_t. Right, the law of x_0 given that "
        f"point: weight {float(r[0, 1]):.2f} on the right-hand mode, and its mean x0_hat = {x0_hat:.2f}.")


explore(look, t=(0.02, 1.0, 0.02, 0.2), x_t=(-2.5, 2.5, 0.05, 0.0))

# %% [markdown]
# **Drag the yellow point** over the heat map, or use the sliders.
# 1. Take it to the far right. The law beside it is the data itself: the point tells you nothing.
# 2. Come back to $t = 0.2$, $x_t = 0$. Two modes, and the orange line stands *between* them, where no data are.
# 3. Go on to $t = 0.06$ and move up and down a little. The line snaps from mode to mode.
#
# With no signal the best answer is the mean of the data, a command that the driver *never* gave: straight into the
# block. **$D$ is not a sample.** The next picture draws it at five levels of noise. In nearly pure noise it is flat. At
# intermediate levels it is a step from one mode to the other, nearly flat on both sides. With almost no noise it becomes the identity, since $x_t$ is then nearly $x_0$ itself:

# %%
widgets.show(widgets.lines(x[60:221, 0], {f"t = {t}": exact(x, t)[60:221, 0] for t in (0.005, 0.06, 0.2, 0.4, 0.8)},
    xlabel="x_t", ylabel="x0_hat = D(x_t, t)", alt="The exact denoiser against x_t at five times: nearly flat at 0.4 for t = 0.8, a "
    "gentle rise for t = 0.4, an S for t = 0.2, a steep step with rising sides for t = 0.06, and the diagonal, but for the gap, for t = 0.005."))
slope = {t: float((exact(x + 0.01, t) - exact(x - 0.01, t))[180, 0] / 0.02) for t in (0.005, 0.06, 0.2, 0.8)}  # at x_t = 1
print("slope of D at x_t = 1: " + ", ".join(f"{value:.2f} at t = {t}" for t, value in slope.items()))
assert slope[0.005] > 0.95 and slope[0.2] < 0.2, "exact: the identity at low noise, a step's flat side in between"

# %%
values = {"data": walk[0], "x0_hat at t = 0.3": exact(walk[36], 0.3)}
gap = {name: float((v.abs() < 0.4).double().mean()) for name, v in values.items()}
print(", ".join(f"{name}: {share:.1%} between -0.4 and 0.4" for name, share in gap.items()))
assert gap["x0_hat at t = 0.3"] > 0.1 > 20 * gap["data"], "large effect: means fall where the data do not"

# %% [markdown]
# **Large effect.** More than a tenth of the means lie between the modes, where next to none of the data lie.
#
# **Exercise 2** (medium, 12 minutes). *Draw* from $p(x_0 \mid x_t)$ instead of averaging it. You get the weights
# `r`, means `m` and standard deviations `s` of its modes. Pitfalls: which mode it is, is itself random, and a bell around
# $D$ is another distribution altogether.

# %% tags=["exercise"]
def draw(r: Tensor, m: Tensor, s: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """n draws from sum_k r_k N(m_k, s_k^2); r, m, s are [K]. -> [n]"""
    ### BEGIN SOLUTION
    k = torch.multinomial(r, n, replacement=True, generator=generator)
    return m[k] + s[k] * torch.randn(n, generator=generator)
    ### END SOLUTION


check("01.draw", draw)

# %% [markdown]
# ## 3 · From the likelihood to the simple loss
#
# Suppose you know $x_t$ *and* $x_0$. Where was $x_s$, a little earlier ($s < t$)? Two Gaussians multiplied give a
# Gaussian:
#
# $$q(x_s \mid x_t, x_0) = \mathcal N\!\left(
# \frac{\alpha_{t|s}\,\sigma_s^2\, x_t + \alpha_s\, \sigma_{t|s}^2\, x_0}{\sigma_t^2},\;
# \frac{\sigma_s^2\, \sigma_{t|s}^2}{\sigma_t^2}\right).$$
#
# The reverse process does not know $x_0$, so it puts its guess there: $p(x_s \mid x_t) = q(x_s \mid x_t, x_0 =
# \hat{x}_0)$. What does that cost in likelihood? The evidence lower bound (ELBO) adds up one KL divergence per
# step, each between two Gaussians of equal width. With $\mathrm{SNR}(t) = \alpha_t^2 / \sigma_t^2$ it is
#
# $$\mathrm{KL} = \tfrac12 \big(\mathrm{SNR}(s) - \mathrm{SNR}(t)\big)\,(x_0 - \hat{x}_0)^2
# = \underbrace{\tfrac12 \Big(\tfrac{\mathrm{SNR}(s)}{\mathrm{SNR}(t)} - 1\Big)}_{\text{weight}}\,
# (\epsilon - \hat\epsilon)^2 .$$

# %%
def q(x_t, x_0, t: float, s: float) -> Normal:
    (alpha_t, sigma_t), (alpha_s, sigma_s) = schedule(t), schedule(s)
    alpha_ts = alpha_t / alpha_s
    var_ts = sigma_t**2 - alpha_ts**2 * sigma_s**2
    mean = (alpha_ts * sigma_s**2 * x_t + alpha_s * var_ts * x_0) / sigma_t**2
    return Normal(mean, sigma_s * var_ts.sqrt() / sigma_t)


x_s, x_t, x_0, x0_hat = torch.tensor([0.2, 0.3, 1.1, 0.4], dtype=torch.float64)
s, t = 0.30, 0.31
(a_s, s_s), (a_t, s_t) = schedule(s), schedule(t)
step = Normal(a_t / a_s * x_s, (s_t**2 - (a_t / a_s * s_s) ** 2).sqrt())  # q(x_t | x_s)
bayes = step.log_prob(x_t) + Normal(a_s * x_0, s_s).log_prob(x_s) - Normal(a_t * x_0, s_t).log_prob(x_t)
torch.testing.assert_close(q(x_t, x_0, t, s).log_prob(x_s), bayes)  # exact
kl = kl_divergence(q(x_t, x_0, t, s), q(x_t, x0_hat, t, s))
torch.testing.assert_close(kl, ((a_s / s_s) ** 2 - (a_t / s_t) ** 2) / 2 * (x_0 - x0_hat) ** 2)  # exact
weight = ((alpha[1:-1] / sigma[1:-1] * sigma[2:] / alpha[2:]) ** 2 - 1) / 2  # of each step of `times`

# %%
widgets.lines(times[2:], {"ELBO": weight / weight.mean(), "simple loss": torch.ones(119)}, xlabel="t", logy=True,
    ylabel="weight, mean 1", title="What each t counts, in units of the noise", alt="Weight of the squared error in eps "
    "against t, logarithmic: the ELBO's peaks near t = 0 and is about one elsewhere; the simple loss is flat.")

# %% [markdown]
# The ELBO cares most about the last, nearly clean moments. DDPM's **simple loss** drops the weight:
#
# $$L = \mathbb E_{t,\, x_0,\, \epsilon}\,\big(\epsilon - \hat\epsilon(x_t, t)\big)^2 .$$
#
# It is allowed to. At each $t$ separately the best prediction is the conditional mean, whatever that $t$ counts. So every weighting has the same minimiser, $D$.
# A network that predicts $\hat\epsilon$ is a denoiser, with $\hat{x}_0 = (x_t - \sigma_t \hat\epsilon) /
# \alpha_t$.
#
# **Exercise 3** (medium, 8 minutes). Write this loss at one noise level, from the error in $x_0$. The check feeds
# it the *exact* $D$. Will it be 0?

# %% tags=["exercise"]
def simple_loss(x_0: Tensor, x0_hat: Tensor, alpha: float, sigma: float) -> Tensor:
    """The mean of (eps - eps_hat)^2 at one noise level; x_0 and x0_hat are [N, 1]. -> []"""
    ### BEGIN SOLUTION
    return (alpha / sigma) ** 2 * ((x0_hat - x_0) ** 2).mean()
    ### END SOLUTION


check("01.floor", simple_loss)

# %%
perfect = guess("01.perfect", "A network that always says eps_hat = 0 has loss 1. And the best there can be?", 0.0, 1.0)
perfect

# %%
def over_noise(f, t) -> float:
    """E of (alpha_t / sigma_t)^2 f(x_t) under the exact p_t, by quadrature."""
    ratio = schedule(t)[0] / schedule(t)[1]
    return float(ratio**2 * (exact.log_prob(x, t).exp() * f(t)).sum() * (x[1] - x[0]))


def spread(t) -> Tensor:
    """The variance of p(x_0 | x_t): what even D cannot know."""
    r, m, s = exact.posterior(x, t)
    return (r * (m**2 + s**2)[..., 0]).sum(-1) - exact(x, t)[:, 0] ** 2


middle = (torch.arange(200, dtype=torch.float64) + 0.5) / 200
floor_t = torch.tensor([over_noise(spread, t) for t in middle])
FLOOR = float(floor_t.mean())
perfect.reveal(FLOOR)

# %%
widgets.show(widgets.lines(middle, {"exact D": floor_t, "eps_hat = 0": torch.ones(200)}, xlabel="t", ylabel="simple loss",
    alt="Simple loss of the exact denoiser against t, under the line at 1 of a network that says 0: near 1 at t = 0, a "
    "hump near t = 0.2 where the modes merge, almost 0 from t = 0.7 on."))

# %% [markdown]
# At small $t$ the noise hides in the data's own width. At the hump nobody can tell which mode it was. Only in
# nearly pure noise is the noise plain to see. The mean of this curve is the floor under every training run: **a
# diffusion loss near 0 would be a bug**.
#
# ## 4 · Learn it
#
# Now forget the formula. A network gets $x_t$ and a label of the noise level, and it guesses the noise.

# %%
class Net(nn.Module):
    def __init__(self, width: int = 64):
        super().__init__()
        hidden = nn.Linear(2, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU()
        self.layers = nn.Sequential(*hidden, nn.Linear(width, 1))

    def forward(self, x_t, label, cond=None):
        return self.layers(torch.cat([x_t, label[:, None]], 1))


torch.manual_seed(SEED)
D = NeuralDenoiser(Net(), schedule, predict="eps")
ladder = {"untrained": deepcopy(D)}

# %%
from diffrl_lab.diffusion import Batches, cosine_decay, denoising_loss, descend, fit

STEPS = {"smoke": 500, "class": 1500, "full": 20_000}[PROFILE]
data = law.sample(4000, generator)[0]
loss = lambda x_0: denoising_loss(D, x_0, generator=generator)
update = descend(loss, D, lr=1e-2, schedule=cosine_decay(STEPS, warmup=20))
history, screen = [], display("training ...", display_id=True)
for row in fit(update, Batches(data, 512, generator), STEPS):
    history.append(float(row["loss"]))
    if row["step"] == STEPS // 10:
        ladder["after 10 %"] = deepcopy(D)
    if row["step"] % (STEPS // 10) == 0:
        screen.update(widgets.losses(history, FLOOR, title="The loss ends at its floor, not at 0", alt="Training loss "
            "against steps: it falls quickly from 1, then runs flat just above the dashed exact floor."))

# %% [markdown]
# ### Held against the exact one
#
# For any denoiser, loss = floor + mean squared distance of its $\hat\epsilon$ from the exact one. The loss curve
# cannot show you that small second part well. The exact $D$ can, on a grid and with no sampling noise.

# %%
@torch.no_grad()
def excess(D) -> float:
    """The mean over t and x_t of (eps_hat - exact eps_hat)^2."""
    return sum(over_noise(lambda t: (D(x.float(), t) - exact(x, t))[:, 0] ** 2, t) for t in middle) / len(middle)


ladder["trained"] = D
far = {name: excess(net) for name, net in ladder.items()}
print("\n".join(f"{name:10}  excess {e:.3f}   floor + excess {FLOOR + e:.3f}" for name, e in far.items()))
with torch.no_grad():
    fresh = float(loss(law.sample(100_000, generator)[0]))
assert abs(fresh - FLOOR - far["trained"]) < 0.02, "exact: loss = floor + excess"
assert far["trained"] < 0.1 < 0.5 < far["untrained"], "large effect: the network has found D"

# %%
curves = {name: net(x.float(), torch.tensor(0.2)).detach()[60:221, 0] for name, net in ladder.items()}
widgets.lines(x[60:221, 0], {"exact": exact(x, 0.2)[60:221, 0], **curves}, xlabel="x_t", ylabel="x0_hat at t = 0.2",
    alt="Four denoisers at t = 0.2: untrained a steep straight line, after a tenth of the training already bent, trained "
    "almost on the dashed S of the exact one.")

# %% [markdown]
# ## 5 · Reverse: noise becomes data
#
# Here is the trick. $D$ is only a mean, but we never jump there. We take a **small step** towards it, add a little
# fresh noise, and ask again. Each $x_s$ leans to one side, and the next $\hat{x}_0$ leans with it.
#
# **Exercise 4** (medium, 12 minutes). One such step: $x_s \sim q(x_s \mid x_t, x_0 = \hat{x}_0)$, from a given
# standard normal `z`. Pitfalls: variance or standard deviation? And what becomes of the noise when $s = 0$?

# %% tags=["exercise"]
def ancestral_step(x_t, x0_hat, alpha_t: float, sigma_t: float, alpha_s: float, sigma_s: float, z) -> Tensor:
    """The mean of q(x_s | x_t, x0_hat) plus z times its standard deviation. -> the shape of x_t"""
    ### BEGIN SOLUTION
    alpha_ts = alpha_t / alpha_s
    var_ts = sigma_t**2 - alpha_ts**2 * sigma_s**2
    mean = (alpha_ts * sigma_s**2 * x_t + alpha_s * var_ts * x0_hat) / sigma_t**2
    return mean + sigma_s * var_ts**0.5 / sigma_t * z
    ### END SOLUTION


check("01.ancestral_step", ancestral_step)

# %%
noise, p_t = schedule.prior((1000, 1), generator), [exact.log_prob(x, t).exp() for t in schedule.grid(100)]
record = lambda D: list(chain(D, noise, steps=100, step=ddpm(), generator=generator))
movie({"exact D": record(exact), "trained D": record(D)}, curve=(x[:, 0], torch.stack(p_t)), samples=1000,
    schedule=schedule, limits=(-4, 4, 0, 1), alt="Histograms of 1,000 samples, with the exact and with the trained "
    "denoiser: one hump at t = 1 becomes two, at -1 and +1, as the dashed exact law does.")

# %% [markdown]
# Scrub from $t = 1$ to $t = 0$. The dashed line is the exact $p_t(x_t)$, and the samples follow it on both sides. Then
# switch to $\hat{x}_0$, which has no such line. On the left all beliefs start together in the gap, at the mean, and leave it for the modes.
# On the right they start scattered and far off: to get $\hat{x}_0$ the network's small error in $\hat\epsilon$ is
# divided by $\alpha_t$. Yet the samples come out right. The first steps hardly listen to $\hat{x}_0$.
#
# ### Is it the right distribution?
#
# "Looks right" is no measurement. The Wasserstein distance $W_1$ says how far, on average, the samples of one set
# must be moved to become the other. Two *exact* sets differ too: that is the noise floor. A single **Gaussian**,
# RL's usual policy head, comes last.

# %%
def w1(a: Tensor, b: Tensor) -> float:
    return float((a.flatten().sort().values - b.flatten().sort().values).abs().mean())


def run(D, steps: int = 100, n: int = 2000) -> Tensor:
    return sample(D, D.schedule.prior((n, 1), generator), steps=steps, step=ddpm(), generator=generator)


SETS = {"smoke": 4, "class": 8, "full": 40}[PROFILE]
bell = Normal(walk[0].mean(), walk[0].std())  # the right mean, the right variance
makers = {"exact samples": lambda: law.sample(2000, generator)[0], "exact D": lambda: run(exact),
    "trained D": lambda: run(D), "one Gaussian": lambda: bell.icdf(torch.rand(2000, generator=generator))}
distance = {k: [w1(make(), law.sample(2000, generator)[0]) for _ in range(SETS)] for k, make in makers.items()}
mean = {name: sum(v) / SETS for name, v in distance.items()}

# %%
widgets.show(widgets.intervals(distance.items(), xlabel="W1", reference={"noise floor": mean["exact samples"]},
    alt="Distances to exact samples, one dot per set of 2,000: exact and trained chain lie near the noise "
    "floor, a little to its right, one Gaussian far away."))
assert mean["trained D"] < 0.75 * mean["one Gaussian"], "large effect: closer than any single Gaussian gets"

# %% [markdown]
# ## 6 · Break it
#
# A colleague wants speed: "DDPM's betas run from 0.0001 to 0.02, so I take 20 of those instead of 1,000." The
# denoiser stays *exact*; nothing is learned, so nothing can be undertrained.

# %%
left_turns = guess("01.few", "30 % of the data are left turns (x < 0). And of the colleague's samples?", 0, 100, "%")
left_turns

# %%
few = Discrete.linear(20)  # 0.0001 ... 0.02
a = schedule(torch.linspace(0, 1, 21, dtype=torch.float64))[0]
cured = Discrete(1 - (a[1:] / a[:-1]) ** 2)  # exercise 1 is the cure: twenty betas out of alpha_bar
made = {}
for name, S in {"DDPM's betas": few, "betas from alpha_bar": cured}.items():
    made[name] = run(MixtureDenoiser(law.weights, law.means, S, std=law.std), steps=20, n=4000)
left = {name: 100 * float((v < 0).double().mean()) for name, v in made.items()}
left_turns.reveal(left["DDPM's betas"])

# %%
assert left["DDPM's betas"] > 40 and abs(left["betas from alpha_bar"] - 30) < 5, "large effect: wrong shares"
widgets.show(widgets.histogram(made, exact=(x[:, 0], density[0]), title="Twenty steps, the exact denoiser",
    alt="Two histograms against the exact density: with DDPM's betas the left mode is far too high and the right one too "
    "low; with betas derived from alpha_bar the shares fit, and both modes are somewhat too narrow."))

# %% tags=["nbval-check-output"]
print(f"alpha at t = 1: {few(1.0)[0]:.3f} with DDPM's betas, {cured(1.0)[0]:.3f} with betas from alpha_bar")
assert few(1.0)[0] > 0.9 and cured(1.0)[0] < 0.01, "exact: twenty tiny betas leave the signal standing"

# %% [markdown]
# **Large effect.** From the same exact $D$, twenty of DDPM's betas draw more than 40 % left turns where the data have 30 %; twenty betas from $\bar\alpha$ draw about 30 %. **The number that gives it away is $\alpha_1$.** Twenty tiny betas hardly touch the data. The sampler, though,
# starts from pure noise, and the exact $D$ reads that as data that are nearly clean. Every sample looks fine; only
# the *shares* are wrong. In a plan that is a wrong turn, taken too often. Before anything else, print
# `schedule(1.0)`.
#
# ## What the survey claims, and what we saw

# %%
error = 2 * torch.tensor(distance["trained D"]).std() / SETS**0.5  # two standard errors
Markdown("| the survey, confidence high | measured here | verdict |\n|---|---|---|\n| Gaussian noise in, a learned reverse "
    f"process out: data again | W1 {mean['trained D']:.3f} ± {error:.3f}; two exact sets {mean['exact samples']:.3f}; "
    f"one Gaussian {mean['one Gaussian']:.3f} | **held**, in one dimension |")

# %% [markdown]
# - **Exact.** Many small forward steps have the same distribution as one jump. All weightings of the loss have the same best denoiser, and its loss is
#   not 0.
# - **Large effect.** $\hat{x}_0$ falls where no data are; the samples of a chain of small steps do not. Twenty of DDPM's betas
#   draw the wrong share of left turns; twenty betas from $\bar\alpha$ draw the right one.
# - **Open.** Nothing here says how many steps are enough, and of which kind (lesson 02), or whether all this carries over to whole
#   trajectories (lesson 04).
#
# The survey's quick check, "describe the forward process of DDPM", is now one line and one picture for you.
#
# ## Symbols
#
# | symbol | code | meaning |
# |---|---|---|
# | $t, s$ | `t`, `s` | diffusion times, $s < t$; 0 is data, 1 is noise |
# | $\alpha_t, \sigma_t$ | `alpha, sigma = schedule(t)` | scales of signal and noise |
# | $\bar\alpha_n, \beta_n$ | `alpha_bar`, `beta` | DDPM's letters: $\bar\alpha_n = \alpha_t^2$; the noise of one step |
# | $\epsilon, \hat\epsilon$ | `eps`, `eps_hat` | the noise in $x_t$, and a guess of it |
# | $\hat{x}_0 = D(x_t, t)$ | `x0_hat` | $\mathbb E[x_0 \mid x_t]$ |
# | $\mathrm{SNR}(t)$ | `schedule.log_snr(t)`, its log | $\alpha_t^2 / \sigma_t^2$ |
#
# **References.** Sohl-Dickstein et al., "Deep Unsupervised Learning using Nonequilibrium Thermodynamics" (2015).
# Ho, Jain and Abbeel, "Denoising Diffusion Probabilistic Models" (2020). Song et al., "Score-Based Generative
# Modeling through Stochastic Differential Equations" (2021). Kingma et al., "Variational Diffusion Models" (2021).
# The survey: "Diffusion Models for Reinforcement Learning: Foundations, Taxonomy, and Development" (arXiv
# 2510.12253, 2025).

# %% [markdown]
# ## Further · One network, two readings
#
# **Exercise 5** (easy, 5 minutes). You are given $x_t$ and the predicted noise. Write the denoiser. Then look at
# your line: why did the network's beliefs scatter near $t = 1$? Lesson 02 has better things to predict.

# %% tags=["exercise"]
def x0_from_eps(x_t: Tensor, eps_hat: Tensor, alpha: float, sigma: float) -> Tensor:
    """x_t = alpha x_0 + sigma eps, solved for x_0. -> the shape of x_t"""
    ### BEGIN SOLUTION
    return (x_t - sigma * eps_hat) / alpha
    ### END SOLUTION


check("01.x0_from_eps", x0_from_eps)

# %% [markdown]
# ## Further · An empty page
#
# Now without any of our code: a DDPM in at most 60 lines, with nothing but `torch` and `math`. In a terminal,
# `diffrl-lab start blank-01` puts the task into `my/blank_01.py`: five functions, from the betas to the samples. And
# `diffrl-lab blank 01 my/blank_01.py` judges yours by laws alone: the forward jump, Bayes' rule, the distance of your
# samples to fresh data against the noise floor, the share of each mode, equal seeds, no copies. It names the first law
# that you break. (An hour, an estimate.)
