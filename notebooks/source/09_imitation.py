# %% [markdown]
# ![Eight panels of forty paths past rows of posts. The demonstrator takes all gaps. Least squares takes two ways. Some paths of the single Gaussian end at posts, more of them in chunks. A mixture of eight and the diffusion policy arrive by many ways.](attachment:09.png)
#
# # 09 · Multimodal policies and imitation
#
# **The question.** When does it matter that a policy can act in several ways, and which policies can?
#
# A policy that imitates is often trained by least squares. Where the demonstrator went left one time and right the next, the mean of both is what nobody did. The survey says that diffusion policies capture several modes of the actions where a Gaussian cannot, and that they add variance where there is only one mode. Here you test both claims, and the rivals of diffusion, where the demonstrator's 24 ways and their probabilities are known exactly.
#
# **Afterwards you can**
# - say what least squares, one Gaussian, a mixture and a diffusion policy do where several actions were taken;
# - measure whether a policy keeps the ways of its demonstrator, with the noise floor beside the number;
# - explain why actions are drawn in chunks, and what is lost when each is drawn alone;
# - tell a gain that comes from several modes from one that comes from somewhere else.
#
# **You need** lesson 01 (how samples are drawn), lesson 03 (cloning) and lesson 05b (diversity and its noise floor). **Machine:** about 40 seconds on two CPU cores, no network.
# **You:** 85 minutes (an estimate).

# %% tags=["collapsed"]
import math

import numpy as np
import torch
from IPython.display import display
from torch import Tensor

from diffrl_lab import widgets
from diffrl_lab.analysis.intervals import wilson
from diffrl_lab.analysis.modes import expected_entropy
from diffrl_lab.course import check, guess, hint, mine
from diffrl_lab.studies import ways
from diffrl_lab.widgets.explore import explore
from diffrl_lab.worlds import avoid

torch.set_num_threads(1)  # for tensors this small a second thread costs more than it brings

# %% tags=["parameters"]
PROFILE = "class"  # smoke: seconds; class: a minute; full: more episodes
SEED = 0

# %%
N, generator = {"smoke": 40, "class": 100, "full": 600}[PROFILE], torch.Generator().manual_seed(SEED)
widgets.component_map(["data", "diffusion model", "execution"], alt="The survey's component map with three boxes lit, "
    "data, diffusion model and execution: this lesson learns actions from demonstrations and executes them in chunks.")

# %% [markdown]
# ## 1 · Twenty-four ways
#
# A point goes up past rows of one, two and three posts. It sees its position $s$, and an action $a$ moves it sideways and up. Who touches a post has crashed. The rows leave two, three and four gaps, so there are 24 ways. The demonstrator tosses a fair die for each row: every way has the probability $p = 1/24$.

# %%
demonstrations = avoid.demonstrations(N, seed=SEED)
p = torch.full((24,), 1 / 24, dtype=torch.float64)  # exact
assert (demonstrations.way >= 0).mean() > 0.9, "large effect: the demonstrator arrives, whatever the way"
ways.paths({"the demonstrator": demonstrations}, cols=3, alt="Paths of the demonstrator fan out past rows of one, two "
    "and three posts through every gap, and all of them cross the line at the top.")

# %% [markdown]
# ## 2 · A fork, exactly
#
# Take the place behind the middle gap of the second row, where the demonstrator turns towards the last row. Nothing in the state tells which of the four gaps comes next. So the action that was recorded there is one of four, each with the probability 1/4.

# %%
actions, chance = ways.at_fork()
widgets.table({"gap": ["1", "2", "3", "4"], "sideways": [f"{a:+.2f}" for a in actions[:, 0]],
    "up": [f"{a:.2f}" for a in actions[:, 1]], "probability": [f"{q:.2f}" for q in chance]})

# %% [markdown]
# **Exercise 1** (easy, 8 minutes). Least squares looks for the one action with the smallest expected squared error. Which action is that, and how far is it from the nearest action that was taken? Pitfall: the actions may have different probabilities.

# %% tags=["exercise"]
def single(actions: Tensor, p: Tensor) -> tuple[Tensor, Tensor]:
    """actions [K, 2], taken with probabilities p [K]. -> the best single action [2], distance to the nearest []"""
    ### BEGIN SOLUTION
    mean = (p[:, None] * actions).sum(0)
    return mean, (actions - mean).norm(dim=1).min()
    ### END SOLUTION


check("09.single", single)

# %%
single = mine("09.single")
mean, off = single(actions, chance)
assert off > 0.5, "exact: the mean is none of the four"
ways.fork({"the mean": mean[None].float()}, actions, alt="The plane of actions at the fork: four exact "
    "actions fan out to the sides, and the mean of them lies between, straight up and short.")

# %% [markdown]
# **Exact.** The mean of the four actions is more than half a unit away from each of them. It leads straight up, towards the post in the middle of the last row.
#
# ## 3 · Likelihood, and how many components
#
# A policy can also be a *distribution* of actions given the state, trained to make the recorded actions likely. A mixture of $K$ Gaussians has the density $\sum_k w_k \mathcal{N}(a; \mu_k, \sigma_k^2)$; with $K = 1$ it is the usual Gaussian policy.
#
# **Exercise 2** (medium, 15 minutes). Write the loss of a mixture, $-\ln \sum_k w_k \prod_i \mathcal{N}(a_i; \mu_{ki}, \sigma_{ki}^2)$, averaged over the actions. Pitfalls: what adds up as logarithms, and what as probabilities? Far from all components the density is too small for a float.

# %% tags=["exercise"]
def loss(a: Tensor, log_w: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """a [B, d]; the weights' logarithms log_w [K], mean and std [K, d]. -> []"""
    ### BEGIN SOLUTION
    z = (a[:, None] - mean) / std
    log_n = (-0.5 * z**2 - std.log() - 0.5 * math.log(2 * math.pi)).sum(-1)
    return -torch.logsumexp(log_w + log_n, -1).mean()
    ### END SOLUTION


check("09.mixture", loss)

# %% [markdown]
# We train mixtures at the fork with your loss: 400 actions, with a little noise on them, and no network.

# %%
loss, recorded = mine("09.mixture"), actions[torch.randint(4, (400,), generator=generator)].float()
recorded = recorded + 0.04 * torch.randn(400, 2, generator=generator)


def fitted(K: int, updates: int = 300) -> tuple[Tensor, float]:
    """400 draws of K Gaussians that were fitted to what was recorded, and their loss."""
    logits, raw = torch.zeros(K, requires_grad=True), torch.zeros(K, 2, requires_grad=True)
    mean = recorded[torch.randint(400, (K,), generator=generator)].clone().requires_grad_()
    optimiser = torch.optim.Adam([logits, mean, raw], lr=0.05)
    for _ in range(updates):
        now = loss(recorded, logits.log_softmax(0), mean, (raw - 1).exp())
        optimiser.zero_grad(), now.backward(), optimiser.step()
    k = torch.multinomial(logits.detach().softmax(0), 400, replacement=True, generator=generator)
    return (mean[k] + (raw[k] - 1).exp() * torch.randn(400, 2, generator=generator)).detach(), float(now.detach())

# %%
fits = {K: min((fitted(K) for _ in range(4)), key=lambda fit: fit[1]) for K in (1, 2, 4)}  # the best of four starts
off = {K: float((ways.near(x, actions) < 0).double().mean()) for K, (x, _) in fits.items()}
assert off[1] > 0.6 and off[4] < 0.1, "large effect: with too few components most draws were never done"
ways.fork({f"K = {K}": x for K, (x, _) in fits.items()}, actions, alt="Draws of fitted mixtures at the fork: one Gaussian "
    "covers the whole fan, two cover half of it each, four lie on the four exact actions.")

# %% [markdown]
# **Large effect.** With one component most draws are none of the four actions; with four components nearly all draws are. Likelihood does not make a policy multimodal: a rich family of distributions does. How many components are enough depends on the state.
#
# A diffusion policy has no $K$. It draws an action, or several at once, by a chain of denoising steps as in lesson 01, with the state as a condition. Now the trained policies: networks of one size, 2,000 updates on 600 demonstrations. We ask them at the *start*, where the demonstrator turns left or right with probability 1/2 each.

# %%
ARMS = ["least squares", "Gaussian", "mixture, K = 8", "diffusion"]
first, _ = ways.at_fork(ways.START)
at_start = {arm: ways.drawn(ways.policy(arm), where=ways.START, seed=SEED) for arm in ARMS}
ways.fork(at_start, first, alt="Actions that four trained policies draw at the start: least squares one in the middle, a "
    "Gaussian a wide cloud, the mixture and the diffusion policy two clusters on the two exact actions.")

# %%
share = lambda acts, exact: float((ways.near(acts, exact) < 0).double().mean())
lost = {arm: share(acts, first) for arm, acts in at_start.items()}
later = {arm: share(ways.drawn(ways.policy(arm), seed=SEED), actions) for arm in ARMS}
assert lost["Gaussian"] > 0.5 and lost["diffusion"] < 0.2 and lost["mixture, K = 8"] < 0.2, "large effect: at the start"
acts = ways.drawn(ways.policy("diffusion"), seed=SEED)
between = float((acts[ways.near(acts, actions) < 0, 0].abs() < 0.3).double().mean())
assert 0.4 < later["diffusion"] < 0.7 and between > 0.6, "large effect: at the fork, many draws lead straight up"
widgets.table({"policy": ARMS, "never done, at the start": [f"{v:.0%}" for v in lost.values()],
    "never done, at the last fork": [f"{v:.0%}" for v in later.values()]})

# %% [markdown]
# **Large effect.** At the start most draws of the Gaussian are none of the two actions, and nearly all draws of the mixture and of the diffusion policy are. At the last fork about half of the draws of diffusion are none of the four. More than 60 % of these lead straight up (less than 0.3 sideways): that is what the demonstrator did one step before. Its switch is abrupt, the network's is gradual.
#
# ## 4 · Forty drives of each
#
# At each step a policy sees where it is, draws one action and does it. About a hundred actions make one drive.

# %%
arrive = guess("09.gaussian", "Of 40 drives of the Gaussian policy, one action drawn at a time, how many arrive?", 0, 40, "drives")
arrive

# %%
SHOWN = [("least squares", 1), ("Gaussian", 1), ("mixture, K = 8", 1), ("diffusion", 1), ("Gaussian", 8), ("mixture, K = 8", 8), ("diffusion", 8)]
forty = {"demonstrator": ways.roll(None), **{f"{arm}{', chunks' * (n > 1)}": ways.roll(ways.policy(arm, n)) for arm, n in SHOWN}}
arrive.reveal(int((forty["Gaussian"].way >= 0).sum()))

# %% tags=["punchline"]
ways.paths(forty, alt="Eight panels of forty paths past rows of posts, coloured by the last gap: the demonstrator takes all gaps, least "
    "squares very few ways; some paths of the Gaussian end at posts; a mixture of eight and diffusion arrive by many ways, most in chunks.")

# %% [markdown]
# Success alone does not tell least squares from diffusion: one action at a time, both arrive every time. It tells only the Gaussian apart. What least squares loses are the ways. Its network is a continuous function of the place: who begins a little to the left passes the first post on the left.
#
# **Exercise 3** (easy, 10 minutes). How far are the ways of a policy from the demonstrator's probabilities? Among the drives that arrived, compare the share $q_k$ of each way with $p_k$, by the total variation $\tfrac12 \sum_k |q_k - p_k|$. It is 0 for the same probabilities and 1 where no way is shared. Pitfalls: crashes are no ways, and a way that was never taken counts.

# %% tags=["exercise"]
def variation(ways: Tensor, p: Tensor) -> Tensor:
    """ways [n]: numbers from 0 to K - 1, or -1 for a crash; p [K]. -> []"""
    ### BEGIN SOLUTION
    count = torch.bincount(ways[ways >= 0], minlength=len(p))
    return (count / count.sum() - p).abs().sum() / 2
    ### END SOLUTION


check("09.ways", variation)

# %%
variation = mine("09.ways")
forty["Gaussian, chunks, one done"] = ways.roll(ways.policy("Gaussian", 8, execute=1))
taken = {name: torch.tensor(rolled.way) for name, rolled in forty.items()}
more = [int((taken[name] >= 0).sum()) for name in ("Gaussian, chunks, one done", "Gaussian, chunks")]
assert more[0] > more[1] + 8, "large effect: a look after each action brings more drives of the Gaussian home"
far = {name: float(variation(way, p)) for name, way in taken.items()}
assert far["least squares"] > far["demonstrator"] + 0.3, "large effect: least squares loses ways"
home, begun = forty["least squares"].way >= 0, forty["least squares"].path[:, 0, 0] > 0
same = home & (begun == avoid.gaps(forty["least squares"].way.clip(0))[:, 0])
assert same.mean() > 0.9, "large effect: least squares passes the first post on the side where it begins"
widgets.table({"policy": list(far), "arrived": [f"{int((way >= 0).sum())} of 40" for way in taken.values()],
    "total variation": [f"{v:.2f}" for v in far.values()]})

# %% [markdown]
# **Large effect.** At the start most actions of the Gaussian were never done, but most of its drives arrive. The last row has the weights of its chunks, but looks again after each action: many more drives arrive. So the next look corrects a bad action.
#
# With forty drives the demonstrator itself is not at 0: its value is the noise floor. So the study trained each policy three times and drove it 600 times each. The table has the means, and in brackets the lowest and the highest. The entropy is divided by $\ln 24$: a policy that takes all ways alike has 1. *Autoregressive* draws one number of an action after the other, each from bins; *flow* is diffusion with another target (lesson 02). In the picture, way 1 goes left at each row, way 24 right.

# %%
study, EVERY = ways.Study("avoid"), ["least squares", "two-step", "Gaussian", "mixture, K = 2", "mixture, K = 8", "autoregressive", "diffusion", "flow"]
arrived, entropy = (lambda arm, n=1: study("success", arm, n)), (lambda arm, n=1: study("entropy", arm, n))
assert (arrived("diffusion") > 0.95).all(), "large effect: diffusion with one action arrives"
assert (entropy("diffusion") > entropy("least squares") + 0.3).all(), "large effect: and by more ways than least squares"
assert (arrived("mixture, K = 8", 8) - arrived("Gaussian", 8)).mean() > 0.3, "large effect: K = 8 against K = 1, in chunks"
assert entropy("autoregressive").min() > entropy("diffusion").max(), "large effect: with one action, bins keep more ways"
assert arrived("mixture, K = 8", 8).min() > arrived("diffusion", 8).max(), "large effect: in chunks, K = 8 arrives more often"
study.rows([("demonstrator", 1), *((arm, n) for arm in EVERY for n in (1, 8))])

# %%
shown = ["least squares", "Gaussian", "mixture, K = 8", "autoregressive", "diffusion"]
assert min(study("tv", arm, n).min() for arm in EVERY for n in (1, 8)) > 0.3 > study("tv", "demonstrator").max(), "large effect: none is calibrated"
rare = {(arm, n): int((study.shares(arm, n).max(0) < 1 / 24 / 4).sum()) for arm in shown[2:] for n in (1, 8)}
assert min(rare[arm, 1] for arm in shown[2:]) >= 12 > 6 >= max(rare[arm, 8] for arm in shown[2:]), "large effect: ways lost"
assert all(study.shares(arm)[:, [0, 23]].min() > 3 / 24 for arm in shown[2:]), "large effect: one action, the outer ways"
ways.calibration(shown, p, alt="Bars of the shares of 24 ways, five policies, one action above and chunks of eight below, with a dashed line at the "
    "demonstrator's probabilities. Least squares takes few ways. The others take the first and the last far too often; in chunks more bars stand between.")

# %% [markdown]
# **Large effect.** Diffusion with one action arrives in more than 95 % of the drives, and the entropy of its ways lies at least 0.3 above that of least squares. In chunks, a mixture of eight components arrives more often than one Gaussian, by more than 0.3 in the mean of three trainings.
#
# **Large effect.** Diffusion is *not* the best of this table. In each training, the policy over bins keeps more of the ways with one action, and the mixture of eight arrives more often in chunks.
#
# **Large effect.** No policy has the demonstrator's probabilities. With one action, the mixture of eight, bins and diffusion take ways 1 and 24 more than three times too often, and at least twelve ways less than a quarter as often as they should (in each training); in chunks, at most six.
#
# **Open.** Whether this order stays with larger networks and longer training was not measured.
#
# ## 5 · Why chunks?
#
# The demonstrator decides *once* for a gap and then goes there. A policy that draws each action anew decides again in every step, as long as the state does not tell what was decided. If it draws a *chunk* of the next eight actions, it decides once for all eight.
#
# **Exercise 4** (hard, 25 minutes). Write the *receding horizon*: draw a chunk from where the points are, do its first `execute` actions, then look again. A law judges it: the path must be the one that these actions lead to, and no chunk may be drawn that is not needed. Pitfalls: the start belongs to the path, and the last chunk may be cut off by the end.

# %% tags=["exercise"]
def receding(draw, move, x: Tensor, steps: int, execute: int) -> Tensor:
    """x [m, 2]; draw(x) -> chunks [m, H, 2], move(x, a) -> the next x. -> path [m, steps + 1, 2]"""
    ### BEGIN SOLUTION
    path = [x]
    for k in range(steps):
        if k % execute == 0:
            chunk = draw(path[-1])
        path.append(move(path[-1], chunk[:, k % execute]))
    return torch.stack(path, 1)
    ### END SOLUTION


check("09.receding", receding)

# %% [markdown]
# Your function drives the diffusion policy that draws eight actions. Only `execute` changes.

# %%
receding, chunks = mine("09.receding"), ways.policy("diffusion", 8)
starts = torch.tensor(np.stack([avoid.start(np.random.default_rng(i)) for i in range(N)]))
draw, move = lambda x: chunks.sample(x, generator=generator)[:, 0], lambda x, a: torch.tensor(avoid.moved(x.numpy(), a.numpy()))
looks = {n: torch.tensor(avoid.way(receding(draw, move, starts, 140, n).numpy())) for n in (1, 2, 8)}

# %%
variety = {n: float(torch.special.entr(torch.bincount(way[way >= 0], minlength=24) / (way >= 0).sum()).sum()) / math.log(24)
           for n, way in looks.items()}
assert variety[8] > variety[1], "large effect: who looks again in every step takes ways of less entropy"
column, again = (lambda values: [f"{v.mean():.2f}" for v in values]), ways.Study("looks")
driven = {what: [again(what, "diffusion", 8, execute=n) for n in looks] for what in ("success", "entropy")}
assert (driven["success"][0] > driven["success"][2] + 0.03).all(), "large effect: and arrives more often"
assert (driven["entropy"][2] > driven["entropy"][0] + 0.1).all(), "large effect: ways of more entropy, each training"
widgets.table({"actions done of eight": list(looks), "arrived, here": column((way >= 0).double() for way in looks.values()),
    "entropy / ln 24, here": column(torch.tensor(v) for v in variety.values()),
    "arrived, study": column(driven["success"]), "entropy / ln 24, study": column(driven["entropy"])})

# %% [markdown]
# **Large effect.** The same weights take ways of more entropy if all eight actions of a chunk are done than if a new chunk is drawn in every step. The study has both (at the right, means of three trainings): in each training the entropy is higher by more than 0.1, and fewer drives arrive, by more than 0.03.
#
# The simplest case has an exact answer: the exclusive or. The demonstrator does two actions: the first is $-1$ or $1$, each with probability 1/2, and the second is the opposite of the first. The state tells nothing.

# %%
xor = guess("09.xor", "A policy draws both actions, each alone, and each perfectly. How often are they opposite?", 0.0, 1.0, "of the pairs")
xor

# %%
half = torch.tensor([0.5, 0.5])  # exact: of each sign, in either action
display(xor.reveal(float((half * (1 - half)).sum())))
pairs, drawers = ways.Study("xor"), ["mixture, K = 2", "diffusion", "flow"]
apart, chunk = ({arm: pairs("opposite", arm, n) for arm in drawers} for n in (1, 2))
for arm in drawers:
    assert (abs(apart[arm] - 0.5) < 0.035).all(), "exact: 1/2 for actions that are drawn apart"
    assert (chunk[arm] > 0.98).all(), "large effect: nearly all pairs of a chunk are opposite"
widgets.table({"policy": drawers, **{name: [f"{found[arm].mean():.3f}" for arm in drawers]
    for name, found in {"opposite, each drawn alone": apart, "opposite, as a chunk of two": chunk}.items()}})

# %% [markdown]
# **Exact.** Two actions that are drawn apart are opposite with probability 1/2, even if each has exactly the right distribution: the product of two marginal distributions is not the joint distribution.
#
# **Large effect.** As a chunk of two, more than 98 % of the pairs are opposite, in each of three trainings of each policy.
#
# ## 6 · One mode, and a control
#
# The survey also says that diffusion adds variance that is not needed where the best policy has one mode. Now all demonstrations take *one* way.

# %%
unimodal = ways.Study("unimodal")
single_mode = ["least squares", "two-step", "Gaussian", "diffusion"]
assert min(unimodal("success", arm).min() for arm in single_mode) > 0.95, "large effect: every policy arrives"
jitter = {arm: unimodal("jitter", arm) for arm in single_mode}
assert jitter["Gaussian"].min() > 1.3 * jitter["least squares"].max(), "large effect: a drawn Gaussian has more jitter"
assert jitter["diffusion"].max() < jitter["least squares"].min(), "large effect: diffusion has no more than least squares"
assert jitter["two-step"].max() < jitter["diffusion"].min(), "large effect: two-step regression has the least"
assert arrived("two-step").min() > 0.9 and max(arrived(arm, 8).max() for arm in single_mode[:2]) < 0.5, "large effect: 24 ways"
assert abs(entropy("two-step").mean() - entropy("least squares").mean()) < 0.03, "large effect: two-step regression, 24 ways"
unimodal.rows([("demonstrator", 1), *((arm, 1) for arm in single_mode)])

# %% [markdown]
# With one mode all policies arrive: by success it is a tie. Jitter is the mean change from one action to the next. (The first row has the demonstrator's noise; the recorded actions do not.)
#
# **Large effect.** The Gaussian that is drawn has more jitter than least squares, as the survey expects. Diffusion has no more than least squares (in each of three trainings a little less). So the claim fails here. Two-step regression (below) has the least; why was not measured.
#
# A second control asks where gains come from. *Two-step regression* (Pan et al. 2025) has no distribution: it guesses by least squares, and repairs the guess with a second regression, trained on slightly noisy actions. Its authors report that it equals flow policies on robot benchmarks, so gains there need not come from several modes. A policy may succeed without several modes, and then its success is no proof of them.
#
# **Large effect.** In our world two-step regression arrives, too, with one action (more than 90 %, three trainings), by ways of the same entropy as least squares, within 0.03. In chunks neither does (less than half).
#
# Move the slider. Bars are the sideways parts of 400 actions at the two yellow points; dashed lines are the demonstrator's, as high as their probabilities. Which policies act between the lines? What do chunks change, and a short chain?

# %%
slider = ways.Slider()
explore(slider.picture, actions=[1, 8], denoising=[10, 1, 2, 3, 5, 20], seed=(0, 20))

# %% [markdown]
# ## 7 · Break it: a chain that is cut
#
# Each look costs as many evaluations of the network as the chain has steps. What if the chain is cut to one or two?

# %% tags=["broken"]
cut = {f"{k} step{'s' * (k > 1)}": ways.roll(ways.policy("diffusion", 8, denoising=k), 40) for k in (1, 2, 3, 10)}
ways.paths(cut, alt="Forty paths of the diffusion policy in chunks of eight, with chains of 1, 2, 3 and 10 steps: with one "
    "step a third of the paths end at posts and the others take few ways; with ten nearly all arrive, and by more ways.")

# %%
steps, chains = ways.Study("steps"), (1, 2, 3, 5, 10, 20)
share, bits = ({k: steps(column, "diffusion", 8, denoising=k) for k in chains} for column in ("success", "entropy"))
assert (share[10] > share[1] + 0.15).all() and (bits[10] > bits[1] + 0.1).all(), "large effect: one step loses drives and ways"
assert (share[20] > share[5]).all() and share[5].mean() < 1 - 0.13 and share[20].mean() > 1 - 0.08, "large effect: later steps pay"
widgets.table({"steps of the chain": list(chains), "arrived": [f"{v.mean():.3f}" for v in share.values()],
    "lost": [f"{1 - v.mean():.1%}" for v in share.values()],
    "entropy / ln 24": [f"{v.mean():.2f}" for v in bits.values()]})

# %% [markdown]
# **Large effect.** With one step, fewer drives arrive than with ten, and those that arrive take ways of less entropy. The second step gains most, but later steps still pay: from 5 to 20, fewer drives are lost in each training, in the mean from more than 13 % to less than 8 %. Lesson 06 goes on to 100 steps. One exact step returns the mean, whatever the noise: it cannot decide between gaps (*Further*).
#
# | signature | in the picture | the number that gives it away | cure |
# |---|---|---|---|
# | least squares where several actions were taken | all drives take the same few ways | entropy of the ways, beside the demonstrator's | a policy that is drawn |
# | too few components | draws between the actions, crashes | share of draws at a fork that were never done | more components, or diffusion |
# | too large a `sigma_data` (*Further*) | draws blur into one cloud | the same share | half of the data's deviation |
# | a chain of one or two steps | paths end at posts, fewer ways are taken | arrivals and entropy against the steps of the chain | more steps |
# | each action drawn anew | ways that change sides are missing | entropy with `execute` of 1 against 8 | chunks |
#
# ## 8 · What the survey claims, and what was measured
#
# | The survey says | Measured here | Verdict |
# |---|---|---|
# | Diffusion policies capture several modes where one Gaussian cannot | diffusion arrives by far more ways than least squares, and more often than a drawn Gaussian; with one action, a mixture with enough components and bins keep even more | held (large effect) against *one* Gaussian |
# | With one mode, diffusion adds variance that is not needed | success is a tie; diffusion has no more jitter than least squares, one Gaussian has more | failed (for diffusion) |
# | *Open question:* diffusion can represent any distribution, mixtures cannot | on three such distributions, sixteen Gaussians lie about as near as a diffusion model of 50 steps, and nearer to the spiral (*Further*) | open |
#
# **Symbols.** $s$ the state; $a$ an action; $p$ `p` probabilities of the ways, $q$ the shares of a policy; $K$, $k$ number of components, or of ways, and which; $w, \mu, \sigma$ `log_w, mean, std` of a component; $i$ a number of an action; $x_0, x_T, t$ as in lesson 01.
#
# **References.** Chi et al., "Diffusion Policy: Visuomotor Policy Learning via Action Diffusion" (2023). Bishop, "Mixture Density Networks" (1994). Pan et al., "Much Ado About Noising" (2025). Jia et al., "Towards Diverse Behaviors" (2024). The survey: "Diffusion Models for Reinforcement Learning" (arXiv 2510.12253, 2025).
#
# **Next.** Lesson 10 adds rewards to demonstrations.

# %% [markdown]
# ## Further · Break it: a `sigma_data` that is too large
#
# `sigma_data` is the standard deviation that a denoiser expects of its data. By it the network's input is scaled, and with `edm`, the target used here, also what the network has to predict. Here it is wrong on purpose: one network for each value is trained on the actions at the last fork alone, scaled to the deviation 1, so that the state plays no part. The share of draws that were never done gives it away; fresh draws of the recorded actions are beside it.

# %%
wrong = {sd: ways.fork_draws(sd, SEED, {"smoke": 200, "class": 1000, "full": 1000}[PROFILE]) for sd in (0.5, 1.0, 4.0)}
lost = {name: float((ways.near(x, actions) < 0).double().mean()) for name, x in {**wrong, "recorded": recorded}.items()}
assert PROFILE == "smoke" or lost[0.5] < 0.3 and min(lost[1.0], lost[4.0]) > 0.4, "large effect: sigma_data is too large"
assert lost["recorded"] < 0.01, "exact: with this noise, fewer than one in a hundred recorded actions are so far off"
ways.fork({f"sigma_data {sd:g}": x for sd, x in wrong.items()} | {"recorded": recorded}, actions, alt="Draws at the fork by three networks: "
    "with sigma_data 0.5 most lie in four groups on the exact actions, with 1 and 4 they blur into one band. Recorded actions lie on the four.")

# %% [markdown]
# **Large effect.** With 0.5 fewer than 30 % of the draws were never done. With 1, which is the deviation of the data, and with 4 it is more than 40 % (one training of each). Two reasons are known, and the picture does not separate them. With `sigma_data` at the data's own deviation, a network that says 0 is already the best denoiser of one Gaussian (lesson 01, *Further*). And the larger `sigma_data` is, the smaller is what the network sees of the data. **Open.** Whether longer training mends it was not measured. The study `parameterisations` (docs/studies.md) compares 0.5 and 1 for several targets.
#
# ## Further · what no mixture is (open question 1)
#
# A ring, a spiral, and a strip in which gaps lie within gaps at every scale: none of them is a mixture of finitely many Gaussians. How near do mixtures and chains of few steps come? The sliced Wasserstein distance of 4,000 draws to 4,000 fresh ones is shown; the exact line is that of fresh draws of the distribution itself.

# %%
far = ways.Study("universal").table
sixteen, fifty = ({k: far.column("sliced", kind=k, form=form, n=n) for k in ("ring", "spiral", "strip")}
    for form, n in (("mixture", 16), ("diffusion", 50)))
assert sixteen["spiral"].max() < fifty["spiral"].min(), "large effect: to the spiral, 16 Gaussians lie nearer"
assert all(sixteen[k].mean() < 1.3 * fifty[k].mean() for k in fifty), "large effect: and nowhere much farther off"
ways.universal(alt="Three panels, ring, spiral and strip: the distance of mixtures falls with the number of components (on the strip not from 4 to 8). That of diffusion "
    "rises from one step to two and then falls; on the spiral it stays well above the exact floor and above 16 Gaussians.")

# %% [markdown]
# **Large effect.** To the spiral, sixteen Gaussians lie nearer than a chain of 50 steps, in each of three trainings. **Open.** On ring and strip the two lie alike: the lowest and highest of the three trainings overlap.
#
# By this distance, two steps of the chain are worse than one, on all three. Is this a property of short chains? The exact denoiser of points on each curve makes no error: its chain shows what few steps alone do.

# %%
few = (1, 2, 3, 5)
network = {k: [far.column("sliced", kind=k, form="diffusion", n=n) for n in few] for k in fifty}
perfect = {k: [ways.perfect(k, n) for n in few] for k in fifty}
assert all(a > b > c > d for a, b, c, d in perfect.values()), "exact: with the exact denoiser every further step brings the draws nearer"
assert all(v[0].max() < v[1].min() for v in network.values()), "large effect: two steps of the network are worse than one"
widgets.table({"steps of the chain": list(few)} | {f"{k}, {who}": [f"{float(v.mean()):.2f}" for v in found[k]]
    for k in fifty for who, found in (("network", network), ("exact denoiser", perfect))})

# %% [markdown]
# **Exact.** With the exact denoiser each further step brings the draws nearer to the curve. A single step gives one point, the mean, which is far off. **Large effect.** With the network, two steps lie farther off than one, in each of three trainings. So it is the network's single step that is odd. What does a network say at $t = 1$, where a chain begins and nothing but noise is seen? We ask the diffusion policy of this lesson with 2,000 draws of noise, at the start. The table has the standard deviation of the sideways part of its guesses of $x_0$.

# %%
one, times = ways.policy("diffusion"), (1.0, 0.999, 0.99)
said = {t: {who: float(v[:, 0].std()) for who, v in ways.guessed(one, t, ways.START).items()} for t in times}
assert said[1.0]["exact"] < 1e-6, "exact: at t = 1 all noise gives one guess, the mean"
assert said[1.0]["network"] > 0.3 > 0.1 > said[0.99]["network"], "large effect: the network's guess, at t = 1 and below"
widgets.table({"t": [str(t) for t in times], "network": [f"{v['network']:.3f}" for v in said.values()],
    "exact denoiser": [f"{v['exact']:.3f}" for v in said.values()]})

# %% [markdown]
# **Exact.** At $t = 1$ all noise has the same exact guess, the mean of the two actions. **Large effect.** The network's guess depends on the noise there, and at $t = 0.99$ it hardly does (one training). In training $t$ is drawn between 0 and 1, so the network has seen many levels of noise near $t = 0.99$ and hardly one as high as at $t = 1$. A chain of one step asks it there and nowhere else. So its draws are neither the mean nor draws of the demonstrator's actions, and their distance from the demonstrator's says little about short chains.
