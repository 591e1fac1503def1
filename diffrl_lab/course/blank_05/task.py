"""Classifier-free guidance from an empty page (after lesson 05, with exercise 1 of 05b; an hour, an estimate).

Write below, with `import torch` and `import math` alone and on at most 60 lines that are not blank (this text does not
count), these four functions. The data are numbers x with a wish c of -1, 0 or 1 that says about where each one lies.

    dropped(c, p, seed) -> [B, 2]           what the network is told of wishes c [B]: value and flag (1: there is a
                                            wish). Each wish is dropped by itself with probability p: value 0, flag 0.
    guided(free, conditional, w)            the guided answer, of the shape of free: w = 0 is the free one and w = 1 the
                                            conditional one.
    train(x, c, steps, seed) -> model       x is [N, 1], c is [N]; one network that knows both answers.
    sample(model, n, c, w, seed) -> [n, 1]  n new data for a wish c (a number) at the scale w, out of pure noise.

Equal seeds give equal samples. `train` gets 2,000 steps and a minute on one core.

    diffrl-lab blank 05 my/blank_05.py      judges it, by laws: what w = 0 and w = 1 must give, a wish for 0 that is no
                                            missing wish, the share of each mode, how far w = 3 overshoots, and seeds.
"""
