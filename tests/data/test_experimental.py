from distflow import data
from distflow.data import Dataset, Options, experimental


def test_older_names_are_the_same_things():
    assert experimental.AUTOTUNE == data.AUTOTUNE == -1
    assert experimental.INFINITE_CARDINALITY == data.INFINITE_CARDINALITY == -1
    assert experimental.UNKNOWN_CARDINALITY == data.UNKNOWN_CARDINALITY == -2


def test_functions_on_data_sets():
    assert int(experimental.cardinality(Dataset.range(3))) == 3
    assert int(experimental.get_single_element(Dataset.range(1))) == 0
    unknown = Dataset.range(3).filter(lambda x: True)
    assert len(unknown.apply(experimental.assert_cardinality(3))) == 3


def test_auto_shard_policies_have_tensorflows_numbers():
    numbers = {policy.name: policy.value for policy in experimental.AutoShardPolicy}
    assert numbers == {"OFF": -1, "AUTO": 0, "FILE": 1, "DATA": 2}


def test_auto_shard_policy_is_an_option():
    options = Options()
    assert options.experimental_distribute.auto_shard_policy is experimental.AutoShardPolicy.AUTO
    options.experimental_distribute.auto_shard_policy = experimental.AutoShardPolicy.DATA
    dataset = Dataset.range(3).with_options(options).batch(2)
    policy = dataset.options().experimental_distribute.auto_shard_policy
    assert policy is experimental.AutoShardPolicy.DATA
