import torch

from blocklearn.seeding import fold_seed, keyed_generator, keyed_randomness


def test_a_folded_seed_is_the_same_on_every_machine() -> None:
    assert fold_seed(0, 1, 2) == 4450782424123420391


def test_every_key_and_their_order_matter() -> None:
    seeds = {fold_seed(*keys) for keys in [(0, 1, 2), (0, 2, 1), (1, 0, 2), (0, 1), (0, 1, 3)]}
    assert len(seeds) == 5


def test_a_keyed_generator_does_not_depend_on_earlier_draws() -> None:
    first = torch.rand(3, generator=keyed_generator("cpu", 1, 2))
    torch.rand(5)
    assert torch.equal(first, torch.rand(3, generator=keyed_generator("cpu", 1, 2)))


def test_keyed_randomness_leaves_the_stream_around_it_as_it_was() -> None:
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    with keyed_randomness(7):
        inside = torch.rand(4)
    assert torch.equal(torch.rand(4), expected)
    with keyed_randomness(7):
        assert torch.equal(torch.rand(4), inside)
