"""`trust.csv` of a run, with the real checks."""

import json
from collections.abc import Callable

from medrobust import checkpoints
from medrobust.data.cases import stratified_rows
from medrobust.data.store import Store
from medrobust.evaluate import Evaluation, evaluate
from medrobust.rundir import RunDir
from medrobust.trust import CHECKS
from medrobust.trust_table import outcomes, read_trust

WHAT = Evaluation(groups=(), redraws=100, trust_images=4)


def test_every_attacked_network_is_checked_once(
    dual_run: RunDir, copy_of: Callable[[RunDir], RunDir], tiny_store: Store
) -> None:
    run = copy_of(dual_run)
    warnings = evaluate(run, what=WHAT)
    rows = read_trust(run.trust)
    assert rows.groupby("branch")["check"].apply(list).to_dict() == {
        "adv": list(CHECKS),
        "clean": list(CHECKS),
    }
    assert set(rows["n"]) == {4}
    assert rows["eps"].unique().tolist() == [run.config().attack.eps]
    flags = rows[rows["verdict"] == "flag"]
    said = [text for text in warnings if "robustness may be overestimated" in text]
    assert [text.rpartition("overestimated: ")[2] for text in said] == flags["note"].tolist()
    path = run.receipts / "phantom-test-best-adv-trust-linf-0.00784314.json"
    receipt = json.loads(path.read_text())
    chosen = stratified_rows(tiny_store, "test", 4)
    assert receipt["images"] == tiny_store.table["image_id"].iloc[chosen].tolist()
    assert receipt["checks"] == outcomes(rows[rows["branch"] == "adv"])
    before = run.trust.stat().st_mtime_ns
    assert evaluate(run, what=WHAT) == warnings
    assert run.trust.stat().st_mtime_ns == before


def test_other_weights_are_checked_again(
    dual_run: RunDir, copy_of: Callable[[RunDir], RunDir]
) -> None:
    run = copy_of(dual_run)
    evaluate(run, what=WHAT)
    before = read_trust(run.trust)
    saved = checkpoints.load(run.checkpoints, "best")
    saved.tensors["adv/bn1.weight"] *= 2
    checkpoints.save(run.checkpoints, "best", saved)
    evaluate(run, what=WHAT)
    after = read_trust(run.trust)
    columns = ["branch", "check"]
    assert sorted(map(tuple, after[columns].to_numpy())) == sorted(
        map(tuple, before[columns].to_numpy())
    )
    one, other = (table[table["branch"] == "adv"] for table in (before, after))
    assert outcomes(one) != outcomes(other)
