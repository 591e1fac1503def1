"""A museum of failures: rooms of exhibits that are injected by seed, and detectors that see only what they show.

A `Room` is one kind of evidence (samples, plans, windows of data, curves of a run). Its exhibits all show evidence of
this form, so that a diagnosis rests on numbers and not on which plot is there. `diffrl_lab.analysis.exhibits` fills it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Evidence = Mapping[str, Tensor]
"""What a detector may look at: samples and curves by name."""
Make = Callable[[torch.Generator], Evidence]
Detector = Callable[[Evidence], bool]
HEALTHY, UNDECIDED = "healthy", "undecided"


@dataclass(frozen=True)
class Panel:
    """How one plot of a room is drawn: its kind, and which entries of the evidence it shows.

    kind: `histogram` of the entries y; `lines` of y over the entry x (its place where x is ""); `paths`, one line for
    each row of y; `points`, y over x. The entries `exact` are drawn dashed. least: what the axis
    of the values shows at least, so that chance does not fill the plot.
    """

    kind: str
    y: tuple[str, ...]
    x: str = ""
    exact: tuple[str, ...] = ()
    title: str = ""
    xlabel: str = ""
    ylabel: str = ""
    least: tuple[float, float] | None = None


@dataclass(frozen=True)
class Exhibit:
    """One failure: `make` injects it, `shows` looks for it in evidence, and the rest tells what it is.

    sign: what is seen in the picture; number: the number that gives it away; project: where it was found, in public
    code or in the survey's list.
    """

    name: str
    make: Make
    shows: Detector
    sign: str
    number: str
    project: str
    cure: str


@dataclass(frozen=True)
class Confusion:
    """Of evidence of each truth, how often each diagnosis was given: counts [truths, answers]."""

    truths: list[str]
    answers: list[str]
    counts: NDArray[np.int64]

    @property
    def right(self) -> dict[str, float]:
        """The share of right diagnoses of each truth."""
        total = self.counts.sum(1)
        return {
            t: float(self.counts[i, self.answers.index(t)] / total[i]) if t in self.answers else 0.0
            for i, t in enumerate(self.truths)
        }

    @property
    def false_alarms(self) -> float:
        """The share of healthy evidence in which some failure was seen."""
        return 1 - self.right[HEALTHY]

    def keeps(self, right: float = 0.95, alarms: float = 0.05) -> bool:
        """The law of the museum: each failure named in a share `right` of its sets, at most `alarms` false alarms."""
        failures = [v for t, v in self.right.items() if t != HEALTHY]
        return min(failures, default=1.0) >= right - 1e-9 and self.false_alarms <= alarms + 1e-9


@dataclass
class Room:
    """Exhibits that share one form of evidence: `healthy` makes it without a failure, `panels` draw it."""

    name: str
    healthy: Make
    panels: Sequence[Panel]
    exhibits: dict[str, Exhibit] = field(default_factory=dict)

    def add(self, name: str, make: Make, shows: Detector, **told: str) -> Exhibit:
        """Hang an exhibit; `told` are `sign`, `number`, `project` and `cure`. Raises ValueError for a name twice."""
        if name in self.exhibits or name in (HEALTHY, UNDECIDED):
            raise ValueError(f"the room {self.name!r} has an exhibit {name!r} already")
        self.exhibits[name] = Exhibit(name, make, shows, **told)
        return self.exhibits[name]

    @property
    def names(self) -> list[str]:
        """What a diagnosis may say here: healthy, or one of the exhibits."""
        return [HEALTHY, *self.exhibits]

    def evidence(self, name: str, seed: int) -> Evidence:
        """What the exhibit `name` (or healthy) shows for this seed; the same each time. Raises KeyError for no name."""
        make = self.healthy if name == HEALTHY else self.exhibits[name].make
        return make(torch.Generator().manual_seed(1000 * seed + self.names.index(name)))

    def seen(self, evidence: Evidence, detectors: Mapping[str, Detector] | None = None) -> list[str]:
        """The names of all exhibits whose detector fires on this evidence; `detectors` in place of the room's."""
        each = detectors if detectors is not None else {name: e.shows for name, e in self.exhibits.items()}
        return [name for name, shows in each.items() if bool(shows(evidence))]

    def diagnose(self, evidence: Evidence, detectors: Mapping[str, Detector] | None = None) -> str:
        """The one exhibit that is seen, `healthy` where none is, `undecided` where several are."""
        found = self.seen(evidence, detectors)
        return HEALTHY if not found else found[0] if len(found) == 1 else UNDECIDED

    def confusion(self, seeds: Iterable[int], detectors: Mapping[str, Detector] | None = None) -> Confusion:
        """Every truth of the room, drawn anew for each seed, against what is diagnosed.

        `detectors` (name -> detector) are judged in place of the room's own.
        """
        answers = [*self.names, UNDECIDED]
        answers += [name for name in detectors or () if name not in answers]
        counts = np.zeros((len(self.names), len(answers)), dtype=np.int64)
        for seed in seeds:
            for i, name in enumerate(self.names):
                counts[i, answers.index(self.diagnose(self.evidence(name, seed), detectors))] += 1
        return Confusion(self.names, answers, counts)
