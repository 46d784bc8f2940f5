"""What can be asked about a model, as a list of tasks."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

from medrobust.attacks.ball import Norm
from medrobust.errors import MedrobustError
from medrobust.evaluate import Track
from medrobust.explain.audit import audit
from medrobust.explain.average_stage import write_averages
from medrobust.explain.counterfactual_stage import make_counterfactuals
from medrobust.explain.dial_stage import write_dial
from medrobust.explain.geometry_stage import radius, write_landscape, write_lipschitz
from medrobust.explain.methods import method_named
from medrobust.explain.sanity.stage import check_maps
from medrobust.explain.similarity_stage import write_cka
from medrobust.explain.stage import Wanted, explain
from medrobust.explain.subject import Subject
from medrobust.explain.truth import named_masks

Untracked = Callable[..., list[str]]
"""Takes what shows its progress as `track`."""


@dataclass(frozen=True)
class Task:
    """Writes its files below `explain/`; call it with what shows its progress."""

    work: Untracked
    tells_results: bool = False
    """Whether the sentences that it returns are what it found; else they are warnings."""

    def __call__(self, track: Track) -> list[str]:
        """Do it; return sentences for the user."""
        return self.work(track=track)


@dataclass(frozen=True)
class Questions:
    """What is asked of a model."""

    wanted: Wanted = field(default_factory=Wanted)
    maps: bool = True
    """Whether maps are made and scored; the methods of `wanted` serve the other questions, too."""
    average: bool = False
    sanity: bool = False
    audit: str | None = None
    """The name of a mask."""
    counterfactual: Sequence[str] = ()
    """Findings that are to appear or vanish."""
    landscape: bool = False
    dial: bool = False
    eps: float | None = None
    """The l∞ radius of sanity and landscape, in image units; the training's if None."""


@dataclass(frozen=True)
class Company:
    """Other trainings, opened on the same images."""

    others: Sequence[Subject] = ()
    """To compare maps with; the first judges counterfactuals."""
    shuffled: Subject | None = None
    """One on shuffled labels."""
    compared: Sequence[Subject] = ()
    """Whose layers are compared by CKA; the same run stands for its own branches."""


def tasks(subject: Subject, asked: Questions, company: Company) -> list[Task]:
    """Everything asked, in order.

    Raises:
        MedrobustError: something asked is not to be had, before any work is done.
    """
    _check(subject, asked)
    networks = map(Task, _of_networks(subject, asked, company))
    return [*_of_maps(subject, asked, company), *networks]


def _check(subject: Subject, asked: Questions) -> None:
    subject.chosen(asked.wanted.findings)
    if asked.counterfactual:
        subject.chosen(asked.counterfactual)
    for names in (asked.wanted.truth, asked.wanted.inside, [asked.audit] if asked.audit else ()):
        if names:
            named_masks(subject.store, names)
    if asked.sanity or asked.landscape:
        radius(subject, asked.eps, "linf")
    if asked.dial and len(subject.networks) < 2:
        raise MedrobustError(
            f"{subject.run.path}: expected a dual run for --dial, found one with a single branch; "
            "leave it out"
        )


def _of_maps(subject: Subject, asked: Questions, company: Company) -> Iterator[Task]:
    """Maps, and what is asked of them."""
    methods = {name: method_named(name) for name in asked.wanted.methods}
    findings = subject.chosen(asked.wanted.findings)
    if asked.maps:
        yield Task(partial(explain, subject, asked.wanted))
    if asked.average:
        yield Task(partial(write_averages, subject, methods, findings))
    if asked.audit is not None:
        yield Task(partial(audit, subject, asked.audit, findings, methods), tells_results=True)
    if asked.sanity:
        eps = radius(subject, asked.eps, "linf")
        checks = partial(check_maps, subject, methods, findings, eps=eps)
        yield Task(partial(checks, others=company.others, shuffled=company.shuffled))


def _of_networks(subject: Subject, asked: Questions, company: Company) -> Iterator[Untracked]:
    """What is asked of the networks themselves."""
    judge = company.others[0] if company.others else None
    for shown in asked.counterfactual:
        yield partial(make_counterfactuals, subject, shown, other=judge)
    if asked.landscape:
        norm: Norm | None = None if asked.eps is None else "linf"
        wanted: Sequence[str | None] = asked.wanted.findings or [None]
        for finding in wanted:
            yield partial(write_landscape, subject, finding, eps=asked.eps)
            yield partial(write_lipschitz, subject, finding, eps=asked.eps, norm=norm)
    for other in company.compared:
        own = other.run.path.resolve() == subject.run.path.resolve()
        yield partial(write_cka, subject, None if own else other)
    if asked.dial:
        yield partial(write_dial, subject)
