"""Sweeps: a pure function over a grid of parameters and seeds, in this process, in a pool, or on a Dask cluster.

Each point is kept in a folder as soon as it is known, under a hash of what determines it. So a run that was cut off
goes on where it stopped, and a second call computes nothing. docs/clusters.md: clusters, SLURM and Kubernetes.

The hash has the function's name, module included, and its text, since the same text means another thing in a module
that imports other helpers. So a function whose module is renamed does not find its points by itself, and neither takes
nor repeats them in silence: `run_grid` warns of points that stand in the cache under the same text and another module,
and takes them where the caller says that they are the same: `run_grid(..., formerly="old.module.function")`.
"""

from __future__ import annotations

import csv
import hashlib
import importlib
import inspect
import itertools
import json
import os
import platform
import sys
import threading
import time
import traceback
import types
import warnings
import zipfile
import zlib
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass
from functools import lru_cache
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from tqdm.auto import tqdm

from diffrl_lab.files import provenance, write_text, written

FORMAT = 1
"""The layout of kept points and of tables; another one is never read as this one."""
PATIENCE = 5.0
"""Seconds within which a Dask scheduler must answer."""
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class Point(NamedTuple):
    """One computation: the function's arguments, and the hash they are kept under."""

    key: str
    params: dict[str, Any]
    seed: int


class Failure(NamedTuple):
    """A point that could not be computed, and why."""

    params: dict[str, Any]
    seed: int
    why: str


class SweepError(RuntimeError):
    """Points of a grid failed; `failures` names them. All others were computed and kept before this was raised."""

    def __init__(self, name: str, failures: list[Failure], points: int):
        self.failures = failures
        shown = "\n\n".join(f"{f.params} seed {f.seed}:\n{f.why.rstrip()}" for f in failures[:5])
        more = f"\n\n... and {len(failures) - 5} more" if len(failures) > 5 else ""
        super().__init__(f"{len(failures)} of {points} points of {name} failed; the others are kept.\n\n{shown}{more}")


@dataclass(frozen=True)
class Table:
    """The results of a grid: one row for each point and seed, and how they were made.

    rows: parameters, `seed` and results under their names, `key` (the hash), `cpu_seconds`, and `made`, an index into
    about["made"], the distinct commits, versions and machines that computed the points. about["hours"]: CPU hours of
    all points, whenever they were computed.
    """

    rows: list[dict[str, Any]]
    about: dict[str, Any]

    def column(self, name: str, **where: Any) -> np.ndarray:
        """A parameter or result of all rows in which `where` holds, in their order. Raises ValueError without any."""
        values = [row[name] for row in self.rows if name in row and all(row.get(k) == v for k, v in where.items())]
        if not values:
            raise ValueError(f"no row has {name!r} with {where}; rows have {sorted(self.rows[0]) if self.rows else []}")
        return np.array(values)

    def row(self, **where: Any) -> dict[str, Any]:
        """The one row in which `where` holds: of about["summary"], where a study summed up its points, else of `rows`.

        Raises ValueError for none and for several.
        """
        found = [r for r in self.about.get("summary", self.rows) if all(r.get(k) == v for k, v in where.items())]
        if len(found) != 1:
            raise ValueError(f"{len(found)} rows have {where}; one was wanted")
        return found[0]

    @classmethod
    def joined(cls, tables: Iterable[Table], **about: Any) -> Table:
        """The rows of several tables as one, whose points may have different seeds; `about` renews what is said of all.

        `made` points at the right machine, `hours` are those of the rows. function and version are the first table's.
        Raises ValueError without a table.
        """
        tables = list(tables)
        if not tables:
            raise ValueError("to be joined there must be at least one table")
        rows: list[dict[str, Any]] = []
        origins: list[dict[str, Any]] = []
        for table in tables:
            for row in table.rows:
                how = table.about["made"][row["made"]]
                origins += [] if how in origins else [how]
                rows.append(row | {"made": origins.index(how)})
        hours, seeds = sum(row["cpu_seconds"] for row in rows) / 3600, sorted({row["seed"] for row in rows})
        return cls(
            rows, tables[0].about | {"seeds": seeds, "points": len(rows), "hours": hours, "made": origins} | about
        )

    def save(self, path: str | Path) -> None:
        """Write versioned JSON beside `path`, moved into place; arrays stay in the cache, in the row's `key`.npz."""
        rows = [{k: v for k, v in row.items() if not isinstance(v, np.ndarray)} for row in self.rows]
        write_text(path, json.dumps({"format": FORMAT, **self.about, "rows": rows}, indent=1) + "\n")

    def to_csv(self, path: str | Path) -> None:
        """Write the rows as CSV; the first line names every column that a row has, a cell it lacks is empty."""
        columns = list(dict.fromkeys(k for row in self.rows for k, v in row.items() if not isinstance(v, np.ndarray)))
        with written(path) as beside, beside.open("w", newline="", encoding="utf-8") as lines:
            table = csv.DictWriter(lines, columns, extrasaction="ignore")
            table.writeheader()
            table.writerows(self.rows)

    def to_frame(self) -> Any:
        """The rows as a pandas DataFrame. Raises ValueError where pandas is not installed."""
        try:
            return importlib.import_module("pandas").DataFrame(self.rows)
        except ImportError:
            raise ValueError("to_frame needs pandas: pip install pandas; or take rows, or to_csv") from None

    @classmethod
    def load(cls, path: str | Path) -> Table:
        """What `save` wrote. Raises ValueError for another format."""
        about = json.loads(Path(path).read_text())
        if not isinstance(about, dict) or about.pop("format", None) != FORMAT:
            raise ValueError(f"{Path(path).name} is no table of format {FORMAT}")
        return cls(about.pop("rows"), about)


def run_grid(
    fn: Callable[..., Mapping[str, Any]],
    grid: Mapping[str, Sequence[Any]] | Sequence[Mapping[str, Any]],
    *,
    seeds: Sequence[int],
    cache: str | Path,
    executor: int | str | None = None,
    version: str = "",
    formerly: str | None = None,
    deaths: int = 2,
    progress: bool = True,
) -> Table:
    """fn(**params, seed=seed) at every point of a grid and every seed -> Table, rows in the grid's order, seeds inmost.

    fn: pure, all its randomness from `seed`; it returns a dict of JSON-able values and numpy arrays (or tensors).
    grid: {name: values} for all combinations, or a list of {name: value}. Parameters reach fn as JSON gives them back:
    tuples as lists, numpy's numbers as Python's. cache: a folder; a point is kept there (JSON, and .npz for arrays,
    written beside and moved into place) under the SHA-256 of fn's qualified name and source, the values that it closes
    over and its defaults, `version`, parameters and seed. What else fn calls or reads is not in the hash: name it in
    `version` (the hash of a weights file, say). A point whose files are damaged is computed again, with a warning.
    formerly: the qualified name that fn had in another module. Points with this name and fn's text are taken over under
    the new name; without `formerly` they are not used, and a warning says so.
    executor: None computes here; a number n in n processes (spawned; fn importable from a module); "tcp://host:8786" on
    the Dask scheduler there (extra [cluster]). One thread for each point everywhere, so results are alike. The pool's
    processes end with the one that started them, even if that is killed.
    A worker that dies loses nothing: what it computed is computed again, at most `deaths` times alone (in a pool) or as
    often as the scheduler allows (Dask: 3). A bar shows progress of runs over two seconds.
    Raises ValueError for grids and functions that cannot be run or hashed, and where no Dask scheduler answers within
    some seconds; SweepError, after all else is kept, where points failed.
    """
    what = _described(fn) | {"version": version}
    name, points = what["function"], _points(what, grid, seeds)
    folder = Path(cache) / name
    known = {p.key: r for p in points if (r := _read(folder, p)) is not None}
    missing = [p for p in points if p.key not in known]
    for other in _moved(fn, Path(cache), formerly) if missing else ():
        older = {p.key: p._replace(key=_key(what | {"function": other}, p.params, p.seed)) for p in missing}
        if other == formerly:
            for key, point in older.items():
                if (before := _read(folder.with_name(other), point)) is not None:
                    known[key] = _keep(folder, key, before | {"function": name, "formerly": other})
        elif n := sum((folder.with_name(other) / f"{p.key}.json").exists() for p in older.values()):
            warnings.warn(
                f"{n} of the points that {name} lacks stand in {cache} under {other}, with the same text, and are not "
                f"used: a function of another module may do another thing; if it is this one, give formerly={other!r}",
                stacklevel=2,
            )
        missing = [p for p in missing if p.key not in known]
    failures: list[Failure] = []
    with tqdm(total=len(missing), delay=2, disable=not progress, unit="point", desc=name.rpartition(".")[2]) as bar:
        for point, record in _outcomes(fn, missing, executor, deaths) if missing else ():
            bar.update()
            if isinstance(record, str):
                failures.append(Failure(point.params, point.seed, record))
                continue
            about = {"function": name, "version": version, "params": point.params, "seed": point.seed}
            known[point.key] = _keep(folder, point.key, record | about)
    if failures:
        raise SweepError(name, failures, len(points))
    origins = list({json.dumps(known[p.key]["made"], sort_keys=True): known[p.key]["made"] for p in points}.values())
    rows = [
        p.params
        | {"seed": p.seed}
        | known[p.key]["result"]
        | known[p.key]["arrays"]
        | {"key": p.key, "cpu_seconds": known[p.key]["cpu_seconds"], "made": origins.index(known[p.key]["made"])}
        for p in points
    ]
    hours = sum(row["cpu_seconds"] for row in rows) / 3600
    return Table(
        rows,
        {
            "function": name,
            "version": version,
            "seeds": [int(s) for s in seeds],
            "points": len(rows),
            "hours": hours,
            "made": origins,
        },
    )


def _described(fn: Any, outer: tuple = ()) -> dict[str, Any]:
    """What a function is, as JSON: its qualified name, its source, and the values that it closes over or has as
    defaults, if any."""
    try:
        if not isinstance(fn, types.FunctionType):
            raise TypeError("a method, a class or an object holds values that are not seen in its text")
        what: dict[str, Any] = {"function": f"{fn.__module__}.{fn.__qualname__}", "source": inspect.getsource(fn)}
    except (OSError, TypeError) as error:
        raise ValueError(f"a sweep needs a function whose source can be read, got {fn!r} ({error})") from None
    if fn.__name__ == "<lambda>":  # a source is whole lines, and two may stand in one
        places = [(row - fn.__code__.co_firstlineno, a, b) for row, _, a, b in fn.__code__.co_positions() if row and b]
        what["place"] = [min(places), max(places)] if places else None
    cells = dict(zip(fn.__code__.co_freevars, fn.__closure__ or (), strict=True))
    parameters = inspect.signature(fn, follow_wrapped=False).parameters.values()
    values = {
        "closure": {k: cell.cell_contents for k, cell in cells.items()},
        "defaults": {p.name: p.default for p in parameters if p.default is not p.empty},
    }
    for kind, bound in values.items():
        for name, value in bound.items():
            try:
                what.setdefault(kind, {})[name] = _value(value, (fn, *outer))
            except ValueError as error:
                raise ValueError(
                    f"{what['function']} holds a value that cannot be part of the cache's key ({kind} {name!r}: "
                    f"{error}); give what determines it as parameters"
                ) from None
    return what


def _value(value: Any, outer: tuple) -> Any:
    """A value that a function holds, as JSON; a function by what it is, a module by its name."""
    if isinstance(value, types.FunctionType):  # one of `outer` calls itself
        return {"function": value.__qualname__} if value in outer else _described(value, outer)
    if isinstance(value, types.ModuleType):
        return {"module": value.__name__}
    if is_dataclass(value) and not isinstance(value, type):
        return {"class": type(value).__qualname__} | {
            f.name: _value(getattr(value, f.name), outer) for f in fields(value)
        }
    if isinstance(value, types.MethodType) and type(value.__self__).__module__ == torch.no_grad.__module__:
        return {"method": value.__qualname__} | vars(value.__self__)  # what the decorator @torch.no_grad() holds
    if isinstance(value, list | tuple):
        return [_value(v, outer) for v in value]
    return _plain({k: _value(v, outer) for k, v in value.items()} if isinstance(value, Mapping) else value)


def _key(what: dict[str, Any], params: dict[str, Any], seed: int) -> str:
    hashed = {"format": FORMAT, **what, "params": params, "seed": seed}
    return hashlib.sha256(json.dumps(hashed, sort_keys=True).encode()).hexdigest()


def _points(what: dict[str, Any], grid: Any, seeds: Sequence[int]) -> list[Point]:
    if isinstance(grid, Mapping):
        wrong = {k: v for k, v in grid.items() if isinstance(v, str | bytes) or not hasattr(v, "__iter__")}
        if wrong:
            raise ValueError(f"a grid maps each name to a list of values, got {wrong}")
        grid = [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]
    params = [_plain(dict(p)) for p in grid]
    seeds = [int(s) for s in seeds]
    if not params or not seeds:
        raise ValueError(f"a sweep needs at least one point and one seed, got {len(params)} and {len(seeds)}")
    for p in params:
        if "seed" in p:
            raise ValueError(f"seeds are given by seeds=, not in the grid; got {p}")
    points = [Point(_key(what, p, seed), p, seed) for p, seed in itertools.product(params, seeds)]
    twice = [k for k, n in Counter(p.key for p in points).items() if n > 1]
    if twice:
        again = next(p for p in points if p.key == twice[0])
        raise ValueError(f"a point stands twice in the grid: {again.params} seed {again.seed}")
    return points


def _moved(fn: Callable, cache: Path, formerly: str | None) -> list[str]:
    """Names under which the cache may hold points of fn from before its module was renamed; `formerly` is the first."""
    name = f"{fn.__module__}.{fn.__qualname__}"
    others = {p.name for p in cache.glob("*") if p.name.endswith(f".{fn.__qualname__}")} - {name, formerly}
    return [*([formerly] if formerly else []), *sorted(others)]


def _plain(value: Any) -> Any:
    """As JSON gives it back, numpy's numbers and arrays as Python's."""
    try:
        return json.loads(json.dumps(value, default=lambda x: x.tolist()))
    except (AttributeError, TypeError, ValueError):
        raise ValueError(f"what is hashed and kept must be JSON-able, got {value!r}") from None


def _outcomes(
    fn: Callable, points: list[Point], executor: int | str | None, deaths: int
) -> Iterator[tuple[Point, dict | str]]:
    """Each point with its record, or with the reason why there is none, as they come in."""
    if executor is None:
        return ((p, _compute(fn, p.params, p.seed)) for p in points)
    if isinstance(executor, str):
        return _on_dask(fn, points, executor)
    if isinstance(executor, bool) or not isinstance(executor, int) or executor < 1:
        raise ValueError(f"executor is None, a number of processes or a scheduler's address, got {executor!r}")
    interactive = fn.__module__ == "__main__" and not hasattr(sys.modules["__main__"], "__file__")
    if "<locals>" in fn.__qualname__ or "<lambda>" in fn.__qualname__ or interactive:
        raise ValueError(
            f"other processes import the function, so it must stand in a module; got {fn.__qualname__} "
            f"of {fn.__module__}: move it into a file, or give executor=None"
        )
    return _in_pool(fn, points, executor, deaths)


def _in_pool(fn: Callable, points: list[Point], workers: int, deaths: int) -> Iterator[tuple[Point, dict | str]]:
    # A death breaks the whole pool and does not say whose it was. So those in flight are suspects: each goes on alone.
    died: Counter[str] = Counter()
    fresh, suspects = deque(points), deque[Point]()
    while fresh or suspects:
        queue, n = (fresh, workers) if fresh else (suspects, 1)
        broken = False
        flying: dict[Future, Point] = {}
        with _one_thread(), _pool(min(n, len(queue))) as pool:
            while flying or (queue and not broken):
                while queue and not broken and len(flying) < n:
                    try:
                        flying[pool.submit(_compute, fn, queue[0].params, queue[0].seed)] = queue[0]
                        queue.popleft()
                    except BrokenProcessPool:
                        broken = True
                if not flying:
                    break
                for future in wait(flying, return_when=FIRST_COMPLETED).done:
                    point = flying.pop(future)
                    try:
                        yield point, future.result()
                    except BrokenProcessPool:
                        broken = True
                        died[point.key] += 1
                        if died[point.key] > deaths:
                            yield (
                                point,
                                (
                                    f"its process died {died[point.key]} times (a script must call run_grid "
                                    "under `if __name__ == '__main__':`, since processes import it)"
                                ),
                            )
                        else:
                            suspects.append(point)
                    except Exception as error:  # a result that cannot be sent
                        yield point, f"{type(error).__name__}: {error}"


def _pool(workers: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_end_with_parent)


def _end_with_parent() -> None:
    """In a worker: it ends as soon as the process that started it has, however that ended.

    Each worker holds both ends of the pool's pipes, so it would wait for ever for work from a parent that was killed.
    """
    parent = parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _on_dask(fn: Callable, points: list[Point], address: str) -> Iterator[tuple[Point, dict | str]]:
    try:
        from dask.distributed import Client, as_completed
    except ImportError:
        raise ValueError(f"the scheduler {address} needs Dask: pip install -e '.[cluster]'") from None
    answer: list[Any] = []

    def connect() -> None:
        try:
            answer.append(Client(address, set_as_default=False, timeout=PATIENCE))
        except Exception as error:  # of the address, the network or the protocol: each layer has its own kinds
            answer.append(error)

    # in a thread, since a port that takes connections and says nothing is waited for without end
    connecting = threading.Thread(target=connect, daemon=True)
    connecting.start()
    connecting.join(PATIENCE + 2)
    if not answer or isinstance(answer[0], Exception):
        why = type(answer[0]).__name__ if answer else "silence"
        raise ValueError(
            f"no Dask scheduler answers at {address!r} ({why}): give the address that `dask scheduler` prints, like "
            "tcp://host:8786, or None or a number of processes"
        )
    with answer[0] as client:
        futures = [client.submit(_compute, fn, p.params, p.seed, key=f"sweep-{p.key}", pure=False) for p in points]
        which = {future.key: point for future, point in zip(futures, points, strict=True)}
        for future in as_completed(futures, loop=client.loop):
            error = future.exception()
            yield which[future.key], future.result() if error is None else f"{type(error).__name__}: {error}"
            future.release()  # the cluster need not hold what is kept here


@contextmanager
def _one_thread() -> Iterator[None]:
    """Processes started within use one thread each: together they would otherwise wait for each other."""
    before = {name: os.environ.get(name) for name in THREADS}
    os.environ.update(dict.fromkeys(THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def _compute(fn: Callable, params: dict[str, Any], seed: int) -> dict[str, Any] | str:
    """The record of one point: result, arrays, cpu_seconds, made; or the traceback. Runs in the worker."""
    threads, begun = torch.get_num_threads(), time.process_time()
    torch.set_num_threads(1)
    try:
        values = fn(**params, seed=seed)
        if not isinstance(values, Mapping) or not all(isinstance(k, str) for k in values):
            raise ValueError(f"a sweep's function returns a dict of named results, got {values!r}")
        taken = {"seed", "key", "cpu_seconds", "made", *params} & set(values)
        if taken:
            raise ValueError(f"a result may not be named like a parameter or a column of the table: {sorted(taken)}")
        values = {k: _numpy(v) if torch.is_tensor(v) else v for k, v in values.items()}
        arrays = {k: v for k, v in values.items() if isinstance(v, np.ndarray) and v.ndim}
        if any(v.dtype.hasobject for v in arrays.values()):
            raise ValueError(f"arrays must hold numbers, got {[k for k, v in arrays.items() if v.dtype.hasobject]}")
        result = _plain({k: v for k, v in values.items() if k not in arrays})
    except Exception:
        return traceback.format_exc()
    finally:
        torch.set_num_threads(threads)
    return {"result": result, "arrays": arrays, "cpu_seconds": time.process_time() - begun, "made": _machine()}


def _numpy(value: torch.Tensor) -> np.ndarray:
    value = value.detach().cpu()
    return (value.float() if value.dtype == torch.bfloat16 else value).numpy()  # numpy knows no bfloat16


@lru_cache(maxsize=1)
def _machine() -> dict[str, Any]:
    return provenance() | {"threads": 1, "cpu": _cpu()}


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    return next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")),
        platform.processor() or platform.machine(),
    )


def _keep(folder: Path, key: str, record: dict[str, Any]) -> dict[str, Any]:
    """Write a record; its JSON comes last, so a point whose JSON is there is whole. -> the record as it will be read"""
    if record["arrays"]:
        with written(folder / f"{key}.npz") as beside:
            np.savez_compressed(beside, **record["arrays"])
    plain = record | {"format": FORMAT, "arrays": sorted(record["arrays"])}
    write_text(folder / f"{key}.json", json.dumps(plain, indent=1) + "\n")
    return record


def _read(folder: Path, point: Point) -> dict[str, Any] | None:
    """What `_keep` wrote of a point; None where nothing is, and with a warning where what is there is damaged."""
    path = folder / f"{point.key}.json"
    if not path.exists():
        return None
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        of, wanted = ({k: x[k] for k in ("params", "seed")} for x in (record, point._asdict()))
        if json.dumps(of, sort_keys=True) != json.dumps(wanted, sort_keys=True):  # as text, since NaN is not NaN
            raise ValueError(f"it is of {of}")
        if lacking := {"result", "arrays", "cpu_seconds", "made"} - set(record):
            raise ValueError(f"it lacks {sorted(lacking)}")
        names, record["arrays"] = record["arrays"], {}
        if names:
            with np.load(path.with_suffix(".npz"), allow_pickle=False) as arrays:
                record["arrays"] = {name: arrays[name] for name in names}
    except (ValueError, KeyError, TypeError, EOFError, FileNotFoundError, zipfile.BadZipFile, zlib.error) as error:
        warnings.warn(f"{path} is damaged ({type(error).__name__}: {error}): its point is computed again", stacklevel=3)
        return None
    return record
