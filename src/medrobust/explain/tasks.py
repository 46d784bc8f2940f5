"""What can be asked about a model, as a list of tasks."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

from medrobust.evaluate import Track
from medrobust.explain.audit import audit
from medrobust.explain.counterfactual_stage import make_counterfactuals
from medrobust.explain.dial_stage import write_dial
from medrobust.explain.geometry_stage import write_landscape, write_lipschitz
from medrobust.explain.methods import method_named
from medrobust.explain.sanity.stage import check_maps
from medrobust.explain.similarity_stage import write_cka
from medrobust.explain.stage import Wanted, explain
from medrobust.explain.subject import Subject

Task = Callable[[Track], list[str]]
"""Writes its files below `explain/`; gives what to be warned of."""


@dataclass(frozen=True)
class Questions:
    """What is asked besides maps and their scores."""

    wanted: Wanted = field(default_factory=Wanted)
    sanity: bool = False
    audit: str | None = None
    """The name of a mask."""
    counterfactual: Sequence[str] = ()
    """Findings that are to appear or vanish."""
    landscape: bool = False
    dial: bool = False
    eps: float | None = None
    """The attacks' radius in image units; the training's if None."""


@dataclass(frozen=True)
class Company:
    """Other trainings, opened on the same images."""

    others: Sequence[Subject] = ()
    """To compare maps with; the first judges counterfactuals."""
    shuffled: Subject | None = None
    """One on shuffled labels."""
    compared: Sequence[Subject] = ()
    """Whose layers are compared by CKA; the same run stands for its own branches."""


def tasks(subject: Subject, asked: Questions, company: Company) -> Iterator[Task]:
    """Everything asked, in order; each task is called with what shows its progress."""
    wanted = asked.wanted
    methods = {name: method_named(name) for name in wanted.methods}
    findings = subject.chosen(wanted.findings)
    eps = subject.run.config().attack.eps if asked.eps is None else asked.eps
    yield _with_track(partial(explain, subject, wanted))
    if asked.audit is not None:
        yield _with_track(partial(audit, subject, asked.audit, findings, methods))
    if asked.sanity:
        checks = partial(check_maps, subject, methods, findings, eps=eps)
        yield _with_track(partial(checks, others=company.others, shuffled=company.shuffled))
    judge = company.others[0] if company.others else None
    for finding in asked.counterfactual:
        yield _with_track(partial(make_counterfactuals, subject, finding, other=judge))
    if asked.landscape:
        yield _with_track(partial(write_landscape, subject, eps=asked.eps))
        yield _with_track(partial(write_lipschitz, subject, eps=asked.eps))
    for other in company.compared:
        own = other.run.path.resolve() == subject.run.path.resolve()
        yield _with_track(partial(write_cka, subject, None if own else other))
    if asked.dial:
        yield _with_track(partial(write_dial, subject, eps=asked.eps))


def _with_track(task: Callable[..., list[str]]) -> Task:
    """A task whose progress is its only argument."""
    return lambda track: task(track=track)
