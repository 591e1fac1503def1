# %% [markdown]
# ![Four confusion matrices, one for each room of the museum: samples, plans, data and training. Each row is a failure, each column a diagnosis, and nearly all counts lie on the diagonals.](attachment:18.png)
#
# # 18 · The failure museum
#
# **The question.** A diffusion model makes samples whatever is wrong with it. Which number tells *what* is wrong?
#
# The survey names four failure signatures. Public code has had many more failures: a noise that starts too small, a clip below the data, a window that is never seen. They raise no error, and the samples still look like samples. Here twenty such failures hang in four rooms. Each is injected by a seed into an exact model, so that nothing else is wrong. For each there is a detector, a function that sees the plots' numbers and nothing else. You diagnose with your eyes, build detectors, and hang an exhibit of your own.
#
# **Afterwards you can**
# - say for a set of samples whether a mode is lost, moved, too narrow or too wide, with a number for each;
# - set the threshold of a detector from healthy sets, also where many detectors look;
# - judge a diagnosis by its confusion matrix;
# - name the number that gives each of sixteen bugs of public projects away.
#
# **You need** lesson 01 (how samples are drawn), lesson 02 (noise at the start of a chain) and lesson 04b (noise floors). **Machine:** about 40 seconds on two CPU cores, no network.
# **You:** 80 minutes (an estimate).

# %% tags=["collapsed"]
import numpy as np
import torch
from torch import Tensor

from diffrl_lab import widgets
from diffrl_lab.analysis import exhibits
from diffrl_lab.analysis.exhibits import DATA, PLANS, ROOMS, SAMPLES, TRAINING
from diffrl_lab.analysis.museum import Room
from diffrl_lab.course import check, guess, hint, mine
from diffrl_lab.diffusion.denoisers import NeuralDenoiser
from diffrl_lab.diffusion.guidance import clip
from diffrl_lab.diffusion.samplers import heun
from diffrl_lab.diffusion.training import Batches, cosine_decay, denoising_loss, descend, fit, seeded
from diffrl_lab.nets import MLP
from diffrl_lab.widgets import museum

torch.set_num_threads(1)  # for tensors this small a second thread costs more than it brings

# %% tags=["parameters"]
PROFILE = "class"  # smoke: seconds; class: a minute; full: more seeds
SEED = 0

# %%
N, generator = {"smoke": 4, "class": 20, "full": 100}[PROFILE], torch.Generator().manual_seed(SEED)
seeds = range(1000 * (SEED + 1), 1000 * (SEED + 1) + N)  # no threshold of the museum was chosen on them
widgets.component_map(["data", "diffusion model", "guided sampling"], alt="The survey's component map with three boxes "
    "lit, data, diffusion model and guided sampling: in each of them something can be wrong without an error.")

# %% [markdown]
# ## 1 · One failure, exactly
#
# The data have two modes: a quarter lies around $-1.6$, the rest around 0.55, each mode with a deviation of 0.15. We know their exact denoiser, so a chain of enough steps gives the data back. The schedule is EDM's, which begins with noise of the deviation $\sigma_{\max} = 5$.
#
# A public world model draws $x_T$ with a deviation of 1 and goes on as if it were 5. The denoiser, the steps and the rest are right.

# %%
share = guess("18.start", "A quarter of the data lies in the smaller mode. Which share of the samples, if the noise at the start has a deviation of 1 in place of 5?", 0.0, 0.5)
share

# %%
small = SAMPLES.evidence("start too small", SEED)
share.reveal(exhibits.minor(small["samples"]))

# %%
assert exhibits.minor(small["samples"]) < 0.01 and abs(exhibits.minor(small["data"]) - 0.25) < 0.05, "exact: a mode is lost"
museum.plots(SAMPLES, small, alt="Left: the data have two modes, the samples lie in the larger one alone, and are too narrow there. Right: "
    "the spread of the chain begins at a fifth of the exact one, and stays below it to the end.")

# %% [markdown]
# **Exact.** The denoiser is exact, and still the smaller mode has less than 1 % of the samples. At $t = 1$ an exact chain has values between about $-10$ and 10, and those on the far left become the smaller mode. With a deviation of 1 there are none so far to the left. This is mode collapse that the sampler alone has made: no training mends it.
#
# The left plot does not tell this failure from a guidance that is too strong. The right one does. It shows the spread of $x_t$ along the chain, over the spread that it should have: here it is wrong from the first step.
#
# ## 2 · A room of samples
#
# Five failures hang in the room of samples, beside healthy ones.

# %%
museum.wall(SAMPLES, SAMPLES.names, seed=SEED, alt="Six histograms of samples over the data's. Healthy ones agree; guidance and a "
    "small start leave one mode; a clip heaps samples on a bound; two others are too narrow and slightly too wide.")

# %% [markdown]
# Two of them keep both modes and change their *width*. Decision Diffuser's paper scales the variance of the noise by 0.5 and its code the deviation, so that the variance is a quarter. CleanDiffuser's solver keeps its second order in the last step, where the step is large.
#
# **Exercise 1** (easy, 8 minutes). Measure the width. Give each number to its nearest centre, and take the deviation *within* the groups, all groups pooled; divide that of the samples by that of the data. Pitfalls: the distance between the modes is no width, and a mode that moved is not wider.

# %% tags=["exercise"]
def width(samples: Tensor, data: Tensor, centres: Tensor) -> Tensor:
    """samples [n], data [m], centres [K] of the modes. -> []"""
    ### BEGIN SOLUTION
    def within(x: Tensor) -> Tensor:
        k = (x[:, None] - centres).abs().argmin(1)
        groups = [x[k == i] for i in range(len(centres))]
        return (sum((g - g.mean()).square().sum() for g in groups if len(g)) / len(x)).sqrt()

    return within(samples) / within(data)
    ### END SOLUTION


check("18.noise", width)

# %%
width, centres = mine("18.noise"), torch.tensor([-1.6, 0.55])
kept = ["healthy", "clipped below the data", "half the deviation", "second order to the end"]  # these have both modes
shown = {name: SAMPLES.evidence(name, SEED) for name in kept}
wide = {name: float(width(e["samples"].float(), e["data"].float(), centres)) for name, e in shown.items()}

# %%
assert wide["half the deviation"] < 0.8 < 0.9 < wide["healthy"] < 1.1 < wide["second order to the end"], "exact: widths"
widgets.table({"exhibit": kept, "width / data": [f"{w:.2f}" for w in wide.values()],
    "smaller mode": [f"{exhibits.minor(e['samples']):.2f}" for e in shown.values()],
    "on a bound": [f"{exhibits.pile(e['samples']):.2f}" for e in shown.values()]})

# %% [markdown]
# **Exact.** Half the deviation makes the modes narrower than 0.8 of the data's width, and a second order that is kept to the end makes them wider than 1.1 of it. Healthy samples stay between 0.9 and 1.1.
#
# Three numbers together tell these exhibits apart: the width, the share of the smaller mode, and the share of samples that lie on their own largest or smallest value.
#
# ## 3 · When is it an alarm?
#
# Healthy samples do not have a width of exactly 1. A threshold comes from healthy sets: a score is an alarm if few of them score as high. But a room has several detectors, and each may raise a false alarm.

# %%
alarms = guess("18.looks", "Five detectors look at each of 100 healthy sets, and each flags 5 % of healthy sets. How many sets are flagged by at least one?", 0, 100, "sets")
alarms

# %%
scores = torch.rand(100_000, 5, generator=generator)  # each detector's score on a healthy set; above 0.95 is its alarm
alarms.reveal(round(100 * float((scores > 0.95).any(1).double().mean())))

# %% [markdown]
# The detectors are independent here, so the share is $1 - 0.95^5$, more than a fifth. A room of careful detectors is not careful.
#
# **Exercise 2** (medium, 12 minutes). Write the alarm of a room. You have the `healthy` scores of $R$ healthy sets, the score `found`, and $m$ detectors. The chance that a healthy set scores this high is $p = (1 + \text{number as high or higher}) / (R + 1)$. With $m$ detectors it is at most $m\,p$, and at most 1. Pitfalls: with 99 healthy sets no $p$ can be 0, and equal scores count.

# %% tags=["exercise"]
def alarm(found: float, healthy: Tensor, detectors: int) -> Tensor:
    """found: a score, the higher the worse; healthy [R] scores. -> the room's probability of a false alarm []"""
    ### BEGIN SOLUTION
    p = (1 + (healthy >= found).sum()) / (1 + len(healthy))
    return (detectors * p).clamp(max=1.0)
    ### END SOLUTION


check("18.floor", alarm)

# %%
alarm = mine("18.floor")
score = lambda e: abs(float(width(e["samples"].float(), e["data"].float(), centres)) - 1)
healthy = torch.tensor([score(SAMPLES.evidence("healthy", k)) for k in range(120)])  # these set the threshold
chance = {name: float(alarm(score(e), healthy, 5)) for name, e in shown.items()}

# %%
assert chance["half the deviation"] < 0.05 and chance["second order to the end"] < 0.05, "exact: both are alarms"
widgets.table({"exhibit": kept, "width, off by": [f"{score(e):.2f}" for e in shown.values()],
    "false alarm of the room": [f"{p:.2f}" for p in chance.values()]})

# %% [markdown]
# **Exact.** Both widths are alarms at 0.05, although five detectors look: no healthy set of 120 was as far off. (The clip is one, too: a mode on a bound has no width. That is why the room looks for the bound first.) With 20 healthy sets in place of 120, no score whatever would be an alarm, since $m\,p$ is never below 5/21. Who wants few false alarms of many detectors needs many healthy sets.
#
# ## 4 · A room of data
#
# Some failures are there before anything is trained. Diffuser's loader writes episodes into an array of zeros and *then* scales it: behind the end of an episode stand zeros that are no zeros any more.

# %%
museum.plots(DATA, DATA.evidence("zeros behind the end", SEED), alt="Left: lines of a scaled column, some of which jump to one flat level below the "
    "middle. Middle: three columns cover their range. Right: all rows near the end are in many windows.")

# %% [markdown]
# **Exercise 3** (medium, 12 minutes). Count the padding: how many rows at the end of each window stand still in all columns? Pitfalls: scaled zeros are not 0, a robot may stand still in mid-window, and one column may be constant.

# %% tags=["exercise"]
def padding(windows: Tensor) -> Tensor:
    """windows [n, H, d]. -> rows of padding at each one's end [n]"""
    ### BEGIN SOLUTION
    still = (windows.diff(dim=1) == 0).all(2)
    return still.flip(1).long().cumprod(1).sum(1)
    ### END SOLUTION


check("18.padding", padding)

# %% [markdown]
# Your function becomes a detector of the room: an alarm if 2 % of the windows have padding. The other exhibits keep theirs. The law of the museum asks two things of all of them: each failure is named in 19 of 20 sets, and at most 1 of 20 healthy sets is flagged.

# %%
padding = mine("18.padding")
yours = {name: e.shows for name, e in DATA.exhibits.items()}
yours["zeros behind the end"] = lambda e: float((padding(e["windows"]) > 0).double().mean()) > 0.02
judged = DATA.confusion(seeds, yours)
assert judged.keeps(), "exact: your detector keeps the law of the museum"

# %% [markdown]
# ## 5 · The whole museum
#
# The room of plans has the survey's other signatures, and conditions that were written in the wrong place (a user of Diffuser reported it). The room of training shows six curves of one run, of which at most one is wrong. Every set is drawn anew, and the detectors answer.

# %%
found = {name: room.confusion(seeds) for name, room in ROOMS.items()}
right = {f"{name}: {truth}": share for name, matrix in found.items() for truth, share in matrix.right.items()}

# %% tags=["punchline"]
museum.confusion(found, alt="Confusion matrices of the four rooms, truth in rows and diagnosis in columns. The counts lie on the "
    "diagonals, with at most a single set beside them.")

# %%
assert all(matrix.keeps() for matrix in found.values()), "exact: each failure is named in 19 of 20 sets, in each room"
widgets.table({"room": list(found), "exhibits": [len(m.truths) - 1 for m in found.values()],
    "named, worst exhibit": [f"{min(m.right.values()):.2f}" for m in found.values()],
    "false alarms": [f"{m.false_alarms:.2f}" for m in found.values()]})

# %% [markdown]
# **Exact.** In each room every failure is named in at least 19 of 20 sets, and at most one healthy set is flagged. The models are exact and the failures large, so this is what detectors *can* do.
#
# And you? In each round you see plots only. Pick a diagnosis; then the detector answers, and the exhibit says where it was found.

# %%
museum.blind(list(ROOMS.values()), rounds=8, seed=SEED, alt="Eight rounds: the plots of an exhibit that has no name, a list of diagnoses to "
    "pick from, and the detector's answer after that.")

# %% [markdown]
# ## 6 · Your own exhibit
#
# DIAMOND turned its pictures into bytes by cutting, not by rounding. In one dimension: each sample is cut to the multiple of 1/16 below it. The mean moves by half of that, 1/32, which is about what chance moves it here.
#
# **Exercise 4** (hard, 25 minutes). This is the synthesis of the lesson. Write an exhibit: a bug, the one above or another one, and a detector that names it. The law of the museum judges both: your bug is named in 19 of 20 sets, and healthy sets, and sets with a lost mode, a clip, narrow or wide modes, in at most 1 of 20 each. Pitfalls: what does your bug leave behind that no other one does? A clip makes equal samples, too.

# %% tags=["exercise"]
def exhibit():
    """-> (damage, seen): damage(x [n], generator) -> what your bug makes of x; seen(samples [n], data [m]) -> bool"""
    ### BEGIN SOLUTION
    def damage(x: Tensor, generator: torch.Generator) -> Tensor:
        return torch.floor(16 * x) / 16

    def seen(samples: Tensor, data: Tensor) -> bool:
        return len(samples.unique()) < 0.1 * len(samples)

    return damage, seen
    ### END SOLUTION


check("18.exhibit", exhibit)

# %% [markdown]
# Now it hangs beside the others, in ten lines.

# %%
damage, seen = mine("18.exhibit")()
room = Room("samples, with yours", SAMPLES.healthy, SAMPLES.panels, dict(SAMPLES.exhibits))


def made(g: torch.Generator) -> dict:
    e = SAMPLES.healthy(g)
    return {**e, "samples": damage(e["samples"], g)}


room.add("yours", made, lambda e: seen(e["samples"], e["data"]), sign="", number="", project="mine", cure="")
mine_too = room.confusion(seeds)
assert mine_too.keeps(), "exact: the room keeps the law with one more exhibit"

# %% [markdown]
# **A network that was trained.** So far all denoisers were exact. We train a small one (800 updates, one training), and put two bugs into its sampler.

# %%
D = seeded(SEED, lambda: NeuralDenoiser(MLP(1, width=64), exhibits.KARRAS.schedule, "edm", sigma_data=0.94))
update = descend(lambda x: denoising_loss(D, x, generator=generator), D, lr=5e-3, schedule=cosine_decay(800))
losses = [float(row["loss"]) for row in fit(update, Batches(exhibits.KARRAS.sample(20_000, generator), 256, generator), 800)]
learned = {"as trained": exhibits.drawn(D, generator, heun()), "start too small": exhibits.drawn(D, generator, heun(), start=1.0),
    "clipped": exhibits.drawn(clip(D, -1, 1), generator, heun())}
told = {name: SAMPLES.diagnose(e) for name, e in learned.items()}

# %%
assert 1.1 < exhibits.width(learned["as trained"]) < 1.8, "large effect: two modes, a little wide"
assert told["start too small"] == "start too small" and told["clipped"] == "clipped below the data", "large effect: both are named"
widgets.table({"sampler": list(learned), "diagnosis": list(told.values()),
    "width / data": [f"{exhibits.width(e):.2f}" for e in learned.values()]})

# %% [markdown]
# **Large effect.** The network's modes are less than 1.8 times as wide as the data's, and both bugs are named as they are with an exact denoiser.
#
# But look at the first row. After few updates the modes are wider than 1.1 of the data's, and the room calls that *second order to the end*: it is the only exhibit with wide modes. **A detector names what hangs in its room.** A failure that does not hang there gets a wrong name, or none. So a diagnosis is a reason to look at the code, and no proof.
#
# ## 7 · Break it: a detector that looks at the mean
#
# Many training scripts print one number, a mean. Here every detector of two rooms gives way to one that compares means only. Its threshold is fair: at most 1 of 20 healthy sets is flagged.

# %%
moved = {"samples": lambda e: abs(float(e["samples"].mean() - e["data"].mean())) > 0.1,
    "plans": lambda e: float((e["plans"][..., 0].mean(0) - exhibits.ASKED).abs().max()) > 0.5}
blind = {name: ROOMS[name].confusion(seeds, {"the mean has moved": test}) for name, test in moved.items()}
flagged = {name: {t: 1 - float(m.counts[i, 0] / N) for i, t in enumerate(m.truths)} for name, m in blind.items()}

# %% tags=["broken"]
museum.confusion(blind, alt="Two matrices of a detector that sees only the mean. In the room of samples it flags most failures; in the "
    "room of plans the survey's signatures lie in the column healthy.")

# %%
assert flagged["samples"]["second order to the end"] < 0.5, "exact: wide modes have the same mean"
assert max(rates["healthy"] for rates in flagged.values()) <= 0.05, "exact: a fair threshold"
signatures = ["plans that vary too much", "errors that compound", "plans without dynamics"]
assert max(flagged["plans"][name] for name in signatures) <= 0.25, "exact: three signatures leave the mean alone"
widgets.table({"plans": signatures, "flagged by the mean": [f"{flagged['plans'][k]:.2f}" for k in signatures],
    "named by its detector": [f"{found['plans'].right[k]:.2f}" for k in signatures]})

# %% [markdown]
# **Exact.** Three of the survey's four signatures leave the mean of the plans where it was. A detector that looks at the mean calls them healthy, in nearly all sets. It is not a bad detector of what moves the mean; it is *blind* to what it was asked about.
#
# | signature | in the picture | the number that gives it away | cure |
# |---|---|---|---|
# | a detector that sees only the mean | failures stand in the column *healthy* | alarms for each exhibit, not the average of all | measure what the failure changes |
# | a threshold without healthy sets | the row *healthy* leaves its diagonal | false alarms on fresh healthy sets | the rank among many healthy scores, times the number of detectors |
# | a failure that does not hang in the room | it gets its neighbour's name | its row in a matrix with one more exhibit | hang it |
# | two causes with one sign | one histogram, two names | a number from earlier in the chain, or from before training | show the whole way, not the end alone |
#
# Each lesson of this course ends its *Break it* with such a table. The page *Numbers that give it away* (`docs/numbers.md`) collects them; after them stand the exhibits of this museum, written from the same registry that you have just extended.
#
# ## 8 · What the survey claims, and what was measured
#
# | The survey says | Measured here | Verdict |
# |---|---|---|
# | Four signatures show that something failed: variance, mode collapse, compounding errors, mismatch with the dynamics | each is named in 19 of 20 sets or more, where a single failure was put into an exact model | held (exact) |
# | *Our question:* do they tell the cause? | a lost mode is the sign of strong guidance and of a small start; the histogram does not tell which, the spread along the chain does | no |
#
# **Symbols.** $x_t, x_T$ the samples along the chain and at its start; $\sigma_{\max}$ the deviation of the noise at the start; $t$ the diffusion time; $p$ the chance that a healthy set scores as high; $R$ the number of healthy sets; $m$ `detectors` the number of detectors.
#
# **References.** Alonso et al., "Diffusion for World Modeling: Visual Details Matter in Atari" (2024), whose code had the small start. Janner et al., "Planning with Diffusion for Flexible Behavior Synthesis" (2022). Ajay et al., "Is Conditional Generative Modeling all you need for Decision-Making?" (2023). Karras et al., "Elucidating the Design Space of Diffusion-Based Generative Models" (2022). The survey: "Diffusion Models for Reinforcement Learning: Foundations, Taxonomy, and Development" (2025, arXiv 2510.12253).
#
# **Next.** This was the last lesson: take a sampler of your own through the rooms.

# %% [markdown]
# ## Further · where each exhibit was found
#
# The four signatures are the survey's. The others were found in public code, or in reports of its users; some are mended by now. Nothing was copied: each is injected again from its description.

# %%
every = [(name, e) for name, r in ROOMS.items() for e in r.exhibits.values()]
widgets.table({"exhibit": [e.name for _, e in every], "room": [name for name, _ in every], "found in": [e.project for _, e in every]})

# %% [markdown]
# The room of training holds six of them. Which of its plots is wrong for which exhibit?

# %%
museum.plots(TRAINING, TRAINING.evidence("the best of many checkpoints", SEED), alt="Six curves of one run: losses of weights and of their average, a batch "
    "with padding, values, scores reported and repeated, ratios before an update, returns. Reported scores lie above repeated ones.")
