"""What can be driven, and who drives it: mazes, robots, small MDPs, agents, episodes.

The names in `__all__` can be had from here: `from diffrl_lab.worlds import Walls, drive, make_maze`. Nothing is
imported before one of them is asked for. Each world has its own `record` and `environment`, in its file.

avoid       Avoid: a point goes up past three rows of 1, 2 and 3 posts, so there are 2 * 3 * 4 = 24 ways, and
            all are known
bandit      A bandit with four modes of actions and nothing beside them: what improving a policy from data
            should give is exact
behaviours  Behaviour policies: what drives the MuJoCo recordings, trained with PPO and kept as a ladder of
            checkpoints
driving     Driving: an agent acts in environments, and what happened are episodes
fork        A ball that meets a peg: half-way it goes to the left or to the right by chance, and the law of its
            path is known
games       Games of 10 x 10 cells whose law is known exactly: what a world model is held against
linear      A linear-Gaussian decision process: regression gives its A, B and Sigma back, so what was learned of
            it can be read
mazes       PointMaze environments, and a scripted controller that knows the map
mdps        Small Markov decision processes whose values are known exactly: grids, a comb maze and a corridor
ogbench     OGBench's pointmazes (Park et al. 2025): its environments, its five tasks, and recordings made by its
            rules
pendulum    Gymnasium's Pendulum as equations: every transition can be held against the true dynamics
pusht       PushT, an optional task: a disc pushes a T-shaped block to a drawn place (Chi et al. 2023; the extra
            `pusht`)
record      Recording a maze: the scripted controller drives, and what it did becomes a Minari dataset
robots      Locomotion: Gymnasium's Hopper, HalfCheetah and Walker2d, their behaviour policies, recordings and
            exact replay
sentences   Sentences that say to which place of two-ways a ball goes, by which way and how fast: their meaning is
            exact
walls       The walls of a maze: their geometry, which recordings, measures and figures use and a learned
            planner never reads
zones       Rules that a plan and a drive are judged by: zones to keep out of, and limits of speed
"""

from __future__ import annotations

from diffrl_lab.files import exported

__all__, __getattr__, __dir__ = exported(
    __name__,
    {
        "driving": "Agent Along Episode Follower Uniform after arrived drive follow indices",
        "games": "Breakout Chase Game Hunt",
        "mazes": "Controller drawn_maze longest_way make_maze make_toll",
        "mdps": "Corridor Grid MDP comb_maze grid_world",
        "walls": "Walls path_length register",
        "zones": "Box Disc Speed",
    },
)
