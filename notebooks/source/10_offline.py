# %% [markdown]
# ![Eight panels of actions among four discs that pay 3, 0, 1.5 and 5. Cloning takes all discs alike. The exact policy, weights, guidance and the best of sixteen take discs that pay more. Diffusion-QL takes the disc that pays 5 and some places beside it. TD3+BC does one action, on no disc.](attachment:10.png)
#
# # 10 · Offline policies
#
# **The question.** How does a policy become better than its data, and stay with them?
#
# Cloning repeats what was recorded. If the data also have rewards, a critic $Q$ can tell which actions were good, and a policy can lean to these. But a critic answers about any action, also about one that nobody ever did. The survey says that diffusion suits offline data because it stays where the data are. Here you test that where the best policy is known exactly, with four ways to improve a diffusion policy, and with baselines that are simpler than all of them.
#
# **Afterwards you can**
# - say which policy is the best that stays near its data, and draw from it;
# - explain expectiles, advantage weights and the best of N in one picture each;
# - tell a policy that improves from one that only believes so;
# - name the methods that never ask a critic about actions beyond the data.
#
# **You need** lesson 01 (how samples are drawn), lesson 03 (offline data), lesson 05 (guidance) and lesson 09 (policies that are drawn). **Machine:** about 30 seconds on two CPU cores, no network.
# **You:** 85 minutes (an estimate).

# %% tags=["collapsed"]
import torch
from torch import Tensor

from diffrl_lab import widgets
from diffrl_lab.course import check, guess, hint, mine
from diffrl_lab.diffusion import (
    Batches, Cosine, Function, MixtureDenoiser, NeuralDenoiser, clip, cosine_decay, denoising_loss, descend, dpm_pp_2m,
    fit, sample, seeded,
)
from diffrl_lab.nets import MLP
from diffrl_lab.studies import actions, improvement
from diffrl_lab.widgets.explore import explore
from diffrl_lab.worlds import bandit

torch.set_num_threads(1)  # for tensors this small a second thread costs more than it brings

# %% tags=["parameters"]
PROFILE = "class"  # smoke: seconds; class: a minute; full: more actions
SEED = 0

# %%
N, generator = {"smoke": 2000, "class": 4000, "full": 20_000}[PROFILE], torch.Generator().manual_seed(SEED)
widgets.component_map(["data", "diffusion model", "guided sampling"], alt="The survey's component map with three boxes "
    "lit, data, diffusion model and guided sampling: this lesson makes a model of actions lean to those that paid.")

# %% [markdown]
# ## 1 · A bandit with nothing beside the modes
#
# There is one state, and an action $a$ is a point in the plane. The data hold actions near four centres, all alike often. An action on one of the four discs is paid what the disc is worth: 3, 0, 1.5 or 5. *Anywhere else* it is paid 0. So a policy that leaves the data gets nothing, and nothing hides it.

# %%
recorded = bandit.draw(N, seed=SEED)
paid, middle = bandit.reward(recorded), recorded.mean(0)
assert int(bandit.mode(middle)) == -1 and float(bandit.reward(middle)) == 0, "exact: the mean lies on no disc"
actions.scatter({"the data": recorded, "least squares": middle[None]}, cols=2, alt="Two planes with four discs that pay 3, 0, "
    "1.5 and 5: the recorded actions fill all four discs, their mean is one cross in the empty middle.")

# %% [markdown]
# **Exact.** The mean of the recorded actions lies on no disc, so least squares is paid nothing at all.
#
# ## 2 · The best policy that stays near
#
# Let $\mu(a)$ be the distribution of the data. We ask for the policy $\pi$ that has the largest mean of $Q$, less $\eta$ times its distance from the data (the divergence of $\pi$ from $\mu$). It is known in closed form:
# $$\pi^*(a) \propto \mu(a) \exp(Q(a) / \eta).$$
# The temperature $\eta$ sets how far it may go: a large one leaves the data as they are, a small one takes the best mode alone. Here $\mu$ and $Q$ are known, so $\pi^*$ is known as well.

# %%
worth = lambda eta: float(bandit.shares(eta)[:4] @ torch.tensor(bandit.PAID, dtype=torch.float64))
assert worth(0.5) > worth(1) > worth(4) > worth(1e6), "exact: the colder, the more it is paid"
assert all(bandit.shares(eta)[4] < bandit.shares()[4] for eta in (0.5, 1, 4)), "exact: and it leaves the discs less often"
actions.tilted(torch.logspace(-0.7, 1.5, 30).tolist(), alt="Four dashed curves over the temperature: at a high one all discs "
    "have a quarter, and the lower it is the more actions lie on the disc that pays 5.")

# %% [markdown]
# **Exact.** The lower the temperature, the more $\pi^*$ is paid, and it lies beside the discs less often than the data do. What $\mu$ never does, $\pi^*$ never does either: it multiplies $\mu$.
#
# **Exercise 1** (easy, 10 minutes). The first way to $\pi^*$ is to let good actions count more. Give each action the weight $\exp(A / \eta)$ with its advantage $A = Q - V$, where $V$ is the value of the state. Cut weights at `most`, so that no action outweighs a batch, and divide by the mean. Pitfall: the order of the steps.

# %% tags=["exercise"]
def weights(adv: Tensor, eta: float, most: float) -> Tensor:
    """adv [B], temperature eta, largest exp(adv / eta). -> weights [B] of mean 1"""
    ### BEGIN SOLUTION
    w = (adv / eta).exp().clamp(max=most)
    return w / w.mean()
    ### END SOLUTION


check("10.weights", weights)

# %%
weights = mine("10.weights")
w = weights(paid - paid.mean(), 1.0, 100.0)
share = torch.stack([w[bandit.mode(recorded) == k].sum() for k in range(4)]) / w.sum()
assert (share - bandit.shares(1.0)[:4]).abs().max() < 0.05, "exact: weighted data have the shares of the exact policy"
widgets.table({"the disc pays": [f"{r:g}" for r in bandit.PAID], "share, weighted": [f"{v:.3f}" for v in share],
    "exact": [f"{v:.3f}" for v in bandit.shares(1.0)[:4]]})

# %% [markdown]
# **Exact.** Weighted so, the data have the shares of $\pi^*$, up to the chance of a finite sample. Now a diffusion model learns them: the loss of lesson 01, each action with your weight. Here are two trainings, one without weights (cloning) and one with them. No critic is learned, we take $Q$ as it is.

# %%
def trained(w: Tensor, updates: int = 1500):
    """A denoiser of the recorded actions, each with its weight."""
    D = seeded(SEED, lambda: NeuralDenoiser(MLP(2, width=64, depth=3), Cosine(), "x0"))
    loss = lambda rows: denoising_loss(D, rows["a"], weight=rows["w"], generator=generator)
    update = descend(loss, D, lr=5e-3, schedule=cosine_decay(updates), ema=0.98)
    for _ in fit(update, Batches({"a": recorded / 0.8, "w": w}, 256, generator), updates):
        pass
    return update.ema.module


def drawn(D, n: int = 1000) -> Tensor:
    """n actions of a denoiser that was trained on actions / 0.8."""
    a_T = torch.randn(n, 2, generator=generator)
    return 0.8 * sample(clip(D, -1.25, 1.25), a_T, steps=20, step=dpm_pp_2m()).detach()

# %%
learned = {"cloning": drawn(trained(torch.ones(N))), "weighted, eta = 1": drawn(trained(w))}
rewards = {name: bandit.found(a)["reward"] for name, a in learned.items()}
assert rewards["weighted, eta = 1"] > rewards["cloning"] + 1 > 2.5, "large effect: weights improve the policy"
actions.scatter(learned | {"exact, eta = 1": improvement.exact_draws(1000, 1.0, SEED)}, cols=3, alt="Actions of a clone on all four discs "
    "alike; those of the weighted model and of the exact policy lie mostly on the disc that pays 5.")

# %% [markdown]
# **Large effect.** Of these two trainings, the one with your weights is paid more than the clone, by more than 1. It has learned from recorded actions alone: nobody asked what an action beside them would be worth.
#
# ## 3 · Expectiles: how good can the data be?
#
# For more than one step, $V$ must say what the state is worth under a *better* policy, again without asking about actions beyond the data. IQL (Kostrikov et al. 2022) takes an expectile of $Q$ over the recorded actions: $V$ is where the loss $|\tau - [u < 0]|\, u^2$ of $u = Q - V$ is smallest. With $\tau = 1/2$ that is the mean.
#
# **Exercise 2** (medium, 10 minutes). Write this loss, averaged over the actions. Pitfall: which side has the weight $\tau$?

# %% tags=["exercise"]
def expectile(q: Tensor, v: Tensor, tau: float) -> Tensor:
    """q [B] of recorded actions, v [] or [B]. -> the loss []"""
    ### BEGIN SOLUTION
    u = q - v
    return (torch.where(u > 0, tau, 1 - tau) * u**2).mean()
    ### END SOLUTION


check("10.expectile", expectile)

# %%
expectile, line = mine("10.expectile"), torch.linspace(0, 5, 251)
lowest = lambda q, tau: float(line[torch.stack([expectile(q, v, tau) for v in line]).argmin()])
taus, four = [0.1, 0.3, 0.5, 0.7, 0.9, 0.97, 0.99], torch.tensor(bandit.PAID)
seen, exact = ([lowest(q, tau) for tau in taus] for q in (paid, four))
assert all(abs(a - b) < 0.25 for a, b in zip(seen, exact, strict=True)), "exact: expectiles of what the four discs pay"
widgets.lines(taus, {"data": seen, "exact": exact}, xlabel="tau", ylabel="V", points=True, alt="V over tau: it rises from below 1 "
    "through the mean at one half towards 5, the most that was paid; recorded and exact curves agree.")

# %% [markdown]
# **Exact.** The expectiles of the recorded rewards are those of what the four discs pay, up to chance. Near $\tau = 1$ the value comes near to the best of the data, 5, and never goes beyond it.
#
# ## 4 · Climbing a critic
#
# Another way is to *climb*: draw an action, ask a learned $Q$, and follow its slope, while the loss of cloning holds the policy near the data. TD3+BC (Fujimoto and Gu 2021) does so with one action, Diffusion-QL (Wang et al. 2023) with a diffusion policy, through its whole chain. $Q$ was learned at recorded actions only. What does it say about others?

# %%
belief = guess("10.belief", "What does the critic of TD3+BC believe that its policy's action is paid?", 0.0, 6.0, "reward")
belief

# %%
clone, climber, guided, single = (actions.policy(what) for what in ("IDQL", "Diffusion-QL", "CFGRL", "TD3+BC"))
acts = {"the data": recorded, "exact, eta = 1": improvement.exact_draws(1000, 1.0, SEED), "cloning": learned["cloning"],
    "weighted, eta = 1": learned["weighted, eta = 1"], "best of 16": improvement.done(clone, 300, candidates=16),
    "guidance, w = 1": improvement.done(guided, 300, w=1.0), "Diffusion-QL, eta = 1": improvement.done(climber, 300),
    "TD3+BC": improvement.done(single, 300)}
belief.reveal(improvement.believed(single, acts["TD3+BC"]))

# %% tags=["punchline"]
actions.scatter(acts, alt="Eight planes with four discs: the clone fills all discs like the data; the exact policy, weights, guidance, "
    "Diffusion-QL and the best of sixteen lie on those that pay, but for some crosses beside them; TD3+BC does one action on no disc.")

# %%
thought, got = (f(acts["TD3+BC"]) for f in (lambda a: improvement.believed(single, a), lambda a: bandit.found(a)["reward"]))
assert thought > 3 and got < 1, "large effect: the critic believes in an action that pays nothing"
wrong = improvement.q_of(single, torch.tensor(bandit.CENTRES)) - four
assert wrong.abs().max() < 0.6, "large effect: at the centres of the discs it is right"
actions.q_map(single, acts["TD3+BC"][:1], alt="Left what is paid, four discs on an empty plane; right what the critic believes: "
    "smooth hills that join the discs, and the policy's one cross on their side, on no disc.")

# %% [markdown]
# **Large effect.** The critic of TD3+BC believes that the action is paid more than 3, and it is paid nothing. At the centres of the discs the critic is right, to 0.6. Beside them no action was recorded, so nothing in its loss says 0, and a smooth network fills the plane. TD3+BC has *one* action for four modes: imitation pulls it to the empty middle, $Q$ pulls it towards the best disc, and it ends between. Diffusion-QL climbs a critic of the same kind and reaches the best disc: its loss of cloning pulls an action to a mode, not to the middle. Some of its actions overshoot into the corner, where $Q$ is no lower.
#
# ## 5 · Choosing among draws
#
# IDQL (in the references) does not climb. Its diffusion model clones, and of $N$ actions it draws, the one of the highest $Q$ is done.
#
# **Exercise 3** (medium, 15 minutes). Write the best of $N$ for $m$ decisions. Pitfall: each decision chooses among its own $N$.

# %% tags=["exercise"]
def best(draw, Q, N: int, m: int) -> Tensor:
    """draw(n) -> n actions [n, d]; Q(a [n, d]) -> [n]. -> the actions [m, d] that are done"""
    ### BEGIN SOLUTION
    a = draw(m * N).view(m, N, -1)
    return a[torch.arange(m), Q(a.flatten(0, 1)).view(m, N).argmax(1)]
    ### END SOLUTION


check("10.best", best)

# %% [markdown]
# With the exact $Q$ and draws of the data the mean reward is an order statistic: the largest of $N$ rewards. We hold your function against it, with the shipped clone (one training) and its learned critic.

# %%
best, counts = mine("10.best"), [1, 2, 4, 8, 16]
draw = lambda n: clone.sample([[0.0]], n=n, generator=generator)[0].clamp(-1, 1)
Q = lambda a: improvement.q_of(clone, a)
chosen = [bandit.found(best(draw, Q, n, 400))["reward"] for n in counts]
assert chosen[-1] > 4.5 > 3 > chosen[0], "large effect: of sixteen draws the best is paid nearly as much as there is"
widgets.lines(counts, {"model": chosen, "exact": [bandit.best_of(n) for n in counts]}, logx=True, points=True,
    xlabel="N", ylabel="reward", alt="Reward over the number of draws: the learned policy rises with the exact order "
    "statistic, close to it, from about 2 for one draw to nearly 5 for sixteen.")

# %% [markdown]
# **Large effect.** Of sixteen draws, the best is paid nearly 5. Its price is seen in the picture above: of the modes little more than one is left, and sixteen actions are drawn for each one that is done. And $N$ is no temperature: the distribution of the best of $N$ is not $\mu \exp(Q / \eta)$ for any $\eta$.
#
# ## 6 · Drawing the improved policy
#
# **Exercise 4** (hard, 25 minutes). This is the synthesis of the lesson. The data's denoiser is $E[x_0 \mid x_t]$, the mean of the actions that $x_t$ may become. For $\pi^*$ each of them counts by $\exp(Q / \eta)$, in *every* step of the chain (Lu et al. 2023 train a network to do this). Write the chain whole: `posterior` draws $K$ such actions, the rest is yours. The exact shares judge it. Pitfalls: over what do the weights sum to 1? Which $\hat{x}_0$ makes the noise of the next step?

# %% tags=["exercise"]
def improve(posterior, Q, eta: float, x: Tensor, times: Tensor, schedule) -> Tensor:
    """posterior(x, t) -> actions [K, n, d] that x [n, d] may become; times fall to 0; schedule(t) -> alpha, sigma"""
    ### BEGIN SOLUTION
    for t, s in zip(times[:-1], times[1:], strict=True):
        (alpha_t, sigma_t), (alpha_s, sigma_s) = schedule(t), schedule(s)
        a = posterior(x, t)
        x0_hat = ((Q(a) / eta).softmax(0)[..., None] * a).sum(0)
        x = alpha_s * x0_hat + sigma_s * (x - alpha_t * x0_hat) / sigma_t
    return x
    ### END SOLUTION


check("10.improve", improve)

# %%
improve, times = mine("10.improve"), torch.linspace(0.99, 0, 31, dtype=torch.float64)
posterior = lambda x, t: actions.posterior(x, t, generator=generator)
noise = lambda: torch.randn(400, 2, generator=generator, dtype=torch.float64)
tilted = {eta: improve(posterior, bandit.reward, eta, noise(), times, Cosine()) for eta in (4.0, 2.0, 1.0)}
far = {eta: improvement.to_exact(a, eta) for eta, a in tilted.items()}
assert max(far.values()) < 0.12, "exact: the chain has the shares of the exact policy"
actions.scatter({f"eta = {eta:g}": a for eta, a in tilted.items()}, cols=3, alt="Actions drawn by the chain at three "
    "temperatures: all on the discs, and the lower the temperature the more on the one that pays 5.")

# %%
widgets.table({"eta": [f"{eta:g}" for eta in far], "to the exact policy": [f"{v:.3f}" for v in far.values()],
    "floor": [f"{improvement.floor(400, eta):.3f}" for eta in far], "paid": [f"{bandit.found(a)['reward']:.2f}" for a in tilted.values()],
    "exact, paid": [f"{worth(eta):.2f}" for eta in far]})

# %% [markdown]
# **Exact.** Your chain has the shares of $\pi^*$ at all three temperatures, to a total variation below 0.12; as many draws of $\pi^*$ itself have the floor beside it.
#
# ## 7 · All of them, three trainings each
#
# The study behind this lesson trained every policy three times, on 5,000 recorded actions each time, with critics that were learned. The table has the mean of the three, and in brackets the lowest and the highest. *Off the modes* is the share of actions that lie on no disc. The entropy is 1 where all four discs are taken alike, and 0 where only one is. *To the exact policy* is a total variation as above, and *believed* is what the policy's own critic says of its actions. CFGRL (Frans et al. 2025) is classifier-free guidance: a model is told whether an action was better than $V$, and is asked for better ones with a weight $w$. *Best of the data* learns nothing: it repeats one of the recorded actions that were paid most.
#
# They ask their critics about different actions. Weights and CFGRL ask about recorded actions alone, IDQL about draws of its clone, TD3+BC and Diffusion-QL about whatever action their policy does by then.

# %%
study = actions.Study("bandit")
study.rows([*improvement.SIMPLE, *improvement.ARMS])

# %%
reward, off = (lambda arm: study("reward", arm=arm)), (lambda arm: study("off", arm=arm))
better, climbs = ["weighted, eta = 1", "CFGRL, w = 1", "IDQL, best of 16"], "Diffusion-QL, eta = 1"
for arm in better:
    assert (reward(arm) > reward("the data") + 1).all() and (off(arm) < 0.15).all(), "large effect: it improves, on the discs"
assert (off("TD3+BC") > 0.9).all() and (study("believed", arm="TD3+BC") > 4).all(), "large effect: one action that climbs"
assert (off(climbs) > 0.3).sum() == 1 and (study("believed", arm=climbs) > 4.9).all(), "large effect: a chain that climbs"
assert (reward("best of the data") == 5).all(), "exact: nothing can be paid more than the best recorded action"
assert (study("entropy", arm="weighted, eta = 1") > study("entropy", arm="IDQL, best of 16") + 0.1).all(), "large effect: modes"

# %% [markdown]
# **Large effect.** Weights, guidance and the best of sixteen are paid more than the data by more than 1 in each of the three trainings, and fewer than 15 % of their actions lie beside the discs. TD3+BC leaves the discs in each training, and its critic believes in more than 4.
#
# **Large effect.** Diffusion-QL lies between: it climbs, and in one of its three trainings more than 30 % of its actions lie beside the discs, in the corner, where its critic is as sure as in the others. A stronger pull, $\eta = 10$ in Diffusion-QL's own sense (there a *large* one is greedy), did not make it worse here.
#
# **Exact.** No policy can be paid more than the best recorded action, and repeating that action costs nothing. So in a bandit with one state every method has to be held against this baseline. A model is needed where states do not come twice: then nobody recorded what the best action of a new state is.
#
# **Large effect.** Weighting keeps more of the modes than the best of sixteen. Who wants *several* good actions, not the best one, needs a temperature, and among these only weighting has the exact policy's.
#
# **Open.** Settings were chosen for the clone, and one state has no errors that add up over steps. The order of those that improve was not tested.
#
# ## 8 · Move it
#
# Three dials for the same wish: how many draws, how much guidance, how cold.

# %%
slider = actions.Slider()
explore(slider.picture, candidates=[4, 1, 2, 16], w=[1, 0, 3, 8, 20], eta=[1, 0.5, 2, 4, 20])

# %% [markdown]
# ## 9 · Break it: too much guidance
#
# If $w = 1$ asks for better actions, does $w = 20$ ask for better ones still?

# %% tags=["broken"]
pushed = {f"w = {v:g}": improvement.done(guided, 300, w=v) for v in (0.0, 1.0, 8.0, 20.0)}
actions.scatter(pushed, alt="Actions of the guided policy at four weights: at 0 on all discs, at 1 and 8 on the two that pay "
    "more than the mean, at 20 nearly all are crosses beside the discs.")

# %%
dial, W = actions.Study("guidance"), list(improvement.WEIGHTS)
column = {name: {v: dial(name, w=v) for v in W} for name in ("off", "reward", "believed")}

# %%
beside, earned, thinks = column.values()
assert (beside[20.0] > beside[1.0] + 0.5).all(), "large effect: too much guidance leaves the data"
fell = earned[8.0] < earned[1.0] - 1
assert fell.sum() == 2 and (thinks[8.0] > thinks[1.0] - 0.5).all(), "large effect: at w = 8 the critic misses the fall"
assert (thinks[20.0] < thinks[1.0] - 0.5).all(), "large effect: at w = 20 it notices something"
assert (thinks[20.0] > earned[20.0] + 1).all(), "large effect: but not how far the reward fell"
widgets.table({"w": [f"{v:g}" for v in W], **{head: [f"{column[name][v].mean():.2f}" for v in W]
    for head, name in {"off the discs": "off", "paid": "reward", "believed": "believed"}.items()}})

# %% [markdown]
# **Large effect.** The picture is of the first of three trainings, the table has their means. In the picture $w = 8$ still holds; in the other two trainings it pays less than $w = 1$ by more than 1. In each training the share beside the discs is larger at $w = 20$ than at $w = 1$ by more than a half.
#
# **Large effect.** The critic misses the fall at $w = 8$: in no training does it believe in 0.5 less than at $w = 1$. At $w = 20$ its belief has fallen by more than 0.5, but it is still more than 1 above what is paid. Who tunes $w$ by the critic's own opinion sees the fall too late.
#
# | signature | in the picture | the number that gives it away | cure |
# |---|---|---|---|
# | too much guidance | crosses beside the discs, at the edge | share of actions off the data; believed minus paid | smaller $w$ |
# | one action climbs $Q$ between modes | a single cross on no disc | believed minus paid | a policy that is drawn, or choosing among draws |
# | $N$ too large, $\eta$ too small | one disc left | entropy of the modes | fewer draws, a higher temperature |
# | a clone that was trained too little | crosses between all discs | share off the data at $w = 0$ or $N = 1$ | more updates |
#
# ## 10 · What the survey claims, and what was measured
#
# | The survey says | Measured here | Verdict |
# |---|---|---|
# | Diffusion suits offline data: it stays where the data are and extrapolates less | in this bandit policies that weigh or choose what was recorded stay on the discs, where TD3+BC leaves them; climbing, or pushed by too much guidance, diffusion leaves them, too. In `avoid` (*Further*) the order is reversed: in each of three trainings IDQL, CFGRL and Diffusion-QL begin more of their steps away from the data than TD3+BC does | open: held (large effect) against TD3+BC in the bandit, reversed (large effect) in avoid |
# | Diffusion-based methods beat the best others | in the bandit repeating the best recorded action is as good as any; on our own Hopper recording (*Further*), not a benchmark, cloning the best tenth scores more than every diffusion policy, in each of three trainings; no benchmark was run | open |
# | Several modes are kept where one Gaussian cannot | weights keep the modes of the exact policy; Diffusion-QL keeps one, and the best of sixteen little more than one | held (large effect) for weights in this bandit, not for policies that take the best action |
#
# **Symbols.** $a$ an action; $\mu$ the distribution of the data, $\pi$ a policy, $\pi^*$ the best; $Q, V, A$ `q, v, adv` value of an action, of the state, the advantage; $\eta$ `eta` temperature; $\tau$ `tau` which expectile, $u$ the error; $N$, $m$ draws for each of $m$ decisions; $K$ draws of what $x_t$ may become; $w$ weight of guidance; $x_t, \hat{x}_0$ as in lesson 01.
#
# **References.** Kostrikov et al., "Offline Reinforcement Learning with Implicit Q-Learning" (2022). Fujimoto and Gu, "A Minimalist Approach to Offline Reinforcement Learning" (2021). Wang et al., "Diffusion Policies as an Expressive Policy Class for Offline Reinforcement Learning" (2023). Hansen-Estruch et al., "IDQL: Implicit Q-Learning as an Actor-Critic Method with Diffusion Policies" (2023). Frans et al., "Diffusion Guidance Is a Controllable Policy Improvement Operator" (2025). Peng et al., "Advantage-Weighted Regression: Simple and Scalable Off-Policy Reinforcement Learning" (2019). Lu et al., "Contrastive Energy Prediction for Exact Energy-Guided Diffusion Sampling in Offline Reinforcement Learning" (2023). The survey: "Diffusion Models for Reinforcement Learning" (arXiv 2510.12253, 2025).
#
# **Next.** Lesson 13 learns the world itself; with it, actions can be tried that nobody recorded.

# %% [markdown]
# ## Further · is it guidance, or the network?
#
# Too much guidance left the discs. With *exact* denoisers, of the data and of their better actions, no network can be wrong. Does $w = 20$ leave the discs then?

# %%
discs = torch.tensor(bandit.CENTRES)
free, good = (MixtureDenoiser(torch.ones(len(m)), m, Cosine(), std=bandit.STD) for m in (discs, discs[[0, 3]]))
exactly = {}
for v in (0.0, 1.0, 8.0, 20.0):
    D = Function(lambda x, t, _=None, v=v: free(x, t) + v * (good(x, t) - free(x, t)), Cosine())
    exactly[f"w = {v:g}"] = sample(clip(D), torch.randn(500, 2, generator=generator), steps=20, step=dpm_pp_2m())
assert all(bandit.found(a)["off"] < 0.02 for a in exactly.values()), "exact: exact guidance stays on the discs"
actions.scatter(exactly, alt="Actions under guidance with exact denoisers at the weights 0, 1, 8 and 20: all on the four discs "
    "without guidance, all on the two better ones with it, however strong.")

# %% [markdown]
# **Exact.** With exact denoisers guidance stays on the discs at every weight. So in this bandit the fall is the network's: $w$ multiplies the difference of two answers, and its errors with it. These modes are far apart; for modes that overlap, see lesson 05.

# %% [markdown]
# ## Further · four later methods
#
# Four more files of `methods/policies` were trained on this bandit, three times each: QGPO learns the guidance of lesson 05 by contrast of what critics say of several draws (Lu et al. 2023); EDP climbs $Q$ from one step of the chain (Kang et al. 2023); FQL teaches a single step to imitate a clone and to climb $Q$ (Park et al. 2025); DSRL learns which noise to feed a clone that stays as it is (Wagenmaker et al. 2025). IQL has one Gaussian and no chain.

# %%
later = actions.Study("more")
assert (later("off", arm="IQL") > 0.8).all(), "large effect: one Gaussian lies between the discs"
assert (later("off", arm="QGPO, eta = 1") < 0.1).all() and (later("off", arm="DSRL") < 0.1).all(), "large effect: both stay"
assert (later("entropy", arm="DSRL") == 0).all() and later("reward", arm="DSRL").min() < 2, "large effect: one disc, once a wrong one"
later.rows(["IQL", "FQL, alpha = 1", "FQL, alpha = 10", "EDP, eta = 1", "QGPO, eta = 1", "DSRL"])

# %% [markdown]
# **Large effect.** More than 80 % of the actions of IQL's Gaussian lie between the discs, where nothing is paid. QGPO and DSRL stay on them. DSRL keeps a single disc in each training, and in one of them not the best: a noise that is learned commits to one disc, and it can be the wrong one.

# %% [markdown]
# SRPO came last: one action for each state, which climbs $Q$ and is held by the score of a frozen clone (Chen et al. 2024). The clone is asked at all levels of noise, and high levels count most. There the discs are one blob, and its score leads to their mean. `eta` says how hard the action is held; `little noise` is held as hard as `eta = 10`, but at low levels alone. Three trainings of each:

# %%
one = {arm: later("reward", arm=f"SRPO, {arm}") for arm in ("eta = 1", "eta = 10", "little noise")}
assert (one["eta = 1"] > 4.9).all() and (one["little noise"] > 4.9).all(), "large effect: on the best disc"
assert (one["eta = 10"] < 0.1).all() and (later("believed", arm="SRPO, eta = 10") > 4.5).all(), "large effect: on none, believed"
later.rows([f"SRPO, {arm}" for arm in one])

# %% [markdown]
# **Large effect.** Held hard at all levels of noise, SRPO's action lies on no disc and is paid nothing in each training, while its critics believe in more than 4.5. Held as hard at low levels it lies on the best disc.

# %% [markdown]
# ## Further · where errors add up
#
# In the bandit one action is judged. In `avoid` (lesson 09) a drive takes a hundred of them through three rows of posts, and here each of its 24 ways is paid differently: the data about 3, the best way 6. Every policy has the same recordings, the same number of updates (so not the same CPU time) and the same starts, and three trainings. A policy is called *off* where more than a fifth of its steps begin away from every recorded position (how far is in `docs/studies/offline.md`).

# %%
ways = actions.paid_ways()
score, far = (lambda arm, name=name: ways.column(name, arm=arm).astype(float) for name in ("score", "off"))
above = lambda one, *others: all(score(one).min() > score(other).max() for other in others)
leave, stay = ("IDQL, best of 4", "CFGRL, w = 3", "Diffusion-QL"), ("TD3+BC", "SRPO", "IQL")
assert all(above(arm, "the data") for arm in (*leave, "IQL")), "large effect: paid more than the data"
assert all((far(arm) > actions.OFF).all() for arm in leave), "large effect: these three leave the data"
assert all((far(arm) < 0.03).all() for arm in stay), "large effect: and these three stay, in each training"
assert all((ways.column("success", arm=a) == 0).all() for a in ("Diffusion-QL, best of 16", "DSRL")), "large effect: no drive arrives"
assert (score("SRPO") > score("the data").mean()).sum() == 2, "large effect: SRPO is paid more in two of three"
assert above("IDQL, best of 4", *stay), "large effect: IDQL is paid more than those that stay"
assert above("CFGRL, w = 3", "IQL") and above("Diffusion-QL", "IQL"), "large effect: and these two more than IQL"
actions.driven(ways, alt="Scores of fifteen policies, a dot for each of three trainings: IDQL, CFGRL and Diffusion-QL are paid most and "
    "are off the data; TD3+BC, SRPO and IQL follow; QGPO, EDP and cloning lie at the data's line; Diffusion-QL's best of 16 and DSRL are paid least.")

# %% [markdown]
# **Large effect.** Four policies are paid more than the data in each training: IQL, IDQL, CFGRL and Diffusion-QL. In each training IDQL, CFGRL and Diffusion-QL begin more than a fifth of their steps where nobody recorded. TD3+BC, with one action, begins fewer than 3 % of its steps there: the reverse of the bandit. So do IQL and SRPO.
#
# **Large effect.** With sixteen draws to choose among, no drive of Diffusion-QL arrives. In the bandit DSRL stays on the discs, here none of its drives arrives either. SRPO, held by all levels of noise at `eta = 1`, is paid more than the data on average in two of three trainings.
#
# **Large effect.** Each training of IDQL is paid more than each of TD3+BC, SRPO and IQL, and each of CFGRL and Diffusion-QL more than each of IQL.
#
# **Open.** Which of IDQL, CFGRL and Diffusion-QL is best was not decided, for their trainings overlap. Why the best of sixteen fails here and is best in the bandit was not looked into. Networks are small (three layers of 64), and each method had one setting.

# %% [markdown]
# ## Further · a robot, and the best tenth of what was recorded
#
# Hopper has 11 numbers of state, 3 of action, and its recording holds steps of policies from untrained to medium. Every method had about a minute of CPU time, its critics included, and drives ten starts after each of three trainings. The simplest baseline is least squares on the tenth of the steps that belong to the best episodes.

# %%
robot = actions.on_robot()
scores = {row["arm"]: row["by_seed"] for row in robot.about["summary"] if row["seeds"]}
tenth = scores.pop("least squares, best 10 %")
assert min(tenth) > 1.1 * max(max(each) for each in scores.values()), "large effect: the best tenth, cloned, scores more than any other policy"
assert max(scores["diffusion cloning"]) < min(scores["least squares"]) / 2, "large effect: a drawn clone scores less than a mean"
actions.hopped(robot, alt="Scores of thirteen policies on Hopper with intervals over trainings and starts: least squares on the best tenth lies "
    "alone on the right, with a wide interval that ends near the best recorded episode; IQL's mean is the first of the others, diffusion cloning lies last at the data's line.")

# %% [markdown]
# **Large effect.** Cloning the best tenth scores more in each of its three trainings than any other policy in any of its own. In one of them it comes near the best recorded episode, in the other two it stays far below it. Draws of a diffusion clone of all steps score less than half of what the mean of these steps (least squares) scores, in each training.
#
# **Open.** Why draws score less was not tested: the recording holds bad actions, and a draw repeats them, where a mean may not. Which method is best with a million updates, as in the papers, is open as well, for here are a few thousand. The published score in `docs/studies.md` is of other data.
