"""What a network costs to run: parameters, operations, memory of activations.

After Canziani, Paszke, Culurciello, "An Analysis of Deep Neural Network Models for Practical
Applications", 2016. https://arxiv.org/abs/1605.07678
"""

from services.explanation.complexity.complexity import Complexity, complexity

__all__ = ["Complexity", "complexity"]
