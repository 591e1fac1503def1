# %% [markdown]
# ![Three panels of a maze with short recorded legs in grey, none of which reaches from start to goal. Left: the cheapest way through waypoints. Middle: one plan of several coloured chunks that runs over the legs from start to goal. Right: the way that the ball drove.](attachment:07.png)
#
# # 07 · Planners
#
# **The question.** All recorded drives are short. Can a planner put pieces of them together, and reach a goal that no recording reached?
#
# A planner that copies needs a recording that leads to the goal. Putting recorded pieces together is called *stitching*. Here you see what is lost at a joint between two pieces, first where the answer is known exactly, then in a maze. Then you ask what goes wrong over the length of a plan, and how often one should plan again.
#
# **Afterwards you can**
# - combine denoisers of short windows to a denoiser of a long process, and say what is lost at the joints;
# - write what a chunk is shown of its neighbours, and find the cheapest way through a graph of waypoints;
# - tell a check that sees a bad joint from one that cannot;
# - write the loop that follows a plan and plans again, and say what compounds and what does not.
#
# **You need** lesson 01 (chains) and lesson 04 (plans). **Machine:** about 50 seconds on two CPU cores, no network.
# **You:** 80 minutes (an estimate).

# %% tags=["collapsed"]
import torch
from torch import Tensor

from diffrl_lab import widgets
from diffrl_lab.course import check, guess, hint, mine
from diffrl_lab.diffusion import Function, chain, ddim, ddpm, sample
from diffrl_lab.studies import joints, legs
from diffrl_lab.widgets.movie import movie

torch.set_num_threads(1)  # for tensors this small a second thread costs more than it brings

# %% tags=["parameters"]
PROFILE = "class"  # smoke: seconds; class: a minute; full: more goals
SEED = 0

# %%
N, FAR, TASKS = {"smoke": (1000, 4, 2), "class": (4000, 24, 20), "full": (40_000, 91, 40)}[PROFILE]
generator = torch.Generator().manual_seed(SEED)
widgets.component_map(["diffusion model", "conditioning", "execution"], alt="The survey's component map with three boxes "
    "lit, diffusion model, conditioning and execution: this lesson puts short models together and drives long plans.")

# %% [markdown]
# ## 1 · A long process from short windows
#
# Take a process whose states are numbers: $x_k = 0.9\, x_{k-1} + \text{noise}$, with variance 1. Two states that are $n$ steps apart have the correlation $0.9^n$. We own denoisers of *windows* of 9 states, and no denoiser of the whole. Three windows that share their ends make 25 states. The middles of two neighbouring windows are 8 steps apart, and one joint lies between them.

# %%
process = joints.Chain(rho=0.9, horizon=9, windows=3)
truth = process.cov(process.length)
first, second = process.middles[:2]
across = joints.correlation(truth, first, second)
widgets.table({"correlation of": ["two neighbouring states", "the middles of two neighbouring windows"], "exact": [f"{truth[0, 1]:.3f}", f"{across:.3f}"]})

# %% [markdown]
# Each window's denoiser is exact: the best guess of its 9 states from its 9 noisy states. At a joint two windows speak of one state. The simplest way takes the mean of what they say. That is how many planners put windows together.

# %%
torn = guess("07.torn", "Windows are denoised together, and averaged where they meet. What is the correlation of the middles?", 0.0, 0.5, "")
torn

# %%
averaged = joints.joint("averaged", steps=50)
torn.reveal(averaged["across"])

# %% [markdown]
# So most of the correlation is gone. Is the mean the wrong way to combine? There is a principled one. In this process a state depends on the one before it alone. So for *clean* states the score of the whole is the sum of the windows' scores, less the score of each joint, which was counted twice. This is the *Bethe* combination. Noisy states depend on all others, so at $t > 0$ it is an approximation. In terms of $\hat{x}_0$ it says: add what the windows say of a state, and subtract $(n - 1)$ times what the state alone says, where $n$ windows hold it. Alone, a state of $\mathcal{N}(0, 1)$ says $\mathbb{E}[x_0 \mid x_t] = \alpha_t x_t / (\alpha_t^2 + \sigma_t^2)$.
#
# **Exercise 1** (medium, 15 minutes). Write it. Pitfalls: states that one window alone holds, and $\alpha_t^2 + \sigma_t^2$, which need not be 1.

# %% tags=["exercise"]
def bethe(says: Tensor, places: Tensor, x_t: Tensor, alpha: float, sigma: float) -> Tensor:
    """says [c, h] of the states at places [c, h] (whole numbers), x_t [L]. -> x0_hat of the whole, [L]"""
    ### BEGIN SOLUTION
    total = torch.zeros(len(x_t), dtype=says.dtype).index_add(0, places.flatten(), says.flatten())
    count = torch.bincount(places.flatten(), minlength=len(x_t))
    return total - (count - 1) * alpha / (alpha**2 + sigma**2) * x_t
    ### END SOLUTION


check("07.bethe", bethe)

# %%
bethe, window = mine("07.bethe"), joints.Chain(windows=1)


def together(x_t: Tensor, t: Tensor, cond=None) -> Tensor:
    """Your combination as a denoiser of the whole, x_t [N, 25]."""
    alpha, sigma = (float(v) for v in process.schedule(t))
    says = x_t[:, process.places] @ joints.matrix(window, "exact", float(t)).T
    return torch.stack([bethe(s, process.places, x, alpha, sigma) for s, x in zip(says, x_t, strict=True)])


drawn = sample(Function(together, process.schedule), torch.randn(N, process.length, generator=generator, dtype=torch.float64),
    steps=25, step=ddpm(), generator=generator)
yours = float(torch.corrcoef(drawn.T)[first, second])

# %%
ways = {way: joints.joint(way, steps=50) for way in joints.WAYS}
titles = {"exact": "one denoiser of the whole (exact)", "averaged": "averaged", "bethe": "Bethe", "shown": "neighbours shown", "resampled": "averaged, each step 20 times"}
assert ways["exact"]["across"] > 0.4 and all(ways[w]["across"] < 0.3 for w in joints.WAYS[1:]), "exact: every way of joining loses correlation"
assert all(v["inside"] > 0.87 for v in ways.values()), "exact: inside a window nothing is seen"
assert min(ways, key=lambda w: ways[w]["variance"]) == "resampled", "exact: repeated steps cost the most variance"
assert abs(yours - joints.joint("bethe", steps=25)["across"]) < 0.12, "exact: your combination has the computed correlation"
widgets.table({"windows are": list(titles.values()), "across a joint": [f"{ways[w]['across']:.3f}" for w in titles], "law": [f"{across:.3f}"] * 5,
    "inside a window": [f"{ways[w]['inside']:.3f}" for w in titles], "variance at a joint": [f"{ways[w]['variance']:.2f}" for w in titles]})

# %% [markdown]
# **Exact.** Every way of putting windows together loses correlation across the joint. Averaging and Bethe lose the most. If each window is *shown* its neighbours' noisy ends (section 2), hardly more is kept. More is kept if the chain repeats each step, at the price of the smallest variance at a joint (it should be 1). Look at the column *inside a window*: there every way looks right. **A check inside the windows cannot see a bad joint.**

# %%
laws = {way: joints.law(process, way, steps=50) for way in ("averaged", "bethe", "shown", "resampled")}
apart = list(range(process.length - first))
widgets.lines(apart, {"exact": [joints.correlation(truth, first, first + k) for k in apart]} | {titles[w]: [joints.correlation(v, first, first + k) for k in apart] for w, v in laws.items()},
    xlabel="steps from the middle of the first window", ylabel="correlation", alt="Correlation against distance from the middle of the first window: all ways follow the dashed exact curve for two steps "
    "and lie far below it behind the joint at 4 steps, the one with repeated steps least.")

# %% [markdown]
# ## 2 · Short legs, far goals
#
# Now a maze. Its recordings were cut into *legs* that never go farther than 3 cells. A model of **chunks** learned pieces of these legs: 16 points, and how long the piece takes. Goals lie more than 3 cells away, so no leg leads from a start to its goal.
#
# A plan is several chunks that are denoised together. The last state of one chunk is the first state of the next. A chunk is shown what its neighbours have at its two ends, at the same noise as its own states.
#
# **Exercise 2** (easy, 10 minutes). Write what is shown. Pitfall: the first chunk has nobody before it, and the last nobody after it; there the place stays 0.

# %% tags=["exercise"]
def neighbours(x_t: Tensor) -> Tensor:
    """x_t [c, h, d], c chunks in a row. -> [c, 2, d]: the state before each chunk's first, and after its last"""
    ### BEGIN SOLUTION
    near = torch.zeros(len(x_t), 2, x_t.shape[-1], dtype=x_t.dtype)
    near[1:, 0] = x_t[:-1, -1]
    near[:-1, 1] = x_t[1:, 0]
    return near
    ### END SOLUTION


check("07.neighbours", neighbours)

# %% [markdown]
# One plan of four chunks, drawn with your function. The maze is not told to the model. Scrub: each colour is a chunk, a small dot is one of its points, and a large dot stands where it ends.

# %%
neighbours, planner = mine("07.neighbours"), legs.graph()
model = planner.motion
obs, goal = legs.task(legs.seeds(1)[0])
known, value = (v[0] for v in model.ends(obs[None], goal[None], 4))
frames = list(chain(legs.joined(model, neighbours, known, value), torch.randn(value.shape, generator=generator), steps=20, step=ddim(1.0), generator=generator))
movie(frames, transform=model.scaler.inverse, maze=legs.WALLS, start=obs[:2], goal=goal, groups=[f"chunk {k + 1}" for k in range(4)], ends=True, show="x0_hat", schedule=model.denoiser.schedule,
    alt="Four chunks of a plan come out of noise in a maze, each in its own colour. Their ends meet, and the chain leads from the start to the goal, not always around the walls.")

# %% [markdown]
# The ends meet by construction. Whether the plan keeps to the corridors is another question. The model has never seen a wall; it has seen where legs go. So several plans are drawn, and the one whose positions contradict its velocities least is driven (section 5).
#
# **Where should the chunks end?** A *graph* gives an answer. Waypoints are recorded positions. An edge leads from $i$ to $j$ if some leg went from near the one to near the other, and costs the steps it took and a toll of three: few long edges are better than many short ones. The cheapest way from the start to the goal names the places where chunks end.
#
# **Exercise 3** (medium, 15 minutes). Compute what it costs to get from every waypoint to the goal. It is value iteration, as in lesson 03. Pitfalls: the direction of an edge, and a goal that costs 0.

# %% tags=["exercise"]
def way(cost: Tensor, goal: int) -> Tensor:
    """cost [M, M], from i to j, infinite where there is no edge. -> [M], the cost of the cheapest way to the goal"""
    ### BEGIN SOLUTION
    left = torch.full((len(cost),), torch.inf, dtype=cost.dtype)
    left[goal] = 0
    for _ in range(len(cost)):
        left = torch.minimum(left, (cost + left).min(1).values)
    return left
    ### END SOLUTION


check("07.way", way)

# %%
way, places = mine("07.way"), planner.places
nearest = lambda p: int((places - p).norm(dim=1).argmin())
left, at = way(planner.cost, nearest(goal)), nearest(obs[:2])
path = [places[at]]
while left[at] > 0:
    at = int((planner.cost[at] + left).argmin())
    path.append(places[at])
plans = planner.drawn(obs, goal, 8, torch.Generator().manual_seed(SEED))
best = int(plans.gaps.argmin())
drive = legs.driven(planner.route, legs.seeds(1))[0]

# %% tags=["punchline"]
legs.over({"the cheapest way": [torch.stack(path)], "a plan of chunks": list(plans.points[best]), "driven": [drive.obs]}, obs, goal,
    alt="Three panels of a maze: recorded legs in grey and a line through waypoints from start to goal; a plan of coloured chunks along it; the way that the ball drove, to the goal.")

# %% [markdown]
# The picture at the top: no grey leg reaches from start to goal. The chunks do, and the ball arrives. (It drives another draw of the same planner, with at most 4 plans.)
#
# Now run through the plan. At each moment the recorded legs that pass its front light up in pink. Do any of them stay lit from the start to the goal?

# %%
legs.running(plans.points[best], plans.durations[best] * float(model.seconds), obs, goal,
    alt="A plan of coloured chunks grows from start to goal over short recorded legs in grey, with a large dot where a chunk ends. The legs near its front are pink: other ones in each chunk.")

# %% [markdown]
# The pink legs change along the plan, and none of them stays: the plan puts together what no recording has together.
#
# ## 3 · Who reaches far goals?
#
# A study drove to 185 such goals with at most 4 plans each. *Flat planner*: the planner of lesson 04, one window for the whole plan, trained on the same legs. *Nearest recorded leg*: no model; it looks at all recorded legs, and follows the one whose start and end fit best. It is the hardest baseline in the README's mazes. *Behaviour cloning* plans nothing: it imitates the actions of the legs, given a goal. *IQL with goals* (GCIQL) plans nothing, either: the value of any goal is learned from the legs in hindsight, and a policy climbs it, action by action.

# %%
far = legs.table("stitching-mazes")
flat = guess("07.flat", "The flat planner never saw a drive longer than 3 cells. How many of these goals does it reach?", 0, 100, "%")
flat

# %%
row = lambda arm, k=3: far.row(k=k, arm=arm)
flat.reveal(100 * row("planner")["success"])

# %%
assert row("graph")["interval"][0] > row("planner")["interval"][1], "large effect: the graph reaches more than the flat planner"
assert row("compositional")["interval"][0] > row("planner")["interval"][1], "large effect: so do composed chunks"
assert row("retrieval")["interval"][1] < row("planner")["interval"][0], "large effect: and retrieval reaches fewer"
assert all(row("gciql", k)["interval"][1] < row("planner", k)["interval"][0] for k in (2, 3)), "large effect: so does IQL with goals"
legs.reached(far, 3, alt="Far goals reached from legs of at most 3 cells, with intervals: the graph of waypoints most, then composed chunks, then the flat planner; cloning, the nearest leg and IQL with goals reach fewer than these.")

# %%
legs.arms(far)

# %% [markdown]
# **Large effect** (three trainings; retrieval has none). Planners that put pieces together reach more far goals than the flat planner, and the flat planner reaches more than the nearest leg. A value could stitch, too: it looks ahead beyond the end of a leg. With the settings of this study it does not get as far as the flat planner. Two things need care. The graph *looks at where recordings lie* when it chooses waypoints; composed chunks do not. And first plans are often not clear of walls: planning again repairs much.
#
# Drive some of these goals here, with the shipped weights (one training).

# %%
routes = {"graph of waypoints": planner.route, "flat planner": legs.flat().route}
here = {name: legs.driven(route, legs.seeds(FAR, skip=1)) for name, route in routes.items()}
share = {name: sum(bool(e.reached) for e in found) / FAR for name, found in here.items()}
assert share["graph of waypoints"] > 0.7, "large effect: the graph reaches most of these goals, too"
assert PROFILE == "smoke" or share["graph of waypoints"] > share["flat planner"] + 0.1, "large effect: and more than the flat planner"
widgets.table({"planner": list(share), f"reached, of {FAR} far goals": [f"{v:.2f}" for v in share.values()], "plans an episode": [f"{sum(e.plans for e in found) / FAR:.1f}" for found in here.values()]})

# %% [markdown]
# ## 4 · What compounds?
#
# It is said that errors compound over a long plan. Which errors? In the large maze a study compared plans of the flat planner, here trained on whole drives, with what happens along them. *Own actions*: the actions that lead from each state of the plan to the next are executed without looking. *Controller*: the ball is steered to the plan's next state, from where it is. *One-step models*: a network, or least squares, predicts state after state from its own predictions.

# %%
length = legs.table("horizon-compounding")
STEPS = (5, 10, 25, 50, 100, 150)
off = {w: [length.row(way=w, steps=s)["off"] for s in STEPS] for w in ("controller", "own actions", "network", "least squares")}
assert off["own actions"][-1] > 10 * off["own actions"][0], "large effect: executed without looking, errors compound"
assert max(off["controller"]) < 0.2 and off["controller"][-1] <= off["controller"][0], "large effect: followed by a controller, they do not"
assert [f"{off['controller'][k]:.2f}" for k in (0, -1)] == ["0.06", "0.05"], "large effect: the medians that the verdict names"
assert STEPS[off["controller"].index(max(off["controller"]))] == 25, "large effect: it is farthest off after 25 steps"
assert [length.row(way="controller", steps=k)["plans"] for k in (5, 150)] == [100, 59], "exact: a shorter plan is left out"
assert off["network"][0] < off["own actions"][0] and off["network"][-1] > 10 * off["network"][1], "large effect: a one-step model begins better, and compounds too"
widgets.lines(STEPS, {"controller": off["controller"], "own actions": off["own actions"], "one-step network": off["network"], "one-step least squares": off["least squares"]},
    points=True, logy=True, xlabel="steps of the plan", ylabel="off, m (median)", alt="Distance from the plan or the world against the number of steps, on a logarithmic axis: the controller stays near a tenth of a metre, a little farther off at 25 steps; own actions and one-step models grow by more than ten times.")

# %% [markdown]
# **Large effect** (100 plans of one training, of which 59 have 150 steps; the network has three trainings). To follow a plan does not get harder along it: whoever looks stays within 0.2 m of it in the median, and is no farther off after 150 steps than after 5 (it is farthest after 25). What compounds is acting without looking, and predicting from predictions.
#
# So look, and plan again when the world has drifted. How often?
#
# **Exercise 4** (hard, 25 minutes). This is the synthesis of the lesson: write the loop. Plan; in each step aim at the plan's next state; after `every` steps plan again. It is judged in a world of wind in which each step is known. Pitfalls: row 0 of a plan is where it begins; a new plan begins where you *are*; the counter goes back; behind the end of a plan its last state stays the target.

# %% tags=["exercise"]
def drive_on(plan, step, obs: Tensor, goal: Tensor, every: int, limit: int) -> Tensor:
    """plan(obs, goal) -> states [K, d]; step(obs, target) -> the next state. -> the path, [limit + 1, d]"""
    ### BEGIN SOLUTION
    path = [obs]
    for n in range(limit):
        if n % every == 0:
            route, k = plan(path[-1], goal), 0
        k += 1
        path.append(step(path[-1], route[min(k, len(route) - 1)]))
    return torch.stack(path)
    ### END SOLUTION


check("07.drive", drive_on)

# %%
drive_on = mine("07.drive")
EVERY, LIMIT = (25, 50, 400), 400
some = {"graph of waypoints": planner, "flat planner": legs.flat()}


def arrives(who, seed: int, every: int) -> bool:
    """Whether a drive comes nearer than 0.45 m to its goal."""
    plan, step, obs, goal = legs.course(seed, who)
    return bool(((drive_on(plan, step, obs, goal, every, LIMIT)[:, :2] - goal).norm(dim=1) < 0.45).any())


often = {name: [sum(arrives(who, s, e) for s in legs.seeds(TASKS)) / TASKS for e in EVERY] for name, who in some.items()}
assert PROFILE == "smoke" or often["flat planner"][0] > often["flat planner"][2] + 0.1, "large effect: a planner that stitches badly needs to plan again"
widgets.table({"plans again after": ["25 steps", "50 steps", "never"], **{f"{name}: reached, of {TASKS}": [f"{v:.2f}" for v in often[name]] for name in often}})

# %%
again = legs.table("horizon-replan")
rate = lambda driver, every: again.row(driver=driver, every=every)["interval"]
assert rate("own actions", "25")[0] > rate("own actions", "100")[1], "large effect: own actions need many plans"
assert rate("own actions", "100")[0] > rate("own actions", "never")[1], "large effect: and without new ones they get nearly nowhere"
assert rate("controller", "never")[0] > rate("own actions", "50")[1], "large effect: a controller needs one plan"
legs.replanned(again)

# %% [markdown]
# **Large effect** (one training of each planner; 20 goals in the first table, 100 resets in the second). The flat planner reaches more far goals if it plans again often: each new plan begins nearer to the goal. The graph's plans are good enough to be followed to their end in 19 of these 20 drives. In the second table, in the large maze after training on whole drives, it depends on who drives. If the plan's own actions are executed, nearly all goals are reached when there is a new plan every 25 steps, about half of them with one every 100 steps, and about one in ten without any. If a controller follows, it needs no second plan in 99 of 100 drives. Planning again costs a plan each time; in lesson 06 that is what a deadline forbids.
#
# ## 5 · Break it: any plan will do
#
# A colleague saves time: "The chunks meet, so one plan is as good as another. Drive the first that is drawn." Compare the first of 8 plans with the one that is chosen. What is chosen has the smallest *gap*: by how much the positions of a plan contradict its velocities, in metres.

# %%
drawn_plans = []
for s in legs.seeds(FAR):
    o, g = legs.task(s)
    found = planner.drawn(o, g, 8, torch.Generator().manual_seed(SEED + s))
    drawn_plans.append((o, g, found, [legs.crosses(model.reference(p, d)) for p, d in zip(found.points, found.durations, strict=True)]))
tries = {"the first": lambda f: 0, "the smallest gap": lambda f: int(f.gaps.argmin()), "the largest gap": lambda f: int(f.gaps.argmax())}
walls = {name: sum(c[pick(f)] for _, _, f, c in drawn_plans) / FAR for name, pick in tries.items()}
gap = {name: sorted(float(f.gaps[pick(f)]) for _, _, f, _ in drawn_plans)[FAR // 2] for name, pick in tries.items()}

# %% tags=["broken"]
o, g, found, _ = max(drawn_plans, key=lambda d: float(d[2].gaps.max()))
legs.over({f"{name}: {float(found.gaps[pick(found)]):.2f} m": list(found.points[pick(found)]) for name, pick in tries.items()}, o, g, legs=0,
    alt="Three plans of chunks to one goal: the first that was drawn, the one with the smallest gap, and the one with the largest gap, which bends more sharply than the others.")

# %%
assert PROFILE == "smoke" or walls["the largest gap"] > walls["the smallest gap"] + 0.1, "large effect: the gap warns of walls that the model never saw"
widgets.table({"which of 8 plans": list(walls), "gap, m (median)": [f"{v:.2f}" for v in gap.values()], "crosses a wall": [f"{v:.2f}" for v in walls.values()]})

# %% [markdown]
# **Large effect.** Plans with a large gap cross walls more often. The gap needs no map: a plan that contradicts itself is one that no recording looked like.
#
# | signature | in the picture | the number that gives it away | cure |
# |---|---|---|---|
# | a joint that is torn | each piece looks right, the whole does not | correlation *across* the joint beside its law | show neighbours, repeat steps, or end chunks at known places |
# | any plan will do | chunks meet and cut corners | the gap between positions and velocities | draw several, take the smallest gap |
# | acting without looking | the plan is fine, the drive is metres off | distance from the plan, by its index | a controller that looks, or plan again |
#
# ## What the survey claims, and what we saw
#
# | It is said | Measured here | Verdict |
# |---|---|---|
# | Generating whole trajectories handles long horizons (the survey, confidence medium). | Far goals from short legs: planners that compose pieces reach more than a flat planner, and all of them more than the nearest leg (medium maze, three trainings). | held, where pieces are composed |
# | Errors compound while a long plan is denoised (failure signature 3). | A controller is no farther from the plan after 150 steps than after 5 (medians 0.05<!-- 0.05: held by an assert in section 4 --> and 0.06<!-- 0.06: held by an assert in section 4 --> m); errors of the plan's own actions, executed without looking, and of one-step models compound (large maze, one training of the planner). | failed for a plan that is followed, held for executing actions |
# | Latent diffusion costs less computation and may lose information (*Further*). | A coded plan takes less than half of the time, with a smaller network; first plans clear of walls: 0.58 with 4 numbers (three trainings), 0.94 without a code (large maze, one training). | held |
#
# **Symbols.** $x_0, x_t, \hat{x}_0, \alpha_t, \sigma_t$ as in lesson 01; $x_k$ a state of the process; $n$ a number of steps, or of windows that hold a state; $\mathbb{E}, \mathcal{N}$ mean and normal distribution; $i, j$ waypoints.
#
# **References.** Luo et al., "Generative Trajectory Stitching through Diffusion Composition" (2025). Eysenbach et al., "Search on the Replay Buffer: Bridging Planning and Reinforcement Learning" (2019). Lugmayr et al., "RePaint: Inpainting using Denoising Diffusion Probabilistic Models" (2022). Janner et al., "Planning with Diffusion for Flexible Behavior Synthesis" (2022). Park et al., "OGBench: Benchmarking Offline Goal-Conditioned RL" (2025). The survey: "Diffusion Models for Reinforcement Learning" (arXiv 2510.12253, 2025).
#
# **Next.** Lesson 08 adds rules that appear after the training.

# %% [markdown]
# ## Further · plans by the size of their code
#
# A plan is a smooth curve, and most of it can be said in a few numbers. `methods/planning/latent.py` learns such a code by an autoencoder, and diffuses the code instead of the plan (LatentDiffuser, Li 2023). A code is cheaper to draw than a plan, here also because its network is smaller. What does it lose? The large maze of section 4, with the same resets for all.

# %%
codes = legs.table("horizon-latent")
whole, small = codes.row(size="none"), codes.row(size="4")
assert all(codes.row(size=k)["plan_ms"] < whole["plan_ms"] / 2 for k in ("4", "8", "16")), "large effect: a code is cheaper to draw"
assert [f"{r['clear']:.2f}" for r in (small, whole)] == ["0.58", "0.94"], "large effect: and more walls are cut"
assert small["lost"] > codes.row(size="8")["lost"] > codes.row(size="16")["lost"], "large effect: a longer code loses less"
legs.coded(codes)

# %% [markdown]
# **Large effect.** A code of four numbers moves a recorded plan by nearly two decimetres and misses the ends that it was asked for, so its first plans cut walls much more often than plans that are not coded. With 16 numbers less is lost, but still the ends are missed. Drawing a code takes less time than drawing a plan. A controller and a second plan repair most of it: nearly all goals are reached in the end.

# %% [markdown]
# ## Further · other planners on the same goals
#
# Four more planners drove to the far goals of section 2. The *hierarchical* one (Chen et al. 2024) draws subgoals first and then the legs between them, both from pieces of the same recordings. *AdaptDiffuser* (Liang et al. 2023) draws plans between recorded places that no leg joins, keeps those that stay where data lie, and is trained further on what it kept. Its proposals come from the flat planner itself, or from the graph of section 2. The *latent* planner (Li 2023) diffuses codes of recorded legs. *Monte-Carlo tree diffusion* (Yoon et al. 2025) grows a tree of chunks: it draws a chunk, carries it on to the goal in a few coarse steps, and looks further where the whole contradicts itself least. Its chunks are those of the composed plans, and it looks at no recording when it plans.

# %%
tuned, before = legs.table("stitching-others"), legs.table("stitching-mazes")
reach = lambda arm, k: (before if arm == "planner" else tuned).row(arm=arm, k=k)["success"]
assert all(abs(reach(a, k) - reach("planner", k)) < 0.1 for a in ("hierarchical", "adapt_diffuser") for k in (2, 3)), "large effect: no gain"
assert all(reach("adapt_diffuser, graph", k) > reach("planner", k) + 0.1 for k in (2, 3)), "large effect: the graph's plans teach"
assert all(reach("latent", k) < reach("planner", k) < reach("tree", k) - 0.1 for k in (2, 3)), "large effect: codes gain nothing, a search does"
legs.others(tuned, before)

# %% [markdown]
# **Large effect.** Subgoals alone do not stitch, and AdaptDiffuser learns nothing new from its own plans: both reach about as many goals as the flat planner. Trained on the *graph's* plans, the same flat network reaches many more. So it is not the loop that stitches, but who proposes. Codes of legs gain nothing over the flat planner, either. The tree of chunks reaches many more goals than the flat planner, and pays for it with the longest planning in this table. (One training of each; the flat planner and the graph have three.)
#
# **Open.** Whether the search reaches more than the same chunks composed at once (section 3): with one training the intervals meet.

# %% [markdown]
# ## Further · other goals, and a larger maze
#
# Half of the goals of section 3 had been looked at before. A study drove to other goals of the medium maze, 500 of them, on which nothing was tuned. In the large maze it cut the recording into legs of at most 4 cells, and drove to goals that lie farther. Plans may have more chunks there, the graph has more waypoints, and chunks are trained for longer.

# %%
other, larger = legs.table("stitching-goals"), legs.table("stitching-large")
assert other.row(k=3, arm="graph")["episodes"] == 500 and larger.row(k=4, arm="graph")["episodes"] > 100, "exact: as many goals as were asked for"
for k, far_goals in ((2, other), (3, other), (4, larger)):
    graph_of, chunks_of, nearest = (far_goals.row(k=k, arm=arm)["interval"] for arm in ("graph", "compositional", "retrieval"))
    assert graph_of[0] > chunks_of[1], "large effect: the graph reaches more than chunks alone"
    assert chunks_of[0] > nearest[1], "large effect: chunks alone reach more than the nearest leg"
assert larger.row(k=4, arm="compositional")["interval"][0] > larger.row(k=4, arm="planner")["interval"][1], "large effect: and more than the flat planner"
legs.new(other, larger)

# %% [markdown]
# **Large effect.** In both mazes the graph reaches more of these goals than composed chunks alone, and composed chunks reach more than the nearest leg, in the large maze also more than the flat planner. In the medium maze the graph reaches about as many of the new goals as of those in section 3, and composed chunks a little fewer. In the large maze the graph still reaches nearly all, and composed chunks about six in ten. (The table says how many trainings there are.)
#
# **Open.** Why composed chunks alone reach so few goals in the large maze. Half as many updates gave them a share that the interval in the table contains, so a longer training alone does not seem to be the answer (`docs/studies/stitching.md`).

# %% [markdown]
# ## Further · mazes that others made
#
# OGBench (Park et al. 2025) is a benchmark of goals, with mazes and five tasks in each. Its ball has no velocity and its recordings are very noisy. A study recorded by its rules, a fifth as much as the published recordings: legs of four cells (*stitch*), and long drives (*navigate*). Each planner was trained once and drove each task ten times. The intervals are over these 50 episodes.

# %%
outside = legs.table("ogbench-mazes")
went = lambda arm, maze, kind="stitch": outside.row(maze=maze, kind=kind, arm=arm)
assert went("compositional", "medium")["interval"][0] > went("planner", "medium")["interval"][1] + 0.2, "large effect: chunks stitch, windows do not"
assert went("retrieval", "medium", "navigate")["success"] > 0.95 > 0.5 > went("retrieval", "medium")["success"], "large effect: long drives need no planner"
assert max(went(arm, maze)["success"] for arm in ("graph", "compositional", "planner", "bc", "retrieval") for maze in ("large", "giant")) < 0.6, "large effect: nobody solves the larger mazes"
legs.benchmark(outside)

# %% [markdown]
# **Large effect** (one training each). In the medium maze composed chunks reach every goal from legs of four cells; one window, the nearest leg and cloning reach fewer than half of them. Where whole drives were recorded, the nearest of them is enough. In the large and in the giant maze no planner here reaches most goals, and in the giant one the graph alone reaches any. Nearly all first plans of the planners that draw meet walls there, and what is reached is reached by planning again. How recordings are shown matters as much as the planner: with positions in metres and the velocity of a single noisy step, composed chunks reached half of the same goals (`docs/studies/ogbench.md`).
#
# **Open.** Why chunks fail in the large maze: four times the updates changed little. With five times as much data and a far larger network Luo et al. (2025) report every goal of the large maze and two thirds of the giant one's (`docs/studies.md` has both beside each other).
