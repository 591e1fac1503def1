# %% [markdown]
# ![Twenty paths start as noise on the left and end on the right in two bands of data; beside them the samples form two modes, and one jump lands between](attachment:01.png)
#
# # 01 · DDPM from scratch
#
# **The question.** A denoiser can only take noise away. How can it make *new* data?
#
# The picture is the answer, and you will build it: noise becomes data in a hundred small steps. One jump would end between the
# modes, where there are no data. Each sample is one number here, so the exact answer can be drawn at each step, and a small
# network is compared with it.
#
# **Afterwards you can**
# - destroy data with noise, and say exactly how much is left at each moment;
# - explain why a perfect denoiser is not a sampler, and compute its training loss;
# - derive a step of the reverse process, and build the whole sampling algorithm of DDPM from it.
#
# **You need** torch, the normal distribution and Bayes' rule; lesson 00 is a good start. **Machine:** about 40
# seconds on two CPU cores, no network. **You:** 90 minutes (an estimate). **Afterwards** an empty page waits for you:
# `diffrl-lab start blank-01` asks for a whole DDPM without our library.

# %% tags=["collapsed"]
from copy import deepcopy

import torch
from IPython.display import Markdown, display
from scipy.stats import ncx2
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence

from diffrl_lab import widgets
from diffrl_lab.course import check, guess, hint, mine
from diffrl_lab.data.toys import ring, two_modes
from diffrl_lab.diffusion import Batches, Cosine, Discrete, Linear, MixtureDenoiser, NeuralDenoiser, chain, cosine_decay
from diffrl_lab.diffusion import ddim, denoising_loss, descend, fit, sample, seeded
from diffrl_lab.nets import MLP
from diffrl_lab.widgets.explore import explore
from diffrl_lab.widgets.movie import movie

torch.set_num_threads(1)  # for a network this small a second thread only waits

# %% tags=["parameters"]
PROFILE = "class"  # smoke: seconds; class: half a minute; full: longer training, more samples
SEED = 0

# %% [markdown]
# ## 1 · Forward: noise goes in
#
# Think of $x$ as *one steering command*. A recorded
# driver turned left (near $-1$) three times out of ten, and right (near $+1$) otherwise. He never drove straight on into
# the block at 0. This lesson has no rewards. In the survey's map below, the box of this lesson is lit.
#
# Time $t$ runs from 0 (data) to 1 (noise). This is *diffusion time*; no car moves. At each moment
#
# $$x_t = \alpha_t\, x_0 + \sigma_t\, \epsilon, \qquad \epsilon \sim \mathcal N(0, 1), \qquad
# \alpha_t^2 + \sigma_t^2 = 1.$$
#
# So $\alpha_t$ is the scale of the signal. One can also reach $x_t$ in small steps, each from a time $s$ to a time $t > s$. Each step
# shrinks $x_s$ and adds a little fresh noise $z$:
#
# $$x_t = \alpha_{t|s}\, x_s + \sigma_{t|s}\, z, \qquad \alpha_{t|s} = \alpha_t / \alpha_s, \qquad
# \sigma_{t|s}^2 = \sigma_t^2 - \alpha_{t|s}^2\, \sigma_s^2 .$$

# %%
display(widgets.component_map("diffusion model"))
commands, schedule = two_modes(p=0.3, distance=2.0, std=0.2), Linear()
x = torch.linspace(-3.5, 3.5, 281, dtype=torch.float64)[:, None]
times = torch.linspace(0, 1, 121, dtype=torch.float64)
exact = MixtureDenoiser(commands.weights, commands.means, schedule, std=commands.std)
generator = torch.Generator().manual_seed(SEED)
alpha, sigma = schedule(times)
walk = [commands.sample(4000, generator)[0].double()]
for n in range(1, len(times)):
    alpha_ts = alpha[n] / alpha[n - 1]
    sigma_ts = (sigma[n] ** 2 - alpha_ts**2 * sigma[n - 1] ** 2).sqrt()
    z = torch.randn(4000, 1, generator=generator, dtype=torch.float64)
    walk.append(alpha_ts * walk[-1] + sigma_ts * z)
assert all(abs(walk[n].mean() - alpha[n] * 0.4) < 4 / 4000**0.5 for n in (6, 30, 60)), "exact: steps make one jump"
assert alpha[-1] < 0.01, "exact: at t = 1 less than a hundredth of the signal is left"

# %%
density = torch.stack([exact.log_prob(x, t).exp() for t in times])  # p_t(x_t), exact -> [121, 281]
widgets.heat_map(times, x[:, 0], density, paths=torch.stack(walk)[:, :10, 0], path_t=times, title="Two modes drown",
    alt="Heat map of the exact density of x_t over t: two bands at +1 and -1 merge into one broad band around 0 by "
    "t = 0.4. Ten jagged paths start in the bands and spread.")

# %% [markdown]
# The blue shows the exact density $p_t(x_t)$. Ten paths, in orange, start in its two bands, and soon one cannot see from which band a path came. The
# assert above compared the mean of 4,000 such paths with the formula of one jump, at three moments.
#
# ### One letter, two meanings
#
# DDPM (Ho et al. 2020) counts steps $n = 1 \ldots T$, and each step has its own amount of noise $\beta_n$.
#
# | here | what it is | in DDPM |
# |---|---|---|
# | $\alpha_t$ | scale of the signal after **all** steps up to $t = n/T$ | $\sqrt{\bar\alpha_n}$ |
# | $\sigma_t$ | scale of all noise in $x_t$ | $\sqrt{1 - \bar\alpha_n}$ |
# | $\alpha_{t\mid s}$ | shrinking in **one** step | $\sqrt{\alpha_n} = \sqrt{1 - \beta_n}$ |
#
# **Exercise 1** (easy, 5 minutes). You get our scales `alpha` at the $T + 1$ times $0, \tfrac1T, \ldots, 1$. Compute
# DDPM's $T$ numbers $\beta_n$. The last row of the table tells you how. Pitfall: which of the two alphas do you hold?

# %% tags=["exercise"]
def betas(alpha: Tensor) -> Tensor:
    """alpha [T+1], falling from 1: our scale of the signal. -> beta [T]"""
    ### BEGIN SOLUTION
    alpha_bar = alpha**2
    return 1 - alpha_bar[1:] / alpha_bar[:-1]
    ### END SOLUTION


check("01.betas", betas)

# %%
betas = mine("01.betas")
beta_in = lambda T: torch.as_tensor(betas(schedule(torch.linspace(0, 1, T + 1, dtype=torch.float64))[0]))
assert Discrete.linear(1000).betas[[0, -1]].tolist() == [0.0001, 0.02], "exact: DDPM's own list"
assert (beta_in(1000) - Discrete.linear(1000).betas).abs().max() < 3e-4, "exact: this schedule has DDPM's betas"

# %% [markdown]
# In 1,000 steps your betas are DDPM's famous list "from 0.0001 to 0.02". Keep the two alphas apart: ours counts all steps up to $t$, DDPM's $\alpha_n$ counts one step.
#
# ## 2 · Back again, if you knew everything
#
# Somebody shows you $x_t$. What was $x_0$? Bayes' rule answers with a whole distribution $p(x_0 \mid x_t)$. Its mean is the
# most important function of this course, the **denoiser**:
#
# $$D(x_t, t) = \hat{x}_0 = \mathbb E[x_0 \mid x_t] .$$
#
# For our two modes $D$ is known exactly. Guess one of its values first.

# %%
blind = guess("01.blind", "At t = 1 all signal is gone. What is x0_hat, the exact D(x_t, 1)?", -1.0, 1.0)
blind

# %%
display(blind.reveal(float(exact(torch.zeros(1, dtype=torch.float64), 1.0))))


def look(t: float, x_t: float) -> widgets.Picture:
    point = torch.tensor([[x_t]], dtype=torch.float64)
    r, m, s = exact.posterior(point, t)  # p(x_0 | x_t) is a mixture again: weights, means, standard deviations
    p_0, x0_hat = MixtureDenoiser(r[0], m[0], schedule, std=s[0, :, 0]), float(exact(point, t))
    return widgets.point_and_law(times, x[:, 0], density, (t, x_t), p_0.log_prob(x).exp(), prior=density[0],
        marks={f"x0_hat = {x0_hat:.2f}": x0_hat},
        alt=f"Left, a point at t = {t:.2f}, x_t = {x_t:.2f} in the heat map of p_t. Right, the distribution of x_0 given that "
        f"point: weight {float(r[0, 1]):.2f} on the right-hand mode, and its mean x0_hat = {x0_hat:.2f}.")


explore(look, t=(0.02, 1.0, 0.02, 0.2), x_t=(-2.5, 2.5, 0.05, 0.0))

# %% [markdown]
# **Drag the yellow point** over the heat map, or use the sliders.
# 1. Take it to the far right. The distribution beside it is now the data's: the point tells you nothing.
# 2. Come back to $t = 0.2$, $x_t = 0$. There are two modes, and the orange line stands *between* them, where no data are.
# 3. Go on to $t = 0.06$ and move up and down a little. The line snaps from mode to mode.
#
# When no signal is left, the best answer is the mean of the data, 0.4. The driver *never* gave this command: it leads straight into the
# block. **A value of $D$ is not a sample.** The next picture draws $D$ against $x_t$. In nearly pure noise $D$ is flat. At
# intermediate levels it is a step from one mode to the other. With almost no noise it becomes the
# identity, since $x_t$ is then nearly $x_0$ itself.

# %%
D_at = {f"t = {t}": exact(x, t)[60:221, 0] for t in (0.005, 0.06, 0.2, 0.4, 0.8)}
slope = {t: float((exact(x + 0.01, t) - exact(x - 0.01, t))[180, 0] / 0.02) for t in (0.005, 0.2)}  # at x_t = 1
assert slope[0.005] > 0.95 and slope[0.2] < 0.2, "exact: the identity at low noise, a step's flat side in between"
widgets.lines(x[60:221, 0], D_at, xlabel="x_t", ylabel="x0_hat", title="The exact D at five levels of noise", alt="The exact denoiser against x_t at five times: "
    "nearly flat for t = 0.8, a gentle rise for t = 0.4, an S for t = 0.2, a steep step with rising sides for t = 0.06, and "
    "the diagonal, but for the gap, for t = 0.005.")

# %% [markdown]
# **Exercise 2** (medium, 10 minutes). *Draw* from $p(x_0 \mid x_t)$ instead of averaging it. You get the weights
# `r`, means `m` and standard deviations `s` of its modes. Pitfalls: the mode itself is random, and a bell around
# $D$ is another distribution.

# %% tags=["exercise"]
def draw(r: Tensor, m: Tensor, s: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """n draws from sum_k r_k N(m_k, s_k^2); r, m, s are [K]. -> [n]"""
    ### BEGIN SOLUTION
    k = torch.multinomial(r, n, replacement=True, generator=generator)
    return m[k] + s[k] * torch.randn(n, generator=generator)
    ### END SOLUTION


check("01.draw", draw)

# %%
draw = mine("01.draw")
r, m, s = (part.reshape(4000, 2) for part in exact.posterior(walk[36], times[36]))  # of 4,000 noisy commands, t = 0.3
values = {"your draws": torch.tensor([float(draw(r[i], m[i], s[i], 1, generator)[0]) for i in range(4000)]),
    "x0_hat": exact(walk[36], times[36])[:, 0]}
gap = {name: float((v.abs() < 0.4).double().mean()) for name, v in values.items()}
assert gap["x0_hat"] > 0.1 > 10 * gap["your draws"], "large effect: means fall where the data do not"
widgets.histogram(values, exact=(x[60:221, 0], density[0, 60:221]), xlabel="x_0, from x_t at t = 0.3",
    alt="Histograms of draws and of means for 4,000 noisy commands: the draws follow the two modes of the exact density of "
    "the data, dashed, while many of the means lie between the modes.")

# %% [markdown]
# **Large effect.** More than a tenth of the means $\hat{x}_0$ lie between the modes, where almost no draws and no data lie. Your draws
# have the distribution of the data. A network that has learned $D$ cannot draw like this, since it knows only the mean.
# Small steps make up for it.
#
# ## 3 · One step back
#
# Suppose you know $x_t$ *and* $x_0$. Where was $x_s$, a little earlier ($s < t$)? With $q$ for the distributions of the forward process, Bayes' rule multiplies two functions of $x_s$:
#
# $$q(x_s \mid x_t, x_0) \;\propto\; q(x_s \mid x_0)\; q(x_t \mid x_s) .$$
#
# Both have the shape of a Gaussian (a *bell*), so we need **the product of two Gaussians** $\mathcal N(\mu_1, v_1)$ and $\mathcal N(\mu_2, v_2)$. Multiplying adds the exponents:
#
# $$-\frac{(x - \mu_1)^2}{2 v_1} - \frac{(x - \mu_2)^2}{2 v_2} =
# -\frac{x^2}{2} \Big(\frac1{v_1} + \frac1{v_2}\Big) + x \Big(\frac{\mu_1}{v_1} + \frac{\mu_2}{v_2}\Big) + \text{const.}$$
#
# A Gaussian $\mathcal N(\mu, v)$ has the exponent $-\frac{x^2}{2} \frac1v + x\, \frac{\mu}{v} + \text{const}$. So the product is, up to a constant factor, a Gaussian with
#
# $$\frac1v = \frac1{v_1} + \frac1{v_2}, \qquad \mu = v\, \Big(\frac{\mu_1}{v_1} + \frac{\mu_2}{v_2}\Big) .$$
#
# The *precisions* $1/v$ add up, and the mean is the average of both means, weighted by precision: the narrower bell pulls harder.

# %%
(s, x_s), (t, x_t) = (0.2, x), (0.3, torch.tensor([[-0.7]], dtype=torch.float64))
(alpha_s, sigma_s), (alpha_t, sigma_t), x_0 = schedule(s), schedule(t), torch.tensor([[1.1]], dtype=torch.float64)
alpha_ts = alpha_t / alpha_s
from_x0 = Normal(alpha_s * x_0, sigma_s).log_prob(x_s).exp()  # q(x_s | x_0)
from_xt = Normal(alpha_ts * x_s, (sigma_t**2 - alpha_ts**2 * sigma_s**2).sqrt()).log_prob(x_t).exp()  # q(x_t | x_s)
both = from_x0 * from_xt / (from_x0 * from_xt).sum() / (x[1] - x[0])  # point by point; its area is 1
bells = {"q(x_s | x_0)": from_x0, "q(x_t | x_s)": from_xt, "exact product": both}
widgets.lines(x[60:221, 0], {name: bell[60:221, 0] for name, bell in bells.items()}, xlabel="x_s", ylabel="density",
    title="Where was x_s?", alt="Two bells over x_s, one around 0.9 from x_0, one broader around -0.9 from x_t, and "
    "their product, a third bell between them that is narrower than both and nearer to the narrower one.")

# %% [markdown]
# The first bell is $\mathcal N(\alpha_s x_0,\, \sigma_s^2)$. The second comes from $x_t = \alpha_{t|s}\, x_s + \sigma_{t|s}\, z$: solved for $x_s$, it is
# $\mathcal N(x_t / \alpha_{t|s},\; \sigma_{t|s}^2 / \alpha_{t|s}^2)$. Now let the precisions add up:
#
# $$\frac1v = \frac1{\sigma_s^2} + \frac{\alpha_{t|s}^2}{\sigma_{t|s}^2} = \frac{\sigma_{t|s}^2 + \alpha_{t|s}^2\, \sigma_s^2}{\sigma_s^2\, \sigma_{t|s}^2}
# = \frac{\sigma_t^2}{\sigma_s^2\, \sigma_{t|s}^2} .$$
#
# The last step is the formula for $\sigma_{t|s}^2$ in section 1. The mean is left to you.
#
# **Exercise 3** (medium, 12 minutes). The reverse process does not know $x_0$, so it puts its guess $\hat{x}_0$ there. Write
# one step: the mean of $q(x_s \mid x_t, x_0 = \hat{x}_0)$, plus its noise from a given standard normal `z`.
# Pitfalls: variance or standard deviation? And what becomes of the noise when $s = 0$?

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
ancestral_step = mine("01.ancestral_step")
levels = lambda t, s: [float(level) for time in (t, s) for level in schedule(time)]
mean, above = (ancestral_step(x_t, x_0, *levels(t, s), z * torch.ones_like(x_t)) for z in (0.0, 1.0))
assert torch.allclose(Normal(mean, above - mean).log_prob(x).exp(), both), "exact: the bell of this step is the product"

# %% [markdown]
# The assert held: the bell of this step is the product in the picture, at every point.
#
# ## 4 · Reverse: noise becomes data
#
# $D$ is only a mean, but we never jump there. We take a **small step** towards it, add a little
# fresh noise, and ask $D$ again. By chance each $x_s$ leans to one side, and then the next $\hat{x}_0$ leans to that side, too.
#
# **Exercise 4** (hard, 25 minutes). Write the whole sampling algorithm of DDPM in several lines, with DDPM's letters.
# 1. Out of the $T$ betas make the scales of signal and noise at $n = 0, 1, \ldots, T$.
# 2. Start at `x_T`. For $n = T, \ldots, 1$ ask `D(x_n, n)`, and go from $n$ to $n - 1$ by `step`, which takes the arguments
#    of `ancestral_step`. Each step has a row of `z` to itself. Return $x_0$.
#
# Pitfalls: $\beta_n$ is `beta[n - 1]`, and $\bar\alpha_0$ is 1. The check's $D$ is exact, so the check knows where each chain must end: if
# all data are one point, each chain ends at that point.

# %% tags=["exercise"]
def ddpm_sample(D, beta: Tensor, x_T: Tensor, z: Tensor, step) -> Tensor:
    """D(x_n, n) is x0_hat; beta [T]; x_T [N, 1]; z [T, N, 1], the fresh noise. -> x_0 [N, 1]"""
    ### BEGIN SOLUTION
    alpha_bar = torch.cat([torch.ones(1), (1 - beta).cumprod(0)])
    alpha, sigma = alpha_bar**0.5, (1 - alpha_bar) ** 0.5
    x = x_T
    for n in range(len(beta), 0, -1):
        x = step(x, D(x, n), alpha[n], sigma[n], alpha[n - 1], sigma[n - 1], z[n - 1])
    return x
    ### END SOLUTION


check("01.sampler", ddpm_sample)

# %%
ddpm_sample = mine("01.sampler")


@torch.no_grad()
def run(D, beta: Tensor, n: int = 2000) -> Tensor:
    z = torch.randn(len(beta) + 1, n, 1, generator=generator)
    x0_hat = lambda x_n, n: D(x_n.float(), n / len(beta))
    return torch.as_tensor(ddpm_sample(x0_hat, beta, z[0], z[1:], ancestral_step))


def step(D, x_t, t, s, state, generator):  # your step in the form that the library's `chain` takes
    x0_hat, z = D(x_t, t), torch.randn(x_t.shape, generator=generator)
    return ancestral_step(x_t, x0_hat, *levels(t, s), z), x0_hat, state


# %% tags=["punchline"]
noise = schedule.prior((1000, 1), generator)
record = lambda D: list(chain(D, noise, steps=100, step=step, generator=generator))
frames = record(exact)
widgets.noise_to_data(times, x[:, 0], density, torch.stack([frame.x_t[:20, 0] for frame in frames]),
    [float(frame.t) for frame in frames], run(exact, beta_in(100), 4000), marks={"one jump to D": float(frames[0].x0_hat[0])},
    title="A hundred of your steps", alt="Twenty paths of the reverse process start as noise on the left and end in two bands "
    "on the right. Beside them 4,000 samples follow the dashed exact density of the data, and one jump lands between its modes.")

# %% [markdown]
# Your sampler drew the histogram, and your step drew the paths. Both start in noise and use a denoiser that only gives
# means, and yet the samples follow the dashed density of the data. One jump to the mean lands between the modes.
#
# ## 5 · From the likelihood to the simple loss
#
# How does one find $D$ if it is not known? The evidence lower bound (ELBO) of the likelihood adds up one KL divergence per
# step: from $q(x_s \mid x_t, x_0)$ to $q(x_s \mid x_t, x_0 = \hat{x}_0)$. Both have the same variance, and their
# means differ only in the part of $x_0$. So each divergence is a squared error with a weight (derived under *Further*):
#
# $$\mathrm{KL} = \tfrac12 \big(\mathrm{SNR}(s) - \mathrm{SNR}(t)\big)\, (x_0 - \hat{x}_0)^2, \qquad \mathrm{SNR}(t) = \alpha_t^2 / \sigma_t^2 .$$
#
# DDPM's **simple loss** lets the network guess the noise instead, and drops the weight:
#
# $$L = \mathbb E_{t,\, x_0,\, \epsilon}\,\big(\epsilon - \hat\epsilon(x_t, t)\big)^2 .$$
#
# Why may the weight be dropped? At each $t$ separately the best prediction is the conditional mean, whatever weight that $t$ has. So every
# weighting has the same best denoiser, and that is $D$. And a guess of the noise is a guess of $x_0$, because
# $x_t = \alpha_t\, \hat{x}_0 + \sigma_t\, \hat\epsilon$.
#
# **Exercise 5** (medium, 8 minutes). Write this loss at one noise level, from the error in $x_0$. The check computes
# your loss for the *exact* $D$. Will it be 0?

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
def floor(t) -> float:
    """SNR(t) times the mean variance of p(x_0 | x_t): the part of the simple loss that nobody can avoid, by quadrature."""
    r, m, s = exact.posterior(x, t)
    var = (r * (m**2 + s**2)[..., 0]).sum(-1) - exact(x, t)[:, 0] ** 2
    return float(schedule.log_snr(t).exp() * (exact.log_prob(x, t).exp() * var).sum() * (x[1] - x[0]))


FLOOR = sum(floor(t) for t in (times[1:] + times[:-1]) / 2) / 120
display(perfect.reveal(FLOOR))
simple_loss = mine("01.floor")
over_t = lambda x_0, x0_hat: [float(simple_loss(x_0(n), x0_hat(n), *levels(times[n], 0)[:2])) for n in range(1, 121)]
yours = over_t(lambda n: walk[0], lambda n: exact(walk[n], times[n]))
widgets.lines(times[1:], {"your loss of the exact D, on 4,000 walks": yours, "exact": [floor(t) for t in times[1:]], "eps_hat = 0": [1.0] * 120},
    xlabel="t", ylabel="simple loss", alt="Simple loss of the exact denoiser against t, measured and exact, under the line at 1 of a "
    "network that says 0: near 1 at t = 0, a hump near t = 0.2 where the modes merge, almost 0 from t = 0.7 on.")

# %% [markdown]
# At small $t$ the little noise cannot be told from the width of the data's own modes. At the hump nobody can tell from which mode $x_t$ came. Only when
# $x_t$ is nearly pure noise is the noise known. The mean of this curve over $t$ is the floor under every training run: **a
# loss far below the floor would be a bug**.
#
# ## 6 · Learn it
#
# Now forget the formula of $D$. A network gets $x_t$ and a label of the noise level, and it guesses the noise.

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
STEPS = {"smoke": 500, "class": 1500, "full": 20_000}[PROFILE]
data = commands.sample(4000, generator)[0]
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
# ### Compared with the exact one
#
# For any denoiser, loss = floor + excess, where the excess is the mean squared distance of its $\hat\epsilon$ from the exact one. The excess is small, and
# the noisy loss curve hardly shows it. The exact $D$ does: put its answer in the place of $x_0$ in your loss.

# %%
ladder["trained"], far, curves = D, {}, {"exact": exact(x, 0.2)[60:221, 0]}
with torch.no_grad():
    fresh = float(loss(commands.sample(100_000, generator)[0]))
    for name, net in ladder.items():
        excess = over_t(lambda n: exact(walk[n], times[n]), lambda n, net=net: net(walk[n].float(), times[n]).double())
        far[name] = sum(excess) / len(excess)
        curves[f"{name} ({far[name]:.3f})"] = net(x.float(), torch.tensor(0.2))[60:221, 0]
assert abs(fresh - FLOOR - far["trained"]) < 0.02, "exact: loss = floor + excess"
assert far["trained"] < 0.1 < 0.5 < far["untrained"], "large effect: the network has found D"
widgets.lines(x[60:221, 0], curves, xlabel="x_t", ylabel="x0_hat at t = 0.2",
    title="D is found (in brackets: excess)", alt="Four denoisers at t = 0.2: untrained a steep straight line, after a tenth of the training already bent, trained "
    "almost on the dashed S of the exact one.")

# %%
p_t = torch.stack([exact.log_prob(x, frame.t).exp() for frame in frames])
movie({"exact D": frames, "trained D": record(D)}, curve=(x[:, 0], p_t), samples=1000, schedule=schedule,
    limits=(-4, 4, 0, 1), alt="Histograms of 1,000 samples, with the exact and with the trained "
    "denoiser: one hump at t = 1 becomes two, at -1 and +1, as the dashed exact density does.")

# %% [markdown]
# The same step moves the samples of both denoisers. Scrub from $t = 1$ to $t = 0$: the samples follow the exact $p_t(x_t)$, dashed. Then
# switch to $\hat{x}_0$, for which no density is drawn. With the exact $D$ all values start together in the gap, at the mean, and leave it for the modes.
# With the trained $D$ they start scattered and far off; exercise 6, under *Further*, asks why.
# Yet the samples come out right, because the first steps hardly depend on $\hat{x}_0$.
#
# ### Is it the right distribution?
#
# The Wasserstein distance $W_1$ says how far, on average, the samples of one set
# must be moved to become the other. Two sets of *exact* samples differ too: their distance is the noise floor. The last row
# is one **Gaussian**, the usual policy head in RL, with the mean and the variance of the data.

# %%
def w1(a: Tensor, b: Tensor) -> float:
    return float((a.flatten().sort().values - b.flatten().sort().values).abs().mean())


SETS = {"smoke": 4, "class": 8, "full": 40}[PROFILE]
bell = Normal(walk[0].mean(), walk[0].std())  # the right mean, the right variance
makers = {"exact samples": lambda: commands.sample(2000, generator)[0], "exact D": lambda: run(exact, beta_in(100)),
    "trained D": lambda: run(D, beta_in(100)), "one Gaussian": lambda: bell.icdf(torch.rand(2000, generator=generator))}
distance = {k: [w1(make(), commands.sample(2000, generator)[0]) for _ in range(SETS)] for k, make in makers.items()}
mean = {name: sum(v) / SETS for name, v in distance.items()}
assert mean["trained D"] < 0.75 * mean["one Gaussian"], "large effect: closer than any single Gaussian gets"
widgets.intervals(distance.items(), xlabel="W1", reference={"noise floor": mean["exact samples"]},
    alt="Distances to exact samples, one dot per set of 2,000: exact and trained chain lie near the noise "
    "floor, a little to its right, one Gaussian far away.")

# %% [markdown]
# The dots of the exact and of the trained chain overlap: which of the two has the smaller mean here is chance.
#
# ## 7 · Break it
#
# A colleague wants speed: "DDPM's betas run from 0.0001 to 0.02, so I take 20 of those instead of 1,000." The
# denoiser stays *exact*. Nothing is learned, so nothing can be undertrained. The sampler is yours.

# %%
left_turns = guess("01.few", "30 % of the data are left turns (x < 0). And of the colleague's samples?", 0, 100, "%")
left_turns

# %%
twenty = {"DDPM's betas": Discrete.linear(20).betas, "betas from alpha_bar": beta_in(20)}  # 0.0001 ... 0.02; exercise 1
S = {name: Discrete(beta) for name, beta in twenty.items()}
made = {name: run(MixtureDenoiser(commands.weights, commands.means, S[name], std=commands.std), beta, 4000)
    for name, beta in twenty.items()}
left = {name: 100 * float((v < 0).double().mean()) for name, v in made.items()}
left_turns.reveal(left["DDPM's betas"])

# %% tags=["broken"]
assert left["DDPM's betas"] > 40 and abs(left["betas from alpha_bar"] - 30) < 5, "large effect: wrong shares"
assert S["DDPM's betas"](1.0)[0] > 0.9 and S["betas from alpha_bar"](1.0)[0] < 0.01, "exact: the signal is left standing"
widgets.histogram({f"{name}, alpha_1 = {S[name](1.0)[0]:.3f}": v for name, v in made.items()}, exact=(x[60:221, 0], density[0, 60:221]), alt="Two histograms against the exact density: with DDPM's betas the left mode is far too high and the right one too "
    "low; with betas derived from alpha_bar the shares fit, and both modes are somewhat too narrow.")

# %% [markdown]
# **Large effect.** With twenty of DDPM's betas more than 40 % of the samples turn left, while 30 % of the
# data do. With twenty betas from $\bar\alpha$ about 30 % do, from the same exact $D$.
# Twenty tiny betas hardly touch the data, but the sampler starts from pure noise, and $D$ reads this noise as nearly clean data.
# In a plan the same fault would be a wrong turn that is taken too often.
#
# | signature | in the picture | the number that gives it away | cure |
# |---|---|---|---|
# | every sample looks right, and the modes have wrong shares | the left mode is too high, the right one too low | `schedule(1.0)`: $\alpha_1$ is above 0.9 where it must be below 0.01 | betas from $\bar\alpha$ for each number of steps (exercise 1) |
#
# ## What the survey claims, and what we saw

# %%
error = 2 * torch.tensor(distance["trained D"]).std() / SETS**0.5  # two standard errors
Markdown("| the survey, confidence high | measured here | verdict |\n|---|---|---|\n| Gaussian noise in, a learned reverse "
    f"process out: data again | W1 {mean['trained D']:.3f} ± {error:.3f}; two exact sets {mean['exact samples']:.3f}; "
    f"one Gaussian {mean['one Gaussian']:.3f} | **held**, in one dimension |")

# %% [markdown]
# - **Exact.** Many small forward steps have the same distribution as one jump. All weightings of the loss have the same best
#   denoiser, and the loss of this denoiser is not 0.
# - **Large effect.** Many values of $\hat{x}_0$ lie where no data are; the samples of a chain of small steps do not. Twenty of DDPM's betas
#   give the wrong share of left turns; twenty betas from $\bar\alpha$ give the right one.
# - **Open.** Nothing here says how many steps are enough, and of which kind (lesson 02), or whether all this carries over to whole
#   trajectories (lesson 04).
#
# The survey has a quick check: "describe the forward process of DDPM". You can now do so with one line and one picture. If
# you want to be sure of the rest, too, take the empty page: `diffrl-lab start blank-01` (last section).
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
# | $\mu, v$ | `mean` | mean and variance of a Gaussian |
# | $\mathrm{SNR}(t)$ | `schedule.log_snr(t)`, its log | $\alpha_t^2 / \sigma_t^2$ |
#
# **References.** Sohl-Dickstein et al., "Deep Unsupervised Learning using Nonequilibrium Thermodynamics" (2015).
# Ho, Jain and Abbeel, "Denoising Diffusion Probabilistic Models" (2020). Song et al., "Score-Based Generative
# Modeling through Stochastic Differential Equations" (2021). Kingma et al., "Variational Diffusion Models" (2021).
# The survey: "Diffusion Models for Reinforcement Learning: Foundations, Taxonomy, and Development" (arXiv
# 2510.12253, 2025).

# %% [markdown]
# ## Further · What the simple loss dropped
#
# **The KL divergence of two Gaussians of the same variance** $v$ is the mean of the logarithm of their ratio, which is
# $\big((x - \mu_2)^2 - (x - \mu_1)^2\big) / 2v$. Under the first Gaussian the two squares have the means $v + (\mu_1 - \mu_2)^2$ and $v$. So
#
# $$\mathrm{KL} = \frac{(\mu_1 - \mu_2)^2}{2 v} .$$
#
# In section 5 the means differ by $\frac{\alpha_s\, \sigma_{t|s}^2}{\sigma_t^2} (x_0 - \hat{x}_0)$, the part of $x_0$ in exercise 3, and
# $v = \sigma_s^2\, \sigma_{t|s}^2 / \sigma_t^2$. Insert both, and then insert $\sigma_{t|s}^2 = \sigma_t^2 - \alpha_t^2\, \sigma_s^2 / \alpha_s^2$:
#
# $$\mathrm{KL} = \tfrac12\, \frac{\alpha_s^2\, \sigma_{t|s}^2}{\sigma_s^2\, \sigma_t^2}\, (x_0 - \hat{x}_0)^2
# = \tfrac12 \Big(\frac{\alpha_s^2}{\sigma_s^2} - \frac{\alpha_t^2}{\sigma_t^2}\Big)\, (x_0 - \hat{x}_0)^2 .$$
#
# In the brackets stand the two SNRs. An error in $x_0$ is $\sigma_t / \alpha_t$ times the error in $\epsilon$, so in units of the noise the weight is
# $\tfrac12\big(\mathrm{SNR}(s) / \mathrm{SNR}(t) - 1\big)$. First we compare the divergence of two of your steps with the formula; then we draw the weight.

# %%
s, t, (x_t, x_0, x0_hat) = 0.30, 0.31, (torch.tensor([[v]], dtype=torch.float64) for v in (0.3, 1.1, 0.4))
to = lambda clean, z: ancestral_step(x_t, clean, *levels(t, s), z * torch.ones_like(x_t))
q = lambda clean: Normal(to(clean, 0.0), to(clean, 1.0) - to(clean, 0.0))
snr = lambda t: schedule.log_snr(t).exp()
formula = (snr(s) - snr(t)) / 2 * (x_0 - x0_hat) ** 2
assert torch.allclose(kl_divergence(q(x_0), q(x0_hat)), formula), "exact: a squared error with a weight"
weight = (snr(times[1:-1]) / snr(times[2:]) - 1) / 2  # of each step of `times`
widgets.lines(times[2:], {"ELBO": weight / weight.mean(), "simple loss": torch.ones(119)}, xlabel="t", logy=True,
    ylabel="weight, mean 1", title="What each t counts, in units of the noise", alt="Weight of the squared error in eps "
    "against t, logarithmic: the ELBO's peaks near t = 0 and lies below the flat line of the simple loss in the middle.")

# %% [markdown]
# The ELBO gives the largest weight to small $t$, where $x_t$ is nearly clean. The simple loss gives all moments the same weight.
#
# ## Further · One network, two readings
#
# **Exercise 6** (easy, 5 minutes). You are given $x_t$ and the predicted noise. Write the denoiser. Then look at
# your line: why did the network's $\hat{x}_0$ scatter near $t = 1$?

# %% tags=["exercise"]
def x0_from_eps(x_t: Tensor, eps_hat: Tensor, alpha: float, sigma: float) -> Tensor:
    """x_t = alpha x_0 + sigma eps, solved for x_0. -> the shape of x_t"""
    ### BEGIN SOLUTION
    return (x_t - sigma * eps_hat) / alpha
    ### END SOLUTION


check("01.x0_from_eps", x0_from_eps)

# %%
x0_from_eps, off = mine("01.x0_from_eps"), {"error in eps_hat": [], "error in x0_hat": []}
for n in range(1, 121):
    (a, b), right = levels(times[n], 0)[:2], exact(walk[n], times[n])
    with torch.no_grad():
        eps_hat = ((walk[n] - a * D(walk[n].float(), times[n])) / b).double()  # what the network says
    off["error in eps_hat"].append(float((eps_hat - (walk[n] - a * right) / b).square().mean().sqrt()))
    off["error in x0_hat"].append(float((x0_from_eps(walk[n], eps_hat, a, b) - right).square().mean().sqrt()))
units = torch.exp(-schedule.log_snr(times[1:]) / 2) * torch.tensor(off["error in eps_hat"])
assert torch.allclose(units, torch.tensor(off["error in x0_hat"]).double(), rtol=1e-3), "exact: one error in two units"
widgets.lines(times[1:], off, xlabel="t", ylabel="root mean square", logy=True, alt="Errors of the trained network against t, "
    "logarithmic: that of eps_hat stays within a small range, and that of x0_hat, read by your line, grows by orders of magnitude.")

# %% [markdown]
# Both curves show the same error of the same network. In $\hat{x}_0$ it is multiplied by $\sigma_t / \alpha_t$: it is smaller at small $t$, and it grows
# very large as the signal goes. The networks of lesson 02 predict a mix of noise and data instead.
#
# ## Further · Mode collapse by parameterisation alone
#
# A network may predict $x_0$ (`predict="x0"`), $\epsilon$ (`"eps"`), or the mix $\alpha_t\, \epsilon - \sigma_t\, x_0$ (`"v"`). Each of the three gives the
# same $D$ if the network is perfect. Does each *find* it? The data are now four equally likely modes at the corners of a square. Each
# coordinate has mean 0 and variance 1, nearly, and the two are uncorrelated.
#
# **One sentence of derivation.** For such data the best linear guess of $x_0$ is $\alpha_t\, x_t$ and that of $\epsilon$ is $\sigma_t\, x_t$, so the best linear guess of the
# mix is $\alpha_t\, \sigma_t\, x_t - \sigma_t\, \alpha_t\, x_t = 0$.
#
# So a network that predicts the mix and says 0 is the best denoiser of a *Gaussian* before any training. Its last layer can only gain from features that bend, and
# our network is nearly linear at the start. The other two networks have a linear part to learn first, and their features grow with it.

# %%
collapse = guess("01.collapse", "Four modes, trained to predict the mix. Which share of the samples lies on a mode?", 0, 100, "%")
collapse

# %%
UPDATES = {"smoke": 800, "class": 1200, "full": 3200}[PROFILE]
square, updates, share, ends = ring(4, radius=2**0.5, std=0.1), range(0, UPDATES + 1, UPDATES // 8), {}, {}
on_a_mode = lambda v: float((torch.cdist(v, square.means.float()).amin(1) < 0.3).double().mean())  # 3 deviations
for predict in ("x0", "v"):
    D, g = NeuralDenoiser(seeded(SEED, MLP, 2, width=64), Cosine(), predict), torch.Generator().manual_seed(SEED)
    noise = torch.randn(500, 2, generator=torch.Generator().manual_seed(SEED + 1))
    loss = lambda x_0, D=D, g=g: denoising_loss(D, x_0, generator=g)
    update = descend(loss, D, lr=5e-3, schedule=cosine_decay(UPDATES, warmup=20))
    rows, share[predict] = Batches(square.sample(4000, g)[0], 128, g), []
    for n in updates:
        for _ in fit(update, rows, n - update.step):
            pass
        with torch.no_grad():
            ends[predict] = sample(D, noise, steps=20, step=ddim())
        share[predict].append(on_a_mode(ends[predict]))
bell = 4 * float(ncx2.cdf(0.3**2, 2, 2))  # exact: a standard Gaussian's share within 0.3 of the four
display(collapse.reveal(100 * share["v"][-1]))

# %%
assert share["x0"][-1] > 0.5 > 0.15 > share["v"][-1] and bell < 0.1, "large effect: x0 finds the modes, v does not"
fig, axes = widgets.figure(2.8, 1, 3)
for ax, (predict, v), name in zip(axes, ends.items(), ("model", "right"), strict=False):
    ax.plot(*v.T, ".", markersize=3, color=widgets.COLOUR[name])
    ax.set(xlim=(-2.6, 2.6), ylim=(-2.6, 2.6), aspect="equal", title=f"{predict}: {share[predict][-1]:.0%} on a mode")
    axes[2].plot(updates, share[predict], label=predict, color=widgets.COLOUR[name], marker=widgets.MARKER[name])
axes[2].axhline(bell, label="exact: a Gaussian", **widgets.look("exact"))
axes[2].set(xlabel="updates", ylim=(0, 1), title="share on a mode")
fig.legend(loc="outside lower right", ncols=3)
widgets.Picture(fig, "500 samples of two networks: those that predict x0 lie in four small groups, those that predict v in one round cloud. "
    "On the right the share on a mode by update: x0 rises above one half, v stays at the dashed line of one Gaussian.")

# %% [markdown]
# **Large effect.** After the same updates on the same data more than half of the samples are on a mode where the network predicts $x_0$; where it predicts the mix,
# fewer than 15 % are, about as many as of one Gaussian. Nothing else differs between the two trainings.
# The loss of the mix has a *saddle* at the Gaussian denoiser, and the noise of a batch hides the small gradient that leads away from it.
# The study `parameterisations` (docs/studies.md) measures this gradient, the other choices and the cures.
#
# ## Further · An empty page
#
# Now without any of our code: a DDPM in at most 60 lines, with nothing but `torch` and `math`. In a terminal,
# `diffrl-lab start blank-01` puts the task into `my/blank_01.py`: five functions, from the betas to the samples. And
# `diffrl-lab blank 01 my/blank_01.py` judges your code by *laws* alone, that is, by properties that every right answer has: the forward jump, Bayes' rule, the distance of your
# samples to fresh data against the noise floor, the share of each mode, equal seeds, no copies. It names the first law
# that you break. (An hour, an estimate.)
