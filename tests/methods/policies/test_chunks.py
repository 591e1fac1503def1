"""What the policies over chunks have in common: the law of a state, how they act, resume, and are saved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from diffrl_lab import methods
from diffrl_lab.data.episodes import Episodes

NAMES = ["regression", "two_step", "gaussian", "mixture", "autoregressive"]
EACH = pytest.mark.parametrize("method", [methods.named(name) for name in NAMES], ids=NAMES)
DRAWN = pytest.mark.parametrize("method", [methods.named(name) for name in NAMES[2:]], ids=NAMES[2:])
TINY: dict[str, Any] = {"chunk": 4, "execute": 3, "width": 16, "updates": 8, "batch": 32}
LEARN: dict[str, Any] = {"width": 64, "updates": 500, "batch": 256, "lr": 5e-3, "ema": 0.98}


def walks(n: int = 30, steps: int = 6) -> Episodes:
    """Random walks of a state with two numbers, and random actions."""
    rng = np.random.default_rng(0)
    rows = [(rng.normal(size=(steps + 1, 2)), rng.uniform(-1, 1, (steps, 2)), np.zeros(steps), False) for _ in range(n)]
    return Episodes.join(rows)


def bandit(act: np.ndarray) -> Episodes:
    """One-step episodes in random states that do not matter; act [n, a] is what was done."""
    rng = np.random.default_rng(1)
    return Episodes.join((rng.normal(size=(2, 2)), a[None], np.zeros(1), False) for a in act)


def learned(method: Any, episodes: Episodes, **options: Any) -> Any:
    run = method.train(episodes, method.Config(**{"chunk": 1, "execute": 1, **LEARN, **options}))
    list(run)
    return run.model


def drawn(model: Any, n: int = 4000) -> torch.Tensor:
    """n chunks in one state. -> [n, H, a]"""
    return model.sample(np.zeros((1, 2)), n=n, generator=torch.Generator().manual_seed(1))[0]


@EACH
def test_a_training_that_was_stopped_goes_on_bit_for_bit(method: Any, tmp_path: Path) -> None:
    whole, stopped, again = (method.train(walks(), method.Config(**TINY), seed=3) for _ in range(3))
    losses = [float(row["loss"]) for row in whole]
    first = [float(row["loss"]) for _, row in zip(range(5), stopped, strict=False)]
    stopped.save(tmp_path / "run.safetensors")
    again.load(tmp_path / "run.safetensors")
    assert first + [float(row["loss"]) for row in again] == losses and len(set(losses)) == 8
    for name, value in whole.model.state_dict().items():
        assert torch.equal(again.model.state_dict()[name], value)


@EACH
@pytest.mark.parametrize("goal", [0, 1])
def test_a_policy_that_was_saved_acts_the_same_when_saved_again(method: Any, goal: int, tmp_path: Path) -> None:
    run = method.train(walks(), method.Config(**TINY), seed=3, goal=goal)
    list(run)
    run.model.save(tmp_path / "a.safetensors")
    module, cls = methods.of_class(type(run.model).__name__)
    assert module is method
    once = cls.load(tmp_path / "a.safetensors")
    once.save(tmp_path / "b.safetensors")
    one, two, first = (
        m.sample(np.ones((5, 2)), np.ones((5, 1)) if goal else None, n=2, generator=torch.Generator().manual_seed(0))
        for m in (once, cls.load(tmp_path / "b.safetensors"), run.model)
    )
    assert torch.equal(one, two) and one.shape == (5, 2, 4, 2) and once.config == method.Config(**TINY)
    close = (one - first).abs() < 0.02  # float16 keeps 11 bits of a weight; a draw at a bin's edge may change bins
    assert close.double().mean() > 0.9


@EACH
def test_it_looks_after_execute_actions_and_drives_one_as_it_drives_many(method: Any) -> None:
    model = method.train(walks(), method.Config(**TINY), seed=3).model
    looked, draw = [], model.sample
    model.sample = lambda *words, **more: looked.append(1) or draw(*words, **more)  # type: ignore[func-returns-value]
    agent, obs = method.Agent(model), np.random.default_rng(2).normal(size=(7, 2, 2))
    agent.reset(obs[0], [3, 4])
    many = np.array([agent.act(o) for o in obs])
    assert len(looked) == 3 and many.shape == (7, 2, 2) and np.abs(many).max() <= 1
    for k, seed in enumerate([3, 4]):
        agent.reset(obs[0, [k]], [seed])
        assert_close(np.array([agent.act(o[[k]]) for o in obs])[:, 0], many[:, k], rtol=0, atol=1e-6)
    agent.reset(obs[0], [3, 4])
    rest = np.array([agent.act(o[[1]], [1])[0] for o in obs])  # the other episode is over
    assert_close(rest, many[:, 1], rtol=0, atol=1e-6)


@DRAWN
def test_equal_seeds_draw_equal_chunks_and_others_do_not(method: Any) -> None:
    agent, obs = method.Agent(method.train(walks(), method.Config(**TINY)).model), np.zeros((3, 2))
    agent.reset(obs, [5, 5, 6])
    a = agent.act(obs)
    assert (a[0] == a[1]).all() and (a[0] != a[2]).all()


@EACH
def test_beyond_an_episodes_end_nothing_is_learned(method: Any) -> None:
    """Episodes of two steps and chunks of four: of the last two entries nothing is known, and no 0 is mixed in."""
    rng = np.random.default_rng(0)
    rows = [(np.zeros((3, 2)), 0.5 + 0.02 * rng.standard_normal((2, 1)), np.zeros(2), False) for _ in range(200)]
    second = drawn(learned(method, Episodes.join(rows), chunk=4, updates=200), 500)[:, 1, 0]
    assert float((second - 0.5).abs().median()) < 0.1  # half of all chunks begin in the last step


def test_what_does_not_fit_is_named() -> None:
    for method in map(methods.named, NAMES):
        with pytest.raises(ValueError, match="of a chunk 1 to 4 actions can be executed, got execute=5"):
            method.Config(chunk=4, execute=5)
        with pytest.raises(ValueError, match="0 to 2 columns of an observation, got goal=3"):
            method.train(walks(), method.Config(**TINY), goal=3)
    with pytest.raises(ValueError, match="at least one component, got modes=0"):
        methods.named("mixture").Config(modes=0)
    with pytest.raises(ValueError, match="clean must lie between 0 and 1, got 1"):
        methods.named("two_step").Config(clean=1)
    with pytest.raises(ValueError, match="at least two bins, got bins=1"):
        methods.named("autoregressive").Config(bins=1)


# ------------------------------------------------------------------------------------------------ two modes, exactly
N, P, AT, STD = 3000, 0.3, 0.6, 0.05
RIGHT = np.random.default_rng(0).random(N) >= P
TWO = np.where(RIGHT, AT, -AT)[:, None] + STD * np.random.default_rng(1).standard_normal((N, 1))
MEAN, DEVIATION, SHARE = float(TWO.mean()), float(TWO.std()), float((TWO < 0).mean())  # what was recorded, itself drawn


def test_of_two_modes_least_squares_give_the_mean_which_is_neither() -> None:
    model = learned(methods.named("regression"), bandit(TWO))
    a = drawn(model, 5).flatten()
    assert len(set(a.tolist())) == 1 and abs(float(a[0]) - MEAN) < 0.06 and abs(abs(MEAN) - AT) > 0.3


def test_of_two_modes_a_gaussian_gives_the_mean_and_the_deviation() -> None:
    a = drawn(learned(methods.named("gaussian"), bandit(TWO))).flatten()
    assert abs(float(a.mean()) - MEAN) < 4 * DEVIATION / 4000**0.5 + 0.06
    assert abs(float(a.std()) / DEVIATION - 1) < 4 / 8000**0.5 + 0.06
    assert float((a.abs() < AT / 2).double().mean()) > 0.2, "between the modes, where nothing was done"


def test_a_mixture_of_two_gives_both_modes_with_their_shares_and_deviations() -> None:
    a = drawn(learned(methods.named("mixture"), bandit(TWO), modes=2)).flatten()
    assert abs(float((a < 0).double().mean()) - SHARE) < 4 * (SHARE * (1 - SHARE) / 4000) ** 0.5 + 0.04
    for side, at in ((a[a < 0], -AT), (a[a > 0], AT)):
        assert abs(float(side.mean()) - at) < 0.02 and abs(float(side.std()) / STD - 1) < 0.25
    assert float((a.abs() < AT / 2).double().mean()) < 0.01


def test_two_modes_that_are_alike_are_not_taken_for_one_wide_one() -> None:
    """A mixture whose components begin alike stands on a saddle: by symmetry no gradient moves them apart."""
    rng = np.random.default_rng(5)
    act = np.where(np.arange(N) % 2, AT, -AT)[:, None] + STD * rng.standard_normal((N, 1))
    episodes = Episodes.join((np.zeros((2, 2)), a[None], np.zeros(1), False) for a in act)
    a = drawn(learned(methods.named("mixture"), episodes, modes=2)).flatten()
    assert float(((a.abs() - AT).abs() < 0.2).double().mean()) > 0.98
    assert abs(float((a > 0).double().mean()) - 0.5) < 4 * 0.5 / 4000**0.5 + 0.04


@pytest.mark.parametrize("chunk", [1, 2], ids=["two numbers of an action", "two steps of a chunk"])
def test_an_autoregressive_policy_gives_the_joint_law_of_two_numbers(chunk: int) -> None:
    """Exclusive or: each number is -0.6 or 0.6 with 1/2, and the second is the other one. Apart, half would agree."""
    first = np.where(np.random.default_rng(2).random(N) < 0.5, AT, -AT)
    both = np.stack([first, -first], 1) + STD * np.random.default_rng(3).standard_normal((N, 2))
    if chunk == 1:
        episodes = bandit(both)
    else:
        episodes = Episodes.join((np.zeros((3, 2)), a[:, None], np.zeros(2), False) for a in both)
    options = {"chunk": chunk, "execute": chunk, "updates": 600}
    model = learned(methods.named("autoregressive"), episodes, **options)
    a = drawn(model).flatten(1)
    if chunk == 1:
        assert abs(float((a[:, 0] > 0).double().mean()) - float((both[:, 0] > 0).mean())) < 4 / 2 / 4000**0.5 + 0.04
    differ = ((a[:, 0] > 0) != (a[:, 1] > 0)).double().mean()
    assert float(differ) > 0.98
    assert float(((a.abs() - AT).abs() < 0.2).double().mean()) > 0.95


def test_the_bins_of_an_autoregressive_policy_follow_a_density_that_is_no_gaussian() -> None:
    """Uniform on [-0.8, -0.2] and [0.4, 0.6]: the distribution function of what is drawn, against the recorded one."""
    rng = np.random.default_rng(4)
    act = np.where(rng.random(N) < 0.6, rng.uniform(-0.8, -0.2, N), rng.uniform(0.4, 0.6, N))[:, None]
    a = drawn(learned(methods.named("autoregressive"), bandit(act), bins=28)).flatten().numpy()
    at = np.linspace(-0.9, 0.7, 17)
    gap = np.abs((a[:, None] <= at).mean(0) - (act <= at).mean(0)).max()
    assert gap < 1.63 * (1 / 4000) ** 0.5 + 0.04  # Kolmogorov's 0.99 quantile, and what learning misses


def test_the_second_of_two_steps_takes_what_lies_between_two_modes_to_the_nearer_of_them() -> None:
    """The second step is E[x | x + (1 - t) eps], known exactly near a mode; and it leads away from the middle."""
    model = learned(methods.named("two_step"), bandit(TWO), updates=1500, lr=3e-3)
    first = model.step(torch.zeros(1, 1), 0, torch.zeros(1, 2))
    assert abs(float(model.act_scaler.inverse(first)) - MEAN) < 0.06, "the first step is least squares"
    shown = torch.tensor([-0.7, -0.5, 0.5, 0.7, -0.3, 0.3])
    after = model.act_scaler.inverse(model.step(model.act_scaler(shown[:, None]), 1, torch.zeros(6, 2)))[:, 0]
    mode, noise = AT * shown.sign(), 0.1 * DEVIATION
    exact = mode + (shown - mode) * STD**2 / (STD**2 + noise**2)
    assert_close(after[:4], exact[:4], rtol=0, atol=0.04)
    assert (after[4:].abs() > 0.34).all()
    a = drawn(model, 5).flatten()
    assert len(set(a.tolist())) == 1, "nothing is drawn: one of the two ways is lost"
    here = model.scaler(torch.zeros(1, 2))
    twice = model.step(model.step(torch.zeros(1, 1), 0, here), 1, here)
    assert_close(a[:1], model.act_scaler.inverse(twice)[0], rtol=0, atol=1e-5)


def test_each_term_of_two_step_regression_counts_by_the_square_of_its_noise() -> None:
    method = methods.named("two_step")
    run = method.train(walks(), method.Config(**TINY, clean=0.8))
    row = next(iter(run))
    assert_close(row["loss"], row["guess"] / 0.8**2 + row["repair"] / 0.2**2)


@EACH
def test_with_fourier_features_an_action_may_change_fast_with_the_state(method: Any) -> None:
    """a = sign(sin 12 s) / 2: a network that is shown s alone misses most of it, one that is shown features little."""
    rng = np.random.default_rng(0)
    obs = rng.uniform(-1.5, 1.5, (2000, 2, 1))
    act = np.sign(np.sin(12 * obs[:, 0])) / 2
    episodes = Episodes.join((o, a[None], np.zeros(1), False) for o, a in zip(obs, act, strict=True))
    state = np.linspace(-1.4, 1.4, 201)[:, None]
    inner = np.abs(np.sin(12 * state[:, 0])) > 0.4
    wanted = torch.tensor(np.sign(np.sin(12 * state[:, 0])) / 2)[inner]
    wrong = []
    for features in (0, 8):
        model = learned(method, episodes, updates=400, width=48, features=features)
        a = model.sample(state, generator=torch.Generator().manual_seed(0))[:, 0, 0, 0][inner]
        wrong.append(float(((a - wanted).abs() > 0.4).double().mean()))
    assert wrong[1] < 0.2 < 0.3 < wrong[0], wrong
