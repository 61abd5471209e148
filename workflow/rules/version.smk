# Versions and tracking: DVC pointers for data and weights, MLflow for runs. All serial, all local.


rule log_mlflow:
    """Every training and evaluation run in MLflow, ingested one after the other; what is there already is left alone."""
    input:
        plan=rules.plan.output,
        scores=scores(),
        runs=trained_files(f"runs/{SCALE}/{{run}}/run.json"),
    output:
        f"runs/{SCALE}/mlflow.json",
    log:
        f"logs/log_mlflow/{SCALE}.log",
    localrule: True
    conda:
        "../../envs/rekon.yaml"
    shell:
        "rekon log-mlflow {input.plan} --output {output} > {log} 2>&1"


rule version_data:
    """Record data/ in data.dvc (run by name; nothing depends on it)."""
    log:
        "logs/version_data.log",
    localrule: True
    conda:
        "../../envs/rekon.yaml"
    shell:
        "rekon version data > {log} 2>&1"


rule version_weights:
    """Record weights/ in weights.dvc (run by name; nothing depends on it)."""
    log:
        "logs/version_weights.log",
    localrule: True
    conda:
        "../../envs/rekon.yaml"
    shell:
        "rekon version weights > {log} 2>&1"
