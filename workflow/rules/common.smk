# Input functions and paths that several rules share.

RUNS = "|".join(f"{study}/{run}" for study, run in plan.recipes)


def manifest(dataset, split):
    """What training and evaluation read of a split."""
    return f"runs/{SCALE}/data/{dataset}/{split}.json"


def dataset_spec(wildcards):
    """A set's catalogue entry as a parameter: changing it reruns that set's rules and no others."""
    return dumps(plan.dataset(wildcards.dataset).model_dump(mode="json"))


def raw_file(wildcards):
    """The published file that a canonical volume is made from."""
    names = {file.volume: file.path for file in plan.dataset(wildcards.dataset).files}
    return f"raw/{wildcards.dataset}/{wildcards.split}/{names.get(wildcards.volume, wildcards.volume + '.h5')}"


def split_volumes(wildcards):
    """Canonical volumes of a split; of a set whose names are not known yet, the sign that all are converted.

    Ancient, because `dvc pull` and `dvc checkout` give files new times: a change of the set comes through `params`.
    """
    if not plan.listed(wildcards.dataset):
        return f"runs/{SCALE}/data/{wildcards.dataset}/{wildcards.split}.converted"
    return [
        ancient(f"data/kspace/{wildcards.dataset}/{wildcards.split}/{volume}.h5")
        for volume in plan.volumes(wildcards.dataset, wildcards.split)
    ]


def training_inputs(wildcards):
    recipe = plan.recipes[tuple(wildcards.run.split("/"))]
    return {
        "train": manifest(recipe.data.train, "train"),
        "validation": manifest(recipe.data.validation, "validation"),
        # ancient: the mask follows from the recipe, which is an input already
        "mask": ancient(recipe.mask.path(recipe.data.size)),
    }


def evaluation_inputs(wildcards):
    recipe = plan.recipes[tuple(wildcards.run.split("/"))]
    inputs = {
        "manifest": manifest(wildcards.dataset, "test"),
        "mask": ancient(recipe.mask.path(recipe.data.size)),
    }
    if recipe.training:  # ancient, as `dvc pull` gives them new times: that they are new is told by run.json
        inputs["weights"] = ancient(f"weights/{SCALE}/{wildcards.run}.safetensors")
        inputs["trained"] = f"runs/{SCALE}/{wildcards.run}/run.json"
    if recipe.model.get("method") == "sense":
        inputs["maps"] = [
            ancient(f"data/maps/{wildcards.dataset}/test/{volume}.h5")
            for volume in plan.volumes(wildcards.dataset, "test")
        ]
    return inputs


def scores(study=None, datasets=None):
    """CSV files of all runs (of one study) on all test sets."""
    return [
        f"results/{SCALE}/{of}/{run}/{dataset}.csv"
        for of, run in plan.recipes
        if study in (None, of)
        for dataset in datasets or plan.scale.evaluation.datasets
    ]


def trained_files(pattern):
    """A path with {run} filled in for every trained run."""
    return [pattern.format(run=f"{study}/{run}") for study, run in plan.trained()]
