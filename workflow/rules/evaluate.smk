# Scoring: one row per slice, one picture panel per set, the same metric code for every run.


rule evaluate:
    """Score one run on one test set."""
    input:
        unpack(evaluation_inputs),
        recipe=f"runs/{SCALE}/{{run}}/recipe.yaml",
    output:
        scores=f"results/{SCALE}/{{run}}/{{dataset}}.csv",
        panel=f"results/{SCALE}/{{run}}/{{dataset}}.npz",
        provenance=f"results/{SCALE}/{{run}}/{{dataset}}.json",
    log:
        f"logs/evaluate/{SCALE}/{{run}}/{{dataset}}.log",
    wildcard_constraints:
        run=RUNS,
        dataset="[^/]+",
    conda:
        "../../envs/rekon.yaml"
    threads: COMPUTE.threads
    resources:
        gpu=min(COMPUTE.gpus, 1),
        mem_mb=SHARE_MB,
        runtime=scoring_minutes,
    params:
        settings=lambda wc: dumps(scoring(plan.evaluation(recipe_of(wc).study))),
        named=evaluation_options,
    shell:
        "rekon evaluate {input.recipe} --manifest {input.manifest} {params.named}"
        " --settings {params.settings:q} --scores {output.scores} --panel {output.panel}"
        " --provenance {output.provenance} --threads {threads} --gpus {resources.gpu} > {log} 2>&1"


rule benchmark:
    """Every run on every zero-shot set (UEPS Table 1)."""
    input:
        scores(datasets=plan.scale.evaluation.ood or plan.scale.evaluation.datasets),
    localrule: True
