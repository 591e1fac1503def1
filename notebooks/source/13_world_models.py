# %% [markdown]
# ![Film strips of Breakout after a lost ball: two pictures that can follow, the blurred mean of both, and eight pictures that a diffusion model drew.](attachment:13.png)
#
# # 13 · World models
#
# **The question.** Can a network be the world? You learn the next picture of a game from recordings, throw the game away, and play on.
#
# The game is a small Breakout. Its law is known exactly, so every dreamed picture can be judged: it is possible, or it is not. First you see why least
# squares cannot dream where chance decides. Then a diffusion model draws one of the possible pictures. Then you play its dream with the arrow keys.
#
# **Afterwards you can**
# - say what least squares learns where two futures are possible, and measure it;
# - condition a diffusion model on past pictures and actions, and draw the next picture;
# - judge a world model by the weights of its futures, and not only by how long its dream lasts.
#
# **You need** lesson 02; lesson 03 says what a transition is. **Machine:** about 30 seconds on two CPU cores, no network. **You:** 85 minutes (an estimate).

# %% tags=["collapsed"]
import random

import torch
from torch import Tensor

from diffrl_lab import widgets
from diffrl_lab.analysis import dreams
from diffrl_lab.analysis.sweeps import Table
from diffrl_lab.course import check, guess, hint, mine
from diffrl_lab.data.shipped import shipped
from diffrl_lab.methods.models.diamond import Diamond
from diffrl_lab.widgets.play import play, strip
from diffrl_lab.worlds import games

torch.set_num_threads(1)  # for networks this small a second thread only waits

# %% tags=["parameters"]
PROFILE = "class"  # smoke: seconds; class: a minute; full: more moments, longer dreams
SEED = 0

# %%
N, DREAMS, LIMIT = {"smoke": (200, 6, 20), "class": (300, 24, 60), "full": (500, 64, 200)}[PROFILE]
generator = torch.Generator().manual_seed(SEED)
widgets.component_map("diffusion model", alt="The survey's component map from data to execution; lit in lesson 13: diffusion model.")

# %% [markdown]
# ## 1 · A game whose law is known
#
# A paddle, a ball and its trail, three rows of bricks: a picture has four channels of 10 x 10 cells, and each cell is 0 or 1. You move the paddle left or right, or you stay. The game
# never ends. Only two of its transitions are random, and both probabilities are known:
#
# - with probability 0.1 the **last** action is done again, and not the one that you ask for (a *sticky* action);
# - when the ball is lost, the next picture is a new game's, and the ball starts on the left or on the right with probability 1/2 each.
#
# We collect moments that no training saw: what was seen, what was asked for, and the exact law of the next picture.

# %%
moments = dreams.fresh("breakout", N, seed=10_000 + SEED)
sticky, restart = moments.only("sticky"), moments.only("restart")
p_restart, two_starts = restart.law(0)
p_sticky, two_paddles = sticky.law(0)
names = games.Breakout.channels
widgets.show(strip({f"sticky, p = {p_sticky[0]:.1f} and {p_sticky[1]:.1f}": two_paddles, f"restart, p = {p_restart[0]:.1f} and {p_restart[1]:.1f}": two_starts},
    names, alt="Two rows of two pictures of Breakout. Above, the paddle stands one or two cells apart. Below, the ball starts on the left or on the right."))
assert torch.isclose(p_sticky[0], torch.tensor(0.9)) and torch.equal(p_restart, torch.tensor([0.5, 0.5])), "exact: the law of the game"

# %% [markdown]
# Above, one action may stick, so the paddle ends in one of two places. Below, the ball was lost, and the two pictures of a new game differ in the ball. In all other moments exactly one
# picture can follow.
#
# ## 2 · The mean is no picture
#
# The simplest world model is a network $f$ that minimises $\mathbb E\,|x' - f|^2$, where $x'$ is the next picture. For any $f$
#
# $$\mathbb E\,|x' - f|^2 = \mathbb E\,|x' - \bar x|^2 + |\bar x - f|^2, \qquad \bar x = \mathbb E[x' \mid \text{what was seen and done}],$$
#
# since the cross term $2\,(\bar x - f) \cdot \mathbb E[x' - \bar x]$ is 0. The first part does not depend on $f$. So the best $f$ is the **mean picture** $\bar x$.
#
# **Exercise 1** (easy, 8 minutes). Compute the mean picture from the pictures that may follow and their probabilities. Pitfall: the pictures are not equally likely.

# %% tags=["exercise"]
def mean_picture(pictures: Tensor, p: Tensor) -> Tensor:
    """pictures [n, h, w], p [n]: the mean of the pictures under p. -> [h, w]"""
    ### BEGIN SOLUTION
    return (p[:, None, None] * pictures).sum(0)
    ### END SOLUTION


check("13.mean_picture", mean_picture)

# %% [markdown]
# A network of the size that ships was trained by least squares on 30,000 recorded pictures. It is shown the last two pictures and actions.

# %%
mean = mine("13.mean_picture")
squares = Diamond.load(shipped("weights/breakout-mean.safetensors"))


def look(moment: int) -> tuple[Tensor, Tensor]:
    """The exact mean picture of a restart, and what least squares draws."""
    p, pictures = restart.law(moment)
    exact = torch.stack([mean(channel, p) for channel in pictures.transpose(0, 1)])
    return exact, squares.sample(restart.past[[moment]].float(), restart.act[[moment]])[0]


exact, drawn = look(0)
widgets.show(strip({"can follow": two_starts, "exact mean, and least squares": torch.stack([exact, drawn])}, names,
    alt="Above, two pictures of a new game with the ball on the left or on the right. Below, the exact mean and the picture of least squares: both show two pale balls."))
error = torch.stack([(look(k)[0] - look(k)[1]).abs().max() for k in range(20)])
assert error.median() < 0.2, "large effect: least squares draws the mean of the pictures that can follow"

# %% [markdown]
# **Large effect.** Least squares draws two half balls. No game has such a picture.
#
# A picture of the game has cells of 0 and 1, so we round: a cell of at least 0.5 is 1. After a lost ball both half balls lie near 0.5, and the rounding makes a whole ball or none of each.

# %%
share = guess("13.share", "After a lost ball: in which share of moments is the rounded picture of least squares impossible?", 0, 100, "%")
share

# %% [markdown]
# **Exercise 2** (medium, 10 minutes). Write the judge of this lesson. Given a drawn picture and the pictures that may follow, say which one it is after rounding, or -1. Pitfall: a picture that is
# nearly possible is impossible.

# %% tags=["exercise"]
def possible(drawn: Tensor, legal: Tensor) -> int:
    """drawn [C, h, w], legal [n, C, h, w]: the number of the legal picture that the rounded one is, or -1."""
    ### BEGIN SOLUTION
    same = (legal == (drawn >= 0.5)).flatten(1).all(1)
    return int(same.int().argmax()) if same.any() else -1
    ### END SOLUTION


check("13.possible", possible)

# %%
which = mine("13.possible")


def judged(draw: dreams.Draw, moments: dreams.Moments) -> Tensor:
    """Which picture of its law each drawn picture is, -1: impossible. -> [N]"""
    drawn = draw(moments.past.float(), moments.act, torch.Generator().manual_seed(SEED))
    return torch.tensor([which(x, moments.law(k)[1]) for k, x in enumerate(drawn)])


came = {"sticky": judged(dreams.drawn_by(squares), sticky), "restart": judged(dreams.drawn_by(squares), restart)}
impossible = {kind: 100 * float((v < 0).double().mean()) for kind, v in came.items()}
share.reveal(impossible["restart"])

# %%
weight = {kind: float((v == 0).sum() / (v >= 0).sum().clamp(min=1)) for kind, v in came.items()}
balls = squares.sample(restart.past.float(), restart.act)[:, 1].flatten(1).topk(2).values.sum(1)  # both half balls
assert 0.9 < balls.mean() < 1.1 and balls.std() < 0.2, "large effect: the two half balls add up to one ball"
assert impossible["restart"] > 8 and weight["sticky"] > 0.97, "large effect: the mean is impossible, or the likelier picture every time"
widgets.table({"moment": list(came), "impossible, %": [f"{impossible[k]:.0f}" for k in came],
    "weight of the likelier picture": [f"{weight[k]:.2f}" for k in came], "exact": [f"{p[0]:.2f}" for p in (p_sticky, p_restart)]})

# %% [markdown]
# **Large effect.** Where two pictures are equally likely, least squares draws impossible ones: two balls, or none. It does so less often than two tosses of a coin would, since its two half balls add up to about one: if one lies above 0.5, the other mostly lies below. Where one picture has 0.9, least squares rounds to that one *every* time: the other future never happens in its dream.
#
# ## 3 · Draw one of them
#
# DIAMOND (Alonso et al. 2024) draws the next picture by diffusion. The denoiser $D(x_t, t, c)$ has a condition $c$: the last $K = 2$ pictures and actions. Nothing else changes. The schedule is that of Karras et al.
# (2022): $\alpha_t = 1$, and the noise $\sigma$ goes from 5 down to 0. Around the network $F$ stands a preconditioning,
#
# $$D(x, \sigma) = c_{\text{skip}}\, x + c_{\text{out}}\, F(c_{\text{in}}\, x, \sigma),$$
#
# whose three factors are chosen so that the network's input and its target both have variance 1, and $D$ is $x$ itself where there is no noise. With $\sigma_d$ for the standard deviation of the data, $x$ has
# the variance $\sigma_d^2 + \sigma^2$. That gives $c_{\text{in}}$. The best linear guess of $x_0$ from $x$ gives $c_{\text{skip}}$, and what that guess leaves over has the standard deviation $c_{\text{out}}$.
#
# **Exercise 3** (medium, 12 minutes). Write $D$ around a given $F$. The best linear guess of $x_0$ from $x = x_0 + \sigma \epsilon$ is $x$ times $\operatorname{Cov}(x_0, x) / \operatorname{Var}(x)$. Pitfall: variances add, deviations do not.

# %% tags=["exercise"]
def precondition(F, x: Tensor, sigma: float, sigma_data: float) -> Tensor:
    """F(input, sigma) is the network; D(x, sigma) around it. -> the shape of x"""
    ### BEGIN SOLUTION
    total = sigma**2 + sigma_data**2
    return sigma_data**2 / total * x + sigma * sigma_data / total**0.5 * F(x / total**0.5, sigma)
    ### END SOLUTION


check("13.precondition", precondition)

# %%
D_around = mine("13.precondition")
good = Diamond.load(shipped("weights/breakout-good.safetensors"))
cond = {"past": 2 * restart.past[:8].float() - 1, "act": restart.act[:8]}  # pictures are shown as -1 and 1
x = torch.randn(8, 4, 10, 10, generator=generator)
for sigma in (0.1, 1.0, 4.0):
    F = lambda z, s: good.denoiser.net(z, torch.full((8,), s).log() / 4, cond)
    t = good.denoiser.schedule.time(torch.tensor(sigma))
    torch.testing.assert_close(D_around(F, sigma * x, sigma, 0.5), good.denoiser(sigma * x, t, cond), rtol=1e-3, atol=1e-4)  # exact

# %% [markdown]
# Your line and the shipped network agree at three noise levels. Now the condition.
#
# **Exercise 4** (medium, 10 minutes). A game is running: you have all pictures and all actions so far, and the action of *now*. What is the model shown? Pitfall: there is one action more than you think.

# %% tags=["exercise"]
def shown(frames: Tensor, acts: Tensor, now: int, K: int) -> tuple[Tensor, Tensor]:
    """frames [T, ...], acts [T - 1], the action of now: the last K of both, the newest last. -> [K, ...], [K]"""
    ### BEGIN SOLUTION
    return frames[-K:], torch.cat([acts, torch.tensor([now])])[-K:]
    ### END SOLUTION


check("13.shown", shown)

# %%
window = mine("13.shown")
game = games.Breakout(SEED)
lived = games.play(game, games.careless(random.Random(SEED), 1.0), 60)
first = int(lived.frames[2:60, 1, 9].any(1).argmax()) + 2  # the first picture with a lost ball
past, act = window(torch.from_numpy(lived.frames[: first + 1]).float(), torch.from_numpy(lived.act[:first]), 0, 2)
one_hot = torch.eye(3)[act]
draws = good.sample(past.expand(8, -1, -1, -1, -1), one_hot.expand(8, -1, -1), steps=5, generator=generator)

# %% tags=["punchline"]
widgets.show(strip({"can follow, and their mean": torch.cat([two_starts, exact[None]]), "drawn by diffusion": draws}, names, alt="Above, the two pictures of a new game and their mean "
    "with two pale balls; below, eight draws of the diffusion model, with the ball on the left in some and on the right in others."))

# %%
sides = [which(x, two_starts) for x in draws]
assert {0, 1} <= set(sides) and sides.count(-1) <= 1, "large effect: both new games are drawn, whole"

# %% [markdown]
# Eight draws for one lost ball are new games, whole, and both sides occur.
#
# ### How many denoising steps?
#
# From pure noise the first $\hat x_0 = D(x, \sigma_{\max})$ is nearly the mean picture (lesson 01). With one step that is all you get. More steps let the picture choose.

# %%
once = guess("13.once", "One denoising step: how often is the likelier of the two sticky pictures drawn? (exact: 90 %)", 50, 100, "%")
once

# %%
STEPS = (1, 2, 3, 5, 10)
rows = {k: dreams.possible(dreams.drawn_by(good, steps=k), moments, seed=SEED) for k in STEPS}
by_kind = {kind: [next(r for r in rows[k] if r.kind == kind) for k in STEPS] for kind in dreams.KINDS}
once.reveal(100 * by_kind["sticky"][0].weight)

# %%
widgets.show(widgets.lines(STEPS, {"weight of the likelier": [r.weight for r in by_kind["sticky"]], "exact weight": [float(p_sticky[0])] * 5,
    "impossible, restart": [r.impossible for r in by_kind["restart"]], "impossible, sticky": [r.impossible for r in by_kind["sticky"]], "impossible, others": [r.impossible for r in by_kind["certain"]]}, points=True, xlabel="denoising steps", ylabel="share",
    alt="Shares against denoising steps 1 to 10. The weight of the likelier sticky picture falls from near 1 to the dashed 0.9. Impossible pictures fall with the steps after a restart, and grow where an action may stick; where one picture can follow they stay few."))
assert by_kind["sticky"][0].weight > 0.985 > by_kind["sticky"][3].weight, "large effect: five steps keep the rarer picture"
assert abs(by_kind["sticky"][4].weight - 0.9) < 0.05, "large effect: ten steps have the game's weights"
assert by_kind["restart"][3].impossible < 0.5 * by_kind["restart"][0].impossible, "large effect: one step draws a mean"
assert by_kind["certain"][3].impossible < 0.06, "large effect: where one picture can follow, it is drawn"

# %% [markdown]
# **Large effect.** One step behaves as least squares does. From 3 steps on the rarer sticky picture appears, and with 10 steps its weight is the game's, to within 0.05. After a lost ball 5 steps draw a whole picture nearly always. This has a price: where an action may stick, more steps draw more impossible pictures. The table near the end of this lesson shows it in three trainings.
#
# ## 4 · Play it
#
# Below, the real game on the left, the dream on the right. The network runs in your browser; no kernel is asked. **Press the left and right arrow keys** (click on the boards first), or use the buttons.
# Each key press is one picture; **play** lets the game run. When the light is red, **wake up** begins the dream again where the game is.
# 1. Keep the ball alive. The light stays green while each dreamed picture is possible given all before it.
# 2. Lose the ball. Which side does the dream choose?
# 3. Set the denoising steps to 1 and wake up; then choose the checkpoint after 1,000 updates and wake up again. What is impossible first? Last, take the tick from *project to legal pixels*.

# %%
early = Diamond.load(shipped("weights/breakout-early.safetensors"))
play({"1,000 updates": early, "good": good}, strip({"game": torch.from_numpy(lived.frames[:8])}, names, alt="Eight pictures of the real game, one after the other, in a row."),
    alt="Breakout and its dream side by side, played with the arrow keys, with a light that turns red at the first impossible picture.", seed=SEED)

# %% [markdown]
# ## 5 · How long does a dream last?
#
# **Exercise 5** (hard, 25 minutes). This is the synthesis of the lesson: write the dream. Start from K real pictures and the K - 1 actions between them; for every action in `todo`, draw, round, and show the model its own picture.
# It is judged on a drawing rule whose pictures are known. Pitfalls: the action of now must be shown, and what goes on is the *rounded* picture.

# %% tags=["exercise"]
def dream(draw, frames: Tensor, acts: Tensor, todo: Tensor) -> Tensor:
    """draw(past [K, ...], act [K]) -> a picture; frames [K, ...], acts [K - 1], todo [H]. -> [H, ...] of 0 and 1"""
    ### BEGIN SOLUTION
    K, pictures, actions = len(frames), list(frames), list(acts)
    for a in todo:
        actions.append(a)
        x = draw(torch.stack(pictures[-K:]), torch.stack(actions[-K:]))
        pictures.append((x >= 0.5).to(frames))
    return torch.stack(pictures[K:])
    ### END SOLUTION


check("13.dream", dream)

# %%
dreamed_by = mine("13.dream")
one = lambda past, act: good.sample(past[None], torch.eye(3)[act][None], steps=3, generator=generator)[0]
start, todo = torch.from_numpy(lived.frames[:2]).float(), torch.from_numpy(lived.act[1:13])
pictures = dreamed_by(one, start, torch.from_numpy(lived.act[:1]), todo)
widgets.show(strip({"game": torch.from_numpy(lived.frames[2:14]), "dream, the same actions": pictures}, names,
    alt="Two rows of twelve pictures: the real game, and the dream that was given the same actions. They agree at first, until chance decides otherwise."))

# %% [markdown]
# Both rows had the same actions. They part where chance decides: another action sticks, or the ball comes from the other side. That is not a fault of the dream. A fault is a picture that is impossible given all
# dreamed pictures before it. `dreams.lasted` counts the pictures up to the first such one.

# %%
arms = {"least squares": dreams.drawn_by(squares), "1 step": dreams.drawn_by(good, steps=1), "3 steps": dreams.drawn_by(good, steps=3), "5 steps": dreams.drawn_by(good, steps=5)}
length = {name: dreams.lasted(draw, "breakout", DREAMS, LIMIT, seed=20_000 + SEED) for name, draw in arms.items()}
weights = {"least squares": weight["sticky"], **{f"{k} step{'s' * (k > 1)}": by_kind["sticky"][STEPS.index(k)].weight for k in (1, 3, 5)}}
assert weights["least squares"] > 0.985 > weights["5 steps"], "large effect: the weight tells them apart"
assert length["least squares"].frames.mean() > length["5 steps"].frames.mean(), "large effect: and the longer dream is the poorer one"
widgets.table({"arm": list(arms), f"possible pictures (median of {DREAMS}, at most {LIMIT})": [f"{length[a].median:.0f}" for a in arms],
    "weight of the likelier sticky picture": [f"{weights[a]:.2f}" for a in arms], "exact": [f"{p_sticky[0]:.2f}"] * 4})

# %% [markdown]
# **Large effect.** Least squares dreams longer than diffusion does, yet its dream is not the game: no action ever sticks. How long a dream lasts rewards a model that lost its rarer futures. It also rewards least squares for fewer impossible pictures where no ball was lost. So the weights stand
# beside it.
#
# ## 6 · Break it
#
# A colleague starts the chain from noise of standard deviation 1, "as DDPM does", and not from $\sigma_{\max} = 5$. The network, its weights and its steps are the same.

# %%
minor = guess("13.minor", "Noise of 1 in place of 5, 5 steps: how often is the rarer sticky picture drawn? (exact: 10 %)", 0, 20, "%")
minor

# %%
LEVELS = (0.5, 1.0, 2.0, 5.0)


def from_noise(level: float) -> dreams.Possible:
    """Sticky moments, five steps, the chain begun with noise of this standard deviation in place of sigma_max."""
    draw = lambda past, act, g: good.sample(past, act, steps=5, x_T=level * torch.randn(len(past), 4, 10, 10, generator=g))
    return dreams.possible(draw, sticky, repeats=2, seed=SEED)[0]


begun = [from_noise(level) for level in LEVELS]
rare = [100 * (1 - found.weight) for found in begun]
minor.reveal(rare[1])

# %% tags=["broken"]
widgets.show(widgets.lines(LEVELS, {"rarer picture": rare, "exact, rarer picture": [100 * float(p_sticky[1])] * 4, "impossible, of all": [100 * found.impossible for found in begun]}, points=True, xlabel="standard deviation of the first noise", ylabel="share, %",
    alt="Two shares against the standard deviation of the first noise: the rarer sticky picture is near zero up to 2, and more than half of the dashed 10 % at 5. Impossible pictures are few up to 2, and more at 5."))
assert rare[1] < 0.6 * rare[3], "large effect: too little noise at the start loses the rarer future"

# %% [markdown]
# **Large effect.** With too little noise at the start the network takes the noise for a picture that is nearly finished, and goes to the likelier future. Nearly every picture is possible, more of them even than with noise of 5; but the *shares* are wrong.
#
# Another colleague shows the network the action *before* this one twice, and never the action of now.

# %%
late = lambda past, act, g: good.sample(past, act[:, [0, 0]], steps=5, generator=g)
by_late = {r.kind: r for r in dreams.possible(late, moments, seed=SEED)}
kinds = {"certain": "one can follow", "sticky": "an action may stick", "restart": "a ball was lost"}
assert by_late["sticky"].weight < 0.3, "large effect: the paddle does what was asked one picture ago"
widgets.table({"moment": list(kinds.values()), "impossible, %": [f"{100 * by_late[k].impossible:.0f}" for k in kinds],
    "weight of the likelier picture": ["–", *(f"{by_late[k].weight:.2f}" for k in ("sticky", "restart"))], "exact": ["–", f"{p_sticky[0]:.2f}", f"{p_restart[0]:.2f}"]})

# %% [markdown]
# **Large effect.** Again nearly every picture is possible, and a count of impossible pictures sees nothing. But the paddle does what was asked one picture ago, as if nearly every action stuck.
#
# | signature | in the picture | the number that gives it away | cure |
# |---|---|---|---|
# | the rarer future never happens | nearly every picture is possible | weight of the rarer picture far below its probability | start from noise of $\sigma_{\max}$, as the schedule's `prior` does |
# | the paddle obeys one picture late | nearly every picture is possible | weight of the likelier sticky picture far below its probability | show the action of now (exercise 4) |
# | the dream draws means | pale or double things | impossible pictures where two can follow | more denoising steps |
# | faults add up | the dream gets worse along the way | impossible pictures by stretch (*Further*) | round; noise on the past |
#
# ## What the survey claims, and what we saw

# %%
study = Table.load(shipped("results/dreams-moments.json"))
trained = [r for r in study.rows if r["updates"] == max(study.column("updates"))]
rows_of = lambda arm, k: [r for r in trained if (r["arm"], r["denoising"]) == (arm, k)]
chosen = {f"diffusion, {k} step{'s' * (k > 1)}": rows_of("diffusion", k) for k in (1, 3, 5)} | {"least squares": rows_of("least squares", 1)}
columns = {"impossible where one can follow": "certain_impossible", "sticky impossible": "sticky_impossible", "sticky weight (0.9)": "sticky_weight", "restart impossible": "restart_impossible", "restart weight (0.5)": "restart_weight"}
span = lambda rows, key: " to ".join(dict.fromkeys(f"{end(r[key] for r in rows):.3f}" for end in (min, max)))
stuck = {name: [r["sticky_impossible"] for r in rows] for name, rows in chosen.items()}
assert max(stuck["least squares"] + stuck["diffusion, 1 step"]) < min(stuck["diffusion, 5 steps"]), "large effect: what more steps cost"
assert max(stuck["least squares"]) < 0.01 and max(stuck["diffusion, 5 steps"]) < 0.08, "large effect: and how much"
widgets.table({"three trainings, 500 fresh moments of each kind": list(chosen), **{title: [span(rows, key) for rows in chosen.values()] for title, key in columns.items()}})

# %% [markdown]
# | It is said | Measured here | Verdict |
# |---|---|---|
# | The survey, confidence high: diffusion models serve as simulators of the environment. | The table above: in five steps diffusion draws the futures of this game with nearly the game's own weights, and it draws more impossible pictures than least squares does where one action may stick (4 to 8 % against below 1 %) and where only one picture can follow (2 to 5 % against 1 to 2 %). Least squares draws impossible pictures where two futures are equally likely, and the rarer of two futures never comes in its dream. | Held, in this small game. |
# | A dream that lasts is a good dream. | The table of section 5: least squares lasts longer than diffusion does, and in its dream no action ever sticks. | Failed. |
# | A policy that practised in such a dream plays the real game better than one that saw the recording alone. | The last two *Further* sections: in Breakout better than Q-learning on the recording, not told apart from the clone; on Pendulum better than TD3+BC (not tuned) and the clone. | Cannot tell in Breakout; held on Pendulum, for these settings. |
#
# **Exact.** The best picture by squared error is the mean of the pictures that may follow. **Large effect.** Diffusion in five steps keeps both futures, and one step draws the mean as least squares does.
#
# Larger models print numbers of other kinds. DIAMOND has a mean human-normalised score of 1.46 <!-- 1.46: printed by its authors --> on Atari 100k, which is the score of a policy that was trained in the dream; and it drew a first-person shooter from 5 million pictures in 12 days of training, judged by eye.
# GameNGen draws more than 20 pictures a second on a TPU, and has a PSNR of 29.4 <!-- 29.4: printed by its authors -->, which is nearness to one recorded future. Oasis has 500 million weights and draws 20 pictures a second, which is speed alone. None of these numbers says how often each possible future is drawn.
#
# ## Symbols
#
# | symbol | code | meaning |
# |---|---|---|
# | $x'$, $\bar x$ | `x`, `exact` | the next picture; the mean of those that may follow |
# | $c$ | `cond` | what the model is shown: the last K pictures and actions |
# | $\sigma, \sigma_{\max}$ | `sigma` | standard deviation of the noise; the first one, 5 |
# | $\sigma_d$ | `sigma_data` | standard deviation of the data that the preconditioning assumes |
# | $F$, $D$ | `good.denoiser.net`, `good.denoiser` | the network; the denoiser around it |
#
# **References.** Alonso et al., "Diffusion for World Modeling: Visual Details Matter in Atari" (2024). Karras et al., "Elucidating the Design Space of Diffusion-Based Generative Models" (2022). Young and Tian, "MinAtar: An
# Atari-Inspired Testbed for Thorough and Reproducible Reinforcement Learning Experiments" (2019). Machado et al., "Revisiting the Arcade Learning Environment" (2018). Valevski et al., "Diffusion Models Are Real-Time Game Engines" (2024).
# Decart and Etched, "Oasis: A Universe in a Transformer" (2024).
# Rigter et al., "World Models via Policy-Guided Trajectory Diffusion" (2023).
# The survey: "Diffusion Models for Reinforcement Learning: Foundations, Taxonomy, and Development" (arXiv 2510.12253, 2025).

# %% [markdown]
# ## Further · A rare event, shown more often
#
# Only one recorded moment in 25 follows a lost ball. The shipped model met such moments more often: they are a quarter of each batch. That does not change what is learned. The law of the next picture *given what was seen* stays
# the same, because the choice depends on what was seen alone. The study trained the same network once more, on batches as they were recorded.

# %%
arms_of = {"a quarter of each batch (three trainings)": "diffusion", "as recorded (one training)": "as recorded"}
found = {title: rows_of(arm, 5) for title, arm in arms_of.items()}
widgets.table({"moments of a lost ball": list(found), **{title: [span(rows, key) for rows in found.values()] for title, key in columns.items()}})

# %% [markdown]
# **Open.** Shown more often, a lost ball is followed by an impossible picture in 2 to 4 % of the draws, and in 9 % <!-- 9: 0.086 in the table above, rounded --> as recorded; that is one training of the latter. The other columns hardly differ.

# %% [markdown]
# ## Further · What lets a dream last?
#
# A dream goes on from its own pictures, so its faults may add up: it may *drift*. Three remedies are named. The drawn picture is rounded to 0 and 1, as above. GameNGen puts noise on the past pictures in training and tells the network how much (Valevski et al. 2024), so that it learns to read
# faulty pictures. Or the network is shown more of the past: four pictures in place of two. The study trained the shipped recipe with each change alone, and counted the impossible pictures among those drawn in each stretch of a dream. If faults did not add up, this share would stay as it is. The last column is the weight of the likelier sticky picture, 0.9 in the game itself.

# %%
drift = Table.load(shipped("results/dreams-drift.json"))
remedies = {"as shipped": ("diffusion", 0.0), "noise on the past in training": ("noised past", 0.0), "the same, and noise 0.25 at play": ("noised past", 0.25), "four past pictures": ("four pictures", 0.0)}
dreams_of = {f"{title}{how}": drift.row(arm=arm, blur=blur, project=p) for title, (arm, blur) in remedies.items() for p, how in ((True, ""), (False, ", not rounded"))}
stretches = {"1 to 10": 10, "11 to 25": 25, "26 to 50": 50, "51 to 100": 100}
widgets.table({"one training, 128 dreams each": list(dreams_of), "possible, median": [f"{r['median']:.0f}" for r in dreams_of.values()],
    **{f"impossible of {name}, %": ["none drawn" if r[f"impossible_{n}"] is None else f"{100 * r[f'impossible_{n}']:.1f}" for r in dreams_of.values()] for name, n in stretches.items()},
    "likelier sticky (0.9)": [f"{r['sticky_weight']:.3f}" for r in dreams_of.values()]})

# %% [markdown]
# **Open.** While its pictures are rounded, the shipped recipe shows no drift: the share of impossible pictures is about the same in every stretch, so a dream ends by a fault that may come at any time. Without rounding the share is larger from the start. The network that was trained with noise dreams longer in both
# rows, and the rarer sticky picture comes still less often in its dreams. Noise at play shortens its dreams. Four past pictures let rounded dreams last about as long as the noise does, and make dreams that are not rounded no longer. These are single trainings, which differ by chance, too.

# %% [markdown]
# ## Further · Whole rollouts of states
#
# The models above draw one picture after the other. PolyGRAD (Rigter et al. 2023) draws a whole rollout at once: the states, actions and rewards of ten steps. Here the recorded actions lead it, and so they lead models that go step by step: a diffusion
# model of one step, least squares by the same network, least squares on products of state and action, and the recorded step that is nearest. How far do they end from recordings that none of them saw?

# %%
rolled = Table.load(shipped("results/dreams-rollouts.json")).rows
ahead = (1, 2, 5, 10, 20, 50)
models = {"whole rollouts": "PolyGRAD", "one step": "diffusion of one step", "network": "least squares, network", "features": "least squares, products",
    "nearest row": "nearest row", "nothing moves": "nothing moves"}
of = lambda world, arm: [r for r in rolled if (r["world"], r["arm"]) == (world, arm)]
off = lambda world, arm: [sum(r[f"rmse_{h}"] for r in of(world, arm)) / len(of(world, arm)) for h in ahead]
widgets.show(widgets.lines(ahead, {title: off("pendulum", arm) for arm, title in models.items()}, points=True, logx=True, logy=True, xlabel="steps ahead", ylabel="error, in deviations",
    alt="Error of six models of Pendulum against the steps ahead, 1 to 50, both axes logarithmic: both least squares lie far below the others up to 10 steps, and at 50 steps all come together."))
nearer = lambda world, h: max(r[f"rmse_{h}"] for r in of(world, "network")) < min(r[f"rmse_{h}"] for arm in ("whole rollouts", "one step") for r in of(world, arm))
assert nearer("pendulum", 10) and nearer("umaze", 1), "large effect: where nothing is left to chance, least squares by the same network is nearer"
assert min(off("umaze", "whole rollouts")) > 5 * max(off("umaze", "network")[:4]), "large effect: PolyGRAD is far off after so short a training"
widgets.table({f"U maze, {len(of('umaze', 'one step'))} trainings": list(models.values()), **{f"{h} step{'s' * (h > 1)}": [f"{off('umaze', arm)[i]:.3f}" for arm in models] for i, h in enumerate(ahead) if h in (1, 10, 50)}})

# %% [markdown]
# **Large effect** (the trainings of the table's head). Nothing in these worlds is left to chance. On Pendulum least squares is nearer than both diffusions at ten steps, by products and by the network alike. In the U maze least squares by the network is nearer than diffusion after one step; at ten steps the table hardly tells
# them apart. The ball meets walls there, and products of state and action do worse. PolyGRAD is far off in both worlds. Such a world asks for no diffusion.
#
# Now chance decides. A ball rolls past a peg, and at the peg it goes to the left or to the right with probability 1/2, whatever is done. The exact distribution of its path is known. Drawn paths are compared with it by the energy distance; its `floor` is what 95 of 100 exact samples stay below. `neither` are paths that end
# on neither side.

# %%
forked = Table.load(shipped("results/dreams-forked.json")).rows
kinds = {"exact": "the world itself", "one step": "diffusion of one step", "whole rollouts": "PolyGRAD", "nearest row": "nearest row", "network": "least squares, network", "features": "least squares, products", "features, Gaussian": "least squares with Gaussian noise"}
by = lambda arm, key: [r[key] for r in forked if r["arm"] == arm]
spread = lambda arm, key: span([r for r in forked if r["arm"] == arm], key)
heads = {"energy distance": "energy", "its floor": "floor_energy_95", "right (exact 0.5)": "right", "neither (exact 0)": "neither", "error of the last state": "rmse_end"}
assert max(by("one step", "neither") + by("whole rollouts", "neither")) < 0.5 < min(by("features, Gaussian", "neither")), "large effect: diffusion takes a side"
assert max(by("features", "rmse_end")) < min(by("exact", "rmse_end")), "large effect: the error prefers the mean to the world itself"
widgets.table({f"{len(by('one step', 'energy'))} trainings, 1,000 balls each": list(kinds.values()), **{title: [spread(arm, key) for arm in kinds] for title, key in heads.items()}})

# %% [markdown]
# **Large effect** (the trainings of the table's head). Least squares ends between both sides, where no ball ever is, and Gaussian noise of the right size seldom brings it to them. Both diffusions mostly take a side, and the nearest recorded step always does: one that copies what was recorded has the coin, too. The error of the last state says the opposite: it is smallest for least squares, smaller than that of the world itself. So a world model must not be judged by its error where chance decides.

# %% [markdown]
# PolyGRAD is made to draw rollouts of *another* policy than the recorded one: while a rollout is denoised, its actions are moved towards the policy. How exact is that? In a linear-Gaussian world the denoiser of the recorded rollouts is known, and so are the rollouts of any linear policy, so nothing is trained. Beside PolyGRAD's lead
# stands guidance (lesson 05) by the log ratio of the new policy and the recorded one. The exact tilt by this ratio is the new policy's rollouts. In the table each exact value is 1: how far the mean of the last state goes from the recorded policy's to that of the new one, and the spread of actions and states over the true one.

# %%
led, leads = Table.load(shipped("results/dreams-led.json")), {"lead": "PolyGRAD's lead", "ascend": "guidance by the log ratio"}
which_led = [(policy, arm) for policy in dict.fromkeys(led.column("policy_name")) for arm in leads]
value = lambda policy, arm, key: [r[key] for r in led.rows if (r["policy_name"], r["arm"]) == (policy, arm)]
told = lambda *of_key: "–" if None in value(*of_key) else f"{sum(value(*of_key)) / len(value(*of_key)):.2f}"
assert max(value("every action larger by 1", "lead", "moved")) < 0.5, "exact: states follow a far policy less than half of the way"
assert all(abs(v - 1) < 0.05 for v in value("every action larger by 1", "ascend", "moved")), "exact: a linear log ratio is an exact tilt"
assert max(value("a third of the noise", "ascend", "act_spread")) < 0.6, "exact: another log ratio is biased"
widgets.table({"policy": [p for p, _ in which_led], "by": [leads[arm] for _, arm in which_led], "way of the last state": [told(*w, "moved") for w in which_led],
    "spread of actions": [told(*w, "act_spread") for w in which_led], "spread of states": [told(*w, "obs_spread") for w in which_led]})

# %% [markdown]
# **Exact.** Led by a policy far from the recording, PolyGRAD's states go about a third of the way, even with the exact denoiser, while the actions are the policy's. Guidance goes all the way where the log ratio is linear in the actions. It is biased where the new policy has less noise than the recorded one: its actions come out with about half of the spread that they should have.
# So both want a recording of a policy that is close to the one that leads. The paper records anew while the policy learns.

# %% [markdown]
# ## Further · Practice in rollouts of states
#
# PolyGRAD's rollouts are less exact than those of least squares. Are they good enough to practise in? One learner, a small actor-critic with PPO's objective, practises on Pendulum from recorded states, ten steps at a time, in one of three worlds: the equations themselves, rollouts of the least-squares network, and PolyGRAD's rollouts,
# in which the learner's policy leads the actions. Both models saw the same 15,000 recorded steps. TD3+BC and a clone learn from that recording alone. All are judged in the real Pendulum.

# %%
policies = Table.load(shipped("results/dreams-policies.json"))
learned = {"a script that knows the world": "scripted", "practice in the equations": "exact", "practice in least squares": "network", "practice in PolyGRAD": "whole rollouts", "TD3+BC on the recording": "TD3+BC", "a clone of the recording": "cloning", "random actions": "random"}
paid = {title: policies.column("paid", arm=arm) for title, arm in learned.items()}
recording_alone = max(*paid["TD3+BC on the recording"], *paid["a clone of the recording"])
assert min(*paid["practice in least squares"], *paid["practice in PolyGRAD"]) > recording_alone + 100, "large effect: every learner in a dream beats those with the recording alone"
assert abs(paid["practice in least squares"].mean() - paid["practice in the equations"].mean()) < 10, "large effect: least squares is as good to practise in as the equations"
widgets.table({f"{len(paid['practice in PolyGRAD'])} trainings": list(paid), "return of 200 steps": [f"{v.mean():.1f}" for v in paid.values()],
    "of each training": [", ".join(f"{x:.1f}" for x in v) for v in paid.values()]})

# %% [markdown]
# **Large effect** (the trainings of the table's head). Every learner that practised in a dream is far better than TD3+BC and the clone, which had the same recording. That is said of these settings: TD3+BC was not tuned, and the recorded actions, to which it is held, are noisy. Practice in the rollouts of least squares is worth as much as practice in the
# equations. **Open.** PolyGRAD taught two of three learners nearly as well, and one worse. So three trainings cannot tell whether its rollouts are the poorer ones to practise in. In the paper the recording is renewed while the policy learns, and here it is not.

# %% [markdown]
# ## Further · Practice in a dream
#
# Can a player practise in the dream, and be good at the real game? One learner (PPO) begins as a clone of the recorded player. It practises 300,000 pictures in one of three worlds: the real game, the dream of diffusion in 3 steps, or the dream of least squares. Then it plays
# the real game, and what counts are the bricks that it takes before it loses its first ball. Both dreams saw 30,000 recorded pictures. So the real game for as many pictures stands beside them, and so do the clone itself and Q-learning on the recording.

# %%
practice = {r["arm"]: r for r in Table.load(shipped("results/practice.json")).about["summary"]}
arms = {"scripted": "knows the rules", "real": "real game", "real, 30,000": "real game, 30,000 pictures", "dream": "dream of diffusion", "cloning": "clone, no practice",
    "dream, mean": "dream of least squares", "q-learning": "Q-learning on the recording", "random": "random actions"}
bricks = lambda arm: practice[arm]["bricks"]
widgets.show(widgets.intervals([(title, bricks(arm), *practice[arm]["interval"]) for arm, title in arms.items()], xlabel="bricks before the first lost ball",
    alt="Bricks before the first lost ball with intervals: practice in the real game is near the player who knows the rules; a shorter practice there, the dream of diffusion and the clone lie together below it; the dream of least squares is far worse."))
assert practice["dream"]["interval"][0] > practice["dream, mean"]["interval"][1], "large effect: in the dream of least squares players get worse"
assert practice["real"]["interval"][0] > practice["dream"]["interval"][1], "large effect: the real game teaches more"
assert practice["dream"]["interval"][0] > practice["q-learning"]["interval"][1], "large effect: and Q-learning on the recording less"

# %% [markdown]
# **Large effect** (three learners; both dreams of one training). A player who practises in the dream of least squares forgets what the clone could. In that dream an action never sticks. A dream begins again at a recorded moment where its ball is lost, so the half balls of a new game are seldom met. Which fault of this dream harms the player was not asked.
# Practice in the real game is worth far more than practice in the dream of diffusion, and this is worth more than Q-learning on the recording, which takes no care of actions that were not recorded.
#
# **Open.** The intervals of the dream of diffusion, of 30,000 real pictures and of the clone overlap. So one cannot tell here whether practice in a dream is worth more than the recording that the dream was made of.
