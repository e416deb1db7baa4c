"""Which method answers for which kind of model: found out by trying, written into docs/methods.md.

.venv/bin/python -m tests.contract.kinds.table
"""

from __future__ import annotations

import re
import tempfile
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from services.explanation.attack import AttackQuery, attack
from services.explanation.attack_methods import ATTACKS, AttackMethod
from services.explanation.attribution_methods import ATTRIBUTIONS, AttributionMethod
from services.explanation.explain import ExplainQuery, explain
from services.explanation.methods import METHODS
from services.explanation.parameters import settle
from services.explanation.subject import Subject, Subjects
from tests.contract.kinds.kinds import KINDS, Kind
from wintergarden.errors import InvalidArgument, WintergardenError
from wintergarden.runtime import RuntimeOptions
from wintergarden.store import open_store

PAGE = Path(__file__).parents[3] / "docs" / "methods.md"
BEGIN = "<!-- made by python -m tests.contract.kinds.table -->"
END = "<!-- end -->"

YES, WITH_LAYER, NO = "yes", "`layer`", "no"
FEW = {"steps": 8, "samples": 8, "searches": 3, "starts": 1}
"""Of what methods repeat: that it runs is what is asked here."""

CURE = re.compile(
    r"kernel_shap|name a|name an|attributions such as|needs? .*: name|pgd and boundary"
)
"""What a refusal must say besides what is wrong: what works instead."""


MAY_BE_ZERO = frozenset({"grad_cam", "guided_grad_cam", "neuron_conductance"})
"""Nothing speaks for the output; the unit is at rest."""


@dataclass(frozen=True)
class Cell:
    """What a method answers for a kind of model: yes, yes with a layer named, or a refusal."""

    answer: str
    refusal: str = ""


def open_kinds(folder: str) -> dict[str, Subject]:
    """A store in `folder` with a model of each kind."""
    store = open_store(folder)
    for name, kind in KINDS.items():
        kind.publish(store, name)
    subjects = Subjects(store, RuntimeOptions(device="cpu", intra_op_threads=1), 1 << 28)
    return {name: subjects.open(name, 0, lambda rows: None) for name in KINDS}


def tried(kind: Kind, subject: Subject, method: AttributionMethod | AttackMethod) -> Cell:
    """A method on the model of a kind, by the code that requests run.

    Raises:
        AssertionError: it answered, but not with finite numbers that say something.
    """
    run = _attacked if isinstance(method, AttackMethod) else _explained
    try:
        run(kind, subject, method, "")
        return Cell(YES)
    except WintergardenError as error:
        refusal = error
    if isinstance(refusal, InvalidArgument) and refusal.field == "layer" and kind.layer:
        try:
            run(kind, subject, method, kind.layer)
            return Cell(WITH_LAYER)
        except WintergardenError as error:
            refusal = error
    return Cell(NO, refusal.message)


def _explained(kind: Kind, subject: Subject, method: AttributionMethod, layer: str) -> None:
    rows, background = kind.rows[:3], kind.rows[3:]
    query = ExplainQuery(
        rows=rows, background=background, layer=layer, parameters=_few(method),
    )  # fmt: skip
    answer = explain(method.run, subject, query)
    assert len(answer.attributions) == len(rows)
    assert np.isfinite(answer.attributions).all(), method.name
    if method.name not in MAY_BE_ZERO:
        assert np.abs(answer.attributions).max() > 0, method.name


def _attacked(kind: Kind, subject: Subject, method: AttackMethod, _: str) -> None:
    rows, norm = kind.rows[:3], method.perturb.norms[0]
    radius = (2.0 if method.perturb.flips else 0.2) if method.perturb.is_bounded else 0.0
    allowed = (0, 1) if rows.dtype.kind == "f" else ()
    numbers = settle(method.name, method.parameters, _few(method))
    query = AttackQuery(rows, radius, value_range=allowed, norm=norm, parameters=numbers)
    answer = attack(method.name, method.perturb, subject, query)
    assert np.isfinite(answer.adversarial).all(), method.name
    assert answer.adversarial.min() >= 0, method.name
    assert answer.adversarial.max() <= max(allowed, default=np.inf), method.name


def _few(method: AttributionMethod | AttackMethod) -> dict[str, float]:
    return {p.name: FEW[p.name] for p in method.parameters if p.name in FEW}


def all_cells(subjects: Mapping[str, Subject]) -> dict[tuple[str, str], Cell]:
    """By method and kind."""
    return {
        (method.name, name): tried(kind, subjects[name], method)
        for name, kind in KINDS.items()
        for method in (*ATTRIBUTIONS, *ATTACKS)
    }


def written(cells: Mapping[tuple[str, str], Cell]) -> str:
    """The tables of the page."""
    lines = [
        f"| method | {' | '.join(kind.title for kind in KINDS.values())} |",
        f"|---|{'---|' * len(KINDS)}",
    ]
    for method in METHODS:
        answers = " | ".join(cells[method.name, name].answer for name in KINDS)
        lines.append(f"| `{method.name}` | {answers} |")
    lines += ["", "| kind | which models |", "|---|---|"]
    lines += [f"| {kind.title} | {kind.what} |" for kind in KINDS.values()]
    lines += ["", "What the refusals say, of these small models:", ""]
    for name, kind in KINDS.items():
        said = defaultdict(list)
        for method in METHODS:
            cell = cells[method.name, name]
            if cell.answer == NO:
                said[_general(cell.refusal, name)].append(f"`{method.name}`")
        lines += [f"- {kind.title}, {', '.join(who)}: “{what}”" for what, who in said.items()]
    return "\n".join(lines)


def _general(message: str, model: str) -> str:
    """Without the names of this model and its nodes."""
    message = re.sub(r"cannot differentiate (.*?): ", _operators, message)
    return message.replace(f"model '{model}' version 1", "the model")


def _operators(found: re.Match[str]) -> str:
    named = re.sub(r" \(node '.*?'\)", "", found[1]).split(", ")
    return f"cannot differentiate {', '.join(dict.fromkeys(named))}: "


def write_page() -> None:
    """The tables between the page's marks."""
    with tempfile.TemporaryDirectory() as folder:
        tables = written(all_cells(open_kinds(folder)))
    text = PAGE.read_text()
    before, _, rest = text.partition(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}\n{tables}\n{END}{rest.partition(END)[2]}")


if __name__ == "__main__":
    write_page()
