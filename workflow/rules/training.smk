# Runs: a recipe each, and one command that trains them all. What differs between the rules is which recipes they take.


rule recipe:
    """Everything that defines a run, resolved from config/: enough to rerun it by hand.

    The recipe was checked when the plan was made. The shell writes it: a Python for each is a second for each.
    """
    output:
        f"runs/{SCALE}/{{study}}/{{run}}/recipe.yaml",
    log:
        f"logs/recipe/{SCALE}/{{study}}/{{run}}.log",
    wildcard_constraints:
        study="|".join(plan.scale.studies),
    localrule: True
    conda:
        "../../envs/rekon.yaml"
    params:
        recipe=lambda wc: yaml_text(plan.recipes[wc.study, wc.run].model_dump(mode="json")),
    shell:
        "(printf %s {params.recipe:q} > {output}.part && mv {output}.part {output}) > {log} 2>&1"


rule train_unrolled:
    """Train an unrolled network. Its state lies in work/, undeclared, so that a killed job goes on where it was."""
    input:
        unpack(training_inputs),
        recipe=f"runs/{SCALE}/{{run}}/recipe.yaml",
    output:
        weights=f"weights/{SCALE}/{{run}}.safetensors",
        metrics=f"runs/{SCALE}/{{run}}/metrics.jsonl",
        provenance=f"runs/{SCALE}/{{run}}/run.json",
    log:
        f"logs/train/{SCALE}/{{run}}.log",
    benchmark:
        f"logs/train/{SCALE}/{{run}}.tsv"
    wildcard_constraints:
        run=runs_of("unrolled"),
    priority: 10  # the long jobs first: the short ones fill the gaps
    conda:
        "../../envs/rekon.yaml"
    threads: training_threads
    resources:
        **SPREAD,
        gpu=training_gpus,
        gpu_mem_mb=training_gpu_mb,
        mem_mb=training_mb,
        runtime=training_minutes,
        workers=COMPUTE.workers,
    params:
        state=f"work/{SCALE}/{{run}}",
        named=training_options,
    shell:
        "rekon train {input.recipe} --train {input.train} --validation {input.validation} {params.named}"
        " --weights {output.weights} --metrics {output.metrics} --provenance {output.provenance}"
        " --state {params.state} --threads {threads} --gpus {resources.gpu}"
        " --workers {resources.workers} --wall-minutes {resources.runtime} > {log} 2>&1"


use rule train_unrolled as train_unet with:
    wildcard_constraints:
        run=runs_of("image_unet"),
