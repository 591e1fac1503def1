# %% [markdown]
# ![Four panels of one chain of denoising. From an early step sixteen futures fan out to several modes; from later steps they end in fewer and fewer, and near the end in one.](attachment:17.png)
#
# # 17 · Mode collapse and diversity
#
# **The question.** Samples differ from each other. How do you tell whether they differ as much as they should, and when in the chain is that decided?
#
# The survey names mode collapse as a failure of diffusion models in reinforcement learning, and many papers report *diversity* as one number. Lesson 05b held one such number against its noise floor. Here you ask of each number what it sees and what it is blind to; you watch a chain decide for a mode; and you tell diversity that the demonstrator has from diversity that is only noise.
#
# **Afterwards you can**
# - choose a measure that can see the defect you fear, and say how many samples it needs;
# - say when in the chain a mode is decided, exactly and by branching;
# - tell a policy that keeps the demonstrator's modes from one that has only his variance;
# - find a collapse in single states that an average hides.
#
# **You need** lesson 01 (chains), lesson 05b (noise floors) and lesson 09 (the 24 ways; its policies). **Machine:** about 50 seconds on two CPU cores, no network.
# **You:** 90 minutes (an estimate).

# %% tags=["collapsed"]
import math
import tempfile

import numpy as np
import torch
from torch import Tensor

from diffrl_lab import widgets
from diffrl_lab.analysis import diagnose
from diffrl_lab.analysis.chains import exact_commitment, settled
from diffrl_lab.analysis.distance import energy_distance
from diffrl_lab.analysis.modes import entropy, expected_entropy
from diffrl_lab.analysis.sweeps import Table, run_grid
from diffrl_lab.course import check, guess, hint, mine
from diffrl_lab.data.shipped import shipped
from diffrl_lab.diffusion.samplers import chain, ddim, ddpm, sample
from diffrl_lab.studies import diversity, ways
from diffrl_lab.studies.diversity import DEFECTS, EXACT, PLACES, RARE, SHARES

torch.set_num_threads(1)  # for tensors this small a second thread costs more than it brings

# %% tags=["parameters"]
PROFILE = "class"  # smoke: seconds; class: a minute; full: more sets
SEED = 0

# %%
SETS, N = {"smoke": (16, 800), "class": (40, 4000), "full": (200, 20_000)}[PROFILE]
generator = torch.Generator().manual_seed(SEED)
widgets.component_map(["diffusion model", "guided sampling", "execution"], alt="The survey's component map with three boxes lit: "
    "this lesson measures whether a model, a guided sampler and a policy in execution keep the modes of their data.")

# %% [markdown]
# ## 1 · What a number sees
#
# The data lie on a line, in four modes whose shares we know: 40, 10, 30 and 20 %. Each mode has the deviation 0.15. We make samples of them, and samples with one defect each.

# %%
look = {name: draw(2000, generator) for name, draw in DEFECTS.items()}
diversity.sets(look, alt="Seven histograms over the dashed exact density of four modes: healthy; one mode missing; other heights; narrower; "
    "wider; some samples between two modes; and few different values.")

# %% [markdown]
# Eight measures look at them. **Variance**; **coverage**, the share of modes that are hit; **entropy** of the shares; the share **in no mode**; **Vendi**, the number of samples that are effectively different; **energy distance** to the data; **recall**, the share of data that have a sample near; and **own nearest**, the median distance from a sample to the next one.
#
# Each measure gets a noise floor: the central 95 % of its values on healthy sets. A set is *flagged* if its value lies outside. Predict first one value and then one cell of the table of all. The mode of 10 % is lost, and its samples go to the others in proportion.

# %%
factor = guess("17.variance", "The 10 % mode is lost. What is the variance of the samples, over that of the data?", 0.5, 1.5)
factor

# %%
lost, whole = diversity.variance(diversity.without(RARE)), diversity.variance()
factor.reveal(lost / whole)

# %%
flagged = guess("17.energy", "Sets of 200 samples lost the 10 % mode. How many of 100 does the energy distance flag?", 0, 100, "sets")
flagged

# %%
grid = diversity.Grid(200, SETS, seed=SEED)
flagged.reveal(round(100 * grid["10 % mode lost", "energy distance"]))

# %%
assert lost / whole > 1.05, "exact: the variance rises as a mode is lost"
assert grid["10 % mode lost", "coverage"] > 0.95 and grid["10 % mode lost", "energy distance"] < 0.5, "exact: one sees, one hardly"
assert grid["modes narrower", "Vendi"] > 0.8 and grid["modes narrower", "entropy"] < 0.4, "exact: entropy is blind to widths"
assert (grid.share[1:].min(0) < 0.8).all(), "exact: no measure sees each of the six defects"
grid.picture(alt="A table of seven defects by eight measures: each measure flags some defects in nearly all sets and others no "
    "oftener than healthy ones; no column and no row is dark throughout.")

# %% [markdown]
# **Exact.** The variance *rises* by more than a twentieth when the mode is lost. It is a mean of squared distances from the middle, and this mode was near the middle. A report that shows only variance would call that a gain of diversity.
#
# **Exact.** None of the eight measures flags each of the six defects in 80 of 100 sets. Entropy and coverage need known modes, and they do not see what happens within them: modes that are too narrow pass. The energy distance flags fewer than half of the sets in which a tenth of the mass went to the other modes. (A mode at the edge of the data is easier for it, as the study under *Further* shows.) Vendi sees many defects, but it does not say which one it saw.
#
# So ask first which defect you fear, then read its row.
#
# ## 2 · How many samples?
#
# In lesson 09 a perfect demonstrator takes 24 ways, each with probability 1/24.

# %%
complete = guess("17.ways", "Of 100 sets of 64 drives of that demonstrator, how many contain all 24 ways?", 0, 100, "sets")
complete

# %%
sets = torch.randint(24, (4000, 64), generator=generator)
complete.reveal(round(100 * np.mean([len(s.unique()) == 24 for s in sets])))

# %% [markdown]
# A healthy sampler looks collapsed at $n = 64$. Its entropy is too low as well, since rare ways are missed more easily than they are doubled.
#
# **Exercise 1** (easy, 8 minutes). Miller's correction adds $(m - 1) / 2n$ to the entropy of the shares, with $m$ the number of modes that were hit. Write the corrected entropy, in nats. Pitfalls: label $-1$ is a sample in no mode, and it is not one of the $n$.

# %% tags=["exercise"]
def corrected(labels: Tensor, K: int) -> Tensor:
    """labels: 0 to K - 1, or -1 for none. -> []"""
    ### BEGIN SOLUTION
    count = torch.bincount(labels[labels >= 0], minlength=K)
    plain = torch.special.entr(count / count.sum()).sum()
    return plain + ((count > 0).sum() - 1) / (2 * count.sum())
    ### END SOLUTION


check("17.entropy", corrected)

# %%
corrected, sizes = mine("17.entropy"), [16, 64, 256, 1024]
fair = {n: torch.randint(24, (SETS, n), generator=generator) for n in sizes}
plain, better = ({n: np.mean([float(f(s, 24)) for s in fair[n]]) for n in sizes} for f in (entropy, corrected))
assert math.log(24) - plain[64] > 0.12 and abs(math.log(24) - better[64]) < 0.08, "exact: most of the bias is gone at 64"
widgets.table({"drives": sizes, "entropy / ln 24": [f"{plain[n] / math.log(24):.3f}" for n in sizes],
    "exact mean": [f"{expected_entropy(np.full(24, 1 / 24), n) / math.log(24):.3f}" for n in sizes],
    "corrected": [f"{better[n] / math.log(24):.3f}" for n in sizes]})

# %% [markdown]
# **Exact.** At 64 drives the plain entropy of a perfect sampler is more than 0.12 nats too low; with your correction it is right to 0.08. At 16 drives the correction is too small: ways that were never hit do not tell how many they are.
#
# For most measures nobody has a formula. Then the *reference* tells the floor: two sets of it that share no row differ by chance alone.
#
# **Exercise 2** (medium, 12 minutes). Write the floor of any measure at $n$ samples. For each order of the rows, the first $n$ rows play the samples and the next $n$ the data. The floor is the 95 % quantile of the values. Pitfall: which set of rows may be held against which?

# %% tags=["exercise"]
def floor(measure, data: Tensor, n: int, orders: Tensor) -> Tensor:
    """measure(samples, data) -> a number; data [N, d]; orders [R, N] of its rows. -> []"""
    ### BEGIN SOLUTION
    values = [torch.as_tensor(measure(data[o[:n]], data[o[n : 2 * n]])) for o in orders]
    return torch.stack(values).quantile(0.95)
    ### END SOLUTION


check("17.floor", floor)

# %%
floor, reference = mine("17.floor"), EXACT.sample(2000, generator)
orders = torch.stack([torch.randperm(2000, generator=generator) for _ in range(2 * SETS)])
sizes, broken = [50, 100, 200, 400, 800], DEFECTS["10 % mode lost"]
chance = {n: float(floor(energy_distance, reference, n, orders)) for n in sizes}
typical = {n: np.median([energy_distance(broken(n, generator), EXACT.sample(n, generator)) for _ in range(SETS)]) for n in sizes}
assert typical[50] < chance[50], "exact: at 50 samples the loss lies below the floor"
widgets.lines(sizes, {"floor, from your function": [chance[n] for n in sizes], "10 % mode lost": [typical[n] for n in sizes]}, logx=True,
    points=True, xlabel="samples n", ylabel="energy distance", alt="The floor of the energy distance falls steeply with the number of "
    "samples; the value of sets that lost a mode stays level, and lies below the floor for small sets.")

# %% [markdown]
# **Exact.** At 50 samples the typical set that lost a mode lies *below* the floor of the energy distance. The floor falls with $n$, the defect stays. Coverage needs far fewer: a healthy set misses a mode of 10 % with probability $0.9^n$, which falls below 1/20 at $n = 29$.
#
# ## 3 · When does a chain decide?
#
# A chain begins in noise, where all four modes are possible, and ends in one of them. In between, take its $x_t$ and go on *again* from there, under new noise. Where do these futures end?
#
# **Exercise 3** (medium, 15 minutes). Write that. Pitfalls: each future needs its own noise, and `frames[k]` has the noise of `times[k]`. Afterwards we run many chains of the exact denoiser, take one that ended in the mode of 10 %, and branch it. Its posterior is exact: Bayes' rule gives the probability $p(k \mid x_t)$ of each mode $k$.

# %% tags=["exercise"]
def futures(step, frames: Tensor, times: Tensor, k: int, again: int) -> Tensor:
    """step(x [m, d], t, s) -> x at s; frames [K + 1, d] of one chain at times [K + 1]. -> ends [again, d]"""
    ### BEGIN SOLUTION
    x = frames[k].expand(again, -1)
    for t, s in zip(times[k:-1], times[k + 1 :], strict=True):
        x = step(x, t, s)
    return x
    ### END SOLUTION


check("17.futures", futures)

# %%
frames = list(chain(EXACT, torch.randn(N, 1, generator=generator), steps=100, step=ddpm(), generator=generator))
times, paths = torch.stack([f.t for f in frames]), torch.stack([f.x_t for f in frames])
ended = EXACT.responsibilities(paths[-1]).argmax(1)
alone = diversity.alone(frames, int((ended == RARE).nonzero()[0]))
one = torch.stack([f.x_t[0] for f in alone])  # [101, 1]
rare = guess("17.half", "This chain ended in the 10 % mode. Of 200 futures from its frame at t = 0.5, how many end there, too?", 0, 200, "futures")
rare

# %%
futures, HALF = mine("17.futures"), 50
step = lambda x, t, s: ddpm()(EXACT, x, t, s, generator=generator)[0]
ends = diversity.LABEL(futures(step, one, times, HALF, 200))
rare.reveal(int((ends == RARE).sum()))

# %% tags=["punchline"]
shown = {k: diversity.branched(alone, k, generator=generator) for k in (10, 50, 70, 90)}
diversity.fan(times, one, shown, alt="One chain from noise to the second mode, branched at four moments: sixteen futures fan out to "
    "several modes early on, to fewer from later moments, and stay together near the end.")

# %%
at = [10, 30, 50, 70, 90]
counted = {k: float((diversity.LABEL(futures(step, one, times, k, 400)) == RARE).double().mean()) for k in at}
exactly = {k: float(EXACT.responsibilities(one[k], times[k])[RARE]) for k in at}
assert max(abs(counted[k] - exactly[k]) for k in at) < 0.12, "exact: futures follow the posterior"
widgets.table({"branched at t": [f"{float(times[k]):.1f}" for k in at], "end in the 10 % mode, of 400": [f"{counted[k]:.2f}" for k in at],
    "p(mode | x_t), exact": [f"{exactly[k]:.2f}" for k in at]})

# %% [markdown]
# **Exact.** The futures end in a mode as often as the posterior says, up to chance: within 0.12. For a network no posterior is known, but the futures can be counted in the same way.
#
# Pick another moment below (slider or arrow keys). Then look at all chains: when is a mode *committed*, so that it keeps a probability of at least 0.95 to the end?

# %%
diversity.moving(alone, range(0, 100, 5), seed=SEED, alt="The chain of the lesson and sixteen futures from the moment that is picked, "
    "coloured by the mode they end in; below, the entropy of these modes falls along its exact dashed curve.")

# %%
sure = exact_commitment(EXACT, frames) >= 0.95
kept = sure[-1]  # all but a few chains, which end between two modes
when = settled(sure[:, kept], times).t
commits = [float(when[ended[kept] == k].median()) for k in range(4)]
still = {k: float(diversity.ways_left(EXACT.responsibilities(paths[k], times[k])).mean()) for k in (0, 25, 50, 75, 100)}
twice = [sample(EXACT, paths[0, :50], steps=100, step=ddim()) for _ in range(2)]
assert commits[0] > commits[RARE] + 0.1, "exact: the large mode at the side commits earlier than the small one"
assert still[0] > 3 > 2.5 > still[50] > 1.5, "exact: half-way about two modes are open"
assert torch.equal(*twice), "exact: without fresh noise there is one future"
widgets.table({"mode at": [f"{x:+.1f}" for x in PLACES], "share": [f"{s:.0%}" for s in SHARES], "committed at t (median)": [f"{t:.2f}" for t in commits]})

# %% [markdown]
# **Exact.** The large mode at the side commits earlier, by more than 0.1, than the small one between two neighbours. Half-way between 1.5 and 2.5 modes are open, in the mean over chains. Whatever steers a chain (guidance, pinning, a warm start as in lesson 06) must act before the mode is committed: later, new noise leaves a sample where it is.
#
# **Exact.** A deterministic sampler (DDIM) has one future: all is decided in $x_T$. Its *samples* are as diverse as $x_T$ is; a branch shows nothing.
#
# ## 4 · Good diversity and noise
#
# Three dials of a sampler, on the exact denoiser: guidance towards $x_0 > 0$, the number of steps, and the temperature, which multiplies the noise of each step.

# %%
dials = diversity.sweep(max(500, N // 4), SEED)
scale, few, heat = dials["guidance scale"], dials["steps"], dials["temperature"]
assert scale[0.0].entropy > scale[1.0].entropy + 0.4 and scale[8.0].entropy < scale[1.0].entropy - 0.05, "exact: guidance loses modes"
assert few[2].width > 1.5 and few[2].outside > few[100].outside + 0.02, "exact: too few steps are noise, not modes"
assert heat[0.5].entropy < heat[1.0].entropy - 0.05 and heat[2.0].width > heat[1.0].width + 0.2, "exact: cold loses modes, heat adds width"
diversity.dials(dials, alt="Three panels of modes, width and samples in no mode: guidance lowers the number of modes to below two; few steps "
    "widen the modes; a low temperature loses modes and width, a high one adds width alone.")

# %% [markdown]
# **Exact.** Guidance of scale 1 leaves the two modes that were asked for, in their proportion; a scale of 8 loses a part of the smaller one. Two steps give modes more than 1.5 times as wide. A temperature of 0.5 loses modes, and one of 2 only widens them.
#
# So more diversity is not better. The yardstick is the *demonstrator's*. Take the start of lesson 09, where he goes left or right, each with probability 1/2. Trained policies (one training of each) draw 400 actions there.

# %%
first, chances = ways.at_fork(ways.START)
ARMS, study = ["least squares", "Gaussian", "mixture, K = 8", "diffusion"], ways.Study("avoid")
acts = {arm: ways.drawn(ways.policy(arm), where=ways.START, seed=SEED) for arm in ARMS}
his = float((chances[:, None] * (first - chances @ first).square()).sum())
spread = {arm: float(a.var(0).sum()) / his for arm, a in acts.items()}
never = {arm: float((ways.near(a, first) < 0).double().mean()) for arm, a in acts.items()}
alike = all(0.7 < spread[arm] < 1.4 for arm in ("Gaussian", "diffusion"))
assert alike and never["Gaussian"] > 0.5 and never["diffusion"] < 0.2, "large effect: his variance both, and one of them his actions"
widgets.table({"policy": ["demonstrator", *ARMS], "variance / his": ["1.00", *(f"{v:.2f}" for v in spread.values())],
    "never done by him": ["0%", *(f"{v:.0%}" for v in never.values())],
    "entropy of ways / ln 24": [f"{study('entropy', arm).mean():.2f}" for arm in ["demonstrator", *ARMS]]})

# %% [markdown]
# **Large effect.** The Gaussian policy has the demonstrator's variance to within 40 %, and most of its actions are none of his. The diffusion policy has about the same variance, and less than 20 % of its actions are none of his. Variance does not tell these two apart. What does is the share of actions that were never done, beside the entropy of the ways of whole drives (last column: the mean of three trainings). Lesson 09 showed what such noise costs.
#
# ## 5 · A blind study of your own
#
# In practice nobody tells the defect. Here are sets of 400 samples; some are healthy. First judge them by eye. Then `diagnose` asks several questions of each set, each with its floor, and corrects for having asked several. It gets the samples, a reference, and here the places of the modes.

# %%
blind, truth = diversity.blind({"smoke": 2}.get(PROFILE, 4), 400, seed=100 + SEED)
widgets.show(diversity.sets(blind, alt="Blind sets of samples as histograms under letters, each over the dashed exact density of the four modes; "
    "whether a set is healthy is for you to say."))
ill = guess("17.blind", "How many of these sets have a defect?", 0, len(blind), "sets")
ill

# %%
found = {name: diagnose(x, reference[:400], modes=torch.tensor(PLACES)[:, None]) for name, x in blind.items()}
ill.reveal(sum(name != "healthy" for name in truth.values()))

# %%
missing = diagnose(DEFECTS["10 % mode lost"](200, generator), reference[:400], modes=torch.tensor(PLACES)[:, None])
assert missing["lost"].verdict == "collapsed", "exact: a mode of 10 % that is lost is seen at 200 samples"
widgets.table({"set": list(blind), "verdict of diagnose": [f.verdict for f in found.values()],
    "needs n =": [max((q.n_needed or 0 for q in f.findings), default=0) or "-" for f in found.values()],
    "because of": [", ".join(q.name for q in f.findings if q.verdict == "collapsed") or "-" for f in found.values()], "truth": list(truth.values())})

# %% [markdown]
# *Healthy* is said only where a defect that matters would have been seen; else the verdict names the $n$ that it would need. Put samples of your own in the place of a set: any array will do (`docs/bring_your_samples.md`).
#
# ## 6 · Break it: an average over states
#
# A policy acts in many states. Let it have *one* mode in each of ten states: in four of them the first, in one the second, and so on. Beside it is a healthy policy.

# %% tags=["broken"]
S, n = 10, 60
healthy = torch.multinomial(torch.tensor(SHARES), S * n, replacement=True, generator=generator).reshape(S, n)
stuck = torch.tensor([0, 0, 0, 0, 1, 2, 2, 2, 3, 3])[:, None].expand(S, n)
diversity.per_state({"healthy": healthy, "one mode in each state": stuck}, alt="Shares of four modes in ten states: alike in all rows for the healthy "
    "policy, one dark cell in each row for the other; the last row, of all states, is the same for both.")

# %%
average = {name: float(corrected(k.flatten(), 4)) for name, k in {"healthy": healthy, "stuck": stuck}.items()}
assert abs(average["stuck"] - average["healthy"]) < 0.15, "exact: pooled over states nothing is missing"
assert diversity.Study().seen_by("one mode per state") == ["entropy per state"], "exact: one measure of sixteen sees it"
widgets.table({"policy": list(average), "entropy, pooled": [f"{v:.2f}" for v in average.values()],
    "entropy, mean of states": [f"{np.mean([float(corrected(row, 4)) for row in k]):.2f}" for k in (healthy, stuck)]})

# %% [markdown]
# **Exact.** Pooled over the states both policies have the same entropy, to 0.15 nats, and within a state the second has none. The study behind this lesson held sixteen measures against this defect (table under *Further*): the one that asks per state flags it, the other fifteen do not.
#
# **Exercise 4** (hard, 25 minutes). This is the synthesis of the lesson. Write an alarm for single states. You have the modes of $n$ actions in each of $S$ states, and the demonstrator's probabilities there. Two rules judge it. Healthy policies raise it in at most 4 of 20 sets, with 60 or 10 actions in a state, and where the demonstrator has a single mode in some states. It is raised in 18 of 20 sets where each state has a mode of its own, and where *one* state of twelve has lost all but one. Pitfalls: what is the floor in a state? How many states look at once?
#
# Afterwards your alarm looks at trained policies in twelve states side by side at the start, where the demonstrator goes left or right with probability 1/2 whatever the state.

# %% tags=["exercise"]
def alarm(labels: Tensor, p: Tensor, generator: torch.Generator) -> bool:
    """labels [S, n]: 0 to K - 1; p [S, K] of the demonstrator. -> whether a state has lost modes"""
    ### BEGIN SOLUTION
    (S, n), K = labels.shape, p.shape[1]

    def entropies(k: Tensor) -> Tensor:  # [..., n] -> [...]
        return torch.special.entr(torch.stack([(k == m).double().mean(-1) for m in range(K)], -1)).sum(-1)

    drawn = torch.multinomial(p, 200 * n, replacement=True, generator=generator).reshape(S, 200, n)
    chance = entropies(drawn).T  # [200, S]
    mean, std = chance.mean(0), chance.std(0) + 1e-6
    worst = ((chance - mean) / std).min(1).values
    return bool(((entropies(labels) - mean) / std).min() < worst.min())
    ### END SOLUTION


check("17.states", alarm)

# %%
alarm, half = mine("17.states"), torch.full((12, 2), 0.5)
sides = {arm: diversity.at_start(arm, 200, seed=SEED) for arm in ARMS}
raised = {"chance": alarm(torch.multinomial(half, 200, replacement=True, generator=generator), half, generator),
    **{arm: alarm(k, half, generator) for arm, k in sides.items()}}
left = {arm: (k == 0).double().mean(1) for arm, k in sides.items()}
single, several = left["least squares"], left["diffusion"]
assert single.min() < 0.05 < 0.95 < single.max() and several.min() > 0.1, "large effect: one way in a state, or both"
assert abs(single.mean() - 0.5) < 0.2 and abs(several.mean() - 0.5) < 0.2 and all(raised[a] for a in ARMS), "large effect: pooled, both look fair"
widgets.table({"policy": ARMS, "goes left, all states": [f"{v.mean():.2f}" for v in left.values()],
    "lowest and highest state": [f"{v.min():.2f} to {v.max():.2f}" for v in left.values()], "alarm": ["yes" if raised[a] else "no" for a in ARMS]})

# %% [markdown]
# **Large effect.** Pooled over the states each policy goes left in about half of the draws, to within 0.2. But least squares goes left always in some states and never in others: 0 and 1 average to a half. Diffusion goes both ways in every state, with a probability of more than 0.1. The alarm is raised for all four policies of the table: none of them has the demonstrator's even chances in *each* state. They are one training each; that an alarm is raised says that a difference is there, not that it is large.
#
# | signature | in the picture | the number that gives it away | cure |
# |---|---|---|---|
# | a healthy average over collapsed states | each row has one dark cell, the pooled row has all | the worst state against the worst states of healthy policies | ask per state |
# | variance rises while a mode is lost | a mode in the middle is empty | shares of the modes, beside their floor | entropy or coverage of known modes |
# | a healthy sampler looks collapsed | a few ways are missing at small $n$ | the same number of healthy draws at this $n$ | more samples, or the corrected entropy |
# | diversity that is noise | samples between the modes | the share in no mode, beside the demonstrator's | more steps; a richer policy; temperature 1 |
#
# ## 7 · What the survey claims, and what was measured
#
# | The survey says | Measured here | Verdict |
# |---|---|---|
# | Guidance that over-constrains collapses modes | on an exact denoiser scale 1 leaves the modes that were asked for, scale 8 loses a part of one of them | held (exact) |
# | *Our question:* does one number of diversity suffice? | no measure of eight flagged all six defects | no (exact) |
# | *Our question:* is more diversity better? | heat and too few steps add width and samples in no mode, and no mode | no (exact) |
#
# **Symbols.** $x_t$, $x_0$, $x_T$, $t$ as in lesson 01; $k$ a mode, $p(k \mid x_t)$ its probability given a noisy sample; $n$ number of samples; $m$ number of modes that were hit; $S$ number of states.
#
# **References.** Friedman and Dieng, "The Vendi Score: A Diversity Evaluation Metric for Machine Learning" (2023). Szekely and Rizzo, "Energy statistics: A class of statistics based on distances" (2013). Kynkaanniemi et al., "Improved Precision and Recall Metric for Assessing Generative Models" (2019). Miller, "Note on the bias of information estimates" (1955). The survey: "Diffusion Models for Reinforcement Learning: Foundations, Taxonomy, and Development" (2025, arXiv 2510.12253).
#
# **Next.** Lesson 18 hangs twenty failures in a museum, for you to name.

# %% [markdown]
# ## Further · sixteen measures, thirteen defects
#
# The study `collapse` asks the same of more measures and more defects, on four modes in the plane, with 256 samples. *Swapped* weights leave the entropy as it was. Copies of the data pass all measures but the two that know the training data. `docs/studies.md` has the signs and the sizes.

# %%
diversity.Study().picture(alt="The study's table of thirteen defects and a healthy row by sixteen measures: the rows differ in which columns are dark, "
    "and the row of one mode per state has a single dark cell.")

# %% [markdown]
# ## Further · what a network predicts
#
# The same study trained a small network on these modes, to predict the noise, $x_0$ or the velocity: three trainings of each, with the same updates. Lowest and highest of the three are shown.

# %%
kinds, swept = ["eps", "x0", "v"], Table.load(shipped("results/collapse-sweeps.json"))
of = {k: {name: swept.column(name, knob="prediction", value=k).astype(float) for name in ("entropy", "off the modes")} for k in kinds}
assert min(of["v"]["off the modes"]) > max(*of["x0"]["off the modes"], *of["eps"]["off the modes"]) + 0.1, "large effect: outside"
assert all(abs(v - 1.28) < 0.1 for k in kinds for v in of[k]["entropy"]), "large effect: the entropy is that of the data"
widgets.table({"predicts": kinds, **{name: [f"{min(of[k][name]):.2f} to {max(of[k][name]):.2f}" for k in kinds] for name in of["v"]}})

# %% [markdown]
# **Large effect.** In each training, a network that predicts the velocity leaves more samples in no mode than the others do, by more than 0.1. The entropy of those that stay is within 0.1 of the data's for all three: it is blind to this. (Longer training was not part of the study.)
#
# ## Further · a sweep in your hands, here or on a cluster
#
# `run_grid` computes a pure function over a grid, keeps each point, and goes on where it was stopped. With `executor=4` it uses four processes, with the address of a Dask scheduler a cluster (`docs/clusters.md`); the line is otherwise the same.

# %%
with tempfile.TemporaryDirectory() as folder:
    table = run_grid(diversity.point, {"w": [0.0, 4.0], "temperature": [0.5, 1.0]}, seeds=[SEED, SEED + 1], cache=folder, progress=False)
widgets.table({"w": [r["w"] for r in table.rows], "temperature": [r["temperature"] for r in table.rows],
    "modes, exp(entropy)": [f"{r['modes']:.2f}" for r in table.rows], "in no mode": [f"{r['outside']:.3f}" for r in table.rows]})

# %% [markdown]
# ## Further · noise as a policy
#
# Does noise help a policy that has lost ways? Here noise of a given deviation is added to each action of least squares, and to the demonstrator.

# %%
levels = (0.0, 0.3, 0.6)
noisy = {level: diversity.noisy("least squares", level, {"smoke": 20}.get(PROFILE, 100), seed=SEED) for level in levels}
widgets.table({"noise": list(levels), "arrived": [f"{(r.way >= 0).mean():.2f}" for r in noisy.values()],
    "ways": [len(set(r.way[r.way >= 0].tolist())) for r in noisy.values()]})
