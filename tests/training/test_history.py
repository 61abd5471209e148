import pytest
import torch

from rekon.errors import UserError
from rekon.training.distributed import Place
from rekon.training.history import History, Tally, read_history


def test_reopening_drops_what_stands_behind(tmp_path):
    path = tmp_path / "run/metrics.jsonl"
    history = History(path, 0)
    history.append(1, {"loss": 0.5})
    length = history.sync()
    history.append(2, {"loss": 0.4})
    history.close()
    assert History.holds(path, length)
    again = History(path, length)
    again.append(2, {"loss": 0.3})
    again.close()
    assert read_history(path) == [{"step": 1, "loss": 0.5}, {"step": 2, "loss": 0.3}]
    assert not History.holds(path, 10**6)


def test_unfinished_last_line_is_left_out_and_a_broken_one_named(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1, "a": 2}\n{"step": 2, "a"')
    assert read_history(path) == [{"step": 1, "a": 2}]
    path.write_text('{"step": 1}\nnot json\n')
    with pytest.raises(UserError, match=r"metrics\.jsonl: line 2 "):
        read_history(path)
    with pytest.raises(UserError, match="no such file"):
        read_history(tmp_path / "absent.jsonl")


def test_tally_is_the_same_wherever_it_is_settled():
    place, values = Place(torch.device("cpu")), [torch.tensor(x) for x in (0.1, 0.7, 0.3)]
    once, often = Tally("s/r", 3, place, {}), Tally("s/r", 3, place, {})
    for step, value in enumerate(values, 1):
        for tally in (once, often):
            tally.add(step, {"loss": value, "other": 1.0})
        often.settle()
    assert once.means() == often.means() == {"loss": pytest.approx(1.1 / 3), "other": 1.0}
    assert once.means() == {}
