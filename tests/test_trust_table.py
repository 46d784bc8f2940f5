import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from medrobust.errors import MedrobustError
from medrobust.trust_table import (
    TRUST_COLUMNS,
    Check,
    outcomes,
    read_trust,
    trust_rows,
    write_trust,
)

IDENTITY = {
    "store": "NA",
    "split": "test",
    "checkpoint": "best",
    "branch": "adv",
    "norm": "linf",
    "eps": 4 / 255,
    "n": 64,
}
CHECKS = [
    Check("steps", 0.1, 0.25, "pass", "Mean margin loss, so and so: more steps add little."),
    Check("transfer", np.nan, np.nan, "not checked", 'Not checked: "none".'),
    Check("noise", 1 / 3, 0.5, "flag", "The attack does little more."),
]
HEADER = "store,split,checkpoint,branch,norm,eps,n,check,value,reference,verdict,note"


def test_a_row_per_check_says_what_was_checked():
    rows = trust_rows(CHECKS, IDENTITY | {"attack": "apgd"})
    assert tuple(rows.columns) == TRUST_COLUMNS
    assert rows["check"].tolist() == ["steps", "transfer", "noise"]
    assert rows["verdict"].tolist() == ["pass", "not checked", "flag"]
    for name, value in IDENTITY.items():
        assert rows[name].eq(value).all()


def test_outcomes_are_the_same_text_before_and_after_writing(tmp_path):
    rows = trust_rows(CHECKS, IDENTITY)
    write_trust(tmp_path / "trust.csv", rows)
    found = outcomes(rows)
    assert outcomes(read_trust(tmp_path / "trust.csv")) == found
    assert found["value"] == ["0.1", "nan", str(1 / 3)]
    assert found["verdict"] == ["pass", "not checked", "flag"]


def test_no_checks_are_a_table_without_rows(tmp_path):
    write_trust(tmp_path / "trust.csv", trust_rows([], IDENTITY))
    assert read_trust(tmp_path / "trust.csv").empty


def test_what_is_written_is_read_to_the_last_bit(tmp_path):
    path, rows = tmp_path / "run" / "trust.csv", trust_rows(CHECKS, IDENTITY)
    write_trust(path, rows)
    read = read_trust(path)
    pd.testing.assert_frame_equal(read, rows, check_dtype=False, check_exact=True)
    assert read["n"].dtype == np.int64
    assert path.read_text().startswith(HEADER + "\n")


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (
            "",
            "expected a table of trust checks, found: No columns to parse from file; make the "
            "checks again",
        ),
        (
            "a,b\n1,2\n",
            f"expected columns {', '.join(TRUST_COLUMNS)}, found a, b; make the checks again",
        ),
        (
            f"{HEADER}\ns,test,best,adv,linf,x,64,steps,1,1,pass,x\n",
            "expected a table of trust checks, found: could not convert string to float: 'x'; "
            "make the checks again",
        ),
        (
            f"{HEADER}\ns,test,best,adv,linf,1,64,steps,1,1,fine,x\n",
            "expected verdicts pass, flag, not checked, found 'fine'; make the checks again",
        ),
    ],
)
def test_what_is_no_table_of_checks_is_refused(tmp_path, content, error):
    path = tmp_path / "trust.csv"
    path.write_text(content)
    with pytest.raises(MedrobustError) as raised:
        read_trust(path)
    assert str(raised.value) == f"{path}: {error}"


def test_a_missing_table_is_refused(tmp_path):
    with pytest.raises(MedrobustError, match="expected a table of trust checks"):
        read_trust(tmp_path / "trust.csv")


def test_a_report_can_read_the_table_without_loading_torch():
    script = "import sys, medrobust.trust_table; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
