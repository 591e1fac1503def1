"""Sweeps: each point is computed once, whatever dies in between."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from diffrl_lab.analysis import sweeps
from diffrl_lab.analysis.sweeps import SweepError, Table, run_grid


def noted(a: float, log: str, seed: int, b: int = 0) -> dict:
    """a^2 + b + a number of the seed, and a line in `log` for each time it was computed."""
    with open(log, "a") as file:
        file.write(f"{a} {b} {seed}\n")
    return {"y": a**2 + b + float(np.random.default_rng(seed).random()), "path": np.arange(3) * a}


def deadly(a: int, log: str, always: list, seed: int) -> dict:
    """As `noted`; a = 1 kills its process the first time, those in `always` every time."""
    died = Path(log).with_name("died")
    if a in always or (a == 1 and not died.exists()):
        died.touch()
        os._exit(3)
    return noted(a, log, seed)


def failing(a: int, log: str, seed: int) -> dict:
    if a == 2:
        raise KeyError("no such a")
    return noted(a, log, seed)


def impure(seed: int) -> dict:
    return {"seed": 3}


def threads(a: int, seed: int) -> dict:
    return {"torch": torch.get_num_threads(), "omp": os.environ.get("OMP_NUM_THREADS")}


@pytest.fixture
def log(tmp_path: Path) -> str:
    (tmp_path / "log").touch()
    return str(tmp_path / "log")


def lines(log: str) -> list[str]:
    return sorted(Path(log).read_text().splitlines())


def test_every_point_and_seed_is_computed_once_and_a_second_call_computes_nothing(tmp_path: Path, log: str) -> None:
    grid = {"a": [np.float64(0.5), 2.0], "log": [log]}
    table = run_grid(noted, grid, seeds=[0, 1], cache=tmp_path)
    assert [(r["a"], r["seed"]) for r in table.rows] == [(0.5, 0), (0.5, 1), (2.0, 0), (2.0, 1)]
    assert table.column("y", a=2.0, seed=1) == 4 + np.random.default_rng(1).random()
    assert lines(log) == ["0.5 0 0", "0.5 0 1", "2.0 0 0", "2.0 0 1"]
    again = run_grid(noted, grid, seeds=[0, 1], cache=tmp_path)
    assert len(lines(log)) == 4 and again.about == table.about
    for one, other in zip(table.rows, again.rows, strict=True):
        np.testing.assert_equal(one, other)


def test_a_changed_grid_computes_only_what_is_new(tmp_path: Path, log: str) -> None:
    run_grid(noted, {"a": [1, 2], "log": [log]}, seeds=[0], cache=tmp_path)
    run_grid(noted, [{"a": 2, "log": log}, {"a": 2, "b": 5, "log": log}], seeds=[0, 1], cache=tmp_path)
    assert lines(log) == ["1 0 0", "2 0 0", "2 0 1", "2 5 0", "2 5 1"]


def test_another_version_or_another_source_is_another_point(tmp_path: Path, log: str, monkeypatch) -> None:
    grid = {"a": [1], "log": [log]}
    for version in ("1", "2", "2"):
        run_grid(noted, grid, seeds=[0], cache=tmp_path, version=version)
    assert len(lines(log)) == 2
    monkeypatch.setattr(sweeps.inspect, "getsource", lambda fn: "def noted(): another text")
    run_grid(noted, grid, seeds=[0], cache=tmp_path, version="2")
    assert len(lines(log)) == 3


def test_a_point_that_was_being_written_when_the_run_died_is_computed_again(tmp_path: Path, log: str) -> None:
    grid = {"a": [1, 2], "log": [log]}
    table = run_grid(noted, grid, seeds=[0], cache=tmp_path)
    (kept,) = tmp_path.rglob(f"{table.rows[0]['key']}.json")
    kept.rename(kept.with_name(f".{kept.name}.7.part"))
    np.testing.assert_equal(run_grid(noted, grid, seeds=[0], cache=tmp_path).column("path"), table.column("path"))
    assert lines(log) == ["1 0 0", "1 0 0", "2 0 0"]


def test_failures_are_told_with_their_parameters_after_all_else_is_kept(tmp_path: Path, log: str) -> None:
    grid = {"a": [1, 2, 3], "log": [log]}
    with pytest.raises(SweepError, match=r"(?s)2 of 6 points .*'a': 2.*seed 0.*KeyError: 'no such a'") as caught:
        run_grid(failing, grid, seeds=[0, 1], cache=tmp_path)
    assert [(f.params["a"], f.seed) for f in caught.value.failures] == [(2, 0), (2, 1)]
    assert len(run_grid(failing, {"a": [1, 3], "log": [log]}, seeds=[0, 1], cache=tmp_path).rows) == 4
    assert len(lines(log)) == 4


def test_a_killed_process_of_the_pool_loses_nothing(tmp_path: Path, log: str) -> None:
    grid = {"a": [0, 1, 2, 3], "log": [log], "always": [[]]}
    table = run_grid(deadly, grid, seeds=[0], cache=tmp_path, executor=2)
    assert (tmp_path / "died").exists()
    y = np.random.default_rng(0).random() + np.arange(4) ** 2
    np.testing.assert_array_equal(table.column("y"), y)


def test_a_point_that_always_kills_its_process_is_named_and_takes_no_other_with_it(tmp_path: Path, log: str) -> None:
    grid = {"a": [0, 2, 3], "log": [log], "always": [[2]]}
    with pytest.raises(SweepError, match=r"(?s)1 of 3 .*'a': 2.*its process died 2 times"):
        run_grid(deadly, grid, seeds=[0], cache=tmp_path, executor=2, deaths=1)
    assert {line.split()[0] for line in lines(log)} == {"0", "3"}


def test_a_worker_killed_on_a_cluster_loses_nothing_and_results_are_those_of_one_process(
    tmp_path: Path, log: str
) -> None:
    distributed = pytest.importorskip("dask.distributed")
    grid = {"a": [0, 1, 2, 3], "log": [log], "always": [[]]}
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs=50
    ) as cluster:
        table = run_grid(deadly, grid, seeds=[0, 1], cache=tmp_path / "far", executor=cluster.scheduler_address)
    assert (tmp_path / "died").exists()
    here = run_grid(deadly, grid, seeds=[0, 1], cache=tmp_path / "here")
    np.testing.assert_equal(table.column("y"), here.column("y"))
    np.testing.assert_equal(table.column("path"), here.column("path"))


def test_one_thread_for_each_point_here_and_in_the_pool(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert run_grid(threads, {"a": [0]}, seeds=[0], cache=tmp_path / "1").rows[0]["torch"] == 1
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    row = run_grid(threads, {"a": [0]}, seeds=[0], cache=tmp_path / "2", executor=1).rows[0]
    assert (row["torch"], row["omp"]) == (1, "1") and os.environ["OMP_NUM_THREADS"] == "2"


def test_the_table_is_json_with_commit_versions_cpu_and_hours_and_comes_back(tmp_path: Path, log: str) -> None:
    table = run_grid(noted, {"a": [1, 2], "log": [log]}, seeds=[0], cache=tmp_path)
    table.save(tmp_path / "table.json")
    held = json.loads((tmp_path / "table.json").read_text())
    (made,) = held["made"]
    assert held["format"] == 1 and {"commit", "versions", "cpu", "threads"} <= set(made) and "torch" in made["versions"]
    assert held["hours"] * 3600 == pytest.approx(sum(r["cpu_seconds"] for r in held["rows"]))
    np.testing.assert_equal(Table.load(tmp_path / "table.json").column("y"), table.column("y"))
    (tmp_path / "table.json").write_text(json.dumps(held | {"format": 99}))
    with pytest.raises(ValueError, match="table.json is no table of format 1"):
        Table.load(tmp_path / "table.json")


@pytest.mark.parametrize(
    "options, message",
    [
        (dict(grid={"a": []}), "at least one point and one seed, got 0 and 1"),
        (dict(grid={"a": "12"}), "maps each name to a list of values, got {'a': '12'}"),
        (dict(grid={"a": [1, 1]}), "twice in the grid: {'a': 1} seed 0"),
        (dict(grid={"seed": [1]}), "seeds are given by seeds="),
        (dict(grid={"a": [object()]}), "must be JSON-able"),
        (dict(grid={"a": [1]}, executor=0), "got 0"),
        (dict(grid={"a": [1]}, fn=lambda a, seed: {}, executor=2), "must stand in a module"),
        (dict(grid={"a": [1]}, fn=print), "source can be read"),
    ],
)
def test_what_cannot_be_run_is_refused(tmp_path: Path, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        run_grid(options.pop("fn", noted), seeds=[0], cache=tmp_path, **options)


def test_a_result_may_not_hide_a_column(tmp_path: Path) -> None:
    with pytest.raises(SweepError, match=r"column of the table: \['seed'\]"):
        run_grid(impure, [{}], seeds=[0], cache=tmp_path)


def test_tables_are_joined_with_what_made_each_row() -> None:
    first = Table([{"seed": 0, "made": 0, "cpu_seconds": 3600.0}], {"made": ["here"], "hours": 1.0, "points": 1})
    other = Table([{"seed": 1, "made": 0, "cpu_seconds": 7200.0}, {"seed": 0, "made": 1, "cpu_seconds": 0.0}],
                  {"made": ["there", "here"], "hours": 2.0, "points": 2})  # fmt: skip
    table = Table.joined([first, other])
    assert table.about == {"made": ["here", "there"], "hours": 3.0, "points": 3, "seeds": [0, 1]}
    assert [r["made"] for r in table.rows] == [0, 1, 0]
    again = Table.joined([table], kind="other")
    assert again.rows == table.rows and again.about == table.about | {"kind": "other"}
    with pytest.raises(ValueError, match="at least one table"):
        Table.joined([])
