"""Weights: equal content, equal bytes; errors in one sentence that names the file."""

import errno
import json
import subprocess
import sys

import pytest
import safetensors.torch
import torch
import toy

import rekon.files
from rekon import safetensors as own
from rekon.errors import UserError
from rekon.training.weights import load_into, load_weights, save_weights

RECIPE = toy.recipe().model_dump(mode="json")


def network():
    return torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))


@pytest.fixture
def file(tmp_path):
    torch.manual_seed(0)
    path = tmp_path / "run.safetensors"
    save_weights(path, {f"net.{key}": value for key, value in network().state_dict().items()}, RECIPE)
    return path


def sentence(path, *arguments):
    with pytest.raises(UserError) as caught:
        load_into({"net": network()}, path, *arguments)
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert text.endswith(".")
    assert "\n" not in text
    return text


def test_round_trip(file):
    torch.manual_seed(0)
    original, other = network(), network()
    load_into({"net": other}, file, RECIPE)
    for key, value in original.state_dict().items():
        assert torch.equal(other.state_dict()[key], value)
        assert other.state_dict()[key].dtype == value.dtype


def test_the_library_reads_the_same(file):
    tensors, _ = load_weights(file)
    theirs = safetensors.torch.load_file(file)
    assert set(theirs) == set(tensors)
    assert all(torch.equal(theirs[key], value) for key, value in tensors.items())
    with safetensors.safe_open(file, "pt") as opened:
        assert json.loads(opened.metadata()["recipe"]) == RECIPE


@pytest.mark.parametrize("dtype", [*own._NAMES])
def test_every_type_and_shape(tmp_path, dtype):
    torch.manual_seed(0)
    tensors = {
        "a": torch.randint(0, 2, (3, 2)).to(dtype),
        "b": torch.ones((), dtype=dtype),
        "c": torch.empty(0, 4, dtype=dtype),
        "d": torch.randint(0, 2, (4, 5)).to(dtype).T,
        "e": torch.ones(3),
    }
    own.write(tmp_path / "t.safetensors", tensors, {})
    back, _ = own.read(tmp_path / "t.safetensors")
    for name, tensor in tensors.items():
        assert back[name].dtype == tensor.dtype
        assert torch.equal(back[name], tensor)


def test_equal_content_gives_equal_bytes_in_another_process(file):
    code = (
        "import sys; from rekon.training.weights import load_weights, save_weights; "
        "tensors, recipe = load_weights(sys.argv[1]); "
        "save_weights(sys.argv[2], dict(reversed(tensors.items())), recipe)"
    )
    copy = file.with_name("copy.safetensors")
    subprocess.run([sys.executable, "-c", code, file, copy], check=True, timeout=120)
    assert copy.read_bytes() == file.read_bytes()


def test_missing_file(tmp_path):
    assert "no such file" in sentence(tmp_path / "absent.safetensors")
    assert "is a folder" in sentence(tmp_path)


@pytest.mark.parametrize("keep", [0, 5, 8, 100, -1])
def test_truncated_file(file, keep):
    file.write_bytes(file.read_bytes()[:keep])
    assert "truncated" in sentence(file)


def test_flipped_bit(file):
    data = bytearray(file.read_bytes())
    data[-3] ^= 4
    file.write_bytes(data)
    assert "its checksum does not match" in sentence(file)


def test_pickle_is_refused_unopened(tmp_path):
    class Dangerous:
        def __reduce__(self):
            return (pytest.fail, ("the pickle was executed",))

    for name, options in (("new.pt", {}), ("old.pt", {"_use_new_zipfile_serialization": False})):
        torch.save(Dangerous(), tmp_path / name, **options)
        assert "pickle" in sentence(tmp_path / name)


@pytest.mark.parametrize("content", [b"hello, world, this is text", b"\x10" + 7 * b"\0" + b"x" * 40])
def test_some_other_file(tmp_path, content):
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    assert "not a safetensors file" in sentence(path)


def test_safetensors_without_recipe(tmp_path):
    path = tmp_path / "x.safetensors"
    safetensors.torch.save_file({"net.0.weight": torch.zeros(2)}, path)
    assert "header field 'format' is None" in sentence(path)
    own.write(path, {}, {"format": "rekon-weights-1"})
    assert "header field 'recipe'" in sentence(path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.pop("net.0.bias"), "tensor 'net.0.bias' is missing"),
        (lambda t: t.update({"net.7.bias": torch.zeros(1)}), "tensor 'net.7.bias' does not belong to this network"),
        (lambda t: t.update({"net.0.bias": torch.zeros(5)}), r"tensor 'net.0.bias' is (5,), the network's (2,)"),
    ],
)
def test_keys_and_shapes(file, change, words):
    tensors, recipe = load_weights(file)
    change(tensors)
    save_weights(file, tensors, recipe)
    assert words in sentence(file)


def test_other_recipe_names_the_key(file):
    other = toy.recipe(learning_rate=0.5).model_dump(mode="json")
    assert "'training.learning_rate' is 0.01 there, 0.5 here" in sentence(file, other)
    load_into({"net": network()}, file, {**RECIPE, "title": "the same by another name"})


def test_full_disk_leaves_nothing(tmp_path, file, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(rekon.files.os, "fsync", full)
    with pytest.raises(UserError, match="no space left"):
        save_weights(tmp_path / "new.safetensors", {"a": torch.zeros(3)}, RECIPE)
    assert sorted(tmp_path.iterdir()) == [file]
