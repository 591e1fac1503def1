"""What a lesson shows: `widgets.lines(...)` and the other pictures, each with alt text; `movie` (scrub a reverse
process), `explore` (recompute) and `guess` (predict, then run) have a file each.
"""

from .curves import band, heat_map, histogram, intervals, lines, losses, point_and_law, values_over_data
from .hover import frontier, landscape
from .maps import COMPONENTS, component_map, survey_map
from .mazes import cells, draw_maze, film_strip, planned_and_driven, trajectories
from .pictures import COLOUR, HEAT, MARKER, Picture, figure, look, show

__all__ = [
    "COLOUR", "COMPONENTS", "HEAT", "MARKER", "Picture", "band", "cells", "component_map", "draw_maze", "figure",
    "film_strip", "frontier", "heat_map", "histogram", "intervals", "landscape", "lines", "look", "losses",
    "planned_and_driven", "point_and_law", "show", "survey_map", "trajectories", "values_over_data",
]  # fmt: skip
