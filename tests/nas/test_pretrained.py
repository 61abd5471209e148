"""VAR's VQ-VAE into a tokenizer: what is loaded, what is left, and that the encoder then is VAR's."""

import logging

import pytest
import torch
import torch.nn.functional as F

from rekon import safetensors
from rekon.config.nas import TokenizerModel
from rekon.errors import UserError
from rekon.nas.pretrained import load_var
from rekon.nas.tokenizer import Tokenizer

MODEL = TokenizerModel(
    channels=8, multipliers=(1, 1, 2), blocks=2, latent=4, vocabulary=16, grids=(2, 2, 3, 3, 4, 4), condition=6,
    losses={"adversarial": 0, "perceptual": 0}, discriminator=None,
)  # fmt: skip


def tokenizer(seed):
    torch.manual_seed(seed)
    return Tokenizer(MODEL, (16, 16))


def var(seed=7):
    """Tensors as VAR ships them: those of a tokenizer with neither labels nor moving averages."""
    own = {key: value for key, value in tokenizer(seed).state_dict().items() if ".film." not in key}
    kept = {key: value for key, value in own.items() if not key.startswith(("codebook.", "encoder.labels."))}
    tensors = {key.replace("phis.", "quantize.quant_resi.qresi_ls."): value for key, value in kept.items()}
    extra = {"quantize.embedding.weight": torch.randn(16, 4), "quantize.ema_vocab_hit_SV": torch.zeros(10, 16)}
    return tensors | extra


def test_names_are_those_of_var():
    with torch.device("meta"):
        made = Tokenizer(TokenizerModel(), (256, 256))
    own = [
        key for key in made.state_dict() if not key.startswith(("codebook.", "encoder.labels.")) and ".film." not in key
    ]
    assert len(own) == 324 - 2
    assert {key.split(".")[0] for key in own} == {"encoder", "decoder", "quant_conv", "post_quant_conv", "phis"}


def test_loaded_skipped_missing(tmp_path, caplog):
    file, given, made = tmp_path / "vae.safetensors", var(), tokenizer(0)
    safetensors.write(file, given, {})
    codes = made.codebook.embedding.clone()
    with caplog.at_level(logging.INFO):
        report = load_var(made, file)
    assert report.skipped == ("quantize.ema_vocab_hit_SV", "quantize.embedding.weight")
    assert len(report.loaded) == len(given) - 2
    rest = {key.split(".")[0] if key.startswith("codebook") else key.split(".")[1] for key in report.missing}
    assert rest == {"codebook", "labels", "down", "mid"}
    assert all(".film." in key for key in report.missing if ".down." in key or ".mid." in key)
    assert torch.equal(made.encoder.down[1].block[0].conv1.weight, given["encoder.down.1.block.0.conv1.weight"])
    assert torch.equal(made.phis[2].weight, given["quantize.quant_resi.qresi_ls.2.weight"])
    assert torch.equal(made.codebook.embedding, codes)
    assert [record.getMessage() for record in caplog.records] == [f"{file}: {report}."]
    assert str(report) == f"{len(given) - 2} tensors loaded, 2 skipped, {len(report.missing)} not in the file"


def test_encoder_is_that_of_var_before_training(tmp_path):
    file, weights, made = tmp_path / "vae.safetensors", var(), tokenizer(0)
    safetensors.write(file, weights, {})
    load_var(made, file)
    x = torch.randn(3, 3, 16, 16)
    z = made.encoder(x, torch.tensor([0, 3, 5]), torch.tensor([4, 1, 0]))
    torch.testing.assert_close(z, plain_encoder(weights, x))


def test_another_width_is_reported_and_a_foreign_file_refused(tmp_path):
    file, given = tmp_path / "vae.safetensors", var()
    safetensors.write(file, given | {"encoder.conv_out.bias": torch.zeros(9)}, {})
    report = load_var(tokenizer(0), file)
    assert "encoder.conv_out.bias" in report.skipped
    assert "encoder.conv_out.bias" in report.missing
    safetensors.write(file, {"something.else": torch.zeros(1)}, {})
    with pytest.raises(UserError, match=r"vae\.safetensors: holds no tensor that fits.*'model.pretrained: null'"):
        load_var(tokenizer(0), file)


def plain_encoder(weights, x):
    """VAR's encoder for MODEL, from its tensors alone."""

    def conv(name, x, **options):
        return F.conv2d(x, weights[f"{name}.weight"], weights[f"{name}.bias"], **options)

    def norm(name, x):
        return F.group_norm(x, x.shape[1] // 4, weights[f"{name}.weight"], weights[f"{name}.bias"], eps=1e-6)

    def block(name, x):
        h = conv(f"{name}.conv1", F.silu(norm(f"{name}.norm1", x)), padding=1)
        h = conv(f"{name}.conv2", F.silu(norm(f"{name}.norm2", h)), padding=1)
        return (conv(f"{name}.nin_shortcut", x) if f"{name}.nin_shortcut.weight" in weights else x) + h

    def attention(name, x):
        q, k, v = conv(f"{name}.qkv", norm(f"{name}.norm", x)).flatten(2).chunk(3, dim=1)
        weight = (q.transpose(1, 2) @ k / x.shape[1] ** 0.5).softmax(-1)
        return x + conv(f"{name}.proj_out", (v @ weight.transpose(1, 2)).view_as(x))

    x = conv("encoder.conv_in", x, padding=1)
    for level in range(3):
        for number in range(2):
            x = block(f"encoder.down.{level}.block.{number}", x)
            if level == 2:
                x = attention(f"encoder.down.2.attn.{number}", x)
        if level < 2:
            x = conv(f"encoder.down.{level}.downsample.conv", F.pad(x, (0, 1, 0, 1)), stride=2)
    x = block("encoder.mid.block_2", attention("encoder.mid.attn_1", block("encoder.mid.block_1", x)))
    return conv("encoder.conv_out", F.silu(norm("encoder.norm_out", x)), padding=1)
