"""What a lesson shows: `widgets.lines(...)` and the other pictures, each with alt text; `movie` (scrub a reverse
process), `explore` (recompute) and `guess` (predict, then run) have a file each.
"""

from .curves import (
    band,
    heat_map,
    histogram,
    histograms,
    intervals,
    lines,
    losses,
    noise_to_data,
    point_and_law,
    trails,
    values_over_data,
)
from .hover import frontier, landscape
from .maps import COMPONENTS, component_map, survey_map
from .mazes import cells, draw_maze, film_strip, planned_and_driven, trajectories, unfolding
from .pictures import COLOUR, HEAT, MARKER, SIGNED, Picture, figure, look, show
from .tables import table

__all__ = [
    "COLOUR", "COMPONENTS", "HEAT", "MARKER", "Picture", "SIGNED", "band", "cells", "component_map", "draw_maze",
    "figure", "film_strip", "frontier", "heat_map", "histogram", "histograms", "intervals", "landscape", "lines",
    "look", "losses", "noise_to_data", "planned_and_driven", "point_and_law", "show", "survey_map", "table",
    "trails", "trajectories", "unfolding", "values_over_data",
]  # fmt: skip
