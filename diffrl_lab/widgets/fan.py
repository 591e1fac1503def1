"""A fan of futures: pick a moment of a chain, and see how it could have gone on from there.

It is a movie (`widgets.movie`) whose clock is the moment of branching: every frame holds whole paths, which share the
chain's own past and part at that moment. All paths travel to the browser, so no kernel is asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .movie import Movie, movie
from .pictures import array

MOST = 4  # modes that have a colour and a sign of their own


def fan(
    past: Any,
    futures: Sequence[Any],
    at: Sequence[int],
    times: Any,
    modes: Any,
    *,
    alt: str,
    names: Sequence[str],
    entropy: Any = None,
    exact: Any = None,
    title: str = "futures of one chain",
    **options: Any,
) -> Movie:
    """Sixteen futures of one chain, say, fanning out from the moment that the learner picks.

    past: the chain's x_t [K + 1, d]; with d = 1 it is drawn against its step, else in its first two columns.
    futures: for each moment k in `at` (rising) the x_t from there on [K - k + 1, F, d], the first of which is the
    chain's own: one chain of `analysis.commitment.futures`. times: t of all frames [K + 1]. modes: the mode in which
    each future ends [len(at), F], a place in `names`, or -1 for none; at most four names have a sign of their own.
    entropy: of the modes [len(at)], a curve in nats with a dot at the moment picked; exact: (t [m], nats [m]), dashed
    beside it. Other options are `movie`'s. A slider, arrow keys or a drag pick the moment; in `movie_html(...)` of
    `scene(...)` nothing but a browser is needed. Raises ValueError for what does not fit together.
    """
    frames, more = scene(
        past, futures, at, times, modes, names=names, entropy=entropy, exact=exact, title=title, **options
    )
    return movie(frames, alt=alt, **more)


def scene(
    past: Any,
    futures: Sequence[Any],
    at: Sequence[int],
    times: Any,
    modes: Any,
    *,
    names: Sequence[str],
    entropy: Any = None,
    exact: Any = None,
    title: str = "futures of one chain",
    **options: Any,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What `fan` gives to `movie` (or `movie_html`): frames, a moment each, and its options.

    frames: {title: {"t": [M], "x_t": paths [M, F, K + 1, 2]}}; the arguments are those of `fan`.
    """
    x, t, labels, at = array(past), array(times), np.asarray(modes), list(at)
    if x.ndim != 2 or t.shape != x.shape[:1]:
        raise ValueError(f"past is [K + 1, d] with a time each, got {x.shape} and {t.shape}")
    runs = [array(f) for f in futures]
    if not runs or len(at) != len(runs) or sorted(set(at)) != at or not 0 <= at[0] <= at[-1] < len(x):
        raise ValueError(f"at names a rising frame, 0 to {len(x) - 1}, for each of {len(runs)} fans; got {at}")
    number = runs[0].shape[1] if runs[0].ndim == 3 else 0
    for k, run in zip(at, runs, strict=True):
        if run.shape != (len(x) - k, number, x.shape[1]):
            raise ValueError(f"the futures from frame {k} are {(len(x) - k, number, x.shape[1])}; got {run.shape}")
        if not np.allclose(run[0], x[k], atol=1e-4):
            raise ValueError(f"the futures from frame {k} must begin in the chain's own x_t there")
    if labels.shape != (len(at), number) or labels.min() < -1 or labels.max() >= len(names):
        raise ValueError(f"modes are [{len(at)}, {number}], from -1 to {len(names) - 1}; got {labels.shape}")
    none = bool((labels < 0).any())
    if len(names) + none > MOST:
        raise ValueError(f"at most {MOST} modes can be told apart, 'none' among them; got {len(names) + none}")
    paths = np.stack([_paths(x, run, k) for k, run in zip(at, runs, strict=True)])
    given: dict[str, Any] = {
        "groups": np.where(labels < 0, len(names), labels), "labels": [*names, *["none"] * none], "samples": number,
        "shown": number, "dots": False, "xlabel": "step, noise to data" if x.shape[1] == 1 else "x_1",
        "ylabel": "x_t" if x.shape[1] == 1 else "x_2",
    }  # fmt: skip
    low, high = paths.reshape(-1, 2).min(0), paths.reshape(-1, 2).max(0)
    pad = 0.04 * (high - low) + 1e-3
    given["limits"] = [float(v) for pair in zip(low - pad, high + pad, strict=True) for v in pair]
    if entropy is not None:
        chart: dict[str, Any] = {"x": "t of branching", "y": "entropy, nats"}
        chart["curves"] = {"futures": (t[at], array(entropy))}
        if exact is not None:
            chart["exact"] = {"exact": exact}
        given["charts"] = {"what is still open": chart}
    return {title: {"t": t[at], "x_t": paths}}, given | options


def _paths(past: np.ndarray, run: np.ndarray, k: int) -> np.ndarray:
    """The chain's past up to frame k and then each future, as paths in the plane -> [F, K + 1, 2]"""
    own = np.broadcast_to(past[:k, None], (k, *run.shape[1:]))
    whole = np.concatenate([own, run]).swapaxes(0, 1)
    if whole.shape[2] > 1:
        return whole[..., :2]
    return np.concatenate([np.broadcast_to(np.arange(len(past))[None, :, None], whole.shape), whole], 2)
