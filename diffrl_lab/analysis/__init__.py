"""Analysis: how samples compare with data, plans with the dynamics, and runs with each other.

`analysis.diagnose(samples, reference)` answers whether anyone's samples collapsed; `bring` reads them. What it is made
of: `modes` (shares, coverage, entropy, Vendi), `distance` (energy, sliced W2, precision and recall, floors, smallest
defects), `pooled` (relabellings). `intervals`, `evaluate`, `sweeps` and `frontiers` are for runs, `chains`,
`feasibility` and `dreams` for chains, plans and world models.

The names in `__all__` can be had from here: `from diffrl_lab.analysis import diagnose, floor, run_grid`. Nothing is
imported before one of them is asked for. `bring`, `commitment` and `evaluate` are files, and their functions are in
them: `from diffrl_lab.analysis.evaluate import evaluate`.

    bring        Bring your samples: from a file, a Minari dataset, a tensor, an array or a list to rows of numbers,
                 or one sentence
    chains       Chains: of states, whether a plan agrees with itself and many with each other; of denoising, when a
                 plan commits to its mode
    commitment   Which modes a chain can still end in: its futures from any moment, their entropy, and the exact answer
                 beside it
    diagnosis    Did it collapse? `diagnose(samples, reference)` asks up to eight questions of anyone's samples and
                 answers each
    distance     How far apart two sets of samples are, how far apart two samples of one law are by chance alone,
                 and the smallest defect that shows above that
    dreams       Dreams held against the exact law of a game: is a drawn picture possible, and does each possible
                 one come as often as it should?
    evaluate     Evaluation: an agent is driven from given seeds; return, success and its plans' quality, with 95 %
                 intervals
    exhibits     The exhibits of the museum: the survey's four failure signatures, and bugs that public projects had
    feasibility  Whether a plan can be driven: walls it passes through, detours, and states that its actions would
                 not lead to (`chains.inconsistency` needs neither walls nor simulator)
    findings     What a diagnosis says: its questions, its findings, and the forms in which they are handed on
    frontiers    Frontiers: what methods whose scales are different units have at an equal level of something else
    intervals    Intervals: how far a number would move with other episodes or other training seeds
    modes        Modes: which of the known ways samples take, how evenly, and which samples belong to none
    museum       A museum of failures: rooms of exhibits that are injected by seed, and detectors that see only what
                 they show
    pooled       Two samples in one pool: numbers of the pool, computed again under permutations of which row came
                 from where
    samples      Samples as arguments: tensors (of any precision, with gradients or not), numpy arrays and lists are
                 taken alike
    sweeps       Sweeps: a pure function over a grid of parameters and seeds, in this process, in a pool, or on a
                 Dask cluster
"""

from __future__ import annotations

from diffrl_lab.files import exported

__all__, __getattr__, __dir__ = exported(
    __name__,
    {
        "bring": "is_minari",
        "chains": "Settled Spread belief_settles exact_commitment inconsistency settled spread",
        "commitment": "Undecided entropy_of exact_weights futures half_decided moments open_entropy undecided",
        "diagnosis": "around diagnose",
        "distance": (
            "Detection Memorised copy drop energy_distance floor memorised nearest nearest_ratio noise_floor "
            "precision_recall shift sliced_w2 smallest_defect without_replacement"
        ),
        "feasibility": (
            "curve_segments_in_walls detour dynamics_drift dynamics_residual infeasible locomotive point_maze "
            "points_in_walls segments_in_walls"
        ),
        "findings": "Diagnosis Finding",
        "frontiers": "crossing",
        "intervals": (
            "Paired bootstrap iqm normalised paired probability_of_improvement stratified_bootstrap student wilson"
        ),
        "modes": (
            "Centres Shares coverage entropy expected_coverage expected_entropy gaussian_similarity holes "
            "homotopy mode_floor numbered shares vendi"
        ),
        "sweeps": "Failure Point SweepError Table run_grid",
    },
)
