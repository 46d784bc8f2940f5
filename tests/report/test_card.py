import numpy as np
from fake_runs import FINDINGS, Workplace

from medrobust.report.card import counts_table, data_card, image, positives


def test_counts_are_those_of_the_table(workplace: Workplace) -> None:
    table = counts_table(workplace.store)
    size, findings, about = table.groups
    assert [row.head for row in size.rows] == ["Images", "Patients"]
    assert [cell.main for cell in size.rows[0].cells] == ["80", "40", "80"]
    assert [row.head for row in findings.rows] == list(FINDINGS)
    assert [row.head for row in about.rows] == ["Age", "Sex", "View"]
    test = workplace.store.table[workplace.store.table["split"] == "test"]["label:Nodule"]
    share = test.mean()
    cell = findings.rows[1].cells[2]
    assert cell.main == f"{int(test.sum())} ({100 * share:.0f}\xa0%)"
    assert cell.note == f"{test.isna().sum()} unknown"


def test_age_is_given_by_quartiles(workplace: Workplace) -> None:
    table = workplace.store.table
    low, middle, high = table.loc[table["split"] == "val", "age"].quantile([0.25, 0.5, 0.75])
    cell = counts_table(workplace.store).groups[2].rows[0].cells[1]
    assert cell.main == f"median {middle:.0f} (quartiles {low:.0f}–{high:.0f})"


def test_facts_leave_out_what_is_empty(workplace: Workplace) -> None:
    facts = dict(data_card(workplace.store).facts)
    assert facts["Name"] == "Blobs & noise (blobs)"
    assert facts["Pixels"] == "40 × 40, grey, 8 bits (images)"
    assert facts["Checksum"] == workplace.store.checksum[:16]
    assert all(facts.values())


def test_examples_show_every_finding(workplace: Workplace) -> None:
    captions = [example.caption for example in data_card(workplace.store).examples]
    assert all(any(finding in caption for caption in captions) for finding in FINDINGS)
    assert "no finding" in captions


def test_images_are_what_the_network_sees(workplace: Workplace) -> None:
    store = workplace.store
    assert np.array_equal(image(store, 3), store.images[3] / 255)
    known = dict(zip(store.findings, store.labels[3], strict=True))
    assert positives(store, 3) == [f for f, y in known.items() if y == 1]
