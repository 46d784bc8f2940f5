"""`medrobust explain`: what is asked for is done, what cannot be is refused before any work."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from medrobust.rundir import RunDir

Medrobust = Callable[..., object]


@pytest.fixture
def dual(dual_run: RunDir, tmp_path: Path) -> RunDir:
    return RunDir(Path(shutil.copytree(dual_run.path, tmp_path / "dual" / "0")))


def test_everything_at_once(dual: RunDir, standard_run: RunDir, medrobust) -> None:
    done = medrobust(
        *("explain", dual.path, "--finding", "effusion", "--methods", "gradient"),
        *("--average", "--audit", "heart", "--counterfactual", "effusion", "--landscape"),
        *("--cka", dual.path, "--cka", standard_run.path, "--other", standard_run.path, "--dial"),
    )
    assert done.code == 0, done.err
    *results, last = done.out.splitlines()
    assert last == str(dual.explain)
    assert [line.partition(": effusion ")[0] for line in results] == [
        f"{dual.path}, branch {branch}" for branch in ("clean", "adv")
    ]
    assert "heart" not in done.err
    written = {path.name for path in dual.explain.iterdir()}
    assert written >= {
        *("maps", "scores.csv", "averages", "audit.csv", "counterfactuals.csv", "landscape"),
        *("geometry.csv", "cka.csv", "dial.csv"),
    }
    with np.load(dual.explain / "averages/phantom/test/adv/gradient/effusion.npz") as mean:
        assert mean["with"].shape == (32, 32)
        assert mean["n_with"] + mean["n_without"] == 16


def test_another_question_makes_no_maps(dual: RunDir, medrobust) -> None:
    assert medrobust("explain", dual.path, "--cka", dual.path).code == 0
    assert {path.name for path in dual.explain.iterdir()} == {"cka.csv"}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--methods", "gradcam"], "method: expected one of gradient, "),
        (["--truth", "opacity"], "mask: expected some of "),
        (["--inside", "spleen"], "found 'spleen'"),
        (["--audit", "pacemaker"], "found 'pacemaker'"),
        (["--tolerance", "3cm"], "--tolerance: expected pixels or millimetres such as 3px or 10mm"),
        (["--counterfactual", "hernia"], "finding: expected some of "),
        (["--sanity", "--eps", "0"], "expected a number above 0, found 0"),
        (["--landscape", "--eps", "1/255,2/255"], "--eps: expected one radius such as 4/255"),
        (["--other", "RUN"], "--other: expected it together with --sanity or --counterfactual"),
        (["--shuffled", "RUN"], "--shuffled: expected it together with --sanity, found it alone"),
    ],
)
def test_what_cannot_be(dual: RunDir, medrobust, options: list[str], words: str) -> None:
    given = [str(dual.path) if option == "RUN" else option for option in options]
    done = medrobust("explain", dual.path, *given)
    assert done.code == 2 or done.code == 1
    assert words in done.err
    assert done.err.count("\n") == 1
    assert not dual.explain.exists()


def test_a_single_branch_has_no_dial(standard_run: RunDir, medrobust) -> None:
    done = medrobust("explain", standard_run.path, "--dial")
    assert "expected a dual run for --dial, found one with a single branch" in done.err
