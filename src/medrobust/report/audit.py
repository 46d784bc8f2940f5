"""The shortcut audit: does a model look at a marker, and does it need it?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from medrobust.report import text
from medrobust.report.csv_rows import read_rows
from medrobust.report.figures import Style
from medrobust.report.material import Material
from medrobust.report.read import Run
from medrobust.report.tables import Group, Row, Table, estimate, signed_estimate
from medrobust.report.terms import Arm, Estimate

TEXTS = ("store", "split", "branch", "finding", "marker", "measure")
NUMBERS = ("value", "low", "high", "n")
EDITS = {"as it is": "As it is", "removed": "Removed", "moved": "Moved", "swapped": "Exchanged"}
SHARE = "share:"
UNKNOWN = Estimate(float("nan"))


@dataclass(frozen=True)
class AuditSection:
    """What the section shows."""

    sentences: list[str]
    table: Table


@dataclass(frozen=True)
class _Audited:
    """One model's audit of one finding and marker."""

    arm: Arm
    run: Run
    finding: str
    marker: str
    measures: Mapping[str, Estimate]

    @property
    def share(self) -> str:
        """The measure of the first method's share."""
        return next((name for name in self.measures if name.startswith(SHARE)), "")

    @property
    def gap(self) -> Estimate:
        """AUROC with the marker exchanged minus AUROC as it is."""
        return self.measures.get("difference swapped", UNKNOWN)


def audit_section(material: Material) -> AuditSection | None:
    """What `explain --audit` has left behind; None without any.

    Raises `MedrobustError` for a file that is no such table.
    """
    found = [one for arm, run in material.models() for one in _read(material, arm, run)]
    if not found:
        return None
    told = [_sentence(one) for one in found if one.gap.scorable]
    return AuditSection(told, _table(found, material.looks))


def _read(material: Material, arm: Arm, run: Run) -> list[_Audited]:
    where = material.numbers.evaluation
    rows = read_rows(run.path / "explain" / "audit.csv", TEXTS, NUMBERS)
    here = (rows["store"] == where.store) & (rows["split"] == where.split)
    return [
        _Audited(arm, run, str(finding), str(marker), _measures(part))
        for (finding, marker), part in rows[here & (rows["branch"] == arm.branch)].groupby(
            ["finding", "marker"], sort=False
        )
    ]


def _measures(rows: pd.DataFrame) -> dict[str, Estimate]:
    values = rows[list(NUMBERS)].to_numpy(float)
    return {
        str(measure): Estimate(value, low, high, n=n)
        for measure, (value, low, high, n) in zip(rows["measure"], values, strict=True)
    }


def _table(found: Sequence[_Audited], looks: Mapping[Arm, Style]) -> Table:
    groups: dict[str, list[Row]] = {}
    for one in found:
        cells = [
            estimate(one.measures.get("area")),
            estimate(one.measures.get(one.share)),
            *(estimate(one.measures.get(f"auroc {edit}")) for edit in EDITS),
            signed_estimate(one.gap),
        ]
        row = Row(one.arm.label, cells, f"seed {one.run.seed}", looks[one.arm])
        groups.setdefault(f"{one.finding}; marker: {one.marker}", []).append(row)
    columns = ["Finding and model", "Share of the picture", "Share of the map"]
    columns += [f"AUROC {name[:1].lower()}{name[1:]}" for name in EDITS.values()]
    methods = dict.fromkeys(one.share.removeprefix(SHARE) for one in found if one.share)
    whose = f"the {text.enumeration(list(methods))} map" if methods else "the map"
    caption = f"How much of {whose} lies on the marker, and AUROC without it. 95 % intervals."
    return Table(
        caption, [*columns, "Exchanged − as it is"], [Group(k, v) for k, v in groups.items()]
    )


def _sentence(one: _Audited) -> str:
    """In words, what exchanging or removing the marker does."""
    removed = one.measures.get("difference removed", UNKNOWN)
    exchanged, without = _becomes(one, "swapped"), _becomes(one, "removed")
    if one.gap.high < 0:
        verdict = f"depends on {one.marker} for {one.finding}: exchanged, {exchanged}"
    elif removed.low > 0 or removed.high < 0:
        verdict = f"depends on {one.marker} for {one.finding}: removed, {without}"
    elif one.gap.low > 0:
        verdict = f"does better for {one.finding} when {one.marker} is exchanged ({exchanged})"
    else:
        verdict = f"cannot be shown to depend on {one.marker} for {one.finding} ({exchanged})"
    return f"{one.arm.phrase[:1].upper()}{one.arm.phrase[1:]} {verdict}."


def _becomes(one: _Audited, edit: str) -> str:
    before, after = (one.measures.get(f"auroc {name}", UNKNOWN) for name in ("as it is", edit))
    return f"AUROC {text.number(before.value)} becomes {text.number(after.value)}"
