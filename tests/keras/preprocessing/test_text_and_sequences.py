import numpy as np
import pytest

from distflow import keras

text, sequence = keras.preprocessing.text, keras.preprocessing.sequence
TEXTS = ["The cat sat.", "the dog sat, the cat ran"]


def fitted(**kwargs):
    tokenizer = text.Tokenizer(**kwargs)
    tokenizer.fit_on_texts(TEXTS)
    return tokenizer


def test_words_are_numbered_by_frequency():
    assert fitted().word_index == {"the": 1, "cat": 2, "sat": 3, "dog": 4, "ran": 5}
    assert fitted(num_words=3).texts_to_sequences(["the dog cat"]) == [[1, 2]]
    assert fitted(oov_token="?").texts_to_sequences(["the cow"]) == [[2, 1]]
    assert fitted().sequences_to_texts([[1, 5]]) == ["the ran"]


@pytest.mark.parametrize(
    ("mode", "row"), [("binary", [0, 1, 1, 0, 1, 1]), ("count", [0, 2, 1, 0, 1, 1]),
                      ("freq", [0, 0.4, 0.2, 0, 0.2, 0.2])],
)  # fmt: skip
def test_texts_become_rows(mode, row):
    found = fitted().texts_to_matrix(["the dog the cat ran"], mode)
    np.testing.assert_allclose(found[0], row)


def test_tokenizers_go_through_json():
    a = fitted(num_words=4, oov_token="?")
    b = text.tokenizer_from_json(a.to_json())
    assert b.get_config() == a.get_config()
    np.testing.assert_array_equal(
        a.texts_to_matrix(TEXTS, "tfidf"), b.texts_to_matrix(TEXTS, "tfidf")
    )


def test_hashes_give_numbers_below_n():
    numbers = text.hashing_trick("a b a", 7, "md5")
    assert numbers[0] == numbers[2]
    assert all(1 <= i < 7 for i in numbers + text.one_hot("x y z", 7))


def test_wrong_modes_are_refused():
    with pytest.raises(ValueError, match="Unknown vectorization mode"):
        fitted().sequences_to_matrix([[1]], "best")
    with pytest.raises(ValueError, match="Specify a dimension"):
        text.Tokenizer().sequences_to_matrix([[1]])


def test_windows_precede_their_targets():
    data = sequence.TimeseriesGenerator(np.arange(10), np.arange(10), 3, batch_size=4)
    x, y = data[0]
    np.testing.assert_array_equal(x, [[0, 1, 2], [1, 2, 3], [2, 3, 4], [3, 4, 5]])
    np.testing.assert_array_equal(y, [3, 4, 5, 6])
    assert len(data) == 2
    with pytest.raises(ValueError, match="Data and targets have to be of same length"):
        sequence.TimeseriesGenerator(np.arange(3), np.arange(4), 1)


def test_neighbours_and_chance_pairs_have_labels():
    couples, labels = sequence.skipgrams([1, 2, 3], 9, window_size=1, shuffle=False, seed=0)
    assert couples[:4] == [[1, 2], [2, 1], [2, 3], [3, 2]]
    assert labels == [1] * 4 + [0] * 4


def test_frequent_words_are_kept_less_often():
    table = sequence.make_sampling_table(100, 1e-3)
    assert table[1] < table[50] <= 1
