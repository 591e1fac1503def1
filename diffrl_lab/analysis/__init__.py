"""Analysis: how samples compare with data, plans with the dynamics, and runs with each other.

`diagnose.diagnose(samples, reference)` answers whether anyone's samples collapsed; `bring` reads them. What it is made
of: `modes` (shares, coverage, entropy, Vendi), `distance` (energy, sliced W2, precision and recall, floors, smallest
defects), `pooled` (relabellings). `intervals`, `evaluate`, `sweeps` and `frontiers` are for runs, `chains`,
`feasibility` and `dreams` for chains, plans and world models.
"""
