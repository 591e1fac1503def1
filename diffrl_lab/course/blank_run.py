"""Put a learner's page to its questions, in a process of its own: `python -I blank_run.py PAGE QUESTIONS ANSWERS`.

It knows torch and nothing of diffrl_lab. Questions and answers are JSON: numbers, lists, and an error as its text.
"""

import json
import runpy
import sys
import traceback
from pathlib import Path


def numbers(value):
    import torch

    return torch.as_tensor(value, dtype=torch.float64).detach().cpu().tolist()


def guidance(page, asked):
    import torch

    tensor = lambda x: torch.tensor(x, dtype=torch.float64)  # noqa: E731
    free, conditional, c = (tensor(asked[name]) for name in ("free", "conditional", "c"))
    if asked["part"] == "formulae":
        return {
            "guided": {str(w): numbers(page["guided"](free[:, None], conditional[:, None], w)) for w in asked["w"]},
            "dropped": [numbers(page["dropped"](c.clone(), p, seed)) for p, seed in asked["drop"]],
        }
    x, wish = torch.tensor(asked["x"])[:, None], torch.tensor(asked["wish"])
    torch.manual_seed(1)
    short = [page["train"](x.clone(), wish.clone(), 20, 3) for _ in range(2)]
    model = page["train"](x.clone(), wish.clone(), asked["steps"], asked["seed"])
    n, seed = asked["samples"], asked["seed"]
    return {
        "trained twice": [numbers(page["sample"](net, 50, 1.0, 2.0, 4)) for net in short],
        "samples": [numbers(page["sample"](model, n, c, w, seed)) for c, w in asked["ask"]],
        "again": [numbers(page["sample"](model, 50, 1.0, 1.0, s)) for s in (5, 5, 6)],
    }


def answer(page, asked):
    import torch

    torch.set_num_threads(1)
    page = runpy.run_path(page)
    return (guidance if asked["page"] == "05" else ddpm)(page, asked)


def ddpm(page, asked):
    import torch

    tensor = lambda x: torch.tensor(x, dtype=torch.float64)  # noqa: E731
    beta = tensor(asked["beta"])
    x_0, x_n, eps = (tensor(asked[name])[:, None] for name in ("x_0", "x_n", "eps"))
    if asked["part"] == "formulae":
        posterior = {n: page["posterior"](x_n, x_0, n, beta) for n in asked["n"]}
        return {
            "betas": {str(T): numbers(page["betas"](T)) for T in asked["T"]},
            "noised": {str(n): numbers(page["noised"](x_0, n, eps, beta)) for n in asked["n"]},
            "posterior": {str(n): [numbers(part) for part in both] for n, both in posterior.items()},
        }
    data = torch.tensor(asked["data"])[:, None]
    torch.manual_seed(1)
    short = [page["train"](data.clone(), 20, 3) for _ in range(2)]
    model = page["train"](data.clone(), asked["steps"], asked["seed"])
    return {
        "trained twice": [numbers(page["sample"](net, 50, 4)) for net in short],
        "samples": numbers(page["sample"](model, asked["samples"], asked["seed"])),
        "again": [numbers(page["sample"](model, 50, seed)) for seed in (5, 5, 6)],
    }


def limit(seconds, gigabytes):
    try:
        import resource
    except ImportError:  # Windows: the caller's clock is the only limit there
        return
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_AS, (gigabytes << 30, gigabytes << 30))
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 24, 1 << 24))


if __name__ == "__main__":
    page, questions, answers = sys.argv[1:]
    limit(120, 12)
    try:
        said = answer(page, json.loads(Path(questions).read_text(encoding="utf-8")))
    except BaseException as error:
        where = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == page]
        line = f" in line {where[-1].lineno}, `{where[-1].line}`" if where else ""
        said = {"error": [f"your code raised {type(error).__name__}: {error}{line}"]}
    Path(answers).write_text(json.dumps(said), encoding="utf-8")
