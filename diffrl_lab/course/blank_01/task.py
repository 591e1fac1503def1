"""A DDPM from an empty page (after lesson 01; an hour, an estimate).

Write below, with `import torch` and `import math` alone and on at most 60 lines that are not blank (this text does not
count), these five functions. Steps are numbered as DDPM does it, n = 1 ... T; step n leads from x_{n-1} to x_n.

    betas(T) -> [T]                         the noise of each step, between 0 and 1. After all T of them almost nothing
                                            of the signal may be left, for T = 50 as for T = 200.
    noised(x_0, n, eps, beta) -> [B, 1]     x_n in one jump. x_0 and eps are [B, 1], n is a whole number, beta is [T].
    posterior(x_n, x_0, n, beta)            mean [B, 1] and standard deviation (a number or a tensor) of
        -> (mean, std)                      q(x_{n-1} | x_n, x_0), as Bayes' rule gives it.
    train(data, steps, seed) -> model       data is [N, 1]; after `steps` updates whatever you like is a model.
    sample(model, n, seed) -> [n, 1]        n new data out of pure noise.

Equal seeds give equal samples. `train` gets 1,000 steps and a minute on one core.

    diffrl-lab blank 01 my/blank_01.py      judges it, by laws: the forward jump, Bayes' rule, the distance of your
                                            samples to fresh data, the share of each mode, seeds, and no copies.
"""
