"""Decoding: the cache changes nothing, and rules draw what they say."""

import chain
import pytest
import torch

from rekon.config.nas import DecodingSettings
from rekon.nas.generate import choose, rollout, rollout_by_recomputing, uniforms
from rekon.nas.transformer import histories, history

ARGMAX = DecodingSettings()
MULTINOMIAL = DecodingSettings(rule="multinomial")
PATTERN = torch.tensor([0, 3])


@pytest.fixture(scope="module")
def tokens():
    return chain.tokenizer()


def draws(count, seed=0, length=chain.LENGTH):
    return torch.stack([uniforms(torch.Generator().manual_seed(seed + i), length) for i in range(count)])


@pytest.mark.parametrize("context", [chain.CONTEXT, None])
def test_cached_levels_equal_the_full_forward_also_after_another_prefix(tokens, context):
    model = chain.transformer(tokens, context=context)
    features = model.context(chain.images(2), PATTERN) if context else None
    ids = chain.ids(tokens, 2)
    for _ in range(2):
        memory, found = model.start(PATTERN, features), []
        for level in range(5):
            known = [tokens.contribution(ids[k], k) for k in range(level + 1)]
            found.append(model.next(history(tokens, known), level, memory))
        whole = model(histories(tokens, ids[:-1]), PATTERN, features)
        torch.testing.assert_close(torch.cat(found, 1), whole, atol=1e-5, rtol=0)
        ids[1] = (ids[1] + 5) % tokens.model.vocabulary  # nothing of the first prefix may linger


def test_a_second_rollout_on_the_same_memory_starts_anew(tokens):
    model, ids = chain.transformer(tokens), chain.ids(tokens, 2)
    memory = model.start(PATTERN, model.context(chain.images(2), PATTERN))
    inputs = history(tokens, [tokens.contribution(ids[0], 0)])
    first = model.next(inputs, 0, memory)
    torch.testing.assert_close(model.next(inputs, 0, memory), first)


@pytest.mark.parametrize("settings", [ARGMAX, MULTINOMIAL, DecodingSettings(rule="top", top_k=8, top_p=0.9)])
def test_rollout_equals_recomputing_everything(tokens, settings):
    model, images, first = chain.transformer(tokens), chain.images(2), chain.ids(tokens, 2)[0]
    quick = rollout(model, tokens, first, PATTERN, model.context(images, PATTERN), settings, draws(2))
    calls = []

    def context():
        calls.append(1)
        return model.context(images, PATTERN)

    plain = rollout_by_recomputing(model, tokens, first, PATTERN, context, settings, draws(2))
    assert len(calls) == 5
    assert [one.shape[1] for one in quick] == [9, 16, 25, 36, 49, 64]
    for one, other in zip(quick, plain, strict=True):
        assert torch.equal(one, other)
    assert len(torch.cat(quick[1:], 1).unique()) > 4, "a rollout worth comparing"


def test_argmax_rollout_is_a_fixed_point(tokens):
    model, images, first = chain.transformer(tokens), chain.images(1), chain.ids(tokens, 1)[0]
    pattern = PATTERN[:1]
    ids = rollout(model, tokens, first, pattern, model.context(images, pattern), ARGMAX)
    logits = model(histories(tokens, ids[:-1]), pattern, model.context(images, pattern))
    assert torch.equal(logits.argmax(-1), torch.cat(ids[1:], 1))


def test_batch_composition_changes_no_draw(tokens):
    model, images, first = chain.transformer(tokens), chain.images(3), chain.ids(tokens, 3)[0]
    pattern, drawn = torch.tensor([0, 1, 2]), draws(3)
    together = rollout(model, tokens, first, pattern, model.context(images, pattern), MULTINOMIAL, drawn)
    for order in ([2, 0], [1]):
        some = {name: image[order] for name, image in images.items()}
        context = model.context(some, pattern[order])
        apart = rollout(model, tokens, first[order], pattern[order], context, MULTINOMIAL, drawn[order])
        assert all(torch.equal(one, other[order]) for one, other in zip(apart, together, strict=True))


def test_multinomial_draws_by_probability():
    logits = torch.tensor([0.0, 1.0, -2.0, 0.5]).expand(1, 40000, 4)
    drawn = choose(logits, MULTINOMIAL, draws(1, length=40000))
    share = torch.bincount(drawn[0], minlength=4) / 40000
    torch.testing.assert_close(share, logits[0, 0].softmax(-1), atol=0.01, rtol=0)
    cooler = torch.bincount(choose(logits, MULTINOMIAL, draws(1, length=40000), 0.5)[0], minlength=4) / 40000
    torch.testing.assert_close(cooler, (2 * logits[0, 0]).softmax(-1), atol=0.01, rtol=0)


def test_top_keeps_the_likeliest():
    probabilities = torch.tensor([0.05, 0.4, 0.15, 0.3, 0.1])
    logits = probabilities.log().expand(1, 20000, 5)

    def share(**settings):
        drawn = choose(logits, DecodingSettings(rule="top", **settings), draws(1, length=20000))
        return torch.bincount(drawn[0], minlength=5) / 20000

    def renormalised(*kept):
        mask = torch.zeros(5).index_fill_(0, torch.tensor(kept), 1.0)
        return probabilities * mask / (probabilities * mask).sum()

    for found, kept in (
        (share(top_k=2), (1, 3)),
        (share(top_p=0.65), (1, 3)),  # 0.4 + 0.3 is the first to reach 0.65
        (share(top_p=0.75), (1, 3, 2)),
        (share(top_k=3, top_p=0.8), (1, 3)),  # of the three's mass: 0.7 / 0.85 = 0.82
        (share(top_k=1), (1,)),
        (share(top_p=1.0), (0, 1, 2, 3, 4)),
        (share(top_k=900), (0, 1, 2, 3, 4)),
    ):
        torch.testing.assert_close(found, renormalised(*kept), atol=0.015, rtol=0)


def test_extreme_numbers_pick_valid_codes():
    logits = torch.tensor([[[-200.0, 0.0, -200.0, 0.0, -200.0]]])
    for number, code in ((0.0, 1), (0.499, 1), (0.501, 3), (1 - 2**-53, 3)):
        drawn = choose(logits, MULTINOMIAL, torch.tensor([[number]], dtype=torch.float64))
        assert drawn.item() == code
