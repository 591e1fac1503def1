# %% [markdown]
# # 03 · MDPs and offline data
#
# **The question.** You have recordings of somebody else's decisions, and you may not try anything yourself. What can go wrong?
#
# Three things can. You meet each of them in a world so small that the right answer is known exactly: a value that stops where the recording stops,
# a clone that is perfect on its data and still lost, and a maximum that prefers what nobody ever did. Then you see which of them diffusion cures.
#
# **Afterwards you can**
# - compute values exactly, regress them from recordings, and treat a time limit as what it is;
# - say why a low imitation loss, or a low TD loss, is not a good policy;
# - spot extrapolation error, and keep a policy inside its data.
#
# **You need** torch and probabilities; section 5 draws from a diffusion model, as in lesson 01. **Machine:** about 30 seconds on two CPU
# cores, no network. **You:** 80 minutes (an estimate).

# %% tags=["collapsed"]
from functools import lru_cache

import torch
from torch import nn

from diffrl_lab import widgets
from diffrl_lab.course import check, guess, hint
from diffrl_lab.diffusion import Cosine, MixtureDenoiser, ddpm, sample
from diffrl_lab.studies import offline
from diffrl_lab.widgets.explore import explore
from diffrl_lab.worlds.mdps import Corridor, comb_maze, drivers, grid_world

torch.set_num_threads(1)  # for networks this small a second thread only waits

# %% tags=["parameters"]
PROFILE = "class"  # smoke: seconds; class: half a minute; full: more recordings, more seeds
SEED = 0

# %%
EPISODES, SEEDS, SWEEPS = {"smoke": (1600, 6, 25), "class": (6400, 12, 25), "full": (25_600, 40, 60)}[PROFILE]
generator = torch.Generator().manual_seed(SEED)
widgets.component_map("data", alt="The survey's component map from data to execution; lit in lesson 03: data.")

# %% [markdown]
# ## 1 · A world that is known
#
# A **Markov decision process** (MDP): in state $s$ you take an action $a$, the world draws the next state $s'$ from $P(s' \mid s, a)$ and pays the reward $r(s, a)$; then you act again. Steps of the
# environment are numbered $k$. (The letter `t` is taken: in this course it is diffusion time.) What matters is the discounted sum
# $G = \sum_k \gamma^k r_k$, and the best mean of it obeys Bellman's equation
# $$V(s) = \max_a Q(s, a), \qquad Q(s, a) = r(s, a) + \gamma \sum_{s'} P(s' \mid s, a)\, V(s').$$
# *Value iteration* starts from $V = 0$ and puts $V$ into the right-hand side, again and again.
#
# **Exercise 1 · one sweep** (easy, 8 minutes). Write the step of value iteration. Pitfalls: the world's draw is averaged, your choice is not; the reward of this step is not discounted.

# %% tags=["exercise"]
def backup(P: torch.Tensor, rew: torch.Tensor, gamma: float, V: torch.Tensor) -> torch.Tensor:
    """P [S, A, S], rew [S, A], V [S]: the values after one sweep. -> [S]"""
    ### BEGIN SOLUTION
    return (rew + gamma * P @ V).amax(dim=-1)
    ### END SOLUTION


check("03.backup", backup)

# %% [markdown]
# Here is a grid of 5 by 7 cells with a goal G (+1) at the upper right and a pit X ($-1$) below it. The floor is wet: one move in five slips to a side.

# %%
world = grid_world(("......G", ".##.##X", ".......", ".##.##.", "......."), slip=0.2, gamma=0.95)
marks = {letter: world.cells[world.state(letter)] for letter in "GX"}
waves = guess("03.sweeps", "After how many sweeps does the lower left corner first have a value above 0?", 0, 30)
waves

# %%
V_star, best = world.optimal()
sweeps = [torch.zeros_like(V_star)]
while (sweeps[-1] - V_star).abs().max() > 1e-6:
    sweeps.append(world.q(sweeps[-1]).amax(1))
waves.reveal(next(n for n, V in enumerate(sweeps) if V[-7] > 1e-9))  # the lower left corner: the last row has 7 cells

# %%
error = torch.stack([(V - V_star).abs().max() for V in sweeps])
assert (error[1:] <= 0.95 * error[:-1] + 1e-12).all(), "exact: each sweep shrinks the worst error by gamma at least"
explore(lambda sweep: offline.values_and_moves(world, sweeps[sweep], marks, f"After {sweep} sweeps; largest error {error[sweep]:.2g}"),
        sweep=(0, len(sweeps) - 1, 1, 8))

# %% [markdown]
# Drag back to 0. Value spreads from the goal, one cell per sweep. (G itself has value 0, because its reward is paid on entering.) When all has settled, look at the
# cell below the pit: its arrow turns its back on the pit and takes the long way round.
#
# **Exact.** Each sweep shrinks the worst error by the factor $\gamma$ or more, in any world (value iteration is a contraction).
#
# ## 2 · Values from recordings
#
# Now $P$ and $r$ are unknown. There are only recordings of a driver, who takes the best move seven times in ten and any move otherwise. The value of
# *his* policy $\pi$ is a mean, $V^\pi(s) = \mathbb{E}[G \mid s]$. So we regress the returns that followed each state. With one number per state, least squares gives the mean.

# %%
def regress(steps, y):
    """The mean of y over the steps that begin in each state: least squares with one number per state."""
    count = torch.bincount(steps.obs, minlength=len(V_driver))
    return torch.zeros_like(V_driver).index_add(0, steps.obs, y) / count.clamp(min=1)


driver, alive = 0.7 * best + 0.3 / 4, ~world.terminal
V_driver = world.value(driver)  # exact: a linear system

# %%
sizes = [EPISODES // 64, EPISODES // 16, EPISODES // 4, EPISODES]
records = [world.roll_out(driver, n, 400, generator) for n in sizes for _ in range(4)]
off = torch.stack([(regress(r, offline.returns(r, 0.95)) - V_driver)[alive].square().mean() for r in records])
rms = off.reshape(4, 4).mean(1).sqrt()

# %%
assert rms[0] > 3 * rms[-1], "large effect: 64 times the episodes, about an eighth of the error"
widgets.lines(sizes, {"regression": rms, "one over the root": rms[0] * (sizes[0] / torch.tensor(sizes)) ** 0.5}, logx=True, logy=True, points=True,
            xlabel="recorded episodes", ylabel="error of V, root mean square", title="Return regression: noisy, and right in the end",
            alt="Error of the regressed values against the number of episodes, falling along one over the root.")

# %% [markdown]
# This regression has no model and no bias. It has only noise, which falls with the root of the number of episodes. A *return-guided* diffusion planner does the same regression (lesson 05).
#
# ### The recorder stops, the world does not
#
# Real recordings have a **time limit**. Say that the recorder stops after eight steps (`truncated`). That is not the same as reaching G or X (`terminated`). Two habits ignore the difference: taking
# the return up to the limit, and learning from one step at a time but setting the future to 0 at *every* end of an episode.
#
# **Exercise 2 · the target** (easy, 6 minutes). One step suggests a value for $s$: what it paid, plus what may follow. Write this target. `next_V` is an estimate of $V(s')$, `terminated` and `truncated` are bool.
# Pitfall: which flag ends the world?

# %% tags=["exercise"]
def target(rew: torch.Tensor, next_V: torch.Tensor, terminated: torch.Tensor, truncated: torch.Tensor,
           gamma: float) -> torch.Tensor:
    """What V(s) should be, seen from one step; all [N]. -> [N]"""
    ### BEGIN SOLUTION
    return rew + gamma * ~terminated * next_V
    ### END SOLUTION


check("03.target", target)

# %%
cut = world.roll_out(driver, EPISODES, 8, generator)
print(f"{cut.truncated.sum() / (cut.truncated | cut.terminated).sum():.0%} of the episodes end by the limit; the true mean value is {V_driver[alive].mean():.2f}")
low = guess("03.limit", "What mean value comes out if every end of an episode counts as terminal?", 0.0, 0.8)
low

# %%
def bootstrapped(over):
    V = torch.zeros_like(V_driver)
    for _ in range(300):
        V = regress(cut, cut.rew + 0.95 * ~over * V[cut.next_obs])
    return V


fits = {"returns up to the limit": regress(cut, offline.returns(cut, 0.95)), "a limit is a terminal": bootstrapped(cut.terminated | cut.truncated),
        "the world goes on": bootstrapped(cut.terminated)}
mean = {name: float(V[alive].mean()) for name, V in fits.items()}
low.reveal(mean["a limit is a terminal"])

# %%
truth, order = float(V_driver[alive].mean()), torch.argsort(V_driver[alive])
assert max(mean["returns up to the limit"], mean["a limit is a terminal"]) < 0.75 * truth, "large effect: both far too low"
assert abs(mean["the world goes on"] - truth) < 0.15 * truth, "large effect: bootstrapping through the limit repairs it"
widgets.lines(range(int(alive.sum())), {"exact": V_driver[alive][order], **{n: V[alive][order] for n, V in fits.items()}},
            xlabel="cells, worst to best", ylabel="V of the driver",
            alt="Values per cell: bootstrapped through the limit they lie on the exact ones, the other two far below.")

# %% [markdown]
# **Large effect.** A learner that counts a time limit as a terminal finds far lower values than one that does not, on the same data with the same loss (Pardo et al. 2018). Gymnasium and Minari keep the two flags apart; many data loaders do not.
#
# ## 3 · Copy the driver
#
# Forget values. An expert drives along a bridge, three lanes wide, from S to G, between pits X; the floor slips one time in ten. **Behaviour cloning** (BC) learns *state → action* from her episodes as a classifier.
# Ours is the best classifier there can be: in each recorded state it does what she did there, so its training loss is exactly 0. In all other states it knows nothing and takes any move.

# %%
bridge = grid_world(("X" * 20, "." * 20, "S" + "." * 18 + "G", "." * 20, "X" * 20), slip=0.1)
expert = nn.functional.one_hot(bridge.optimal()[1].argmax(1), 4).double()


def clone(n, seed):
    """The policy [S, A] that copies n episodes of the expert, and how many steps of hers it saw in each state [S]."""
    steps = bridge.roll_out(expert, n, 400, torch.Generator().manual_seed(1000 * SEED + seed))
    count = torch.zeros_like(expert).index_put((steps.obs, steps.act), torch.ones((), dtype=torch.float64), True)
    total = count.sum(1, keepdim=True)
    return torch.where(total > 0, count / total.clamp(min=1), 0.25), total[:, 0]

# %%
print(f"the expert: {offline.arrival(bridge, expert):.1%} arrive")
lost = guess("03.clone", "A clone of 8 episodes errs in about 5 of 100 of her steps. Of 100 drives, how many arrive?", 0, 100)
lost

# %%
sizes = [2, 4, 8, 16, 32, 64]
clones = [[clone(n, seed)[0] for seed in range(SEEDS)] for n in sizes]
table = torch.tensor([[(offline.arrival(bridge, p), offline.wrong_moves(bridge, expert, p)) for p in row] for row in clones])
lost.reveal(100 * float(table[2, :, 0].mean()))

# %%
explore(lambda episodes, seed: offline.clone_picture(bridge, expert, *clone(episodes, seed), episodes),
        episodes=(1, 64, 1, 8), seed=(0, SEEDS - 1))

# %%
success, wrong = offline.bands(table, SEED)  # each a mean with its interval, exact but for the draw of the recordings
assert success[0][2] < 0.75 and wrong[0][2] < 0.1, "large effect: few errors on her states, many drives lost"
assert success[0][-1] > 0.93 > success[0][0] + 0.3, "large effect: more recordings repair it"
widgets.lines(sizes, {"share that arrives": success, "share of wrong moves, on her states": wrong}, logx=True, points=True,
            xlabel="recorded episodes", ylabel="share", title=f"Means of {SEEDS} data sets, with 95 % intervals",
            alt="Against recorded episodes: the share of drives that arrive climbs from under a half to nearly one, wrong moves stay low.")

# %% [markdown]
# **Large effect.** A clone of eight episodes makes few wrong moves on the expert's states, and still loses far more drives than she does: a low BC loss is not a good policy. The loss is measured where *she* drives. After one slip the clone
# is in a cell that nobody recorded. There it takes any move, perhaps into the pit, and the loss never hears of it. With $\epsilon$ errors per step the harm can grow with the *square* of the length (Ross et al. 2011). This is **distribution shift**.
#
# ## 4 · Do better than the driver
#
# Offline RL wants more than a copy. Take a corridor of four cells; the one action is the speed $a \in [0, 1]$. Faster is better, up to an edge; beyond it the car crashes. $Q$ has a closed form.
# Three drivers were recorded: a slow one, a brisk one and, in 40 of 1,540 records, a fast one who mostly crashes. **Fitted Q iteration**: a small network regresses $Q(s, a)$ on $r + \gamma \max_{a'} Q(s', a')$,
# over and over.

# %%
road, speeds = Corridor(), offline.SPEEDS
V_road = road.best(speeds)[0]  # exact


@lru_cache
def fitted(fast, seed=0):
    """Fitted Q iteration: the network, and its last TD loss on the data."""
    s, a, after, rew, ended = offline.record(road, fast, 1000 * SEED + seed)
    Q, grid = offline.SpeedValues(1000 * SEED + seed), torch.linspace(0, 1, 41)
    adam = torch.optim.Adam(Q.parameters(), lr=1e-2)
    for _ in range(SWEEPS):
        y = rew + road.gamma * ~ended * Q.everywhere(road.n, grid).amax(1)[after]
        for _ in range(20):
            loss = (Q(s, a) - y).square().mean()
            adam.zero_grad()
            loss.backward()
            adam.step()
    return Q, float(loss.detach())

# %% [markdown]
# Now remove the forty fast records. The network has *fewer bad examples*. Guess, run, then drag them back in.

# %%
gap = guess("03.gap", "With no fast record left: which speed does the fitted Q like best in the first cell?", 0.0, 1.0)
gap

# %%
Q = {fast: fitted(fast)[0].everywhere(road.n) for fast in (40, 0)}
chosen = {fast: speeds[q.argmax(1)] for fast, q in Q.items()}
gap.reveal(float(chosen[0][0]))

# %%
explore(lambda fast, cell, seed: offline.values_picture(road, fitted(fast, seed)[0], offline.record(road, fast, 1000 * SEED + seed)[1], fast, cell),
        fast=(0, 40, 5, 0), cell=(0, 3), seed=(0, 9))

# %%
earned = {fast: float(road.value(a)[0]) for fast, a in chosen.items()}
promised = {fast: float(q[0].max()) for fast, q in Q.items()}
assert earned[40] > 0.5 * V_road[0] > 10 * earned[0], "large effect: without the fast records the policy crashes"
assert promised[0] > 1.2 * V_road[0], "large effect: and it promises more than any policy can earn"

# %% [markdown]
# **Large effect.** Without the fast records the fitted $Q$ promises more than any policy can earn, and its policy earns almost nothing: this is **extrapolation error** (Fujimoto et al. 2019). Left of the gap, faster was better, so the network goes on uphill where nobody drove.
# Taken alone, that is a fair guess. But $\max$ *looks for* the highest guess, and the target hands it back one cell with every sweep. Online, one crash would correct it. Offline nothing does, except a few bad drives in the data: drag `fast` to 5.
#
# ## 5 · What diffusion changes
#
# The cure is to maximise only over what the data hold. A model *proposes* actions that look recorded, and the best of $N$ proposals by $Q$ is driven (this is IDQL, in lesson 10).
# What should propose? Two drivers make two humps, so we draw from the *exact* denoiser of their distribution with DDPM's chain, as in lesson 01. Beside it stands one Gaussian with the data's mean and spread.
#
# **Exercise 3 · the best proposal** (medium, 8 minutes). `q` maps actions of any shape to values. Pitfalls: neither the value nor the number is wanted, but the action; one per row.

# %% tags=["exercise"]
def best_proposal(q, proposals: torch.Tensor) -> torch.Tensor:
    """Of each row of proposals [B, N], the action that q likes best. -> [B]"""
    ### BEGIN SOLUTION
    best = q(proposals).argmax(dim=1, keepdim=True)
    return proposals.gather(1, best)[:, 0]
    ### END SOLUTION


check("03.proposals", best_proposal)

# %%
law, greedy = drivers((1, 1, 0)), fitted(0)[0]
D = MixtureDenoiser(law.weights, law.means, Cosine(), std=law.std)
drawn = sample(D, torch.randn(20_000, 1, generator=generator), steps=50, step=ddpm(), generator=generator)[:, 0]
normal = drawn.mean() + drawn.std() * torch.randn(20_000, generator=generator)
pools = {"diffusion": drawn.clamp(0, 1), "one Gaussian": normal.clamp(0, 1)}

# %%
counts = [1, 2, 4, 8, 16, 32, 64, 128]
value = {name: [offline.worth(road, greedy, pool, N, generator) for N in counts] for name, pool in pools.items()}
reach = float(road.best(offline.record(road, 0, 1000 * SEED)[1])[0][0])  # the best that recorded speeds can do, exact
assert min(value["diffusion"][3:6]) > 0.8 * reach, "large effect: best of 8 to 32 proposals, most of what there is"
assert value["one Gaussian"][6] < 0.5 * reach, "large effect: one Gaussian proposes what nobody drove"
lines = {**value, "best recorded speed (exact)": [reach] * 8, "max over all speeds": [earned[0]] * 8}
widgets.lines(counts, lines, logx=True, points=True, xlabel="N, proposals per decision", ylabel="value earned in the first cell",
            title="The same wrong Q, with different proposals",
            alt="Value earned against N: diffusion proposals near the best recorded speed, one Gaussian falling, plain max at zero.")

# %% [markdown]
# **Large effect.** With the same wrong $Q$, the best of 8 to 32 diffusion proposals earns most of what the best recorded speed earns; the best of 64 draws from one Gaussian earns less than half of it. The diffusion model has a hump per driver and nothing beyond. The Gaussian, to cover both, is so wide that it leans over the edge, and more proposals make it worse.
# That is the case for diffusion in offline RL: it is an *expressive model of what was done*. It has limits. It cannot know better speeds that nobody tried, and it leaves $Q$ wrong. At very large $N$ its tails leave the data, too: $N$ is a leash, not a wall.
#
# **Exercise 4 · the survey's quick check** (easy, 5 minutes). *"What are the primary challenges in offline RL, and why might diffusion models be particularly suited to address them?"*
# 1. The plain maximum failed because: (a) the data were few; (b) the optimiser had not converged; (c) it looked for the largest error, and no new data contradict it.
# 2. Diffusion proposals helped because: (a) they know what happens beyond the data; (b) they stay where the data are, in each hump; (c) they make $Q$ more accurate.
# 3. What stays unsolved: (a) $Q$ is still wrong outside, and enough draws get there; (b) nothing: the best of all policies is found; (c) nothing: a proposal cannot leave the data.

# %% tags=["exercise"]
### BEGIN SOLUTION
### STUB answer = None  # three letters, such as ("a", "b", "c")
answer = ("c", "b", "a")
### END SOLUTION
check("03.offline", answer)

# %% [markdown]
# ## 6 · Break it: which number gives it away?
#
# You get a policy and a report, and you may not drive. Here are both policies of section 4. Which line warns you?

# %%
to_data = {fast: float((chosen[fast][0] - offline.record(road, fast, 1000 * SEED)[1]).abs().min()) for fast in (40, 0)}
print("fast records   TD loss   promised   to the nearest record   earned (exact)")
for fast in (40, 0):
    print(f"{fast:12} {fitted(fast)[1]:9.4f} {promised[fast]:10.2f} {to_data[fast]:23.3f} {earned[fast]:16.3f}")
assert fitted(0)[1] < fitted(40)[1], "large effect: the *lower* TD loss belongs to the policy that crashes"
assert to_data[0] > 0.1 > 10 * to_data[40], "large effect: the distance to the data gives it away"

# %% [markdown]
# **Large effect.** The policy that crashes has the *lower* TD loss of the two: a low TD loss is not a good policy. Without crashes the data are easier to fit, and the loss is taken at recorded actions, while the policy takes the maximum. The number that gives it away is the
# distance from the chosen action to the nearest recorded one. Ask of any offline policy *where its actions lie* before you ask what they are worth.
#
# ## 7 · When one observation is not the state
#
# So far the agent saw $s$. In a **POMDP** it gets an observation $o$, and several states give the same one. What it can rely on is the *belief* $b(s)$: the distribution of the state, given all that was observed and done. The first *Further* section computes it in a maze where two
# cells look alike and need opposite moves. There a policy that sees the observation alone earns clearly less.
#
# **Exercise 5 · the survey's quick check** (easy, 5 minutes). *"Can you explain why POMDPs introduce additional challenges compared to MDPs, and how diffusion models might address partial observability?"*
# 1. New against an MDP: (a) the dynamics are noisy; (b) one observation does not say which state it is; (c) there are many states.
# 2. What restores the Markov property: (a) a belief, or the history that it is computed from; (b) a random policy; (c) a larger network on the observation.
# 3. Diffusion helps if: (a) its noise level is well chosen; (b) it is trained on pairs (observation, action); (c) it is conditioned on the history and draws from a distribution with several humps.

# %% tags=["exercise"]
### BEGIN SOLUTION
### STUB letters = None  # three letters, such as ("a", "b", "c")
letters = ("b", "a", "c")
### END SOLUTION
check("03.pomdp", letters)

# %% [markdown]
# ## 8 · What the survey claims, and what was measured
#
# | The survey says | Measured here | Verdict |
# |---|---|---|
# | Offline RL suffers from distribution shift | few wrong moves on the expert's states, many drives lost | held (large effect) |
# | ... and from extrapolation error | the maximum goes where nothing was recorded, and crashes | held (large effect) |
# | Diffusion is suited to it: it stays where the data are | proposals from the exact denoiser keep nearly all value, one Gaussian does not | held on this toy; lesson 10 tests learned models |
# | Diffusion may address partial observability | the need for a history is exact; that a *learned* model uses it is not tested here | open: lesson 16 |
#
# **Symbols.** $k$ step of the environment; $s, a, r, o$ `obs, act, rew` state, action, reward, observation; $P$ transition probabilities; $\gamma$ `gamma` discount; $G$ return; $\pi$ policy; $V, Q$ values; $b$ `belief`; $N$ proposals; $\epsilon$ error rate; $\tau$ `tau` expectile.
#
# **References.** Sutton and Barto, "Reinforcement Learning: An Introduction" (2018). Pardo et al., "Time Limits in Reinforcement Learning" (2018). Ross et al., "A Reduction of Imitation Learning and Structured Prediction to No-Regret Online Learning" (2011).
# Fujimoto et al., "Off-Policy Deep Reinforcement Learning without Exploration" (2019). Fujimoto and Gu, "A Minimalist Approach to Offline Reinforcement Learning" (2021). Kostrikov et al., "Offline Reinforcement Learning with Implicit Q-Learning" (2022).
# Kaelbling et al., "Planning and acting in partially observable stochastic domains" (1998). Levine et al., "Offline Reinforcement Learning: Tutorial, Review, and Perspectives on Open Problems" (2020).
# The survey: "Diffusion Models for Reinforcement Learning: Foundations, Taxonomy, and Development" (2025).
#
# ## Further · belief in a small maze
#
# Five cells in a row, three legs, the goal G in the middle one; the agent observes only which sides of its cell are walls, and it starts anywhere. The second and the fourth cell of the row look alike. The exact Bayes filter is two products (Kaelbling et al. 1998):
# $b'(s') \propto P(o' \mid s') \sum_s P(s' \mid s, a)\, b(s)$.

# %%
maze = comb_maze()
looks, Q_maze = maze.walls_around, maze.q(maze.optimal()[0])


def drive(s):
    """Believe, act best on average over the belief, observe, repeat: the beliefs [K, S] and moves from state s."""
    belief = maze.start * (looks == looks[s])
    history = []
    while not maze.terminal[s] and len(history) < 50:
        belief = belief / belief.sum()
        a = int((belief @ Q_maze + torch.tensor([0, 1e-6, 0, 0])).argmax())  # a tie goes right
        history.append((belief, a))
        s = int(maze.P[s, a].argmax())
        belief = (belief @ maze.P[:, a]) * (looks == looks[s])
    return history


panels = {f"after {k} moves": maze.picture(b) for k, (b, _) in enumerate(drive(3))}
widgets.cells(panels, ncols=2, marks={"G": maze.cells[maze.state("G")]}, numbers=".2g", limits=(0, 1),
            alt="Beliefs step by step from the fourth cell of the row: two cells alike, then one corner, then sure.")

# %%
twins = looks == looks[1]  # two cells with walls above and below
p = torch.linspace(0, 1, 101, dtype=torch.float64)
policy = nn.functional.one_hot(Q_maze.argmax(1), 4).double().expand(101, -1, -1).clone()
policy[:, twins] = torch.stack([0 * p, p, 0 * p, 1 - p], 1)[:, None]
blind = torch.stack([maze.start @ maze.value(one) for one in policy])
believing = sum(float(w) * 0.9 ** (len(drive(s)) - 1) for s, w in enumerate(maze.start) if w)
seeing = float(maze.start @ maze.optimal()[0])
assert blind.max() < believing - 0.02 and believing < seeing - 0.02, "exact: a belief beats every coin, the state beats both"
widgets.lines(p, {"policy of the observation": blind, "policy of the belief": [believing] * 101, "sees the state": [seeing] * 101},
            xlabel="probability of moving right in the two cells that look alike", ylabel="exact mean value",
            alt="Value of policies of the observation against their coin, an arch below the lines of the belief and of the state.")

# %% [markdown]
# **Exact.** No policy of the observation alone earns as much as the policy of the belief, and the belief earns less than the state. Every policy of the observation lies on the blue arch (in all other cells it does the best). A fair coin is the best of them. The belief goes right once, sees a corner or the crossing, and then *knows*.
#
# ## Further · IQL in ten lines
#
# Implicit Q-learning (Kostrikov et al. 2022) never asks $Q$ about an action that was not recorded: $V$ is an **expectile** of $Q$ over recorded actions, the number $V$ with
# $\tau\, \mathbb{E}[\max(Q - V, 0)] = (1 - \tau)\, \mathbb{E}[\max(V - Q, 0)]$: for $\tau = 1/2$ the mean, for $\tau \to 1$ the maximum *of the recorded*. First the expectile alone, against bisection.

# %%
from scipy.optimize import brentq


def uneven(u, tau):
    return (torch.where(u > 0, tau, 1 - tau) * u**2).mean()


def expectile(x, tau):
    m = x.mean()
    for _ in range(100):  # the loss `uneven` is least at a weighted mean
        w = torch.where(x > m, tau, 1 - tau)
        m = (w * x).sum() / w.sum()
    return float(m)


x = torch.randn(500, generator=generator, dtype=torch.float64)
for tau in (0.1, 0.5, 0.9, 0.99):
    root = brentq(lambda m, tau=tau: float((torch.where(x > m, tau, 1 - tau) * (x - m)).sum()), -5, 5)  # bisection
    assert abs(expectile(x, tau) - root) < 1e-6, "exact: both find the same number"

# %%
def iql(seed=0, tau=0.9, beta=40.0, steps=25 * SWEEPS):
    s, a, after, rew, ended = offline.record(road, 0, 1000 * SEED + seed)
    Q, V = offline.SpeedValues(1000 * SEED + seed), nn.Parameter(torch.zeros(road.n))
    adam = torch.optim.Adam([*Q.parameters(), V], lr=1e-2)
    for _ in range(steps):
        q = Q(s, a)
        loss = uneven(q.detach() - V[s], tau) + (q - (rew + road.gamma * ~ended * V[after].detach())).square().mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
    # the policy: recorded actions, weighed by exp(beta (Q - V))
    return float(road.value(a.expand(4, -1), torch.softmax(beta * Q.everywhere(road.n, a), 1))[0])


# %% [markdown]
# ## Further · TD3+BC in ten lines
#
# TD3+BC (Fujimoto and Gu 2021) keeps the maximum, and pulls the actor to the recorded action: it ascends $\lambda Q(s, \pi(s)) - (\pi(s) - a)^2$. Here the actor is one speed per cell.

# %%
def td3_bc(seed=0, alpha=2.5, steps=25 * SWEEPS):
    s, a, after, rew, ended = offline.record(road, 0, 1000 * SEED + seed)
    Q, actor = offline.SpeedValues(1000 * SEED + seed), nn.Parameter(torch.zeros(road.n))
    adam = torch.optim.Adam([{"params": Q.parameters(), "lr": 1e-2}, {"params": [actor], "lr": 3e-2}])
    for _ in range(steps):
        pi = actor.sigmoid()
        with torch.no_grad():
            y = rew + road.gamma * ~ended * Q(after, pi[after])
        q = Q(s, a)
        climb = torch.func.functional_call(Q, {n: w.detach() for n, w in Q.named_parameters()}, (s, pi[s])).mean()
        loss = (q - y).square().mean() - alpha * climb / q.detach().abs().mean() + (pi[s] - a).square().mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
    return float(road.value(actor.sigmoid().detach())[0])


# %%
all_data = offline.record(road, 0, 1000 * SEED)[1]
rows = [("copy the drivers", float(road.value(all_data.expand(4, -1), torch.full((4, 1500), 1 / 1500))[0])),
        ("max of fitted Q", [float(road.value(speeds[fitted(0, k)[0].everywhere(road.n).argmax(1)])[0]) for k in range(3)]),
        ("TD3+BC", [td3_bc(k) for k in range(3)]), ("IQL", [iql(k) for k in range(3)]),
        ("best of 16 diffusion proposals", value["diffusion"][4])]
assert min(rows[3][1]) > 0.6 * reach > 3 * max(rows[1][1]), "large effect: IQL stays in the data, the plain maximum does not"
widgets.intervals(rows, xlabel="exact value in the first cell (dots: three seeds)", reference={"best recorded speed": reach},
                alt="Exact values of five offline policies: plain max near zero, IQL and diffusion proposals near the best.")

# %% [markdown]
# **Large effect.** IQL earns most of what the best recorded speed earns; the plain maximum over the fitted $Q$ earns almost nothing. **Open.** Three seeds do not say whether TD3+BC beats copying the drivers. Its pull is towards the *mean* of two drivers, a speed that neither drove, and nothing offline tells you how much $\lambda$ should outweigh it.
