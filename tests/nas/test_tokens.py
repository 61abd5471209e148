"""The token cache: what it holds, and that it is refused wherever it does not belong."""

import chain
import cohort
import pytest
import torch

from rekon import safetensors
from rekon.errors import UserError
from rekon.files import sha256
from rekon.nas import tokens as module
from rekon.nas.tokens import by_level, labels, read_tokens, tokenise

GRIDS = chain.TOKENIZER["grids"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokens")
    chain.tokens(folder)
    return folder


@pytest.fixture
def parts(folder):
    """tokenizer, hierarchy, cache, weights"""
    made, found, weights = chain.tokens(folder)
    return made, found.hierarchy, folder / "tokens.safetensors", weights


def rewritten(path, tmp_path, change=lambda ids: ids, rehash=False, **header):
    """A copy of a cache with other ids or other header fields."""
    tensors, known = safetensors.read(path)
    known.pop("crc32")
    ids = change(tensors["ids"].clone())
    if rehash:
        known["ids"] = module._hash(ids)
    safetensors.write(tmp_path / "other.safetensors", {"ids": ids}, known | header)
    return tmp_path / "other.safetensors"


def test_holds_the_tokenizers_ids(parts):
    made, hierarchy, path, weights = parts
    found = read_tokens(path, made, hierarchy, weights)
    assert found.ids.shape == (9, 4, 9 + chain.LENGTH)
    assert found.ids.dtype == torch.int16
    assert len(found) == 9
    for index, pattern in ((0, "es-x"), (5, "radial")):
        images = hierarchy.levels(index, pattern)[None]
        wanted = made.tokenise(images, labels([pattern]))
        for one, other in zip(by_level(found.of(index, pattern), GRIDS), wanted, strict=True):
            assert one.dtype == torch.int64
            assert torch.equal(one, other[0])
    assert len(found.ids.unique()) > 8, "tokens worth comparing"
    assert not torch.equal(found.of(0, "es-x"), found.of(0, "es-y"))
    # no pattern made the fully sampled image
    assert torch.equal(by_level(found.of(0, "es-x"), GRIDS)[-1], by_level(found.of(0, "es-y"), GRIDS)[-1])


def test_equal_parts_give_equal_bytes(parts, tmp_path):
    made, hierarchy, path, weights = parts
    tokenise(made, hierarchy, sha256(weights), tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == path.read_bytes()


def test_labels_are_places_among_all_patterns():
    assert labels(["radial", "es-x"]).tolist() == [3, 0]


def test_large_vocabularies_get_wider_ids(parts, tmp_path, monkeypatch):
    made, hierarchy, _, weights = parts
    monkeypatch.setattr(made, "model", made.model.model_copy(update={"vocabulary": 40000}))
    tokenise(made, hierarchy, sha256(weights), tmp_path / "wide.safetensors")
    assert safetensors.read(tmp_path / "wide.safetensors")[0]["ids"].dtype == torch.int32


def test_another_tokenizer_is_refused(parts, tmp_path):
    made, hierarchy, path, _ = parts
    other = chain.tokenizer()
    other.codebook.embedding.add_(0.1)
    weights = chain.tokenizer_weights(tmp_path, other)
    with pytest.raises(UserError, match=r"tokens\.safetensors: header field 'tokenizer': made from another tokenizer"):
        read_tokens(path, made, hierarchy, weights)


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("masks", {"seed": 1}),
        ("masks", {"variants": 3}),
        ("masks", {"deviation": 0.3}),
        ("patterns", {"patterns": ("es-x", "es-y", "gaussian")}),
        ("accelerations", {"accelerations": (32, 16, 8, 4, 1)}),
    ],
)
def test_another_sampling_is_refused(folder, parts, field, changes):
    made, _, path, weights = parts
    other = cohort.hierarchy(cohort.volumes(folder), **changes)
    with pytest.raises(UserError, match=rf"field '(masks|{field})': .*; delete the file and run the rule tokenise"):
        read_tokens(path, made, other, weights)


def test_other_images_are_refused(parts, tmp_path, monkeypatch):
    made, hierarchy, path, weights = parts
    monkeypatch.setattr(hierarchy.images, "hash", "0" * 64)
    with pytest.raises(UserError, match="field 'data': made from other images than those given now"):
        read_tokens(path, made, hierarchy, weights)


@pytest.mark.parametrize("field", ["grids", "normalisation"])
def test_other_settings_are_refused(parts, tmp_path, field):
    made, hierarchy, path, weights = parts
    with pytest.raises(UserError, match=f"field '{field}'"):
        read_tokens(rewritten(path, tmp_path, **{field: "other"}), made, hierarchy, weights)


def test_damaged_ids_are_refused(parts, tmp_path):
    made, hierarchy, path, weights = parts
    with pytest.raises(UserError, match="its ids are not those its header names"):
        read_tokens(rewritten(path, tmp_path, lambda ids: ids.flip(0)), made, hierarchy, weights)
    with pytest.raises(UserError, match="its ids are not those its header names"):
        read_tokens(rewritten(path, tmp_path, lambda ids: ids[1:], rehash=True), made, hierarchy, weights)


def test_ids_that_the_tokenizer_would_not_give_are_refused(parts, tmp_path):
    made, hierarchy, path, weights = parts

    def wrong(ids):
        ids[:, 2, 100] = (ids[:, 2, 100] + 1) % 24
        return ids

    with pytest.raises(UserError, match="encoded now gives other ids"):
        read_tokens(rewritten(path, tmp_path, wrong, rehash=True), made, hierarchy, weights)


def test_slices_encoded_again_follow_from_the_seed(parts, monkeypatch):
    made, hierarchy, path, weights = parts
    seen, encode = [], module._encode
    monkeypatch.setattr(module, "_encode", lambda *args: seen.append(args[2]) or encode(*args))
    for seed in (0, 0, 1):
        read_tokens(path, made, hierarchy, weights, seed)
    assert len(seen) == 9
    assert seen[:3] == seen[3:6] != seen[6:]
    assert len(set(seen[:3])) == 3


def test_a_file_of_another_kind_is_refused(parts):
    made, hierarchy, _, weights = parts
    with pytest.raises(UserError, match=r"aqvae\.safetensors: not a token cache of this version"):
        read_tokens(weights, made, hierarchy, weights)
