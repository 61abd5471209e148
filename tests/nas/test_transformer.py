"""The transformer: sizes, who depends on what, histories, the context, initial weights."""

import math

import chain
import pytest
import torch

from rekon.config.nas import ContextSettings, TokenizerModel, TransformerModel
from rekon.errors import UserError
from rekon.nas.context import Context
from rekon.nas.tokenizer import Tokenizer
from rekon.nas.transformer import ScaleTransformer, histories


def count(module):
    return sum(p.numel() for p in module.parameters())


@pytest.fixture(scope="module")
def paper():
    with torch.device("meta"):
        return ScaleTransformer(TransformerModel(), Tokenizer(TokenizerModel(), (256, 256)))


@pytest.fixture(scope="module")
def tokens():
    return chain.tokenizer()


def logits(model, tokens, ids, images=None, pattern=0):
    images = images or chain.images(len(ids[0]))
    labels = torch.full((len(ids[0]),), pattern)
    context = None if model.context is None else model.context(images, labels)
    with torch.no_grad():
        return model(histories(tokens, ids[:-1]), labels, context)


def test_sizes_at_the_papers_size(paper):
    assert paper.ends == (144, 313, 509, 734, 990)
    assert count(paper) - count(paper.context) == 358_907_392
    assert {count(block) - count(block.cross) for block in paper.blocks} == {18_888_720}
    assert [count(block.cross) for block in paper.blocks] == [3_410_960] * 8 + [2_755_600] * 8
    full = 44_107_872 + 4_596_480 + (6 + 5) * 512
    unused = 2 * 640 + (640 * 32 * 9 + 32)  # the last norm and convolution come after all features
    assert count(paper.context) == full - unused
    assert [tuple(paper.context.get_buffer(f"code_{n}").shape) for n in range(4)] == [
        (256, 640), (256, 640), (1024, 320), (4096, 320),
    ]  # fmt: skip


def test_flat_tokens_have_1280_places():
    with torch.device("meta"):
        flat = Tokenizer(TokenizerModel(grids=(16,) * 6), (256, 256))
        assert ScaleTransformer(TransformerModel(), flat).ends[-1] == 1280


def test_without_context_there_is_no_cross_attention():
    with torch.device("meta"):
        model = ScaleTransformer(TransformerModel(context=None), Tokenizer(TokenizerModel(), (256, 256)))
    assert count(model) == 358_907_392 - 49_332_480


def test_a_level_depends_on_all_levels_before_and_on_none_after(tokens):
    model, ids = chain.transformer(tokens), chain.ids(tokens, 1)
    before, starts = logits(model, tokens, ids), (0, *model.ends)
    for level in range(len(ids) - 1):
        changed = [one.clone() for one in ids]
        changed[level] = (changed[level] + 1) % tokens.model.vocabulary
        after = logits(model, tokens, changed)
        assert torch.equal(after[:, : starts[level]], before[:, : starts[level]]), "earlier ones, and itself, do not"
        for later in range(level, len(model.ends)):
            part = slice(starts[later], starts[later + 1])
            assert (after[:, part] - before[:, part]).abs().amax(-1).min() > 1e-4, (level, later)


def test_histories_end_in_what_the_decoder_gets(tokens):
    ids = chain.ids(tokens, 2)
    parts = histories(tokens, ids[:-1]).split([g * g for g in tokens.model.grids[1:]], 1)
    last = tokens.fuse([tokens.contribution(ids[k], k) for k in range(5)])
    torch.testing.assert_close(parts[-1], last.flatten(2).mT)  # a grid as large as the latent: no resizing
    whole = (5 * last + tokens.contribution(ids[5], 5)) / 6
    torch.testing.assert_close(tokens.decode(whole), tokens.reconstruct(ids))
    first = torch.nn.functional.interpolate(tokens.contribution(ids[0], 0), (4, 4), mode="area")
    torch.testing.assert_close(parts[0], first.flatten(2).mT)


def test_pattern_and_image_matter(tokens):
    model, ids = chain.transformer(tokens), chain.ids(tokens, 1)
    once = logits(model, tokens, ids)
    assert not torch.allclose(once, logits(model, tokens, ids, pattern=1))
    assert not torch.allclose(once, logits(model, tokens, ids, images=chain.images(1, seed=5)))


def test_groups_of_blocks_attend_to_their_feature(tokens):
    model = chain.transformer(tokens, context=chain.CONTEXT | {"features": ("mid", 2, 1, 0)})
    assert [block.cross.kv.in_features for block in model.blocks] == [16, 16, 8, 8]
    context = model.context(chain.images(1), torch.zeros(1, dtype=torch.long))
    assert [tuple(one.shape[1:]) for one in context] == [(64, 16), (64, 16), (256, 8), (1024, 8)]
    two = chain.transformer(tokens, depth=4)
    assert [block.cross.kv.in_features for block in two.blocks] == [16, 16, 8, 8]


def context_of(tokens, **settings):
    return Context(ContextSettings(**{"features": ("mid", 1)} | settings), tokens, 16)


def normalised(features):
    return (features - features.mean((1, 2, 3), True)) / features.std((1, 2, 3), correction=0, keepdim=True)


def test_context_starts_as_the_tokenizers_features(tokens):
    images, pattern = chain.images(2), torch.tensor([1, 3])
    for image, level, labels in (("measured", 0, pattern), ("full", 5, torch.full((2,), 4))):
        context = context_of(tokens, image=image)
        found = context(images, pattern)
        x = torch.view_as_real(images[image]).movedim(-1, 1)
        x = torch.cat([x, torch.zeros_like(x[:, :1])], 1)
        wanted = tokens.encoder.features(x, torch.full((2,), level), labels)
        for one, key, side in ((found[0], "mid", 8), (found[1], 1, 16)):
            code = torch.nn.functional.pad(context.code(side), (0, one.shape[-1] - 8))
            torch.testing.assert_close(one, normalised(wanted[key]).flatten(2).mT + code, atol=1e-4, rtol=1e-4)
    labelled = context_of(chain.tokenizer(full_label="pattern"), image="full")
    assert not torch.allclose(labelled(images, pattern)[0], labelled(images, pattern.flip(0))[0])


def test_both_images_lie_side_by_side(tokens):
    images, pattern = chain.images(1), torch.tensor([2])
    context = context_of(tokens, image="both")
    both = context(images, pattern)
    singles = [context_of(tokens, image=name)(images, pattern) for name in ("measured", "full")]
    for number, side in enumerate((8, 16)):
        width = both[number].shape[-1]
        wide, narrow = (
            torch.nn.functional.pad(context.code(side, n), (0, width - 8)).unflatten(0, (side, -1)) for n in (2, 1)
        )
        grid = both[number].unflatten(1, (side, 2 * side))
        for half, single in zip((grid - wide).chunk(2, dim=2), singles, strict=True):
            torch.testing.assert_close(half, single[number].unflatten(1, (side, side)) - narrow)
        torch.testing.assert_close(wide[:, :side], narrow)


def test_code_says_where_on_the_image(tokens):
    context = context_of(tokens)
    assert context.code_width == 8
    fine, coarse = context.code(16).unflatten(0, (16, 16)), context.code(8).unflatten(0, (8, 8))
    similar = torch.einsum("ijc,c->ij", fine, coarse[3, 5])
    place = divmod(int(similar.argmax()), 16)
    assert place in {(6, 10), (6, 11), (7, 10), (7, 11)}, "the four finer places of a coarse one"
    distance = torch.cdist(context.code(16), context.code(16)) + 9 * torch.eye(256)
    assert distance.min() > 0.1, "no two places alike"
    torch.testing.assert_close(fine.square().mean(), torch.tensor(1.0), atol=0.05, rtol=0)
    # row 3, column 5 of the latent's own grid, at the shortest wavelength: four steps of the finest map, here two
    assert coarse[3, 5, 0] == pytest.approx(2**0.5 * math.sin(3 * math.pi), abs=1e-5)
    assert coarse[3, 5, 4] == pytest.approx(2**0.5 * math.sin(5 * math.pi), abs=1e-5)


def test_local_start_looks_at_its_own_place():
    """Cross-attention alone, on a context that is nothing but places: most of what a token sees is near it."""
    tokens = chain.tokenizer(channels=24)
    model = chain.transformer(tokens, loud=False, width=32, context=chain.CONTEXT | {"start": "local"})
    random = chain.transformer(tokens, loud=False, width=32)
    seen = {}
    for name, one in (("local", model), ("random", random)):
        block, code = one.blocks[0], one.context.get_buffer("code_0")[None]
        x = torch.nn.functional.layer_norm(one.position.weight[None], (32,))
        k, _ = block.cross.keys_values(code)
        q = block.cross._queries(block.cross._split(x @ block.cross.q.weight.T))
        weight = (q @ k.mT).softmax(-1)[0].mean(0)  # (L, 64)
        down, across = (place.flatten().float() for place in torch.meshgrid(*2 * [torch.arange(8)], indexing="ij"))
        places = [torch.meshgrid(*2 * [(torch.arange(s) + 0.5) * 8 / s - 0.5], indexing="ij") for s in one.sides]
        rows, columns = (torch.cat([pair[axis].flatten() for pair in places]) for axis in (0, 1))
        far = (rows[:, None] - down).abs() + (columns[:, None] - across).abs()
        seen[name] = float((weight * far).sum(-1).mean().detach())
    assert seen["local"] < 1.5 < 3 < seen["random"], "mean distance in places"
    assert count(model) == count(random)


def test_trained_copy_or_frozen_one(tokens):
    for trainable in (True, False):
        model = chain.transformer(tokens, context=chain.CONTEXT | {"trainable": trainable})
        context = model.context(chain.images(1), torch.zeros(1, dtype=torch.long))
        ids = chain.ids(tokens, 1)
        model(histories(tokens, ids[:-1]), torch.zeros(1, dtype=torch.long), context).square().sum().backward()
        encoder = [p.grad is not None for p in model.context.encoder.parameters()]
        assert any(encoder) == trainable
        assert all(encoder) == trainable, "nothing idle in a trainable one"
        idle = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
        assert idle == []
    assert all(p.grad is None for p in tokens.parameters())


def test_unknown_feature_is_refused(tokens):
    with pytest.raises(UserError, match=r"'model.context.features': 3 is not a level .* it has 0 .* to 2, then 'mid'"):
        chain.transformer(tokens, context=chain.CONTEXT | {"features": ("mid", 3)})


def test_initial_weights():
    tokens = chain.tokenizer()
    model = chain.transformer(tokens, loud=False, width=64, depth=4, context=chain.CONTEXT)
    deviation = math.sqrt(1 / (3 * 64))

    def std(weight):
        return float(weight.detach().std()) / deviation

    block = model.blocks[2]
    assert std(block.attention.qkv.weight) == pytest.approx(1, rel=0.05)
    for layer in (block.attention.proj, block.down, block.cross.proj):
        assert std(layer.weight) == pytest.approx(1 / math.sqrt(8), rel=0.05)
    assert std(block.modulation.weight[:128]) == pytest.approx(1e-3, rel=0.05)
    assert std(block.modulation.weight[128:]) == pytest.approx(0.5, rel=0.05)
    assert std(model.head.weight) == pytest.approx(0.02, rel=0.05)
    assert block.modulation.bias.abs().max() == model.head.bias.abs().max() == 0
    for name, value in model.context.encoder.state_dict().items():
        assert torch.equal(value, tokens.encoder.state_dict()[name]), name
    fresh = logits(model, tokens, chain.ids(tokens, 1)).log_softmax(-1)
    torch.testing.assert_close(fresh, torch.full_like(fresh, -math.log(24)), atol=0.2, rtol=0)  # next to uniform


def test_drop_path_leaves_out_whole_branches(tokens):
    model, ids = chain.transformer(tokens, drop_path=0.6), chain.ids(tokens, 8)
    quiet = logits(model, tokens, ids)
    rates = [block.drop_path.rate for block in model.blocks]
    assert rates == pytest.approx([0, 0.2, 0.4, 0.6])
    model.train()
    drawn = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        drawn.append(logits(model, tokens, ids))
    assert torch.equal(drawn[0], drawn[1]), "a function of the seed"
    assert not torch.equal(drawn[0], drawn[2])
    assert not torch.allclose(drawn[0], quiet)
    x, branch = torch.ones(2000, 1, 1), model.blocks[3].drop_path
    assert branch(x).unique().tolist() == pytest.approx([0, 2.5])
    assert float(branch(x).mean()) == pytest.approx(1, abs=0.1)


def test_half_precision_follows(tokens):
    model, ids = chain.transformer(tokens), chain.ids(tokens, 1)
    with torch.autocast("cpu", torch.bfloat16):
        halved = logits(model, tokens, ids)
    assert halved.dtype == torch.float32
    whole = logits(model, tokens, ids)
    assert not torch.equal(halved, whole)
    torch.testing.assert_close(halved, whole, atol=0.1, rtol=0.1)
