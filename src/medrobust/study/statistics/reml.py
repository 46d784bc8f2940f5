"""The REML criterion of a linear model with crossed random intercepts, and its minimum.

Profiled over means and residual variance as in Bates, Maechler, Bolker and Walker 2015, J. Stat.
Softw. 67(1), section 3; the only unknowns left are the standard deviations of each factor's
intercepts relative to the residual one, theta.
"""

from typing import NamedTuple

import numpy as np
from scipy import linalg, optimize

from medrobust.statistics.inputs import Floats, Integers
from medrobust.study.statistics.intercepts import Intercepts

BOUNDARY = 1e-3
"""Relative standard deviations up to here are 0: the estimate lies on the boundary."""
LARGEST = 1e3
"""Relative standard deviations are looked for up to here."""
STARTS = (1.0, 0.01, 30.0)
"""Relative variances from which they are looked for."""
ROUNDING = 1e-12
"""Residual sums of squares, relative to the whole one, up to here are 0 but for rounding."""


class Products(NamedTuple):
    """All the criterion needs to know of n ratings, p conditions and q intercepts."""

    zz: Floats
    zx: Floats
    zy: Floats
    xx: Floats
    xy: Floats
    yy: float
    factor: Integers
    n: int


class Fit(NamedTuple):
    """For given relative standard deviations of the intercepts."""

    means: Floats
    information: Floats
    """Of the means (p, p), for a residual variance of 1."""
    log_determinants: float
    squares: float
    """Penalised residual sum of squares."""


def products_of(y: Floats, x: Floats, z: Intercepts) -> Products:
    """Of ratings (n,), the means' design (n, p) and intercepts."""
    turned = z.incidence.T
    return Products(
        z.products(np.ones(y.size)), turned @ x, turned @ y, x.T @ x, x.T @ y, float(y @ y),
        z.factor, y.size,
    )  # fmt: skip


def fit_at(products: Products, theta: Floats) -> Fit:
    """Solve Henderson's equations by Cholesky (Bates et al. 2015, section 3.4)."""
    scale = theta[products.factor]
    system = scale[:, None] * products.zz * scale + np.eye(scale.size)
    lower = linalg.cholesky(system, lower=True)
    halves = linalg.solve_triangular(
        lower, scale[:, None] * np.column_stack([products.zx, products.zy]), lower=True
    )
    of_x, of_y = halves[:, :-1], halves[:, -1]
    information, known = products.xx - of_x.T @ of_x, products.xy - of_x.T @ of_y
    means: Floats = np.linalg.solve(information, known)
    squares = max(products.yy - float(of_y @ of_y + means @ known), ROUNDING * products.yy)
    logs = 2 * np.log(np.diag(lower)).sum() + np.linalg.slogdet(information).logabsdet
    return Fit(means, information, float(logs), squares)


def profiled(products: Products, fit: Fit) -> float:
    """REML criterion, -2 log-likelihood, at the best residual variance."""
    free = products.n - len(products.xx)
    return fit.log_determinants + free * float(1 + np.log(2 * np.pi * fit.squares / free))


def _slope(products: Products, theta: Floats, fit: Fit) -> Floats:
    """Derivatives (factors,) of the criterion by the relative variances, theta squared.

    trace Z'PZ - |Z'Py|^2 / residual variance over each factor's columns of Z, where P projects out
    means and intercepts (Harville 1977, J. Am. Stat. Assoc. 72:320).
    """
    scale = theta[products.factor]
    system = scale[:, None] * products.zz * scale + np.eye(scale.size)
    crossed = np.column_stack([products.zz, products.zx, products.zy])
    solved = linalg.cho_solve(linalg.cho_factor(system), scale[:, None] * crossed)
    free = crossed - (products.zz * scale) @ solved
    count = scale.size
    zz, zx, zy = free[:, :count], free[:, count:-1], free[:, -1]
    traces = np.diag(zz) - np.einsum("qp,pq->q", zx, np.linalg.solve(fit.information, zx.T))
    variance = fit.squares / (products.n - fit.means.size)
    parts = traces - (zy - zx @ fit.means) ** 2 / variance
    return np.bincount(products.factor, parts).astype(np.float64)


def relative_deviations(products: Products, factors: int) -> Floats:
    """Standard deviations of the intercepts, in residual ones, that minimise the criterion.

    Searched for as variances: by a deviation every derivative is 0 where it is 0, so that a search
    that once comes to this boundary would stay there.
    """

    def criterion(variances: Floats) -> tuple[float, Floats]:
        theta = np.sqrt(variances)
        fit = fit_at(products, theta)
        return profiled(products, fit), _slope(products, theta, fit)

    tries = [  # small tables have more than one minimum, or end on the way
        optimize.minimize(
            criterion,
            np.full(factors, start),
            jac=True,
            method="L-BFGS-B",
            bounds=[(0.0, LARGEST**2)] * factors,
            options={"ftol": 1e-14, "gtol": 1e-7},
        )
        for start in STARTS
    ]
    deviations: Floats = np.sqrt(min(tries, key=lambda found: float(found.fun)).x)
    return np.where(deviations > BOUNDARY, deviations, 0.0)
