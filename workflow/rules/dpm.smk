# Stroke DPM: a prior pre-trained on other contrasts, fine-tuned on few subjects, sampled from its posterior.
# A method is a set of training images, so one can be rerun without the others; zeta is found for each on its own.


use rule train_unrolled as pretrain_dpm with:
    wildcard_constraints:
        run=runs_of("diffusion", based=False),
    priority: 20


use rule train_unrolled as finetune_dpm with:
    wildcard_constraints:
        run=runs_of("diffusion", based=True),
    priority: 20


rule tune_zeta:
    """The weight of the measured data at each acceleration, on validation slices alone."""
    input:
        unpack(tuning_inputs),
        recipe=f"runs/{SCALE}/{{run}}/recipe.yaml",
    output:
        f"runs/{SCALE}/{{run}}/zeta.json",
    log:
        f"logs/tune_zeta/{SCALE}/{{run}}.log",
    wildcard_constraints:
        run=TUNED,
    priority: 10
    conda:
        "../../envs/rekon.yaml"
    threads: COMPUTE.threads
    resources:
        gpu=min(COMPUTE.gpus, 1),
        mem_mb=SHARE_MB,
        runtime=tuning_minutes,
    params:
        named=weight_options,
    shell:
        "rekon tune-zeta {input.recipe} --manifest {input.manifest} {params.named} --output {output}"
        " --threads {threads} --gpus {resources.gpu} > {log} 2>&1"


rule inspect_dpm:
    """Draws from the prior, posterior means and deviations, and how well the deviations tell the error."""
    input:
        plan=f"runs/{SCALE}/plan.json",
        weights=[ancient(f"weights/{SCALE}/dpm/{run}.safetensors") for run in plan.inspected("dpm")],
        trained=[f"runs/{SCALE}/dpm/{run}/run.json" for run in plan.inspected("dpm")],
        zeta=[f"runs/{SCALE}/dpm/{run}/zeta.json" for run in plan.inspected("dpm") if plan.tuned("dpm", run)],
        manifests=[manifest(dataset, "test") for dataset in plan.test_sets("dpm")],
        maps=[path for dataset in plan.test_sets("dpm") for path in split_maps(dataset, "test")],
        masks=[ancient(path) for path in plan.masks_of("dpm")],
    output:
        f"results/{SCALE}/dpm/inspect.npz",
    log:
        f"logs/inspect_dpm/{SCALE}.log",
    priority: 10  # several scorings long; started last, it would end alone
    conda:
        "../../envs/rekon.yaml"
    threads: COMPUTE.threads
    resources:
        gpu=min(COMPUTE.gpus, 1),
        mem_mb=SHARE_MB,
        runtime=inspection_minutes("dpm"),
    shell:
        "rekon inspect dpm {input.plan} --output {output} --threads {threads} > {log} 2>&1"


# A blind reader study of the stroke experiment: its images beside fully sampled ones, which stand for the standard of
# care. What readers get is a folder; the key stays outside it.
READ, READ_SET = "dpm/stroke-tuned", "sim-stroke"


rule reader_arm:
    """Images of one slice per test subject, for readers."""
    input:
        unpack(evaluation_inputs),
        recipe=f"runs/{SCALE}/{{run}}/recipe.yaml",
    output:
        f"results/{SCALE}/{{run}}/{{dataset}}.readers.h5",
    log:
        f"logs/reader_arm/{SCALE}/{{run}}/{{dataset}}.log",
    wildcard_constraints:
        run=RUNS,
        dataset="[^/]+",
    conda:
        "../../envs/rekon.yaml"
    threads: COMPUTE.threads
    resources:
        gpu=min(COMPUTE.gpus, 1),
        mem_mb=SHARE_MB,
        runtime=scoring_minutes,  # more than one slice a subject takes
    params:
        named=use_options,
    shell:
        "rekon reader-study arm {input.recipe} --manifest {input.manifest} {params.named} --output {output}"
        " --threads {threads} --gpus {resources.gpu} > {log} 2>&1"


rule reader_study:
    """Kit for the readers, and the key."""
    input:
        arm=f"results/{SCALE}/{READ}/{READ_SET}.readers.h5",
        manifest=manifest(READ_SET, "test"),
        recipe=f"runs/{SCALE}/{READ}/recipe.yaml",
        masks=[ancient(path) for path in plan.masks_of("dpm")],
        maps=split_maps(READ_SET, "test") if READ_SET in plan.scale.datasets else [],
    output:
        kit=directory(f"results/{SCALE}/reader-study/kit"),
        key=f"results/{SCALE}/reader-study/key.json",
        reference=f"results/{SCALE}/reader-study/{READ_SET}.readers.h5",
    log:
        f"logs/reader_study/{SCALE}.log",
    conda:
        "../../envs/rekon.yaml"
    shell:
        "(rekon reader-study arm {input.recipe} --manifest {input.manifest} --fully-sampled --output {output.reference}"
        " && rekon reader-study make --arm {output.reference} --arm {input.arm} --output {output.kit}"
        " --key {output.key}) > {log} 2>&1"


rule dpm:
    """Priors, methods, the fine-tuning grid, samplers and the stroke experiment, trained, tuned and scored."""
    input:
        scores("dpm"),
        inspections("dpm"),
        table_files("dpm") if "dpm" in plan.studies else [],
    localrule: True
