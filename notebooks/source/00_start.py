# %% [markdown]
# # 00 · Start here
#
# **The question.** What does it look like when a diffusion model *plans*?
#
# A network has watched a ball being driven through a maze. It was never shown a map. In this hour you drop a start and a goal into
# that maze, and the network pulls a route between them out of pure noise. Then you take the machine apart into five steps.
#
# **Afterwards you can**
# - read a reverse process frame by frame, and say what $x_t$ and $\hat{x}_0$ are;
# - tell *diffusion time* (how noisy the plan still is) from *environment time* (when the ball is where);
# - run the survey's critical path, from recorded data to an executed plan, in five steps;
# - find your way through the course.
#
# **You need** Python and torch at the level of `torch.where`. **Machine:** about half a minute on two CPU cores, no network.
# **You:** 60 minutes (an estimate).

# %% tags=["collapsed"]
import numpy as np
import torch
from scipy.stats import spearmanr

from diffrl_lab import widgets
from diffrl_lab.analysis.intervals import wilson
from diffrl_lab.course import aim, check, guess, hint, overview, symbols
from diffrl_lab.course.claims import claims
from diffrl_lab.data.episodes import segments
from diffrl_lab.data.minari import read
from diffrl_lab.data.shipped import shipped
from diffrl_lab.diffusion import chain, given, pin
from diffrl_lab.methods.planning.diffuser import Diffuser
from diffrl_lab.widgets.explore import explore, plan_explorer
from diffrl_lab.widgets.movie import movie
from diffrl_lab.worlds.mazes import make_maze
from diffrl_lab.worlds.walls import Walls

# %%
widgets.component_map(list(widgets.COMPONENTS))

# %% [markdown]
# The picture is the survey's component map, and this lesson runs through all five boxes. Later lessons light the box they work on.
#
# **How to use a lesson.** Run the cells from top to bottom with <kbd>Shift</kbd>+<kbd>Enter</kbd>. Pictures with a slider can be scrubbed with the
# mouse, by touch, or with the arrow keys; the space bar plays them. Exercises check themselves the moment you run them, and an
# unsolved one never stops the notebook. A guess stands before each surprise: move the slider, commit, and run on.
#
# **Verdicts.** What a lesson concludes carries one of three words. **Exact**: a formula or a proof says so, and the code agrees with it up to rounding or sampling error.
# **Large effect**: it was measured here, and it is so much larger than the noise that the code may insist on it for every seed. **Open**: what was measured here cannot tell; the figure shows how much it says.

# %% tags=["parameters"]
PROFILE = "class"  # smoke: seconds; class: half a minute; full: a larger evaluation at the end
SEED = 0

# %% [markdown]
# ## 1 · A plan, out of noise
#
# The next cell loads 1 MB of weights. They were trained on 200,000 recorded steps of a scripted driver in this maze, in a few
# minutes on two CPU cores. The walls are drawn for *you*. The planner knows none of them: it only ever saw where the ball went.

# %%
planner = Diffuser.load("maze-large")
walls = Walls.named("large")
start, goal = walls.centre((7, 1)), walls.centre((1, 10))

# %% [markdown]
# On the left: drag the start (circle) or the goal (star). On the right: the same plan at every moment of its making.
#
# Try three things.
# 1. Scrub from $t = 1$ (noise) to $t = 0$ (plan), slowly. Do the points near the start move first?
# 2. Switch from $x_t$ to $\hat{x}_0$. The first is the noisy plan itself. The second is what the network *believes* the finished plan to
#    be, given that noisy one.
# 3. Show all 16 seeds. Same start, same goal, other noise.

# %%
plan_explorer(planner.frames, walls, start, goal)

# %% [markdown]
# ## 2 · In which order does a plan come out of the noise?
#
# A person draws a route from the start to the goal. Does the model? Let us commit before we look. Say that a point of the noisy plan $x_t$ has
# *settled* at the first moment from which it stays within 0.5 m of where it ends. If the route were drawn from start to goal, points
# would settle in the order in which they lie along the plan: a rank correlation of 1.

# %%
QUESTION = "Rank correlation between a point's place in the plan and the moment it settles?"
order_guess = guess("00.order", QUESTION, -1, 1)
order_guess

# %%
generator = torch.Generator().manual_seed(SEED)
plan = planner.plan(np.r_[start, 0, 0], goal, n=16, generator=generator, steps=24)
points = np.stack([frame.x_t[..., :2] for frame in plan.frames])  # [K + 1, seeds, points, 2]
distance = np.linalg.norm(points - points[-1], axis=-1)
far = distance > 0.5
settled = np.where(far.any(0), len(far) - far[::-1].argmax(0), 0)  # first frame after which a point is never far again
order = np.array([spearmanr(range(1, 31), s[1:-1]).statistic for s in settled])  # both ends are given: left out
order_guess.reveal(round(float(order.mean()), 2))

# %%
times = [float(frame.t) for frame in plan.frames]
left = distance.mean(1)[:, 1:-1] / distance[0].mean(0)[1:-1]  # share of its way that a point still has to go
widgets.heat_map(np.arange(1, 31), times, left.T, relative=False, xlabel="point of the plan (0: start, 31: goal)",
    ylabel="diffusion time t", label="share of the way left", alt="Heat map of the share of its way that each point of the plan still has to go, plan "
    "point against diffusion time: no front runs from start to goal; points near both ends are ahead, points in the middle of the plan behind.")

# %% [markdown]
# A correlation near 0, and yet the picture has a pattern: both ends are ahead, and the middle is behind. (A rank correlation is blind to such an arch.) Does knowledge come in from both ends, then? Be careful. This route begins
# and ends in corners of the map and passes its middle. Take another one, which *begins* in the middle of the map, and ask of both at which $t$ half of a point's way is left.

# %%
def half_way(points):
    """The t from which on less than half of its way is left to a point, both ends left out. [K+1, seeds, H, 2] -> [H - 2]"""
    way = np.linalg.norm(points - points[-1], axis=-1).mean(1)[:, 1:-1]
    return np.array(times)[(way > way[0] / 2).sum(0)]


second = planner.plan(np.r_[walls.centre((3, 5)), 0, 0], walls.centre((7, 10)), n=16, generator=generator, steps=24)
routes = {"corner to corner": points, "middle to corner": np.stack([frame.x_t[..., :2] for frame in second.frames])}

# %%
outside = {name: np.linalg.norm(x[-1].mean(0)[1:-1], axis=-1) for name, x in routes.items()}  # metres from the map's middle
place = {name: spearmanr(range(1, 31), half_way(x)).statistic for name, x in routes.items()}
reach = {name: spearmanr(outside[name], half_way(x)).statistic for name, x in routes.items()}
for name, x in routes.items():
    print(f"{name}: half of the way is left between t = {half_way(x).max():.2f} and {half_way(x).min():.2f}; rank correlation "
          f"with the place in the plan {place[name]:+.2f}, with the distance from the map's middle {reach[name]:+.2f}")
leap = np.linalg.norm(np.diff(points[-1], axis=1), axis=-1).max()  # metres between neighbours on a finished plan
assert abs(order.mean()) < 0.3 and leap < 1.5, "large effect: a whole route, and not drawn from start to goal"
assert min(reach.values()) > 0.7 and place["middle to corner"] > 0.6, "large effect: the place on the map sets the order"

# %% [markdown]
# **Large effect.** The order in which points get half-way follows their distance from the middle of the *map*, on both routes, and not their place in the *plan*: on the second route the points near the goal are first, as if it were drawn backwards. The reason is simple. A noisy plan is the clean one, shrunk towards the middle of the map, plus noise (lesson 01).
# A point that ends far out has a longer way to go, and goes half of it earlier. So the picture above shows the noise schedule, and says nothing about what the network knows.
# A plan is not *rolled out*, it is *denoised*: the horizontal axis is environment time, the vertical one is diffusion time, and
# these two clocks have nothing to do with each other.
#
# What the network knows shows in its belief $\hat{x}_0$. Go back to the movie and look at it at $t = 1$, where $x_t$ is still pure noise.

# %%
belief = np.stack([frame.x0_hat[..., :2] for frame in plan.frames])
first = np.linalg.norm(belief[0] - belief[-1], axis=-1).mean()
print(f"at t = 1 a point of x_t is {distance[0].mean():.1f} m from its end on average, a point of x0_hat {first:.1f} m")
assert first < 0.2 * distance[0].mean(), "large effect: the belief is ahead of the plan"

# %% [markdown]
# **Large effect.** At $t = 1$ a point of the belief lies less than a fifth as far from its end as a point of the noisy plan. Start and goal alone tell the network nearly everything here, since between two places of this maze there is mostly one good route. So its belief stands at
# once, and the noise only slowly gives way to it. Where there are *two* good routes the belief must choose, and that is lesson 04.

# %% [markdown]
# ## 3 · The survey's critical path, in five steps
#
# The survey (arXiv 2510.12253) describes every method of this field by the same chain of boxes: data, diffusion model, conditioning,
# guided sampling, execution. Here it is, one box at a time. Each step is the real thing; later lessons open them up.
#
# **Data.** Recorded episodes, cut into windows. A window becomes 32 states $(x, y, v_x, v_y)$, whatever its duration.

# %%
episodes = read(shipped("recordings/pointmaze-large-v0"), obs_keys=["observation"])
windows, duration = segments(episodes, points=32, min_len=8, n=400, generator=generator)
widgets.trajectories(windows[:60, :, :2], maze=walls, alt="Sixty windows of recorded driving in the large maze; they keep to the corridors "
    "and lie all over the map, most of them much shorter than a whole route.")

# %% [markdown]
# **Diffusion model.** A *denoiser* $D(x_t, t) \approx \mathbb{E}[x_0 \mid x_t]$: shown a plan with noise on it, it names the mean of all plans
# that could be underneath. This one function is all that was learned.

# %%
D = planner.denoiser
print(f"{sum(p.numel() for p in D.net.parameters()):,} numbers were learned")

# %% [markdown]
# **Conditioning.** We know where the ball is and where it should end. `known` marks those entries, and `pin` puts them into everything
# that $D$ sees and says. The velocity at the goal is left to the model.

# %%
known, value = planner.ends(np.r_[start, 0, 0], goal)
pinned = pin(given(D, {"known": known}), known, value)
print(f"{int(known.sum())} of {known.numel()} numbers of the plan are given")

# %% [markdown]
# **Guided sampling.** Start from noise, and let $D$ pull. A chain yields its frames one by one, and keeping them is all it takes to
# record a movie.

# %%
x_T = D.schedule.prior((4, *known.shape[-2:]), generator=generator)
frames = list(chain(pinned, x_T, steps=24))
movie(frames, transform=planner.unscale, maze=walls, start=start, goal=goal, schedule=D.schedule,
      alt="Four plans in the large maze, from noise at t = 1 to four routes from start to goal at t = 0, to be scrubbed.")

# %% [markdown]
# **Execution.** A plan is only a plan. A small controller, $a = k_p (x_\text{plan} - x) + k_d (v_\text{plan} - v)$, follows it in the real
# environment: MuJoCo, a ball with inertia, walls that do not give way.

# %%
env = make_maze("large")
episode = planner.drive(env, seed=SEED)
print(f"goal reached: {bool(episode.reached)}, after {episode.steps_to_goal} of {episode.steps} steps; planned {episode.plans} time(s)")

# %%
widgets.trajectories({"planned": episode.reference[None, :, :2], "driven": episode.obs[None, :, :2]}, maze=walls, start=episode.obs[0, :2],
    goal=episode.goal, alt="The planned route and the driven one, side by side in the large maze: the same way from the start to the goal.")

# %% [markdown]
# ## 4 · Does it work?
#
# One success proves nothing. Here is a fresh set of random starts and goals, with the interval that belongs to so few episodes.

# %%
episodes_tried = {"smoke": 3, "class": 20, "full": 100}[PROFILE]
reached = [planner.drive(env, seed=SEED + 100 + i).reached for i in range(episodes_tried)]
low, high = wilson(sum(reached), len(reached))
print(f"{sum(reached)} of {len(reached)} goals reached; 95 % interval {low:.0%} to {high:.0%}")
assert sum(reached) > len(reached) / 2, "large effect: most plans lead to their goals"

# %% [markdown]
# ## 5 · Break it
#
# A plan that reaches its goal on paper can still be worthless. The course ships each planner as a ladder of weights: *untrained*, *10 %*
# of the training, *good*, and *overfit* (trained on a handful of episodes). Choose one after the other in the list, and look for the **failure signature**:
# how do you tell a bad plan if nobody shows you the walls?

# %%
rungs = {name: Diffuser.load("maze-large", rung=name) for name in ("untrained", "10%", "good", "overfit")}
plans = {name: p.plan(np.r_[start, 0, 0], goal, n=16, generator=torch.Generator().manual_seed(SEED)) for name, p in rungs.items()}


def ladder(rung: str):
    return widgets.trajectories(plans[rung].candidates[..., :2], maze=walls, start=start, goal=goal,
        alt=f"Sixteen plans by the {rung} planner in the large maze, from the same start to the same goal.")


# %%
explore(ladder, rung=list(rungs))

# %% [markdown]
# A plan says everything twice: its positions have a slope, and its velocities claim one. Where the two disagree, no ball can follow.
# That number needs no map, and the planner chooses among its candidates by it.

# %%
gap = {name: float(np.median(planner.inconsistency(p))) for name, p in plans.items()}
print("\n".join(f"{name:>10}: positions and velocities disagree by {value:.3f} m per gap" for name, value in gap.items()))
assert gap["untrained"] > 5 * gap["good"], "large effect: an untrained planner contradicts itself"

# %% [markdown]
# ## 6 · Exercises
#
# Four lines you will meet in every later lesson. Each check answers at once and names the mistake. Stuck? The button below a verdict opens a hint, then a
# second one, then a solution; `hint("00.known")` does the same in a cell of its own.
#
# **Exercise 1 · What is given?** (easy, 5 minutes) Write the mask of a plan `[horizon, 4]` with columns $x, y, v_x, v_y$: `True` for the whole state at the
# start and for the *position* at the goal. Pitfall: what do we know about the velocity there?

# %% tags=["exercise"]
def known_mask(horizon: int) -> torch.Tensor:
    """True where the plan is given. -> bool [horizon, 4]"""
    ### BEGIN SOLUTION
    known = torch.zeros(horizon, 4, dtype=torch.bool)
    known[0] = True
    known[-1, :2] = True
    return known
    ### END SOLUTION


check("00.known", known_mask)

# %% [markdown]
# **Exercise 2 · Pin it.** (easy, 5 minutes) Overwrite the known entries of $x$ by their values and leave the others alone.

# %% tags=["exercise"]
def pin_entries(x: torch.Tensor, known: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """x with its known entries replaced. -> the shape of x"""
    ### BEGIN SOLUTION
    return torch.where(known, value, x)
    ### END SOLUTION


check("00.pin", pin_entries)

# %% [markdown]
# **Exercise 3 · Two clocks.** (medium, 8 minutes) A plan of `horizon` points lasts `duration` steps of 0.01 s and stands at diffusion time `t`. When, in seconds from
# its start, should the ball be at point `k`?

# %% tags=["exercise"]
def seconds_at(k: int, horizon: int, duration: float, t: float) -> float:
    """Environment time of point k, in seconds."""
    ### BEGIN SOLUTION
    return k / (horizon - 1) * duration * 0.01
    ### END SOLUTION


check("00.clock", seconds_at)

# %% [markdown]
# **Exercise 4 · Did it work?** (medium, 8 minutes) Given where the ball was driven `[T, 2]`, the plan `[H, 2]` and the goal `[2]`: was the goal reached,
# that is, was the ball ever within 0.45 m of it? Pitfall: where does *every* plan end?

# %% tags=["exercise"]
def goal_reached(driven: torch.Tensor, planned: torch.Tensor, goal: torch.Tensor) -> bool:
    """Whether the ball came within 0.45 m of the goal."""
    ### BEGIN SOLUTION
    return bool(((driven - goal).norm(dim=-1) <= 0.45).any())
    ### END SOLUTION


check("00.reached", goal_reached)

# %% [markdown]
# ## 7 · The map of the survey
#
# The survey sorts its papers by the *role* that diffusion plays, by *regime* (learning from a fixed recording, or while acting), and by the number of
# *agents*. Each cell is a lesson here, and names the class or function behind it. Hatched cells are not built yet. The last row is ours: some
# methods play two roles at once (a planner that also makes its own training data) and fit no single row. Lessons 01 to 03 stand in no cell:
# they are the ground under all of them (diffusion, its samplers, decisions and recorded data).

# %%
widgets.survey_map({
    ("trajectory optimisation", "offline", "single"): ("00, 04, 05: Diffuser", True),
    ("trajectory optimisation", "online", "single"): ("07: replanning", False),
    ("trajectory optimisation", "offline", "multi"): ("15: MADiff, DoF", False),
    ("policy learning", "offline", "single"): ("10: Diffusion-QL, IDQL", False),
    ("policy learning", "online", "single"): ("11: DIPO, QSM, DPPO", False),
    ("policy learning", "online", "multi"): ("15: joint policies", False),
    ("imitation learning", "offline", "single"): ("09: Diffusion Policy", False),
    ("exploration augmentation", "offline", "single"): ("12: SynthER", False),
    ("exploration augmentation", "online", "single"): ("12: prioritised replay", False),
    ("environment simulation", "offline", "single"): ("13: state model", False),
    ("environment simulation", "online", "single"): ("13: image model", False),
    ("reward modelling", "offline", "single"): ("14: relative rewards", False),
    ("reward modelling", "online", "single"): ("14: diffusion reward", False),
    ("hybrids", "offline", "single"): ("07: AdaptDiffuser", False),
})

# %% [markdown]
# And this is what the survey *claims*, with its own confidence, and what this course has measured so far. "Not yet" is an honest answer.

# %%
claims()

# %% [markdown]
# ## 8 · Where you are
#
# The lessons there are, and which ones each builds on. Come back to this page as you go: run the next two cells, and they show what you have
# solved and how well you guess. The record is one file in `my/`; nobody else sees it, unless you hand it out with `diffrl-lab progress --export FILE`.

# %%
overview()

# %% [markdown]
# A guess on the diagonal was right. Above it you expected more than came out, below it less. Wherever your points lie on one side,
# that is a habit worth knowing.

# %%
aim()

# %% [markdown]
# ## 9 · What the survey says, what you saw
#
# | the survey | here | verdict |
# |---|---|---|
# | diffusion plans by sampling whole trajectories under a goal, with no model of the dynamics (mechanism 1, medium confidence) | a planner that never saw a map reached its goals (section 4) | held, in this maze: **large effect** |
# | the reverse process denoises a trajectory | no front runs from start to goal; the belief stands at once (section 2) | held: **large effect** |
# | generated trajectories may not fit the dynamics (failure signature 4) | untrained plans contradict themselves, and the number shows it without a map (section 5) | seen, on purpose |
#
# How *often* it fails, and why, needs more than twenty episodes: lesson 04.
#
# **Symbols.** $x_0$ a clean plan · $x_t$ the same with noise · $\hat{x}_0 = D(x_t, t)$ the denoiser's mean · $t$ diffusion time, 1 is noise · $D$ the denoiser ·
# `known`, `value` what is given · $H$ points of a plan.
#
# **References.** The survey: "Diffusion Models for Reinforcement Learning: Foundations, Taxonomy, and Development" (arXiv 2510.12253, 2025). Janner et al.,
# "Planning with Diffusion for Flexible Behavior Synthesis" (2022). Ho et al., "Denoising Diffusion Probabilistic Models" (2020). Song et al.,
# "Score-Based Generative Modeling through Stochastic Differential Equations" (2021). Karras et al., "Elucidating the Design Space of Diffusion-Based
# Generative Models" (2022).
#
# **Next:** 01 builds the denoiser from scratch, and first an exact one. 02 asks how to draw from it, 03 what it should draw for: decisions, and the
# data they leave. 04 brings both to trajectories.
#
# ## Further · All letters of the course
#
# Papers on diffusion agree on the idea and on no letter. Here are ours, with their names in four papers: Ho et al. 2020 (DDPM), Song et al. 2021 (stochastic
# differential equations), Karras et al. 2022 (EDM), Janner et al. 2022 (Diffuser). Beware of $t$: in the last one it counts steps of the plan.

# %%
symbols()
