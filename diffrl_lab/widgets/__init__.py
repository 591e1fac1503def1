"""What a lesson shows: `widgets.lines(...)` and the other pictures, each with alt text; `movie` (scrub a reverse
process), `explore` (recompute) and `guess` (predict, then run) have a file each.

    curves     Curves: laws and samples in one dimension, learning curves, intervals, values over data
    diagnosis  A diagnosis (`analysis.diagnose`) to look at: a picture for a paper, and one page that needs no
               network
    draw       A maze to draw: walls are clicked, or painted by dragging, into a grid
    explore    Controls in front of what must be recomputed
    fan        A fan of futures: pick a moment of a chain, and see how it could have gone on from there
    guess      Predict, then run: the learner commits a number before the lesson computes it, then sees both
    hover      What one hovers over or turns: plain plotly figures, each with a static twin for places that run no
               script
    ladder     A text with a button below it that opens one thing after another: the hints of an exercise
    maps       Maps of the survey: its component map, and its taxonomy of roles, regimes and agents
    mazes      Mazes and what moves in them: walls, trajectories, grid worlds, and a reverse process as a strip of
               moments
    movie      The scrubber: a reverse process, frame by frame, under the learner's hand
    museum     The failure museum on the page: the plots of a room, its confusion matrix, and rounds in which the
               learner diagnoses
    pictures   Pictures: the one palette, the one style, alt text for everything
    play       Play a world model: the real game and its dream side by side, under the arrow keys, without a kernel
    progress   How far something is that takes more than a moment, in view
    tables     Numbers as a table: what a lesson shows where a picture would say less
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
