"""The reference pages say what the code says."""

import importlib.util
import json

import pytest
from markdown_pages import ROOT

from medrobust.config import Config
from medrobust.metrics import COLUMNS, METRICS
from medrobust.predictions import SIDECAR_KEYS
from medrobust.study.answers import DATABASE, DESIGN
from medrobust.study.chain import Link
from medrobust.study.export import ANSWERS, VIEWS
from medrobust.study.heads import HEAD
from medrobust.study.integrity import KEY
from medrobust.study.tokens import ACCESS

REFERENCE = ROOT / "docs" / "reference"
SPEC = importlib.util.spec_from_file_location("reference", ROOT / "docs/generate_reference.py")
assert SPEC
assert SPEC.loader
reference = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(reference)


@pytest.mark.parametrize("name", reference.GENERATORS)
def test_generated_pages_are_up_to_date(name):
    page = (REFERENCE / name).read_text(encoding="utf-8")
    generated = reference.with_generated(page, reference.GENERATORS[name]())
    assert page == generated, "run python docs/generate_reference.py"


def leaves(section, prefix=""):
    """Every key's full name with its default as it is written."""
    for name, field in section.model_fields.items():
        if hasattr(field.annotation, "model_fields"):
            yield from leaves(field.annotation, f"{prefix}{name}.")
        elif field.is_required():
            yield prefix + name, "required"
        else:
            value = field.default if isinstance(field.default, str) else json.dumps(field.default)
            yield prefix + name, f"`{value}`"


def test_every_setting_stands_in_the_configuration_page_with_its_default():
    rows = [
        [cell.strip() for cell in line.strip("|").split(" | ")]
        for line in (REFERENCE / "configuration.md").read_text(encoding="utf-8").splitlines()
        if line.startswith("| `")
    ]
    assert {row[0].strip("` |"): row[2] for row in rows} == dict(leaves(Config))
    assert all(len(row) == 4 and row[3] for row in rows)


def options(command, words=()):
    """Every command's words with the names of its options and arguments."""
    named = {name for parameter in command.params for name in parameter.opts}
    yield " ".join(words), named - {"--help"}
    for name, inner in getattr(command, "commands", {}).items():
        yield from options(inner, (*words, name))


def section(page, heading):
    """What stands below a heading."""
    return page.partition(heading)[2].partition("\n## ")[0]


def test_every_command_and_option_stands_in_the_command_line_page():
    import typer

    from medrobust.cli.main import app

    page = (REFERENCE / "command-line.md").read_text(encoding="utf-8")
    for command, names in options(typer.main.get_command(app)):
        if command == "prepare":
            continue  # a group without options of its own
        part = section(page, f"## `{f'medrobust {command}'.strip()}`\n")
        if "And the options of every data set (above)" in part:
            part += section(page, "## `medrobust prepare`: the options of every data set\n")
        missing = [n for n in names if f"| `{n if n[:1] == '-' else n.upper()}` |" not in part]
        assert not missing, command


def test_the_columns_of_metrics_stand_in_the_files_page_in_their_order():
    page = (REFERENCE / "files.md").read_text(encoding="utf-8")
    part = page.partition("### metrics.csv")[2].partition("###")[0]
    cells = [line.split(" | ")[0] for line in part.splitlines() if line.startswith("| `")]
    assert [name.strip("` |") for cell in cells for name in cell.split(", ")] == list(COLUMNS)


def test_every_metric_and_key_of_a_sidecar_is_explained():
    metrics = (REFERENCE / "metrics.md").read_text(encoding="utf-8")
    files = (REFERENCE / "files.md").read_text(encoding="utf-8")
    assert [m for m in (*METRICS, "threshold") if f"| `{m}` |" not in metrics] == []
    assert [key for key in SIDECAR_KEYS if f"`{key}`" not in files] == []


def test_the_files_of_a_study_are_named():
    part = section((REFERENCE / "files.md").read_text(encoding="utf-8"), "## Reader study")
    words = " ".join(part.split())
    files = (*DESIGN, KEY, DATABASE, HEAD, ACCESS, "export/answers.csv", "export/views.csv")
    assert [name for name in files if f"`{name}`" not in words] == []
    for columns in (ANSWERS, VIEWS, Link._fields):
        assert f"`{', '.join(columns)}`" in words
