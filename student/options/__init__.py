"""Every option of `distill-client`, in four sections: data, purchase, training and run."""

from student.options.data import DataOptions
from student.options.options import Options
from student.options.purchase import PurchaseOptions
from student.options.run import RunOptions
from student.options.training import TrainingOptions

__all__ = ["DataOptions", "Options", "PurchaseOptions", "RunOptions", "TrainingOptions"]
