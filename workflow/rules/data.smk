# Raw files -> canonical volumes -> manifest of a split (what training and evaluation read) and coil maps.


rule simulate:
    """One simulated volume in the raw format of the set it stands for."""
    output:
        "raw/{dataset}/{split}/{volume}.h5",
    log:
        "logs/simulate/{dataset}/{split}/{volume}.log",
    wildcard_constraints:
        dataset="sim-[^/]+",
    conda:
        "../../envs/rekon.yaml"
    params:
        spec=dataset_spec,
    shell:
        "rekon simulate {wildcards.dataset} {wildcards.split} {wildcards.volume} --spec {params.spec:q}"
        " --output {output} > {log} 2>&1"


rule download:
    """One published file: from the mirror or its URL, verified against the catalogue's checksum."""
    output:
        "raw/{dataset}/{split}/{file}",
    log:
        "logs/download/{dataset}/{split}/{file}.log",
    wildcard_constraints:
        dataset="(?!sim-|backbones)[^/]+",
        file=r"(?!INDEX\.txt|SPLIT\.txt|FETCHED\.json|RELEASED\.json).+",
    retries: 2
    localrule: True
    conda:
        "../../envs/rekon.yaml"
    params:
        spec=lambda wc: dumps(next(f for f in plan.dataset(wc.dataset).files if f.path == wc.file).model_dump()),
    shell:
        "rekon download {wildcards.dataset} --spec {params.spec:q} --output {output} > {log} 2>&1"


rule fetch_backbone:
    """A pretrained network that others publish: from the mirror or its URL, verified, as safetensors."""
    output:
        "raw/backbones/{name}.safetensors",
    log:
        "logs/fetch_backbone/{name}.log",
    wildcard_constraints:
        name="[^/]+",
    retries: 2
    localrule: True
    conda:
        "../../envs/rekon.yaml"
    params:
        spec=lambda wc: dumps(plan.backbones[wc.name].model_dump(mode="json")),
    shell:
        "rekon fetch-backbone {wildcards.name} --spec {params.spec:q} --output {output} > {log} 2>&1"


rule convert:
    """One canonical volume: fastMRI-compatible HDF5, centred orthonormal k-space."""
    input:
        unpack(raw_files),
    output:
        "data/kspace/{dataset}/{split}/{volume}.h5",
    log:
        "logs/convert/{dataset}/{split}/{volume}.log",
    conda:
        "../../envs/rekon.yaml"
    params:
        spec=dataset_spec,
    shell:
        "rekon convert {wildcards.dataset} {wildcards.volume} {input.raw} --spec {params.spec:q}"
        " --output {output} > {log} 2>&1"


rule download_set:
    """What a machine can fetch of a published set: by its service's list, by links or from a folder of the user's."""
    input:
        names=split_names,
        same=same_files,
    output:
        "raw/{dataset}/{split}/FETCHED.json",
    log:
        "logs/download_set/{dataset}/{split}.log",
    wildcard_constraints:
        split="train|validation|test",
    retries: 2
    localrule: True
    conda:
        "../../envs/rekon.yaml"
    params:
        spec=fetch_spec,
        names=lambda wc, input: f"--names {Path(input.names[0]).name}" if input.names else "",
    shell:
        "rekon download-set {wildcards.dataset} {wildcards.split} --spec {params.spec:q} {params.names}"
        " --output {output} > {log} 2>&1"


rule index:
    """Files of a licensed set that lie under raw/; without them, how to get access."""
    input:
        lambda wc: [f"raw/{wc.dataset}/{wc.split}/FETCHED.json"] if plan.dataset(wc.dataset).fetch else [],
    output:
        "raw/{dataset}/{split}/INDEX.txt",
    log:
        "logs/index/{dataset}/{split}.log",
    localrule: True
    conda:
        "../../envs/rekon.yaml"
    params:
        spec=dataset_spec,
    shell:
        "rekon index {wildcards.dataset} {wildcards.split} --spec {params.spec:q} --output {output} > {log} 2>&1"


rule draw_split:
    """Which of these files belong to the split, as a list with its hash: a pure function of their names."""
    input:
        index="raw/{dataset}/{split}/INDEX.txt",
        names=split_names,
    output:
        "raw/{dataset}/{split}/SPLIT.txt",
    log:
        "logs/draw_split/{dataset}/{split}.log",
    localrule: True
    conda:
        "../../envs/rekon.yaml"
    params:
        rule=split_rule,
    shell:
        "rekon draw-split {wildcards.dataset} {wildcards.split} {input.index} --rule {params.rule:q}"
        " --output {output} > {log} 2>&1"


rule convert_batch:
    """Some volumes of a licensed set's split, as their names are known only when the files are there."""
    input:
        "raw/{dataset}/{split}/SPLIT.txt",
    output:
        f"runs/{SCALE}/data/{{dataset}}/{{split}}-kspace/{{k}}-of-{{n}}.json",
    log:
        f"logs/convert_batch/{SCALE}/{{dataset}}/{{split}}/{{k}}-of-{{n}}.log",
    wildcard_constraints:
        k=r"\d+",
        n=r"\d+",
    conda:
        "../../envs/rekon.yaml"
    threads: COMPUTE.threads
    params:
        spec=dataset_spec,
        first=lambda wc: f"--count {n}" if (n := plan.wanted(wc.dataset, wc.split)) is not None else "",
    shell:
        "rekon convert-batch {wildcards.dataset} {wildcards.split} {input} --spec {params.spec:q}"
        " --batch {wildcards.k}/{wildcards.n} {params.first}"
        " --folder data/kspace/{wildcards.dataset}/{wildcards.split} --threads {threads} --output {output}"
        " > {log} 2>&1"


rule summarise:
    """The manifest of a split: volumes, their hashes and sizes, the normalisation constant."""
    input:
        volumes=split_volumes,
    output:
        f"runs/{SCALE}/data/{{dataset}}/{{split}}.json",
    log:
        f"logs/summarise/{SCALE}/{{dataset}}/{{split}}.log",
    wildcard_constraints:
        dataset=OWN_FILES,
        split="train|validation|test",
    conda:
        "../../envs/rekon.yaml"
    resources:
        runtime=manifest_minutes,
    params:
        spec=dataset_spec,
    shell:
        "rekon summarise {wildcards.dataset} {wildcards.split} {input.volumes} --spec {params.spec:q}"
        " --output {output} > {log} 2>&1"


rule release:
    """Raw files that can be fetched again go, where the scale calls them temporary and conversion leaves no doubt."""
    input:
        lambda wc: manifest(wc.dataset, wc.split),
    output:
        "raw/{dataset}/{split}/RELEASED.json",
    log:
        "logs/release/{dataset}/{split}.log",
    wildcard_constraints:
        split="train|validation|test",
    localrule: True
    conda:
        "../../envs/rekon.yaml"
    params:
        spec=fetch_spec,
    shell:
        "rekon release {wildcards.dataset} {wildcards.split} {input} --spec {params.spec:q} --output {output}"
        " > {log} 2>&1"


rule join:
    """The manifest of a split that is made of other sets'; their volumes stay where they are."""
    input:
        lambda wc: [manifest(*part) for part in plan.parts(wc.dataset, wc.split)],
    output:
        f"runs/{SCALE}/data/{{dataset}}/{{split}}.json",
    log:
        f"logs/join/{SCALE}/{{dataset}}/{{split}}.log",
    wildcard_constraints:
        dataset=JOINED,
        split="train|validation|test",
    localrule: True
    conda:
        "../../envs/rekon.yaml"
    params:
        spec=dataset_spec,
    shell:
        "rekon join {wildcards.dataset} {wildcards.split} {input} --spec {params.spec:q} --output {output}"
        " > {log} 2>&1"


rule calibrate:
    """ESPIRiT coil sensitivity maps and the coil-combined image of one volume."""
    input:
        # ancient: `dvc checkout` changes times, not contents; a change of the set reaches this rule through params
        ancient("data/kspace/{dataset}/{split}/{volume}.h5"),
    output:
        "data/maps/{dataset}/{split}/{volume}.h5",
    log:
        "logs/calibrate/{dataset}/{split}/{volume}.log",
    conda:
        "../../envs/rekon.yaml"
    params:
        spec=dataset_spec,
    shell:
        "rekon calibrate {input} --output {output} > {log} 2>&1"


rule calibrate_batch:
    """Coil maps of some volumes of a licensed set's split."""
    input:
        lambda wc: manifest(wc.dataset, wc.split),
    output:
        f"runs/{SCALE}/data/{{dataset}}/{{split}}-maps/{{k}}-of-{{n}}.json",
    log:
        f"logs/calibrate_batch/{SCALE}/{{dataset}}/{{split}}/{{k}}-of-{{n}}.log",
    wildcard_constraints:
        k=r"\d+",
        n=r"\d+",
    conda:
        "../../envs/rekon.yaml"
    threads: COMPUTE.threads
    shell:
        "rekon calibrate-batch {input} --batch {wildcards.k}/{wildcards.n}"
        " --folder data/maps/{wildcards.dataset}/{wildcards.split} --threads {threads} --output {output}"
        " > {log} 2>&1"


rule calibrate_set:
    """The sign that all batches of a split have their coil maps: many jobs read them, and would list every batch."""
    input:
        lambda wc: [] if plan.listed(wc.dataset) else batches("maps", wc.dataset, wc.split),
    output:
        touch(f"runs/{SCALE}/data/{{dataset}}/{{split}}.calibrated"),
    localrule: True


rule data:
    """Every split of every set of this scale."""
    input:
        [manifest(dataset, split) for dataset in plan.scale.datasets for split in plan.splits(dataset)],
        released(),
    localrule: True
