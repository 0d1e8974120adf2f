"""Tasks that train and evaluate models; scikit-learn is imported when a task is called."""

from .evaluate import Evaluation, evaluate_model
from .train import Training, train_model

__all__ = ["Evaluation", "Training", "evaluate_model", "train_model"]
