"""Analysis: how samples compare with data, plans with the dynamics, and runs with each other."""
