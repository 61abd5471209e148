"""A trained transformer as a Reconstructor: from measured k-space to an image, and what is refused."""

import chain
import cohort
import pytest
import torch

from rekon.errors import UserError
from rekon.evaluation.reconstructor import Scan
from rekon.nas.reconstructor import load
from rekon.nas.tokens import labels

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    tokenizer, _, _ = chain.tokens(folder)
    for run, context in (("base", chain.CONTEXT), ("teacher", chain.CONTEXT | {"image": "full"}), ("blind", None)):
        network = chain.transformer(tokenizer, context=context)
        chain.weights(folder, network, recipe(run, {"context": context}))
    return folder


def recipe(run="base", model=None, **changes):
    made = chain.recipe(run, model=model)
    sampling = made.sampling.model_copy(update={"evaluated": (32,)})
    return made.model_copy(update={"sampling": sampling} | changes)


def decoder(rule="multinomial", **settings):
    """A run with nothing to train that decodes the base's weights by another rule."""
    return recipe("decoded", {"decoding": {"rule": rule, **settings}}, training=None)


def loaded(folder, settings=None, weights="base"):
    settings = settings or recipe(weights, {"context": None} if weights == "blind" else None)
    parents = {"tokenizer": folder / "aqvae.safetensors"}
    return load(settings, folder / f"{weights}.safetensors", parents, CPU)


def scan(index=0, pattern="es-y", volume="volume_0"):
    return Scan("sim-tiny", volume, "person 0", "AXT1", index, pattern, 32)


def measured(folder, index=0, pattern="es-y", unit=1.0):
    """k-space, mask and maps of a slice."""
    hierarchy = cohort.hierarchy(cohort.volumes(folder))
    example = hierarchy.images.item(index)
    mask = hierarchy.mask(index, pattern, 32)
    return example.kspace * mask * unit, mask, hierarchy.images.sensitivities(index)


def reconstruct(method, folder, index=0, pattern="es-y", unit=1.0, **known):
    method.prepare(scan(index, pattern, **known))
    with torch.inference_mode():
        return method(*measured(folder, index, pattern, unit))


def test_is_tokenise_roll_out_decode(folder):
    method = loaded(folder)
    assert method.needs_maps
    assert method.name == "base"
    image = reconstruct(method, folder, 1, "radial")
    assert image.dtype == torch.float32
    assert image.shape == chain.SIZE
    tokenizer, tokens, _ = chain.tokens(folder)
    pattern = labels(["radial"])
    x = tokens.hierarchy.measured(1, "radial")[None]
    ids = [tokenizer.tokenise_level(x, 0, pattern)]
    assert torch.equal(ids[0][0], tokens.of(1, "radial")[:9]), "as in training"
    with torch.no_grad():
        context = method.transformer.context({"measured": x}, pattern)
        for level in range(1, 6):  # each level by the whole network
            from rekon.nas.transformer import histories

            logits = method.transformer(histories(tokenizer, ids), pattern, context)
            ids.append(logits[:, -(tokenizer.model.grids[level] ** 2) :].argmax(-1))
        torch.testing.assert_close(image, tokenizer.reconstruct(ids)[0].abs())


def test_pattern_matters(folder):
    method = loaded(folder)
    method.prepare(scan(pattern="es-y"))
    first = method(*measured(folder))
    method.prepare(scan(pattern="es-x"))
    assert not torch.allclose(method(*measured(folder)), first)


def test_unknown_patterns_are_allowed(folder):
    method = loaded(folder)
    method.prepare(scan(pattern="as acquired"))
    assert method.pattern.item() == 4
    assert method(*measured(folder)).isfinite().all()


def test_without_context(folder):
    assert reconstruct(loaded(folder, weights="blind"), folder).isfinite().all()


def test_decoding_follows_the_recipe_with_another_runs_weights(folder):
    argmax = reconstruct(loaded(folder), folder)
    torch.testing.assert_close(reconstruct(loaded(folder, decoder("argmax")), folder), argmax)
    torch.testing.assert_close(reconstruct(loaded(folder, decoder("top", top_k=1)), folder), argmax)
    sampled = loaded(folder, decoder())
    assert sampled.name == "decoded"
    assert not torch.allclose(reconstruct(sampled, folder), argmax)


def test_draws_follow_from_seed_and_scan(folder):
    method = loaded(folder, decoder())
    first = reconstruct(method, folder)
    reconstruct(method, folder, 2)
    assert torch.equal(reconstruct(method, folder), first), "whatever came between"
    assert torch.equal(reconstruct(loaded(folder, decoder()), folder), first)
    assert not torch.equal(reconstruct(method, folder, volume="volume_1"), first)
    assert not torch.equal(reconstruct(loaded(folder, decoder(seed=1)), folder), first)
    uniform = {}
    for known in ({}, {"index": 1}, {"pattern": "es-x"}, {"volume": "volume_1"}):
        method.prepare(scan(**known))
        uniform[str(known)] = method.uniform.sum().item()
    assert len(set(uniform.values())) == 4


def test_measured_max_needs_no_unit(folder, tmp_path):
    tokenizer = chain.tokenizer(normalisation="measured_max")
    chain.tokenizer_weights(tmp_path, tokenizer)
    chain.weights(tmp_path, chain.transformer(tokenizer), recipe())
    method = loaded(tmp_path)
    once, thousandfold = (reconstruct(method, folder, unit=unit) for unit in (1.0, 1000.0))
    torch.testing.assert_close(thousandfold, 1000 * once, rtol=1e-3, atol=1e-2)
    assert not torch.allclose(
        reconstruct(loaded(folder), folder, unit=1000.0), 1000 * reconstruct(loaded(folder), folder)
    )
    method.prepare(scan())
    kspace, mask, maps = measured(folder)
    assert not method(0 * kspace, mask, maps).any()


@pytest.mark.parametrize(
    ("discriminator", "note"),
    [(None, ""), ({"backbone": "biomedclip"}, ""), ({"backbone": None}, "untrained-backbone")],
)
def test_note_on_the_tokenizers_adversary(tmp_path, discriminator, note):
    losses = {"adversarial": 0.1 if discriminator else 0.0, "perceptual": 0.0}
    tokenizer = chain.tokenizer()
    from rekon.config.nas import TokenizerModel

    model = TokenizerModel(**chain.TOKENIZER | {"losses": losses, "discriminator": discriminator})
    chain.weights(tmp_path, chain.transformer(tokenizer), recipe())
    tokenizer.model = model
    chain.tokenizer_weights(tmp_path, tokenizer)
    assert loaded(tmp_path).note == note


def test_a_teacher_is_refused(folder):
    settings = recipe("teacher", {"context": chain.CONTEXT | {"image": "full"}})
    with pytest.raises(UserError, match=r"teacher\.safetensors: a teacher, whose context shows the fully sampled"):
        loaded(folder, settings, "teacher")


def test_another_recipe_is_refused(folder):
    with pytest.raises(UserError, match=r"base\.safetensors: made by another recipe \('run' is 'base'"):
        loaded(folder, recipe("other"))


def test_weights_of_other_kinds_are_refused(folder):
    with pytest.raises(UserError, match=r"aqvae\.safetensors: holds a run of kind 'tokenizer', not a transformer"):
        loaded(folder, decoder(), "aqvae")
    with pytest.raises(UserError, match=r"base\.safetensors: holds a run of kind 'transformer', not a tokenizer"):
        load(decoder(), folder / "base.safetensors", {"tokenizer": folder / "base.safetensors"}, CPU)
    with pytest.raises(UserError, match=r"nas/base: key 'parents\.tokenizer'"):
        load(recipe(), folder / "base.safetensors", {}, CPU)


def test_other_accelerations_are_refused(folder):
    sampling = recipe().sampling.model_copy(update={"evaluated": (32, 16)})
    with pytest.raises(UserError, match=r"'sampling\.evaluated': reconstruction starts from R = 32.*set it to \[32\]"):
        loaded(folder, recipe(sampling=sampling))
