# %% [markdown]
# ![Three plans in a maze, as a picture that moves once: on the left the noisy plans in grey are scattered all over the map at first, while on the right the routes that the network believes in, in blue, stand from the first moment on; at the end both are the same.](attachment:00.png)
#
# # 00 · Start here
#
# **The question.** What does it look like when a diffusion model *plans*? (Grey: a noisy plan. Blue: what the network believes the plan will be.)
#
# **You need** Python, and tensors in PyTorch. **Machine:** about a minute on two CPU cores, no network. **You:** 75 minutes (an estimate).

# %% tags=["collapsed"]
import numpy as np
import torch
from IPython.display import display
from scipy.stats import spearmanr

from diffrl_lab import widgets
from diffrl_lab.analysis.intervals import wilson
from diffrl_lab.course import aim, check, claims, guess, hint, mine, overview, symbols
from diffrl_lab.data.episodes import segments
from diffrl_lab.data.minari import read
from diffrl_lab.data.shipped import shipped
from diffrl_lab.diffusion import chain
from diffrl_lab.methods.planning.diffuser import Diffuser
from diffrl_lab.studies import drawn
from diffrl_lab.widgets.draw import draw
from diffrl_lab.widgets.explore import explore, plan_explorer
from diffrl_lab.widgets.mazes import planned_and_driven
from diffrl_lab.widgets.movie import movie, stack
from diffrl_lab.worlds.mazes import make_maze
from diffrl_lab.worlds.walls import Walls

# %% tags=["parameters"]
PROFILE = "class"  # smoke: seconds; class: a minute; full: more goals, and a longer training at the end
SEED = 0

# %%
planner, walls = Diffuser.load("maze-large"), Walls.named("large")
start, goal = walls.centre((7, 1)), walls.centre((1, 10))
plan_explorer(planner.frames, walls, start, goal, play=True)

# %% [markdown]
# ## 1 · A plan, out of noise
#
# A network has watched a ball being driven through this maze: 200,000 recorded steps of a scripted driver. The walls are drawn for *you*. The network has never seen a map.
# On the left you can drag the start (circle) and the goal (star). On the right the network makes a plan between them, out of pure noise. Try three things.
#
# 1. Move the slider slowly from $t = 1$ (noise) to $t = 0$ (plan). Do the points near the start come to rest first?
# 2. Switch from $x_t$, the noisy plan itself, to $\hat{x}_0$, what the network *believes* the finished plan to be.
# 3. Show all 16 seeds. Their plans differ because the noise differs, and for no other reason.
#
# **Afterwards you can**
# - read a reverse process frame by frame, and say what $x_t$ and $\hat{x}_0$ are;
# - tell *diffusion time* (how noisy the plan still is) from *environment time* (when the ball is where);
# - build a whole planner in five steps, from recorded data to an executed plan;
# - find your way through the course.
#
# **How to use a lesson.** Run the cells from top to bottom with <kbd>Shift</kbd>+<kbd>Enter</kbd>. A movie obeys the mouse, touch and the arrow keys, and the space bar plays it.
# Before a surprise you are asked for a guess: move the slider, commit, and run on. An exercise checks itself when you run it, and an unsolved one never stops the notebook.
# **What you write is used:** once your answer has passed its check, the lesson goes on with your code, and a printed line says so. At the end you draw a maze and train a planner in it.
#
# **Verdicts.** Each conclusion carries one of three words.
# **Exact**: a formula or a proof says so, and the code agrees with it up to rounding or sampling error.
# **Large effect**: the effect was measured here, and it exceeds the noise so far that an `assert` in the code demands it for every seed.
# **Open**: the measurement here cannot decide the question, and the figure shows how uncertain it is.

# %% [markdown]
# ## 2 · In which order does a plan come out of the noise?
#
# A person draws a route from the start to the goal. Does the network do the same? Commit a guess before you look. We say that a point of the noisy plan $x_t$ has
# *settled* at the first moment from which it stays within 0.5 m of where it ends. If the route were drawn from the start to the goal, the points
# would settle in the order in which they lie along the plan, and the rank correlation of the two orders would be 1.

# %%
QUESTION = "Rank correlation between a point's place in the plan and the moment it settles?"
order_guess = guess("00.order", QUESTION, -1, 1)
order_guess

# %%
generator = torch.Generator().manual_seed(SEED)
plan = planner.plan(np.r_[start, 0, 0], goal, n=16, generator=generator, steps=24)
times = [float(frame.t) for frame in plan.frames]
points = np.stack([frame.x_t[..., :2] for frame in plan.frames])  # [K + 1, seeds, points, 2]
distance = np.linalg.norm(points - points[-1], axis=-1)
far = distance > 0.5
settled = np.where(far.any(0), len(far) - far[::-1].argmax(0), 0)  # first frame after which a point is never far again
order = np.array([spearmanr(range(1, 31), s[1:-1]).statistic for s in settled])  # both ends are given: left out
order_guess.reveal(round(float(order.mean()), 2))

# %%
left = distance.mean(1)[:, 1:-1] / distance[0].mean(0)[1:-1]  # share of its way that a point still has to go
widgets.heat_map(np.arange(1, 31), times, left.T, relative=False, xlabel="point of the plan (0: start, 31: goal)",
    ylabel="diffusion time t", label="share of the way left", alt="Heat map of the share of its way that each point of the plan still has to go, plan "
    "point against diffusion time: no front runs from start to goal; points near both ends are ahead, points in the middle of the plan behind.")

# %% [markdown]
# The correlation is near 0, and yet the picture has a pattern: the points near both ends are ahead. (A rank correlation cannot see such an arch.) Does the plan come in from both ends, then?
# There is another explanation: this route begins and ends in corners of the map. So we take a second route that *begins* in the middle of the map. For both routes we ask at which $t$ half of a point's way is left.

# %%
def half_way(points):
    """The t from which on less than half of its way is left to a point, both ends left out. [K+1, seeds, H, 2] -> [H - 2]"""
    way = np.linalg.norm(points - points[-1], axis=-1).mean(1)[:, 1:-1]
    return np.array(times)[(way > way[0] / 2).sum(0)]

# %%
second = planner.plan(np.r_[walls.centre((3, 5)), 0, 0], walls.centre((7, 10)), n=16, generator=generator, steps=24)
routes = {"corner to corner": points, "middle to corner": np.stack([frame.x_t[..., :2] for frame in second.frames])}
outside = {name: np.linalg.norm(x[-1].mean(0)[1:-1], axis=-1) for name, x in routes.items()}  # metres from the map's middle
place = {name: spearmanr(range(1, 31), half_way(x)).statistic for name, x in routes.items()}
reach = {name: spearmanr(outside[name], half_way(x)).statistic for name, x in routes.items()}
leap = np.linalg.norm(np.diff(points[-1], axis=1), axis=-1).max()  # metres between neighbours on a finished plan
assert abs(order.mean()) < 0.3 and leap < 1.5, "large effect: a whole route, and not drawn from start to goal"
assert min(reach.values()) > 0.7 and place["middle to corner"] > 0.6, "large effect: the place on the map sets the order"
widgets.intervals([(f"{name}: {what}", [r[name]]) for name in routes for what, r in (("place in the plan", place), ("distance from the map's middle", reach))],
    xlabel="rank correlation with the order of the points", alt="Rank correlations for two routes: the distance from the middle of the "
    "map goes along with the order on both routes, the place in the plan only on the route from the middle to a corner.")

# %% [markdown]
# **Large effect.** On both routes the points that end farthest from the middle of the *map* get half-way first (rank correlation above 0.7). Their place in the *plan* does not explain the order: on the second route the points near the goal come first, as if the plan were drawn backwards, and on the first route both ends are ahead.
# The reason is simple. A noisy plan is the clean plan, shrunk towards the middle of the map, plus noise (lesson 01 shows it). A point that ends far out has a longer way to go, and it has gone half of this way earlier. So the heat map shows how noise is added and where the route lies on the map. It says nothing about what the network knows.
#
# A plan is not computed step by step from the start. All of its points are *denoised* together. The plan runs along the environment time, the denoising runs along the diffusion time, and these two clocks have nothing to do with each other.
#
# What the network knows shows in its belief $\hat{x}_0$. Look at it at $t = 1$, where $x_t$ is still pure noise.

# %% tags=["punchline"]
belief = np.stack([frame.x0_hat[..., :2] for frame in plan.frames])
first = np.linalg.norm(belief[0] - belief[-1], axis=-1).mean()
print(f"at t = 1 a point of x_t is {distance[0].mean():.1f} m from its end on average, a point of x0_hat {first:.1f} m")
assert first < 0.2 * distance[0].mean(), "large effect: the belief is ahead of the plan"
three = stack(plan.frames, samples=3)
display(widgets.film_strip({"": three}, maze=walls, start=start, goal=goal, which="both", frames=6,
    alt="Six moments of three plans in the large maze, t from 1 to 0. Grey, the noisy plans, is scattered all over the map at first and comes to rest "
    "slowly; blue, the belief, is a route from start to goal from the first moment on."))
widgets.unfolding(three, maze=walls, start=start, goal=goal, alt="The same three plans as a moving picture: on the left the noisy plans come "
    "to rest between start and goal, on the right the belief is a route at once.")

# %% [markdown]
# **Large effect.** At $t = 1$ a point of the belief lies less than a fifth as far from its end as a point of the noisy plan. The start and the goal alone tell the network nearly everything here, because between two places of this maze there is mostly one good route.
# So the belief is nearly final from the beginning, and the noisy plan follows it slowly. Where there are *two* good routes the belief must choose between them, and that is the subject of lesson 04.

# %% [markdown]
# ## 3 · The survey's critical path, in five steps
#
# The survey (arXiv 2510.12253) describes every method of this field by one chain of five boxes. Now you build this chain for the maze. Later lessons light the box that they work on.

# %%
widgets.component_map(list(widgets.COMPONENTS))

# %% [markdown]
# **Step 1 · Data.** Recorded episodes are cut into windows. A window becomes 32 states $(x, y, v_x, v_y)$, however long it lasted.

# %%
episodes = read(shipped("recordings/pointmaze-large-v0"), obs_keys=["observation"])
windows, duration = segments(episodes, points=32, min_len=8, n=400, generator=generator)
widgets.trajectories(windows[:60, :, :2], maze=walls, alt="Sixty windows of recorded driving in the large maze; they keep to the corridors "
    "and lie all over the map, most of them much shorter than a whole route.")

# %% [markdown]
# **Step 2 · Diffusion model.** A *denoiser* $D(x_t, t) \approx \mathbb{E}[x_0 \mid x_t]$ gets a noisy plan, and returns the mean of all clean plans that could lie under it. Nothing else was learned.
#
# **Step 3 · Conditioning.** We know some entries of the plan: those of the start and of the goal. A mask says which entries are known, and these entries get their values.
#
# **Exercise 1 · What is given?** (easy, 5 minutes) Write the mask of a plan `[horizon, 4]` with columns $x, y, v_x, v_y$: `True` for the whole state at the
# start and for the *position* at the goal. Pitfall: what do we know about the velocity there? The button below the check's message opens hints and then a solution; so does `hint("00.known")`.

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
# **Exercise 2 · Pin it.** (easy, 5 minutes) Return $x$ with its known entries replaced by their values. All other entries stay as they are. The three arguments have the same shape.

# %% tags=["exercise"]
def pin_entries(x: torch.Tensor, known: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """x with its known entries replaced. -> the shape of x"""
    ### BEGIN SOLUTION
    return torch.where(known, value, x)
    ### END SOLUTION


check("00.pin", pin_entries)

# %% [markdown]
# **Step 4 · Guided sampling.** Now your two functions plan the route. The plan is pinned before the denoiser sees it, and the denoiser's answer is pinned again. Sampling starts from noise; a chain yields its frames one by one, and a list of them is a movie. A plan has one column more than your mask: its duration, which is not given.

# %%
known_mask, pin_entries = mine("00.known"), mine("00.pin")
known = torch.zeros(32, 5, dtype=torch.bool)
known[:, :4] = torch.as_tensor(known_mask(32))
D, value = planner.denoiser, planner.ends(np.r_[start, 0, 0], goal)[1]  # the numbers to put there, scaled as the network sees them


def pinned(x_t, t, cond=None):
    """The denoiser with what is known put in before and after. [plans, 32, 5] -> the same shape"""
    put = lambda x: torch.stack([torch.as_tensor(pin_entries(plan, known, value)) for plan in x]).float()
    return put(D(put(x_t), t, {"known": known}))


# %%
pinned.schedule = D.schedule
frames = list(chain(pinned, D.schedule.prior((4, 32, 5), generator=generator), steps=24))
movie(frames, transform=planner.unscale, maze=walls, start=start, goal=goal, schedule=D.schedule, play=True,
      alt="Four plans in the large maze, from noise at t = 1 to four routes from start to goal at t = 0, to be scrubbed.")

# %% [markdown]
# **Step 5 · Execution.** A plan is only a plan. A small controller, $a = k_p (x_\text{plan} - x) + k_d (v_\text{plan} - v)$, follows it in the real
# environment: a ball with inertia in the simulator MuJoCo, and walls that do not give way.

# %%
env = make_maze("large")
episode = planner.drive(env, seed=SEED)
planned_and_driven(walls, episode.reference, episode.obs, start=episode.obs[0, :2], goal=episode.goal, alt="The planned route, broad, and the driven one, "
    "thin, on top of each other in the large maze: the ball keeps to the plan from the start to the goal.")

# %% [markdown]
# The two routes lie on top of each other. But this picture does not say *when* the ball was where.
#
# **Exercise 3 · Two clocks.** (medium, 8 minutes) A plan of `horizon` points lasts `duration` steps of 0.01 s and stands at diffusion time `t`. When, in seconds from
# its start, should the ball be at point `k`? Points are counted from 0.

# %% tags=["exercise"]
def seconds_at(k: int, horizon: int, duration: float, t: float) -> float:
    """Environment time of point k, in seconds."""
    ### BEGIN SOLUTION
    return k / (horizon - 1) * duration * 0.01
    ### END SOLUTION


check("00.clock", seconds_at)

# %%
seconds_at = mine("00.clock")
due = [float(seconds_at(k, 32, len(episode.reference) - 1, 0.0)) for k in range(32)]  # seconds
step = np.round(np.array(due) / 0.01).astype(int)
late = np.linalg.norm(episode.obs[step, :2] - episode.reference[step, :2], axis=1)
assert np.median(late) < 0.2, "large effect: the ball is where the plan wants it, and when"
widgets.lines(due, {"ball": late}, points=True, xlabel="seconds since the start", ylabel="from the ball to the plan's point, m",
    alt="Distance between the ball and the point of the plan that is due, against environment time: a few centimetres, more in the curves.")

# %% [markdown]
# **Large effect.** The plan can be followed: the median distance between the ball and the point of the plan that is due is below 0.2 m.

# %% [markdown]
# ## 4 · Does it work?
#
# One success proves nothing. We need many random starts and goals, and for each of them we must say whether the goal was reached.
#
# **Exercise 4 · Did it work?** (medium, 8 minutes) Given where the ball was driven `[T, 2]`, the plan `[H, 2]` and the goal `[2]`: was the goal reached,
# that is, was the ball ever within 0.45 m of it? Pitfall: where does *every* plan end?

# %% tags=["exercise"]
def goal_reached(driven: torch.Tensor, planned: torch.Tensor, goal: torch.Tensor) -> bool:
    """Whether the ball came within 0.45 m of the goal."""
    ### BEGIN SOLUTION
    return bool(((driven - goal).norm(dim=-1) <= 0.45).any())
    ### END SOLUTION


check("00.reached", goal_reached)

# %%
goal_reached = mine("00.reached")
tried = [planner.drive(env, seed=SEED + 100 + i) for i in range({"smoke": 3, "class": 20, "full": 100}[PROFILE])]
positions = [[torch.tensor(x) for x in (e.obs[1:, :2], e.reference[:, :2], e.goal)] for e in tried]
reached = [bool(goal_reached(*three)) for three in positions]
low, high = wilson(sum(reached), len(reached))
print(f"{sum(reached)} of {len(reached)} goals reached; 95 % interval {low:.0%} to {high:.0%}")
assert reached == [e.reached for e in tried], "exact: your verdict is the environment's own"
assert sum(reached) > len(reached) / 2, "large effect: most plans lead to their goals"

# %% [markdown]
# **Large effect.** The planner reaches most of the random goals, although it was never shown the map. The interval above says how far off that share may be, since the episodes are few.

# %% [markdown]
# ## 5 · Break it
#
# A plan that ends at its goal can still be worthless. The course ships this planner at four stages ("rungs") of its training: *untrained*, *10 %*
# of the training, *good*, and *overfit* (trained on a handful of episodes). Choose one after the other in the list, and look for a **failure signature**:
# how do you recognise a bad plan if nobody shows you the walls?

# %%
rungs = {name: Diffuser.load("maze-large", rung=name) for name in ("untrained", "10%", "good", "overfit")}
plans = {name: p.plan(np.r_[start, 0, 0], goal, n=16, generator=torch.Generator().manual_seed(SEED)) for name, p in rungs.items()}
gap = {name: planner.inconsistency(p).numpy() for name, p in plans.items()}


def ladder(rung: str):
    return widgets.trajectories(plans[rung].candidates[..., :2], maze=walls, start=start, goal=goal,
        alt=f"Sixteen plans by the {rung} planner in the large maze, from the same start to the same goal.")


# %% tags=["broken"]
explore(ladder, rung=list(rungs))

# %% [markdown]
# A plan gives the speed of the ball twice: two neighbouring positions tell it, and the velocities tell it, too. Where the two disagree, no ball can follow the plan.
# The disagreement, in metres per gap between two points, needs no map. The planner uses it to choose among its candidates.

# %%
assert np.median(gap["untrained"]) > 5 * np.median(gap["good"]), "large effect: an untrained planner contradicts itself"
assert np.median(gap["overfit"]) > 2 * np.median(gap["good"]), "large effect: so does an overfit one, between its routes"
widgets.intervals([(f"{name}: {np.median(g):.2f} m", g) for name, g in gap.items()], xlabel="positions and velocities of a plan disagree by, m per gap",
    alt="Disagreement of positions and velocities for sixteen plans of each of four planners: largest for the untrained one, then overfit, 10 % and good.")

# %% [markdown]
# **Large effect.** The median disagreement of the untrained planner's plans is more than 5 times that of the good planner's, and the overfit planner's is more than 2 times the good one's.
#
# | signature | in the picture | the number that gives it away | cure |
# |---|---|---|---|
# | untrained: the plan contradicts itself | points lie anywhere, in walls too, and both ends are right all the same | positions and velocities disagree by more than 5 times the good planner's number | train it; ask this number before the loss |
# | overfit: routes that were never seen are pieced together | smooth lines that cut through walls | the same number, more than 2 times the good planner's | record more episodes, or stop the training earlier |

# %% [markdown]
# ## 6 · Where you are
#
# The next cell lists the lessons, what each builds on, and what you have solved; come back and run it again. Below the list stand your guesses: a point on the diagonal is a right guess, and a point above the diagonal says that you expected too much. If all your points lie on one side, your guesses have a bias. The record is one file in `my/`, and nobody else sees it unless you hand it out with `diffrl-lab progress --export FILE`.
#
# **Blank pages.** Two tasks have no stub and no hints: you write a method from an empty page, in at most 60 lines. A program judges it by *laws*: properties that every right answer has. `diffrl-lab start blank-01` asks for a DDPM after lesson 01, `diffrl-lab start blank-05` for classifier-free guidance after lesson 05.
#
# **Numbers that give it away.** Each lesson breaks something on purpose. The page [numbers that give it away](../docs/numbers.md) collects all these faults: what the picture shows, which number reveals the fault, and the cure.

# %%
display(overview(), aim())

# %% [markdown]
# ## 7 · What the survey says, what you saw
#
# | the survey | here | verdict |
# |---|---|---|
# | diffusion plans by sampling whole trajectories under a goal, with no model of the dynamics (mechanism 1, medium confidence) | a planner that never saw a map reached most of its random goals (section 4) | held in this maze, **large effect**: it reaches more goals than it misses |
# | the reverse process denoises a trajectory | no front runs from start to goal, and the belief is ahead of the noisy plan (section 2) | held, **large effect**: at $t = 1$ the belief is less than a fifth as far from the end as the noisy plan |
# | generated trajectories may not fit the dynamics (failure signature 4) | positions and velocities of untrained and of overfit plans disagree (section 5) | held, **large effect**: more than 5 and 2 times the good planner's number, produced on purpose |
#
# **Symbols.** $x_0$ a clean plan · $x_t$ the same with noise · $\hat{x}_0 = D(x_t, t)$ the denoiser's mean · $t$ diffusion time, 1 is noise · $D$ the denoiser ·
# `known`, `value` what is given · $H$ points of a plan.
#
# **References.** The survey: "Diffusion Models for Reinforcement Learning: Foundations, Taxonomy, and Development" (arXiv 2510.12253, 2025). Janner et al.,
# "Planning with Diffusion for Flexible Behavior Synthesis" (2022). Ho et al., "Denoising Diffusion Probabilistic Models" (2020). Song et al.,
# "Score-Based Generative Modeling through Stochastic Differential Equations" (2021). Karras et al., "Elucidating the Design Space of Diffusion-Based
# Generative Models" (2022).
#
# **Next:** 01 builds a denoiser from scratch, an exact one first. 02 compares ways to draw samples with it. 03 is about decisions and recorded data.
# 04 draws whole trajectories, and 04b judges them. 05 guides them towards what is preferred, and 05b measures the guidance.

# %% [markdown]
# ## Further · Train the planner in a maze that you draw
#
# Click walls into the grid, or paint them by dragging; with the keyboard the arrows move and the space bar sets a wall. The line below the grid says whether a ball can be driven in your maze. Then run the cells below it again.
# They take your drawing as the map of a new environment, record 80 drives of a controller that knows the map, train a small planner on these drives alone, and drive it to random goals.

# %%
drawing = draw(drawn.EXAMPLE)
drawing

# %%
updates, goals = {"smoke": (30, 2), "class": (700, 20), "full": (4000, 50)}[PROFILE]
own = drawn.learn(drawing.maze_map, episodes=8 if PROFILE == "smoke" else 80, updates=updates, goals=goals, seed=SEED)
own.picture("planner", alt="Six drives of the new planner in the drawn maze, each over its plan: the ball follows most plans along the corridors to the goal.")

# %%
widgets.intervals([(f"{name}: {n} of {goals}", n / goals, *wilson(n, goals)) for name, n in own.reached.items()], xlabel="share of the goals reached",
    alt="Shares of random goals reached in the drawn maze with 95 % intervals: the new planner and retrieval reach most of them, the straight line fewer.")

# %%
judged = PROFILE != "smoke" and drawing.maze_map == drawn.EXAMPLE  # in a maze of yours the straight line may be best
assert not judged or own.reached["planner"] > own.reached["straight line"], "large effect: better than the straight line"

# %% [markdown]
# **Large effect**, for the example: the planner reaches more of the same goals than a controller that heads straight for them. The planner saw nothing but the recorded drives.
# **Open**: is the planner better than retrieval, which looks up the recorded drive nearest to the task and follows it? Both know the same drives, the maze is small, and the two intervals overlap.
#
# A broad line is the *first* plan of a drive: where the ball left it, the planner planned again. A winding maze needs a longer training: raise `updates` to 2000, which takes about three times as long. What does a maze look like in which the straight line wins? In which maze does the planner fail, and do its plans then go through walls?

# %% [markdown]
# ## Further · The map of the survey
#
# The survey sorts its papers by the *role* that diffusion plays, by *regime* (learning from a fixed recording, or while acting), and by the number of
# *agents*. A cell of the map names a lesson and its methods. Hatched cells are not built yet, and a cell with a dash has no lesson. The last row is ours: some
# methods play two roles at once (a planner that also makes its own training data) and fit no single row. Lessons 01 to 03 stand in no cell:
# they are the ground under all of them (diffusion, its samplers, decisions and recorded data).

# %%
widgets.survey_map({
    ("trajectory optimisation", "offline", "single"): ("00, 04, 05: Diffuser", True),
    ("trajectory optimisation", "online", "single"): ("07: replanning", True),
    ("trajectory optimisation", "offline", "multi"): ("15: MADiff, DoF", False),
    ("policy learning", "offline", "single"): ("10: Diffusion-QL, IDQL", True),
    ("policy learning", "online", "single"): ("11: DIPO, QSM, DPPO", False),
    ("policy learning", "online", "multi"): ("15: joint policies", False),
    ("imitation learning", "offline", "single"): ("09: Diffusion Policy", True),
    ("exploration augmentation", "offline", "single"): ("12: SynthER", True),
    ("exploration augmentation", "online", "single"): ("12: prioritised replay", True),
    ("environment simulation", "offline", "single"): ("13: state model", False),
    ("environment simulation", "online", "single"): ("13: image model", True),
    ("reward modelling", "offline", "single"): ("14: relative rewards", False),
    ("reward modelling", "online", "single"): ("14: diffusion reward", False),
    ("hybrids", "offline", "single"): ("07: AdaptDiffuser", False),
})

# %% [markdown]
# ## Further · What the survey claims
#
# The survey states its claims with its own confidence. The table has them all, with what this course has measured so far. "Not yet" is an honest answer.

# %%
claims()

# %% [markdown]
# ## Further · All letters of the course
#
# Papers on diffusion write the same ideas with different letters. Here are our letters, with their names in four papers: Ho et al. 2020 (DDPM), Song et al. 2021 (stochastic
# differential equations), Karras et al. 2022 (EDM), Janner et al. 2022 (Diffuser). Beware of $t$: in Janner's paper it counts steps of the plan.

# %%
symbols()
