# Input functions and paths that several rules share.

RUNS = "|".join(f"{study}/{run}" for study, run in plan.recipes)
TUNED = "|".join(f"{study}/{run}" for study, run in plan.recipes if plan.tuned(study, run)) or "none/none"

JOINED = "|".join(name for name in plan.scale.datasets if plan.joined(name)) or "none"
OWN_FILES = f"(?!(?:{JOINED})/)[^/]+"


def recipe_of(wildcards):
    """The recipe of the run that a job is about, "study/run"."""
    return plan.recipes[tuple(wildcards.run.split("/"))]


def manifest(dataset, split):
    """What training and evaluation read of a split."""
    return f"runs/{SCALE}/data/{dataset}/{split}.json"


def dataset_spec(wildcards):
    """A set's catalogue entry as a parameter: changing it reruns that set's rules and no others.

    Where files are from, and how many there should be, changes no volume.
    """
    return dumps(plan.dataset(wildcards.dataset).model_dump(mode="json", exclude={"fetch", "published"}))


def fetch_spec(wildcards):
    """The whole entry, for what fetches files."""
    return dumps(plan.dataset(wildcards.dataset).model_dump(mode="json"))


def split_rule(wildcards):
    """Which files of a set belong to a split, where a paper takes not all."""
    found = plan.rule(wildcards.dataset, wildcards.split)
    return dumps(found.model_dump(mode="json")) if found else "null"


def split_names(wildcards):
    """The committed list of a split's files, if there is one."""
    found = plan.rule(wildcards.dataset, wildcards.split)
    return [f"config/splits/{found.names}"] if found and found.names else []


def same_files(wildcards):
    """Records of splits that are fetched before, because their files are those of this one and are linked to it."""
    fetch, splits = plan.dataset(wildcards.dataset).fetch, plan.splits(wildcards.dataset)
    before = splits[: splits.index(wildcards.split)] if fetch and wildcards.split in splits else []
    return [
        ancient(f"raw/{wildcards.dataset}/{split}/FETCHED.json")
        for split in before
        if split in fetch.same(wildcards.split)
    ]


def batches(kind, dataset, split):
    """Records of the jobs that convert, or calibrate, a split whose volumes are known only when its files are here."""
    count = plan.batches(dataset, split)
    return [f"runs/{SCALE}/data/{dataset}/{split}-{kind}/{k}-of-{count}.json" for k in range(1, count + 1)]


def study_manifests(study):
    """Manifests of all splits that a study's runs learn from, are validated or scored on."""
    learned = [plan.recipes[key].data for key in plan.trained(study)]
    splits = {(data.train, "train") for data in learned} | {(data.validation, "validation") for data in learned}
    return sorted(manifest(*split) for split in splits | {(name, "test") for name in plan.test_sets(study)})


def raw_files(wildcards):
    """The published file that a canonical volume is made from, then others beside it that the reader looks at."""
    names = plan.raw_files(wildcards.dataset, wildcards.volume)
    paths = [f"raw/{wildcards.dataset}/{wildcards.split}/{name}" for name in names]
    return {"raw": paths[0], "beside": paths[1:]}


def released():
    """Records of the raw files that this scale does not keep."""
    return [f"raw/{dataset}/{split}/RELEASED.json" for dataset, split in plan.temporary("raw")]


def split_volumes(wildcards):
    """Canonical volumes of a split; of a set whose names are not known yet, the records of the jobs that convert it.

    Ancient, because `dvc pull` and `dvc checkout` give files new times: a change of the set comes through `params`.
    """
    if not plan.listed(wildcards.dataset):
        return batches("kspace", wildcards.dataset, wildcards.split)
    return [
        ancient(f"data/kspace/{wildcards.dataset}/{wildcards.split}/{volume}.h5")
        for volume in plan.volumes(wildcards.dataset, wildcards.split)
    ]


def split_maps(dataset, split):
    """Coil maps of a split; of a set whose names are not known yet, the sign that all are made."""
    if not plan.listed(dataset):
        return [f"runs/{SCALE}/data/{dataset}/{split}.calibrated"]
    return [ancient(f"data/maps/{dataset}/{split}/{volume}.h5") for volume in plan.volumes(dataset, split)]


def mask_files(recipe, masks):
    """Mask artefacts. Ancient: they follow from the recipe, which is an input already."""
    return [ancient(mask.path(recipe.data.size)) for mask in masks]


def run_inputs(role, run):
    """Weights of a run, and the record that tells when they are new: `dvc pull` gives weights new times."""
    return {role: ancient(f"weights/{SCALE}/{run}.safetensors"), f"{role}_trained": f"runs/{SCALE}/{run}/run.json"}


def parent_inputs(recipe):
    inputs = {}
    for role in recipe.parents:
        inputs |= run_inputs(role, "/".join(recipe.parent(role)))
    return inputs


def token_files(recipe):
    """Cached tokens of a run's training and validation sets, by the tokenizer among its parents."""
    folder = f"runs/{SCALE}/{recipe.study}/{recipe.parents['tokenizer']}/tokens"
    return {
        "train_tokens": f"{folder}/{recipe.data.train}-train.safetensors",
        "validation_tokens": f"{folder}/{recipe.data.validation}-validation.safetensors",
    }


def runs_of(*kinds, teacher=False, based=None):
    """Trained runs of these kinds as a wildcard constraint.

    teacher: transformers that see what a deployed network cannot; based: only runs with (without) a parent "base".
    """
    names = [
        f"{study}/{run}"
        for kind in kinds
        for study, run in plan.trained(kind=kind)
        if kind != "transformer" or reconstructs(plan.recipes[study, run]) != teacher
        if based is None or based == ("base" in plan.recipes[study, run].parents)
    ]
    return "|".join(names) or "none/none"


def training_inputs(wildcards):
    recipe = recipe_of(wildcards)
    inputs = {
        "train": manifest(recipe.data.train, "train"),
        "validation": manifest(recipe.data.validation, "validation"),
        "masks": mask_files(recipe, recipe.masks),
    }
    if on_images(recipe):
        inputs["maps"] = [*split_maps(recipe.data.train, "train"), *split_maps(recipe.data.validation, "validation")]
    inputs |= parent_inputs(recipe)
    if "tokenizer" in recipe.parents:
        inputs |= token_files(recipe)
    return inputs | {name: ancient(f"raw/backbones/{name}.safetensors") for name in plan.backbones_of(recipe)}


def parent_options(recipe):
    return [f"--parent {role}=weights/{SCALE}/{'/'.join(recipe.parent(role))}.safetensors" for role in recipe.parents]


def backbone_options(names):
    return [f"--backbone {name}=raw/backbones/{name}.safetensors" for name in names]


def training_options(wildcards):
    """Parents, tokens and backbones of a run on the command line."""
    recipe = recipe_of(wildcards)
    options = [*parent_options(recipe), *backbone_options(plan.backbones_of(recipe))]
    if "tokenizer" in recipe.parents:
        options += [f"--tokens {name.removesuffix('_tokens')}={path}" for name, path in token_files(recipe).items()]
    return " ".join(options)


def tokenise_inputs(wildcards):
    recipe = recipe_of(wildcards)
    return {
        "manifest": manifest(wildcards.dataset, wildcards.split),
        "masks": mask_files(recipe, recipe.masks),
        "maps": split_maps(wildcards.dataset, wildcards.split),
        **run_inputs("weights", wildcards.run),
    }


def weight_inputs(recipe):
    """What a run is used with: its own weights where it has some, and its parents'."""
    own = run_inputs("weights", f"{recipe.study}/{recipe.run}") if recipe.training else {}
    return parent_inputs(recipe) | own


def weight_options(wildcards):
    """The same on the command line."""
    recipe = recipe_of(wildcards)
    own = [f"--weights weights/{SCALE}/{wildcards.run}.safetensors"] if recipe.training else []
    return " ".join([*own, *parent_options(recipe)])


def tuning_inputs(wildcards):
    recipe = recipe_of(wildcards)
    return {
        "manifest": manifest(recipe.data.validation, "validation"),
        "maps": split_maps(recipe.data.validation, "validation"),
        "masks": mask_files(recipe, recipe.scored),
        **weight_inputs(recipe),
    }


def evaluation_inputs(wildcards):
    recipe = recipe_of(wildcards)
    inputs = {"manifest": manifest(wildcards.dataset, "test"), "masks": mask_files(recipe, recipe.scored)}
    inputs |= weight_inputs(recipe)
    if plan.tuned(recipe.study, recipe.run):
        inputs["tuned"] = f"runs/{SCALE}/{wildcards.run}/zeta.json"
    if plan.uses_maps(recipe):
        inputs["maps"] = split_maps(wildcards.dataset, "test")
    perceptual = plan.perceptual_backbones(recipe.study)
    return inputs | {name: ancient(f"raw/backbones/{name}.safetensors") for name in perceptual}


def use_options(wildcards):
    """Weights, parents and what was tuned, for a run that is used, on the command line."""
    recipe = recipe_of(wildcards)
    tuned = plan.tuned(recipe.study, recipe.run)
    return " ".join(
        [weight_options(wildcards), *([f"--tuned runs/{SCALE}/{wildcards.run}/zeta.json"] if tuned else [])]
    )


def evaluation_options(wildcards):
    """The same, and the backbones of the metrics."""
    backbones = plan.perceptual_backbones(recipe_of(wildcards).study)
    return " ".join([use_options(wildcards), *backbone_options(backbones)])


def scores(study=None, datasets=None):
    """CSV files of all runs (of one study) on all its test sets, or on those of `datasets` among them."""
    return [
        f"results/{SCALE}/{of}/{run}/{dataset}.csv"
        for of, run, dataset in plan.scored(study)
        if datasets is None or dataset in datasets
    ]


def compared(study):
    """Scores behind a study's tables: its own, and those of the runs without training that stand in them."""
    own = scores(study)
    return [*own, *scores(CLASSICAL)] if plan.studies[study].classical and CLASSICAL in plan.studies else own


def table_files(study):
    return [f"{plan.reports}/tables/{name}" for name in plan.tables(study)]


def all_tables():
    """Every CSV file of the report."""
    common = [f"{plan.reports}/tables/{name}" for name in ("scorecard.csv", "runs.csv")]
    return common + [path for study in plan.papers for path in table_files(study)]


def inspections(*studies):
    """What `inspect_…` finds inside the networks of these studies, where this scale trains what they look at."""
    return [f"results/{SCALE}/{study}/inspect.npz" for study in studies if plan.inspected(study)]


def trained_files(pattern):
    """A path with {run} filled in for every trained run."""
    return [pattern.format(run=f"{study}/{run}") for study, run in plan.trained()]
