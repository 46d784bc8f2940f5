from medrobust.config import Config
from medrobust.data.shuffled import with_shuffled_labels
from medrobust.data.store import Store
from medrobust.rundir import run_directory
from medrobust.train import train


def test_only_training_labels_are_dealt_out_anew_whole(tiny_store: Store) -> None:
    shuffled = with_shuffled_labels(tiny_store, 0)
    train_rows = tiny_store.rows("train")
    before, after = tiny_store.labels, shuffled.labels
    for split in ("val", "test"):
        rows = tiny_store.rows(split)
        assert (before[rows] == after[rows]).all()
    assert (before[train_rows] != after[train_rows]).any()
    assert sorted(before[train_rows].tolist()) == sorted(after[train_rows].tolist())


def test_the_deal_depends_on_the_seed_alone(tiny_store: Store) -> None:
    one, same, other = (with_shuffled_labels(tiny_store, seed).labels for seed in (0, 0, 1))
    assert (one == same).all()
    assert (one != other).any()


def test_the_other_columns_stay_with_their_images(tiny_store: Store) -> None:
    names = [name for name in tiny_store.table if not name.startswith("label:")]
    assert with_shuffled_labels(tiny_store, 0).table[names].equals(tiny_store.table[names])


def test_a_training_on_shuffled_labels_learns_other_weights(
    tiny_store: Store, configure, tmp_path
) -> None:
    found = []
    for setting in ("false", "true"):
        config: Config = configure("standard", f"data.shuffle_labels={setting}")
        run = run_directory(config, tmp_path / setting)
        train(config, tiny_store, run)
        found.append((run.checkpoints / "best.safetensors").read_bytes())
    assert found[0] != found[1]
