"""The geometry section: steepness around images, similarity of layers, the dial between branches.

What `medrobust explain` leaves in a run's `explain/` folder, as what `geometry.html.j2` draws.
"""

from typing import Any

from medrobust.report import dial, landscape, similarity
from medrobust.report.material import Material


def geometry_section(material: Material) -> dict[str, Any]:
    """Figures, tables and sentences; an empty dictionary where nothing was measured.

    Raises `MedrobustError` for a file that can't be read.
    """
    steepness, dials = landscape.Steepness.of(material), dial.read_dials(material)
    section = {
        "surfaces": landscape.surface_figures(material),
        "loss": steepness.table(landscape.LOSS, landscape.LOSS_CAPTION),
        "lipschitz": steepness.table(landscape.LIPSCHITZ, landscape.LIPSCHITZ_CAPTION),
        "lipschitz_sentences": steepness.sentences(),
        "similarity": similarity.similarity_figures(material),
        "dials": [dial.dial_figure(one) for one in dials],
        "dial_sentences": [dial.dial_sentence(one) for one in dials],
        "dial_tables": [dial.dial_table(one) for one in dials],
    }
    return section if any(section.values()) else {}
