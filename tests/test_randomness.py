import numpy as np
import pytest
import torch
from scipy import stats

from medrobust.randomness import image_keys, key, normal, numbers_of, seeded, uniform

ROWS = torch.arange(200)


def splitmix64(state: int, count: int) -> list[int]:
    """Steele, Lea & Flood 2014, in plain integers."""
    whole, found = (1 << 64) - 1, []
    for _ in range(count):
        state = (state + 0x9E3779B97F4A7C15) & whole
        z = state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & whole
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & whole
        found.append(z ^ (z >> 31))
    return found


@pytest.mark.parametrize("start", [0, 1, 2**63 - 1])
def test_uniform_is_splitmix64(start: int) -> None:
    expected = [((z >> 41) + 0.5) / 2**23 for z in splitmix64(start, 5)]
    found = uniform(torch.tensor([start]), (5,))[0]
    np.testing.assert_array_equal(found.numpy(), np.float32(expected))


def test_the_first_numbers_of_the_generator_are_the_published_ones() -> None:
    # The reference implementation's output for seed 1234567 (Vigna, splitmix64.c).
    assert splitmix64(1234567, 2) == [6457827717110365317, 3203168211198807973]


def test_numbers_do_not_depend_on_the_batch() -> None:
    keys = image_keys(key(0, "test"), ROWS)
    whole = uniform(keys, (3, 4))
    assert torch.equal(whole[17:19], uniform(keys[17:19], (3, 4)))
    assert torch.equal(whole[[5, 2]], uniform(keys[[5, 2]], (3, 4)))


def test_uniform_and_normal_are_what_they_are_called() -> None:
    keys = image_keys(key(3, "test"), ROWS)
    flat, bell = uniform(keys, (50,)), normal(keys, (50,))
    assert flat.min() > 0
    assert flat.max() < 1
    assert stats.kstest(flat.flatten().numpy(), "uniform").pvalue > 0.01
    assert stats.kstest(bell.flatten().numpy(), "norm").pvalue > 0.01


def test_images_and_purposes_are_independent() -> None:
    one = uniform(image_keys(key(0, "augment", 1), ROWS), (50,)).flatten()
    for other in (key(0, "augment", 2), key(1, "augment", 1), key(0, "attack", 1)):
        another = uniform(image_keys(other, ROWS), (50,)).flatten()
        assert abs(np.corrcoef(one.numpy(), another.numpy())[0, 1]) < 0.03
    neighbours = uniform(image_keys(key(0, "augment", 1), ROWS), (50,))
    assert abs(np.corrcoef(neighbours[:-1].flatten(), neighbours[1:].flatten())[0, 1]) < 0.03


def test_keys_tell_numbers_from_words_and_joints() -> None:
    assert len({key(1, "2"), key(1, 2), key("1", 2), key(12), key("12")}) == 5
    assert numbers_of(["a", "b"]).tolist() == [key("a"), key("b")]


def test_seeded_puts_the_global_state_back() -> None:
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    with seeded(key(0, "initialise")):
        first = torch.rand(3)
    with seeded(key(0, "initialise")):
        second = torch.rand(3)
    assert torch.equal(first, second)
    assert torch.equal(before, torch.random.get_rng_state())
