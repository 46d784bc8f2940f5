"""A study decided and checked, before anything of it is written."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from medrobust.data.store import Store
from medrobust.data.vocabulary import same_finding
from medrobust.errors import MedrobustError
from medrobust.rundir import RunDir
from medrobust.study.cases import Case, choose_cases, others, quotas
from medrobust.study.chance import rank
from medrobust.study.config import StudyConfig
from medrobust.study.design import Plan, Reading, Showing
from medrobust.study.maps import Source, refuse_missing, sources


@dataclass(frozen=True)
class Draft:
    """All that a study's folder follows from."""

    config: StudyConfig
    store: Store
    sources: Sequence[Source]
    """One for each condition."""
    cases: Sequence[Case]
    practice: Sequence[Case]

    @cached_property
    def readings(self) -> dict[str, Reading]:
        """By reader."""
        plan = Plan(
            self.cases,
            self.practice,
            conditions=len(self.sources),
            blocks=self.config.blocks,
            repeated=self.config.repeated,
            gap=self.config.repeats.gap,
            seed=self.config.seed,
        )
        return {name: plan.reading(number) for number, name in enumerate(self.config.readers)}

    @cached_property
    def rows(self) -> dict[str, int]:
        """The store's row of every case, by image id."""
        places = {str(name): row for row, name in enumerate(self.store.table["image_id"])}
        return {case.image_id: places[case.image_id] for case in [*self.cases, *self.practice]}

    def shown(self, condition: int) -> set[Case]:
        """The cases that some reader sees under a condition."""
        return {
            showing.case
            for reading in self.readings.values()
            for showing in showings(reading)
            if showing.condition == condition
        }


def showings(reading: Reading) -> list[Showing]:
    """All that a reader sees, practice first."""
    return [*reading.practice, *(showing for block in reading.blocks for showing in block)]


def draft(config: StudyConfig, runs: Sequence[RunDir], store: Store | None = None) -> Draft:
    """Choose cases and order; the store is the training store of the first run if not given.

    Raises:
        MedrobustError: maps, runs, findings or images that are missing.
    """
    images = store or runs[0].training_store()
    findings = _findings(config, images)
    found = sources(config.conditions, runs, images, config.split)
    refuse_missing(found, findings, config.split, store.path if store else None)
    candidates = [
        case for finding in findings for case in _candidates(images, config.split, finding, found)
    ]
    wanted = config.cases
    alone = wanted.one_per_patient
    main = quotas(findings, wanted.count, wanted.negatives)
    cases = choose_cases(candidates, main, config.seed, one_per_patient=alone)
    first = quotas(findings, wanted.practice, wanted.negatives)
    left = others(candidates, cases)
    practice = choose_cases(left, first, config.seed, one_per_patient=alone)
    practice.sort(key=lambda case: rank(config.seed, "practice", case.image_id))
    return Draft(config, images, found, cases, practice)


def _findings(config: StudyConfig, store: Store) -> list[str]:
    """As the store calls them."""
    known = {
        name: next((own for own in store.findings if same_finding(own, name)), None)
        for name in config.findings or store.findings
    }
    for name, own in known.items():
        if own is None:
            raise MedrobustError(
                f"findings: expected some of {', '.join(store.findings)}, found {name!r}"
            )
    return list(dict.fromkeys(own for own in known.values() if own))


def _candidates(store: Store, split: str, finding: str, found: Sequence[Source]) -> list[Case]:
    """Images with a known label of which every condition has a map."""
    mapped = set.intersection(*(source.ids(finding) for source in found))
    table = store.table.iloc[store.rows(split)]
    labels = store.labels[store.rows(split), store.findings.index(finding)]
    return [
        Case(str(image), str(patient), finding, bool(label))
        for image, patient, label in zip(
            table["image_id"], table["patient_id"], labels, strict=True
        )
        if str(image) in mapped and not np.isnan(label)
    ]
