# %% [markdown]
# ![Value earned against the number of proposals: a diffusion model comes near the best recorded speed, one Gaussian rises less and falls, the maximum over all speeds earns nothing.](attachment:03.png)
#
# # 03 · MDPs and offline data
#
# **The question.** You have recordings of somebody else's decisions, and you may not try anything yourself. What can go wrong?
#
# You meet three faults, in worlds so small that the right answer is known exactly: values that are too low because the recording stopped,
# a clone that makes no error on its data and still gets lost, and a maximum that chooses an action which nobody tried. Diffusion cures the third (picture above).
#
# **Afterwards you can**
# - compute values exactly, regress them from recordings, and treat time limits correctly;
# - say why a low imitation loss, or a low TD loss, does not make a good policy;
# - recognise extrapolation error, and keep a policy inside its data.
#
# **You need** torch and probabilities; section 5 draws from a diffusion model, as in lesson 01. **Machine:** about 40 seconds on two CPU
# cores, no network. **You:** 80 minutes (an estimate).

# %% tags=["collapsed"]
from functools import lru_cache

import torch
from torch import nn

from diffrl_lab import widgets
from diffrl_lab.course import check, guess, hint, mine
from diffrl_lab.diffusion import Cosine, MixtureDenoiser, ddpm, sample
from diffrl_lab.studies import bridges
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
# In a **Markov decision process** (MDP) you are in a state $s$ and take an action $a$. The world draws the next state $s'$ from $P(s' \mid s, a)$ and pays the reward $r(s, a)$. Then you act again. The number of the step is $k$
# (in this course the letter `t` is the diffusion time). The *return* $G = \sum_k \gamma^k r_k$ is the sum of the rewards, discounted by $\gamma$. The *value* of a state is the largest mean return that any policy reaches from it. It obeys Bellman's equation
# $$V(s) = \max_a Q(s, a), \qquad Q(s, a) = r(s, a) + \gamma \sum_{s'} P(s' \mid s, a)\, V(s').$$
# *Value iteration* starts from $V = 0$ and puts $V$ into the right-hand side, again and again.
#
# **Exercise 1 · one sweep** (easy, 8 minutes). Write one step of value iteration. Pitfall: the reward of this step is not discounted.

# %% tags=["exercise"]
def backup(P: torch.Tensor, rew: torch.Tensor, gamma: float, V: torch.Tensor) -> torch.Tensor:
    """P [S, A, S], rew [S, A], V [S]: the values after one sweep. -> [S]"""
    ### BEGIN SOLUTION
    return (rew + gamma * P @ V).amax(dim=-1)
    ### END SOLUTION


check("03.backup", backup)

# %% [markdown]
# Here is a grid with a goal G (+1) and a pit X ($-1$). The floor is wet: one move in five slips to a side.

# %%
world = grid_world(("......G", ".##.##X", ".......", ".##.##.", "......."), slip=0.2, gamma=0.95)
marks = {letter: world.cells[world.state(letter)] for letter in "GX"}
waves = guess("03.sweeps", "After how many sweeps does the lower left corner first have a value above 0?", 0, 30)
waves

# %%
backup = mine("03.backup")
V_star, best = world.optimal()
sweeps = [torch.zeros_like(V_star)]
while (sweeps[-1] - V_star).abs().max() > 1e-4:
    sweeps.append(torch.as_tensor(backup(world.P, world.rew, world.gamma, sweeps[-1]), dtype=torch.float64))
waves.reveal(next(n for n, V in enumerate(sweeps) if V[-7] > 1e-9))  # the lower left corner: the last row has 7 cells

# %%
error = torch.stack([(V - V_star).abs().max() for V in sweeps])
assert (error[1:] <= 0.95 * error[:-1] + 1e-6).all(), "exact: each sweep shrinks the worst error by gamma at least"
explore(lambda sweep: bridges.values_and_moves(world, sweeps[sweep], marks, f"After {sweep} sweeps; largest error {error[sweep]:.2g}"),
        sweep=(0, len(sweeps) - 1, 1, 8))

# %% [markdown]
# Drag `sweep` back to 0. The values spread from the goal, one cell per sweep. (G has value 0, because its reward is paid on entering it.) After the last sweep, the best move below the pit
# leads away from the pit.
#
# **Exact.** Each sweep multiplies the largest error of $V$ by $\gamma$ or less, in any MDP (value iteration is a contraction).
#
# ## 2 · Values from recordings
#
# Now $P$ and $r$ are unknown, and a driver was recorded. He takes the best move seven times in ten, and a random move otherwise. The value of
# *his* policy $\pi$ is a mean, $V^\pi(s) = \mathbb{E}[G \mid s]$. So we regress the returns that followed each state: with one number per state, least squares gives their mean.

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
off = torch.stack([(regress(r, bridges.returns(r, 0.95)) - V_driver)[alive].square().mean() for r in records])
rms = off.reshape(4, 4).mean(1).sqrt()

# %%
assert rms[0] > 3 * rms[-1], "large effect: with 64 times the episodes the error is less than a third"
widgets.lines(sizes, {"regression": rms, "1 / root of the episodes": rms[0] * (sizes[0] / torch.tensor(sizes)) ** 0.5}, logx=True, logy=True, points=True,
            xlabel="recorded episodes", ylabel="error of V, root mean square", title="Regressed returns: more episodes, a smaller error",
            alt="Error of the regressed values against the number of episodes: it falls, close to a line of slope minus one half.")

# %% [markdown]
# This regression needs no model of the world. A *return-guided* diffusion planner does the same (lesson 05).
#
# ### The recorder stops, the world goes on
#
# Real recordings have a **time limit**: here the recorder stops after eight steps (`truncated`). Reaching G or X is another end (`terminated`). Two common methods ignore the difference. One takes
# the return up to the limit. The other learns from single steps, and sets the future to 0 at *every* end of an episode.
#
# **Exercise 2 · the target** (easy, 6 minutes). One recorded step suggests a value for $s$: the reward, plus the discounted value of what follows. Write this target. `next_V` is an estimate of $V(s')$; the flags are bool.
# Pitfall: only one of the two flags says that nothing follows.

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
print(f"{cut.truncated.sum() / (cut.truncated | cut.terminated).sum():.0%} of the episodes end by the limit; the exact mean of V over all cells is {V_driver[alive].mean():.2f}")
low = guess("03.limit", "What mean of V comes out if every end of an episode counts as terminal?", 0.0, 0.8)
low

# %%
target = mine("03.target")
kinds, which = bridges.distinct(cut)  # steps that are alike have one target


def bootstrapped(terminated):
    V = torch.zeros_like(V_driver)
    for _ in range(300):
        y = target(kinds.rew, V[kinds.next_obs], terminated, kinds.truncated, 0.95)
        V = regress(cut, torch.as_tensor(y, dtype=torch.float64)[which])
    return V


fits = {"returns up to the limit": regress(cut, bridges.returns(cut, 0.95)), "a limit is a terminal": bootstrapped(kinds.terminated | kinds.truncated),
        "the world goes on": bootstrapped(kinds.terminated)}
low.reveal(float(fits["a limit is a terminal"][alive].mean()))

# %%
order = torch.argsort(V_driver[alive])
off = {name: (V - V_driver)[alive] for name, V in fits.items()}  # cell by cell, so that errors cannot cancel
assert max(float(off[n].max()) for n in ("returns up to the limit", "a limit is a terminal")) < 0, "large effect: both too low in every cell"
assert off["the world goes on"].norm() < 0.1 * off["a limit is a terminal"].norm(), "large effect: bootstrapping through the limit repairs it"
widgets.lines(range(int(alive.sum())), {"exact": V_driver[alive][order], **{n: V[alive][order] for n, V in fits.items()}},
            xlabel="cells, worst to best", ylabel="V of the driver",
            alt="Values per cell: bootstrapped through the limit they lie on the exact ones, the other two far below.")

# %% [markdown]
# **Large effect.** Both methods find values that are too low in every cell. On the same data, the target that goes on beyond the limit finds nearly the exact values (Pardo et al. 2018). Gymnasium and Minari keep the two flags apart; many data loaders do not.
#
# ## 3 · Copy the driver
#
# An expert drives along a bridge, three lanes wide, from S to G, between pits X. One move in ten slips. **Behaviour cloning** (BC) learns a classifier *state → action* from her episodes.
# Ours does in each recorded state what she did there, so its training loss is exactly 0. In all other states it takes a random move.

# %%
bridge = grid_world(("X" * 20, "." * 20, "S" + "." * 18 + "G", "." * 20, "X" * 20), slip=0.1)
expert = nn.functional.one_hot(bridge.optimal()[1].argmax(1), 4).double()


def clone(n, seed):
    """The policy [S, A] that copies n episodes of the expert, and her recorded steps in each state [S]."""
    steps = bridge.roll_out(expert, n, 400, torch.Generator().manual_seed(1000 * SEED + seed))
    count = torch.zeros_like(expert).index_put((steps.obs, steps.act), torch.ones((), dtype=torch.float64), True)
    total = count.sum(1, keepdim=True)
    return torch.where(total > 0, count / total.clamp(min=1), 0.25), total[:, 0]

# %%
sizes = [2, 4, 8, 16, 32, 64]
clones = [[clone(n, seed)[0] for seed in range(SEEDS)] for n in sizes]
table = torch.tensor([[(bridges.arrival(bridge, p), bridges.wrong_moves(bridge, expert, p)) for p in row] for row in clones])

# %%
question = f"On the expert's states a clone of 8 episodes makes {100 * table[2, :, 1].mean():.0f} wrong moves in 100. How many of 100 drives of the clone arrive?"
lost = guess("03.clone", question, 0, 100)
lost

# %%
lost.reveal(100 * float(table[2, :, 0].mean()))
print(f"Of the expert's own drives {bridges.arrival(bridge, expert):.1%} arrive.")

# %%
explore(lambda episodes, seed: bridges.clone_picture(bridge, expert, *clone(episodes, seed), episodes),
        episodes=(1, 64, 1, 8), seed=(0, SEEDS - 1))

# %%
success, wrong = bridges.bands(table, SEED)  # each a mean with its interval, exact but for the draw of the recordings
assert success[0][2] < 0.75 and wrong[0][2] < 0.1, "large effect: few wrong moves on her states, many drives lost"
assert success[0][-1] > 0.93 > success[0][0] + 0.3, "large effect: more recordings repair it"
widgets.lines(sizes, {"share that arrives": success, "share of wrong moves on the expert's states": wrong}, logx=True, points=True,
            xlabel="recorded episodes", ylabel="share", title=f"Means of {SEEDS} data sets, with 95 % intervals",
            alt="Against recorded episodes: the share of drives that arrive climbs from under a half to nearly one, wrong moves stay low.")

# %% [markdown]
# **Large effect.** On the expert's states a clone of eight episodes makes few wrong moves, and yet far fewer of its drives arrive than of hers. A low BC loss does not make a good policy, because the loss is measured where *she* drives. After one slip the clone
# may be in a cell that nobody recorded. There it takes a random move, and the loss does not count it. This is **distribution shift**: the policy meets other states than its data. With an error rate $\epsilon$ per step the harm can grow with the *square* of the length of the drive (Ross et al. 2011).
#
# ## 4 · Do better than the driver
#
# In a corridor of four cells the one action is the speed $a \in [0, 1]$. Faster is better, up to an edge; beyond the edge the car crashes. The exact $Q$ is known.
# Three drivers were recorded: a slow one, a brisk one and, in 40 of 1,540 records, a fast one who mostly crashes. **Fitted Q iteration** regresses a small network $Q(s, a)$ on $r + \gamma \max_{a'} Q(s', a')$,
# and repeats this with the new $Q$.

# %%
road, speeds = Corridor(), bridges.SPEEDS
V_road = road.best(speeds)[0]  # exact


@lru_cache
def fitted(fast, seed=0):
    """Fitted Q iteration on the records of the slow and the brisk driver, and the first `fast` of the fast one."""
    s, a, after, rew, ended = bridges.record(road, fast, 1000 * SEED + seed)
    Q, grid = bridges.SpeedValues(1000 * SEED + seed), torch.linspace(0, 1, 41)
    adam = torch.optim.Adam(Q.parameters(), lr=1e-2)
    for _ in range(SWEEPS):
        y = target(rew, Q.everywhere(road.n, grid).amax(1)[after], ended, torch.zeros_like(ended), road.gamma)
        for _ in range(20):
            loss = (Q(s, a) - torch.as_tensor(y, dtype=torch.float32)).square().mean()
            adam.zero_grad()
            loss.backward()
            adam.step()
    return Q

# %% [markdown]
# Now remove the forty fast records: the data hold *fewer bad examples*. Guess, run, then bring them back with the slider `fast`.

# %%
gap = guess("03.gap", "No fast record is left. At which speed is the fitted Q largest in the first cell?", 0.0, 1.0)
gap

# %%
Q = {fast: fitted(fast).everywhere(road.n) for fast in (40, 0)}
chosen = {fast: speeds[q.argmax(1)] for fast, q in Q.items()}
gap.reveal(float(chosen[0][0]))

# %%
explore(lambda fast, cell, seed: bridges.values_picture(road, fitted(fast, seed), bridges.record(road, fast, 1000 * SEED + seed)[1], fast, cell),
        fast=(0, 40, 5, 0), cell=(0, 3), seed=(0, 9))

# %%
earned = {fast: float(road.value(a)[0]) for fast, a in chosen.items()}
promised = {fast: float(q[0].max()) for fast, q in Q.items()}
assert earned[40] > 0.5 * V_road[0] > 10 * earned[0], "large effect: without the fast records the policy crashes"
assert promised[0] > 1.2 * V_road[0], "large effect: and it promises more than any policy can earn"

# %% [markdown]
# **Large effect.** Without the fast records the fitted $Q$ promises more than any policy can earn, and the policy that follows it earns almost nothing. This is **extrapolation error** (Fujimoto et al. 2019). At recorded speeds faster was better, so the network continues uphill to speeds that nobody drove.
# The maximum *looks for* the highest guess, and the target passes it back, one cell per sweep. Online, a crash would correct it. Offline only bad drives in the data can: drag `fast` to 5.
#
# ## 5 · What diffusion changes
#
# The cure is to maximise only over what the data hold: a model of the data *proposes* $N$ actions, and the policy takes the proposal with the largest $Q$ (IDQL, lesson 10).
# Which model? The speeds of two drivers form two humps. We draw from the *exact* denoiser of their distribution with DDPM's chain, as in lesson 01, and compare it with one Gaussian of the same mean and spread.
#
# **Exercise 3 · the best proposal** (medium, 8 minutes). `q` maps actions of any shape to values of the same shape. Pitfall: give one action for each row, not its value or its number.

# %% tags=["exercise"]
def best_proposal(q, proposals: torch.Tensor) -> torch.Tensor:
    """Of each row of proposals [B, N], the action that q likes best. -> [B]"""
    ### BEGIN SOLUTION
    best = q(proposals).argmax(dim=1, keepdim=True)
    return proposals.gather(1, best)[:, 0]
    ### END SOLUTION


check("03.proposals", best_proposal)

# %%
best_proposal = mine("03.proposals")
recorded = drivers((1, 1, 0))
D = MixtureDenoiser(recorded.weights, recorded.means, Cosine(), std=recorded.std)
drawn = sample(D, torch.randn(20_000, 1, generator=generator), steps=50, step=ddpm(), generator=generator)[:, 0]
normal = drawn.mean() + drawn.std() * torch.randn(20_000, generator=generator)
pools = {"diffusion": drawn.clamp(0, 1), "one Gaussian": normal.clamp(0, 1)}

# %% tags=["punchline"]
counts = [1, 2, 4, 8, 16, 32, 64, 128]
value = {name: [bridges.worth(road, fitted(0), best_proposal, pool, N, generator) for N in counts] for name, pool in pools.items()}
reach = float(road.best(bridges.record(road, 0, 1000 * SEED)[1])[0][0])  # the best that recorded speeds can do, exact
assert min(value["diffusion"][3:6]) > 0.8 * reach, "large effect: the best of 8 to 32 proposals earns most of it"
assert value["one Gaussian"][6] < min(0.5 * reach, value["one Gaussian"][3]), "large effect: one Gaussian earns less than half, and falls from N = 8 on"
lines = {**value, "exact: best recorded speed": [reach] * 8, "max over all speeds": [earned[0]] * 8}
widgets.lines(counts, lines, logx=True, points=True, xlabel="N, proposals per decision", ylabel="value earned in the first cell",
            title="The same wrong Q chooses among different proposals",
            alt="Value earned against N: with diffusion it rises to near the best recorded speed, with one Gaussian it rises less and falls, with the plain max it is zero.")

# %% [markdown]
# **Large effect.** With the same wrong $Q$, the best of 8 to 32 diffusion proposals earns most of what the best recorded speed earns; the best of 64 draws from one Gaussian earns less than half of it, and less than the best of 8.
# This is the case for diffusion in offline RL: it is an *expressive model of the recorded actions*.
#
# **Exercise 4 · the survey's quick check** (easy, 5 minutes). *"What are the primary challenges in offline RL, and why might diffusion models be particularly suited to address them?"*
# 1. Why did the plain maximum fail? (a) The records were few, so all values were noise. (b) The training stopped early, at a high TD loss. (c) It searched for the largest error, and no record contradicted it.
# 2. Why did diffusion proposals help? (a) The model knows where the edge is. (b) They lie close to recorded speeds. (c) They train $Q$ at more speeds.
# 3. What stays unsolved? (a) $Q$ is wrong outside the data, and enough draws will get there. (b) $Q$ is right, but drawing is slow. (c) $Q$ is wrong outside the data, but no proposal can get there.

# %% tags=["exercise"]
### BEGIN SOLUTION
### STUB answer = None  # three letters, such as ("a", "b", "c")
answer = ("c", "b", "a")
### END SOLUTION
check("03.offline", answer)

# %% [markdown]
# The diffusion model has one hump for each driver, and nearly no mass elsewhere. One Gaussian has to cover both humps, so it reaches beyond the edge. Diffusion has limits, too: it cannot find a better speed that nobody tried, and its humps have tails. A small $N$ limits how far the policy goes, but it is no guarantee.
#
# ## 6 · Break it: which number gives it away?
#
# You may not drive; you get a report. Here are both policies of section 4, trained with the forty fast records and without them. Which column warns you?

# %%
rows = {fast: bridges.report(road, fitted(fast), 1000 * SEED, fast) for fast in (40, 0)}
assert rows[0].td_loss < rows[40].td_loss, "large effect: on the same 1,500 records the policy that crashes has the *lower* TD loss"
assert rows[0].distance > 5 * rows[40].distance, "large effect: the distance to the data gives it away"
bridges.report_table(rows)

# %% tags=["broken"]
widgets.show(bridges.values_picture(road, fitted(0), bridges.record(road, 0, 1000 * SEED)[1], 0, 0), alt="Without fast records the model's Q lies "
    "above the exact one and is largest at full speed, where nothing was recorded and the exact Q is near 0.")

# %% [markdown]
# **Large effect.** Of the two policies, the one that crashes has the *lower* TD loss, on the same 1,500 records of the slow and the brisk driver. The TD loss compares $Q$ with a target that is computed from $Q$: when both are too high, it does not show it. The number that gives it away is the
# distance from the chosen action to the nearest one recorded in the same state. Ask *where a policy's actions lie* before you ask what they are worth.
#
# | signature | in the picture | the number that gives it away | cure |
# |---|---|---|---|
# | all values are too low | the learned values lie below the exact ones in every cell | the share of episodes that end by the time limit | set the future to 0 only where `terminated` is true |
# | the imitation loss is near 0, and many drives fail | the clone walks through cells that no recording visits | the share of drives that arrive; no loss on the data shows it | more recordings, or the expert's answers in the clone's own states (Ross et al. 2011) |
# | the promise is high, the TD loss is low, and the policy crashes | the largest fitted $Q$ is at a speed that nobody drove | the distance from the chosen action to the nearest recorded one | choose among proposals of a model of the data, or record a few bad drives |
#
# ## 7 · When one observation is not the state
#
# So far the agent observed the state $s$. In a **POMDP** (partially observable MDP) it gets an observation $o$ instead. The *belief* $b(s)$ is the distribution of the state, given all that was observed and done. The first *Further* section computes it in a maze.
#
# **Exercise 5 · the survey's quick check** (easy, 5 minutes). *"Can you explain why POMDPs introduce additional challenges compared to MDPs, and how diffusion models might address partial observability?"*
# 1. What is new against an MDP? (a) One action can have several results. (b) Two states can look alike. (c) There are too many states for a table.
# 2. What restores the Markov property? (a) The belief, from the whole history. (b) A random policy. (c) A larger network.
# 3. When does a diffusion policy help? (a) When its noise is that of the sensor. (b) When it is trained on pairs of observation and action. (c) When it is conditioned on the history of observations.

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
# | Offline RL suffers from distribution shift | the clone makes few wrong moves on the expert's states, and many of its drives do not arrive | held (large effect) |
# | ... and from extrapolation error | the maximum chooses a speed that was never recorded, and crashes | held (large effect) |
# | Diffusion is suited to it: it stays where the data are | the best of 8 to 32 proposals of the exact denoiser earns most of what the best recorded speed earns; one Gaussian earns less | held in this small world; lesson 10 tests learned models |
# | Diffusion may address partial observability | *Further:* in a small maze the belief earns more than any single observation (exact); whether a *learned* model uses the history was not measured | open: lesson 16 |
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
# The maze has five cells in a row and three legs below it; the goal G is the middle leg. The agent observes only which sides of its cell are walls, and it starts in any cell. The second and the fourth cell of the row look alike, and need opposite moves. The exact Bayes filter multiplies the belief twice (Kaelbling et al. 1998), first by the dynamics, then by the probability of the observation:
# $b'(s') \propto P(o' \mid s') \sum_s P(s' \mid s, a)\, b(s).$

# %%
maze = comb_maze()
looks, Q_maze = maze.walls_around, maze.q(maze.optimal()[0])


def drive(s):
    """Take the move that is best in the mean over the belief, observe, update: the beliefs and moves from state s."""
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
assert blind.max() < believing - 0.02 and believing < seeing - 0.02, "exact: the belief earns more than every policy of the observation, the state earns more than both"
widgets.lines(p, {"policy of the observation": blind, "policy of the belief": [believing] * 101, "policy of the state": [seeing] * 101},
            xlabel="probability of moving right in the two cells that look alike", ylabel="exact mean value",
            alt="Value of policies of the observation against their probability of moving right, an arch below the lines of the belief and of the state.")

# %% [markdown]
# **Exact.** No policy of the observation earns as much as the policy of the belief, and the policy of the belief earns less than the policy of the state. The arch shows the policies of the observation; in all other cells they take the best move. The best of them moves right or left with equal probability. The policy of the belief moves right once, observes a corner or the crossing, and from then on it *knows* the state.
#
# ## Further · IQL in ten lines
#
# Implicit Q-learning (IQL; Kostrikov et al. 2022) never asks $Q$ about an action that was not recorded. Its $V$ is an **expectile** of $Q$ over recorded actions: the number $V$ with
# $\tau\, \mathbb{E}[\max(Q - V, 0)] = (1 - \tau)\, \mathbb{E}[\max(V - Q, 0)]$. For $\tau = 1/2$ this is the mean; for $\tau \to 1$ it approaches the maximum *over the recorded actions*. The first cell computes the expectile of some numbers, and compares it with the root that bisection finds.

# %%
from scipy.optimize import brentq


def uneven(u, tau):
    return (torch.where(u > 0, tau, 1 - tau) * u**2).mean()


def expectile(x, tau):
    m = x.mean()
    for _ in range(100):  # the loss `uneven` has its minimum at a weighted mean
        w = torch.where(x > m, tau, 1 - tau)
        m = (w * x).sum() / w.sum()
    return float(m)


x = torch.randn(500, generator=generator, dtype=torch.float64)
for tau in (0.1, 0.5, 0.9, 0.99):
    root = brentq(lambda m, tau=tau: float((torch.where(x > m, tau, 1 - tau) * (x - m)).sum()), -5, 5)  # bisection
    assert abs(expectile(x, tau) - root) < 1e-6, "exact: both find the same number"

# %%
def iql(seed=0, tau=0.9, beta=40.0, steps=25 * SWEEPS):
    s, a, after, rew, ended = bridges.record(road, 0, 1000 * SEED + seed)
    Q, V = bridges.SpeedValues(1000 * SEED + seed), nn.Parameter(torch.zeros(road.n))
    adam = torch.optim.Adam([*Q.parameters(), V], lr=1e-2)
    for _ in range(steps):
        q = Q(s, a)
        loss = uneven(q.detach() - V[s], tau) + (q - (rew + road.gamma * ~ended * V[after].detach())).square().mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
    # the policy: recorded actions, weighted by exp(beta (Q - V))
    return float(road.value(a.expand(4, -1), torch.softmax(beta * Q.everywhere(road.n, a), 1))[0])


# %% [markdown]
# ## Further · TD3+BC in ten lines
#
# TD3+BC (Fujimoto and Gu 2021) still maximises $Q$, and also pulls the actor towards the recorded action: it ascends $\lambda Q(s, \pi(s)) - (\pi(s) - a)^2$. Here the actor is one speed per cell.

# %%
def td3_bc(seed=0, alpha=2.5, steps=25 * SWEEPS):
    s, a, after, rew, ended = bridges.record(road, 0, 1000 * SEED + seed)
    Q, actor = bridges.SpeedValues(1000 * SEED + seed), nn.Parameter(torch.zeros(road.n))
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
all_data = bridges.record(road, 0, 1000 * SEED)[1]
rows = [("copy the drivers", float(road.value(all_data.expand(4, -1), torch.full((4, 1500), 1 / 1500))[0])),
        ("max of fitted Q", [float(road.value(speeds[fitted(0, k).everywhere(road.n).argmax(1)])[0]) for k in range(3)]),
        ("TD3+BC", [td3_bc(k) for k in range(3)]), ("IQL", [iql(k) for k in range(3)]),
        ("best of 16 diffusion proposals", value["diffusion"][4])]
assert min(rows[3][1]) > 0.6 * reach > 3 * max(rows[1][1]), "large effect: IQL earns most of it, the plain maximum almost nothing"
widgets.intervals(rows, xlabel="exact value in the first cell (dots: three seeds)", reference={"exact: best recorded speed": reach},
                alt="Exact values of five offline policies, a dot per seed: plain max near zero, IQL and diffusion proposals near the best.")

# %% [markdown]
# **Large effect.** IQL earns most of what the best recorded speed earns; the plain maximum over the fitted $Q$ earns almost nothing. **Open.** Three seeds do not say whether TD3+BC earns more than a copy of the drivers. TD3+BC pulls the actor towards the *mean* of the two drivers' speeds, which neither of them drove, and offline data do not say how large $\lambda$ should be.
