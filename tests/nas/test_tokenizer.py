"""The tokenizer: levels, labels, grids, fusion, and the resizing behind it."""

import pytest
import torch
import torch.nn.functional as F

from rekon.config.nas import TokenizerModel
from rekon.errors import UserError
from rekon.nas.encoder import as_input
from rekon.nas.losses import ssim
from rekon.nas.resize import area, bicubic
from rekon.nas.tokenizer import NO_PATTERN, Tokenizer, phi_index

MODEL = TokenizerModel(
    channels=8, multipliers=(1, 2, 2), blocks=1, latent=4, vocabulary=32, grids=(2, 2, 3, 3, 4, 4), condition=6,
    losses={"adversarial": 0, "perceptual": 0}, discriminator=None,
)  # fmt: skip
SIDE = 16


def tokenizer(**changes):
    torch.manual_seed(0)
    made = Tokenizer(MODEL.model_copy(update=changes), (SIDE, SIDE))
    for module in made.encoder.modules():  # labels say nothing before training
        if isinstance(module, torch.nn.Linear):
            torch.nn.init.normal_(module.weight, std=0.3)
    return made.eval()


def images(*shape):
    return torch.randn(*shape, SIDE, SIDE, dtype=torch.complex64, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("old", "new"), [(16, 11), (16, 15), (16, 16), (4, 3), (7, 2), (5, 1)])
def test_area_is_torchs(old, new):
    x = torch.randn(2, 3, old, old + 1)
    torch.testing.assert_close(area(x, (new, new)), F.interpolate(x, (new, new), mode="area"))


@pytest.mark.parametrize(("old", "new"), [(11, 16), (15, 16), (16, 16), (2, 7), (1, 4), (64, 224), (20, 9)])
def test_bicubic_is_torchs(old, new):
    x = torch.randn(2, 3, old, old + 1, dtype=torch.float64)
    expected = F.interpolate(x, (new, new + 2), mode="bicubic", align_corners=False)
    torch.testing.assert_close(bicubic(x, (new, new + 2)), expected)


def test_training_after_evaluation_in_one_process():
    x = torch.randn(1, 1, 23, 23, requires_grad=True)
    with torch.inference_mode():
        area(x, (9, 9)), bicubic(x, (31, 31)), ssim(x[0], x[0])
    value = area(x, (9, 9)).square().sum() + bicubic(x, (31, 31)).square().sum() + ssim(x[0], x[0] * x[0]).sum()
    value.backward()
    assert x.grad.any()


def test_paper_size():
    with torch.device("meta"):
        made = Tokenizer(TokenizerModel(), (256, 256))
    new = {name for name, _ in made.named_parameters() if ".film." in name or ".labels." in name}
    old = {name: p for name, p in made.named_parameters() if name not in new}
    old["codebook.embedding"] = made.codebook.embedding
    assert sum(p.numel() for p in old.values()) == 108_948_355
    assert len(old) == 324 - 1, "VAR's keys but its usage statistics"
    assert tuple(old["phis.3.weight"].shape) == (32, 32, 3, 3)


def test_phi_index():
    assert [phi_index(k, 10, 4) for k in range(10)] == [0, 0, 1, 1, 1, 2, 2, 3, 3, 3]  # VAR
    assert [phi_index(k, 6, 4) for k in range(6)] == [0, 0, 1, 2, 3, 3]
    assert [phi_index(k, 6, 6) for k in range(6)] == list(range(6))
    assert [phi_index(k, 3, 1) for k in range(3)] == [0, 0, 0]


def test_a_token_grid_that_does_not_fit_the_image_is_refused():
    with pytest.raises(UserError, match=r"'model.grids': 4 tokens a side of 4 pixels each make 16 x 16.*32 x 16"):
        Tokenizer(MODEL, (32, 16))


def test_input_channels():
    x = images(2)
    torch.testing.assert_close(as_input(x), torch.stack([x.real, x.imag, torch.zeros(2, SIDE, SIDE)], dim=1))


def test_tokens_of_all_levels_are_those_of_each():
    made, x, pattern = tokenizer(), images(2, 6), torch.tensor([1, 3])
    ids = made.tokenise(x, pattern)
    assert [tuple(part.shape) for part in ids] == [(2, t * t) for t in MODEL.grids]
    assert all(part.dtype == torch.int64 for part in ids)
    for level, part in enumerate(ids):
        assert torch.equal(made.tokenise_level(x[:, level], level, pattern), part)


def test_tokens_are_the_nearest_codes_of_the_resized_latent():
    made, x, pattern = tokenizer(), images(1), torch.tensor([2])
    z = F.interpolate(made.encode(x, torch.tensor([2]), pattern), (3, 3), mode="area")
    distance = torch.cdist(z[0].flatten(1).T, made.codebook.embedding)
    assert torch.equal(made.tokenise_level(x, 2, pattern)[0], distance.argmin(1))


def test_the_pattern_of_a_fully_sampled_image_is_none_by_default():
    x, last = images(2, 6), 5
    for label, same in (("none", True), ("pattern", False)):
        made = tokenizer(full_label=label)
        z = [made._latents(x, torch.full((2,), p)) for p in (0, 3)]
        assert torch.equal(z[0][last], z[1][last]) == same
        assert not torch.equal(z[0][0], z[1][0])
        explicit = made.encode(x[:, last], torch.tensor([last] * 2), torch.tensor([NO_PATTERN if same else 3] * 2))
        torch.testing.assert_close(z[1][last], explicit)


def test_contribution_is_bicubic_then_phi():
    made = tokenizer()
    ids = torch.randint(32, (2, 9))
    codes = made.codebook.embedding[ids].permute(0, 2, 1).reshape(2, 4, 3, 3)
    wide = F.interpolate(codes, (4, 4), mode="bicubic", align_corners=False)
    conv = made.phis[1]
    expected = 0.5 * wide + 0.5 * F.conv2d(wide, conv.weight, conv.bias, padding=1)
    torch.testing.assert_close(made.contribution(ids, 2), expected)


def test_fusion_is_the_mean_of_what_is_there():
    made, u = tokenizer(), [torch.full((1, 4, 4, 4), value) for value in (1.0, 2.0, 6.0)]
    assert made.fuse(u[:1]).unique().tolist() == [1]
    assert made.fuse(u).unique().tolist() == [3]


def test_a_training_pass_agrees_with_tokens_and_reconstruction():
    made, x, pattern = tokenizer(), images(2, 6), torch.tensor([0, 2])
    out = made(x, pattern)
    ids = made.tokenise(x, pattern)
    assert all(torch.equal(a, b) for a, b in zip(out.ids, ids, strict=True))
    torch.testing.assert_close(out.image, made.reconstruct(ids))
    assert out.image.shape == (2, SIDE, SIDE)
    assert out.image.dtype == torch.complex64
    latents = made._latents(x, pattern)
    assert out.vectors.shape == (2 * sum(t * t for t in MODEL.grids), 4)
    flat = [z.permute(0, 2, 3, 1).reshape(-1, 4) for z in latents]
    torch.testing.assert_close(out.vectors, torch.cat(flat))
    errors = [F.mse_loss(z, made.codebook.embedding[part.flatten()]) for z, part in zip(flat, ids, strict=True)]
    torch.testing.assert_close(out.commitment, torch.stack(errors).mean())


def test_the_first_training_batch_fills_the_codebook_and_nothing_else_does():
    made, x, pattern = tokenizer(), images(2, 6), torch.tensor([0, 2])
    made(x, pattern)
    assert not made.codebook.initialised
    made.train()
    out = made(x, pattern)
    assert made.codebook.initialised
    distance = torch.cdist(made.codebook.embedding, out.vectors).amin(1)
    torch.testing.assert_close(distance, torch.zeros(32), atol=1e-3, rtol=0)
    before = made.codebook.embedding.clone()
    made(x, pattern)
    assert torch.equal(made.codebook.embedding, before)


def test_the_image_reaches_every_parameter():
    made = tokenizer().train()
    made(images(2, 6), torch.tensor([0, 2])).image.abs().mean().backward()
    assert [name for name, p in made.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_tokens_do_not_depend_on_autocast():
    made, x, pattern = tokenizer(), images(2, 6), torch.tensor([1, 3])
    plain, image = made.tokenise(x, pattern), made(x, pattern).image
    with torch.autocast("cpu", torch.bfloat16):
        assert all(torch.equal(a, b) for a, b in zip(plain, made.tokenise(x, pattern), strict=True))
        assert torch.equal(made.reconstruct(plain), image)
