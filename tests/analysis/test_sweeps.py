"""Sweeps: each point is computed once, whatever dies in between."""

from __future__ import annotations

import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from diffrl_lab.analysis import sweeps
from diffrl_lab.analysis.sweeps import Point, SweepError, Table, run_grid


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


def halved(seed: int) -> dict:
    x = torch.tensor([1.5, -0.25], dtype=torch.bfloat16, requires_grad=True)
    return {"x": x, "y": x[0], "z": x.half()}


def impure(seed: int) -> dict:
    return {"seed": 3}


def holding(*held: Any) -> Any:
    def inner(a: float, log: str, seed: int) -> dict:
        return noted(a, log, seed) | {"held": repr(held)}

    return inner


def calling(helper: Any) -> Any:
    @torch.no_grad()
    def inner(a: float, log: str, seed: int, also: Any = helper) -> dict:
        return noted(a, log, seed) | {"held": repr(helper(a))}

    return inner


@dataclass(frozen=True, slots=True)
class Size:
    width: int


class Bound:
    def measure(self, seed: int) -> dict:
        return {}


def lasting(a: int, lock: str, seed: int) -> dict:
    """a = 0 returns at once, a = 1 after five minutes; the process holds a lock for as long as it lives."""
    import fcntl

    held.append(open(lock, "a"))
    fcntl.flock(held[-1], fcntl.LOCK_SH)
    held[-1].write(f"{a}\n")
    held[-1].flush()
    time.sleep(300 * a)
    return {}


held: list = []


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


def test_a_parameter_that_is_no_number_is_the_same_point_again(tmp_path: Path, log: str) -> None:
    for _ in range(2):
        run_grid(noted, {"a": [float("nan")], "log": [log]}, seeds=[0], cache=tmp_path)
    assert lines(log) == ["nan 0 0"]


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


def test_what_a_function_holds_is_part_of_the_key(tmp_path: Path, log: str) -> None:
    grid = {"a": [1], "log": [log]}
    sevens = [lambda a: 7 * a, lambda a: 7 * a + 0]
    nested = holding({"of": [1, Point("k", {}, 3)]})
    made = [holding(5), holding(7), holding(7, np.arange(2)), nested, holding(Size(3)), *map(calling, sevens)]
    for n, fn in enumerate(made, 1):
        for _ in range(2):
            (row,) = run_grid(fn, grid, seeds=[0], cache=tmp_path).rows
            assert row == fn(**{"a": 1, "log": os.devnull}, seed=0) | row
        assert len(lines(log)) == n


def test_a_function_whose_values_cannot_be_hashed_is_refused(tmp_path: Path) -> None:
    for fn in (holding(object()), holding(torch.nn.Linear(1, 1)), calling(Bound().measure)):
        with pytest.raises(
            ValueError, match=r"(inner|wrapper).* cannot be part of the cache's key \(\w+ '\w+': .*param"
        ):
            run_grid(fn, {"a": [1]}, seeds=[0], cache=tmp_path)
    with pytest.raises(ValueError, match="values that are not seen in its text"):
        run_grid(Bound().measure, [{}], seeds=[0], cache=tmp_path)


@pytest.mark.parametrize("suffix", [".json", ".npz"])
def test_a_damaged_point_is_computed_again_with_a_warning_that_names_its_file(
    tmp_path: Path, log: str, suffix: str
) -> None:
    grid = {"a": [1, 2], "log": [log]}
    table = run_grid(noted, grid, seeds=[0], cache=tmp_path)
    one, other = (next(tmp_path.rglob(row["key"] + suffix)) for row in table.rows)
    whole = one.read_bytes()
    damages = [
        b"",
        whole[:40],
        whole[: len(whole) // 2],
        whole[:-9],
        bytes(len(whole)),
        b"{}",
        None,
        other.read_bytes(),
    ]
    for n, damage in enumerate(damages, 1):
        if damage is None:
            one.unlink()
        elif suffix == ".npz" and damage == other.read_bytes():
            continue  # whole, of another point: only the JSON names its point
        else:
            one.write_bytes(damage)
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            again = run_grid(noted, grid, seeds=[0], cache=tmp_path)
        np.testing.assert_equal(again.column("path"), table.column("path"))
        assert lines(log).count("1 0 0") == n + 1 and lines(log).count("2 0 0") == 1
        if suffix == ".json" and damage is None:
            assert not said  # a point without JSON was never kept
        else:
            assert table.rows[0]["key"] in str(said[0].message) and "is damaged" in str(said[0].message)


def test_points_of_a_function_whose_module_was_renamed_are_named_and_taken_when_told(
    tmp_path: Path, log: str, monkeypatch
) -> None:
    text = "def moved_trial(a, log, seed):\n    open(log, 'a').write(f'{a}\\n')\n    return {'y': 2 * a}\n"
    (tmp_path / "before_moving.py").write_text(text)
    (tmp_path / "after_moving.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    old, new = (importlib.import_module(m).moved_trial for m in ("before_moving", "after_moving"))
    options = dict(seeds=[0], cache=tmp_path / "cache")
    run_grid(old, {"a": [1, 2], "log": [log]}, **options)
    former = "before_moving.moved_trial"
    with warnings.catch_warnings(record=True) as said:
        table = run_grid(new, {"a": [1, 2, 3], "log": [log]}, formerly=former, **options)
    assert table.column("y").tolist() == [2, 4, 6] and lines(log) == ["1", "2", "3"] and not said
    assert table.about["function"] == "after_moving.moved_trial"
    run_grid(old, {"a": [4], "log": [log]}, **options)
    with pytest.warns(UserWarning, match=rf"1 of the points .* under {former}, .* not used.*formerly='{former}'"):
        run_grid(new, {"a": [3, 4, 5], "log": [log]}, **options)
    assert lines(log) == ["1", "2", "3", "4", "4", "5"]
    run_grid(new, {"a": [3, 4, 5], "log": [log]}, **options)
    (tmp_path / "cache" / former).rename(tmp_path / "elsewhere")
    run_grid(new, {"a": [1, 2], "log": [log]}, **options)  # what was taken over is kept under the new name
    assert len(lines(log)) == 6


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


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL and locks of POSIX")
def test_a_pool_whose_parent_is_killed_leaves_no_worker(tmp_path: Path) -> None:
    import fcntl

    (tmp_path / "script.py").write_text(
        "import sys\n"
        "from test_sweeps import lasting, run_grid\n"
        "if __name__ == '__main__':\n"
        "    run_grid(lasting, {'a': [0, 1], 'lock': [sys.argv[1]]}, seeds=[0], cache=sys.argv[2], executor=2)\n"
    )
    lock, path = tmp_path / "lock", os.pathsep.join([str(Path(__file__).parent), *sys.path])
    parent = subprocess.Popen(
        [sys.executable, "script.py", str(lock), str(tmp_path)], cwd=tmp_path, env={**os.environ, "PYTHONPATH": path}
    )
    try:
        until(lambda: lock.exists() and {"0", "1"} <= set(lock.read_text().split()), 200)
    finally:
        parent.send_signal(signal.SIGKILL)
        parent.wait()

    def free() -> bool:  # the last process that holds the lock has ended, the idle one too
        with open(lock) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
        return True

    until(free, 20)


def until(holds: Any, seconds: float) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, f"not within {seconds} s"
        time.sleep(0.05)


@pytest.mark.parametrize(
    "address", ["tcp://127.0.0.1:{closed}", "tcp://127.0.0.1:{silent}", "http://localhost:80", "4"]
)
def test_an_address_where_no_scheduler_answers_is_one_sentence_within_ten_seconds(tmp_path: Path, address: str) -> None:
    pytest.importorskip("dask.distributed")
    with socket.socket() as silent, socket.socket() as closed:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        closed.bind(("127.0.0.1", 0))
        address = address.format(silent=silent.getsockname()[1], closed=closed.getsockname()[1])
        begun = time.monotonic()
        with pytest.raises(ValueError, match=rf"no Dask scheduler answers at '{address}' .*`dask scheduler` prints"):
            run_grid(threads, {"a": [0]}, seeds=[0], cache=tmp_path, executor=address)
    assert time.monotonic() - begun < 10


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


def test_tensors_of_half_precision_are_kept_as_their_numbers(tmp_path: Path) -> None:
    for _ in range(2):
        (row,) = run_grid(halved, [{}], seeds=[0], cache=tmp_path).rows
        assert (row["x"].tolist(), row["y"], row["z"].tolist()) == ([1.5, -0.25], 1.5, [1.5, -0.25])


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


def test_a_table_is_written_as_csv_whose_rows_may_differ(tmp_path: Path) -> None:
    Table([{"a": 1, "s": "x,y", "v": np.ones(2)}, {"a": 2, "b": 0.5}], {}).to_csv(tmp_path / "t.csv")
    assert (tmp_path / "t.csv").read_text().splitlines() == ["a,s,b", '1,"x,y",', "2,,0.5"]
    if importlib.util.find_spec("pandas"):
        assert Table([{"a": 1}], {}).to_frame()["a"].tolist() == [1]


def test_a_row_is_found_by_its_entries_in_the_summary_where_there_is_one_and_must_be_one() -> None:
    points = [{"arm": "a", "seed": 0, "y": 1}, {"arm": "a", "seed": 1, "y": 3}, {"arm": "b", "seed": 0, "y": 5}]
    assert Table(points, {}).row(arm="a", seed=1)["y"] == 3
    assert Table(points, {"summary": [{"arm": "a", "y": 2.0}]}).row(arm="a")["y"] == 2.0
    for where, number in (({"arm": "a"}, 2), ({"arm": "c"}, 0), ({"colour": "red"}, 0)):
        with pytest.raises(ValueError, match=f"^{number} rows have"):
            Table(points, {}).row(**where)
