"""Translates wintergarden.v1.ExplanationService to the methods and back. No model code."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from time import monotonic

import structlog

from services.explanation.analysis import Analyst, Measured
from services.explanation.attack import attack, evaluate_robustness
from services.explanation.explain import explain
from services.explanation.methods import METHODS, attack_method, attribution
from services.explanation.parameters import settle
from services.explanation.pictures import (
    Picture,
    adversarial_pictures,
    analysis_pictures,
    explanation_pictures,
    robustness_pictures,
)
from services.explanation.requests import attack_query, explain_query, norm_of
from services.explanation.subject import Subject, Subjects
from services.explanation.turns import Turns
from wintergarden.errors import Cancelled, DeadlineExceeded
from wintergarden.service.transport import Call, Route, unary
from wintergarden.store import Manifest
from wintergarden.wire import explanation_pb2 as pb
from wintergarden.wire import tensor_pb2, tensors

SERVICE = "wintergarden.v1.ExplanationService"

_log = structlog.get_logger(__name__)


class Servicer:
    """Each call that computes waits for its turn."""

    def __init__(self, subjects: Subjects, analyst: Analyst, turns: Turns) -> None:
        self._subjects = subjects
        self._analyst = analyst
        self._turns = turns

    def routes(self) -> list[Route]:
        return [
            unary(SERVICE, "ListMethods", self.list_methods, is_inline=True),
            unary(SERVICE, "Explain", self.explain),
            unary(SERVICE, "Attack", self.attack),
            unary(SERVICE, "EvaluateRobustness", self.evaluate_robustness),
            unary(SERVICE, "AnalyseModels", self.analyse_models),
        ]

    def list_methods(self, request: pb.ListMethodsRequest, call: Call) -> pb.ListMethodsResponse:
        return pb.ListMethodsResponse(
            methods=[
                pb.ListMethodsResponse.Method(
                    name=m.name,
                    kind=m.kind,
                    summary=m.summary,
                    needs_gradient=m.needs_gradient,
                    source=m.source,
                    parameters=[
                        pb.ListMethodsResponse.Parameter(
                            name=p.name,
                            default_value=p.default,
                            least=p.least,
                            most=p.most,
                            whole=p.is_whole,
                            summary=p.summary,
                        )
                        for p in m.parameters
                    ],
                )
                for m in METHODS
            ]
        )

    def explain(self, request: pb.ExplainRequest, call: Call) -> pb.ExplainResponse:
        method = attribution(request.method)
        query = explain_query(request)
        with self._examined(request, call) as subject:
            answer = explain(method.run, subject, query)
            pictures = explanation_pictures(answer) if request.render else []
        regions = None if answer.regions is None else tensors.to_message("regions", answer.regions)
        return pb.ExplainResponse(
            model=_identity(answer.manifest),
            method=method.name,
            output_name=answer.head.name,
            output_space=answer.head.space,
            attributions=tensors.to_message("attributions", answer.attributions),
            player_values=tensors.to_message("player_values", answer.player_values),
            standard_errors=tensors.to_message("standard_errors", answer.standard_errors),
            targets=answer.targets,
            base_values=answer.base_values,
            outputs=answer.outputs,
            efficiency_gaps=answer.efficiency_gaps,
            evaluations=answer.evaluations,
            seed=answer.seed,
            exact=answer.is_exact,
            background=answer.background,
            pictures=_messages(pictures),
            regions=regions,
        )

    def attack(self, request: pb.AttackRequest, call: Call) -> pb.AttackResponse:
        method = attack_method(request.method)
        query = attack_query(request)
        with self._examined(request, call) as subject:
            answer = attack(method.name, method.perturb, subject, query)
            pictures = adversarial_pictures(answer) if request.render else []
        return pb.AttackResponse(
            model=_identity(answer.manifest),
            method=method.name,
            adversarial=tensors.to_message(subject.input.name, answer.adversarial),
            predictions_before=answer.predictions_before,
            predictions_after=answer.predictions_after,
            confidences_before=answer.confidences_before,
            confidences_after=answer.confidences_after,
            distances_linf=answer.distances_linf,
            successes=answer.successes,
            epsilon=answer.ball.epsilon,
            units=answer.ball.box.units,
            value_range=answer.ball.box.finite_range(),
            pictures=_messages(pictures),
            output_name=answer.head.name,
            norm=answer.ball.norm,
            distances_l2=answer.distances_l2,
            distances_l0=answer.distances_l0,
            queries=answer.queries,
            gradients=answer.gradients,
        )

    def evaluate_robustness(
        self, request: pb.EvaluateRobustnessRequest, call: Call
    ) -> pb.EvaluateRobustnessResponse:
        method = attack_method(request.method)
        norm = norm_of(request)
        parameters = settle(method.name, method.parameters, request.parameters)
        with self._examined(request, call) as subject:
            answer = evaluate_robustness(
                method.name,
                method.perturb,
                subject,
                tuple(request.epsilons),
                request.max_examples,
                norm=norm,
                parameters=parameters,
            )
            beside = None
            if request.beside:
                other = self._subjects.open(request.beside, 0, _checkpoint(call))
                beside = evaluate_robustness(
                    method.name,
                    method.perturb,
                    other,
                    [ball.epsilon for ball in answer.balls],
                    request.max_examples,
                    norm=norm,
                    parameters=parameters,
                    examples_of=subject,
                )
            pictures = robustness_pictures(answer, beside) if request.render else []
        return pb.EvaluateRobustnessResponse(
            model=_identity(answer.manifest),
            method=method.name,
            epsilons=[ball.epsilon for ball in answer.balls],
            accuracies=answer.accuracies,
            examples=answer.examples,
            units=answer.balls[0].box.units,
            norm=answer.balls[0].norm,
            beside=None if beside is None else _identity(beside.manifest),
            accuracies_beside=() if beside is None else beside.accuracies,
            pictures=_messages(pictures),
        )

    def analyse_models(
        self, request: pb.AnalyseModelsRequest, call: Call
    ) -> pb.AnalyseModelsResponse:
        models = [
            Measured(m.model_name, m.model_version, m.latency_ms, m.rows_per_s, m.length)
            for m in request.models
        ]
        checkpoint = _checkpoint(call)
        with self._turns.taken(checkpoint):
            analyses = self._analyst.analyse(models, request.length, checkpoint)
            pictures = analysis_pictures(analyses) if request.render else []
        return pb.AnalyseModelsResponse(
            models=[
                pb.AnalyseModelsResponse.Analysis(
                    model=_identity(a.manifest),
                    architecture=a.manifest.architecture,
                    task=a.manifest.task,
                    parameters=a.cost.parameters,
                    operations=a.cost.operations,
                    activation_bytes=a.cost.activation_bytes,
                    peak_activation_bytes=a.cost.peak_activation_bytes,
                    uncounted=a.cost.uncounted,
                    quality_metric=a.quality_metric,
                    quality=a.quality,
                    latency_ms=a.measured.latency_ms,
                    rows_per_s=a.measured.rows_per_s,
                    problem=a.problem,
                    length=a.length,
                    has_open_axes=a.has_open_axes,
                )
                for a in analyses
            ],
            pictures=_messages(pictures),
        )

    @contextmanager
    def _examined(
        self,
        request: pb.ExplainRequest | pb.AttackRequest | pb.EvaluateRobustnessRequest,
        call: Call,
    ) -> Iterator[Subject]:
        """The model version asked for, in this request's turn; one line of log at the end."""
        checkpoint = _checkpoint(call)
        with self._turns.taken(checkpoint):
            start = monotonic()
            subject = self._subjects.open(request.model_name, request.model_version, checkpoint)
            yield subject
            _log.info(
                call.method.rsplit("/", 1)[-1],
                model=request.model_name,
                version=subject.manifest.version,
                method=request.method,
                ms=round(1000 * (monotonic() - start), 1),
            )


def _checkpoint(call: Call) -> Callable[..., None]:
    def checkpoint(_rows: int = 0) -> None:
        if call.is_gone:
            raise Cancelled("the client has gone")
        if call.is_cancelled:
            raise DeadlineExceeded("the deadline passed before the answer was ready")

    return checkpoint


def _identity(manifest: Manifest) -> tensor_pb2.ModelIdentity:
    return tensor_pb2.ModelIdentity(
        name=manifest.model, version=manifest.version, digest=manifest.digest
    )


def _messages(pictures: Iterable[Picture]) -> list[tensor_pb2.Picture]:
    return [
        tensor_pb2.Picture(name=p.name, media_type=p.media_type, content=p.content)
        for p in pictures
    ]
