"""Labels at random: what a model must not need to have learnt to give the maps it gives."""

from dataclasses import replace

import numpy as np

from medrobust.data.store import Store
from medrobust.data.table import label_columns
from medrobust.randomness import key


def with_shuffled_labels(store: Store, seed: int) -> Store:
    """The store with the labels of its training images dealt out anew among them.

    All labels of an image stay together. A model trained on them has nothing to learn but the
    images by heart (label randomisation test of Adebayo et al. 2018).
    """
    rows, columns = store.rows("train"), label_columns(store.table)
    generator = np.random.default_rng(abs(key(seed, "shuffled labels")))
    table = store.table.copy()
    dealt = table[columns].to_numpy()[generator.permutation(rows)]
    table.loc[rows, columns] = dealt
    return replace(store, table=table, aligned=True)
