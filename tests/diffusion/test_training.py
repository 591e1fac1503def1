"""Laws of training: the loss's target and mask, EMA's closed form, resuming bit for bit, files that survive a crash."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import islice

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from diffrl_lab.diffusion import (
    EMA,
    Batches,
    Cosine,
    Discrete,
    Karras,
    Linear,
    NeuralDenoiser,
    Rectified,
    Run,
    Stage,
    coefficients,
    cosine_decay,
    denoising_loss,
    descend,
    fit,
    load,
    masked_mean,
    save,
    seeded,
)
from diffrl_lab.diffusion import training as module_under_test
from diffrl_lab.diffusion.denoisers import PREDICTIONS
from diffrl_lab.diffusion.training import digest

f64 = torch.float64
SCHEDULES = [Linear(), Cosine(), Karras(), Rectified(), Discrete.linear()]


def G(seed=0):
    return torch.Generator().manual_seed(seed)


class Net(nn.Module):
    """A small network with a buffer that training changes."""

    def __init__(self, d=2, dropout=0.0):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(d + 1, 16), nn.Tanh(), nn.Dropout(dropout), nn.Linear(16, d))
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x, label, cond=None):
        if self.training:
            self.seen += len(x)
        return self.layers(torch.cat([x, label[:, None].expand(*x.shape[:-1], 1)], -1))


# ------------------------------------------------------------------------------------------------------------- the loss
class Constant(nn.Module):
    def forward(self, x, label, cond=None):
        return torch.zeros_like(x)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
@pytest.mark.parametrize("predict", PREDICTIONS)
def test_the_loss_is_the_squared_error_in_the_units_of_the_networks_output(schedule, predict):
    x_0, t, sd = torch.randn(64, 3, generator=G(1), dtype=f64), torch.linspace(0.1, 0.95, 64, dtype=f64), 0.7
    eps = torch.randn(64, 3, generator=G(2), dtype=f64)
    alpha, sigma = schedule(t, 2)
    c_skip, c_out = coefficients(predict, alpha, sigma, sd)
    error = (c_skip * (alpha * x_0 + sigma * eps) - x_0) / c_out  # of x0_hat when the network says 0
    loss = denoising_loss(NeuralDenoiser(Constant(), schedule, predict, sd), x_0, t=t, generator=G(2))
    assert_close(loss, (error**2).mean(), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
@pytest.mark.parametrize("predict", ["eps", "v", "flow", "edm"])
def test_in_float32_no_time_drawn_for_training_makes_the_loss_explode(schedule, predict):
    x_0 = torch.randn(20_000, 1, generator=G())  # 0 predicted for a target of variance 1 (flow: 2)
    loss = denoising_loss(NeuralDenoiser(Constant(), schedule, predict), x_0, generator=G(1))
    assert_close(loss.item(), 2.0 if predict == "flow" else 1.0, rtol=0.05, atol=0)


def test_the_exact_denoiser_leaves_the_loss_that_nothing_can_remove():
    x_0 = torch.randn(
        50_000, 1, generator=G(), dtype=f64
    )  # N(0, 1): eps is known up to its variance given x_t, alpha^2
    D = NeuralDenoiser(Net(), Linear(), "eps")
    D.net.forward = lambda x, label, cond=None: sigma * x  # E[eps | x_t]; here c_in = 1
    t = torch.full((50_000,), 0.4, dtype=f64)
    alpha, sigma = (level.item() for level in Linear()(0.4))
    assert_close(denoising_loss(D, x_0, t=t, generator=G(1)).item(), alpha**2, rtol=5 * math.sqrt(2 / 50_000), atol=0)


@pytest.mark.parametrize("schedule", [Linear(), Karras()], ids=repr)
def test_times_are_stratified_and_uniform_from_t_min_on(schedule):
    seen, D = [], NeuralDenoiser(Constant(), schedule, "eps")
    D.net.forward = lambda x, label, cond=None: seen.append(schedule.time(torch.exp(4 * label.double()))) or x
    denoising_loss(D, torch.zeros(1000, 1), generator=G())
    u = 1000 * (seen[0] - schedule.t_min) / (1 - schedule.t_min) - torch.arange(1000)
    assert ((u - 0.5).abs() < 0.501).all() and abs(u.std() - math.sqrt(1 / 12)) < 0.02


def test_known_entries_are_shown_clean_and_leave_the_loss():
    seen, x_0 = [], torch.randn(32, 4, 2, generator=G(1))
    known = torch.zeros(32, 4, 1, dtype=torch.bool)
    known[:, 0] = True
    D = NeuralDenoiser(Constant(), Linear(), "x0")  # with sigma_data = 1 and this schedule c_in is 1
    D.net.forward = lambda x, label, cond=None: seen.append(x) or 0 * x
    loss = denoising_loss(D, x_0, known=known, generator=G(2))
    assert_close(seen[0][:, 0], x_0[:, 0])
    assert (seen[0][:, 1:] != x_0[:, 1:]).all()
    assert_close(loss, (x_0[:, 1:] ** 2).mean())


def test_the_masked_mean_divides_by_what_is_valid():
    x = torch.tensor([[1.0, 1.0, 5.0, 5.0]])
    mask = torch.tensor([[True, True, False, False]])
    assert_close(masked_mean(x, mask), torch.tensor(1.0))
    assert_close(masked_mean(x), torch.tensor(3.0))
    assert masked_mean(x, ~mask & mask) == 0


def test_a_weight_for_each_row_weighs_the_errors_of_the_rows_one_by_one():
    x_0, D = torch.randn(5, 5, generator=G(1)), NeuralDenoiser(Constant(), Linear(), "eps")  # as many columns as rows
    weight, t = torch.tensor([0.0, 1.0, 2.0, 3.0, 10.0]), torch.linspace(0.1, 0.9, 5)
    rows = [denoising_loss(D, x_0, t=t, valid=torch.arange(5)[:, None] == i, generator=G(2)) for i in range(5)]
    assert_close(denoising_loss(D, x_0, t=t, weight=weight, generator=G(2)), (weight * torch.stack(rows)).mean())


def test_padding_does_not_change_the_masked_loss_nor_its_gradient():
    x_0, D = torch.randn(6, 5, 2, generator=G(1)), NeuralDenoiser(Constant(), Linear(), "x0")
    D.net.forward = lambda x, label, cond=None: x * weight
    weight, valid = torch.tensor(0.3, requires_grad=True), torch.ones(6, 5, 1, dtype=torch.bool)
    valid[2:, 3:] = False
    t = torch.linspace(0.1, 0.9, 6)

    def loss(fill):
        x = torch.where(valid, x_0, fill)
        value = denoising_loss(D, x, valid=valid, t=t, generator=G(2))
        return value, torch.autograd.grad(value, weight)[0]

    for one, other in zip(loss(0.0), loss(1e4), strict=True):
        assert_close(one, other)
    count = masked_mean(torch.full((6, 5, 2), 2.0), valid)
    assert_close(count, torch.tensor(2.0))


# -------------------------------------------------------------------------------------------------------------- batches
def test_batches_keep_rows_together_and_follow_their_generator():
    data = {"x": torch.arange(50), "y": 2 * torch.arange(50)}
    first, again = (next(Batches(data, 8, G(3))) for _ in range(2))
    assert torch.equal(first["y"], 2 * first["x"]) and torch.equal(first["x"], again["x"])
    counts = torch.bincount(next(Batches(data, 50_000, G(0)))["x"], minlength=50)
    assert ((counts - 1000).abs() < 5 * math.sqrt(1000)).all()


# ------------------------------------------------------------------------------------------------------------------ EMA
def test_ema_is_its_closed_form_from_a_copy_of_the_start():
    net = nn.Linear(1, 1, bias=False)
    nn.init.constant_(net.weight, 2.0)
    ema = EMA(net, decay=0.15)  # below the warm-up, which begins with 2 / 11
    values = [5.0, -1.0, 3.0, 0.5]
    for v in values:
        nn.init.constant_(net.weight, v)
        ema.update(net)
    n = len(values)
    closed = 2.0 * 0.15**n + sum(0.85 * 0.15 ** (n - 1 - i) * v for i, v in enumerate(values))
    assert_close(ema.module.weight.item(), closed, rtol=1e-6, atol=1e-6)


def test_emas_warm_up_forgets_the_start_and_then_settles_at_the_decay():
    net = nn.Linear(1, 1, bias=False)
    nn.init.constant_(net.weight, 1.0)
    ema = EMA(net, decay=0.999)
    nn.init.zeros_(net.weight)
    for _ in range(200):
        ema.update(net)
    left = math.prod(min(0.999, (1 + n) / (10 + n)) for n in range(1, 201))
    assert_close(ema.module.weight.item(), left, rtol=1e-4, atol=1e-9)
    assert left < 1e-3 < 0.999**200


def test_ema_is_no_alias_copies_buffers_and_asks_for_no_gradient():
    net = Net().train()
    ema = EMA(net)
    before = [p.clone() for p in ema.module.parameters()]
    net(torch.randn(5, 2), torch.zeros(5))
    with torch.no_grad():
        for p in net.parameters():
            p += 1
    for p, q in zip(ema.module.parameters(), before, strict=True):
        assert torch.equal(p, q) and not p.requires_grad
    ema.update(net)
    assert ema.module.seen == 5 and not ema.module.training


# --------------------------------------------------------------------------------------------------- steps and resuming
@dataclass(frozen=True)
class Config:
    lr: float = 1e-2
    widths: tuple[int, ...] = (8,)


class ActorCritic(nn.Module):
    """An actor that imitates, and a critic that bootstraps from its own average and from the actor's."""

    def __init__(self, config):
        super().__init__()
        self.config, self.sizes = config, {}
        self.actor, self.critic = NeuralDenoiser(Net(), Linear(), "eps"), nn.Linear(2, 1)
        self.register_buffer("scale", torch.tensor(2.0))


def actor_critic(seed=0, config=Config(), data=None):  # noqa: B008
    """A run of two stages: actor and critic together, then the critic alone."""
    g, model = G(seed), seeded(seed, ActorCritic, config)
    data = {"x": torch.randn(100, 2, generator=G(9))} if data is None else data
    options = {"lr": config.lr, "ema": 0.9, "weight_decay": 0.01}
    decay = cosine_decay(12, 3)
    actor = descend(lambda b: denoising_loss(model.actor, b["x"], generator=g), model.actor, schedule=decay, **options)

    def critic_loss(b):
        after = critic.ema.module(actor.ema.module(b["x"], torch.tensor(0.5)))
        return {"loss": (model.critic(b["x"]) - 1 - 0.9 * after).square().mean(), "td": after.mean()}

    critic = descend(critic_loss, model.critic, warm_up=False, **options)
    batches = Batches(data, 16, g)
    stages = Stage((actor, critic), batches, 8), Stage((descend(critic_loss, model.critic),), batches, 4)
    return Run(model, *stages, generator=g, data=data, seed=seed)


@pytest.mark.parametrize("stop", [0, 3, 8, 10, 12])
def test_a_run_of_several_optimisers_and_stages_resumes_bit_for_bit_wherever_it_stopped(tmp_path, stop):
    whole = actor_critic()
    rows = list(whole)
    assert [row["step"] for row in rows] == list(range(1, 13)) and whole.step == whole.updates == 12
    begun = actor_critic()
    first = list(islice(begun, stop))
    begun.save(tmp_path / "run.safetensors")
    again = actor_critic()
    list(islice(again, 2))  # wherever it stands: all of it must come from the file
    again.load(tmp_path / "run.safetensors")
    assert again.step == stop
    rest = list(again)
    for a, b in zip([*first, *rest], rows, strict=True):
        assert a.keys() == b.keys() and all(torch.equal(torch.as_tensor(a[k]), torch.as_tensor(b[k])) for k in a)
    for a, b in zip(again.model.state_dict().values(), whole.model.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_the_model_of_a_run_is_a_copy_with_the_averaged_weights_of_each_part():
    run = actor_critic()
    list(islice(run, 5))
    model, (actor, critic) = run.model, run.stages[0].updates
    for part, update in ((model.actor, actor), (model.critic, critic)):
        for a, b, c in zip(part.parameters(), update.ema.module.parameters(), update.module.parameters(), strict=True):
            assert torch.equal(a, b) and not torch.equal(a, c) and not a.requires_grad
    before = [v.clone() for v in model.state_dict().values()]
    list(run)
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), before, strict=True))
    assert model.about == {"seed": 0, "data": run.about["data"], "trained": 5} and not model.training


def test_a_checkpoint_of_another_run_is_refused_with_what_differs(tmp_path):
    path = tmp_path / "run.safetensors"
    actor_critic().save(path)
    with pytest.raises(ValueError, match=r"of another run: it has seed = 0, this one seed = 1"):
        actor_critic(seed=1).load(path)
    with pytest.raises(ValueError, match=r"it has lr = 0.01, this one lr = 0.1"):
        actor_critic(config=Config(lr=0.1)).load(path)
    other = {"x": torch.randn(100, 2, generator=G(8))}
    with pytest.raises(ValueError, match=r"it has data = '[0-9a-f]{16}', this one data = '[0-9a-f]{16}'"):
        actor_critic(data=other).load(path)
    run = actor_critic()
    run.about["method"] = "Windows"
    with pytest.raises(ValueError, match=r"it has method = 'ActorCritic', this one method = 'Windows'"):
        run.load(path)
    save(path, {"a": torch.zeros(1)})
    with pytest.raises(ValueError, match="is no checkpoint of a training"):
        actor_critic().load(path)


def test_a_digest_tells_every_column_its_name_its_type_and_its_shape():
    x = torch.arange(12.0)
    others = [
        {"a": x.view(3, 4)},
        {"b": x},
        {"a": x.double()},
        {"a": x + torch.eye(12)[5] * 1e-6},
        {"a": x, "b": x[:0]},
    ]
    marks = [digest(d) for d in [{"a": x}, *others]]
    assert len(set(marks)) == 6 and digest({"a": x.clone(), "note": "no tensor"}) == marks[0]


def test_a_target_network_follows_from_the_first_update_at_its_own_pace():
    net = nn.Linear(1, 1)
    ema, before = EMA(net, 0.9, warm_up=False), net.weight.detach().clone()
    with torch.no_grad():
        net.weight += 1
    ema.update(net)
    assert_close(ema.module.weight, before + 0.1)


def test_one_update_is_one_step_of_adamw_with_the_gradient_clipped():
    def made():
        torch.manual_seed(0)
        return nn.Linear(3, 1)

    ours, bare, x = made(), made(), 100 * torch.randn(8, 3, generator=G())
    update = descend(lambda x: (ours(x) ** 2).mean(), ours, lr=1e-2, clip_norm=0.5, weight_decay=0.1)
    optimizer = torch.optim.AdamW(bare.parameters(), lr=1e-2, weight_decay=0.1)
    for _ in range(3):
        update(x)
        optimizer.zero_grad()
        (bare(x) ** 2).mean().backward()
        nn.utils.clip_grad_norm_(bare.parameters(), 0.5)
        optimizer.step()
    assert torch.equal(ours.weight, bare.weight)


def test_training_reaches_the_optimum_that_is_known():
    data = torch.randn(4096, 1, generator=G(1)) * 0.5 + 1.0
    g = G(2)
    torch.manual_seed(0)
    D = NeuralDenoiser(Net(1), Linear(), "v", sigma_data=0.5)
    update = descend(lambda x: denoising_loss(D, x, generator=g), D, lr=1e-2, schedule=cosine_decay(600))
    for _ in fit(update, Batches(data, 256, g), 600):
        pass
    t, x = torch.tensor(0.4), torch.linspace(-0.7, 1.4, 20)[:, None]
    alpha, sigma = Linear()(0.4)
    exact = 1 + alpha * 0.25 / (alpha**2 * 0.25 + sigma**2) * (x - alpha)
    assert_close(D.eval()(x, t).detach(), exact.float(), rtol=0, atol=0.1)


def test_the_learning_rate_is_a_function_of_the_step_alone():
    f = cosine_decay(110, warmup=10, floor=0.2)
    assert [f(n) for n in (0, 4, 9, 10, 60, 110, 500)] == pytest.approx([0.1, 0.5, 1.0, 1.0, 0.6, 0.2, 0.2])


def test_the_callers_loop_sees_every_number_of_every_step():
    update = descend(lambda x: {"loss": (net(x) ** 2).mean(), "norm": x.norm()}, net := nn.Linear(1, 1))
    seen = list(fit(update, iter([torch.ones(2, 1)] * 3), 5))
    assert [s["step"] for s in seen] == [1, 2, 3] and all(not s["loss"].requires_grad for s in seen)
    assert_close(seen[0]["norm"].item(), math.sqrt(2))


# ---------------------------------------------------------------------------------------------------------------- files
def test_a_file_gives_back_what_was_written(tmp_path):
    tensors = {"a": torch.randn(3, 4).T, "b.c": torch.arange(3)}
    save(tmp_path / "deep" / "w.safetensors", tensors, step=3, name="run")
    again, about = load(tmp_path / "deep" / "w.safetensors")
    assert about == {"step": 3, "name": "run"} and again.keys() == tensors.keys()
    assert all(torch.equal(again[k], tensors[k]) for k in tensors)


@pytest.mark.parametrize(
    "damage", [lambda b: b[: len(b) // 2], lambda b: b[:5], lambda b: b"", lambda b: b"<html>" + b]
)
def test_a_file_that_is_cut_short_or_foreign_is_named_in_the_error(tmp_path, damage):
    path = tmp_path / "w.safetensors"
    save(path, {"a": torch.randn(100)})
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match="w.safetensors is not a whole safetensors file"):
        load(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing.safetensors"):
        load(tmp_path / "nothing.safetensors")


def test_a_crash_while_writing_leaves_the_old_file_whole_and_no_litter(tmp_path, monkeypatch):
    path = tmp_path / "w.safetensors"
    save(path, {"a": torch.ones(3)})

    def crash(tensors, where, metadata):
        where.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(module_under_test, "save_file", crash)
    with pytest.raises(OSError, match="disk full"):
        save(path, {"a": torch.zeros(3)})
    assert_close(load(path)[0]["a"], torch.ones(3))
    assert [p.name for p in tmp_path.iterdir()] == ["w.safetensors"]


@pytest.mark.parametrize(
    "make",
    [
        lambda: Batches(torch.zeros(0, 2), 3, G()),
        lambda: Batches({"a": torch.zeros(2), "b": torch.zeros(3)}, 3, G()),
        lambda: Batches(torch.zeros(3), 0, G()),
        lambda: EMA(nn.Linear(1, 1), 1.0),
    ],
)
def test_nonsense_is_refused_with_what_came(make):
    with pytest.raises(ValueError, match="got"):
        make()


@pytest.mark.parametrize("about", [None, {"format": "pt"}, {"about": "no JSON"}, {"about": "[1]"}])
def test_weights_of_another_program_are_named_in_the_error(tmp_path, about):
    path = tmp_path / "w.safetensors"
    module_under_test.save_file({"a": torch.ones(2)}, path, metadata=about)
    with pytest.raises(ValueError, match="w.safetensors was written by another program"):
        load(path)
