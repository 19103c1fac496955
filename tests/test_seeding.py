import pytest
import torch

from blocklearn.seeding import fold_seed, keyed_generator, keyed_randomness, keyed_uniform


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


def test_keyed_numbers_are_those_of_splitmix64() -> None:
    whole = (1 << 64) - 1

    def mixed(bits: int) -> int:
        bits = (bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9 & whole
        bits = (bits ^ (bits >> 27)) * 0x94D049BB133111EB & whole
        return bits ^ (bits >> 31)

    drawn = keyed_uniform(torch.tensor([0, 5, 2**40]), 3, 1, 2)
    for row, index in enumerate((0, 5, 2**40)):
        begin = mixed(index + fold_seed(1, 2) & whole)
        for column in range(3):
            bits = mixed(begin + (column + 1) * 0x9E3779B97F4A7C15 & whole)
            assert drawn[row, column].item() == (bits >> 11) / 2**53


def test_a_gpus_own_stream_is_keyed_beside_the_cpus_and_goes_on_afterwards(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    of_gpu = torch.Generator().manual_seed(5)  # stands for that of a second GPU
    monkeypatch.setattr(torch.cuda, "init", lambda: None)
    monkeypatch.setattr(torch.cuda, "default_generators", (torch.Generator(), of_gpu))
    found = []
    for _ in range(2):
        with keyed_randomness(1, 2, device=torch.device("cuda", 1)):
            found.append((torch.rand(3), torch.rand(3, generator=of_gpu)))
    torch.testing.assert_close(*found, rtol=0, atol=0)
    with keyed_randomness(1, 2):
        assert torch.equal(torch.rand(3), found[0][0])
    expected = torch.rand(3, generator=torch.Generator().manual_seed(5))
    assert torch.equal(torch.rand(3, generator=of_gpu), expected)
