import pytest

from medrobust.report.score_names import ScoreName
from medrobust.report.scored import score_names


@pytest.mark.parametrize(
    ("name", "title", "short"),
    [
        (
            "hit_rate",
            "Hit rate: how often the map's strongest pixel lies inside the finding",
            "hit rate",
        ),
        (
            "hit_rate:10mm",
            "Hit rate: how often the map's strongest pixel lies within 10 mm of the finding",
            "hit rate within 10 mm",
        ),
        (
            "hit_rate:2.5px@opacity",
            "Hit rate: how often the map's strongest pixel lies within 2.5 pixels of opacity",
            "hit rate within 2.5 pixels of opacity",
        ),
        (
            "mass_accuracy@left lung+right lung",
            "Mass accuracy: the share of the map's strength that lies inside left lung and right "
            "lung",
            "mass accuracy of left lung and right lung",
        ),
        (
            "auprc@opacity",
            "Average precision of the map's strength for pixels of opacity",
            "average precision of opacity",
        ),
        (
            "inside:tube:upper+marker@left",
            "Share of the map's strength inside tube:upper and marker@left",
            "share inside tube:upper and marker@left",
        ),
        ("of {my} own:3", "of {my} own:3", "of {my} own:3"),
    ],
)
def test_names_in_words(name: str, title: str, short: str) -> None:
    assert (ScoreName(name).title, ScoreName(name).short) == (title, short)


def test_known_scores_come_first() -> None:
    given = ["new", "inside:lung", "iou", "hit_rate@opacity", "iou", "hit_rate:10mm"]
    names = [score.whole for score in score_names(given)]
    assert names == ["hit_rate@opacity", "hit_rate:10mm", "iou", "inside:lung", "new"]
