# Sampling masks as artefacts: the exact columns, the ACS, nominal and effective acceleration.


rule make_mask:
    output:
        "data/masks/{family}/R{acceleration}_{height}x{width}.h5",
    log:
        "logs/make_mask/{family}/R{acceleration}_{height}x{width}.log",
    wildcard_constraints:
        acceleration=r"\d+",
        height=r"\d+",
        width=r"\d+",
    priority: 40  # seconds that the longest chain waits for
    localrule: True
    conda:
        "../../envs/rekon.yaml"
    params:
        spec=lambda wc, output: dumps(plan.masks[output[0]][0].model_dump(mode="json")),
    shell:
        "rekon make-mask --spec {params.spec:q} --size {wildcards.height}x{wildcards.width}"
        " --output {output} > {log} 2>&1"
