"""What is left of an attack once its images were saved in a file and read again."""

from medrobust.report.material import Material
from medrobust.report.tables import Group, Row, Table, estimate
from medrobust.report.terms import CLEAN, Condition


def saved_table(material: Material) -> Table | None:
    """AUROC on attacked images as they are, and saved and read again; None without such files."""
    numbers = material.numbers
    saved = [c for c in numbers.conditions if c.saved]
    if not saved:
        return None
    kinds = list(dict.fromkeys(c.saved for c in saved))
    groups = []
    for attack, norm, eps, goal in dict.fromkeys(
        (c.attack.partition("/")[0], c.norm, c.eps, c.goal) for c in saved
    ):
        unsaved = Condition(attack, norm, eps, goal)
        conditions = [unsaved, *(Condition(f"{attack}/{k}", norm, eps, goal) for k in kinds)]
        rows = [
            Row(
                arm.label,
                [estimate(numbers.get(run, arm.branch, c)) for c in (CLEAN, *conditions)],
                numbers.note(run, arm.branch),
                material.looks[arm],
            )
            for arm, run in material.models()
            if any(numbers.get(run, arm.branch, c) for c in conditions[1:])
        ]
        groups.append(Group(unsaved.heading, rows))
    return Table(
        "Macro AUROC on attacked images before and after they are saved and read again. An attack "
        "that does not survive rounding to the grey levels of a file threatens no archive.",
        ["Attack and model", "Clean", "Attacked, not saved", *(_saved_heading(k) for k in kinds)],
        groups,
    )


def _saved_heading(kind: str) -> str:
    depth = kind.removesuffix("bit")
    return f"Saved, {depth} bits" if depth.isdigit() else "Saved, depth of the store"
