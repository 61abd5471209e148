# NAS: tokenizer -> base transformer and teacher -> on-policy distillation, and what Tables 1-5 compare.
# Weights chain to their parents: a rule run again takes its descendants along, and nothing else.


use rule train_unrolled as train_aqvae with:
    wildcard_constraints:
        run=runs_of("tokenizer"),
    priority: 30  # the head of the longest chain


rule tokenise:
    """Token ids of a split under every pattern, by the fixed tokenizer: once for all transformers that use it."""
    input:
        unpack(tokenise_inputs),
        recipe=f"runs/{SCALE}/{{run}}/recipe.yaml",
    output:
        f"runs/{SCALE}/{{run}}/tokens/{{dataset}}-{{split}}.safetensors",
    log:
        f"logs/tokenise/{SCALE}/{{run}}/{{dataset}}-{{split}}.log",
    wildcard_constraints:
        run=runs_of("tokenizer"),
        split="train|validation",
    priority: 30
    conda:
        "../../envs/rekon.yaml"
    threads: COMPUTE.threads
    resources:
        gpu=min(COMPUTE.gpus, 1),
        mem_mb=SHARE_MB,
        runtime=token_minutes,
    shell:
        "rekon tokenise {input.recipe} --manifest {input.manifest} --weights {input.weights} --output {output}"
        " --threads {threads} --gpus {resources.gpu} > {log} 2>&1"


use rule train_unrolled as train_transformer with:
    wildcard_constraints:
        run=runs_of("transformer"),
    priority: 20


use rule train_unrolled as train_teacher with:
    wildcard_constraints:
        run=runs_of("transformer", teacher=True),
    priority: 20


use rule train_unrolled as distill with:
    wildcard_constraints:
        run=runs_of("distilled"),
    priority: 20


rule inspect_nas:
    """Codebook use, token accuracy with true and with own prefixes, KL to the teacher, seconds per image."""
    input:
        plan=f"runs/{SCALE}/plan.json",
        weights=[ancient(f"weights/{SCALE}/nas/{run}.safetensors") for run in plan.inspected("nas")],
        trained=[f"runs/{SCALE}/nas/{run}/run.json" for run in plan.inspected("nas")],
        manifests=[manifest(dataset, "test") for dataset in plan.test_sets("nas")],
        maps=[path for dataset in plan.test_sets("nas") for path in split_maps(dataset, "test")],
        masks=[ancient(path) for path in plan.masks_of("nas")],
    output:
        f"results/{SCALE}/nas/inspect.npz",
    log:
        f"logs/inspect_nas/{SCALE}.log",
    conda:
        "../../envs/rekon.yaml"
    threads: COMPUTE.threads
    resources:
        gpu=min(COMPUTE.gpus, 1),
        mem_mb=SHARE_MB,
        runtime=inspection_minutes("nas"),
    shell:
        "rekon inspect nas {input.plan} --output {output} --threads {threads} > {log} 2>&1"


rule nas:
    """The chain and its ablations, trained and scored under every pattern, and Tables 1-5."""
    input:
        scores("nas"),
        inspections("nas"),
        table_files("nas") if "nas" in plan.studies else [],
    localrule: True
