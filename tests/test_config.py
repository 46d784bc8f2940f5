from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from medrobust.config import Config, check_radius, dump_config, load_config, resolve
from medrobust.errors import MedrobustError

CONFIGS = Path(__file__).parents[1] / "configs"
LEAST: dict[str, Any] = {"name": "mine", "regime": "dual", "data": {"store": "stores/mine"}}


def settings(*overrides: str, **sections: Any) -> Config:
    return resolve({**LEAST, "data": {"store": "stores/mine"}} | sections, overrides, "mine.yaml")


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_configurations_are_named_after_store_and_regime(path: Path) -> None:
    config = load_config(path)
    assert path.stem == config.name == f"{config.data.store.name}-{config.regime}"


@pytest.mark.parametrize("store", ["pneumoniamnist", "kermany", "chexpert"])
def test_regimes_of_a_data_set_are_compared_on_equal_terms(store: str) -> None:
    several = [load_config(path) for path in CONFIGS.glob(f"{store}-*.yaml")]
    assert {config.regime for config in several} == {"standard", "adversarial", "dual"}
    # standard training attacks nothing
    own = {"name": True, "regime": True, "attack": {"steps", "step_size"}}
    rest = [config.model_dump(exclude=own) for config in several]
    assert rest[1:] == rest[:-1]
    attacks = [config.attack for config in several if config.regime != "standard"]
    assert attacks[0] == attacks[1]


def test_least() -> None:
    config = settings()
    assert (config.seed, config.network.name, config.attack.norm) == (0, "resnet50", "linf")
    assert config.network.arguments() == {}
    assert (config.evaluate.suite, config.evaluate.eps) == ("fast", None)


def test_overrides() -> None:
    config = settings(
        *("seed=3", "train.lr=5e-3", "train.epochs=7", "attack.eps=8/255", "network.width=8"),
        *("evaluate.eps=[1/255, 0.1]", "train.ema=null", "network.options.deep=true"),
        *("name=a=b".replace("=b", "-b"), "data.store=a b/ü"),
    )
    assert (config.seed, config.train.lr, config.train.epochs) == (3, 0.005, 7)
    assert config.attack.eps == 8 / 255
    assert config.evaluate.eps == (1 / 255, 0.1)
    assert config.train.ema is None
    assert config.network.arguments() == {"width": 8, "deep": True}
    assert config.data.store == Path("a b/ü")


def test_later_overrides_win() -> None:
    assert settings("seed=1", "seed=2").seed == 2


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("seeed=1", "mine.yaml: unknown key seeed; did you mean seed?"),
        ("attack.stepsize=1", "mine.yaml: unknown key attack.stepsize; did you mean "
         "attack.step_size?"),
        ("xyzzy=1", "mine.yaml: unknown key xyzzy"),
        ("train.lr=0", "mine.yaml: train.lr: input should be greater than 0, found 0"),
        ("train.lr=.inf", "mine.yaml: train.lr: input should be a finite number, found inf"),
        ("attack.eps=.nan", "mine.yaml: attack.eps: input should be a finite number, found nan"),
        ("evaluate.eps=[-1/255]", "mine.yaml: evaluate.eps: expected a radius between 0 and 1, in "
         "units of the image's range (4/255 rather than 4), found -0.00392156862745098"),
        ("train.ema=1", "mine.yaml: train.ema: input should be less than 1, found 1"),
        ("name=a/b", "mine.yaml: name: string should match pattern "
         "'^[A-Za-z0-9][A-Za-z0-9._-]*$', found 'a/b'"),
        ("data=3", "mine.yaml: data: input should be a valid dictionary or instance of Data, "
         "found 3"),
        ("network.options.dimensions=3", "mine.yaml: network.options: dimensions follows from the "
         "store and can't be set, found {'dimensions': 3}"),
        ("attack.part=0.01", "mine.yaml: attack.part: expected a share that makes two attacked and "
         "two clean images or more in a batch of 64, found 0.01"),
        ("attack.part=0", "mine.yaml: attack.part: input should be greater than 0, found 0"),
    ],
)  # fmt: skip
def test_bad_values(override: str, expected: str) -> None:
    with pytest.raises(MedrobustError) as error:
        settings(override)
    assert str(error.value) == expected


def test_a_share_of_attacked_images_is_for_dual_training() -> None:
    with pytest.raises(MedrobustError) as error:
        settings("attack.part=0.5", "regime=adversarial")
    assert str(error.value) == (
        "mine.yaml: attack.part: expected 1 in adversarial training, found 0.5; a share of "
        "attacked images is for dual training"
    )


def test_every_problem_is_named() -> None:
    with pytest.raises(MedrobustError) as error:
        resolve({"regime": "dual", "trian": {}, "data": {}}, ["seed=x"], "mine.yaml")
    assert str(error.value) == (
        "mine.yaml: name is missing; seed: input should be a valid integer, unable to parse "
        "string as an integer, found 'x'; data.store is missing; unknown key trian; did you mean "
        "train?"
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"", "should hold `section: …` lines"),
        (b"- a\n- b\n", "should hold `section: …` lines"),
        (b"a: [1\n", "is not YAML (while parsing a flow sequence"),
        (b"name: \xff\xfe\n", "is not YAML ('utf-8' codec can't decode byte 0xff"),
        (b"a: !!python/object/apply:os.getcwd []\n", "is not YAML (could not determine a "
         "constructor for the tag"),
    ],
)  # fmt: skip
def test_files_that_are_no_configuration(tmp_path: Path, text: bytes, expected: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes(text)
    with pytest.raises(MedrobustError) as error:
        load_config(path)
    assert str(error.value).startswith(f"configuration: {path} {expected}")
    assert "\n" not in str(error.value)


def test_written_settings_are_read_back(tmp_path: Path) -> None:
    config = settings("attack.eps=1/3", "network.options.names=[ä, b]", "train.patience=3")
    path = tmp_path / "config.yaml"
    path.write_text(dump_config(config), encoding="utf-8")
    assert load_config(path) == config
    assert list(yaml.safe_load(path.read_text())) == [
        *("name", "regime", "seed", "data", "network", "attack", "augment", "train", "evaluate")
    ]


@given(st.floats(0, 1), st.floats(1e-9, 10), st.integers(0, 2**63))
def test_numbers_come_back_to_the_bit(eps: float, lr: float, seed: int) -> None:
    config = settings(attack={"eps": eps}, train={"lr": lr}, seed=seed)
    assert resolve(yaml.safe_load(dump_config(config)), (), "again") == config


@given(st.integers(-300, 600))
def test_radius(numerator: int) -> None:
    eps = numerator / 255
    for norm in ("linf", "l2"):
        if eps < 0 or (norm == "linf" and eps > 1):
            with pytest.raises(ValueError, match=r"^eps: expected a radius between 0 and 1"):
                check_radius(norm, eps, "eps")
        else:
            check_radius(norm, eps, "eps")
            assert settings(f"attack.norm={norm}", f"attack.eps={numerator}/255").attack.eps == eps


def test_settings_can_not_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        settings().seed = 1  # type: ignore[misc]
