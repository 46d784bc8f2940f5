import json
import platform
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from medrobust import __version__
from medrobust.config import Config
from medrobust.data.store import Store
from medrobust.errors import MedrobustError
from medrobust.rundir import (
    RunDir,
    begin,
    check_same_store,
    find_runs,
    finish,
    run_directory,
    store_name,
)

Configure = Callable[..., Config]


@pytest.fixture
def run(configure: Configure, tmp_path: Path, tiny_store: Store) -> RunDir:
    """A run that has just begun."""
    config = configure("dual")
    begun = run_directory(config, tmp_path)
    begin(begun, config, tiny_store, "cpu")
    return begun


def test_paths() -> None:
    run = RunDir(Path("runs/dual/0"))
    assert {path.name for path in (run.checkpoints, run.predictions, run.adversarial)} == {
        *("checkpoints", "predictions", "adversarial")
    }
    assert (run.metrics.name, run.log.name, run.explain.name) == (
        *("metrics.csv", "log.jsonl", "explain"),
    )
    assert not run.is_done


def test_directory_is_name_and_seed(configure: Configure) -> None:
    config = configure("dual", "name=mine", "seed=7")
    assert run_directory(config, Path("runs")).path == Path("runs/mine/7")


def test_provenance(run: RunDir, tiny_store: Store) -> None:
    found = run.provenance()
    assert list(found) == [
        *("medrobust", "commit", "dirty", "packages", "python", "platform", "device", "threads"),
        *("store", "command", "started", "finished", "seconds", "resumed"),
    ]
    assert found["medrobust"] == __version__
    assert (
        found["packages"]["torch"] == torch.__version__.partition("+")[0]
        or "+" in (found["packages"]["torch"])
    )
    assert found["python"] == platform.python_version()
    assert found["store"] == {
        "name": "phantom",
        "path": str(tiny_store.path),
        "checksum": tiny_store.checksum,
    }
    assert found["threads"] == torch.get_num_threads()
    assert found["finished"] is None
    assert not run.is_done


def test_settings_are_written_resolved(run: RunDir, configure: Configure) -> None:
    assert run.config() == configure("dual")
    assert sorted(path.name for path in run.path.iterdir()) == [
        *("checkpoints", "config.yaml", "provenance.json")
    ]


def test_finish(run: RunDir) -> None:
    finish(run, 12.3456)
    assert run.is_done
    assert run.provenance()["seconds"] == 12.346
    assert run.provenance()["finished"] >= run.provenance()["started"]


@pytest.mark.parametrize(
    "override",
    ["evaluate.steps=9", "evaluate.eps=[0.1]", "data.on_device=false", "train.accelerator=cpu"],
)
def test_what_does_not_change_learning_may_differ(
    run: RunDir, configure: Configure, tiny_store: Store, override: str
) -> None:
    begin(run, configure("dual", override), tiny_store, "cpu")
    assert len(run.provenance()["resumed"]) == 1
    assert run.config() == configure("dual", override)


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["train.lr=1"], "train.lr is 0.005 there, 1.0 here"),
        (["attack.eps=0"], "attack.eps is 0.00784313725490196 there, 0.0 here"),
        (["network.options.a=1"], "network.options is {} there, {'a': 1} here"),
        (
            ["train.epochs=4", "train.batch_size=2", "train.lr=1", "augment.flip=true"],
            "augment.flip is False there, True here; train.epochs is 1 there, 4 here; "
            "train.batch_size is 16 there, 2 here",
        ),
    ],
)
def test_what_changes_learning_may_not(
    run: RunDir, configure: Configure, tiny_store: Store, overrides: list[str], told: str
) -> None:
    before = (run.path / "provenance.json").read_bytes()
    with pytest.raises(MedrobustError) as error:
        begin(run, configure("dual", *overrides), tiny_store, "cpu")
    assert str(error.value) == (
        f"{run.path} holds a run of another configuration: {told}. Choose another name or seed, "
        "or remove that folder"
    )
    assert (run.path / "provenance.json").read_bytes() == before


def test_a_finished_run_is_not_noted_as_resumed(
    run: RunDir, configure: Configure, tiny_store: Store
) -> None:
    finish(run, 1)
    begin(run, configure("dual"), tiny_store, "cpu")
    assert run.provenance()["resumed"] == []


def test_another_store_may_not_go_on(run: RunDir, configure: Configure, other_store: Store) -> None:
    with pytest.raises(MedrobustError, match=r"expected the store this run was trained on"):
        begin(run, configure("dual"), other_store, "cpu")


def test_an_empty_folder_is_taken(configure: Configure, tmp_path: Path, tiny_store: Store) -> None:
    run = run_directory(configure("dual"), tmp_path)
    run.path.mkdir(parents=True)
    begin(run, configure("dual"), tiny_store, "cpu")
    assert run.checkpoints.is_dir()


def test_a_new_run_appears_whole_or_not_at_all(
    configure: Configure, tmp_path: Path, tiny_store: Store, fill_disk: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    run = run_directory(configure("dual"), tmp_path)
    fill_disk("config")
    with pytest.raises(MedrobustError, match=r"No space left on device"):
        begin(run, configure("dual"), tiny_store, "cpu")
    assert list(run.path.parent.iterdir()) == []
    monkeypatch.undo()
    begin(run, configure("dual"), tiny_store, "cpu")
    assert run.config() == configure("dual")


def test_store_names(run: RunDir, tiny_store: Store, other_store: Store) -> None:
    info = other_store.info.model_copy(update={"name": "ward"})
    assert store_name(run, tiny_store) == "phantom"
    assert store_name(run, other_store) == f"phantom-{other_store.checksum[:8]}"
    assert store_name(run, replace(other_store, info=info)) == f"ward-{other_store.checksum[:8]}"


def test_training_store(run: RunDir, tiny_store: Store, other_store: Store) -> None:
    assert run.training_store().checksum == tiny_store.checksum
    with pytest.raises(MedrobustError) as error:
        check_same_store(run, other_store)
    assert str(error.value) == (
        f"{other_store.path}: expected the store this run was trained on (phantom, checksum "
        f"{tiny_store.checksum[:12]}), found one with checksum {other_store.checksum[:12]}; it "
        "was changed or made again. Restore it, or name another one with --store (where a command "
        "has it)"
    )


def test_find_runs(dual_run: RunDir, tmp_path: Path) -> None:
    for place in ("dual/1", "dual/0", "plain/0"):
        shutil.copytree(dual_run.path, tmp_path / place)
    found = find_runs([tmp_path / "plain" / "0", tmp_path / "dual"])
    assert [str(run.path.relative_to(tmp_path)) for run in found] == ["plain/0", "dual/0", "dual/1"]


def test_no_runs(tmp_path: Path) -> None:
    with pytest.raises(MedrobustError) as error:
        find_runs([tmp_path])
    assert str(error.value) == (
        f"{tmp_path}: expected a run directory (with config.yaml in it) or a folder of them, "
        "found none; runs are made by `medrobust train`"
    )


def test_no_run(tmp_path: Path) -> None:
    with pytest.raises(MedrobustError, match=r"expected a run directory with config\.yaml in it"):
        RunDir(tmp_path).config()


@pytest.mark.parametrize("content", ["{", None])
def test_provenance_that_can_not_be_read(run: RunDir, content: str | None) -> None:
    path = run.path / "provenance.json"
    path.unlink()
    if content is not None:
        path.write_text(content)
    with pytest.raises(MedrobustError, match=r"provenance\.json can't be read \("):
        run.provenance()


def test_provenance_is_json_without_surprises(run: RunDir) -> None:
    text = (run.path / "provenance.json").read_text(encoding="utf-8")
    assert json.loads(text) == run.provenance()
    assert text.endswith("}\n")
