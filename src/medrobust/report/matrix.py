"""Who attacks which network, and which one is deployed: what a deployer has to expect."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from medrobust.report import text
from medrobust.report.numbers import Numbers, rows_of
from medrobust.report.read import Run
from medrobust.report.tables import Cell, Group, Row, Table, estimate, mark_of
from medrobust.report.terms import (
    CLEAN,
    COMBINED,
    SUITES,
    Arm,
    Condition,
    Estimate,
    attack_name,
    condition_of,
    estimate_of,
    records,
)

Routes = Mapping[tuple[str, str, Condition], Estimate]
"""Macro AUROC by deployed network, attacked network ("" on clean images) and condition."""


@dataclass(frozen=True)
class Matrix:
    """One run's routes under one attack."""

    numbers: Numbers
    run: Run
    condition: Condition
    routes: Routes

    @property
    def networks(self) -> list[str]:
        """Deployed networks: the branches, then what combines them."""
        there = {deployed for deployed, _, _ in self.routes}
        ordered = dict.fromkeys([*self.run.branches, *COMBINED])
        own = [b for b in ordered if b not in COMBINED]
        return [b for b in [*own, *COMBINED] if b in there]

    @property
    def others(self) -> bool:
        """Whether any network was shown images made on another."""
        return any(
            deployed != attacked and condition == self.condition
            for deployed, attacked, condition in self.routes
            if attacked
        )

    def at(self, deployed: str, attacked: str) -> Estimate | None:
        """A number; "" attacks nothing."""
        return self.routes.get((deployed, attacked, self.condition if attacked else CLEAN))

    def worst_other(self, deployed: str) -> tuple[str, Estimate] | None:
        """The attack on another network that leaves the least."""
        found = [
            (attacked, one)
            for attacked in self.networks
            if attacked != deployed and (one := self.at(deployed, attacked)) and one.scorable
        ]
        return min(found, key=lambda pair: pair[1].value, default=None)


def matrices(numbers: Numbers) -> list[Matrix]:
    """A matrix for every run of which other routes than the own were measured."""
    found = (_matrix(numbers, run) for run in numbers.runs)
    return [matrix for matrix in found if matrix is not None and matrix.others]


def matrix_table(matrix: Matrix) -> Table:
    """Rows: attacked network; columns: deployed network."""
    networks = matrix.networks
    rows = [Row("No attack", [estimate(matrix.at(d, "")) for d in networks])]
    rows += [Row(_name(a), [_cell(matrix, d, a) for d in networks]) for a in networks]
    worst = [_least([matrix.at(d, a) for a in networks]) for d in networks]
    rows.append(Row("Lowest of the rows", [estimate(one) for one in worst]))
    return Table(
        f"{matrix.run.label}: macro AUROC of every deployed network (columns) on images attacked "
        f"through each network (rows), {matrix.condition.label}.",
        ["Attack made on", *(f"Deployed: {_name(d)}" for d in networks)],
        [Group("", rows)],
    )


def deployer_sentences(numbers: Numbers) -> list[str]:
    """One for every way to deploy a model; of several seeds the first."""
    sentences = []
    for arm in numbers.arms:
        sentences.append(_sentence(numbers, arm))
    for matrix in matrices(numbers):
        first = next(run for run in numbers.runs if run.name == matrix.run.name)
        if matrix.run is first:
            combined = [Arm(first.name, b, first.regime) for b in matrix.networks if b in COMBINED]
            sentences += [_sentence(numbers, arm, first) for arm in combined]
    return [sentence for sentence in sentences if sentence]


def _sentence(numbers: Numbers, arm: Arm, run: Run | None = None) -> str:
    run = run or numbers.runs_of(arm)[0]
    clean = numbers.get(run, arm.branch)
    own = numbers.training and numbers.get(run, arm.branch, numbers.training)
    if clean is None or not clean.scorable:
        return ""
    said = f"Whoever deploys {arm.phrase} gets {_number(clean)} on clean images"
    if numbers.training is None or not own:
        return said + "."
    said += f" and {_number(own)} under {_attack(numbers.training)} on it"
    matrix = _matrix(numbers, run)
    other = matrix.worst_other(arm.branch) if matrix else None
    if matrix is None or other is None:
        return said + "."
    attacked, found = other
    which = "" if matrix.condition == numbers.training else f"{_attack(matrix.condition)} "
    weak = ", less than the attack on it, which is therefore too weak"
    return (
        f"{said}; the worst of the attacks on other routes ({which}on the {_name(attacked)}) gives "
        f"{_number(found)}{weak if found.value < own.value else ''}."
    )


def _matrix(numbers: Numbers, run: Run) -> Matrix | None:
    """Under the strongest attack at the quoted radius that other routes were measured with."""
    quoted = numbers.training
    if quoted is None:
        return None
    routes = _routes(numbers, run)
    conditions = {
        condition
        for deployed, attacked, condition in routes
        if attacked not in ("", deployed) and _alike(condition, quoted)
    }
    if not conditions:
        return None
    strongest = min(conditions, key=lambda c: SUITES.index(c.attack))
    return Matrix(numbers, run, strongest, routes)


def _routes(numbers: Numbers, run: Run) -> Routes:
    table = rows_of(run, numbers.evaluation)
    table = table[(table["finding"] == "macro") & (table["metric"] == "auroc")]
    found = {}
    for row in records(table):
        condition = condition_of(row)
        if condition == CLEAN or (condition.robust and not condition.saved):
            verdict = numbers.verdict(run, row.branch, row.norm)
            found[row.branch, row.attacked_branch, condition] = estimate_of(row, verdict)
    return found


def _alike(condition: Condition, quoted: Condition) -> bool:
    same_radius = abs(condition.eps - quoted.eps) <= 1e-3 * quoted.eps
    return same_radius and (condition.norm, condition.goal) == (quoted.norm, quoted.goal)


def _cell(matrix: Matrix, deployed: str, attacked: str) -> Cell:
    cell = estimate(matrix.at(deployed, attacked))
    own = "its own route" if deployed == attacked else ""
    return Cell(cell.main, ", ".join(filter(None, (cell.note, own))), cell.mark)


def _least(found: Sequence[Estimate | None]) -> Estimate | None:
    known = [one for one in found if one is not None and one.scorable]
    return min(known, key=lambda one: one.value, default=None)


def _name(branch: str) -> str:
    return text.branch_name(branch) or "only branch"


def _attack(condition: Condition) -> str:
    return condition.article + attack_name(condition.attack)


def _number(found: Estimate) -> str:
    mark = mark_of(found)
    return text.number(found.value, 2) + (f" ({mark})" if mark else "")
