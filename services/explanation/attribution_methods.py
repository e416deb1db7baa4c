"""The attributions there are, with the numbers each can be tuned by."""

from __future__ import annotations

from dataclasses import dataclass, field

from services.explanation import gradient_methods as by
from services.explanation import layer_methods as within
from services.explanation.explain import Attribution
from services.explanation.gradient_task import Run, attribution_of
from services.explanation.method import Method
from services.explanation.parameters import Parameter
from services.explanation.shapley import by_kernel_shap


@dataclass(frozen=True)
class AttributionMethod(Method):
    run: Attribution = field(kw_only=True)


def _of_gradients(
    name: str,
    summary: str,
    source: str,
    run: Run,
    *parameters: Parameter,
    looks_at_layer: bool = False,
) -> AttributionMethod:
    return AttributionMethod(
        name=name,
        kind="attribution",
        needs_gradient=True,
        summary=summary,
        source=source,
        parameters=parameters,
        run=attribution_of(name, run, parameters, looks_at_layer=looks_at_layer),
    )


ATTRIBUTIONS = (
    AttributionMethod(
        name="kernel_shap",
        kind="attribution",
        needs_gradient=False,
        summary="Shapley values by weighted regression over coalitions, with standard errors; "
        "exact for up to 12 players",
        source="Lundberg, Lee, A Unified Approach to Interpreting Model Predictions, 2017, "
        "arXiv:1705.07874",
        run=by_kernel_shap,
    ),
    AttributionMethod(
        name="activation",
        kind="attribution",
        needs_gradient=False,
        summary="What one unit of a layer says at each place: a cell of a recurrent layer over a "
        "text, a feature map over an image",
        source="Karpathy, Johnson, Fei-Fei, Visualizing and Understanding Recurrent Networks, "
        "2015, arXiv:1506.02078",
        parameters=(within.CELL,),
        run=attribution_of("activation", within.by_activation, (within.CELL,), looks_at_layer=True),
    ),
    _of_gradients(
        "saliency",
        "The gradient of the explained output by every input element, signed",
        "Simonyan, Vedaldi, Zisserman, Deep Inside Convolutional Networks, 2013, arXiv:1312.6034",
        by.by_saliency,
    ),
    _of_gradients(
        "input_x_gradient",
        "Each input element times its gradient",
        "Shrikumar, Greenside, Shcherbina, Kundaje, Not Just a Black Box, 2016, arXiv:1605.01713",
        by.by_input_x_gradient,
    ),
    _of_gradients(
        "integrated_gradients",
        "The gradient integrated from the background to the input; adds up, with its gap",
        "Sundararajan, Taly, Yan, Axiomatic Attribution for Deep Networks, 2017, arXiv:1703.01365",
        by.by_integrated_gradients,
        by.STEPS,
        by.TOLERANCE,
        by.QUADRATURE,
    ),
    _of_gradients(
        "smooth_grad",
        "The mean gradient at noisy copies of the input",
        "Smilkov, Thorat, Kim, Viégas, Wattenberg, SmoothGrad, 2017, arXiv:1706.03825",
        by.by_smooth_grad,
        by.SAMPLES,
        by.NOISE,
    ),
    _of_gradients(
        "expected_gradients",
        "Integrated gradients expected over the background (GradientSHAP), with standard errors",
        "Erion, Janizek, Sturmfels, Lundberg, Lee, Improving performance of deep learning models "
        "with axiomatic attribution priors and expected gradients, 2019, arXiv:1906.10670",
        by.by_expected_gradients,
        by.SAMPLES,
    ),
    _of_gradients(
        "deep_shap",
        "DeepLIFT's rescale rule against the background, averaged over its rows; adds up",
        "Shrikumar, Greenside, Kundaje, Learning Important Features Through Propagating "
        "Activation Differences, 2017, arXiv:1704.02685",
        by.by_deep_shap,
    ),
    _of_gradients(
        "guided_backprop",
        "The gradient with every signal below zero stopped at each ReLU, on both ways",
        "Springenberg, Dosovitskiy, Brox, Riedmiller, Striving for Simplicity, 2014, "
        "arXiv:1412.6806",
        by.by_guided_backprop,
    ),
    _of_gradients(
        "deconvnet",
        "The gradient with the signal, not the input, rectified at each ReLU",
        "Zeiler, Fergus, Visualizing and Understanding Convolutional Networks, 2013, "
        "arXiv:1311.2901",
        by.by_deconvnet,
    ),
    _of_gradients(
        "grad_cam",
        "Where the feature maps of a convolution speak for the output",
        "Selvaraju, Cogswell, Das, Vedantam, Parikh, Batra, Grad-CAM, 2016, arXiv:1610.02391",
        within.by_grad_cam,
        looks_at_layer=True,
    ),
    _of_gradients(
        "guided_grad_cam",
        "Guided backpropagation where Grad-CAM points",
        "Selvaraju, Cogswell, Das, Vedantam, Parikh, Batra, Grad-CAM, 2016, arXiv:1610.02391",
        within.by_guided_grad_cam,
        looks_at_layer=True,
    ),
    _of_gradients(
        "layer_conductance",
        "What flows to the output through each unit of a layer; adds up, in the layer's shape",
        "Dhamdhere, Sundararajan, Yan, How Important Is a Neuron?, 2018, arXiv:1805.12233",
        within.by_layer_conductance,
        within.STEPS,
        looks_at_layer=True,
    ),
    _of_gradients(
        "neuron_conductance",
        "What flows from each input element to the output through one unit of a layer",
        "Dhamdhere, Sundararajan, Yan, How Important Is a Neuron?, 2018, arXiv:1805.12233",
        within.by_neuron_conductance,
        within.UNIT,
        within.STEPS,
        by.QUADRATURE,
        looks_at_layer=True,
    ),
    _of_gradients(
        "lrp_epsilon",
        "Layer-wise relevance propagation, the ε-rule: convolutions, dense layers, pools, ReLU",
        "Samek, Binder, Montavon, Bach, Müller, Evaluating the visualization of what a Deep Neural "
        "Network has learned, 2015, arXiv:1509.06321",
        by.by_lrp_epsilon,
    ),
    _of_gradients(
        "lrp_gamma",
        "The same by the γ-rule, which favours what agrees with a unit's sign; γ = 0.25",
        "Montavon et al., Layer-Wise Relevance Propagation: An Overview, 2019, as generalised by "
        "Anders et al., Software for Dataset-wide XAI, 2021, arXiv:2106.13200",
        by.by_lrp_gamma,
    ),
)
