"""Every file under config/ as a strict model. Imports no torch: the Snakefile imports this package.

base      strictness, and one-sentence errors that name file and key
datasets  config/datasets.yaml: the catalogue
recipe    what defines a run: model, data, mask, training
sampling  patterns over both axes of k-space, and hierarchies of them
classical the model section of runs without training
ueps      the model section of the UEPS study
nas       the model sections of the NAS study
backbones config/backbones.yaml: pretrained networks that others publish
study     config/studies/*.yaml: a base and, per run, what differs
scale     config/{demo,open,full}.yaml: sets, sizes, budgets
"""

from rekon.config.backbones import Backbone, Backbones
from rekon.config.datasets import Catalogue, Dataset, Part, RemoteFile, Sequence, Simulation
from rekon.config.recipe import DataSettings, MaskSettings, Recipe, TrainingSettings
from rekon.config.sampling import ExactMaskSettings, SamplingSettings
from rekon.config.scale import Compute, EvaluationSettings, Scale, ScaleDataset
from rekon.config.study import Study, StudyRun
from rekon.config.ueps import UnrolledModel

__all__ = [
    "Backbone", "Backbones", "Catalogue", "Compute", "DataSettings", "Dataset", "EvaluationSettings",
    "ExactMaskSettings", "MaskSettings", "Part", "Recipe", "RemoteFile", "SamplingSettings", "Scale", "ScaleDataset",
    "Sequence", "Simulation", "Study", "StudyRun", "TrainingSettings", "UnrolledModel",
]  # fmt: skip
