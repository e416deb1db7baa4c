from wintergarden.wire import tensor_pb2 as _tensor_pb2
from wintergarden.wire import training_pb2 as _training_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ListMethodsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListMethodsResponse(_message.Message):
    __slots__ = ("methods",)
    class Method(_message.Message):
        __slots__ = ("name", "kind", "summary", "needs_gradient", "source", "parameters")
        NAME_FIELD_NUMBER: _ClassVar[int]
        KIND_FIELD_NUMBER: _ClassVar[int]
        SUMMARY_FIELD_NUMBER: _ClassVar[int]
        NEEDS_GRADIENT_FIELD_NUMBER: _ClassVar[int]
        SOURCE_FIELD_NUMBER: _ClassVar[int]
        PARAMETERS_FIELD_NUMBER: _ClassVar[int]
        name: str
        kind: str
        summary: str
        needs_gradient: bool
        source: str
        parameters: _containers.RepeatedCompositeFieldContainer[ListMethodsResponse.Parameter]
        def __init__(self, name: _Optional[str] = ..., kind: _Optional[str] = ..., summary: _Optional[str] = ..., needs_gradient: bool = ..., source: _Optional[str] = ..., parameters: _Optional[_Iterable[_Union[ListMethodsResponse.Parameter, _Mapping]]] = ...) -> None: ...
    class Parameter(_message.Message):
        __slots__ = ("name", "default_value", "least", "most", "whole", "summary")
        NAME_FIELD_NUMBER: _ClassVar[int]
        DEFAULT_VALUE_FIELD_NUMBER: _ClassVar[int]
        LEAST_FIELD_NUMBER: _ClassVar[int]
        MOST_FIELD_NUMBER: _ClassVar[int]
        WHOLE_FIELD_NUMBER: _ClassVar[int]
        SUMMARY_FIELD_NUMBER: _ClassVar[int]
        name: str
        default_value: float
        least: float
        most: float
        whole: bool
        summary: str
        def __init__(self, name: _Optional[str] = ..., default_value: _Optional[float] = ..., least: _Optional[float] = ..., most: _Optional[float] = ..., whole: bool = ..., summary: _Optional[str] = ...) -> None: ...
    METHODS_FIELD_NUMBER: _ClassVar[int]
    methods: _containers.RepeatedCompositeFieldContainer[ListMethodsResponse.Method]
    def __init__(self, methods: _Optional[_Iterable[_Union[ListMethodsResponse.Method, _Mapping]]] = ...) -> None: ...

class Players(_message.Message):
    __slots__ = ("features", "grid", "feature_mask")
    class Grid(_message.Message):
        __slots__ = ("rows", "columns")
        ROWS_FIELD_NUMBER: _ClassVar[int]
        COLUMNS_FIELD_NUMBER: _ClassVar[int]
        rows: int
        columns: int
        def __init__(self, rows: _Optional[int] = ..., columns: _Optional[int] = ...) -> None: ...
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    GRID_FIELD_NUMBER: _ClassVar[int]
    FEATURE_MASK_FIELD_NUMBER: _ClassVar[int]
    features: bool
    grid: Players.Grid
    feature_mask: _tensor_pb2.Tensor
    def __init__(self, features: bool = ..., grid: _Optional[_Union[Players.Grid, _Mapping]] = ..., feature_mask: _Optional[_Union[_tensor_pb2.Tensor, _Mapping]] = ...) -> None: ...

class Region(_message.Message):
    __slots__ = ("everywhere", "predicted", "box", "mask")
    class Box(_message.Message):
        __slots__ = ("begin", "end")
        BEGIN_FIELD_NUMBER: _ClassVar[int]
        END_FIELD_NUMBER: _ClassVar[int]
        begin: _containers.RepeatedScalarFieldContainer[int]
        end: _containers.RepeatedScalarFieldContainer[int]
        def __init__(self, begin: _Optional[_Iterable[int]] = ..., end: _Optional[_Iterable[int]] = ...) -> None: ...
    EVERYWHERE_FIELD_NUMBER: _ClassVar[int]
    PREDICTED_FIELD_NUMBER: _ClassVar[int]
    BOX_FIELD_NUMBER: _ClassVar[int]
    MASK_FIELD_NUMBER: _ClassVar[int]
    everywhere: bool
    predicted: bool
    box: Region.Box
    mask: _tensor_pb2.Tensor
    def __init__(self, everywhere: bool = ..., predicted: bool = ..., box: _Optional[_Union[Region.Box, _Mapping]] = ..., mask: _Optional[_Union[_tensor_pb2.Tensor, _Mapping]] = ...) -> None: ...

class ExplainRequest(_message.Message):
    __slots__ = ("model_name", "model_version", "method", "input", "targets", "output_name", "players", "background", "max_evaluations", "seed", "render", "background_summary", "parameters", "layer", "region", "context")
    class ParametersEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    MODEL_NAME_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    INPUT_FIELD_NUMBER: _ClassVar[int]
    TARGETS_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_NAME_FIELD_NUMBER: _ClassVar[int]
    PLAYERS_FIELD_NUMBER: _ClassVar[int]
    BACKGROUND_FIELD_NUMBER: _ClassVar[int]
    MAX_EVALUATIONS_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    RENDER_FIELD_NUMBER: _ClassVar[int]
    BACKGROUND_SUMMARY_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    LAYER_FIELD_NUMBER: _ClassVar[int]
    REGION_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    model_name: str
    model_version: int
    method: str
    input: _tensor_pb2.Tensor
    targets: _containers.RepeatedScalarFieldContainer[int]
    output_name: str
    players: Players
    background: _tensor_pb2.Tensor
    max_evaluations: int
    seed: int
    render: bool
    background_summary: str
    parameters: _containers.ScalarMap[str, float]
    layer: str
    region: Region
    context: _containers.RepeatedCompositeFieldContainer[_tensor_pb2.Tensor]
    def __init__(self, model_name: _Optional[str] = ..., model_version: _Optional[int] = ..., method: _Optional[str] = ..., input: _Optional[_Union[_tensor_pb2.Tensor, _Mapping]] = ..., targets: _Optional[_Iterable[int]] = ..., output_name: _Optional[str] = ..., players: _Optional[_Union[Players, _Mapping]] = ..., background: _Optional[_Union[_tensor_pb2.Tensor, _Mapping]] = ..., max_evaluations: _Optional[int] = ..., seed: _Optional[int] = ..., render: bool = ..., background_summary: _Optional[str] = ..., parameters: _Optional[_Mapping[str, float]] = ..., layer: _Optional[str] = ..., region: _Optional[_Union[Region, _Mapping]] = ..., context: _Optional[_Iterable[_Union[_tensor_pb2.Tensor, _Mapping]]] = ...) -> None: ...

class ExplainResponse(_message.Message):
    __slots__ = ("model", "method", "output_name", "output_space", "attributions", "player_values", "standard_errors", "targets", "base_values", "outputs", "efficiency_gaps", "evaluations", "seed", "exact", "background", "pictures", "regions")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_NAME_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_SPACE_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTIONS_FIELD_NUMBER: _ClassVar[int]
    PLAYER_VALUES_FIELD_NUMBER: _ClassVar[int]
    STANDARD_ERRORS_FIELD_NUMBER: _ClassVar[int]
    TARGETS_FIELD_NUMBER: _ClassVar[int]
    BASE_VALUES_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    EFFICIENCY_GAPS_FIELD_NUMBER: _ClassVar[int]
    EVALUATIONS_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    EXACT_FIELD_NUMBER: _ClassVar[int]
    BACKGROUND_FIELD_NUMBER: _ClassVar[int]
    PICTURES_FIELD_NUMBER: _ClassVar[int]
    REGIONS_FIELD_NUMBER: _ClassVar[int]
    model: _tensor_pb2.ModelIdentity
    method: str
    output_name: str
    output_space: str
    attributions: _tensor_pb2.Tensor
    player_values: _tensor_pb2.Tensor
    standard_errors: _tensor_pb2.Tensor
    targets: _containers.RepeatedScalarFieldContainer[int]
    base_values: _containers.RepeatedScalarFieldContainer[float]
    outputs: _containers.RepeatedScalarFieldContainer[float]
    efficiency_gaps: _containers.RepeatedScalarFieldContainer[float]
    evaluations: int
    seed: int
    exact: bool
    background: str
    pictures: _containers.RepeatedCompositeFieldContainer[_tensor_pb2.Picture]
    regions: _tensor_pb2.Tensor
    def __init__(self, model: _Optional[_Union[_tensor_pb2.ModelIdentity, _Mapping]] = ..., method: _Optional[str] = ..., output_name: _Optional[str] = ..., output_space: _Optional[str] = ..., attributions: _Optional[_Union[_tensor_pb2.Tensor, _Mapping]] = ..., player_values: _Optional[_Union[_tensor_pb2.Tensor, _Mapping]] = ..., standard_errors: _Optional[_Union[_tensor_pb2.Tensor, _Mapping]] = ..., targets: _Optional[_Iterable[int]] = ..., base_values: _Optional[_Iterable[float]] = ..., outputs: _Optional[_Iterable[float]] = ..., efficiency_gaps: _Optional[_Iterable[float]] = ..., evaluations: _Optional[int] = ..., seed: _Optional[int] = ..., exact: bool = ..., background: _Optional[str] = ..., pictures: _Optional[_Iterable[_Union[_tensor_pb2.Picture, _Mapping]]] = ..., regions: _Optional[_Union[_tensor_pb2.Tensor, _Mapping]] = ...) -> None: ...

class AttackRequest(_message.Message):
    __slots__ = ("model_name", "model_version", "method", "input", "labels", "targets", "epsilon", "value_range", "output_name", "render", "norm", "changeable", "parameters", "one_of")
    class ParametersEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    class Group(_message.Message):
        __slots__ = ("columns",)
        COLUMNS_FIELD_NUMBER: _ClassVar[int]
        columns: _containers.RepeatedScalarFieldContainer[int]
        def __init__(self, columns: _Optional[_Iterable[int]] = ...) -> None: ...
    MODEL_NAME_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    INPUT_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    TARGETS_FIELD_NUMBER: _ClassVar[int]
    EPSILON_FIELD_NUMBER: _ClassVar[int]
    VALUE_RANGE_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_NAME_FIELD_NUMBER: _ClassVar[int]
    RENDER_FIELD_NUMBER: _ClassVar[int]
    NORM_FIELD_NUMBER: _ClassVar[int]
    CHANGEABLE_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    ONE_OF_FIELD_NUMBER: _ClassVar[int]
    model_name: str
    model_version: int
    method: str
    input: _tensor_pb2.Tensor
    labels: _containers.RepeatedScalarFieldContainer[int]
    targets: _containers.RepeatedScalarFieldContainer[int]
    epsilon: float
    value_range: _containers.RepeatedScalarFieldContainer[float]
    output_name: str
    render: bool
    norm: str
    changeable: _tensor_pb2.Tensor
    parameters: _containers.ScalarMap[str, float]
    one_of: _containers.RepeatedCompositeFieldContainer[AttackRequest.Group]
    def __init__(self, model_name: _Optional[str] = ..., model_version: _Optional[int] = ..., method: _Optional[str] = ..., input: _Optional[_Union[_tensor_pb2.Tensor, _Mapping]] = ..., labels: _Optional[_Iterable[int]] = ..., targets: _Optional[_Iterable[int]] = ..., epsilon: _Optional[float] = ..., value_range: _Optional[_Iterable[float]] = ..., output_name: _Optional[str] = ..., render: bool = ..., norm: _Optional[str] = ..., changeable: _Optional[_Union[_tensor_pb2.Tensor, _Mapping]] = ..., parameters: _Optional[_Mapping[str, float]] = ..., one_of: _Optional[_Iterable[_Union[AttackRequest.Group, _Mapping]]] = ...) -> None: ...

class AttackResponse(_message.Message):
    __slots__ = ("model", "method", "adversarial", "predictions_before", "predictions_after", "confidences_before", "confidences_after", "distances_linf", "successes", "epsilon", "units", "value_range", "pictures", "output_name", "norm", "distances_l2", "queries", "gradients", "distances_l0")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    ADVERSARIAL_FIELD_NUMBER: _ClassVar[int]
    PREDICTIONS_BEFORE_FIELD_NUMBER: _ClassVar[int]
    PREDICTIONS_AFTER_FIELD_NUMBER: _ClassVar[int]
    CONFIDENCES_BEFORE_FIELD_NUMBER: _ClassVar[int]
    CONFIDENCES_AFTER_FIELD_NUMBER: _ClassVar[int]
    DISTANCES_LINF_FIELD_NUMBER: _ClassVar[int]
    SUCCESSES_FIELD_NUMBER: _ClassVar[int]
    EPSILON_FIELD_NUMBER: _ClassVar[int]
    UNITS_FIELD_NUMBER: _ClassVar[int]
    VALUE_RANGE_FIELD_NUMBER: _ClassVar[int]
    PICTURES_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_NAME_FIELD_NUMBER: _ClassVar[int]
    NORM_FIELD_NUMBER: _ClassVar[int]
    DISTANCES_L2_FIELD_NUMBER: _ClassVar[int]
    QUERIES_FIELD_NUMBER: _ClassVar[int]
    GRADIENTS_FIELD_NUMBER: _ClassVar[int]
    DISTANCES_L0_FIELD_NUMBER: _ClassVar[int]
    model: _tensor_pb2.ModelIdentity
    method: str
    adversarial: _tensor_pb2.Tensor
    predictions_before: _containers.RepeatedScalarFieldContainer[int]
    predictions_after: _containers.RepeatedScalarFieldContainer[int]
    confidences_before: _containers.RepeatedScalarFieldContainer[float]
    confidences_after: _containers.RepeatedScalarFieldContainer[float]
    distances_linf: _containers.RepeatedScalarFieldContainer[float]
    successes: _containers.RepeatedScalarFieldContainer[bool]
    epsilon: float
    units: str
    value_range: _containers.RepeatedScalarFieldContainer[float]
    pictures: _containers.RepeatedCompositeFieldContainer[_tensor_pb2.Picture]
    output_name: str
    norm: str
    distances_l2: _containers.RepeatedScalarFieldContainer[float]
    queries: _containers.RepeatedScalarFieldContainer[int]
    gradients: _containers.RepeatedScalarFieldContainer[int]
    distances_l0: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, model: _Optional[_Union[_tensor_pb2.ModelIdentity, _Mapping]] = ..., method: _Optional[str] = ..., adversarial: _Optional[_Union[_tensor_pb2.Tensor, _Mapping]] = ..., predictions_before: _Optional[_Iterable[int]] = ..., predictions_after: _Optional[_Iterable[int]] = ..., confidences_before: _Optional[_Iterable[float]] = ..., confidences_after: _Optional[_Iterable[float]] = ..., distances_linf: _Optional[_Iterable[float]] = ..., successes: _Optional[_Iterable[bool]] = ..., epsilon: _Optional[float] = ..., units: _Optional[str] = ..., value_range: _Optional[_Iterable[float]] = ..., pictures: _Optional[_Iterable[_Union[_tensor_pb2.Picture, _Mapping]]] = ..., output_name: _Optional[str] = ..., norm: _Optional[str] = ..., distances_l2: _Optional[_Iterable[float]] = ..., queries: _Optional[_Iterable[int]] = ..., gradients: _Optional[_Iterable[int]] = ..., distances_l0: _Optional[_Iterable[float]] = ...) -> None: ...

class EvaluateRobustnessRequest(_message.Message):
    __slots__ = ("model_name", "model_version", "method", "epsilons", "max_examples", "render", "norm", "parameters", "beside")
    class ParametersEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    MODEL_NAME_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    EPSILONS_FIELD_NUMBER: _ClassVar[int]
    MAX_EXAMPLES_FIELD_NUMBER: _ClassVar[int]
    RENDER_FIELD_NUMBER: _ClassVar[int]
    NORM_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    BESIDE_FIELD_NUMBER: _ClassVar[int]
    model_name: str
    model_version: int
    method: str
    epsilons: _containers.RepeatedScalarFieldContainer[float]
    max_examples: int
    render: bool
    norm: str
    parameters: _containers.ScalarMap[str, float]
    beside: str
    def __init__(self, model_name: _Optional[str] = ..., model_version: _Optional[int] = ..., method: _Optional[str] = ..., epsilons: _Optional[_Iterable[float]] = ..., max_examples: _Optional[int] = ..., render: bool = ..., norm: _Optional[str] = ..., parameters: _Optional[_Mapping[str, float]] = ..., beside: _Optional[str] = ...) -> None: ...

class EvaluateRobustnessResponse(_message.Message):
    __slots__ = ("model", "method", "epsilons", "accuracies", "examples", "units", "pictures", "norm", "beside", "accuracies_beside")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    EPSILONS_FIELD_NUMBER: _ClassVar[int]
    ACCURACIES_FIELD_NUMBER: _ClassVar[int]
    EXAMPLES_FIELD_NUMBER: _ClassVar[int]
    UNITS_FIELD_NUMBER: _ClassVar[int]
    PICTURES_FIELD_NUMBER: _ClassVar[int]
    NORM_FIELD_NUMBER: _ClassVar[int]
    BESIDE_FIELD_NUMBER: _ClassVar[int]
    ACCURACIES_BESIDE_FIELD_NUMBER: _ClassVar[int]
    model: _tensor_pb2.ModelIdentity
    method: str
    epsilons: _containers.RepeatedScalarFieldContainer[float]
    accuracies: _containers.RepeatedScalarFieldContainer[float]
    examples: int
    units: str
    pictures: _containers.RepeatedCompositeFieldContainer[_tensor_pb2.Picture]
    norm: str
    beside: _tensor_pb2.ModelIdentity
    accuracies_beside: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, model: _Optional[_Union[_tensor_pb2.ModelIdentity, _Mapping]] = ..., method: _Optional[str] = ..., epsilons: _Optional[_Iterable[float]] = ..., accuracies: _Optional[_Iterable[float]] = ..., examples: _Optional[int] = ..., units: _Optional[str] = ..., pictures: _Optional[_Iterable[_Union[_tensor_pb2.Picture, _Mapping]]] = ..., norm: _Optional[str] = ..., beside: _Optional[_Union[_tensor_pb2.ModelIdentity, _Mapping]] = ..., accuracies_beside: _Optional[_Iterable[float]] = ...) -> None: ...

class SubmitExplanationRequest(_message.Message):
    __slots__ = ("explain", "attack", "robustness", "examples", "request_id", "priority", "max_seconds", "max_memory_mb")
    class Examples(_message.Message):
        __slots__ = ("start", "count")
        START_FIELD_NUMBER: _ClassVar[int]
        COUNT_FIELD_NUMBER: _ClassVar[int]
        start: int
        count: int
        def __init__(self, start: _Optional[int] = ..., count: _Optional[int] = ...) -> None: ...
    EXPLAIN_FIELD_NUMBER: _ClassVar[int]
    ATTACK_FIELD_NUMBER: _ClassVar[int]
    ROBUSTNESS_FIELD_NUMBER: _ClassVar[int]
    EXAMPLES_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    MAX_SECONDS_FIELD_NUMBER: _ClassVar[int]
    MAX_MEMORY_MB_FIELD_NUMBER: _ClassVar[int]
    explain: ExplainRequest
    attack: AttackRequest
    robustness: EvaluateRobustnessRequest
    examples: SubmitExplanationRequest.Examples
    request_id: str
    priority: int
    max_seconds: float
    max_memory_mb: int
    def __init__(self, explain: _Optional[_Union[ExplainRequest, _Mapping]] = ..., attack: _Optional[_Union[AttackRequest, _Mapping]] = ..., robustness: _Optional[_Union[EvaluateRobustnessRequest, _Mapping]] = ..., examples: _Optional[_Union[SubmitExplanationRequest.Examples, _Mapping]] = ..., request_id: _Optional[str] = ..., priority: _Optional[int] = ..., max_seconds: _Optional[float] = ..., max_memory_mb: _Optional[int] = ...) -> None: ...

class SubmitExplanationResponse(_message.Message):
    __slots__ = ("job",)
    JOB_FIELD_NUMBER: _ClassVar[int]
    job: _training_pb2.Job
    def __init__(self, job: _Optional[_Union[_training_pb2.Job, _Mapping]] = ...) -> None: ...

class AnalyseModelsRequest(_message.Message):
    __slots__ = ("models", "length", "render")
    class Measured(_message.Message):
        __slots__ = ("model_name", "model_version", "latency_ms", "rows_per_s", "length")
        MODEL_NAME_FIELD_NUMBER: _ClassVar[int]
        MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
        LATENCY_MS_FIELD_NUMBER: _ClassVar[int]
        ROWS_PER_S_FIELD_NUMBER: _ClassVar[int]
        LENGTH_FIELD_NUMBER: _ClassVar[int]
        model_name: str
        model_version: int
        latency_ms: float
        rows_per_s: float
        length: int
        def __init__(self, model_name: _Optional[str] = ..., model_version: _Optional[int] = ..., latency_ms: _Optional[float] = ..., rows_per_s: _Optional[float] = ..., length: _Optional[int] = ...) -> None: ...
    MODELS_FIELD_NUMBER: _ClassVar[int]
    LENGTH_FIELD_NUMBER: _ClassVar[int]
    RENDER_FIELD_NUMBER: _ClassVar[int]
    models: _containers.RepeatedCompositeFieldContainer[AnalyseModelsRequest.Measured]
    length: int
    render: bool
    def __init__(self, models: _Optional[_Iterable[_Union[AnalyseModelsRequest.Measured, _Mapping]]] = ..., length: _Optional[int] = ..., render: bool = ...) -> None: ...

class AnalyseModelsResponse(_message.Message):
    __slots__ = ("models", "pictures")
    class Analysis(_message.Message):
        __slots__ = ("model", "architecture", "task", "parameters", "operations", "activation_bytes", "peak_activation_bytes", "uncounted", "quality_metric", "quality", "latency_ms", "rows_per_s", "problem", "length", "has_open_axes")
        MODEL_FIELD_NUMBER: _ClassVar[int]
        ARCHITECTURE_FIELD_NUMBER: _ClassVar[int]
        TASK_FIELD_NUMBER: _ClassVar[int]
        PARAMETERS_FIELD_NUMBER: _ClassVar[int]
        OPERATIONS_FIELD_NUMBER: _ClassVar[int]
        ACTIVATION_BYTES_FIELD_NUMBER: _ClassVar[int]
        PEAK_ACTIVATION_BYTES_FIELD_NUMBER: _ClassVar[int]
        UNCOUNTED_FIELD_NUMBER: _ClassVar[int]
        QUALITY_METRIC_FIELD_NUMBER: _ClassVar[int]
        QUALITY_FIELD_NUMBER: _ClassVar[int]
        LATENCY_MS_FIELD_NUMBER: _ClassVar[int]
        ROWS_PER_S_FIELD_NUMBER: _ClassVar[int]
        PROBLEM_FIELD_NUMBER: _ClassVar[int]
        LENGTH_FIELD_NUMBER: _ClassVar[int]
        HAS_OPEN_AXES_FIELD_NUMBER: _ClassVar[int]
        model: _tensor_pb2.ModelIdentity
        architecture: str
        task: str
        parameters: int
        operations: int
        activation_bytes: int
        peak_activation_bytes: int
        uncounted: _containers.RepeatedScalarFieldContainer[str]
        quality_metric: str
        quality: float
        latency_ms: float
        rows_per_s: float
        problem: str
        length: int
        has_open_axes: bool
        def __init__(self, model: _Optional[_Union[_tensor_pb2.ModelIdentity, _Mapping]] = ..., architecture: _Optional[str] = ..., task: _Optional[str] = ..., parameters: _Optional[int] = ..., operations: _Optional[int] = ..., activation_bytes: _Optional[int] = ..., peak_activation_bytes: _Optional[int] = ..., uncounted: _Optional[_Iterable[str]] = ..., quality_metric: _Optional[str] = ..., quality: _Optional[float] = ..., latency_ms: _Optional[float] = ..., rows_per_s: _Optional[float] = ..., problem: _Optional[str] = ..., length: _Optional[int] = ..., has_open_axes: bool = ...) -> None: ...
    MODELS_FIELD_NUMBER: _ClassVar[int]
    PICTURES_FIELD_NUMBER: _ClassVar[int]
    models: _containers.RepeatedCompositeFieldContainer[AnalyseModelsResponse.Analysis]
    pictures: _containers.RepeatedCompositeFieldContainer[_tensor_pb2.Picture]
    def __init__(self, models: _Optional[_Iterable[_Union[AnalyseModelsResponse.Analysis, _Mapping]]] = ..., pictures: _Optional[_Iterable[_Union[_tensor_pb2.Picture, _Mapping]]] = ...) -> None: ...
