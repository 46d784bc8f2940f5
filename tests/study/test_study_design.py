from collections import Counter
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from medrobust.errors import MedrobustError
from medrobust.study.cases import Case, choose_cases, others, quotas
from medrobust.study.chance import below, rank, shuffled
from medrobust.study.config import StudyConfig
from medrobust.study.design import Plan, Reading
from medrobust.study.squares import williams


def cases(count: int, first: int = 0) -> list[Case]:
    """Two findings, one absent in every fourth image."""
    return [
        Case(f"i{n}", f"p{n}", "opacity" if n % 2 else "nodule", n // 2 % 4 != 0)
        for n in range(first, first + count)
    ]


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    """Any plan that the settings allow."""
    conditions = draw(st.integers(1, 5))
    blocks = draw(st.sampled_from([1, conditions]))
    gap = draw(st.integers(2, 6))
    per_block = draw(st.integers(0, 5))
    count = max(2 * gap + per_block, 2 * per_block, conditions) + draw(st.integers(0, 5))
    repeated = min(per_block * blocks, round(count * blocks / 2))
    return Plan(
        cases(count),
        cases(draw(st.integers(0, 4)), first=100),
        conditions=conditions,
        blocks=blocks,
        repeated=repeated,
        gap=gap,
        seed=draw(st.integers(0, 1000)),
    )


def readings(plan: Plan, readers: int = 4) -> list[Reading]:
    return [plan.reading(reader) for reader in range(readers)]


def within_one(counts: Counter[int], of: int) -> bool:
    numbers = [counts[key] for key in range(of)]
    return max(numbers) - min(numbers) <= 1


quick = settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


@quick
@given(plans())
def test_every_reader_sees_every_case_once_in_every_block(plan: Plan) -> None:
    for reading in readings(plan):
        assert len(reading.blocks) == plan.blocks
        for block in reading.blocks:
            first = [showing.case for showing in block if not showing.is_repeat]
            assert Counter(first) == Counter(plan.cases)


@quick
@given(plans())
def test_crossed_readers_see_every_case_under_every_condition(plan: Plan) -> None:
    for reading in readings(plan):
        pairs = Counter(
            (showing.case, showing.condition)
            for block in reading.blocks
            for showing in block
            if not showing.is_repeat
        )
        assert set(pairs.values()) == {1}
        assert len(pairs) == len(plan.cases) * plan.blocks


@quick
@given(plans())
def test_conditions_are_balanced_in_every_block_and_stratum(plan: Plan) -> None:
    for reading in readings(plan):
        for block in reading.blocks:
            shown = [showing for showing in block if not showing.is_repeat]
            assert within_one(Counter(s.condition for s in shown), plan.conditions)
            for stratum in {case.stratum for case in plan.cases}:
                among = Counter(s.condition for s in shown if s.case.stratum == stratum)
                assert within_one(among, plan.conditions)


@quick
@given(plans())
def test_repeats_are_as_many_as_asked_and_balanced(plan: Plan) -> None:
    for reading in readings(plan):
        repeats = [(b, s) for b, block in enumerate(reading.blocks) for s in block if s.is_repeat]
        assert len(repeats) == plan.repeated
        assert within_one(Counter(b for b, _ in repeats), plan.blocks)
        assert within_one(Counter(s.condition for _, s in repeats), plan.conditions)


@quick
@given(plans())
def test_showings_of_an_image_are_far_apart(plan: Plan) -> None:
    for reading in readings(plan):
        sequence = [showing for block in reading.blocks for showing in block]
        for image in {case.image_id for case in plan.cases}:
            places = [p for p, showing in enumerate(sequence) if showing.case.image_id == image]
            assert all(after - before >= plan.gap for before, after in pairwise(places))


@quick
@given(plans())
def test_a_repeat_is_the_same_map_after_the_first_in_the_same_block(plan: Plan) -> None:
    for reading in readings(plan):
        for block in reading.blocks:
            for place, showing in enumerate(block):
                if showing.is_repeat:
                    before = [(s.case, s.condition) for s in block[:place]]
                    assert (showing.case, showing.condition) in before


@quick
@given(plans())
def test_the_seed_decides_and_the_order_of_cases_does_not(plan: Plan) -> None:
    again = replace(plan, cases=plan.cases[::-1])
    assert readings(plan) == readings(again)
    assert readings(plan) != readings(replace(plan, seed=plan.seed + 1))


def plan_of(readers: int = 6, **changes: int) -> list[Reading]:
    given = {"conditions": 3, "blocks": 3, "repeated": 9, "gap": 10, "seed": 0} | changes
    return readings(Plan(cases(30), cases(3, first=100), **given), readers)


@pytest.mark.parametrize(("conditions", "readers"), [(3, 3), (3, 6), (4, 4), (2, 2), (5, 10)])
def test_over_readers_every_case_meets_every_condition_in_every_block_equally_often(
    conditions: int, readers: int
) -> None:
    found = plan_of(readers, conditions=conditions, blocks=conditions, repeated=0)
    counts = Counter(
        (showing.case.image_id, showing.condition, block)
        for reading in found
        for block, showings in enumerate(reading.blocks)
        for showing in showings
    )
    assert set(counts.values()) == {readers // conditions}
    assert len(counts) == 30 * conditions**2


def test_once_over_readers_every_case_meets_every_condition_equally_often() -> None:
    found = plan_of(6, blocks=1, repeated=0)
    counts = Counter(
        (showing.case.image_id, showing.condition)
        for reading in found
        for showing in reading.blocks[0]
    )
    assert set(counts.values()) == {2}
    assert len(counts) == 90


def test_orders_differ_between_readers_blocks_and_seeds() -> None:
    orders = {
        tuple(showing.case.image_id for showing in block if not showing.is_repeat)
        for seed in (0, 1)
        for reading in plan_of(6, seed=seed)
        for block in reading.blocks
    }
    assert len(orders) == 2 * 6 * 3


def test_more_readers_leave_the_others_as_they_were() -> None:
    assert plan_of(8)[:6] == plan_of(6)


@quick
@given(
    count=st.integers(1, 30),
    conditions=st.integers(1, 6),
    kind=st.sampled_from(["crossed", "once"]),
    share=st.floats(0, 0.5),
    gap=st.integers(2, 8),
)
def test_whatever_the_settings_allow_can_be_planned(
    count: int, conditions: int, kind: str, share: float, gap: int
) -> None:
    try:
        config = StudyConfig(
            title="x",
            readers=2,
            conditions=[{"name": f"c{n}", "run": "r"} for n in range(conditions)],
            design={"kind": kind},
            cases={"count": count},
            repeats={"share": share, "gap": gap},
        )
    except ValidationError:
        reject()
    plan = Plan(
        cases(count), [], conditions, config.blocks, config.repeated, config.repeats.gap, seed=0
    )
    for reading in readings(plan, 2):
        shown = [showing for block in reading.blocks for showing in block]
        assert sum(showing.is_repeat for showing in shown) == round(share * count * config.blocks)


def test_practice_is_the_same_images_under_conditions_in_turn() -> None:
    found = plan_of(3)
    images = {tuple(s.case.image_id for s in reading.practice) for reading in found}
    assert images == {("i100", "i101", "i102")}
    assert [[s.condition for s in reading.practice] for reading in found] == [
        [0, 1, 2],
        [1, 2, 0],
        [2, 0, 1],
    ]


def test_no_condition_has_an_earlier_place_than_another() -> None:
    """The mean place in a block is that of a random order, (30 - 1) / 2, for every condition."""
    places: dict[int, list[int]] = {0: [], 1: [], 2: []}
    for seed in range(20):
        for reading in plan_of(6, seed=seed, repeated=0):
            for block in reading.blocks[:1]:
                for place, showing in enumerate(block):
                    places[showing.condition].append(place)
    deviation = 30 / 12**0.5 / (20 * 6 * 10) ** 0.5  # of a mean of uniform places
    for found in places.values():
        assert abs(sum(found) / len(found) - 14.5) < 4 * deviation


@pytest.mark.parametrize("conditions", range(1, 8))
def test_williams_squares_are_latin_and_balanced_for_carry_over(conditions: int) -> None:
    squares = williams(conditions)
    everything = set(range(conditions))
    for square in squares:
        assert all(set(row) == everything for row in square)
        assert all(set(column) == everything for column in zip(*square, strict=True))
    followed = Counter(pair for square in squares for row in square for pair in pairwise(row))
    assert len(followed) == conditions * (conditions - 1)
    assert len(set(followed.values())) <= 1


def test_the_published_square_of_four() -> None:
    """Williams 1949, four treatments, up to the names of rows."""
    assert williams(4) == (((0, 1, 3, 2), (1, 2, 0, 3), (2, 3, 1, 0), (3, 0, 2, 1)),)


@given(st.integers(1, 60), st.integers(1, 5), st.floats(0, 0.9))
def test_quotas_add_up_and_are_even(count: int, findings: int, negatives: float) -> None:
    names = [f"f{n}" for n in range(findings)]
    wanted = quotas(names, count, negatives)
    assert sum(wanted.values()) == count
    assert min(wanted.values()) >= 0
    assert sum(n for (_, present), n in wanted.items() if not present) == round(count * negatives)
    each = [wanted[name, True] + wanted[name, False] for name in names]
    assert max(each) - min(each) <= 1


def test_cases_are_chosen_by_a_hash_whatever_their_order() -> None:
    wanted = quotas(["opacity", "nodule"], 12, 0.25)
    pool = cases(60)
    chosen = choose_cases(pool, wanted, 0, one_per_patient=True)
    assert chosen == choose_cases(pool[::-1], wanted, 0, one_per_patient=True)
    assert set(chosen) != set(choose_cases(pool, wanted, 1, one_per_patient=True))
    assert Counter(case.stratum for case in chosen) == Counter(wanted)


def test_no_patient_comes_twice_unless_asked() -> None:
    pool = [Case(f"i{n}", f"p{n % 4}", "opacity", True) for n in range(12)]
    chosen = choose_cases(pool, {("opacity", True): 4}, 0, one_per_patient=True)
    assert len({case.patient_id for case in chosen}) == 4
    assert len(choose_cases(pool, {("opacity", True): 12}, 0, one_per_patient=False)) == 12
    with pytest.raises(MedrobustError) as error:
        choose_cases(pool, {("opacity", True): 5}, 0, one_per_patient=True)
    assert str(error.value) == (
        "cases: expected images of different patients of which every condition has a map: "
        "5 with opacity, found 4; ask for fewer (cases.count, cases.negatives, cases.practice) or "
        "make maps of more images (`medrobust explain --all-images`)"
    )


def test_an_image_with_two_findings_is_read_for_one() -> None:
    pool = [Case(f"i{n}", f"p{n}", f, True) for n in range(6) for f in ("opacity", "nodule")]
    wanted = {("opacity", True): 3, ("nodule", True): 3}
    chosen = choose_cases(pool, wanted, 0, one_per_patient=False)
    assert len({case.image_id for case in chosen}) == 6


def test_the_scarcest_stratum_chooses_first() -> None:
    both = [Case("i0", "p0", "opacity", True), Case("i0", "p0", "nodule", True)]
    pool = [*both, Case("i1", "p1", "opacity", True)]
    wanted = {("opacity", True): 1, ("nodule", True): 1}
    chosen = choose_cases(pool, wanted, 0, one_per_patient=True)
    assert [(case.image_id, case.finding) for case in chosen] == [
        ("i1", "opacity"),
        ("i0", "nodule"),
    ]


def test_practice_is_of_other_patients() -> None:
    pool = [Case(f"i{n}", f"p{n // 2}", "opacity", True) for n in range(8)]
    left = others(pool, pool[:1])
    assert [case.image_id for case in left] == ["i2", "i3", "i4", "i5", "i6", "i7"]


def test_ranks_tell_purposes_apart_and_stay_as_they_are() -> None:
    assert rank(0, "order", 1) != rank(0, "order", "1")
    assert rank(0, "order", 1) == 10_577_087_362_255_649_123
    assert {below(3, 0, "x", n) for n in range(50)} == {0, 1, 2}
    assert sorted(shuffled(range(20), 0, "x")) == list(range(20))
    assert shuffled(range(20), 0, "x") == shuffled(reversed(range(20)), 0, "x")
