"""Tasks that train and evaluate models.

Importing this costs little more than importing Prefect: scikit-learn is imported when a task
is called.
"""

from .evaluate import evaluate_model
from .results import Evaluation, Metric, Training
from .train import train_model

__all__ = ["Evaluation", "Metric", "Training", "evaluate_model", "train_model"]
