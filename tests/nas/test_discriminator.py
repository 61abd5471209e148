"""The discriminator: sizes and names of ViT-B/16 and its heads, what is frozen, where random weights come from."""

import pytest
import torch
from torch import nn

from rekon import safetensors
from rekon.config.nas import DiscriminatorSettings
from rekon.errors import UserError
from rekon.nas.discriminator import Discriminator, Head, LocalNorm, VisionTransformer

TINY = DiscriminatorSettings(image=32, patch=8, width=16, depth=3, heads=2, levels=(0, 2))


def tiny(weights=None, seed=0, **changes):
    torch.manual_seed(seed)
    return Discriminator(TINY.model_copy(update=changes), weights)


def test_paper_size():
    with torch.device("meta"):
        made = Discriminator(DiscriminatorSettings())
    count = [sum(p.numel() for p in part.parameters()) for part in (made.backbone, made.heads)]
    assert count == [85_798_656, 23_614_468]
    shapes = {key: tuple(value.shape) for key, value in made.backbone.state_dict().items()}
    expected = {
        "cls_token": (1, 1, 768), "pos_embed": (1, 197, 768), "patch_embed.proj.weight": (768, 3, 16, 16),
        "blocks.11.attn.qkv.weight": (2304, 768), "blocks.0.attn.proj.bias": (768,), "blocks.3.norm2.weight": (768,),
        "blocks.5.mlp.fc1.weight": (3072, 768), "blocks.5.mlp.fc2.bias": (768,), "norm.weight": (768,),
    }  # fmt: skip
    assert {key: shapes[key] for key in expected} == expected
    assert len(shapes) == 4 + 12 * 12 + 2


def test_one_output_per_level_and_patch():
    assert tiny()(torch.rand(3, 20, 20)).shape == (3, 2 * 16)


def test_transformer_block_by_hand():
    torch.manual_seed(0)
    vit = VisionTransformer(8, 4, 6, 1, 1, (0,))
    nn.init.normal_(vit.cls_token)
    image = torch.rand(1, 3, 8, 8)
    patches = image.unfold(2, 4, 4).unfold(3, 4, 4).permute(0, 2, 3, 1, 4, 5).reshape(1, 4, -1)
    x = patches @ vit.patch_embed.proj.weight.flatten(1).T + vit.patch_embed.proj.bias
    x = torch.cat([vit.cls_token, x], dim=1) + vit.pos_embed
    block = vit.blocks[0]
    q, k, v = block.attn.qkv(block.norm1(x)).chunk(3, dim=-1)
    x = x + block.attn.proj((q @ k.transpose(1, 2) / 6**0.5).softmax(-1) @ v)
    x = x + block.mlp.fc2(nn.functional.gelu(block.mlp.fc1(block.norm2(x))))
    torch.testing.assert_close(vit(image)[0], vit.norm(x)[:, 1:].transpose(1, 2))


def test_image_is_resized_and_normalised_as_clip_does(monkeypatch):
    made, seen = tiny(), []
    monkeypatch.setattr(made.backbone, "forward", lambda x: seen.append(x) or [])
    x = torch.rand(2, 20, 20)
    made.features(x)
    wide = nn.functional.interpolate(x[:, None], (32, 32), mode="bicubic", align_corners=False)
    expected = torch.cat(
        [(wide - 0.48145466) / 0.26862954, (wide - 0.4578275) / 0.26130258, (wide - 0.40821073) / 0.27577711], dim=1
    )
    torch.testing.assert_close(seen[0], expected)


def test_backbone_is_frozen_but_passes_gradients_on():
    made, x = tiny(), torch.rand(2, 32, 32, requires_grad=True)
    trained = [name for name, p in made.named_parameters() if p.requires_grad]
    assert trained and all(name.startswith("heads.") for name in trained)
    made(x).square().mean().backward()
    assert x.grad.any()
    assert all(p.grad is None for p in made.backbone.parameters())
    assert all(p.grad is not None for p in made.heads.parameters())


def test_random_backbone_is_the_same_whatever_the_seed():
    one, other = tiny(seed=1), tiny(seed=2)
    assert one.untrained
    assert all(torch.equal(a, b) for a, b in zip(one.backbone.parameters(), other.backbone.parameters(), strict=True))
    assert not torch.equal(one.heads[0].mix[0].weight, other.heads[0].mix[0].weight)
    torch.manual_seed(5)
    Discriminator(TINY)
    after = torch.rand(1)
    torch.manual_seed(5)
    [Head(TINY.width) for _ in TINY.levels]
    assert torch.equal(after, torch.rand(1)), "the backbone draws nothing from the run's generator"


def test_weights_from_a_file(tmp_path):
    file, source = tmp_path / "clip.safetensors", tiny()
    with torch.no_grad():
        for parameter in source.backbone.parameters():
            parameter.add_(1)
    tensors = {f"visual.trunk.{key}": value for key, value in source.backbone.state_dict().items()}
    safetensors.write(file, tensors | {"text.whatever": torch.ones(1), "visual.head.proj.weight": torch.ones(1)}, {})
    made = tiny(file)
    assert not made.untrained
    assert all(torch.equal(a, b) for a, b in zip(made.backbone.parameters(), source.backbone.parameters(), strict=True))
    with pytest.raises(UserError, match=r"clip\.safetensors: tensor 'visual.trunk.pos_embed' is \(1, 17, 16\).*sizes"):
        tiny(file, image=40)
    with pytest.raises(UserError, match=r"'visual.trunk.blocks.3.norm1.weight' is missing"):
        tiny(file, depth=4)


def test_convolutions_have_unit_spectral_norm():
    head = Head(8).train()
    for _ in range(50):
        head(torch.randn(2, 8, 12))
    head.eval()
    for layer in (head.mix[0], head.near[0], head.out):
        assert float(torch.linalg.matrix_norm(layer.weight.detach().flatten(1), 2)) == pytest.approx(1, abs=1e-3)


def test_wide_convolution_is_a_ring():
    head, x = Head(4).eval(), torch.randn(2, 4, 12)
    torch.testing.assert_close(head(x.roll(5, dims=2)), head(x).roll(5, dims=1))


@pytest.mark.parametrize(("batch", "size"), [(3, 3), (8, 8), (16, 8), (12, 6), (11, 1)])
def test_local_norm_is_batch_norm_of_groups(batch, size):
    norm, reference, x = LocalNorm(4), nn.BatchNorm1d(4), torch.randn(batch, 4, 7)
    torch.testing.assert_close(norm(x), torch.cat([reference(part) for part in x.split(size)]), rtol=1e-4, atol=1e-5)
    assert not list(norm.buffers())
